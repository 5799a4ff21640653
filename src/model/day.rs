//! A day of UTC.

use std::fmt;
use std::str::FromStr;

use super::time::{BadTime, Hour};

const HOURS_PER_DAY: i64 = 24;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// `2026-01-02`. Held as its first hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Hour);

impl Day {
    /// The day that an hour belongs to.
    pub fn of(hour: Hour) -> Self {
        let hours = hour.start().micros().div_euclid(MICROS_PER_HOUR).rem_euclid(HOURS_PER_DAY);
        Self(hour.start().plus_micros(-hours * MICROS_PER_HOUR).hour())
    }

    pub fn first_hour(self) -> Hour {
        self.0
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hour = self.0.to_string();
        f.write_str(hour.split('T').next().unwrap_or_default())
    }
}

impl FromStr for Day {
    type Err = BadTime;

    /// Exactly `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        format!("{text}T00").parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_belongs_to_a_day() {
        for (hour, day) in
            [("2026-01-02T00", "2026-01-02"), ("2026-01-02T23", "2026-01-02"), ("1969-12-31T05", "1969-12-31")]
        {
            let hour: Hour = hour.parse().unwrap();
            assert_eq!(Day::of(hour).to_string(), day);
            assert_eq!(day.parse::<Day>().unwrap(), Day::of(hour));
        }
        for bad in ["", "2026-01-32", "2026-1-2", "2026-01-02T00", "20260102", "2026-01-02 "] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }
}
