//! What lies beside a video, for programs: what is said of it, the event, the receipt of its cut.

use serde_json::{Map, Value, json};

use super::{Upload, VideoMetadata};

/// What is said of a video.
pub fn said(metadata: &VideoMetadata) -> Map<String, Value> {
    let said = json!({
        "title": metadata.title,
        "description": metadata.description,
        "tags": metadata.tags,
        "public": metadata.is_public,
    });
    match said {
        Value::Object(said) => said,
        _ => Map::new(),
    }
}

/// All of it, as text.
pub fn sidecar_text(upload: &Upload) -> String {
    let mut sidecar = said(&upload.metadata);
    if let Value::Object(more) = &upload.sidecar {
        sidecar.extend(more.clone());
    }
    pretty(&sidecar.into())
}

/// The same text with something else said. What cannot be read is written anew.
pub fn with_said(old: Option<&[u8]>, metadata: &VideoMetadata) -> String {
    let old = old.and_then(|text| serde_json::from_slice(text).ok());
    let mut sidecar: Map<String, Value> = old.unwrap_or_default();
    sidecar.extend(said(metadata));
    pretty(&sidecar.into())
}

/// How the names of such videos end.
pub fn ending(content_type: &str) -> &'static str {
    match content_type {
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "video/x-matroska" => "mkv",
        _ => "ts",
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
