//! Fetches one segment until it is saved whole, or nothing more can be had.
//!
//! Promises: bytes go to a temp file as they come and are never held whole; `full` is only what arrived to its
//! announced end and has the shape of its container; what was cut off is kept as `partial` when no try brings more.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::client::{ByteBudget, FetchError, HttpClient};
use super::shape::{Shape, ShapeCheck};
use super::tracker::Wanted;
use crate::blocking::{Blocking, Panicked};
use crate::jitter::jittered;
use crate::metrics::FetchReason;
use crate::model::{Channel, LossCause, Quality, SegmentKind};
use crate::store::{Layout, PendingSegment, Saved, StoreError};

/// A whole segment may take this long; what takes longer is cut off and tried again.
const WHOLE_DEADLINE: Duration = Duration::from_secs(240);
/// Twitch ends a stuck request after 60 s with what it has and no error; anything slower than this may be cut short.
const SUSPECT_AFTER: Duration = Duration::from_secs(59);
/// After this long no source still has the segment.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20 * 60);
/// A segment that is listed but not there yet appears within a few tries; after that it is gone.
const GONE_AFTER_TRIES: u32 = 4;
/// A file that arrives to its announced end this often, and is torn, is torn at the source.
const TORN_AFTER_TRIES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// Bytes gathered before they go to the disk: few enough to stay small, enough to make few system calls.
const WRITE_BYTES: usize = 256 * 1024;
/// An initialisation section has a few kilobytes.
const MAP_BUDGET: ByteBudget = ByteBudget { max_bytes: 1 << 20, deadline: Duration::from_secs(60) };

