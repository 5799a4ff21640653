//! The part of a cut that is being given out.

use bytes::Bytes;

use super::CutError;
use super::blend::BlendJob;
use super::check::{Expected, FrameCounter};
use super::convert::ConvertJob;
use super::ffmpeg::{HoldsAhead, READ_BYTES, Running};
use super::files::FileReader;
use super::restamp::Restamp;
use super::source::Fragments;
use super::trim::TrimJob;
use crate::media::mpegts::Scan;

/// The part that is being given out.
pub(super) enum Current {
    Raw(FileReader),
    Copy {
        reader: FileReader,
        /// What has been read of it already.
        head: Option<Bytes>,
        counter: FrameCounter,
    },
    Remux {
        running: Running,
        fragments: Fragments,
    },
    /// `seen` is what has come out so far; it is checked at the end.
    Made {
        output: MadeOutput,
        job: Job,
        seen: Box<Scan>,
    },
}

/// What ffmpeg gives, or gave before its turn.
pub(super) enum MadeOutput {
    Running(Box<Running>),
    Held { bytes: Bytes, _right: HoldsAhead },
}

impl MadeOutput {
    async fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        match self {
            Self::Running(running) => running.next().await,
            Self::Held { bytes, .. } => {
                let piece = bytes.split_to(bytes.len().min(READ_BYTES));
                Ok((!piece.is_empty()).then_some(piece))
            }
        }
    }
}

/// What ffmpeg was told to make.
pub(super) enum Job {
    Trim(Box<TrimJob>),
    Convert(Box<ConvertJob>),
    Blend(Box<BlendJob>),
}

impl Job {
    fn check(&self, output: Scan) -> Result<(), CutError> {
        match self {
            Self::Trim(job) => job.check(output),
            Self::Convert(job) => job.check(output),
            Self::Blend(job) => job.check(output),
        }
    }

    fn expected(&self) -> Expected {
        match self {
            Self::Trim(job) => job.expected(),
            Self::Convert(job) => job.expected(),
            Self::Blend(job) => job.expected(),
        }
    }
}

impl Current {
    /// What must have come out, once all of it has.
    pub fn expected(&self) -> Expected {
        match self {
            Self::Raw(_) => Expected::default(),
            Self::Copy { counter, .. } => Expected { frames: Some(counter.frames()), ..Expected::default() },
            Self::Remux { fragments, .. } => Expected { frames: fragments.frames(), ..Expected::default() },
            Self::Made { job, .. } => job.expected(),
        }
    }

    /// The next bytes, which may be empty; `None` once the part has ended well.
    pub async fn next(&mut self, restamp: &mut Restamp) -> Result<Option<Bytes>, CutError> {
        match self {
            Self::Raw(reader) => reader.next().await,
            Self::Copy { reader, head, counter } => {
                let bytes = match head.take() {
                    Some(head) => Some(head),
                    None => reader.next_own().await?,
                };
                Ok(bytes.map(|bytes| {
                    counter.push(&bytes);
                    let bytes = restamp.push(bytes);
                    reader.take_back(bytes.clone());
                    bytes
                }))
            }
            Self::Remux { running, .. } => Ok(running.next().await?.map(|bytes| restamp.push(bytes))),
            Self::Made { output, job, seen } => {
                let Some(bytes) = output.next().await? else {
                    job.check(std::mem::take(&mut **seen))?;
                    return Ok(None);
                };
                seen.push(&bytes);
                Ok(Some(restamp.push(bytes)))
            }
        }
    }
}
