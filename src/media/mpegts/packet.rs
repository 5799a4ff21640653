//! One packet of 188 bytes, the stamps in it, and the finding of packets in bytes that come in pieces.

use std::fmt;

pub const PACKET_BYTES: usize = 188;
/// What each packet begins with.
pub const SYNC_BYTE: u8 = 0x47;
/// The length byte, the flags, and six bytes of clock reference.
const ADAPTATION_WITH_PCR_BYTES: usize = 7;
/// Bytes of a PES header before its optional fields; PTS and DTS take five bytes each from there.
const PES_FIXED_BYTES: usize = 9;
const STAMP_BYTES: usize = 5;

/// The 13 bits that tell the streams within a transport stream apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(u16);

impl Pid {
    pub const PAT: Pid = Pid(0);
    pub const NULL: Pid = Pid(0x1fff);
    pub const COUNT: usize = 0x2000;

    /// Takes the low 13 bits of two bytes.
    pub fn from_bytes(high: u8, low: u8) -> Self {
        Self(u16::from(high & 0x1f) << 8 | u16::from(low))
    }

    pub const fn number(self) -> u16 {
        self.0
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Read access to a packet. Every length in it has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8; PACKET_BYTES]);

/// PTS and DTS of a PES packet, 33 bits each. `dts` is `None` where it equals `pts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PesHeader {
    pub stream_id: u8,
    pub pts: Option<u64>,
    pub dts: Option<u64>,
}

impl<'a> Packet<'a> {
    /// `None` for a packet that its sender marked as broken.
    pub fn new(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let transport_error = bytes[1] & 0x80 != 0;
        (bytes[0] == SYNC_BYTE && !transport_error).then_some(Self(bytes))
    }

    pub fn pid(self) -> Pid {
        Pid::from_bytes(self.0[1], self.0[2])
    }

    /// Whether a section or PES packet starts here.
    pub fn starts_unit(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    pub fn continuity(self) -> u8 {
        self.0[3] & 0x0f
    }

    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// Whether it is worth looking for stamps and clock references: most packets have neither.
    pub fn may_hold_stamps(self) -> bool {
        self.starts_unit() || self.has_adaptation()
    }

    fn is_scrambled(self) -> bool {
        self.0[3] & 0xc0 != 0
    }

    fn has_adaptation(self) -> bool {
        self.0[3] & 0x20 != 0
    }

    /// Where the payload starts; `None` without one, or if the adaptation field claims more than there is.
    fn payload_at(self) -> Option<usize> {
        let at = if self.has_adaptation() { 5 + usize::from(self.0[4]) } else { 4 };
        (self.has_payload() && at < PACKET_BYTES).then_some(at)
    }

    pub fn payload(self) -> Option<&'a [u8]> {
        Some(&self.0[self.payload_at()?..])
    }

    /// The program clock reference in 90 kHz ticks.
    pub fn pcr(self) -> Option<u64> {
        let at = self.clock_references()[0]?;
        Some(read_clock(&self.0[at..]))
    }

    /// Where PCR and OPCR stand.
    fn clock_references(self) -> [Option<usize>; 2] {
        let long_enough = self.has_adaptation() && usize::from(self.0[4]) >= ADAPTATION_WITH_PCR_BYTES;
        if !long_enough || usize::from(self.0[4]) > PACKET_BYTES - 5 {
            return [None, None];
        }
        let (has_pcr, has_opcr) = (self.0[5] & 0x10 != 0, self.0[5] & 0x08 != 0);
        let opcr_at = if has_pcr { 12 } else { 6 };
        let opcr_fits = opcr_at + 6 <= 5 + usize::from(self.0[4]);
        [has_pcr.then_some(6), (has_opcr && opcr_fits).then_some(opcr_at)]
    }

    /// The PES header that starts in this packet, if one does. A header that runs on into the next packet counts as one
    /// without stamps if they are not in this one: no muxer does that.
    pub fn pes_header(self) -> Option<PesHeader> {
        let (at, stream_id) = self.pes_at()?;
        let [pts, dts] = self.stamps_at(at);
        let read = |at: usize| read_stamp(&self.0[at..]);
        Some(PesHeader { stream_id, pts: pts.map(read), dts: dts.map(read) })
    }

