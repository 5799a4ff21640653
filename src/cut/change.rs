//! Where the encoding of the source changes along a cut, and what becomes of the stretches that differ.
//!
//! Promises: what is copied of a cut has one encoding from its first frame to its last, as far as encodings are known; what is
//! unknown is taken to be like what comes before it.
//! Never: reads the disk or the clock.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::piece::Piece;
use super::plan::{Part, Plan, PlanError, PlannedRange};
use crate::media::{Audio, Encoding, HourMedia};
use crate::model::CutType;
use crate::model::{SegmentName, Timestamp};
use crate::select::{self, Selection};

/// What is done where a stretch of a cut has another encoding than its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnChange {
    /// The stretch is re-encoded to be like the first one.
    #[default]
    Reencode,
    /// There is no cut.
    Refuse,
}

/// No such thing can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what is done about a change of encoding is reencode or refuse")]
pub struct UnknownOnChange;

impl FromStr for OnChange {
    type Err = UnknownOnChange;

    fn from_str(text: &str) -> Result<Self, UnknownOnChange> {
        match text {
            "reencode" => Ok(Self::Reencode),
            "refuse" => Ok(Self::Refuse),
            _ => Err(UnknownOnChange),
        }
    }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reencode => "reencode",
            Self::Refuse => "refuse",
        })
    }
}

/// What is known of the encodings of one quality's segments, by their starts: of each start, one is best.
#[derive(Debug, Clone, Default)]
pub struct KnownEncodings(BTreeMap<Timestamp, Arc<Encoding>>);

impl KnownEncodings {
    /// Takes what is known of a selection's hours; `media` has one of each of them, or is empty.
    pub fn see(&mut self, selection: &Selection, media: &[Arc<HourMedia>]) {
        for ((_, parts), media) in selection.hours().zip(media) {
            let mut last: Option<Arc<Encoding>> = None;
            for part in parts {
                let select::Part::Segment(segment) = selection.part(part) else { continue };
                let kind = selection.place_in_hour(part).and_then(|place| media.at(place));
                let Some(encoding) = kind.map(|kind| &kind.media.encoding) else { continue };
                // An hour is of one encoding, mostly: it is held once.
                let held = match last.take().filter(|last| **last == *encoding) {
                    Some(last) => last,
                    None => Arc::new(encoding.clone()),
                };
                self.0.insert(segment.start, Arc::clone(&held));
                last = Some(held);
            }
        }
    }

    fn of(&self, segment: &SegmentName) -> Option<&Arc<Encoding>> {
        self.0.get(&segment.start())
    }
}

/// From this segment on, in the order of the cut, the source has this encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingFrom {
    pub segment: SegmentName,
    pub encoding: Arc<Encoding>,
}

impl EncodingFrom {
    /// `avc1.64001f 1280x720, mp4a.40.2 48000 Hz`, for people.
    pub fn text(&self) -> String {
        let video = self.encoding.video.iter();
        let video = video.map(|video| format!("{} {}x{}", video.codec.as_str(), video.width, video.height));
        let audio = self.encoding.audio.iter().map(|audio| match audio.sample_rate_hz {
            Some(rate) => format!("{} {rate} Hz", audio.codec.as_str()),
            None => audio.codec.as_str().to_owned(),
        });
        video.chain(audio).collect::<Vec<_>>().join(", ")
    }
}

impl Plan {
    /// The same plan, now that encodings are known: stretches that differ from the first one are re-encoded to be like it, or
    /// refused. A rough cut takes them as they are; an archive cannot hold a change.
    pub fn told(mut self, known: &KnownEncodings, on_change: OnChange) -> Result<Self, PlanError> {
        let is_first_known =
            |segment: &SegmentName| known.of(segment).map(|first| (segment.clone(), Arc::clone(first)));
        let Some((segment, first)) = self.segments().find_map(is_first_known) else { return Ok(self) };
        let mut walk = Walk {
            known,
            on_change: if self.cut_type() == CutType::Archive { OnChange::Refuse } else { on_change },
            is_rough: self.cut_type() == CutType::Rough,
            encodings: vec![EncodingFrom { segment, encoding: Arc::clone(&first) }],
            first,
        };
        for piece in &mut self.pieces {
            match piece {
                Piece::Range(range) => walk.range(range)?,
                Piece::Blend { out, into, .. } => {
                    walk.range(out)?;
                    walk.range(into)?;
                }
            }
        }
        self.encodings = walk.encodings;
        Ok(self)
    }

    /// Stretches of a selection without holes, ended too where the encoding changes: what an archive can hold.
    pub(super) fn splits(before: &SegmentName, after: &SegmentName, known: &KnownEncodings) -> bool {
        known.of(before).zip(known.of(after)).is_some_and(|(before, after)| !fits(before, after))
    }
}

