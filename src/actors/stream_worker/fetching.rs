//! What a worker does with segments that are wanted: queues them, fetches them, and tells how that ended.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, warn};
use tokio::sync::watch;

use super::lane::LaneKind;
use super::telling::seek_missing;
use super::{Refused, StreamWorker};
use crate::causes::chain;
use crate::ingest::{Cipher, Content, Fetched, Kept, SegmentFetch, Step, TryError, Wanted, fetch_segment};
use crate::metrics::Metrics;
use crate::model::{Channel, LossCause, Quality, SegmentKind, Span, Timestamp};
use crate::store::{self, Layout, Saved, Shelf};

impl StreamWorker {
    /// What is in flight or waits may carry a token that has expired.
    pub(super) fn renew_addresses(&mut self, step: &Step) {
        let Some(epoch) = step.epoch else { return };
        for kind in LaneKind::ALL {
            self.lane(kind).renew(epoch, &step.listed);
        }
        for listed in &step.listed {
            let one = (epoch, listed.media_sequence, listed.is_advertisement);
            if let Some(in_flight) = self.addresses.get(&one) {
                in_flight.send_if_modified(|known| {
                    let is_new = *known != listed.address;
                    known.clone_from(&listed.address);
                    is_new
                });
            }
        }
    }

    /// After a start, much of the first playlist is on disk already: fetch only what is not. And tell of its advertisements
    /// only those that are not in the ledger.
    pub(super) fn fetch_what_is_absent(&mut self, wanted: Vec<Wanted>, ctx: &mut Context<Self>) {
        let (disk, channel, quality) = (self.recording.disk.clone(), self.channel.clone(), self.quality.clone());
        let layout = disk.layout.clone();
        let listed: Vec<Listed> = wanted.iter().map(Listed::of).collect();
        let look = move || -> Vec<Known> { listed.iter().map(|one| one.look(&layout, &channel, &quality)).collect() };
        let look = async move { disk.read(look).await };
        self.looking = true;
        ctx.spawn(look.into_actor(self).map(|known, this, ctx| {
            // Fetching what is there already does no harm, and telling twice none either: so any doubt means both.
            let known = known.unwrap_or_else(|| vec![Known::default(); wanted.len()]);
            for (one, _) in wanted.iter().zip(&known).filter(|(_, known)| !known.is_told) {
                this.tell_advertisement(one);
            }
            let absent = wanted.into_iter().zip(known).filter(|(_, known)| !known.is_there);
            let absent: Vec<Wanted> = absent.map(|(one, _)| one).collect();
            this.looking = false;
            this.fetch_all(absent, ctx);
            this.answer_if_idle();
        }));
    }

    pub(super) fn fetch_all(&mut self, wanted: Vec<Wanted>, ctx: &mut Context<Self>) {
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
        if wanted.content == Content::Programme {
            self.lose(LossCause::Encrypted, wanted.span(), "");
        }
    }

