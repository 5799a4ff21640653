//! What has been learnt of an hour's segments, one by one; it only grows, and survives a restart as text.
//!
//! Promises: what is known of a name stays true for ever, as the name holds its content's hash; a text that is damaged or
//! not ours is no knowledge.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::encoding::SegmentMedia;
use super::frame_rate::FrameRate;
use crate::model::SegmentKind;
use crate::select::{HourIndex, Segment};

/// More encodings than this in an hour are noise: the segments of the others count as unreadable.
const MAX_KINDS: usize = 256;
/// Before the checksum; the number is the version of the text.
const TEXT_MARK: &str = "segvault media 1 ";

/// What is known of an hour, by segment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HourKnowledge {
    pub(super) kinds: Vec<KnownKind>,
    /// Sorted by key, no key twice.
    facts: Vec<Fact>,
}

/// An encoding of the hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownKind {
    pub media: SegmentMedia,
    pub rate: Rate,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Rate {
    NotMeasured,
    /// `None`: a whole segment had no rate.
    Measured(Option<FrameRate>),
}

/// A segment of it. As text a row of three: an hour has thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, Option<u16>)", into = "(u64, u64, Option<u16>)")]
pub(super) struct Fact {
    key: u64,
    pub size_bytes: u64,
    /// Its place in `kinds`; `None` if it cannot be read.
    pub kind: Option<u16>,
}

impl From<(u64, u64, Option<u16>)> for Fact {
    fn from((key, size_bytes, kind): (u64, u64, Option<u16>)) -> Self {
        Self { key, size_bytes, kind }
    }
}

impl From<Fact> for (u64, u64, Option<u16>) {
    fn from(fact: Fact) -> Self {
        (fact.key, fact.size_bytes, fact.kind)
    }
}

impl HourKnowledge {
    /// Reads back what `to_text` wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (sum, json) = text.strip_prefix(TEXT_MARK.as_bytes())?.split_at_checked(43)?;
        let json = json.strip_prefix(b"\n")?;
        let knowledge: Self = serde_json::from_slice(json).ok().filter(|_| sum == checksum(json).as_bytes())?;
        let kinds = knowledge.kinds.len();
        let is_sound = kinds <= MAX_KINDS
            && knowledge.facts.is_sorted_by(|a, b| a.key < b.key)
            && knowledge.facts.iter().all(|fact| fact.kind.is_none_or(|kind| usize::from(kind) < kinds));
        is_sound.then_some(knowledge)
    }

    pub fn to_text(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("numbers and text are JSON");
        [TEXT_MARK.as_bytes(), checksum(&json).as_bytes(), b"\n", &json].concat()
    }

    /// The best segments of `index` of which nothing is known yet, in order.
    pub fn unknown<'i>(&self, index: &'i HourIndex) -> Vec<Segment<'i>> {
        index.best().filter(|segment| self.fact(segment.name).is_none()).collect()
    }

    /// `media` is `None` for a segment that cannot be read.
    pub fn learn(&mut self, name: &str, size_bytes: u64, media: Option<SegmentMedia>) {
        let kind = media.and_then(|media| self.kind_of(media));
        let fact = Fact { key: key_of(name), size_bytes, kind };
        match self.facts.binary_search_by_key(&fact.key, |known| known.key) {
            Ok(at) => self.facts[at] = fact,
            Err(at) => self.facts.insert(at, fact),
        }
    }

    /// The newest whole segment of an encoding with video whose frame rate nobody has measured; and that encoding, for
    /// `learn_frame_rate`.
    pub fn to_measure<'i>(&self, index: &'i HourIndex) -> Option<(Segment<'i>, SegmentMedia)> {
        let is_open = |kind: &KnownKind| kind.rate == Rate::NotMeasured && kind.media.encoding.video.is_some();
        if !self.kinds.iter().any(is_open) {
            return None;
        }
        index.best().rev().filter(|segment| segment.kind == SegmentKind::Full).find_map(|segment| {
            let kind = &self.kinds[usize::from(self.fact(segment.name)?.kind?)];
            is_open(kind).then(|| (segment, kind.media.clone()))
        })
    }

    pub fn learn_frame_rate(&mut self, media: &SegmentMedia, rate: Option<FrameRate>) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.media == *media) {
            kind.rate = Rate::Measured(rate);
        }
    }

    pub(super) fn fact(&self, name: &str) -> Option<Fact> {
        let key = key_of(name);
        self.facts.binary_search_by_key(&key, |fact| fact.key).ok().map(|at| self.facts[at])
    }

    fn kind_of(&mut self, media: SegmentMedia) -> Option<u16> {
        let known = self.kinds.iter().position(|kind| kind.media == media);
        let at = known.unwrap_or(self.kinds.len());
        if at >= MAX_KINDS {
            return None;
        }
        if known.is_none() {
            self.kinds.push(KnownKind { media, rate: Rate::NotMeasured });
        }
        u16::try_from(at).ok()
    }

    /// Memory that this value holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.facts) + self.kinds.len() * KIND_BYTES
    }
}

