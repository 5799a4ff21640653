//! A segment's name, which carries everything that choosing needs (FORMATS §1).
//!
//! Promises: times and durations come exactly from the digits, without floating point; the text of a parsed name is
//! kept as it came. A name that parses is safe as one path part.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::time::{Hour, Timestamp};

/// Kept for every container, also fragmented MP4.
pub const SEGMENT_ENDING: &str = ".ts";
pub const TOMBSTONE_ENDING: &str = ".tombstone";

/// 32 bytes as base64 without padding.
const HASH_CHARS: usize = 43;
/// Longest file name that Linux file systems take, in bytes (NAME_MAX).
const MAX_NAME_BYTES: usize = 255;
/// More whole seconds than this is no duration of a segment but a lie that would overflow (about 31 years).
const MAX_SECOND_DIGITS: usize = 9;

/// Why a text is no segment name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSegmentName {
    #[error("a segment name ends in .ts")]
    Ending,
    #[error("a segment name is MM:SS[.ffffff]-DURATION-TYPE-HASH.ts")]
    Parts,
    #[error("the time within the hour is MM:SS with up to six digits of fraction")]
    Time,
    #[error("the duration is decimal seconds")]
    Duration,
    #[error("the type is full, suspect, partial or temp")]
    Kind,
    #[error("the hash is 43 characters of URL-safe base64")]
    Hash,
    #[error("a name holds no slash, backslash or control character, and at most 255 bytes")]
    Unsafe,
}

/// What is known of a segment's content. In order of worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// Being written; it may vanish.
    Temp,
    /// Known to be incomplete.
    Partial,
    /// Looks complete, but may be short or mistimed.
    Suspect,
    /// Complete.
    Full,
}

impl SegmentKind {
    pub const ALL: [SegmentKind; 4] = [Self::Temp, Self::Partial, Self::Suspect, Self::Full];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temp => "temp",
            Self::Partial => "partial",
            Self::Suspect => "suspect",
            Self::Full => "full",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a segment's bytes. Ordered as raw bytes, which is not the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentHash([u8; 32]);

impl SegmentHash {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SegmentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SegmentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SegmentHash {
    type Err = BadSegmentName;

    fn from_str(text: &str) -> Result<Self, BadSegmentName> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) if text.len() == HASH_CHARS => Ok(Self(bytes)),
            _ => Err(BadSegmentName::Hash),
        }
    }
}

/// The fields of a name, without its text: what an index keeps of each of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameFields {
    /// Start, in µs after the hour's start; below 3,600,000,000.
    pub offset_micros: u32,
    /// In µs; below 10^15.
    pub duration_micros: i64,
    pub kind: SegmentKind,
}

impl NameFields {
    /// Reads a file name; neither allocates nor decodes the hash, but checks its form.
    pub fn parse(name: &str) -> Result<Self, BadSegmentName> {
        refuse_unsafe(name)?;
        let base = name.strip_suffix(SEGMENT_ENDING).ok_or(BadSegmentName::Ending)?;
        // At most three splits from the left: the hash may itself hold a dash.
        let mut parts = base.splitn(4, '-');
        let (Some(time), Some(duration), Some(kind), Some(hash)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadSegmentName::Parts);
        };
        let kind = SegmentKind::parse(kind).ok_or(BadSegmentName::Kind)?;
        let fields = Self {
            offset_micros: parse_offset(time).ok_or(BadSegmentName::Time)?,
            duration_micros: parse_duration_text(duration).ok_or(BadSegmentName::Duration)?,
            kind,
        };
        if kind != SegmentKind::Temp && !is_hash(hash) {
            return Err(BadSegmentName::Hash);
        }
        Ok(fields)
    }
}

/// What could leave its directory, or does not fit in one.
pub(super) fn refuse_unsafe(name: &str) -> Result<(), BadSegmentName> {
    if name.len() > MAX_NAME_BYTES || name.bytes().any(|b| b == b'/' || b == b'\\' || b < b' ' || b == 0x7f) {
        return Err(BadSegmentName::Unsafe);
    }
    Ok(())
}

/// `MM:SS[.ffffff]`: a point without digits is allowed, more than six digits are not.
pub(super) fn parse_offset(text: &str) -> Option<u32> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0'));
    let (minute, second) = (digit(0)? * 10 + digit(1)?, digit(3)? * 10 + digit(4)?);
    if bytes[2] != b':' || minute > 59 || second > 59 {
        return None;
    }
    let micros = match &bytes[5..] {
        [] => 0,
        [b'.', fraction @ ..] if fraction.len() <= 6 => {
            let mut micros = 0;
            for at in 0..6 {
                micros = micros * 10 + if at < fraction.len() { digit(6 + at)? } else { 0 };
            }
            micros
        }
        _ => return None,
    };
    Some((minute * 60 + second) * 1_000_000 + micros)
}

/// Decimal seconds (`2.0`, `1.9668`, `.5`, `10`) as microseconds, from the digits. More than six digits of fraction are
/// rounded, halves to even, as the existing system does. `None` for signs, exponents, blanks, and absurd lengths.
pub fn parse_duration_text(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_SECOND_DIGITS {
        return None;
    }
    let number = |digits: &str| digits.bytes().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    let kept = fraction.len().min(6);
    let mut micros = number(&fraction[..kept]) * 10i64.pow(6 - kept as u32);
    let dropped = &fraction.as_bytes()[kept..];
    if let Some(first) = dropped.first() {
        let past_half = *first > b'5' || (*first == b'5' && dropped[1..].iter().any(|digit| *digit != b'0'));
        let is_half = *first == b'5' && !past_half;
        micros += i64::from(past_half || (is_half && micros % 2 == 1));
    }
    Some(number(whole) * 1_000_000 + micros)
}

