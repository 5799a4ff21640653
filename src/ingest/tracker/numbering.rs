//! What has been seen of one run of media sequence numbers, and which numbers of it are missing.
//!
//! Promises: a number gets one time; what is missing stays wanted for as long as it is remembered.
//! Never: keeps an address; tokens change, and long paths of thousands of segments would cost their length in memory.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::{Lost, Placed, Wanted};
use crate::model::{Span, Timestamp};

/// How many past segments are remembered, to tell an edge server that lags from a source that began anew. More than a
/// live playlist lists; an hour of history at 2 s would be 1,800.
const REMEMBERED: usize = 2000;
/// Dates closer than this name the same segment (FORMATS §3).
pub(super) const SAME_TIME_MICROS: i64 = 10_000;
/// Runs of missing numbers that are remembered; more of them means a source that skips as a habit.
const MAX_GAPS: usize = 64;
/// No edge server lags for this long and goes on: a list without dates whose old numbers do not end is a new beginning.
const LAGS_AT_MOST: Duration = Duration::from_secs(30);

/// A segment that has been asked for.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub media_sequence: u64,
    path: u64,
    file: u64,
    pub start: Timestamp,
    pub duration_micros: i64,
    pub is_advertisement: bool,
}

impl Seen {
    pub fn of(wanted: &Wanted) -> Self {
        let path = wanted.address.url.path();
        Self {
            media_sequence: wanted.media_sequence,
            path: hash(path),
            file: hash(file_name(path)),
            start: wanted.start,
            duration_micros: wanted.duration_micros,
            is_advertisement: wanted.content.is_advertisement(),
        }
    }

    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(self.duration_micros)
    }

    /// Where a later number begins if all between are as long as this one.
    pub fn counted_to(&self, later: u64) -> Timestamp {
        let between = later.saturating_sub(self.media_sequence.saturating_add(1));
        self.end().plus_micros(self.duration_micros.saturating_mul(i64::try_from(between).unwrap_or(i64::MAX)))
    }

    /// Whether `segment`, of the same number, is this one: by path, else by date, else by file name, as tokens in a
    /// path change when it is renewed.
    pub fn is(&self, segment: &Placed<'_>) -> bool {
        let path = segment.url.path();
        if self.path == hash(path) {
            return true;
        }
        match segment.dated {
            Some(start) => (start.micros_since(self.start)).abs() <= SAME_TIME_MICROS,
            None => self.file == hash(file_name(path)),
        }
    }

    /// Whether `wanted`, of another run of numbers, shows the same moments.
    pub fn coincides(&self, wanted: &Wanted) -> bool {
        (!self.is_advertisement || wanted.content.is_advertisement())
            && wanted.start.micros_since(self.start).abs() <= SAME_TIME_MICROS
            && (wanted.duration_micros - self.duration_micros).abs() <= SAME_TIME_MICROS
    }
}

/// Two paths agree by chance once in 2^64, and then only if their numbers agree too.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Numbers that were jumped over: `from..until`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    from: u64,
    until: u64,
    begins: Timestamp,
    ends: Timestamp,
    /// Given up, and told. It is still taken if it shows up.
    told: bool,
}

/// How a playlist's numbers relate to a run.
pub(super) enum Relation {
    /// Everything after this number is new.
    After(Option<u64>),
    Stale,
    Anew,
}

/// One run of media sequence numbers.
#[derive(Debug, Clone)]
pub(super) struct Numbering {
    pub epoch: u32,
    /// In order of their numbers.
    seen: VecDeque<Seen>,
    gaps: Vec<Gap>,
    /// The last playlist said that nothing would follow.
    pub ended: bool,
    stale_since: Option<Timestamp>,
}

impl Numbering {
    pub fn new(epoch: u32) -> Self {
        Self { epoch, seen: VecDeque::new(), gaps: Vec::new(), ended: false, stale_since: None }
    }

    pub fn last(&self) -> Option<&Seen> {
        self.seen.back()
    }

