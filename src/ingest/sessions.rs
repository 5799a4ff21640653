//! Which sessions of a source are open, when another one is due, and when the old one has done its part.
//!
//! A session is one address of a media playlist, and what it has shown. A new one is due on failure, before the address
//! expires, when the playlist's clock jumps, and when an answer is slow. The old one goes on until the new one has
//! shown a segment of the programme, and until it has shown whatever is missing between the two.
//!
//! Promises: pure; at most two sessions are open; a segment that an open session shows is wanted once, whichever shows
//! it first; a number that no session shows is told as lost once all that are open have passed it.
//! Never: polls, waits, or asks what time it is; `now` counts from any beginning.

use std::time::Duration;

use url::Url;

use super::tracker::{Step, Tracker};
use crate::hls::upstream::{MediaPlaylist, UpstreamSegment};
use crate::model::Timestamp;

/// Failures in a row after which the address itself is doubted.
const DOUBT_AFTER: u32 = 3;
/// A new session is opened this long before the old address expires, or at half its life if that is less.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// The old session waits this long at most for what it has not shown yet.
const HANDOVER_AT_MOST: Duration = Duration::from_secs(30);
/// Dates of consecutive segments that are trusted differ by no more than this from their durations.
const TRUSTED_TO_MICROS: i64 = 10_000;
/// A jump of this size is one by any source's clock.
const JUMP_MICROS: i64 = 1_000_000;

/// How far the dates of a source can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// As they are told, whatever lies between them.
    AsTold,
    /// To 10 ms: a source whose dates jump by more has lost its clock, for the rest of the session.
    Exact,
}

/// Names a session for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u32);

/// Why another session is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// None is open.
    None,
    Failing,
    /// Its address is refused, by itself or for the segments that it lists.
    Refused,
    Slow,
    Expiring,
    ClockJumped,
}

impl Due {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none was open",
            Self::Failing => "polls fail",
            Self::Refused => "the address is refused",
            Self::Slow => "answers are slow",
            Self::Expiring => "the address will expire",
            Self::ClockJumped => "the playlist's clock has jumped",
        }
    }
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    url: Url,
    opened_at: Duration,
    renew_at: Option<Duration>,
    due: Option<Due>,
    failures: u32,
    /// Its last poll gave a list, and its next one is not overdue.
    sees: bool,
    epoch: Option<u32>,
    last_listed: Option<u64>,
    /// It has shown a segment of the programme.
    proven: bool,
    /// The last segment that it has dated, and where it ends.
    last_dated: Option<(u64, Timestamp)>,
    /// From this number on its clock is not to be trusted.
    slipped_at: Option<u64>,
}

impl Session {
    /// Whether it has shown what comes after `number`, or counts otherwise.
    fn has_passed(&self, epoch: u32, number: u64) -> bool {
        let Some(last) = self.last_listed else { return false };
        self.epoch != Some(epoch) || last >= number
    }

    fn due(&self, now: Duration) -> Option<Due> {
        self.due.or_else(|| self.renew_at.is_some_and(|at| now >= at).then_some(Due::Expiring))
    }

    /// The first number whose date does not follow from the one before it. What is stitched in has a clock of its own.
    fn clock_jump(&mut self, playlist: &MediaPlaylist, step: &Step, tolerance_micros: i64) -> Option<u64> {
        let mut jump = None;
        for segment in programme(playlist, step) {
            let (number, before) = (segment.media_sequence, self.last_dated);
            if before.is_some_and(|(last, _)| number <= last) {
                continue;
            }
            let counted = before.filter(|(last, _)| last.checked_add(1) == Some(number)).map(|(_, end)| end);
            let Some(start) = segment.date_time.or(counted) else { continue };
            if counted.is_some_and(|end| start.micros_since(end).abs() > tolerance_micros) {
                jump = jump.or(Some(number));
            }
            self.last_dated = Some((number, start.plus_micros(segment.duration_micros)));
        }
        jump
    }
}

/// The sessions of one quality.
#[derive(Debug, Clone)]
pub struct Sessions {
    tracker: Tracker,
    dates: Dates,
    /// The oldest first; at most two.
    open: Vec<Session>,
    opened: u32,
}

impl Sessions {
    pub fn new(tracker: Tracker) -> Self {
        Self { tracker, dates: Dates::AsTold, open: Vec::new(), opened: 0 }
    }

    /// Why an address should be asked for now; `None` while none is needed, or a handover is under way.
    pub fn due(&self, now: Duration) -> Option<Due> {
        match self.open.as_slice() {
            [] => Some(Due::None),
            [only] => only.due(now),
            [_, ..] => None,
        }
    }

    /// An address was found. `None` where it is the one that is polled already, which is then doubted no longer.
    pub fn opened(&mut self, url: Url, lives_for: Option<Duration>, dates: Dates, now: Duration) -> Option<SessionId> {
        self.dates = dates;
        let renew_at = lives_for.map(|life| now + life.saturating_sub(RENEW_BEFORE).max(life / 2));
        if let Some(same) = self.open.iter_mut().find(|session| session.url == url) {
            *same = Session { due: None, failures: 0, slipped_at: None, last_dated: None, renew_at, ..same.clone() };
            return None;
        }
        self.open.truncate(1);
        let id = SessionId(self.opened);
        self.opened += 1;
        self.open.push(Session {
            id,
            url,
            opened_at: now,
            renew_at,
            due: None,
            failures: 0,
            sees: false,
            epoch: None,
            last_listed: None,
            proven: false,
            last_dated: None,
            slipped_at: None,
        });
        Some(id)
    }

