//! Pure answers about lists of names: what an hour shows, which segment is best at each instant, what is missing and why.
//!
//! Promises: the same names give the same answer on every node.
//! Never: reads the disk or the clock. Where a tie needs a file's size, the caller's closure is asked.

mod aging;
mod coverage;
mod digest;
mod index;
mod listing;
pub mod losses;
mod range;
pub mod retain;

pub use aging::AgingClock;
pub use coverage::{Among, HourCoverage, KindFigures, Map, Report, StreamCoverage, coverage_span};
pub use digest::{DayDigests, Digest, HourDigests, NodeDigests, QualityDigests};
pub use index::{HourIndex, Segment, Taken};
pub use listing::Listing;
pub use losses::StandingLoss;
pub use range::{ContainsHoles, Hole, Part, Selection};

/// Times closer than this are taken for the same: recorders round differently (FORMATS §3).
pub const TOLERANCE_MICROS: i64 = 10_000;
