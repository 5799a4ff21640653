//! Events as JSON: a field for each column, by its name (FORMATS §4, §5).
//!
//! Promises: what is written can be read again; what is read is within bounds, and holds no NUL, which PostgreSQL would
//! refuse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::segment::parse_duration_text;
use super::{Column, Event, EventTransition, PixelBox, Timestamp, VideoRange};

/// Longest text of a field, in bytes. A description has at most 5,000 characters; notes may have more.
const MAX_TEXT_BYTES: usize = 1 << 16;
/// Most elements of a list.
const MAX_LIST: usize = 1000;
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// What YouTube takes as a thumbnail: 2 MB.
const MAX_IMAGE_BYTES: usize = 2 << 20;

/// Why a value cannot stand in a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {why}")]
pub struct BadField {
    pub column: Column,
    pub why: String,
}

/// A field in which two versions of an event differ. Images are told by their sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub column: Column,
    pub before: Value,
    pub after: Value,
}

impl Event {
    /// All columns, the version, and what else there is to know of its job.
    pub fn to_json(&self) -> Map<String, Value> {
        let columns = Column::ALL.into_iter().map(|column| (column.as_str().to_owned(), self.field(column)));
        let mut json: Map<String, Value> = columns.collect();
        json.insert("version".into(), self.version.into());
        json.insert("attempts".into(), self.job.attempts.into());
        json.insert("retry_at".into(), time(self.job.retry_at));
        json.insert("lease_until".into(), time(self.job.lease_until));
        json
    }

    pub fn field(&self, column: Column) -> Value {
        let Self { id, sheet, edit, job, version: _ } = self;
        match column {
            Column::Id => id.as_str().into(),
            Column::SheetName => sheet.sheet_name.as_str().into(),
            Column::EventStart => time(sheet.event_start),
            Column::EventEnd => time(sheet.event_end),
            Column::Category => sheet.category.as_str().into(),
            Column::Description => sheet.description.as_str().into(),
            Column::SubmitterWinner => sheet.submitter_winner.as_str().into(),
            Column::PosterMoment => sheet.poster_moment.into(),
            Column::ImageLinks => json!(sheet.image_links),
            Column::Notes => sheet.notes.as_str().into(),
            Column::Tags => json!(sheet.tags),
            Column::AllowHoles => edit.allow_holes.into(),
            Column::UploaderWhitelist => {
                let names = edit.uploader_whitelist.as_ref();
                names.map_or(Value::Null, |names| names.iter().map(|name| name.as_str()).collect())
            }
            Column::UploadLocation => text(&edit.upload_location),
            Column::Public => edit.public.into(),
            Column::VideoRanges => {
                edit.video_ranges.as_ref().map_or(Value::Null, |all| all.iter().map(range).collect())
            }
            Column::VideoTransitions => {
                edit.video_transitions.as_ref().map_or(Value::Null, |all| all.iter().map(transition).collect())
            }
            Column::VideoTitle => json!(edit.video_title),
            Column::VideoDescription => json!(edit.video_description),
            Column::VideoTags => json!(edit.video_tags),
            Column::VideoChannel => text(&edit.video_channel),
            Column::VideoQuality => edit.video_quality.as_str().into(),
            Column::ThumbnailMode => edit.thumbnail.mode.as_str().into(),
            Column::ThumbnailTime => time(edit.thumbnail.time),
            Column::ThumbnailTemplate => text(&edit.thumbnail.template),
            Column::ThumbnailImage => bytes(edit.thumbnail.image.as_deref()),
            Column::ThumbnailCrop => json!(edit.thumbnail.crop.map(|area| area.0)),
            Column::ThumbnailLocation => json!(edit.thumbnail.location.map(|area| area.0)),
            Column::ThumbnailLastWritten => bytes(edit.thumbnail.last_written.as_deref()),
            Column::State => job.state.as_str().into(),
            Column::Uploader => text(&job.uploader),
            Column::Error => json!(job.error),
            Column::VideoId => json!(job.video_id),
            Column::VideoLink => json!(job.video_link),
            Column::Editor => json!(job.editor),
            Column::EditTime => time(job.edit_time),
            Column::UploadTime => time(job.upload_time),
            Column::LastModified => time(job.last_modified),
        }
    }

