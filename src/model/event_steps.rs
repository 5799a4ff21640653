//! The steps of an event, with what each of them needs and writes.
//!
//! Promises: a step that is refused changes nothing; after a step that is taken, the event is as the database's
//! constraints want it.

use std::fmt;

use super::{
    Column, Difference, Email, Event, EventState, EventStep, IllegalStep, NodeName, ThumbnailMode, Timestamp, UploadKey,
};

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Illegal(#[from] IllegalStep),
    /// It is not as it was when the caller read it.
    #[error("the event has changed: {}", Listed(.0))]
    Changed(Vec<Difference>),
    /// Before these say something it cannot be cut.
    #[error("{} must not be null for the event to be cut", Named(.0))]
    Missing(Vec<Column>),
    #[error("{column}: {why}")]
    Field { column: Column, why: String },
    /// There is nothing to try again.
    #[error("nothing about the event has failed, it is {0}")]
    NotFailed(EventState),
    /// Somebody else works on it by now.
    #[error("the event is claimed by {}", .0.as_ref().map_or("nobody", NodeName::as_str))]
    NotClaimed(Option<NodeName>),
}

struct Named<'a>(&'a [Column]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", "))
    }
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.0.iter().map(|one| format!("{}: {} => {}", one.column, one.before, one.after)).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What must say something from EDITED on, whatever the thumbnail is made of.
pub const EVERY_EDIT_NEEDS: [Column; 7] = [
    Column::UploadLocation,
    Column::VideoRanges,
    Column::VideoTransitions,
    Column::VideoTitle,
    Column::VideoDescription,
    Column::VideoTags,
    Column::VideoChannel,
];

impl Event {
    /// EDITED: what the editor said is whole, and may be cut.
    pub fn submit(&mut self, editor: &Email, at: Timestamp) -> Result<(), Refusal> {
        let state = self.job.state.after(EventStep::Edit)?;
        self.check_edit()?;
        self.begin_anew(state, editor, at);
        Ok(())
    }

    /// EDITED again as it was edited: what made it fail, or wait, has been mended.
    pub fn file_again(&mut self, editor: &Email, at: Timestamp) -> Result<(), Refusal> {
        let state = self.job.state;
        match state {
            EventState::Unedited | EventState::Edited if self.job.error.is_some() => self.submit(editor, at),
            EventState::Unedited | EventState::Edited => Err(Refusal::NotFailed(state)),
            // From CLAIMED on it goes on by itself, or is there.
            EventState::Claimed
            | EventState::Finalizing
            | EventState::Transcoding
            | EventState::Done
            | EventState::Modified => Err(IllegalStep { state, step: EventStep::Edit }.into()),
        }
    }

    /// UNEDITED: what the editor said so far is kept.
    pub fn draft(&mut self, editor: &Email, at: Timestamp) -> Result<(), Refusal> {
        let state = self.job.state.after(EventStep::Draft)?;
        self.check_transitions()?;
        self.begin_anew(state, editor, at);
        Ok(())
    }

    fn begin_anew(&mut self, state: EventState, editor: &Email, at: Timestamp) {
        let job = &mut self.job;
        job.state = state;
        (job.uploader, job.error, job.lease_until, job.retry_at, job.attempts) = (None, None, None, None, 0);
        job.upload = None;
        (job.editor, job.edit_time) = (Some(editor.to_string()), Some(at));
    }

    fn check_edit(&self) -> Result<(), Refusal> {
        let thumbnail = &self.edit.thumbnail;
        let needs: &[Column] = match thumbnail.mode {
            ThumbnailMode::None => &[],
            ThumbnailMode::Bare => &[Column::ThumbnailTime],
            ThumbnailMode::Template => &[Column::ThumbnailTime, Column::ThumbnailTemplate],
            ThumbnailMode::Custom => &[Column::ThumbnailImage],
        };
        let needed = EVERY_EDIT_NEEDS.iter().chain(needs).copied();
        let missing: Vec<Column> = needed.filter(|column| self.is_unsaid(*column)).collect();
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
        let ranges = self.edit.video_ranges.as_deref().unwrap_or_default();
        let refused = |why: &str| Refusal::Field { column: Column::VideoRanges, why: why.into() };
        if ranges.is_empty() {
            return Err(refused("there must be at least one range"));
        }
        if ranges.iter().any(|range| range.span().is_none()) {
            return Err(refused("each range needs a start and an end after it"));
        }
        self.check_transitions()
    }

