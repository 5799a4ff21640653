//! The streams that the matrix cuts: reels whose frames carry their number as a bar code, of every shape that sources have.

use std::process::Command;
use std::time::Duration;

use segvault::rehearsal::{FrameRate, ReelSpec, Rendition};

use super::matrix_judge::{Packet, packets_of};
use super::{Source, empty_record, file, run};
use crate::support::{quality, reel};

/// The hour changes in the middle, as all sources of these tests start six seconds before it.
pub const SECONDS: u64 = 12;
/// 2^33 / 90,000 s, less seven: stamps wrap a second after the hour does.
const BEFORE_WRAP: Duration = Duration::from_micros(95_436_717_688);

/// What becomes of a reel before it is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    AsItIs,
    /// Frames follow each other after 16.7 or 44.5 ms.
    Varying,
    SoundAlone,
}

#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub rate: FrameRate,
    pub b_frames: u32,
    pub open_gop: bool,
    /// `None`: as long as a segment, which is two seconds.
    pub gop_frames: Option<u32>,
    pub audio_rate_hz: u32,
    pub wraps: bool,
    pub turned: Turned,
}

const PLAIN: Kind = Kind {
    name: "30 fps, B-frames",
    rate: FrameRate::FPS_30,
    b_frames: 2,
    open_gop: false,
    gop_frames: None,
    audio_rate_hz: 48_000,
    wraps: false,
    turned: Turned::AsItIs,
};

pub const KINDS: [Kind; 14] = [
    PLAIN,
    Kind {
        name: "25 fps, 3 B-frames, GOP 1 s, 44.1 kHz",
        rate: FrameRate::FPS_25,
        b_frames: 3,
        gop_frames: Some(25),
        audio_rate_hz: 44_100,
        ..PLAIN
    },
    Kind { name: "29.97 fps, wrap", rate: FrameRate::NTSC, wraps: true, ..PLAIN },
    Kind { name: "varying, B-frames", turned: Turned::Varying, ..PLAIN },
    Kind { name: "30 fps, open GOP", open_gop: true, ..PLAIN },
    Kind { name: "sound alone, 44.1 kHz", audio_rate_hz: 44_100, turned: Turned::SoundAlone, ..PLAIN },
    Kind { name: "60 fps, no B-frames, GOP 1 s", rate: FrameRate::FPS_60, b_frames: 0, gop_frames: Some(60), ..PLAIN },
    Kind { name: "50 fps, B-frames, 44.1 kHz", rate: FrameRate::FPS_50, audio_rate_hz: 44_100, ..PLAIN },
    Kind {
        name: "25 fps, 3 B-frames, open GOP, wrap, 44.1 kHz",
        rate: FrameRate::FPS_25,
        b_frames: 3,
        open_gop: true,
        wraps: true,
        audio_rate_hz: 44_100,
        ..PLAIN
    },
    Kind {
        name: "29.97 fps, no B-frames, 44.1 kHz",
        rate: FrameRate::NTSC,
        b_frames: 0,
        audio_rate_hz: 44_100,
        ..PLAIN
    },
    Kind {
        name: "varying, no B-frames, 44.1 kHz",
        b_frames: 0,
        audio_rate_hz: 44_100,
        turned: Turned::Varying,
        ..PLAIN
    },
    Kind { name: "60 fps, 3 B-frames, open GOP", rate: FrameRate::FPS_60, b_frames: 3, open_gop: true, ..PLAIN },
    Kind { name: "sound alone, wrap", wraps: true, turned: Turned::SoundAlone, ..PLAIN },
    Kind { name: "50 fps, one B-frame, wrap", rate: FrameRate::FPS_50, b_frames: 1, wraps: true, ..PLAIN },
];

impl Kind {
    pub fn has_pictures(&self) -> bool {
        self.turned != Turned::SoundAlone
    }

    /// Frames from one key frame to the next.
    pub fn gop(&self) -> usize {
        self.gop_frames.map_or(self.spec().segment_frames() as usize, |frames| frames as usize)
    }

    fn spec(&self) -> ReelSpec {
        ReelSpec {
            renditions: vec![Rendition::new(quality("source"), 320, 180, 600_000)],
            frame_rate: self.rate,
            gop_frames: self.gop_frames,
            open_gop: self.open_gop,
            b_frames: self.b_frames,
            audio_rate_hz: self.audio_rate_hz,
            start_pts: if self.wraps { BEFORE_WRAP } else { ReelSpec::default().start_pts },
            ..ReelSpec::default()
        }
    }

    pub fn film(&self) -> Film {
        let reel = reel(&self.spec(), SECONDS);
        let read = |path| std::fs::read(path).unwrap();
        let whole: Vec<Vec<u8>> = reel.tracks()[0].segments.iter().map(|segment| read(&segment.path)).collect();
        let contents = match self.turned {
            Turned::AsItIs => whole,
            Turned::Varying => split_again(
                &whole.concat(),
                r"-c copy -bsf:v setts=pts=PTS+mod(floor(PTS/3000+0.5)*7\,5)*500:dts=DTS",
                2,
            ),
            Turned::SoundAlone => split_again(&whole.concat(), "-map 0:a -c copy", 2),
        };
        Film::of(contents, self.turned == Turned::SoundAlone)
    }
}

/// Passes a stream through ffmpeg and cuts what comes into segments of so many seconds.
pub fn split_again(stream: &[u8], words: &str, seconds: u32) -> Vec<Vec<u8>> {
    let made = tempfile::tempdir().unwrap();
    // A file, as an MP4 may have its index at the end.
    let source = made.path().join("source");
    std::fs::write(&source, stream).unwrap();
    let mut command = Command::new("ffmpeg");
    command.current_dir(&made).args("-nostdin -v error -copyts -i source".split(' ')).args(words.split(' '));
    let length = f64::from(seconds) - 0.01;
    command.args(["-f", "hls", "-hls_time", &length.to_string()]);
    command.args("-hls_list_size 0 -hls_segment_filename %05d.ts list.m3u8".split(' '));
    run(&mut command, &[]);
    let list = std::fs::read_to_string(made.path().join("list.m3u8")).unwrap();
    let files = list.lines().filter(|line| !line.starts_with('#'));
    files.map(|name| std::fs::read(made.path().join(name)).unwrap()).collect()
}

/// A record on disk, and every packet in it.
pub struct Film {
    pub source: Source,
    /// Its segments, joined.
    pub stream: Vec<u8>,
    /// In the order of presentation.
    pub video: Vec<Packet>,
    pub audio: Vec<Packet>,
}

impl Film {
    pub fn of(contents: Vec<Vec<u8>>, sound_alone: bool) -> Self {
        let stream = contents.concat();
        let (mut video, audio) = packets_of(&stream);
        video.sort_by_key(|packet| packet.pts);
        let mut pts: Vec<Vec<i64>> = Vec::new();
        for content in &contents {
            let (video, audio) = packets_of(content);
            let mut stamps: Vec<i64> =
                if sound_alone { audio } else { video }.iter().map(|packet| packet.pts).collect();
            stamps.sort_unstable();
            pts.push(stamps);
        }
        let last = &pts[pts.len() - 1];
        let frame_90k = last[last.len() - 1] - last[last.len() - 2];
        let dir = tempfile::tempdir().unwrap();
        let record = empty_record(&dir);
        Self { source: file(dir, record, &contents, pts, frame_90k), stream, video, audio }
    }
}
