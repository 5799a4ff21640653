//! Copies one quality from one peer, for as long as the node runs.
//!
//! Promises: the next pass begins some time after the last has ended; a peer that fails or lies is named once for each
//! pass and asked ever more rarely; nobody else waits for it. One that cannot be reached is asked by one of its qualities at a
//! time. Recording has its own doors and threads.

mod following;
mod seeking;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, o, warn};

use super::bounty_board::LostHere;
use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use super::retention::{Horizons, bound};
use super::stored_feed::Stored;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::{BackfillConfig, RetentionConfig};
use crate::health::Health;
use crate::jitter::jittered;
use crate::metrics::{CopyOutcome, Metrics};
use crate::model::{Channel, HashedName, NodeIdentity, PeerUrl, Quality};
use crate::peers::{
    Copier, CopyError, News, Notice, Outcome, Pass, PassReport, Peer, PeerAccess, PeerError, PeerHealth, Refused,
    Remembered, Root, Roots, Window, backoff_after,
};
use crate::store::Digests;
use following::Followed;
use seeking::Seeking;

pub use seeking::Seek;

/// After a pass that left something to another peer, which may fail to give it.
const SOON: Duration = Duration::from_secs(5);

/// What copying works with. Cheap to clone.
#[derive(Clone)]
pub struct Replication {
    pub directory: Directory,
    pub copier: Copier,
    /// The same with a door of its own, for what cannot wait behind a bulk of files.
    pub urgent: Copier,
    /// What the recorders here lack.
    pub lost: LostHere,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
    pub digests: Digests,
    pub roots: Roots,
    /// This node's own, for the probes.
    pub health: Health,
    pub identity: Option<NodeIdentity>,
    pub config: BackfillConfig,
    /// How peers are spoken to.
    pub access: PeerAccess,
    /// What is recorded here.
    pub recorded: Arc<[(Channel, Quality)]>,
    pub retention: RetentionConfig,
    pub horizons: Horizons,
}

impl Replication {
    /// Recorded here or not.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let mut channels: Vec<Channel> = self.recorded.iter().map(|(channel, _)| channel.clone()).collect();
        channels.extend(self.config.channels.iter().cloned());
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    /// What is young is left to the recorder, where there is one.
    fn window(&self, channel: &Channel, quality: &Quality) -> Window {
        let is_recorded = self.recorded.iter().any(|(of, one)| of == channel && one == quality);
        let cutoff_micros = i64::try_from(self.config.recent_cutoff.as_micros()).unwrap_or(i64::MAX);
        let recent = is_recorded.then(|| self.clock.now().plus_micros(-cutoff_micros));
        let lost = if is_recorded { self.lost.of(channel, quality) } else { Arc::default() };
        // What retention deletes here, or did, is not copied back.
        let by_age = self.retention.max_age(channel).map(|age| bound(self.clock.now(), age));
        let wished = self.config.since.map(|since| since.at(self.clock.now()));
        let since = by_age.max(self.horizons.of(channel, quality)).max(wished);
        Window { since, recent, lost, order: self.config.order }
    }
}