struct Walk<'k> {
    known: &'k KnownEncodings,
    on_change: OnChange,
    is_rough: bool,
    first: Arc<Encoding>,
    encodings: Vec<EncodingFrom>,
}

impl Walk<'_> {
    fn range(&mut self, range: &mut PlannedRange) -> Result<(), PlanError> {
        let mut last = Arc::clone(&self.first);
        let mut parts = Vec::with_capacity(range.parts.len());
        for part in std::mem::take(&mut range.parts) {
            match part {
                Part::Copy { segments } => {
                    for segment in segments {
                        let is_like_the_first = self.see(&segment, &mut last)?;
                        push(&mut parts, segment, is_like_the_first);
                    }
                }
                Part::Trim { segment, from, until } => {
                    let is_like_the_first = self.see(&segment, &mut last)?;
                    parts.push(if is_like_the_first {
                        Part::Trim { segment, from, until }
                    } else {
                        Part::Convert { segments: vec![segment], from, until }
                    });
                }
                Part::Convert { .. } => parts.push(part),
            }
        }
        range.parts = parts;
        Ok(())
    }

    /// Whether the segment can be joined to the first one as it is.
    fn see(&mut self, segment: &SegmentName, last: &mut Arc<Encoding>) -> Result<bool, PlanError> {
        if let Some(encoding) = self.known.of(segment)
            && encoding != last
        {
            *last = Arc::clone(encoding);
        }
        if self.encodings.last().is_some_and(|before| !fits(&before.encoding, last)) {
            self.encodings.push(EncodingFrom { segment: segment.clone(), encoding: Arc::clone(last) });
        }
        let is_like_the_first = self.is_rough || fits(&self.first, last);
        if is_like_the_first || self.on_change == OnChange::Reencode {
            return Ok(is_like_the_first);
        }
        let to = self.encodings.last().map_or_else(String::new, EncodingFrom::text);
        let from = self.encodings.first().map_or_else(String::new, EncodingFrom::text);
        Err(PlanError::Changes { segment: segment.path_text(), from, to })
    }
}

/// A converted run is measured as one: 10 minutes of segments of 2 s.
const MAX_RUN: usize = 300;
/// Segments of a run follow each other.
const MAX_APART_MICROS: i64 = 1_000_000;

fn push(parts: &mut Vec<Part>, segment: SegmentName, is_copied: bool) {
    match (parts.last_mut(), is_copied) {
        (Some(Part::Copy { segments }), true) => segments.push(segment),
        (Some(Part::Convert { segments, until: None, from: None }), false)
            if segments.len() < MAX_RUN && segments.last().is_none_or(|last| follows(last, &segment)) =>
        {
            segments.push(segment)
        }
        (_, true) => parts.push(Part::Copy { segments: vec![segment] }),
        (_, false) => parts.push(Part::Convert { segments: vec![segment], from: None, until: None }),
    }
}

fn follows(before: &SegmentName, after: &SegmentName) -> bool {
    after.start().micros_since(before.end()).abs() <= MAX_APART_MICROS
}

/// Whether frames of the two can follow each other in one stream. What differs in a codec's profile and level alone, as the
/// re-encoded edges do from what lies between them, players take.
fn fits(one: &Encoding, other: &Encoding) -> bool {
    let family = |codec: &str| codec.split('.').next().map(str::to_owned);
    let same_video = match (&one.video, &other.video) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            (one.track, one.width, one.height) == (other.track, other.width, other.height)
                && family(one.codec.as_str()) == family(other.codec.as_str())
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    one.container == other.container
        && same_video
        && one.audio.len() == other.audio.len()
        && one.audio.iter().zip(&other.audio).all(|(one, other)| same_audio(one, other))
}

