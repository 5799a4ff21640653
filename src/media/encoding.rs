//! The encoding of a segment as a value: two segments with equal ones can follow each other without a word to the player.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How a segment's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    MpegTs,
    FragmentedMp4,
}

/// A codec as RFC 6381 writes it, such as `avc1.64001f`. Safe inside a quoted attribute.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodecName(Box<str>);

/// Longer than any codec's name: `hvc1` with all of its constraint bytes has 40.
const MAX_CODEC_BYTES: usize = 64;

impl CodecName {
    /// `None` for what would need quoting.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        (is_plain && !text.is_empty() && text.len() <= MAX_CODEC_BYTES).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CodecName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("no codec is written like this")
    }
}

impl From<CodecName> for String {
    fn from(name: CodecName) -> Self {
        name.0.into()
    }
}

/// `track` is how players tell tracks apart (PID or track_ID): a change of it is a change of encoding (RFC 8216 §4.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    pub track: u32,
    pub codec: CodecName,
    /// In pixels, as shown: what the encoder cropped does not count.
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    pub track: u32,
    pub codec: CodecName,
    /// `None` where only the samples tell, and we do not read them (LATM).
    pub sample_rate_hz: Option<u32>,
    pub channels: Option<u8>,
}

/// Everything whose change a playlist must announce. The frame rate is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    pub container: Container,
    pub video: Option<Video>,
    pub audio: Vec<Audio>,
}

/// An encoding in 64 bits, equal on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodingId(u64);

impl Encoding {
    /// The first 64 bits of the SHA-256 of `canonical_text`.
    pub fn id(&self) -> EncodingId {
        EncodingId(first_64_bits(self.canonical_text().as_bytes()))
    }

    /// `ts v256:avc1.64001f:1280x720 a257:mp4a.40.2:48000:2`; what is unknown is 0. Other nodes compare hashes of this: a
    /// change of it is a change of format.
    fn canonical_text(&self) -> String {
        let mut text = String::from(match self.container {
            Container::MpegTs => "ts",
            Container::FragmentedMp4 => "fmp4",
        });
        if let Some(Video { track, codec, width, height }) = &self.video {
            let _ = write!(text, " v{track}:{}:{width}x{height}", codec.as_str());
        }
        for Audio { track, codec, sample_rate_hz, channels } in &self.audio {
            let (rate, channels) = (sample_rate_hz.unwrap_or(0), channels.unwrap_or(0));
            let _ = write!(text, " a{track}:{}:{rate}:{channels}", codec.as_str());
        }
        text
    }

    /// Each codec once, video first: what stands in CODECS.
    pub fn codecs(&self) -> Vec<&CodecName> {
        let mut codecs: Vec<&CodecName> = Vec::new();
        for codec in self.video.iter().map(|video| &video.codec).chain(self.audio.iter().map(|audio| &audio.codec)) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }
}

/// The initialisation section at the head of a self-contained segment of fragmented MP4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub len_bytes: u64,
    hash: u64,
}

impl Init {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len_bytes: bytes.len() as u64, hash: first_64_bits(bytes) }
    }
}

/// All that a player must be told of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMedia {
    pub encoding: Encoding,
    /// There for fragmented MP4, and only there.
    pub init: Option<Init>,
}

fn first_64_bits(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding() -> Encoding {
        let video = Video { track: 256, codec: CodecName::new("avc1.64001f").unwrap(), width: 1280, height: 720 };
        let codec = CodecName::new("mp4a.40.2").unwrap();
        let audio = Audio { track: 257, codec, sample_rate_hz: Some(48_000), channels: Some(2) };
        Encoding { container: Container::MpegTs, video: Some(video), audio: vec![audio.clone(), audio] }
    }

    #[test]
    fn an_id_is_the_same_on_all_nodes_for_ever() {
        let text = "ts v256:avc1.64001f:1280x720 a257:mp4a.40.2:48000:2 a257:mp4a.40.2:48000:2";
        assert_eq!(encoding().canonical_text(), text);
        assert_eq!(encoding().id().0, 7_117_481_072_379_381_650);
    }

    #[test]
    fn whatever_a_player_must_be_told_changes_the_id() {
        let change = |change: fn(&mut Encoding)| {
            let mut encoding = encoding();
            change(&mut encoding);
            encoding.id()
        };
        let ids = [
            encoding().id(),
            change(|encoding| encoding.container = Container::FragmentedMp4),
            change(|encoding| encoding.video = None),
            change(|encoding| encoding.video.as_mut().unwrap().height = 721),
            change(|encoding| encoding.video.as_mut().unwrap().track = 255),
            change(|encoding| encoding.audio[0].channels = None),
            change(|encoding| encoding.audio[1].sample_rate_hz = Some(44_100)),
            change(|encoding| drop(encoding.audio.pop())),
        ];
        let distinct: std::collections::BTreeSet<EncodingId> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn codecs_are_named_once_and_never_need_quoting() {
        let encoding = encoding();
        assert_eq!(
            encoding.codecs().iter().map(|codec| codec.as_str()).collect::<Vec<_>>(),
            ["avc1.64001f", "mp4a.40.2"]
        );
        for bad in ["", "a\"b", "a,b", "a b", "é", &"x".repeat(65)] {
            assert!(CodecName::new(bad).is_none(), "{bad}");
        }
    }
}
