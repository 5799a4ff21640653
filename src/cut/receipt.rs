//! What a cut has shown, and what was checked about it.
//!
//! Promises: says of every frame whether it was copied or re-encoded, and of every file that was read what became of it; a
//! cut that failed has a receipt, too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::CutError;
use super::check::{CheckFault, Expected, Seen, Watch};
use super::outline::encodings_json;
use super::plan::Plan;
use crate::causes::chain;
use crate::model::SegmentName;

/// The receipt of a cut, which grows as the cut goes on. Clones are the same receipt.
#[derive(Debug, Clone)]
pub struct Receipt {
    plan: Arc<Plan>,
    tally: Arc<Mutex<Tally>>,
}

#[derive(Debug, Default)]
struct Tally {
    outcome: Outcome,
    bytes: u64,
    parts: Vec<DonePart>,
    /// How often the source's clock began anew, so that a part was joined as if it were another range.
    clock_jumps: u64,
    longest_clock_step_ms: Option<i64>,
    /// Frames whose times the source had wrong.
    mended_times: u64,
}

#[derive(Debug, Default)]
enum Outcome {
    #[default]
    Running,
    Done,
    Failed(String),
    Left,
}

/// What became of some files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// Byte for byte.
    Whole,
    /// Frame for frame.
    Copied,
    Reencoded,
    /// Re-encoded to be like the rest of the cut.
    Converted,
    Blended,
}

#[derive(Debug)]
struct DonePart {
    segments: Vec<SegmentName>,
    did: Did,
    expected: Expected,
    seen: Seen,
}

impl Did {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Copied => "copied",
            Self::Reencoded => "re-encoded",
            Self::Converted => "converted",
            Self::Blended => "blended",
        }
    }
}