/// Microseconds as the decimal seconds of a name: `2.0`, `1.9668`, `0.0005`. At least one digit of fraction and no
/// trailing zeros beyond it, so that two nodes that record the same segment give it the same name.
pub fn duration_text(micros: i64) -> String {
    let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let fraction = format!("{fraction:06}");
    let fraction = fraction.trim_end_matches('0');
    format!("{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

/// Form only: 43 characters of the alphabet, the last of which codes four bits.
fn is_hash(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == HASH_CHARS
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_')
        && b"AEIMQUYcgkosw048".contains(&bytes[HASH_CHARS - 1])
}

/// The tombstone that hides the file `name`: the same base name, another ending (FORMATS §2).
pub fn tombstone_of(name: &str) -> Option<String> {
    let (base, ending) = name.rsplit_once('.')?;
    (format!(".{ending}") != TOMBSTONE_ENDING && !base.is_empty()).then(|| format!("{base}{TOMBSTONE_ENDING}"))
}

/// A segment's file name and the hour that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    hour: Hour,
    fields: NameFields,
    text: Box<str>,
}

impl SegmentName {
    pub fn parse(hour: Hour, text: &str) -> Result<Self, BadSegmentName> {
        let fields = NameFields::parse(text)?;
        Ok(Self { hour, fields, text: text.into() })
    }

    /// The name of a finished segment.
    pub fn finished(start: Timestamp, duration_micros: i64, kind: SegmentKind, hash: SegmentHash) -> Self {
        Self::compose(start, duration_micros, kind, &hash)
    }

    /// The name of a segment that is being written; `unique` keeps two writers of one segment apart.
    pub fn temp(start: Timestamp, duration_micros: i64, unique: &str) -> Self {
        Self::compose(start, duration_micros, SegmentKind::Temp, &unique)
    }

    fn compose(start: Timestamp, duration_micros: i64, kind: SegmentKind, last: &dyn fmt::Display) -> Self {
        let hour = start.hour();
        let offset_micros = start.micros_since(hour.start()) as u32;
        let (minute, second) = (offset_micros / 60_000_000, offset_micros / 1_000_000 % 60);
        let text = format!(
            "{minute:02}:{second:02}.{:06}-{}-{kind}-{last}{SEGMENT_ENDING}",
            offset_micros % 1_000_000,
            duration_text(duration_micros)
        );
        Self { hour, fields: NameFields { offset_micros, duration_micros, kind }, text: text.into() }
    }

    pub fn hour(&self) -> Hour {
        self.hour
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn kind(&self) -> SegmentKind {
        self.fields.kind
    }

    pub fn start(&self) -> Timestamp {
        self.hour.start().plus_micros(i64::from(self.fields.offset_micros))
    }

    pub fn end(&self) -> Timestamp {
        self.start().plus_micros(self.fields.duration_micros)
    }

    pub fn duration_micros(&self) -> i64 {
        self.fields.duration_micros
    }

    /// `None` for a `temp`, which has no hash yet.
    pub fn hash(&self) -> Option<SegmentHash> {
        let base = self.text.strip_suffix(SEGMENT_ENDING)?;
        base.splitn(4, '-').nth(3)?.parse().ok()
    }

    /// `HOUR/NAME`, as listings and the command line print it.
    pub fn path_text(&self) -> String {
        format!("{}/{}", self.hour, self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, micros) in [
            ("2.0", 2_000_000),
            ("1.9668", 1_966_800),
            (".5", 500_000),
            ("5.", 5_000_000),
            ("0.0000005", 0),
            ("0.0000015", 2),
            ("0.00000051", 1),
            ("0000000000002", 2_000_000),
            ("999999999.999999", 999_999_999_999_999),
        ] {
            assert_eq!(parse_duration_text(text), Some(micros), "{text}");
        }
        for bad in ["", ".", "-2.0", "+2", "1e3", "inf", "nan", "1 ", "1_0", "1.2.3", "1000000000", "1e300"] {
            assert_eq!(parse_duration_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_empty_content_has_the_hash_of_the_formats() {
        let hash: SegmentHash = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU".parse().unwrap();
        assert_eq!(hash.to_string(), "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn a_tombstone_keeps_the_base_name() {
        assert_eq!(tombstone_of("a.b.ts").as_deref(), Some("a.b.tombstone"));
        assert_eq!(tombstone_of("a.json").as_deref(), Some("a.tombstone"));
        assert_eq!(tombstone_of("a.tombstone"), None);
        assert_eq!(tombstone_of("a"), None);
    }

    proptest! {
        #[test]
        fn a_composed_name_parses_to_itself(
            micros in 0i64..4_102_444_800_000_000,
            duration in 0i64..1_000_000_000,
            hash in prop::array::uniform32(any::<u8>()),
        ) {
            let start = Timestamp::from_micros(micros);
            let hash = SegmentHash::from_bytes(hash);
            for kind in [SegmentKind::Full, SegmentKind::Suspect, SegmentKind::Partial] {
                let name = SegmentName::finished(start, duration, kind, hash);
                prop_assert_eq!(&SegmentName::parse(name.hour(), name.as_str()).unwrap(), &name);
                prop_assert_eq!((name.start(), name.duration_micros()), (start, duration));
                prop_assert_eq!(name.hash(), Some(hash));
            }
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,80}|[0-9:.]{5,12}-[0-9.]{1,9}-(full|temp)-[A-Za-z_-]{43}\\.ts") {
            let _ = NameFields::parse(&text);
        }
    }
}
