//! Re-encodes a stretch of the source whose encoding is another, to be like the rest of the cut.
//!
//! Promises: frame times come out as they went in, to the tick, and are checked when they come out; size, codec, PIDs, sample
//! rate and channels are the cut's. A picture of another shape gets bars.
//! Never: reads the disk.

use std::ffi::OsString;
use std::sync::Arc;

use super::CutError;
use super::args::Args;
use super::blend::{Model, Sound};
use super::check::{Expected, SOLE_FRAME_90K};
use super::mux::{Mux, mux_args};
use super::plan::ticks_of_micros;
use super::trim::{Bounds, has_sound_at, shift_for, trim_filter};
use crate::media::mpegts::{Codec, Pid, Scan, Summary};
use crate::model::{SegmentKind, SegmentName, Timestamp};

/// What the rest of the cut is like.
#[derive(Debug)]
pub(super) struct Like {
    encoder: &'static str,
    /// In pixels.
    size: (u32, u32),
    /// How long before it is shown the rest's first frame is decoded: then decoding times rise over the joins.
    delay_90k: i64,
    sound: Option<LikeSound>,
    mux: Mux,
}

#[derive(Debug, Clone, Copy)]
struct LikeSound {
    encoder: &'static str,
    sample_rate_hz: u32,
    channels: Option<u8>,
}

impl Like {
    pub fn new(model: Model) -> Result<Self, CutError> {
        let unlike = |why| CutError::Unlike { segment: model.segment.path_text(), why };
        let video = model.summary.video.as_ref().ok_or_else(|| unlike("there is no video"))?;
        let shown = model.encoding.video.as_ref().ok_or_else(|| unlike("its size is unknown"))?;
        let encoder = match video.codec {
            Codec::H264 => "-c:v libx264 -bf 0 -x264-params force-cfr=1",
            Codec::Hevc => "-c:v libx265 -x265-params bframes=0:log-level=error",
            Codec::OtherVideo(_) | Codec::Audio(_) | Codec::Other => return Err(unlike("its codec is another")),
        };
        let sound = match Sound::of(&model).map_err(unlike)? {
            None => None,
            Some((encoder, sample_rate_hz)) => {
                let channels = model.encoding.audio.first().and_then(|audio| audio.channels);
                Some(LikeSound { encoder, sample_rate_hz, channels })
            }
        };
        let audio = model.summary.audio.first().map(|track| track.pid);
        Ok(Self {
            encoder,
            size: (shown.width, shown.height),
            delay_90k: (video.lowest_pts() - video.lowest_dts()).max(0),
            sound,
            mux: Mux {
                program: model.summary.program.clone(),
                pcr_lead_90k: model.summary.pcr_lead_90k(),
                pids: std::iter::once(video.pid).chain(audio).collect(),
            },
        })
    }
}

/// How some files are converted. All stamps are those that ffmpeg sees.
#[derive(Debug)]
pub(super) struct ConvertJob {
    like: Arc<Like>,
    segment: SegmentName,
    /// What is added to the files' stamps to make those that ffmpeg sees.
    shift_90k: i64,
    video: Pid,
    audio: Option<Pid>,
    /// The PTS of the frames that must come out, sorted; never empty.
    wanted: Vec<i64>,
    until: Option<i64>,
    sound_from: i64,
    /// Where the last frame ends: what comes next has its own sound from there on.
    sound_until: i64,
    may_miss: bool,
    expected: Expected,
}

impl ConvertJob {
    /// Decides how to show of these files, measured as one, what lies at ≥ `from` and < `until`. `None` if no frame does.
    pub fn new(
        segments: &[SegmentName],
        summary: &Summary,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
        like: Arc<Like>,
    ) -> Result<Option<Self>, CutError> {
        let first = segments.first().expect("a step has a file");
        let video = summary
            .video
            .as_ref()
            .ok_or_else(|| CutError::Unlike { segment: first.path_text(), why: "there is no video" })?;
        let shift_90k = shift_for(summary);
        // The time of a segment is that of its first frame in presentation order (FORMATS §1).
        let seen =
            |moment: Timestamp| video.lowest_pts() + shift_90k + ticks_of_micros(moment.micros_since(first.start()));
        let bounds = Bounds { from: from.map(seen), until: until.map(seen) };
        let mut wanted: Vec<i64> =
            video.all_pts().map(|pts| pts + shift_90k).filter(|pts| bounds.contain(*pts)).collect();
        wanted.sort_unstable();
        let Some(first_wanted) = wanted.first().copied() else { return Ok(None) };
        let sound_from = bounds.from.unwrap_or(first_wanted);
        let last_step = wanted.windows(2).last().map_or(SOLE_FRAME_90K, |pair| pair[1] - pair[0]);
        let sound_until = bounds.until.unwrap_or(wanted[wanted.len() - 1] + last_step);
        let audio = like.sound.and(summary.audio.first());
        let is_heard = audio.is_some_and(|track| has_sound_at(track, sound_from - shift_90k));
        let may_miss = segments.iter().any(|segment| segment.kind() != SegmentKind::Full);
        let expected = Expected {
            frames: Some(wanted.len() as u64),
            may_miss,
            sound_start_90k: (is_heard && !may_miss).then_some(sound_from - first_wanted),
            sound_end_90k: None,
        };
        Ok(Some(Self {
            segment: first.clone(),
            shift_90k,
            video: video.pid,
            audio: audio.map(|track| track.pid),
            wanted,
            until: bounds.until,
            sound_from,
            sound_until,
            may_miss,
            expected,
            like,
        }))
    }