    fn is_unsaid(&self, column: Column) -> bool {
        match column {
            Column::ThumbnailImage => self.edit.thumbnail.image.is_none(),
            column => self.field(column).is_null(),
        }
    }

    fn check_transitions(&self) -> Result<(), Refusal> {
        let lengths =
            (self.edit.video_ranges.as_ref().map(Vec::len), self.edit.video_transitions.as_ref().map(Vec::len));
        let why = match lengths {
            (None, None) => return Ok(()),
            (Some(ranges), Some(transitions)) if ranges == transitions + 1 => return Ok(()),
            (Some(ranges), _) => {
                format!("there must be exactly {} transitions for {ranges} ranges", ranges.saturating_sub(1))
            }
            (None, Some(_)) => "there are no ranges for transitions to lie between".into(),
        };
        Err(Refusal::Field { column: Column::VideoTransitions, why })
    }

    /// UNEDITED, by somebody who has changed their mind.
    pub fn cancel(&mut self) -> Result<(), Refusal> {
        self.job.state = self.job.state.after(EventStep::Cancel)?;
        self.forget_job();
        Ok(())
    }

    /// UNEDITED, whatever was. What may lie at a destination is for a person to look after.
    pub fn reset(&mut self) -> Result<(), Refusal> {
        self.job.state = self.job.state.after(EventStep::Reset)?;
        self.forget_job();
        Ok(())
    }

    fn forget_job(&mut self) {
        let job = &mut self.job;
        (job.uploader, job.lease_until, job.retry_at, job.attempts, job.upload) = (None, None, None, 0, None);
        (job.error, job.video_id, job.video_link) = (None, None, None);
        (job.editor, job.edit_time, job.upload_time, job.last_modified) = (None, None, None, None);
    }

    /// CLAIMED by a node, until `lease_until` unless it renews that: the beginning of an attempt with a key of its own.
    pub fn claim(&mut self, uploader: &NodeName, lease_until: Timestamp) -> Result<(), Refusal> {
        self.job.state = self.job.state.after(EventStep::Claim)?;
        (self.job.uploader, self.job.lease_until, self.job.error) = (Some(uploader.clone()), Some(lease_until), None);
        self.job.upload = Some(UploadKey::new(&self.id, self.version));
        Ok(())
    }

    /// Whether this attempt of this node is the one that the event is at.
    pub fn is_at(&self, uploader: &NodeName, upload: &UploadKey) -> bool {
        self.job.state.is_leased()
            && self.job.uploader.as_ref() == Some(uploader)
            && self.job.upload.as_ref() == Some(upload)
    }

    /// Refuses what another attempt wants.
    pub fn check_is_at(&self, uploader: &NodeName, upload: &UploadKey) -> Result<(), Refusal> {
        if self.is_at(uploader, upload) { Ok(()) } else { Err(Refusal::NotClaimed(self.job.uploader.clone())) }
    }

    /// FINALIZING under another node, which has asked the destination: the lease of the one before has ended.
    pub fn take_over(&mut self, heir: &NodeName, now: Timestamp, lease_until: Timestamp) -> Result<(), Refusal> {
        let job = &mut self.job;
        if job.state != EventState::Finalizing {
            return Err(IllegalStep { state: job.state, step: EventStep::Claim }.into());
        }
        if job.lease_until.is_some_and(|lease| lease >= now) {
            return Err(Refusal::NotClaimed(job.uploader.clone()));
        }
        (job.uploader, job.lease_until) = (Some(heir.clone()), Some(lease_until));
        Ok(())
    }

