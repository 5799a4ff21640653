//! Runs the steps of a cut one by one into one transport stream.
//!
//! Promises: parts follow each other in time; what a part must have is known before it goes out and checked after it has.
//! Nothing is read before it is asked for, but for one trim that is near (`ahead`).

mod ahead;
mod made;
mod whole;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::CutError;
use super::check::Expected;
use super::convert::Like;
use super::current::Current;
use super::ffmpeg::Seat;
use super::files::{ByteStream, FileReader, SourceFile, rough_len, rough_skip, survey_helper};
use super::output::Output;
use super::piece::Look;
use super::plan::ticks_of_micros;
use super::receipt::{Account, Did, Receipt};
use super::source::Source;
use super::steps::{Row, Step};
use super::trim::{HardCuts, TrimJob};
use crate::model::{SegmentKind, SegmentName};
use ahead::Ahead;

pub(super) struct Executor {
    source: Source,
    /// The place that this cut has for all of its course; without one, each step that needs ffmpeg waits for its own.
    seat: Option<Seat>,
    /// Where files meet, what would not show as it should is re-encoded.
    is_exact: bool,
    steps: VecDeque<(usize, Step)>,
    /// What comes before the next step: the other parts of the file that came last.
    rest_of_file: VecDeque<(usize, SourceFile, TrimJob)>,
    current: Option<Current>,
    look: Look,
    /// Whether trims may be made before their turn; the one that is.
    looks_ahead: bool,
    ahead: Option<Ahead>,
    /// Whether anything has gone out; and whether there was a look for a trim since the current part was opened.
    has_given: bool,
    has_looked: bool,
    /// Per range, or blend, the file before its first one.
    lead_ins: Vec<Option<SegmentName>>,
    /// The file that came last, and its range.
    before: Option<(usize, SourceFile)>,
    output: Output,
    account: Account,
    /// The file that converted ones are made to be like; and what it is like, once it has been needed.
    like: Option<SourceFile>,
    known_like: Option<Arc<Like>>,
}

impl Executor {
    pub fn new(source: Source, row: Row, is_exact: bool, seat: Option<Seat>, receipt: Option<Receipt>) -> Self {
        let Row { steps, lead_ins } = row;
        let account = Account::new(receipt, is_exact);
        Self {
            source,
            seat,
            is_exact,
            steps,
            rest_of_file: VecDeque::new(),
            current: None,
            look: Look::Full,
            looks_ahead: false,
            ahead: None,
            has_given: false,
            has_looked: false,
            lead_ins,
            before: None,
            output: Output::new(is_exact),
            account,
            like: None,
            known_like: None,
        }
    }

    /// The first `bytes` of a rough cut are there already, made of the same files: they are no part of what comes.
    pub fn passing(mut self, mut bytes: u64) -> Result<Self, CutError> {
        while bytes > 0
            && let Some((_, Step::Raw { file, done_bytes })) = self.steps.front_mut()
        {
            let len_bytes = rough_len(file);
            if bytes < len_bytes {
                *done_bytes = bytes;
                break;
            }
            self.account.begin(Did::Whole, vec![file.segment.clone()], 0);
            self.account.end(Expected::default())?;
            bytes -= len_bytes;
            self.steps.pop_front();
        }
        Ok(self)
    }

    /// `file`: the one that converted ones are made to be like.
    pub fn like_file(self, file: Option<SourceFile>) -> Self {
        Self { like: file, ..self }
    }

    /// While a part goes out, the next trim is made.
    pub fn looking_ahead(self) -> Self {
        Self { looks_ahead: true, ..self }
    }

    pub fn into_stream(self) -> ByteStream {
        let bytes = stream::try_unfold(self, |mut executor| async move {
            Ok(executor.next().await?.map(|bytes| (bytes, executor)))
        });
        bytes.boxed()
    }

    async fn seat(&self) -> Result<Seat, CutError> {
        match &self.seat {
            Some(seat) => Ok(seat.clone()),
            None => self.source.ffmpeg.seat().await,
        }
    }

    /// The next bytes, never empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        // Nothing is to delay the first bytes.
        if self.has_given && !mem::replace(&mut self.has_looked, true) {
            self.look_ahead();
        }
        loop {
            if let Some(current) = &mut self.current {
                match current.next(&mut self.output.restamp).await? {
                    Some(bytes) if bytes.is_empty() => continue,
                    Some(bytes) => {
                        self.account.see(&bytes)?;
                        self.has_given = true;
                        return Ok(Some(bytes));
                    }
                    None => {
                        self.account.mended(self.output.restamp.mended());
                        self.account.end(current.expected())?;
                        self.current = None;
                        self.has_looked = false;
                    }
                }
            }
            if let Some((range, file, job)) = self.rest_of_file.pop_front() {
                let seat = self.seat().await?;
                self.current = Some(self.run(range, file, Box::new(job), &seat).await?);
                continue;
            }
            let Some((range, step)) = self.steps.pop_front() else { return Ok(None) };
            self.current = self.open(range, step).await?;
        }
    }

    async fn open(&mut self, range: usize, step: Step) -> Result<Option<Current>, CutError> {
        match step {
            Step::Raw { file, done_bytes } => {
                let skip_bytes = rough_skip(&file) + done_bytes;
                self.account.begin(Did::Whole, vec![file.segment.clone()], 0);
                Ok(Some(Current::Raw(FileReader::open(&self.source.record, &file, skip_bytes).await?)))
            }
            Step::Copy(file) => self.copy(range, file).await.map(Some),
            Step::Remux(files) => self.remux(range, files).await.map(Some),
            Step::Trim { file, from, until } => self.trim(range, file, from, until).await,
            Step::Convert { files, from, until } => self.convert(range, files, from, until).await,
            Step::Blend(blend) => self.blend(range, *blend).await.map(Some),
        }
    }

    /// How much may be missing between what went before and this segment, in the course of `range`.
    fn missing_before(&self, range: usize, segment: &SegmentName) -> i64 {
        let Some((_, before)) = self.before.as_ref().filter(|(its_range, _)| *its_range == range) else { return 0 };
        let before = &before.segment;
        // Where one that is not whole ends, its name does not tell.
        let since = if before.kind() == SegmentKind::Full { before.end() } else { before.start() };
        ticks_of_micros(segment.start().micros_since(since)).max(0)
    }

    fn hard_cuts(&self, range: usize) -> HardCuts {
        HardCuts { before: self.output.starts_after_cut(range), after: self.comes_before_cut(range) }
    }

    /// Whether what is opened now is the last of `range`, and another one follows.
    fn comes_before_cut(&self, range: usize) -> bool {
        self.rest_of_file.is_empty() && self.steps.front().is_some_and(|(next, _)| *next != range)
    }

    /// The file before the next one of `range`: the end of another range is no help in decoding it.
    async fn file_before(&mut self, range: usize) -> Option<SourceFile> {
        match self.before.take() {
            Some((its_range, file)) if its_range == range => Some(file),
            Some(_) | None => survey_helper(&self.source.record, self.lead_ins[range].clone()?).await,
        }
    }
}

/// The same stream, once its first piece is there.
pub(super) async fn begun(mut bytes: ByteStream) -> Result<ByteStream, CutError> {
    let first = bytes.next().await.ok_or(CutError::NoFrames)??;
    Ok(stream::iter([Ok(first)]).chain(bytes).boxed())
}