/// Says whether a peer can be reached, if that has changed.
pub(super) fn tell_news(replication: &Replication, peer: &PeerUrl, health: &PeerHealth) {
    match health.news() {
        None => {}
        Some(News::Down) => {
            replication.metrics.backfill_peer_is_up(peer, false);
            warn!(replication.log, "a peer cannot be reached, will try again"; "peer" => peer.to_string());
        }
        Some(News::Back) => {
            replication.metrics.backfill_peer_is_up(peer, true);
            info!(replication.log, "a peer is back"; "peer" => peer.to_string());
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// Whether the peer is still one. One that is none any more may come back.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wanted(pub bool);

/// The actor.
pub struct BackfillPeer {
    replication: Replication,
    peer: Peer,
    channel: Channel,
    quality: Quality,
    root: Arc<Root>,
    health: PeerHealth,
    log: Logger,
    sentinel: Sentinel,
    /// Away during a pass.
    memory: Remembered,
    failures: u32,
    /// Whether it was said that the peer fails.
    told: bool,
    pass: Option<SpawnHandle>,
    /// What the peer has is to be listed again.
    again: bool,
    seeking: Seeking,
    followed: Followed,
    /// Until the next pass.
    rest: Option<SpawnHandle>,
    wanted: bool,
    draining: bool,
}

impl BackfillPeer {
    /// To be made on its own arbiter. `health` is the peer's, shared by all its qualities.
    pub fn new(
        replication: Replication,
        peer: PeerUrl,
        channel: Channel,
        quality: Quality,
        health: PeerHealth,
        sentinel: Sentinel,
    ) -> Self {
        let log = replication.log.new(o!(
            "peer" => peer.to_string(), "channel" => channel.to_string(), "quality" => quality.to_string()));
        let root = replication.roots.of(&peer);
        let peer = Peer::watched(peer, &replication.access, health.clone());
        Self {
            root,
            seeking: Seeking::new(&replication, peer.clone(), channel.clone(), quality.clone()),
            replication,
            peer,
            channel,
            quality,
            health,
            log,
            sentinel,
            memory: Remembered::default(),
            failures: 0,
            told: false,
            pass: None,
            again: false,
            followed: Followed::default(),
            rest: None,
            wanted: true,
            draining: false,
        }
    }

    fn begin(&self, ctx: &mut Context<Self>) {
        let now = self.replication.clock.now();
        self.replication.metrics.backfill_began(self.peer.url(), &self.channel, &self.quality, now);
        ctx.notify(Tick);
        self.begin_following(ctx);
    }

    fn teller(&self) -> Teller {
        Teller {
            replication: self.replication.clone(),
            peer: self.peer.url().clone(),
            channel: self.channel.clone(),
            quality: self.quality.clone(),
            log: self.log.clone(),
            is_first: Cell::new(true),
            is_first_slow: Cell::new(true),
        }
    }

    fn pass(&self) -> Pass {
        Pass {
            copier: self.replication.copier.clone(),
            digests: self.replication.digests.clone(),
            digests_max_age: self.replication.config.digests_max_age(),
            root: Arc::clone(&self.root),
            peer: self.peer.clone(),
            channel: self.channel.clone(),
            quality: self.quality.clone(),
            window: self.replication.window(&self.channel, &self.quality),
            permits: self.health.permits(),
            at_once: self.replication.config.concurrency as usize,
        }
    }

    /// Returns the time until the next pass.
    fn take(&mut self, report: &PassReport, done: Result<(), PeerError>) -> Duration {
        if report.copied_files > 0 || report.tombstones > 0 {
            info!(self.log, "copied from a peer"; "files" => report.copied_files, "bytes" => report.copied_bytes,
                "tombstones" => report.tombstones);
        }
        tell_news(&self.replication, self.peer.url(), &self.health);
        match done {
            // Not the peer's fault; retention tells it.
            Err(PeerError::Copy(CopyError::NoRoom)) => jittered(self.replication.config.interval),
            // The turn that the next pass waits for is its rest.
            Err(error) if error.is_unreachable() && self.health.is_down() => {
                self.replication.metrics.backfill_pass_failed(self.peer.url());
                debug!(self.log, "a peer cannot be reached"; "error" => chain(&error));
                Duration::ZERO
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.replication.metrics.backfill_pass_failed(self.peer.url());
                let rest = backoff_after(self.failures);
                if !std::mem::replace(&mut self.told, true) {
                    warn!(self.log, "a peer fails, will try again"; "error" => chain(&error));
                } else {
                    debug!(self.log, "a peer still fails"; "failures" => self.failures, "error" => chain(&error));
                }
                rest
            }
            Ok(()) if report.failed_files > 0 => {
                self.failures = self.failures.saturating_add(1);
                backoff_after(self.failures).max(SOON)
            }
            Ok(()) => {
                if std::mem::take(&mut self.told) {
                    info!(self.log, "a peer is well again"; "failures" => self.failures);
                }
                self.failures = 0;
                if report.under_way_files > 0 { SOON } else { jittered(self.replication.config.interval) }
            }
        }
    }
}

/// Tells what happens during a pass, or something like it; of what is wrong, the first in the log, and of what is slow.
struct Teller {
    replication: Replication,
    peer: PeerUrl,
    channel: Channel,
    quality: Quality,
    log: Logger,
    is_first: Cell<bool>,
    is_first_slow: Cell<bool>,
}

impl Teller {
    fn tell(&self, notice: &Notice<'_>) {
        let (log, metrics) = (&self.log, &self.replication.metrics);
        match notice {
            Notice::Missing { .. } => {}
            Notice::Refused(refused) => self.tell_refused(refused),
            Notice::Hidden { hour, name } => {
                info!(log, "tombstone taken over"; "tombstone" => format!("{hour}/{}", name.as_str()));
            }
            Notice::File { name, outcome } => {
                let (label, bytes) = label_of(*outcome);
                metrics.backfill_file(&self.peer, label, bytes);
                if label == CopyOutcome::Copied {
                    self.tell_followers(name);
                }
                if label == CopyOutcome::Yielded && self.is_first_slow.replace(false) {
                    info!(log, "a peer is slow, a faster one gives its files"; "segment" => name.path_text());
                }
                debug!(log, "file from a peer"; "segment" => name.path_text(), "outcome" => label.as_str());
            }
            Notice::Failed { name, error } => {
                let label = label_of_error(error);
                metrics.backfill_file(&self.peer, label, 0);
                let is_news = !matches!(error, CopyError::NoRoom);
                if is_news && self.is_first.replace(false) {
                    warn!(log, "a file of a peer is refused"; "segment" => name.path_text(), "error" => chain(error));
                } else {
                    debug!(log, "another file of a peer is refused"; "segment" => name.path_text(), "error" => chain(error));
                }
            }
        }
    }

    fn tell_refused(&self, refused: &Refused) {
        if refused.count == 0 {
            return;
        }
        self.replication.metrics.backfill_names_refused(&self.peer, refused.count);
        let example = refused.example.as_deref().unwrap_or_default();
        if self.is_first.replace(false) {
            warn!(self.log, "a peer lists names that are none"; "count" => refused.count, "example" => example);
        }
    }

    /// Those who copy from this node fetch it at once.
    fn tell_followers(&self, name: &HashedName) {
        if let Some(feed) = self.replication.directory.stored_feed.get(&()) {
            let (channel, quality) = (self.channel.clone(), self.quality.clone());
            feed.do_send(Stored { channel, quality, hour: name.hour(), name: name.as_str().into() });
        }
    }
}

/// With the bytes that were copied.
pub(super) fn label_of(outcome: Outcome) -> (CopyOutcome, u64) {
    match outcome {
        Outcome::Copied { bytes } => (CopyOutcome::Copied, bytes),
        Outcome::NotNeeded => (CopyOutcome::NotNeeded, 0),
        Outcome::UnderWay => (CopyOutcome::UnderWay, 0),
        Outcome::Yielded => (CopyOutcome::Yielded, 0),
        Outcome::Gone => (CopyOutcome::Gone, 0),
    }
}

pub(super) fn label_of_error(error: &CopyError) -> CopyOutcome {
    match error {
        CopyError::WrongBytes { .. } => CopyOutcome::WrongBytes,
        CopyError::Fetch { .. } => CopyOutcome::Failed,
        CopyError::Store(_) | CopyError::Panicked(_) | CopyError::NoRoom => CopyOutcome::Disk,
    }
}

impl Actor for BackfillPeer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        self.begin(ctx);
    }
}

impl Handler<Tick> for BackfillPeer {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        if self.draining || !self.wanted || self.pass.is_some() {
            return;
        }
        let (pass, mut memory) = (self.pass(), std::mem::take(&mut self.memory));
        let (teller, health, clock) = (self.teller(), self.health.clone(), self.replication.clock.clone());
        let work = async move {
            let _turn = health.turn().await;
            let began = clock.now();
            let mut report = PassReport::default();
            let done = pass.run(&mut memory, &mut report, &|notice| teller.tell(&notice)).await;
            (memory, report, done, began)
        };
        let pass = ctx.spawn(work.into_actor(self).map(move |(memory, report, done, began), this, ctx| {
            this.memory = memory;
            this.pass = None;
            if done.is_ok() && report.failed_files == 0 && report.under_way_files == 0 {
                let metrics = &this.replication.metrics;
                metrics.backfill_is_level(this.peer.url(), &this.channel, &this.quality, began);
            }
            let rest = this.take(&report, done);
            let again = std::mem::take(&mut this.again) && this.failures == 0;
            let rest = if again { rest.min(SOON) } else { rest };
            this.rest = Some(ctx.notify_later(Tick, rest));
        }));
        self.pass = Some(pass);
    }
}

impl Handler<Wanted> for BackfillPeer {
    type Result = ();

    fn handle(&mut self, Wanted(wanted): Wanted, ctx: &mut Self::Context) {
        if wanted == std::mem::replace(&mut self.wanted, wanted) {
            return;
        }
        // Whether it waits or works: this ends it, and what it was copying leaves nothing behind.
        let beside = self.seeking.end().into_iter().chain(self.followed.end());
        for under_way in [self.pass.take(), self.rest.take()].into_iter().flatten().chain(beside) {
            ctx.cancel_future(under_way);
        }
        if wanted {
            self.begin(ctx);
        }
    }
}

impl Handler<Drain> for BackfillPeer {
    type Result = ();

    /// Answers at once: a pass may be dropped anywhere, and what it was copying leaves nothing behind.
    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        let beside = self.seeking.end().into_iter().chain(self.followed.end());
        for under_way in self.pass.take().into_iter().chain(beside) {
            ctx.cancel_future(under_way);
        }
    }
}
