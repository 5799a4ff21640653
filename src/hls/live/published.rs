//! What has been published of a quality's live edge, in one generation: a line that moves forward only.
//!
//! Everything that starts before the line is fixed as it was when the line passed it. A segment that comes later, or a
//! better version of one, is in the record, but not in this generation; so what was published never changes in the
//! middle. A segment that is deleted ends what lies before it: playlists then begin after it, which is the one way in
//! which a playlist may shrink (RFC 8216 §6.2.2).
//!
//! Before a hole, or a segment that is not whole, the line waits for it to be filled: for the hold time, counted from when
//! anything beyond it was seen first. Then the hole is sealed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Hour, SegmentKind, Span, Timestamp};
use crate::select::{HourIndex, Part, Segment, Selection, Taken};

/// A segment longer than this is no part of a live playlist: its target duration is how often players ask.
pub const LONGEST_TARGET_SECONDS: u64 = 60;

/// The target duration to promise where the longest segment so far lasts `longest_micros`. It must never be exceeded
/// later, so there is room for half as much again; but players wait three targets, so there is no more.
pub fn target_seconds(longest_micros: i64) -> u64 {
    let longest = longest_micros.unsigned_abs().max(1);
    (longest + longest / 2).div_ceil(1_000_000).min(LONGEST_TARGET_SECONDS)
}

/// What a restart must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub last: Taken,
    pub from: Hour,
    pub target_seconds: u64,
    pub gone_until: Option<Timestamp>,
    /// The names of the last segments before the line: a file system's clock cannot tell whether they came before a look.
    pub recent: Vec<Box<str>>,
}

/// So many names are told from others that come at the same instant.
const RECENT: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub struct Published {
    /// `None` until something is published.
    target_seconds: Option<u64>,
    /// All hours from this one on have been looked at.
    from: Option<Hour>,
    hours: BTreeMap<Hour, Fixed>,
    /// The last segment before the line.
    last: Option<Taken>,
    /// When what lies beyond the line was seen first, by its start. What is not here has been there for longer than any
    /// hold time.
    seen: BTreeMap<Timestamp, Timestamp>,
    /// The start of the last published segment that was ever gone from the disk: what came back is not shown again.
    gone_until: Option<Timestamp>,
    /// The next look is the first since an earlier process: hours that are not in `hours` are as they were.
    trusts_absent: bool,
}

/// One hour as this generation shows it.
#[derive(Debug)]
struct Fixed {
    shown: Arc<HourIndex>,
    /// What was last found on disk.
    on_disk: Option<Arc<HourIndex>>,
    /// The past of this hour would look different in a new generation.
    differs: bool,
}

impl Published {
    /// Nothing is published yet. Without a target duration, the first publication chooses one.
    pub fn new(target_seconds: Option<u64>) -> Self {
        Self { target_seconds, ..Self::default() }
    }

    /// As an earlier process left it. `hours` are those that differ from what is on disk.
    pub fn restore(saved: &Saved, hours: Vec<Arc<HourIndex>>) -> Self {
        let fixed = |shown: Arc<HourIndex>| (shown.hour(), Fixed { shown, on_disk: None, differs: true });
        Self {
            target_seconds: Some(saved.target_seconds),
            from: Some(saved.from),
            hours: hours.into_iter().map(fixed).collect(),
            last: Some(saved.last),
            seen: BTreeMap::new(),
            gone_until: saved.gone_until,
            trusts_absent: true,
        }
    }

    /// `None` while nothing is published.
    pub fn saved(&self) -> Option<Saved> {
        let (last, from, target_seconds) = (self.last?, self.from?, self.target_seconds?);
        let past = self.hours.range(..=last.start.hour()).rev().flat_map(|(_, fixed)| fixed.shown.best().rev());
        let past = past.skip_while(|segment| segment.start > last.start).take(RECENT);
        let recent = past.map(|segment| segment.name.into()).collect();
        Some(Saved { last, from, target_seconds, gone_until: self.gone_until, recent })
    }

    /// The first hour that the next look must cover.
    pub fn looks_from(&self, asked: Hour) -> Hour {
        self.from.filter(|_| self.trusts_absent).map_or(asked, |from| from.min(asked))
    }

    pub fn target_seconds(&self) -> Option<u64> {
        self.target_seconds
    }

