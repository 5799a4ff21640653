//! Whether a file's first picture can be decoded, and followed, without what came before it.

use super::psi::Codec;
use crate::media::bits::Bits;
use crate::media::parameter_sets::unescaped;

/// Parameter sets and messages before the first slice; x264's message alone has 700 bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What the first coded picture of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPicture {
    /// A decoder starts afresh: nothing after it refers to anything before it.
    Fresh,
    /// It starts an open GOP, and brings its parameter sets: a decoder may start here. Pictures that are decoded after it and
    /// shown before it may refer to pictures before it; nothing that is shown after it does.
    Recovery,
    /// Nothing is known of what refers to what.
    Dependent,
}

/// SEI payload type (ITU-T H.264, D.1).
const RECOVERY_POINT: usize = 6;
/// The bytes of a slice that say what it is: its NAL header, `first_mb_in_slice` of the first, `slice_type`.
const SLICE_HEAD_BYTES: usize = 2;

/// What comes before the first slice.
#[derive(Debug, Default)]
struct Before {
    /// Kinds of parameter sets, a bit each.
    sets: u64,
    has_recovery_point: bool,
}

impl Before {
    fn has(&self, kinds: &[u8]) -> bool {
        kinds.iter().all(|kind| self.sets >> kind & 1 == 1)
    }

    /// `unit` starts with its header; it may have more after it than itself. `None` if it is no slice; else whether more of it
    /// is needed, or what it is.
    fn h264(&mut self, unit: &[u8]) -> Option<Option<FirstPicture>> {
        let kind = unit.first()? & 0x1f;
        match kind {
            // ITU-T H.264, table 7-1: 5 is a slice of an IDR picture, 1 of another, 2 to 4 are parts of slices.
            5 => return Some(Some(FirstPicture::Fresh)),
            1 => {
                let Some(head) = unit.get(1..=SLICE_HEAD_BYTES) else { return Some(None) };
                let is_recovery = self.has_recovery_point && self.has(&[7, 8]) && is_intra_slice(head);
                return Some(Some(if is_recovery { FirstPicture::Recovery } else { FirstPicture::Dependent }));
            }
            2..=4 => return Some(Some(FirstPicture::Dependent)),
            6 => self.has_recovery_point |= recovers_at_once(up_to_next(&unit[1..])),
            _ => self.sets |= 1 << kind,
        }
        None
    }

    fn hevc(&mut self, unit: &[u8]) -> Option<Option<FirstPicture>> {
        let kind = unit.first()? >> 1 & 0x3f;
        let picture = match kind {
            // ITU-T H.265, table 7-1: 19 and 20 are slices of IDR pictures, 21 of CRA pictures, all below 32 are slices.
            19 | 20 => FirstPicture::Fresh,
            21 if self.has(&[32, 33, 34]) => FirstPicture::Recovery,
            0..=31 => FirstPicture::Dependent,
            _ => {
                self.sets |= 1 << kind;
                return None;
            }
        };
        Some(Some(picture))
    }
}

fn up_to_next(unit: &[u8]) -> &[u8] {
    let end = unit.windows(3).position(|window| window == [0, 0, 1]);
    &unit[..end.unwrap_or(unit.len())]
}

/// Whether the first slice of a picture is of type I (ITU-T H.264, table 7-6).
fn is_intra_slice(head: &[u8]) -> bool {
    let mut bits = Bits::new(head);
    bits.golomb() == Some(0) && matches!(bits.golomb(), Some(2 | 7))
}

/// Whether SEI messages say that all is right from this picture on (ITU-T H.264, D.1.8: `recovery_frame_cnt` is 0).
fn recovers_at_once(messages: &[u8]) -> bool {
    let messages = unescaped(messages);
    let mut rest = messages.as_slice();
    // Type and size are sums of bytes, of which all but the last are 255.
    let number = |rest: &mut &[u8]| {
        let mut sum = 0;
        loop {
            let (byte, tail) = rest.split_first()?;
            (*rest, sum) = (tail, sum + usize::from(*byte));
            if *byte != 0xff {
                return Some(sum);
            }
        }
    };
    while let (Some(kind), Some(size)) = (number(&mut rest), number(&mut rest)) {
        let (payload, tail) = rest.split_at(size.min(rest.len()));
        if kind == RECOVERY_POINT {
            return Bits::new(payload).golomb() == Some(0);
        }
        rest = tail;
    }
    false
}

/// Reads the start of an elementary stream. `None` while its first slice has not come.
pub fn first_picture(codec: Codec, stream: &[u8]) -> Option<FirstPicture> {
    let mut before = Before::default();
    let mut rest = stream;
    loop {
        let at = rest.windows(3).position(|window| window == [0, 0, 1])?;
        rest = &rest[at + 3..];
        let slice = match codec {
            Codec::H264 => before.h264(rest),
            Codec::Hevc => before.hevc(rest),
            // We do not re-encode these, so nothing depends on the answer.
            Codec::OtherVideo(_) | Codec::Audio(_) | Codec::Other => return Some(FirstPicture::Fresh),
        };
        if let Some(picture) = slice {
            return picture;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idr_picture_is_fresh_and_an_open_gop_says_where_it_recovers() {
        use FirstPicture::{Dependent, Fresh, Recovery};
        for (codec, kinds, expected) in [
            (Codec::H264, &[9, 0x67, 0x68, 6, 0x65][..], Some(Fresh)),
            (Codec::H264, &[9, 0x67, 0x68, 6, 0x41], Some(Dependent)),
            (Codec::H264, &[9, 0x67], None),
            (Codec::Hevc, &[32 << 1, 33 << 1, 34 << 1, 20 << 1], Some(Fresh)),
            (Codec::Hevc, &[32 << 1, 21 << 1], Some(Dependent)),
            (Codec::Hevc, &[32 << 1, 33 << 1, 34 << 1, 21 << 1], Some(Recovery)),
            (Codec::OtherVideo(2), &[0xb3], Some(Fresh)),
        ] {
            let stream: Vec<u8> = kinds.iter().flat_map(|kind| [0, 0, 0, 1, *kind, 0xaa, 0xbb]).collect();
            assert_eq!(first_picture(codec, &stream), expected, "{kinds:x?}");
        }
        // An unregistered message of three bytes, then the recovery point: count 0 or 1.
        let (now, later) = (&[6, 5, 3, 1, 2, 3, 6, 1, 0xc4, 0x80][..], &[6, 5, 3, 1, 2, 3, 6, 1, 0x44, 0x80][..]);
        let (sps, pps) = (&[0x67, 1][..], &[0x68, 1][..]);
        // The slice of the first macroblock: I, of either number; P.
        let (intra, also_intra, inter) = (&[0x41, 0x88, 0x80][..], &[0x41, 0xb0, 0x80][..], &[0x41, 0xe0, 0x80][..]);
        for (units, expected) in [
            ([sps, pps, now, intra], Some(Recovery)),
            ([sps, pps, now, also_intra], Some(Recovery)),
            ([sps, pps, now, inter], Some(Dependent)),
            ([sps, pps, later, intra], Some(Dependent)),
            ([sps, sps, now, intra], Some(Dependent)),
            ([sps, pps, now, &[0x41, 0x88]], None),
        ] {
            let stream: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 1], *unit].concat()).collect();
            assert_eq!(first_picture(Codec::H264, &stream), expected, "{units:x?}");
        }
    }
}
