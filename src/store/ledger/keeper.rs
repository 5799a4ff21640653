//! Takes losses from recorders without ever making them wait, and writes them down on a task of its own.
//!
//! Promises: `note` neither blocks nor fails; what cannot be written is kept, joined where it touches, and tried again
//! until it can; beyond the bounds it is counted and told, never silently dropped.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use slog::{Logger, error, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{is_credible, note_losses};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::jitter::jittered;
use crate::metrics::Metrics;
use crate::model::{Channel, Loss, LossCause, LossDetail, NodeName, Quality, Span};
use crate::select::losses::standing;
use crate::store::{Layout, StoreError, Volume};

/// Losses on their way to the keeper: many times what a bad second brings.
const QUEUE: usize = 4096;
/// Losses kept while the disk refuses them, of one quality; joined where they touch, this is hours of separate holes.
const MOST_KEPT: usize = 10_000;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

type Stream = (Channel, Quality);

enum Message {
    Note(Stream, Loss),
    Flush(oneshot::Sender<()>),
}

/// Whose ledger, and where.
pub struct LedgerOf {
    pub layout: Layout,
    pub volume: Volume,
    pub node: NodeName,
}

/// Where recorders leave their losses. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    queue: mpsc::Sender<Message>,
    node: NodeName,
    clock: Clock,
    metrics: Metrics,
}

impl Ledger {
    /// The ledger of a node, and the keeper that must run for it.
    pub fn open(of: LedgerOf, clock: Clock, metrics: Metrics, log: Logger) -> (Self, Keeper) {
        let LedgerOf { layout, volume, node } = of;
        let (queue, notes) = mpsc::channel(QUEUE);
        let keeper = Keeper {
            notes,
            kept: BTreeMap::new(),
            door: Blocking::new(1),
            layout,
            volume,
            metrics: metrics.clone(),
            log,
            backoff: None,
        };
        (Self { queue, node, clock, metrics }, keeper)
    }

    /// Notes that `span` is lost. Returns at once; what cannot be taken is counted.
    pub fn note(&self, channel: &Channel, quality: &Quality, span: Span, cause: LossCause, detail: &str) {
        let (noticed, node) = (self.clock.now(), self.node.clone());
        let loss = Loss { span, cause, noticed, node, detail: LossDetail::new(detail) };
        let note = Message::Note((channel.clone(), quality.clone()), loss);
        if !is_credible(span) || self.queue.try_send(note).is_err() {
            self.metrics.losses_not_noted(1);
        }
    }

    /// Waits until what was noted so far has been written, or once refused.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// Writes down what is noted.
pub struct Keeper {
    notes: mpsc::Receiver<Message>,
    /// Noted, and not yet written.
    kept: BTreeMap<Stream, Vec<Loss>>,
    door: Blocking,
    layout: Layout,
    volume: Volume,
    metrics: Metrics,
    log: Logger,
    /// Until the next try, while the disk refuses.
    backoff: Option<Duration>,
}

impl Keeper {
    /// Runs until every `Ledger` is gone.
    pub async fn run(mut self) {
        loop {
            let mut flushes = Vec::new();
            match self.backoff {
                Some(backoff) => self.wait(jittered(backoff), &mut flushes).await,
                None => match self.notes.recv().await {
                    Some(message) => self.take(message, &mut flushes),
                    None => return,
                },
            }
            while let Ok(message) = self.notes.try_recv() {
                self.take(message, &mut flushes);
            }
            self.write().await;
            for done in flushes {
                let _ = done.send(());
            }
            if self.notes.is_closed() && self.notes.is_empty() && self.backoff.is_some() {
                // Nobody is left who could see a later try succeed.
                return;
            }
        }
    }

    /// Until the next try, or until nobody is left. What is noted meanwhile is taken, so that the queue has room.
    async fn wait(&mut self, time: Duration, flushes: &mut Vec<oneshot::Sender<()>>) {
        let mut over = pin!(sleep(time));
        loop {
            tokio::select! {
                () = &mut over => return,
                message = self.notes.recv() => match message {
                    Some(message) => self.take(message, flushes),
                    None => return,
                },
            }
        }
    }

