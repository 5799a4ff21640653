//! Playlist by playlist: what is new, what was lost, whether the source began anew, and at which time each segment is.
//!
//! Several sessions of one source may show their lists here in any order. Those that number alike share one run of
//! numbers, an epoch; one that numbers otherwise gets an epoch of its own.
//!
//! Promises: pure; each segment of an epoch is wanted once, also one that shows up late; times never come from anything
//! but the source's dates, or, where it gives none, from the clock once and from then on from the durations.
//! Never: fetches, waits, or asks what time it is.

mod numbering;

use std::time::Duration;

use url::Url;

use super::ads::{AdRules, Content};
use crate::hls::upstream::{ByteRange, Encryption, MediaPlaylist, UpstreamSegment};
use crate::model::{Span, Timestamp};
use numbering::{Numbering, Relation, Seen, file_name};

/// Epochs that are remembered: that of the session that records, and that of the one which takes over.
const MAX_EPOCHS: usize = 2;
/// A source without dates that falls this far behind the clock has paused: time goes on without it.
const PAUSED_AFTER: Duration = Duration::from_secs(15);
/// Never poll faster or slower than this, whatever a playlist says.
const POLL_AT_MOST_EVERY: Duration = Duration::from_millis(200);
const POLL_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// How the bytes of a resource are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cipher {
    Clear,
    /// AES-128, CBC, PKCS#7, with the key behind this address.
    Aes128 {
        key: Url,
        iv: [u8; 16],
    },
    /// By a method that we cannot undo, or a key at no address.
    Unreadable(Box<str>),
}

impl Cipher {
    fn resolve(encryption: &Encryption, base: &Url, media_sequence: u64) -> Self {
        match encryption {
            Encryption::Clear => Self::Clear,
            Encryption::Aes128(key) => match base.join(&key.uri) {
                Ok(url) => Self::Aes128 { key: url, iv: key.iv.unwrap_or(u128::from(media_sequence).to_be_bytes()) },
                Err(_) => Self::Unreadable("AES-128 with a key at no address".into()),
            },
            Encryption::Other(method) => Self::Unreadable(method.clone()),
        }
    }
}

/// The initialisation section to put before a segment's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedMap {
    pub url: Url,
    pub byte_range: Option<ByteRange>,
    pub cipher: Cipher,
}

/// Where a segment's bytes are, and how they are to be read. It changes when a token is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub url: Url,
    pub byte_range: Option<ByteRange>,
    pub map: Option<WantedMap>,
    pub cipher: Cipher,
}

/// A segment to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// With the sequence number it names the segment, whatever token its address carries.
    pub epoch: u32,
    pub media_sequence: u64,
    pub address: Address,
    pub start: Timestamp,
    pub duration_micros: i64,
    /// The time was worked out from the clock, not told by the source.
    pub clocked: bool,
    /// The session's clock has slipped: the bytes may be whole, the time is not to be trusted.
    pub mistimed: bool,
    /// Of EXTINF.
    pub title: String,
    pub content: Content,
}

impl Wanted {
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

/// The present address of a segment that was wanted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub media_sequence: u64,
    /// A number can stand for an advertisement in one session, and for the programme in another.
    pub is_advertisement: bool,
    pub address: Address,
}

/// What one playlist says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The epoch that it belongs to; `None` where it lists nothing.
    pub epoch: Option<u32>,
    /// In order of their numbers.
    pub wanted: Vec<Wanted>,
    /// Given up with this step.
    pub lost: Vec<Lost>,
    /// In order of their numbers.
    pub listed: Vec<Listed>,
    pub last_listed: Option<u64>,
    /// From the first segment that is listed beyond all others so far, to the end of the last one.
    pub edge: Option<Span>,
    /// The numbers of all the advertisements in the list, in order.
    pub advertisements: Vec<u64>,
    /// The source began anew, or numbers otherwise.
    pub reset: bool,
    /// An older playlist than one seen before.
    pub stale: bool,
    pub ended: bool,
    /// From the beginning of one poll to that of the next.
    pub poll_after: Duration,
}

/// A listed segment with its resolved address and its date, told or counted from a told one.
struct Placed<'p> {
    segment: &'p UpstreamSegment,
    /// Of the playlist.
    base: &'p Url,
    url: Url,
    dated: Option<Timestamp>,
    content: Content,
}

impl Placed<'_> {
    fn address(&self) -> Address {
        let number = self.segment.media_sequence;
        let map = self.segment.map.as_ref().and_then(|map| {
            let cipher = Cipher::resolve(&map.encryption, self.base, number);
            Some(WantedMap { url: self.base.join(&map.uri).ok()?, byte_range: map.byte_range, cipher })
        });
        let cipher = Cipher::resolve(&self.segment.encryption, self.base, number);
        Address { url: self.url.clone(), byte_range: self.segment.byte_range, map, cipher }
    }
}

/// What has been seen of one quality of a live source.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    /// The newest last.
    epochs: Vec<Numbering>,
    epochs_begun: u32,
    /// Where an earlier process had come to: (media sequence, path, start).
    resumed: Option<(u64, String, Timestamp)>,
    ads: AdRules,
}

