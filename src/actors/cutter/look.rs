//! One look for work: what was left behind, what waits, what is to be asked or told.
//!
//! Promises: idempotent; what it begins with, it reads from the database.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slog::{debug, error, info, warn};
use tokio::sync::watch;
use tokio::time::Instant;

use super::errands::{self, Errand};
use super::fault::{JobError, backoff_after_kill};
use super::job::CutJob;
use super::making::Chosen;
use super::outgoing::upload_of;
use super::verdict::nobody_may;
use super::{Cutting, Destinations, Held};
use crate::causes::chain;
use crate::config::UploadConfig;
use crate::db::{Attempt, Author, Changed, DbError, EventFilter, MAX_PAGE, Uploader};
use crate::metrics::JobOutcome;
use crate::model::{Event, EventId, EventState, EventStep, Refusal, Timestamp, UploadLocation};
use crate::store;
use crate::upload::{Destination, UploadTicket};

/// Events of which a destination is asked or told something at once.
const MOST_ERRANDS: usize = 8;
/// An event that this node cannot cut now is looked at again after this long.
const UNFIT_FOR: Duration = Duration::from_secs(15);
/// Events that are looked at closely in one look.
const MOST_CHECKED: usize = 50;
/// Between two questions about one video; between two attempts to tell its destination something.
const ERRAND_EVERY: Duration = Duration::from_secs(15);
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// What one look leaves to the next.
pub struct Memory {
    began: Instant,
    pub look_number: u64,
    pub is_migrated: bool,
    /// What lay on the disk from earlier lives is gone.
    swept: bool,
    kept_at: Option<Instant>,
    counted_at: Option<Instant>,
    judged_at: Option<Instant>,
    /// Until when nothing is done about these events, in these versions.
    resting: HashMap<EventId, (i64, Instant)>,
    failure: Option<String>,
}

impl Memory {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            look_number: 0,
            is_migrated: false,
            swept: false,
            kept_at: None,
            counted_at: None,
            judged_at: None,
            resting: HashMap::new(),
            failure: None,
        }
    }

    /// An errand that led to nothing is not run again at once.
    pub fn rest(&mut self, id: &EventId, outcome: JobOutcome) {
        if outcome == JobOutcome::InDoubt {
            self.resting.insert(id.clone(), (i64::MAX, Instant::now() + ERRAND_EVERY));
        }
    }

    fn is_resting(&self, event: &Event) -> bool {
        let found = self.resting.get(&event.id);
        found.is_some_and(|(version, until)| {
            (*version == event.version || *version == i64::MAX) && Instant::now() < *until
        })
    }
}

/// What is to be done about an event.
pub enum Work {
    Cut(Box<CutJob>, Box<Chosen>),
    Resume(Box<CutJob>, Box<Attempt>),
    Inherit(Box<CutJob>, Box<Attempt>),
    Errand(Box<Errand>),
}

impl Work {
    /// Where it was about a job, and what became of that.
    pub async fn run(self) -> Option<(UploadLocation, JobOutcome)> {
        match self {
            Self::Cut(job, chosen) => {
                let location = job.upload.location.clone();
                Some((location, job.run(*chosen).await))
            }
            Self::Resume(job, attempt) => {
                let location = job.upload.location.clone();
                Some((location, job.resume(*attempt).await))
            }
            Self::Inherit(job, attempt) => {
                let location = job.upload.location.clone();
                Some((location, job.inherit(*attempt).await))
            }
            Self::Errand(errand) => {
                errand.run().await;
                None
            }
        }
    }
}

pub struct Look {
    pub cutting: Cutting,
    pub destinations: Destinations,
    pub running: HashMap<EventId, Held>,
    pub stopping: watch::Receiver<bool>,
    pub memory: Memory,
    pub found: Vec<(EventId, Work)>,
    /// Why the look ended early.
    pub failure: Option<String>,
}

impl Look {
    pub async fn run(mut self) -> Self {
        let now = Instant::now();
        self.memory.resting.retain(|_, (_, until)| now < *until);
        let failure = self.look().await.err().map(|error| chain(&error));
        let log = &self.cutting.log;
        if self.memory.failure != failure {
            match &failure {
                Some(error) => warn!(log, "jobs cannot be looked for, will try again"; "error" => error),
                None => info!(log, "jobs can be looked for again"),
            }
            self.memory.failure.clone_from(&failure);
        }
        self.failure = failure;
        self
    }

