//! What a destination is given of an event: the video, what is said about it, and what programs want to know.

use crate::db::Attempt;
use crate::model::Event;
use crate::store::{self, Layout};
use crate::upload::{Upload, VideoMetadata};

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
