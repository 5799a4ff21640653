//! Looks at a segment's bytes as they pass, to tell a whole one from a torn or foreign one. Keeps no bytes.

/// MPEG-TS packets are this long and begin with 0x47 (ISO/IEC 13818-1 §2.4.3.2).
const TS_PACKET_BYTES: u64 = 188;
const TS_SYNC: u8 = 0x47;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ends where its container says that it ends.
    Whole,
    /// A known container that ends amid a packet or box, or lost its sync.
    Torn(&'static str),
    /// Neither MPEG-TS nor MP4 nor packed audio, but not text either.
    Unknown,
    /// Text, such as an error page that came with status 200.
    Text,
    Empty,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    Ts,
    Mp4(Boxes),
    Audio,
    Text,
    Unknown,
}

/// Fed with a segment's bytes in order, in pieces of any size.
#[derive(Debug, Default)]
pub struct ShapeCheck {
    state: State,
    len_bytes: u64,
    /// The first bytes, until there are enough to tell what they are.
    head: Vec<u8>,
    torn: Option<&'static str>,
}

/// An MP4 box's name stands in bytes 4 to 8.
const HEAD_BYTES: usize = 8;

impl ShapeCheck {
    pub fn feed(&mut self, bytes: &[u8]) {
        if let State::Start = self.state {
            self.head.extend_from_slice(bytes);
            if self.head.len() >= HEAD_BYTES {
                self.begin();
            }
            return;
        }
        self.pass(bytes);
    }

    pub fn finish(mut self) -> Shape {
        if let State::Start = self.state {
            if self.head.is_empty() {
                return Shape::Empty;
            }
            self.begin();
        }
        if let Some(why) = self.torn {
            return Shape::Torn(why);
        }
        match self.state {
            State::Ts if self.len_bytes.is_multiple_of(TS_PACKET_BYTES) => Shape::Whole,
            State::Ts => Shape::Torn("it ends within a transport packet"),
            State::Mp4(boxes) if boxes.at_boundary() => Shape::Whole,
            State::Mp4(_) => Shape::Torn("it ends within a box"),
            State::Audio => Shape::Whole,
            State::Text => Shape::Text,
            State::Unknown | State::Start => Shape::Unknown,
        }
    }

    fn begin(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.state = match head.as_slice() {
            [TS_SYNC, ..] => State::Ts,
            [_, _, _, _, b'f', b't', b'y', b'p', ..]
            | [_, _, _, _, b's', b't', b'y', b'p', ..]
            | [_, _, _, _, b'm', b'o', b'o', b'f' | b'v', ..]
            | [_, _, _, _, b's', b'i', b'd', b'x', ..]
            | [_, _, _, _, b'e', b'm', b's', b'g', ..]
            | [_, _, _, _, b'p', b'r', b'f', b't', ..] => State::Mp4(Boxes::default()),
            // ADTS, or an ID3 tag before it (RFC 8216 §3.4).
            [0xff, 0xf0..=0xff, ..] | [b'I', b'D', b'3', ..] => State::Audio,
            // Judged by the same bytes, however large the first piece was.
            text if text.iter().take(HEAD_BYTES).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => {
                State::Text
            }
            _ => State::Unknown,
        };
        self.pass(&head);
    }

    fn pass(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Ts => {
                let into_packet = self.len_bytes % TS_PACKET_BYTES;
                let first = ((TS_PACKET_BYTES - into_packet) % TS_PACKET_BYTES) as usize;
                if bytes.iter().skip(first).step_by(TS_PACKET_BYTES as usize).any(|byte| *byte != TS_SYNC) {
                    self.torn = Some("a transport packet does not begin with its sync byte");
                }
            }
            State::Mp4(boxes) => {
                if !boxes.pass(bytes) {
                    self.torn = Some("a box is shorter than its header");
                }
            }
            State::Start | State::Audio | State::Text | State::Unknown => {}
        }
        self.len_bytes += bytes.len() as u64;
    }
}

/// Walks over top-level MP4 boxes (ISO/IEC 14496-12 §4.2).
#[derive(Debug, Default)]
struct Boxes {
    header: Vec<u8>,
    body_left: u64,
    /// A box of size 0 goes on to the end of the file.
    to_the_end: bool,
}

impl Boxes {
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.to_the_end {
            if self.body_left > 0 {
                let skipped = self.body_left.min(bytes.len() as u64);
                self.body_left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            let wanted = if self.header.len() >= 8 { 16 } else { 8 };
            let taken = bytes.len().min(wanted - self.header.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.header.len() == wanted && !self.read_header() {
                return false;
            }
        }
        true
    }

    fn read_header(&mut self) -> bool {
        let header = self.header.as_slice();
        let size = match (header[..4].try_into().map(u32::from_be_bytes), header.len()) {
            (Ok(1), 8) => return true,
            (Ok(1), _) => u64::from_be_bytes(header[8..16].try_into().expect("eight bytes")),
            (Ok(size), _) => u64::from(size),
            (Err(_), _) => return false,
        };
        let header_bytes = self.header.len() as u64;
        self.header.clear();
        if size == 0 {
            self.to_the_end = true;
            return true;
        }
        match size.checked_sub(header_bytes) {
            Some(left) => self.body_left = left,
            None => return false,
        }
        true
    }

    fn at_boundary(&self) -> bool {
        self.to_the_end || (self.body_left == 0 && self.header.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(bytes: &[u8], piece: usize) -> Shape {
        let mut check = ShapeCheck::default();
        bytes.chunks(piece.max(1)).for_each(|piece| check.feed(piece));
        check.finish()
    }

    fn ts(packets: usize) -> Vec<u8> {
        (0..packets * 188).map(|at| if at % 188 == 0 { 0x47 } else { 0xff }).collect()
    }

    fn mp4() -> Vec<u8> {
        let mut bytes = b"\0\0\0\x0cftypabcd\0\0\0\x08free".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x13xyz");
        bytes
    }

    #[test]
    fn whole_and_torn_are_told_apart_in_pieces_of_any_size() {
        let lost_sync = {
            let mut bytes = ts(4);
            bytes[188] = 0;
            bytes
        };
        for piece in [1, 7, 187, 188, 189, 10_000] {
            assert_eq!(shape(&ts(4), piece), Shape::Whole);
            assert!(matches!(shape(&ts(4)[..700], piece), Shape::Torn(_)));
            assert!(matches!(shape(&lost_sync, piece), Shape::Torn(_)));
            assert_eq!(shape(&mp4(), piece), Shape::Whole);
            for cut in [13, 19, 25, 38] {
                assert!(matches!(shape(&mp4()[..cut], piece), Shape::Torn(_)), "{cut} {piece}");
            }
            assert!(matches!(shape(b"\0\0\0\x08ftyp\0\0\0\x07free", piece), Shape::Torn(_)));
            assert_eq!(shape(b"<!DOCTYPE html><html>", piece), Shape::Text);
            assert_eq!(shape(b"{}", piece), Shape::Text);
            assert_eq!(shape(b"", piece), Shape::Empty);
            assert_eq!(shape(&[0xff, 0xf1, 0x50, 0x80, 1, 2, 3, 4, 5], piece), Shape::Whole);
            assert_eq!(shape(&[0, 1, 2, 3, 4, 5, 6, 7, 8], piece), Shape::Unknown);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_one_shape(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
            prop_assert_eq!(shape(&bytes, piece), shape(&bytes, 1000));
        }
    }
}
