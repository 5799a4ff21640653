//! A span as people write it: `START,END` or `START+DURATION`.

use std::str::FromStr;

use super::time::{BadTime, EmptySpan, Span, Timestamp};

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    #[error("write a range as START,END or START+DURATION")]
    Form,
    #[error(transparent)]
    Time(#[from] BadTime),
    #[error("not a duration: {text:?}; write it as 90s, 1.5s, 2m or 1h2m3.25s")]
    Duration { text: String },
    #[error(transparent)]
    Empty(#[from] EmptySpan),
}

/// Units of a duration, from the largest on, in microseconds.
const UNITS: [(&str, i64); 4] = [("h", 3_600_000_000), ("ms", 1000), ("m", 60_000_000), ("s", 1_000_000)];
/// More digits before the point are no duration of ours.
const MAX_WHOLE_DIGITS: usize = 9;

impl FromStr for Span {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        if let Some((start, end)) = text.split_once(',') {
            return Ok(Self::new(start.parse()?, end.parse()?)?);
        }
        let (start, duration) = text.rsplit_once('+').ok_or(BadRange::Form)?;
        let start: Timestamp = start.parse()?;
        let bad = || BadRange::Duration { text: duration.chars().take(32).collect() };
        let micros = duration_micros(duration).ok_or_else(bad)?;
        Ok(Self::new(start, start.plus_micros(micros))?)
    }
}

/// `1h2m3.25s` in whole microseconds; digits after the sixth are dropped.
fn duration_micros(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut micros: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, unit_micros) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        micros = micros.checked_add(amount_micros(number, unit_micros)?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(micros)
}

/// `3.25` of a unit. From the digits, never through binary floating point.
fn amount_micros(number: &str, unit_micros: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || whole.len() > MAX_WHOLE_DIGITS || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(6)];
    let scale = 10_i64.pow(fraction.len() as u32);
    let part = i128::from(fraction.parse::<i64>().ok()?) * i128::from(unit_micros) / i128::from(scale);
    whole.parse::<i64>().ok()?.checked_mul(unit_micros)?.checked_add(i64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends_or_a_length() {
        for (text, end) in [
            ("2026-01-02T03:00:00,2026-01-02T03:00:01.5", "03:00:01.500000"),
            ("2026-01-02T03:00:00+1.5s", "03:00:01.500000"),
            ("2026-01-02T03:00:00+1h2m3.25s", "04:02:03.250000"),
            ("2026-01-02T03:00:00+1ms", "03:00:00.001000"),
            ("2026-01-02T03:00:00+0.1h", "03:06:00.000000"),
            // The zone is ignored, as everywhere.
            ("2026-01-02T03:00:00+05:30+2m", "03:02:00.000000"),
            ("2026-01-02+2m", "00:02:00.000000"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.end().to_string(), format!("2026-01-02T{end}"), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (text, refused) in [
            ("2026-01-02T03:00:00", "write a range as"),
            ("2026-01-02T03:00:00+05:30", "not a duration"),
            ("2026-01-02T03:00:00+", "not a duration"),
            ("2026-01-02T03:00:00+5", "not a duration"),
            ("2026-01-02T03:00:00+5s6", "not a duration"),
            ("2026-01-02T03:00:00+.5s", "not a duration"),
            ("2026-01-02T03:00:00+1.2.3s", "not a duration"),
            ("2026-01-02T03:00:00+9999999999h", "not a duration"),
            ("2026-01-02T03:00:00+-5s", "not a duration"),
            ("2026-01-02T03:00:00+0s", "ends"),
            ("2026-01-02T03:00:00,2026-01-02T03:00:00", "ends"),
            ("a,b", "not a time"),
            ("a+5s", "not a time"),
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains(refused), "{text}: {error}");
        }
    }
}
