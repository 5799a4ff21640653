//! One event on its way to a published video: cut, upload, finish.
//!
//! Promises: each state is in the database before the act that it announces; from FINALIZING on nothing is given back before
//! the destination was asked what it has; a job that its event was taken away from ends within a second, with its ffmpeg and
//! its upload; while the database is down a job goes on, and writes its state when it is back.

mod doubt;
mod ends;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use slog::{info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Cutting;
use super::fault::JobError;
use super::making::{Chosen, Making};
use super::outgoing::upload_of;
use super::persisting::persist;
use crate::causes::chain;
use crate::config::{Secret, UploadConfig};
use crate::db::{Attempt, Author, Changed, DbError, EventProgress};
use crate::jitter::jittered;
use crate::metrics::JobOutcome;
use crate::model::{Event, EventState, EventStep, Refusal, Timestamp, UploadKey};
use crate::upload::{Destination, Gate, Held, Progress, Published, Upload, UploadError, UploadTicket, Withdrawn};

/// Between looks at whether the event is still this job's: whoever cancels it waits for no longer.
const LOOK_EVERY: Duration = Duration::from_millis(400);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often an upload is resumed before the job begins anew.
const MOST_RESUMPTIONS: u32 = 3;
/// For how long a job waits amid its upload before it is resumed. Where the destination wants more, as a quota does that is spent, the
/// event is given back, so that the node cuts others.
const LONGEST_WAIT_AMID: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A claimed event, and what its job works with.
pub struct CutJob {
    pub cutting: Cutting,
    pub upload: UploadConfig,
    pub destination: Rc<dyn Destination>,
    /// With its image.
    pub event: Event,
    pub key: UploadKey,
    /// True once the node stops.
    pub stopping: watch::Receiver<bool>,
    standing: Standing,
}

/// How far it is.
struct Standing {
    activity: Cell<&'static str>,
    since: Cell<Instant>,
    making: RefCell<Making>,
    /// The video may exist.
    is_final: Cell<bool>,
    /// What is being written takes the event away from this job, as it should be.
    is_settled: Cell<bool>,
    begun: RefCell<Option<(Upload, UploadTicket)>>,
    noted: RefCell<Option<String>>,
}

/// Why a job ended whose work has not.
enum Interrupted {
    TakenAway,
    Stopping,
}

impl CutJob {
    pub fn new(
        cutting: Cutting,
        upload: UploadConfig,
        destination: Rc<dyn Destination>,
        event: Event,
        key: UploadKey,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let standing = Standing {
            activity: Cell::new("planning"),
            since: Cell::new(Instant::now()),
            making: RefCell::default(),
            is_final: Cell::new(false),
            is_settled: Cell::new(false),
            begun: RefCell::default(),
            noted: RefCell::default(),
        };
        Self { cutting, upload, destination, event, key, stopping, standing }
    }

