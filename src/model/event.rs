//! An event: a stretch of the stream that somebody wants as a video (FORMATS §5).
//!
//! Its fields are grouped by who writes them: whoever notes events (`sheet`), an editor (`edit`), the nodes that cut
//! (`job`). By name they are [`super::Column`]s.

use std::fmt;
use std::str::FromStr;

use super::{
    Channel, EventId, EventState, NodeName, Quality, Span, TemplateName, Timestamp, UploadKey, UploadLocation,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub sheet: SheetFields,
    pub edit: EditFields,
    pub job: JobFields,
    /// Counts the changes: what has the same version is the same, but for its lease.
    pub version: i64,
}

/// What was noted when it happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SheetFields {
    pub sheet_name: String,
    pub event_start: Option<Timestamp>,
    pub event_end: Option<Timestamp>,
    pub category: String,
    pub description: String,
    pub submitter_winner: String,
    pub poster_moment: bool,
    pub image_links: Vec<String>,
    pub notes: String,
    pub tags: Vec<String>,
}

/// What an editor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditFields {
    pub allow_holes: bool,
    /// `None` lets every node upload it.
    pub uploader_whitelist: Option<Vec<NodeName>>,
    pub upload_location: Option<UploadLocation>,
    pub public: bool,
    pub video_ranges: Option<Vec<VideoRange>>,
    /// One fewer than the ranges; `None` is a hard cut.
    pub video_transitions: Option<Vec<Option<EventTransition>>>,
    pub video_title: Option<String>,
    pub video_description: Option<String>,
    pub video_tags: Option<Vec<String>>,
    pub video_channel: Option<Channel>,
    pub video_quality: Quality,
    pub thumbnail: Thumbnail,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFields {
    pub state: EventState,
    pub uploader: Option<NodeName>,
    /// For a person.
    pub error: Option<String>,
    pub video_id: Option<String>,
    pub video_link: Option<String>,
    pub editor: Option<String>,
    pub edit_time: Option<Timestamp>,
    pub upload_time: Option<Timestamp>,
    pub last_modified: Option<Timestamp>,
    /// How often it was given back to be tried again, since it was edited.
    pub attempts: i64,
    /// Nobody claims it before.
    pub retry_at: Option<Timestamp>,
    /// Until when its uploader is believed to be at work.
    pub lease_until: Option<Timestamp>,
    /// The attempt to publish it that was made last: set with each claim, so that no two claims are the same.
    pub upload: Option<UploadKey>,
}

/// What to cut. In a draft either end may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoRange {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

impl VideoRange {
    /// `None` where an end is open, or nothing lies between them.
    pub fn span(self) -> Option<Span> {
        Span::new(self.start?, self.end?).ok()
    }
}

/// A transition as the event names it; whether there is one of that name, `cut` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTransition {
    pub kind: String,
    pub micros: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thumbnail {
    pub mode: ThumbnailMode,
    pub time: Option<Timestamp>,
    pub template: Option<TemplateName>,
    /// A PNG.
    pub image: Option<Vec<u8>>,
    /// Which part of the frame is shown, and where in the thumbnail; `None` leaves it to the template.
    pub crop: Option<PixelBox>,
    pub location: Option<PixelBox>,
    /// The hash of what the destination has.
    pub last_written: Option<Vec<u8>>,
}

/// What a thumbnail is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ThumbnailMode {
    None,
    /// A frame.
    Bare,
    /// A frame within a template.
    #[default]
    Template,
    /// An image of its own.
    Custom,
}

/// Not a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbnail's mode is NONE, BARE, TEMPLATE or CUSTOM")]
pub struct BadThumbnailMode;

impl ThumbnailMode {
    pub const ALL: [Self; 4] = [Self::None, Self::Bare, Self::Template, Self::Custom];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Bare => "BARE",
            Self::Template => "TEMPLATE",
            Self::Custom => "CUSTOM",
        }
    }
}

impl fmt::Display for ThumbnailMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ThumbnailMode {
    type Err = BadThumbnailMode;

    fn from_str(text: &str) -> Result<Self, BadThumbnailMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(BadThumbnailMode)
    }
}

/// Left, top, right, bottom, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBox(pub [i32; 4]);

impl Event {
    /// One that has just been noted.
    pub fn new(id: EventId, sheet: SheetFields) -> Self {
        let edit = EditFields {
            allow_holes: false,
            uploader_whitelist: None,
            upload_location: None,
            public: true,
            video_ranges: None,
            video_transitions: None,
            video_title: None,
            video_description: None,
            video_tags: None,
            video_channel: None,
            video_quality: "source".parse().expect("it is a name"),
            thumbnail: Thumbnail::default(),
        };
        let job = JobFields {
            state: EventState::Unedited,
            uploader: None,
            error: None,
            video_id: None,
            video_link: None,
            editor: None,
            edit_time: None,
            upload_time: None,
            last_modified: None,
            attempts: 0,
            retry_at: None,
            lease_until: None,
            upload: None,
        };
        Self { id, sheet, edit, job, version: 1 }
    }
}
