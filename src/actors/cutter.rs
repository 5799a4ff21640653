//! Finds events that this node may cut, claims them, and runs their jobs; gets on with what killed nodes have left; asks
//! destinations whether they are done with a video, and tells them what editors changed.
//!
//! Promises: the oldest first; nothing is claimed that is not all here, unless its editor allows holes; a job that panics
//! ends the actor, whose next life finds its events; nobody who records waits for any of it.
//! Never: holds an event that the database says is another's.

mod errands;
mod fault;
mod job;
mod look;
mod making;
mod outgoing;
mod persisting;
mod shared_quota;
mod verdict;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::config::{CutterConfig, UploadConfig};
use crate::cut::Ffmpeg;
use crate::db::Db;
use crate::jitter::jittered;
use crate::metrics::{JobOutcome, Metrics};
use crate::model::{EventId, NodeName, UploadLocation};
use crate::store::Layout;
use crate::upload::{Destination, Means, destination_of};
use look::{Look, Memory, Work};
use shared_quota::SharedQuota;

/// While the database fails, between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A node that has no place for videos only looks after what nobody can do.
const IDLE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a job that makes its video exist is waited for when the node stops.
const LAST_ACTS_WITHIN: Duration = Duration::from_secs(8);

/// Between looks at whether the schema is up to date.
const MIGRATED_WITHIN: Duration = Duration::from_millis(500);
/// Between looks at whether they have ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What cutting works with. Cheap to clone.
#[derive(Clone)]
pub struct Cutting {
    pub directory: Directory,
    pub layout: Layout,
    pub db: Db,
    pub name: NodeName,
    pub uploads: Vec<UploadConfig>,
    pub config: CutterConfig,
    pub ffmpeg: Ffmpeg,
    /// A door of its own.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
    /// Where less of the disk is free, nothing is cut.
    pub min_free_bytes: u64,
}

/// The places for videos that this node has.
type Destinations = Rc<HashMap<UploadLocation, (UploadConfig, Rc<dyn Destination>)>>;

/// What an event is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It is cut, which takes one of `cutter.at_once` places.
    Cut,
    /// A destination is asked or told something.
    Errand,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
pub struct Cutter {
    cutting: Cutting,
    sentinel: Sentinel,
    destinations: Destinations,
    stopping: watch::Sender<bool>,
    running: HashMap<EventId, Held>,
    /// Away during a look.
    memory: Option<Memory>,
    /// In a row.
    failures: u32,
    draining: bool,
}

impl Cutter {
    pub fn new(cutting: Cutting, sentinel: Sentinel) -> Self {
        let (blocking, clock, metrics) = (cutting.blocking.clone(), cutting.clock.clone(), cutting.metrics.clone());
        let book = SharedQuota { db: cutting.db.clone(), log: cutting.log.clone() };
        let means = Means::new(&cutting.uploads, blocking, clock, metrics).noted_in(Arc::new(book));
        let destination = |upload: &UploadConfig| {
            let made = destination_of(upload, &means);
            (upload.location.clone(), (upload.clone(), made))
        };
        let destinations = Rc::new(cutting.uploads.iter().map(destination).collect());
        let (stopping, _) = watch::channel(false);
        let memory = Some(Memory::new(Instant::now()));
        Self {
            cutting,
            sentinel,
            destinations,
            stopping,
            running: HashMap::new(),
            memory,
            failures: 0,
            draining: false,
        }
    }

    fn interval(&self) -> Duration {
        let interval = self.cutting.config.interval;
        if self.destinations.is_empty() { interval.max(IDLE_INTERVAL) } else { interval }
    }

    /// Returns the time until the next look.
    fn take(&mut self, mut look: Look, ctx: &mut Context<Self>) -> Duration {
        let rest = match look.failure.take() {
            None => {
                self.failures = 0;
                if look.memory.is_migrated { self.interval() } else { MIGRATED_WITHIN }
            }
            Some(_) => {
                self.failures += 1;
                let doubled = self.interval().saturating_mul(1 << self.failures.min(8));
                jittered(doubled.min(LONGEST_PAUSE.max(self.interval())))
            }
        };
        for (id, work) in look.found.drain(..) {
            let held = if matches!(work, Work::Cut(..)) { Held::Cut } else { Held::Errand };
            self.running.insert(id.clone(), held);
            ctx.spawn(work.run().into_actor(self).map(move |outcome, this, ctx| {
                this.running.remove(&id);
                this.ended(&id, outcome, ctx);
            }));
        }
        self.memory = Some(look.memory);
        rest
    }

    fn ended(&mut self, id: &EventId, outcome: Option<(UploadLocation, JobOutcome)>, ctx: &mut Context<Self>) {
        let Some((location, outcome)) = outcome else { return };
        self.cutting.metrics.job_ended(&location, outcome);
        if let Some(memory) = &mut self.memory {
            memory.rest(id, outcome);
        }
        // There is a place for the next one.
        ctx.notify(Tick);
    }
}

impl Actor for Cutter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.notify(Tick);
    }
}

impl Handler<Tick> for Cutter {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        // During a look there is another one after it anyway.
        let Some(memory) = self.memory.take_if(|_| !self.draining) else { return };
        let look = Look {
            cutting: self.cutting.clone(),
            destinations: Rc::clone(&self.destinations),
            running: self.running.clone(),
            stopping: self.stopping.subscribe(),
            memory,
            found: Vec::new(),
            failure: None,
        };
        ctx.spawn(look.run().into_actor(self).map(|look, this, ctx| {
            let rest = this.take(look, ctx);
            if let Some(memory) = &mut this.memory {
                memory.look_number += 1;
                let number = memory.look_number;
                // Of the looks that are asked for, only the next one counts.
                ctx.run_later(rest, move |this, ctx| {
                    if this.memory.as_ref().is_some_and(|memory| memory.look_number == number) {
                        ctx.notify(Tick);
                    }
                });
            }
        }));
    }
}

impl Handler<Drain> for Cutter {
    type Result = ResponseActFuture<Self, ()>;

    /// Answers when the jobs have given their events back; those whose videos are about to exist get a few seconds.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.stopping.send_replace(true);
        if !self.running.is_empty() {
            info!(self.cutting.log, "jobs are given back, the node stops"; "count" => self.running.len());
        }
        let end = Instant::now() + LAST_ACTS_WITHIN;
        wait_for_jobs(end)
    }
}

fn wait_for_jobs(end: Instant) -> ResponseActFuture<Cutter, ()> {
    let pause = actix::fut::wrap_future::<_, Cutter>(sleep(LOOK_AGAIN_AFTER));
    Box::pin(pause.then(move |(), this: &mut Cutter, _| {
        // A look that was under way may have claimed something.
        if this.running.is_empty() && this.memory.is_some() {
            return Box::pin(actix::fut::ready(())) as ResponseActFuture<Cutter, ()>;
        }
        if Instant::now() >= end {
            warn!(this.cutting.log, "jobs are left, the next start asks their destinations"; "count" => this.running.len());
            return Box::pin(actix::fut::ready(()));
        }
        wait_for_jobs(end)
    }))
}
