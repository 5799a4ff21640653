//! What destinations are asked and told about videos that exist: whether they are done with them, and what editors changed.

use std::rc::Rc;

use slog::{info, warn};

use super::Cutting;
use super::fault::JobError;
use super::outgoing::metadata;
use crate::causes::chain;
use crate::db::{Author, Changed, DbError, Uploader};
use crate::model::{Event, EventState, EventStep, NodeName, Refusal, Timestamp};
use crate::upload::{Destination, Transcoding, UploadError};

/// One question, or one telling.
pub struct Errand {
    pub cutting: Cutting,
    pub destination: Rc<dyn Destination>,
    pub event: Event,
}

/// Whether it is this node that runs an event's errands: that which uploaded it, or any where that one is gone. So nobody is
/// told an older change after a newer one.
pub fn is_mine(event: &Event, uploaders: &[Uploader], name: &NodeName, silent_since: Timestamp) -> bool {
    let Some(uploader) = event.job.uploader.as_ref().filter(|uploader| *uploader != name) else { return true };
    uploaders.iter().find(|one| one.node == *uploader).is_none_or(|one| one.seen_at < silent_since)
}

impl Errand {
    pub async fn run(&self) {
        let Some(video_id) = self.event.job.video_id.as_deref() else {
            return self.note("its destination cannot be told: the video has no id there").await;
        };
        let done = match self.event.job.state {
            EventState::Transcoding => self.ask(video_id).await,
            _ => self.tell(video_id).await,
        };
        if let Err(error) = done {
            self.note(&chain(&error)).await;
        }
    }

    async fn ask(&self, video_id: &str) -> Result<(), JobError> {
        match self.destination.transcoding(video_id).await? {
            Transcoding::Working => Ok(()),
            Transcoding::Failed(why) => {
                self.note(&format!("the destination cannot show the video: {why}; reset the event to cut it again"))
                    .await;
                Ok(())
            }
            Transcoding::Done => {
                let at = self.cutting.clock.now();
                self.change(EventStep::Finish.as_str(), move |event| event.transcoded(at)).await?;
                info!(self.cutting.log, "video is shown"; "event" => %self.event.id);
                Ok(())
            }
        }
    }

    async fn tell(&self, video_id: &str) -> Result<(), JobError> {
        // With its image, which lists are without.
        let Some(event) = self.cutting.db.event(&self.event.id).await? else { return Ok(()) };
        let Some(modified) = event.job.last_modified.filter(|_| event.job.state == EventState::Modified) else {
            return Ok(());
        };
        let thumbnail = self.cutting.thumbnail(&event).await?;
        let last_written = event.edit.thumbnail.last_written.as_deref();
        let changed = thumbnail.filter(|thumbnail| last_written != Some(&thumbnail.sha256));
        let told = self.destination.modify(video_id, &metadata(&event), changed.as_ref()).await;
        match told {
            // It is on the disk of the node that uploaded it, which may come back.
            Err(UploadError::NoVideo { .. }) if event.job.uploader.as_ref() != Some(&self.cutting.name) => {
                return Ok(());
            }
            told => told?,
        }
        let shown = changed.map(|thumbnail| thumbnail.sha256.to_vec());
        let push = move |event: &mut Event| {
            event.pushed(modified, shown.clone())?;
            event.note(None);
            Ok(())
        };
        // Refused: it was changed once more, and the next look tells that.
        self.change(EventStep::Push.as_str(), push).await?;
        info!(self.cutting.log, "changes of a video are published"; "event" => %event.id);
        Ok(())
    }

    async fn note(&self, why: &str) {
        if self.event.job.error.as_deref() == Some(why) {
            return;
        }
        warn!(self.cutting.log, "a video's destination could not be asked or told"; "event" => %self.event.id, "why" => why);
        let (state, text) = (self.event.job.state, why.to_owned());
        let note = move |event: &mut Event| {
            if event.job.state != state {
                return Err(Refusal::Changed(Vec::new()));
            }
            event.note(Some(&text));
            Ok(())
        };
        // The next errand says it again.
        let _ = self.change("note", note).await;
    }

    async fn change(
        &self,
        what: &'static str,
        change: impl Fn(&mut Event) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<Changed, DbError> {
        let Cutting { db, clock, name, .. } = &self.cutting;
        db.change_event(&self.event.id, what, &Author::Node(name.clone()), clock.now(), change).await
    }
}
