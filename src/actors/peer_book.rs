//! Who the peers are, and what there is to copy from each: an actor for each of their qualities.
//!
//! Promises: each peer is asked on its own, so that one which hangs delays no other; this node is not its own peer,
//! whatever name it is listed under.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use slog::{info, warn};
use tokio::sync::Semaphore;

use super::backfill_peer::{BackfillPeer, Replication, backoff_after};
use super::guardian::{ActorKind, Child, Drain, Keep, Sentinel};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::model::{Channel, PeerUrl, Quality};
use crate::peers::{Peer, PeerError};

/// No channel has more; a peer that lists more is not believed.
const MAX_QUALITIES: usize = 16;

#[derive(Message)]
#[rtype(result = "()")]
struct Look(PeerUrl);

/// What asking a peer led to.
enum Found {
    /// It is this very node.
    Ourselves,
    Streams(Vec<(Channel, Quality)>),
}

/// How a peer stood when it was last told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    NotAsked,
    There,
    Ourselves,
    Fails(u32),
}

/// The actor.
pub struct PeerBook {
    replication: Replication,
    /// For each peer, how many files may be fetched at once; of all its qualities.
    permits: HashMap<PeerUrl, Arc<Semaphore>>,
    standing: HashMap<PeerUrl, Standing>,
    sentinel: Sentinel,
    draining: bool,
}

impl PeerBook {
    pub fn new(replication: Replication, sentinel: Sentinel) -> Self {
        let config = &replication.config;
        let permits = |peer: &PeerUrl| (peer.clone(), Arc::new(Semaphore::new(config.concurrency as usize)));
        let permits = config.peers.iter().map(permits).collect();
        Self { replication, permits, standing: HashMap::new(), sentinel, draining: false }
    }

    /// Has an actor for each quality kept alive; those that are there already stay as they are.
    fn keep(&self, peer: &PeerUrl, streams: Vec<(Channel, Quality)>) {
        let Some(guardian) = self.replication.directory.guardian.get(&()) else { return };
        let Some(permits) = self.permits.get(peer) else { return };
        for (channel, quality) in streams {
            guardian.do_send(Keep(backfill_peer(&self.replication, peer, channel, quality, permits)));
        }
    }

    /// Says what is news.
    fn stand(&mut self, peer: &PeerUrl, now: Standing, error: Option<&PeerError>) {
        let before = self.standing.insert(peer.clone(), now).unwrap_or(Standing::NotAsked);
        let (log, url) = (&self.replication.log, peer.to_string());
        match (before, now) {
            (Standing::There, Standing::There) | (Standing::Ourselves, Standing::Ourselves) => {}
            (_, Standing::There) => info!(log, "peer is there"; "peer" => url),
            (_, Standing::Ourselves) => info!(log, "a peer is this node itself, and left out"; "peer" => url),
            (Standing::Fails(_), Standing::Fails(_)) | (_, Standing::NotAsked) => {}
            (_, Standing::Fails(_)) => {
                let error = error.map(|error| chain(error)).unwrap_or_default();
                warn!(log, "peer does not answer as one, will try again"; "peer" => url, "error" => error);
            }
        }
    }
}

fn backfill_peer(
    replication: &Replication,
    peer: &PeerUrl,
    channel: Channel,
    quality: Quality,
    permits: &Arc<Semaphore>,
) -> Child {
    let (name, arbiter) = (format!("{peer} {channel} {quality}"), format!("backfill {peer}"));
    let (replication, peer, permits) = (replication.clone(), peer.clone(), Arc::clone(permits));
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let directory = replication.directory.clone();
        let key = (peer.clone(), channel.clone(), quality.clone());
        let (replication, permits) = (replication.clone(), Arc::clone(&permits));
        let (peer, channel, quality) = key.clone();
        let built = move |_: &mut Context<BackfillPeer>| {
            BackfillPeer::new(replication, peer, channel, quality, permits, sentinel)
        };
        directory.backfill_peers.publish(key, BackfillPeer::start_in_arbiter(arbiter, built));
    };
    Child { kind: ActorKind::BackfillPeer, name, arbiter, factory: Box::new(factory) }
}

async fn look(replication: Replication, url: PeerUrl) -> Result<Found, PeerError> {
    let peer = Peer::new(url);
    let theirs = peer.id().await?;
    if theirs.is_some() && theirs == replication.id {
        return Ok(Found::Ourselves);
    }
    let mut streams = Vec::new();
    for channel in replication.channels() {
        let (qualities, _) = peer.qualities(&channel).await?;
        streams.extend(qualities.into_iter().take(MAX_QUALITIES).map(|quality| (channel.clone(), quality)));
    }
    Ok(Found::Streams(streams))
}

impl Actor for PeerBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        for peer in &self.replication.config.peers {
            ctx.notify(Look(peer.clone()));
        }
    }
}

impl Handler<Look> for PeerBook {
    type Result = ();

    fn handle(&mut self, Look(peer): Look, ctx: &mut Self::Context) {
        if self.draining {
            return;
        }
        let look = look(self.replication.clone(), peer.clone());
        ctx.spawn(look.into_actor(self).map(move |found, this, ctx| {
            let rest = match found {
                Ok(Found::Ourselves) => {
                    this.stand(&peer, Standing::Ourselves, None);
                    this.replication.config.interval
                }
                Ok(Found::Streams(streams)) => {
                    this.stand(&peer, Standing::There, None);
                    this.keep(&peer, streams);
                    this.replication.config.interval
                }
                Err(error) => {
                    let failures = match this.standing.get(&peer) {
                        Some(Standing::Fails(failures)) => failures.saturating_add(1),
                        Some(Standing::NotAsked | Standing::There | Standing::Ourselves) | None => 1,
                    };
                    this.replication.metrics.backfill_pass_failed(&peer);
                    this.stand(&peer, Standing::Fails(failures), Some(&error));
                    backoff_after(failures)
                }
            };
            ctx.notify_later(Look(peer), jittered(rest));
        }));
    }
}

impl Handler<Drain> for PeerBook {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