    async fn look(&mut self) -> Result<(), DbError> {
        // The registrar brings the schema up to date.
        if !self.memory.is_migrated {
            self.memory.is_migrated = self.cutting.db.migrations().await?.pending.is_empty();
            if !self.memory.is_migrated {
                return Ok(());
            }
        }
        self.keep_own_row().await?;
        self.count().await?;
        self.find_left_behind().await?;
        self.find_abandoned().await?;
        self.find_errands().await?;
        self.judge_waiting().await?;
        self.find_candidates().await
    }

    fn locations(&self) -> Vec<UploadLocation> {
        self.destinations.keys().cloned().collect()
    }

    async fn keep_own_row(&mut self) -> Result<(), DbError> {
        let due = self.cutting.config.lease / 4;
        if self.destinations.is_empty() || self.memory.kept_at.is_some_and(|at| at.elapsed() < due) {
            return Ok(());
        }
        let Cutting { name, clock, db, .. } = &self.cutting;
        let own = Uploader { node: name.clone(), locations: self.locations(), seen_at: clock.now() };
        db.keep_uploader(&own).await?;
        self.memory.kept_at = Some(Instant::now());
        Ok(())
    }

    async fn count(&mut self) -> Result<(), DbError> {
        if self.memory.counted_at.is_some_and(|at| at.elapsed() < METRICS_EVERY) {
            return Ok(());
        }
        let now = self.cutting.clock.now();
        for jobs in self.cutting.db.open_jobs().await? {
            let age = jobs.since.map_or(Duration::ZERO, |since| now.saturating_since(since));
            self.cutting.metrics.jobs_in_state(jobs.state, jobs.count, age);
        }
        self.memory.counted_at = Some(Instant::now());
        Ok(())
    }

    /// What an earlier life of this node was at; and what this one was, where the answer to a claim was lost.
    async fn find_left_behind(&mut self) -> Result<(), DbError> {
        let held = self.cutting.db.claims_of(&self.cutting.name).await?;
        if !self.memory.swept {
            let keys: Vec<_> = held.iter().filter_map(|event| event.job.upload.clone()).collect();
            let layout = self.cutting.layout.clone();
            let swept = self.cutting.blocking.run(move || store::sweep_job_files(&layout, &keys)).await;
            if let Ok(Err(error)) = swept {
                warn!(self.cutting.log, "cuts that nobody needs stay on the disk"; "error" => chain(&error));
            }
            self.memory.swept = true;
        }
        for event in held {
            if self.running.contains_key(&event.id) {
                continue;
            }
            if event.job.state == EventState::Claimed {
                self.roll_back(&event, "its node stopped in the midst of it").await?;
            } else if let Some((job, attempt)) = self.job_of(&event).await? {
                self.found.push((event.id, Work::Resume(job, attempt)));
            }
        }
        Ok(())
    }

    /// What other nodes were at that have not been heard of for a lease.
    async fn find_abandoned(&mut self) -> Result<(), DbError> {
        let now = self.cutting.clock.now();
        for event in self.cutting.db.abandoned(now).await? {
            let is_own = event.job.uploader.as_ref() == Some(&self.cutting.name);
            if is_own || self.running.contains_key(&event.id) || self.memory.is_resting(&event) {
                continue;
            }
            if event.job.state == EventState::Claimed {
                self.roll_back(&event, "its node has not been heard of").await?;
            } else if let Some((job, attempt)) = self.job_of(&event).await? {
                self.found.push((event.id, Work::Inherit(job, attempt)));
            }
        }
        Ok(())
    }

    /// EDITED again: nothing of it can exist.
    async fn roll_back(&self, event: &Event, why: &str) -> Result<(), DbError> {
        let Cutting { db, clock, name, config, log, .. } = &self.cutting;
        self.discard(event).await?;
        let now = clock.now();
        let retry_at = now.plus(backoff_after_kill(event.job.attempts, config.retry));
        let (known, is_own, why) = (event.job.clone(), event.job.uploader.as_ref() == Some(name), why.to_owned());
        let uploader = known.uploader.clone().unwrap_or_else(|| name.clone());
        info!(log, "a job that was left is rolled back"; "event" => %event.id, "uploader" => %uploader, "why" => &why);
        let change = move |event: &mut Event| {
            let is_alive = !is_own && event.job.lease_until.is_none_or(|lease| lease >= now);
            if event.job.upload != known.upload || event.job.state != EventState::Claimed || is_alive {
                return Err(Refusal::NotClaimed(event.job.uploader.clone()));
            }
            event.retry(&uploader, &why, retry_at)
        };
        db.change_event(&event.id, EventStep::Retry.as_str(), &Author::Node(name.clone()), now, change).await?;
        Ok(())
    }

