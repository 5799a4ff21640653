//! Names of files that say which bytes they have: what nodes copy from each other (FORMATS §1).
//!
//! Promises: a name that parses is safe as one path part, and its hash is known.

use super::segment::{
    BadSegmentName, NameFields, SEGMENT_ENDING, SegmentHash, SegmentKind, parse_offset, refuse_unsafe,
};
use super::time::{Hour, Timestamp};

/// Chat batches have another ending than segments, in a directory of their own.
pub const CHAT_ENDING: &str = ".json";
/// Recorders that round differently stamp the same bytes this far apart.
const TWIN_MICROS: i64 = 1_000;

/// A finished segment, or a batch of chat messages, in its hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedName {
    hour: Hour,
    start: Timestamp,
    /// What only segments have.
    segment: Option<(i64, SegmentKind)>,
    hash: SegmentHash,
    text: Box<str>,
}

impl HashedName {
    /// Refuses a `temp`, which has no hash.
    pub fn parse(hour: Hour, text: &str) -> Result<Self, BadSegmentName> {
        let (offset_micros, segment, hash) = match text.strip_suffix(CHAT_ENDING) {
            Some(base) => {
                refuse_unsafe(text)?;
                // The hash may itself hold a dash.
                let (time, hash) = base.split_once('-').ok_or(BadSegmentName::Parts)?;
                (parse_offset(time).ok_or(BadSegmentName::Time)?, None, hash)
            }
            None => {
                let fields = NameFields::parse(text)?;
                let base = text.strip_suffix(SEGMENT_ENDING).ok_or(BadSegmentName::Ending)?;
                let hash = base.splitn(4, '-').nth(3).ok_or(BadSegmentName::Parts)?;
                (fields.offset_micros, Some((fields.duration_micros, fields.kind)), hash)
            }
        };
        if matches!(segment, Some((_, SegmentKind::Temp))) {
            return Err(BadSegmentName::Kind);
        }
        let start = hour.start().plus_micros(i64::from(offset_micros));
        Ok(Self { hour, start, segment, hash: hash.parse()?, text: text.into() })
    }

    pub fn hour(&self) -> Hour {
        self.hour
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `None` of a chat batch.
    pub fn kind(&self) -> Option<SegmentKind> {
        self.segment.map(|(_, kind)| kind)
    }

    pub fn hash(&self) -> SegmentHash {
        self.hash
    }

    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// A chat batch ends where it starts: its name does not say more.
    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(self.segment.map_or(0, |(duration_micros, _)| duration_micros))
    }

    /// Whether both are the same but for how a recorder rounded the start: same bytes, duration and kind.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.segment == other.segment
            && self.start.micros_since(other.start).abs() <= TWIN_MICROS
    }

    /// The hour in which a twin may lie, if this one starts at the edge of its own.
    pub fn hour_beside(&self) -> Option<Hour> {
        if self.start.micros_since(self.hour.start()) <= TWIN_MICROS {
            Some(self.hour.previous())
        } else if self.hour.end().micros_since(self.start) <= TWIN_MICROS {
            Some(self.hour.next())
        } else {
            None
        }
    }

    /// `HOUR/NAME`, as listings and the command line print it.
    pub fn path_text(&self) -> String {
        format!("{}/{}", self.hour, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    fn parse(text: &str) -> Result<HashedName, BadSegmentName> {
        HashedName::parse("2026-01-02T03".parse().unwrap(), text)
    }

    #[test]
    fn segments_and_chat_batches_have_a_hash_and_nothing_else_has() {
        let segment = parse(&format!("58:30.5-2.0-full-{HASH}.ts")).unwrap();
        assert_eq!(segment.hash().to_string(), HASH);
        assert_eq!(segment.start().to_string(), "2026-01-02T03:58:30.500000");
        assert_eq!(segment.end().to_string(), "2026-01-02T03:58:32.500000");
        let chat = parse(&format!("58:30-{HASH}.json")).unwrap();
        assert_eq!((chat.hash(), chat.start()), (segment.hash(), chat.end()));
        for (bad, why) in [
            (format!("58:30.5-2.0-temp-{HASH}.ts"), BadSegmentName::Kind),
            (format!("58:30.5-2.0-full-{HASH}.tombstone"), BadSegmentName::Ending),
            (format!("../58:30-{HASH}.json"), BadSegmentName::Unsafe),
            (format!(".58:30-{HASH}.json"), BadSegmentName::Time),
            (format!("58:30-x{HASH}.json"), BadSegmentName::Hash),
            ("58:30.json".to_owned(), BadSegmentName::Parts),
            ("../../etc/passwd".to_owned(), BadSegmentName::Unsafe),
        ] {
            assert_eq!(parse(&bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn twins_are_the_same_but_for_a_millisecond() {
        let segment = |text: &str| parse(&format!("{text}-{HASH}.ts")).unwrap();
        let one = segment("58:30.500000-2.0-full");
        assert!(one.is_twin_of(&segment("58:30.501000-2.0-full")));
        assert!(one.is_twin_of(&segment("58:30.4990-2.00-full")), "the digits may differ where the value does not");
        assert!(!one.is_twin_of(&segment("58:30.501001-2.0-full")));
        assert!(!one.is_twin_of(&segment("58:30.500000-2.1-full")));
        assert!(!one.is_twin_of(&segment("58:30.500000-2.0-suspect")));
        assert!(
            !one.is_twin_of(&parse("58:30.500000-2.0-full-uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek.ts").unwrap())
        );
    }
}
