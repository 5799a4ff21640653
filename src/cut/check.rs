//! Watches the transport stream of a cut as it goes out.
//!
//! Promises: what is wrong is told with the piece of the stream in which it shows; memory does not grow with the stream.
//! Never: changes a byte.

use super::restamp::VIDEO_IDS;
use crate::media::adts_ticks;
use crate::media::mpegts::{AudioCoding, Codec, PACKET_BYTES, Packet, PacketFinder, Pid, Tables, unwrap_near};

/// PES stream ids of MPEG audio, AAC among it (ISO/IEC 13818-1, table 2-22).
const AUDIO_IDS: std::ops::RangeInclusive<u8> = 0xc0..=0xdf;
/// Streams of a cut that are watched; more are none that we know.
const MAX_STREAMS: usize = 32;
/// A PES packet of audio is a tenth of this. Longer ones are not looked into.
const MAX_TAIL_BYTES: usize = 64 * 1024;
/// How far the clock may step where two parts meet, beyond what is missing between them, and how far back: parts may
/// have their clocks run ahead of their frames by different times.
const JOIN_STEP_90K: i64 = 90_000;
/// How far it may step within a part: as the source has it, but for what no player would wait for.
const PART_STEP_90K: i64 = 10 * 90_000;
/// How long one frame of sound may last where nothing tells: 2048 samples at 48 kHz, as HE-AAC has them.
const LONGEST_SOUND_90K: i64 = 3840;
/// What a frame of video is taken to last where there is only one.
pub(super) const SOLE_FRAME_90K: i64 = 3000;

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckFault {
    #[error("the decoding time {after} of stream {pid} follows {before}")]
    NotRising { pid: Pid, before: i64, after: i64 },
    #[error("the program clock steps from {before} to {after}")]
    ClockGap { before: i64, after: i64 },
    #[error("{came} frames came out where {expected} were expected")]
    Frames { expected: u64, came: u64 },
    #[error("the sound is lost")]
    NoSound,
    #[error("the sound starts {apart_ms} ms after it should")]
    SoundStart { apart_ms: i64 },
    #[error("the sound ends {apart_ms} ms after it should")]
    SoundEnd { apart_ms: i64 },
}

/// What a part must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Expected {
    /// Frames of video that have a time stamp. `None` where nobody could count.
    pub frames: Option<u64>,
    /// From a damaged source fewer may come.
    pub may_miss: bool,
    /// Where the part's sound must begin and end, in ticks after its first frame; where the source has sound there.
    pub sound_start_90k: Option<i64>,
    pub sound_end_90k: Option<i64>,
}

/// What a part was like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub frames: u64,
    /// By how many milliseconds the sound starts, and ends, after it was to; where there is any and it was checked.
    pub sound_start_ms: Option<i64>,
    pub sound_end_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    tables: Tables,
    lines: Vec<Line>,
    clock: ProgramClock,
    fault: Option<CheckFault>,
}

/// One elementary stream.
#[derive(Debug)]
struct Line {
    pid: Pid,
    kind: Kind,
    last_dts: i64,
    /// Of the part that is going out.
    part: PartLine,
    /// The last PES packet of audio, as far as it has come.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Video,
    Adts,
    OtherAudio,
}

#[derive(Debug, Clone, Copy, Default)]
struct PartLine {
    stamps: u64,
    first_pts: i64,
    highest_pts: i64,
    second_pts: Option<i64>,
}

#[derive(Debug, Default)]
struct ProgramClock {
    /// The one that counts in this part.
    pid: Option<Pid>,
    last: Option<i64>,
    is_join: bool,
    missing_90k: i64,
    longest_step_90k: i64,
}

impl Watch {
    /// The next bytes are another part's, before which this much may be missing.
    pub fn begin(&mut self, missing_90k: i64) {
        for line in &mut self.lines {
            line.part = PartLine::default();
            line.tail.clear();
        }
        self.clock.pid = None;
        self.clock.is_join = true;
        self.clock.missing_90k = missing_90k.max(0);
    }

