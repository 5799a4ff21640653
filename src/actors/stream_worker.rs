//! Records one quality of a channel: polls its media playlist, and fetches what is new.
//!
//! Promises: goes on whatever happens to the others; a playlist that fails is asked again, with a fresh address where
//! the source says that the old one is no good; each loss is logged, counted, and noted in the ledger with its cause.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, o, warn};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use url::Url;

use super::directory::Directory;
use super::downloader::{FindMedia, MediaFound};
use super::guardian::{Drain, Sentinel};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::health::Health;
use crate::hls::upstream::{self, BadPlaylist, MediaPlaylist, Playlist};
use crate::ingest::{
    AdRules, Content, FetchError, Fetched, HttpClient, Outage, Outed, PLAYLIST_BUDGET, SegmentFetch, Step, Tracker,
    TryError, Wanted, fetch_segment, session_began,
};
use crate::metrics::{Metrics, PollOutcome};
use crate::model::{Channel, LossCause, Quality, SegmentKind, Span, Timestamp};
use crate::select::TOLERANCE_MICROS;
use crate::store::{self, Anchor, Layout, Ledger, Saved, TempMark};

/// Between questions where the channel is not live, or its playlist has ended. Live playlists of the shortest kind list
/// 6 s, so a beginning is seen before its first segment goes.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Between polls that fail.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Fetches under way, most of them waiting for a permit or to try again; more wait as mere addresses. A source that lists
/// hours of history would otherwise cost its length in memory.
const MAX_IN_FLIGHT: usize = 500;
/// Failed polls in a row after which the address itself is doubted.
const DOUBT_ADDRESS_AFTER: u32 = 3;

/// What recording needs, whichever quality.
#[derive(Clone)]
pub struct Recording {
    pub directory: Directory,
    pub layout: Layout,
    /// The recorder's own door to the disk: readers never delay it.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub log: Logger,
    pub temp_mark: TempMark,
    pub ledger: Ledger,
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

    /// Of what is lost, should this go on.
    fn loss_cause(&self) -> LossCause {
        match self {
            Self::Fetch(FetchError::Status(401 | 403)) => LossCause::Token,
            Self::Fetch(_) | Self::Playlist(_) | Self::Master => LossCause::SourceDown,
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

#[derive(Message)]
#[rtype(result = "()")]
struct Poll;

/// The actor of one (channel, quality).
pub struct StreamWorker {
    recording: Recording,
    channel: Channel,
    quality: Quality,
    ads: AdRules,
    client: HttpClient,
    permits: Rc<Semaphore>,
    log: Logger,
    sentinel: Sentinel,
    address: Option<Url>,
    tracker: Option<Tracker>,
    phase: Phase,
    failed_polls: u32,
    in_flight: usize,
    /// Wanted, and not begun.
    waiting: VecDeque<Wanted>,
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
            permits: Rc::new(Semaphore::new(recording.segment_permits)),
            recording,
            channel,
            quality,
            ads,
            log,
            sentinel,
            address: None,
            tracker: None,
            phase: Phase::Waiting,
            failed_polls: 0,
            in_flight: 0,
            waiting: VecDeque::new(),
            newest_end: None,
            outage: Outage::default(),
            encrypted_told: false,
            draining: Vec::new(),
        }
    }

    fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Reads what an earlier process knew, then begins to poll.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let (layout, channel, quality) = (self.recording.layout.clone(), self.channel.clone(), self.quality.clone());
        let read = self.recording.blocking.run(move || store::read_anchor(&layout, &channel, &quality));
        ctx.spawn(async { read.await.unwrap_or_default() }.into_actor(self).map(|anchor, this, ctx| {
            let resumed = anchor.map(|anchor: Anchor| (anchor.media_sequence, anchor.path.clone(), anchor.start()));
            this.tracker = Some(Tracker::new(resumed));
            ctx.notify(Poll);
        }));
    }

    fn find_address(&mut self, ctx: &mut Context<Self>) {
        let downloader = self.recording.directory.downloaders.get(&self.channel);
        let quality = self.quality.clone();
        let ask = async move {
            match downloader {
                Some(downloader) => downloader.send(FindMedia { quality }).await.unwrap_or(Err(())),
                None => Err(()),
            }
        };
        ctx.spawn(ask.into_actor(self).map(|found, this, ctx| match found {
            Ok(MediaFound::At(url)) => {
                this.address = Some(url);
                ctx.notify(Poll);
            }
            Ok(MediaFound::NotLive | MediaFound::NotOffered) => {
                this.tell_outage(|outage, now| outage.off_air(now));
                this.enter(Phase::Waiting);
                ctx.notify_later(Poll, ASK_AGAIN_AFTER);
            }
            Err(()) => {
                this.tell_outage(|outage, now| outage.failed(None, now));
                ctx.notify_later(Poll, RETRY_AFTER);
            }
        }));
    }

