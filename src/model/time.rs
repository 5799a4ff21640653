//! Moments, hours and spans, in whole microseconds, UTC.
//!
//! Promises: exact arithmetic and exact text; no floating point, no time zone, no locale.
//! Never: asks what time it is (that is `clock`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveDate;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
/// 0001-01-01T00 and 10000-01-01T00 as hours since the epoch: what four digits of year can say.
const FIRST_HOUR: i64 = -17_259_888;
const END_HOUR: i64 = 70_389_528;

/// A text that is not a time as we read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {text:?}; write it as 2026-01-02T03:04:05.678 (UTC)")]
pub struct BadTime {
    text: String,
}

/// The start of a span is not before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the range ends ({end}) before it starts ({start})")]
pub struct EmptySpan {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// A moment: microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub fn hour(self) -> Hour {
        Hour(self.0.div_euclid(MICROS_PER_HOUR) as i32)
    }

    /// Microseconds from `earlier` to `self`; negative when `self` is the earlier one.
    pub const fn micros_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since `earlier`, or zero when `earlier` lies in the future.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    pub fn plus(self, duration: Duration) -> Self {
        self.plus_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// `2026-01-02T03:04:05.678901`, always six digits of fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hour = self.hour();
        let within = self.0 - hour.start().0;
        let (minute, rest) = (within / 60_000_000, within % 60_000_000);
        write!(f, "{hour}:{minute:02}:{:02}.{:06}", rest / MICROS_PER_SECOND, rest % MICROS_PER_SECOND)
    }
}

impl Timestamp {
    /// A date as HTTP headers have it (RFC 9110, 5.6.7), to the second. Obsolete forms are none.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let text = text.strip_suffix(" GMT")?;
        let date = chrono::NaiveDateTime::parse_from_str(text, "%a, %d %b %Y %H:%M:%S").ok()?;
        Some(Self::from_micros(date.and_utc().timestamp_micros()))
    }
}

impl FromStr for Timestamp {
    type Err = BadTime;

    /// Reads ISO 8601: date alone, `T` or a space before the time, hour, minute and second each optional from the
    /// right, `.` or `,` before a fraction (digits after the sixth are dropped), basic form (`20260102T030405`).
    /// A zone (`Z`, `UTC`, `+05:30`) is accepted and ignored, as all callers speak UTC (FORMATS §4).
    fn from_str(text: &str) -> Result<Self, BadTime> {
        parse_iso(text.trim().as_bytes()).ok_or_else(|| BadTime { text: text.chars().take(64).collect() })
    }
}

/// Reads digits off the front of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn digits(&mut self, count: usize) -> Option<u32> {
        if self.0.len() < count || !self.0[..count].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = self.0[..count].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        self.0 = &self.0[count..];
        Some(value)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn at_digit(&self) -> bool {
        self.0.first().is_some_and(u8::is_ascii_digit)
    }
}

fn parse_iso(text: &[u8]) -> Option<Timestamp> {
    let mut rest = Cursor(text);
    let year = rest.digits(4)?;
    let extended = rest.take(b'-');
    let month = rest.digits(2)?;
    if extended && !rest.take(b'-') {
        return None;
    }
    let day = rest.digits(2)?;
    let midnight = midnight(year, month, day)?;
    if rest.0.is_empty() {
        return Some(midnight);
    }
    // 20260102030405 has nothing between day and hour.
    if !(rest.take(b'T') || rest.take(b't') || rest.take(b' ') || (!extended && rest.at_digit())) {
        return None;
    }
    let hour = rest.digits(2)?;
    let (mut minute, mut second, mut micros) = (0, 0, 0);
    let colon = rest.take(b':');
    if colon || rest.at_digit() {
        minute = rest.digits(2)?;
        if (colon && rest.take(b':')) || (!colon && rest.at_digit()) {
            second = rest.digits(2)?;
            if rest.take(b'.') || rest.take(b',') {
                // Nothing but the end may follow a point without digits.
                if !rest.at_digit() && !rest.0.is_empty() {
                    return None;
                }
                micros = fraction_micros(&mut rest);
            }
        }
    }
    if hour > 23 || minute > 59 || second > 59 || !is_zone(rest.0) {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some(midnight.plus_micros(seconds * MICROS_PER_SECOND + i64::from(micros)))
}

/// The digits after the point, as microseconds: padded on the right, cut after the sixth.
fn fraction_micros(rest: &mut Cursor<'_>) -> u32 {
    let count = rest.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let micros = (0..6).fold(0, |value, at| value * 10 + if at < count { u32::from(rest.0[at] - b'0') } else { 0 });
    rest.0 = &rest.0[count..];
    micros
}

/// Nothing, `Z`, `UTC`, `GMT`, or an offset: `+HH`, `+HHMM`, `+HH:MM`, with `-` likewise, a blank allowed before it.
/// A `+` that a URL decoder turned into a blank is not guessed at: ` 05:00` alone is refused.
fn is_zone(text: &[u8]) -> bool {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    match text {
        b"" | b"Z" | b"z" | b"UTC" | b"GMT" => true,
        [b'+' | b'-', offset @ ..] => {
            let mut rest = Cursor(offset);
            if rest.digits(2).is_none() {
                return false;
            }
            rest.take(b':');
            (rest.0.is_empty() && offset.len() == 2) || (rest.digits(2).is_some() && rest.0.is_empty())
        }
        _ => false,
    }
}

fn midnight(year: u32, month: u32, day: u32) -> Option<Timestamp> {
    if year == 0 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    Some(Timestamp(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp() * MICROS_PER_SECOND))
}

/// One hour of UTC, the unit of a directory: `2026-01-02T03`. Held as hours since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

impl Hour {
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MICROS_PER_HOUR)
    }

    pub fn end(self) -> Timestamp {
        self.next().start()
    }

    pub fn next(self) -> Hour {
        Hour(self.0 + 1)
    }

    pub fn previous(self) -> Hour {
        Hour(self.0 - 1)
    }

    /// Hours from `self` to `last`, both included; empty when `last` is earlier.
    pub fn through(self, last: Hour) -> impl DoubleEndedIterator<Item = Hour> + ExactSizeIterator {
        (self.0..last.0.saturating_add(1)).map(Hour)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hour = i64::from(self.0).clamp(FIRST_HOUR, END_HOUR - 1);
        let date = chrono::DateTime::from_timestamp(hour * 3600, 0).expect("clamped to years of four digits");
        write!(f, "{}", date.format("%Y-%m-%dT%H"))
    }
}

