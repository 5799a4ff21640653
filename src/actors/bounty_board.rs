//! Has every peer asked for what was lost here: at once, and again while it may still appear.
//!
//! Promises: recorders tell it of a loss and never wait; so does nobody who copies; what a restart forgot is read from the
//! ledger. `peers::Bounties` says what is asked for and when, `BackfillPeer`s ask.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::prelude::*;
use slog::{info, o, warn};
use tokio::time::Instant;

use super::backfill_peer::{Replication, Seek};
use super::guardian::{Drain, Sentinel};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::metrics::BountyOutcome;
use crate::model::{Channel, Quality, Span};
use crate::peers::{Bounties, LostLately};
use crate::store;

/// What is over for longer than a month is no loss that anybody still records.
const LONGEST_CUTOFF: Duration = Duration::from_secs(31 * 24 * 3600);

type Stream = (Channel, Quality);

/// What was lost here lately, for those who would leave it to the recorder. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct LostHere(Arc<RwLock<HashMap<Stream, Arc<[Span]>>>>);

impl LostHere {
    /// In order.
    pub fn of(&self, channel: &Channel, quality: &Quality) -> Arc<[Span]> {
        let lost = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lost.get(&(channel.clone(), quality.clone())).cloned().unwrap_or_default()
    }

    fn set(&self, stream: &Stream, spans: &[Span]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(stream.clone(), spans.into());
    }
}

/// The recorder lacks this, for now or for good.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Missing {
    pub channel: Channel,
    pub quality: Quality,
    pub span: Span,
}

/// A peer gave something that was asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Given(pub Channel, pub Quality);

/// Time to look at a stream's bounties.
#[derive(Message)]
#[rtype(result = "()")]
struct Look(Stream);

#[derive(Default)]
struct Open {
    bounties: Bounties,
    lost: LostLately,
    /// The disk is being looked at.
    looking: bool,
    /// And must be again.
    again: bool,
    wake: Option<SpawnHandle>,
}

/// The actor.
pub struct BountyBoard {
    replication: Replication,
    began: Instant,
    open: HashMap<Stream, Open>,
    sentinel: Sentinel,
    draining: bool,
}

impl BountyBoard {
    pub fn new(replication: Replication, sentinel: Sentinel) -> Self {
        Self { replication, began: Instant::now(), open: HashMap::new(), sentinel, draining: false }
    }

    /// What the ledger knows of the time that is still left to recorders.
    fn read_ledger(&self, stream: Stream, ctx: &mut Context<Self>) {
        let now = self.replication.clock.now();
        let cutoff = self.replication.config.recent_cutoff.min(LONGEST_CUTOFF);
        let Ok(within) = Span::new(now.plus_micros(-(cutoff.as_micros() as i64)), now) else { return };
        let (layout, (channel, quality)) = (self.replication.urgent.layout.clone(), stream.clone());
        let read =
            self.replication.urgent.blocking.run(move || store::losses(&layout, &channel, &quality, Some(within)));
        ctx.spawn(read.into_actor(self).map(move |read, this, ctx| match read {
            Ok(Ok(losses)) => {
                for loss in losses.into_iter().filter(|standing| !standing.filled) {
                    this.open(&stream, loss.loss.span, ctx);
                }
            }
            Ok(Err(error)) => this.warn(&stream, "what was lost before the start cannot be read", &error),
            Err(error) => this.warn(&stream, "what was lost before the start cannot be read", &error),
        }));
    }

    fn open(&mut self, stream: &Stream, span: Span, ctx: &mut Context<Self>) {
        let (now, began) = (self.replication.clock.now(), self.began.elapsed());
        let cutoff = i64::try_from(self.replication.config.recent_cutoff.as_micros()).unwrap_or(i64::MAX);
        let open = self.open.entry(stream.clone()).or_default();
        open.lost.add(span);
        open.lost.forget(now.plus_micros(-cutoff));
        // Must precede the question: who copies what was named decides by it.
        self.replication.lost.set(stream, open.lost.spans());
        let opened = open.bounties.open(span, began);
        self.tell(stream, BountyOutcome::Opened, &opened.fresh);
        self.tell(stream, BountyOutcome::GivenUp, &opened.given_up);
        self.ask(stream, ctx);
    }

