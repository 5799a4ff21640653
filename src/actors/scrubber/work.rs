//! What the scrubber is at: hours that were written near a stop that was none in order, then the round through all.

use std::collections::VecDeque;
use std::time::Duration;

use slog::{error, info, warn};
use tokio::time::Instant;

use super::Scrubbing;
use super::pace::{Pace, left};
use super::stretch::{Done, Stretch, Trouble};
use crate::blocking::Panicked;
use crate::causes::chain;
use crate::model::{Hour, Timestamp};
use crate::store::{self, Recovery, RoundState, ScrubState, StoreError, StoredFile, StreamHour};

/// While the disk is in trouble, or a look at it failed, this long until the next one.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// While others are busy with the disk: looks at whether they still are.
const LOOK_AT_OTHERS: Duration = Duration::from_secs(1);
/// However busy others are: after so long there is a stretch of reading.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// After a disk that gave nothing, or took no move.
const AFTER_TROUBLE: Duration = Duration::from_secs(10 * 60);
/// Between two rounds this is how often it is asked whether the next one is due, and what other processes left behind.
const IDLE: Duration = Duration::from_secs(60);
/// Between two writings of how far a round is.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Between two estimates of what is left.
const SURVEY_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Between two looks for temps that others abandoned, in the hours in which there may be new ones.
const SWEEP_EVERY: Duration = Duration::from_secs(30 * 60);
const SWEPT_HOURS: i64 = 24;

/// What is done next, and what was done.
pub(super) struct Work {
    deps: Scrubbing,
    pace: Pace,
    state: ScrubState,
    /// What the stop left unchecked, the next hour last; `None` until it is known.
    unchecked: Option<Vec<StreamHour>>,
    checked_files: u64,
    bad_files: u64,
    /// What the round has yet to read, the next hour last.
    left: Vec<StreamHour>,
    left_bytes: u64,
    /// When `left` was looked up, and the bytes read since.
    surveyed: Option<(Instant, u64)>,
    current: Option<StreamHour>,
    files: VecDeque<StoredFile>,
    unreadable_in_a_row: u32,
    saved: Instant,
    swept: Instant,
    /// The end of the last stretch.
    read: Instant,
    is_silent: bool,
}

enum LookError {
    Store(StoreError),
    Panicked(Panicked),
}

impl Work {
    /// Goes on where the last life was.
    pub async fn resume(deps: Scrubbing) -> Self {
        let layout = deps.disk.layout.clone();
        let mut state = deps.disk.blocking.run(move || store::read_scrub_state(&layout)).await.unwrap_or_default();
        state.unchecked_since = earlier(state.unchecked_since, deps.unchecked_since);
        let pace = Pace { within: deps.config.within, max_rate: deps.config.max_rate.bytes() };
        let now = Instant::now();
        Self {
            deps,
            pace,
            state,
            unchecked: None,
            checked_files: 0,
            bad_files: 0,
            left: Vec::new(),
            left_bytes: 0,
            surveyed: None,
            current: None,
            files: VecDeque::new(),
            unreadable_in_a_row: 0,
            saved: now,
            swept: now,
            read: now,
            is_silent: false,
        }
    }

