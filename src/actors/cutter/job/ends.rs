//! How a job ends: what its event is told, and what is cleared away.

use slog::{error, info, warn};

use super::CutJob;
use crate::actors::cutter::fault::{JobError, Verdict, backoff_after_kill};
use crate::causes::chain;
use crate::db::Changed;
use crate::metrics::JobOutcome;
use crate::model::{Event, EventState, EventStep};
use crate::store;
use crate::upload::{Published, Upload};

impl CutJob {
    /// DONE, or TRANSCODING.
    pub(super) async fn finish(&self, published: &Published, upload: &Upload) -> Result<JobOutcome, JobError> {
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
    pub(super) async fn failed(&self, error: &JobError) -> JobOutcome {
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
    pub(super) async fn give_back(&self) -> JobOutcome {
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
    pub(super) async fn begin_anew(&self) -> JobOutcome {
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

    pub(super) fn taken_away(&self) -> JobOutcome {
        info!(self.cutting.log, "event was taken away from its job"; "event" => %self.event.id,
            "was" => self.standing.activity.get());
        JobOutcome::TakenAway
    }

    /// Leaves nothing behind that nobody needs.
    pub(super) async fn clean_up(&self, outcome: JobOutcome) -> JobOutcome {
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
}