/// Why one try brought no whole segment.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("cannot fetch the initialisation section")]
    Map(#[source] FetchError),
    #[error("the server sent text instead of a segment")]
    Text,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl TryError {
    /// The label under which a failed try is counted.
    pub fn reason(&self) -> FetchReason {
        match self {
            Self::Fetch(error) | Self::Map(error) => match error {
                FetchError::Unreachable(_) => FetchReason::Connect,
                FetchError::NoAnswer(_) | FetchError::Stalled(_) | FetchError::TooSlow(_) => FetchReason::Timeout,
                FetchError::Status(403 | 404 | 410) => FetchReason::Gone,
                FetchError::Status(_) | FetchError::WrongRange => FetchReason::Status,
                FetchError::CutOff { .. } => FetchReason::CutShort,
                FetchError::TooLong(_) => FetchReason::Content,
            },
            Self::Text => FetchReason::Content,
            Self::Store(_) => FetchReason::Disk,
            Self::Panicked(_) => FetchReason::Other,
        }
    }

    /// The cause of the loss, if this was the last try.
    pub fn loss_cause(&self) -> LossCause {
        if matches!(self, Self::Fetch(FetchError::Status(401 | 403)) | Self::Map(FetchError::Status(401 | 403))) {
            return LossCause::Token;
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

/// How the fetching of a segment ended.
#[derive(Debug)]
pub enum Fetched {
    Saved {
        saved: Saved,
        len_bytes: u64,
        took: Duration,
    },
    /// Nothing was kept: the source no longer has it, or no try succeeded in time.
    Lost(TryError),
}

/// Everything that the fetching of one segment needs.
pub struct SegmentFetch {
    pub client: HttpClient,
    pub permits: Rc<Semaphore>,
    pub blocking: Blocking,
    pub layout: Layout,
    pub channel: Channel,
    pub quality: Quality,
    pub wanted: Wanted,
    /// Tells this try's temp files from all others.
    pub unique: String,
}

/// Fetches to the end. `on_failure` hears of each try that failed.
pub async fn fetch_segment(fetch: SegmentFetch, on_failure: impl Fn(&TryError)) -> Fetched {
    let began = Instant::now();
    let mut kept: Option<PendingSegment> = None;
    let mut backoff = FIRST_BACKOFF;
    let mut tries = 0;
    loop {
        tries += 1;
        let permit = fetch.permits.acquire().await.expect("the semaphore is never closed");
        let attempt = fetch.attempt(tries).await;
        drop(permit);
        let error = match attempt {
            Ok((pending, kind, took)) => {
                fetch.discard(kept.take()).await;
                match fetch.finish(pending, kind).await {
                    Ok((saved, len_bytes)) => return Fetched::Saved { saved, len_bytes, took },
                    Err(error) => error,
                }
            }
            Err((error, pending)) => {
                kept = fetch.keep_longer(kept.take(), pending).await;
                error
            }
        };
        on_failure(&error);
        let gone = matches!(&error, TryError::Fetch(error) if error.is_gone()) && tries >= GONE_AFTER_TRIES;
        if gone || began.elapsed() > GIVE_UP_AFTER {
            return fetch.give_up(kept, error, began).await;
        }
        sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

type Attempt = Result<(PendingSegment, SegmentKind, Duration), (TryError, Option<PendingSegment>)>;

impl SegmentFetch {
    async fn attempt(&self, number: u32) -> Attempt {
        let began = Instant::now();
        let head = self.initialisation().await.map_err(|error| (error, None))?;
        let response = self.client.get(&self.wanted.url, self.wanted.byte_range, WHOLE_DEADLINE).await;
        let mut body = response.map_err(|error| (error.into(), None))?.body;
        let mut writer = Writer::create(self, number).await.map_err(|error| (error, None))?;
        let mut check = ShapeCheck::default();
        let mut next: Option<Result<Bytes, FetchError>> = Some(Ok(head));
        while let Some(piece) = next {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Err((error.into(), writer.close().await)),
            };
            check.feed(&piece);
            writer = writer.write(piece).await.map_err(|error| (error, None))?;
            next = body.next().await;
        }
        let took = began.elapsed();
        let Some(pending) = writer.close().await else { return Err((Panicked.into(), None)) };
        match check.finish() {
            Shape::Text => {
                self.discard(Some(pending)).await;
                Err((TryError::Text, None))
            }
            // The transfer was complete, and again: so it is the source's own file that is torn.
            Shape::Torn(_) if number >= TORN_AFTER_TRIES => Ok((pending, SegmentKind::Suspect, took)),
            Shape::Torn(why) => {
                let got_bytes = pending.len_bytes();
                Err((FetchError::CutOff { got_bytes, why: why.to_owned() }.into(), Some(pending)))
            }
            Shape::Whole if took < SUSPECT_AFTER => Ok((pending, SegmentKind::Full, took)),
            Shape::Whole | Shape::Unknown | Shape::Empty => Ok((pending, SegmentKind::Suspect, took)),
        }
    }

    /// What goes before the segment's own bytes; empty for MPEG-TS.
    async fn initialisation(&self) -> Result<Bytes, TryError> {
        match &self.wanted.map {
            Some((url, range)) => self.client.get_whole(url, *range, MAP_BUDGET).await.map_err(TryError::Map),
            None => Ok(Bytes::new()),
        }
    }

    async fn finish(&self, pending: PendingSegment, kind: SegmentKind) -> Result<(Saved, u64), TryError> {
        let len_bytes = pending.len_bytes();
        let saved = self.blocking.run(move || pending.finish(kind)).await??;
        Ok((saved, len_bytes))
    }

    async fn keep_longer(&self, kept: Option<PendingSegment>, new: Option<PendingSegment>) -> Option<PendingSegment> {
        let length = |pending: &Option<PendingSegment>| pending.as_ref().map_or(0, PendingSegment::len_bytes);
        let (longer, shorter) = if length(&new) > length(&kept) { (new, kept) } else { (kept, new) };
        self.discard(shorter).await;
        longer
    }

    /// A temp that cannot be deleted is recovered at the next start; nothing is lost by it.
    async fn discard(&self, pending: Option<PendingSegment>) {
        if let Some(pending) = pending {
            let _ = self.blocking.run(move || pending.discard()).await;
        }
    }

    async fn give_up(&self, kept: Option<PendingSegment>, error: TryError, began: Instant) -> Fetched {
        let Some(pending) = kept.filter(|pending| pending.len_bytes() > 0) else { return Fetched::Lost(error) };
        match self.finish(pending, SegmentKind::Partial).await {
            Ok((saved, len_bytes)) => Fetched::Saved { saved, len_bytes, took: began.elapsed() },
            Err(error) => Fetched::Lost(error),
        }
    }
}

/// Gathers pieces and hands them to the disk in larger ones.
struct Writer {
    pending: PendingSegment,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    blocking: Blocking,
}

impl Writer {
    async fn create(fetch: &SegmentFetch, attempt: u32) -> Result<Self, TryError> {
        let (layout, channel, quality) = (fetch.layout.clone(), fetch.channel.clone(), fetch.quality.clone());
        let (start, duration_micros) = (fetch.wanted.start, fetch.wanted.duration_micros);
        let unique = format!("{}-{attempt}", fetch.unique);
        let create = move || PendingSegment::create(&layout, &channel, &quality, start, duration_micros, &unique);
        let pending = fetch.blocking.run(create).await??;
        Ok(Self { pending, gathered: Vec::new(), gathered_bytes: 0, blocking: fetch.blocking.clone() })
    }

    async fn write(mut self, piece: Bytes) -> Result<Self, TryError> {
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes < WRITE_BYTES { Ok(self) } else { self.flush().await }
    }

    async fn flush(self) -> Result<Self, TryError> {
        let Self { mut pending, gathered, blocking, .. } = self;
        let append = move || {
            let appended = gathered.iter().try_for_each(|piece| pending.append(piece));
            appended.map(|()| pending)
        };
        let pending = blocking.run(append).await??;
        Ok(Self { pending, gathered: Vec::new(), gathered_bytes: 0, blocking })
    }

    /// What has arrived, on disk. `None` if the disk failed; the temp is then left for recovery.
    async fn close(self) -> Option<PendingSegment> {
        self.flush().await.ok().map(|writer| writer.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_says_the_cause_of_the_loss() {
        let status = |status| TryError::Fetch(FetchError::Status(status));
        let disk = StoreError::of_read(std::path::Path::new("/x"), std::io::Error::other("full"));
        for (error, cause) in [
            (status(401), LossCause::Token),
            (status(403), LossCause::Token),
            (TryError::Map(FetchError::Status(403)), LossCause::Token),
            (status(404), LossCause::Expired),
            (status(410), LossCause::Expired),
            (status(500), LossCause::SourceDown),
            (FetchError::Stalled(SUSPECT_AFTER).into(), LossCause::SourceDown),
            (FetchError::CutOff { got_bytes: 1, why: String::new() }.into(), LossCause::CutShort),
            (disk.into(), LossCause::Disk),
            (TryError::Text, LossCause::Unknown),
        ] {
            assert_eq!(error.loss_cause(), cause, "{error}");
        }
    }
}
