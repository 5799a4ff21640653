//! What an audio stream says of itself, in the head of its first frame: ADTS (ISO/IEC 13818-7), AC-3 and E-AC-3 (ETSI TS 102
//! 366), MPEG audio (ISO/IEC 11172-3); and the configuration of AAC in MP4 (ISO/IEC 14496-3).

use super::bits::Bits;
use super::encoding::CodecName;
use super::mpegts::AudioCoding;

/// Codec and shape of an audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioFormat {
    pub codec: CodecName,
    pub sample_rate_hz: Option<u32>,
    pub channels: Option<u8>,
}

impl AudioFormat {
    pub fn new(codec: &str, sample_rate_hz: Option<u32>, channels: Option<u8>) -> Option<Self> {
        Some(Self { codec: CodecName::new(codec)?, sample_rate_hz, channels })
    }
}

const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
const AC3_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// By acmod; a low-frequency channel comes on top.
const AC3_CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// A frame is at most 8 KiB long (ADTS); its start lies before that.
const MAX_SEARCH_BYTES: usize = 8192;

/// Reads the first frame's head in the start of a stream. `None` if it has not come yet. `Other` has none that we read.
pub fn audio_format(coding: AudioCoding, stream: &[u8]) -> Option<AudioFormat> {
    let read: fn(&[u8]) -> Option<AudioFormat> = match coding {
        AudioCoding::AacAdts => adts,
        AudioCoding::Ac3 | AudioCoding::Eac3 => ac3,
        AudioCoding::Mpeg => mpeg,
        // These tell in the tables what they are, and the rest only in places that we do not read.
        AudioCoding::AacLatm => return AudioFormat::new("mp4a.40.2", None, None),
        AudioCoding::Opus => return AudioFormat::new("opus", Some(48_000), None),
        AudioCoding::Other => return None,
    };
    (0..stream.len().min(MAX_SEARCH_BYTES)).find_map(|at| read(&stream[at..]))
}

fn adts(frame: &[u8]) -> Option<AudioFormat> {
    let [0xff, second, third, fourth, ..] = frame else { return None };
    if second & 0xf6 != 0xf0 {
        return None;
    }
    let rate = AAC_RATES.get(usize::from(third >> 2 & 0x0f))?;
    let channels = (third & 1) << 2 | fourth >> 6;
    // RFC 6381: the object type is one more than the profile of two bits.
    AudioFormat::new(&format!("mp4a.40.{}", (third >> 6) + 1), Some(*rate), channels_of(channels))
}

/// How long the AAC frames last that follow each other from the start of `stream` on, and how long one of them does, in
/// ticks of 90 kHz. `None` where there is no whole one.
pub fn adts_ticks(stream: &[u8]) -> Option<(i64, i64)> {
    let (mut samples, mut rate_hz, mut rest) = (0, None, stream);
    while let [0xff, second, third, fourth, fifth, sixth, seventh, ..] = rest
        && second & 0xf6 == 0xf0
    {
        let len_bytes = usize::from(fourth & 3) << 11 | usize::from(*fifth) << 3 | usize::from(sixth >> 5);
        let Some(after) = rest.get(len_bytes..).filter(|_| len_bytes > 0) else { break };
        let rate = i64::from(*AAC_RATES.get(usize::from(third >> 2 & 0x0f))?);
        rate_hz.get_or_insert(rate);
        samples += 1024 * (i64::from(seventh & 3) + 1);
        rest = after;
    }
    let rate_hz = rate_hz?;
    Some((samples * 90_000 / rate_hz, 1024 * 90_000 / rate_hz))
}

/// Channels by channel configuration (ISO/IEC 14496-3, table 1.19); 0 says that they are told elsewhere.
fn channels_of(configuration: u8) -> Option<u8> {
    match configuration {
        1..=6 => Some(configuration),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        _ => None,
    }
}

fn ac3(frame: &[u8]) -> Option<AudioFormat> {
    let [0x0b, 0x77, third, _, fifth, sixth, rest @ ..] = frame else { return None };
    match sixth >> 3 {
        // The bit stream versions of AC-3, and of its enhancement.
        0..=10 => {
            let rate = AC3_RATES.get(usize::from(fifth >> 6))?;
            let mut bits = Bits::new(rest);
            let mode = bits.take(3)?;
            let levels = [mode & 1 == 1 && mode != 1, mode & 4 != 0, mode == 2];
            bits.skip(2 * levels.into_iter().filter(|is_there| *is_there).count())?;
            let channels = AC3_CHANNELS[mode as usize] + u8::from(bits.flag()?);
            AudioFormat::new("ac-3", Some(*rate), Some(channels))
        }
        11..=16 => {
            // A dependent substream adds to the channels of the one before it.
            if third >> 6 == 1 {
                return None;
            }
            let rate = match (fifth >> 6, fifth >> 4 & 3) {
                (3, half) => AC3_RATES.get(usize::from(half))? / 2,
                (full, _) => *AC3_RATES.get(usize::from(full))?,
            };
            AudioFormat::new("ec-3", Some(rate), Some(AC3_CHANNELS[usize::from(fifth >> 1 & 7)] + (fifth & 1)))
        }
        _ => None,
    }
}

/// Channels of `dac3` (ETSI TS 102 366 §F.4), which has no sync word.
pub fn dac3_channels(content: &[u8]) -> Option<u8> {
    let mut bits = Bits::new(content);
    bits.skip(2 + 5 + 3)?;
    Some(AC3_CHANNELS[bits.take(3)? as usize] + u8::from(bits.flag()?))
}

