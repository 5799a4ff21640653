//! Runs the steps of a cut one by one into one transport stream.
//!
//! Promises: parts follow each other in time; what a part must have is known before it goes out and checked after it has.
//! Nothing is read before it is asked for.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future;
use futures_util::stream::{self, StreamExt};

use super::CutError;
use super::blend::BlendJob;
use super::check::{Expected, FrameCounter, first_stamps};
use super::convert::{ConvertJob, Like};
use super::current::{Current, Job};
use super::ffmpeg::Seat;
use super::files::{ByteStream, FileReader, SourceFile, rough_len, rough_skip, survey_helper};
use super::output::{MAX_JUMP_90K, Output, START_90K};
use super::piece::Look;
use super::plan::ticks_of_micros;
use super::receipt::{Account, Did, Receipt};
use super::seam::{seam, without_stray_sound};
use super::source::Source;
use super::steps::{Blend, Row, Step};
use super::trim::{Edge, TrimJob, edge};
use crate::media::Container;
use crate::media::mpegts::{Track, WRAP_90K, unwrap_near};
use crate::model::{SegmentKind, SegmentName, Timestamp};

/// How long after the end of the last frame the first picture of a file may be shown that follows: half of a short frame early, or
/// later by the frames that lead up to it.
const IN_PLACE_90K: RangeInclusive<i64> = -750..=45_000;

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
        loop {
            if let Some(current) = &mut self.current {
                match current.next(&mut self.output.restamp).await? {
                    Some(bytes) if bytes.is_empty() => continue,
                    Some(bytes) => {
                        self.account.see(&bytes)?;
                        return Ok(Some(bytes));
                    }
                    None => {
                        self.account.mended(self.output.restamp.mended());
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
            let looked_at = match self.output.follows_untouched(range) {
                true => self.end_before_cut(range, &file).await?,
                false => self.begin_after_seam(range, &file).await?,
            };
            if let Some(current) = looked_at {
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
        let (Some(last), Some((pts, dts))) = (self.account.last_dts(), first_stamps(head)) else { return false };
        if !self.output.follows_untouched(range) {
            // It is joined anew in any case.
            return false;
        }
        let after = |raw: u64, last: i64| {
            unwrap_near((raw as i64 + self.output.shift_90k).rem_euclid(WRAP_90K) as u64, last) - last
        };
        // A source that has its decoding times wrong may show the file in its place all the same.
        let shown_after = self.output.restamp.reached().next_pts().map(|next| after(pts, next));
        let is_in_place = shown_after.is_some_and(|apart| IN_PLACE_90K.contains(&apart));
        !is_in_place && !(1..=missing_90k + MAX_JUMP_90K).contains(&after(dts, last))
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
        if self.is_exact && !self.output.follows_untouched(range) {
            let rest = files.split_off(1);
            let has_more = !rest.is_empty();
            if has_more {
                self.steps.push_front((range, Step::Remux(rest)));
            }
            if let Some(current) = self.begin_after_seam(range, &files[0]).await? {
                return Ok(current);
            }
            if has_more && let Some((_, Step::Remux(rest))) = self.steps.pop_front() {
                files.extend(rest);
            }
        }
        if self.is_exact && self.comes_before_cut(range) {
            if files.len() > 1 {
                let last = files.split_off(files.len() - 1);
                self.steps.push_front((range, Step::Remux(last)));
            } else if let Some(current) = self.end_before_cut(range, &files[0]).await? {
                return Ok(current);
            }
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

    /// Whether what is opened now is the last of `range`, and another one follows.
    fn comes_before_cut(&self, range: usize) -> bool {
        self.rest_of_file.is_empty() && self.steps.front().is_some_and(|(next, _)| *next != range)
    }

    /// Looks at a file that is to be copied at the end of a range. `None` if it can be.
    async fn end_before_cut(&mut self, range: usize, file: &SourceFile) -> Result<Option<Current>, CutError> {
        if !self.comes_before_cut(range) {
            return Ok(None);
        }
        let seat = self.seat().await?;
        let summary = match self.source.measure(&seat, file).await {
            Err(CutError::NoStamps { .. }) => return Ok(None),
            measured => measured?,
        };
        match without_stray_sound(&file.segment, &summary, self.output.starts_after_cut(range), true)? {
            Some(job) => self.run(range, file.clone(), Box::new(job), &seat).await.map(Some),
            None => Ok(None),
        }
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
        let mut jobs =
            seam(&file.segment, &summary, self.output.starts_after_cut(range), self.comes_before_cut(range))?
                .into_iter();
        match jobs.next() {
            Some(job) => {
                self.rest_of_file = jobs.map(|job| (range, file.clone(), job)).collect();
                self.run(range, file.clone(), Box::new(job), &seat).await.map(Some)
            }
            None => {
                self.output.begin(range, summary.main().lowest_pts(), 0, true);
                if let Some(track) = summary.video.filter(Track::is_mended) {
                    self.output.expect_dts(&track);
                }
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
        match edge(&file.segment, summary, (from, until), self.look)? {
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
        let into_model = self.source.model(&seat, blend.into.first);
        let out_model = self.source.model(&seat, blend.out.first);
        let (into_model, out_model) = future::try_join(into_model, out_model).await?;
        let job = BlendJob::new(out_model, &into_model, blend.transition, blend.look, blend.has_holes)?;
        self.account.begin(Did::Blended, segments, 0);
        // Side by side: whoever looks at a preview waits for both.
        let (out, into) = (self.side(blend.out.row, blend.look, &seat), self.side(blend.into.row, blend.look, &seat));
        let (out, into) = future::try_join(begun(out), begun(into)).await?;
        self.output.begin(range, START_90K, 0, false);
        let running = seat.run_with_second(|path| job.args(path), out, into)?;
        Ok(Current::Made { running, job: Job::Blend(Box::new(job)), seen: Box::default() })
    }

    /// One side of a blend: an exact cut of its own. No `async fn`, as it would contain itself.
    fn side(&self, row: Row, look: Look, seat: &Seat) -> ByteStream {
        // What is converted has a size of its own, which the rest has to have, too.
        let look = if row.converts() { Look::Full } else { look };
        let row = match look {
            Look::Full => row,
            Look::Preview => row.all_made(),
        };
        let side = Self::new(self.source.clone(), row, true, Some(seat.clone()), None);
        Self { look, like: self.like.clone(), known_like: self.known_like.clone(), ..side }.into_stream()
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
        if self.comes_before_cut(range) {
            job.end_sound_with_picture();
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

/// The same stream, once its first piece is there.
pub(super) async fn begun(mut bytes: ByteStream) -> Result<ByteStream, CutError> {
    let first = bytes.next().await.ok_or(CutError::NoFrames)??;
    Ok(stream::iter([Ok(first)]).chain(bytes).boxed())
}