fn same_audio(one: &Audio, other: &Audio) -> bool {
    // Not always told.
    let may_be_same = |one: Option<u32>, other: Option<u32>| one.zip(other).is_none_or(|(one, other)| one == other);
    one.track == other.track
        && one.codec == other.codec
        && may_be_same(one.sample_rate_hz, other.sample_rate_hz)
        && may_be_same(one.channels.map(u32::from), other.channels.map(u32::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fixtures::{hour, index_of, media};
    use crate::media::{SegmentMedia, Video};
    use crate::model::Span;

    /// Four segments of two seconds of which this is known.
    fn selected(known: &[Option<SegmentMedia>; 4], start: &str, end: &str) -> (Selection, KnownEncodings) {
        let index = index_of("2026-01-02T03", &[(0, "full"), (2, "full"), (4, "full"), (6, "full")]);
        let span = format!("2026-01-02T03:00:{start},2026-01-02T03:00:{end}").parse::<Span>().unwrap();
        let media = Arc::new(hour(&index, known));
        let selection = Selection::choose(span, vec![index]);
        let mut encodings = KnownEncodings::default();
        encodings.see(&selection, &[media]);
        (selection, encodings)
    }

    /// What is done with each segment: copied, trimmed, and in converted runs of how many.
    fn shown(plan: &Plan) -> String {
        let parts = plan.parts().map(|part| match part {
            Part::Copy { segments } => format!("copy {}", segments.len()),
            Part::Trim { .. } => "trim".to_owned(),
            Part::Convert { segments, from, until } => {
                format!(
                    "{}convert {}{}",
                    if from.is_some() { "[" } else { "" },
                    segments.len(),
                    if until.is_some() { "]" } else { "" }
                )
            }
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_differs_from_the_first_is_converted_or_refused() {
        let (a, b) = (Some(media(720)), Some(media(480)));
        for (known, expected, encodings) in [
            ([a.clone(), a.clone(), a.clone(), a.clone()], "trim, copy 2, trim", 1),
            ([a.clone(), a.clone(), b.clone(), b.clone()], "trim, copy 1, convert 1, convert 1]", 2),
            ([a.clone(), b.clone(), b.clone(), a.clone()], "trim, convert 2, trim", 3),
            ([b.clone(), a.clone(), a.clone(), a.clone()], "trim, convert 2, convert 1]", 2),
            // What is unknown is like what comes before it; before all else, like the first that is known.
            ([None, a.clone(), None, b.clone()], "trim, copy 2, convert 1]", 2),
            ([a.clone(), b.clone(), None, a.clone()], "trim, convert 2, trim", 3),
            ([None, None, None, None], "trim, copy 2, trim", 0),
        ] {
            let (selection, knowledge) = selected(&known, "01", "07");
            let plan = Plan::new(CutType::Smart, &[Piece::Range(selection)], false).unwrap();
            let told = plan.clone().told(&knowledge, OnChange::Reencode).unwrap();
            assert_eq!((shown(&told).as_str(), told.encodings.len()), (expected, encodings), "{known:?}");
            let refused = plan.told(&knowledge, OnChange::Refuse);
            assert_eq!(refused.is_err(), encodings > 1, "{refused:?}");
        }
        let (selection, knowledge) = selected(&[a.clone(), a, b.clone(), b], "00", "08");
        let rough = Plan::new(CutType::Rough, &[Piece::Range(selection.clone())], false).unwrap();
        let told = rough.told(&knowledge, OnChange::Refuse).unwrap();
        assert_eq!((shown(&told).as_str(), told.encodings.len()), ("copy 4", 2));
        let archive = Plan::new(CutType::Archive, &[Piece::Range(selection.clone())], false).unwrap();
        assert!(matches!(archive.told(&knowledge, OnChange::Reencode), Err(PlanError::Changes { .. })));
        let lengths: Vec<usize> =
            Plan::archives(&selection, &knowledge).iter().map(|plan| plan.segments().count()).collect();
        assert_eq!(lengths, [2, 2]);
    }

    #[test]
    fn only_what_players_stumble_over_counts() {
        let with = |change: fn(&mut Encoding)| {
            let mut encoding = media(720).encoding;
            let codec = crate::media::CodecName::new("mp4a.40.2").unwrap();
            encoding.audio = vec![Audio { track: 257, codec, sample_rate_hz: Some(48_000), channels: Some(2) }];
            change(&mut encoding);
            encoding
        };
        let video = |change: fn(&mut Video)| {
            let mut encoding = with(|_| {});
            change(encoding.video.as_mut().unwrap());
            encoding
        };
        let codec = |text: &str| crate::media::CodecName::new(text).unwrap();
        let mut other_level = with(|_| {});
        other_level.video.as_mut().unwrap().codec = codec("avc1.640028");
        let mut other_codec = with(|_| {});
        other_codec.video.as_mut().unwrap().codec = codec("hvc1.1.6");
        let plain = with(|_| {});
        for (other, is_same) in [
            (with(|_| {}), true),
            (other_level, true),
            (with(|encoding| encoding.audio[0].channels = None), true),
            (other_codec, false),
            (video(|video| video.width = 640), false),
            (video(|video| video.track = 300), false),
            (with(|encoding| encoding.audio[0].sample_rate_hz = Some(44_100)), false),
            (with(|encoding| encoding.audio[0].channels = Some(1)), false),
            (with(|encoding| encoding.audio.clear()), false),
            (with(|encoding| encoding.video = None), false),
        ] {
            assert_eq!((fits(&plain, &other), fits(&other, &plain)), (is_same, is_same), "{other:?}");
        }
    }
}
