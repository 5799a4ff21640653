//! Records one quality of a channel: keeps a session of its source open, two during a handover, polls their playlists, and
//! fetches what is new.
//!
//! Promises: goes on whatever happens to the others; polls keep their period, however long an answer takes; history never
//! delays the live edge; each loss is logged, counted, and noted in the ledger with its cause.
//! Never: decides what is new or which session counts (that is `ingest::Sessions`).

mod fetching;
mod lane;
mod poll;
mod telling;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, o, warn};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use url::Url;

use super::directory::Directory;
use super::downloader::{FindMedia, FoundMedia, MediaFound};
use super::guardian::{Drain, Sentinel};
use crate::causes::chain;
use crate::clock::Clock;
use crate::health::Health;
use crate::hls::upstream::MediaPlaylist;
use crate::ingest::{
    AdRules, Address, Disk, Due, Extras, HttpClient, Outage, PLAYLIST_SOFT, SessionId, Sessions, Tracker, Wanted,
};
use crate::jitter::jittered;
use crate::metrics::Metrics;
use crate::model::{Channel, LossCause, Quality, RecordingPhase, Timestamp};
use crate::store::{self, Anchor, Ledger, TempMark};
use lane::{Lane, LaneKind};
use poll::{PollError, poll_once};

pub use fetching::{tell_saved, tell_set_aside};
pub use telling::seek_missing;

/// Between questions where the channel is not live, or its playlist has ended. Live playlists of the shortest kind list
/// 6 s, so a beginning is seen before its first segment goes.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Between polls that fail.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A poll that took longer than its period is not followed by another one at once.
const REST_AT_LEAST: Duration = Duration::from_millis(50);
/// Fetches under way, most of them waiting for a permit or to try again; more wait as mere addresses.
const MAX_IN_FLIGHT: usize = 500;
/// What history gets: slow enough to leave the line to the live edge, fast enough to outrun a list that loses its oldest.
pub const HISTORY_PERMITS: usize = 2;
const MAX_HISTORY_IN_FLIGHT: usize = 16;

/// What recording needs, whichever quality.
#[derive(Clone)]
pub struct Recording {
    pub directory: Directory,
    pub disk: Disk,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub log: Logger,
    pub temp_mark: TempMark,
    pub ledger: Ledger,
    /// Segments of one quality that are fetched at once.
    pub segment_permits: usize,
}

/// Asks what the last poll found.
#[derive(Message)]
#[rtype(result = "RecordingPhase")]
pub struct TellPhase;

/// Time to poll this session.
#[derive(Message)]
#[rtype(result = "()")]
struct Poll(SessionId);

/// Time to see whether another session is due.
#[derive(Message)]
#[rtype(result = "()")]
struct Look;

/// A segment's address was refused.
#[derive(Message)]
#[rtype(result = "()")]
struct Refused;

/// The actor of one (channel, quality).
pub struct StreamWorker {
    recording: Recording,
    channel: Channel,
    quality: Quality,
    ads: AdRules,
    client: HttpClient,
    log: Logger,
    sentinel: Sentinel,
    began: Instant,
    sessions: Sessions,
    /// An address is asked for, or will be in a moment.
    asking: bool,
    /// When the source told the newest address.
    told_at: Option<Instant>,
    /// What the last poll found, so that the log tells changes and not repetitions.
    phase: RecordingPhase,
    extras: Rc<Extras>,
    live: Lane,
    history: Lane,
    /// Of what is in flight, by epoch, number, and whether it is an advertisement: told of renewed addresses.
    addresses: HashMap<(u32, u64, bool), watch::Sender<Address>>,
    /// The directory is read for what is there already.
    looking: bool,
    newest_end: Option<Timestamp>,
    outage: Outage,
    encrypted_told: bool,
    draining: Vec<oneshot::Sender<()>>,
}

