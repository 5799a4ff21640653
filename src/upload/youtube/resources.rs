//! What is told and heard of videos, as YouTube's JSON has it.
//!
//! Promises: what is asked for is within YouTube's bounds, or is refused before anything is sent; of a video that is changed,
//! what is not ours to say stays as it is.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::YoutubeConfig;
use crate::model::UploadKey;
use crate::upload::{Transcoding, UploadError, VideoMetadata};

/// "videos", property snippet.tags: 500 characters with the commas between them, and the quotes around tags with spaces.
const MAX_TAGS_CHARS: usize = 500;
/// Property snippet.title.
const MAX_TITLE_CHARS: usize = 100;
/// Property snippet.description.
const MAX_DESCRIPTION_BYTES: usize = 5000;
/// "Thumbnails: set": the largest file is 2 MB.
pub const MAX_THUMBNAIL_BYTES: usize = 2 << 20;
/// With half of a hash behind it, it takes few of the 500 characters.
const MARK: &str = "segvault-";

/// The tag by which the video of an attempt is found again. It follows from the attempt's key.
pub fn mark(key: &UploadKey) -> String {
    let hash = Sha256::digest(key.as_str());
    hash[..8].iter().fold(MARK.to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What a new video is to be.
pub fn insert(config: &YoutubeConfig, key: &UploadKey, metadata: &VideoMetadata) -> Result<Value, UploadError> {
    let mut tags = metadata.tags.clone();
    tags.push(mark(key));
    check(metadata, &tags)?;
    let mut snippet = json!({
        "title": metadata.title,
        "description": metadata.description,
        "tags": tags,
        "categoryId": config.category.to_string(),
    });
    if let Some(language) = &config.language {
        snippet["defaultLanguage"] = json!(language.as_str());
        snippet["defaultAudioLanguage"] = json!(language.as_str());
    }
    let status = json!({"privacyStatus": privacy(metadata), "selfDeclaredMadeForKids": false});
    Ok(json!({"snippet": snippet, "status": status}))
}

/// A video that is there, as it is to be; `None` if it is that already. What an update leaves out is deleted, so all that can
/// be changed is said again.
pub fn update(video: &Video, metadata: &VideoMetadata) -> Result<Option<Value>, UploadError> {
    const SNIPPET: [&str; 2] = ["categoryId", "defaultLanguage"];
    const STATUS: [&str; 6] = [
        "embeddable",
        "license",
        "publicStatsViewable",
        "selfDeclaredMadeForKids",
        "containsSyntheticMedia",
        "publishAt",
    ];
    let mut tags = metadata.tags.clone();
    tags.extend(video.tags().filter(|tag| tag.starts_with(MARK)).map(str::to_owned));
    check(metadata, &tags)?;
    let text = |name: &str| video.snippet.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_as_wished = text("title") == metadata.title
        && text("description") == metadata.description
        && video.tags().eq(tags.iter().map(String::as_str))
        && video.status.get("privacyStatus").and_then(Value::as_str) == Some(privacy(metadata));
    if is_as_wished {
        return Ok(None);
    }
    let mut snippet = kept(&video.snippet, &SNIPPET);
    snippet.insert("title".into(), json!(metadata.title));
    snippet.insert("description".into(), json!(metadata.description));
    snippet.insert("tags".into(), json!(tags));
    let mut status = kept(&video.status, &STATUS);
    status.insert("privacyStatus".into(), json!(privacy(metadata)));
    Ok(Some(json!({"id": video.id, "snippet": snippet, "status": status})))
}

fn kept(from: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), from.get(*name)?.clone()))).collect()
}

/// Whoever knows the link may see it, unless all may.
fn privacy(metadata: &VideoMetadata) -> &'static str {
    if metadata.is_public { "public" } else { "unlisted" }
}

fn check(metadata: &VideoMetadata, tags: &[String]) -> Result<(), UploadError> {
    let refused = |why: String, remedy| Err(UploadError::Refused { why, remedy });
    let chars = metadata.title.chars().count();
    if chars == 0 || chars > MAX_TITLE_CHARS {
        return refused(format!("the title has {chars} characters"), "give it 1 to 100");
    }
    let bytes = metadata.description.len();
    if bytes > MAX_DESCRIPTION_BYTES {
        return refused(format!("the description has {bytes} bytes"), "shorten it to 5000");
    }
    let has_brackets = |text: &str| text.contains(['<', '>']);
    if has_brackets(&metadata.title) || has_brackets(&metadata.description) || tags.iter().any(|tag| has_brackets(tag))
    {
        return refused("YouTube takes no < and > in titles, descriptions and tags".into(), "write them otherwise");
    }
    let length = |tag: &String| tag.chars().count() + if tag.contains(' ') { 2 } else { 0 };
    let chars = tags.iter().map(length).sum::<usize>() + tags.len().saturating_sub(1);
    if chars > MAX_TAGS_CHARS {
        return refused(format!("the tags have {chars} characters with our mark of 25"), "shorten them to 500");
    }
    Ok(())
}

/// A video as it is told.
#[derive(Debug, Deserialize)]
pub struct Video {
    pub id: String,
    #[serde(default)]
    snippet: Map<String, Value>,
    #[serde(default)]
    status: Map<String, Value>,
}

