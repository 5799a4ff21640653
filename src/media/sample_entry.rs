//! How a track of MP4 is coded: the first sample entry of `stsd` and the configuration in it (ISO/IEC 14496-12 §12, 14496-14,
//! 14496-15; the bindings of AV1, VP9, Opus and AC-3).

use super::audio::{AudioFormat, aac_config, dac3_channels, dec3_channels};
use super::bits::Bits;
use super::encoding::CodecName;
use super::mp4::{boxes, find};
use super::parameter_sets::{VideoFormat, avc_codec, hevc_codec};

/// Bytes of a sample entry before the boxes in it.
const VISUAL_HEAD_BYTES: usize = 78;
const AUDIO_HEAD_BYTES: usize = 28;
/// Version, flags, and the number of entries.
const STSD_HEAD_BYTES: usize = 8;

/// `stsd` is the content of that box.
pub fn video_format(stsd: &[u8]) -> Option<VideoFormat> {
    let (four_letters, entry) = boxes(stsd.get(STSD_HEAD_BYTES..)?).next()?;
    let (head, children) = entry.split_at_checked(VISUAL_HEAD_BYTES)?;
    let side = |at: usize| u32::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let codec = video_codec(four_letters, children)?;
    Some(VideoFormat { codec: CodecName::new(&codec)?, width: side(24), height: side(26) })
}

fn video_codec(four_letters: &[u8; 4], children: &[u8]) -> Option<String> {
    let letters = std::str::from_utf8(four_letters).ok()?;
    match four_letters {
        b"avc1" | b"avc3" => Some(avc_codec(letters, find(children, &[b"avcC"])?.get(1..)?.first_chunk()?)),
        b"hvc1" | b"hev1" => Some(hevc_codec(letters, find(children, &[b"hvcC"])?.get(1..)?.first_chunk()?)),
        b"av01" => av1_codec(find(children, &[b"av1C"])?),
        b"vp09" | b"vp08" => {
            // Version, flags, profile, level, bits of depth in the upper half of a byte.
            let [_, _, _, _, profile, level, depth, ..] = find(children, &[b"vpcC"])? else { return None };
            Some(format!("{letters}.{profile:02}.{level:02}.{:02}", depth >> 4))
        }
        _ => None,
    }
}

/// `av01.P.LLT.DD` (AV1 in ISO-BMFF §5).
fn av1_codec(configuration: &[u8]) -> Option<String> {
    let mut bits = Bits::new(configuration.get(1..)?);
    let (profile, level, is_high) = (bits.take(3)?, bits.take(5)?, bits.flag()?);
    let depth = match (bits.flag()?, bits.flag()?) {
        (true, true) => 12,
        (true, false) => 10,
        (false, _) => 8,
    };
    Some(format!("av01.{profile}.{level:02}{}.{depth:02}", if is_high { 'H' } else { 'M' }))
}

pub fn audio_format(stsd: &[u8]) -> Option<AudioFormat> {
    let (four_letters, entry) = boxes(stsd.get(STSD_HEAD_BYTES..)?).next()?;
    let (head, rest) = entry.split_at_checked(AUDIO_HEAD_BYTES)?;
    let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    // QuickTime's versions 1 and 2 have more fields before the boxes.
    let children = rest.get([0, 16, 36].into_iter().nth(usize::from(number(8)))?..)?;
    // What does not fit 16 bits is told in the configuration only.
    let rate = Some(u32::from(number(24))).filter(|rate| *rate > 0);
    let channels = u8::try_from(number(16)).ok().filter(|channels| *channels > 0);
    match four_letters {
        b"mp4a" => mp4_audio(find(children, &[b"esds"])?, rate),
        b"ac-3" => AudioFormat::new("ac-3", rate, dac3_channels(find(children, &[b"dac3"])?)),
        b"ec-3" => AudioFormat::new("ec-3", rate, dec3_channels(find(children, &[b"dec3"])?)),
        // Version and channels; whatever the entry says, it plays at 48 kHz.
        b"Opus" => AudioFormat::new("opus", Some(48_000), Some(*find(children, &[b"dOps"])?.get(1)?)),
        // For the others the entry says 2, whatever is true (ISO/IEC 14496-14 §6.7).
        b"fLaC" => AudioFormat::new("fLaC", rate, channels),
        b".mp3" => AudioFormat::new("mp4a.40.34", rate, None),
        _ => None,
    }
}

/// Tags of descriptors (ISO/IEC 14496-1 §7.2.2.1).
const ES_TAG: u8 = 3;
const DECODER_CONFIG_TAG: u8 = 4;
const DECODER_SPECIFIC_TAG: u8 = 5;

fn mp4_audio(esds: &[u8], rate: Option<u32>) -> Option<AudioFormat> {
    let stream = descriptor(esds.get(4..)?, ES_TAG)?;
    // ES_ID and flags; then a stream that this one depends on, an address with its length, a clock, each if its flag is set.
    let flags = *stream.get(2)?;
    let mut at = 3 + if flags & 0x80 == 0 { 0 } else { 2 };
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*stream.get(at)?);
    }
    at += if flags & 0x20 == 0 { 0 } else { 2 };
    let decoder = descriptor(stream.get(at..)?, DECODER_CONFIG_TAG)?;
    match *decoder.first()? {
        // MPEG-4 audio, whose configuration says the rest.
        0x40 => aac_config(descriptor(decoder.get(13..)?, DECODER_SPECIFIC_TAG)?),
        // MPEG-2 and MPEG-1 audio; in MP4 it is layer III.
        0x69 | 0x6b => AudioFormat::new("mp4a.40.34", rate, None),
        object_type => AudioFormat::new(&format!("mp4a.{object_type:02X}"), rate, None),
    }
}

/// The content of the descriptor of this tag among those that follow each other.
fn descriptor(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (tag, rest) = bytes.split_first()?;
        let mut len = 0usize;
        let mut len_bytes = 0;
        // Seven bits a byte; the highest says whether more follow, up to four.
        for byte in rest.iter().take(4) {
            len = len << 7 | usize::from(byte & 0x7f);
            len_bytes += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let content = rest.get(len_bytes..)?;
        // Some muxers say more than there is.
        if *tag == wanted {
            return Some(&content[..len.min(content.len())]);
        }
        bytes = content.get(len..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn av1_is_named_by_profile_level_tier_and_depth() {
        assert_eq!(av1_codec(&[0x81, 0x08, 0x0c, 0]).unwrap(), "av01.0.08M.08");
        assert_eq!(av1_codec(&[0x81, 0x4d, 0xc0, 0]).unwrap(), "av01.2.13H.10");
        assert_eq!(av1_codec(&[0x81]), None);
    }

    #[test]
    fn descriptors_have_lengths_of_one_to_four_bytes() {
        assert_eq!(descriptor(&[6, 1, 9, 5, 0x80, 0x80, 0x80, 2, 7, 8, 9], 5), Some(&[7, 8][..]));
        assert_eq!(descriptor(&[5, 9, 7], 5), Some(&[7][..]));
        assert_eq!(descriptor(&[6, 9, 7], 5), None);
        assert_eq!(descriptor(&[], 5), None);
    }
}
