//! The steps in which a plan is executed.

use std::collections::VecDeque;

use super::files::SourceFile;
use super::plan::{CutType, Part, Plan};
use crate::media::Container;
use crate::model::Timestamp;

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
}

/// The steps of a plan, each with the number of its range.
pub(super) fn steps(plan: Plan, container: Container, files: Vec<SourceFile>) -> VecDeque<(usize, Step)> {
    let cut_type = plan.cut_type();
    let mut files = files.into_iter();
    let mut steps = VecDeque::new();
    for (range, planned) in plan.ranges().iter().enumerate() {
        for part in &planned.parts {
            let files = files.by_ref().take(part.segments().len());
            match (part, cut_type, container) {
                (Part::Trim { from, until, .. }, _, _) => {
                    steps.extend(files.map(|file| (range, Step::Trim { file, from: *from, until: *until })));
                }
                (Part::Copy { .. }, CutType::Rough, _) => steps.extend(files.map(|file| (range, Step::Raw(file)))),
                (Part::Copy { .. }, CutType::Fast, Container::MpegTs) => {
                    steps.extend(files.map(|file| (range, Step::Copy(file))));
                }
                (Part::Copy { .. }, CutType::Fast, Container::FragmentedMp4) => {
                    steps.extend(runs_of_one_init(files).into_iter().map(|run| (range, Step::Remux(run))));
                }
            }
        }
    }
    steps
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
    use crate::model::{SegmentHash, SegmentKind, SegmentName};

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