    /// Lets the destination forget what was begun, where it can be asked from here.
    async fn discard(&self, event: &Event) -> Result<(), DbError> {
        let Some(key) = &event.job.upload else { return Ok(()) };
        let Some(attempt) = self.cutting.db.attempt(key).await? else { return Ok(()) };
        let Some((_, destination)) = self.destinations.get(&attempt.location) else { return Ok(()) };
        let ticket = attempt.ticket.as_ref().and_then(|ticket| UploadTicket::new(ticket.expose()).ok());
        if let Some(ticket) = ticket
            && let Err(error) = destination.discard(&upload_of(&self.cutting.layout, event, &attempt), &ticket).await
        {
            warn!(self.cutting.log, "an upload that nobody needs is left at its destination"; "event" => %event.id,
                "location" => %attempt.location, "error" => chain(&error));
        }
        Ok(())
    }

    /// The job of an event that was left in FINALIZING, where this node can ask its destination.
    async fn job_of(&self, event: &Event) -> Result<Option<(Box<CutJob>, Box<Attempt>)>, DbError> {
        if self.errands() >= MOST_ERRANDS {
            return Ok(None);
        }
        let attempt = match &event.job.upload {
            Some(key) => self.cutting.db.attempt(key).await?,
            None => None,
        };
        let Some(attempt) = attempt else {
            self.note(
                event,
                "it is not known which upload was being made final; look whether the video exists, then reset",
            )
            .await?;
            return Ok(None);
        };
        let Some((upload, destination)) = self.destinations.get(&attempt.location) else { return Ok(None) };
        let Some(event) = self.cutting.db.event(&event.id).await? else { return Ok(None) };
        Ok(Some((Box::new(self.job(upload, destination, event, attempt.key.clone())), Box::new(attempt))))
    }

    fn job(
        &self,
        upload: &UploadConfig,
        destination: &Rc<dyn Destination>,
        event: Event,
        key: crate::model::UploadKey,
    ) -> CutJob {
        let (upload, destination) = (upload.clone(), Rc::clone(destination));
        CutJob::new(self.cutting.clone(), upload, destination, event, key, self.stopping.clone())
    }

    fn errands(&self) -> usize {
        let found = self.found.iter().filter(|(_, work)| !matches!(work, Work::Cut(..))).count();
        self.running.values().filter(|held| **held == Held::Errand).count() + found
    }

    /// Videos that destinations still work on, and such as editors have changed.
    async fn find_errands(&mut self) -> Result<(), DbError> {
        if self.destinations.is_empty() {
            return Ok(());
        }
        let states = vec![EventState::Transcoding, EventState::Modified];
        let filter = EventFilter { states, ..EventFilter::default() };
        let page = self.cutting.db.events(&filter, None, MAX_PAGE).await?;
        if page.events.is_empty() {
            return Ok(());
        }
        let uploaders = self.cutting.db.uploaders().await?;
        for event in page.events {
            if self.errands() >= MOST_ERRANDS {
                break;
            }
            let location = event.edit.upload_location.as_ref();
            let Some((_, destination)) = location.and_then(|name| self.destinations.get(name)) else { continue };
            let is_mine = errands::is_mine(&event, &uploaders, &self.cutting.name, self.silent_since());
            if !is_mine || self.running.contains_key(&event.id) || self.memory.is_resting(&event) {
                continue;
            }
            let due = Instant::now() + ERRAND_EVERY.min(self.cutting.config.lease);
            self.memory.resting.insert(event.id.clone(), (event.version, due));
            let errand =
                Errand { cutting: self.cutting.clone(), destination: Rc::clone(destination), event: event.clone() };
            self.found.push((event.id, Work::Errand(Box::new(errand))));
        }
        Ok(())
    }

    /// Who was last seen before this is taken as gone.
    fn silent_since(&self) -> Timestamp {
        let lease = i64::try_from(self.cutting.config.lease.as_micros()).unwrap_or(i64::MAX / 2);
        self.cutting.clock.now().plus_micros(-lease)
    }

    /// Gives up what no node may cut. Nodes that start get a lease's time to say that they are there.
    async fn judge_waiting(&mut self) -> Result<(), DbError> {
        let lease = self.cutting.config.lease;
        let is_early = self.memory.began.elapsed() < lease;
        if is_early || self.memory.judged_at.is_some_and(|at| at.elapsed() < lease / 4) {
            return Ok(());
        }
        let filter = EventFilter { states: vec![EventState::Edited], ..EventFilter::default() };
        let page = self.cutting.db.events(&filter, None, MAX_PAGE).await?;
        let waiting = page.events.iter().filter(|event| self.has_waited(event));
        let waiting: Vec<&Event> = waiting.collect();
        if !waiting.is_empty() {
            let uploaders = self.cutting.db.uploaders().await?;
            for event in waiting {
                if let Some(why) = nobody_may(event, &uploaders) {
                    self.give_up(event, &why).await?;
                }
            }
        }
        self.memory.judged_at = Some(Instant::now());
        Ok(())
    }

