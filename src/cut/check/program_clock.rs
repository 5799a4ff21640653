//! The program clock of a cut, as it goes out.

use super::CheckFault;
use crate::media::mpegts::{Pid, unwrap_near};

/// How far the clock may step where two parts meet, beyond what is missing between them, and how far back: parts may
/// have their clocks run ahead of their frames by different times.
const JOIN_STEP_90K: i64 = 90_000;
/// How far it may step within a part: as the source has it, but for what no player would wait for.
const PART_STEP_90K: i64 = 10 * 90_000;

#[derive(Debug, Default)]
pub(super) struct ProgramClock {
    /// The one that counts in this part.
    pid: Option<Pid>,
    last: Option<i64>,
    is_join: bool,
    missing_90k: i64,
    longest_step_90k: i64,
}

impl ProgramClock {
    /// What comes next is another part's, before which this much may be missing.
    pub fn begin(&mut self, missing_90k: i64) {
        self.pid = None;
        self.is_join = true;
        self.missing_90k = missing_90k;
    }

    /// Within parts.
    pub fn longest_step_90k(&self) -> i64 {
        self.longest_step_90k
    }

    pub fn see(&mut self, pid: Pid, raw: u64) -> Result<(), CheckFault> {
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