    /// EDITED again: `why` may have passed by `retry_at`.
    pub fn retry(&mut self, uploader: &NodeName, why: &str, retry_at: Timestamp) -> Result<(), Refusal> {
        let state = self.leased(uploader, EventStep::Retry)?;
        let job = &mut self.job;
        (job.state, job.uploader, job.lease_until, job.upload) = (state, None, None, None);
        (job.error, job.retry_at, job.attempts) = (Some(why.to_owned()), Some(retry_at), job.attempts + 1);
        Ok(())
    }

    /// EDITED again, without fault of its own: its node stops, or was killed. `why` is told where there is something to tell.
    pub fn release(&mut self, uploader: &NodeName, why: Option<&str>) -> Result<(), Refusal> {
        let state = self.leased(uploader, EventStep::Retry)?;
        let job = &mut self.job;
        (job.state, job.uploader, job.lease_until, job.upload) = (state, None, None, None);
        (job.error, job.retry_at) = (why.map(str::to_owned), None);
        Ok(())
    }

    /// Tells a person why it stays where it is; changes nothing else.
    pub fn note(&mut self, error: Option<&str>) {
        self.job.error = error.map(str::to_owned);
    }

    /// UNEDITED, with an error that a person can act on. An EDITED event fails where no node may ever cut it.
    pub fn fail(&mut self, uploader: &NodeName, error: &str) -> Result<(), Refusal> {
        let state = match self.job.state {
            EventState::Edited => self.job.state.after(EventStep::Fail)?,
            _ => self.leased(uploader, EventStep::Fail)?,
        };
        let job = &mut self.job;
        (job.state, job.uploader, job.lease_until, job.error) = (state, None, None, Some(error.to_owned()));
        job.upload = None;
        Ok(())
    }

    /// FINALIZING: written before the act that makes the upload final.
    pub fn finalize(&mut self, uploader: &NodeName) -> Result<(), Refusal> {
        self.job.state = self.leased(uploader, EventStep::Finalize)?;
        Ok(())
    }

    /// TRANSCODING: the destination has the video, under this id and link.
    pub fn transcode(&mut self, uploader: &NodeName, id: Option<&str>, link: &str) -> Result<(), Refusal> {
        let state = self.leased(uploader, EventStep::Transcode)?;
        let job = &mut self.job;
        (job.state, job.lease_until) = (state, None);
        (job.video_id, job.video_link) = (id.map(str::to_owned), Some(link.to_owned()));
        Ok(())
    }

    /// DONE, from FINALIZING by its uploader.
    pub fn finish(&mut self, uploader: &NodeName, id: Option<&str>, link: &str, at: Timestamp) -> Result<(), Refusal> {
        let state = self.leased(uploader, EventStep::Finish)?;
        let job = &mut self.job;
        (job.state, job.lease_until, job.upload_time) = (state, None, Some(at));
        (job.video_id, job.video_link) = (id.map(str::to_owned), Some(link.to_owned()));
        Ok(())
    }

    /// DONE, from TRANSCODING, as any node may find out.
    pub fn transcoded(&mut self, at: Timestamp) -> Result<(), Refusal> {
        let state = self.job.state.after(EventStep::Finish)?;
        if self.job.state != EventState::Transcoding {
            return Err(IllegalStep { state: self.job.state, step: EventStep::Finish }.into());
        }
        (self.job.state, self.job.upload_time) = (state, Some(at));
        Ok(())
    }

    /// MODIFIED: the destination is to be told.
    pub fn modify(&mut self, at: Timestamp) -> Result<(), Refusal> {
        let state = self.job.state.after(EventStep::Modify)?;
        // A video that was linked by hand need not have been edited here; one that is changed here must.
        self.check_edit()?;
        (self.job.state, self.job.last_modified, self.job.error) = (state, Some(at), None);
        Ok(())
    }

