//! What a video stream says of itself: the sequence parameter sets of H.264 (ITU-T H.264 §7.3.2.1) and H.265 (ITU-T H.265
//! §7.3.2.2), and the sequence header of MPEG-2 (ITU-T H.262 §6.2.2.1).

use super::bits::Bits;
use super::encoding::CodecName;

/// Codec and size in pixels of a video stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoFormat {
    pub codec: CodecName,
    pub width: u32,
    pub height: u32,
}

/// A parameter set is far shorter; what is longer is not read to its end.
const MAX_SET_BYTES: usize = 4096;
/// The largest side that a level of either standard allows, and some more.
const MAX_SIDE: u32 = 1 << 16;

/// The first parameter set in the start of a stream with start codes. `None` if it has not come yet.
pub fn h264_format(stream: &[u8]) -> Option<VideoFormat> {
    // ITU-T H.264, table 7-1: 7 is a sequence parameter set.
    nal_units(stream).find_map(|unit| (unit.first()? & 0x1f == 7).then(|| h264_sps(&unescaped(&unit[1..])))?)
}

pub fn hevc_format(stream: &[u8]) -> Option<VideoFormat> {
    // ITU-T H.265, table 7-1: 33 is a sequence parameter set. The head of a unit has two bytes.
    nal_units(stream)
        .find_map(|unit| (unit.first()? >> 1 & 0x3f == 33).then(|| hevc_sps(&unescaped(unit.get(2..)?)))?)
}

pub fn mpeg2_format(stream: &[u8]) -> Option<VideoFormat> {
    let header = nal_units(stream).find(|unit| unit.first() == Some(&0xb3))?;
    let mut bits = Bits::new(&header[1..]);
    // RFC 6381 §3.3: the object type of MPEG-2 Main video.
    sized("mp4v.61", bits.take(12)?, bits.take(12)?)
}

/// What lies between start codes.
fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next_code = |bytes: &[u8]| bytes.windows(3).position(|window| window == [0, 0, 1]);
    let mut rest = next_code(stream).map(|at| &stream[at + 3..]);
    std::iter::from_fn(move || {
        let from = rest?;
        let end = next_code(from);
        rest = end.map(|at| &from[at + 3..]);
        Some(&from[..end.unwrap_or(from.len())])
    })
}

/// Without the bytes that keep start codes out of a unit (ITU-T H.264 §7.4.1).
pub fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut zeros = 0;
    for byte in unit.iter().take(MAX_SET_BYTES) {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
}

fn sized(codec: &str, width: u32, height: u32) -> Option<VideoFormat> {
    let fits = |side: u32| (1..=MAX_SIDE).contains(&side);
    (fits(width) && fits(height)).then_some(VideoFormat { codec: CodecName::new(codec)?, width, height })
}

/// `avc1.PPCCLL` (RFC 6381 §3.3) of the three bytes that follow each other in a parameter set and in `avcC`.
pub fn avc_codec(four_letters: &str, profile: &[u8; 3]) -> String {
    format!("{four_letters}.{:02x}{:02x}{:02x}", profile[0], profile[1], profile[2])
}

/// A side less what is cropped off it, each in units of its own.
fn cropped(side: u64, unit: u64, first: u32, last: u32) -> Option<u32> {
    u32::try_from(side.checked_sub(unit * (u64::from(first) + u64::from(last)))?).ok()
}

