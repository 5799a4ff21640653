//! What a programme is played from: a reel that is ready, or one that is being made.
//!
//! Promises: the nth segment of a reel is the same whenever it is asked for.
//! Never: knows what is on air (that is `show`).

use super::RehearsalError;
use super::lists::Variant;
use super::live::LiveReel;
use super::reel::{Reel, ReelSegment};
use super::spec::ReelSpec;
use crate::model::Timestamp;

/// What a prepared reel does at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// ENDLIST.
    End,
    /// Frame numbers start over, behind a DISCONTINUITY; the time goes on.
    Loop,
}

/// Where segments come from.
pub(super) enum Tape {
    Prepared {
        reel: Reel,
        /// The same pictures encoded otherwise, for turns that need it.
        other: Option<Reel>,
        origin: Timestamp,
        speed: u32,
        at_end: AtEnd,
    },
    // Boxed because it is ten times as large.
    Live(Box<LiveReel>),
}

impl Tape {
    pub(super) fn spec(&self) -> &ReelSpec {
        match self {
            Self::Prepared { reel, .. } => reel.spec(),
            Self::Live(reel) => reel.spec(),
        }
    }

    /// The time of frame 0.
    pub(super) fn origin(&self) -> Timestamp {
        match self {
            Self::Prepared { origin, .. } => *origin,
            Self::Live(reel) => reel.origin(),
        }
    }

    /// What is known of the renditions; of a reel that is being made it may be nothing, or too few.
    pub(super) fn variants(&self) -> Result<Option<Vec<Variant>>, RehearsalError> {
        Ok(match self {
            Self::Prepared { reel, .. } => Some(reel.tracks().iter().map(|track| track.variant.clone()).collect()),
            Self::Live(reel) => reel.variants()?,
        })
    }

    pub(super) fn longest_segment_micros(&self) -> i64 {
        match self {
            Self::Prepared { reel, .. } => {
                let segments = reel.tracks().iter().flat_map(|track| &track.segments);
                segments.map(|segment| segment.duration_micros).max().unwrap_or_default()
            }
            Self::Live(reel) => {
                // With GOPs of their own length, segments end at the first key frame after the wished length.
                let spec = reel.spec();
                spec.frame_rate.start_micros(spec.segment_frames().next_multiple_of(spec.gop()))
            }
        }
    }
}

/// The segment that a prepared reel shows as its `taken`th, its offset counted over all loops; and whether it is the
/// first one of a later loop.
pub(super) fn due(reel: &Reel, at: usize, taken: u64, at_end: AtEnd) -> Option<(ReelSegment, bool)> {
    let segments = &reel.tracks()[at].segments;
    let count = segments.len() as u64;
    let (pass, within) = (taken.checked_div(count)?, taken.checked_rem(count)?);
    if pass > 0 && at_end == AtEnd::End {
        return None;
    }
    let mut segment = segments[within as usize].clone();
    segment.offset_micros += pass as i64 * reel.length_micros();
    Some((segment, pass > 0 && within == 0))
}
