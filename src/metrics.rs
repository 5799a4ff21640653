//! What a node counts and measures, for Prometheus.
//!
//! Promises: one method per event, so that a label cannot be forgotten or misspelt; labels come from the configuration
//! or from an enum; a registry of its own per node.
//! Never: static; waits.

mod copying;
mod families;
mod keeping;
mod labels;
mod recording;
mod serving;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

pub use labels::{
    BountyOutcome, CopyOutcome, CoverageWindow, Damage, DeleteCause, FetchReason, JobOutcome, LookOutcome, PollOutcome,
    UploadAct, UploadOutcome,
};

use crate::clock::Clock;
use crate::log::DropCount;
use crate::model::{Channel, PeerUrl, Quality, Timestamp};
use families::Families;

const MICROS_PER_SECOND: f64 = 1e6;

/// The metrics of one node. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// When something last happened to each quality.
type LastTimes = BTreeMap<(Channel, Quality), Timestamp>;

struct Inner {
    registry: Registry,
    families: Families,
    clock: Clock,
    log_dropped: DropCount,
    /// Ends of the newest segments, from which the lag is worked out when somebody asks.
    newest: Mutex<LastTimes>,
    /// When each peer's qualities were last found to be all here.
    level: Mutex<BTreeMap<PeerUrl, LastTimes>>,
}

impl Metrics {
    pub fn new(clock: Clock, log_dropped: DropCount) -> Self {
        let registry = Registry::new();
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the registry is new, and the collector's names are good");
        let families = Families::register(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for damage in Damage::ALL {
            families.scrub_bad_files.with_label_values(&[damage.as_str()]);
        }
        Self(Arc::new(Inner {
            registry,
            families,
            clock,
            log_dropped,
            newest: Mutex::default(),
            level: Mutex::default(),
        }))
    }

    /// `None` where that is not known.
    pub fn certificate_expires(&self, at: Option<Timestamp>) {
        self.0.families.certificate_expires.set(seconds(at));
    }

    /// Likewise.
    pub fn peers_token_expires(&self, at: Option<Timestamp>) {
        self.0.families.peers_token_expires.set(seconds(at));
    }

    /// Makes the counters of how often actors of these types were rebuilt exist at zero.
    pub fn preregister_actors(&self, actors: impl IntoIterator<Item = &'static str>) {
        for actor in actors {
            self.0.families.actors_restarts.with_label_values(&[actor]);
        }
    }

    /// An actor of this type ended unasked and was rebuilt.
    pub fn actor_restarted(&self, actor: &'static str) {
        self.0.families.actors_restarts.with_label_values(&[actor]).inc();
    }

    /// The content type, and everything in Prometheus' text format.
    pub fn render(&self) -> (&'static str, String) {
        self.refresh();
        let text = TextEncoder::new().encode_to_string(&self.0.registry.gather());
        (TEXT_FORMAT, text.expect("a family without a name or a value is all that is refused, and neither is gathered"))
    }

    /// Works out what follows from the time or is counted elsewhere.
    fn refresh(&self) {
        let (families, now) = (&self.0.families, self.0.clock.now());
        // Held to the end, so that two who ask at once do not both add the same dropped lines.
        let newest = self.newest();
        for ((channel, quality), end) in newest.iter() {
            let labels = [channel.as_str(), quality.as_str()];
            families.record_newest.with_label_values(&labels).set(end.micros() as f64 / MICROS_PER_SECOND);
            families.record_lag.with_label_values(&labels).set(now.micros_since(*end) as f64 / MICROS_PER_SECOND);
        }
        for (peer, qualities) in self.level().iter() {
            if let Some(behind) = qualities.values().min() {
                let lag = now.micros_since(*behind) as f64 / MICROS_PER_SECOND;
                families.backfill_lag.with_label_values(&[&peer.to_string()]).set(lag);
            }
        }
        families.log_dropped.inc_by(self.0.log_dropped.get().saturating_sub(families.log_dropped.get()));
    }

    fn level(&self) -> MutexGuard<'_, BTreeMap<PeerUrl, LastTimes>> {
        // As below.
        self.0.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> MutexGuard<'_, LastTimes> {
        // A panic elsewhere leaves the map whole: each change to it is one assignment.
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since 1970; 0 for never.
fn seconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, |at| at.micros() / 1_000_000)
}

#[cfg(test)]
mod tests;
