//! What can go wrong with a job, sorted by what becomes of its event.

use std::time::Duration;

use crate::actors::CacheError;
use crate::blocking::Panicked;
use crate::causes::chain;
use crate::cut::{BadJoints, BadTransition, CutError, PlanError};
use crate::db::DbError;
use crate::store::StoreError;
use crate::upload::{UploadError, Withdrawn};

/// How often a job fails before a person is asked.
const MOST_ATTEMPTS: i64 = 20;
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// Killed so often, a job may be what kills its node: from then on it waits like one that failed.
const INNOCENT_KILLS: i64 = 3;

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Joints(#[from] BadJoints),
    #[error(transparent)]
    Transition(#[from] BadTransition),
    #[error("what the event says is not whole: {0}")]
    NotWhole(&'static str),
    #[error("cannot cut it")]
    Cut(#[source] CutError),
    #[error("the cut is not as its plan was: {0}")]
    Unchecked(String),
    #[error("cannot make the thumbnail")]
    Thumbnail(#[source] CutError),
    #[error("the thumbnail: {0}")]
    BadThumbnail(String),
    #[error(transparent)]
    Upload(UploadError),
    #[error("less of the disk is free than retention.min_free")]
    NoRoom,
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a part of the node is being started again")]
    Restarting,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl From<UploadError> for JobError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Withdrawn(withdrawn) => Self::Withdrawn(withdrawn),
            error => Self::Upload(error),
        }
    }
}

/// What becomes of an event whose job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// EDITED, and nobody claims it for so long.
    Again { after: Duration, why: String },
    /// UNEDITED, for a person.
    GivenUp { why: String },
}

impl JobError {
    /// Whether the same may succeed later, or elsewhere.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Plan(PlanError::Holes(_) | PlanError::NoContent(_))
            | Self::NoRoom
            | Self::Unchecked(_)
            | Self::Cache(_)
            | Self::Restarting
            | Self::Db(_)
            | Self::Store(_)
            | Self::Panicked(_) => true,
            Self::Cut(error) | Self::Thumbnail(error) => may_pass(error),
            Self::Upload(error) => error.is_retryable(),
            Self::Withdrawn(_)
            | Self::Plan(
                PlanError::NoRanges | PlanError::NotOneRange | PlanError::NoBlends(_) | PlanError::Changes { .. },
            )
            | Self::Joints(_)
            | Self::Transition(_)
            | Self::NotWhole(_)
            | Self::BadThumbnail(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upload(error) => error.retry_after(),
            _ => None,
        }
    }

    /// `attempts` is how often the job failed before.
    pub fn verdict(&self, attempts: i64, first_backoff: Duration) -> Verdict {
        let why = chain(self);
        if !self.is_retryable() {
            return Verdict::GivenUp { why };
        }
        if attempts + 1 >= MOST_ATTEMPTS {
            return Verdict::GivenUp { why: format!("gave up after {} attempts: {why}", attempts + 1) };
        }
        let after = backoff_after(attempts, first_backoff).max(self.retry_after().unwrap_or_default());
        Verdict::Again { after, why }
    }
}

/// How long an event waits whose node was killed in the midst of it.
pub fn backoff_after_kill(attempts: i64, first_backoff: Duration) -> Duration {
    if attempts < INNOCENT_KILLS { Duration::ZERO } else { backoff_after(attempts - INNOCENT_KILLS, first_backoff) }
}

fn backoff_after(attempts: i64, first_backoff: Duration) -> Duration {
    let doubled = u32::try_from(attempts).unwrap_or(0).min(16);
    first_backoff.saturating_mul(1 << doubled).min(LONGEST_BACKOFF)
}

/// The record may have changed meanwhile, and a program may have been killed: another attempt sees something else.
fn may_pass(error: &CutError) -> bool {
    match error {
        CutError::Plan(PlanError::Holes(_) | PlanError::NoContent(_))
        | CutError::Tombstoned { .. }
        | CutError::Vanished { .. }
        | CutError::Changed { .. }
        | CutError::Read { .. }
        | CutError::Store(_)
        | CutError::Panicked(_)
        | CutError::Busy { .. }
        | CutError::NoRoom
        | CutError::FfmpegMissing { .. }
        | CutError::FfmpegFailed { .. }
        | CutError::FfmpegStalled { .. }
        | CutError::FfmpegPipe { .. }
        // What an ffmpeg that was killed leaves is too little, or cut off in the midst.
        | CutError::Inexact { .. }
        | CutError::Check { .. } => true,
        CutError::Plan(_)
        | CutError::NoFrames
        | CutError::MixedContainers { .. }
        | CutError::NotFragmented { .. }
        | CutError::NoStamps { .. }
        | CutError::Codec { .. }
        | CutError::Uncarried { .. }
        | CutError::Unlike { .. }
        | CutError::Unblendable { .. }
        | CutError::Framing(_)
        | CutError::PictureTooLarge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_ever_later_and_in_the_end_given_up() {
        let (first, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let again = |attempts| match JobError::NoRoom.verdict(attempts, first) {
            Verdict::Again { after, .. } => after,
            Verdict::GivenUp { why } => panic!("{why}"),
        };
        assert_eq!([again(0), again(1), again(4), again(18)], [first, first * 2, first * 16, LONGEST_BACKOFF]);
        let Verdict::GivenUp { why } = JobError::NoRoom.verdict(19, first) else { panic!() };
        assert!(why.starts_with("gave up after 20 attempts: less of the disk"), "{why}");
        let busy = UploadError::Busy { why: "quota".into(), retry_after: Some(Duration::from_secs(900)) };
        let verdict = JobError::from(busy).verdict(0, second);
        assert!(matches!(verdict, Verdict::Again { after, .. } if after == Duration::from_secs(900)), "{verdict:?}");
        let refused = UploadError::Refused { why: "no such bucket".into(), remedy: "make it" };
        let given_up = Verdict::GivenUp { why: "no such bucket; make it".into() };
        assert_eq!(JobError::from(refused).verdict(0, first), given_up);
        assert_eq!(backoff_after_kill(2, first), Duration::ZERO);
        assert_eq!(backoff_after_kill(4, first), first * 2);
    }
}