    fn take(&mut self, message: Message, flushes: &mut Vec<oneshot::Sender<()>>) {
        match message {
            Message::Note(stream, loss) => {
                let kept = self.kept.entry(stream.clone()).or_default();
                kept.push(loss);
                // Joined once for many, as that goes through all of them.
                if kept.len() >= 2 * MOST_KEPT {
                    let kept = std::mem::take(kept);
                    let kept = self.within_bounds(kept);
                    self.kept.insert(stream, kept);
                }
            }
            Message::Flush(done) => flushes.push(done),
        }
    }

    async fn write(&mut self) {
        let (layout, volume, kept) = (self.layout.clone(), self.volume.clone(), std::mem::take(&mut self.kept));
        let count = kept.values().map(Vec::len).sum();
        let written = self.door.run(move || write_all(&layout, &volume, kept)).await;
        match written {
            Ok((refused, Some(error))) => {
                if self.backoff.is_none() {
                    warn!(self.log, "losses cannot be noted, will try again"; "error" => chain(&error));
                }
                self.backoff = Some(self.backoff.map_or(FIRST_BACKOFF, |last| (last * 2).min(LONGEST_BACKOFF)));
                self.kept = refused.into_iter().map(|(stream, losses)| (stream, self.within_bounds(losses))).collect();
            }
            Ok((_, None)) => {
                if self.backoff.take().is_some() {
                    info!(self.log, "losses are noted again");
                }
            }
            Err(panicked) => {
                self.metrics.losses_not_noted(count);
                error!(self.log, "losses are not in the ledger"; "count" => count, "error" => chain(&panicked));
            }
        }
    }

    /// Joins what touches; of what is still too much the oldest goes.
    fn within_bounds(&self, losses: Vec<Loss>) -> Vec<Loss> {
        let mut losses: Vec<Loss> = standing(losses, &[]).into_iter().map(|standing| standing.loss).collect();
        let too_many = losses.len().saturating_sub(MOST_KEPT);
        if too_many > 0 {
            losses.drain(..too_many);
            self.metrics.losses_not_noted(too_many);
            error!(self.log, "losses are not in the ledger, too many waited for the disk"; "count" => too_many);
        }
        losses
    }
}

/// Writes each stream's losses; answers with those that the disk refused, and why.
fn write_all(
    layout: &Layout,
    volume: &Volume,
    kept: BTreeMap<Stream, Vec<Loss>>,
) -> (BTreeMap<Stream, Vec<Loss>>, Option<StoreError>) {
    let (mut refused, mut why) = (BTreeMap::new(), None);
    for ((channel, quality), losses) in kept {
        if let Err(error) = volume.check().and_then(|()| note_losses(layout, &channel, &quality, &losses)) {
            why = Some(error);
            refused.insert((channel, quality), losses);
        }
    }
    (refused, why)
}

#[cfg(test)]
mod tests {
    use super::super::losses;
    use super::*;
    use crate::log::DropCount;
    use crate::model::Timestamp;

