//! Chooses the best segment for each instant of a span (FORMATS §3).
//!
//! Promises: the result is in order and never overlaps by more than the tolerance; a hole is always shown; nothing
//! that starts at or after the span's end is taken.

use std::ops::Range;
use std::sync::Arc;

use super::index::Taken;
use super::{HourIndex, Segment, TOLERANCE_MICROS};
use crate::model::{SegmentKind, Span, Timestamp};

/// A stretch that cannot be shown. Its ends may be equal: then something is missing inside the segment before it,
/// which is not `full`, and nobody knows how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// One piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    Segment(Segment<'a>),
    Hole(Hole),
}

/// The range has holes, and the caller does not allow them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} holes in the range, the first from {} to {}", first.start, first.end)]
pub struct ContainsHoles {
    pub first: Hole,
    pub count: usize,
}

/// Eight bytes, as a week has 302,400 of them: a segment by its hour's number and its place there, or a hole by its number.
#[derive(Debug, Clone, Copy)]
struct Pick {
    hour: u32,
    place: u32,
}

/// Instead of an hour's number: `place` is a hole's.
const IS_HOLE: u32 = u32::MAX;

/// What to show for a span, in order. Keeps the hours' indexes alive instead of copying names.
#[derive(Debug, Clone)]
pub struct Selection {
    span: Span,
    hours: Vec<Arc<HourIndex>>,
    /// Of each hour, how many picks are made before it.
    picked_before: Vec<usize>,
    picks: Vec<Pick>,
    holes: Vec<Hole>,
}

impl Selection {
    /// Chooses from `hours`, which are those of `span.hours()`, in order; an hour without a directory may be absent.
    pub fn choose(span: Span, hours: Vec<Arc<HourIndex>>) -> Self {
        Self::choose_on(span, hours, None, span.end())
    }