    fn fetch(&mut self, wanted: Wanted, lane: LaneKind, ctx: &mut Context<Self>) {
        let (renewed, address) = watch::channel(wanted.address.clone());
        let one = (wanted.epoch, wanted.media_sequence, wanted.content.is_advertisement());
        self.addresses.insert(one, renewed);
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
        let missing = match wanted.content {
            Content::Programme => wanted.span(),
            // Its time is told as lost already, and peers are asked for it.
            Content::Advertisement(_) => None,
        };
        let (missing, directory) = (Cell::new(missing), self.recording.directory.clone());
        let on_failure = move |error: &TryError| {
            metrics.fetch_failed(&channel, &quality, error.reason());
            // It is tried on, and may come; a peer that has it need not wait for that.
            if error.is_gone()
                && let Some(span) = missing.take()
            {
                seek_missing(&directory, &channel, &quality, span);
            }
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
            this.addresses.remove(&one);
            match wanted.content {
                Content::Programme => this.take_fetched(&wanted, fetched),
                Content::Advertisement(_) => this.take_advertisement(&wanted, fetched),
            }
            this.lane(lane).ended();
            this.answer_if_idle();
            if !this.is_draining() {
                this.fetch_waiting(ctx);
            }
        }));
    }

    fn take_fetched(&mut self, wanted: &Wanted, fetched: Fetched) {
        match fetched {
            Fetched::Kept { kept, kind, len_bytes, took, cut_by } => {
                self.recording.metrics.segment_fetched(&self.channel, &self.quality, took);
                match kept {
                    Kept::OnDisk(saved) => {
                        let (channel, quality) = (&self.channel, &self.quality);
                        tell_saved(&self.log, &self.recording.metrics, channel, quality, &saved, len_bytes, Some(took));
                        self.tell_followers(saved);
                    }
                    Kept::InMemory => {
                        info!(self.log, "segment is held in memory until the disk takes it"; "start" => %wanted.start,
                            "kind" => %kind, "bytes" => len_bytes);
                    }
                }
                // Of a suspect segment nothing is known to be missing.
                if let Some(cause) = cut_by {
                    self.lose(cause, wanted.span(), &format!("only its first {len_bytes} bytes"));
                }
            }
            Fetched::Lost { error, cause } => {
                let span_end = wanted.start.plus_micros(wanted.duration_micros);
                slog::error!(self.log, "segment lost"; "start" => %wanted.start, "end" => %span_end,
                    "media_sequence" => wanted.media_sequence, "error" => chain(&error));
                self.lose(cause, wanted.span(), &detail(cause, &error));
            }
        }
    }

    /// Its time is told as lost already.
    fn take_advertisement(&self, wanted: &Wanted, fetched: Fetched) {
        match fetched {
            Fetched::Kept { kept: Kept::OnDisk(saved), .. } => {
                tell_set_aside(&self.log, &self.recording.metrics, &self.channel, &self.quality, &saved);
            }
            Fetched::Kept { kept: Kept::InMemory, .. } => {
                info!(self.log, "advertisement is held in memory until the disk takes it"; "start" => %wanted.start);
            }
            Fetched::Lost { error, .. } => {
                warn!(self.log, "advertisement could not be fetched"; "start" => %wanted.start, "error" => chain(&error));
            }
        }
    }

    pub(super) fn answer_if_idle(&mut self) {
        if self.is_idle() {
            for waiting in self.draining.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.looking && self.live.is_idle() && self.history.is_idle()
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
    match saved {
        Saved::New(name) => metrics.segment_saved(channel, quality, name.kind(), len_bytes, name.end()),
        Saved::AlreadyThere(name) => metrics.segment_is_here(channel, quality, name.end()),
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

/// The same of an advertisement in quarantine.
pub fn tell_set_aside(log: &Logger, metrics: &Metrics, channel: &Channel, quality: &Quality, saved: &Saved) {
    if let Saved::New(name) = saved {
        metrics.advertisement_set_aside(channel, quality);
        info!(log, "advertisement put into quarantine"; "segment" => name.path_text());
    }
}

/// For the ledger, which strangers may read: paths of this machine are for the log.
fn detail(cause: LossCause, error: &TryError) -> String {
    if cause == LossCause::Disk { "it could not be written".to_owned() } else { chain(error) }
}

/// What is looked up of a segment after a start.
struct Listed {
    shelf: Shelf,
    start: Timestamp,
    duration_micros: i64,
    /// Of an advertisement.
    lost: Option<Span>,
}

/// What an earlier life left of it.
#[derive(Clone, Copy, Default)]
struct Known {
    is_there: bool,
    /// It is an advertisement, and in the ledger.
    is_told: bool,
}

impl Listed {
    fn of(wanted: &Wanted) -> Self {
        let lost = wanted.span().filter(|_| wanted.content.is_advertisement());
        let shelf = wanted.content.shelf();
        Self { shelf, start: wanted.start, duration_micros: wanted.duration_micros, lost }
    }

    /// Blocks on the disk.
    fn look(&self, layout: &Layout, channel: &Channel, quality: &Quality) -> Known {
        let told = |span| store::is_noted(layout, channel, quality, span, LossCause::Advertisement).unwrap_or(false);
        let is_there = has_full(&self.shelf.of(layout), channel, quality, self.start, self.duration_micros);
        Known { is_there, is_told: self.lost.is_some_and(told) }
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
