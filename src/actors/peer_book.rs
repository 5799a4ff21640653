//! Who the peers are, and what there is to copy from each: an actor for each of their qualities.
//!
//! Promises: each peer is asked on its own, so that one which hangs delays no other, and so is each source; this node is not
//! its own peer, whatever name it is listed under; a source that fails keeps its last answer, also over a restart.

use std::collections::{BTreeSet, HashMap};

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use slog::{error, info, warn};

use super::backfill_extras::BackfillExtras;
use super::backfill_peer::{BackfillPeer, Replication, Wanted, tell_news};
use super::guardian::{ActorKind, Child, Drain, Keep, Sentinel};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::model::{Channel, PeerStanding, PeerState, PeerUrl, Quality};
use crate::peers::{Peer, PeerError, PeerHealth, PeerSource, backoff_after};
use crate::store::Layout;

/// No channel has more; a peer that lists more is not believed.
const MAX_QUALITIES: usize = 16;
/// Of one peer: one channel that hangs delays no other.
const LISTINGS_AT_ONCE: usize = 4;

#[derive(Message)]
#[rtype(result = "()")]
struct Look(PeerUrl, u64);

/// Time to ask a source.
#[derive(Message)]
#[rtype(result = "()")]
struct Gather(PeerSource);

/// These nodes are in the database now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct InDatabase(pub Vec<PeerUrl>);

/// Asks how all peers are.
#[derive(Message)]
#[rtype(result = "Vec<PeerState>")]
pub struct TellPeers;

/// What asking a peer led to.
enum Found {
    /// It is this very node.
    Ourselves,
    Streams {
        streams: Vec<(Channel, Quality)>,
        /// Channels that it did not list.
        unlisted: Vec<(Channel, PeerError)>,
        /// It has this node's id.
        is_copy: bool,
        /// Seconds that its clock is ahead.
        clock_ahead: Option<f64>,
    },
}

/// How a peer stood when it was last told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    NotAsked,
    There,
    Ourselves,
    /// There, with a copy of our disk.
    Copy,
    Fails(u32),
}

/// The actor.
pub struct PeerBook {
    replication: Replication,
    /// What all who copy from a peer know of it. Of one that is none any more too: its actors are there, should it come back.
    health: HashMap<PeerUrl, PeerHealth>,
    /// Who is a peer now, in which stretch of being one.
    stints: HashMap<PeerUrl, u64>,
    stints_begun: u64,
    standing: HashMap<PeerUrl, Standing>,
    /// Why a peer fails, and how far its clock is ahead, in seconds.
    faults: HashMap<PeerUrl, String>,
    clocks: HashMap<PeerUrl, f64>,
    /// Channels that a peer did not list when it was asked last.
    unlisted: HashMap<PeerUrl, Vec<Channel>>,
    /// What each said last.
    sources: HashMap<PeerSource, Vec<PeerUrl>>,
    /// Sources whose failure was told.
    silent: Vec<PeerSource>,
    sentinel: Sentinel,
    draining: bool,
}

impl PeerBook {
    pub fn new(replication: Replication, sentinel: Sentinel) -> Self {
        let config = &replication.config;
        let file = config.peers_file.clone().map(PeerSource::File);
        let dns = config.peers_dns.clone().map(PeerSource::Dns);
        let sources = file.into_iter().chain(dns).chain([PeerSource::Database]);
        let sources = sources.map(|source| (source, Vec::new())).collect();
        Self {
            replication,
            health: HashMap::new(),
            stints: HashMap::new(),
            stints_begun: 0,
            standing: HashMap::new(),
            faults: HashMap::new(),
            clocks: HashMap::new(),
            unlisted: HashMap::new(),
            sources,
            silent: Vec::new(),
            sentinel,
            draining: false,
        }
    }

    /// What the configuration and the sources say now counts.
    fn take(&mut self, ctx: &mut Context<Self>) {
        let listed = self.sources.values().flatten().chain(&self.replication.config.peers);
        let peers: BTreeSet<PeerUrl> = listed.cloned().collect();
        for gone in self.stints.keys().filter(|peer| !peers.contains(*peer)) {
            self.replication.metrics.backfill_ended(gone);
            if let Some(health) = self.health.get(gone) {
                health.forget_news();
            }
        }
        self.stints.retain(|peer, _| peers.contains(peer));
        self.standing.retain(|peer, _| peers.contains(peer));
        self.unlisted.retain(|peer, _| peers.contains(peer));
        self.faults.retain(|peer, _| peers.contains(peer));
        self.clocks.retain(|peer, _| peers.contains(peer));
        self.note_copies();
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
        let extras = &self.replication.directory.backfill_extras;
        for peer in extras.keys() {
            if let Some(actor) = extras.get(&peer) {
                actor.do_send(Wanted(peers.contains(&peer)));
            }
        }
        for peer in peers {
            if !self.stints.contains_key(&peer) {
                self.stints_begun += 1;
                self.stints.insert(peer.clone(), self.stints_begun);
                ctx.notify(Look(peer, self.stints_begun));
            }
        }
    }

