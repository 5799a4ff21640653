//! How a cut is made, as requests, the command line and the configuration name it.

use std::fmt;
use std::str::FromStr;

/// How a cut is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutType {
    /// Exact MPEG-TS: the segments at the edges are re-encoded to the frames asked for, the rest is copied. The other node
    /// software knows it as `fast`, too, whose joins show there.
    Smart,
    /// Whole segments, byte for byte: begins up to a segment early and ends up to a segment late.
    Rough,
    /// As smart, in fragmented MP4.
    Mp4,
    /// As smart, in MP4 whose index comes first: put together in a file before the first byte goes out.
    Faststart,
    /// Exact, all of it re-encoded: one encoding from the first frame to the last, as H.264 and AAC in MPEG-TS.
    Mpegts,
    /// Likewise, as VP9 and Opus in WebM.
    Webm,
    /// Whole segments of one range without holes, their streams copied into Matroska.
    Archive,
}

impl CutType {
    pub const ALL: [CutType; 7] =
        [Self::Smart, Self::Rough, Self::Mp4, Self::Faststart, Self::Mpegts, Self::Webm, Self::Archive];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Rough => "rough",
            Self::Mp4 => "mp4",
            Self::Faststart => "faststart",
            Self::Mpegts => "mpegts",
            Self::Webm => "webm",
            Self::Archive => "archive",
        }
    }

    /// Shows exactly the frames of its ranges. The others show whole segments.
    pub const fn is_exact(self) -> bool {
        match self {
            Self::Smart | Self::Mp4 | Self::Faststart | Self::Mpegts | Self::Webm => true,
            Self::Rough | Self::Archive => false,
        }
    }

    /// Whether all of a cut is encoded, and not its edges alone.
    pub const fn encodes_all(self) -> bool {
        match self {
            Self::Mpegts | Self::Webm => true,
            Self::Smart | Self::Rough | Self::Mp4 | Self::Faststart | Self::Archive => false,
        }
    }
}

impl fmt::Display for CutType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No type of cut has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the type of a cut is smart (or fast, which is the same), rough, mp4, faststart, mpegts, webm or archive")]
pub struct UnknownCutType;

/// What peers and editors call `smart`, too.
const OLD_NAME_OF_SMART: &str = "fast";

impl FromStr for CutType {
    type Err = UnknownCutType;

    fn from_str(text: &str) -> Result<Self, UnknownCutType> {
        if text == OLD_NAME_OF_SMART {
            return Ok(Self::Smart);
        }
        Self::ALL.into_iter().find(|cut_type| cut_type.as_str() == text).ok_or(UnknownCutType)
    }
}