/// About what an encoding takes, its text included.
pub(super) const KIND_BYTES: usize = size_of::<KnownKind>() + 256;

/// 64 bits of a name (FNV-1a): enough to tell the thousands of an hour apart.
fn key_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn checksum(json: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::hour::fixtures::{index, media, name};

    #[test]
    fn what_was_learnt_is_known_and_survives_as_text() {
        let index = index(&[(0, "full"), (2, "partial"), (4, "full")]);
        let mut knowledge = HourKnowledge::default();
        assert_eq!(knowledge.unknown(&index).len(), 3);
        knowledge.learn(&name(0, "full"), 100, Some(media(720)));
        knowledge.learn(&name(2, "partial"), 50, None);
        let unknown: Vec<String> = knowledge.unknown(&index).iter().map(|segment| segment.name.to_owned()).collect();
        assert_eq!(unknown, [name(4, "full")]);
        let read_back = HourKnowledge::parse(&knowledge.to_text()).unwrap();
        assert_eq!((&read_back.kinds, &read_back.facts), (&knowledge.kinds, &knowledge.facts));
    }

    #[test]
    fn a_damaged_or_foreign_text_is_none() {
        let mut knowledge = HourKnowledge::default();
        knowledge.learn("a", 1, Some(media(720)));
        knowledge.learn("b", 1, None);
        let text = knowledge.to_text();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert!(HourKnowledge::parse(&damaged).is_none(), "at {at}");
            assert!(HourKnowledge::parse(&text[..at]).is_none(), "cut at {at}");
        }
        // Well-formed, but it speaks of an encoding that is not there.
        knowledge.kinds.clear();
        assert!(HourKnowledge::parse(&knowledge.to_text()).is_none());
    }

    #[test]
    fn each_encoding_with_video_is_measured_once_on_a_whole_segment() {
        let index = index(&[(0, "full"), (2, "full"), (4, "partial")]);
        let mut knowledge = HourKnowledge::default();
        assert!(knowledge.to_measure(&index).is_none());
        knowledge.learn(&name(0, "full"), 1, Some(media(720)));
        knowledge.learn(&name(2, "full"), 1, Some(media(720)));
        knowledge.learn(&name(4, "partial"), 1, Some(media(480)));
        let (segment, measured) = knowledge.to_measure(&index).unwrap();
        assert_eq!((segment.name, &measured), (name(2, "full").as_str(), &media(720)));
        knowledge.learn_frame_rate(&measured, None);
        assert!(knowledge.to_measure(&index).is_none());
    }

    #[test]
    fn too_many_encodings_are_noise() {
        let mut knowledge = HourKnowledge::default();
        for number in 0..=MAX_KINDS as u32 {
            knowledge.learn(&number.to_string(), 1, Some(media(number + 1)));
        }
        assert_eq!(knowledge.kinds.len(), MAX_KINDS);
        assert_eq!(knowledge.fact(&MAX_KINDS.to_string()).unwrap().kind, None);
        assert!(HourKnowledge::parse(&knowledge.to_text()).is_some());
    }
}
