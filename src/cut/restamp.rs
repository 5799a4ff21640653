//! Rewrites what must fit together where files are joined: continuity counters, and time stamps where asked.
//!
//! Promises: payloads are untouched (what follows a decoding time that had to be put in may go on in a packet more); a counter that jumps inside a file still jumps, one that jumps only because two files
//! meet does not.

use bytes::{Bytes, BytesMut};

use super::dates::{Dates, Mend};
use crate::media::mpegts::{
    PACKET_BYTES, Packet, PacketFinder, Pid, SYNC_BYTE, WRAP_90K, insert_dts, set_continuity, set_stamps, shift_stamps,
    unwrap_near,
};

/// PES stream ids of video and audio (ISO/IEC 13818-1, table 2-22).
pub(super) const VIDEO_IDS: std::ops::RangeInclusive<u8> = 0xe0..=0xef;

/// The two highest PTS of a kind of stream that have gone by.
#[derive(Debug, Clone, Copy, Default)]
struct Highest {
    first: Option<i64>,
    second: Option<i64>,
}

impl Highest {
    fn see(&mut self, raw: u64) {
        let Some(first) = self.first else {
            self.first = Some(raw as i64);
            return;
        };
        let pts = unwrap_near(raw, first);
        if pts > first {
            (self.first, self.second) = (Some(pts), Some(first));
        } else if pts < first && self.second.is_none_or(|second| pts > second) {
            self.second = Some(pts);
        }
    }

    fn next(self) -> Option<i64> {
        let first = self.first?;
        Some(first + self.second.map_or(SOLE_FRAME_90K, |second| first - second))
    }
}

/// How long the only frame of a whole output is taken to last: nothing tells, so 1/30 s.
const SOLE_FRAME_90K: i64 = 3000;

/// How far an output has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    video: Highest,
    other: Highest,
}

impl Reached {
    /// The PTS at which the next frame would follow without a gap: the last one's, and as long again as it lies after
    /// the one before it. Of the video if there is any, else of the audio. `None` before the first frame.
    pub fn next_pts(&self) -> Option<i64> {
        self.video.next().or(self.other.next())
    }
}

/// One output stream made of several inputs.
#[derive(Debug)]
pub struct Restamp {
    finder: PacketFinder,
    rewrite: Rewrite,
}

/// What is done to each packet.
#[derive(Debug)]
struct Rewrite {
    counters: Counters,
    shift_90k: i64,
    reached: Reached,
    /// Where decoding times are made to rise.
    dates: Option<Dates>,
}

impl Default for Restamp {
    fn default() -> Self {
        let rewrite = Rewrite { counters: Counters::new(), shift_90k: 0, reached: Reached::default(), dates: None };
        Self { finder: PacketFinder::default(), rewrite }
    }
}

impl Restamp {
    /// One that only shifts.
    pub fn shifting(shift_90k: i64) -> Self {
        let mut restamp = Self::default();
        restamp.rewrite.shift_90k = shift_90k;
        restamp
    }

    /// The same, but decoding times that do not rise are mended.
    pub fn mending(self) -> Self {
        Self { rewrite: Rewrite { dates: Some(Dates::default()), ..self.rewrite }, ..self }
    }

    /// How many frames had decoding times that had to be mended.
    pub fn mended(&self) -> u64 {
        self.rewrite.dates.as_ref().map_or(0, Dates::mended)
    }

    /// The decoding times of a stream have to be made up: the next one's, as it goes out, and how long its frames last.
    pub fn expect_dts(&mut self, pid: Pid, next_dts: i64, step_90k: i64) {
        if let Some(dates) = &mut self.rewrite.dates {
            dates.expect(pid, next_dts, step_90k);
        }
    }

    /// The file that comes next need not follow what went before as it did in the source.
    pub fn join(&mut self) {
        if let Some(dates) = &mut self.rewrite.dates {
            dates.begin(true);
        }
    }