    /// The bytes of an elementary stream in this packet: the payload, past a PES header that starts here.
    pub fn elementary(self) -> Option<&'a [u8]> {
        let payload = self.payload()?;
        match self.pes_at() {
            Some(_) => payload.get(PES_FIXED_BYTES + usize::from(*payload.get(8)?)..),
            None => Some(payload),
        }
    }

    fn pes_at(self) -> Option<(usize, u8)> {
        if !self.starts_unit() || self.is_scrambled() {
            return None;
        }
        let at = self.payload_at()?;
        match &self.0[at..] {
            [0, 0, 1, stream_id, ..] if has_pes_extension(*stream_id) => Some((at, *stream_id)),
            _ => None,
        }
    }

    /// Where PTS and DTS stand in the PES header at `at`. Their marker bits are not looked at, as ffmpeg does not: some
    /// encoders get them wrong.
    fn stamps_at(self, at: usize) -> [Option<usize>; 2] {
        let header = &self.0[at..];
        if header.len() < PES_FIXED_BYTES {
            return [None, None];
        }
        let present = (header.len() - PES_FIXED_BYTES).min(usize::from(header[8])) / STAMP_BYTES;
        let first = at + PES_FIXED_BYTES;
        match header[7] >> 6 {
            0b10 if present >= 1 => [Some(first), None],
            0b11 if present >= 2 => [Some(first), Some(first + STAMP_BYTES)],
            _ => [None, None],
        }
    }
}

/// Stream ids whose PES packets have no header beyond the length (ISO/IEC 13818-1, table 2-21).
fn has_pes_extension(stream_id: u8) -> bool {
    !matches!(stream_id, 0..0xbc | 0xbc | 0xbe | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff)
}

fn read_stamp(bytes: &[u8]) -> u64 {
    let byte = |at: usize| u64::from(bytes[at]);
    (byte(0) >> 1 & 7) << 30 | byte(1) << 22 | byte(2) >> 1 << 15 | byte(3) << 7 | byte(4) >> 1
}

fn write_stamp(bytes: &mut [u8], stamp: u64) {
    bytes[0] = bytes[0] & 0xf1 | ((stamp >> 30 & 7) << 1) as u8;
    bytes[1] = (stamp >> 22) as u8;
    bytes[2] = (stamp >> 15 << 1) as u8 | 1;
    bytes[3] = (stamp >> 7) as u8;
    bytes[4] = (stamp << 1) as u8 | 1;
}

fn read_clock(bytes: &[u8]) -> u64 {
    let high = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    u64::from(high) << 1 | u64::from(bytes[4] >> 7)
}

fn write_clock(bytes: &mut [u8], ticks: u64) {
    bytes[..4].copy_from_slice(&((ticks >> 1) as u32).to_be_bytes());
    bytes[4] = bytes[4] & 0x7f | (ticks as u8 & 1) << 7;
}

/// Adds to every stamp and clock reference of a packet, modulo 33 bits.
pub fn shift_stamps(bytes: &mut [u8; PACKET_BYTES], shift_90k: i64) {
    let shifted = |raw: u64| (raw as i64).wrapping_add(shift_90k).rem_euclid(super::WRAP_90K) as u64;
    let Some(packet) = Packet::new(bytes) else { return };
    let clocks = packet.clock_references();
    let stamps = packet.pes_at().map_or([None, None], |(at, _)| packet.stamps_at(at));
    for at in clocks.into_iter().flatten() {
        let ticks = shifted(read_clock(&bytes[at..]));
        write_clock(&mut bytes[at..], ticks);
    }
    for at in stamps.into_iter().flatten() {
        let stamp = shifted(read_stamp(&bytes[at..]));
        write_stamp(&mut bytes[at..], stamp);
    }
}

/// Replaces the stamps of a frame that starts in a packet, of which there may be one: modulo 33 bits.
pub fn set_stamps(bytes: &mut [u8; PACKET_BYTES], pts_90k: i64, dts_90k: i64) {
    let Some((packet, (at, _))) = Packet::new(bytes).and_then(|packet| Some((packet, packet.pes_at()?))) else {
        return;
    };
    for (at, stamp) in packet.stamps_at(at).into_iter().zip([pts_90k, dts_90k]) {
        if let Some(at) = at {
            write_stamp(&mut bytes[at..], stamp.rem_euclid(super::WRAP_90K) as u64);
        }
    }
}

