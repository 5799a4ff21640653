//! How much of a stream is there: figures of each hour, holes to the microsecond, and a map of it as a picture.
//!
//! Promises: an hour's value depends on the names in that hour alone, so only hours that changed are computed again; what is
//! made of several hours is the same, however the hours came to be known. A hole that is not longer than the tolerance is none.

mod map;
mod report;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HourIndex, Listing, TOLERANCE_MICROS};
use crate::model::{Hour, NameFields, SegmentKind, Span, Timestamp};

pub use map::Map;
pub use report::{Report, coverage_span};

const HOUR_MICROS: i64 = 3_600_000_000;

/// Segments of one kind that start in an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindFigures {
    pub count: u32,
    pub duration_micros: i64,
    /// Those that a better one of the same start stands for, and those into which the one before reaches.
    pub overlap_count: u32,
    /// Of the former all, of the latter what is shown twice.
    pub overlap_micros: i64,
}

/// What is known of one hour of a quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourCoverage {
    pub hour: Hour,
    pub full: KindFigures,
    pub suspect: KindFigures,
    pub partial: KindFigures,
    /// Files that end like segments and have no such name.
    pub bad_names: u32,
    /// What the segments that start in the hour show, each moment once.
    pub raw_micros: i64,
    /// The same, without segments into which the one before reaches: a cut cannot go over from one to the other.
    pub editable_micros: i64,
    /// What is shown, and what of it a cut can be made of; in order of start. They may reach into the next hour.
    shown: Box<[Span]>,
    editable: Box<[Span]>,
    /// Shown by segments that are not full.
    unsure: Box<[Span]>,
    /// What segments that a tombstone hides would show.
    hidden: Box<[Span]>,
}

impl HourCoverage {
    pub fn of(index: &HourIndex, listing: &Listing) -> Self {
        let mut this = Self {
            hour: index.hour(),
            full: KindFigures::default(),
            suspect: KindFigures::default(),
            partial: KindFigures::default(),
            bad_names: u32::try_from(index.unparsable().len()).unwrap_or(u32::MAX),
            raw_micros: 0,
            editable_micros: 0,
            shown: Box::default(),
            editable: Box::default(),
            unsure: Box::default(),
            hidden: hidden(index.hour(), listing),
        };
        let (mut shown, mut editable, mut unsure) = (Joined::default(), Joined::default(), Joined::default());
        let mut until: Option<Timestamp> = None;
        let mut all = index.all().peekable();
        for best in index.best() {
            let (start, end) = (best.start, best.end());
            while let Some(segment) = all.next_if(|segment| segment.start <= start) {
                // Another full one beside a full one, and a partial that is not needed any more; a suspect is worth keeping.
                let is_spare = segment.start == start
                    && segment.name != best.name
                    && (segment.kind == best.kind
                        || (best.kind, segment.kind) == (SegmentKind::Full, SegmentKind::Partial));
                if let Some(figures) = this.figures(segment.kind) {
                    figures.count += 1;
                    figures.duration_micros += segment.duration_micros;
                    if is_spare {
                        figures.overlap_count += 1;
                        figures.overlap_micros += segment.duration_micros;
                    }
                }
            }
            let overlap = until.map_or(0, |until| until.micros_since(start));
            let overlap = if overlap > TOLERANCE_MICROS { overlap.min(best.duration_micros) } else { 0 };
            if let Some(figures) = this.figures(best.kind).filter(|_| overlap > 0) {
                figures.overlap_count += 1;
                figures.overlap_micros += overlap;
            }
            this.raw_micros += best.duration_micros - overlap;
            shown.add(start, end);
            if overlap == 0 {
                this.editable_micros += best.duration_micros;
                editable.add(start, end);
            }
            if best.kind != SegmentKind::Full {
                unsure.add(start, end);
            }
            until = Some(until.map_or(end, |until| until.max(end)));
        }
        (this.shown, this.editable, this.unsure) = (shown.0.into(), editable.0.into(), unsure.0.into());
        this
    }