    /// From CLAIMED to the end.
    pub async fn run(self, chosen: Chosen) -> JobOutcome {
        let ended = tokio::select! {
            done = self.work(chosen) => Ok(done),
            why = self.interrupted() => Err(why),
            () = self.tell() => Err(Interrupted::TakenAway),
        };
        let outcome = match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(JobError::Withdrawn(_))) | Err(Interrupted::TakenAway) => self.taken_away(),
            Ok(Err(error)) => self.failed(&error).await,
            Err(Interrupted::Stopping) => self.give_back().await,
        };
        self.clean_up(outcome).await
    }

    /// From FINALIZING, which another process has left: the end of whatever it did.
    pub async fn resume(self, attempt: Attempt) -> JobOutcome {
        self.standing.is_final.set(true);
        self.standing.activity.set("asking the destination");
        let outcome = tokio::select! {
            outcome = self.reconcile(&attempt) => outcome,
            _ = self.interrupted() => self.taken_away(),
            () = self.tell() => self.taken_away(),
        };
        self.clean_up(outcome).await
    }

    /// From FINALIZING under another node that is gone. As long as its destination cannot be asked from here, it is left to
    /// that node.
    pub async fn inherit(self, attempt: Attempt) -> JobOutcome {
        let ticket = attempt.ticket.as_ref().and_then(|ticket| UploadTicket::new(ticket.expose()).ok());
        let held = self.destination.held(&self.upload_of(&attempt), ticket.as_ref()).await;
        if !matches!(held, Ok(Held::Nothing | Held::Some { .. } | Held::Whole(_))) {
            return JobOutcome::InDoubt;
        }
        let (name, key, lease) = (self.cutting.name.clone(), self.key.clone(), self.cutting.config.lease);
        let now = self.cutting.clock.now();
        let take_over = move |event: &mut Event| {
            if event.job.upload.as_ref() != Some(&key) {
                return Err(Refusal::NotClaimed(event.job.uploader.clone()));
            }
            event.take_over(&name, now, now.plus(lease))
        };
        let author = Author::Node(self.cutting.name.clone());
        match self.cutting.db.change_event(&self.event.id, "take over", &author, now, take_over).await {
            Ok(Changed::Done(_)) => {
                info!(self.cutting.log, "the upload of a node that is gone was taken over"; "event" => %self.event.id,
                    "uploader" => %attempt.uploader);
                self.resume(attempt).await
            }
            // If the answer was lost, the next look finds the event as this node's own.
            Ok(Changed::Absent | Changed::Refused(_)) | Err(_) => JobOutcome::InDoubt,
        }
    }

    async fn work(&self, chosen: Chosen) -> Result<JobOutcome, JobError> {
        let cutting = &self.cutting;
        self.standing.activity.set("cutting");
        let told = |making: Making| {
            self.standing.since.set(Instant::now());
            self.standing.making.replace(making);
        };
        let cut = cutting.spool(&self.key, chosen, &self.upload, told).await?;
        let thumbnail = cutting.thumbnail(&self.event).await?;
        let attempt = Attempt {
            key: self.key.clone(),
            event: self.event.id.clone(),
            uploader: cutting.name.clone(),
            location: self.upload.location.clone(),
            begun_at: cutting.clock.now(),
            cut,
            ticket: None,
        };
        persist(&cutting.log, || cutting.db.begin_attempt(&attempt)).await?;
        let upload = Upload { thumbnail, ..self.upload_of(&attempt) };
        self.publish(attempt, &upload).await
    }

    fn upload_of(&self, attempt: &Attempt) -> Upload {
        upload_of(&self.cutting.layout, &self.event, attempt)
    }

    /// Sends it, resuming what breaks off, until the video exists or there is a reason to begin anew.
    async fn publish(&self, mut attempt: Attempt, upload: &Upload) -> Result<JobOutcome, JobError> {
        let (mut ticket, mut failures) = (None, 0);
        loop {
            match self.try_publish(&mut ticket, upload).await {
                Ok(published) => return self.finish(&published, upload).await,
                // The video may exist: only the destination knows.
                Err(error) if self.standing.is_final.get() => {
                    warn!(self.cutting.log, "the end of an upload is unknown, asking the destination";
                        "event" => %self.event.id, "error" => chain(&error));
                    attempt.ticket = ticket.as_ref().map(secret);
                    return Ok(self.reconcile(&attempt).await);
                }
                Err(JobError::Upload(error))
                    if error.is_retryable()
                        && failures < MOST_RESUMPTIONS
                        && error.retry_after().is_none_or(|wait| wait <= LONGEST_WAIT_AMID) =>
                {
                    failures += 1;
                    warn!(self.cutting.log, "upload broke off, resuming it"; "event" => %self.event.id,
                        "failures" => failures, "error" => chain(&error));
                    sleep(error.retry_after().unwrap_or(jittered(FIRST_PAUSE))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_publish(&self, ticket: &mut Option<UploadTicket>, upload: &Upload) -> Result<Published, JobError> {
        let mut from_bytes = 0;
        if let Some(begun) = ticket {
            match self.destination.held(upload, Some(begun)).await? {
                Held::Some { bytes } => from_bytes = bytes,
                Held::Nothing => *ticket = None,
                Held::Whole(published) => {
                    self.gate().await?;
                    return Ok(published);
                }
                Held::Unknowable { why } => return Err(UploadError::TicketGone { why }.into()),
            }
        }
        let begun = match ticket {
            Some(begun) => begun.clone(),
            None => {
                let begun = self.destination.begin(upload).await?;
                let ticket_text = secret(&begun);
                persist(&self.cutting.log, || self.cutting.db.note_ticket(&self.key, &ticket_text)).await?;
                self.standing.begun.replace(Some((upload.clone(), begun.clone())));
                ticket.insert(begun).clone()
            }
        };
        Ok(self.send(upload, &begun, from_bytes).await?)
    }

    async fn send(&self, upload: &Upload, ticket: &UploadTicket, from_bytes: u64) -> Result<Published, UploadError> {
        let progress = Progress::default();
        progress.set(from_bytes);
        self.standing.activity.set("uploading");
        self.standing.since.set(Instant::now());
        self.standing.making.replace(Making { progress: progress.clone(), total_bytes: Some(upload.len_bytes) });
        self.destination.send(upload, ticket, from_bytes, &progress, self.gate()).await
    }

    /// FINALIZING, however long the database is down; refused if the event was taken back.
    fn gate(&self) -> Gate<'_> {
        let (name, key) = (self.cutting.name.clone(), self.key.clone());
        let finalize = move |event: &mut Event| {
            event.check_is_at(&name, &key)?;
            // Written by a call whose answer was lost.
            if event.job.state == EventState::Finalizing { Ok(()) } else { event.finalize(&name) }
        };
        async move {
            match self.change(EventStep::Finalize.as_str(), finalize).await {
                Ok(Changed::Done(_)) => {
                    self.standing.is_final.set(true);
                    Ok(())
                }
                Ok(Changed::Absent | Changed::Refused(_)) | Err(_) => Err(Withdrawn),
            }
        }
        .boxed_local()
    }

    /// Changes the event, however long the database is down.
    async fn change(
        &self,
        what: &'static str,
        change: impl Fn(&mut Event) -> Result<(), Refusal> + Clone + Send + Sync + 'static,
    ) -> Result<Changed, DbError> {
        let Cutting { db, clock, name, log, .. } = &self.cutting;
        let author = Author::Node(name.clone());
        persist(log, || db.change_event(&self.event.id, what, &author, clock.now(), change.clone())).await
    }

    /// Ends when the job is to end though its work has not; renews the lease until then.
    async fn interrupted(&self) -> Interrupted {
        let Cutting { db, clock, name, config, .. } = &self.cutting;
        let mut renewed = Instant::now();
        let mut stopping = self.stopping.clone();
        loop {
            let stops = async {
                // The sender is the actor, whose end ends this too.
                let _ = stopping.wait_for(|stops| *stops).await;
                // The last act is awaited; what is written is written.
                while self.standing.is_final.get() || self.standing.is_settled.get() {
                    sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stops => return Interrupted::Stopping,
            }
            let state = db.state_at(&self.event.id, name, &self.key).await;
            match state {
                Ok(None) if !self.standing.is_settled.get() => return Interrupted::TakenAway,
                // Without the database nobody can take it away.
                Ok(_) | Err(_) => {}
            }
            if renewed.elapsed() >= config.lease / 3 {
                let until = clock.now().plus(config.lease);
                if matches!(db.renew_lease(&self.event.id, name, until).await, Ok(true)) {
                    renewed = Instant::now();
                }
            }
        }
    }

    /// Notes how far it is, for people; never ends.
    async fn tell(&self) {
        loop {
            sleep(TELL_EVERY).await;
            // People can do without.
            let _ = self.cutting.db.note_progress(&self.event.id, &self.progress()).await;
        }
    }

    fn progress(&self) -> EventProgress {
        let standing = &self.standing;
        let now = self.cutting.clock.now();
        let making = standing.making.borrow();
        let done_bytes = making.progress.bytes();
        EventProgress {
            uploader: self.cutting.name.clone(),
            activity: standing.activity.get().to_owned(),
            done_bytes,
            total_bytes: making.total_bytes,
            ends_at: ends_at(now, standing.since.get().elapsed(), done_bytes, making.total_bytes),
            noted_at: now,
        }
    }
}

/// When it is done, if it goes on as it did.
fn ends_at(now: Timestamp, took: Duration, done_bytes: u64, total_bytes: Option<u64>) -> Option<Timestamp> {
    let total_bytes = total_bytes.filter(|total| done_bytes > 0 && *total >= done_bytes)?;
    let left = took.as_secs_f64() * (total_bytes - done_bytes) as f64 / done_bytes as f64;
    Some(now.plus(Duration::try_from_secs_f64(left).ok()?))
}

fn secret(ticket: &UploadTicket) -> Secret {
    Secret::new(ticket.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_from_what_was_done_so_far() {
        let now = Timestamp::from_micros(0);
        let ends = |done, total| ends_at(now, Duration::from_secs(10), done, total).map(Timestamp::micros);
        assert_eq!(ends(25, Some(100)), Some(30_000_000));
        assert_eq!(ends(100, Some(100)), Some(0));
        for (done, total) in [(0, Some(100)), (101, Some(100)), (5, None)] {
            assert_eq!(ends(done, total), None);
        }
    }
}