/// Channels of the first independent substream of `dec3` (ETSI TS 102 366 §F.6).
pub fn dec3_channels(content: &[u8]) -> Option<u8> {
    let mut bits = Bits::new(content);
    bits.skip(13 + 3 + 2 + 5 + 1 + 1 + 3)?;
    Some(AC3_CHANNELS[bits.take(3)? as usize] + u8::from(bits.flag()?))
}

fn mpeg(frame: &[u8]) -> Option<AudioFormat> {
    let [0xff, second, third, fourth, ..] = frame else { return None };
    let layer = match second >> 1 & 3 {
        3 => 1,
        2 => 2,
        1 => 3,
        _ => return None,
    };
    // Version 2 has half of version 1's rates, version 2.5 a quarter.
    let divisor = match second >> 3 & 3 {
        3 => 1,
        2 => 2,
        0 => 4,
        _ => return None,
    };
    let is_head = second & 0xe0 == 0xe0 && third >> 4 != 0x0f && third >> 4 != 0;
    let rate = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3)).filter(|_| is_head)?;
    let channels = if fourth >> 6 == 3 { 1 } else { 2 };
    // ISO/IEC 14496-3, table 1.17: the object types 32 to 34 are the three layers.
    AudioFormat::new(&format!("mp4a.40.{}", 31 + layer), Some(rate / divisor), Some(channels))
}

/// The AudioSpecificConfig of MP4 (ISO/IEC 14496-3 §1.6.2.1).
pub fn aac_config(config: &[u8]) -> Option<AudioFormat> {
    let mut bits = Bits::new(config);
    let object_type = match bits.take(5)? {
        31 => 32 + bits.take(6)?,
        short => short,
    };
    let rate = match bits.take(4)? {
        15 => bits.take(24)?,
        index => *AAC_RATES.get(index as usize)?,
    };
    let channels = channels_of(u8::try_from(bits.take(4)?).ok()?);
    AudioFormat::new(&format!("mp4a.40.{object_type}"), Some(rate), channels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(coding: AudioCoding, stream: &[u8]) -> Option<(String, Option<u32>, Option<u8>)> {
        audio_format(coding, stream)
            .map(|format| (format.codec.as_str().to_owned(), format.sample_rate_hz, format.channels))
    }

    #[test]
    fn heads_are_read_as_the_standards_have_them() {
        for (coding, head, codec, rate, channels) in [
            (AudioCoding::AacAdts, &[0xff, 0xf1, 0x4c, 0x80, 0, 0][..], "mp4a.40.2", 48_000, 2),
            (AudioCoding::AacAdts, &[9, 0xff, 0xf1, 0x50, 0x40, 0, 0], "mp4a.40.2", 44_100, 1),
            (AudioCoding::Mpeg, &[0xff, 0xfb, 0x94, 0x00], "mp4a.40.34", 48_000, 2),
            (AudioCoding::Mpeg, &[0xff, 0xf3, 0x90, 0xc0], "mp4a.40.34", 22_050, 1),
            (AudioCoding::Mpeg, &[0xff, 0xfd, 0x98, 0x00], "mp4a.40.33", 32_000, 2),
            // Three front, two rear and a low one; 2/0 has a surround mode before the flag of the low one.
            (AudioCoding::Ac3, &[0x0b, 0x77, 0, 0, 0x1c, 0x40, 0xe1, 0, 0], "ac-3", 48_000, 6),
            (AudioCoding::Ac3, &[0x0b, 0x77, 0, 0, 0x5c, 0x40, 0x40, 0, 0], "ac-3", 44_100, 2),
            (AudioCoding::Eac3, &[0x0b, 0x77, 0x02, 0xff, 0x3f, 0x85, 0, 0, 0], "ec-3", 48_000, 6),
        ] {
            assert_eq!(format(coding, head), Some((codec.into(), Some(rate), Some(channels))), "{head:x?}");
        }
        assert_eq!(format(AudioCoding::AacLatm, &[]), Some(("mp4a.40.2".into(), None, None)));
        assert_eq!(format(AudioCoding::AacAdts, &[0xff, 0xf1]), None);
        let config = aac_config(&[0x12, 0x10]).unwrap();
        assert_eq!(
            (config.codec.as_str(), config.sample_rate_hz, config.channels),
            ("mp4a.40.2", Some(44_100), Some(2))
        );
    }

    #[test]
    fn the_length_of_aac_is_told_by_its_frames() {
        // 48 kHz, 9 bytes long, one block of 1024 samples.
        let frame = [0xff, 0xf1, 0x4c, 0x80, 1, 0x20, 0, 5, 5];
        assert_eq!(adts_ticks(&frame.repeat(3)), Some((3 * 1920, 1920)));
        assert_eq!(adts_ticks(&frame.repeat(3)[..26]), Some((2 * 1920, 1920)));
        for none in [&frame[..8], &frame[1..], &[], &[0xff, 0xf1, 0x4c, 0x80, 0, 0, 0, 5, 5]] {
            assert_eq!(adts_ticks(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(junk in prop::collection::vec(any::<u8>(), 0..40), head in 0usize..4) {
            let sync: &[u8] = [&[][..], &[0xff, 0xf1], &[0x0b, 0x77], &[0xff, 0xfb]][head];
            let stream = [sync, &junk].concat();
            let _ = adts_ticks(&stream);
            for coding in [AudioCoding::AacAdts, AudioCoding::Ac3, AudioCoding::Eac3, AudioCoding::Mpeg] {
                let _ = audio_format(coding, &stream);
            }
            let _ = (aac_config(&junk), dac3_channels(&junk), dec3_channels(&junk));
        }
    }
}
