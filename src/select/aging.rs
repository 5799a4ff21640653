//! What time it is for retention: a clock that jumps ahead must not make a whole record too old at once.
//!
//! The machine's clock is believed as far as it agrees with the time that has passed since the last look. One that is ahead
//! of that is believed when it has stayed so for a day in which the node ran; until then it only grows older as time passes. One that went back
//! is believed at once: it deletes less.

use std::time::Duration;

use crate::model::Timestamp;

/// Clocks are set right by less than this.
const SLACK: Duration = Duration::from_secs(3600);
/// Time for a person to see what the log and the metrics say of a clock that jumped.
const DISBELIEF: Duration = Duration::from_secs(24 * 3600);

/// The time by which age is counted, as of the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgingClock {
    now: Timestamp,
    /// For so long the machine's clock has been ahead and the node ran.
    ahead_for: Option<Duration>,
}

impl AgingClock {
    /// Of a record that has never been looked at: there is nothing to compare with.
    pub fn first(wall: Timestamp) -> Self {
        Self::of(wall, None)
    }

    pub fn of(now: Timestamp, ahead_for: Option<Duration>) -> Self {
        Self { now, ahead_for }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The machine's clock is not believed.
    pub fn is_ahead(&self) -> bool {
        self.ahead_for.is_some()
    }

    pub fn ahead_for(&self) -> Option<Duration> {
        self.ahead_for
    }

    /// At a look, `passed` after the one before, by a clock that nobody sets; nothing may be known to have passed.
    #[must_use]
    pub fn look(&self, wall: Timestamp, passed: Duration) -> Self {
        let expected = plus(self.now, passed);
        if wall <= plus(expected, SLACK) {
            return Self::first(wall);
        }
        let ahead_for = self.ahead_for.unwrap_or_default() + passed;
        if ahead_for >= DISBELIEF { Self::first(wall) } else { Self::of(expected, Some(ahead_for)) }
    }
}

fn plus(time: Timestamp, by: Duration) -> Timestamp {
    time.plus_micros(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_767_323_045_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_agrees_is_believed() {
        let clock = AgingClock::first(START).look(plus(START, HOUR), HOUR);
        assert_eq!(clock, AgingClock::first(plus(START, HOUR)));
        // Set right by a few minutes, forth and back.
        let forth = plus(START, 2 * HOUR + HOUR / 2);
        assert_eq!(clock.look(forth, HOUR), AgingClock::first(forth));
        assert_eq!(clock.look(START, HOUR), AgingClock::first(START));
    }

    #[test]
    fn a_jump_ahead_is_believed_after_a_day_and_no_sooner() {
        let jump = Duration::from_secs(365 * 24 * 3600);
        let mut clock = AgingClock::first(START);
        for hour in 1..24 {
            clock = clock.look(plus(START, jump + hour * HOUR), HOUR);
            assert_eq!(clock.now(), plus(START, hour * HOUR), "after {hour} h");
        }
        let wall = plus(START, jump + 24 * HOUR);
        assert_eq!(clock.look(wall, HOUR), AgingClock::first(wall));
    }

    #[test]
    fn a_jump_that_is_taken_back_is_forgotten() {
        let clock = AgingClock::first(START).look(plus(START, 50 * HOUR), HOUR);
        assert_eq!((clock.now(), clock.ahead_for()), (plus(START, HOUR), Some(HOUR)));
        assert_eq!(clock.look(plus(START, 2 * HOUR), HOUR).ahead_for(), None);
    }

    proptest! {
        /// Whatever the machine's clock says, what may be deleted grows within a day by no more than time passes.
        #[test]
        fn within_a_day_nothing_ages_faster_than_time(looks in prop::collection::vec((0..10_000_u64, -1_000_000..1_000_000_i64), 1..50)) {
            let (mut clock, mut passed) = (AgingClock::first(START), Duration::ZERO);
            for (rest, off) in looks {
                let rest = Duration::from_secs(rest);
                passed += rest;
                if passed >= DISBELIEF {
                    break;
                }
                let before = clock;
                clock = clock.look(plus(START, passed).plus_micros(off * 1_000_000), rest);
                prop_assert!(clock.now() <= plus(before.now(), rest + SLACK));
            }
        }
    }
}
