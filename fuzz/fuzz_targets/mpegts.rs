//! Any bytes are scanned, probed and measured as MPEG-TS; pieces of any size of whole packets say the same as all at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::media::mpegts::{PACKET_BYTES, Packet, PacketFinder, Scan, Summary};
use segvault::media::{Container, FrameRateScan, Probe};

fn assert_sound(summary: &Summary) {
    for track in summary.video.iter().chain(&summary.audio) {
        assert!(track.lowest_pts() <= track.highest_pts() && track.lowest_dts() <= track.highest_dts());
        assert!(track.all_pts().count() > 0);
    }
    assert!(summary.pcr_lead_90k() >= 0);
    let _ = summary.main();
}

fuzz_target!(|input: (u8, &[u8])| {
    let (packets, bytes) = input;
    let piece = (usize::from(packets) + 1) * PACKET_BYTES;
    let (mut whole, mut parts, mut probe) = (Scan::default(), Scan::default(), Probe::default());
    let mut rate = FrameRateScan::new(Container::MpegTs);
    whole.push(bytes);
    for part in bytes.chunks(piece) {
        parts.push(part);
        probe.push(part);
        rate.push(part);
        let _ = probe.probed(false);
    }
    let (whole, parts) = (whole.finish(), parts.finish());
    // After junk, a packet is known by the one after it, which a piece may not hold.
    if bytes.chunks(PACKET_BYTES).all(|packet| packet[0] == 0x47) {
        assert_eq!(whole, parts);
    }
    if let Ok(summary) = &whole {
        assert_sound(summary);
    }
    let _ = (probe.probed(true), rate.finish());
    PacketFinder::default().push(bytes, |packet| {
        let Some(packet) = Packet::new(packet) else { return };
        let _ = (packet.pcr(), packet.pes_header(), packet.elementary().map(<[u8]>::len), packet.pid());
    });
});
