//! Trims one segment to the frames asked for, by re-encoding its video with the time stamps that it has.
//!
//! Promises: frame times come out as they went in, to the tick, and are checked when they come out; decoding times rise
//! from the trimmed segment to its untouched neighbours; streams keep their PIDs.
//! Never: reads the disk.
//!
//! ffmpeg sees stamps that start at `BASE_90K`, whatever they are in the file: so it never meets the wrap at 33 bits, nor
//! a stamp below zero. Its output is shifted back.

use std::ffi::OsString;

use super::CutError;
use super::args::Args;
use super::check::Expected;
use super::plan::ticks_of_micros;
use crate::media::mpegts::{Codec, Pid, Program, Scan, Summary, Track};
use crate::model::{SegmentKind, SegmentName, Timestamp};

/// Where the stamps that ffmpeg sees start: past the 60 s before the first one that its reader takes for a wrap.
const BASE_90K: i64 = 100 * 90_000;
/// The frames of audio that share a PES header have no stamps of their own. ffmpeg works them out with a length that it cuts to
/// whole ticks, so they come up to 0.8 ticks early for each frame before them (1024 samples at 44.1 kHz are 2089.8 ticks). Half
/// a millisecond is enough for 56 of them, and far less than a frame.
const AUDIO_SLACK_90K: i64 = 45;
/// Pixels that are wider by less than anybody sees: half a pixel in 10,000. A picture that starts an open GOP does not say to a
/// decoder that everything starts anew, as an IDR picture does; numbers and order of pictures from before would go on, and
/// ffmpeg's decoder would take some of the next ones for late and drop them. That another format begins makes it start anew.
const ODD_ASPECT: &str = ",setsar=sar*20001/20000:max=65535";
/// PIDs below are refused by ffmpeg's muxer, for streams and for program maps.
const LOWEST_STREAM_PID: u16 = 0x10;
const LOWEST_MAP_PID: u16 = 0x20;

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
    expected: Expected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoJob {
    pid: Pid,
    encoder: Encoder,
    decoded: Decoded,
    /// The PTS of the frames that must come out, sorted.
    wanted: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoder {
    X264,
    X265,
    /// None: the packets stay as they are.
    Copy,
}

/// When frames are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoded {
    /// Each so long before it is shown. Copied ones: when they were.
    Before(i64),
    /// The first ones at these times, the others when they were. What comes next is no IDR picture, nor what the frames before it
    /// lead up to.
    At(Vec<i64>),
}

/// Decides how to show of `segment` what lies at ≥ `from` and < `until`.
pub(super) fn edge(
    segment: &SegmentName,
    summary: Summary,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
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
            if wanted == track.all_pts().count() {
                return Ok(Edge::Whole);
            }
            Some(VideoJob::new(segment, track, bounds)?)
        }
    };
    Ok(Edge::Some(Box::new(TrimJob::new(segment, &summary, bounds, video))))
}

impl Encoder {
    pub fn of(segment: &SegmentName, codec: Codec) -> Result<Self, CutError> {
        match codec {
            Codec::H264 => Ok(Self::X264),
            Codec::Hevc => Ok(Self::X265),
            Codec::OtherVideo(stream_type) => Err(CutError::Codec { segment: segment.path_text(), stream_type }),
            Codec::Audio(_) | Codec::Other => unreachable!("a video track has a video codec"),
        }
    }
}

impl VideoJob {
    pub fn new(segment: &SegmentName, track: &Track, bounds: Bounds) -> Result<Self, CutError> {
        Ok(Self::with_encoder(track, bounds, Encoder::of(segment, track.codec)?))
    }

    pub fn with_encoder(track: &Track, bounds: Bounds, encoder: Encoder) -> Self {
        let mut wanted: Vec<i64> = track.all_pts().filter(|pts| bounds.contain(*pts)).collect();
        wanted.sort_unstable();
        Self { pid: track.pid, encoder, decoded: Decoded::Before(delay_to_neighbours(track, bounds)), wanted }
    }

    pub fn decoded(self, decoded: Decoded) -> Self {
        Self { decoded, ..self }
    }

    fn shift(&mut self, shift_90k: i64) {
        let decoded = match &mut self.decoded {
            Decoded::Before(_) => &mut Vec::new(),
            Decoded::At(times) => times,
        };
        self.wanted.iter_mut().chain(decoded).for_each(|stamp| *stamp += shift_90k);
    }

