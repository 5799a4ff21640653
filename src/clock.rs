//! Wall time, handed in so that nothing else asks the machine for it.
//!
//! Promises: one moment for everybody who holds a clone; a settable clock moves only when its hand is moved.
//! Never: waits; waiting is `Duration` and the runtime's timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Says what time it is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Settable(Arc<AtomicI64>),
}

/// Moves a settable clock. Whoever only holds the [`Clock`] cannot.
#[derive(Debug, Clone)]
pub struct ClockHand(Arc<AtomicI64>);

impl Clock {
    /// The machine's wall clock. It may step, also backwards.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until its hand is moved; for tests and rehearsals.
    pub fn settable(start: Timestamp) -> (Self, ClockHand) {
        let micros = Arc::new(AtomicI64::new(start.micros()));
        (Self(Source::Settable(micros.clone())), ClockHand(micros))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Settable(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }
}

impl ClockHand {
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(whole_micros(by), Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
fn system_now() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::from_micros(whole_micros(since)),
        // A machine without a battery may wake up before 1970; that is a wrong clock, not a reason to stop.
        Err(before) => Timestamp::from_micros(-whole_micros(before.duration())),
    }
}

fn whole_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settable_clock_stands_still_until_moved() {
        let start: Timestamp = "2026-01-02T03:04:05".parse().unwrap();
        let (clock, hand) = Clock::settable(start);
        let other = clock.clone();
        assert_eq!(other.now(), start);
        hand.advance(Duration::from_millis(1500));
        assert_eq!(other.now(), "2026-01-02T03:04:06.5".parse().unwrap());
        hand.set(start);
        assert_eq!(clock.now(), start);
    }

    #[test]
    fn the_system_clock_is_in_this_century() {
        assert!(Clock::system().now() > "2024-01-01".parse().unwrap());
    }
}