/// Gives a DTS to a frame that starts in a packet and has a PTS alone. Its header takes five bytes more, so that many are pushed
/// into a packet that has to follow. `None`, and nothing done, where that is not possible.
pub fn insert_dts(bytes: &mut [u8; PACKET_BYTES], dts_90k: i64) -> Option<[u8; PACKET_BYTES]> {
    let packet = Packet::new(bytes)?;
    let (at, _) = packet.pes_at()?;
    let [Some(pts_at), None] = packet.stamps_at(at) else { return None };
    let dts_at = pts_at + STAMP_BYTES;
    // The whole header stays in this packet: what is pushed out belongs to the stream.
    let header_bytes = bytes[at + 8].checked_add(STAMP_BYTES as u8)?;
    if at + PES_FIXED_BYTES + usize::from(header_bytes) > PACKET_BYTES {
        return None;
    }
    let mut next = [0xff; PACKET_BYTES];
    let pushed_at = PACKET_BYTES - STAMP_BYTES;
    // Stuffing before a payload of five bytes: an adaptation field without anything.
    next[..6].copy_from_slice(&[
        SYNC_BYTE,
        bytes[1] & 0x3f,
        bytes[2],
        0x30 | bytes[3] & 0x0f,
        (pushed_at - 5) as u8,
        0,
    ]);
    next[pushed_at..].copy_from_slice(&bytes[pushed_at..]);
    bytes.copy_within(dts_at..pushed_at, dts_at + STAMP_BYTES);
    bytes[at + 7] |= 0b0100_0000;
    bytes[at + 8] = header_bytes;
    bytes[pts_at] = bytes[pts_at] & 0x0f | 0x30;
    bytes[dts_at] = 0x11;
    write_stamp(&mut bytes[dts_at..], dts_90k.rem_euclid(super::WRAP_90K) as u64);
    let length = u16::from_be_bytes([bytes[at + 4], bytes[at + 5]]);
    if length > 0 {
        // None at all where it would be too long.
        let length = length.checked_add(STAMP_BYTES as u16).unwrap_or(0);
        bytes[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
    }
    Some(next)
}

pub fn set_continuity(bytes: &mut [u8; PACKET_BYTES], counter: u8) {
    bytes[3] = bytes[3] & 0xf0 | counter & 0x0f;
}

/// Finds packets in bytes that come in pieces of any length. What lies between packets is skipped, as is an unfinished
/// packet at the end.
#[derive(Debug, Default)]
pub struct PacketFinder {
    /// The start of a packet whose end has not come yet.
    rest: Vec<u8>,
}

impl PacketFinder {
    pub fn push(&mut self, mut bytes: &[u8], mut visit: impl FnMut(&[u8; PACKET_BYTES])) {
        if !self.rest.is_empty() {
            let missing = PACKET_BYTES - self.rest.len();
            let (head, tail) = bytes.split_at(missing.min(bytes.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            let Some(packet) = self.rest.first_chunk::<PACKET_BYTES>() else { return };
            visit(packet);
            self.rest.clear();
        }
        while let Some(at) = next_packet(bytes) {
            bytes = &bytes[at..];
            let Some((packet, tail)) = bytes.split_first_chunk::<PACKET_BYTES>() else {
                self.rest.extend_from_slice(bytes);
                return;
            };
            visit(packet);
            bytes = tail;
        }
    }

    /// Whether what comes next need not be put together with what came.
    pub fn is_between_packets(&self) -> bool {
        self.rest.is_empty()
    }

    /// Forgets an unfinished packet: what comes next is another file.
    pub fn start_over(&mut self) {
        self.rest.clear();
    }
}

/// Where the next packet starts. After junk, a sync byte counts only if another follows where the next packet would be.
fn next_packet(bytes: &[u8]) -> Option<usize> {
    if bytes.first()? == &SYNC_BYTE {
        return Some(0);
    }
    (1..bytes.len())
        .find(|at| bytes[*at] == SYNC_BYTE && bytes.get(at + PACKET_BYTES).is_none_or(|next| *next == SYNC_BYTE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::WRAP_90K;
    use super::*;

    /// A packet with PCR 100, PTS 300 and DTS 200.
    fn stamped() -> [u8; PACKET_BYTES] {
        let mut bytes = [0xaa; PACKET_BYTES];
        bytes[..6].copy_from_slice(&[SYNC_BYTE, 0x41, 0x00, 0x35, 7, 0x10]);
        bytes[6..12].copy_from_slice(&[0, 0, 0, 0, 0x7e, 5]);
        write_clock(&mut bytes[6..], 100);
        bytes[12..21].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10]);
        bytes[21] = 0x31;
        bytes[26] = 0x11;
        write_stamp(&mut bytes[21..], 300);
        write_stamp(&mut bytes[26..], 200);
        bytes
    }

    #[test]
    fn stamps_are_read_and_shifted_through_the_wrap() {
        let mut bytes = stamped();
        for (shift, pcr, pts, dts) in
            [(0, 100, 300, 200), (-250, WRAP_90K - 150, 50, WRAP_90K - 50), (250, 100, 300, 200)]
        {
            shift_stamps(&mut bytes, shift);
            let packet = Packet::new(&bytes).unwrap();
            let header = packet.pes_header().unwrap();
            assert_eq!(packet.pcr(), Some(pcr as u64));
            assert_eq!((header.pts, header.dts), (Some(pts as u64), Some(dts as u64)));
        }
        assert_eq!(bytes, stamped());
    }

    #[test]
    fn packets_are_found_after_junk_and_across_pieces() {
        let mut bytes = vec![1, 2, SYNC_BYTE, 3];
        for _ in 0..3 {
            bytes.extend(stamped());
        }
        bytes.extend(&stamped()[..100]);
        for piece in [1, 7, 187, 188, 189, 1000] {
            let mut finder = PacketFinder::default();
            let mut found = 0;
            // The junk goes first and whole: a sync byte in it can only be told by what follows.
            finder.push(&bytes[..4 + PACKET_BYTES], |packet| found += usize::from(*packet == stamped()));
            for part in bytes[4 + PACKET_BYTES..].chunks(piece) {
                finder.push(part, |packet| found += usize::from(*packet == stamped()));
            }
            assert_eq!(found, 3, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_dts_is_put_in_and_what_has_no_room_goes_into_the_next_packet() {
        let mut right = stamped();
        for (at, byte) in right[31..].iter_mut().enumerate() {
            *byte = at as u8;
        }
        let mut alone = right;
        // The same without a DTS, and a length.
        alone[16..18].copy_from_slice(&[0, 200]);
        (alone[19], alone[20], alone[21]) = (0x80, 5, 0x21 | alone[21] & 0x0e);
        alone.copy_within(31.., 26);
        let mut put_in = alone;
        let next = insert_dts(&mut put_in, 200 - WRAP_90K).unwrap();
        let header = Packet::new(&put_in).unwrap().pes_header().unwrap();
        assert_eq!((header.pts, header.dts), (Some(300), Some(200)));
        assert_eq!((put_in[16], put_in[17], put_in[19], put_in[20], put_in[21] >> 4), (0, 205, 0xc0, 10, 3));
        let content = |bytes| Packet::new(bytes).unwrap().elementary().unwrap().to_vec();
        assert_eq!([content(&put_in), content(&next)].concat(), content(&alone));
        assert_eq!((Packet::new(&next).unwrap().starts_unit(), content(&next).len()), (false, 5));
        // It has one by then.
        assert_eq!(insert_dts(&mut put_in, 5), None);
        set_stamps(&mut put_in, 7, 5);
        let header = Packet::new(&put_in).unwrap().pes_header().unwrap();
        assert_eq!((header.pts, header.dts), (Some(7), Some(5)));
    }

    proptest! {
        #[test]
        fn stamps_survive_writing(stamp in 0u64..1 << 33, junk in prop::array::uniform6(any::<u8>())) {
            let mut bytes = junk;
            write_stamp(&mut bytes, stamp);
            prop_assert_eq!(read_stamp(&bytes), stamp);
            let mut bytes = junk;
            write_clock(&mut bytes, stamp);
            prop_assert_eq!(read_clock(&bytes), stamp);
        }

        #[test]
        fn any_packet_is_read(mut bytes in prop::collection::vec(any::<u8>(), PACKET_BYTES), shift in any::<i64>()) {
            bytes[0] = SYNC_BYTE;
            bytes[1] &= 0x7f;
            let mut bytes: [u8; PACKET_BYTES] = bytes.try_into().unwrap();
            let packet = Packet::new(&bytes).unwrap();
            let _ = (packet.pcr(), packet.pes_header(), packet.elementary());
            shift_stamps(&mut bytes, shift);
            set_stamps(&mut bytes, shift, shift);
            let _ = insert_dts(&mut bytes, shift);
        }
    }
}
