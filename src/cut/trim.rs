//! Trims one segment to the frames asked for, by re-encoding its video with the time stamps that it has.
//!
//! Promises: frame times come out as they went in, to the tick, and are checked when they come out; decoding times rise
//! from the trimmed segment to its untouched neighbours; streams keep their PIDs.
//! Never: reads the disk.
//!
//! ffmpeg sees stamps that start at `BASE_90K`, whatever they are in the file: so it never meets the wrap at 33 bits, nor
//! a stamp below zero. Its output is shifted back.

mod video;

use std::ffi::OsString;

use super::CutError;
use super::args::Args;
use super::check::{Expected, SOLE_FRAME_90K};
use super::mux::{Mux, mux_args};
use super::piece::Look;
use super::plan::ticks_of_micros;
use crate::media::mpegts::{Pid, Program, Scan, Summary, Track};
use crate::model::{SegmentKind, SegmentName, Timestamp};
pub(super) use video::{Decoded, Encoder, VideoJob};

/// Where the stamps that ffmpeg sees start: past the 60 s before the first one that its reader takes for a wrap.
const BASE_90K: i64 = 100 * 90_000;
/// The frames of audio that share a PES header have no stamps of their own. ffmpeg works them out with a length that it cuts to
/// whole ticks, so they come up to 0.8 ticks early for each frame before them (1024 samples at 44.1 kHz are 2089.8 ticks). Half
/// a millisecond is enough for 56 of them, and far less than a frame.
const AUDIO_SLACK_90K: i64 = 45;

/// Which time stamps of a file are wanted, in its own 90 kHz ticks: ≥ `from` and < `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub from: Option<i64>,
    pub until: Option<i64>,
}

impl Bounds {
    pub fn contain(self, pts: i64) -> bool {
        self.from.is_none_or(|from| pts >= from) && self.until.is_none_or(|until| pts < until)
    }

    fn shifted(self, shift: i64) -> Self {
        Self { from: self.from.map(|pts| pts + shift), until: self.until.map(|pts| pts + shift) }
    }
}

/// What a trim comes to, once the stamps are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edge {
    /// No frame of the file is wanted.
    Nothing,
    /// All are.
    Whole,
    Some(Box<TrimJob>),
}

/// Where something else than what was there in the source lies right beside a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HardCuts {
    pub before: bool,
    pub after: bool,
}

/// How one file is trimmed. All stamps are those that ffmpeg sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrimJob {
    segment: SegmentName,
    /// What is added to the file's stamps to make those that ffmpeg sees.
    shift_90k: i64,
    bounds: Bounds,
    audio_bounds: Bounds,
    video: Option<VideoJob>,
    audio: Vec<Pid>,
    program: Program,
    starts_fresh: bool,
    pcr_lead_90k: i64,
    /// Whether the source has sound where its picture ends.
    is_heard_at_end: bool,
    expected: Expected,
}

/// Decides how to show of `segment` what lies at ≥ the first of these times and < the second. For a preview, all of it is made
/// small, what would be whole too.
pub(super) fn edge(
    segment: &SegmentName,
    summary: Summary,
    (from, until): (Option<Timestamp>, Option<Timestamp>),
    look: Look,
) -> Result<Edge, CutError> {
    // The time of a segment is that of its first frame in presentation order (FORMATS §1).
    let pts_of =
        |moment: Timestamp| summary.main().lowest_pts() + ticks_of_micros(moment.micros_since(segment.start()));
    let bounds = Bounds { from: from.map(pts_of), until: until.map(pts_of) };
    let video = match &summary.video {
        None => None,
        Some(track) => {
            let wanted = track.all_pts().filter(|pts| bounds.contain(*pts)).count();
            if wanted == 0 {
                return Ok(Edge::Nothing);
            }
            if wanted == track.all_pts().count() && look == Look::Full {
                return Ok(Edge::Whole);
            }
            Some(VideoJob::new(segment, track, bounds)?.looked_at(look))
        }
    };
    Ok(Edge::Some(Box::new(TrimJob::new(segment, &summary, bounds, video))))
}