    fn health_of(&mut self, peer: &PeerUrl) -> PeerHealth {
        let files_at_once = self.replication.config.concurrency as usize;
        self.health.entry(peer.clone()).or_insert_with(|| PeerHealth::new(files_at_once)).clone()
    }

    /// `unkept` says why a restart would not know the answer.
    fn answered(&mut self, source: PeerSource, peers: Vec<PeerUrl>, unkept: Option<String>, ctx: &mut Context<Self>) {
        if let Some(error) = unkept {
            warn!(self.replication.log, "a list of peers cannot be kept, a restart will not know it"; "error" => error);
        }
        self.sources.insert(source, peers);
        self.take(ctx);
    }

    /// Whether it is a peer still, and not one that went and came back.
    fn is_current(&self, peer: &PeerUrl, stint: u64) -> bool {
        self.stints.get(peer) == Some(&stint)
    }

    /// Says it once of each.
    fn tell_silent(&mut self, source: &PeerSource, error: Option<String>) {
        match error {
            Some(error) if !self.silent.contains(source) => {
                warn!(self.replication.log, "a list of peers cannot be had, its last answer counts"; "error" => error);
                self.silent.push(source.clone());
            }
            Some(_) => {}
            None => self.silent.retain(|silent| silent != source),
        }
    }

    /// Has an actor for each quality kept alive; those that are there already stay as they are.
    fn keep(&self, peer: &PeerUrl, health: &PeerHealth, streams: Vec<(Channel, Quality)>) {
        let Some(guardian) = self.replication.directory.guardian.get(&()) else { return };
        if !self.replication.config.extras.is_empty() {
            guardian.do_send(Keep(backfill_extras(&self.replication, peer, health)));
        }
        for (channel, quality) in streams {
            guardian.do_send(Keep(backfill_peer(&self.replication, peer, channel, quality, health)));
        }
    }

    /// Says it once of each channel.
    fn tell_unlisted(&mut self, peer: &PeerUrl, unlisted: Vec<(Channel, PeerError)>) {
        let told = self.unlisted.remove(peer).unwrap_or_default();
        for (channel, error) in unlisted.iter().filter(|(channel, _)| !told.contains(channel)) {
            warn!(self.replication.log, "a peer does not list a channel, will try again";
                "peer" => peer.to_string(), "channel" => %channel, "error" => chain(error));
        }
        if !unlisted.is_empty() {
            self.replication.metrics.backfill_pass_failed(peer);
            self.unlisted.insert(peer.clone(), unlisted.into_iter().map(|(channel, _)| channel).collect());
        }
    }

    /// For the probes.
    fn note_copies(&self) {
        let mut standings = self.standing.values();
        self.replication.health.set_has_copy(standings.any(|standing| *standing == Standing::Copy));
    }

    /// Says what is news.
    fn stand(&mut self, peer: &PeerUrl, now: Standing, error: Option<&PeerError>) {
        match error {
            Some(error) => self.faults.insert(peer.clone(), chain(error)),
            None => self.faults.remove(peer),
        };
        let before = self.standing.insert(peer.clone(), now).unwrap_or(Standing::NotAsked);
        let (log, url) = (&self.replication.log, peer.to_string());
        match (before, now) {
            (Standing::There, Standing::There)
            | (Standing::Ourselves, Standing::Ourselves)
            | (Standing::Copy, Standing::Copy) => {}
            (_, Standing::There) => info!(log, "peer is there"; "peer" => url),
            (_, Standing::Copy) => {
                error!(log, "a peer has the id of this node, its disk is a copy: give one of the two an id of its own"; "peer" => url);
            }
            (_, Standing::Ourselves) => info!(log, "a peer is this node itself, and left out"; "peer" => url),
            (Standing::Fails(_), Standing::Fails(_)) | (_, Standing::NotAsked) => {}
            (_, Standing::Fails(_)) => {
                let error = error.map(|error| chain(error)).unwrap_or_default();
                warn!(log, "peer does not answer as one, will try again"; "peer" => url, "error" => error);
            }
        }
        self.note_copies();
    }
}

