//! Any bytes are read as MP4, head and fragments; a probe fed in pieces says what it says of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::media::{Container, FrameRateScan, Probe, mp4};

/// Boxes within boxes, down to where the samples are described.
const PATH: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];

fuzz_target!(|input: (u16, &[u8])| {
    let (piece, bytes) = input;
    // With the name of a first box, so that it is taken for MP4.
    let mut bytes = bytes.to_vec();
    if !mp4::is_mp4(&bytes) {
        bytes.splice(..0, *b"\0\0\0\x08ftyp");
    }
    assert!(mp4::is_mp4(&bytes));
    let (mut whole, mut parts) = (Probe::default(), Probe::default());
    let mut rate = FrameRateScan::new(Container::FragmentedMp4);
    whole.push(&bytes);
    for part in bytes.chunks(usize::from(piece) + 1) {
        parts.push(part);
        rate.push(part);
    }
    for is_whole in [false, true] {
        assert_eq!(whole.probed(is_whole), parts.probed(is_whole));
    }
    let _ = rate.finish();
    if let Ok(length) = mp4::init_len(&bytes) {
        assert!(length <= bytes.len(), "{length} of {}", bytes.len());
    }
    let within: usize = mp4::boxes(&bytes).map(|(_, content)| content.len() + 8).sum();
    assert!(within <= bytes.len());
    for depth in 1..=PATH.len() {
        let _ = mp4::find(&bytes, &PATH[..depth]);
    }
});
