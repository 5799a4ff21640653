//! The next trim, made while what comes before it goes out.
//!
//! Promises: what was made is used only where the same would be made at its turn. However slowly a cut is taken, this holds no
//! more than `MAX_HELD_BYTES` of it, and the place for ffmpeg no longer than the work takes; nobody else waits for one because
//! of a cut that waits for its reader.

use bytes::{Bytes, BytesMut};

use super::Executor;
use crate::cut::CutError;
use crate::cut::current::{Current, Job, MadeOutput};
use crate::cut::ffmpeg::{HoldsAhead, Running, Seat, Task};
use crate::cut::files::{FileReader, SourceFile, survey_helper};
use crate::cut::piece::Look;
use crate::cut::source::Source;
use crate::cut::steps::Step;
use crate::cut::trim::{Edge, HardCuts, TrimJob, edge};
use crate::model::{SegmentName, Timestamp};

/// An edge of two seconds at 1080p and 60 fps has 2 to 5 MB. What has more is made at its turn.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;
/// Steps ahead within which a trim is looked for. So many files of two seconds are copied in no less time than an edge takes.
const FARTHEST_STEPS: usize = 2048;

/// A trim that is being made, or was.
pub(super) struct Ahead {
    range: usize,
    segment: SegmentName,
    /// The file before it, which may help to decode it.
    before: Option<SegmentName>,
    hard_cuts: HardCuts,
    /// `None` where it cannot be made ahead.
    making: Task<Option<Made>>,
    holds: HoldsAhead,
}

struct Made {
    job: Box<TrimJob>,
    /// What helped to decode it.
    helper: Option<SourceFile>,
    bytes: Bytes,
}

/// A trim, and what it depends on.
struct Order {
    source: Source,
    file: SourceFile,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    hard_cuts: HardCuts,
    before: Before,
}

enum Before {
    File(SourceFile),
    /// No file of the cut.
    LeadIn(SegmentName),
    Nothing,
}

impl Executor {
    /// Begins to make the next trim, if there is one not far ahead, and a place is free.
    pub(super) fn look_ahead(&mut self) {
        // A cut that holds a place for all of its processes takes no second one.
        if !self.looks_ahead || self.seat.is_some() || self.ahead.is_some() {
            return;
        }
        let mut near = self.steps.iter().take(FARTHEST_STEPS).enumerate();
        let next = near.find_map(|(at, (range, step))| match step {
            Step::Trim { file, from, until } => Some((at, *range, file.clone(), *from, *until)),
            Step::Raw { .. } | Step::Copy(_) | Step::Remux(_) | Step::Convert { .. } | Step::Blend(_) => None,
        });
        let Some((at, range, file, from, until)) = next else { return };
        let Some((seat, holds)) = self.source.ffmpeg.spare_seat() else { return };
        let (before, is_after_cut) = self.before_step(at, range);
        let is_last = self.steps.get(at + 1).is_some_and(|(next, _)| *next != range);
        let hard_cuts = HardCuts { before: is_after_cut, after: is_last };
        let (segment, before_segment) = (file.segment.clone(), before.segment().cloned());
        let order = Order { source: self.source.clone(), file, from, until, hard_cuts, before };
        let making = Task::spawn(async move { order.made(seat).await.ok().flatten() });
        self.ahead = Some(Ahead { range, segment, before: before_segment, hard_cuts, making, holds });
    }

    /// What will have come right before the step at a place of the row, and whether a hard cut lies between.
    fn before_step(&self, at: usize, range: usize) -> (Before, bool) {
        let in_range = match at.checked_sub(1).map(|last| &self.steps[last]) {
            Some((its_range, step)) if *its_range == range => {
                step.files().last().map(|file| (file, matches!(step, Step::Convert { .. })))
            }
            Some(_) => None,
            None => {
                let current = self.before.as_ref().filter(|(its_range, _)| *its_range == range);
                current.map(|(_, file)| (file, self.output.converted))
            }
        };
        match (in_range, self.lead_ins[range].clone()) {
            (Some((file, is_converted)), _) => (Before::File(file.clone()), is_converted),
            (None, Some(lead_in)) => (Before::LeadIn(lead_in), true),
            (None, None) => (Before::Nothing, true),
        }
    }