    /// Starts before this are fixed.
    pub fn line(&self) -> Option<Timestamp> {
        self.last.map(|last| last.start.plus_micros(1))
    }

    /// What was published up to this instant can no longer be shown.
    pub fn gone_until(&self) -> Option<Timestamp> {
        self.gone_until
    }

    /// Whether a new generation would show another past, from `start` on.
    pub fn differs(&self, start: Timestamp) -> bool {
        self.hours.range(start.hour().previous()..).any(|(_, fixed)| fixed.differs)
    }

    /// The hours whose past is not what is on disk, for a restart.
    pub fn differing(&self) -> impl Iterator<Item = &Arc<HourIndex>> {
        self.hours.values().filter(|fixed| fixed.differs).map(|fixed| &fixed.shown)
    }

    /// Takes over what is on disk now: `indexes` are all hours from `from` on, in order.
    pub fn look(&mut self, from: Hour, indexes: &[Arc<HourIndex>], now: Timestamp, hold: Duration) {
        let longest = indexes.iter().map(|index| index.longest_micros()).max().unwrap_or(0);
        if self.target_seconds.is_none() && longest > 0 {
            self.target_seconds = Some(target_seconds(longest));
        }
        let first_look = self.from.is_none() || self.trusts_absent;
        for index in indexes.iter().filter(|index| index.hour() >= from) {
            self.take_over(Arc::clone(index));
        }
        let vanished = |hour: &Hour| indexes.binary_search_by_key(hour, |index| index.hour()).is_err();
        let vanished: Vec<Hour> = self.hours.range(from..).map(|(hour, _)| *hour).filter(vanished).collect();
        for hour in vanished {
            self.take_over(Arc::new(HourIndex::empty(hour)));
        }
        self.from = Some(self.from.map_or(from, |known| known.min(from)));
        self.trusts_absent = false;
        self.note_what_is_new(first_look, now, hold);
    }

    fn take_over(&mut self, on_disk: Arc<HourIndex>) {
        let hour = on_disk.hour();
        let held = self.hours.get(&hour);
        if held.is_some_and(|fixed| fixed.on_disk.as_ref().is_some_and(|held| Arc::ptr_eq(held, &on_disk))) {
            return;
        }
        let is_new_ground = self.trusts_absent || self.from.is_none_or(|from| hour < from);
        let fits = self.only_what_fits(&on_disk);
        let (fixed, gone) = match (held, self.line().filter(|line| *line > hour.start())) {
            // Nothing of it is published.
            (_, None) => (Fixed::as_found(fits, on_disk), None),
            (None, Some(_)) if is_new_ground => (Fixed::as_found(fits, on_disk), None),
            (None, Some(line)) => Fixed::past_kept(&HourIndex::empty(hour), line, fits, on_disk),
            (Some(held), Some(line)) => Fixed::past_kept(&held.shown, line, fits, on_disk),
        };
        self.gone_until = self.gone_until.max(gone);
        self.hours.insert(hour, fixed);
    }

    /// Without the segments that the target duration does not allow: for this generation they are holes.
    fn only_what_fits(&self, index: &Arc<HourIndex>) -> Arc<HourIndex> {
        let most_micros = most_micros(self.target_seconds.unwrap_or(LONGEST_TARGET_SECONDS));
        if index.longest_micros() <= most_micros {
            return Arc::clone(index);
        }
        let fits = index.best().filter(|segment| segment.duration_micros <= most_micros);
        Arc::new(HourIndex::of(index.hour(), fits))
    }

    fn note_what_is_new(&mut self, first_look: bool, now: Timestamp, hold: Duration) {
        let line = self.line();
        let beyond = match line {
            Some(line) => self.hours.range(line.hour()..),
            None => self.hours.range::<Hour, _>(..),
        };
        for (_, fixed) in beyond {
            for segment in fixed.shown.best().rev() {
                let is_old = first_look && segment.end().plus(hold) <= now;
                if line.is_some_and(|line| segment.start < line) || is_old {
                    break;
                }
                let since = if first_look { segment.end().min(now) } else { now };
                self.seen.entry(segment.start).or_insert(since);
            }
        }
    }

