//! Executes a plan as a stream of bytes.
//!
//! Promises: everything that can be checked is checked before the first byte; after it, a fault ends the stream with an
//! error, so that it is never silently shorter. Nothing is read before it is asked for; dropping the stream ends its ffmpeg.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};

use super::CutError;
use super::blend::BlendJob;
use super::check::{Expected, FrameCounter, first_dts};
use super::convert::{ConvertJob, Like};
use super::ffmpeg::{Ffmpeg, Running, Seat};
use super::files::{ByteStream, FileReader, Record, SourceFile, all_carried, one_container, survey, survey_helper};
use super::pack::{ContentType, Packing};
use super::plan::{CutType, Plan, ticks_of_micros};
use super::receipt::{Account, Did, Receipt};
use super::restamp::Restamp;
use super::seam::seam;
use super::source::{Fragments, Source};
use super::steps::{Blend, Row, Step, steps};
use super::trim::{Edge, TrimJob, edge};
use crate::media::Container;
use crate::media::mpegts::{Scan, WRAP_90K, unwrap_near};
use crate::model::{SegmentKind, SegmentName, Timestamp};

/// A cut on its way. Ends after the first error.
pub struct CutStream {
    content_type: ContentType,
    size_bytes: Option<u64>,
    bytes: ByteStream,
    receipt: Receipt,
}

impl CutStream {
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// How many bytes there will be in all, where that is known.
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Grows as the cut goes on; complete once the stream has ended.
    pub fn receipt(&self) -> Receipt {
        self.receipt.clone()
    }
}

impl Stream for CutStream {
    type Item = Result<Bytes, CutError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.bytes.poll_next_unpin(context));
        match &next {
            Some(Ok(bytes)) => {
                self.receipt.sent(bytes.len());
                // Whoever knows the size does not ask for the end.
                if self.size_bytes.is_some_and(|size_bytes| self.receipt.sent_bytes() == size_bytes) {
                    self.receipt.done();
                }
            }
            Some(Err(error)) => self.receipt.failed(error),
            None => self.receipt.done(),
        }
        Poll::Ready(next)
    }
}

impl Drop for CutStream {
    fn drop(&mut self) {
        self.receipt.left();
    }
}

/// Begins to execute `plan` over the files of `record`. The first bytes are there when it returns, so that whatever
/// prevents them can still be answered as an error.
pub async fn start(record: Record, ffmpeg: Ffmpeg, plan: Plan) -> Result<CutStream, CutError> {
    let files = survey(&record, plan.segments().cloned().collect()).await?;
    let converted: Vec<bool> = plan.parts().flat_map(|part| vec![part.is_converted(); part.segments().len()]).collect();
    let container = one_container(&files, |at| converted[at])?;
    if plan.cut_type() != CutType::Rough {
        all_carried(&files)?;
    }
    let packing = Packing::of(plan.cut_type());
    let is_rough = plan.cut_type() == CutType::Rough;
    let content_type = match packing {
        Some(packing) => packing.content_type(),
        None if is_rough => container.content_type(),
        None => ContentType::MpegTs,
    };
    let size_bytes = is_rough.then(|| files.iter().map(rough_len).sum());
    let seat = match packing {
        Some(_) => Some(ffmpeg.seat().await?),
        None => None,
    };
    let like =
        plan.encodings().first().and_then(|first| files.iter().find(|file| file.segment == first.segment)).cloned();
    // All of a cut has the streams of its first file, unless that one is converted.
    let first = like.clone().filter(|_| converted[0]).or(files.first().cloned());
    let source = Source { record, ffmpeg };
    let row = steps(&plan, files, like.as_ref());
    let is_exact = plan.cut_type().is_exact();
    let receipt = Receipt::new(Arc::new(plan));
    let executor =
        Executor { like, ..Executor::new(source.clone(), row, is_exact, seat.clone(), Some(receipt.clone())) };
    let mut bytes = begun(executor.into_stream()).await?;
    if let (Some(packing), Some(seat), Some(first)) = (packing, seat, first) {
        let summary = source.measure(&seat, &first).await?;
        for args in packing.chain(&summary.audio) {
            bytes = seat.run(args, bytes)?.into_stream();
        }
        bytes = begun(bytes).await?;
    }
    Ok(CutStream { content_type, size_bytes, bytes, receipt })
}

