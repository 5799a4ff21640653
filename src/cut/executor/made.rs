//! What ffmpeg makes: trimmed files, converted ones, blends.

use std::sync::Arc;

use futures_util::future;

use super::{Executor, begun};
use crate::cut::CutError;
use crate::cut::blend::BlendJob;
use crate::cut::convert::{ConvertJob, Like};
use crate::cut::current::{Current, Job, MadeOutput};
use crate::cut::ffmpeg::Seat;
use crate::cut::files::{ByteStream, SourceFile};
use crate::cut::output::{MAX_JUMP_90K, START_90K};
use crate::cut::piece::Look;
use crate::cut::receipt::Did;
use crate::cut::steps::{Blend, Row, Step};
use crate::cut::trim::{Edge, TrimJob, edge};
use crate::media::Container;
use crate::model::{SegmentKind, SegmentName, Timestamp};

impl Executor {
    pub(super) async fn trim(
        &mut self,
        range: usize,
        file: SourceFile,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<Current>, CutError> {
        if let Some(current) = self.made_ahead(range, &file).await? {
            return Ok(Some(current));
        }
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
    pub(super) async fn convert(
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
        let output = MadeOutput::Running(Box::new(seat.run(job.args(), input)?));
        Ok(Some(Current::Made { output, job: Job::Convert(Box::new(job)), seen: Box::default() }))
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

    pub(super) async fn blend(&mut self, range: usize, blend: Blend) -> Result<Current, CutError> {
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
        let output = MadeOutput::Running(Box::new(seat.run_with_second(|path| job.args(path), out, into)?));
        Ok(Current::Made { output, job: Job::Blend(Box::new(job)), seen: Box::default() })
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

    pub(super) async fn run(
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
        job.fit(self.hard_cuts(range));
        self.begin_made(range, &file, &job, missing_90k);
        let before = if job.needs_file_before() { self.file_before(range).await } else { None };
        self.before = Some((range, file.clone()));
        let output = MadeOutput::Running(Box::new(self.source.trimmed(seat, before, file, &job)?));
        Ok(Current::Made { output, job: Job::Trim(job), seen: Box::default() })
    }

    pub(super) fn begin_made(&mut self, range: usize, file: &SourceFile, job: &TrimJob, missing_90k: i64) {
        self.output.begin(range, job.first_pts(), job.shift_90k(), !job.is_reencoded());
        let did = if job.is_reencoded() { Did::Reencoded } else { Did::Copied };
        self.account.begin(did, vec![file.segment.clone()], missing_90k);
    }
}