    /// Moves the line as far as it may go. `start`: where the one who asks wants to begin; it matters while nothing is
    /// published. Answers whether it moved.
    pub fn advance(&mut self, start: Timestamp, now: Timestamp, hold: Duration) -> bool {
        let before = self.last;
        let selection = self.beyond(start);
        for place in 0..selection.len() {
            let segment = match selection.part(place) {
                Part::Segment(segment) => segment,
                // Nothing is shown before the first segment, so nothing waits there.
                Part::Hole(_) if self.last.is_none() => continue,
                Part::Hole(_) => match (place + 1 < selection.len()).then(|| selection.part(place + 1)) {
                    Some(Part::Segment(after)) if self.waited(after, now, hold) => continue,
                    Some(Part::Segment(_) | Part::Hole(_)) | None => break,
                },
            };
            if segment.kind != SegmentKind::Full && !self.waited(segment, now, hold) {
                break;
            }
            self.last = Some(segment.taken());
        }
        if let Some(line) = self.line() {
            self.seen = self.seen.split_off(&line);
        }
        self.last != before
    }

    /// Whether `segment`, or anything after it, has been there for the hold time.
    fn waited(&self, segment: Segment<'_>, now: Timestamp, hold: Duration) -> bool {
        let since = self.seen.range(segment.start..).map(|(_, since)| *since).min();
        let known = self.seen.contains_key(&segment.start);
        !known || since.is_none_or(|since| since.plus(hold) <= now)
    }

    /// Whether anything waits beyond the line.
    #[cfg(test)]
    pub fn waits(&self, start: Timestamp) -> bool {
        self.beyond(start).has_content()
    }

    /// What there is beyond the line.
    fn beyond(&self, start: Timestamp) -> Selection {
        self.go_on(self.last.map_or(start, |last| last.start), self.last, None, None)
    }

    /// What is published from `start` on, or after `after`, up to `end`.
    pub fn choose(&self, start: Timestamp, after: Option<Taken>, end: Option<Timestamp>) -> Selection {
        // Nothing lies before this.
        let line = self.line().unwrap_or(Timestamp::from_micros(i64::MIN));
        self.go_on(after.map_or(start, |after| after.start), after, end, Some(line))
    }

    fn go_on(
        &self,
        start: Timestamp,
        after: Option<Taken>,
        end: Option<Timestamp>,
        line: Option<Timestamp>,
    ) -> Selection {
        let shown = |(_, fixed): (&Hour, &Fixed)| Arc::clone(&fixed.shown);
        let hours: Vec<_> = self.hours.range(start.hour().previous()..).map(shown).collect();
        let last_end = hours.last().map_or(start, |index| index.hour().end());
        let end = end.unwrap_or(last_end).max(start.plus_micros(1));
        let span = Span::new(start, end).expect("the end is at least a microsecond later");
        Selection::go_on(span, after, line.unwrap_or(end), hours)
    }
}

impl Fixed {
    fn as_found(fits: Arc<HourIndex>, on_disk: Arc<HourIndex>) -> Self {
        // What no generation can show makes no difference between them.
        let showable = on_disk.best().filter(|segment| segment.duration_micros <= most_micros(LONGEST_TARGET_SECONDS));
        let differs = showable.count() != fits.len();
        Self { shown: fits, on_disk: Some(on_disk), differs }
    }

    /// `held` before `line`, and what `fits` from there on; and the start of the last one before it that is gone.
    fn past_kept(
        held: &HourIndex,
        line: Timestamp,
        fits: Arc<HourIndex>,
        on_disk: Arc<HourIndex>,
    ) -> (Self, Option<Timestamp>) {
        let is_past = |segment: &Segment<'_>| segment.start < line;
        if held.best().take_while(is_past).eq(fits.best().take_while(is_past)) {
            return (Self::as_found(fits, on_disk), None);
        }
        let gone = held.best().take_while(is_past).filter(|segment| !on_disk.has(segment)).last();
        let gone = gone.map(|segment| segment.start);
        let shown = held.best().take_while(is_past).chain(fits.best().skip_while(is_past));
        let shown = Arc::new(HourIndex::of(held.hour(), shown));
        (Self { shown, on_disk: Some(on_disk), differs: true }, gone)
    }
}

/// EXTINF, rounded to the nearest second, must not exceed the target duration (RFC 8216 §4.3.3.1).
fn most_micros(target_seconds: u64) -> i64 {
    target_seconds as i64 * 1_000_000 + 499_999
}