    /// The next bytes are another file's; their stamps are to be moved by `shift_90k` ticks.
    pub fn begin(&mut self, shift_90k: i64) {
        self.finder.start_over();
        self.rewrite.counters.begin();
        self.rewrite.shift_90k = shift_90k;
        if let Some(dates) = &mut self.rewrite.dates {
            dates.begin(false);
        }
    }

    /// Takes bytes in pieces of any length; gives the packets that are whole by now. A piece that nobody else holds and that
    /// starts with a packet is rewritten where it is.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        let mut done = BytesMut::new();
        let mut rest = bytes;
        if self.finder.is_between_packets() {
            let mut own = rest.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            let (aligned_bytes, more) = self.rewrite.aligned(&mut own);
            if aligned_bytes == own.len() && more.is_none() {
                return own.freeze();
            }
            let unaligned = own.split_off(aligned_bytes);
            (done, rest) = (own, unaligned.freeze());
            done.extend_from_slice(more.as_ref().map_or(&[], |more| more.as_slice()));
        }
        // What begins in one piece and ends in another, or after something that is no packet, or one more than there were.
        done.reserve(if rest.len() < PACKET_BYTES { 0 } else { rest.len() + PACKET_BYTES });
        let Self { finder, rewrite } = self;
        finder.push(&rest, |packet| {
            let at = done.len();
            done.extend_from_slice(packet);
            let packet = done[at..].first_chunk_mut().expect("a whole packet was appended");
            if let Some(more) = rewrite.packet(packet) {
                done.extend_from_slice(&more);
            }
        });
        done.freeze()
    }

    pub fn reached(&self) -> &Reached {
        &self.rewrite.reached
    }
}

impl Rewrite {
    /// Rewrites the packets that follow each other from the first byte on; gives the bytes that they take. Ends after one that
    /// another has to follow, and gives that.
    fn aligned(&mut self, bytes: &mut [u8]) -> (usize, Option<[u8; PACKET_BYTES]>) {
        let mut count = 0;
        let mut more = None;
        for packet in bytes.as_chunks_mut::<PACKET_BYTES>().0 {
            if packet[0] != SYNC_BYTE {
                break;
            }
            more = self.packet(packet);
            count += 1;
            if more.is_some() {
                break;
            }
        }
        (count * PACKET_BYTES, more)
    }

    /// Gives a packet that has to follow this one, if there is one.
    fn packet(&mut self, bytes: &mut [u8; PACKET_BYTES]) -> Option<[u8; PACKET_BYTES]> {
        let packet = Packet::new(bytes)?;
        let (pid, counter, may_hold_stamps) = (packet.pid(), self.counters.next(packet), packet.may_hold_stamps());
        let mut more = if may_hold_stamps { self.times(bytes) } else { None };
        if let Some(counter) = counter {
            set_continuity(bytes, counter);
        }
        if let Some(more) = &mut more {
            set_continuity(more, self.counters.more(pid));
        }
        more
    }

    fn times(&mut self, bytes: &mut [u8; PACKET_BYTES]) -> Option<[u8; PACKET_BYTES]> {
        if self.shift_90k != 0 {
            shift_stamps(bytes, self.shift_90k);
        }
        let packet = Packet::new(bytes)?;
        let (pid, header) = (packet.pid(), packet.pes_header()?);
        let mut pts = header.pts?;
        let mut more = None;
        if let Some(dates) = &mut self.dates
            && let Mend::Set { pts: shown, dts } = dates.see(pid, header)
        {
            pts = shown.rem_euclid(WRAP_90K) as u64;
            if header.dts.is_none() && dts != shown {
                more = insert_dts(bytes, dts);
            }
            set_stamps(bytes, shown, dts);
        }
        let highest =
            if VIDEO_IDS.contains(&header.stream_id) { &mut self.reached.video } else { &mut self.reached.other };
        highest.see(pts);
        more
    }
}

/// Continuity counters per PID: the last one that went out, and what is added to this file's.
#[derive(Debug)]
struct Counters {
    last: Box<[u8]>,
    offset: Box<[u8]>,
}

/// No counter: they have four bits.
const UNSET: u8 = 0xff;

impl Counters {
    fn new() -> Self {
        Self { last: vec![UNSET; Pid::COUNT].into(), offset: vec![UNSET; Pid::COUNT].into() }
    }

