//! A live reel: an endless ffmpeg that encodes by the wall clock.
//!
//! Promises: at most a window of segments is on disk; dropping the reel ends ffmpeg and removes its files.
//! Never: waits; whoever holds it polls it.

use std::path::{Path, PathBuf};

use super::ffmpeg::{self, Endless, Pace};
use super::lists::{self, Variant};
use super::reel::{snap, track_directory};
use super::spec::ReelSpec;
use super::{ReelSegment, RehearsalError, disk};
use crate::model::Timestamp;

/// ffmpeg running, and how much of its output has been seen.
pub struct LiveReel {
    running: Option<Running>,
    spec: ReelSpec,
    origin: Timestamp,
    seen: Vec<Seen>,
}

struct Running {
    // Must precede `directory`: ffmpeg ends before its files are removed.
    encoder: Endless,
    directory: tempfile::TempDir,
}

/// How far one rendition has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// ffmpeg's number of the next segment.
    next_sequence: u64,
    /// Where that one starts, in µs after the origin.
    offset_micros: i64,
}

impl Seen {
    /// Where segment `sequence` starts. Segments that nobody saw are taken to be as long as the spec says.
    fn offset_after(&self, spec: &ReelSpec, sequence: u64) -> i64 {
        let missed_frames = (sequence - self.next_sequence) * spec.segment_frames();
        self.offset_micros + spec.frame_rate.start_micros(missed_frames)
    }
}

/// What a rendition has got since the last poll.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    pub segments: Vec<ReelSegment>,
    /// Segments were made and deleted between two polls (this process was stopped for a minute).
    pub missed_some: bool,
    pub map: Option<PathBuf>,
}

impl LiveReel {
    /// Starts encoding now; `now` becomes the time of frame 0. Files go into a new directory below `parent`.
    pub fn start(spec: &ReelSpec, parent: &Path, now: Timestamp) -> Result<Self, RehearsalError> {
        spec.check()?;
        std::fs::create_dir_all(parent).map_err(disk("create", parent))?;
        let directory =
            tempfile::Builder::new().prefix("live-").tempdir_in(parent).map_err(disk("write in", parent))?;
        let arguments = ffmpeg::reel_arguments(spec, Pace::RealTime(now), ffmpeg::can_draw_text());
        let encoder = Endless::start(&arguments, directory.path())?;
        let seen = vec![Seen::default(); spec.renditions.len()];
        Ok(Self { running: Some(Running { encoder, directory }), spec: spec.clone(), origin: now, seen })
    }

    /// Ends ffmpeg and removes its files; nothing comes from this reel any more.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    pub fn spec(&self) -> &ReelSpec {
        &self.spec
    }

    /// The time of frame 0.
    pub fn origin(&self) -> Timestamp {
        self.origin
    }

    /// Bandwidth and codecs of the renditions, once the first segments are there.
    pub(super) fn variants(&self) -> Result<Option<Vec<Variant>>, RehearsalError> {
        let Some(running) = &self.running else { return Ok(None) };
        lists::read_master(&running.directory.path().join("master.m3u8"))
    }

    /// The segments of rendition `at` that have been finished since the last call. Must be called at least once for
    /// each window of segments, or some are missed.
    pub(super) fn poll(&mut self, at: usize) -> Result<Fresh, RehearsalError> {
        let Some(running) = &mut self.running else { return Ok(Fresh::default()) };
        if let Some(said) = running.encoder.ended() {
            return Err(RehearsalError::Ffmpeg { what: "go on encoding", said });
        }
        let directory = track_directory(running.directory.path(), at);
        let list = lists::read_media(&directory.join("index.m3u8"))?.unwrap_or_default();
        let mut fresh =
            Fresh { segments: Vec::new(), missed_some: false, map: list.map.map(|file| directory.join(file)) };
        let seen = &mut self.seen[at];
        for listed in list.segments {
            if listed.sequence < seen.next_sequence {
                continue;
            }
            fresh.missed_some |= listed.sequence > seen.next_sequence;
            let offset_micros = snap(&self.spec, seen.offset_after(&self.spec, listed.sequence));
            *seen = Seen {
                next_sequence: listed.sequence + 1,
                offset_micros: snap(&self.spec, offset_micros + listed.duration_micros),
            };
            fresh.segments.push(ReelSegment {
                offset_micros,
                duration_micros: listed.duration_micros,
                duration_text: listed.duration_text,
                path: directory.join(&listed.file),
            });
        }
        Ok(fresh)
    }
}
