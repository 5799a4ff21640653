//! Cuts exact videos out of the record.
//!
//! Promises: a cut of any type but `rough` and `archive` has exactly the frames whose time is in its ranges; what cannot be
//! cut exactly is an error, before the first byte where it can be known by then. Bytes are streamed; a tombstoned file is
//! not opened; a dropped stream kills its ffmpeg.
//! Never: chooses segments (that is `select`), or writes files (what needs one gets it, without a name, from `store`).

mod args;
mod blend;
mod change;
mod check;
mod convert;
mod current;
mod dates;
mod error;
mod executor;
mod ffmpeg;
mod files;
mod mux;
mod outline;
mod output;
mod pack;
mod piece;
mod plan;
mod receipt;
mod restamp;
mod resume;
mod seam;
mod source;
mod spooled;
mod steps;
mod still;
mod stream;
mod thumbnail;
mod transition;
mod trim;
mod waveform;

pub use crate::model::{CutType, UnknownCutType};
pub use change::{EncodingFrom, KnownEncodings, OnChange, UnknownOnChange};
pub use check::CheckFault;
pub use error::CutError;
pub use ffmpeg::{Ffmpeg, Limits, Probe};
pub use files::Record;
pub use outline::Outline;
pub use pack::ContentType;
pub use piece::{BadJoints, Piece, pieces};
pub use plan::{Part, Plan, PlanError, PlannedRange};
pub use receipt::Receipt;
pub use restamp::Restamp;
pub use resume::{Begun, Fingerprint, NoFingerprint};
pub use still::{still, still_span};
pub use stream::{CutStream, start, start_after};
pub use thumbnail::{Area, BadArea, BadFraming, Framing, TemplateAbout, thumbnail};
pub use transition::{BadTransition, Joint, TRANSITIONS, Transition};
pub use waveform::{Waveform, Waveforms};