impl Video {
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.snippet.get("tags").and_then(Value::as_array);
        tags.into_iter().flatten().filter_map(Value::as_str)
    }

    /// How YouTube gets on with it. Source: property status.uploadStatus.
    pub fn transcoding(&self) -> Transcoding {
        let text = |name| self.status.get(name).and_then(Value::as_str);
        let failed = |what: &str, why: Option<&str>| {
            Transcoding::Failed(format!("{what}: {}", why.unwrap_or("no reason given")))
        };
        match text("uploadStatus") {
            Some("processed") => Transcoding::Done,
            Some("failed") => failed("YouTube could not read the video", text("failureReason")),
            Some("rejected") => failed("YouTube rejected the video", text("rejectionReason")),
            Some("deleted") => failed("the video was deleted", Some("by somebody at YouTube")),
            _ => Transcoding::Working,
        }
    }
}

/// Videos by their ids.
#[derive(Debug, Deserialize)]
pub struct Videos {
    #[serde(default)]
    pub items: Vec<Video>,
}

/// The account's own channel.
#[derive(Debug, Deserialize)]
pub struct Channels {
    #[serde(default)]
    items: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Channel {
    content_details: ChannelDetails,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelDetails {
    related_playlists: RelatedPlaylists,
}

#[derive(Debug, Deserialize)]
struct RelatedPlaylists {
    uploads: String,
}

impl Channels {
    /// The playlist of all that was uploaded to it.
    pub fn uploads(self) -> Option<String> {
        self.items.into_iter().next().map(|channel| channel.content_details.related_playlists.uploads)
    }
}

/// One page of a playlist, newest first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaylistPage {
    #[serde(default)]
    pub items: Vec<PlaylistItem>,
    pub next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaylistItem {
    pub content_details: ItemDetails,
    pub snippet: ItemSnippet,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemDetails {
    pub video_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemSnippet {
    /// When it came into the playlist: 2026-01-02T03:04:05Z.
    pub published_at: String,
}

/// A video's id: it goes into addresses.
pub fn is_video_id(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(title: &str, tags: &[&str]) -> VideoMetadata {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        VideoMetadata { title: title.into(), description: "d".into(), tags, is_public: false }
    }

    fn video(status: Value) -> Video {
        let snippet = json!({"title": "old", "description": "d", "tags": ["a", "segvault-0123456789abcdef"], "categoryId": "20",
            "channelId": "c"});
        serde_json::from_value(json!({"id": "v", "snippet": snippet, "status": status})).unwrap()
    }

    #[test]
    fn an_update_keeps_what_is_not_ours_to_say() {
        let video = video(json!({"privacyStatus": "private", "embeddable": false, "uploadStatus": "processed"}));
        let update_to = |title| update(&video, &metadata(title, &["b"])).unwrap();
        assert_eq!(
            update_to("new"),
            Some(json!({
                "id": "v",
                "snippet": {"title": "new", "description": "d", "tags": ["b", "segvault-0123456789abcdef"], "categoryId": "20"},
                "status": {"privacyStatus": "unlisted", "embeddable": false},
            }))
        );
    }

    #[test]
    fn what_is_so_already_is_not_asked_for() {
        let video = video(json!({"privacyStatus": "unlisted"}));
        assert_eq!(update(&video, &metadata("old", &["a"])).unwrap(), None);
        assert!(update(&video, &metadata("old", &[])).unwrap().is_some());
        assert!(update(&video, &VideoMetadata { is_public: true, ..metadata("old", &["a"]) }).unwrap().is_some());
    }

    #[test]
    fn what_youtube_would_refuse_is_refused_here() {
        let long = "x".repeat(100);
        let five: Vec<&str> = [&*long; 5].to_vec();
        for (title, tags) in
            [("", vec![]), (&*"x".repeat(101), vec![]), ("a<b", vec![]), ("a", vec!["a>b"]), ("a", five)]
        {
            let error = check(&metadata(title, &tags), &metadata(title, &tags).tags).unwrap_err();
            assert!(!error.is_retryable(), "{error}");
        }
        // 4 tags of 99 and one of 98 letters are 494, 4 commas are 498.
        let tags: Vec<String> = [99, 99, 99, 99, 98].iter().map(|length| "x".repeat(*length)).collect();
        assert!(check(&metadata("a", &[]), &tags).is_ok());
    }

    #[test]
    fn marks_differ_as_keys_do() {
        let mark = |key: &str| mark(&key.parse().unwrap());
        assert_eq!(mark("e.1").len(), 25);
        assert_eq!(mark("e.1"), mark("e.1"));
        assert_ne!(mark("e.1"), mark("e.2"));
    }

    #[test]
    fn a_video_is_done_when_youtube_says_so() {
        assert_eq!(video(json!({"uploadStatus": "uploaded"})).transcoding(), Transcoding::Working);
        assert_eq!(video(json!({"uploadStatus": "processed"})).transcoding(), Transcoding::Done);
        let rejected = video(json!({"uploadStatus": "rejected", "rejectionReason": "duplicate"})).transcoding();
        assert_eq!(rejected, Transcoding::Failed("YouTube rejected the video: duplicate".into()));
        assert!(!is_video_id("a/b") && !is_video_id("") && is_video_id("dQw4w9WgXcQ"));
    }
}
