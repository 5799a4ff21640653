//! What one hour holds, as a small immutable value: which encoding where, and how much.
//!
//! An hour of one encoding is a single run, so that a week of such hours costs a playlist nothing per segment.

use std::sync::{Arc, Weak};

use super::encoding::{EncodingId, SegmentMedia};
use super::frame_rate::FrameRate;
use super::knowledge::{HourKnowledge, KIND_BYTES, Rate};
use crate::select::HourIndex;

/// What is known of the best segments of one index. Cheap to share.
#[derive(Debug)]
pub struct HourMedia {
    /// Which index the places are of; the index itself is not kept alive.
    index: Weak<HourIndex>,
    kinds: Box<[HourKind]>,
    /// From the first place on; two that follow each other differ.
    runs: Box<[Run]>,
    totals: Totals,
}

/// An encoding of the hour.
#[derive(Debug, Clone, PartialEq)]
pub struct HourKind {
    pub id: EncodingId,
    pub media: SegmentMedia,
    /// Measured on one segment.
    pub frame_rate: Option<FrameRate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first_place: u32,
    /// `None` where it is unknown or cannot be read.
    kind: Option<u16>,
}

/// Sums over the best segments whose sizes are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub bytes: u64,
    pub micros: u64,
    /// Of one segment; those shorter than half of the hour's longest do not count (RFC 8216 §4.3.4.2).
    pub peak_bits_per_second: u64,
}

impl Totals {
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            micros: self.micros.saturating_add(other.micros),
            peak_bits_per_second: self.peak_bits_per_second.max(other.peak_bits_per_second),
        }
    }

    /// `None` where nothing is known.
    pub fn average_bits_per_second(self) -> Option<u64> {
        bits_per_second(self.bytes, self.micros)
    }
}

/// Rounded up: a figure in a playlist must not be exceeded.
fn bits_per_second(bytes: u64, micros: u64) -> Option<u64> {
    (micros > 0).then(|| bytes.saturating_mul(8_000_000).div_ceil(micros))
}

impl HourMedia {
    pub fn new(index: &Arc<HourIndex>, knowledge: &HourKnowledge) -> Self {
        let kinds = knowledge.kinds.iter().map(|kind| HourKind {
            id: kind.media.encoding.id(),
            media: kind.media.clone(),
            frame_rate: match kind.rate {
                Rate::NotMeasured => None,
                Rate::Measured(rate) => rate,
            },
        });
        let mut runs: Vec<Run> = Vec::new();
        let mut totals = Totals::default();
        for (place, segment) in index.best().enumerate() {
            let fact = knowledge.fact(segment.name);
            let kind = fact.and_then(|fact| fact.kind);
            if runs.last().is_none_or(|run| run.kind != kind) {
                runs.push(Run { first_place: place as u32, kind });
            }
            let micros = segment.duration_micros.unsigned_abs();
            if let Some(fact) = fact {
                let counts = micros.saturating_mul(2) >= index.longest_micros().unsigned_abs();
                let peak = bits_per_second(fact.size_bytes, micros).filter(|_| counts).unwrap_or(0);
                totals = totals.and(Totals { bytes: fact.size_bytes, micros, peak_bits_per_second: peak });
            }
        }
        Self { index: Arc::downgrade(index), kinds: kinds.collect(), runs: runs.into(), totals }
    }

    /// Nothing is known.
    pub fn unknown(index: &Arc<HourIndex>) -> Self {
        Self::new(index, &HourKnowledge::default())
    }

    /// Whether the places are those of this very index.
    pub fn is_of(&self, index: &Arc<HourIndex>) -> bool {
        std::ptr::eq(self.index.as_ptr(), Arc::as_ptr(index))
    }

    /// The encoding of the segment at this place among the best; `None` where it is unknown or cannot be read.
    pub fn at(&self, place: usize) -> Option<&HourKind> {
        let run = self.runs.partition_point(|run| run.first_place as usize <= place).checked_sub(1)?;
        self.kind(self.runs[run])
    }

    /// Every encoding that is somewhere in the hour, run by run: once for an hour of one encoding.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = &HourKind> {
        self.runs.iter().filter_map(|run| self.kind(*run))
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn kind(&self, run: Run) -> Option<&HourKind> {
        Some(&self.kinds[usize::from(run.kind?)])
    }

    /// Memory that this value holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.runs) + self.kinds.len() * KIND_BYTES
    }
}

