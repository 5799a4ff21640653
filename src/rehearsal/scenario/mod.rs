//! A scenario: one scripted bad day, as a file in TOML says it.
//!
//! Promises: a scenario that was read can be played; every fault of the file is reported at once, with its line.
//! Never: plays anything (that is `stage`).
//!
//! To add a fault: a word in `words.rs`, its parameters in `read.rs`.

mod read;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path;
use std::time::Duration;

pub use words::Cause;

use super::{Container, ReelSpec, Rendition, Rule, Turn};
use crate::config::{Faults, read_document};
use crate::model::Quality;

/// A day to rehearse. Times are since the beginning of the programme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// How long the stream is live.
    pub length: Duration,
    /// The length of a segment.
    pub segment: Duration,
    /// Segments in a media playlist.
    pub window_segments: usize,
    /// Best first; not empty, none twice.
    pub qualities: Vec<Quality>,
    pub container: Container,
    /// How long after its first listing a segment can be had.
    pub keep: Duration,
    /// How long after the end of the stream a node may take to finish.
    pub settle: Duration,
    /// Decides which requests a share of them is.
    pub seed: u32,
    /// What goes wrong with answers.
    pub rules: Vec<Rule>,
    /// What changes in the programme itself.
    pub turns: Vec<Turn>,
    /// What is lost all the same.
    pub expectations: Vec<Expectation>,
}

/// So much is lost for such a cause, whatever a recorder does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// `None` for each quality.
    pub quality: Option<Quality>,
    pub cause: Cause,
    pub lost: Duration,
    /// It may be so much more or less.
    pub tolerance: Duration,
}

impl Scenario {
    /// Reads a file. Blocks.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        read_document(path, read::read)
    }

    /// How many things go wrong.
    pub fn faults(&self) -> usize {
        self.rules.len() + self.turns.len()
    }

    /// The video of the programme: small pictures, as the bytes are what matters.
    pub(super) fn reel_spec(&self) -> ReelSpec {
        ReelSpec {
            renditions: self.renditions([(320, 180), (160, 90)]),
            segment: self.segment,
            container: self.container,
            ..ReelSpec::default()
        }
    }

    /// The same frames, of another size and profile.
    pub(super) fn other_spec(&self) -> ReelSpec {
        ReelSpec { renditions: self.renditions([(480, 270), (320, 180)]), b_frames: 0, ..self.reel_spec() }
    }

    /// Of the size of the best quality, and of all others.
    fn renditions(&self, [best, others]: [(u32, u32); 2]) -> Vec<Rendition> {
        let rendition = |(at, quality): (usize, &Quality)| match at {
            0 => Rendition::new(quality.clone(), best.0, best.1, 300_000),
            _ => Rendition::new(quality.clone(), others.0, others.1, 100_000),
        };
        self.qualities.iter().enumerate().map(rendition).collect()
    }
}