    pub fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().rev()
    }

    pub fn find(&self, media_sequence: u64) -> Option<&Seen> {
        let at = self.seen.binary_search_by_key(&media_sequence, |seen| seen.media_sequence).ok()?;
        self.seen.get(at)
    }

    /// Whether one of these is known by its number and its name or date. A source that began anew shares none.
    pub fn overlaps(&self, placed: &[Placed<'_>]) -> bool {
        self.known(placed).any(|is_it| is_it)
    }

    fn known(&self, placed: &[Placed<'_>]) -> impl Iterator<Item = bool> {
        placed.iter().filter_map(|one| self.find(one.segment.media_sequence).map(|seen| seen.is(one)))
    }

    pub fn relate(&mut self, placed: &[Placed<'_>], now: Timestamp) -> Relation {
        let (Some(last), Some(listed_last)) = (self.seen.back(), placed.last()) else { return Relation::After(None) };
        let last_sequence = last.media_sequence;
        let is_same =
            if self.known(placed).next().is_none() { self.continues(placed, last) } else { self.overlaps(placed) };
        if !is_same {
            return Relation::Anew;
        }
        if listed_last.segment.media_sequence >= last_sequence {
            self.stale_since = None;
            return Relation::After(Some(last_sequence));
        }
        let since = *self.stale_since.get_or_insert(now);
        if listed_last.dated.is_none() && now.saturating_since(since) > LAGS_AT_MOST {
            return Relation::Anew;
        }
        Relation::Stale
    }

    /// After an end there is only a new beginning. Numbers that only go up are a jump; numbers from before our memory
    /// are a new beginning, unless dates say that they are old.
    fn continues(&self, placed: &[Placed<'_>], last: &Seen) -> bool {
        let listed = placed.last().expect("the caller has one");
        if self.ended {
            return false;
        }
        if listed.segment.media_sequence > last.media_sequence {
            // A higher number with an earlier date, or with less time between than so many segments take, is another
            // session that numbers from elsewhere.
            let jumped = placed[0].segment.media_sequence.saturating_sub(last.media_sequence.saturating_add(1));
            let least = i128::from(jumped) * i128::from(last.duration_micros) / 2;
            let fits = |first: Timestamp| first >= last.start && i128::from(first.micros_since(last.end())) >= least;
            return placed[0].dated.is_none_or(|first| fits(first) || (jumped == 0 && first >= last.start));
        }
        listed.dated.is_some_and(|date| date < last.end())
    }

    pub fn is_missing(&self, media_sequence: u64) -> bool {
        self.gaps.iter().any(|gap| (gap.from..gap.until).contains(&media_sequence))
    }

    /// Keeps what is wanted from now on; what it jumps over becomes a gap.
    pub fn remember(&mut self, wanted: &Wanted) {
        let new = Seen::of(wanted);
        match self.seen.back().map(|last| (last.media_sequence, last.end())) {
            Some((last, _)) if last >= new.media_sequence => return self.fill(new),
            Some((last, end)) if last + 1 < new.media_sequence => {
                let gap = Gap { from: last + 1, until: new.media_sequence, begins: end, ends: new.start, told: false };
                self.gaps.push(gap);
            }
            Some(_) | None => {}
        }
        self.seen.push_back(new);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let oldest = self.seen.front().map_or(0, |first| first.media_sequence);
        self.gaps.retain(|gap| !gap.told || gap.from > oldest);
        if self.gaps.len() > MAX_GAPS
            && let Some(told) = self.gaps.iter().position(|gap| gap.told)
        {
            self.gaps.remove(told);
        }
    }

    fn fill(&mut self, late: Seen) {
        let number = late.media_sequence;
        if let Some(at) = self.gaps.iter().position(|gap| (gap.from..gap.until).contains(&number)) {
            let gap = self.gaps.remove(at);
            let before = Gap { until: number, ends: late.start, ..gap.clone() };
            let after = Gap { from: number + 1, begins: late.end(), ..gap };
            self.gaps.extend([before, after].into_iter().filter(|gap| gap.from < gap.until));
        }
        match self.seen.binary_search_by_key(&number, |seen| seen.media_sequence) {
            // The programme, where an advertisement was.
            Ok(place) => self.seen[place] = late,
            Err(place) => self.seen.insert(place, late),
        }
    }

    /// The last number of each gap that has not been told.
    pub fn untold(&self) -> impl Iterator<Item = u64> {
        self.gaps.iter().filter(|gap| !gap.told).map(|gap| gap.until - 1)
    }

    /// Gives up the gaps of which `is_over` says, by their last number, that nobody will show them any more.
    pub fn settle(&mut self, is_over: impl Fn(u64) -> bool) -> Vec<Lost> {
        let mut lost = Vec::new();
        for gap in self.gaps.iter_mut().filter(|gap| !gap.told && is_over(gap.until - 1)) {
            gap.told = true;
            lost.push(Lost { count: gap.until - gap.from, span: Span::new(gap.begins, gap.ends).ok() });
        }
        lost
    }
}
