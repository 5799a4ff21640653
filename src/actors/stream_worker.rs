//! Records one quality of a channel: keeps a session of its source open, two during a handover, polls their playlists, and
//! fetches what is new.
//!
//! Promises: goes on whatever happens to the others; polls keep their period, however long an answer takes; history never
//! delays the live edge; each loss is logged and counted with its cause.
//! Never: decides what is new or which session counts (that is `ingest::Sessions`).

mod lane;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, o, warn};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use url::Url;

use super::directory::Directory;
use super::downloader::{FindMedia, FoundMedia, MediaFound};
use super::guardian::{Drain, Sentinel};
use crate::causes::chain;
use crate::clock::Clock;
use crate::health::Health;
use crate::hls::upstream::{self, BadPlaylist, MediaPlaylist, Playlist};
use crate::ingest::{
    Address, Cipher, Disk, Due, Extras, FetchError, Fetched, HttpClient, Kept, PLAYLIST_BUDGET, PLAYLIST_SOFT,
    SegmentFetch, SessionId, Sessions, Step, Tracker, TryError, Wanted, fetch_segment, hedged,
};
use crate::jitter::jittered;
use crate::metrics::{LossCause, Metrics, PollOutcome};
use crate::model::{Channel, Quality, SegmentKind, Span, Timestamp};
use crate::store::{self, Anchor, Layout, Saved, TempMark};
use lane::{Lane, LaneKind};

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
const HISTORY_PERMITS: usize = 2;
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
    /// Segments of one quality that are fetched at once.
    pub segment_permits: usize,
}

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("cannot fetch the media playlist")]
    Fetch(#[from] FetchError),
    #[error("the media playlist is unusable")]
    Playlist(#[from] BadPlaylist),
    #[error("the media playlist is a master playlist")]
    Master,
}

impl PollError {
    fn outcome(&self) -> PollOutcome {
        match self {
            Self::Fetch(_) => PollOutcome::Failed,
            Self::Playlist(_) | Self::Master => PollOutcome::Malformed,
        }
    }

    /// Whether only a fresh address can help.
    fn condemns_address(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Status(401 | 403 | 404 | 410)) | Self::Master)
    }
}

/// What the last poll found, so that the log tells changes and not repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Recording,
    Failing,
    Ended,
}

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
    client: HttpClient,
    log: Logger,
    sentinel: Sentinel,
    began: Instant,
    sessions: Sessions,
    /// An address is asked for, or will be in a moment.
    asking: bool,
    /// When the source told the newest address.
    told_at: Option<Instant>,
    phase: Phase,
    extras: Rc<Extras>,
    live: Lane,
    history: Lane,
    /// Of what is in flight, by epoch and number: told of renewed addresses.
    addresses: HashMap<(u32, u64), watch::Sender<Address>>,
    /// The directory is read for what is there already.
    looking: bool,
    newest_end: Option<Timestamp>,
    encrypted_told: bool,
    draining: Vec<oneshot::Sender<()>>,
}

