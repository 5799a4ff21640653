//! An event as its table has it.

use diesel::prelude::*;
use serde_json::Value;

use super::error::DbError;
use super::schema::events;
use crate::model::{BadUploadKey, Column, Event, EventId, PixelBox, SheetFields, Timestamp};

/// How much of an event's texts is looked through.
const MAX_SEARCH_BYTES: usize = 4096;

/// The columns of a [`Row`] in its order, with `$image` in the place of the thumbnail's image.
macro_rules! row_columns {
    ($image:expr) => {
        (
            events::id,
            events::version,
            events::sheet_name,
            events::event_start,
            events::event_end,
            events::category,
            events::description,
            events::submitter_winner,
            events::poster_moment,
            events::image_links,
            events::notes,
            events::tags,
            events::allow_holes,
            events::uploader_whitelist,
            events::upload_location,
            events::public,
            events::video_ranges,
            events::video_transitions,
            events::video_title,
            events::video_description,
            events::video_tags,
            events::video_channel,
            events::video_quality,
            events::thumbnail_mode,
            events::thumbnail_time,
            events::thumbnail_template,
            events::thumbnail_crop,
            events::thumbnail_location,
            events::state,
            events::uploader,
            events::error,
            events::video_id,
            events::video_link,
            events::editor,
            events::edit_time,
            events::upload_time,
            events::last_modified,
            events::attempts,
            events::retry_at,
            events::lease_until,
            events::search,
            $image,
            events::thumbnail_last_written,
            events::upload_key,
        )
    };
}
pub(super) use row_columns;

#[derive(Clone, Queryable, Insertable, AsChangeset)]
#[diesel(table_name = events, treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct Row {
    id: String,
    version: i64,
    sheet_name: String,
    event_start: Option<i64>,
    event_end: Option<i64>,
    category: String,
    description: String,
    submitter_winner: String,
    poster_moment: bool,
    image_links: String,
    notes: String,
    tags: String,
    allow_holes: bool,
    uploader_whitelist: Option<String>,
    upload_location: Option<String>,
    public: bool,
    video_ranges: Option<String>,
    video_transitions: Option<String>,
    video_title: Option<String>,
    video_description: Option<String>,
    video_tags: Option<String>,
    video_channel: Option<String>,
    video_quality: String,
    thumbnail_mode: String,
    thumbnail_time: Option<i64>,
    thumbnail_template: Option<String>,
    thumbnail_crop: Option<String>,
    thumbnail_location: Option<String>,
    state: String,
    uploader: Option<String>,
    error: Option<String>,
    video_id: Option<String>,
    video_link: Option<String>,
    editor: Option<String>,
    edit_time: Option<i64>,
    upload_time: Option<i64>,
    last_modified: Option<i64>,
    attempts: i64,
    retry_at: Option<i64>,
    lease_until: Option<i64>,
    search: String,
    thumbnail_image: Option<Vec<u8>>,
    thumbnail_last_written: Option<Vec<u8>>,
    upload_key: Option<String>,
}

