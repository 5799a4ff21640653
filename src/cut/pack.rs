//! What becomes of the transport stream of a cut on its way out: nothing, another container, or another encoding.
//!
//! Promises: what is written can be read while it is written; only `Faststart` needs a file that can be sought in.

use std::ffi::OsString;
use std::path::Path;

use super::args::Args;
use crate::media::mpegts::{AudioCoding, Codec, Track};
use crate::model::{CutType, EncoderPreset, FullCodec, FullEncode};

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
    pub fn chain(self, audio: &[Track], encode: FullEncode) -> Vec<Vec<OsString>> {
        match self {
            Self::Mp4 => vec![mp4_args(first_of(audio))],
            // Of no chain: `faststart_args`.
            Self::Faststart => Vec::new(),
            // Matroska wants to know of AAC what MPEG-TS tells only frame by frame, and MP4 once and for all.
            Self::Matroska => vec![mp4_args(audio), fixed("-f mp4 -i - -map 0 -c copy -f matroska -")],
            Self::Mpegts => vec![mpegts_args(encode)],
            Self::Webm => vec![webm_args(encode)],
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

fn mpegts_args(encode: FullEncode) -> Vec<OsString> {
    let mut args = encoder_args();
    args.words(match encode.codec.unwrap_or(FullCodec::H264) {
        FullCodec::H264 => "-c:v libx264 -x264-params force-cfr=1",
        FullCodec::Hevc => "-c:v libx265 -x265-params log-level=error",
    });
    args.option("-preset", encode.preset.unwrap_or(EncoderPreset::Veryfast).to_string());
    args.option("-crf", encode.crf.unwrap_or(18).to_string());
    if let Some(kbps) = encode.max_kbps {
        // Over two seconds.
        args.option("-maxrate", format!("{kbps}k")).option("-bufsize", format!("{}k", kbps * 2));
    }
    args.words("-pix_fmt yuv420p -c:a aac").option("-b:a", format!("{}k", encode.audio_kbps.unwrap_or(192)));
    args.words("-f mpegts -");
    args.done()
}

fn webm_args(encode: FullEncode) -> Vec<OsString> {
    let mut args = encoder_args();
    // The fastest that the encoder has: slower ones fall behind real time on two cores.
    args.words("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1");
    args.option("-crf", encode.crf.unwrap_or(24).to_string());
    // Without a bound, the quality decides alone; with one, it gives way.
    args.option("-b:v", encode.max_kbps.map_or_else(|| "0".to_owned(), |kbps| format!("{kbps}k")));
    args.words("-pix_fmt yuv420p -c:a libopus").option("-b:a", format!("{}k", encode.audio_kbps.unwrap_or(128)));
    args.words("-f webm -");
    args.done()
}

/// No frame is doubled or dropped to make the rate constant.
fn encoder_args() -> Args {
    let mut args = Args::default();
    args.words("-f mpegts -i - -map 0:v:0? -map 0:a:0? -fps_mode passthrough -enc_time_base:v 1:90000");
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(args: Vec<OsString>) -> String {
        args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_not_said_is_encoded_as_usual() {
        let usual = FullEncode::default();
        let mpegts = said(mpegts_args(usual));
        assert!(mpegts.contains("-c:v libx264 -x264-params force-cfr=1 -preset veryfast -crf 18 -pix_fmt"), "{mpegts}");
        assert!(mpegts.ends_with("-c:a aac -b:a 192k -f mpegts -"), "{mpegts}");
        let webm = said(webm_args(usual));
        assert!(webm.contains("-row-mt 1 -crf 24 -b:v 0 -pix_fmt yuv420p -c:a libopus -b:a 128k"), "{webm}");
    }

    #[test]
    fn what_is_said_replaces_what_is_usual() {
        let encode = FullEncode {
            codec: Some(FullCodec::Hevc),
            preset: Some(EncoderPreset::Medium),
            crf: None,
            max_kbps: Some(6000),
            audio_kbps: Some(320),
        };
        let mpegts = said(mpegts_args(encode));
        assert!(mpegts.contains("libx265") && mpegts.contains("-preset medium -crf 18 -maxrate 6000k"), "{mpegts}");
        assert!(mpegts.contains("-bufsize 12000k") && mpegts.contains("-b:a 320k"), "{mpegts}");
        let webm = said(webm_args(FullEncode { crf: Some(40), ..encode }));
        assert!(webm.contains("-crf 40 -b:v 6000k") && webm.contains("-b:a 320k"), "{webm}");
    }
}
