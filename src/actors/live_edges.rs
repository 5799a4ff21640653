//! Answers the live playlists of all qualities: looks at the record, moves each generation's line, appends to the text of
//! each address, and keeps what a restart must not forget.
//!
//! Promises: an answer comes from a look that began after its question, so what anyone hides is hidden at once; questions
//! that come during a look share the next one. Texts and generations are bounded, and go when nobody asks for them.

mod edge;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::TryFutureExt;
use slog::{Logger, warn};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use self::edge::{Edge, Look};
use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use super::hour_cache::{CacheError, GetHours};
use super::media_book::GetMedia;
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::hls::live::{Asked, Generation, Published, Shown};
use crate::media::HourMedia;
use crate::model::{Channel, Hour, Quality, Span, Timestamp};
use crate::select::HourIndex;
use crate::store::{self, Layout, Volume};

/// The playlist of one address, as it is now.
#[derive(Message)]
#[rtype(result = "Result<Option<Shown>, LiveError>")]
pub struct GetLive {
    pub channel: Channel,
    pub quality: Quality,
    pub generation: Option<Generation>,
    pub asked: Asked,
    /// Answer once the entry of this media sequence number is there.
    pub wait_for: Option<u64>,
    /// As a delta update.
    pub skip: bool,
    /// Answer only if somebody has followed this address lately: its range is over, and nobody else needs its past.
    pub only_if_followed: bool,
}

/// The generation that a player who begins now should follow, for a playlist from `start` on.
#[derive(Message)]
#[rtype(result = "Result<Generation, LiveError>")]
pub struct GetGeneration {
    pub channel: Channel,
    pub quality: Quality,
    pub start: Timestamp,
}

/// Why there is no live playlist.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a part of the node is being restarted")]
    Restarting,
    #[error("media sequence number {asked} is too far ahead, the next one is {next}")]
    TooFarAhead { asked: u64, next: u64 },
}

/// An address without a generation begins anew when nobody has asked for it for this long.
const OPEN_UNUSED_FOR: Duration = Duration::from_secs(10 * 60);
/// One with a generation may belong to a player on a machine that sleeps.
const UNUSED_FOR: Duration = Duration::from_secs(6 * 3600);
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// While players wait for the next segment, the disk is looked at this often.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Players give up on an answer that does not begin within 10 s (hls.js, playlistLoadPolicy).
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// What is shown stays, so it is worth waiting for how it is encoded. A live segment is looked at in a millisecond; this is
/// for hours that nobody has looked at before.
const MEDIA_PATIENCE: Duration = Duration::from_secs(5);
/// What a playlist promises before anything is known of its segments.
const FIRST_TARGET_SECONDS: u64 = 10;

/// What the actor needs.
#[derive(Clone)]
pub struct LiveReading {
    pub directory: Directory,
    pub layout: Layout,
    pub volume: Volume,
    /// The readers' door to the disk.
    pub blocking: Blocking,
    pub clock: Clock,
    pub log: Logger,
    /// How long a live playlist waits before a hole (`playlist.hold`).
    pub hold: Duration,
}

/// The actor.
pub struct LiveEdges {
    shared: Rc<Shared>,
    sentinel: Sentinel,
}

struct Shared {
    reading: LiveReading,
    edges: RefCell<HashMap<(Channel, Quality), Rc<Edge>>>,
    draining: Notify,
    is_draining: std::cell::Cell<bool>,
    save_failed: std::cell::Cell<bool>,
}

impl LiveEdges {
    pub fn new(reading: LiveReading, sentinel: Sentinel) -> Self {
        let shared = Shared {
            reading,
            edges: RefCell::default(),
            draining: Notify::new(),
            is_draining: std::cell::Cell::new(false),
            save_failed: std::cell::Cell::new(false),
        };
        Self { shared: Rc::new(shared), sentinel }
    }
}

impl Shared {
    fn edge(&self, channel: &Channel, quality: &Quality) -> Rc<Edge> {
        let mut edges = self.edges.borrow_mut();
        Rc::clone(
            edges
                .entry((channel.clone(), quality.clone()))
                .or_insert_with(|| Rc::new(Edge::new(channel.clone(), quality.clone()))),
        )
    }

