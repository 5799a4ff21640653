//! How fast a round through the record goes, and what comes next in it.
//!
//! Promises: a round is through in its time, if the disk can do that with a quarter of its own; never faster than allowed.
//! Never: reads the disk or the clock.

use std::time::Duration;

use crate::model::Timestamp;
use crate::store::{RoundState, StreamHour};

/// Bytes per second. No disk feels it, and small records are through in a day.
const SLOWEST: u64 = 1 << 20;
/// After a stretch of reading the disk is left to others for so many times as long.
const REST_TIMES: u32 = 3;
/// An hour is read when nothing new is recorded in it any more, and the last of it has been flushed.
const SETTLED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Nothing rests longer between two stretches: then it is time to look again at what there is to do.
const LONGEST_REST: Duration = Duration::from_secs(10 * 60);
/// What is not known is not told as forever.
const LONGEST_ETA: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// A round through the whole record takes no longer.
    pub within: Duration,
    /// Bytes per second.
    pub max_rate: u64,
}

impl Pace {
    /// Bytes per second, for what is left of a round that began at `began`.
    pub fn rate(&self, left_bytes: u64, began: Timestamp, now: Timestamp) -> u64 {
        let time_left = self.within.saturating_sub(now.saturating_since(began)).as_secs().max(1);
        (left_bytes / time_left).max(SLOWEST).min(self.max_rate)
    }

    /// How long to leave the disk alone after `bytes` were read in `took`.
    pub fn rest(bytes: u64, took: Duration, rate: u64) -> Duration {
        let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate.max(1));
        due.saturating_sub(took).max(took * REST_TIMES).min(LONGEST_REST)
    }

    /// How long the rest of a round takes, at a rate that is wished for and one that was reached, where that is known.
    pub fn eta(left_bytes: u64, rate: u64, reached: Option<u64>) -> Duration {
        let rate = reached.map_or(rate, |reached| reached.min(rate)).max(1);
        Duration::from_secs(left_bytes / rate).min(LONGEST_ETA)
    }

    /// Until the next round may begin; nothing if it may now.
    pub fn until_next(&self, last: Option<&RoundState>, now: Timestamp) -> Duration {
        match last {
            // A clock that was set back must not stop it for years.
            Some(last) if last.ended.is_some() && last.began <= now => {
                self.within.saturating_sub(now.saturating_since(last.began))
            }
            Some(_) | None => Duration::ZERO,
        }
    }
}

/// What a round has yet to read, of all hours in order.
pub(super) fn left(all: Vec<StreamHour>, done: Option<&StreamHour>, now: Timestamp) -> Vec<StreamHour> {
    let is_left = |of: &StreamHour| done.is_none_or(|done| of > done) && of.hour.end().plus(SETTLED_AFTER) <= now;
    all.into_iter().filter(is_left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { within: Duration::from_secs(30 * 24 * 3600), max_rate: 64 << 20 };
    const DAY: i64 = 24 * 3600 * 1_000_000;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_micros(1_767_312_000_000_000 + days * DAY)
    }

    fn hour(quality: &str, hour: &str) -> StreamHour {
        StreamHour { channel: "ch".parse().unwrap(), quality: quality.parse().unwrap(), hour: hour.parse().unwrap() }
    }

    #[test]
    fn a_round_is_through_in_its_time_and_no_faster_than_allowed() {
        let terabytes = 10_000_000_000_000;
        assert_eq!(PACE.rate(terabytes, day(0), day(0)), terabytes / (30 * 24 * 3600));
        assert_eq!(PACE.rate(terabytes, day(0), day(15)), terabytes / (15 * 24 * 3600));
        for (left_bytes, now, rate) in [
            (1_000_000, day(0), SLOWEST),
            (terabytes, day(29).plus_micros(DAY - 1), PACE.max_rate),
            (terabytes, day(99), PACE.max_rate),
            (terabytes, day(-9), terabytes / (30 * 24 * 3600)),
        ] {
            assert_eq!(PACE.rate(left_bytes, day(0), now), rate);
        }
    }

    #[test]
    fn the_disk_is_left_to_others_for_most_of_the_time() {
        let (second, rate) = (Duration::from_secs(1), 10 << 20);
        assert_eq!(Pace::rest(10 << 20, Duration::ZERO, rate), second);
        assert_eq!(Pace::rest(10 << 20, second / 10, rate), second * 9 / 10);
        assert_eq!(Pace::rest(10 << 20, second, rate), second * 3, "a disk that is slow, or busy");
        assert_eq!(Pace::rest(u64::MAX, Duration::ZERO, 0), LONGEST_REST);
    }

    #[test]
    fn the_time_left_follows_what_was_reached() {
        assert_eq!(Pace::eta(1000, 10, None), Duration::from_secs(100));
        assert_eq!(Pace::eta(1000, 10, Some(5)), Duration::from_secs(200));
        assert_eq!(Pace::eta(1000, 10, Some(50)), Duration::from_secs(100));
        assert_eq!(Pace::eta(u64::MAX, 1, Some(0)), LONGEST_ETA);
    }

    #[test]
    fn rounds_begin_so_far_apart_as_they_may_take() {
        let round = |ended| RoundState { began: day(0), ended, done: None, bytes: 0 };
        assert_eq!(PACE.until_next(None, day(3)), Duration::ZERO);
        assert_eq!(PACE.until_next(Some(&round(None)), day(3)), Duration::ZERO, "it goes on");
        assert_eq!(PACE.until_next(Some(&round(Some(day(1)))), day(3)), Duration::from_secs(27 * 24 * 3600));
        assert_eq!(PACE.until_next(Some(&round(Some(day(1)))), day(31)), Duration::ZERO);
        assert_eq!(PACE.until_next(Some(&round(Some(day(1)))), day(-1)), Duration::ZERO, "a clock that was set back");
    }

    #[test]
    fn a_round_goes_on_behind_what_is_done_and_leaves_what_is_still_recorded() {
        let all = || {
            vec![
                hour("480p", "2026-01-02T01"),
                hour("480p", "2026-01-02T02"),
                hour("source", "2026-01-01T23"),
                hour("source", "2026-01-02T02"),
            ]
        };
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        assert_eq!(left(all(), None, at("2026-01-02T03:15:00")), all());
        let late = left(all(), None, at("2026-01-02T03:14:59"));
        assert_eq!(late, [hour("480p", "2026-01-02T01"), hour("source", "2026-01-01T23")]);
        // Also where that hour is gone by now.
        let done = hour("480p", "2026-01-02T03");
        assert_eq!(left(all(), Some(&done), at("2026-01-03T00:00:00")), all()[2..]);
    }
}