impl StreamWorker {
    /// Must be called on the arbiter that it will live on.
    pub fn new(recording: Recording, channel: Channel, quality: Quality, ads: AdRules, sentinel: Sentinel) -> Self {
        let log = recording.log.new(o!("channel" => channel.to_string(), "quality" => quality.to_string()));
        Self {
            client: HttpClient::of_this_arbiter(),
            live: Lane::new(recording.segment_permits, MAX_IN_FLIGHT),
            history: Lane::new(HISTORY_PERMITS, MAX_HISTORY_IN_FLIGHT),
            recording,
            channel,
            quality,
            ads,
            log,
            sentinel,
            began: Instant::now(),
            sessions: Sessions::new(Tracker::default()),
            asking: true,
            told_at: None,
            phase: RecordingPhase::Waiting,
            extras: Rc::default(),
            addresses: HashMap::new(),
            looking: false,
            newest_end: None,
            outage: Outage::default(),
            encrypted_told: false,
            draining: Vec::new(),
        }
    }

    fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    fn lane(&mut self, kind: LaneKind) -> &mut Lane {
        match kind {
            LaneKind::Live => &mut self.live,
            LaneKind::History => &mut self.history,
        }
    }

    /// Reads what an earlier process knew, then begins to look for the source.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let (disk, channel, quality) = (self.recording.disk.clone(), self.channel.clone(), self.quality.clone());
        let layout = disk.layout.clone();
        let read = async move { disk.read(move || store::read_anchor(&layout, &channel, &quality)).await.flatten() };
        ctx.spawn(read.into_actor(self).map(|anchor, this, ctx| {
            let resumed = anchor.map(|anchor: Anchor| (anchor.media_sequence, anchor.path.clone(), anchor.start()));
            this.sessions = Sessions::new(Tracker::new(resumed, this.ads.clone()));
            ctx.notify(Look);
        }));
    }

    /// Opens another session if one is due.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.asking || self.is_draining() {
            return;
        }
        if let Some(due) = self.sessions.due(self.began.elapsed()) {
            self.asking = true;
            self.find_address(due, ctx);
        }
    }

    fn look_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        self.asking = true;
        ctx.notify_later(Look, jittered(pause));
    }

    fn find_address(&mut self, due: Due, ctx: &mut Context<Self>) {
        let downloader = self.recording.directory.downloaders.get(&self.channel);
        let question = FindMedia { quality: self.quality.clone(), newer_than: self.told_at };
        let ask = async move {
            match downloader {
                Some(downloader) => downloader.send(question).await.unwrap_or(Err(())),
                None => Err(()),
            }
        };
        ctx.spawn(ask.into_actor(self).map(move |found, this, ctx| match found {
            Ok(MediaFound::At(found)) => this.open(found, due, ctx),
            Ok(MediaFound::NotLive | MediaFound::NotOffered) => {
                this.sessions.no_address();
                if this.sessions.is_blind() {
                    this.tell_outage(|outage, now| outage.off_air(now));
                }
                if due == Due::None {
                    this.enter(RecordingPhase::Waiting);
                }
                this.look_after(ASK_AGAIN_AFTER, ctx);
            }
            Err(()) => {
                this.tell_blindness(None);
                this.look_after(RETRY_AFTER, ctx);
            }
        }));
    }

    fn open(&mut self, found: FoundMedia, due: Due, ctx: &mut Context<Self>) {
        self.asking = false;
        self.told_at = Some(found.told_at);
        let opened = self.sessions.opened(found.url, found.lives_for, found.dates, self.began.elapsed());
        if let Some(id) = opened {
            if due != Due::None {
                info!(self.log, "another session is opened beside the old one"; "why" => due.as_str());
            }
            ctx.notify(Poll(id));
        }
    }

    fn poll(&mut self, id: SessionId, url: Url, ctx: &mut Context<Self>) {
        let (client, began) = (self.client.clone(), Instant::now());
        let slow = ctx.run_later(PLAYLIST_SOFT, move |this, ctx| {
            this.sessions.slow(id);
            this.tell_blindness(Some(LossCause::SourceDown));
            this.look(ctx);
        });
        let poll = async move { poll_once(&client, &url).await };
        ctx.spawn(poll.into_actor(self).map(move |polled, this, ctx| {
            ctx.cancel_future(slow);
            if this.is_draining() {
                return;
            }
            match polled {
                Ok((playlist, base)) => this.take_playlist(id, &playlist, &base, began, ctx),
                Err(error) => this.take_failure(id, &error, ctx),
            }
            this.look(ctx);
        }));
    }

    fn take_failure(&mut self, id: SessionId, error: &PollError, ctx: &mut Context<Self>) {
        if self.sessions.url(id).is_none() {
            // Its successor has taken over meanwhile.
            return;
        }
        let is_gone = error.is_gone();
        self.count_poll(error.outcome());
        if self.phase != RecordingPhase::Failing && !is_gone {
            warn!(self.log, "playlist cannot be read, will try again"; "error" => chain(error));
        }
        self.enter(if is_gone { RecordingPhase::Waiting } else { RecordingPhase::Failing });
        self.sessions.failed(id, error.condemns_address());
        // Also where the list is gone: whether the channel is, the source says when it is asked for another address.
        self.tell_blindness(Some(error.loss_cause()));
        if self.sessions.url(id).is_some() {
            ctx.notify_later(Poll(id), jittered(RETRY_AFTER));
        } else if !self.asking {
            // A fresh address that is refused at once must not be asked for in a circle.
            self.look_after(RETRY_AFTER, ctx);
        }
    }

    fn take_playlist(
        &mut self,
        id: SessionId,
        playlist: &MediaPlaylist,
        base: &Url,
        began: Instant,
        ctx: &mut Context<Self>,
    ) {
        let (now, first) = (self.recording.clock.now(), self.newest_end.is_none());
        let Some(step) = self.sessions.take(id, playlist, base, now, self.began.elapsed()) else { return };
        self.tell_step(&step);
        self.renew_addresses(&step);
        if step.ended {
            // The next life of the channel may be at another address.
            self.sessions.close(id);
            if self.sessions.is_blind() {
                self.tell_outage(|outage, now| outage.off_air(now));
            }
            self.look_after(ASK_AGAIN_AFTER, ctx);
        } else {
            ctx.notify_later(Poll(id), step.poll_after.saturating_sub(began.elapsed()).max(REST_AT_LEAST));
        }
        if let Some(last) = step.wanted.last() {
            let end = last.start.plus_micros(last.duration_micros);
            self.newest_end = self.newest_end.max(Some(end));
            if last.clocked {
                self.keep_anchor(last, ctx);
            }
        }
        if first && !step.wanted.is_empty() {
            self.tell_downtime(&step.wanted, ctx);
            self.fetch_what_is_absent(step.wanted, ctx);
        } else {
            self.fetch_all(step.wanted, ctx);
        }
    }

    fn keep_anchor(&self, last: &Wanted, ctx: &mut Context<Self>) {
        if self.recording.disk.spool.is_needed() {
            return;
        }
        let anchor = Anchor {
            media_sequence: last.media_sequence,
            path: last.address.url.path().to_owned(),
            start_micros: last.start.micros(),
        };
        let Disk { layout, blocking, volume, .. } = self.recording.disk.clone();
        let (channel, quality) = (self.channel.clone(), self.quality.clone());
        let write = blocking.run(move || {
            volume.check()?;
            store::write_anchor(&layout, &channel, &quality, &anchor)
        });
        ctx.spawn(write.into_actor(self).map(|written, this, _| {
            if let Ok(Err(error)) = written {
                warn!(this.log, "times cannot be kept for a restart"; "error" => chain(&error));
            }
        }));
    }
}

impl Actor for StreamWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        self.begin(ctx);
    }
}

impl Handler<Poll> for StreamWorker {
    type Result = ();

    fn handle(&mut self, Poll(id): Poll, ctx: &mut Self::Context) {
        if self.is_draining() {
            return;
        }
        if let Some(url) = self.sessions.url(id).cloned() {
            self.poll(id, url, ctx);
        }
    }
}

impl Handler<Look> for StreamWorker {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.asking = false;
        self.look(ctx);
    }
}

impl Handler<Refused> for StreamWorker {
    type Result = ();

    fn handle(&mut self, _: Refused, ctx: &mut Self::Context) {
        self.sessions.refused();
        self.look(ctx);
    }
}

impl Handler<TellPhase> for StreamWorker {
    type Result = MessageResult<TellPhase>;

    fn handle(&mut self, _: TellPhase, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.phase)
    }
}

impl Handler<Drain> for StreamWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.draining.push(done);
        if self.is_idle() {
            // Answers through the same door, and keeps `draining` filled so that no poll begins.
            let (never, _) = oneshot::channel();
            for waiting in std::mem::replace(&mut self.draining, vec![never]) {
                let _ = waiting.send(());
            }
        }
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}