impl TrimJob {
    /// Takes stamps as the file has them.
    pub fn new(segment: &SegmentName, summary: &Summary, bounds: Bounds, mut video: Option<VideoJob>) -> Self {
        let shift_90k = shift_for(summary);
        // The file before this one may be read too, for its pictures; its audio has gone out already.
        let own_audio = summary.audio.iter().map(Track::lowest_pts).min();
        let audio_bounds = Bounds { from: bounds.from.or(own_audio.filter(|_| !summary.starts_fresh)), ..bounds };
        let expected = expected(segment, summary, bounds, video.as_ref());
        let is_heard_at_end = segment.kind() == SegmentKind::Full
            && summary.video.as_ref().is_some_and(|track| is_heard_at(summary, track.end_pts()));
        video.iter_mut().for_each(|video| video.shift(shift_90k));
        Self {
            segment: segment.clone(),
            shift_90k,
            bounds: bounds.shifted(shift_90k),
            audio_bounds: audio_bounds.shifted(shift_90k),
            video,
            audio: summary.audio.iter().map(|track| track.pid).collect(),
            program: summary.program.clone(),
            starts_fresh: summary.starts_fresh,
            pcr_lead_90k: summary.pcr_lead_90k(),
            is_heard_at_end,
            expected,
        }
    }

    pub fn expected(&self) -> Expected {
        self.expected
    }

    pub fn shift_90k(&self) -> i64 {
        self.shift_90k
    }

    /// Has the sound begin and end with the picture where that of another range lies beside it.
    pub fn fit(&mut self, hard_cuts: HardCuts) {
        if hard_cuts.before {
            self.start_sound_with_picture();
        }
        if hard_cuts.after {
            self.end_sound_with_picture();
        }
    }

    /// Leaves out what is heard before the first frame: it would lie over the sound of what went before.
    fn start_sound_with_picture(&mut self) {
        if let Some(video) = &self.video {
            self.audio_bounds.from = Some(video.wanted[0]).max(self.audio_bounds.from);
        }
    }

    /// Leaves out what is heard beyond the last frame: it would lie over the sound of what comes next.
    fn end_sound_with_picture(&mut self) {
        let Some(VideoJob { wanted, .. }) = &self.video else { return };
        let (first, last) = (wanted[0], wanted[wanted.len() - 1]);
        let end = last + wanted.windows(2).last().map_or(SOLE_FRAME_90K, |pair| pair[1] - pair[0]);
        if self.audio_bounds.until.is_none_or(|until| until > end) {
            self.audio_bounds.until = Some(end);
            self.expected.sound_end_90k = self.is_heard_at_end.then_some(end - first);
        }
    }

    /// The first PTS that comes out, as the file has it.
    pub fn first_pts(&self) -> i64 {
        let first = self.video.as_ref().map(|video| video.wanted[0]).or(self.bounds.from);
        first.unwrap_or(BASE_90K) - self.shift_90k
    }

    /// Whether the file before this one helps to decode it.
    pub fn needs_file_before(&self) -> bool {
        !self.starts_fresh && self.is_reencoded()
    }

    pub fn is_reencoded(&self) -> bool {
        self.video.as_ref().is_some_and(|video| video.encoder != Encoder::Copy)
    }

    /// ffmpeg's arguments: MPEG-TS in on standard input, out on standard output.
    pub fn args(&self) -> Vec<OsString> {
        let mut args = Args::default();
        args.words("-copyts -f mpegts -i -");
        for pid in self.video.iter().map(|video| video.pid).chain(self.audio.iter().copied()) {
            args.option("-map", format!("0:i:{pid}"));
        }
        if let Some(video) = &self.video {
            video.args(self.bounds.until, &mut args);
        }
        if !self.audio.is_empty() {
            args.words("-c:a copy");
            if let Some(unwanted) = self.unwanted_audio() {
                args.option("-bsf:a", format!("noise=drop={unwanted}"));
            }
        }
        mux_args(&mut args);
        let pids = self.video.iter().map(|video| video.pid).chain(self.audio.iter().copied()).collect();
        Mux { program: self.program.clone(), pcr_lead_90k: self.pcr_lead_90k, pids }.args(&mut args);
        args.done()
    }

