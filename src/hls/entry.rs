//! The lines that say one segment or gap, and the addresses in them.
//!
//! By hand, as a long playlist is little else: formatting it with `write!` takes several times as long.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{Channel, Hour, Quality, Timestamp};
use crate::select::{Hole, Segment};

/// RFC 3986's unreserved characters stand for themselves in a path part.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One path part of a URL.
pub fn encode(part: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(part, PATH_PART)
}

/// An hour's name, written once for its many segments.
#[derive(Default)]
pub(super) struct HourText(Option<(Hour, String)>);

impl HourText {
    pub(super) fn of(&mut self, hour: Hour) -> &str {
        if self.0.as_ref().is_none_or(|(held, _)| *held != hour) {
            self.0 = Some((hour, hour.to_string()));
        }
        self.0.as_ref().map_or("", |(_, text)| text)
    }
}

pub(super) fn push_segment(text: &mut String, urls: &Urls, hour_text: &str, segment: &Segment<'_>) {
    let offset_micros = segment.start.micros_since(segment.hour.start()) as u64;
    text.push_str("#EXT-X-PROGRAM-DATE-TIME:");
    text.push_str(hour_text);
    text.push(':');
    push_digits(text, offset_micros / 60_000_000, 2);
    text.push(':');
    push_digits(text, offset_micros / 1_000_000 % 60, 2);
    text.push('.');
    push_digits(text, offset_micros % 1_000_000, 6);
    text.push_str("Z\n");
    push_extinf(text, segment.duration_micros);
    urls.push(text, hour_text, segment.name);
    text.push('\n');
}

fn push_extinf(text: &mut String, duration_micros: i64) {
    text.push_str("#EXTINF:");
    let duration_micros = duration_micros.unsigned_abs();
    push_digits(text, duration_micros / 1_000_000, 1);
    text.push('.');
    push_digits(text, duration_micros % 1_000_000, 6);
    text.push_str(",\n");
}

/// How a hole is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// As a discontinuity: every player bears it.
    Discontinuity,
    /// As entries marked EXT-X-GAP, so that the time line has no jump; for players of protocol version 8.
    Gap,
}

/// An entry that stands for what is missing.
pub(super) struct GapEntry {
    pub start: Timestamp,
    pub duration_micros: i64,
}

/// A hole as entries of equal length, as few as the target duration allows.
pub(super) fn gap_entries(hole: Hole, target_seconds: u64) -> impl Iterator<Item = GapEntry> {
    let length_micros = hole.end.micros_since(hole.start).unsigned_abs();
    let count = length_micros.div_ceil(target_seconds * 1_000_000);
    let bound = move |number: u64| {
        let offset = u128::from(length_micros) * u128::from(number) / u128::from(count);
        hole.start.plus_micros(offset as i64)
    };
    (0..count).map(move |number| GapEntry {
        start: bound(number),
        duration_micros: bound(number + 1).micros_since(bound(number)),
    })
}

impl GapEntry {
    /// An entry must have an address, and players do not ask for one that is marked as a gap.
    pub fn push(&self, text: &mut String, urls: &Urls) {
        let Self { start, duration_micros } = self;
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{start}Z\n#EXT-X-GAP");
        push_extinf(text, *duration_micros);
        let _ = writeln!(text, "{}{}/gap-{}", urls.prefix, start.hour(), start.micros());
    }
}

/// A number in decimal, with zeros before it to at least `width` digits.
fn push_digits(text: &mut String, mut value: u64, width: usize) {
    // 20 digits hold any u64.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let from = at.min(digits.len() - width);
    text.push_str(std::str::from_utf8(&digits[from..]).expect("digits are ASCII"));
}

/// Where segments' bytes are.
#[derive(Debug, Clone)]
pub(super) struct Urls {
    /// `/segments/CHANNEL/QUALITY/`
    prefix: String,
}

impl Urls {
    pub fn new(channel: &Channel, quality: &Quality) -> Self {
        Self { prefix: format!("/segments/{}/{}/", encode(channel.as_str()), encode(quality.as_str())) }
    }

    /// The EXT-X-MAP line for a segment that holds its own initialisation section.
    pub(super) fn map_tag(&self, hour: Hour, name: &str, init_bytes: u64) -> String {
        let mut line = String::from("#EXT-X-MAP:URI=\"");
        self.push(&mut line, &hour.to_string(), name);
        let _ = writeln!(line, "\",BYTERANGE=\"{init_bytes}@0\"");
        line
    }

    fn push(&self, text: &mut String, hour_text: &str, name: &str) {
        text.push_str(&self.prefix);
        text.push_str(hour_text);
        text.push('/');
        match name.split_once(':') {
            // What nearly every name is: the colon of MM:SS, and else only what stands for itself.
            Some((minute, rest)) if is_plain(minute) && is_plain(rest) => {
                text.push_str(minute);
                text.push_str("%3A");
                text.push_str(rest);
            }
            _ => {
                let _ = write!(text, "{}", encode(name));
            }
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_padded_and_never_cut() {
        for (value, width, expected) in
            [(0, 1, "0"), (7, 2, "07"), (123, 2, "123"), (0, 6, "000000"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut text = String::new();
            push_digits(&mut text, value, width);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_name_of_any_form_is_encoded() {
        let urls = Urls::new(&"c".parse().unwrap(), &"q".parse().unwrap());
        for name in ["00:00.5-2.0-full-a_b.ts", "a b:c.ts", "a:b:c", "é", "plain.ts", "%3A:x"] {
            let mut text = String::new();
            urls.push(&mut text, "H", name);
            assert_eq!(text, format!("/segments/c/q/H/{}", encode(name)));
        }
    }
}