    /// Does a little, and answers how long to leave the disk alone.
    pub async fn step(&mut self) -> Duration {
        if self.deps.disk.spool.is_needed() {
            return LOOK_AGAIN;
        }
        if !self.deps.config.enabled {
            return self.sweep().await.map_or(LOOK_AGAIN, |()| IDLE);
        }
        let is_urgent = self.state.unchecked_since.is_some();
        if !is_urgent && (self.deps.is_busy)() && self.read.elapsed() < LONGEST_WAIT {
            return LOOK_AT_OTHERS;
        }
        let done = match (&self.current, self.files.is_empty()) {
            (Some(_), false) => Ok(self.read(is_urgent).await),
            (Some(_), true) => self.end_hour().await,
            (None, _) => self.begin_hour(is_urgent).await,
        };
        self.tell_round();
        match done {
            Ok(rest) => {
                self.is_silent = false;
                rest
            }
            Err(error) => {
                let error = match &error {
                    LookError::Store(error) => chain(error),
                    LookError::Panicked(error) => chain(error),
                };
                if !std::mem::replace(&mut self.is_silent, true) {
                    warn!(self.deps.log, "what is stored cannot be checked, will try again"; "error" => error);
                }
                LOOK_AGAIN
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookError> {
        let volume = self.deps.disk.volume.clone();
        // Nothing is concluded from what another volume holds.
        let work = move || volume.check().and_then(|()| work());
        self.deps.disk.blocking.run(work).await.map_err(LookError::Panicked)?.map_err(LookError::Store)
    }

    async fn read(&mut self, is_urgent: bool) -> Duration {
        let stretch = Stretch {
            layout: self.deps.disk.layout.clone(),
            volume: self.deps.disk.volume.clone(),
            now: self.deps.clock.now(),
            files: std::mem::take(&mut self.files),
            unreadable_in_a_row: self.unreadable_in_a_row,
        };
        let Ok((stretch, done)) = self.deps.disk.blocking.run(move || stretch.run()).await else {
            // The panic is in the log; one file must not stop all others.
            return LOOK_AGAIN;
        };
        (self.files, self.unreadable_in_a_row) = (stretch.files, stretch.unreadable_in_a_row);
        self.read = Instant::now();
        self.deps.metrics.scrubbed(done.files, done.bytes);
        done.bad.iter().for_each(|bad| self.deps.lose(bad));
        self.checked_files += done.files;
        self.bad_files += done.bad.len() as u64;
        if !is_urgent {
            self.left_bytes = self.left_bytes.saturating_sub(done.bytes);
            if let Some(round) = &mut self.state.round {
                round.bytes += done.bytes;
            }
            if let Some((_, since)) = &mut self.surveyed {
                *since += done.bytes;
            }
        }
        if let Some((error, count)) = &done.unchecked {
            warn!(self.deps.log, "stored files cannot be checked"; "count" => *count, "error" => chain(error));
        }
        self.rest_after(&done, is_urgent)
    }

    fn rest_after(&mut self, done: &Done, is_urgent: bool) -> Duration {
        match &done.trouble {
            Some(Trouble::DiskFails) => {
                error!(self.deps.log, "one stored file after the other cannot be read: the disk fails");
                self.unreadable_in_a_row = 0;
                AFTER_TROUBLE
            }
            Some(Trouble::CannotMove(error)) => {
                error!(self.deps.log, "a stored file went bad and cannot be moved"; "error" => chain(error));
                AFTER_TROUBLE
            }
            None if is_urgent => Duration::ZERO,
            None => Pace::rest(done.bytes, done.took, self.rate()),
        }
    }

    /// Bytes per second that would end the round in time.
    fn rate(&self) -> u64 {
        let now = self.deps.clock.now();
        let began = self.state.round.as_ref().map_or(now, |round| round.began);
        self.pace.rate(self.left_bytes, began, now)
    }

    async fn begin_hour(&mut self, is_urgent: bool) -> Result<Duration, LookError> {
        self.sweep().await?;
        if is_urgent {
            return self.begin_unchecked().await;
        }
        let now = self.deps.clock.now();
        let wait = self.pace.until_next(self.state.round.as_ref(), now);
        if !wait.is_zero() {
            return Ok(wait.min(IDLE));
        }
        if self.state.round.as_ref().is_none_or(|round| round.ended.is_some()) {
            info!(self.deps.log, "a round through all that is stored begins");
            self.state.round = Some(RoundState { began: now, ended: None, done: None, bytes: 0 });
            self.surveyed = None;
            self.save().await?;
        }
        if self.surveyed.is_none_or(|(at, _)| at.elapsed() > SURVEY_EVERY) {
            self.survey(now).await?;
        }
        let Some(next) = self.left.pop() else { return self.end_round(now).await };
        self.begin(next, None).await
    }

    async fn survey(&mut self, now: Timestamp) -> Result<(), LookError> {
        let layout = self.deps.disk.layout.clone();
        let done = self.state.round.as_ref().and_then(|round| round.done.clone());
        let look = move || {
            let left = left(store::stream_hours(&layout)?, done.as_ref(), now);
            let bytes = store::estimate_bytes(&layout, &left);
            Ok((left, bytes))
        };
        let (mut hours, bytes) = self.run(look).await?;
        hours.reverse();
        (self.left, self.left_bytes, self.surveyed) = (hours, bytes, Some((Instant::now(), 0)));
        Ok(())
    }

    async fn end_round(&mut self, now: Timestamp) -> Result<Duration, LookError> {
        self.left_bytes = 0;
        if let Some(round) = &mut self.state.round {
            info!(self.deps.log, "a round through all that is stored is done"; "bytes" => round.bytes);
            round.ended = Some(now);
        }
        self.save().await?;
        Ok(IDLE)
    }

    /// Takes on what was written near the stop, the newest hour first.
    async fn begin_unchecked(&mut self) -> Result<Duration, LookError> {
        let Some(since) = self.state.unchecked_since else { return Ok(Duration::ZERO) };
        if self.unchecked.is_none() {
            let layout = self.deps.disk.layout.clone();
            let mut hours = self.run(move || store::hours_changed_since(&layout, since)).await?;
            hours.reverse();
            self.unchecked = Some(hours);
        }
        if let Some(next) = self.unchecked.as_mut().and_then(Vec::pop) {
            return self.begin(next, Some(since)).await;
        }
        info!(self.deps.log, "what was written near the last stop is checked";
            "files" => self.checked_files, "bad" => self.bad_files);
        self.state.unchecked_since = None;
        self.save().await?;
        Ok(Duration::ZERO)
    }

    /// Lists an hour, and keeps what others abandoned in it.
    async fn begin(&mut self, of: StreamHour, since: Option<Timestamp>) -> Result<Duration, LookError> {
        let (layout, listed) = (self.deps.disk.layout.clone(), of.clone());
        let list = move || {
            let mut files = store::files_of(&layout, &listed)?;
            files.retain(|file| since.is_none_or(|since| store::was_changed_since(&file.path(&layout), since)));
            Ok(files)
        };
        let files = self.run(list).await;
        // One that cannot be listed must not stop those behind it; the next round tries again.
        self.current = Some(of.clone());
        self.files = files?.into();
        self.recover(vec![of]).await?;
        Ok(Duration::ZERO)
    }

    async fn end_hour(&mut self) -> Result<Duration, LookError> {
        let done = self.current.take();
        if self.state.unchecked_since.is_none()
            && let Some(round) = &mut self.state.round
        {
            round.done = done;
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save().await?;
        }
        Ok(Duration::ZERO)
    }

    async fn save(&mut self) -> Result<(), LookError> {
        self.saved = Instant::now();
        let (layout, volume) = (self.deps.disk.layout.clone(), self.deps.disk.volume.clone());
        let state = self.state.clone();
        self.run(move || store::write_scrub_state(&layout, &volume, &state)).await
    }

    /// Keeps what other recorders on these directories abandoned lately.
    async fn sweep(&mut self) -> Result<(), LookError> {
        if self.swept.elapsed() < SWEEP_EVERY {
            return Ok(());
        }
        self.swept = Instant::now();
        let layout = self.deps.disk.layout.clone();
        let oldest: Hour = self.deps.clock.now().plus_micros(-SWEPT_HOURS * 3_600_000_000).hour();
        let recent = self.run(move || {
            let mut hours = store::stream_hours(&layout)?;
            hours.retain(|of| of.hour >= oldest);
            Ok(hours)
        });
        let recent = recent.await?;
        self.recover(recent).await
    }

    async fn recover(&self, hours: Vec<StreamHour>) -> Result<(), LookError> {
        let (layout, mine) = (self.deps.disk.layout.clone(), self.deps.temp_mark.clone());
        let log = self.deps.log.clone();
        let recover = move || {
            let mut all = Recovery::default();
            for StreamHour { channel, quality, hour } in hours {
                let on_error = |error: StoreError| warn!(log, "a temp is left as it is"; "error" => chain(&error));
                all.add(store::recover_hour(&layout, &channel, &quality, hour, &mine, on_error)?);
            }
            Ok(all)
        };
        let recovery = self.run(recover).await?;
        self.deps.tell_left_behind(&recovery);
        Ok(())
    }

    fn tell_round(&self) {
        let Some(round) = &self.state.round else { return };
        let reached = self.surveyed.filter(|(at, _)| at.elapsed() > Duration::from_secs(60));
        let reached = reached.map(|(at, bytes)| bytes / at.elapsed().as_secs().max(1));
        let left_bytes = if round.ended.is_some() { 0 } else { self.left_bytes };
        let age = self.deps.clock.now().saturating_since(round.began);
        self.deps.metrics.scrub_round(round.bytes, left_bytes, age, Pace::eta(left_bytes, self.rate(), reached));
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
