//! A destination whose acts are counted, whatever it is.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Destination, Gate, Held, Progress, Published, Thumbnail, Transcoding, Upload, UploadError, UploadTicket,
    VideoMetadata,
};
use crate::metrics::{Metrics, UploadAct, UploadOutcome};
use crate::model::UploadLocation;

/// How often it is looked how much was sent.
const LOOKS: Duration = Duration::from_secs(1);

pub struct Measured {
    inner: Rc<dyn Destination>,
    location: UploadLocation,
    metrics: Metrics,
}

impl Measured {
    pub fn new(inner: Rc<dyn Destination>, location: UploadLocation, metrics: Metrics) -> Self {
        metrics.preregister_uploads(&location);
        Self { inner, location, metrics }
    }

    fn counted<'a, T: 'a>(
        &'a self,
        act: UploadAct,
        asked: LocalBoxFuture<'a, Result<T, UploadError>>,
    ) -> LocalBoxFuture<'a, Result<T, UploadError>> {
        async move {
            // Who waits may go away amid it.
            let mut counts = Counts { of: self, act, outcome: UploadOutcome::Dropped };
            let answer = asked.await;
            counts.outcome = match &answer {
                Ok(_) => UploadOutcome::Done,
                Err(UploadError::Withdrawn(_)) => UploadOutcome::Withdrawn,
                Err(error) if error.is_unsure() => UploadOutcome::Unsure,
                Err(error) if error.is_retryable() => UploadOutcome::Failed,
                Err(_) => UploadOutcome::Refused,
            };
            answer
        }
        .boxed_local()
    }
}

struct Counts<'a> {
    of: &'a Measured,
    act: UploadAct,
    outcome: UploadOutcome,
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.of.metrics.upload_acted(&self.of.location, self.act, self.outcome);
    }
}

/// What was sent and has been counted.
struct Sent<'a> {
    of: &'a Measured,
    progress: &'a Progress,
    counted_bytes: Cell<u64>,
}

impl Sent<'_> {
    /// Where the destination had lost bytes, they are sent, and counted, again.
    fn count(&self) {
        let bytes = self.progress.bytes();
        let fresh = bytes.saturating_sub(self.counted_bytes.replace(bytes));
        self.of.metrics.upload_sent(&self.of.location, fresh);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

impl Destination for Measured {
    fn begin<'a>(&'a self, upload: &'a Upload) -> LocalBoxFuture<'a, Result<UploadTicket, UploadError>> {
        self.counted(UploadAct::Begin, self.inner.begin(upload))
    }

    fn held<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: Option<&'a UploadTicket>,
    ) -> LocalBoxFuture<'a, Result<Held, UploadError>> {
        self.counted(UploadAct::Held, self.inner.held(upload, ticket))
    }

    fn send<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
        from_bytes: u64,
        progress: &'a Progress,
        gate: Gate<'a>,
    ) -> LocalBoxFuture<'a, Result<Published, UploadError>> {
        let sending = async move {
            progress.set(from_bytes);
            let sent = Sent { of: self, progress, counted_bytes: Cell::new(from_bytes) };
            let sending = self.inner.send(upload, ticket, from_bytes, progress, gate);
            let mut looks = interval(LOOKS);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let looking = async {
                loop {
                    looks.tick().await;
                    sent.count();
                }
            };
            tokio::select! {
                biased;
                answer = sending => answer,
                () = looking => unreachable!("it looks for as long as it is sent"),
            }
        };
        self.counted(UploadAct::Send, sending.boxed_local())
    }

    fn transcoding<'a>(&'a self, video_id: &'a str) -> LocalBoxFuture<'a, Result<Transcoding, UploadError>> {
        self.counted(UploadAct::Transcoding, self.inner.transcoding(video_id))
    }

    fn modify<'a>(
        &'a self,
        video_id: &'a str,
        metadata: &'a VideoMetadata,
        thumbnail: Option<&'a Thumbnail>,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        self.counted(UploadAct::Modify, self.inner.modify(video_id, metadata, thumbnail))
    }

    fn discard<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        self.counted(UploadAct::Discard, self.inner.discard(upload, ticket))
    }
}