    fn poll_address(&mut self, url: Url, ctx: &mut Context<Self>) {
        let client = self.client.clone();
        let poll = async move { (poll_once(&client, &url).await, url) };
        ctx.spawn(poll.into_actor(self).map(|(polled, url), this, ctx| match polled {
            Ok(playlist) => this.take_playlist(&playlist, &url, ctx),
            Err(error) => this.take_failure(&error, ctx),
        }));
    }

    fn take_failure(&mut self, error: &PollError, ctx: &mut Context<Self>) {
        self.failed_polls += 1;
        self.count_poll(error.outcome());
        if self.phase != Phase::Failing && !matches!(error, PollError::Fetch(error) if error.is_gone()) {
            warn!(self.log, "playlist cannot be read, will try again"; "error" => chain(error));
        }
        // Also where the list is gone: whether the channel is, the source says when it is asked for another address.
        self.tell_outage(|outage, now| outage.failed(Some(error.loss_cause()), now));
        self.enter(if matches!(error, PollError::Fetch(error) if error.is_gone()) {
            Phase::Waiting
        } else {
            Phase::Failing
        });
        if error.condemns_address() || self.failed_polls >= DOUBT_ADDRESS_AFTER {
            self.address = None;
            self.failed_polls = 0;
        }
        ctx.notify_later(Poll, RETRY_AFTER);
    }

