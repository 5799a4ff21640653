//! As much of PNG (ISO/IEC 15948) as we need: how large a picture is, and a picture of a few colours written.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Width and height in pixels; `None` for what is no PNG.
pub fn size_of(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(&SIGNATURE)?.get(..16)?;
    let number = |at: usize| header.get(at..at + 4).and_then(|four| Some(u32::from_be_bytes(four.try_into().ok()?)));
    if &header[4..8] != b"IHDR" {
        return None;
    }
    let (width, height) = (number(8)?, number(12)?);
    (width > 0 && height > 0).then_some((width, height))
}

/// A colour: red, green, blue, opacity.
pub type Colour = [u8; 4];

/// `pixels` are places in `palette`, row by row, and as many as the size says.
pub fn write(width: u32, height: u32, palette: &[Colour], pixels: &[u8]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    // Eight bits for each pixel, as places in a palette; the usual compression and filters, no interlace.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 3, 0, 0, 0]].concat();
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"PLTE", &palette.iter().flat_map(|colour| colour[..3].to_vec()).collect::<Vec<_>>());
    chunk(&mut out, b"tRNS", &palette.iter().map(|colour| colour[3]).collect::<Vec<_>>());
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    let rows = pixels.chunks_exact(width as usize);
    // Each row begins with its filter: none.
    let written = rows.into_iter().try_for_each(|row| packed.write_all(&[0]).and_then(|()| packed.write_all(row)));
    let packed = written.and_then(|()| packed.finish()).expect("writing to memory does not fail");
    chunk(&mut out, b"IDAT", &packed);
    chunk(&mut out, b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    let length = u32::try_from(data.len()).expect("a picture of ours is smaller than 4 GiB");
    for part in [&length.to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_what_is_no_png_is_unknown() {
        let picture = write(3, 2, &[[0; 4], [255; 4]], &[0, 1, 0, 1, 0, 1]);
        assert_eq!(size_of(&picture), Some((3, 2)));
        for length in 0..24 {
            assert_eq!(size_of(&picture[..length]), None);
        }
        assert_eq!(size_of(b"\xff\xd8\xff\xe0 a JPEG, as long as it takes to be one"), None);
    }
}
