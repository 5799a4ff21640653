//! What an event is cut from, and its video and picture on this node's disk.
//!
//! Promises: what is not all here, or cannot be cut as asked, is an error before anything is claimed for it; a cut that is
//! answered for is whole, flushed, and as its plan was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::{Cutting, fault::JobError};
use crate::actors::{GetHours, GetMedia};
use crate::config::UploadConfig;
use crate::cut::{self, CutType, Framing, Joint, KnownEncodings, OnChange, Piece, Plan, PlanError, Record, still_span};
use crate::db::SpooledCut;
use crate::model::{Channel, Event, EventTransition, PixelBox, Quality, Span, ThumbnailMode, UploadKey, duration_text};
use crate::select::Selection;
use crate::store::{self, PendingJobFile, StoreError};
use crate::upload::{Progress, Thumbnail};

/// How long a cut waits for what nobody knows yet of its segments' encodings.
const ENCODINGS_PATIENCE: Duration = Duration::from_secs(20);

/// What shows an event's ranges here, by the indexes of hours alone: nothing is read of the segments.
pub struct Chosen {
    pub record: Record,
    selected: Vec<Piece<Selection>>,
    plan: Plan,
}

/// A cut that is under way: how much of it there is, and may be in all.
#[derive(Debug, Clone, Default)]
pub struct Making {
    pub progress: Progress,
    pub total_bytes: Option<u64>,
}

impl Cutting {
    /// Chooses what an event is cut from; refuses what is not all here.
    pub async fn choose(&self, event: &Event, upload: &UploadConfig) -> Result<Chosen, JobError> {
        let edit = &event.edit;
        let channel = edit.video_channel.clone().ok_or(JobError::NotWhole("it has no channel"))?;
        let quality = edit.video_quality.clone();
        let ranges = edit.video_ranges.as_deref().unwrap_or_default();
        let spans: Option<Vec<Span>> = ranges.iter().map(|range| range.span()).collect();
        let spans = spans.ok_or(JobError::NotWhole("a range is open, or empty"))?;
        let transitions = edit.video_transitions.as_deref().unwrap_or_default();
        let joints: Vec<Joint> = transitions.iter().map(joint).collect::<Result<_, _>>()?;
        let mut selected = Vec::new();
        for piece in cut::pieces(&spans, &joints)? {
            selected.push(match piece {
                Piece::Range(span) => Piece::Range(self.select(&channel, &quality, span).await?),
                Piece::Blend { out, into, transition } => Piece::Blend {
                    out: self.select(&channel, &quality, out).await?,
                    into: self.select(&channel, &quality, into).await?,
                    transition,
                },
            });
        }
        let plan = Plan::new(upload.cut_type, &selected, edit.allow_holes)?;
        let record = Record { layout: self.layout.clone(), channel, quality, blocking: self.blocking.clone() };
        Ok(Chosen { record, selected, plan })
    }

    async fn select(&self, channel: &Channel, quality: &Quality, span: Span) -> Result<Selection, JobError> {
        let cache = self.directory.hour_cache.get(&()).ok_or(JobError::Restarting)?;
        let question = GetHours { channel: channel.clone(), quality: quality.clone(), span };
        let hours = cache.send(question).await.map_err(|_| JobError::Restarting)??;
        Ok(Selection::choose(span, hours))
    }

    /// The plan, with what is known of the encodings.
    async fn plan(&self, chosen: &Chosen, cut_type: CutType) -> Result<Plan, PlanError> {
        let mut known = KnownEncodings::default();
        let stretches = chosen.selected.iter().filter(|_| cut_type != CutType::Rough).flat_map(Piece::stretches);
        for selection in stretches {
            let hours = selection.hours().map(|(index, _)| Arc::clone(index)).collect();
            let (channel, quality) = (chosen.record.channel.clone(), chosen.record.quality.clone());
            let question = GetMedia { channel, quality, hours, patience: ENCODINGS_PATIENCE };
            let media = match self.directory.media_book.get(&()) {
                Some(book) => book.send(question).await.unwrap_or_default(),
                // What is not known counts as no change.
                None => Vec::new(),
            };
            known.see(selection, &media);
        }
        chosen.plan.clone().told(&known, OnChange::default())
    }

