//! What video to make: the knobs of a reel.
//!
//! Promises: a checked spec is one that ffmpeg can encode with every segment starting at a key frame.
//! Never: runs anything.

use std::time::Duration;

use super::RehearsalError;
use crate::model::Quality;

const MICROS_PER_SECOND: u128 = 1_000_000;
/// ffmpeg's MPEG-TS muxer puts the first DTS at least this late (twice its default `muxdelay` of 0.7 s).
const TS_MUX_DELAY: Duration = Duration::from_millis(1400);
/// Below this the bar code's cells are too narrow to survive encoding.
const MIN_WIDTH: u32 = 160;
const MIN_HEIGHT: u32 = 90;

/// Frames per second, as a fraction, because 29.97 is none that a decimal can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    pub numerator: u32,
    pub denominator: u32,
}

impl FrameRate {
    pub const FPS_25: Self = Self { numerator: 25, denominator: 1 };
    pub const FPS_30: Self = Self { numerator: 30, denominator: 1 };
    pub const FPS_50: Self = Self { numerator: 50, denominator: 1 };
    pub const FPS_60: Self = Self { numerator: 60, denominator: 1 };
    /// 29.97.
    pub const NTSC: Self = Self { numerator: 30_000, denominator: 1001 };

    /// When frame `frame` is shown, in µs after the origin; cut to whole microseconds, so that
    /// `first_frame_at(start_micros(n))` is `n`.
    pub fn start_micros(self, frame: u64) -> i64 {
        let micros = u128::from(frame) * MICROS_PER_SECOND * u128::from(self.denominator) / u128::from(self.numerator);
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// The first frame that is shown at `micros` after the origin or later: the one that a cut at this time begins
    /// with (FORMATS §1).
    pub fn first_frame_at(self, micros: i64) -> u64 {
        let scaled = u128::from(micros.max(0).unsigned_abs()) * u128::from(self.numerator);
        scaled.div_ceil(MICROS_PER_SECOND * u128::from(self.denominator)) as u64
    }

    /// The frame whose time is closest to `micros` after the origin.
    pub(super) fn nearest_frame(self, micros: i64) -> u64 {
        let scaled = u128::from(micros.max(0).unsigned_abs()) * u128::from(self.numerator);
        let unit = MICROS_PER_SECOND * u128::from(self.denominator);
        ((scaled + unit / 2) / unit) as u64
    }
}

/// How segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    MpegTs,
    /// CMAF: an initialisation section, and segments that need it.
    FragmentedMp4,
}

impl Container {
    pub const fn extension(self) -> &'static str {
        match self {
            Self::MpegTs => "ts",
            Self::FragmentedMp4 => "m4s",
        }
    }
}

/// One size of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    pub quality: Quality,
    /// In pixels; even.
    pub width: u32,
    pub height: u32,
    /// Of the video alone.
    pub bits_per_second: u32,
    /// Keeps only each frame whose number is a multiple of this (1 keeps all): 2 makes 30 out of 60 frames a second,
    /// and the numbers still mean the same times.
    pub frame_step: u32,
}

impl Rendition {
    /// A rendition with every frame.
    pub fn new(quality: Quality, width: u32, height: u32, bits_per_second: u32) -> Self {
        Self { quality, width, height, bits_per_second, frame_step: 1 }
    }
}

/// What a reel shows and how it is encoded (H.264 and AAC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReelSpec {
    /// Best first.
    pub renditions: Vec<Rendition>,
    pub frame_rate: FrameRate,
    /// Wished length of a segment; in truth the nearest whole number of frames.
    pub segment: Duration,
    /// Frames of the full rate from one key frame to the next; `None` for one GOP in each segment.
    pub gop_frames: Option<u32>,
    /// Lets the B-frames before a key frame refer to the GOP before it, so that a segment cannot be decoded alone.
    /// A segment's time stays that of its key frame; two such frames come before it in presentation order.
    pub open_gop: bool,
    /// Successive B-frames, 0 to 3; from 2 on they form a pyramid and pictures are reordered by 2 frames.
    pub b_frames: u32,
    /// 44,100 or 48,000, as AAC encoders are used.
    pub audio_rate_hz: u32,
    /// PTS of frame 0. MPEG-TS wraps around at 26.5 h (2^33 / 90,000 s).
    pub start_pts: Duration,
    pub container: Container,
}

impl Default for ReelSpec {
    /// 30 frames a second, `source` (640x360) and `180p` (320x180), segments and GOPs of 2 s, MPEG-TS.
    fn default() -> Self {
        let quality = |name: &str| name.parse::<Quality>().expect("a plain word is a name");
        Self {
            renditions: vec![
                Rendition::new(quality("source"), 640, 360, 800_000),
                Rendition::new(quality("180p"), 320, 180, 300_000),
            ],
            frame_rate: FrameRate::FPS_30,
            segment: Duration::from_secs(2),
            gop_frames: None,
            open_gop: false,
            b_frames: 2,
            audio_rate_hz: 48_000,
            start_pts: Duration::from_secs(10),
            container: Container::MpegTs,
        }
    }
}