    /// Where to poll; `None` once the session is over.
    pub fn url(&self, id: SessionId) -> Option<&Url> {
        self.open.iter().find(|session| session.id == id).map(|session| &session.url)
    }

    /// Whether no session shows the source as it is now.
    pub fn is_blind(&self) -> bool {
        !self.open.iter().any(|session| session.sees)
    }

    fn loses_sight(&mut self, id: SessionId) {
        self.open.iter_mut().filter(|session| session.id == id).for_each(|session| session.sees = false);
    }

    /// A poll of this session gave no playlist. `refused` means that the address is no good any more.
    pub fn failed(&mut self, id: SessionId, refused: bool) {
        self.loses_sight(id);
        self.doubt(id, if refused { DOUBT_AFTER } else { 1 }, Due::Failing);
        if refused {
            self.close(id);
        }
    }

    /// A poll of this session takes longer than it should.
    pub fn slow(&mut self, id: SessionId) {
        self.loses_sight(id);
        self.doubt(id, 1, Due::Slow);
        if let [only] = self.open.as_mut_slice() {
            only.due.get_or_insert(Due::Slow);
        }
    }

    /// After some failures the only session gets company, and one that should take over makes room for another.
    fn doubt(&mut self, id: SessionId, failures: u32, why: Due) {
        let takes_over = self.open.len() > 1 && self.open.last().is_some_and(|newest| newest.id == id);
        let Some(session) = self.open.iter_mut().find(|session| session.id == id) else { return };
        session.failures += failures;
        if session.failures >= DOUBT_AFTER {
            session.failures = 0;
            session.due = Some(why);
            if takes_over {
                self.close(id);
            }
        }
    }

    /// A segment's address was refused: that of the newest session is no good either.
    pub fn refused(&mut self) {
        if let [only] = self.open.as_mut_slice() {
            only.due = Some(Due::Refused);
        }
    }

    /// The address could not be had, or would not help; asked again when there is a new reason.
    pub fn no_address(&mut self) {
        for session in &mut self.open {
            session.due = None;
        }
    }

    /// The session has nothing more to show.
    pub fn close(&mut self, id: SessionId) {
        self.open.retain(|session| session.id != id);
    }

    /// Takes what `id` has shown, fetched from `base`. `None` if that session is over: its successor has it all.
    pub fn take(
        &mut self,
        id: SessionId,
        playlist: &MediaPlaylist,
        base: &Url,
        wall_now: Timestamp,
        now: Duration,
    ) -> Option<Step> {
        let tolerance = match self.dates {
            Dates::AsTold => JUMP_MICROS,
            Dates::Exact => TRUSTED_TO_MICROS,
        };
        let dates = self.dates;
        let session = self.open.iter_mut().find(|session| session.id == id)?;
        let mut step = self.tracker.step(session.epoch, playlist, base, wall_now);
        session.failures = 0;
        session.sees = true;
        session.proven |= shows_the_programme(playlist, &step);
        if session.epoch == step.epoch {
            session.last_listed = session.last_listed.max(step.last_listed);
        } else {
            (session.epoch, session.last_listed) = (step.epoch, step.last_listed);
            session.last_dated = None;
        }
        if let Some(number) = session.clock_jump(playlist, &step, tolerance) {
            session.slipped_at = session.slipped_at.or(Some(number).filter(|_| dates == Dates::Exact));
            session.due = Some(Due::ClockJumped);
        }
        if let Some(slipped_at) = session.slipped_at {
            step.wanted.iter_mut().for_each(|one| one.mistimed |= one.media_sequence >= slipped_at);
        }
        self.hand_over(now);
        let open = &self.open;
        step.lost = self.tracker.settle(|epoch, number| open.iter().all(|session| session.has_passed(epoch, number)));
        Some(step)
    }

    /// Closes the old session once the new one is proven and the old one has nothing more to give.
    fn hand_over(&mut self, now: Duration) {
        let [old, new] = self.open.as_slice() else { return };
        let has_all = self.tracker.missing().all(|(epoch, number)| old.has_passed(epoch, number));
        if new.proven && (has_all || now.saturating_sub(new.opened_at) > HANDOVER_AT_MOST) {
            self.open.remove(0);
        }
    }
}

/// The one place that says what proves a session.
fn shows_the_programme(playlist: &MediaPlaylist, step: &Step) -> bool {
    programme(playlist, step).next().is_some()
}

/// What `playlist` lists beside the advertisements that `step` found in it.
fn programme<'p>(playlist: &'p MediaPlaylist, step: &Step) -> impl Iterator<Item = &'p UpstreamSegment> {
    let is_advertisement = |number: u64| step.advertisements.binary_search(&number).is_ok();
    playlist.segments.iter().filter(move |segment| !is_advertisement(segment.media_sequence))
}

#[cfg(test)]
mod tests;
