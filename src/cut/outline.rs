//! A plan, written down for people and for scripts.
//!
//! Promises: says in order what the executor will do, and each hole at its place.

use std::fmt;

use serde_json::{Value, json};

use super::piece::Piece;
use super::plan::{Part, Plan, PlannedRange};
use crate::model::{SegmentName, Timestamp};
use crate::select::Hole;

/// One line of an outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'p> {
    /// These files, whole.
    Copy(&'p [SegmentName]),
    /// The frames of this file at ≥ `from` and < `until`; without a bound, from its first, to its last.
    Reencode { segment: &'p SegmentName, from: Option<Timestamp>, until: Option<Timestamp> },
    /// The same of files whose encoding is another than the first one's, which they get.
    Convert { segments: &'p [SegmentName], from: Option<Timestamp>, until: Option<Timestamp> },
    /// Nothing is there, and it is passed over.
    Hole(Hole),
}

/// What a plan does, range by range. Shown as text; `json` for scripts.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'p>(pub &'p Plan);

impl<'p> Outline<'p> {
    /// `{"type", "encodings", "pieces"}`: an encoding is `{"segment", "encoding"}`, the first that has it; a piece is `{"start",
    /// "end", "parts": [{"do": "copy" | "re-encode" | "convert" | "hole", …}]}`, or for a transition `{"transition", "seconds",
    /// "out", "into"}`, whose sides look like a range.
    pub fn json(self) -> Value {
        let range = |range: &PlannedRange| {
            let parts: Vec<Value> = lines(range).into_iter().map(Line::json).collect();
            json!({ "start": range.span.start().to_string(), "end": range.span.end().to_string(), "parts": parts })
        };
        let piece = |piece: &Piece<PlannedRange>| match piece {
            Piece::Range(shown) => range(shown),
            Piece::Blend { out, into, transition } => json!({
                "transition": transition.kind().name,
                "seconds": transition.micros() as f64 / 1e6,
                "out": range(out),
                "into": range(into),
            }),
        };
        let pieces: Vec<Value> = self.0.pieces().iter().map(piece).collect();
        json!({ "type": self.0.cut_type().as_str(), "encodings": encodings_json(self.0), "pieces": pieces })
    }
}

/// `[{"segment", "encoding"}]`: where each known encoding of a plan begins.
pub(super) fn encodings_json(plan: &Plan) -> Vec<Value> {
    let known = plan.encodings().iter();
    known.map(|known| json!({ "segment": known.segment.path_text(), "encoding": known.text() })).collect()
}

impl fmt::Display for Outline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.cut_type())?;
        for change in self.0.encodings().iter().skip(1) {
            write!(f, "\nthe encoding changes to {} at {}", change.text(), change.segment.path_text())?;
        }
        for piece in self.0.pieces() {
            match piece {
                Piece::Range(range) => write_range(f, "range", range)?,
                Piece::Blend { out, into, transition } => {
                    write!(f, "\n{} of {} s", transition.kind().name, transition.seconds())?;
                    write_range(f, "from", out)?;
                    write_range(f, "to", into)?;
                }
            }
        }
        Ok(())
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, what: &str, range: &PlannedRange) -> fmt::Result {
    write!(f, "\n{what} {} to {}", range.span.start(), range.span.end())?;
    lines(range).into_iter().try_for_each(|line| write!(f, "\n  {line}"))
}

impl Line<'_> {
    fn json(self) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        match self {
            Self::Copy(segments) => {
                let names: Vec<String> = segments.iter().map(SegmentName::path_text).collect();
                json!({ "do": "copy", "segments": names })
            }
            Self::Reencode { segment, from, until } => {
                json!({ "do": "re-encode", "segment": segment.path_text(), "from": time(from), "until": time(until) })
            }
            Self::Convert { segments, from, until } => {
                let names: Vec<String> = segments.iter().map(SegmentName::path_text).collect();
                json!({ "do": "convert", "segments": names, "from": time(from), "until": time(until) })
            }
            Self::Hole(hole) => {
                json!({ "do": "hole", "start": hole.start.to_string(), "end": hole.end.to_string() })
            }
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy(segments) => {
                write!(f, "copy {} whole segments", segments.len())?;
                segments.iter().try_for_each(|segment| write!(f, "\n    {}", segment.path_text()))
            }
            Self::Reencode { segment, from, until } => {
                write!(f, "re-encode")?;
                from.iter().try_for_each(|from| write!(f, " from {from}"))?;
                until.iter().try_for_each(|until| write!(f, " until {until}"))?;
                write!(f, " of\n    {}", segment.path_text())
            }
            Self::Convert { segments, from, until } => {
                write!(f, "convert")?;
                from.iter().try_for_each(|from| write!(f, " from {from}"))?;
                until.iter().try_for_each(|until| write!(f, " until {until}"))?;
                write!(f, " {} segments", segments.len())?;
                segments.iter().try_for_each(|segment| write!(f, "\n    {}", segment.path_text()))
            }
            Self::Hole(hole) if hole.start == hole.end => {
                write!(f, "hole before {}, of unknown length", hole.end)
            }
            Self::Hole(hole) => write!(f, "hole {} to {}", hole.start, hole.end),
        }
    }
}

/// The lines of a range; a run of copied files ends at each hole.
fn lines(range: &PlannedRange) -> Vec<Line<'_>> {
    let mut holes = range.holes.iter().copied().peekable();
    let mut lines = Vec::new();
    for part in &range.parts {
        let mut segments = part.segments();
        while let Some(first) = segments.first() {
            while let Some(hole) = holes.next_if(|hole| hole.start <= first.start()) {
                lines.push(Line::Hole(hole));
            }
            let next_hole = holes.peek();
            let run = segments.iter().take_while(|segment| next_hole.is_none_or(|hole| segment.start() < hole.start));
            let (run, rest) = segments.split_at(run.count());
            lines.push(match part {
                Part::Copy { .. } => Line::Copy(run),
                Part::Trim { segment, from, until } => Line::Reencode { segment, from: *from, until: *until },
                Part::Convert { from, until, .. } => Line::Convert { segments: run, from: *from, until: *until },
            });
            segments = rest;
        }
    }
    lines.extend(holes.map(Line::Hole));
    lines
}