    fn choose_on(span: Span, hours: Vec<Arc<HourIndex>>, last: Option<Taken>, line: Timestamp) -> Self {
        let line = line.min(span.end());
        debug_assert!(hours.windows(2).all(|pair| pair[0].hour() < pair[1].hour()));
        let most = hours.iter().map(|index| index.len()).sum();
        let mut chooser = Chooser { span, picks: Vec::with_capacity(most), holes: Vec::new(), last };
        let mut picked_before = Vec::with_capacity(hours.len());
        'hours: for (at, index) in hours.iter().enumerate() {
            picked_before.push(chooser.picks.len());
            for place in 0..index.len() {
                if chooser.is_done() {
                    break 'hours;
                }
                let segment = index.brief_at(place);
                // A segment shorter than the tolerance would follow itself.
                if last.is_some_and(|last| segment.start <= last.start) {
                    continue;
                }
                if segment.start >= line {
                    break 'hours;
                }
                chooser.offer(segment, Pick { hour: at as u32, place: place as u32 });
            }
        }
        chooser.close();
        picked_before.resize(hours.len(), chooser.picks.len());
        Self { span, picks: chooser.picks, holes: chooser.holes, picked_before, hours }
    }

    /// Goes on choosing after `last`, with which an earlier selection ended and which is no part of the answer; takes
    /// nothing that starts at or after `line`, wherever the span ends.
    pub fn go_on(span: Span, last: Option<Taken>, line: Timestamp, hours: Vec<Arc<HourIndex>>) -> Self {
        Self::choose_on(span, hours, last, line)
    }

    /// What there is where nothing has been recorded yet.
    pub fn nothing(now: Timestamp) -> Self {
        let span = Span::new(now, now.plus_micros(1)).expect("a microsecond is not empty");
        Self::choose(span, Vec::new())
    }

    pub fn span(&self) -> Span {
        self.span
    }

    /// How many parts there are, holes included.
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    /// A selection has at least a hole; this is for completeness of `len`.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// The part at `place`, which is below `len`.
    pub fn part(&self, place: usize) -> Part<'_> {
        match self.picks[place] {
            Pick { hour: IS_HOLE, place } => Part::Hole(self.holes[place as usize]),
            Pick { hour, place } => Part::Segment(self.hours[hour as usize].best_at(place as usize)),
        }
    }

    /// Where the segment at `place` stands among the best of its hour; `None` for a hole.
    pub fn place_in_hour(&self, place: usize) -> Option<usize> {
        let pick = self.picks[place];
        (pick.hour != IS_HOLE).then_some(pick.place as usize)
    }

    /// The hours that were looked at, in order, each with the places of its parts; a hole belongs to the hour whose segment
    /// it precedes.
    pub fn hours(&self) -> impl ExactSizeIterator<Item = (&Arc<HourIndex>, Range<usize>)> {
        self.hours.iter().enumerate().map(|(at, hour)| {
            let end = self.picked_before.get(at + 1).copied().unwrap_or(self.len());
            (hour, self.picked_before[at]..end)
        })
    }

    pub fn parts(&self) -> impl DoubleEndedIterator<Item = Part<'_>> + ExactSizeIterator {
        (0..self.len()).map(|place| self.part(place))
    }

    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.parts().filter_map(|part| match part {
            Part::Segment(segment) => Some(segment),
            Part::Hole(_) => None,
        })
    }

    pub fn holes(&self) -> impl ExactSizeIterator<Item = Hole> {
        self.holes.iter().copied()
    }

    /// No segment of the hours looked at is longer than this, in µs.
    pub fn longest_micros(&self) -> i64 {
        self.hours.iter().map(|index| index.longest_micros()).max().unwrap_or(0)
    }

    /// The segment that the first one follows without a hole. It is not part of the answer, but a decoder may need it: where
    /// a GOP is open, the first pictures refer to pictures before them.
    pub fn lead_in(&self) -> Option<Segment<'_>> {
        let first = self.segments().next()?;
        let earlier = self.hours.iter().flat_map(|hour| hour.best()).take_while(|segment| segment.start < first.start);
        let meets = |segment: &Segment<'_>| first.start.micros_since(segment.end()).abs() <= TOLERANCE_MICROS;
        earlier.filter(|segment| segment.kind == SegmentKind::Full && meets(segment)).last()
    }

    pub fn has_content(&self) -> bool {
        self.segments().next().is_some()
    }

    /// `Ok` when there is no hole.
    pub fn complete(&self) -> Result<(), ContainsHoles> {
        match self.holes().next() {
            Some(first) => Err(ContainsHoles { first, count: self.holes().len() }),
            None => Ok(()),
        }
    }
}

struct Chooser {
    span: Span,
    picks: Vec<Pick>,
    holes: Vec<Hole>,
    last: Option<Taken>,
}

impl Chooser {
    fn offer(&mut self, segment: Taken, pick: Pick) {
        match self.last {
            None if segment.end <= self.span.start() => return,
            None if segment.start > self.span.start() => self.hole(self.span.start(), segment.start),
            None => {}
            Some(last) => {
                let gap = segment.start.micros_since(last.end);
                if gap < -TOLERANCE_MICROS {
                    return;
                }
                if gap > TOLERANCE_MICROS || last.kind != SegmentKind::Full {
                    self.hole(last.end.min(segment.start), segment.start);
                }
            }
        }
        self.picks.push(pick);
        self.last = Some(segment);
    }

    fn is_done(&self) -> bool {
        self.last.is_some_and(|last| last.end >= self.span.end())
    }

    fn close(&mut self) {
        match self.last {
            None => self.hole(self.span.start(), self.span.end()),
            Some(last) if last.kind != SegmentKind::Full || last.end < self.span.end() => {
                self.hole(last.end.min(self.span.end()), self.span.end());
            }
            Some(_) => {}
        }
    }

    fn hole(&mut self, start: Timestamp, end: Timestamp) {
        self.picks.push(Pick { hour: IS_HOLE, place: self.holes.len() as u32 });
        self.holes.push(Hole { start, end });
    }
}