    fn begin(&mut self) {
        self.offset.fill(UNSET);
    }

    fn next(&mut self, packet: Packet<'_>) -> Option<u8> {
        let pid = packet.pid();
        if pid == Pid::NULL {
            return None;
        }
        let (last, offset) = (&mut self.last[pid.index()], &mut self.offset[pid.index()]);
        if *offset == UNSET {
            // A packet without payload repeats the counter of the one before it.
            let follows = if *last == UNSET { packet.continuity() } else { *last + u8::from(packet.has_payload()) };
            *offset = follows.wrapping_sub(packet.continuity()) & 0x0f;
        }
        *last = (packet.continuity() + *offset) & 0x0f;
        Some(*last)
    }

    /// That of a packet which this file does not have.
    fn more(&mut self, pid: Pid) -> u8 {
        let (last, offset) = (&mut self.last[pid.index()], &mut self.offset[pid.index()]);
        *last = (*last + 1) & 0x0f;
        *offset = (*offset + 1) & 0x0f;
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pid: u8, continuity: u8, has_payload: bool) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..5].copy_from_slice(&[0x47, 0, pid, if has_payload { 0x10 } else { 0x20 } | continuity, 183]);
        bytes
    }

    fn counters(restamp: &mut Restamp, packets: &[[u8; PACKET_BYTES]]) -> Vec<u8> {
        restamp
            .push(Bytes::copy_from_slice(packets.as_flattened()))
            .chunks(PACKET_BYTES)
            .map(|packet| packet[3] & 0x0f)
            .collect()
    }

    #[test]
    fn counters_go_on_over_a_join_and_still_jump_inside_a_file() {
        let mut restamp = Restamp::default();
        restamp.begin(0);
        let first = [packet(5, 14, true), packet(5, 15, true), packet(6, 3, true), packet(5, 0, true)];
        assert_eq!(counters(&mut restamp, &first), [14, 15, 3, 0]);
        restamp.begin(0);
        let second = [packet(5, 9, true), packet(5, 9, false), packet(5, 12, true), packet(6, 4, true)];
        assert_eq!(counters(&mut restamp, &second), [1, 1, 4, 4]);
        restamp.begin(0);
        assert_eq!(counters(&mut restamp, &[packet(5, 7, false), packet(5, 8, true)]), [4, 5]);
    }

    #[test]
    fn pieces_of_any_length_and_of_any_owner_come_out_the_same() {
        let mut stream = vec![1, 2, 3];
        for at in 0..40 {
            stream.extend(packet(5 + at % 3, at * 3 % 16, at % 4 != 0));
            if at == 20 {
                stream.extend([0; 50]);
            }
        }
        let rewritten = |piece: usize, is_shared: bool| {
            let mut restamp = Restamp::default();
            let mut out = Vec::new();
            restamp.begin(7);
            // What is no packet goes whole: a sync byte in it can only be told by what follows.
            for part in [&stream[..400]].into_iter().chain(stream[400..].chunks(piece)) {
                let bytes = Bytes::copy_from_slice(part);
                let held = is_shared.then(|| bytes.clone());
                out.extend_from_slice(&restamp.push(bytes));
                assert!(held.is_none_or(|held| held == part), "what others hold was changed");
            }
            out
        };
        let whole = rewritten(stream.len(), false);
        assert_eq!(whole.len(), 40 * PACKET_BYTES);
        for piece in [1, 187, 188, 189, 376, 1000] {
            assert_eq!(rewritten(piece, false), whole, "{piece}");
            assert_eq!(rewritten(piece, true), whole, "{piece}");
        }
    }

    #[test]
    fn the_next_frame_follows_as_far_as_the_last_one_did() {
        let mut highest = Highest::default();
        assert_eq!(highest.next(), None);
        highest.see(100);
        assert_eq!(highest.next(), Some(100 + SOLE_FRAME_90K));
        for raw in [400, 200, 300, 300] {
            highest.see(raw);
        }
        assert_eq!(highest.next(), Some(500));
    }
}