    /// ffmpeg's arguments. Frames come out up to `until`.
    fn args(&self, until: Option<i64>, args: &mut Args) {
        let wanted = Bounds { from: self.wanted.first().copied(), until };
        let encoder = match (self.encoder, &self.decoded) {
            (Encoder::Copy, decoded) => {
                // Also what comes before the first key frame is wanted.
                args.words("-c:v copy -copyinkf:v");
                if let (Decoded::At(times), Some(from)) = (decoded, wanted.from) {
                    args.option(
                        "-bsf:v",
                        format!("noise=drop=lt(pts\\,{from}),setts=pts=PTS:dts={}", dts_in_turn(times)),
                    );
                }
                return;
            }
            // force-cfr tells the stream the frame rate instead of the time base, and leaves the stamps alone.
            (Encoder::X264, _) => "-c:v libx264 -bf 0 -x264-params force-cfr=1",
            (Encoder::X265, _) => "-c:v libx265 -x265-params bframes=0:log-level=error",
        };
        let (odd_aspect, dts) = match &self.decoded {
            Decoded::Before(delay_90k) => ("", format!("PTS-{delay_90k}")),
            Decoded::At(times) => (ODD_ASPECT, dts_in_turn(times)),
        };
        let filter = format!("{}{odd_aspect}", trim_filter(wanted));
        args.option("-filter:v", filter).words("-fps_mode passthrough -enc_time_base 1:90000");
        // Visually lossless, and several times real time on one core.
        args.words(encoder).words("-preset veryfast -crf 18");
        args.option("-bsf:v", format!("setts=pts=PTS:dts={dts}"));
    }
}

/// A DTS for each of the first packets, as an expression of ffmpeg's.
fn dts_in_turn(times: &[i64]) -> String {
    let turn = |rest: String, (at, dts): (usize, &i64)| format!("if(eq(N\\,{at})\\,{dts}\\,{rest})");
    times.iter().enumerate().rev().fold("DTS".to_owned(), turn)
}

/// The trimmed frames are encoded without B-frames, so a constant delay makes a decoding time of each. It is chosen so
/// that the last one is decoded when the file's last one was (if the next file follows), or else the first one when the
/// file's first one was: then decoding times rise over the join whenever they did in the source.
fn delay_to_neighbours(track: &Track, bounds: Bounds) -> i64 {
    let delay = match bounds.until {
        None => track.highest_pts() - track.highest_dts(),
        Some(_) => track.lowest_pts() - track.lowest_dts(),
    };
    delay.max(0)
}

