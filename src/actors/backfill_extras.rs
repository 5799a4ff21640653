//! Copies the directories of extra files from one peer, for as long as the node runs.
//!
//! Promises: the next pass begins some time after the last has ended; a peer that fails is named once, and asked ever more
//! rarely; segments never wait for these.

use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, o, warn};

use super::backfill_peer::{Replication, Wanted, label_of, label_of_error, tell_news};
use super::guardian::{Drain, Sentinel};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::metrics::Metrics;
use crate::model::PeerUrl;
use crate::peers::{CopyError, ExtraNotice, ExtrasPass, ExtrasReport, Peer, PeerError, PeerHealth, backoff_after};

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
pub struct BackfillExtras {
    replication: Replication,
    peer: Peer,
    health: PeerHealth,
    log: Logger,
    sentinel: Sentinel,
    failures: u32,
    pass: Option<SpawnHandle>,
    /// Until the next pass.
    rest: Option<SpawnHandle>,
    wanted: bool,
    draining: bool,
}

impl BackfillExtras {
    /// To be made on the arbiter of the peer.
    pub fn new(replication: Replication, peer: PeerUrl, health: PeerHealth, sentinel: Sentinel) -> Self {
        let log = replication.log.new(o!("peer" => peer.to_string()));
        let peer = Peer::watched(peer, &replication.access, health.clone());
        Self {
            replication,
            peer,
            health,
            log,
            sentinel,
            failures: 0,
            pass: None,
            rest: None,
            wanted: true,
            draining: false,
        }
    }

    fn passes(&self) -> Vec<ExtrasPass> {
        let dirs = self.replication.config.extras.iter();
        dirs.map(|dir| ExtrasPass {
            copier: self.replication.copier.clone(),
            peer: self.peer.clone(),
            dir: dir.clone(),
            permits: self.health.permits(),
        })
        .collect()
    }

    /// Returns the time until the next pass.
    fn take(&mut self, done: Result<bool, PeerError>) -> Duration {
        tell_news(&self.replication, self.peer.url(), &self.health);
        match done {
            Ok(true) => {
                if std::mem::take(&mut self.failures) > 0 {
                    info!(self.log, "extra files come again");
                }
                jittered(self.replication.config.interval)
            }
            Ok(false) => {
                self.failures = self.failures.saturating_add(1);
                backoff_after(self.failures).max(self.replication.config.interval)
            }
            // Not the peer's fault; retention tells it.
            Err(PeerError::Copy(CopyError::NoRoom)) => jittered(self.replication.config.interval),
            // The turn that the next pass waits for is its rest.
            Err(error) if error.is_unreachable() && self.health.is_down() => Duration::ZERO,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    warn!(self.log, "extra files of a peer cannot be had, will try again"; "error" => chain(&error));
                }
                backoff_after(self.failures)
            }
        }
    }
}

/// Of what is wrong, the first of each pass is told in the log.
fn tell(log: &Logger, metrics: &Metrics, peer: &PeerUrl, is_first: bool, (path, done): &ExtraNotice<'_>) {
    let (label, bytes) = match done {
        Ok(outcome) => label_of(*outcome),
        Err(error) => (label_of_error(error), 0),
    };
    metrics.backfill_file(peer, label, bytes);
    match done {
        Ok(_) => debug!(log, "extra file from a peer"; "file" => path.to_string(), "outcome" => label.as_str()),
        Err(error) if is_first && !matches!(error, CopyError::NoRoom) => {
            warn!(log, "an extra file of a peer is refused"; "file" => path.to_string(), "error" => chain(*error));
        }
        Err(error) => {
            debug!(log, "another extra file is refused"; "file" => path.to_string(), "error" => chain(*error));
        }
    }
}

/// One directory after the other; answers whether each file that was missing came.
async fn run_all(
    passes: Vec<ExtrasPass>,
    log: Logger,
    metrics: Metrics,
    health: PeerHealth,
) -> Result<bool, PeerError> {
    let _turn = health.turn().await;
    let mut all_came = true;
    for pass in passes {
        let mut report = ExtrasReport::default();
        let is_first = std::cell::Cell::new(true);
        let notice = |notice: ExtraNotice<'_>| {
            let has_failed = notice.1.is_err();
            tell(&log, &metrics, pass.peer.url(), has_failed && is_first.get(), &notice);
            is_first.set(is_first.get() && !has_failed);
        };
        let done = pass.run(&mut report, &notice).await;
        if report.refused.count > 0 {
            metrics.backfill_names_refused(pass.peer.url(), report.refused.count);
            let example = report.refused.example.as_deref().unwrap_or_default();
            warn!(log, "a peer lists names that are none"; "count" => report.refused.count, "example" => example,
                "directory" => pass.dir.as_str());
        }
        if report.copied_files > 0 {
            info!(log, "extra files copied from a peer"; "directory" => pass.dir.as_str(),
                "files" => report.copied_files, "bytes" => report.copied_bytes);
        }
        all_came &= report.failed_files == 0;
        done?;
    }
    Ok(all_came)
}

impl Actor for BackfillExtras {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.notify(Tick);
    }
}

impl Handler<Tick> for BackfillExtras {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        if self.draining || !self.wanted || self.pass.is_some() {
            return;
        }
        let work = run_all(self.passes(), self.log.clone(), self.replication.metrics.clone(), self.health.clone());
        self.pass = Some(ctx.spawn(work.into_actor(self).map(|done, this, ctx| {
            this.pass = None;
            let rest = this.take(done);
            this.rest = Some(ctx.notify_later(Tick, rest));
        })));
    }
}

impl Handler<Wanted> for BackfillExtras {
    type Result = ();

    fn handle(&mut self, Wanted(wanted): Wanted, ctx: &mut Self::Context) {
        if wanted == std::mem::replace(&mut self.wanted, wanted) {
            return;
        }
        // Whether it waits or works: this ends it, and what it was copying leaves nothing behind.
        for under_way in [self.pass.take(), self.rest.take()].into_iter().flatten() {
            ctx.cancel_future(under_way);
        }
        if wanted {
            ctx.notify(Tick);
        }
    }
}

impl Handler<Drain> for BackfillExtras {
    type Result = ();

    /// Answers at once: a pass may be dropped anywhere, and what it was copying leaves nothing behind.
    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        if let Some(pass) = self.pass.take() {
            ctx.cancel_future(pass);
        }
    }
}