    fn figures(&mut self, kind: SegmentKind) -> Option<&mut KindFigures> {
        match kind {
            SegmentKind::Full => Some(&mut self.full),
            SegmentKind::Suspect => Some(&mut self.suspect),
            SegmentKind::Partial => Some(&mut self.partial),
            SegmentKind::Temp => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

/// The spans of names that a tombstone hides, joined.
fn hidden(hour: Hour, listing: &Listing) -> Box<[Span]> {
    let fields = listing.hidden().filter_map(|name| NameFields::parse(name).ok());
    let mut starts: Vec<(i64, i64)> =
        fields.map(|fields| (i64::from(fields.offset_micros), fields.duration_micros)).collect();
    starts.sort_unstable();
    let mut joined = Joined::default();
    for (offset, duration) in starts {
        let start = hour.start().plus_micros(offset);
        joined.add(start, start.plus_micros(duration));
    }
    joined.0.into()
}

/// Spans that come in order of start, joined where they meet.
#[derive(Default)]
struct Joined(Vec<Span>);

impl Joined {
    fn add(&mut self, start: Timestamp, end: Timestamp) {
        match self.0.last_mut() {
            Some(last) if start <= last.end().plus_micros(TOLERANCE_MICROS) => {
                if let Ok(longer) = Span::new(last.start(), last.end().max(end)) {
                    *last = longer;
                }
            }
            // A segment of no length shows nothing.
            Some(_) | None => self.0.extend(Span::new(start, end).ok()),
        }
    }
}

/// Which segments a hole is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// All that can be shown.
    Shown,
    /// Those that a cut can be made of.
    Editable,
}

/// What is known of a quality.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamCoverage {
    hours: BTreeMap<Hour, Arc<HourCoverage>>,
}

impl StreamCoverage {
    /// Hours that hold nothing may be among them, or not.
    pub fn new(hours: impl IntoIterator<Item = Arc<HourCoverage>>) -> Self {
        Self { hours: hours.into_iter().map(|hour| (hour.hour, hour)).collect() }
    }

    pub fn hours(&self) -> impl DoubleEndedIterator<Item = &HourCoverage> {
        self.hours.values().map(|hour| &**hour)
    }

    /// From the beginning of the first segment to the end of the last; `None` where there is none.
    pub fn span(&self) -> Option<Span> {
        let shown = || self.hours().flat_map(|hour| &hour.shown);
        let start = shown().next()?.start();
        Span::new(start, shown().map(|span| span.end()).max()?).ok()
    }

    /// What is not there of `within`, in order.
    pub fn holes(&self, within: Span, among: Among) -> Vec<Span> {
        // A segment of the hour before may reach into the span.
        let first = within.start().hour().previous();
        let hours = self.hours.range(first..=within.end().hour()).map(|(_, hour)| hour);
        let spans = hours.flat_map(|hour| match among {
            Among::Shown => &hour.shown,
            Among::Editable => &hour.editable,
        });
        let (mut holes, mut until) = (Vec::new(), within.start());
        let mut miss = |from: Timestamp, to: Timestamp| {
            if to.micros_since(from) > TOLERANCE_MICROS {
                holes.extend(Span::new(from, to).ok());
            }
        };
        for span in spans.take_while(|span| span.start() < within.end()) {
            miss(until, span.start());
            until = until.max(span.end());
        }
        miss(until, within.end());
        holes
    }

    /// The hours from the first that holds something to the last, at most the `most` latest.
    pub fn latest_hours(&self, most: u32) -> Option<(Hour, Hour)> {
        let mut with_something = self.hours().filter(|hour| !hour.is_empty()).map(|hour| hour.hour);
        let first = with_something.next()?;
        let last = with_something.next_back().unwrap_or(first);
        let earliest = last.start().plus_micros(-HOUR_MICROS * i64::from(most.saturating_sub(1)));
        Some((first.max(earliest.hour()), last))
    }
}

#[cfg(test)]
mod tests;
