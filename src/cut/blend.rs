//! A transition: the end of one range gives way to the start of the next, in picture and sound.
//!
//! Promises: what comes out starts at `START_90K` and has one frame for each of the ranges' that lie over one another, at the
//! first range's frame rate, size, codec and PIDs; that is checked when it comes out.
//! Never: reads the disk.

use std::ffi::OsString;
use std::path::Path;

use super::CutError;
use super::args::Args;
use super::check::Expected;
use super::mux::{Mux, mux_args};
use super::output::START_90K;
use super::piece::{Look, PREVIEW_HEIGHT};
use super::transition::{Drawn, Transition};
use crate::media::mpegts::{AudioCoding, Codec, Scan, Summary, Track};
use crate::media::{Encoding, FrameRate};
use crate::model::SegmentName;

/// What ffmpeg is told where a stream does not tell.
const USUAL_SAMPLE_RATE_HZ: u32 = 48_000;
const START_SECONDS: i64 = START_90K / 90_000;

/// One of the two files that a blend is modelled on: the first of the stretch that goes out, and of the one that comes in.
#[derive(Debug)]
pub(super) struct Model {
    pub segment: SegmentName,
    pub summary: Summary,
    pub encoding: Encoding,
}

/// A blend, once both sides are known.
#[derive(Debug)]
pub(super) struct BlendJob {
    segment: SegmentName,
    transition: Transition,
    look: Look,
    encoder: &'static str,
    /// In pixels, even.
    size: (u32, u32),
    rate: FrameRate,
    delay_90k: i64,
    sound: Option<Sound>,
    mux: Mux,
    /// Fewer frames are right where a stretch has a hole.
    has_holes: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sound {
    encoder: &'static str,
    sample_rate_hz: u32,
    /// Which sides have any.
    out: bool,
    into: bool,
}

impl BlendJob {
    pub fn new(
        out: Model,
        into: &Model,
        transition: Transition,
        look: Look,
        has_holes: bool,
    ) -> Result<Self, CutError> {
        let unblendable = |why| CutError::Unblendable { segment: out.segment.path_text(), why };
        let (Some(video), Some(other)) = (&out.summary.video, &into.summary.video) else {
            return Err(unblendable("there is no video"));
        };
        let encoder = match video.codec {
            Codec::H264 => "-c:v libx264 -bf 0 -x264-params force-cfr=1",
            Codec::Hevc => "-c:v libx265 -x265-params bframes=0:log-level=error",
            Codec::OtherVideo(_) | Codec::Audio(_) | Codec::Other => return Err(unblendable("its codec is another")),
        };
        let shown = out.encoding.video.as_ref().ok_or_else(|| unblendable("its size is unknown"))?;
        let rate = FrameRate::of(video).ok_or_else(|| unblendable("its frame rate is unknown"))?;
        let sound = Sound::new(&out, into).map_err(unblendable)?;
        let audio = out.summary.audio.first().or(into.summary.audio.first());
        let mux = Mux {
            program: out.summary.program.clone(),
            pcr_lead_90k: out.summary.pcr_lead_90k(),
            pids: std::iter::once(video.pid).chain(audio.map(|track| track.pid)).collect(),
        };
        let delay = |track: &Track| track.lowest_pts() - track.lowest_dts();
        Ok(Self {
            transition,
            look,
            encoder,
            size: look.size(shown.width, shown.height),
            rate,
            delay_90k: delay(video).max(delay(other)).max(0),
            sound,
            mux,
            has_holes,
            segment: out.segment,
        })
    }

    /// ffmpeg's arguments: what goes out as MPEG-TS on standard input, what comes in from `into`, both with a first frame at
    /// `START_90K`; the blend as MPEG-TS on standard output.
    pub fn args(&self, into: &Path) -> Vec<OsString> {
        let mut args = Args::default();
        args.words("-copyts -f mpegts -i - -f mpegts -i").path(into);
        args.option("-filter_complex", self.graph()).words("-map [v]");
        args.words("-fps_mode passthrough -enc_time_base:v 1:90000");
        match self.look {
            Look::Full => args.words(self.encoder).words("-preset veryfast -crf 18"),
            // Of HEVC too: every browser plays it, and it is quicker.
            Look::Preview => args.words("-c:v libx264 -bf 0 -x264-params force-cfr=1 -preset ultrafast -crf 28"),
        };
        args.option("-bsf:v", format!("setts=dts=PTS-{}", self.delay_90k));
        if let Some(sound) = self.sound {
            args.words("-map [a] -b:a 192k").words(sound.encoder);
            // What an encoder puts before its first sample would lie over the sound of the part before.
            args.option("-bsf:a", format!("noise=drop=lt(pts\\,{START_90K})"));
        }
        mux_args(&mut args);
        self.mux.args(&mut args);
        args.done()
    }

