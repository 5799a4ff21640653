//! How a peer is asked for what was lost here, beside the pass that is under way.
//!
//! Promises: at most so many questions at once; what is to be asked meanwhile is joined; a peer that fails is asked later,
//! and nobody waits for it. One that cannot be reached is asked all the same, as what is missing may not stay there for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::debug;
use tokio::sync::Semaphore;

use super::{BackfillPeer, Replication};
use crate::actors::bounty_board::Given;
use crate::causes::chain;
use crate::ingest::FetchError;
use crate::model::{Channel, Quality, Span};
use crate::peers::{CopyError, LostLately, PassReport, Peer, PeerError, SpanCopy, Wrong, backoff_after};

/// Of one peer and quality: one that takes long does not delay the next loss.
const QUESTIONS_AT_ONCE: usize = 4;
/// Files at once, beside those of passes.
const FILES_AT_ONCE: usize = 4;
/// Others may give in the meantime what a slow peer holds up.
const REST_OF_SLOW: Duration = Duration::from_secs(30);

/// These spans are missing here.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Seek(pub Arc<[Span]>);

/// Time to ask again after a failure.
#[derive(Message)]
#[rtype(result = "()")]
struct Resume;

/// What is sought of one peer.
pub(super) struct Seeking {
    pub copy: SpanCopy,
    /// To be asked for as soon as there is room.
    waiting: LostLately,
    under_way: BTreeMap<u64, SpawnHandle>,
    next: u64,
    failures: u32,
    rest: Option<SpawnHandle>,
}

impl Seeking {
    pub fn new(replication: &Replication, peer: Peer, channel: Channel, quality: Quality) -> Self {
        let permits = Arc::new(Semaphore::new(FILES_AT_ONCE));
        let copier = replication.urgent.clone();
        Self {
            copy: SpanCopy { copier, peer, channel, quality, permits, wrong: Wrong::default() },
            waiting: LostLately::default(),
            under_way: BTreeMap::new(),
            next: 0,
            failures: 0,
            rest: None,
        }
    }

    /// Everything under way, to be dropped.
    pub fn end(&mut self) -> Vec<SpawnHandle> {
        self.waiting = LostLately::default();
        std::mem::take(&mut self.under_way).into_values().chain(self.rest.take()).collect()
    }

    fn rest_after(&mut self, error: &PeerError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let rest = backoff_after(self.failures).min(REST_OF_SLOW);
        if is_slow(error) { REST_OF_SLOW } else { rest }
    }
}

fn is_slow(error: &PeerError) -> bool {
    let source = match error {
        PeerError::Ask { source, .. } | PeerError::Copy(CopyError::Fetch { source, .. }) => source,
        PeerError::NoList { .. }
        | PeerError::NoDigests
        | PeerError::NoFeed { .. }
        | PeerError::Copy(_)
        | PeerError::Store(_)
        | PeerError::Digests(_)
        | PeerError::Panicked(_) => return false,
    };
    matches!(source, FetchError::NoAnswer(_) | FetchError::Stalled(_) | FetchError::TooSlow(_))
}

impl BackfillPeer {
    fn seek(&mut self, ctx: &mut Context<Self>) {
        let is_room = self.seeking.under_way.len() < QUESTIONS_AT_ONCE && self.seeking.rest.is_none();
        if self.draining || !self.wanted || !is_room || self.seeking.waiting.spans().is_empty() {
            return;
        }
        let spans = std::mem::take(&mut self.seeking.waiting);
        let (copy, teller) = (self.seeking.copy.clone(), self.teller());
        let work = async move {
            let mut report = PassReport::default();
            let done = copy.cover(spans.spans(), &mut report, &|notice| teller.tell(&notice)).await;
            (report, done)
        };
        let id = self.seeking.next;
        self.seeking.next += 1;
        let under_way = ctx.spawn(work.into_actor(self).map(move |(report, done), this, ctx| {
            this.seeking.under_way.remove(&id);
            this.take_sought(&report, done, ctx);
            this.seek(ctx);
        }));
        self.seeking.under_way.insert(id, under_way);
    }

    fn take_sought(&mut self, report: &PassReport, done: Result<(), PeerError>, ctx: &mut Context<Self>) {
        if report.copied_files > 0
            && let Some(board) = self.replication.directory.bounty_board.get(&())
        {
            board.do_send(Given(self.channel.clone(), self.quality.clone()));
        }
        match done {
            Ok(()) => self.seeking.failures = 0,
            Err(error) => {
                debug!(self.log, "a peer was asked in vain for what is missing"; "error" => chain(&error));
                let rest = self.seeking.rest_after(&error);
                if let Some(before) = self.seeking.rest.replace(ctx.notify_later(Resume, rest)) {
                    ctx.cancel_future(before);
                }
            }
        }
    }
}

impl Handler<Seek> for BackfillPeer {
    type Result = ();

    fn handle(&mut self, Seek(spans): Seek, ctx: &mut Self::Context) {
        if self.draining || !self.wanted {
            return;
        }
        for span in spans.iter() {
            self.seeking.waiting.add(*span);
        }
        self.seek(ctx);
    }
}

impl Handler<Resume> for BackfillPeer {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) {
        self.seeking.rest = None;
        self.seek(ctx);
    }
}