fn h264_sps(set: &[u8]) -> Option<VideoFormat> {
    let (profile, rest) = set.split_first_chunk::<3>()?;
    let mut bits = Bits::new(rest);
    bits.golomb()?;
    let mut chroma = 1;
    let mut separate_planes = false;
    if matches!(profile[0], 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.golomb()?;
        separate_planes = chroma == 3 && bits.flag()?;
        // Depths of luma and chroma, and a flag of lossless coding.
        skip_golombs(&mut bits, 2)?;
        bits.skip(1)?;
        if bits.flag()? {
            (0..if chroma == 3 { 12 } else { 8 }).try_for_each(|list| skip_scaling_list(&mut bits, list))?;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => drop(bits.golomb()?),
        1 => {
            bits.skip(1)?;
            skip_golombs(&mut bits, 2)?;
            // ITU-T H.264 §7.4.2.1.1: at most 255.
            let cycle = bits.golomb()?;
            (cycle < 256).then_some(())?;
            skip_golombs(&mut bits, cycle)?;
        }
        _ => {}
    }
    bits.golomb()?;
    bits.skip(1)?;
    let (width_in_blocks, height_in_units) = (u64::from(bits.golomb()?) + 1, u64::from(bits.golomb()?) + 1);
    let only_frames = bits.flag()?;
    if !only_frames {
        bits.flag()?;
    }
    bits.flag()?;
    let [left, right, top, bottom] = crop_of(&mut bits)?;
    let fields = if only_frames { 1 } else { 2 };
    let (unit_x, unit_y) = chroma_units(if separate_planes { 0 } else { chroma });
    let width = cropped(width_in_blocks * 16, unit_x, left, right)?;
    let height = cropped(height_in_units * 16 * fields, unit_y * fields, top, bottom)?;
    sized(&avc_codec("avc1", profile), width, height)
}

fn skip_golombs(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    (0..count).try_for_each(|_| bits.golomb().map(drop))
}

/// The four offsets behind a flag; zeros without.
fn crop_of(bits: &mut Bits<'_>) -> Option<[u32; 4]> {
    if !bits.flag()? {
        return Some([0; 4]);
    }
    Some([bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?])
}

/// Pixels per unit of cropping, by chroma_format_idc: grey, 4:2:0, 4:2:2, 4:4:4.
fn chroma_units(chroma: u32) -> (u64, u64) {
    match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// ITU-T H.264 §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, list: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..if list < 6 { 16 } else { 64 } {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// The 12 bytes of general profile, tier and level: alike in a parameter set and in `hvcC`.
pub type ProfileTierLevel = [u8; 12];

/// ISO/IEC 14496-15 §E.3: profile space and profile, compatibility in reverse, tier and level, constraints without the zeros
/// at their end.
pub fn hevc_codec(four_letters: &str, profile: &ProfileTierLevel) -> String {
    let space = ["", "A", "B", "C"][usize::from(profile[0] >> 6)];
    let tier = if profile[0] & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([profile[1], profile[2], profile[3], profile[4]]).reverse_bits();
    let constraints = &profile[5..11];
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let constraints: String = constraints[..used].iter().map(|byte| format!(".{byte:X}")).collect();
    format!("{four_letters}.{space}{}.{compatibility:X}.{tier}{}{constraints}", profile[0] & 0x1f, profile[11])
}

fn hevc_sps(set: &[u8]) -> Option<VideoFormat> {
    let sub_layers = set.first()? >> 1 & 7;
    let (profile, rest) = set.get(1..)?.split_first_chunk::<12>()?;
    let mut bits = Bits::new(rest);
    if sub_layers > 0 {
        let mut present = Vec::new();
        for _ in 0..sub_layers {
            present.push((bits.flag()?, bits.flag()?));
        }
        bits.skip(2 * usize::from(8 - sub_layers))?;
        for (has_profile, has_level) in present {
            bits.skip(if has_profile { 88 } else { 0 } + if has_level { 8 } else { 0 })?;
        }
    }
    bits.golomb()?;
    let chroma = bits.golomb()?;
    let separate_planes = chroma == 3 && bits.flag()?;
    let (width, height) = (u64::from(bits.golomb()?), u64::from(bits.golomb()?));
    let [left, right, top, bottom] = crop_of(&mut bits)?;
    let (unit_x, unit_y) = chroma_units(if separate_planes { 0 } else { chroma });
    let (width, height) = (cropped(width, unit_x, left, right)?, cropped(height, unit_y, top, bottom)?);
    // In a transport stream the sets are in the stream, which four letters of MP4 do not foresee; players say hvc1.
    sized(&hevc_codec("hvc1", profile), width, height)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From x264: 1920x1080, High, level 4; 1088 lines are coded. It holds escapes.
    const FULL_HD: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03,
        0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58, 0, 0, 0, 1, 0x68, 0xeb, 0xe3, 0xcb, 0x22,
        0xc0,
    ];

    #[test]
    fn what_is_cropped_does_not_count() {
        let format = h264_format(FULL_HD).unwrap();
        assert_eq!((format.codec.as_str(), format.width, format.height), ("avc1.640028", 1920, 1080));
        assert_eq!(h264_format(&FULL_HD[..12]), None);
        assert_eq!(h264_format(&FULL_HD[31..]), None);
    }

    #[test]
    fn an_hevc_name_leaves_out_zeros_and_turns_the_compatibility() {
        let main = [0x01, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93];
        assert_eq!(hevc_codec("hvc1", &main), "hvc1.1.6.L93.90");
        let odd = [0x62, 0x20, 0, 0, 0, 0xb0, 0, 0x01, 0, 0, 0, 150];
        assert_eq!(hevc_codec("hev1", &odd), "hev1.A2.4.H150.B0.0.1");
    }

    #[test]
    fn mpeg2_says_its_size_in_its_sequence_header() {
        let format = mpeg2_format(&[0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33]).unwrap();
        assert_eq!((format.codec.as_str(), format.width, format.height), ("mp4v.61", 720, 576));
    }

    proptest! {
        #[test]
        fn any_stream_is_read(junk in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((4usize..41, any::<u8>()), 0..8)) {
            let mut set = FULL_HD.to_vec();
            for (at, value) in flips {
                set[at] = value;
            }
            for stream in [set, [vec![0, 0, 1, 0x67], junk.clone()].concat(), [vec![0, 0, 1, 33 << 1, 1], junk].concat()] {
                let _ = (h264_format(&stream), hevc_format(&stream), mpeg2_format(&stream));
            }
        }
    }
}
