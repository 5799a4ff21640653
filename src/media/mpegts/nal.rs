//! Whether a file's first picture can be decoded, and followed, without what came before it.

use super::psi::Codec;

/// Parameter sets and messages before the first slice; x264's message alone has 700 bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What the first coded picture of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPicture {
    /// A decoder starts afresh: nothing after it refers to anything before it.
    Fresh,
    /// Pictures after it may refer to pictures before it: it starts an open GOP, or none.
    Dependent,
}

/// Reads the start of an elementary stream. `None` while its first slice has not come.
pub fn first_picture(codec: Codec, stream: &[u8]) -> Option<FirstPicture> {
    let mut rest = stream;
    loop {
        let at = rest.windows(3).position(|window| window == [0, 0, 1])?;
        rest = &rest[at + 3..];
        let slice = match codec {
            // ITU-T H.264, table 7-1: 5 is a slice of an IDR picture.
            Codec::H264 => match rest.first()? & 0x1f {
                5 => Some(FirstPicture::Fresh),
                1..=4 => Some(FirstPicture::Dependent),
                _ => None,
            },
            // ITU-T H.265, table 7-1: 19 and 20 are slices of IDR pictures, all below 32 are slices.
            Codec::Hevc => match rest.first()? >> 1 & 0x3f {
                19 | 20 => Some(FirstPicture::Fresh),
                0..=31 => Some(FirstPicture::Dependent),
                _ => None,
            },
            // We do not re-encode these, so nothing depends on the answer.
            Codec::OtherVideo(_) | Codec::Audio(_) | Codec::Other => Some(FirstPicture::Fresh),
        };
        if slice.is_some() {
            return slice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idr_picture_is_fresh() {
        use FirstPicture::{Dependent, Fresh};
        for (codec, kinds, expected) in [
            (Codec::H264, &[9, 0x67, 0x68, 6, 0x65][..], Some(Fresh)),
            (Codec::H264, &[9, 0x67, 0x68, 6, 0x41], Some(Dependent)),
            (Codec::H264, &[9, 0x67], None),
            (Codec::Hevc, &[32 << 1, 33 << 1, 34 << 1, 20 << 1], Some(Fresh)),
            (Codec::Hevc, &[32 << 1, 21 << 1], Some(Dependent)),
            (Codec::OtherVideo(2), &[0xb3], Some(Fresh)),
        ] {
            let stream: Vec<u8> = kinds.iter().flat_map(|kind| [0, 0, 0, 1, *kind, 0xaa, 0xbb]).collect();
            assert_eq!(first_picture(codec, &stream), expected, "{kinds:x?}");
        }
    }
}
