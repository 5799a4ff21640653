//! Fetches one segment until it is kept whole, or nothing more can be had.
//!
//! Promises: a try that is slow gets a second one beside it; an address that is refused is tried again once it is
//! renewed; what was cut off is kept as `partial` when no try brings more.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::attempt::{Attempt, Progress, Torn, TryError};
use super::client::HttpClient;
use super::extras::Extras;
use super::sink::{Disk, Kept, Sink};
use super::tracker::{Address, Wanted};
use crate::jitter::jittered;
use crate::model::{Channel, LossCause, Quality, SegmentKind};
use crate::store::SegmentLabel;

/// A try without the head of an answer by then gets another one beside it.
const HEAD_SOFT: Duration = Duration::from_secs(5);
/// And one that is not whole by then.
const WHOLE_SOFT: Duration = Duration::from_secs(15);
/// After this long no source still has the segment.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20 * 60);
/// A segment that is listed but not there yet appears within a few tries; after as many in a row it is gone. The same
/// for addresses that are refused, each of them renewed.
const GONE_AFTER_TRIES: u32 = 4;
/// A renewed address comes with the next playlist of a new session.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// How the fetching of a segment ended.
#[derive(Debug)]
pub enum Fetched {
    Kept {
        kept: Kept,
        kind: SegmentKind,
        len_bytes: u64,
        took: Duration,
        /// Why the rest is missing; `None` where nothing is known to be.
        cut_by: Option<LossCause>,
    },
    /// Nothing was kept: the source no longer has it, or no try succeeded in time.
    Lost { error: TryError, cause: LossCause },
}

/// Everything that the fetching of one segment needs.
pub struct SegmentFetch {
    pub client: HttpClient,
    pub permits: Rc<Semaphore>,
    pub extras: Rc<Extras>,
    pub disk: Disk,
    pub channel: Channel,
    pub quality: Quality,
    pub wanted: Wanted,
    /// Where it is now: whoever sees a newer playlist says so.
    pub address: watch::Receiver<Address>,
    /// Tells the temp files of this fetch from all others.
    pub unique: String,
}

/// What has become of the tries so far.
#[derive(Default)]
struct History {
    tries: u32,
    torn: Torn,
    gone_in_a_row: u32,
    refused_in_a_row: u32,
    disk_failed: bool,
}

impl History {
    fn add(&mut self, error: &TryError) {
        if let TryError::Torn { content, .. } = error {
            self.torn = self.torn.again(*content);
        }
        self.gone_in_a_row = if error.is_gone() { self.gone_in_a_row + 1 } else { 0 };
        self.disk_failed |= error.is_of_the_disk();
        self.refused_in_a_row = if error.is_refused() { self.refused_in_a_row + 1 } else { 0 };
    }

    /// What came once and was not taken is lost to the disk, whatever the source said when it was asked again.
    fn cause_of(&self, otherwise: LossCause) -> LossCause {
        if self.disk_failed { LossCause::Disk } else { otherwise }
    }

    fn is_over(&self) -> bool {
        self.gone_in_a_row >= GONE_AFTER_TRIES || self.refused_in_a_row >= GONE_AFTER_TRIES
    }
}

