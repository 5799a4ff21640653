//! Playlist by playlist: what is new, what was lost, whether the source began anew, and at which time each segment is.
//!
//! Promises: pure; each segment of a session is wanted once; times never come from anything but the source's dates, or,
//! where it gives none, from the clock once and from then on from the durations.
//! Never: fetches, waits, or asks what time it is.

use std::collections::VecDeque;
use std::time::Duration;

use url::Url;

use super::ads::Content;
use crate::hls::upstream::{ByteRange, MediaPlaylist, UpstreamSegment};
use crate::model::{Span, Timestamp};

/// How many past segments are remembered, to tell an edge server that lags from a source that began anew. More than a
/// live playlist lists; an hour of history at 2 s would be 1,800.
const REMEMBERED: usize = 2000;
/// Dates closer than this name the same segment (FORMATS §3).
const SAME_TIME_MICROS: i64 = 10_000;
/// A source without dates that falls this far behind the clock has paused: time goes on without it.
const PAUSED_AFTER: Duration = Duration::from_secs(15);
/// Never poll faster or slower than this, whatever a playlist says.
const POLL_AT_MOST_EVERY: Duration = Duration::from_millis(200);
const POLL_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// A segment to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Counts the times that the source began anew; with the sequence number it names the segment.
    pub epoch: u32,
    pub media_sequence: u64,
    pub url: Url,
    pub byte_range: Option<ByteRange>,
    /// The initialisation section to put before the bytes.
    pub map: Option<(Url, Option<ByteRange>)>,
    pub start: Timestamp,
    pub duration_micros: i64,
    /// The time was worked out from the clock, not told by the source.
    pub clocked: bool,
    pub encrypted: bool,
    /// Of EXTINF.
    pub title: String,
    /// `AdRules::mark` says it; until then programme.
    pub content: Content,
}

impl Wanted {
    /// `None` if it would end before it starts, beyond the end of time.
    pub fn span(&self) -> Option<Span> {
        Span::new(self.start, self.start.plus_micros(self.duration_micros)).ok()
    }
}

/// Segments that the source had and took away before we saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub count: u64,
    /// Where both sides are known.
    pub span: Option<Span>,
}

/// What one playlist says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In order of time.
    pub wanted: Vec<Wanted>,
    pub lost: Option<Lost>,
    /// The source began anew.
    pub reset: bool,
    /// An older playlist than one seen before.
    pub stale: bool,
    pub ended: bool,
    pub poll_after: Duration,
}

#[derive(Debug, Clone)]
struct Seen {
    media_sequence: u64,
    path: String,
    start: Timestamp,
    duration_micros: i64,
}

impl Seen {
    fn end(&self) -> Timestamp {
        self.start.plus_micros(self.duration_micros)
    }

    /// Whether `segment`, of the same number, is this one: by path, else by date, else by file name, as tokens in a
    /// path change when it is renewed.
    fn is(&self, segment: &Placed<'_>) -> bool {
        let path = segment.url.path();
        if self.path == path {
            return true;
        }
        match segment.dated {
            Some(start) => (start.micros_since(self.start)).abs() <= SAME_TIME_MICROS,
            None => file_name(&self.path) == file_name(path),
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A listed segment with its resolved address and its date, told or counted from a told one.
struct Placed<'p> {
    segment: &'p UpstreamSegment,
    url: Url,
    dated: Option<Timestamp>,
}

/// What has been seen of one quality of a live source.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    epoch: u32,
    seen: VecDeque<Seen>,
    /// The last playlist said that nothing would follow.
    ended: bool,
    /// Where an earlier process had come to: (media sequence, path, start).
    resumed: Option<(u64, String, Timestamp)>,
}

/// How the playlist's first numbers relate to what we have seen.
enum Relation {
    /// Everything after this number is new.
    After(Option<u64>),
    Stale,
    Anew,
}

impl Tracker {
    /// `resumed` is the last (media sequence, URL path, start) of an earlier process, for sources without dates.
    pub fn new(resumed: Option<(u64, String, Timestamp)>) -> Self {
        Self { resumed, ..Self::default() }
    }

