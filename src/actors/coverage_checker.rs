//! Looks how much of each quality is there, and keeps the figures among the metrics and the maps beside the record.
//!
//! Promises: only hours that changed are listed; a door to the disk of its own, so that nobody waits for it; what fails is told once and
//! tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, warn};

use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::CoverageConfig;
use crate::jitter::jittered;
use crate::metrics::{CoverageWindow, Metrics};
use crate::model::{Channel, LossCause, Quality, Span, Timestamp};
use crate::png;
use crate::select::losses::missing_micros;
use crate::select::{Among, Map, StreamCoverage};
use crate::store::{self, CoverageError, Coverages, Layout, Volume};

/// What checking works with. Cheap to clone.
#[derive(Clone)]
pub struct Checking {
    pub directory: Directory,
    pub layout: Layout,
    pub volume: Volume,
    /// A door of its own.
    pub blocking: Blocking,
    pub coverages: Coverages,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
    pub config: CoverageConfig,
}

type Stream = (Channel, Quality);

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
pub struct CoverageChecker {
    checking: Checking,
    sentinel: Sentinel,
    /// Away during a look.
    memory: Memory,
    look: Option<SpawnHandle>,
}

/// What one look leaves to the next.
#[derive(Default)]
struct Memory {
    /// Whose figures are among the metrics.
    measured: BTreeSet<Stream>,
    /// What was last written of each map.
    drawn: BTreeMap<Stream, u64>,
    failure: Option<String>,
}

impl CoverageChecker {
    pub fn new(checking: Checking, sentinel: Sentinel) -> Self {
        Self { checking, sentinel, memory: Memory::default(), look: None }
    }
}

impl Checking {
    async fn look(&self, memory: &mut Memory) {
        let failure = self.look_at_all(memory).await.err().map(|error| chain(&error));
        if memory.failure != failure {
            match &failure {
                Some(error) => warn!(self.log, "coverage cannot be looked at, will try again"; "error" => error),
                None => info!(self.log, "coverage can be looked at again"),
            }
            memory.failure = failure;
        }
    }

    /// Goes on behind a quality that fails; the first failure is the answer.
    async fn look_at_all(&self, memory: &mut Memory) -> Result<(), CoverageError> {
        let layout = self.layout.clone();
        let mut streams = self.blocking.run(move || store::streams(&layout)).await??;
        streams.retain(|(_, quality)| quality.as_str() != "chat");
        let mut first_failure = Ok(());
        let mut seen = BTreeSet::new();
        for stream in streams {
            let looked = self.look_at(&stream, memory).await;
            seen.insert(stream);
            first_failure = first_failure.and(looked);
        }
        for (channel, quality) in memory.measured.difference(&seen) {
            self.metrics.coverage_is_unknown(channel, quality);
        }
        memory.drawn.retain(|stream, _| seen.contains(stream));
        memory.measured = seen;
        first_failure
    }

    async fn look_at(&self, stream: &Stream, memory: &mut Memory) -> Result<(), CoverageError> {
        let (channel, quality) = stream;
        let coverage = self.coverages.of(channel, quality, &self.blocking).await?;
        let now = self.clock.now();
        let (layout, of, off) = (self.layout.clone(), stream.clone(), self.config.off(channel));
        let (volume, hours, drawn) = (self.volume.clone(), self.config.map_hours(), memory.drawn.get(stream).copied());
        let metrics = self.metrics.clone();
        let drawn = self
            .blocking
            .run(move || {
                measure(&layout, &of, &coverage, now, &metrics)?;
                draw(&layout, &volume, &of, &coverage, hours, &off, drawn)
            })
            .await??;
        memory.drawn.extend(drawn.map(|drawn| (stream.clone(), drawn)));
        Ok(())
    }
}

fn measure(
    layout: &Layout,
    (channel, quality): &Stream,
    coverage: &StreamCoverage,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<(), CoverageError> {
    let Some(whole) = coverage.span() else { return Ok(()) };
    for window in CoverageWindow::ALL.iter().copied() {
        let from = window.length().map_or(whole.start(), |length| ago(now, length));
        let holes = match Span::new(from.max(whole.start()), whole.end()) {
            Ok(span) => coverage.holes(span, Among::Shown),
            Err(_) => Vec::new(),
        };
        let missing_micros: i64 = holes.iter().map(|hole| hole.end().micros_since(hole.start())).sum();
        metrics.coverage(channel, quality, window, holes.len(), micros(missing_micros));
        if let Some(Ok(span)) = window.length().map(|length| Span::new(ago(now, length), now)) {
            let mut lost = missing_micros_by_cause(layout, channel, quality, span)?;
            // Left out on purpose.
            lost.remove(&LossCause::Advertisement);
            metrics.coverage_lost(channel, quality, window, micros(lost.values().sum()));
        }
    }
    Ok(())
}

fn missing_micros_by_cause(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    span: Span,
) -> Result<BTreeMap<LossCause, i64>, CoverageError> {
    Ok(missing_micros(&store::losses(layout, channel, quality, Some(span))?))
}

fn ago(now: Timestamp, length: Duration) -> Timestamp {
    now.plus_micros(-i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).unsigned_abs())
}

/// Writes the map if it is another than what was `drawn` last; gives what is drawn now.
fn draw(
    layout: &Layout,
    volume: &Volume,
    (channel, quality): &Stream,
    coverage: &StreamCoverage,
    hours: u32,
    off: &[Span],
    drawn: Option<u64>,
) -> Result<Option<u64>, CoverageError> {
    let Some((first, last)) = coverage.latest_hours(hours) else { return Ok(None) };
    let map = coverage.map(first, last, off);
    let rows = map.rows();
    let mut hasher = DefaultHasher::new();
    (first, &rows).hash(&mut hasher);
    let now = hasher.finish();
    if drawn != Some(now) {
        let picture = png::write(map.width(), Map::HEIGHT, &Map::PALETTE, &rows);
        store::write_map(layout, volume, channel, quality, &picture)?;
    }
    Ok(Some(now))
}

impl Actor for CoverageChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.notify(Tick);
    }
}

impl Handler<Tick> for CoverageChecker {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let (checking, mut memory) = (self.checking.clone(), std::mem::take(&mut self.memory));
        let look = async move {
            checking.look(&mut memory).await;
            memory
        };
        let look = ctx.spawn(look.into_actor(self).map(|memory, this, ctx| {
            this.memory = memory;
            let rest = jittered(this.checking.config.interval);
            this.look = Some(ctx.notify_later(Tick, rest));
        }));
        self.look = Some(look);
    }
}

impl Handler<Drain> for CoverageChecker {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        if let Some(look) = self.look.take() {
            ctx.cancel_future(look);
        }
    }
}