/// Fetches to the end. `on_failure` hears of each try that failed.
pub async fn fetch_segment(mut fetch: SegmentFetch, on_failure: impl Fn(&TryError)) -> Fetched {
    let began = Instant::now();
    let mut longest: Option<Sink> = None;
    let mut backoff = FIRST_BACKOFF;
    let mut history = History::default();
    let permits = Rc::clone(&fetch.permits);
    loop {
        history.tries += 1;
        let address = fetch.address.borrow_and_update().clone();
        let permit = permits.acquire().await.expect("the semaphore is never closed");
        let tried = fetch.try_hedged(&address, &history).await;
        drop(permit);
        let error = match tried {
            Ok((sink, kind, took)) => {
                let len_bytes = sink.len_bytes();
                match sink.finish(kind).await {
                    Ok(kept) => {
                        discard(longest.take()).await;
                        return Fetched::Kept { kept, kind, len_bytes, took, cut_by: None };
                    }
                    Err(error) => error.into(),
                }
            }
            Err((error, sink)) => {
                longest = keep_longer(longest.take(), sink).await;
                error
            }
        };
        on_failure(&error);
        history.add(&error);
        if history.is_over() || began.elapsed() > GIVE_UP_AFTER {
            return give_up(longest, error, &history, began).await;
        }
        // The next try goes to memory, and the source has the bytes now.
        if error.turns_to_memory() {
            continue;
        }
        if error.is_refused() && matches!(timeout(RENEWED_WITHIN, fetch.address.changed()).await, Ok(Ok(()))) {
            continue;
        }
        sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

impl SegmentFetch {
    /// One try, and a second one beside it if it is slow. What wins is whole; the other is dropped, bytes and all.
    async fn try_hedged(&self, address: &Address, history: &History) -> Attempt {
        let (first_progress, second_progress) = (Progress::default(), Progress::default());
        let label = |beside: &str| SegmentLabel {
            shelf: self.wanted.content.shelf(),
            channel: self.channel.clone(),
            quality: self.quality.clone(),
            start: self.wanted.start,
            duration_micros: self.wanted.duration_micros,
            unique: format!("{}-{}{beside}", self.unique, history.tries),
        };
        let mut first = std::pin::pin!(self.attempt(address, label(""), history.torn, &first_progress));
        if let Ok(done) = timeout(HEAD_SOFT, &mut first).await {
            return done;
        }
        if first_progress.has_head()
            && let Ok(done) = timeout(WHOLE_SOFT - HEAD_SOFT, &mut first).await
        {
            return done;
        }
        let mut second = std::pin::pin!(self.attempt(address, label("b"), history.torn, &second_progress));
        let (done, other) = tokio::select! {
            done = &mut first => {
                if done.is_ok() { second_progress.stop(); }
                (done, second.await)
            }
            done = &mut second => {
                if done.is_ok() { first_progress.stop(); }
                (done, first.await)
            }
        };
        better(done, other).await
    }
}

/// Of two tries that have ended: the good one, or what is longer of two failures.
async fn better(done: Attempt, other: Attempt) -> Attempt {
    match (done, other) {
        (Ok(good), Ok((sink, _, _)) | Err((_, Some(sink)))) | (Err((_, Some(sink))), Ok(good)) => {
            sink.discard().await;
            Ok(good)
        }
        (Ok(good), Err((_, None))) | (Err((_, None)), Ok(good)) => Ok(good),
        (Err((_, one)), Err((error, other))) => Err((error, keep_longer(one, other).await)),
    }
}

async fn keep_longer(kept: Option<Sink>, new: Option<Sink>) -> Option<Sink> {
    let length = |sink: &Option<Sink>| sink.as_ref().map_or(0, Sink::len_bytes);
    let (longer, shorter) = if length(&new) > length(&kept) { (new, kept) } else { (kept, new) };
    discard(shorter).await;
    longer
}

async fn discard(sink: Option<Sink>) {
    if let Some(sink) = sink {
        sink.discard().await;
    }
}

async fn give_up(longest: Option<Sink>, error: TryError, history: &History, began: Instant) -> Fetched {
    let lost = |error: TryError| {
        let cause = history.cause_of(error.loss_cause());
        Fetched::Lost { error, cause }
    };
    let Some(sink) = longest.filter(|sink| sink.len_bytes() > 0) else { return lost(error) };
    let (kind, len_bytes) = (SegmentKind::Partial, sink.len_bytes());
    let cut_by = Some(history.cause_of(LossCause::CutShort));
    match sink.finish(kind).await {
        Ok(kept) => Fetched::Kept { kept, kind, len_bytes, took: began.elapsed(), cut_by },
        Err(error) => lost(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::FetchError;
    use super::super::sink::DiskError;
    use super::*;

    #[test]
    fn what_the_disk_did_not_take_is_lost_to_the_disk() {
        let mut history = History::default();
        let gone = || TryError::Fetch(FetchError::Status(404));
        history.add(&gone());
        assert_eq!(history.cause_of(gone().loss_cause()), LossCause::Expired);
        assert_eq!(history.cause_of(LossCause::CutShort), LossCause::CutShort);
        history.add(&DiskError::Slow.into());
        history.add(&gone());
        assert_eq!(history.cause_of(gone().loss_cause()), LossCause::Disk);
        assert_eq!(history.cause_of(LossCause::CutShort), LossCause::Disk);
    }
}