    /// Takes one playlist, fetched from `base` at `now`.
    pub fn step(&mut self, playlist: &MediaPlaylist, base: &Url, now: Timestamp) -> Step {
        let placed = place(playlist, base);
        let relation = self.relate(&placed);
        self.ended = playlist.ended;
        let reset = matches!(relation, Relation::Anew);
        if reset {
            self.epoch += 1;
            self.resumed = None;
        }
        let last_seen = match relation {
            Relation::After(last) => last,
            Relation::Anew => None,
            Relation::Stale => return self.idle(playlist, true),
        };
        let new: Vec<&Placed<'_>> =
            placed.iter().filter(|one| last_seen.is_none_or(|last| one.segment.media_sequence > last)).collect();
        if new.is_empty() {
            return self.idle(playlist, false);
        }
        let before = self.seen.back().cloned();
        let wanted = self.give_times(&new, reset, now);
        let lost = if reset { None } else { before.and_then(|before| lost_between(&before, &wanted[0])) };
        for one in &wanted {
            self.remember(one, reset && one == &wanted[0]);
        }
        let longest_wait = Duration::from_micros(wanted.last().map_or(0, |one| one.duration_micros) as u64);
        let poll_after = longest_wait.min(target(playlist)).clamp(POLL_AT_MOST_EVERY, POLL_AT_LEAST_EVERY);
        Step { wanted, lost, reset, stale: false, ended: playlist.ended, poll_after }
    }

    /// RFC 8216 §6.3.4: half the target duration where nothing is new.
    fn idle(&self, playlist: &MediaPlaylist, stale: bool) -> Step {
        let poll_after = (target(playlist) / 2).clamp(POLL_AT_MOST_EVERY, POLL_AT_LEAST_EVERY);
        Step { wanted: Vec::new(), lost: None, reset: false, stale, ended: playlist.ended, poll_after }
    }

