//! Keeps the record within its bounds: deletes what is too old, and makes room where too little of the disk is free.
//!
//! Promises: what is pinned stays, and the hours in which something may be recorded; to make room only what enough other
//! nodes hold goes, and they are asked right before; tombstones stay. Work is done in bounded pieces through a door of its
//! own, so that recording waits for none of it. What cannot be done is told loudly, and tried again.

mod horizons;
mod space;
mod sweep;

use std::collections::BTreeSet;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, error, info, warn};
use tokio::time::Instant;

use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use crate::blocking::{Blocking, Panicked};
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::RetentionConfig;
use crate::health::Health;
use crate::jitter::jittered;
use crate::metrics::{DeleteCause, Metrics};
use crate::model::{NodeIdentity, PeerUrl, Timestamp};
use crate::peers::{Found, Peer, PeerAccess, find_nodes};
use crate::select::AgingClock;
use crate::store::{self, Layout, StoreError, Volume};

pub use horizons::Horizons;
pub use space::{Made, SpaceError, SpacePass, Unproven};
pub use sweep::{Going, Swept, bound, each_aged, pins};

/// The rest after a pass that left something to do.
const SOON: Duration = Duration::from_millis(500);
/// That nothing may go is told again after so long.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// With so many times the least free room, what was deleted to make room may come back.
const MUCH_ROOM: u64 = 2;

/// What retention works with. Cheap to clone.
#[derive(Clone)]
pub struct Keeping {
    pub directory: Directory,
    pub layout: Layout,
    pub volume: Volume,
    /// A door of its own.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub log: Logger,
    pub identity: Option<NodeIdentity>,
    pub config: RetentionConfig,
    /// How other nodes are spoken to.
    pub access: PeerAccess,
    pub horizons: Horizons,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// What one look leaves to the next.
#[derive(Default)]
struct Memory {
    unproven: Unproven,
    /// The time by which age is counted, and when it was that time.
    aging: Option<(AgingClock, Instant)>,
}

/// How a look went.
enum Looked {
    /// There is more to do, and it can be done.
    Unfinished,
    Done,
}

/// The actor.
pub struct Retention {
    keeping: Keeping,
    sentinel: Sentinel,
    /// Away during a look.
    memory: Memory,
    told_stuck: Option<Instant>,
    /// What failed last, so that it is told once.
    failure: Option<String>,
    look: Option<SpawnHandle>,
}

impl Retention {
    pub fn new(keeping: Keeping, sentinel: Sentinel) -> Self {
        Self { keeping, sentinel, memory: Memory::default(), told_stuck: None, failure: None, look: None }
    }

    fn take(&mut self, looked: Result<(Looked, Option<Short>), SpaceError>) -> Duration {
        let Keeping { log, metrics, health, config, .. } = &self.keeping;
        match looked {
            Err(error) => {
                let error = chain(&error);
                if self.failure.as_ref() != Some(&error) {
                    error!(log, "the record cannot be kept within its bounds, will try again"; "error" => &error);
                    self.failure = Some(error);
                }
                jittered(config.interval)
            }
            Ok((looked, short)) => {
                self.failure = None;
                metrics.retention_is_stuck(short.is_some());
                health.set_room_is_short(short.is_some());
                self.tell(short);
                match looked {
                    Looked::Unfinished => SOON,
                    Looked::Done => jittered(self.keeping.config.interval),
                }
            }
        }
    }

    fn tell(&mut self, short: Option<Short>) {
        let log = &self.keeping.log;
        match short {
            None => {
                if self.told_stuck.take().is_some() {
                    info!(log, "enough of the disk is free again");
                }
            }
            Some(Short { missing_bytes, unproven_hours, peers }) => {
                if self.told_stuck.is_none_or(|at| at.elapsed() > TELL_AGAIN_AFTER) {
                    error!(log, "too little of the disk is free and nothing may be deleted; recording goes on while it can";
                        "missing_bytes" => missing_bytes, "hours_that_too_few_hold" => unproven_hours,
                        "peers_that_answer" => peers, "min_copies" => self.keeping.config.min_copies);
                    self.told_stuck = Some(Instant::now());
                }
            }
        }
    }
}

/// Too little is free, and nothing can be done about it.
struct Short {
    missing_bytes: u64,
    unproven_hours: usize,
    peers: usize,
}

impl Keeping {
    /// Everything that one look does.
    async fn look(&self, memory: &mut Memory) -> Result<(Looked, Option<Short>), SpaceError> {
        let now = self.age_counts_from(&mut memory.aging).await?;
        let swept = self.sweep(now).await??;
        for (cause, deleted) in [(DeleteCause::Age, swept.record), (DeleteCause::Quarantine, swept.quarantine)] {
            if deleted.files > 0 {
                self.metrics.retention_deleted(cause, deleted.files, deleted.size_bytes);
                info!(self.log, "deleted what is too old"; "files" => deleted.files, "bytes" => deleted.size_bytes,
                    "of" => if cause == DeleteCause::Age { "record" } else { "quarantine" });
            }
        }
        if swept.has_more {
            return Ok((Looked::Unfinished, None));
        }
        self.make_room(now, &mut memory.unproven).await
    }

