//! From the head of a file to what it is.

use super::encoding::SegmentMedia;
use super::ts::TsProbe;
use super::{fmp4, mp4};

/// What is not known by then is not looked for any further: a large picture before the first sound fits, and so does the
/// initialisation section of any MP4.
pub const MAX_HEAD_BYTES: usize = 1 << 20;

/// What the head of a segment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    Known(SegmentMedia),
    /// More bytes may tell.
    NeedsMore,
    /// More bytes would not help: it is torn, or nothing that we can read.
    Unreadable,
}

/// Reads the head of a self-contained segment: push bytes in order, in pieces of any size, and ask what they tell.
#[derive(Debug, Default)]
pub struct Probe {
    len_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Too few bytes to tell the container.
    Start(Vec<u8>),
    Mp4(Vec<u8>),
    Ts(Box<TsProbe>),
}

impl Default for State {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

/// The name of the first box of MP4 ends here.
const TELLING_BYTES: usize = 8;

impl Probe {
    /// What comes after `MAX_HEAD_BYTES` is not looked at.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(MAX_HEAD_BYTES - self.len_bytes)];
        self.len_bytes += bytes.len();
        match &mut self.state {
            State::Start(head) => {
                head.extend_from_slice(bytes);
                if head.len() < TELLING_BYTES {
                    return;
                }
                let head = std::mem::take(head);
                self.state = if mp4::is_mp4(&head) {
                    State::Mp4(head)
                } else {
                    let mut probe = Box::<TsProbe>::default();
                    probe.push(&head);
                    State::Ts(probe)
                };
            }
            State::Mp4(head) => head.extend_from_slice(bytes),
            State::Ts(probe) => probe.push(bytes),
        }
    }

    /// `is_whole`: there are no more bytes, and none are missing.
    pub fn probed(&self, is_whole: bool) -> Probed {
        let probed = match &self.state {
            State::Start(_) => Probed::NeedsMore,
            State::Mp4(head) => fmp4::read(head, is_whole),
            State::Ts(probe) => probe.probed(is_whole),
        };
        match probed {
            Probed::NeedsMore if is_whole || self.len_bytes == MAX_HEAD_BYTES => Probed::Unreadable,
            probed => probed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe(head: &[u8], is_whole: bool) -> Probed {
        let [mut at_once, mut in_pieces] = [Probe::default(), Probe::default()];
        at_once.push(head);
        head.chunks(1000).for_each(|piece| in_pieces.push(piece));
        let probed = at_once.probed(is_whole);
        // After junk, packets are found by what follows, which a piece may not hold.
        if head.first() == Some(&0x47) {
            assert_eq!(in_pieces.probed(is_whole), probed);
        }
        probed
    }

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_head_is_enough_and_less_asks_for_more() {
        let bytes = vector("av_bf2");
        let Probed::Known(whole) = probe(&bytes, true) else { panic!("it is read") };
        let first = (1..=bytes.len() / 188).find(|packets| probe(&bytes[..packets * 188], false) != Probed::NeedsMore);
        let first = first.unwrap() * 188;
        assert!(first < bytes.len() / 2, "{first}");
        assert_eq!(probe(&bytes[..first], false), Probed::Known(whole));
        // Cut off before the sound: nobody knows whether there was any.
        assert_eq!(probe(&bytes[..first - 188], false), Probed::NeedsMore);
    }

    #[test]
    fn what_the_tables_announce_may_be_missing_in_a_whole_segment_only() {
        let bytes = vector("av_bf2");
        let Probed::Known(both) = probe(&bytes, true) else { panic!("it is read") };
        let sound = both.encoding.audio[0].track as u16;
        let is_sound = |packet: &&[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == sound;
        let silent: Vec<u8> = bytes.chunks(188).filter(|packet| !is_sound(packet)).flatten().copied().collect();
        let Probed::Known(silent_media) = probe(&silent, true) else { panic!("it is read") };
        assert_eq!((silent_media.encoding.video, silent_media.encoding.audio.len()), (both.encoding.video, 0));
        assert_eq!(probe(&silent, false), Probed::NeedsMore);
    }

    #[test]
    fn what_is_no_media_is_unreadable_at_once() {
        for junk in [&[][..], &[7; 500], b"<html>", &[0x47; 188]] {
            assert_eq!(probe(junk, true), Probed::Unreadable, "{junk:x?}");
        }
        assert_eq!(probe(&[7; 500], false), Probed::Unreadable);
    }

    #[test]
    fn every_broken_vector_is_read() {
        for entry in std::fs::read_dir(format!("{}/tests/vectors/ts", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert_ne!(probe(&bytes, true), Probed::NeedsMore);
        }
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(flips in prop::collection::vec((0usize..48_504, any::<u8>()), 0..40), cut in 0usize..48_504) {
            let mut bytes = vector("av_bf2");
            for (at, value) in flips {
                bytes[at] = value;
            }
            let _ = (probe(&bytes[cut..], true), probe(&bytes[..cut], false));
        }

        #[test]
        fn junk_never_panics(junk in prop::collection::vec(any::<u8>(), 0..600), kind in 0usize..3) {
            let start: &[u8] = [&[][..], b"\0\0\0\x20moov\0\0\0\x18trak", &[0x47, 0x40, 0, 0x10, 0]][kind];
            let bytes = [start, &junk].concat();
            let _ = (probe(&bytes, true), probe(&bytes, false));
        }
    }
}