    /// Takes whole packets.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CheckFault> {
        debug_assert!(bytes.len().is_multiple_of(PACKET_BYTES));
        for packet in bytes.as_chunks().0 {
            self.packet(packet);
        }
        self.fault.map_or(Ok(()), Err)
    }

    /// Ends a part.
    pub fn end(&mut self, expected: Expected) -> Result<Seen, CheckFault> {
        let video = self.lines.iter().find(|line| line.kind == Kind::Video && line.part.stamps > 0);
        let frames = self.lines.iter().filter(|line| line.kind == Kind::Video).map(|line| line.part.stamps).sum();
        if let Some(expected_frames) = expected.frames
            && frames != expected_frames
            && !(expected.may_miss && frames < expected_frames)
        {
            return Err(CheckFault::Frames { expected: expected_frames, came: frames });
        }
        let mut seen = Seen { frames, ..Seen::default() };
        let Some(video) = video else { return Ok(seen) };
        let frame_90k = video.part.last_step().unwrap_or(SOLE_FRAME_90K);
        for sound in self.lines.iter().filter(|line| line.kind != Kind::Video && line.part.stamps > 0) {
            let (end, sound_90k) = sound.sound_end();
            // Either is made of whole frames, so that each may be off by one of its own.
            let tolerance_90k = frame_90k + sound_90k;
            let after_first = |pts: i64| pts - video.part.first_pts;
            if let Some(due) = expected.sound_start_90k {
                let apart = after_first(sound.part.first_pts) - due;
                seen.sound_start_ms = Some(apart / 90);
                if apart.abs() > tolerance_90k {
                    return Err(CheckFault::SoundStart { apart_ms: apart / 90 });
                }
            }
            if let Some(due) = expected.sound_end_90k {
                let apart = after_first(end) - due;
                seen.sound_end_ms = Some(apart / 90);
                if apart.abs() > tolerance_90k {
                    return Err(CheckFault::SoundEnd { apart_ms: apart / 90 });
                }
            }
        }
        let has_sound = self.lines.iter().any(|line| line.kind != Kind::Video && line.part.stamps > 0);
        // A part of a frame or two may lie within one frame of sound.
        let is_long = video.part.highest_pts - video.part.first_pts > 2 * LONGEST_SOUND_90K;
        if !has_sound && is_long && (expected.sound_start_90k.is_some() || expected.sound_end_90k.is_some()) {
            return Err(CheckFault::NoSound);
        }
        Ok(seen)
    }

    pub fn longest_clock_step_ms(&self) -> i64 {
        self.clock.longest_step_90k / 90
    }

    /// The last decoding time of the video; without any, of the sound.
    pub fn last_dts(&self) -> Option<i64> {
        let video = self.lines.iter().find(|line| line.kind == Kind::Video);
        video.or(self.lines.first()).map(|line| line.last_dts)
    }

    fn packet(&mut self, bytes: &[u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        if let Some(raw) = packet.pcr()
            && let Err(fault) = self.clock.see(packet.pid(), raw)
        {
            self.fault.get_or_insert(fault);
        }
        if !packet.starts_unit() {
            self.gather(packet);
            return;
        }
        let Some(header) = packet.pes_header() else {
            self.tables.push(packet);
            return;
        };
        let Some(pts) = header.pts else { return };
        let Some(at) = self.line_of(packet.pid(), header.stream_id, header.dts.unwrap_or(pts)) else { return };
        let line = &mut self.lines[at];
        if let Err(fault) = line.see(pts, header.dts.unwrap_or(pts)) {
            self.fault.get_or_insert(fault);
        }
        line.tail.clear();
        line.gather(packet);
    }

    /// The place of a stream; `None` for one that is neither seen nor heard.
    fn line_of(&mut self, pid: Pid, stream_id: u8, raw_dts: u64) -> Option<usize> {
        if let Some(at) = self.lines.iter().position(|line| line.pid == pid) {
            return Some(at);
        }
        let listed = self.tables.program().and_then(|program| program.streams.iter().find(|stream| stream.pid == pid));
        let kind = match listed.map(|stream| stream.codec) {
            _ if VIDEO_IDS.contains(&stream_id) => Kind::Video,
            Some(Codec::Audio(AudioCoding::AacAdts)) => Kind::Adts,
            Some(Codec::Audio(_)) => Kind::OtherAudio,
            None if AUDIO_IDS.contains(&stream_id) => Kind::OtherAudio,
            Some(Codec::H264 | Codec::Hevc | Codec::OtherVideo(_) | Codec::Other) | None => return None,
        };
        if self.lines.len() == MAX_STREAMS {
            return None;
        }
        // One tick earlier, so that the first one rises.
        let last_dts = raw_dts as i64 - 1;
        self.lines.push(Line { pid, kind, last_dts, part: PartLine::default(), tail: Vec::new() });
        Some(self.lines.len() - 1)
    }

    fn gather(&mut self, packet: Packet<'_>) {
        if self.tables.program().is_none() {
            self.tables.push(packet);
        }
        if let Some(line) = self.lines.iter_mut().find(|line| line.pid == packet.pid()) {
            line.gather(packet);
        }
    }
}

