//! One event on its way to a published video: cut, upload, finish.
//!
//! Promises: each state is in the database before the act that it announces; from FINALIZING on nothing is given back before
//! the destination was asked what it has; a job that its event was taken away from ends within a second, with its ffmpeg and
//! its upload; while the database is down a job goes on, and writes its state when it is back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use slog::{error, info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Cutting;
use super::fault::{JobError, Verdict, backoff_after_kill};
use super::making::{Chosen, Making};
use super::persisting::persist;
use crate::causes::chain;
use crate::config::{Secret, UploadConfig};
use crate::db::{Attempt, Author, Changed, DbError, EventProgress};
use crate::jitter::jittered;
use crate::metrics::JobOutcome;
use crate::model::{Event, EventState, EventStep, Refusal, Timestamp, UploadKey};
use crate::store::{self, Layout};
use crate::upload::{
    Destination, Gate, Held, Progress, Published, Upload, UploadError, UploadTicket, VideoMetadata, Withdrawn,
};

/// Between looks at whether the event is still this job's: whoever cancels it waits for no longer.
const LOOK_EVERY: Duration = Duration::from_millis(400);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often an upload is resumed before the job begins anew.
const MOST_RESUMPTIONS: u32 = 3;
/// For how long a job waits amid its upload before it is resumed. Where the destination wants more, as a quota does that is spent, the
/// event is given back, so that the node cuts others.
const LONGEST_WAIT_AMID: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Between questions to a destination that cannot say what it has.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

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

    /// Asks the destination what it has, until it says so; goes on from there, or gives the event back.
    async fn reconcile(&self, attempt: &Attempt) -> JobOutcome {
        let mut upload = self.upload_of(attempt);
        upload.thumbnail = self.cutting.thumbnail(&self.event).await.ok().flatten();
        let ticket = attempt.ticket.as_ref().and_then(|ticket| UploadTicket::new(ticket.expose()).ok());
        let (mut pause, mut resumptions) = (FIRST_PAUSE, 0);
        loop {
            let doubt = match self.settle(attempt, &upload, ticket.as_ref(), &mut resumptions).await {
                Ok(outcome) => return outcome,
                Err(JobError::Withdrawn(_)) => return self.taken_away(),
                Err(error) => chain(&error),
            };
            self.note(&format!("the destination does not say whether the video exists, asking again: {doubt}")).await;
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn settle(
        &self,
        attempt: &Attempt,
        upload: &Upload,
        ticket: Option<&UploadTicket>,
        resumptions: &mut u32,
    ) -> Result<JobOutcome, JobError> {
        let held = self.destination.held(upload, ticket).await?;
        if let (Held::Some { bytes }, Some(ticket)) = (&held, ticket)
            && *resumptions < MOST_RESUMPTIONS
            && self.has_file(attempt).await?
        {
            *resumptions += 1;
            let published = self.send(upload, ticket, *bytes).await?;
            return self.finish(&published, upload).await;
        }
        match held {
            Held::Whole(published) => self.finish(&published, upload).await,
            Held::Unknowable { why } => Err(UploadError::Refused { why, remedy: "look there" }.into()),
            Held::Nothing | Held::Some { .. } => {
                // From here on nobody who still sends with this ticket can succeed; whoever did so before is seen.
                if let Some(ticket) = ticket {
                    self.destination.discard(upload, ticket).await?;
                    match self.destination.held(upload, Some(ticket)).await? {
                        Held::Whole(published) => return self.finish(&published, upload).await,
                        Held::Unknowable { why } => {
                            return Err(UploadError::Refused { why, remedy: "look there" }.into());
                        }
                        Held::Nothing | Held::Some { .. } => {}
                    }
                }
                self.standing.begun.replace(None);
                Ok(self.begin_anew().await)
            }
        }
    }

    async fn has_file(&self, attempt: &Attempt) -> Result<bool, JobError> {
        let (layout, key) = (self.cutting.layout.clone(), attempt.key.clone());
        let (len_bytes, sha256) = (attempt.cut.len_bytes, attempt.cut.sha256);
        let verify = move || store::verify_job_file(&layout, &key, len_bytes, &sha256);
        Ok(self.cutting.blocking.run(verify).await??)
    }

    /// DONE, or TRANSCODING.
    async fn finish(&self, published: &Published, upload: &Upload) -> Result<JobOutcome, JobError> {
        self.standing.is_settled.set(true);
        let (name, key, at) = (self.cutting.name.clone(), self.key.clone(), self.cutting.clock.now());
        let shown = upload.thumbnail.as_ref().map(|thumbnail| thumbnail.sha256.to_vec());
        let of = published.clone();
        let finish = move |event: &mut Event| {
            let is_written = event.job.state > EventState::Finalizing && event.job.upload.as_ref() == Some(&key);
            if is_written {
                return Ok(());
            }
            event.check_is_at(&name, &key)?;
            let id = Some(of.video_id.as_str());
            if of.is_transcoding {
                event.transcode(&name, id, &of.link)?;
            } else {
                event.finish(&name, id, &of.link, at)?;
            }
            if of.lacks.is_none() && shown.is_some() {
                event.edit.thumbnail.last_written.clone_from(&shown);
            }
            event.note(of.lacks.as_deref());
            Ok(())
        };
        let step = if published.is_transcoding { EventStep::Transcode } else { EventStep::Finish };
        let log = &self.cutting.log;
        match self.change(step.as_str(), finish).await? {
            Changed::Done(_) => {
                info!(log, "video published"; "event" => %self.event.id, "location" => %self.upload.location,
                    "link" => &published.link, "bytes" => upload.len_bytes);
                if let Some(lacks) = &published.lacks {
                    warn!(log, "video published without a part of it"; "event" => %self.event.id, "lacks" => lacks);
                }
                Ok(JobOutcome::Published)
            }
            Changed::Absent | Changed::Refused(_) => {
                error!(log, "a video is published whose event was reset: it is left to a person";
                    "event" => %self.event.id, "link" => &published.link);
                Ok(JobOutcome::TakenAway)
            }
        }
    }

    /// EDITED after a while, or UNEDITED: the video does not exist.
    async fn failed(&self, error: &JobError) -> JobOutcome {
        self.standing.is_settled.set(true);
        let (cutting, id) = (&self.cutting, &self.event.id);
        let (name, key, now) = (cutting.name.clone(), self.key.clone(), cutting.clock.now());
        let (step, outcome, verdict) = match error.verdict(self.event.job.attempts, cutting.config.retry) {
            verdict @ Verdict::Again { .. } => (EventStep::Retry, JobOutcome::Retried, verdict),
            verdict @ Verdict::GivenUp { .. } => (EventStep::Fail, JobOutcome::GivenUp, verdict),
        };
        match &verdict {
            Verdict::Again { after, why } => {
                warn!(cutting.log, "job failed, will try again"; "event" => %id, "after_s" => after.as_secs(), "error" => why);
            }
            Verdict::GivenUp { why } => {
                error!(cutting.log, "job failed, an editor is needed"; "event" => %id, "error" => why);
            }
        }
        let change = move |event: &mut Event| {
            event.check_is_at(&name, &key)?;
            match &verdict {
                Verdict::Again { after, why } => event.retry(&name, why, now.plus(*after)),
                Verdict::GivenUp { why } => event.fail(&name, why),
            }
        };
        // Refused: somebody took it back meanwhile, which is as well.
        let _ = self.change(step.as_str(), change).await;
        outcome
    }

    /// EDITED, for whoever is next: the video does not exist.
    async fn give_back(&self) -> JobOutcome {
        self.standing.is_settled.set(true);
        let (name, key) = (self.cutting.name.clone(), self.key.clone());
        let release = move |event: &mut Event| {
            event.check_is_at(&name, &key)?;
            event.release(&name, None)
        };
        let _ = self.change("release", release).await;
        info!(self.cutting.log, "event given back"; "event" => %self.event.id);
        JobOutcome::GivenBack
    }

    /// EDITED: the destination has nothing of what was about to exist. It counts, or a destination that always breaks off there
    /// would be tried without a pause.
    async fn begin_anew(&self) -> JobOutcome {
        self.standing.is_settled.set(true);
        let (name, key) = (self.cutting.name.clone(), self.key.clone());
        let backoff = backoff_after_kill(self.event.job.attempts, self.cutting.config.retry);
        let retry_at = self.cutting.clock.now().plus(backoff);
        let retry = move |event: &mut Event| {
            event.check_is_at(&name, &key)?;
            event.retry(&name, "the upload broke off before the video existed", retry_at)
        };
        let _ = self.change(EventStep::Retry.as_str(), retry).await;
        info!(self.cutting.log, "the destination has no video, the event is cut anew"; "event" => %self.event.id);
        JobOutcome::Retried
    }

    fn taken_away(&self) -> JobOutcome {
        info!(self.cutting.log, "event was taken away from its job"; "event" => %self.event.id,
            "was" => self.standing.activity.get());
        JobOutcome::TakenAway
    }

    /// Leaves nothing behind that nobody needs.
    async fn clean_up(&self, outcome: JobOutcome) -> JobOutcome {
        let begun = self.standing.begun.take();
        if let (Some((upload, ticket)), false) = (begun, self.standing.is_final.get())
            && let Err(error) = self.destination.discard(&upload, &ticket).await
        {
            warn!(self.cutting.log, "an upload that nobody needs is left at its destination";
                "event" => %self.event.id, "location" => %self.upload.location, "error" => chain(&error));
        }
        let (layout, key) = (self.cutting.layout.clone(), self.key.clone());
        let removed = self.cutting.blocking.run(move || store::remove_job_file(&layout, &key)).await;
        if let Ok(Err(error)) = removed {
            warn!(self.cutting.log, "a cut that nobody needs stays on the disk"; "error" => chain(&error));
        }
        outcome
    }

    /// Tells a person, in the event; once for each text.
    async fn note(&self, text: &str) {
        if self.standing.noted.borrow().as_deref() == Some(text) {
            return;
        }
        self.standing.noted.replace(Some(text.to_owned()));
        warn!(self.cutting.log, "what became of an upload is unknown, asking again"; "event" => %self.event.id,
            "location" => %self.upload.location, "why" => text);
        let (name, key, text) = (self.cutting.name.clone(), self.key.clone(), text.to_owned());
        let note = move |event: &mut Event| {
            event.check_is_at(&name, &key)?;
            event.note(Some(&text));
            Ok(())
        };
        let _ = self.change("note", note).await;
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

/// What is said about an event's video.
pub fn metadata(event: &Event) -> VideoMetadata {
    let edit = &event.edit;
    VideoMetadata {
        title: edit.video_title.clone().unwrap_or_default(),
        description: edit.video_description.clone().unwrap_or_default(),
        tags: edit.video_tags.clone().unwrap_or_default(),
        is_public: edit.public,
    }
}

/// An attempt as its destination sees it, without a thumbnail.
pub fn upload_of(layout: &Layout, event: &Event, attempt: &Attempt) -> Upload {
    Upload {
        key: attempt.key.clone(),
        metadata: metadata(event),
        file: store::job_file(layout, &attempt.key),
        len_bytes: attempt.cut.len_bytes,
        sha256: attempt.cut.sha256,
        content_type: attempt.cut.content_type.clone(),
        thumbnail: None,
        sidecar: sidecar(event, attempt),
    }
}

/// For programs, beside the video.
fn sidecar(event: &Event, attempt: &Attempt) -> serde_json::Value {
    let mut about = event.to_json();
    about.retain(|name, _| !name.starts_with("thumbnail") && !matches!(name.as_str(), "state" | "error" | "uploader"));
    serde_json::json!({
        "upload_key": attempt.key.as_str(),
        "uploader": attempt.uploader.as_str(),
        "cut_at": attempt.begun_at.to_string(),
        "event": about,
        "receipt": attempt.cut.receipt,
    })
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
