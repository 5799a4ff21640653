//! Publishes videos: one trait, and the destinations behind it.
//!
//! A video is a whole file here, checked, before anything of it is sent: so its length and hash are known before its first
//! byte, and an upload can be resumed. The order is always the same, and each line is in the database before the next begins:
//!
//! 1. the key of the attempt (`UploadKey`);
//! 2. `begin` gives a ticket;
//! 3. `send`, which asks its `Gate` right before the act that makes the video exist;
//! 4. what was published.
//!
//! Promises: whatever a killed process left, `held` says what has become of the attempt, and the attempt goes on from there
//! or is discarded; a destination never holds two videos of one key; no ticket or password is printed.
//! Never: writes to the database; decides whether to try again.

mod error;
mod freight;
mod local;
mod means;
mod measured;
mod retry;
mod s3;
mod sidecar;
mod youtube;

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;

pub use error::{UploadError, Withdrawn};
pub use local::Local;
pub use means::Means;

use means::Bounds;
use measured::Measured;
use s3::S3;
use youtube::{Quota, Youtube};

use crate::config::{DestinationConfig, UploadConfig};
use crate::model::{QuotaSpent, UploadKey};

/// Longest ticket, in bytes.
pub const MAX_TICKET_BYTES: usize = 4096;

/// What a destination gave to go on with: the address of a session, an upload's id. A secret, which is neither printed nor
/// logged.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadTicket(Box<str>);

/// A text that is no ticket: empty, or longer than 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ticket has 1 to {MAX_TICKET_BYTES} bytes")]
pub struct BadTicket;

impl UploadTicket {
    pub fn new(text: &str) -> Result<Self, BadTicket> {
        if text.is_empty() || text.len() > MAX_TICKET_BYTES { Err(BadTicket) } else { Ok(Self(text.into())) }
    }

    /// The text itself: for the database and for the destination that gave it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UploadTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is said about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoMetadata {
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    /// Else whoever knows the link may see it, and nobody else, where a destination has such a thing.
    pub is_public: bool,
}

/// The picture of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// A PNG.
    pub image: Bytes,
    pub sha256: [u8; 32],
}

/// One attempt to publish a video.
#[derive(Debug, Clone)]
pub struct Upload {
    pub key: UploadKey,
    pub metadata: VideoMetadata,
    /// Read by `send` alone: whoever takes over another node's attempt does not have it.
    pub file: PathBuf,
    pub len_bytes: u64,
    pub sha256: [u8; 32],
    pub content_type: String,
    pub thumbnail: Option<Thumbnail>,
    /// What may lie beside the video, for programs: the event and the receipt of its cut.
    pub sidecar: Value,
}

/// A video that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub video_id: String,
    pub link: String,
    /// The destination still works on it; `transcoding` says for how long.
    pub is_transcoding: bool,
    /// What the destination did not take of what belongs to it, such as the thumbnail, and why: for a person. The video is
    /// published without.
    pub lacks: Option<String>,
}

/// What a destination has of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Nothing, or nothing to go on with: a new ticket is needed. The video does not exist.
    Nothing,
    /// So much of it: sending goes on from there, with the same ticket. The video does not exist.
    Some {
        bytes: u64,
    },
    Whole(Published),
    /// The destination, as it is seen from here, cannot tell. A person can, if it stays so.
    Unknowable {
        why: String,
    },
}

/// How a destination gets on with a video that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transcoding {
    Working,
    Done,
    Failed(String),
}

/// How many bytes have been sent. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// In all, with what an earlier process sent.
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// To be awaited once, right before the act that makes the video exist: a rename, the last chunk, the completion of an upload
/// in parts. Until then the event may be taken back; from then on it is FINALIZING. It may take long, as the database may be
/// down. If it is refused, that act must not follow, and `send` ends with the refusal.
pub type Gate<'a> = LocalBoxFuture<'a, Result<(), Withdrawn>>;

/// Where videos go. Futures stay on their arbiter, as the HTTP client does; one destination is made for each arbiter. Each
/// future has its own deadlines, and may be dropped at any point, as a killed process drops it.
pub trait Destination {
    /// Makes ready for an upload. A key that was begun before is begun anew.
    fn begin<'a>(&'a self, upload: &'a Upload) -> LocalBoxFuture<'a, Result<UploadTicket, UploadError>>;

    /// What became of an attempt. The ticket is missing if none was stored.
    fn held<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: Option<&'a UploadTicket>,
    ) -> LocalBoxFuture<'a, Result<Held, UploadError>>;

    /// Sends the file from `from_bytes` on, which is what `held` said, and makes the video exist once the gate opens.
    fn send<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
        from_bytes: u64,
        progress: &'a Progress,
        gate: Gate<'a>,
    ) -> LocalBoxFuture<'a, Result<Published, UploadError>>;

    fn transcoding<'a>(&'a self, video_id: &'a str) -> LocalBoxFuture<'a, Result<Transcoding, UploadError>>;

    /// Says something else about a video that is there; gives it another thumbnail, if there is one.
    fn modify<'a>(
        &'a self,
        video_id: &'a str,
        metadata: &'a VideoMetadata,
        thumbnail: Option<&'a Thumbnail>,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>>;

    /// Forgets an attempt of which no video exists: whoever still sends with its ticket fails from then on. Done twice, it is
    /// done.
    fn discard<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>>;
}

/// What all nodes have spent of a quota that they share; kept by whoever has a memory that outlives this process.
pub trait QuotaBook: Send + Sync {
    /// Adds to what was spent of a project on a day, which is counted from 1970 in the quota's own time; says what all have
    /// spent of it by now. `None` if that cannot be known now: then nothing need have been added.
    fn add<'a>(&'a self, project: &'a str, day: i64, more: QuotaSpent) -> BoxFuture<'a, Option<QuotaSpent>>;
}

/// The destination of a location, for the arbiter that it is made on.
pub fn destination_of(config: &UploadConfig, means: &Means) -> Rc<dyn Destination> {
    let Means { blocking, clock, metrics, quota_book, .. } = means.clone();
    let Bounds { throttle, quota } = means.bounds(&config.location);
    let destination: Rc<dyn Destination> = match &config.destination {
        DestinationConfig::Local(local) => Rc::new(Local::new(local, blocking)),
        DestinationConfig::S3(s3) => Rc::new(S3::new(s3, clock, blocking, throttle)),
        DestinationConfig::Youtube(youtube) => {
            let quota = quota.unwrap_or_else(|| Quota::new(youtube.uploads_per_day, youtube.units_per_day));
            Rc::new(Youtube::new(youtube, clock, blocking, throttle, quota, quota_book))
        }
    };
    Rc::new(Measured::new(destination, config.location.clone(), metrics))
}