    /// Has the peers asked for what is due, and comes back when more is.
    fn ask(&mut self, stream: &Stream, ctx: &mut Context<Self>) {
        let Some(open) = self.open.get_mut(stream) else { return };
        let now = self.began.elapsed();
        let due: Arc<[Span]> = open.bounties.due(now, jittered).into();
        if let Some(wake) = open.wake.take() {
            ctx.cancel_future(wake);
        }
        if let Some(next) = open.bounties.next_at() {
            open.wake = Some(ctx.notify_later(Look(stream.clone()), next.saturating_sub(now)));
        }
        if due.is_empty() {
            return;
        }
        let copying = &self.replication.directory.backfill_peers;
        for key in copying.keys() {
            if key.1 == stream.0
                && key.2 == stream.1
                && let Some(peer) = copying.get(&key)
            {
                peer.do_send(Seek(Arc::clone(&due)));
            }
        }
    }

    /// Sees what has come, gives up what is old, and asks for the rest.
    fn look(&mut self, stream: Stream, ctx: &mut Context<Self>) {
        let Some(open) = self.open.get_mut(&stream) else { return };
        let spans = open.bounties.spans();
        if self.draining || spans.is_empty() || std::mem::replace(&mut open.looking, true) {
            open.again = !spans.is_empty();
            return;
        }
        let (layout, (channel, quality)) = (self.replication.urgent.layout.clone(), stream.clone());
        let look = move || store::full_within(&layout, &channel, &quality, &spans);
        let look = self.replication.urgent.blocking.run(look);
        ctx.spawn(look.into_actor(self).map(move |full, this, ctx| {
            match full {
                Ok(Ok(full)) => this.settle(&stream, &full),
                Ok(Err(error)) => this.warn(&stream, "whether a loss is filled cannot be seen", &error),
                Err(error) => this.warn(&stream, "whether a loss is filled cannot be seen", &error),
            }
            let began = this.began.elapsed();
            let Some(open) = this.open.get_mut(&stream) else { return };
            open.looking = false;
            let given_up = open.bounties.give_up(began);
            let again = std::mem::take(&mut open.again);
            this.tell(&stream, BountyOutcome::GivenUp, &given_up);
            this.ask(&stream, ctx);
            if again {
                ctx.notify(Look(stream));
            }
        }));
    }

    fn settle(&mut self, stream: &Stream, full: &[Span]) {
        let Some(open) = self.open.get_mut(stream) else { return };
        let filled = open.bounties.settle(full);
        self.tell(stream, BountyOutcome::Filled, &filled);
    }

    fn tell(&self, (channel, quality): &Stream, outcome: BountyOutcome, spans: &[Span]) {
        let log = self.replication.log.new(o!("channel" => channel.to_string(), "quality" => quality.to_string()));
        for span in spans {
            self.replication.metrics.bounty(channel, quality, outcome, span.duration());
            match outcome {
                BountyOutcome::Opened => info!(log, "peers are asked for what is missing"; "span" => %span),
                BountyOutcome::Filled => info!(log, "what was missing is here"; "span" => %span),
                BountyOutcome::GivenUp => warn!(log, "no peer had what is missing, so far"; "span" => %span),
            }
        }
    }

    fn warn(&self, (channel, quality): &Stream, what: &'static str, error: &dyn std::error::Error) {
        warn!(self.replication.log, "{}", what; "channel" => %channel, "quality" => %quality, "error" => chain(error));
    }
}

impl Actor for BountyBoard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        for stream in self.replication.recorded.iter() {
            for outcome in BountyOutcome::ALL {
                self.replication.metrics.bounty(&stream.0, &stream.1, *outcome, Duration::ZERO);
            }
            self.read_ledger(stream.clone(), ctx);
        }
    }
}

impl Handler<Missing> for BountyBoard {
    type Result = ();

    fn handle(&mut self, Missing { channel, quality, span }: Missing, ctx: &mut Self::Context) {
        if !self.draining {
            self.open(&(channel, quality), span, ctx);
        }
    }
}

impl Handler<Given> for BountyBoard {
    type Result = ();

    fn handle(&mut self, Given(channel, quality): Given, ctx: &mut Self::Context) {
        self.look((channel, quality), ctx);
    }
}

impl Handler<Look> for BountyBoard {
    type Result = ();

    fn handle(&mut self, Look(stream): Look, ctx: &mut Self::Context) {
        self.look(stream, ctx);
    }
}

impl Handler<Drain> for BountyBoard {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
