//! Segments as transport streams, whatever container they are stored in.
//!
//! Promises: of each, the bytes are streamed; what has to be repacked, or cannot be but decoded, passes through ffmpeg, with its
//! stamps kept.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};

use super::CutError;
use super::blend::Model;
use super::check::FrameCounter;
use super::ffmpeg::{Ffmpeg, Running, Seat};
use super::files::{ByteStream, Record, SourceFile, concatenated};
use super::mux::{lossless_args, remux_args};
use super::restamp::Restamp;
use super::trim::TrimJob;
use crate::media::mpegts::{Scan, Summary, Track};
use crate::media::{Container, FragmentScan, Probe, Probed};
use crate::model::{SegmentKind, SegmentName};

/// Where bytes come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub record: Record,
    pub ffmpeg: Ffmpeg,
}

/// The fragments that an ffmpeg is being fed with.
#[derive(Debug, Clone, Default)]
pub(super) struct Fragments(Arc<Mutex<FragmentScan>>);

impl Fragments {
    /// Frames of video so far; `None` where there is no video that we can read.
    pub fn frames(&self) -> Option<u64> {
        let scan = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        scan.finish().map(|(frames, ..)| frames)
    }
}

impl Source {
    /// A file as a transport stream, its decoding times mended as they are where it is copied.
    fn transport_stream(&self, seat: &Seat, file: SourceFile) -> Result<ByteStream, CutError> {
        match file.container {
            Container::MpegTs => {
                let bytes = concatenated(&self.record, vec![(file, 0)]);
                Ok(restamped(bytes, Restamp::default().mending()))
            }
            Container::FragmentedMp4 => self.repacked(seat, vec![file]),
        }
    }

    /// Files one after the other, their stamps moved, for ffmpeg to decode.
    pub fn shifted_streams(&self, seat: &Seat, files: Vec<SourceFile>, shift_90k: i64) -> Result<ByteStream, CutError> {
        let mut all = stream::empty().boxed();
        for file in files {
            all = all.chain(shifted(self.transport_stream(seat, file)?, shift_90k)).boxed();
        }
        Ok(all)
    }

    /// Runs a trim of a file; `before`, where it helps to decode it, is the one that comes before.
    pub fn trimmed(
        &self,
        seat: &Seat,
        before: Option<SourceFile>,
        file: SourceFile,
        job: &TrimJob,
    ) -> Result<Running, CutError> {
        let files = before.into_iter().chain([file]).collect();
        seat.run(job.args(), self.shifted_streams(seat, files, job.shift_90k())?)
    }

    /// Files of one initialisation section, repacked as one transport stream: for their sound.
    pub fn remux(&self, seat: &Seat, files: Vec<SourceFile>) -> Result<Running, CutError> {
        seat.run(remux_args(), self.fragments(files))
    }

    /// The same, video and all, and what there was to repack. Video that MPEG-TS does not carry becomes H.264.
    pub fn counted_remux(&self, seat: &Seat, files: Vec<SourceFile>) -> Result<(Running, Fragments), CutError> {
        let fragments = Fragments::default();
        let count = fragments.clone();
        let args = if files.iter().any(|file| file.uncarried.is_some()) { lossless_args() } else { remux_args() };
        let bytes = self.fragments(files).inspect(move |bytes| {
            if let Ok(bytes) = bytes {
                count.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            }
        });
        Ok((seat.run(args, bytes.boxed())?, fragments))
    }

