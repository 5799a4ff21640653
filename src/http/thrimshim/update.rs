//! What an editor submits: a draft, an edit, or changes of a published video.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::super::access::admit_with_body;
use super::super::error::EditorError;
use super::super::{HttpError, Site};
use super::{done, event_id};
use crate::db::{Author, Playlist};
use crate::edits::{check_transitions, keep_image, set};
use crate::model::{
    Channel, Column, ColumnKind, Email, Event, EventStep, Refusal, Role, Timestamp, Wording, check_wording,
};

/// What is submitted with every edit, so that it is sure what the editor saw.
const SEEN: [Column; 7] = [
    Column::SheetName,
    Column::EventStart,
    Column::EventEnd,
    Column::Category,
    Column::Description,
    Column::Notes,
    Column::Tags,
];
/// What is submitted with every edit, null or not.
const SAID: [Column; 10] = [
    Column::UploadLocation,
    Column::VideoRanges,
    Column::VideoTransitions,
    Column::VideoChannel,
    Column::VideoQuality,
    Column::VideoTitle,
    Column::VideoDescription,
    Column::VideoTags,
    Column::ThumbnailMode,
    Column::Public,
];

/// An edit, read.
struct Edit {
    body: Map<String, Value>,
    step: EventStep,
    overrides: bool,
    editor: Email,
    at: Timestamp,
    channel: Option<Channel>,
    wording: Wording,
    playlists: Vec<Playlist>,
    attribution: String,
}

pub async fn update(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, EditorError> {
    let (who, body) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let id = event_id(&path)?;
    let wanted = SAID.iter().chain(&SEEN).map(|column| column.as_str()).chain(["state"]);
    let missing: Vec<&'static str> = wanted.filter(|field| !body.contains_key(*field)).collect();
    if !missing.is_empty() {
        return Err(HttpError::MissingFields(missing).into());
    }
    let edit = Edit {
        step: step_of(&body)?,
        overrides: body.get("override_changes").and_then(Value::as_bool).unwrap_or(false),
        editor: who.email.clone(),
        at: site.clock.now(),
        channel: site.terms.channel.clone(),
        wording: site.terms.wording.clone(),
        playlists: site.db.playlists().await?,
        attribution: attribution(&site, &body).await?,
        body,
    };
    let (step, at) = (edit.step.as_str(), edit.at);
    let change = move |event: &mut Event| edit.apply(event);
    let changed = site.db.change_event(&id, step, &Author::Person(who.email), at, change).await?;
    done(changed)?;
    Ok(HttpResponse::Created().finish())
}

fn step_of(body: &Map<String, Value>) -> Result<EventStep, HttpError> {
    match body.get("state").and_then(Value::as_str) {
        Some("UNEDITED") => Ok(EventStep::Draft),
        Some("EDITED") => Ok(EventStep::Edit),
        Some("MODIFIED") => Ok(EventStep::Modify),
        _ => {
            let why = "an edit makes it UNEDITED (a draft), EDITED, or MODIFIED".into();
            Err(HttpError::Parameter { parameter: "state", why })
        }
    }
}

/// Whose template it is, for the description.
async fn attribution(site: &Site, body: &Map<String, Value>) -> Result<String, HttpError> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let name = text("thumbnail_template").filter(|_| text("thumbnail_mode") == Some("TEMPLATE"));
    let Some(Ok(name)) = name.map(str::parse) else { return Ok(String::new()) };
    Ok(site.db.template(&name).await?.map(|template| template.attribution).unwrap_or_default())
}

impl Edit {
    fn apply(&self, event: &mut Event) -> Result<(), Refusal> {
        event.job.state.after(self.step)?;
        if !self.overrides {
            self.check_seen(event)?;
        }
        self.set(event)?;
        match self.step {
            EventStep::Edit => event.submit(&self.editor, self.at),
            EventStep::Modify => event.modify(self.at),
            _ => event.draft(&self.editor, self.at),
        }
    }

    /// Refuses what was begun with another event than there is now.
    fn check_seen(&self, event: &Event) -> Result<(), Refusal> {
        let mut seen = event.clone();
        for column in SEEN {
            set(&mut seen, column, &self.body[column.as_str()])?;
        }
        let mut changes = seen.differences(event);
        changes.retain(|change| alike(&change.before) != alike(&change.after));
        if changes.is_empty() { Ok(()) } else { Err(Refusal::Changed(changes)) }
    }

    fn set(&self, event: &mut Event) -> Result<(), Refusal> {
        let is_modified = self.step == EventStep::Modify;
        let mine = |column: &Column| column.kind() == ColumnKind::Edit && (!is_modified || column.is_modifiable());
        let old_image = event.edit.thumbnail.image.clone();
        for column in Column::ALL.into_iter().filter(mine) {
            if let Some(value) = self.body.get(column.as_str()) {
                set(event, column, value)?;
            }
        }
        keep_image(event, old_image)?;
        let edit = &mut event.edit;
        if edit.video_channel.is_none() {
            edit.video_channel.clone_from(&self.channel);
        }
        check_transitions(edit.video_transitions.as_deref().unwrap_or_default())?;
        let is_blank = edit.video_title.as_ref().is_some_and(|title| title.trim().is_empty());
        if is_blank && self.step != EventStep::Draft {
            return Err(Refusal::Field { column: Column::VideoTitle, why: "it must not be blank".into() });
        }
        edit.video_title = edit.video_title.take().map(|title| self.wording.title(&title));
        let playlists: Vec<(String, String)> = self
            .playlists
            .iter()
            .filter(|playlist| playlist.show_in_description && playlist.holds(&event.sheet.tags))
            .filter_map(|playlist| Some((playlist.name.clone(), playlist.playlist_id.clone()?)))
            .collect();
        let described = |text: String| self.wording.description(&text, &playlists, &self.attribution);
        edit.video_description = edit.video_description.take().map(described);
        check_wording(edit.video_title.as_deref(), edit.video_description.as_deref())
    }
}

/// Sheets change case and blanks, and the order of tags; that is no change.
fn alike(value: &Value) -> Value {
    match value {
        Value::String(text) => text.trim().to_lowercase().into(),
        Value::Array(list) => {
            let mut texts: Vec<String> = list.iter().map(|value| alike(value).to_string()).collect();
            texts.sort();
            texts.into()
        }
        other => other.clone(),
    }
}
