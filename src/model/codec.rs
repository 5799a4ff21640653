//! The video codecs that a channel can be told to accept.

use std::fmt;
use std::str::FromStr;

/// How a variant's pictures are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    H264,
    Hevc,
    Av1,
}

/// A text that names no codec of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no video codec that we know")]
pub struct UnknownCodec;

impl VideoCodec {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
        }
    }

    /// Of an element of a playlist's CODECS (RFC 6381), such as `avc1.64002A`; `None` for other codecs and for sound.
    pub fn of_tag(tag: &str) -> Option<Self> {
        match tag.split('.').next()?.trim() {
            "avc1" | "avc3" => Some(Self::H264),
            // The last two are Dolby Vision on top of HEVC.
            "hvc1" | "hev1" | "dvh1" | "dvhe" => Some(Self::Hevc),
            "av01" => Some(Self::Av1),
            _ => None,
        }
    }
}

impl FromStr for VideoCodec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        match text.to_ascii_lowercase().as_str() {
            "h264" => Ok(Self::H264),
            "hevc" | "h265" => Ok(Self::Hevc),
            "av1" => Ok(Self::Av1),
            _ => Err(UnknownCodec),
        }
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_go_by_name_and_by_tag() {
        for (name, tag, codec) in [
            ("h264", "avc1.4D401F", VideoCodec::H264),
            ("H265", "hvc1.2.4.L150", VideoCodec::Hevc),
            ("hevc", "hev1.1.6.L93.90", VideoCodec::Hevc),
            ("av1", "av01.0.08M.10", VideoCodec::Av1),
        ] {
            assert_eq!((name.parse(), VideoCodec::of_tag(tag)), (Ok(codec), Some(codec)));
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        assert_eq!("vp9".parse::<VideoCodec>(), Err(UnknownCodec));
        for other in ["mp4a.40.2", "vp09.00.40.08", "", "avc10"] {
            assert_eq!(VideoCodec::of_tag(other), None, "{other}");
        }
    }
}
