//! A scenario on stage: the fake source that plays it, and the truth about what it played.
//!
//! Promises: nothing is on air before somebody asks for a media playlist and `begin` is called; what is compared with is
//! what was served.
//! Never: looks at a node.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::PoisonError;

use sha2::{Digest as _, Sha256};

use super::RehearsalError;
use super::aired::Published;
use super::pages::MEDIA_NAME;
use super::reel::Reel;
use super::scenario::Scenario;
use super::script::Script;
use super::source::{Program, Source, SourceHandle, SourceSpec};
use super::tape::AtEnd;
use super::truth::{Circumstances, TrueSegment};
use super::turns::need_other_encoding;
use crate::model::{Quality, SegmentHash};

/// A scenario that is played, or about to be.
pub struct Stage {
    scenario: Scenario,
    source: SourceHandle,
}

impl Stage {
    /// Encodes what is to be shown, or takes it from `reels`; then listens. Blocks.
    pub fn set(scenario: Scenario, reels: &Path, listen: SocketAddr) -> Result<Self, RehearsalError> {
        let reel = Reel::prepare(&scenario.reel_spec(), scenario.length, reels)?;
        let other = need_other_encoding(&scenario.turns)
            .then(|| Reel::prepare(&scenario.other_spec(), scenario.length, reels))
            .transpose()?;
        let program = Program::Prepared { reel, other, origin: None, speed: 1, at_end: AtEnd::End };
        let source = Source::start(SourceSpec {
            listen,
            window_segments: scenario.window_segments,
            keep: Some(scenario.keep),
            turns: scenario.turns.clone(),
            waits: true,
            ..SourceSpec::new(program)
        })?;
        {
            let script = source.script();
            let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
            *script = Script::seeded(scenario.seed);
            for rule in &scenario.rules {
                script.add(rule.clone());
            }
        }
        Ok(Self { scenario, source })
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    pub fn source(&self) -> &SourceHandle {
        &self.source
    }

    /// The qualities that somebody has asked for.
    pub fn asked_for(&self) -> Vec<Quality> {
        let accesses = self.source.accesses();
        let is_asked = |quality: &&Quality| accesses.contains_key(&format!("/{quality}/{MEDIA_NAME}"));
        self.scenario.qualities.iter().filter(is_asked).cloned().collect()
    }

    /// What of a quality has been on air, and what of that could be had. Blocks: reads the segments.
    pub fn truth(&self, quality: &Quality) -> Result<Vec<TrueSegment>, RehearsalError> {
        let aired = self.source.published(quality);
        let circumstances = Circumstances {
            rules: &self.scenario.rules,
            origin: self.source.origin(),
            window_segments: self.scenario.window_segments,
            keep: self.scenario.keep,
            target: self.source.target_duration(),
            until: self.scenario.length + self.scenario.settle,
        };
        let segments = aired.iter().enumerate();
        segments.map(|(at, segment)| true_segment(segment, circumstances.could_be_had(&aired, at))).collect()
    }

    /// How many segments of a quality were sent whole more than once.
    pub fn fetched_twice(&self, quality: &Quality) -> usize {
        let accesses = self.source.accesses();
        let published = self.source.published(quality);
        let completed = published.iter().filter_map(|one| accesses.get(&format!("/{quality}/{}", one.name)));
        completed.filter(|access| access.completed > 1).count()
    }
}

fn true_segment(segment: &Published, available: bool) -> Result<TrueSegment, RehearsalError> {
    Ok(TrueSegment {
        start: segment.start,
        duration_micros: segment.duration_micros,
        content: SegmentHash::from_bytes(Sha256::digest(segment.stored_bytes()?).into()),
        advertisement: segment.advertisement.is_some(),
        available,
    })
}
