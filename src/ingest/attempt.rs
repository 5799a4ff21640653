//! One try to fetch a segment.
//!
//! Promises: bytes go to the sink as they come and are never held whole; `full` is only what arrived to its announced
//! end, in time, and has the shape of its container.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{FetchError, Patience, STALL_DEADLINE};
use super::decrypt::{DecryptError, Decryptor};
use super::extras::ExtraError;
use super::fetch::SegmentFetch;
use super::shape::{Shape, ShapeCheck};
use super::sink::{DiskError, Sink};
use super::tracker::Address;
use crate::metrics::FetchReason;
use crate::model::{LossCause, SegmentHash, SegmentKind};
use crate::store::SegmentLabel;

/// No segment takes longer from a server that still means to send it.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(60), stall: STALL_DEADLINE, whole: Duration::from_secs(240) };
/// Twitch ends a stuck request after 60 s with what it has and no error; anything slower than this may be cut short.
const SUSPECT_AFTER: Duration = Duration::from_secs(59);
/// A file that arrives to its announced end so often with the very same bytes, and is torn or empty, is so at the source.
const TORN_ALIKE: u32 = 3;

/// Why one try brought no whole segment.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Extra(#[from] ExtraError),
    #[error("cannot decrypt the segment")]
    Decrypt(#[from] DecryptError),
    #[error("the server sent text instead of a segment")]
    Text,
    #[error("the transfer was complete, and {why}")]
    Torn { why: &'static str, content: SegmentHash },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("another try was faster")]
    Overtaken,
}

impl TryError {
    /// What a server said, if one did.
    fn fetch_error(&self) -> Option<&FetchError> {
        match self {
            Self::Fetch(error) | Self::Extra(ExtraError::Map(error) | ExtraError::Key(error)) => Some(error),
            Self::Extra(ExtraError::NoKey(_) | ExtraError::Unreadable(_) | ExtraError::Decrypt(_))
            | Self::Decrypt(_)
            | Self::Text
            | Self::Torn { .. }
            | Self::Disk(_)
            | Self::Overtaken => None,
        }
    }

    /// No try will bring it.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_gone()) || matches!(self, Self::Extra(ExtraError::Unreadable(_)))
    }

    /// A fresh address may help.
    pub fn is_refused(&self) -> bool {
        self.fetch_error().is_some_and(FetchError::is_refused)
    }

    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// The disk has failed, and memory may take what comes.
    pub fn turns_to_memory(&self) -> bool {
        matches!(self, Self::Disk(DiskError::Store(_) | DiskError::Slow))
    }

    /// The label under which a failed try is counted.
    pub fn reason(&self) -> FetchReason {
        match (self, self.fetch_error()) {
            (_, Some(error)) => match error {
                FetchError::Unreachable(_) => FetchReason::Connect,
                FetchError::NoAnswer(_) | FetchError::Stalled(_) | FetchError::TooSlow(_) => FetchReason::Timeout,
                FetchError::Status(401 | 403 | 404 | 410) => FetchReason::Gone,
                FetchError::Status(_) | FetchError::WrongRange | FetchError::Redirected => FetchReason::Status,
                FetchError::CutOff { .. } => FetchReason::CutShort,
                FetchError::TooLong(_) => FetchReason::Content,
            },
            (Self::Torn { .. } | Self::Decrypt(DecryptError::CutOff), None) => FetchReason::CutShort,
            (Self::Disk(_), None) => FetchReason::Disk,
            (Self::Text | Self::Decrypt(DecryptError::Padding) | Self::Extra(_), None) => FetchReason::Content,
            (Self::Overtaken | Self::Fetch(_), None) => FetchReason::Other,
        }
    }

    /// The cause of the loss, if this was the last try.
    pub fn loss_cause(&self) -> LossCause {
        if self.is_refused() {
            return LossCause::Token;
        }
        if matches!(self, Self::Extra(ExtraError::Unreadable(_) | ExtraError::NoKey(_)) | Self::Decrypt(_)) {
            return LossCause::Encrypted;
        }
        match self.reason() {
            FetchReason::Gone => LossCause::Expired,
            FetchReason::Connect | FetchReason::Timeout | FetchReason::Status => LossCause::SourceDown,
            FetchReason::CutShort => LossCause::CutShort,
            FetchReason::Disk => LossCause::Disk,
            FetchReason::Content | FetchReason::Other => LossCause::Unknown,
        }
    }
}

/// Complete answers in a row that had the same wrong bytes. One that breaks off says nothing about them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Torn {
    content: Option<SegmentHash>,
    times: u32,
}

impl Torn {
    /// With another one.
    pub fn again(self, content: SegmentHash) -> Self {
        let times = if self.content == Some(content) { self.times + 1 } else { 1 };
        Self { content: Some(content), times }
    }

    /// Torn differently each time, it was torn on its way, and may come whole; but not if it is always the same.
    fn is_the_sources_own(self) -> bool {
        self.times >= TORN_ALIKE
    }
}

/// What is known of a try from outside, and the way to end it.
#[derive(Default)]
pub struct Progress {
    has_head: Cell<bool>,
    stop: Notify,
}

impl Progress {
    /// The server has begun to answer.
    pub fn has_head(&self) -> bool {
        self.has_head.get()
    }

    /// Ends the try, as soon as the disk has done what it was asked.
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}

/// What a try leaves: all, in its sink; or the error, and what came before it.
pub type Attempt = Result<(Sink, SegmentKind, Duration), (TryError, Option<Sink>)>;