    /// Sets a field of the sheet or of the edit; the others are for the steps to set.
    pub fn set(&mut self, column: Column, value: &Value) -> Result<(), BadField> {
        self.try_set(column, value).map_err(|why| BadField { column, why })
    }

    fn try_set(&mut self, column: Column, value: &Value) -> Result<(), String> {
        let Self { sheet, edit, .. } = self;
        match column {
            Column::SheetName => sheet.sheet_name = read_text(value)?,
            Column::EventStart => sheet.event_start = optional(value, read_time)?,
            Column::EventEnd => sheet.event_end = optional(value, read_time)?,
            Column::Category => sheet.category = read_text(value)?,
            Column::Description => sheet.description = read_text(value)?,
            Column::SubmitterWinner => sheet.submitter_winner = read_text(value)?,
            Column::PosterMoment => sheet.poster_moment = read_flag(value)?,
            Column::ImageLinks => sheet.image_links = read_list(value, read_text)?,
            Column::Notes => sheet.notes = read_text(value)?,
            Column::Tags => sheet.tags = read_list(value, read_text)?,
            Column::AllowHoles => edit.allow_holes = read_flag(value)?,
            Column::UploaderWhitelist => {
                edit.uploader_whitelist = optional(value, |value| read_list(value, read_parsed))?;
            }
            Column::UploadLocation => edit.upload_location = optional(value, read_parsed)?,
            Column::Public => edit.public = read_flag(value)?,
            Column::VideoRanges => edit.video_ranges = optional(value, |value| read_list(value, read_range))?,
            Column::VideoTransitions => {
                let read = |value: &Value| read_list(value, |value| optional(value, read_transition));
                edit.video_transitions = optional(value, read)?;
            }
            Column::VideoTitle => edit.video_title = optional(value, read_text)?,
            Column::VideoDescription => edit.video_description = optional(value, read_text)?,
            Column::VideoTags => edit.video_tags = optional(value, |value| read_list(value, read_text))?,
            Column::VideoChannel => edit.video_channel = optional(value, read_parsed)?,
            Column::VideoQuality => edit.video_quality = read_parsed(value)?,
            Column::ThumbnailMode => edit.thumbnail.mode = read_parsed(value)?,
            Column::ThumbnailTime => edit.thumbnail.time = optional(value, read_time)?,
            Column::ThumbnailTemplate => edit.thumbnail.template = optional(value, read_parsed)?,
            Column::ThumbnailImage => {
                edit.thumbnail.image = optional(value, |value| read_png(value, MAX_IMAGE_BYTES))?;
            }
            Column::ThumbnailCrop => edit.thumbnail.crop = optional(value, PixelBox::read)?,
            Column::ThumbnailLocation => edit.thumbnail.location = optional(value, PixelBox::read)?,
            Column::Id
            | Column::ThumbnailLastWritten
            | Column::State
            | Column::Uploader
            | Column::Error
            | Column::VideoId
            | Column::VideoLink
            | Column::Editor
            | Column::EditTime
            | Column::UploadTime
            | Column::LastModified => return Err("it cannot be set".into()),
        }
        Ok(())
    }

    /// Where `self`, which came before, differs from `after`.
    pub fn differences(&self, after: &Event) -> Vec<Difference> {
        let differ = |column: &Column| match column {
            Column::ThumbnailImage => self.edit.thumbnail.image != after.edit.thumbnail.image,
            column => self.field(*column) != after.field(*column),
        };
        let shown = |event: &Event, column| match (column, &event.edit.thumbnail.image) {
            (Column::ThumbnailImage, Some(image)) => format!("{} bytes", image.len()).into(),
            (column, _) => event.field(column),
        };
        let differing = Column::ALL.into_iter().filter(differ);
        differing
            .map(|column| Difference { column, before: shown(self, column), after: shown(after, column) })
            .collect()
    }
}

