//! Days in Pacific time, which Google's quotas are counted by.
//!
//! Promises: exact for the rules that hold in the United States since 2007 (Energy Policy Act of 2005): summer time from the
//! second Sunday in March to the first Sunday in November, both at 2:00 local time.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, Weekday};

use crate::model::Timestamp;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const MICROS: i64 = 1_000_000;

/// A day in Pacific time, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacificDay(i64);

impl PacificDay {
    pub fn of(at: Timestamp) -> Self {
        let seconds = at.micros().div_euclid(MICROS);
        Self((seconds + offset(seconds)).div_euclid(DAY))
    }

    /// Days since 1970.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// How long it is from `at` to the end of the day.
    pub fn left(at: Timestamp) -> Duration {
        let midnight_as_local = (Self::of(at).0 + 1) * DAY;
        // At midnight nothing changes, so either guess of the offset finds the right one.
        let midnight = midnight_as_local - offset(midnight_as_local + 8 * HOUR);
        Timestamp::from_micros(midnight * MICROS).saturating_since(at)
    }
}

/// Seconds that local time is ahead of UTC, `at` seconds after 1970.
fn offset(at: i64) -> i64 {
    let year = DateTime::from_timestamp(at, 0).map_or(1970, |time| time.year());
    let sunday = |month, nth| {
        let day = NaiveDate::from_weekday_of_month_opt(year, month, Weekday::Sun, nth);
        day.and_then(|day| day.and_hms_opt(2, 0, 0)).map_or(0, |time| time.and_utc().timestamp())
    };
    let summer = sunday(3, 2) + 8 * HOUR..sunday(11, 1) + 7 * HOUR;
    if summer.contains(&at) { -7 * HOUR } else { -8 * HOUR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_in_california() {
        for (at, left_secs) in [
            // Winter: midnight is at 8:00 UTC.
            ("2026-01-02T07:59:59", 1),
            ("2026-01-02T08:00:00", 86_400),
            // Summer: at 7:00.
            ("2026-07-02T06:59:59", 1),
            ("2026-07-02T07:00:00", 86_400),
            // The days on which the clock is set have 23 and 25 hours.
            ("2026-03-08T08:00:00", 23 * 3600),
            ("2026-11-01T07:00:00", 25 * 3600),
            ("2026-03-08T09:59:59", 23 * 3600 - 7199),
            ("2026-11-01T09:30:00", 22 * 3600 + 1800),
            // Around the year's end.
            ("2026-12-31T23:00:00", 9 * 3600),
            ("2027-01-01T07:00:00", 3600),
        ] {
            assert_eq!(PacificDay::left(at.parse().unwrap()), Duration::from_secs(left_secs), "{at}");
        }
        let day = |at: &str| PacificDay::of(at.parse().unwrap());
        assert_eq!(day("2026-11-01T07:00:00"), day("2026-11-02T07:59:59.9"));
        assert!(day("2026-11-02T08:00:00") > day("2026-11-02T07:59:59"));
    }
}
