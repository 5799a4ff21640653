//! Whether the node is alive and useful, as probes ask it.
//!
//! Promises: an answer needs no actor: a node whose actors hang still says that it is ill.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After this long without a beat the node is not alive any more, and whoever watches it should restart it. Longer than
/// the guardian needs to rebuild a hanging actor.
const DEAD_AFTER: Duration = Duration::from_secs(90);

/// When an actor last said that it lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse {
    began: Instant,
    last_beat_ms: Arc<AtomicU64>,
}

impl Pulse {
    fn new(began: Instant) -> Self {
        let pulse = Self { began, last_beat_ms: Arc::default() };
        pulse.beat();
        pulse
    }

    pub fn beat(&self) {
        self.last_beat_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub fn silent_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed)))
    }
}

/// An actor that does not beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    pub actor: String,
    pub silent_for: Duration,
}

/// Why the node should get no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    Starting,
    Stopping,
    StoreNotWritable,
}

impl NotReady {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "the node is starting",
            Self::Stopping => "the node is stopping",
            Self::StoreNotWritable => "the store cannot be written; see the log",
        }
    }
}

/// Shared by all that know something about it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    began: Instant,
    pulses: Arc<Mutex<Vec<(String, Pulse)>>>,
    started: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    store_writable: Arc<AtomicBool>,
    room_is_short: Arc<AtomicBool>,
    has_copy: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            pulses: Arc::default(),
            started: Arc::default(),
            stopping: Arc::default(),
            store_writable: Arc::default(),
            room_is_short: Arc::default(),
            has_copy: Arc::default(),
        }
    }
}

impl Health {
    /// A new pulse to be watched.
    pub fn pulse(&self, actor: &str) -> Pulse {
        let pulse = Pulse::new(self.began);
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push((actor.to_owned(), pulse.clone()));
        pulse
    }

    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_store_writable(&self) -> bool {
        self.store_writable.load(Ordering::Relaxed)
    }

    /// Answers whether that is news.
    pub fn set_store_writable(&self, writable: bool) -> bool {
        self.store_writable.swap(writable, Ordering::Relaxed) != writable
    }

    /// Whether too little of the disk is free and nothing may be deleted. Answers whether that is news.
    pub fn set_room_is_short(&self, is_short: bool) -> bool {
        self.room_is_short.swap(is_short, Ordering::Relaxed) != is_short
    }

    /// Whether a peer has a copy of this node's disk, and so its id.
    pub fn set_has_copy(&self, has_copy: bool) {
        self.has_copy.store(has_copy, Ordering::Relaxed);
    }

    /// What a person should look at although the node is useful.
    pub fn notes(&self) -> Vec<&'static str> {
        let notes = [
            (&self.room_is_short, "the disk is below retention.min_free and nothing may be deleted; see the log"),
            (&self.has_copy, "a peer has the id of this node, its disk is a copy; see the log"),
        ];
        notes.into_iter().filter(|(is_so, _)| is_so.load(Ordering::Relaxed)).map(|(_, note)| note).collect()
    }

    /// Actors that have been silent for too long; empty means alive.
    pub fn silent(&self) -> Vec<Silent> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let silent =
            pulses.iter().map(|(actor, pulse)| Silent { actor: actor.clone(), silent_for: pulse.silent_for() });
        silent.filter(|one| one.silent_for > DEAD_AFTER).collect()
    }

    pub fn ready(&self) -> Result<(), NotReady> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(NotReady::Stopping);
        }
        if !self.started.load(Ordering::Relaxed) {
            return Err(NotReady::Starting);
        }
        if !self.store_writable.load(Ordering::Relaxed) {
            return Err(NotReady::StoreNotWritable);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_started_writable_and_not_stopping() {
        let health = Health::default();
        assert_eq!(health.ready(), Err(NotReady::Starting));
        health.set_started();
        assert_eq!(health.ready(), Err(NotReady::StoreNotWritable));
        assert!(health.set_store_writable(true));
        assert!(!health.set_store_writable(true));
        assert_eq!(health.ready(), Ok(()));
        health.set_stopping();
        assert_eq!(health.ready(), Err(NotReady::Stopping));
    }

    #[test]
    fn one_silent_actor_makes_the_node_dead() {
        let long_ago = Instant::now().checked_sub(DEAD_AFTER * 2).unwrap();
        let health = Health { began: long_ago, ..Health::default() };
        let pulse = health.pulse("downloader a");
        assert!(health.silent().is_empty());
        pulse.last_beat_ms.store(0, Ordering::Relaxed);
        assert_eq!(health.silent()[0].actor, "downloader a");
        pulse.beat();
        assert!(health.silent().is_empty());
    }
}
