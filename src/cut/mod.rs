//! Cuts exact videos out of the record.
//!
//! Promises: a `fast` cut has exactly the frames whose time is in its ranges; what cannot be cut exactly is an error,
//! before the first byte where it can be known by then. Bytes are streamed; a tombstoned file is not opened; a dropped
//! stream kills its ffmpeg.
//! Never: chooses segments (that is `select`), or writes files.

mod error;
mod ffmpeg;
mod files;
mod plan;
mod restamp;
mod source;
mod steps;
mod still;
mod stream;
mod trim;

pub use error::CutError;
pub use ffmpeg::{Ffmpeg, Limits, Probe};
pub use files::Record;
pub use plan::{CutType, Part, Plan, PlanError, PlannedRange, UnknownCutType};
pub use still::{still, still_span};
pub use stream::{ContentType, CutStream, start};
