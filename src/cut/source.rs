//! Segments as transport streams, whatever container they are stored in.
//!
//! Promises: of each, the bytes are streamed; what has to be repacked passes through ffmpeg, with its stamps kept.

use futures_util::stream::{self, StreamExt};

use super::CutError;
use super::blend::Model;
use super::ffmpeg::{Ffmpeg, Running, Seat};
use super::files::{ByteStream, Record, SourceFile, concatenated};
use super::restamp::Restamp;
use super::trim::remux_args;
use crate::media::mpegts::{Scan, Summary};
use crate::media::{Container, Probe, Probed};

/// Where bytes come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub record: Record,
    pub ffmpeg: Ffmpeg,
    pub container: Container,
}

impl Source {
    /// A file as a transport stream.
    fn transport_stream(&self, seat: &Seat, file: SourceFile) -> Result<ByteStream, CutError> {
        match self.container {
            Container::MpegTs => Ok(concatenated(&self.record, vec![(file, 0)])),
            Container::FragmentedMp4 => Ok(self.remux(seat, vec![file])?.into_stream()),
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

    /// Files of one initialisation section, repacked as one transport stream.
    pub fn remux(&self, seat: &Seat, files: Vec<SourceFile>) -> Result<Running, CutError> {
        let mut files: Vec<(SourceFile, u64)> = files.into_iter().map(|file| (file.clone(), file.init_bytes)).collect();
        files[0].1 = 0;
        seat.run(remux_args(), concatenated(&self.record, files))
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
        let summary = scan.finish().map_err(|source| CutError::NoStamps { segment: segment.path_text(), source })?;
        match probe.probed(true) {
            Probed::Known(media) => Ok(Model { segment, summary, encoding: media.encoding }),
            Probed::NeedsMore | Probed::Unreadable => {
                Err(CutError::Unblendable { segment: segment.path_text(), why: "its encoding cannot be read" })
            }
        }
    }

    /// Reads all of a file for its time stamps.
    pub async fn measure(&self, seat: &Seat, file: &SourceFile) -> Result<Summary, CutError> {
        let mut scan = Scan::default();
        let mut bytes = self.transport_stream(seat, file.clone())?;
        while let Some(bytes) = bytes.next().await {
            scan.push(&bytes?);
        }
        scan.finish().map_err(|source| CutError::NoStamps { segment: file.segment.path_text(), source })
    }
}

/// One file's bytes with its stamps moved.
fn shifted(bytes: ByteStream, shift_90k: i64) -> ByteStream {
    let mut restamp = Restamp::shifting(shift_90k);
    bytes.map(move |bytes| bytes.map(|bytes| restamp.push(bytes))).boxed()
}