fn backfill_peer(
    replication: &Replication,
    peer: &PeerUrl,
    channel: Channel,
    quality: Quality,
    health: &PeerHealth,
) -> Child {
    let (name, arbiter) = (format!("{peer} {channel} {quality}"), format!("backfill {peer}"));
    let (replication, peer, health) = (replication.clone(), peer.clone(), health.clone());
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let directory = replication.directory.clone();
        let key = (peer.clone(), channel.clone(), quality.clone());
        let (replication, health) = (replication.clone(), health.clone());
        let (peer, channel, quality) = key.clone();
        let built = move |_: &mut Context<BackfillPeer>| {
            BackfillPeer::new(replication, peer, channel, quality, health, sentinel)
        };
        directory.backfill_peers.publish(key, BackfillPeer::start_in_arbiter(arbiter, built));
    };
    Child { kind: ActorKind::BackfillPeer, name, arbiter, factory: Box::new(factory) }
}

fn backfill_extras(replication: &Replication, peer: &PeerUrl, health: &PeerHealth) -> Child {
    let (name, arbiter) = (peer.to_string(), format!("backfill {peer}"));
    let (replication, peer, health) = (replication.clone(), peer.clone(), health.clone());
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let directory = replication.directory.clone();
        let (replication, of, health) = (replication.clone(), peer.clone(), health.clone());
        let built = move |_: &mut Context<BackfillExtras>| BackfillExtras::new(replication, of, health, sentinel);
        directory.backfill_extras.publish(peer.clone(), BackfillExtras::start_in_arbiter(arbiter, built));
    };
    Child { kind: ActorKind::BackfillExtras, name, arbiter, factory: Box::new(factory) }
}

async fn look(replication: Replication, url: PeerUrl, health: PeerHealth) -> Result<Found, PeerError> {
    let _turn = health.turn().await;
    let peer = Peer::watched(url, &replication.access, health.clone());
    let (mut is_copy, mut clock_ahead) = (false, None);
    let said = peer.introduction().await?;
    if let Some(date) = said.date {
        // Of the second that began then, the middle.
        let skew_micros = date.micros_since(replication.clock.now()) + 500_000;
        let ahead = skew_micros as f64 / 1e6;
        clock_ahead = Some(ahead);
        replication.metrics.backfill_peer_clock_is_off(peer.url(), ahead);
    }
    if let (Some(theirs), Some(ours)) = (said.identity, &replication.identity) {
        if theirs.is_same_node_as(ours) {
            return Ok(Found::Ourselves);
        }
        is_copy = theirs.is_copy_of(ours);
    }
    // What is recorded here, also before the peer has any of it: it may be lost here at any moment.
    let mut streams: Vec<(Channel, Quality)> = replication.recorded.to_vec();
    let channels = replication.channels();
    let (asked, mut unlisted) = (channels.len(), Vec::new());
    let ask = |channel: Channel| async {
        let answer = peer.qualities(&channel).await;
        (channel, answer)
    };
    let mut answers = stream::iter(channels).map(ask).buffered(LISTINGS_AT_ONCE);
    while let Some((channel, answer)) = answers.next().await {
        match answer {
            Ok((qualities, _)) => {
                streams.extend(qualities.into_iter().take(MAX_QUALITIES).map(|quality| (channel.clone(), quality)));
            }
            // Nothing else will fare better.
            Err(error) if health.is_down() => return Err(error),
            Err(error) => unlisted.push((channel, error)),
        }
    }
    if asked > 0 && unlisted.len() == asked {
        return Err(unlisted.swap_remove(0).1);
    }
    streams.sort_unstable();
    streams.dedup();
    Ok(Found::Streams { streams, unlisted, is_copy, clock_ahead })
}

impl Actor for PeerBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        let (copier, sources): (_, Vec<_>) = (self.replication.copier.clone(), self.sources.keys().cloned().collect());
        let layout = copier.layout.clone();
        let last = move || sources.into_iter().map(|source| (source.last(&layout), source)).collect::<Vec<_>>();
        let last = async move { copier.blocking.run(last).await.unwrap_or_default() };
        // Before anybody is asked, as each may take its time.
        ctx.wait(last.into_actor(self).map(|last, this, ctx| {
            this.sources.extend(last.into_iter().map(|(peers, source)| (source, peers)));
            this.take(ctx);
            this.sources.keys().for_each(|source| ctx.notify(Gather(source.clone())));
        }));
    }
}

/// Answers what cannot be kept.
fn keep_last(source: &PeerSource, layout: &Layout, peers: &[PeerUrl]) -> Option<String> {
    source.keep(layout, peers).err().map(|error| chain(&error))
}

impl Handler<Gather> for PeerBook {
    type Result = ();