impl Line {
    fn see(&mut self, raw_pts: u64, raw_dts: u64) -> Result<(), CheckFault> {
        let dts = unwrap_near(raw_dts, self.last_dts);
        let before = std::mem::replace(&mut self.last_dts, dts);
        self.part.see(unwrap_near(raw_pts, dts));
        if dts > before { Ok(()) } else { Err(CheckFault::NotRising { pid: self.pid, before, after: dts }) }
    }

    fn gather(&mut self, packet: Packet<'_>) {
        if self.kind == Kind::Adts && self.tail.len() < MAX_TAIL_BYTES {
            self.tail.extend_from_slice(packet.elementary().unwrap_or_default());
        }
    }

    /// Where the sound of a part ends, and how long one frame of it lasts.
    fn sound_end(&self) -> (i64, i64) {
        if let Some((all_90k, one_90k)) = adts_ticks(&self.tail) {
            return (self.part.highest_pts + all_90k, one_90k);
        }
        let step = self.part.last_step().unwrap_or(LONGEST_SOUND_90K);
        (self.part.highest_pts + step, step.max(LONGEST_SOUND_90K))
    }
}

impl PartLine {
    fn see(&mut self, pts: i64) {
        self.stamps += 1;
        if self.stamps == 1 {
            (self.first_pts, self.highest_pts) = (pts, pts);
        } else if pts > self.highest_pts {
            self.second_pts = Some(self.highest_pts);
            self.highest_pts = pts;
        } else {
            self.first_pts = self.first_pts.min(pts);
            self.second_pts = self.second_pts.max((pts < self.highest_pts).then_some(pts));
        }
    }

    /// How long after the one before it the last one is shown.
    fn last_step(&self) -> Option<i64> {
        Some(self.highest_pts - self.second_pts?)
    }
}

impl ProgramClock {
    fn see(&mut self, pid: Pid, raw: u64) -> Result<(), CheckFault> {
        if *self.pid.get_or_insert(pid) != pid {
            return Ok(());
        }
        let Some(before) = self.last else {
            (self.last, self.is_join) = (Some(raw as i64), false);
            return Ok(());
        };
        let after = unwrap_near(raw, before);
        self.last = Some(after);
        let step = after - before;
        let is_join = std::mem::replace(&mut self.is_join, false);
        let limit = if is_join {
            JOIN_STEP_90K.max(self.longest_step_90k) + self.missing_90k
        } else {
            PART_STEP_90K + self.missing_90k
        };
        if !(-JOIN_STEP_90K..=limit).contains(&step) {
            return Err(CheckFault::ClockGap { before, after });
        }
        if !is_join {
            self.longest_step_90k = self.longest_step_90k.max(step);
        }
        Ok(())
    }
}

/// Counts the frames of a file that is copied, as they go in.
#[derive(Debug, Default)]
pub(super) struct FrameCounter {
    finder: PacketFinder,
    frames: u64,
}

impl FrameCounter {
    pub fn push(&mut self, bytes: &[u8]) {
        let frames = &mut self.frames;
        self.finder.push(bytes, |packet| *frames += u64::from(starts_frame(packet)));
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }
}

fn starts_frame(bytes: &[u8; PACKET_BYTES]) -> bool {
    let Some(packet) = Packet::new(bytes).filter(|packet| packet.starts_unit()) else { return false };
    packet.pes_header().is_some_and(|header| header.pts.is_some() && VIDEO_IDS.contains(&header.stream_id))
}

