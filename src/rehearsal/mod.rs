//! A fake live source: real video, made by ffmpeg, played over real HTTP as a live HLS channel.
//!
//! Promises: frame n of a reel is shown n / frame rate after the reel's origin, in every rendition, and carries its
//! number as a bar code, so that any frame of any output can be identified; what was served can be compared byte for
//! byte; a fault that was asked for is the fault that happens.
//! Never: touches a store, a database or another host; leaves a child process behind.

mod aired;
mod answer;
#[cfg(test)]
mod answer_tests;
pub mod barcode;
mod body;
mod fault;
mod ffmpeg;
mod lists;
mod live;
mod pages;
mod plan;
mod reel;
mod report;
#[cfg(test)]
mod report_tests;
mod scenario;
mod script;
mod serve;
mod show;
mod source;
#[cfg(test)]
mod source_tests;
mod spec;
mod stage;
mod tape;
mod truth;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use aired::{Break, Published};
pub use fault::{Fault, Framing, PathKind};
pub use lists::Variant;
pub use live::LiveReel;
pub use reel::{Reel, ReelSegment, Track};
pub use report::{Kept, Micros, QualityReport, ToldLoss, compare, on_air, seconds};
pub use scenario::{Cause, Expectation, Scenario};
pub use script::{During, Lasts, Percent, Rule, RuleId, Script};
pub use source::{Access, Program, Source, SourceHandle, SourceSpec, WallClock};
pub use spec::{Container, FrameRate, ReelSpec, Rendition};
pub use stage::Stage;
pub use tape::AtEnd;
pub use truth::TrueSegment;
pub use turns::{Change, Turn};

/// Why there is no video, no source, or no number on a frame.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    #[error("ffmpeg was not found: install it (on Debian and Ubuntu: apt-get install ffmpeg)")]
    FfmpegMissing,
    #[error("ffmpeg could not {what}: {said}")]
    Ffmpeg { what: &'static str, said: String },
    #[error("such a source cannot be made: {0}")]
    Spec(&'static str),
    #[error("cannot {act} {}", path.display())]
    Disk { act: &'static str, path: PathBuf, source: io::Error },
    #[error("a playlist that ffmpeg wrote cannot be read: {}: {why}", path.display())]
    List { path: PathBuf, why: &'static str },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("frame {index} of the video shows no readable number")]
    Unreadable { index: usize },
    #[error("there is no frame of video to read")]
    NoFrames,
}

impl RehearsalError {
    /// The error with its causes, in one line.
    fn chain(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

/// Turns an I/O error into ours, with what was attempted on which path.
fn disk(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RehearsalError {
    move |source| RehearsalError::Disk { act, path: path.to_owned(), source }
}