    fn take_playlist(&mut self, playlist: &MediaPlaylist, url: &Url, ctx: &mut Context<Self>) {
        self.failed_polls = 0;
        let now = self.recording.clock.now();
        let first = self.newest_end.is_none();
        let tracker = self.tracker.get_or_insert_with(Tracker::default);
        let mut step = tracker.step(playlist, url, now);
        self.ads.mark(&mut step.wanted, &playlist.date_ranges);
        self.tell_step(&step);
        let poll_after = if step.ended { ASK_AGAIN_AFTER } else { step.poll_after };
        if step.ended {
            // The next life of the channel may be at another address.
            self.address = None;
        }
        if let Some(last) = step.wanted.last() {
            self.newest_end = Some(last.start.plus_micros(last.duration_micros));
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
        ctx.notify_later(Poll, poll_after);
    }

    fn tell_step(&mut self, step: &Step) {
        let outcome = match step {
            Step { reset: true, .. } => PollOutcome::Reset,
            Step { stale: true, .. } => PollOutcome::Stale,
            Step { ended: true, .. } => PollOutcome::Ended,
            Step { wanted, .. } if wanted.is_empty() => PollOutcome::Unchanged,
            Step { .. } => PollOutcome::Fresh,
        };
        self.count_poll(outcome);
        if step.reset {
            info!(self.log, "source began anew");
        }
        if step.stale {
            debug!(self.log, "source showed an older playlist than before");
        }
        if let Some(lost) = &step.lost {
            let span = lost.span.map_or_else(|| "unknown".to_owned(), |span| span.to_string());
            warn!(self.log, "segments were gone before we saw them"; "count" => lost.count, "span" => span);
            // Where the source had failed, that is why; and what it numbered while it was not live was not to be had.
            if self.outage.is_well() {
                self.lose(LossCause::Expired, lost.span, &format!("{} segments", lost.count));
            }
        }
        self.tell_outage(|outage, now| outage.listed(&step.wanted, now));
        for advertisement in &step.wanted {
            if let Content::Advertisement(sign) = advertisement.content {
                self.lose(LossCause::Advertisement, advertisement.span(), &sign.detail(advertisement));
            }
        }
        if step.ended {
            self.tell_outage(|outage, now| outage.off_air(now));
            self.enter(Phase::Ended);
        } else if !step.wanted.is_empty() {
            self.enter(Phase::Recording);
        }
    }

    /// Takes what the watch over the source makes of a poll.
    fn tell_outage(&mut self, take: impl FnOnce(&mut Outage, Instant) -> Option<Outed>) {
        if let Some(Outed { cause, span }) = take(&mut self.outage, Instant::now()) {
            warn!(self.log, "the source could not be read"; "span" => %span, "cause" => cause.as_str());
            self.lose(cause, Some(span), "the source could not be read");
        }
    }

    /// Between where the record ends and the first list there is what came while nobody recorded, if the session was on.
    fn tell_downtime(&self, listed: &[Wanted], ctx: &mut Context<Self>) {
        let (Some(first), Some(began)) = (listed.first().map(|one| one.start), session_began(listed)) else { return };
        let (layout, channel, quality) = (self.recording.layout.clone(), self.channel.clone(), self.quality.clone());
        let look = self.recording.blocking.run(move || store::recorded_until(&layout, &channel, &quality, first));
        ctx.spawn(look.into_actor(self).map(move |found, this, _| match found {
            Ok(Ok(Some(until))) if first.micros_since(until.max(began)) > TOLERANCE_MICROS => {
                let span = Span::new(until.max(began), first).ok();
                warn!(this.log, "nothing was recorded for a while"; "from" => %until.max(began), "until" => %first);
                this.lose(LossCause::Unknown, span, "recorder was not running");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                warn!(this.log, "what was missed before the start cannot be told"; "error" => chain(&error));
            }
            Err(error) => warn!(this.log, "what was missed before the start cannot be told"; "error" => chain(&error)),
        }));
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
        let (layout, channel, quality) = (self.recording.layout.clone(), self.channel.clone(), self.quality.clone());
        let starts: Vec<(Timestamp, i64)> = wanted.iter().map(|one| (one.start, one.duration_micros)).collect();
        let look = self.recording.blocking.run(move || {
            starts.iter().map(|(start, duration)| has_full(&layout, &channel, &quality, *start, *duration)).collect()
        });
        self.in_flight += 1;
        ctx.spawn(look.into_actor(self).map(|present, this, ctx| {
            // Fetching what is there already does no harm, so any doubt means fetch.
            let present: Vec<bool> = present.unwrap_or_default();
            let absent = wanted.into_iter().enumerate().filter(|(at, _)| present.get(*at) != Some(&true));
            let absent: Vec<Wanted> = absent.map(|(_, one)| one).collect();
            this.fetch_all(absent, ctx);
            this.one_less_in_flight();
        }));
    }

    fn fetch_all(&mut self, wanted: Vec<Wanted>, ctx: &mut Context<Self>) {
        for one in wanted {
            if one.encrypted {
                self.refuse_encrypted(&one);
            } else {
                self.waiting.push_back(one);
            }
        }
        self.fetch_waiting(ctx);
    }

    /// The oldest first, as sources take away the oldest first; but out of a long history the newest first, so that the
    /// live edge does not queue behind it.
    fn fetch_waiting(&mut self, ctx: &mut Context<Self>) {
        while self.in_flight < MAX_IN_FLIGHT {
            let is_history = self.waiting.len() > MAX_IN_FLIGHT;
            let next = if is_history { self.waiting.pop_back() } else { self.waiting.pop_front() };
            match next {
                Some(one) => self.fetch(one, ctx),
                None => break,
            }
        }
    }

    /// Encrypted bytes without their key are no record of anything.
    fn refuse_encrypted(&mut self, wanted: &Wanted) {
        if !std::mem::replace(&mut self.encrypted_told, true) {
            slog::error!(self.log, "segments are encrypted, which this version cannot record");
        }
        if wanted.content == Content::Programme {
            self.lose(LossCause::Encrypted, wanted.span(), "");
        }
    }

    fn fetch(&mut self, wanted: Wanted, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        let layout = match wanted.content {
            Content::Programme => self.recording.layout.clone(),
            Content::Advertisement(_) => self.recording.layout.quarantine(),
        };
        let fetch = SegmentFetch {
            client: self.client.clone(),
            permits: Rc::clone(&self.permits),
            blocking: self.recording.blocking.clone(),
            layout,
            channel: self.channel.clone(),
            quality: self.quality.clone(),
            unique: self.recording.temp_mark.next(),
            wanted: wanted.clone(),
        };
        let (log, metrics, health) = (self.log.clone(), self.recording.metrics.clone(), self.recording.health.clone());
        let (channel, quality, start) = (self.channel.clone(), self.quality.clone(), wanted.start);
        let on_failure = move |error: &TryError| {
            metrics.fetch_failed(&channel, &quality, error.reason());
            // The probe of the store will find out when it is over.
            if matches!(error, TryError::Store(_)) && health.set_store_writable(false) {
                slog::error!(log, "store cannot be written, what comes may be lost"; "error" => chain(error));
            }
            debug!(log, "segment fetch failed, will try again"; "start" => %start, "error" => chain(error));
        };
        let fetched = async move { fetch_segment(fetch, on_failure).await };
        ctx.spawn(fetched.into_actor(self).map(move |fetched, this, ctx| {
            match wanted.content {
                Content::Programme => this.take_fetched(&wanted, fetched),
                Content::Advertisement(_) => this.take_advertisement(&wanted, fetched),
            }
            this.one_less_in_flight();
            if !this.is_draining() {
                this.fetch_waiting(ctx);
            }
        }));
    }

    fn take_fetched(&mut self, wanted: &Wanted, fetched: Fetched) {
        match fetched {
            Fetched::Saved { saved, len_bytes, took } => {
                let name = saved.name();
                let (channel, quality) = (&self.channel, &self.quality);
                self.recording.metrics.segment_fetched(channel, quality, took);
                if let Saved::New(name) = &saved {
                    self.recording.metrics.segment_saved(channel, quality, name.kind(), len_bytes, name.end());
                }
                if name.kind() == SegmentKind::Full {
                    info!(self.log, "segment saved"; "segment" => name.path_text(), "bytes" => len_bytes,
                        "new" => matches!(saved, Saved::New(_)), "took_ms" => took.as_millis() as u64);
                } else {
                    warn!(self.log, "segment saved, but it is not whole"; "segment" => name.path_text(),
                        "bytes" => len_bytes, "took_ms" => took.as_millis() as u64);
                }
                // Of a suspect segment nothing is known to be missing.
                if name.kind() == SegmentKind::Partial {
                    self.lose(LossCause::CutShort, wanted.span(), &format!("only its first {len_bytes} bytes"));
                }
            }
            Fetched::Lost(error) => {
                let span_end = wanted.start.plus_micros(wanted.duration_micros);
                slog::error!(self.log, "segment lost"; "start" => %wanted.start, "end" => %span_end,
                    "media_sequence" => wanted.media_sequence, "error" => chain(&error));
                self.lose(error.loss_cause(), wanted.span(), &detail(&error));
            }
        }
    }

    /// Its time is told as lost already.
    fn take_advertisement(&self, wanted: &Wanted, fetched: Fetched) {
        match fetched {
            Fetched::Saved { saved, len_bytes, .. } => {
                if let Saved::New(name) = &saved {
                    self.recording.metrics.advertisement_set_aside(&self.channel, &self.quality);
                    info!(self.log, "advertisement put into quarantine"; "segment" => name.path_text(),
                        "bytes" => len_bytes);
                }
            }
            Fetched::Lost(error) => {
                warn!(self.log, "advertisement could not be fetched"; "start" => %wanted.start, "error" => chain(&error));
            }
        }
    }

    fn one_less_in_flight(&mut self) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            for waiting in self.draining.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    fn keep_anchor(&self, last: &Wanted, ctx: &mut Context<Self>) {
        let anchor = Anchor {
            media_sequence: last.media_sequence,
            path: last.url.path().to_owned(),
            start_micros: last.start.micros(),
        };
        let (layout, channel, quality) = (self.recording.layout.clone(), self.channel.clone(), self.quality.clone());
        let write = self.recording.blocking.run(move || store::write_anchor(&layout, &channel, &quality, &anchor));
        ctx.spawn(write.into_actor(self).map(|written, this, _| {
            if let Ok(Err(error)) = written {
                warn!(this.log, "times cannot be kept for a restart"; "error" => chain(&error));
            }
        }));
    }

    fn count_poll(&self, outcome: PollOutcome) {
        self.recording.metrics.playlist_polled(&self.channel, &self.quality, outcome);
    }

    /// Every loss passes here. What has no span, as the times of its sides contradict each other, has no seconds either.
    fn lose(&self, cause: LossCause, span: Option<Span>, detail: &str) {
        let Some(span) = span else { return };
        self.recording.metrics.lost(&self.channel, &self.quality, cause, span.duration());
        self.recording.ledger.note(&self.channel, &self.quality, span, cause, detail);
    }
}

/// For the ledger, which strangers may read: paths of this machine are for the log.
fn detail(error: &TryError) -> String {
    match error {
        TryError::Store(_) | TryError::Panicked(_) => "it could not be written".to_owned(),
        TryError::Fetch(_) | TryError::Map(_) | TryError::Text => chain(error),
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

async fn poll_once(client: &HttpClient, url: &Url) -> Result<MediaPlaylist, PollError> {
    let text = client.get_whole(url, None, PLAYLIST_BUDGET).await?;
    match upstream::parse(&text)? {
        Playlist::Media(playlist) => Ok(playlist),
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

    fn handle(&mut self, _: Poll, ctx: &mut Self::Context) {
        if self.is_draining() {
            return;
        }
        match self.address.clone() {
            Some(url) => self.poll_address(url, ctx),
            None => self.find_address(ctx),
        }
    }
}

impl Handler<Drain> for StreamWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.draining.push(done);
        if self.in_flight == 0 {
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
