//! Reads everything that is stored, over and over and slowly, and takes out of the record what went bad, so that it is fetched
//! anew. After a stop that was none in order, what was written shortly before it comes first.
//!
//! Promises: the disk is left to others most of the time; nothing is read while it is in trouble; a restart goes on where the
//! last life was. What went bad is told by the log, the metrics and the ledger, each time.
//! Never: deletes; takes a recorder's or a reader's place at the disk.

mod pace;
mod stretch;
mod work;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, error, warn};

use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use super::left_behind::tell_left_behind;
use super::stream_worker::seek_missing;
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::ScrubConfig;
use crate::ingest::Disk;
use crate::metrics::Metrics;
use crate::model::{LossCause, Timestamp};
use crate::store::{self, Ledger, Recovery, TempMark};
use stretch::WentBad;
use work::Work;

/// Between signs of life, by which the next start knows when this one was last seen.
const ALIVE_EVERY: Duration = Duration::from_secs(60);

/// What scrubbing works with. Cheap to clone.
#[derive(Clone)]
pub struct Scrubbing {
    pub directory: Directory,
    /// With a door of its own.
    pub disk: Disk,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
    pub ledger: Ledger,
    pub temp_mark: TempMark,
    pub config: ScrubConfig,
    /// What was written since then is to be checked first.
    pub unchecked_since: Option<Timestamp>,
    /// Whether the disk has better things to do just now.
    pub is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Scrubbing {
    /// All that went bad passes here.
    fn lose(&self, bad: &WentBad) {
        let WentBad { file, damage, to } = bad;
        error!(self.log, "a stored file went bad, it is in quarantine"; "file" => file.path_text(),
            "cause" => damage.as_str(), "quarantine" => %to.display());
        self.metrics.file_went_bad(*damage);
        if let Some(span) = file.shown_span() {
            self.ledger.note(&file.channel, &file.quality, span, LossCause::Corrupt, damage.as_str());
            // A copy that a peer has is wanted at once.
            seek_missing(&self.directory, &file.channel, &file.quality, span);
        }
    }

    fn tell_left_behind(&self, recovery: &Recovery) {
        tell_left_behind(recovery, &self.directory, &self.ledger, &self.metrics, &self.log);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
pub struct Scrubber {
    scrubbing: Scrubbing,
    /// Of its own: a disk that hangs must not keep others from being told that this node lives.
    door: Blocking,
    sentinel: Sentinel,
    draining: bool,
}

impl Scrubber {
    pub fn new(scrubbing: Scrubbing, sentinel: Sentinel) -> Self {
        Self { scrubbing, door: Blocking::new(1), sentinel, draining: false }
    }

    fn give_sign_of_life(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let (layout, volume) = (self.scrubbing.disk.layout.clone(), self.scrubbing.disk.volume.clone());
        let given = self.door.run(move || store::sign_of_life(&layout, &volume));
        ctx.spawn(given.into_actor(self).map(|given, this, ctx| {
            if let Ok(Err(error)) = given {
                warn!(this.scrubbing.log, "the next start will not know when this node was last alive";
                    "error" => chain(&error));
            }
            ctx.run_later(ALIVE_EVERY, Self::give_sign_of_life);
        }));
    }

    fn step(&mut self, mut work: Work, ctx: &mut Context<Self>) {
        let step = async move {
            let rest = work.step().await;
            (work, rest)
        };
        ctx.spawn(step.into_actor(self).map(|(work, rest), _, ctx| {
            ctx.run_later(rest, move |this, ctx| {
                if !this.draining {
                    this.step(work, ctx);
                }
            });
        }));
    }
}

impl Actor for Scrubber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        self.give_sign_of_life(ctx);
        ctx.notify(Tick);
    }
}

impl Handler<Tick> for Scrubber {
    type Result = ();

    /// What the last life knew is on disk.
    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let read = Work::resume(self.scrubbing.clone());
        ctx.spawn(read.into_actor(self).map(|work, this, ctx| this.step(work, ctx)));
    }
}

impl Handler<Drain> for Scrubber {
    type Result = ();

    /// Answers at once: what is being read may go on to its end, and the next start goes on behind what is done.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