/// Hours to test with.
#[cfg(test)]
pub mod fixtures {
    use super::*;
    use crate::media::{CodecName, Container, Encoding, Init, Video};

    pub fn name(second: u32, kind: &str) -> String {
        format!("{:02}:{:02}.0-2.0-{kind}-47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU.ts", second / 60, second % 60)
    }

    /// Segments of 2 s at these seconds of 2026-01-02T03.
    pub fn index(segments: &[(u32, &str)]) -> Arc<HourIndex> {
        index_of("2026-01-02T03", segments)
    }

    pub fn index_of(hour: &str, segments: &[(u32, &str)]) -> Arc<HourIndex> {
        let names: Vec<String> = segments.iter().map(|(second, kind)| name(*second, kind)).collect();
        Arc::new(HourIndex::build(hour.parse().unwrap(), names.iter().map(String::as_str), |_| 0))
    }

    /// Video in a transport stream, of this height.
    pub fn media(height: u32) -> SegmentMedia {
        let codec = CodecName::new("avc1.64001f").unwrap();
        let video = Some(Video { track: 256, codec, width: 1280, height });
        SegmentMedia { encoding: Encoding { container: Container::MpegTs, video, audio: Vec::new() }, init: None }
    }

    /// The same in fragmented MP4, with these bytes of initialisation.
    pub fn mp4_media(height: u32, init: &[u8]) -> SegmentMedia {
        let mut media = media(height);
        media.encoding.container = Container::FragmentedMp4;
        SegmentMedia { init: Some(Init::of(init)), ..media }
    }

    /// The hour with this known of its segments, in order; `None` is unknown.
    pub fn hour(index: &Arc<HourIndex>, known: &[Option<SegmentMedia>]) -> HourMedia {
        let mut knowledge = HourKnowledge::default();
        for (segment, media) in index.best().zip(known) {
            if let Some(media) = media {
                knowledge.learn(segment.name, 1000, Some(media.clone()));
            }
        }
        HourMedia::new(index, &knowledge)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{hour, index, media, name};
    use super::*;

    #[test]
    fn an_hour_of_one_encoding_is_one_run() {
        let segments: Vec<(u32, &str)> = (0..1800).map(|at| (2 * at, "full")).collect();
        let index = index(&segments);
        let hour = hour(&index, &vec![Some(media(720)); 1800]);
        assert_eq!((hour.runs.len(), hour.in_order().count()), (1, 1));
        assert!(hour.size_bytes() < 1000, "{}", hour.size_bytes());
        assert!(hour.is_of(&index) && !hour.is_of(&Arc::new(HourIndex::empty("2026-01-02T03".parse().unwrap()))));
        assert_eq!(hour.at(1799).unwrap().media, media(720));
    }

    #[test]
    fn each_place_has_what_is_known_of_it() {
        let index = index(&[(0, "full"), (2, "full"), (4, "full"), (6, "full")]);
        let hour = hour(&index, &[None, Some(media(720)), Some(media(480)), Some(media(720))]);
        let heights = |place| hour.at(place).map(|kind| kind.media.encoding.video.as_ref().unwrap().height);
        assert_eq!([0, 1, 2, 3].map(heights), [None, Some(720), Some(480), Some(720)]);
        assert_eq!(HourMedia::unknown(&index).at(3), None);
        assert_eq!(hour.at(0), None);
        assert_eq!(HourMedia::unknown(&Arc::new(HourIndex::empty("2026-01-02T03".parse().unwrap()))).at(0), None);
    }

    #[test]
    fn sums_and_peak_are_of_the_sizes() {
        let hash = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
        let short = format!("00:08.0-0.1-full-{hash}.ts");
        let names = [name(0, "full"), name(2, "full"), name(4, "full"), short.clone()];
        let index =
            Arc::new(HourIndex::build("2026-01-02T03".parse().unwrap(), names.iter().map(String::as_str), |_| 0));
        let mut knowledge = HourKnowledge::default();
        // The short one has the highest rate, but players do not count it; of the third nothing is known.
        for (name, size_bytes) in [(&names[0], 1_000_000), (&names[1], 1_500_001), (&short, 900_000)] {
            knowledge.learn(name, size_bytes, None);
        }
        let totals = HourMedia::new(&index, &knowledge).totals();
        assert_eq!(totals, Totals { bytes: 3_400_001, micros: 4_100_000, peak_bits_per_second: 6_000_004 });
        assert_eq!(totals.average_bits_per_second(), Some(6_634_149));
        assert_eq!(Totals::default().average_bits_per_second(), None);
    }
}