/// The first decoding time of video in some packets, in raw ticks; without any, of sound.
pub(super) fn first_dts(bytes: &[u8]) -> Option<u64> {
    let (mut video, mut audio) = (None, None);
    PacketFinder::default().push(bytes, |packet| {
        let header = if video.is_none() { Packet::new(packet).and_then(Packet::pes_header) } else { None };
        if let Some(header) = header
            && let Some(dts) = header.dts.or(header.pts)
        {
            if VIDEO_IDS.contains(&header.stream_id) {
                video = Some(dts);
            } else if AUDIO_IDS.contains(&header.stream_id) {
                audio.get_or_insert(dts);
            }
        }
    });
    video.or(audio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::mpegts::shift_stamps;

    fn packet(starts_unit: bool, pid: u8, fields: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, if starts_unit { 0x40 } else { 0 }, pid, 0x10]);
        bytes[4..4 + fields.len()].copy_from_slice(fields);
        bytes
    }

    /// The start of a frame of this stream id, shown and decoded at `pts`.
    fn frame(stream_id: u8, pts: u64) -> [u8; PACKET_BYTES] {
        let stamp = [
            0x21 | (pts >> 30 << 1) as u8,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ];
        packet(true, stream_id, &[&[0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5][..], &stamp].concat())
    }

    const VIDEO: u8 = 0xe0;
    const AUDIO: u8 = 0xc0;

    fn seen(watch: &mut Watch, packets: &[[u8; PACKET_BYTES]]) -> Result<(), CheckFault> {
        watch.push(packets.as_flattened())
    }

    fn clock(ticks: u32) -> [u8; PACKET_BYTES] {
        let mut bytes = packet(false, 7, &[7, 0x10]);
        bytes[3] = 0x20;
        bytes[6..10].copy_from_slice(&(ticks / 2).to_be_bytes());
        bytes[10] = 0x7e;
        bytes
    }

    #[test]
    fn decoding_times_must_rise_also_over_the_wrap_and_over_joins() {
        let mut watch = Watch::default();
        watch.begin(0);
        let wrap = 1u64 << 33;
        assert_eq!(seen(&mut watch, &[frame(VIDEO, wrap - 3000), frame(VIDEO, 0), frame(AUDIO, 100)]), Ok(()));
        watch.begin(0);
        assert_eq!(seen(&mut watch, &[frame(VIDEO, 3000)]), Ok(()));
        let fault = seen(&mut watch, &[frame(VIDEO, 3000)]).unwrap_err();
        assert!(matches!(fault, CheckFault::NotRising { before, after, .. } if before == after), "{fault:?}");
    }

    #[test]
    fn frames_are_counted_and_only_damage_may_cost_some() {
        let frames = [frame(VIDEO, 0), frame(AUDIO, 0), frame(VIDEO, 3000)];
        for (expected, may_miss, is_right) in [(2, false, true), (3, false, false), (3, true, true), (1, true, false)] {
            let mut watch = Watch::default();
            watch.begin(0);
            seen(&mut watch, &frames).unwrap();
            let expected = Expected { frames: Some(expected), may_miss, ..Expected::default() };
            assert_eq!(watch.end(expected).is_ok(), is_right, "{expected:?}");
            let mut counter = FrameCounter::default();
            frames.as_flattened().chunks(100).for_each(|piece| counter.push(piece));
            assert_eq!(counter.frames(), 2);
        }
        assert_eq!(first_dts(&[frame(AUDIO, 5), frame(VIDEO, 9)].concat()), Some(9));
        assert_eq!(first_dts(&frame(AUDIO, 5)), Some(5));
    }

    #[test]
    fn the_clock_may_step_farther_where_something_is_missing() {
        for (missing_90k, step, is_right) in
            [(0, 80_000, true), (0, 100_000, false), (400_000, 450_000, true), (400_000, 500_000, false)]
        {
            let mut watch = Watch::default();
            watch.begin(0);
            seen(&mut watch, &[clock(1_000_000), clock(1_009_000)]).unwrap();
            watch.begin(missing_90k);
            assert_eq!(seen(&mut watch, &[clock(1_009_000 + step)]).is_ok(), is_right, "{missing_90k} {step}");
        }
    }

    #[test]
    fn sound_that_comes_late_or_not_at_all_is_a_fault() {
        let part = |sound: &[u64]| {
            let mut watch = Watch::default();
            watch.begin(0);
            let frames = (0..10).map(|at| frame(VIDEO, at * 3000));
            let packets: Vec<_> = frames.chain(sound.iter().map(|pts| frame(AUDIO, *pts))).collect();
            seen(&mut watch, &packets).unwrap();
            watch.end(Expected { sound_start_90k: Some(0), ..Expected::default() })
        };
        assert_eq!(part(&[1000, 2920]).map(|seen| seen.sound_start_ms), Ok(Some(11)));
        assert_eq!(part(&[27_000, 28_920]), Err(CheckFault::SoundStart { apart_ms: 300 }));
        assert_eq!(part(&[]), Err(CheckFault::NoSound));
    }

    /// Two seconds of H.264 with B-frames and of AAC, 30 frames a second, as ffmpeg muxed them.
    fn real() -> Vec<[u8; PACKET_BYTES]> {
        let path = format!("{}/tests/vectors/ts/av_bf2.ts", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap().as_chunks().0.to_vec()
    }

    /// The verdict over it as a part whose sound begins and ends with the picture, more or less.
    fn verdict(packets: &[[u8; PACKET_BYTES]]) -> Result<Seen, CheckFault> {
        let mut watch = Watch::default();
        watch.begin(0);
        for piece in packets.chunks(7) {
            watch.push(piece.as_flattened())?;
        }
        let (sound_start_90k, sound_end_90k) = (Some(-2000), Some(180_000));
        watch.end(Expected { frames: Some(60), may_miss: false, sound_start_90k, sound_end_90k })
    }

    #[test]
    fn each_doctored_stream_is_told_from_the_right_one() {
        let right = real();
        let seen = verdict(&right).unwrap();
        assert_eq!(seen.frames, 60);
        assert!(seen.sound_start_ms.is_some() && seen.sound_end_ms.is_some(), "{seen:?}");
        let starts: Vec<usize> = (0..right.len()).filter(|at| starts_frame(&right[*at])).collect();
        let is_sound = |packet: &[u8; PACKET_BYTES]| packet[1] & 0x1f == 1 && packet[2] == 1;
        let doctored = |doctor: &dyn Fn(&mut Vec<[u8; PACKET_BYTES]>)| {
            let mut packets = right.clone();
            doctor(&mut packets);
            verdict(&packets)
        };
        let only = |is_kept: &dyn Fn(usize, bool) -> bool| {
            let kept = right.iter().enumerate().filter(|(at, packet)| is_kept(*at, is_sound(packet)));
            verdict(&kept.map(|(_, packet)| *packet).collect::<Vec<_>>())
        };
        // A frame less, whichever it is, and a frame twice.
        for frame in [0, 1, 30, 59] {
            let end = starts.get(frame + 1).copied().unwrap_or(right.len());
            let without = only(&|at, is_sound| is_sound || !(starts[frame]..end).contains(&at));
            assert_eq!(without, Err(CheckFault::Frames { expected: 60, came: 59 }), "{frame}");
            let twice = doctored(&|packets| {
                let again: Vec<_> = packets[starts[frame]..end].to_vec();
                packets.splice(end..end, again);
            });
            assert!(matches!(twice, Err(CheckFault::NotRising { .. })), "{frame}: {twice:?}");
        }
        // Two neighbours in the wrong order.
        let swapped = doctored(&|packets| packets[starts[20]..starts[22]].rotate_left(starts[21] - starts[20]));
        assert!(matches!(swapped, Err(CheckFault::NotRising { .. })), "{swapped:?}");
        // Half a second without sound at either end, or none at all, or all of it late.
        let late_start = only(&|at, is_sound| !is_sound || at > right.len() / 3);
        assert!(matches!(late_start, Err(CheckFault::SoundStart { apart_ms: 100.. })), "{late_start:?}");
        let early_end = only(&|at, is_sound| !is_sound || at < right.len() * 2 / 3);
        assert!(matches!(early_end, Err(CheckFault::SoundEnd { apart_ms: ..=-100 })), "{early_end:?}");
        assert_eq!(only(&|_, is_sound| !is_sound), Err(CheckFault::NoSound));
        let late = doctored(&|packets| {
            packets.iter_mut().filter(|packet| is_sound(packet)).for_each(|packet| shift_stamps(packet, 9_000));
        });
        assert!(matches!(late, Err(CheckFault::SoundStart { apart_ms: 60..=140 })), "{late:?}");
        // The second half eleven seconds later.
        let gap = doctored(&|packets| {
            packets[right.len() / 2..].iter_mut().for_each(|packet| shift_stamps(packet, 11 * 90_000));
        });
        assert!(matches!(gap, Err(CheckFault::ClockGap { .. })), "{gap:?}");
    }
}