impl TrimJob {
    /// Takes stamps as the file has them.
    pub fn new(segment: &SegmentName, summary: &Summary, bounds: Bounds, mut video: Option<VideoJob>) -> Self {
        let shift_90k = shift_for(summary);
        // The file before this one may be read too, for its pictures; its audio has gone out already.
        let own_audio = summary.audio.iter().map(Track::lowest_pts).min();
        let audio_bounds = Bounds { from: bounds.from.or(own_audio.filter(|_| !summary.starts_fresh)), ..bounds };
        let expected = expected(segment, summary, bounds, video.as_ref());
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
            pcr_lead_90k: summary.pcr_lead_90k,
            expected,
        }
    }

    pub fn expected(&self) -> Expected {
        self.expected
    }

    pub fn shift_90k(&self) -> i64 {
        self.shift_90k
    }

    /// Leaves out what is heard before the first frame: it would lie over the sound of what went before.
    pub fn start_sound_with_picture(&mut self) {
        if let Some(video) = &self.video {
            self.audio_bounds.from = Some(video.wanted[0]).max(self.audio_bounds.from);
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
    let is_heard_at =
        |pts: i64| !summary.audio.is_empty() && summary.audio.iter().all(|track| has_sound_at(track, pts));
    // What is damaged may lack any of it.
    let may_miss = segment.kind() != SegmentKind::Full;
    let due = |pts: Option<i64>| pts.filter(|pts| !may_miss && is_heard_at(*pts)).map(|pts| pts - first);
    Expected {
        frames: Some(video.wanted.len() as u64),
        may_miss,
        sound_start_90k: due(bounds.from),
        sound_end_90k: due(bounds.until),
    }
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

/// ffmpeg's arguments to repack fragmented MP4 as MPEG-TS, stamps kept.
pub(super) fn remux_args() -> Vec<OsString> {
    let mut args = Args::default();
    args.words("-copyts -f mp4 -i - -map 0:v:0? -map 0:a? -c copy");
    mux_args(&mut args);
    args.words("-muxdelay 0 -f mpegts -");
    args.done()
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

/// How a program is to look like that of the source.
#[derive(Debug)]
pub(super) struct Mux {
    pub program: Program,
    pub pcr_lead_90k: i64,
    /// Of the streams, in order.
    pub pids: Vec<Pid>,
}

impl Mux {
    /// Keeps PIDs and the distance of the program clock as they were.
    pub fn args(&self, args: &mut Args) {
        args.option("-muxdelay", format!("{}", self.pcr_lead_90k as f64 / 90_000.0));
        if self.program.number != 0 {
            args.option("-mpegts_service_id", self.program.number.to_string());
        }
        if self.program.pmt_pid.number() >= LOWEST_MAP_PID {
            args.option("-mpegts_pmt_start_pid", self.program.pmt_pid.number().to_string());
        }
        for (at, pid) in self.pids.iter().enumerate().filter(|(_, pid)| pid.number() >= LOWEST_STREAM_PID) {
            args.option("-streamid", format!("{at}:{}", pid.number()));
        }
        args.words("-f mpegts -");
    }
}

/// Without these the muxer moves all stamps by 1.4 s.
pub(super) fn mux_args(args: &mut Args) {
    args.words("-mpegts_copyts 1 -muxpreload 0 -avoid_negative_ts disabled");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentHash;

    fn vector(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn scan(bytes: &[u8]) -> Scan {
        let mut scan = Scan::default();
        scan.push(bytes);
        scan
    }

    fn segment(kind: SegmentKind) -> SegmentName {
        SegmentName::finished(at(0), 2_000_000, kind, SegmentHash::from_bytes([0; 32]))
    }

    fn at(micros: i64) -> Timestamp {
        "2026-01-02T03:00:00".parse::<Timestamp>().unwrap().plus_micros(micros)
    }

    /// Of two seconds at 30 fps with a delay of two frames.
    fn edge_of_bf2(kind: SegmentKind, from: Option<i64>, until: Option<i64>) -> Edge {
        let summary = scan(&vector("av_bf2")).finish().unwrap();
        edge(&segment(kind), summary, from.map(at), until.map(at)).unwrap()
    }

    fn job(edge: Edge) -> TrimJob {
        let Edge::Some(job) = edge else { panic!("{edge:?}") };
        *job
    }

    #[test]
    fn bounds_are_compared_with_each_frame() {
        assert_eq!(edge_of_bf2(SegmentKind::Full, Some(1_966_677), None), Edge::Nothing);
        assert_eq!(edge_of_bf2(SegmentKind::Full, None, Some(0)), Edge::Nothing);
        assert_eq!(edge_of_bf2(SegmentKind::Full, None, Some(1_966_677)), Edge::Whole);
        // The time of frame 20 is 666,666.67 µs; rounded either way it is that frame's.
        for micros in [666_666, 666_667] {
            let job = job(edge_of_bf2(SegmentKind::Full, Some(micros), None));
            assert_eq!(job.first_pts(), 132_000 + 20 * 3000);
            assert_eq!(job.video.unwrap().wanted.len(), 40);
        }
        assert_eq!(job(edge_of_bf2(SegmentKind::Full, Some(666_680), None)).first_pts(), 132_000 + 21 * 3000);
    }

    #[test]
    fn arguments_are_for_stamps_that_start_at_the_base() {
        let args = job(edge_of_bf2(SegmentKind::Full, Some(1_000_000), Some(1_500_000))).args();
        let text = args.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        for part in [
            "-map 0:i:0x100 -map 0:i:0x101 -filter:v trim=start_pts=9090000:end_pts=9135000 ",
            " -bsf:v setts=pts=PTS:dts=PTS-6000 ",
            " -bsf:a noise=drop=lt(pts\\,9089955)+gte(pts\\,9134955) ",
            " -muxdelay 0.7 ",
            " -mpegts_pmt_start_pid 4096 -streamid 0:256 -streamid 1:257 -f mpegts -",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn an_output_has_the_wanted_frames_or_is_refused() {
        let mut restamp = super::super::restamp::Restamp::shifting(BASE_90K - 132_000);
        let mut bytes = restamp.push(vector("av_bf2").into()).to_vec();
        let full = job(edge_of_bf2(SegmentKind::Full, Some(40), None));
        let damaged = job(edge_of_bf2(SegmentKind::Partial, Some(40), None));
        let message = full.check(scan(&bytes)).unwrap_err().to_string();
        assert!(message.contains("59 of 59 frames"), "a frame too many: {message}");
        assert!(damaged.check(scan(&bytes)).is_err());

        let whole = TrimJob { bounds: Bounds { from: None, until: None }, ..full };
        let mut video = whole.video.clone().unwrap();
        video.wanted.insert(0, BASE_90K);
        let whole = TrimJob { video: Some(video.clone()), ..whole };
        whole.check(scan(&bytes)).unwrap();
        bytes.truncate(bytes.len() / 2);
        assert!(matches!(whole.check(scan(&bytes)), Err(CutError::Inexact { expected: 60, .. })));
        TrimJob { video: Some(video), ..damaged }.check(scan(&bytes)).unwrap();
    }

    #[test]
    fn other_video_than_we_encode_is_refused() {
        let summary = scan(&vector("mp2v")).finish().unwrap();
        let refused = edge(&segment(SegmentKind::Full), summary, Some(at(500_000)), None);
        assert!(matches!(refused, Err(CutError::Codec { stream_type: 2, .. })), "{refused:?}");
    }
}
