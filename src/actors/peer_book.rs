//! Who the peers are, and what there is to copy from each: an actor for each of their qualities.
//!
//! Promises: each peer is asked on its own, so that one which hangs delays no other; this node is not its own peer,
//! whatever name it is listed under; a source that fails keeps its last answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use actix::prelude::*;
use slog::{info, warn};
use tokio::sync::Semaphore;

use super::backfill_peer::{BackfillPeer, Replication, Wanted, backoff_after};
use super::guardian::{ActorKind, Child, Drain, Keep, Sentinel};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::model::{Channel, PeerUrl, Quality};
use crate::peers::{BookError, Peer, PeerError, PeerSource};

/// No channel has more; a peer that lists more is not believed.
const MAX_QUALITIES: usize = 16;

#[derive(Message)]
#[rtype(result = "()")]
struct Look(PeerUrl, Arc<Semaphore>);

/// Time to ask the sources.
#[derive(Message)]
#[rtype(result = "()")]
struct Gather;

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
    /// For each peer, how many files may be fetched at once; of all its qualities. Made anew when a peer comes back.
    permits: HashMap<PeerUrl, Arc<Semaphore>>,
    standing: HashMap<PeerUrl, Standing>,
    sources: Vec<PeerSource>,
    /// Sources whose failure was told.
    silent: Vec<PeerSource>,
    sentinel: Sentinel,
    draining: bool,
}

impl PeerBook {
    pub fn new(replication: Replication, sentinel: Sentinel) -> Self {
        let config = &replication.config;
        let file = config.peers_file.clone().map(PeerSource::File);
        let sources = file.into_iter().chain(config.peers_dns.clone().map(PeerSource::Dns)).collect();
        Self {
            replication,
            permits: HashMap::new(),
            standing: HashMap::new(),
            sources,
            silent: Vec::new(),
            sentinel,
            draining: false,
        }
    }

    /// These are the peers from now on.
    fn take(&mut self, peers: BTreeSet<PeerUrl>, ctx: &mut Context<Self>) {
        self.permits.retain(|peer, _| peers.contains(peer));
        self.standing.retain(|peer, _| peers.contains(peer));
        let copying = &self.replication.directory.backfill_peers;
        for key in copying.keys() {
            let is_peer = peers.contains(&key.0);
            if !is_peer {
                self.replication.metrics.backfill_ended(&key.0);
            }
            if let Some(actor) = copying.get(&key) {
                actor.do_send(Wanted(is_peer));
            }
        }
        for peer in peers {
            if !self.permits.contains_key(&peer) {
                let permits = Arc::new(Semaphore::new(self.replication.config.concurrency as usize));
                self.permits.insert(peer.clone(), Arc::clone(&permits));
                ctx.notify(Look(peer, permits));
            }
        }
    }

    /// Whether it is a peer still, and not one that went and came back.
    fn is_current(&self, peer: &PeerUrl, permits: &Arc<Semaphore>) -> bool {
        self.permits.get(peer).is_some_and(|current| Arc::ptr_eq(current, permits))
    }

    /// Says it once of each.
    fn tell_silent(&mut self, source: &PeerSource, error: Option<&BookError>) {
        match error {
            Some(error) if !self.silent.contains(source) => {
                let error = chain(error);
                warn!(self.replication.log, "a list of peers cannot be had, its last answer counts"; "error" => error);
                self.silent.push(source.clone());
            }
            Some(_) => {}
            None => self.silent.retain(|silent| silent != source),
        }
    }

    /// Has an actor for each quality kept alive; those that are there already stay as they are.
    fn keep(&self, peer: &PeerUrl, permits: &Arc<Semaphore>, streams: Vec<(Channel, Quality)>) {
        let Some(guardian) = self.replication.directory.guardian.get(&()) else { return };
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
    // What is recorded here, also before the peer has any of it: it may be lost here at any moment.
    let mut streams: Vec<(Channel, Quality)> = replication.recorded.to_vec();
    for channel in replication.channels() {
        let (qualities, _) = peer.qualities(&channel).await?;
        streams.extend(qualities.into_iter().take(MAX_QUALITIES).map(|quality| (channel.clone(), quality)));
    }
    streams.sort_unstable();
    streams.dedup();
    Ok(Found::Streams(streams))
}

impl Actor for PeerBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.notify(Gather);
    }
}

impl Handler<Gather> for PeerBook {
    type Result = ();

    fn handle(&mut self, _: Gather, ctx: &mut Self::Context) {
        if self.draining {
            return;
        }
        let (copier, sources) = (self.replication.copier.clone(), self.sources.clone());
        let ask = async move {
            let mut answers = Vec::new();
            for source in sources {
                let layout = copier.layout.clone();
                let ask = move || {
                    let (peers, error) = match source.ask(&layout) {
                        Ok(peers) => (peers, None),
                        Err(error) => (source.last(&layout), Some(error)),
                    };
                    (source, peers, error)
                };
                answers.extend(copier.blocking.run(ask).await);
            }
            answers
        };
        ctx.spawn(ask.into_actor(self).map(|answers, this, ctx| {
            let mut peers: BTreeSet<PeerUrl> = this.replication.config.peers.iter().cloned().collect();
            for (source, more, error) in answers {
                this.tell_silent(&source, error.as_ref());
                peers.extend(more);
            }
            this.take(peers, ctx);
            if !this.sources.is_empty() {
                ctx.notify_later(Gather, jittered(this.replication.config.interval));
            }
        }));
    }
}

impl Handler<Look> for PeerBook {
    type Result = ();

    fn handle(&mut self, Look(peer, permits): Look, ctx: &mut Self::Context) {
        if self.draining || !self.is_current(&peer, &permits) {
            return;
        }
        let look = look(self.replication.clone(), peer.clone());
        ctx.spawn(look.into_actor(self).map(move |found, this, ctx| {
            if !this.is_current(&peer, &permits) {
                return;
            }
            let rest = match found {
                Ok(Found::Ourselves) => {
                    this.stand(&peer, Standing::Ourselves, None);
                    this.replication.config.interval
                }
                Ok(Found::Streams(streams)) => {
                    this.stand(&peer, Standing::There, None);
                    this.keep(&peer, &permits, streams);
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
            ctx.notify_later(Look(peer, permits), jittered(rest));
        }));
    }
}

impl Handler<Drain> for PeerBook {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