impl ReelSpec {
    /// Frames of the full rate in a segment.
    pub fn segment_frames(&self) -> u64 {
        self.frame_rate.nearest_frame(micros(self.segment)).max(1)
    }

    /// Frames of the full rate from one key frame to the next.
    pub(super) fn gop(&self) -> u64 {
        self.gop_frames.map_or_else(|| self.segment_frames(), u64::from)
    }

    /// What ffmpeg must be told to add to its timestamps, so that frame 0 gets `start_pts`.
    pub(super) fn timestamp_offset(&self) -> Duration {
        match self.container {
            Container::MpegTs => self.start_pts - TS_MUX_DELAY,
            Container::FragmentedMp4 => self.start_pts,
        }
    }

    /// Refuses what cannot be encoded.
    pub(super) fn check(&self) -> Result<(), RehearsalError> {
        let first = self.renditions.first().ok_or(RehearsalError::Spec("it has no renditions"))?;
        let wrong = if self.frame_rate.numerator == 0 || self.frame_rate.denominator == 0 {
            "a frame rate is a fraction of two positive numbers"
        } else if self.segment.is_zero() || self.segment > Duration::from_secs(60) {
            "a segment is longer than nothing and at most 60 s"
        } else if self.gop_frames == Some(0) {
            "a GOP has at least one frame"
        } else if self.b_frames > 3 {
            "there are at most 3 B-frames in a row"
        } else if !matches!(self.audio_rate_hz, 44_100 | 48_000) {
            "the audio rate is 44100 or 48000"
        } else if self.start_pts < Duration::from_secs(2) {
            // The muxer's delay, the reordering of pictures and the priming of AAC all lie before frame 0.
            "the first PTS is at 2 s or later"
        } else if self.renditions.iter().any(|r| r.width > first.width || r.height > first.height) {
            "the first rendition is the largest"
        } else {
            return self.renditions.iter().enumerate().try_for_each(|(at, _)| self.check_rendition(at));
        };
        Err(RehearsalError::Spec(wrong))
    }

    fn check_rendition(&self, at: usize) -> Result<(), RehearsalError> {
        let rendition = &self.renditions[at];
        let step = u64::from(rendition.frame_step);
        let wrong = if self.renditions[..at].iter().any(|other| other.quality == rendition.quality) {
            "two renditions have the same name"
        } else if rendition.width < MIN_WIDTH || rendition.height < MIN_HEIGHT {
            "a rendition is at least 160x90, or its bar code cannot be read"
        } else if !rendition.width.is_multiple_of(2) || !rendition.height.is_multiple_of(2) {
            "width and height are even"
        } else if rendition.bits_per_second < 50_000 {
            "a rendition has at least 50,000 bits a second, or its bar code cannot be read"
        } else if step == 0 || !self.gop().is_multiple_of(step) || !self.segment_frames().is_multiple_of(step) {
            "a frame step divides the frames of a GOP and of a segment"
        } else {
            return Ok(());
        };
        Err(RehearsalError::Spec(wrong))
    }
}

/// Whole microseconds of a duration.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_times_agree() {
        for rate in [FrameRate::FPS_25, FrameRate::FPS_30, FrameRate::NTSC, FrameRate::FPS_50, FrameRate::FPS_60] {
            for frame in (0..2000).chain(16_000_000..16_000_100) {
                let start = rate.start_micros(frame);
                assert_eq!(rate.first_frame_at(start), frame, "{rate:?}");
                assert_eq!(rate.first_frame_at(start + 2), frame + 1, "{rate:?}");
                assert_eq!(rate.nearest_frame(start + 7000), frame, "{rate:?}");
            }
        }
        assert_eq!(FrameRate::NTSC.start_micros(60), 2_002_000);
        assert_eq!(FrameRate::FPS_30.first_frame_at(-5), 0);
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        type Spoil = fn(&mut ReelSpec);
        let spoilt: [(Spoil, &str); 9] = [
            (|s| s.renditions.clear(), "no renditions"),
            (|s| s.frame_rate.denominator = 0, "frame rate"),
            (|s| s.segment = Duration::ZERO, "segment"),
            (|s| s.gop_frames = Some(0), "GOP"),
            (|s| s.audio_rate_hz = 1, "audio rate"),
            (|s| s.start_pts = Duration::ZERO, "first PTS"),
            (|s| s.renditions[1].width = 321, "even"),
            (|s| s.renditions[1].frame_step = 7, "frame step"),
            (|s| s.renditions[1].quality = s.renditions[0].quality.clone(), "same name"),
        ];
        assert!(ReelSpec::default().check().is_ok());
        for (spoil, why) in spoilt {
            let mut spec = ReelSpec::default();
            spoil(&mut spec);
            let error = spec.check().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