/// The same stream, once its first piece is there.
async fn begun(mut bytes: ByteStream) -> Result<ByteStream, CutError> {
    let first = bytes.next().await.ok_or(CutError::NoFrames)??;
    Ok(stream::iter([Ok(first)]).chain(bytes).boxed())
}

impl Container {
    fn content_type(self) -> ContentType {
        match self {
            Self::MpegTs => ContentType::MpegTs,
            Self::FragmentedMp4 => ContentType::Mp4,
        }
    }
}

fn rough_len(file: &SourceFile) -> u64 {
    file.len_bytes - rough_skip(file)
}

/// An initialisation section is written once, and again only where it changes.
fn rough_skip(file: &SourceFile) -> u64 {
    if file.repeats_init { file.init_bytes } else { 0 }
}

/// The part that is being given out.
enum Current {
    Raw(FileReader),
    Copy {
        reader: FileReader,
        /// What has been read of it already.
        head: Option<Bytes>,
        counter: FrameCounter,
    },
    Remux {
        running: Running,
        fragments: Fragments,
    },
    /// `seen` is what has come out so far; it is checked at the end.
    Made {
        running: Running,
        job: Job,
        seen: Box<Scan>,
    },
}

/// What ffmpeg was told to make.
enum Job {
    Trim(Box<TrimJob>),
    Convert(Box<ConvertJob>),
    Blend(Box<BlendJob>),
}

impl Job {
    fn check(&self, output: Scan) -> Result<(), CutError> {
        match self {
            Self::Trim(job) => job.check(output),
            Self::Convert(job) => job.check(output),
            Self::Blend(job) => job.check(output),
        }
    }

    fn expected(&self) -> Expected {
        match self {
            Self::Trim(job) => job.expected(),
            Self::Convert(job) => job.expected(),
            Self::Blend(job) => job.expected(),
        }
    }
}

struct Executor {
    source: Source,
    /// The place that this cut has for all of its course; without one, each step that needs ffmpeg waits for its own.
    seat: Option<Seat>,
    /// Where files meet, what would not show as it should is re-encoded.
    is_exact: bool,
    steps: VecDeque<(usize, Step)>,
    /// What comes before the next step: the other parts of the file that came last.
    rest_of_file: VecDeque<(usize, SourceFile, TrimJob)>,
    current: Option<Current>,
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

/// The time stamp of the first frame of an exact cut. Not 0: the program clock runs ahead of it, and what is decoded first
/// need not be shown first.
pub(super) const START_90K: i64 = 2 * 90_000;
/// Stamps of files that follow each other are farther apart than this, beyond what is missing between them, only where the
/// source's clock began anew.
const MAX_JUMP_90K: i64 = 90_000;

/// What has been given out, and how the next part has to fit it.
#[derive(Default)]
struct Output {
    restamp: Restamp,
    /// The range whose parts are being given out.
    range: Option<usize>,
    /// What is added to the stamps of that range.
    shift_90k: i64,
    /// The last file of that range went out as it is, so that the next one can follow it as it did in the source.
    untouched: bool,
    /// The last part of that range was converted: its sound ends with its picture.
    converted: bool,
}

impl Output {
    /// Makes ready for a part of `range` that starts at `first_pts`. A new range starts where the last one ended, the first
    /// one at `START_90K`.
    /// `shift_back_90k` is what has been added to its stamps already.
    fn begin(&mut self, range: usize, first_pts: i64, shift_back_90k: i64, untouched: bool) {
        if self.range != Some(range) {
            self.range = Some(range);
            self.shift_90k = self.restamp.reached().next_pts().unwrap_or(START_90K) - first_pts;
        }
        self.untouched = untouched;
        self.converted = false;
        self.restamp.begin(self.shift_90k - shift_back_90k);
    }

    /// Whether a part that starts at `first_pts` would not follow what went before in the course of `range`: the source's clock
    /// began anew.
    fn jumps(&self, range: usize, first_pts: i64, missing_90k: i64) -> bool {
        let Some(next) = self.restamp.reached().next_pts().filter(|_| self.range == Some(range)) else { return false };
        let step = unwrap_near((first_pts + self.shift_90k).rem_euclid(WRAP_90K) as u64, next) - next;
        !(-MAX_JUMP_90K..=missing_90k + MAX_JUMP_90K).contains(&step)
    }

    /// Forgets the range: what comes next is joined as if it were another.
    fn start_over(&mut self) {
        self.range = None;
    }