    fn handle(&mut self, Gather(source): Gather, ctx: &mut Self::Context) {
        if self.draining {
            return;
        }
        let (copier, asked) = (self.replication.copier.clone(), source.clone());
        let layout = copier.layout.clone();
        let ask = move || match asked.ask() {
            Ok(Some(peers)) => Some((keep_last(&asked, &layout, &peers), Ok(peers))),
            Ok(None) => None,
            Err(error) => Some((None, Err(chain(&error)))),
        };
        let ask = async move { copier.blocking.run(ask).await };
        ctx.spawn(ask.into_actor(self).map(|answer, this, ctx| {
            match answer {
                // It speaks up by itself.
                Ok(None) => return,
                Ok(Some((unkept, Ok(peers)))) => {
                    this.tell_silent(&source, None);
                    this.answered(source.clone(), peers, unkept, ctx);
                }
                Ok(Some((_, Err(error)))) => this.tell_silent(&source, Some(error)),
                Err(panicked) => this.tell_silent(&source, Some(chain(&panicked))),
            }
            ctx.notify_later(Gather(source), jittered(this.replication.config.interval));
        }));
    }
}

impl Handler<InDatabase> for PeerBook {
    type Result = ();

    fn handle(&mut self, InDatabase(mut peers): InDatabase, ctx: &mut Self::Context) {
        peers.sort_unstable();
        if self.draining || self.sources.get(&PeerSource::Database) == Some(&peers) {
            return;
        }
        let (copier, kept) = (self.replication.copier.clone(), peers.clone());
        let layout = copier.layout.clone();
        let keep = async move { copier.blocking.run(move || keep_last(&PeerSource::Database, &layout, &kept)).await };
        ctx.spawn(keep.into_actor(self).map(|unkept, this, ctx| {
            this.answered(PeerSource::Database, peers, unkept.unwrap_or_default(), ctx);
        }));
    }
}

impl Handler<Look> for PeerBook {
    type Result = ();

    fn handle(&mut self, Look(peer, stint): Look, ctx: &mut Self::Context) {
        if self.draining || !self.is_current(&peer, stint) {
            return;
        }
        let health = self.health_of(&peer);
        let look = look(self.replication.clone(), peer.clone(), health.clone());
        ctx.spawn(look.into_actor(self).map(move |found, this, ctx| {
            if !this.is_current(&peer, stint) {
                return;
            }
            tell_news(&this.replication, &peer, &health);
            let rest = match found {
                Ok(Found::Ourselves) => {
                    this.stand(&peer, Standing::Ourselves, None);
                    this.replication.config.interval
                }
                Ok(Found::Streams { streams, unlisted, is_copy, clock_ahead }) => {
                    match clock_ahead {
                        Some(ahead) => this.clocks.insert(peer.clone(), ahead),
                        None => this.clocks.remove(&peer),
                    };
                    this.replication.metrics.backfill_peer_is_up(&peer, true);
                    this.stand(&peer, if is_copy { Standing::Copy } else { Standing::There }, None);
                    this.tell_unlisted(&peer, unlisted);
                    this.keep(&peer, &health, streams);
                    this.replication.config.interval
                }
                Err(error) => {
                    let failures = match this.standing.get(&peer) {
                        Some(Standing::Fails(failures)) => failures.saturating_add(1),
                        Some(Standing::NotAsked | Standing::There | Standing::Ourselves | Standing::Copy) | None => 1,
                    };
                    this.replication.metrics.backfill_pass_failed(&peer);
                    this.stand(&peer, Standing::Fails(failures), Some(&error));
                    backoff_after(failures)
                }
            };
            ctx.notify_later(Look(peer, stint), jittered(rest));
        }));
    }
}

impl Handler<TellPeers> for PeerBook {
    type Result = MessageResult<TellPeers>;

    /// In order of their addresses.
    fn handle(&mut self, _: TellPeers, _: &mut Self::Context) -> Self::Result {
        let state = |peer: &PeerUrl| PeerState {
            url: peer.to_string(),
            standing: match self.standing.get(peer) {
                _ if self.health.get(peer).is_some_and(PeerHealth::is_down) => PeerStanding::Failing,
                None | Some(Standing::NotAsked) => PeerStanding::NotAsked,
                Some(Standing::There) => PeerStanding::There,
                Some(Standing::Ourselves) => PeerStanding::Ourselves,
                Some(Standing::Copy) => PeerStanding::Copy,
                Some(Standing::Fails(_)) => PeerStanding::Failing,
            },
            error: self.faults.get(peer).cloned(),
            behind_seconds: self.replication.metrics.backfill_behind(peer).map(|behind| behind.as_secs_f64()),
            clock_ahead_seconds: self.clocks.get(peer).copied(),
            bytes_per_second: self.health.get(peer).and_then(|health| Some(health.speed()?.bytes_per_second())),
        };
        let mut peers: Vec<&PeerUrl> = self.stints.keys().collect();
        peers.sort_unstable();
        MessageResult(peers.into_iter().map(state).collect())
    }
}

impl Handler<Drain> for PeerBook {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