    /// What time it is; not what the machine says, while that is far ahead of what has passed.
    async fn age_counts_from(&self, last: &mut Option<(AgingClock, Instant)>) -> Result<Timestamp, SpaceError> {
        let (wall, at) = (self.clock.now(), Instant::now());
        let before = match *last {
            Some((clock, before)) => Some((clock, at - before)),
            None => {
                let layout = self.layout.clone();
                let kept = self.blocking.run(move || store::read_aging(&layout)).await?;
                kept.map(|clock| (clock, Duration::ZERO))
            }
        };
        let clock = before.map_or(AgingClock::first(wall), |(clock, passed)| clock.look(wall, passed));
        let was_ahead = last.is_some_and(|(clock, _)| clock.is_ahead());
        if clock.is_ahead() && !was_ahead {
            warn!(self.log, "the clock is far ahead of the last look; for a day of running nothing is deleted by it";
                "clock" => %wall, "age_counts_from" => %clock.now());
        } else if was_ahead && !clock.is_ahead() {
            info!(self.log, "the clock is believed again"; "clock" => %wall);
        }
        *last = Some((clock, at));
        let (layout, volume) = (self.layout.clone(), self.volume.clone());
        self.blocking.run(move || store::write_aging(&layout, &volume, &clock)).await??;
        Ok(clock.now())
    }

    fn sweep(&self, now: Timestamp) -> impl Future<Output = Result<Result<Swept, StoreError>, Panicked>> + use<> {
        let (layout, volume, config) = (self.layout.clone(), self.volume.clone(), self.config.clone());
        self.blocking.run(move || {
            volume.check()?;
            sweep::sweep(&layout, &config, now)
        })
    }

    async fn make_room(&self, now: Timestamp, unproven: &mut Unproven) -> Result<(Looked, Option<Short>), SpaceError> {
        let layout = self.layout.clone();
        let room = self.blocking.run(move || store::room(&layout)).await??;
        self.metrics.store_has_room(room.free_bytes, room.size_bytes);
        let free = room.free_bytes;
        let min_free = self.config.min_free.map_or(0, |size| size.bytes());
        self.horizons.set_has_much_room(free >= min_free.saturating_mul(MUCH_ROOM));
        let missing_bytes = min_free.saturating_sub(free);
        if missing_bytes == 0 {
            return Ok((Looked::Done, None));
        }
        let peers = self.peers().await;
        let answering = peers.len();
        let pass = SpacePass {
            layout: self.layout.clone(),
            blocking: self.blocking.clone(),
            peers,
            min_copies: self.config.min_copies as usize,
            now,
            missing_bytes,
            is_dry_run: false,
        };
        let made = pass
            .run(unproven, &self.horizons, &mut |going| {
                let of = &going.of;
                debug!(self.log, "making room"; "channel" => %of.channel, "quality" => %of.quality, "hour" => %of.hour);
            })
            .await?;
        if made.deleted.files > 0 {
            self.metrics.retention_deleted(DeleteCause::Space, made.deleted.files, made.deleted.size_bytes);
            warn!(self.log, "deleted the oldest to make room"; "files" => made.deleted.files,
                "bytes" => made.deleted.size_bytes, "still_missing_bytes" => made.missing_bytes);
        }
        let short = Short { missing_bytes: made.missing_bytes, unproven_hours: made.unproven_hours, peers: answering };
        Ok(if made.has_more {
            (Looked::Unfinished, None)
        } else {
            (Looked::Done, (made.missing_bytes > 0).then_some(short))
        })
    }

    /// The nodes that anything is copied from, none of them twice, as far as they answer.
    async fn peers(&self) -> Vec<Peer> {
        let keys = self.directory.backfill_peers.keys();
        let urls: BTreeSet<PeerUrl> = keys.into_iter().map(|(peer, ..)| peer).collect();
        let standing = find_nodes(urls.into_iter().collect(), self.identity.clone(), &self.access).await;
        standing
            .into_iter()
            .filter_map(|one| if let Found::Node(peer) = one.found { Some(peer) } else { None })
            .collect()
    }
}

impl Actor for Retention {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        // A node that has just started has yet to find its peers.
        let first = ctx.notify_later(Tick, jittered(self.keeping.config.interval.min(Duration::from_secs(20))));
        self.look = Some(first);
    }
}

impl Handler<Tick> for Retention {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let (keeping, mut memory) = (self.keeping.clone(), std::mem::take(&mut self.memory));
        let look = async move {
            let looked = keeping.look(&mut memory).await;
            (looked, memory)
        };
        let look = ctx.spawn(look.into_actor(self).map(|(looked, memory), this, ctx| {
            this.memory = memory;
            let rest = this.take(looked);
            this.look = Some(ctx.notify_later(Tick, rest));
        }));
        self.look = Some(look);
    }
}

impl Handler<Drain> for Retention {
    type Result = ();

    /// Answers at once: a look may be dropped anywhere, and what it had begun to delete is deleted or there.
    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        if let Some(look) = self.look.take() {
            ctx.cancel_future(look);
        }
    }
}
