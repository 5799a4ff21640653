//! What people change of events, by field: for the HTTP interface and the command line alike.

use serde_json::{Map, Value};

use crate::cut::Transition;
use crate::model::{
    BadField, Column, ColumnKind, Email, Event, EventState, EventStep, EventTransition, Refusal, ThumbnailMode,
    Timestamp, check_wording, duration_text,
};

/// What the history calls it when somebody has what failed tried again.
pub const FILED_AGAIN: &str = "file again";

/// Some fields of an event, and a step perhaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    pub fields: Vec<(Column, Value)>,
    /// What the caller knows the event as.
    pub version: Option<i64>,
    /// EDITED, UNEDITED or MODIFIED: the step to take behind it. `None` leaves an event where it is.
    pub step: Option<EventStep>,
}

/// Why a text is no change of an event.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadPatch {
    #[error("there is no field {0:?} that can be set")]
    Unknown(String),
    #[error("version must be a whole number")]
    Version,
    #[error("state can be set to EDITED, UNEDITED or MODIFIED; the other states have ways of their own")]
    State,
    #[error(transparent)]
    Field(#[from] BadField),
}

impl Patch {
    /// `{column: value, "version": …, "state": …}`.
    pub fn read(body: Map<String, Value>) -> Result<Self, BadPatch> {
        let mut patch = Self::default();
        for (name, value) in body {
            match (name.as_str(), Column::by_name(&name)) {
                ("version", _) => patch.version = Some(value.as_i64().ok_or(BadPatch::Version)?),
                (_, Some(Column::State)) => patch.step = Some(step_to(&value).ok_or(BadPatch::State)?),
                (_, Some(column)) if is_settable(column) => patch.fields.push((column, value)),
                (_, Some(_) | None) => return Err(BadPatch::Unknown(name.chars().take(64).collect())),
            }
        }
        Ok(patch)
    }

    /// What the history calls it.
    pub fn what(&self) -> &'static str {
        match self.step {
            Some(step) => step.as_str(),
            None if self.fields.iter().all(|(column, _)| column.kind() == ColumnKind::Sheet) => "edit sheet",
            None => "edit",
        }
    }

    /// Changes the event. Without a step, what an editor said is submitted again where it was: as a draft, an edit (which
    /// takes it away from a node that is at it), or a change of a published video.
    pub fn apply(&self, event: &mut Event, editor: &Email, at: Timestamp) -> Result<(), Refusal> {
        if self.version.is_some_and(|version| version != event.version) {
            return Err(Refusal::Changed(Vec::new()));
        }
        let edits = self.fields.iter().any(|(column, _)| column.kind() == ColumnKind::Edit);
        let step = match self.step {
            Some(step) => Some(step),
            None if !edits => None,
            None => Some(match event.job.state {
                EventState::Unedited => EventStep::Draft,
                EventState::Done | EventState::Modified => EventStep::Modify,
                // Refused by the state from FINALIZING on.
                EventState::Edited | EventState::Claimed | EventState::Finalizing | EventState::Transcoding => {
                    EventStep::Edit
                }
            }),
        };
        if let Some(step) = step {
            event.job.state.after(step)?;
        }
        let old_image = event.edit.thumbnail.image.clone();
        for (column, value) in &self.fields {
            if step == Some(EventStep::Modify) && column.kind() == ColumnKind::Edit && !column.is_modifiable() {
                let why = "it cannot be changed of a video that is published".into();
                return Err(Refusal::Field { column: *column, why });
            }
            set(event, *column, value)?;
        }
        keep_image(event, old_image)?;
        let edit = &event.edit;
        check_transitions(edit.video_transitions.as_deref().unwrap_or_default())?;
        check_wording(edit.video_title.as_deref(), edit.video_description.as_deref())?;
        match step {
            None => Ok(()),
            Some(EventStep::Edit) => event.submit(editor, at),
            Some(EventStep::Modify) => event.modify(at),
            Some(_) => event.draft(editor, at),
        }
    }
}

/// Whether it was refused for its version alone.
pub fn is_stale(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Changed(differences) if differences.is_empty())
}

fn is_settable(column: Column) -> bool {
    matches!(column.kind(), ColumnKind::Sheet | ColumnKind::Edit)
}

fn step_to(state: &Value) -> Option<EventStep> {
    match state.as_str()? {
        "UNEDITED" => Some(EventStep::Draft),
        "EDITED" => Some(EventStep::Edit),
        "MODIFIED" => Some(EventStep::Modify),
        _ => None,
    }
}

/// Sets fields of the sheet, as of an event that is being added.
pub fn set_sheet(event: &mut Event, fields: &Map<String, Value>) -> Result<(), BadPatch> {
    for (name, value) in fields {
        let column = Column::by_name(name).filter(|column| column.kind() == ColumnKind::Sheet);
        event.set(column.ok_or_else(|| BadPatch::Unknown(name.chars().take(64).collect()))?, value)?;
    }
    Ok(())
}

/// Sets one field.
pub fn set(event: &mut Event, column: Column, value: &Value) -> Result<(), Refusal> {
    event.set(column, value).map_err(|bad| Refusal::Field { column, why: bad.why })
}

/// An image belongs to the mode CUSTOM, where the old one stays if no other comes.
pub fn keep_image(event: &mut Event, old_image: Option<Vec<u8>>) -> Result<(), Refusal> {
    let thumbnail = &mut event.edit.thumbnail;
    if thumbnail.mode == ThumbnailMode::Custom {
        thumbnail.image = thumbnail.image.take().or(old_image);
    } else if thumbnail.image.is_some() && thumbnail.image != old_image {
        let why = "an image can be given only where thumbnail_mode is CUSTOM".into();
        return Err(Refusal::Field { column: Column::ThumbnailImage, why });
    }
    Ok(())
}

/// Whether cuts know each of them.
pub fn check_transitions(transitions: &[Option<EventTransition>]) -> Result<(), Refusal> {
    for transition in transitions.iter().flatten() {
        let text = format!("{},{}", transition.kind, duration_text(transition.micros));
        if let Err(bad) = text.parse::<Transition>() {
            return Err(Refusal::Field { column: Column::VideoTransitions, why: bad.to_string() });
        }
    }
    Ok(())
}