    fn relate(&self, placed: &[Placed<'_>]) -> Relation {
        let (Some(last), Some(listed_last)) = (self.seen.back(), placed.last()) else { return Relation::After(None) };
        let known = |one: &Placed<'_>| self.find(one.segment.media_sequence).map(|seen| seen.is(one));
        let matches: Vec<bool> = placed.iter().filter_map(known).collect();
        let same_session = if matches.is_empty() {
            self.continues_without_overlap(placed, last)
        } else {
            // One that matches is enough: a source that began anew shares none.
            matches.contains(&true)
        };
        if !same_session {
            Relation::Anew
        } else if listed_last.segment.media_sequence < last.media_sequence {
            Relation::Stale
        } else {
            Relation::After(Some(last.media_sequence))
        }
    }

    /// After an end there is only a new beginning. Numbers that only go up are a jump; numbers from before our memory are a new beginning, unless dates say that
    /// they are old.
    fn continues_without_overlap(&self, placed: &[Placed<'_>], last: &Seen) -> bool {
        let listed = placed.last().expect("the caller has one");
        if self.ended {
            return false;
        }
        if listed.segment.media_sequence > last.media_sequence {
            // A higher number with an earlier date is another session that numbers from elsewhere.
            return placed[0].dated.is_none_or(|first| first >= last.start);
        }
        listed.dated.is_some_and(|date| date < last.end())
    }

    fn find(&self, media_sequence: u64) -> Option<&Seen> {
        let first = self.seen.front()?.media_sequence;
        // Numbers rise within an epoch but may jump, so the guess is an upper bound.
        let guess = usize::try_from(media_sequence.checked_sub(first)?).ok()?.min(self.seen.len().checked_sub(1)?);
        self.seen.range(..=guess).rev().find(|seen| seen.media_sequence == media_sequence)
    }

    fn give_times(&self, new: &[&Placed<'_>], reset: bool, now: Timestamp) -> Vec<Wanted> {
        let total: i64 = new.iter().map(|one| one.segment.duration_micros).sum();
        let from_clock = now.plus_micros(-total);
        let mut next = self.first_time(new, from_clock, reset);
        new.iter()
            .map(|one| {
                let start = one.dated.unwrap_or(next);
                next = start.plus_micros(one.segment.duration_micros);
                Wanted {
                    epoch: self.epoch,
                    media_sequence: one.segment.media_sequence,
                    url: one.url.clone(),
                    byte_range: one.segment.byte_range,
                    map: one.segment.map.as_ref().and_then(|map| Some((one.url.join(&map.uri).ok()?, map.byte_range))),
                    start,
                    duration_micros: one.segment.duration_micros,
                    clocked: one.dated.is_none(),
                    encrypted: one.segment.encrypted,
                    title: one.segment.title.clone(),
                    content: Content::Programme,
                }
            })
            .collect()
    }

    /// The time of the first new segment, should it have no date: on from the last one; else where the clock says that
    /// its playlist began; never before what we already have.
    fn first_time(&self, new: &[&Placed<'_>], from_clock: Timestamp, reset: bool) -> Timestamp {
        if self.seen.is_empty()
            && let Some(time) = self.resumed_time(new)
        {
            return time;
        }
        let Some(last) = self.seen.back() else { return from_clock };
        let follows = new[0].segment.media_sequence == last.media_sequence.saturating_add(1) && !reset;
        let behind = from_clock.saturating_since(last.end());
        if follows && behind < PAUSED_AFTER { last.end() } else { from_clock.max(last.end()) }
    }

    /// Counts back from the segment that an earlier process had timed, if the list still shows it.
    fn resumed_time(&self, new: &[&Placed<'_>]) -> Option<Timestamp> {
        let (sequence, path, start) = self.resumed.as_ref()?;
        let known = new
            .iter()
            .position(|one| one.segment.media_sequence == *sequence && file_name(path) == file_name(one.url.path()))?;
        let before: i64 = new[..known].iter().map(|one| one.segment.duration_micros).sum();
        Some(start.plus_micros(-before))
    }

    fn remember(&mut self, wanted: &Wanted, forget_others: bool) {
        if forget_others {
            self.seen.clear();
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            media_sequence: wanted.media_sequence,
            path: wanted.url.path().to_owned(),
            start: wanted.start,
            duration_micros: wanted.duration_micros,
        });
    }
}

fn target(playlist: &MediaPlaylist) -> Duration {
    Duration::from_secs(playlist.target_duration_seconds.min(POLL_AT_LEAST_EVERY.as_secs() * 2))
}

fn lost_between(before: &Seen, next: &Wanted) -> Option<Lost> {
    let count = next.media_sequence.checked_sub(before.media_sequence.checked_add(1)?)?;
    (count > 0).then(|| Lost { count, span: Span::new(before.end(), next.start).ok() })
}

/// Resolves addresses, and counts dates onward and backward from those that are told (RFC 8216 §4.3.2.6).
fn place<'p>(playlist: &'p MediaPlaylist, base: &Url) -> Vec<Placed<'p>> {
    let mut placed: Vec<Placed<'p>> = Vec::with_capacity(playlist.segments.len());
    for segment in &playlist.segments {
        // An address that cannot be is left out; its number then shows as lost.
        let Ok(url) = base.join(&segment.uri) else { continue };
        let counted = placed.last().and_then(|before| {
            let follows = before.segment.media_sequence.checked_add(1) == Some(segment.media_sequence);
            follows.then_some(before.dated?.plus_micros(before.segment.duration_micros))
        });
        placed.push(Placed { segment, url, dated: segment.date_time.or(counted) });
    }
    for at in (1..placed.len()).rev() {
        let follows = placed[at - 1].segment.media_sequence.checked_add(1) == Some(placed[at].segment.media_sequence);
        if let Some(date) = placed[at].dated
            && placed[at - 1].dated.is_none()
            && follows
        {
            placed[at - 1].dated = Some(date.plus_micros(-placed[at - 1].segment.duration_micros));
        }
    }
    placed
}

#[cfg(test)]
mod tests;
