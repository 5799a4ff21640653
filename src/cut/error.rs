//! What can go wrong with a cut.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::check::CheckFault;
use super::plan::PlanError;
use super::thumbnail::BadFraming;
use crate::blocking::Panicked;
use crate::media::mp4::NoFragment;
use crate::media::mpegts::TsError;
use crate::store::StoreError;

/// Why there is no cut, or no more of it. Segments are named as HOUR/NAME.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The range lies between two frames, say.
    #[error("no frame lies in the range")]
    NoFrames,
    #[error("the range holds both MPEG-TS and fragmented MP4; ask for a range on one side of {segment}")]
    MixedContainers { segment: String },
    #[error("{segment} is no fragmented MP4")]
    NotFragmented { segment: String, source: NoFragment },
    #[error("{segment} cannot be cut to the frame; type=rough copies it whole")]
    NoStamps { segment: String, source: TsError },
    #[error(
        "{segment} holds video of stream type {stream_type:#x}, which cannot be cut to the frame; type=rough copies it whole"
    )]
    Codec { segment: String, stream_type: u8 },
    #[error(
        "{segment} holds video of codec {codec}, which cannot be copied to the frame; type=mpegts and type=webm encode it \
         anew, type=rough copies it whole"
    )]
    Uncarried { segment: String, codec: String },
    /// Not all of the frames asked for came out as they should; better no cut than a wrong one.
    #[error(
        "{segment} could not be cut to the frame: {came} of {expected} frames came out right; type=rough copies it whole"
    )]
    Inexact { segment: String, expected: usize, came: usize },
    /// A cut that would play wrongly is none.
    #[error("what came out at {segment} is not right; type=rough copies whole segments as they are")]
    Check { segment: String, source: CheckFault },
    #[error("the encoding changes, and {segment} cannot be made like the rest: {why}; type=rough copies all as it is")]
    Unlike { segment: String, why: &'static str },
    #[error("{segment} cannot be blended: {why}")]
    Unblendable { segment: String, why: &'static str },
    #[error("{segment} was deleted by a tombstone")]
    Tombstoned { segment: String },
    #[error("{segment} is no longer there")]
    Vanished { segment: String },
    #[error("{segment} changed while it was read")]
    Changed { segment: String },
    #[error("cannot read {segment}")]
    Read { segment: String, source: io::Error },
    #[error("too little of the disk is free to put the video together; type=mp4 needs none")]
    NoRoom,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// All places for ffmpeg were taken for as long as we cared to wait.
    #[error("too many cuts are running; none ended within {} s", waited.as_secs())]
    Busy { waited: Duration },
    #[error("cannot run {}; is ffmpeg installed?", program.display())]
    FfmpegMissing { program: PathBuf, source: io::Error },
    #[error("ffmpeg failed ({status}): {last_words}")]
    FfmpegFailed { status: ExitStatus, last_words: String },
    #[error("ffmpeg did nothing for {} s and was stopped", waited.as_secs())]
    FfmpegStalled { waited: Duration },
    #[error("cannot talk to ffmpeg")]
    FfmpegPipe { source: io::Error },
    #[error(transparent)]
    Framing(#[from] BadFraming),
    #[error("the picture has more than {limit_bytes} bytes")]
    PictureTooLarge { limit_bytes: usize },
}
