//! The keys `encode_…`, of locations whose cuts are encoded as a whole.

use std::ops::RangeInclusive;

use crate::config::fault::quoted;
use crate::config::reader::Section;
use crate::config::values::Setting;
use crate::model::{CutType, EncoderPreset, FullCodec, FullEncode, UnknownEncode};

/// Of x264 and x265.
const CRF: RangeInclusive<u32> = 0..=51;
/// Of VP9.
const CRF_OF_WEBM: RangeInclusive<u32> = 0..=63;
const KBPS: RangeInclusive<u32> = 100..=100_000;
/// What the encoders of AAC and Opus both take.
const AUDIO_KBPS: RangeInclusive<u32> = 32..=512;

impl Setting for FullCodec {
    const ALLOWED: &'static str = "write h264 or hevc";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_: UnknownEncode| format!("{} is no codec for a whole cut", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for EncoderPreset {
    const ALLOWED: &'static str =
        "write ultrafast, superfast, veryfast, faster, fast, medium, slow, slower or veryslow";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_: UnknownEncode| format!("{} is no preset", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// A key that the type of cut has no use for is a fault, and never without effect.
pub(super) fn read_encode(section: &mut Section<'_, '_>, cut_type: Option<CutType>) -> Option<FullEncode> {
    const KEYS: [&str; 5] = ["encode_codec", "encode_preset", "encode_crf", "encode_max_kbps", "encode_audio_kbps"];
    let codec = section.optional("encode_codec");
    let preset = section.optional("encode_preset");
    let crf = section.optional_integer("encode_crf", if cut_type == Some(CutType::Webm) { CRF_OF_WEBM } else { CRF });
    let max_kbps = section.optional_integer("encode_max_kbps", KBPS);
    let audio_kbps = section.optional_integer("encode_audio_kbps", AUDIO_KBPS);
    let cut_type = cut_type?;
    let mut is_good = true;
    let mut refuse = |section: &mut Section<'_, '_>, key: &str, why: String| {
        let at = section.origin(key);
        section.fault(&at, key, why);
        is_good = false;
    };
    let given: Vec<&str> = KEYS.into_iter().filter(|key| section.has(key)).collect();
    for key in given {
        if !cut_type.encodes_all() {
            let why = format!("a {cut_type} cut copies what it shows; it goes with cut_type \"mpegts\" or \"webm\"");
            refuse(section, key, why);
        } else if cut_type == CutType::Webm && ["encode_codec", "encode_preset"].contains(&key) {
            refuse(section, key, "it goes with cut_type \"mpegts\"; a webm is VP9, as fast as can be".into());
        }
    }
    let encode = FullEncode { codec: codec?, preset: preset?, crf: crf?, max_kbps: max_kbps?, audio_kbps: audio_kbps? };
    is_good.then_some(encode)
}