impl PixelBox {
    /// `[left, top, right, bottom]`.
    pub fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or("write it as [left, top, right, bottom]")?;
        let edge = |value: &Value| value.as_i64().and_then(|edge| i32::try_from(edge).ok());
        let edges: Option<Vec<i32>> = list.iter().map(edge).collect();
        let edges = edges.and_then(|edges| edges.try_into().ok());
        edges.map(Self).ok_or_else(|| "write it as four whole numbers of pixels".into())
    }
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.to_string().into())
}

fn text(text: &Option<impl ToString>) -> Value {
    text.as_ref().map_or(Value::Null, |text| text.to_string().into())
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| STANDARD.encode(bytes).into())
}

fn range(range: &VideoRange) -> Value {
    json!([time(range.start), time(range.end)])
}

fn transition(transition: &Option<EventTransition>) -> Value {
    // For display and for JSON's sake: six digits fit a float exactly enough to be read back.
    transition.as_ref().map_or(Value::Null, |it| json!([it.kind, it.micros as f64 / 1e6]))
}

fn optional<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Option<T>, String> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

/// A text without NUL, of 64 KiB at most.
pub fn read_text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("it must be a text")?;
    if text.contains('\0') {
        return Err("it may not hold a NUL".into());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("it may not be longer than {MAX_TEXT_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

fn read_flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "it must be true or false".into())
}

fn read_time(value: &Value) -> Result<Timestamp, String> {
    read_text(value)?.parse().map_err(|error: super::BadTime| error.to_string())
}

fn read_parsed<T: std::str::FromStr<Err: std::fmt::Display>>(value: &Value) -> Result<T, String> {
    read_text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

fn read_list<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or("it must be a list")?;
    if list.len() > MAX_LIST {
        return Err(format!("it may not have more than {MAX_LIST} elements"));
    }
    list.iter().map(read).collect()
}

fn read_range(value: &Value) -> Result<VideoRange, String> {
    let Some([start, end]) = value.as_array().map(Vec::as_slice) else {
        return Err("write each range as [start, end]".into());
    };
    let range = VideoRange { start: optional(start, read_time)?, end: optional(end, read_time)? };
    if let (Some(start), Some(end)) = (range.start, range.end)
        && start >= end
    {
        return Err(format!("the range ends ({end}) before it starts ({start})"));
    }
    Ok(range)
}

fn read_transition(value: &Value) -> Result<EventTransition, String> {
    let Some([kind, seconds]) = value.as_array().map(Vec::as_slice) else {
        return Err("write each transition as [type, seconds], or null for a hard cut".into());
    };
    // From the digits: what JSON says of a number, not what a float makes of it.
    let micros = seconds.as_number().and_then(|number| parse_duration_text(&number.to_string()));
    let micros = micros.ok_or("the length of a transition must be a number of seconds")?;
    Ok(EventTransition { kind: read_text(kind)?, micros })
}

