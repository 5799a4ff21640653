//! How a cut is encoded that is encoded as a whole: what may be said of it, in types of our own. Nothing else reaches ffmpeg.

use std::fmt;
use std::str::FromStr;

/// What is `None` is as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FullEncode {
    pub codec: Option<FullCodec>,
    pub preset: Option<EncoderPreset>,
    /// The encoder's own scale of how much may be lost.
    pub crf: Option<u32>,
    /// kbit/s that the pictures may take, over a few seconds.
    pub max_kbps: Option<u32>,
    /// kbit/s.
    pub audio_kbps: Option<u32>,
}

/// What a cut of type mpegts may be encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullCodec {
    H264,
    Hevc,
}

/// How long the encoders of H.264 and HEVC look for a smaller file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderPreset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
}

impl FullCodec {
    pub const ALL: [Self; 2] = [Self::H264, Self::Hevc];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
        }
    }
}

impl EncoderPreset {
    pub const ALL: [Self; 9] = [
        Self::Ultrafast,
        Self::Superfast,
        Self::Veryfast,
        Self::Faster,
        Self::Fast,
        Self::Medium,
        Self::Slow,
        Self::Slower,
        Self::Veryslow,
    ];

    /// As the encoders name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
            Self::Slower => "slower",
            Self::Veryslow => "veryslow",
        }
    }
}

/// No codec or preset of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is none of this name")]
pub struct UnknownEncode;

impl FromStr for FullCodec {
    type Err = UnknownEncode;

    fn from_str(text: &str) -> Result<Self, UnknownEncode> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == text).ok_or(UnknownEncode)
    }
}

impl FromStr for EncoderPreset {
    type Err = UnknownEncode;

    fn from_str(text: &str) -> Result<Self, UnknownEncode> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == text).ok_or(UnknownEncode)
    }
}

impl fmt::Display for FullCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for EncoderPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