impl Receipt {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, tally: Arc::default() }
    }

    /// How many names it may come to hold: its size, roughly.
    pub fn names(&self) -> usize {
        self.plan.segments().count()
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.tally().bytes += bytes;
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.tally().bytes
    }

    pub(super) fn done(&self) {
        self.tally().outcome = Outcome::Done;
    }

    pub(super) fn failed(&self, error: &CutError) {
        self.tally().outcome = Outcome::Failed(chain(error));
    }

    /// Nobody wants the rest.
    pub(super) fn left(&self) {
        let mut tally = self.tally();
        if matches!(tally.outcome, Outcome::Running) {
            tally.outcome = Outcome::Left;
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `{"outcome": "done" | "failed" | "running" | "left", "error", "type", "bytes", "ranges", "frames": {"expected", "copied",
    /// "re_encoded", "missing"}, "segments": [{"segment", "did"}], "holes", "encodings", "clock_jumps", "mended_times", "checks": [{"check",
    /// "result": "passed" | "not made", "found"}]}`. Frames are null where none was counted; a check that fails is the error.
    pub fn json(&self) -> Value {
        let tally = self.tally();
        let (outcome, error) = match &tally.outcome {
            Outcome::Running => ("running", None),
            Outcome::Done => ("done", None),
            Outcome::Failed(error) => ("failed", Some(error.as_str())),
            Outcome::Left => ("left", None),
        };
        let span = |start: String, end: String| json!({ "start": start, "end": end });
        let ranges = self.plan.ranges().map(|range| span(range.span.start().to_string(), range.span.end().to_string()));
        let holes = self.plan.holes().map(|hole| span(hole.start.to_string(), hole.end.to_string()));
        let segments = tally.parts.iter().flat_map(|part| {
            part.segments.iter().map(|segment| json!({ "segment": segment.path_text(), "did": part.did.as_str() }))
        });
        json!({
            "outcome": outcome,
            "error": error,
            "type": self.plan.cut_type().as_str(),
            "bytes": tally.bytes,
            "ranges": ranges.collect::<Vec<_>>(),
            "frames": tally.frames(),
            "segments": segments.collect::<Vec<_>>(),
            "holes": holes.collect::<Vec<_>>(),
            "encodings": encodings_json(&self.plan),
            "clock_jumps": tally.clock_jumps,
            "mended_times": tally.mended_times,
            "checks": tally.checks(),
        })
    }
}

impl Tally {
    fn frames(&self) -> Value {
        let came = |of: &[Did]| -> u64 {
            self.parts.iter().filter(|part| of.contains(&part.did)).map(|part| part.seen.frames).sum()
        };
        let expected: u64 = self.parts.iter().filter_map(|part| part.expected.frames).sum();
        let (copied, reencoded) = (came(&[Did::Copied]), came(&[Did::Reencoded, Did::Converted, Did::Blended]));
        if expected == 0 {
            return Value::Null;
        }
        json!({
            "expected": expected,
            "copied": copied,
            "re_encoded": reencoded,
            "missing": expected.saturating_sub(copied + reencoded),
        })
    }

    /// Those that failed are known by the error alone: it ended the cut.
    fn checks(&self) -> Vec<Value> {
        let made = |found: Option<String>| match found {
            Some(found) => ("passed", Some(found)),
            None => ("not made", None),
        };
        let apart = |of: fn(&Seen) -> Option<i64>| {
            let farthest = self.parts.iter().filter_map(|part| of(&part.seen)).max_by_key(|ms| ms.abs());
            farthest.map(|ms| format!("{ms} ms apart at most"))
        };
        let counted = self.parts.iter().filter(|part| part.expected.frames.is_some()).count();
        let frames = format!("in each of {counted} parts");
        let step = self.longest_clock_step_ms;
        [
            ("frame_count", made((counted > 0).then_some(frames))),
            ("decoding_times_rise", made(step.map(|_| "in every stream".to_owned()))),
            ("no_clock_gap", made(step.map(|ms| format!("steps of {ms} ms at most")))),
            ("sound_starts_with_picture", made(apart(|seen| seen.sound_start_ms))),
            ("sound_ends_with_picture", made(apart(|seen| seen.sound_end_ms))),
        ]
        .into_iter()
        .map(|(check, (result, found))| json!({ "check": check, "result": result, "found": found }))
        .collect()
    }
}

/// Checks what goes out part by part, and writes down what passed.
pub(super) struct Account {
    watch: Watch,
    /// The sides of a blend are checked, but what they give is not what is seen.
    receipt: Option<Receipt>,
    /// Time is made anew. Where it is the source's own, it may be as wrong as the source has it.
    is_retimed: bool,
    part: Option<(Did, Vec<SegmentName>)>,
}

impl Account {
    pub fn new(receipt: Option<Receipt>, is_retimed: bool) -> Self {
        Self { watch: Watch::default(), receipt, is_retimed, part: None }
    }

    /// What comes next is made of these files; before it this much may be missing.
    pub fn begin(&mut self, did: Did, segments: Vec<SegmentName>, missing_90k: i64) {
        self.part = Some((did, segments));
        self.watch.begin(missing_90k);
    }

    pub fn see(&mut self, bytes: &[u8]) -> Result<(), CutError> {
        match self.part {
            Some((Did::Whole, _)) | None => Ok(()),
            Some(_) => match self.watch.push(bytes) {
                Err(fault) if self.is_retimed => Err(self.failed(fault)),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    pub fn end(&mut self, expected: Expected) -> Result<(), CutError> {
        let seen = match self.part {
            Some((Did::Whole, _)) | None => Seen::default(),
            Some(_) => self.watch.end(expected).map_err(|fault| self.failed(fault))?,
        };
        if let (Some(receipt), Some((did, segments))) = (&self.receipt, self.part.take()) {
            let mut tally = receipt.tally();
            tally.parts.push(DonePart { segments, did, expected, seen });
            tally.longest_clock_step_ms = self.is_retimed.then(|| self.watch.longest_clock_step_ms());
        }
        Ok(())
    }

    pub fn clock_jumped(&self) {
        if let Some(receipt) = &self.receipt {
            receipt.tally().clock_jumps += 1;
        }
    }

    /// So many frames of the copied parts had decoding times that did not rise, or none.
    pub fn mended(&self, frames: u64) {
        if let Some(receipt) = &self.receipt {
            receipt.tally().mended_times = frames;
        }
    }

    pub fn last_dts(&self) -> Option<i64> {
        self.watch.last_dts()
    }

    fn failed(&self, fault: CheckFault) -> CutError {
        let last = self.part.as_ref().and_then(|(_, segments)| segments.last());
        CutError::Check { segment: last.map(SegmentName::path_text).unwrap_or_default(), source: fault }
    }
}
