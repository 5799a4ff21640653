//! What becomes of the transport stream of a cut on its way out: nothing, another container, or another encoding.
//!
//! Promises: what is written can be read while it is written; only `Faststart` needs a file that can be sought in.

use std::ffi::OsString;
use std::path::Path;

use super::args::Args;
use crate::media::mpegts::{AudioCoding, Codec, Track};
use crate::model::CutType;

/// What a cut's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    MpegTs,
    Mp4,
    Webm,
    Matroska,
}

impl ContentType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MpegTs => "video/mp2t",
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Matroska => "video/x-matroska",
        }
    }
}

/// How a transport stream is repacked by an ffmpeg of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Mp4,
    Faststart,
    Mpegts,
    Webm,
    Matroska,
}

impl Packing {
    /// `None` where the bytes go out as they are.
    pub fn of(cut_type: CutType) -> Option<Self> {
        match cut_type {
            CutType::Smart | CutType::Rough => None,
            CutType::Mp4 => Some(Self::Mp4),
            CutType::Faststart => Some(Self::Faststart),
            CutType::Mpegts => Some(Self::Mpegts),
            CutType::Webm => Some(Self::Webm),
            CutType::Archive => Some(Self::Matroska),
        }
    }

    pub fn content_type(self) -> ContentType {
        match self {
            Self::Mp4 | Self::Faststart => ContentType::Mp4,
            Self::Mpegts => ContentType::MpegTs,
            Self::Webm => ContentType::Webm,
            Self::Matroska => ContentType::Matroska,
        }
    }

    /// The arguments of one ffmpeg after the other, each standard input to standard output; the first reads MPEG-TS with these
    /// audio streams.
    pub fn chain(self, audio: &[Track]) -> Vec<Vec<OsString>> {
        match self {
            Self::Mp4 => vec![mp4_args(first_of(audio))],
            // Of no chain: `faststart_args`.
            Self::Faststart => Vec::new(),
            // Matroska wants to know of AAC what MPEG-TS tells only frame by frame, and MP4 once and for all.
            Self::Matroska => vec![mp4_args(audio), fixed("-f mp4 -i - -map 0 -c copy -f matroska -")],
            Self::Mpegts => vec![encoder_args(
                "-c:v libx264 -preset veryfast -crf 18 -x264-params force-cfr=1 -pix_fmt yuv420p",
                "-c:a aac -b:a 192k -f mpegts -",
            )],
            // The fastest that the encoder has: slower ones fall behind real time on two cores.
            Self::Webm => vec![encoder_args(
                "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -crf 24 -b:v 0 -pix_fmt yuv420p",
                "-c:a libopus -b:a 128k -f webm -",
            )],
        }
    }
}

fn fixed(words: &'static str) -> Vec<OsString> {
    let mut args = Args::default();
    args.words(words);
    args.done()
}

/// As `Packing::chain`, but into a file that can be sought in.
pub(super) fn faststart_args(audio: &[Track], path: &Path) -> Vec<OsString> {
    let mut args = Args::default();
    mp4_streams(first_of(audio), &mut args);
    args.words("-movflags +faststart -f mp4 -y").path(path);
    args.done()
}

fn first_of(audio: &[Track]) -> &[Track] {
    audio.get(..1).unwrap_or_default()
}

fn mp4_args(audio: &[Track]) -> Vec<OsString> {
    let mut args = Args::default();
    mp4_streams(audio, &mut args);
    args.words("-movflags frag_keyframe+empty_moov+default_base_moof+delay_moov -f mp4 -");
    args.done()
}

/// Parameter sets stay in the samples too: those of a re-encoded edge differ from those of the source.
fn mp4_streams(audio: &[Track], args: &mut Args) {
    args.words("-f mpegts -i - -map 0:v:0? -c copy");
    for (at, track) in audio.iter().enumerate() {
        args.option("-map", format!("0:i:{}", track.pid));
        if track.codec == Codec::Audio(AudioCoding::AacAdts) {
            // The muxer would find out by itself, but only after its header has gone out.
            args.numbered("-bsf:a:", at, "aac_adtstoasc");
        }
    }
}

/// No frame is doubled or dropped to make the rate constant.
fn encoder_args(video: &'static str, audio: &'static str) -> Vec<OsString> {
    let mut args = Args::default();
    args.words("-f mpegts -i - -map 0:v:0? -map 0:a:0? -fps_mode passthrough -enc_time_base:v 1:90000");
    args.words(video).words(audio);
    args.done()
}