    fn graph(&self) -> String {
        let (width, height) = self.size;
        let (rate, seconds) = (self.rate.fraction(), self.transition.seconds());
        let frames = self.rate.frames_in_micros(self.transition.micros());
        // The filter fps drops the last frame, whose length nothing tells: so a few more stand behind it.
        let picture = |input: usize| {
            format!(
                "[{input}:v:0]tpad=stop_mode=clone:stop=3,fps={rate}:start_time={START_SECONDS},trim=end_frame={frames},\
                 setpts=PTS-STARTPTS,scale={width}:{height}:flags=bicubic,setsar=1[v{input}]"
            )
        };
        let drawn = match self.transition.kind().drawn {
            Drawn::ByXfade => self.transition.kind().name.to_owned(),
            Drawn::ByExpression(expression) => format!("custom:expr='{expression}'"),
        };
        let mut graph = format!(
            "{};{};[v0][v1]xfade=transition={drawn}:duration={seconds}:offset=0,\
             format=yuv420p,settb=1/90000,setpts=PTS+{START_90K}[v]",
            picture(0),
            picture(1)
        );
        if let Some(sound) = self.sound {
            graph.push_str(&sound.graph(&seconds));
        }
        graph
    }

    pub fn expected(&self) -> Expected {
        let frames = self.rate.frames_in_micros(self.transition.micros()) as u64;
        Expected { frames: Some(frames), may_miss: self.has_holes, ..Expected::default() }
    }

    /// Checks an output, as ffmpeg gave it.
    pub fn check(&self, output: Scan) -> Result<(), CutError> {
        let came = output.finish().ok().and_then(|output| output.video).map_or(0, |track| track.all_pts().count());
        let expected = self.rate.frames_in_micros(self.transition.micros());
        let is_right = came == expected || (self.has_holes && came < expected);
        if is_right { Ok(()) } else { Err(CutError::Inexact { segment: self.segment.path_text(), expected, came }) }
    }
}

impl Sound {
    fn new(out: &Model, into: &Model) -> Result<Option<Self>, &'static str> {
        let Some((encoder, sample_rate_hz)) = Self::of(out)?.map_or_else(|| Self::of(into), |sound| Ok(Some(sound)))?
        else {
            return Ok(None);
        };
        let has_any = |model: &Model| !model.summary.audio.is_empty();
        Ok(Some(Self { encoder, sample_rate_hz, out: has_any(out), into: has_any(into) }))
    }

    /// The encoder and the sample rate for sound like that of a file, if it has any.
    pub fn of(model: &Model) -> Result<Option<(&'static str, u32)>, &'static str> {
        let Some(track) = model.summary.audio.first() else { return Ok(None) };
        let encoder = match track.codec {
            Codec::Audio(AudioCoding::AacAdts) => "-c:a aac",
            Codec::Audio(AudioCoding::Mpeg) => "-c:a mp2",
            Codec::Audio(AudioCoding::Ac3) => "-c:a ac3",
            Codec::Audio(AudioCoding::Eac3) => "-c:a eac3",
            Codec::Audio(AudioCoding::AacLatm | AudioCoding::Opus | AudioCoding::Other)
            | Codec::H264
            | Codec::Hevc
            | Codec::OtherVideo(_)
            | Codec::Other => return Err("its sound is in a codec that is not written here"),
        };
        let rate = model.encoding.audio.first().and_then(|audio| audio.sample_rate_hz);
        Ok(Some((encoder, rate.unwrap_or(USUAL_SAMPLE_RATE_HZ))))
    }

    /// Equal power: the loudness stays where the two have nothing in common.
    fn graph(self, seconds: &str) -> String {
        let Self { sample_rate_hz, .. } = self;
        let side = |input: usize, way: &str| {
            format!(
                ";[{input}:a:0]asetpts=PTS-{START_SECONDS}/TB,aresample={sample_rate_hz}:async=1000:first_pts=0,\
                 afade=t={way}:st=0:d={seconds}:curve=qsin[a{input}]"
            )
        };
        let (sides, joined) = match (self.out, self.into) {
            (true, true) => (
                side(0, "out") + &side(1, "in"),
                "[a0][a1]amix=inputs=2:duration=longest:dropout_transition=0:normalize=0,",
            ),
            (true, false) => (side(0, "out"), "[a0]"),
            (false, _) => (side(1, "in"), "[a1]"),
        };
        format!("{sides};{joined}atrim=end={seconds},asetpts=PTS+{START_SECONDS}/TB[a]")
    }
}

impl Look {
    fn size(self, width: u32, height: u32) -> (u32, u32) {
        let even = |pixels: u32| (pixels & !1).max(2);
        match self {
            Self::Preview if height > PREVIEW_HEIGHT => (even(width * PREVIEW_HEIGHT / height), PREVIEW_HEIGHT),
            Self::Full | Self::Preview => (even(width), even(height)),
        }
    }
}