    pub fn shift_90k(&self) -> i64 {
        self.shift_90k
    }

    /// The first PTS that comes out, as the files have it.
    pub fn first_pts(&self) -> i64 {
        self.wanted[0] - self.shift_90k
    }

    pub fn expected(&self) -> Expected {
        self.expected
    }

    /// ffmpeg's arguments: MPEG-TS in on standard input, out on standard output.
    pub fn args(&self) -> Vec<OsString> {
        let like = &self.like;
        let mut args = Args::default();
        args.words("-copyts -f mpegts -i -").option("-map", format!("0:i:{}", self.video));
        if let Some(audio) = self.audio {
            args.option("-map", format!("0:i:{audio}"));
        }
        let (width, height) = like.size;
        let wanted = trim_filter(Bounds { from: Some(self.wanted[0]), until: self.until });
        let shape = format!(
            "scale={width}:{height}:force_original_aspect_ratio=decrease:flags=bicubic,\
             pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p"
        );
        args.option("-filter:v", format!("{wanted},{shape}"));
        args.words("-fps_mode passthrough -enc_time_base:v 1:90000").words(like.encoder);
        args.words("-preset veryfast -crf 18").option("-bsf:v", format!("setts=dts=PTS-{}", like.delay_90k));
        if let (Some(sound), Some(_)) = (like.sound, self.audio) {
            let seconds = |pts: i64| format!("{:.6}", pts as f64 / 90_000.0);
            let (start, end) = (seconds(self.sound_from), seconds(self.sound_until));
            args.option("-filter:a", format!("aresample=async=1000,atrim=start={start}:end={end}"));
            args.words(sound.encoder).words("-b:a 192k").option("-ar", sound.sample_rate_hz.to_string());
            if let Some(channels) = sound.channels {
                args.option("-ac", channels.to_string());
            }
            // What an encoder puts before its first sample would lie over the sound of the part before.
            args.option("-bsf:a", format!("noise=drop=lt(pts*tb\\,{})", seconds(self.sound_from - 90)));
        }
        mux_args(&mut args);
        like.mux.args(&mut args);
        args.done()
    }

    /// Checks an output, as ffmpeg gave it. From segments that are known to be damaged, frames may be missing; a frame that was
    /// not asked for may never be there.
    pub fn check(&self, output: Scan) -> Result<(), CutError> {
        let track = output.finish().ok().and_then(|output| output.video);
        let mut came: Vec<i64> = track.map_or(Vec::new(), |track| track.all_pts().collect());
        came.sort_unstable();
        let right = came.iter().filter(|pts| self.wanted.binary_search(pts).is_ok()).count();
        if came == self.wanted || (self.may_miss && right == came.len()) {
            return Ok(());
        }
        Err(CutError::Inexact { segment: self.segment.path_text(), expected: self.wanted.len(), came: right })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{CodecName, Container, Encoding, Video};
    use crate::model::SegmentHash;

    fn summary(name: &str) -> Summary {
        let mut scan = Scan::default();
        scan.push(&std::fs::read(format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"))).unwrap());
        scan.finish().unwrap()
    }

    fn at(micros: i64) -> Timestamp {
        "2026-01-02T03:00:00".parse::<Timestamp>().unwrap().plus_micros(micros)
    }

    fn segment() -> SegmentName {
        SegmentName::finished(at(0), 2_000_000, SegmentKind::Full, SegmentHash::from_bytes([0; 32]))
    }

    fn model(name: &str) -> Model {
        let video = Video { track: 256, codec: CodecName::new("avc1.64001f").unwrap(), width: 1280, height: 720 };
        let encoding = Encoding { container: Container::MpegTs, video: Some(video), audio: Vec::new() };
        Model { segment: segment(), summary: summary(name), encoding }
    }

    #[test]
    fn arguments_make_the_stretch_like_the_rest() {
        let like = Arc::new(Like::new(model("av_bf2")).unwrap());
        // 60 frames per second without B-frames become what has two.
        let job =
            ConvertJob::new(&[segment()], &summary("av_60fps"), (Some(at(500_000)), None), like).unwrap().unwrap();
        let text = job.args().join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        for part in [
            " -filter:v trim=start_pts=9045000,scale=1280:720:",
            "pad=1280:720:(ow-iw)/2:(oh-ih)/2,setsar=1,",
            " -bsf:v setts=dts=PTS-6000 ",
            " -c:a aac -b:a 192k -ar 48000 ",
            "atrim=start=100.500000:end=10",
            " -streamid 0:256 -streamid 1:257 -f mpegts -",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let refused = Like::new(model("mp2v"));
        assert!(matches!(refused, Err(CutError::Unlike { .. })), "{refused:?}");
        let like = Arc::new(Like::new(model("av_bf2")).unwrap());
        let nothing = ConvertJob::new(&[segment()], &summary("av_bf2"), (Some(at(1_990_000)), None), like).unwrap();
        assert!(nothing.is_none());
    }
}