impl SegmentFetch {
    /// `torn` tells how the source's file was complete and wrong before.
    pub(super) async fn attempt(
        &self,
        address: &Address,
        label: SegmentLabel,
        torn: Torn,
        progress: &Progress,
    ) -> Attempt {
        let began = Instant::now();
        let mut sink = None;
        let received = tokio::select! {
            received = self.receive(address, label, &mut sink, progress) => received,
            () = progress.stop.notified() => Err(TryError::Overtaken),
        };
        let took = began.elapsed();
        let shape = match (received, sink) {
            (Ok(shape), Some(sink)) => (shape, sink),
            (Ok(_), None) => unreachable!("what was received has a sink"),
            (Err(error), sink) => return Err(keep_what_came(error, sink).await),
        };
        let wrong = |why, sink: Sink| async move {
            let content = sink.content();
            if torn.again(content).is_the_sources_own() {
                return Ok((sink, SegmentKind::Suspect, took));
            }
            Err(keep_what_came(TryError::Torn { why, content }, Some(sink)).await)
        };
        match shape {
            (Shape::Text, sink) => {
                sink.discard().await;
                Err((TryError::Text, None))
            }
            (Shape::Torn(why), sink) => wrong(why, sink).await,
            (Shape::Empty, sink) => wrong("it has no bytes", sink).await,
            (Shape::Whole, sink) if took < SUSPECT_AFTER && !self.wanted.mistimed => {
                Ok((sink, SegmentKind::Full, took))
            }
            (Shape::Whole | Shape::Unknown, sink) => Ok((sink, SegmentKind::Suspect, took)),
        }
    }

    /// Everything from the request to the last byte.
    async fn receive(
        &self,
        address: &Address,
        label: SegmentLabel,
        sink: &mut Option<Sink>,
        progress: &Progress,
    ) -> Result<Shape, TryError> {
        let key = self.extras.key(&self.client, &address.cipher).await?;
        let head = match &address.map {
            Some(map) => self.extras.map(&self.client, self.wanted.epoch, map).await?,
            None => Bytes::new(),
        };
        let mut body = self.client.get(&address.url, address.byte_range, PATIENCE).await?.body;
        progress.has_head.set(true);
        let mut decryptor = key.map(|(key, iv)| Decryptor::new(&key, &iv));
        let sink = sink.insert(Sink::create(&self.disk, label).await?);
        let mut check = ShapeCheck::default();
        let mut is_empty = true;
        check.feed(&head);
        sink.write(head).await?;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            is_empty &= piece.is_empty();
            let clear = match &mut decryptor {
                Some(decryptor) => decryptor.feed(&piece).into(),
                None => piece,
            };
            check.feed(&clear);
            sink.write(clear).await?;
        }
        if let Some(decryptor) = decryptor {
            let last = decryptor.finish().inspect_err(|_| self.extras.forget_key(&address.cipher))?;
            check.feed(&last);
            sink.write(last.into()).await?;
        }
        sink.flush().await?;
        // An initialisation section alone is whole, and no segment.
        Ok(if is_empty { Shape::Empty } else { check.finish() })
    }
}

/// What came before an error is of use if it is the segment's own bytes, and the disk took them.
async fn keep_what_came(error: TryError, sink: Option<Sink>) -> (TryError, Option<Sink>) {
    let Some(mut sink) = sink else { return (error, None) };
    let is_of_use = match &error {
        TryError::Fetch(_) | TryError::Torn { .. } => sink.flush().await.is_ok(),
        // After a write that failed, the file holds what was written before it.
        TryError::Disk(DiskError::Store(_)) => true,
        // A beginning that waits in memory takes the room of a segment that could be whole.
        TryError::Disk(DiskError::SpoolFull(_) | DiskError::Slow | DiskError::Panicked(_)) => false,
        TryError::Extra(_) | TryError::Decrypt(_) | TryError::Text | TryError::Overtaken => false,
    };
    if is_of_use {
        return (error, Some(sink));
    }
    sink.discard().await;
    (error, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn only_the_same_wrong_bytes_again_and_again_are_the_sources_own() {
        let is_own = |contents: &[u8]| {
            let torn =
                contents.iter().fold(Torn::default(), |torn, byte| torn.again(SegmentHash::from_bytes([*byte; 32])));
            torn.is_the_sources_own()
        };
        for differently in [&[][..], &[1, 1], &[1, 2, 3, 4], &[1, 1, 2, 1, 1], &[1, 2, 1, 2, 1, 2]] {
            assert!(!is_own(differently), "{differently:?}");
        }
        assert!(is_own(&[1, 1, 1]) && is_own(&[2, 1, 1, 1]));
    }

    #[test]
    fn the_last_error_says_the_cause_of_the_loss() {
        let status = |status| TryError::Fetch(FetchError::Status(status));
        let disk = StoreError::of_read(std::path::Path::new("/x"), std::io::Error::other("full"));
        for (error, cause) in [
            (status(401), LossCause::Token),
            (status(403), LossCause::Token),
            (ExtraError::Map(FetchError::Status(403)).into(), LossCause::Token),
            (ExtraError::Key(FetchError::Status(403)).into(), LossCause::Token),
            (ExtraError::Key(FetchError::Status(500)).into(), LossCause::SourceDown),
            (DecryptError::Padding.into(), LossCause::Encrypted),
            (status(404), LossCause::Expired),
            (status(410), LossCause::Expired),
            (status(500), LossCause::SourceDown),
            (FetchError::Stalled(SUSPECT_AFTER).into(), LossCause::SourceDown),
            (FetchError::CutOff { got_bytes: 1, why: String::new() }.into(), LossCause::CutShort),
            (DiskError::from(disk).into(), LossCause::Disk),
            (TryError::Text, LossCause::Unknown),
        ] {
            assert_eq!(error.loss_cause(), cause, "{error}");
        }
    }
}