impl Tracker {
    /// `resumed` is the last (media sequence, URL path, start) of an earlier process, for sources without dates.
    pub fn new(resumed: Option<(u64, String, Timestamp)>, ads: AdRules) -> Self {
        Self { resumed, ads, ..Self::default() }
    }

    /// Takes one playlist, fetched from `base` at `now` by a session whose last playlist belonged to `epoch`.
    pub fn step(&mut self, epoch: Option<u32>, playlist: &MediaPlaylist, base: &Url, now: Timestamp) -> Step {
        let placed = place(playlist, base, &self.ads);
        let mut step = Step {
            epoch,
            wanted: Vec::new(),
            lost: Vec::new(),
            listed: Vec::new(),
            last_listed: placed.last().map(|one| one.segment.media_sequence),
            edge: None,
            advertisements: Vec::new(),
            reset: false,
            stale: false,
            ended: playlist.ended,
            // RFC 8216 §6.3.4: half the target duration where nothing is new.
            poll_after: (target(playlist) / 2).clamp(POLL_AT_MOST_EVERY, POLL_AT_LEAST_EVERY),
        };
        if placed.is_empty() {
            return step;
        }
        let (at, relation) = self.relate(epoch, &placed, now);
        self.epochs[at].ended = playlist.ended;
        step.epoch = Some(self.epochs[at].epoch);
        step.reset = matches!(relation, Relation::Anew);
        step.stale = matches!(relation, Relation::Stale);
        let last_seen = match relation {
            Relation::After(last) => last,
            Relation::Anew => None,
            Relation::Stale => Some(u64::MAX),
        };
        let ads = placed.iter().filter(|one| one.content.is_advertisement());
        step.advertisements = ads.map(|one| one.segment.media_sequence).collect();
        let (mut new, mut late) = (Vec::new(), Vec::new());
        for one in &placed {
            let number = one.segment.media_sequence;
            if last_seen.is_none_or(|last| number > last) {
                new.push(one);
            } else if self.epochs[at].is_missing(number) {
                late.push(one);
            } else if let Some(seen) = self.epochs[at].find(number) {
                let is_advertisement = one.content.is_advertisement();
                if seen.is_advertisement && !is_advertisement {
                    // Another session shows the programme where an advertisement was seen.
                    late.push(one);
                } else if seen.is_advertisement == is_advertisement && seen.is(one) {
                    step.listed.push(Listed { media_sequence: number, is_advertisement, address: one.address() });
                }
            }
        }
        let late = self.give_late_times(at, &placed, &late);
        let new = self.give_times(at, &new, step.reset, now);
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            step.edge = Span::new(first.start, last.start.plus_micros(last.duration_micros)).ok();
            let longest_wait = Duration::from_micros(last.duration_micros.unsigned_abs());
            step.poll_after = longest_wait.min(target(playlist)).clamp(POLL_AT_MOST_EVERY, POLL_AT_LEAST_EVERY);
        }
        for one in late.into_iter().chain(new) {
            self.epochs[at].remember(&one);
            if !self.is_held_elsewhere(at, &one) {
                step.wanted.push(one);
            }
        }
        step
    }

    /// Gives up the missing numbers of which `is_over(epoch, number)` says that no session will show them any more.
    pub fn settle(&mut self, is_over: impl Fn(u32, u64) -> bool) -> Vec<Lost> {
        let settled = self.epochs.iter_mut().map(|run| {
            let epoch = run.epoch;
            run.settle(|number| is_over(epoch, number))
        });
        settled.flatten().collect()
    }

    /// The missing numbers that have not been given up: of each run of them, its epoch and its last number.
    pub fn missing(&self) -> impl Iterator<Item = (u32, u64)> {
        self.epochs.iter().flat_map(|run| run.untold().map(|number| (run.epoch, number)))
    }

    /// Finds the epoch of a playlist, or begins one.
    fn relate(&mut self, epoch: Option<u32>, placed: &[Placed<'_>], now: Timestamp) -> (usize, Relation) {
        let own = self.epochs.iter().position(|run| Some(run.epoch) == epoch).or(self.epochs.len().checked_sub(1));
        if let Some(own) = own {
            let relation = self.epochs[own].relate(placed, now);
            if !matches!(relation, Relation::Anew) {
                return (own, relation);
            }
        }
        // A list of the session beside this one, or of a server that has not heard of the new beginning.
        let other = self.epochs.iter().rposition(|run| Some(run.epoch) != epoch && run.overlaps(placed));
        if let Some(other) = other.filter(|other| Some(*other) != own) {
            let relation = self.epochs[other].relate(placed, now);
            if !matches!(relation, Relation::Anew) {
                return (other, relation);
            }
        }
        let is_first = self.epochs.is_empty();
        if self.epochs.len() == MAX_EPOCHS {
            self.epochs.remove(0);
        }
        self.epochs.push(Numbering::new(self.epochs_begun));
        self.epochs_begun += 1;
        if !is_first {
            self.resumed = None;
        }
        (self.epochs.len() - 1, if is_first { Relation::After(None) } else { Relation::Anew })
    }

    /// Whether another epoch has the same moments, by the source's own dates. An advertisement never has those of the
    /// programme.
    fn is_held_elsewhere(&self, at: usize, wanted: &Wanted) -> bool {
        let others = self.epochs.iter().enumerate().filter(|(other, _)| *other != at);
        !wanted.clocked && others.flat_map(|(_, run)| run.seen()).any(|seen| seen.coincides(wanted))
    }

    fn give_times(&self, at: usize, new: &[&Placed<'_>], reset: bool, now: Timestamp) -> Vec<Wanted> {
        let total: i64 = new.iter().map(|one| one.segment.duration_micros).sum();
        let from_clock = now.plus_micros(-total);
        let Some(first) = new.first() else { return Vec::new() };
        let number = first.segment.media_sequence;
        let before = self.epochs[at].last().filter(|_| !reset);
        // A jump may be one to numbers from elsewhere, which the clock must confirm.
        let counted = before.map(|last| last.counted_to(number)).filter(|counted| {
            before.is_some_and(|last| last.media_sequence.checked_add(1) == Some(number))
                || counted.saturating_since(from_clock) < PAUSED_AFTER
        });
        let mut next = self.first_time(counted, new, from_clock);
        let wanted = new.iter().map(|one| {
            let start = one.dated.unwrap_or(next);
            next = start.plus_micros(one.segment.duration_micros);
            self.wanted(at, one, start)
        });
        wanted.collect()
    }

    /// What shows up late lies between others that have their times: those in the same list tell where.
    fn give_late_times(&self, at: usize, placed: &[Placed<'_>], late: &[&Placed<'_>]) -> Vec<Wanted> {
        let start_of = |late: &Placed<'_>| {
            let number = late.segment.media_sequence;
            let place = placed.iter().position(|one| one.segment.media_sequence == number)?;
            let length = |some: &[Placed<'_>]| some.iter().map(|one| one.segment.duration_micros).sum::<i64>();
            let known = |one: &Placed<'_>| self.epochs[at].find(one.segment.media_sequence);
            let before = (0..place).rev().find_map(|at| Some((at, known(&placed[at])?)));
            let after = (place + 1..placed.len()).find_map(|at| Some((at, known(&placed[at])?)));
            let counted_on = before.map(|(at, seen)| seen.end().plus_micros(length(&placed[at + 1..place])));
            counted_on.or_else(|| after.map(|(at, seen)| seen.start.plus_micros(-length(&placed[place..at]))))
        };
        let timed = late.iter().filter_map(|one| Some((one, one.dated.or_else(|| start_of(one))?)));
        timed.map(|(one, start)| self.wanted(at, one, start)).collect()
    }

    fn wanted(&self, at: usize, one: &Placed<'_>, start: Timestamp) -> Wanted {
        Wanted {
            epoch: self.epochs[at].epoch,
            media_sequence: one.segment.media_sequence,
            address: one.address(),
            start,
            duration_micros: one.segment.duration_micros,
            clocked: one.dated.is_none(),
            mistimed: false,
            title: one.segment.title.clone(),
            content: one.content,
        }
    }

    /// The time of the first new segment, should it have no date: counted on from the last one; else where the clock says
    /// that its playlist began; never before what we already have.
    fn first_time(&self, counted: Option<Timestamp>, new: &[&Placed<'_>], from_clock: Timestamp) -> Timestamp {
        let newest_end = self.epochs.iter().filter_map(Numbering::last).map(Seen::end).max();
        let Some(newest_end) = newest_end else { return self.resumed_time(new).unwrap_or(from_clock) };
        match counted {
            Some(counted) if from_clock.saturating_since(counted) < PAUSED_AFTER => counted,
            Some(_) | None => from_clock.max(newest_end),
        }
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
}

fn target(playlist: &MediaPlaylist) -> Duration {
    Duration::from_secs(playlist.target_duration_seconds.min(POLL_AT_LEAST_EVERY.as_secs() * 2))
}

/// Resolves addresses, says what is an advertisement, and counts dates onward and backward from those that are told (RFC 8216 §4.3.2.6).
fn place<'p>(playlist: &'p MediaPlaylist, base: &'p Url, ads: &AdRules) -> Vec<Placed<'p>> {
    let mut placed: Vec<Placed<'p>> = Vec::with_capacity(playlist.segments.len());
    for segment in &playlist.segments {
        // An address that cannot be is left out; its number then shows as lost.
        let Ok(url) = base.join(&segment.uri) else { continue };
        let counted = placed.last().and_then(|before| {
            let follows = before.segment.media_sequence.checked_add(1) == Some(segment.media_sequence);
            follows.then_some(before.dated?.plus_micros(before.segment.duration_micros))
        });
        let dated = segment.date_time.or(counted);
        placed.push(Placed { segment, base, url, dated, content: Content::Programme });
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
    let judge = ads.judge(&playlist.date_ranges);
    for one in &mut placed {
        one.content = judge.content(one.segment, one.dated);
    }
    placed
}

#[cfg(test)]
mod tests;