    async fn live(self: Rc<Self>, question: GetLive) -> Result<Shown, LiveError> {
        let edge = self.edge(&question.channel, &question.quality);
        let GetLive { generation, asked, .. } = &question;
        let mut deadline = None;
        loop {
            // Must precede the look: a change between the two then wakes us.
            let changed = edge.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Also for who was woken: those who watch look at the newest hours only.
            self.look(&edge, *generation, asked.start).await?;
            let shown = self.show(&edge, &question).await?;
            let Some(wait_for) = question.wait_for.filter(|_| !shown.complete) else { return Ok(shown) };
            // rfc8216bis §6.2.5.2: a request for more than the next but one is a mistake.
            if wait_for > shown.next_sequence + 1 {
                return Err(LiveError::TooFarAhead { asked: wait_for, next: shown.next_sequence });
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + edge.longest_wait(*generation));
            if wait_for < shown.next_sequence || Instant::now() >= deadline || self.is_draining.get() {
                return Ok(shown);
            }
            let _waiting = edge.wait();
            self.watch(&edge);
            tokio::select! {
                _ = timeout_at(deadline, changed) => {}
                () = self.draining.notified() => {}
            }
        }
    }

    /// Looks again and again for as long as anybody waits.
    fn watch(self: &Rc<Self>, edge: &Rc<Edge>) {
        if edge.is_watched.replace(true) {
            return;
        }
        let (this, edge) = (Rc::clone(self), Rc::clone(edge));
        actix_rt::spawn(async move {
            while edge.waiting.get() > 0 && !this.is_draining.get() {
                sleep(WATCH_EVERY).await;
                if let Some((generation, line)) = edge.newest_line() {
                    // A look that fails is told to who asks next.
                    let _ = this.look(&edge, generation, line).await;
                }
            }
            edge.is_watched.set(false);
        });
    }

    /// Brings a generation to what is on disk now, for a playlist from `start` on.
    async fn look(&self, edge: &Rc<Edge>, generation: Option<Generation>, start: Timestamp) -> Result<(), LiveError> {
        let asked_from = start.hour().previous();
        let begun_before = edge.looks_begun.get();
        let _turn = edge.turn.lock().await;
        self.begin_generation(edge, generation).await?;
        if edge.was_looked_at(generation, begun_before, asked_from) {
            return Ok(());
        }
        let number = edge.looks_begun.get() + 1;
        edge.looks_begun.set(number);
        let from = edge.looks_from(generation, asked_from);
        let hours = self.hours(edge, from).await?;
        let now = self.reading.clock.now();
        let changed = edge.take_look(&Look { number, from, generation, start, now, hold: self.reading.hold }, &hours);
        if changed {
            self.save(edge, now).await;
            edge.changed.notify_waiters();
        }
        Ok(())
    }

    async fn hours(&self, edge: &Edge, from: Hour) -> Result<Vec<Arc<HourIndex>>, LiveError> {
        let cache = self.reading.directory.hour_cache.get(&()).ok_or(LiveError::Restarting)?;
        // The cache answers for the hour before, too; and whatever a source's clock says is in front of us.
        let span = Span::new(from.next().start(), END_OF_TIME).map_err(|_| LiveError::Restarting)?;
        let question = GetHours { channel: edge.channel.clone(), quality: edge.quality.clone(), span };
        Ok(cache.send(question).await.map_err(|_| LiveError::Restarting)??)
    }

    /// Takes a generation up where an earlier process left it, or begins it.
    async fn begin_generation(&self, edge: &Edge, generation: Option<Generation>) -> Result<(), LiveError> {
        if edge.has(generation) {
            return Ok(());
        }
        let (layout, key) = (self.reading.layout.clone(), edge.key(generation));
        let unused_for = if generation.is_some() { UNUSED_FOR } else { OPEN_UNUSED_FOR };
        let since = self.reading.clock.now().plus_micros(-(unused_for.as_micros() as i64));
        let restored = self.reading.blocking.run(move || store::restore_published(&layout, &key, since)).await;
        let restored = restored.map_err(CacheError::from)?.map_err(CacheError::from)?;
        let target_seconds = generation.map(|generation| generation.target_seconds);
        edge.begin(generation, restored.unwrap_or_else(|| Published::new(target_seconds)));
        Ok(())
    }