    /// Makes the cut, on this node's disk.
    pub async fn spool(
        &self,
        key: &UploadKey,
        chosen: Chosen,
        upload: &UploadConfig,
        told: impl Fn(Making),
    ) -> Result<SpooledCut, JobError> {
        let plan = self.plan(&chosen, upload.cut_type).await?.encoded(upload.encode);
        if self.is_short_of_room().await? {
            return Err(JobError::NoRoom);
        }
        let making = Making { progress: Progress::default(), total_bytes: self.estimate(&chosen.record, &plan).await };
        told(making.clone());
        let mut stream = cut::start(chosen.record, self.ffmpeg.clone(), plan).await.map_err(JobError::Cut)?;
        let (receipt, content_type) = (stream.receipt(), stream.content_type());
        let (layout, of) = (self.layout.clone(), key.clone());
        let mut file = self.blocking.run(move || PendingJobFile::create(&layout, &of)).await??;
        let mut made_bytes = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(JobError::Cut)?;
            made_bytes += bytes.len() as u64;
            file = self.blocking.run(move || file.append(&bytes).map(|()| file)).await??;
            making.progress.set(made_bytes);
        }
        let (len_bytes, sha256) = self.blocking.run(move || file.finish()).await??;
        let receipt = receipt.json();
        let (missing, written) = (receipt["frames"]["missing"].as_u64(), receipt["bytes"].as_u64());
        if receipt["outcome"] != "done" || missing.is_some_and(|frames| frames > 0) || written != Some(len_bytes) {
            return Err(JobError::Unchecked(format!(
                "{}, {} frames missing, {len_bytes} bytes written",
                receipt["outcome"],
                missing.unwrap_or(0)
            )));
        }
        Ok(SpooledCut { content_type: content_type.as_str().to_owned(), len_bytes, sha256, receipt })
    }

    /// Whether less of the disk is free than is to be.
    pub async fn is_short_of_room(&self) -> Result<bool, JobError> {
        let (layout, least) = (self.layout.clone(), self.min_free_bytes);
        let is_short = move || Ok::<_, StoreError>(least > 0 && store::free_bytes(&layout)? < least);
        Ok(self.blocking.run(is_short).await??)
    }

    /// How large it may become; unknown of what is encoded anew.
    async fn estimate(&self, record: &Record, plan: &Plan) -> Option<u64> {
        if plan.cut_type().encodes_all() {
            return None;
        }
        let path = |segment| record.layout.segment_path(&record.channel, &record.quality, segment);
        let paths: Vec<_> = plan.segments().map(path).collect();
        let len = |path: &std::path::PathBuf| path.metadata().map_or(0, |found| found.len());
        self.blocking.run(move || paths.iter().map(len).sum()).await.ok()
    }

    /// The picture of an event's video, if it has one. `event` was read with its image.
    pub async fn thumbnail(&self, event: &Event) -> Result<Option<Thumbnail>, JobError> {
        let thumbnail = &event.edit.thumbnail;
        let image = match thumbnail.mode {
            ThumbnailMode::None => return Ok(None),
            ThumbnailMode::Custom => {
                let image = thumbnail.image.clone();
                image
                    .ok_or_else(|| JobError::BadThumbnail("it is to be an image of its own, and there is none".into()))?
                    .into()
            }
            ThumbnailMode::Bare => self.framed(event, None, (None, None)).await?,
            ThumbnailMode::Template => {
                let name = thumbnail.template.as_ref().ok_or(JobError::NotWhole("its thumbnail has no template"))?;
                let template = self.db.template(name).await?;
                let image = self.db.template_image(name).await?;
                let (Some(template), Some(image)) = (template, image) else {
                    return Err(JobError::BadThumbnail(format!("there is no template {name}; choose another")));
                };
                self.framed(event, Some(image.into()), (Some(template.crop), Some(template.location))).await?
            }
        };
        let sha256 = Sha256::digest(&image).into();
        Ok(Some(Thumbnail { image, sha256 }))
    }

    async fn framed(
        &self,
        event: &Event,
        template: Option<Bytes>,
        usual: (Option<PixelBox>, Option<PixelBox>),
    ) -> Result<Bytes, JobError> {
        let edit = &event.edit;
        let moment = edit.thumbnail.time.ok_or(JobError::NotWhole("its thumbnail has no time"))?;
        let channel = edit.video_channel.clone().ok_or(JobError::NotWhole("it has no channel"))?;
        let crop = edit.thumbnail.crop.or(usual.0);
        let location = edit.thumbnail.location.or(usual.1);
        let framing = Framing { crop: area(crop)?, location: area(location)?, template };
        let selection = self.select(&channel, &edit.video_quality, still_span(moment)).await?;
        if !selection.has_content() {
            return Err(JobError::BadThumbnail(format!("there is no frame at {moment}; choose another time")));
        }
        let quality = edit.video_quality.clone();
        let record = Record { layout: self.layout.clone(), channel, quality, blocking: self.blocking.clone() };
        let frame = cut::still(record, self.ffmpeg.clone(), &selection).await.map_err(JobError::Thumbnail)?;
        let is_bare = framing.crop.is_none() && framing.location.is_none() && framing.template.is_none();
        if is_bare {
            return Ok(frame);
        }
        cut::thumbnail(&self.ffmpeg, frame, framing).await.map_err(JobError::Thumbnail)
    }
}

fn area(sides: Option<PixelBox>) -> Result<Option<cut::Area>, JobError> {
    let bad = |sides: PixelBox| {
        let [left, top, right, bottom] = sides.0;
        JobError::BadThumbnail(format!("{left},{top},{right},{bottom} is no part of a picture"))
    };
    let read = |sides: PixelBox| {
        let whole: Option<Vec<u32>> = sides.0.iter().map(|side| u32::try_from(*side).ok()).collect();
        let whole: [u32; 4] = whole.and_then(|whole| whole.try_into().ok()).ok_or_else(|| bad(sides))?;
        cut::Area::try_from(whole).map_err(|_| bad(sides))
    };
    sides.map(read).transpose()
}

fn joint(transition: &Option<EventTransition>) -> Result<Joint, cut::BadTransition> {
    match transition {
        Some(transition) => format!("{},{}", transition.kind, duration_text(transition.micros)).parse(),
        None => "".parse(),
    }
}