    /// Which packets of audio to drop, as an expression of ffmpeg's. Audio goes in whole packets; one that starts before
    /// the first frame is left out.
    fn unwanted_audio(&self) -> Option<String> {
        let bounds = self.audio_bounds.shifted(-AUDIO_SLACK_90K);
        let early = bounds.from.map(|from| format!("lt(pts\\,{from})"));
        let late = bounds.until.map(|until| format!("gte(pts\\,{until})"));
        let both: Vec<String> = early.into_iter().chain(late).collect();
        (!both.is_empty()).then(|| both.join("+"))
    }

    /// Checks an output, as ffmpeg gave it. From a segment that is known to be damaged, frames may be missing; a frame that
    /// was not asked for may never be there.
    pub fn check(&self, output: Scan) -> Result<(), CutError> {
        let output = output.finish().ok();
        match &self.video {
            Some(video) => {
                let mut came: Vec<i64> =
                    output.and_then(|output| output.video).map_or(Vec::new(), |track| track.all_pts().collect());
                came.sort_unstable();
                let right = came.iter().filter(|pts| video.wanted.binary_search(pts).is_ok()).count();
                let may_miss = self.segment.kind() != SegmentKind::Full;
                if came == video.wanted || (may_miss && right == came.len()) {
                    return Ok(());
                }
                Err(self.inexact(video.wanted.len(), right))
            }
            None => {
                let came: Vec<i64> = output.map_or(Vec::new(), |output| output.main().all_pts().collect());
                let bounds = self.bounds.shifted(-AUDIO_SLACK_90K);
                let right = came.iter().filter(|pts| bounds.contain(**pts)).count();
                if right == came.len() { Ok(()) } else { Err(self.inexact(came.len(), right)) }
            }
        }
    }

    fn inexact(&self, expected: usize, came: usize) -> CutError {
        CutError::Inexact { segment: self.segment.path_text(), expected, came }
    }
}

/// What must come out. Of the sound, only where it is cut: elsewhere it is as the source has it.
fn expected(segment: &SegmentName, summary: &Summary, bounds: Bounds, video: Option<&VideoJob>) -> Expected {
    let Some(video) = video else { return Expected::default() };
    let first = video.wanted.first().copied().unwrap_or_default();
    // What is damaged may lack any of it.
    let may_miss = segment.kind() != SegmentKind::Full;
    let due = |pts: Option<i64>| pts.filter(|pts| !may_miss && is_heard_at(summary, *pts)).map(|pts| pts - first);
    Expected {
        frames: Some(video.wanted.len() as u64),
        may_miss,
        sound_start_90k: due(bounds.from),
        sound_end_90k: due(bounds.until),
    }
}

fn is_heard_at(summary: &Summary, pts: i64) -> bool {
    !summary.audio.is_empty() && summary.audio.iter().all(|track| has_sound_at(track, pts))
}

/// Whether the stamps around a moment are no farther apart than is usual in the track.
pub(super) fn has_sound_at(track: &Track, pts: i64) -> bool {
    let mut all: Vec<i64> = track.all_pts().collect();
    all.sort_unstable();
    let mut steps: Vec<i64> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let after = all.partition_point(|stamp| *stamp <= pts);
    let Some(around) = after.checked_sub(1).and_then(|before| steps.get(before).copied()) else { return false };
    steps.sort_unstable();
    around <= 2 * steps[steps.len() / 2]
}

pub(super) fn trim_filter(bounds: Bounds) -> String {
    let from = bounds.from.map(|from| format!("start_pts={from}"));
    let until = bounds.until.map(|until| format!("end_pts={until}"));
    format!("trim={}", from.into_iter().chain(until).collect::<Vec<_>>().join(":"))
}

/// ffmpeg's arguments for a PNG of the frame with the stamp `pts_90k` (as ffmpeg sees it) of the video stream `pid`.
pub(super) fn picture_args(pid: Pid, pts_90k: i64) -> Vec<OsString> {
    let only_it = Bounds { from: Some(pts_90k), until: Some(pts_90k + 1) };
    let mut args = Args::default();
    args.words("-copyts -f mpegts -i -").option("-map", format!("0:i:{pid}"));
    args.option("-filter:v", trim_filter(only_it)).words("-fps_mode passthrough -frames:v 1 -c:v png -f image2pipe -");
    args.done()
}

/// What is added to the stamps of a file before ffmpeg sees them.
pub(super) fn shift_for(summary: &Summary) -> i64 {
    BASE_90K - summary.main().lowest_pts()
}

#[cfg(test)]
mod tests;
