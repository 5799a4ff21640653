//! What can go wrong with an upload, sorted by what its job can do about it.

use std::error::Error;
use std::time::Duration;

use crate::blocking::Panicked;
use crate::store::StoreError;

/// The event was taken back before its video existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event was taken back before its video existed")]
pub struct Withdrawn;

/// Why there is no video, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// It could not be reached, or did not answer. `is_unsure` if what was asked for may have happened all the same.
    #[error("no answer when {act}")]
    NoAnswer { act: &'static str, is_unsure: bool, source: Box<dyn Error + Send + Sync> },
    /// It has had enough for now.
    #[error("the destination is busy: {why}")]
    Busy { why: String, retry_after: Option<Duration> },
    /// What was begun cannot be gone on with; begun anew, it may succeed.
    #[error("the upload has to begin anew: {why}")]
    TicketGone { why: String },
    /// What arrived is not what was sent; it was not published.
    #[error("what arrived at the destination is not the video: {why}")]
    WrongBytes { why: String },
    /// It will say the same again. `remedy` is what a person can do.
    #[error("{why}; {remedy}")]
    Refused { why: String, remedy: &'static str },
    /// There is no such video at this destination, as it is seen from this node.
    #[error("there is no video {video_id} there")]
    NoVideo { video_id: String },
    /// A disk of this node.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl UploadError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoAnswer { .. }
            | Self::Busy { .. }
            | Self::TicketGone { .. }
            | Self::WrongBytes { .. }
            | Self::Store(_)
            | Self::Panicked(_) => true,
            Self::Withdrawn(_) | Self::Refused { .. } | Self::NoVideo { .. } => false,
        }
    }

    /// How long the destination wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Withdrawn(_)
            | Self::NoAnswer { .. }
            | Self::TicketGone { .. }
            | Self::WrongBytes { .. }
            | Self::Refused { .. }
            | Self::NoVideo { .. }
            | Self::Store(_)
            | Self::Panicked(_) => None,
        }
    }

    /// Whether the act that makes the video exist may have happened: `held` is to be asked before anything else.
    pub fn is_unsure(&self) -> bool {
        match self {
            Self::NoAnswer { is_unsure, .. } => *is_unsure,
            Self::Store(_) | Self::Panicked(_) => true,
            Self::Withdrawn(_)
            | Self::Busy { .. }
            | Self::TicketGone { .. }
            | Self::WrongBytes { .. }
            | Self::Refused { .. }
            | Self::NoVideo { .. } => false,
        }
    }
}