    fn has_waited(&self, event: &Event) -> bool {
        event.job.edit_time.is_some_and(|edited| edited < self.silent_since())
    }

    /// UNEDITED, if it is still as it was judged.
    async fn give_up(&self, event: &Event, why: &str) -> Result<(), DbError> {
        let Cutting { db, clock, name, log, .. } = &self.cutting;
        error!(log, "an event cannot be cut, an editor is needed"; "event" => %event.id, "error" => why);
        let (version, node, why) = (event.version, name.clone(), why.to_owned());
        let fail = move |event: &mut Event| {
            if event.version != version {
                return Err(Refusal::Changed(Vec::new()));
            }
            event.fail(&node, &why)
        };
        db.change_event(&event.id, EventStep::Fail.as_str(), &Author::Node(name.clone()), clock.now(), fail).await?;
        Ok(())
    }

    /// Tells a person why an event stays where it is, unless something is told already.
    async fn note(&self, event: &Event, why: &str) -> Result<(), DbError> {
        if event.job.error.is_some() {
            return Ok(());
        }
        let Cutting { db, clock, name, log, .. } = &self.cutting;
        warn!(log, "an event has to wait"; "event" => %event.id, "why" => why);
        let (version, why) = (event.version, why.to_owned());
        let note = move |event: &mut Event| {
            if event.version != version {
                return Err(Refusal::Changed(Vec::new()));
            }
            event.note(Some(&why));
            Ok(())
        };
        db.change_event(&event.id, "note", &Author::Node(name.clone()), clock.now(), note).await?;
        Ok(())
    }

    async fn find_candidates(&mut self) -> Result<(), DbError> {
        let at_once = self.cutting.config.at_once as usize;
        let mut busy = self.running.values().filter(|held| **held == Held::Cut).count();
        if self.destinations.is_empty() || busy >= at_once {
            return Ok(());
        }
        // Where it cannot be known, the job finds out.
        if self.cutting.is_short_of_room().await.unwrap_or(false) {
            return Ok(());
        }
        let now = self.cutting.clock.now();
        let waiting = self.cutting.db.waiting(&self.cutting.name, &self.locations(), now, MAX_PAGE).await?;
        let mut checked = 0;
        for event in waiting {
            if busy >= at_once || checked >= MOST_CHECKED || *self.stopping.borrow() {
                break;
            }
            if self.running.contains_key(&event.id) || self.memory.is_resting(&event) {
                continue;
            }
            checked += 1;
            let location = event.edit.upload_location.as_ref();
            let Some((upload, destination)) = location.and_then(|name| self.destinations.get(name)).cloned() else {
                continue;
            };
            match self.cutting.choose(&event, &upload).await {
                Ok(chosen) => {
                    if let Some(claimed) = self.claim(&event).await? {
                        busy += 1;
                        let key = claimed.job.upload.clone().expect("a claim sets it");
                        let job = self.job(&upload, &destination, claimed, key);
                        self.found.push((event.id, Work::Cut(Box::new(job), Box::new(chosen))));
                    }
                }
                Err(error) => self.refuse(&event, &error).await?,
            }
        }
        Ok(())
    }

    async fn claim(&self, event: &Event) -> Result<Option<Event>, DbError> {
        let Cutting { db, clock, name, config, log, .. } = &self.cutting;
        let now = clock.now();
        match db.claim_event(event, name, now, now.plus(config.lease)).await? {
            Changed::Done(claimed) => {
                info!(log, "event claimed"; "event" => %event.id, "attempt" => event.job.attempts + 1);
                Ok(Some(*claimed))
            }
            Changed::Absent | Changed::Refused(_) => Ok(None),
        }
    }

    /// What this node cannot cut now waits, for what is missing or for another node; what nobody ever can is given up.
    async fn refuse(&mut self, event: &Event, error: &JobError) -> Result<(), DbError> {
        let until = Instant::now() + UNFIT_FOR.min(self.cutting.config.lease);
        self.memory.resting.insert(event.id.clone(), (event.version, until));
        debug!(self.cutting.log, "an event is left to others, or for later"; "event" => %event.id, "why" => chain(error));
        match error {
            error if !error.is_retryable() => self.give_up(event, &chain(error)).await,
            JobError::Plan(missing) if self.has_waited(event) => {
                let why = format!(
                    "not cut by {}: {}; it waits for what is missing, or for a node that has it, unless holes are allowed",
                    self.cutting.name,
                    chain(missing)
                );
                self.note(event, &why).await
            }
            _ => Ok(()),
        }
    }
}
