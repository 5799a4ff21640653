//! How the video of a trimmed file is made.

use super::{Bounds, trim_filter};
use crate::cut::CutError;
use crate::cut::args::Args;
use crate::cut::piece::{Look, PREVIEW_HEIGHT};
use crate::media::mpegts::{Codec, Pid, Track};
use crate::model::SegmentName;

/// Pixels that are wider by less than anybody sees: half a pixel in 10,000. A picture that starts an open GOP does not say to a
/// decoder that everything starts anew, as an IDR picture does; numbers and order of pictures from before would go on, and
/// ffmpeg's decoder would take some of the next ones for late and drop them. That another format begins makes it start anew.
const ODD_ASPECT: &str = ",setsar=sar*20001/20000:max=65535";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cut) struct VideoJob {
    pub(super) pid: Pid,
    pub(super) encoder: Encoder,
    decoded: Decoded,
    look: Look,
    /// The PTS of the frames that must come out, sorted.
    pub(super) wanted: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cut) enum Encoder {
    X264,
    X265,
    /// None: the packets stay as they are.
    Copy,
}

/// When frames are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cut) enum Decoded {
    /// Each so long before it is shown. Copied ones: when they were.
    Before(i64),
    /// The first ones at these times, the others when they were. What comes next is no IDR picture, nor what the frames before it
    /// lead up to.
    At(Vec<i64>),
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
        let decoded = Decoded::Before(delay_to_neighbours(track, bounds));
        Self { pid: track.pid, encoder, decoded, look: Look::Full, wanted }
    }

    /// For a preview, frames are small and encoded as fast as can be; nothing else looks at them.
    pub fn looked_at(self, look: Look) -> Self {
        Self { look, ..self }
    }

    pub fn decoded(self, decoded: Decoded) -> Self {
        Self { decoded, ..self }
    }

    pub(super) fn shift(&mut self, shift_90k: i64) {
        let decoded = match &mut self.decoded {
            Decoded::Before(_) => &mut Vec::new(),
            Decoded::At(times) => times,
        };
        self.wanted.iter_mut().chain(decoded).for_each(|stamp| *stamp += shift_90k);
    }

    /// ffmpeg's arguments. Frames come out up to `until`.
    pub(super) fn args(&self, until: Option<i64>, args: &mut Args) {
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
        let smaller = match self.look {
            Look::Full => String::new(),
            Look::Preview => format!(",scale=-2:min({PREVIEW_HEIGHT}\\,ih):flags=fast_bilinear,format=yuv420p"),
        };
        let filter = format!("{}{odd_aspect}{smaller}", trim_filter(wanted));
        args.option("-filter:v", filter).words("-fps_mode passthrough -enc_time_base 1:90000");
        match self.look {
            // Visually lossless, and several times real time on one core.
            Look::Full => args.words(encoder).words("-preset veryfast -crf 18"),
            Look::Preview => args.words("-c:v libx264 -bf 0 -x264-params force-cfr=1 -preset ultrafast -crf 18"),
        };
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
