//! What is done where a video may exist: the destination is asked until it says, and nothing is given back before.

use std::time::Duration;

use slog::warn;
use tokio::time::sleep;

use super::{CutJob, FIRST_PAUSE, MOST_RESUMPTIONS};
use crate::actors::cutter::fault::JobError;
use crate::causes::chain;
use crate::db::Attempt;
use crate::jitter::jittered;
use crate::metrics::JobOutcome;
use crate::model::Event;
use crate::store;
use crate::upload::{Held, Upload, UploadError, UploadTicket};

/// Between questions to a destination that cannot say what it has.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

impl CutJob {
    /// Asks the destination what it has, until it says so; goes on from there, or gives the event back.
    pub(super) async fn reconcile(&self, attempt: &Attempt) -> JobOutcome {
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
}
