//! One elementary stream of a cut, as it goes out.

use super::CheckFault;
use crate::media::adts_ticks;
use crate::media::mpegts::{Packet, Pid, unwrap_near};

/// A PES packet of audio is a tenth of this. Longer ones are not looked into.
const MAX_TAIL_BYTES: usize = 64 * 1024;
/// How long one frame of sound may last where nothing tells: 2048 samples at 48 kHz, as HE-AAC has them.
pub(super) const LONGEST_SOUND_90K: i64 = 3840;

/// One elementary stream.
#[derive(Debug)]
pub(super) struct Line {
    pub pid: Pid,
    pub kind: Kind,
    pub last_dts: i64,
    /// Of the part that is going out.
    pub part: PartLine,
    /// The last PES packet of audio, as far as it has come.
    pub tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Adts,
    OtherAudio,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartLine {
    pub stamps: u64,
    pub first_pts: i64,
    pub highest_pts: i64,
    second_pts: Option<i64>,
}

impl Line {
    pub fn see(&mut self, raw_pts: u64, raw_dts: u64) -> Result<(), CheckFault> {
        let dts = unwrap_near(raw_dts, self.last_dts);
        let before = std::mem::replace(&mut self.last_dts, dts);
        self.part.see(unwrap_near(raw_pts, dts));
        if dts > before { Ok(()) } else { Err(CheckFault::NotRising { pid: self.pid, before, after: dts }) }
    }

    pub fn gather(&mut self, packet: Packet<'_>) {
        if self.kind == Kind::Adts && self.tail.len() < MAX_TAIL_BYTES {
            self.tail.extend_from_slice(packet.elementary().unwrap_or_default());
        }
    }

    /// Where the sound of a part ends, and how long one frame of it lasts.
    pub fn sound_end(&self) -> (i64, i64) {
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
    pub fn last_step(&self) -> Option<i64> {
        Some(self.highest_pts - self.second_pts?)
    }
}