impl StreamWorker {
    /// Must be called on the arbiter that it will live on.
    pub fn new(recording: Recording, channel: Channel, quality: Quality, sentinel: Sentinel) -> Self {
        let log = recording.log.new(o!("channel" => channel.to_string(), "quality" => quality.to_string()));
        Self {
            client: HttpClient::of_this_arbiter(),
            live: Lane::new(recording.segment_permits, MAX_IN_FLIGHT),
            history: Lane::new(HISTORY_PERMITS, MAX_HISTORY_IN_FLIGHT),
            recording,
            channel,
            quality,
            log,
            sentinel,
            began: Instant::now(),
            sessions: Sessions::new(Tracker::default()),
            asking: true,
            told_at: None,
            phase: Phase::Waiting,
            extras: Rc::default(),
            addresses: HashMap::new(),
            looking: false,
            newest_end: None,
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
            this.sessions = Sessions::new(Tracker::new(resumed));
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
                if due == Due::None {
                    this.enter(Phase::Waiting);
                }
                this.look_after(ASK_AGAIN_AFTER, ctx);
            }
            Err(()) => this.look_after(RETRY_AFTER, ctx),
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
        let is_gone = matches!(error, PollError::Fetch(error) if error.is_gone());
        self.count_poll(error.outcome());
        if self.phase != Phase::Failing && !is_gone {
            warn!(self.log, "playlist cannot be read, will try again"; "error" => chain(error));
        }
        self.enter(if is_gone { Phase::Waiting } else { Phase::Failing });
        self.sessions.failed(id, error.condemns_address());
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
            self.fetch_what_is_absent(step.wanted, ctx);
        } else {
            self.fetch_all(step.wanted, ctx);
        }
    }

    /// What is in flight may carry a token that has expired.
    fn renew_addresses(&self, step: &Step) {
        for (number, address) in &step.listed {
            let in_flight = step.epoch.and_then(|epoch| self.addresses.get(&(epoch, *number)));
            if let Some(in_flight) = in_flight {
                in_flight.send_if_modified(|known| {
                    let is_new = known != address;
                    known.clone_from(address);
                    is_new
                });
            }
        }
    }

    fn tell_step(&mut self, step: &Step) {
        let outcome = match step {
            Step { reset: true, .. } => PollOutcome::Reset,
            Step { ended: true, .. } => PollOutcome::Ended,
            Step { wanted, .. } if !wanted.is_empty() => PollOutcome::Fresh,
            Step { stale: true, .. } => PollOutcome::Stale,
            Step { .. } => PollOutcome::Unchanged,
        };
        self.count_poll(outcome);
        if step.reset {
            info!(self.log, "source began anew");
        }
        if step.stale {
            debug!(self.log, "source showed an older playlist than before");
        }
        for lost in &step.lost {
            let span = lost.span.map_or_else(|| "unknown".to_owned(), |span| span.to_string());
            warn!(self.log, "segments were gone before we saw them"; "count" => lost.count, "span" => span);
            self.lose(LossCause::Expired, lost.span);
        }
        if step.ended {
            self.enter(Phase::Ended);
        } else if step.last_listed.is_some() {
            self.enter(Phase::Recording);
        }
    }

    fn enter(&mut self, phase: Phase) {
        if phase == self.phase {
            return;
        }
        match phase {
            Phase::Recording => info!(self.log, "recording"),
            Phase::Ended => info!(self.log, "stream ended, waiting for its return"),
            Phase::Waiting => info!(self.log, "waiting for the stream"),
            Phase::Failing => {}
        }
        self.phase = phase;
    }

    /// After a start, much of the first playlist is on disk already: fetch only what is not.
    fn fetch_what_is_absent(&mut self, wanted: Vec<Wanted>, ctx: &mut Context<Self>) {
        let (disk, channel, quality) = (self.recording.disk.clone(), self.channel.clone(), self.quality.clone());
        let layout = disk.layout.clone();
        let starts: Vec<(Timestamp, i64)> = wanted.iter().map(|one| (one.start, one.duration_micros)).collect();
        let look = move || -> Vec<bool> {
            starts.iter().map(|(start, duration)| has_full(&layout, &channel, &quality, *start, *duration)).collect()
        };
        let look = async move { disk.read(look).await };
        self.looking = true;
        ctx.spawn(look.into_actor(self).map(|present, this, ctx| {
            // Fetching what is there already does no harm, so any doubt means fetch.
            let present = present.unwrap_or_default();
            let absent = wanted.into_iter().enumerate().filter(|(at, _)| present.get(*at) != Some(&true));
            let absent: Vec<Wanted> = absent.map(|(_, one)| one).collect();
            this.looking = false;
            this.fetch_all(absent, ctx);
            this.answer_if_idle();
        }));
    }

    fn fetch_all(&mut self, wanted: Vec<Wanted>, ctx: &mut Context<Self>) {
        let Some(last) = wanted.last().cloned() else { return };
        for one in wanted {
            if matches!(one.address.cipher, Cipher::Unreadable(_)) {
                self.refuse_encrypted(&one);
            } else {
                self.lane(LaneKind::of(&one, &last)).push(one);
            }
        }
        self.fetch_waiting(ctx);
    }

    fn fetch_waiting(&mut self, ctx: &mut Context<Self>) {
        for kind in LaneKind::ALL {
            while let Some(one) = self.lane(kind).begin() {
                self.fetch(one, kind, ctx);
            }
        }
    }

    /// Encrypted bytes without their key are no record of anything.
    fn refuse_encrypted(&mut self, wanted: &Wanted) {
        if let Cipher::Unreadable(method) = &wanted.address.cipher
            && !std::mem::replace(&mut self.encrypted_told, true)
        {
            slog::error!(self.log, "segments are encrypted in a way that cannot be recorded"; "method" => &**method);
        }
        self.lose(LossCause::Encrypted, wanted.span());
    }

    fn fetch(&mut self, wanted: Wanted, lane: LaneKind, ctx: &mut Context<Self>) {
        let (renewed, address) = watch::channel(wanted.address.clone());
        self.addresses.insert((wanted.epoch, wanted.media_sequence), renewed);
        let fetch = SegmentFetch {
            client: self.client.clone(),
            permits: self.lane(lane).permits(),
            extras: Rc::clone(&self.extras),
            disk: self.recording.disk.clone(),
            channel: self.channel.clone(),
            quality: self.quality.clone(),
            unique: self.recording.temp_mark.next(),
            wanted: wanted.clone(),
            address,
        };
        let (log, metrics, health) = (self.log.clone(), self.recording.metrics.clone(), self.recording.health.clone());
        let (channel, quality, start) = (self.channel.clone(), self.quality.clone(), wanted.start);
        let me = ctx.address();
        let on_failure = move |error: &TryError| {
            metrics.fetch_failed(&channel, &quality, error.reason());
            // The probe of the store will find out when it is over.
            if error.is_of_the_disk() && health.set_store_writable(false) {
                slog::error!(log, "store cannot be written, memory holds what comes"; "error" => chain(error));
            }
            if error.is_refused() {
                me.do_send(Refused);
            }
            debug!(log, "segment fetch failed, will try again"; "start" => %start, "error" => chain(error));
        };
        let fetched = async move { fetch_segment(fetch, on_failure).await };
        ctx.spawn(fetched.into_actor(self).map(move |fetched, this, ctx| {
            this.addresses.remove(&(wanted.epoch, wanted.media_sequence));
            this.take_fetched(&wanted, fetched);
            this.lane(lane).ended();
            this.answer_if_idle();
            if !this.is_draining() {
                this.fetch_waiting(ctx);
            }
        }));
    }

    fn take_fetched(&mut self, wanted: &Wanted, fetched: Fetched) {
        match fetched {
            Fetched::Kept { kept, kind, len_bytes, took } => {
                self.recording.metrics.segment_fetched(&self.channel, &self.quality, took);
                match kept {
                    Kept::OnDisk(saved) => {
                        let (channel, quality) = (&self.channel, &self.quality);
                        tell_saved(&self.log, &self.recording.metrics, channel, quality, &saved, len_bytes, Some(took));
                    }
                    Kept::InMemory => {
                        info!(self.log, "segment is held in memory until the disk takes it"; "start" => %wanted.start,
                            "kind" => %kind, "bytes" => len_bytes);
                    }
                }
            }
            Fetched::Lost(error) => {
                let span_end = wanted.start.plus_micros(wanted.duration_micros);
                slog::error!(self.log, "segment lost"; "start" => %wanted.start, "end" => %span_end,
                    "media_sequence" => wanted.media_sequence, "error" => chain(&error));
                self.lose(error.loss_cause(), wanted.span());
            }
        }
    }

    fn answer_if_idle(&mut self) {
        if self.is_idle() {
            for waiting in self.draining.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    fn is_idle(&self) -> bool {
        !self.looking && self.live.is_idle() && self.history.is_idle()
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

    fn count_poll(&self, outcome: PollOutcome) {
        self.recording.metrics.playlist_polled(&self.channel, &self.quality, outcome);
    }

    /// Every loss passes here, with its cause, and its span where that is known.
    fn lose(&self, cause: LossCause, span: Option<Span>) {
        let length = span.map(Span::duration).unwrap_or_default();
        self.recording.metrics.lost(&self.channel, &self.quality, cause, length);
    }
}

/// Writes down that a segment stands under its final name. `took` is `None` where it waited for the disk.
pub fn tell_saved(
    log: &Logger,
    metrics: &Metrics,
    channel: &Channel,
    quality: &Quality,
    saved: &Saved,
    len_bytes: u64,
    took: Option<Duration>,
) {
    let name = saved.name();
    if let Saved::New(name) = saved {
        metrics.segment_saved(channel, quality, name.kind(), len_bytes, name.end());
    }
    let took_ms = took.map(|took| took.as_millis() as u64);
    if name.kind() == SegmentKind::Full {
        info!(log, "segment saved"; "segment" => name.path_text(), "bytes" => len_bytes,
            "new" => matches!(saved, Saved::New(_)), "took_ms" => took_ms);
    } else {
        warn!(log, "segment saved, but it is not whole"; "segment" => name.path_text(), "bytes" => len_bytes,
            "took_ms" => took_ms);
    }
}

/// Whether a `full` segment of this start and duration is stored.
fn has_full(layout: &Layout, channel: &Channel, quality: &Quality, start: Timestamp, duration_micros: i64) -> bool {
    let Ok(loaded) = store::load_hour(layout, channel, quality, start.hour()) else { return false };
    let is_it = |segment: crate::select::Segment<'_>| {
        segment.kind == SegmentKind::Full && segment.start == start && segment.duration_micros == duration_micros
    };
    loaded.index.best().any(is_it)
}

/// The playlist, and the address that answered in the end.
async fn poll_once(client: &HttpClient, url: &Url) -> Result<(MediaPlaylist, Url), PollError> {
    let (text, base) = hedged(PLAYLIST_SOFT, || client.get_located(url, None, PLAYLIST_BUDGET)).await?;
    match upstream::parse(&text)? {
        Playlist::Media(playlist) => Ok((playlist, base)),
        Playlist::Master(_) => Err(PollError::Master),
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
