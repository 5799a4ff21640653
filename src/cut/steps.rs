//! The steps in which a plan is executed.

use std::collections::VecDeque;

use super::files::SourceFile;
use super::piece::{Look, Piece};
use super::plan::{CutType, Part, Plan, PlannedRange};
use super::transition::Transition;
use crate::media::Container;
use crate::model::{SegmentName, Timestamp};

/// One thing to do, small enough to be opened as one.
#[derive(Debug)]
pub(super) enum Step {
    /// A file's bytes as they are.
    Raw(SourceFile),
    /// The packets of a transport stream, joined to what went before.
    Copy(SourceFile),
    /// Files of fragmented MP4 with one initialisation section, repacked.
    Remux(Vec<SourceFile>),
    Trim {
        file: SourceFile,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    },
    Blend(Box<Blend>),
}

/// Two rows of steps that are made into one.
#[derive(Debug)]
pub(super) struct Blend {
    pub out: Side,
    pub into: Side,
    pub transition: Transition,
    pub look: Look,
    pub has_holes: bool,
}

#[derive(Debug)]
pub(super) struct Side {
    pub row: Row,
    /// What the side is like is looked up in its first file.
    pub first: SourceFile,
}

/// The steps of a row of pieces, each with the number of its piece.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub steps: VecDeque<(usize, Step)>,
    /// Per piece, the file before its first one.
    pub lead_ins: Vec<Option<SegmentName>>,
}

pub(super) fn steps(plan: &Plan, container: Container, files: Vec<SourceFile>) -> Row {
    let mut deal = Deal { is_raw: plan.cut_type() == CutType::Rough, container, files: files.into_iter() };
    let mut row = Row::default();
    for piece in plan.pieces() {
        match piece {
            Piece::Range(range) => deal.out(range, &mut row),
            Piece::Blend { out, into, transition } => {
                let has_holes = !out.holes.is_empty() || !into.holes.is_empty();
                let blend = Blend {
                    out: deal.side(out),
                    into: deal.side(into),
                    transition: *transition,
                    look: plan.look(),
                    has_holes,
                };
                row.steps.push_back((row.lead_ins.len(), Step::Blend(Box::new(blend))));
                row.lead_ins.push(None);
            }
        }
    }
    row
}

/// The files of a plan, being dealt out in its order.
struct Deal {
    is_raw: bool,
    container: Container,
    files: std::vec::IntoIter<SourceFile>,
}

impl Deal {
    fn side(&mut self, range: &PlannedRange) -> Side {
        let first = self.files.as_slice().first().cloned().expect("a range has a file");
        let mut row = Row::default();
        self.out(range, &mut row);
        Side { row, first }
    }

    /// Appends a range to a row.
    fn out(&mut self, range: &PlannedRange, row: &mut Row) {
        let number = row.lead_ins.len();
        row.lead_ins.push(range.lead_in.clone());
        for part in &range.parts {
            let files = self.files.by_ref().take(part.segments().len());
            match (part, self.container) {
                (Part::Trim { from, until, .. }, _) => {
                    row.steps.extend(files.map(|file| (number, Step::Trim { file, from: *from, until: *until })));
                }
                (Part::Copy { .. }, _) if self.is_raw => row.steps.extend(files.map(|file| (number, Step::Raw(file)))),
                (Part::Copy { .. }, Container::MpegTs) => {
                    row.steps.extend(files.map(|file| (number, Step::Copy(file))));
                }
                (Part::Copy { .. }, Container::FragmentedMp4) => {
                    row.steps.extend(runs_of_one_init(files).into_iter().map(|run| (number, Step::Remux(run))));
                }
            }
        }
    }
}

fn runs_of_one_init(files: impl Iterator<Item = SourceFile>) -> Vec<Vec<SourceFile>> {
    let mut runs: Vec<Vec<SourceFile>> = Vec::new();
    for file in files {
        match runs.last_mut() {
            Some(run) if file.repeats_init => run.push(file),
            _ => runs.push(vec![file]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SegmentHash, SegmentKind};

    #[test]
    fn a_run_ends_where_the_init_changes() {
        let file = |at: i64, repeats_init| SourceFile {
            segment: SegmentName::finished(
                Timestamp::from_micros(at),
                1,
                SegmentKind::Full,
                SegmentHash::from_bytes([0; 32]),
            ),
            len_bytes: 0,
            init_bytes: 0,
            repeats_init,
        };
        // The first of a part may repeat the init of a file that is in another part.
        let files = [file(0, true), file(1, true), file(2, false), file(3, true), file(4, false)];
        let lengths: Vec<usize> = runs_of_one_init(files.into_iter()).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
    }
}
