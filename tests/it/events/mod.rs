//! Events: what the database holds of them, what editors and scripts are answered, who may do what.

mod constraints;
mod contract;
mod speed;

use segvault::model::{Column, Email, Event, NodeName, SheetFields, Timestamp};
use serde_json::json;

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_322_800_000_000 + micros)
}

pub fn ann() -> Email {
    "ann@example.org".parse().unwrap()
}

pub fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// An event that has just been noted.
pub fn noted(id: &str) -> Event {
    Event::new(id.parse().unwrap(), SheetFields { description: format!("What {id} is"), ..SheetFields::default() })
}

/// An event with everything said, still UNEDITED.
pub fn said(id: &str) -> Event {
    let mut event = noted(id);
    for (column, value) in [
        (Column::EventStart, json!("2026-01-02T03:00:00.000001")),
        (Column::Tags, json!(["Day 1"])),
        (Column::UploadLocation, json!("local")),
        (Column::VideoRanges, json!([["2026-01-02T03:00:00", "2026-01-02T03:01:00.123456"]])),
        (Column::VideoTransitions, json!([])),
        (Column::VideoTitle, json!("A title")),
        (Column::VideoDescription, json!("")),
        (Column::VideoTags, json!(["a", "b"])),
        (Column::VideoChannel, json!("gdq")),
        (Column::ThumbnailMode, json!("NONE")),
    ] {
        event.set(column, &value).unwrap();
    }
    event
}

/// EDITED since `edited`.
pub fn edited(id: &str, edited: Timestamp) -> Event {
    let mut event = said(id);
    event.submit(&ann(), edited).unwrap();
    event
}