    /// The same as a stream. Where video had to be decoded, each of its frames must have been.
    fn repacked(&self, seat: &Seat, files: Vec<SourceFile>) -> Result<ByteStream, CutError> {
        let decoded = files.iter().find(|file| file.uncarried.is_some()).map(|file| file.segment.path_text());
        let may_miss = files.iter().any(|file| file.segment.kind() != SegmentKind::Full);
        let (running, fragments) = self.counted_remux(seat, files)?;
        let (Some(segment), false) = (decoded, may_miss) else { return Ok(running.into_stream()) };
        let state = (running, FrameCounter::default());
        let counted = stream::try_unfold(state, move |(mut running, mut counter)| {
            let (segment, fragments) = (segment.clone(), fragments.clone());
            async move {
                if let Some(bytes) = running.next().await? {
                    counter.push(&bytes);
                    return Ok(Some((bytes, (running, counter))));
                }
                match (fragments.frames(), counter.frames()) {
                    (Some(expected), came) if expected != came => {
                        Err(CutError::Inexact { segment, expected: expected as usize, came: came as usize })
                    }
                    (Some(_) | None, _) => Ok(None),
                }
            }
        });
        Ok(counted.boxed())
    }

    /// Files of one initialisation section as one file.
    fn fragments(&self, files: Vec<SourceFile>) -> ByteStream {
        let mut files: Vec<(SourceFile, u64)> = files.into_iter().map(|file| (file.clone(), file.init_bytes)).collect();
        files[0].1 = 0;
        concatenated(&self.record, files)
    }

    /// Reads all of a file for what a blend has to be like.
    pub async fn model(&self, seat: &Seat, file: SourceFile) -> Result<Model, CutError> {
        let (mut scan, mut probe) = (Scan::default(), Probe::default());
        let segment = file.segment.clone();
        let mut bytes = self.transport_stream(seat, file)?;
        while let Some(bytes) = bytes.next().await {
            let bytes = bytes?;
            scan.push(&bytes);
            probe.push(&bytes);
        }
        let mut summary =
            scan.finish().map_err(|source| CutError::NoStamps { segment: segment.path_text(), source })?;
        summary.video.iter_mut().for_each(Track::mend_dts);
        match probe.probed(true) {
            Probed::Known(media) => Ok(Model { segment, summary, encoding: media.encoding }),
            Probed::NeedsMore | Probed::Unreadable => {
                Err(CutError::Unblendable { segment: segment.path_text(), why: "its encoding cannot be read" })
            }
        }
    }

    /// Reads all of a file for its time stamps.
    pub async fn measure(&self, seat: &Seat, file: &SourceFile) -> Result<Summary, CutError> {
        let bytes = self.transport_stream(seat, file.clone())?;
        measured(bytes, &file.segment).await
    }

    /// Reads a row of files of one initialisation section as one.
    pub async fn measure_run(&self, seat: &Seat, files: &[SourceFile]) -> Result<Summary, CutError> {
        let first = files.first().expect("a run has a file");
        let bytes = self.shifted_run(seat, files.to_vec(), 0)?;
        measured(bytes, &first.segment).await
    }

    /// Files of one initialisation section one after the other, their stamps moved, for ffmpeg to decode.
    pub fn shifted_run(&self, seat: &Seat, files: Vec<SourceFile>, shift_90k: i64) -> Result<ByteStream, CutError> {
        match files.first().map(|file| file.container) {
            Some(Container::FragmentedMp4) => Ok(shifted(self.repacked(seat, files)?, shift_90k)),
            Some(Container::MpegTs) | None => self.shifted_streams(seat, files, shift_90k),
        }
    }
}

async fn measured(mut bytes: ByteStream, segment: &SegmentName) -> Result<Summary, CutError> {
    let mut scan = Scan::default();
    while let Some(bytes) = bytes.next().await {
        scan.push(&bytes?);
    }
    let mut summary = scan.finish().map_err(|source| CutError::NoStamps { segment: segment.path_text(), source })?;
    summary.video.iter_mut().for_each(Track::mend_dts);
    Ok(summary)
}

/// One file's bytes with its stamps moved.
fn shifted(bytes: ByteStream, shift_90k: i64) -> ByteStream {
    restamped(bytes, Restamp::shifting(shift_90k))
}

fn restamped(bytes: ByteStream, mut restamp: Restamp) -> ByteStream {
    bytes.map(move |bytes| bytes.map(|bytes| restamp.push(bytes))).boxed()
}