    /// Makes ready for a file that is copied in the course of `range`.
    fn follow(&mut self, range: usize) {
        let shift_90k = if self.range == Some(range) { self.shift_90k } else { 0 };
        self.converted = false;
        self.restamp.begin(shift_90k);
    }

    fn follows_untouched(&self, range: usize) -> bool {
        self.range == Some(range) && self.untouched
    }

    /// Whether a part of `range` is the first after a hard cut, or after one whose sound ends with its picture all the same.
    fn starts_after_cut(&self, range: usize) -> bool {
        (self.range != Some(range) || self.converted) && self.restamp.reached().next_pts().is_some()
    }
}

impl Executor {
    fn new(source: Source, row: Row, is_exact: bool, seat: Option<Seat>, receipt: Option<Receipt>) -> Self {
        let Row { steps, lead_ins } = row;
        let account = Account::new(receipt, is_exact);
        Self {
            source,
            seat,
            is_exact,
            steps,
            rest_of_file: VecDeque::new(),
            current: None,
            lead_ins,
            before: None,
            output: Output::default(),
            account,
            like: None,
            known_like: None,
        }
    }

    fn into_stream(self) -> ByteStream {
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
        loop {
            if let Some(current) = &mut self.current {
                match current.next(&mut self.output.restamp).await? {
                    Some(bytes) if bytes.is_empty() => continue,
                    Some(bytes) => {
                        self.account.see(&bytes)?;
                        return Ok(Some(bytes));
                    }
                    None => {
                        self.account.end(current.expected())?;
                        self.current = None;
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
            Step::Raw(file) => {
                let skip_bytes = rough_skip(&file);
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

    async fn copy(&mut self, range: usize, file: SourceFile) -> Result<Current, CutError> {
        let mut reader = FileReader::open(&self.source.record, &file, 0).await?;
        let head = reader.next().await?;
        let missing_90k = self.missing_before(range, &file.segment);
        if self.is_exact {
            let jumps = head.as_ref().is_some_and(|head| self.clock_jumps(range, head, missing_90k));
            if jumps {
                self.account.clock_jumped();
                self.output.start_over();
            }
            if !self.output.follows_untouched(range)
                && let Some(current) = self.begin_after_seam(range, &file).await?
            {
                return Ok(current);
            }
        }
        self.output.follow(range);
        self.account.begin(Did::Copied, vec![file.segment.clone()], missing_90k);
        self.before = Some((range, file));
        Ok(Current::Copy { reader, head, counter: FrameCounter::default() })
    }

    /// Whether a file that is to be copied in the course of `range` starts at a time that does not follow what went before:
    /// the source's clock began anew.
    fn clock_jumps(&self, range: usize, head: &[u8], missing_90k: i64) -> bool {
        let (Some(last), Some(raw)) = (self.account.last_dts(), first_dts(head)) else { return false };
        if !self.output.follows_untouched(range) {
            // It is joined anew in any case.
            return false;
        }
        let step = unwrap_near((raw as i64 + self.output.shift_90k).rem_euclid(WRAP_90K) as u64, last) - last;
        !(1..=missing_90k + MAX_JUMP_90K).contains(&step)
    }

    /// How much may be missing between what went before and this segment, in the course of `range`.
    fn missing_before(&self, range: usize, segment: &SegmentName) -> i64 {
        let Some((_, before)) = self.before.as_ref().filter(|(its_range, _)| *its_range == range) else { return 0 };
        let before = &before.segment;
        // Where one that is not whole ends, its name does not tell.
        let since = if before.kind() == SegmentKind::Full { before.end() } else { before.start() };
        ticks_of_micros(segment.start().micros_since(since)).max(0)
    }

    async fn remux(&mut self, range: usize, mut files: Vec<SourceFile>) -> Result<Current, CutError> {
        let mut missing_90k = self.missing_before(range, &files[0].segment);
        if self.is_exact
            && !self.output.follows_untouched(range)
            && let Some(current) = self.begin_after_seam(range, &files[0]).await?
        {
            files.remove(0);
            if !files.is_empty() {
                self.steps.push_front((range, Step::Remux(files)));
            }
            return Ok(current);
        }
        self.output.follow(range);
        for pair in files.windows(2) {
            self.before = Some((range, pair[0].clone()));
            missing_90k = missing_90k.max(self.missing_before(range, &pair[1].segment));
        }
        self.before = files.last().map(|file| (range, file.clone()));
        self.account.begin(Did::Copied, files.iter().map(|file| file.segment.clone()).collect(), missing_90k);
        let seat = self.seat().await?;
        let (running, fragments) = self.source.counted_remux(&seat, files)?;
        Ok(Current::Remux { running, fragments })
    }

    /// Looks at a file that is to be copied at the start of a range or after a re-encoded part. `None` if it can be.
    async fn begin_after_seam(&mut self, range: usize, file: &SourceFile) -> Result<Option<Current>, CutError> {
        let seat = self.seat().await?;
        let summary = match self.source.measure(&seat, file).await {
            // Whatever it holds, nothing in it has to fit.
            Err(CutError::NoStamps { .. }) => return Ok(None),
            measured => measured?,
        };
        let missing_90k = self.missing_before(range, &file.segment);
        if self.output.jumps(range, summary.main().lowest_pts(), missing_90k) {
            self.account.clock_jumped();
            self.output.start_over();
        }
        let mut jobs = seam(&file.segment, &summary, self.output.starts_after_cut(range))?.into_iter();
        match jobs.next() {
            Some(job) => {
                self.rest_of_file = jobs.map(|job| (range, file.clone(), job)).collect();
                self.run(range, file.clone(), Box::new(job), &seat).await.map(Some)
            }
            None => {
                self.output.begin(range, summary.main().lowest_pts(), 0, true);
                Ok(None)
            }
        }
    }

    async fn trim(
        &mut self,
        range: usize,
        file: SourceFile,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<Current>, CutError> {
        let seat = self.seat().await?;
        let summary = match self.source.measure(&seat, &file).await {
            // It is known to be damaged, and followed by a hole that the caller allowed.
            Err(CutError::NoStamps { .. }) if file.segment.kind() != SegmentKind::Full => return Ok(None),
            measured => measured?,
        };
        match edge(&file.segment, summary, from, until)? {
            Edge::Nothing => {
                // The next file may need it to be decoded.
                self.before = Some((range, file));
                Ok(None)
            }
            Edge::Some(job) => self.run(range, file, job, &seat).await.map(Some),
            Edge::Whole => {
                // Whoever copies it takes a seat of their own if they need one.
                drop(seat);
                match file.container {
                    Container::MpegTs => self.copy(range, file).await.map(Some),
                    Container::FragmentedMp4 => self.remux(range, vec![file]).await.map(Some),
                }
            }
        }
    }

    /// Makes files of another encoding like the rest: as many of them as lie on one clock.
    async fn convert(
        &mut self,
        range: usize,
        mut files: Vec<SourceFile>,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<Current>, CutError> {
        let seat = self.seat().await?;
        let like = self.like(&seat).await?;
        let mut summary = self.source.measure_run(&seat, &files).await?;
        if files.len() > 1 && !summary.main().is_steady(MAX_JUMP_90K) {
            let rest = files.split_off(1);
            self.steps.push_front((range, Step::Convert { files: rest, from: None, until: None }));
            summary = self.source.measure_run(&seat, &files).await?;
        }
        let segments: Vec<SegmentName> = files.iter().map(|file| file.segment.clone()).collect();
        let missing_90k = self.missing_before(range, &segments[0]);
        let Some(job) = ConvertJob::new(&segments, &summary, (from, until), like)? else { return Ok(None) };
        if self.output.jumps(range, job.first_pts(), missing_90k) {
            self.account.clock_jumped();
            self.output.start_over();
        }
        self.output.begin(range, job.first_pts(), job.shift_90k(), false);
        self.output.converted = true;
        self.account.begin(Did::Converted, segments, missing_90k);
        // Its pictures may refer to those of the file before, which is of the same encoding then.
        let is_ts = files[0].container == Container::MpegTs;
        let before = if summary.starts_fresh || !is_ts { None } else { self.file_before(range).await };
        self.before = files.last().map(|file| (range, file.clone()));
        let files = before.filter(|file| file.container == Container::MpegTs).into_iter().chain(files).collect();
        let input = self.source.shifted_run(&seat, files, job.shift_90k())?;
        let running = seat.run(job.args(), input)?;
        Ok(Some(Current::Made { running, job: Job::Convert(Box::new(job)), seen: Box::default() }))
    }

    /// What the rest of the cut is like; looked up once.
    async fn like(&mut self, seat: &Seat) -> Result<Arc<Like>, CutError> {
        if let Some(known) = &self.known_like {
            return Ok(Arc::clone(known));
        }
        let file = self.like.clone().expect("what is converted is to be like a file");
        let like = Arc::new(Like::new(self.source.model(seat, file).await?)?);
        self.known_like = Some(Arc::clone(&like));
        Ok(like)
    }

    async fn blend(&mut self, range: usize, blend: Blend) -> Result<Current, CutError> {
        let seat = self.seat().await?;
        let segments = blend.out.segments().chain(blend.into.segments()).collect();
        let into_model = self.source.model(&seat, blend.into.first).await?;
        let out_model = self.source.model(&seat, blend.out.first).await?;
        let job = BlendJob::new(out_model, &into_model, blend.transition, blend.look, blend.has_holes)?;
        self.account.begin(Did::Blended, segments, 0);
        let out = begun(self.side(blend.out.row, &seat)).await?;
        let into = begun(self.side(blend.into.row, &seat)).await?;
        self.output.begin(range, START_90K, 0, false);
        let running = seat.run_with_second(|path| job.args(path), out, into)?;
        Ok(Current::Made { running, job: Job::Blend(Box::new(job)), seen: Box::default() })
    }

    /// One side of a blend: an exact cut of its own. No `async fn`, as it would contain itself.
    fn side(&self, row: Row, seat: &Seat) -> ByteStream {
        let side = Self::new(self.source.clone(), row, true, Some(seat.clone()), None);
        Self { like: self.like.clone(), known_like: self.known_like.clone(), ..side }.into_stream()
    }

    /// The file before the next one of `range`: the end of another range is no help in decoding it.
    async fn file_before(&mut self, range: usize) -> Option<SourceFile> {
        match self.before.take() {
            Some((its_range, file)) if its_range == range => Some(file),
            Some(_) | None => survey_helper(&self.source.record, self.lead_ins[range].clone()?).await,
        }
    }

    async fn run(
        &mut self,
        range: usize,
        file: SourceFile,
        mut job: Box<TrimJob>,
        seat: &Seat,
    ) -> Result<Current, CutError> {
        let missing_90k = self.missing_before(range, &file.segment);
        if self.output.jumps(range, job.first_pts(), missing_90k) {
            self.account.clock_jumped();
            self.output.start_over();
        }
        if self.output.starts_after_cut(range) {
            job.start_sound_with_picture();
        }
        self.output.begin(range, job.first_pts(), job.shift_90k(), !job.is_reencoded());
        let did = if job.is_reencoded() { Did::Reencoded } else { Did::Copied };
        self.account.begin(did, vec![file.segment.clone()], missing_90k);
        let before = if job.needs_file_before() { self.file_before(range).await } else { None };
        self.before = Some((range, file.clone()));
        let files = before.into_iter().chain([file]).collect();
        let input = self.source.shifted_streams(seat, files, job.shift_90k())?;
        let running = seat.run(job.args(), input)?;
        Ok(Current::Made { running, job: Job::Trim(job), seen: Box::default() })
    }
}

impl Current {
    /// What must have come out, once all of it has.
    fn expected(&self) -> Expected {
        match self {
            Self::Raw(_) => Expected::default(),
            Self::Copy { counter, .. } => Expected { frames: Some(counter.frames()), ..Expected::default() },
            Self::Remux { fragments, .. } => Expected { frames: fragments.frames(), ..Expected::default() },
            Self::Made { job, .. } => job.expected(),
        }
    }

    /// The next bytes, which may be empty; `None` once the part has ended well.
    async fn next(&mut self, restamp: &mut Restamp) -> Result<Option<Bytes>, CutError> {
        match self {
            Self::Raw(reader) => reader.next().await,
            Self::Copy { reader, head, counter } => {
                let bytes = match head.take() {
                    Some(head) => Some(head),
                    None => reader.next().await?,
                };
                Ok(bytes.map(|bytes| {
                    counter.push(&bytes);
                    restamp.push(bytes)
                }))
            }
            Self::Remux { running, .. } => Ok(running.next().await?.map(|bytes| restamp.push(bytes))),
            Self::Made { running, job, seen } => {
                let Some(bytes) = running.next().await? else {
                    job.check(std::mem::take(&mut **seen))?;
                    return Ok(None);
                };
                seen.push(&bytes);
                Ok(Some(restamp.push(bytes)))
            }
        }
    }
}