/// A PNG in base64.
pub fn read_png(value: &Value, max_bytes: usize) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or("it must be a PNG in base64")?;
    // Four letters for three bytes.
    if text.len() / 4 * 3 > max_bytes + 3 {
        return Err(format!("it may not be larger than {max_bytes} bytes"));
    }
    let image = STANDARD.decode(text).map_err(|_| "it must be valid base64")?;
    if !image.starts_with(PNG_SIGNATURE) {
        return Err("it must be a PNG".into());
    }
    if image.len() > max_bytes {
        return Err(format!("it may not be larger than {max_bytes} bytes"));
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ColumnKind, SheetFields};

    fn event() -> Event {
        Event::new("e1".parse().unwrap(), SheetFields::default())
    }

    /// A value for each column that can be set, as JSON has it.
    fn values() -> Vec<(Column, Value)> {
        let png = STANDARD.encode([PNG_SIGNATURE, b"rest"].concat());
        [
            ("sheet_name", json!("Monday")),
            ("event_start", json!("2026-01-02T03:04:05.000001")),
            ("event_end", json!("2026-01-02T03:14:05.500000")),
            ("category", json!("Game")),
            ("description", json!("é <b>")),
            ("submitter_winner", json!("somebody")),
            ("poster_moment", json!(true)),
            ("image_links", json!(["http://a/b.png"])),
            ("notes", json!("two\nlines")),
            ("tags", json!(["Day 1", "Äpfel, \"x\""])),
            ("allow_holes", json!(true)),
            ("uploader_whitelist", json!(["alpha"])),
            ("upload_location", json!("archive")),
            ("public", json!(false)),
            ("video_ranges", json!([["2026-01-02T03:04:05.000000", null], [null, "2026-01-02T03:04:09.250000"]])),
            ("video_transitions", json!([["fade", 1.5]])),
            ("video_title", json!("A title")),
            ("video_description", json!("")),
            ("video_tags", json!([])),
            ("video_channel", json!("gdq")),
            ("video_quality", json!("480p")),
            ("thumbnail_mode", json!("CUSTOM")),
            ("thumbnail_time", json!("2026-01-02T03:04:05.000000")),
            ("thumbnail_template", json!("day one")),
            ("thumbnail_image", json!(png)),
            ("thumbnail_crop", json!([0, -1, 1280, 720])),
            ("thumbnail_location", json!([1, 2, 3, 4])),
        ]
        .map(|(name, value)| (Column::by_name(name).unwrap(), value))
        .into()
    }

    #[test]
    fn each_field_that_can_be_set_comes_back_as_it_was() {
        let settable = |column: &Column| matches!(column.kind(), ColumnKind::Sheet | ColumnKind::Edit);
        assert_eq!(
            values().into_iter().map(|(column, _)| column).collect::<Vec<_>>(),
            Column::ALL.into_iter().filter(settable).collect::<Vec<_>>()
        );
        let (before, mut after) = (event(), event());
        for (column, value) in values() {
            after.set(column, &value).unwrap();
            assert_eq!(after.field(column), value, "{column}");
            assert_eq!(after.to_json()[column.as_str()], value);
        }
        let differing: Vec<Column> = before.differences(&after).into_iter().map(|one| one.column).collect();
        assert_eq!(differing, values().into_iter().map(|(column, _)| column).collect::<Vec<_>>());
        assert_eq!(before.differences(&before.clone()), []);
    }

    #[test]
    fn what_does_not_belong_in_a_field_is_refused() {
        for (name, value, says) in [
            ("id", json!("other"), "cannot be set"),
            ("state", json!("DONE"), "cannot be set"),
            ("sheet_name", json!(null), "must be a text"),
            ("notes", json!("a\0b"), "NUL"),
            ("notes", json!("x".repeat(MAX_TEXT_BYTES + 1)), "longer than"),
            ("event_start", json!("yesterday"), "not a time"),
            ("tags", json!("a,b"), "must be a list"),
            ("tags", json!([null]), "must be a text"),
            ("image_links", json!(vec![""; MAX_LIST + 1]), "more than"),
            ("poster_moment", json!("true"), "true or false"),
            ("uploader_whitelist", json!(["../x"]), "period"),
            ("video_channel", json!("a/b"), "slash"),
            ("video_ranges", json!([["2026-01-02"]]), "[start, end]"),
            ("video_ranges", json!([["2026-01-03", "2026-01-02"]]), "before it starts"),
            ("video_transitions", json!([["fade"]]), "[type, seconds]"),
            ("video_transitions", json!([["fade", "1"]]), "number of seconds"),
            ("video_transitions", json!([["fade", -1]]), "number of seconds"),
            ("video_transitions", json!([["fade", 1e300]]), "number of seconds"),
            ("thumbnail_mode", json!("ONEOFF"), "NONE, BARE"),
            ("thumbnail_image", json!("?"), "base64"),
            ("thumbnail_image", json!(STANDARD.encode("GIF89a")), "PNG"),
            ("thumbnail_image", json!("A".repeat(MAX_IMAGE_BYTES * 2)), "larger than"),
            ("thumbnail_crop", json!([1, 2, 3]), "four whole numbers"),
            ("thumbnail_crop", json!([1, 2, 3, 4.5]), "four whole numbers"),
        ] {
            let column = Column::by_name(name).unwrap();
            let mut changed = event();
            let refused = changed.set(column, &value).unwrap_err();
            assert!(refused.to_string().contains(says) && refused.column == column, "{refused}");
            assert_eq!(changed, event());
        }
    }
}