    /// Must precede the answers that show it. If it fails, playlists are right for as long as this process lives.
    async fn save(&self, edge: &Edge, looked: Timestamp) {
        let unsaved = edge.unsaved();
        if unsaved.is_empty() {
            return;
        }
        let (layout, volume) = (self.reading.layout.clone(), self.reading.volume.clone());
        let write = move || {
            unsaved.iter().try_for_each(|one| {
                store::write_published(&layout, &volume, &one.key, &one.saved, looked, &one.differing)
            })
        };
        let written = self.reading.blocking.run(write).await;
        let failed = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(chain(&error)),
        };
        let fails = failed.is_some();
        if fails {
            edge.nothing_is_saved();
        }
        if let (Some(error), false) = (failed, self.save_failed.get()) {
            warn!(self.reading.log, "what live playlists have published is not kept for a restart"; "error" => error);
        }
        self.save_failed.set(fails);
    }

    async fn show(&self, edge: &Edge, question: &GetLive) -> Result<Shown, LiveError> {
        let GetLive { generation, asked, skip, .. } = question;
        let media = self.media_of(edge, edge.not_yet_shown(*generation, asked)).await;
        let now = self.reading.clock.now();
        edge.show(*generation, asked, *skip, now, &media).ok_or(LiveError::Restarting)
    }

    /// How the segments of these hours are encoded, as far as it is known in time.
    async fn media_of(&self, edge: &Edge, hours: Vec<Arc<HourIndex>>) -> Vec<Arc<HourMedia>> {
        let Some(book) = self.reading.directory.media_book.get(&()).filter(|_| !hours.is_empty()) else {
            return Vec::new();
        };
        let (channel, quality) = (edge.channel.clone(), edge.quality.clone());
        book.send(GetMedia { channel, quality, hours, patience: MEDIA_PATIENCE }).await.unwrap_or_default()
    }

    async fn generation(self: Rc<Self>, question: GetGeneration) -> Result<Generation, LiveError> {
        let edge = self.edge(&question.channel, &question.quality);
        let newest = edge.newest_generation();
        if let Some(newest) = newest {
            self.look(&edge, Some(newest), question.start).await?;
            if edge.is_current(newest, question.start) {
                return Ok(newest);
            }
        }
        let from = question.start.hour().previous();
        let hours = self.hours(&edge, from).await?;
        let longest = hours.iter().map(|hour| hour.longest_micros()).max().filter(|longest| *longest > 0);
        let target_seconds = longest.map_or(FIRST_TARGET_SECONDS, crate::hls::live::target_seconds);
        let made_millis = (self.reading.clock.now().micros() / 1000).max(1).unsigned_abs();
        let made_millis = newest.map_or(made_millis, |newest| made_millis.max(newest.made_millis + 1));
        let made = Generation { made_millis, target_seconds };
        self.look(&edge, Some(made), question.start).await?;
        Ok(made)
    }

    /// Lets go of what nobody has asked for.
    fn forget(&self) {
        let mut forgotten = Vec::new();
        self.edges.borrow_mut().retain(|_, edge| {
            forgotten.extend(edge.forget(OPEN_UNUSED_FOR, UNUSED_FOR));
            !edge.is_idle()
        });
        if forgotten.is_empty() {
            return;
        }
        let (layout, volume) = (self.reading.layout.clone(), self.reading.volume.clone());
        let removed = self.reading.blocking.run(move || {
            // What cannot be removed now is swept at the next start.
            forgotten.iter().for_each(|key| drop(store::forget_published(&layout, &volume, key)));
        });
        actix_rt::spawn(removed);
    }
}

/// 9999-12-31T00:00:00Z.
const END_OF_TIME: Timestamp = Timestamp::from_micros(253_402_214_400_000_000);

impl Actor for LiveEdges {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.run_interval(FORGET_EVERY, |this, _| this.shared.forget());
        let LiveReading { layout, volume, log, .. } = self.shared.reading.clone();
        let swept = self.shared.reading.blocking.run(move || store::sweep_published(&layout, &volume, UNUSED_FOR));
        actix_rt::spawn(async move {
            if let Ok(Err(error)) = swept.await {
                warn!(log, "old states of live playlists are left"; "error" => chain(&error));
            }
        });
    }
}

impl Handler<GetLive> for LiveEdges {
    type Result = ResponseFuture<Result<Option<Shown>, LiveError>>;

    fn handle(&mut self, question: GetLive, _: &mut Self::Context) -> Self::Result {
        let edge = self.shared.edge(&question.channel, &question.quality);
        if question.only_if_followed && !edge.is_followed(question.generation, &question.asked) {
            return Box::pin(std::future::ready(Ok(None)));
        }
        Box::pin(Rc::clone(&self.shared).live(question).map_ok(Some))
    }
}

impl Handler<GetGeneration> for LiveEdges {
    type Result = ResponseFuture<Result<Generation, LiveError>>;

    fn handle(&mut self, question: GetGeneration, _: &mut Self::Context) -> Self::Result {
        Box::pin(Rc::clone(&self.shared).generation(question))
    }
}

/// Who waits for the next segment is answered with what there is.
impl Handler<Drain> for LiveEdges {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.shared.is_draining.set(true);
        self.shared.draining.notify_waiters();
    }
}