impl Row {
    pub fn of(event: &Event) -> Self {
        let Event { id, sheet, edit, job, version } = event;
        let thumbnail = &edit.thumbnail;
        let json = |column| event.field(column).to_string();
        let json_or_null = |column| Some(event.field(column)).filter(|value| !value.is_null()).map(|it| it.to_string());
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            id: id.to_string(),
            version: *version,
            sheet_name: sheet.sheet_name.clone(),
            event_start: sheet.event_start.map(Timestamp::micros),
            event_end: sheet.event_end.map(Timestamp::micros),
            category: sheet.category.clone(),
            description: sheet.description.clone(),
            submitter_winner: sheet.submitter_winner.clone(),
            poster_moment: sheet.poster_moment,
            image_links: json(Column::ImageLinks),
            notes: sheet.notes.clone(),
            tags: json(Column::Tags),
            allow_holes: edit.allow_holes,
            uploader_whitelist: json_or_null(Column::UploaderWhitelist),
            upload_location: text(edit.upload_location.as_ref().map(|it| it.as_str())),
            public: edit.public,
            video_ranges: json_or_null(Column::VideoRanges),
            video_transitions: json_or_null(Column::VideoTransitions),
            video_title: edit.video_title.clone(),
            video_description: edit.video_description.clone(),
            video_tags: json_or_null(Column::VideoTags),
            video_channel: text(edit.video_channel.as_ref().map(|it| it.as_str())),
            video_quality: edit.video_quality.to_string(),
            thumbnail_mode: thumbnail.mode.to_string(),
            thumbnail_time: thumbnail.time.map(Timestamp::micros),
            thumbnail_template: text(thumbnail.template.as_ref().map(|it| it.as_str())),
            thumbnail_crop: json_or_null(Column::ThumbnailCrop),
            thumbnail_location: json_or_null(Column::ThumbnailLocation),
            state: job.state.to_string(),
            uploader: text(job.uploader.as_ref().map(|it| it.as_str())),
            error: job.error.clone(),
            video_id: job.video_id.clone(),
            video_link: job.video_link.clone(),
            editor: job.editor.clone(),
            edit_time: job.edit_time.map(Timestamp::micros),
            upload_time: job.upload_time.map(Timestamp::micros),
            last_modified: job.last_modified.map(Timestamp::micros),
            attempts: job.attempts,
            retry_at: job.retry_at.map(Timestamp::micros),
            lease_until: job.lease_until.map(Timestamp::micros),
            search: search_text(event),
            thumbnail_image: thumbnail.image.clone(),
            thumbnail_last_written: thumbnail.last_written.clone(),
            upload_key: text(job.upload.as_ref().map(|it| it.as_str())),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// As the database's own column of that name.
    pub fn listed_at(&self) -> i64 {
        self.event_start.unwrap_or(i64::MAX)
    }

    /// Anybody may have written the row, with a shell.
    pub fn read(self) -> Result<Event, DbError> {
        let id = self.id.clone();
        self.try_read().map_err(|why| DbError::Unreadable { what: format!("event {id:?}"), why })
    }

    fn try_read(self) -> Result<Event, String> {
        let id: EventId = self.id.parse().map_err(|error: crate::model::BadName| error.to_string())?;
        let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
        let sheet = SheetFields {
            sheet_name: self.sheet_name,
            event_start: time(self.event_start),
            event_end: time(self.event_end),
            category: self.category,
            description: self.description,
            submitter_winner: self.submitter_winner,
            poster_moment: self.poster_moment,
            notes: self.notes,
            ..SheetFields::default()
        };
        let mut event = Event::new(id, sheet);
        event.version = self.version;
        // What is JSON, or a type of the vocabulary, is read as a request's field is.
        let json = |text: String| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
        let lists = [
            (Column::ImageLinks, Some(self.image_links)),
            (Column::Tags, Some(self.tags)),
            (Column::UploaderWhitelist, self.uploader_whitelist),
            (Column::VideoRanges, self.video_ranges),
            (Column::VideoTransitions, self.video_transitions),
            (Column::VideoTags, self.video_tags),
        ];
        for (column, text) in lists {
            if let Some(text) = text {
                event.set(column, &json(text)?).map_err(|error| error.to_string())?;
            }
        }
        let words = [
            (Column::UploadLocation, self.upload_location),
            (Column::VideoChannel, self.video_channel),
            (Column::VideoQuality, Some(self.video_quality)),
            (Column::ThumbnailMode, Some(self.thumbnail_mode)),
            (Column::ThumbnailTemplate, self.thumbnail_template),
        ];
        for (column, text) in words {
            if let Some(text) = text {
                event.set(column, &Value::from(text)).map_err(|error| error.to_string())?;
            }
        }
        let edit = &mut event.edit;
        (edit.allow_holes, edit.public) = (self.allow_holes, self.public);
        (edit.video_title, edit.video_description) = (self.video_title, self.video_description);
        let area = |text: Option<String>| text.map(|text| PixelBox::read(&json(text)?)).transpose();
        edit.thumbnail.time = time(self.thumbnail_time);
        edit.thumbnail.crop = area(self.thumbnail_crop)?;
        edit.thumbnail.location = area(self.thumbnail_location)?;
        (edit.thumbnail.image, edit.thumbnail.last_written) = (self.thumbnail_image, self.thumbnail_last_written);
        let job = &mut event.job;
        job.state = self.state.parse().map_err(|_| format!("{:?} is no state", self.state))?;
        job.uploader =
            self.uploader.map(|name| name.parse()).transpose().map_err(|error| format!("uploader: {error}"))?;
        (job.error, job.video_id, job.video_link, job.editor) =
            (self.error, self.video_id, self.video_link, self.editor);
        (job.edit_time, job.upload_time) = (time(self.edit_time), time(self.upload_time));
        (job.last_modified, job.attempts) = (time(self.last_modified), self.attempts);
        (job.retry_at, job.lease_until) = (time(self.retry_at), time(self.lease_until));
        job.upload =
            self.upload_key.map(|key| key.parse()).transpose().map_err(|error: BadUploadKey| error.to_string())?;
        Ok(event)
    }
}

/// What texts are looked for in. In lower case here, as the engines do not agree on what that is.
fn search_text(event: &Event) -> String {
    let sheet = &event.sheet;
    let title = event.edit.video_title.as_deref().unwrap_or_default();
    let texts = [event.id.as_str(), &sheet.description, title, &sheet.category, &sheet.sheet_name, &sheet.notes];
    let mut text = texts.map(|text| text.to_lowercase()).join("\n");
    for tag in &sheet.tags {
        text.push('\n');
        text.push_str(&tag.to_lowercase());
    }
    text.truncate(text.floor_char_boundary(MAX_SEARCH_BYTES));
    text
}
