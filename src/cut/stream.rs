//! A plan, executed as a stream of bytes.
//!
//! Promises: everything that can be checked is checked before the first byte; after it, a fault ends the stream with an
//! error, so that it is never silently shorter. Nothing is read before it is asked for, but for the next edge; dropping the
//! stream ends its ffmpeg.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use tokio::time::timeout;

use super::CutError;
use super::executor::{Executor, begun};
use super::ffmpeg::Ffmpeg;
use super::files::{ByteStream, Record, all_carried, one_container, rough_len, survey};
use super::pack::{ContentType, Packing, faststart_args};
use super::plan::Plan;
use super::receipt::Receipt;
use super::resume::{Begun, Fingerprint};
use super::source::Source;
use super::spooled::Place;
use super::steps::steps;
use crate::media::Container;
use crate::model::CutType;

/// No answer over HTTP may take much longer to begin.
const LENGTH_PATIENCE: Duration = Duration::from_secs(60);

/// A cut on its way. Ends after the first error.
pub struct CutStream {
    content_type: ContentType,
    size_bytes: Option<u64>,
    fingerprint: Option<Fingerprint>,
    begins_at_bytes: u64,
    bytes: ByteStream,
    receipt: Receipt,
}

impl CutStream {
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// How many bytes there will be in all, where that is known: those that are left out, too.
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// By which it can be taken up if it breaks off, where that is possible.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// How many bytes at its start are left out, as they are there already.
    pub fn begins_at_bytes(&self) -> u64 {
        self.begins_at_bytes
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
                self.receipt.sent(bytes.len() as u64);
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
    start_after(record, ffmpeg, plan, None).await
}

/// The same, after what has `begun` before, if it is of this cut and can be taken up.
pub async fn start_after(
    record: Record,
    ffmpeg: Ffmpeg,
    plan: Plan,
    begun_before: Option<Begun>,
) -> Result<CutStream, CutError> {
    let files = survey(&record, plan.segments().cloned().collect()).await?;
    let converted: Vec<bool> = plan.parts().flat_map(|part| vec![part.is_converted(); part.segments().len()]).collect();
    let container = one_container(&files, |at| converted[at])?;
    if plan.cut_type() != CutType::Rough && !plan.cut_type().encodes_all() {
        all_carried(&files, |at| converted[at])?;
    }
    let (packing, encode) = (Packing::of(plan.cut_type()), plan.encode());
    let is_rough = plan.cut_type() == CutType::Rough;
    let content_type = match packing {
        Some(packing) => packing.content_type(),
        None if is_rough => container.content_type(),
        None => ContentType::MpegTs,
    };
    let source_bytes = files.iter().map(|file| file.len_bytes).sum();
    let mut size_bytes = is_rough.then(|| files.iter().map(rough_len).sum());
    let fingerprint = is_rough.then(|| Fingerprint::of(&files));
    let begins_at_bytes = Begun::of(begun_before, fingerprint, size_bytes);
    let seat = match packing {
        Some(_) => Some(ffmpeg.seat().await?),
        None => None,
    };
    let like =
        plan.encodings().first().and_then(|first| files.iter().find(|file| file.segment == first.segment)).cloned();
    // All of a cut has the streams of its first file, unless that one is converted.
    let first = like.clone().filter(|_| converted[0]).or(files.first().cloned());
    let source = Source { record, ffmpeg: ffmpeg.clone() };
    let row = steps(&plan, files, like.as_ref());
    let is_exact = plan.cut_type().is_exact();
    let receipt = Receipt::new(Arc::new(plan));
    receipt.sent(begins_at_bytes);
    let executor = Executor::new(source.clone(), row, is_exact, seat.clone(), Some(receipt.clone()));
    let executor = executor.like_file(like).looking_ahead();
    let mut bytes = begun(executor.passing(begins_at_bytes)?.into_stream()).await?;
    if let (Some(packing), Some(seat), Some(first)) = (packing, seat, first) {
        let audio = source.measure(&seat, &first).await?.audio;
        if packing == Packing::Faststart {
            let place = Place { scratch: ffmpeg.scratch().clone(), blocking: source.record.blocking.clone() };
            let args = move |path: &Path| faststart_args(&audio, path);
            (size_bytes, bytes) = all_or_later(place.spooled(seat, args, bytes, source_bytes).boxed()).await?;
        } else {
            for args in packing.chain(&audio, encode) {
                bytes = seat.run(args, bytes)?.into_stream();
            }
            bytes = begun(bytes).await?;
        }
    }
    Ok(CutStream { content_type, size_bytes, fingerprint, begins_at_bytes, bytes, receipt })
}

/// Of a video that is put together first, its length and its bytes; where that takes long, whoever asked is told meanwhile
/// that it comes, and not how long it is.
async fn all_or_later(
    mut spooled: BoxFuture<'static, Result<(u64, ByteStream), CutError>>,
) -> Result<(Option<u64>, ByteStream), CutError> {
    match timeout(LENGTH_PATIENCE, &mut spooled).await {
        Ok(spooled) => spooled.map(|(size_bytes, bytes)| (Some(size_bytes), bytes)),
        Err(_) => Ok((None, stream::once(spooled.map_ok(|(_, bytes)| bytes)).try_flatten().boxed())),
    }
}

impl Container {
    fn content_type(self) -> ContentType {
        match self {
            Self::MpegTs => ContentType::MpegTs,
            Self::FragmentedMp4 => ContentType::Mp4,
        }
    }
}