    fn fixture() -> (tempfile::TempDir, Layout, Ledger, Keeper) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("base"));
        std::fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        let of = LedgerOf { layout: layout.clone(), volume, node: "alpha".parse().unwrap() };
        let (clock, _) = Clock::settable("2026-01-02T04:00:00".parse().unwrap());
        let metrics = Metrics::new(clock.clone(), DropCount::default());
        let log = Logger::root(slog::Discard, slog::o!());
        let (ledger, keeper) = Ledger::open(of, clock, metrics, log);
        (dir, layout, ledger, keeper)
    }

    fn span(start: i64) -> Span {
        let start = Timestamp::from_micros(1_767_322_800_000_000 + start * 1_000_000);
        Span::new(start, start.plus_micros(1_000_000)).unwrap()
    }

    fn stream() -> Stream {
        ("ch".parse().unwrap(), "source".parse().unwrap())
    }

    #[actix_rt::test]
    async fn what_is_noted_is_on_disk_after_a_flush() {
        let (_dir, layout, ledger, keeper) = fixture();
        actix_rt::spawn(keeper.run());
        let (channel, quality) = stream();
        ledger.note(&channel, &quality, span(0), LossCause::Expired, "two segments");
        ledger.flush().await;
        let found = losses(&layout, &channel, &quality, None).unwrap();
        let [only] = &found[..] else { panic!("{found:?}") };
        assert_eq!((only.loss.span, only.loss.node.as_str()), (span(0), "alpha"));
        assert_eq!(
            (only.loss.detail.as_str(), only.loss.noticed.to_string()),
            ("two segments", "2026-01-02T04:00:00.000000".into())
        );
    }

    #[actix_rt::test]
    async fn what_the_disk_refuses_is_written_when_it_takes_it() {
        let (dir, layout, ledger, keeper) = fixture();
        // Another directory stands where the volume was: nothing may be written to that.
        let (base, away) = (dir.path().join("base"), dir.path().join("away"));
        std::fs::rename(&base, &away).unwrap();
        std::fs::create_dir(&base).unwrap();
        actix_rt::spawn(keeper.run());
        let (channel, quality) = stream();
        for second in 0..10 {
            ledger.note(&channel, &quality, span(second), LossCause::Disk, "");
        }
        ledger.flush().await;
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
        std::fs::remove_dir(&base).unwrap();
        std::fs::rename(&away, &base).unwrap();
        ledger.flush().await;
        let found = losses(&layout, &channel, &quality, None).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].loss.span.duration(), Duration::from_secs(10));
    }

    #[actix_rt::test]
    async fn what_is_noted_while_the_disk_refuses_is_as_much_as_may_be_kept() {
        let (_dir, _, ledger, mut keeper) = fixture();
        let (channel, quality) = stream();
        let apart = |number: usize| span(2 * number as i64);
        let not_noted = || {
            let (_, metrics) = ledger.metrics.render();
            let told = metrics.lines().find_map(|line| line.strip_prefix("segvault_store_losses_not_noted_total "));
            told.and_then(|told| told.parse::<usize>().ok())
        };
        for (from, until) in [(0, MOST_KEPT), (MOST_KEPT, 4 * MOST_KEPT)] {
            let noting = async {
                for number in from..until {
                    ledger.note(&channel, &quality, apart(number), LossCause::Disk, "");
                    // The queue alone would not hold them.
                    if number % 100 == 99 {
                        tokio::task::yield_now().await;
                    }
                }
            };
            let (mut flushes, an_hour) = (Vec::new(), Duration::from_secs(3600));
            futures_util::future::select(pin!(noting), pin!(keeper.wait(an_hour, &mut flushes))).await;
            let kept = &keeper.kept[&stream()];
            assert_eq!(not_noted(), Some(until - kept.len()));
            assert_eq!(kept.last().map(|loss| loss.span), Some(apart(until - 1)));
            if until == MOST_KEPT {
                assert_eq!(kept.len(), MOST_KEPT);
            }
            assert!(kept.len() < 2 * MOST_KEPT);
        }
    }

    #[actix_rt::test]
    async fn what_cannot_be_taken_is_counted_and_makes_nobody_wait() {
        let (_dir, _, ledger, _keeper_that_does_not_run) = fixture();
        let (channel, quality) = stream();
        let endless = Span::new(span(0).start(), Timestamp::from_micros(i64::MAX)).unwrap();
        ledger.note(&channel, &quality, endless, LossCause::Disk, "a clock that jumped");
        for _ in 0..QUEUE + 2 {
            ledger.note(&channel, &quality, span(0), LossCause::Disk, "");
        }
        let (_, metrics) = ledger.metrics.render();
        assert!(metrics.contains("segvault_store_losses_not_noted_total 3"), "{metrics}");
    }
}
