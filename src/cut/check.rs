//! Watches the transport stream of a cut as it goes out.
//!
//! Promises: what is wrong is told with the piece of the stream in which it shows; memory does not grow with the stream.
//! Never: changes a byte.

mod frames;
mod line;
mod program_clock;

use super::restamp::VIDEO_IDS;
use crate::media::mpegts::{AudioCoding, Codec, PACKET_BYTES, Packet, Pid, Tables};
pub(super) use frames::{FrameCounter, first_stamps};
use line::{Kind, LONGEST_SOUND_90K, Line, PartLine};
use program_clock::ProgramClock;

/// PES stream ids of MPEG audio, AAC among it (ISO/IEC 13818-1, table 2-22).
const AUDIO_IDS: std::ops::RangeInclusive<u8> = 0xc0..=0xdf;
/// Streams of a cut that are watched; more are none that we know.
const MAX_STREAMS: usize = 32;
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
    /// The PID of the first video.
    picture_pid: Option<Pid>,
    clock: ProgramClock,
    fault: Option<CheckFault>,
}

impl Watch {
    /// The next bytes are another part's, before which this much may be missing.
    pub fn begin(&mut self, missing_90k: i64) {
        for line in &mut self.lines {
            line.part = PartLine::default();
            line.tail.clear();
        }
        self.clock.begin(missing_90k.max(0));
    }

    /// Takes whole packets.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CheckFault> {
        debug_assert!(bytes.len().is_multiple_of(PACKET_BYTES));
        for packet in bytes.as_chunks().0 {
            if !self.lies_within_picture(packet) {
                self.packet(packet);
            }
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
        self.clock.longest_step_90k() / 90
    }

    /// The last decoding time of the video; without any, of the sound.
    pub fn last_dts(&self) -> Option<i64> {
        let video = self.lines.iter().find(|line| line.kind == Kind::Video);
        video.or(self.lines.first()).map(|line| line.last_dts)
    }

    /// Most packets: the video, with neither a start nor a clock. Nothing in them is looked at.
    fn lies_within_picture(&self, bytes: &[u8; PACKET_BYTES]) -> bool {
        let is_plain = bytes[1] & 0xc0 == 0 && bytes[3] & 0x20 == 0;
        is_plain && self.picture_pid == Some(Pid::from_bytes(bytes[1], bytes[2]))
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
        if kind == Kind::Video {
            self.picture_pid.get_or_insert(pid);
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

#[cfg(test)]
mod tests;