    /// DONE: the destination has what stood here at `modified`; `thumbnail` is the hash of what it shows, if it has one.
    pub fn pushed(&mut self, modified: Timestamp, thumbnail: Option<Vec<u8>>) -> Result<(), Refusal> {
        let state = self.job.state.after(EventStep::Push)?;
        if self.job.last_modified != Some(modified) {
            let mut before = self.clone();
            before.job.last_modified = Some(modified);
            return Err(Refusal::Changed(before.differences(self)));
        }
        self.job.state = state;
        if thumbnail.is_some() {
            self.edit.thumbnail.last_written = thumbnail;
        }
        Ok(())
    }

    /// DONE, as a person says who published it elsewhere. What its thumbnail is, is not ours to say then.
    pub fn link(&mut self, editor: &Email, id: Option<&str>, link: &str, at: Timestamp) -> Result<(), Refusal> {
        let job = &mut self.job;
        job.state = job.state.after(EventStep::Link)?;
        (job.video_id, job.video_link, job.error) = (id.map(str::to_owned), Some(link.to_owned()), None);
        (job.editor, job.edit_time, job.upload_time) = (Some(editor.to_string()), Some(at), Some(at));
        self.edit.thumbnail.mode = ThumbnailMode::None;
        Ok(())
    }

    /// The state after a step that only its uploader may take.
    fn leased(&self, uploader: &NodeName, step: EventStep) -> Result<EventState, Refusal> {
        let state = self.job.state.after(step)?;
        if self.job.uploader.as_ref() != Some(uploader) {
            return Err(Refusal::NotClaimed(self.job.uploader.clone()));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::SheetFields;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn ann() -> Email {
        "ann@example.org".parse().unwrap()
    }

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn noted() -> Event {
        Event::new("e1".parse().unwrap(), SheetFields::default())
    }

    fn ready() -> Event {
        let mut event = noted();
        for (column, value) in [
            (Column::UploadLocation, json!("local")),
            (Column::VideoRanges, json!([["2026-01-02T03:00:00", "2026-01-02T03:01:00"]])),
            (Column::VideoTransitions, json!([])),
            (Column::VideoTitle, json!("t")),
            (Column::VideoDescription, json!("")),
            (Column::VideoTags, json!([])),
            (Column::VideoChannel, json!("gdq")),
            (Column::ThumbnailMode, json!("NONE")),
        ] {
            event.set(column, &value).unwrap();
        }
        event
    }

    #[test]
    fn an_event_goes_from_edit_to_video_and_is_modified() {
        let (alpha, mut event) = (node("alpha"), ready());
        event.submit(&ann(), at(1)).unwrap();
        event.claim(&alpha, at(10)).unwrap();
        assert_eq!(event.finalize(&node("beta")), Err(Refusal::NotClaimed(Some(alpha.clone()))));
        event.retry(&alpha, "the disk was slow", at(5)).unwrap();
        assert_eq!((event.job.attempts, event.job.retry_at, &event.job.uploader), (1, Some(at(5)), &None));
        event.claim(&alpha, at(20)).unwrap();
        event.finalize(&alpha).unwrap();
        event.transcode(&alpha, Some("id"), "http://v/id").unwrap();
        event.transcoded(at(30)).unwrap();
        event.modify(at(40)).unwrap();
        event.modify(at(41)).unwrap();
        assert!(matches!(event.pushed(at(40), None), Err(Refusal::Changed(_))));
        event.pushed(at(41), Some(vec![1])).unwrap();
        assert_eq!((event.job.state, event.job.upload_time), (EventState::Done, Some(at(30))));
        event.reset().unwrap();
        assert_eq!((event.job.video_link, event.job.error), (None, None));
    }

    #[test]
    fn what_failed_is_filed_again_and_nothing_else() {
        let (alpha, mut event) = (node("alpha"), ready());
        assert_eq!(event.file_again(&ann(), at(1)), Err(Refusal::NotFailed(EventState::Unedited)));
        event.submit(&ann(), at(1)).unwrap();
        assert_eq!(event.file_again(&ann(), at(2)), Err(Refusal::NotFailed(EventState::Edited)));
        event.claim(&alpha, at(10)).unwrap();
        assert!(matches!(event.file_again(&ann(), at(2)), Err(Refusal::Illegal(_))));
        // It waits for its next attempt, and need not.
        event.retry(&alpha, "the disk was slow", at(50)).unwrap();
        event.file_again(&ann(), at(3)).unwrap();
        assert_eq!((event.job.state, event.job.attempts, event.job.retry_at), (EventState::Edited, 0, None));
        event.fail(&alpha, "no such template").unwrap();
        event.file_again(&ann(), at(4)).unwrap();
        assert_eq!((event.job.state, &event.job.error, event.job.edit_time), (EventState::Edited, &None, Some(at(4))));
    }

    #[test]
    fn what_is_not_said_cannot_be_cut() {
        let mut event = noted();
        let Err(Refusal::Missing(missing)) = event.submit(&ann(), at(1)) else { panic!("{event:?}") };
        assert_eq!(missing.len(), EVERY_EDIT_NEEDS.len() + 2);
        assert_eq!(event, noted());
        for (column, value, says) in [
            (Column::VideoRanges, json!([]), "at least one"),
            (Column::VideoRanges, json!([[null, "2026-01-02"]]), "needs a start"),
            (Column::VideoTransitions, json!([null]), "exactly 0 transitions for 1 ranges"),
            (Column::ThumbnailMode, json!("CUSTOM"), "thumbnail_image must not be null"),
        ] {
            let mut event = ready();
            event.set(column, &value).unwrap();
            let refused = event.submit(&ann(), at(1)).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        let mut linked = noted();
        linked.link(&ann(), None, "http://v", at(1)).unwrap();
        assert!(matches!(linked.modify(at(2)), Err(Refusal::Missing(_))));
    }

    proptest! {
        /// What the database demands of each state holds after whatever was tried, and what was refused changed nothing.
        #[test]
        fn every_state_has_what_it_needs(tried in prop::collection::vec((0..13_usize, any::<bool>()), 0..40)) {
            let mut event = ready();
            for (time, (step, mine)) in tried.into_iter().enumerate() {
                let (at, node) = (at(time as i64), node(if mine { "alpha" } else { "beta" }));
                let before = event.clone();
                let taken = match EventStep::ALL[step] {
                    EventStep::Edit => event.submit(&ann(), at),
                    EventStep::Draft => event.draft(&ann(), at),
                    EventStep::Cancel => event.cancel(),
                    EventStep::Claim => event.claim(&node, at),
                    EventStep::Retry => event.retry(&node, "why", at),
                    EventStep::Fail => event.fail(&node, "why"),
                    EventStep::Finalize => event.finalize(&node),
                    EventStep::Transcode => event.transcode(&node, None, "http://v"),
                    EventStep::Finish if mine => event.finish(&node, None, "http://v", at),
                    EventStep::Finish => event.transcoded(at),
                    EventStep::Modify => event.modify(at),
                    EventStep::Push => event.pushed(event.job.last_modified.unwrap_or(at), None),
                    EventStep::Link => event.link(&ann(), None, "http://v", at),
                    EventStep::Reset => event.reset(),
                };
                if taken.is_err() {
                    prop_assert_eq!(&event, &before);
                }
                let job = &event.job;
                use EventState as S;
                prop_assert!(!matches!(job.state, S::Claimed | S::Finalizing | S::Transcoding) || job.uploader.is_some());
                prop_assert!(!matches!(job.state, S::Edited | S::Unedited) || job.uploader.is_none());
                prop_assert!(!matches!(job.state, S::Done | S::Modified) || (job.video_link.is_some() && job.upload_time.is_some()));
                prop_assert!(job.state == S::Unedited || job.editor.is_some());
                prop_assert!(job.state != S::Modified || job.last_modified.is_some());
                prop_assert_eq!(job.lease_until.is_some(), job.state.is_leased());
            }
        }
    }
}
