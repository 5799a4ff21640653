//! Any bytes are re-timed, in any pieces: nobody panics, packets come out in their number, and nothing but stamps and counters
//! changes. Where decoding times are mended, there may be packets more, and no byte of a stream is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::cut::Restamp;
use segvault::media::mpegts::{PACKET_BYTES, Packet, PacketFinder};

/// Past the wrap and back, and by an odd number.
const SHIFTS: [i64; 6] = [0, 1, -90_001, 1 << 32, i64::MAX, i64::MIN];

/// The bytes of all elementary streams, one packet after the other.
fn elementary(bytes: &[u8]) -> Vec<u8> {
    let packets = bytes.as_chunks().0.iter().filter_map(Packet::new);
    packets.flat_map(|packet| packet.elementary().unwrap_or_default()).copied().collect()
}

fuzz_target!(|input: (u8, u8, u16, &[u8])| {
    let (first, second, piece, bytes) = input;
    let shift = |at: u8| SHIFTS[usize::from(at) % SHIFTS.len()];
    let (piece, half) = (usize::from(piece) + 1, bytes.len() / 2);
    let mut restamp = Restamp::default();
    let mut out = Vec::new();
    let mut packets = Vec::new();
    for (part, shift) in [(&bytes[..half], shift(first)), (&bytes[half..], shift(second))] {
        restamp.begin(shift);
        let mut finder = PacketFinder::default();
        for some in part.chunks(piece) {
            out.extend_from_slice(&restamp.push(some.to_vec().into()));
            finder.push(some, |packet| packets.push(*packet));
        }
        let _ = restamp.reached().next_pts();
    }
    assert_eq!(out.len(), packets.len() * PACKET_BYTES);
    for (after, before) in out.chunks_exact(PACKET_BYTES).zip(&packets) {
        assert_eq!(after[..3], before[..3], "the PID or a flag changed");
        assert_eq!(after[3] & 0xf0, before[3] & 0xf0, "more than the counter changed");
        let is_changed = (4..PACKET_BYTES).filter(|at| after[*at] != before[*at]).count();
        // Two clock references and two stamps, five bytes each.
        assert!(is_changed <= 20, "{is_changed} bytes changed");
    }
    let mut mending = Restamp::default().mending();
    let mut mended = Vec::new();
    for (part, shift) in [(&bytes[..half], shift(first)), (&bytes[half..], shift(second))] {
        mending.begin(shift);
        for some in part.chunks(piece) {
            mended.extend_from_slice(&mending.push(some.to_vec().into()));
        }
        let _ = mending.reached().next_pts();
    }
    assert!(mended.len() >= out.len() && mended.len() <= out.len() + mending.mended() as usize * PACKET_BYTES);
    assert_eq!(elementary(&mended), elementary(packets.as_flattened()));
});
