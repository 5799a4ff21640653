//! The steps in which a plan is executed.

use std::collections::VecDeque;

use super::files::SourceFile;
use super::piece::{Look, Piece};
use super::plan::{Part, Plan, PlannedRange};
use super::transition::Transition;
use crate::media::Container;
use crate::model::CutType;
use crate::model::{SegmentName, Timestamp};

/// One thing to do, small enough to be opened as one.
#[derive(Debug)]
pub(super) enum Step {
    /// A file's bytes as they are, but for those at its start that have gone out before.
    Raw {
        file: SourceFile,
        done_bytes: u64,
    },
    /// The packets of a transport stream, joined to what went before.
    Copy(SourceFile),
    /// Files of fragmented MP4 with one initialisation section, repacked.
    Remux(Vec<SourceFile>),
    Trim {
        file: SourceFile,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    },
    /// Files whose encoding is another than the first one's of the cut; of fragmented MP4, with one initialisation section.
    Convert {
        files: Vec<SourceFile>,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    },
    Blend(Box<Blend>),
}

impl Step {
    /// Those that it shows; a blend has rows of its own.
    pub fn files(&self) -> &[SourceFile] {
        match self {
            Self::Raw { file, .. } | Self::Copy(file) | Self::Trim { file, .. } => std::slice::from_ref(file),
            Self::Remux(files) | Self::Convert { files, .. } => files,
            Self::Blend(_) => &[],
        }
    }
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

impl Side {
    pub fn segments(&self) -> impl Iterator<Item = SegmentName> {
        let files = self.row.steps.iter().flat_map(|(_, step)| step.files());
        files.map(|file| file.segment.clone())
    }
}

/// The steps of a row of pieces, each with the number of its piece.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub steps: VecDeque<(usize, Step)>,
    /// Per piece, the file before its first one.
    pub lead_ins: Vec<Option<SegmentName>>,
}

impl Row {
    /// Whether anything is made to be like something else.
    pub fn converts(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Convert { .. }))
    }

    /// The same, with a step for each file that is copied in which it can be made otherwise.
    pub fn all_made(self) -> Self {
        let trims = |step| match step {
            Step::Copy(file) => vec![Step::Trim { file, from: None, until: None }],
            Step::Remux(files) => files.into_iter().map(|file| Step::Trim { file, from: None, until: None }).collect(),
            step @ (Step::Raw { .. } | Step::Trim { .. } | Step::Convert { .. } | Step::Blend(_)) => vec![step],
        };
        let steps = self.steps.into_iter();
        let steps = steps.flat_map(|(number, step)| trims(step).into_iter().map(move |step| (number, step))).collect();
        Self { steps, lead_ins: self.lead_ins }
    }
}

/// `like`: the file that converted ones are made to be like.
pub(super) fn steps(plan: &Plan, files: Vec<SourceFile>, like: Option<&SourceFile>) -> Row {
    let mut deal = Deal { is_raw: plan.cut_type() == CutType::Rough, like, files: files.into_iter() };
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
struct Deal<'l> {
    is_raw: bool,
    like: Option<&'l SourceFile>,
    files: std::vec::IntoIter<SourceFile>,
}

impl Deal<'_> {
    fn side(&mut self, range: &PlannedRange) -> Side {
        let first = self.files.as_slice().first().expect("a range has a file");
        let is_converted = range.parts.iter().any(Part::is_converted);
        let first = self.like.filter(|_| is_converted).unwrap_or(first).clone();
        let mut row = Row::default();
        self.out(range, &mut row);
        Side { row, first }
    }

    /// Appends a range to a row.
    fn out(&mut self, range: &PlannedRange, row: &mut Row) {
        let number = row.lead_ins.len();
        row.lead_ins.push(range.lead_in.clone());
        for part in &range.parts {
            let files: Vec<SourceFile> = self.files.by_ref().take(part.segments().len()).collect();
            let runs = runs_of_one_init(files);
            let steps: Vec<Step> = match part {
                Part::Trim { from, until, .. } => {
                    runs.into_iter().flatten().map(|file| Step::Trim { file, from: *from, until: *until }).collect()
                }
                Part::Copy { .. } if self.is_raw => {
                    runs.into_iter().flatten().map(|file| Step::Raw { file, done_bytes: 0 }).collect()
                }
                Part::Copy { .. } => runs.into_iter().flat_map(copies).collect(),
                Part::Convert { from, until, .. } => {
                    runs.into_iter().map(|files| Step::Convert { files, from: *from, until: *until }).collect()
                }
            };
            row.steps.extend(steps.into_iter().map(|step| (number, step)));
        }
    }
}

/// How a run is copied: MPEG-TS file by file.
fn copies(run: Vec<SourceFile>) -> Vec<Step> {
    match run[0].container {
        Container::MpegTs => run.into_iter().map(Step::Copy).collect(),
        Container::FragmentedMp4 => vec![Step::Remux(run)],
    }
}

/// MPEG-TS has no initialisation section: it is one run.
fn runs_of_one_init(files: impl IntoIterator<Item = SourceFile>) -> Vec<Vec<SourceFile>> {
    let mut runs: Vec<Vec<SourceFile>> = Vec::new();
    for file in files {
        let is_ts = file.container == Container::MpegTs;
        match runs.last_mut() {
            Some(run) if run[0].container == file.container && (is_ts || file.repeats_init) => run.push(file),
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
            container: Container::FragmentedMp4,
            uncarried: None,
            init_bytes: 0,
            repeats_init,
        };
        // The first of a part may repeat the init of a file that is in another part.
        let files = [file(0, true), file(1, true), file(2, false), file(3, true), file(4, false)];
        let lengths: Vec<usize> = runs_of_one_init(files).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
    }
}
