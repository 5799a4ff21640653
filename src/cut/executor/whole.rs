//! Files that are shown as they are, and what becomes of one that cannot be where it stands.

use std::ops::RangeInclusive;

use super::Executor;
use crate::cut::CutError;
use crate::cut::check::{FrameCounter, first_stamps};
use crate::cut::current::Current;
use crate::cut::files::{FileReader, SourceFile};
use crate::cut::output::MAX_JUMP_90K;
use crate::cut::receipt::Did;
use crate::cut::seam::{seam, without_stray_sound};
use crate::cut::steps::Step;
use crate::media::mpegts::{Track, WRAP_90K, unwrap_near};

/// How long after the end of the last frame the first picture of a file may be shown that follows: half of a short frame early, or
/// later by the frames that lead up to it.
const IN_PLACE_90K: RangeInclusive<i64> = -750..=45_000;

impl Executor {
    pub(super) async fn copy(&mut self, range: usize, file: SourceFile) -> Result<Current, CutError> {
        let mut reader = FileReader::open(&self.source.record, &file, 0).await?;
        let head = reader.next_own().await?;
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

    pub(super) async fn remux(&mut self, range: usize, mut files: Vec<SourceFile>) -> Result<Current, CutError> {
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
}