    /// What was made ahead of this trim, whose turn it is. `None` if there is nothing, or the turn asks for something else.
    pub(super) async fn made_ahead(&mut self, range: usize, file: &SourceFile) -> Result<Option<Current>, CutError> {
        let Some(mut ahead) = self.ahead.take() else { return Ok(None) };
        let own_before = self.before.as_ref().filter(|(its_range, _)| *its_range == range);
        let before = own_before.map(|(_, file)| &file.segment).or(self.lead_ins[range].as_ref());
        let is_this = (ahead.range, &ahead.segment, ahead.before.as_ref()) == (range, &file.segment, before);
        if !is_this || ahead.hard_cuts != self.hard_cuts(range) {
            return Ok(None);
        }
        let Some(Made { job, helper, bytes }) = ahead.making.ended().await.flatten() else { return Ok(None) };
        let missing_90k = self.missing_before(range, &file.segment);
        if self.output.jumps(range, job.first_pts(), missing_90k) {
            return Ok(None);
        }
        // It may be hidden by now; and so may what helped, of which nothing may be seen in it then.
        FileReader::open(&self.source.record, file, 0).await?;
        if let Some(helper) = helper
            && FileReader::open(&self.source.record, &helper, 0).await.is_err()
        {
            return Ok(None);
        }
        self.begin_made(range, file, &job, missing_90k);
        self.before = Some((range, file.clone()));
        let output = MadeOutput::Held { bytes, _right: ahead.holds };
        Ok(Some(Current::Made { output, job: Job::Trim(job), seen: Box::default() }))
    }
}

impl Before {
    fn segment(&self) -> Option<&SegmentName> {
        match self {
            Self::File(file) => Some(&file.segment),
            Self::LeadIn(segment) => Some(segment),
            Self::Nothing => None,
        }
    }

    async fn file(self, source: &Source) -> Option<SourceFile> {
        match self {
            Self::File(file) => Some(file),
            Self::LeadIn(segment) => survey_helper(&source.record, segment).await,
            Self::Nothing => None,
        }
    }
}

impl Order {
    /// All of the trim. `None` where it is no trim, or too large. What fails is tried again at its turn, and told then.
    async fn made(self, seat: Seat) -> Result<Option<Made>, CutError> {
        let summary = self.source.measure(&seat, &self.file).await?;
        let Edge::Some(mut job) = edge(&self.file.segment, summary, (self.from, self.until), Look::Full)? else {
            return Ok(None);
        };
        job.fit(self.hard_cuts);
        let before = if job.needs_file_before() { self.before.file(&self.source).await } else { None };
        let running = self.source.trimmed(&seat, before.clone(), self.file, &job)?;
        Ok(all_of(running, MAX_HELD_BYTES).await?.map(|bytes| Made { job, helper: before, bytes }))
    }
}

/// `None` if there is more.
async fn all_of(mut running: Running, max_bytes: usize) -> Result<Option<Bytes>, CutError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = running.next().await? {
        if bytes.len() + piece.len() > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::args::Args;
    use crate::cut::ffmpeg::{Ffmpeg, Limits};

    #[actix_rt::test]
    async fn no_more_is_held_than_was_allowed() {
        const BYTES: usize = 400_000;
        let ffmpeg = Ffmpeg::new("ffmpeg", Limits { at_once: 1, ..Limits::default() });
        for (max_bytes, held) in [(BYTES - 1, None), (BYTES, Some(BYTES))] {
            let mut args = Args::default();
            args.words("-f lavfi -i anullsrc=r=8000:cl=mono -t 25 -f s16le -");
            let running =
                ffmpeg.seat().await.unwrap().run(args.done(), Box::pin(futures_util::stream::empty())).unwrap();
            assert_eq!(all_of(running, max_bytes).await.unwrap().map(|bytes| bytes.len()), held);
            // What had more is over.
            assert_eq!(ffmpeg.in_use(), 0);
        }
    }
}