impl FromStr for Hour {
    type Err = BadTime;

    /// Exactly `YYYY-MM-DDTHH`.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        let parse = || {
            let mut rest = Cursor(text.as_bytes());
            let year = rest.digits(4)?;
            let month = rest.take(b'-').then(|| rest.digits(2))??;
            let day = rest.take(b'-').then(|| rest.digits(2))??;
            let hour = rest.take(b'T').then(|| rest.digits(2))??;
            if hour > 23 || !rest.0.is_empty() {
                return None;
            }
            Some(midnight(year, month, day)?.plus_micros(i64::from(hour) * MICROS_PER_HOUR).hour())
        };
        parse().ok_or_else(|| BadTime { text: text.chars().take(64).collect() })
    }
}

/// A half-open stretch of time, `start` ≤ t < `end`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    start: Timestamp,
    end: Timestamp,
}

impl Span {
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, EmptySpan> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptySpan { start, end }) }
    }

    pub fn start(self) -> Timestamp {
        self.start
    }

    pub fn end(self) -> Timestamp {
        self.end
    }

    pub fn duration(self) -> Duration {
        self.end.saturating_since(self.start)
    }

    /// The hours whose directories can hold a segment that touches this span: one earlier than its own start,
    /// because a segment may run past its hour's end.
    pub fn hours(self) -> impl DoubleEndedIterator<Item = Hour> + ExactSizeIterator {
        self.start.hour().previous().through(self.end.hour())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_know_their_bounds() {
        let hour: Hour = "2024-02-29T23".parse().unwrap();
        assert_eq!(hour.to_string(), "2024-02-29T23");
        assert_eq!(hour.next().to_string(), "2024-03-01T00");
        assert_eq!(hour.start(), time("2024-02-29T23:00:00"));
        assert_eq!(hour.end().micros_since(hour.start()), MICROS_PER_HOUR);
        for bad in ["2026-02-29T00", "2026-01-02T24", "2026-01-02T3", "2026-01-02T03x", "garbage", "", "2026-01-02 03"]
        {
            assert!(bad.parse::<Hour>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_ends_of_time_are_hours_of_four_digit_years() {
        assert_eq!("0001-01-01T00".parse::<Hour>().unwrap().0 as i64, FIRST_HOUR);
        assert_eq!("9999-12-31T23".parse::<Hour>().unwrap().0 as i64, END_HOUR - 1);
    }

    #[test]
    fn a_span_looks_one_hour_back() {
        let span = Span::new(time("2026-01-02T03:00:00"), time("2026-01-02T04:00:00")).unwrap();
        let hours: Vec<String> = span.hours().map(|hour| hour.to_string()).collect();
        assert_eq!(hours, ["2026-01-02T02", "2026-01-02T03", "2026-01-02T04"]);
        assert!(Span::new(span.end(), span.start()).is_err());
        assert!(Span::new(span.start(), span.start()).is_err());
    }

    proptest! {
        #[test]
        fn a_time_survives_its_text(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
            let moment = Timestamp::from_micros(micros);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
            prop_assert_eq!(format!("{moment}Z").parse::<Timestamp>().unwrap(), moment);
            prop_assert_eq!(moment.hour().to_string().parse::<Hour>().unwrap(), moment.hour());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9TZ:+. -]{0,32}|.{0,32}") {
            let _ = text.parse::<Timestamp>();
            let _ = text.parse::<Hour>();
        }
    }

    #[test]
    fn a_date_of_http_is_read() {
        let date = Timestamp::from_http_date("Fri, 02 Jan 2026 03:04:05 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-01-02T03:04:05.000000");
        for bad in ["", "Fri, 02 Jan 2026 03:04:05", "Thu, 02 Jan 2026 03:04:05 GMT", "Friday, 02-Jan-26 03:04:05 GMT"]
        {
            assert_eq!(Timestamp::from_http_date(bad), None, "{bad}");
        }
    }
}
