//! (channel, quality, hour) → the shared index of that hour. Loads each hour once however many ask.
//!
//! Promises: what it hands out was true at the moment of the question: each hour that is held is looked at again
//! (`HourStamp`), so files that anyone adds, removes or tombstones show at once. Holds a bounded size; safe to drop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use futures_util::FutureExt;
use slog::{Logger, warn};

use super::guardian::Sentinel;
use crate::blocking::{Blocking, Panicked};
use crate::metrics::Metrics;
use crate::model::{Channel, Hour, Quality, Span};
use crate::select::HourIndex;
use crate::store::{self, Layout, LoadedHour, StoreError};

/// The indexes of the hours that `span` touches and that exist, in order.
#[derive(Message)]
#[rtype(result = "Result<Vec<Arc<HourIndex>>, CacheError>")]
pub struct GetHours {
    pub channel: Channel,
    pub quality: Quality,
    pub span: Span,
}

/// Why hours cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

type Key = (Channel, Quality, Hour);

/// One hour's place. Its lock is held while the hour is loaded, on a blocking thread, so that others who want it wait
/// for that load instead of making their own.
type Place = Arc<Mutex<Option<LoadedHour>>>;

struct Entry {
    place: Place,
    size_bytes: usize,
    last_used: u64,
    strays_told: usize,
}

/// The cache's actor.
pub struct HourCache {
    layout: Layout,
    blocking: Blocking,
    metrics: Metrics,
    log: Logger,
    max_bytes: usize,
    entries: HashMap<Key, Entry>,
    size_bytes: usize,
    uses: u64,
    sentinel: Sentinel,
}

/// What one question did, for the books.
struct Answer {
    index: Arc<HourIndex>,
    loaded: bool,
}

impl HourCache {
    pub fn new(
        layout: Layout,
        blocking: Blocking,
        metrics: Metrics,
        log: Logger,
        max_bytes: usize,
        sentinel: Sentinel,
    ) -> Self {
        Self { layout, blocking, metrics, log, max_bytes, entries: HashMap::new(), size_bytes: 0, uses: 0, sentinel }
    }

    fn places(&mut self, channel: &Channel, quality: &Quality, hours: &[Hour]) -> Vec<(Hour, Place)> {
        self.uses += 1;
        let uses = self.uses;
        hours
            .iter()
            .map(|hour| {
                let entry = self.entries.entry((channel.clone(), quality.clone(), *hour)).or_insert_with(|| Entry {
                    place: Place::default(),
                    size_bytes: 0,
                    last_used: uses,
                    strays_told: 0,
                });
                entry.last_used = uses;
                (*hour, Arc::clone(&entry.place))
            })
            .collect()
    }

    fn account(&mut self, channel: &Channel, quality: &Quality, answers: &[Answer]) {
        for answer in answers {
            if !answer.loaded {
                self.metrics.hour_cache_hit();
                continue;
            }
            self.metrics.hour_cache_miss();
            let key = (channel.clone(), quality.clone(), answer.index.hour());
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            self.size_bytes = self.size_bytes - entry.size_bytes + answer.index.size_bytes();
            entry.size_bytes = answer.index.size_bytes();
            // A live hour is loaded every few seconds: say each stray once.
            let strays = answer.index.unparsable();
            for (name, why) in strays.iter().skip(entry.strays_told) {
                warn!(self.log, "file name in an hour is no segment name, skipped";
                    "channel" => %channel, "quality" => %quality, "hour" => %answer.index.hour(),
                    "file" => %name, "why" => %why);
            }
            entry.strays_told = entry.strays_told.max(strays.len());
        }
        self.evict();
        self.metrics.hour_cache_holds(self.entries.len(), self.size_bytes);
    }

    /// Forgets the hours that were not asked for the longest, until the rest fits.
    fn evict(&mut self) {
        if self.size_bytes <= self.max_bytes {
            return;
        }
        let mut by_use: Vec<(u64, Key)> =
            self.entries.iter().map(|(key, entry)| (entry.last_used, key.clone())).collect();
        by_use.sort_unstable_by_key(|(last_used, _)| *last_used);
        for (_, key) in by_use {
            if self.size_bytes <= self.max_bytes {
                break;
            }
            if let Some(entry) = self.entries.remove(&key) {
                self.size_bytes -= entry.size_bytes;
            }
        }
    }
}

impl Actor for HourCache {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
    }
}

impl Handler<GetHours> for HourCache {
    type Result = ResponseActFuture<Self, Result<Vec<Arc<HourIndex>>, CacheError>>;

    fn handle(&mut self, question: GetHours, _: &mut Self::Context) -> Self::Result {
        let GetHours { channel, quality, span } = question;
        let (layout, blocking) = (self.layout.clone(), self.blocking.clone());
        let present = {
            let (channel, quality) = (channel.clone(), quality.clone());
            self.blocking.run(move || present_hours(&layout, &channel, &quality, span)).map(flatten)
        };
        present
            .into_actor(self)
            .then(move |present, this, _| {
                let places = present.map(|hours| this.places(&channel, &quality, &hours));
                let layout = this.layout.clone();
                async move {
                    let places = places?;
                    let work = {
                        let (channel, quality) = (channel.clone(), quality.clone());
                        move || answer_all(&layout, &channel, &quality, &places)
                    };
                    let answers = blocking.run(work).map(flatten).await?;
                    Ok((channel, quality, answers))
                }
                .into_actor(this)
            })
            .map(|answered: Result<_, CacheError>, this, _| {
                let (channel, quality, answers) = answered?;
                this.account(&channel, &quality, &answers);
                Ok(answers.into_iter().map(|answer| answer.index).collect())
            })
            .boxed_local()
    }
}

fn flatten<T>(done: Result<Result<T, StoreError>, Panicked>) -> Result<T, CacheError> {
    Ok(done??)
}

/// Only hours that have a directory: a span of a thousand years costs no more than what is there.
fn present_hours(layout: &Layout, channel: &Channel, quality: &Quality, span: Span) -> Result<Vec<Hour>, StoreError> {
    let (first, last) = (span.start().hour().previous(), span.end().hour());
    let hours = store::hours(layout, channel, quality)?;
    Ok(hours.into_iter().filter(|hour| (first..=last).contains(hour)).collect())
}

fn answer_all(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    places: &[(Hour, Place)],
) -> Result<Vec<Answer>, StoreError> {
    let answer_one = |(hour, place): &(Hour, Place)| {
        // A load that panicked left nothing behind that could be half-made.
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref().filter(|held| held.stamp.still_holds(layout, channel, quality, *hour)) {
            return Ok(Answer { index: Arc::clone(&held.index), loaded: false });
        }
        let loaded = store::load_hour(layout, channel, quality, *hour)?;
        let index = Arc::clone(&loaded.index);
        *held = Some(loaded);
        Ok(Answer { index, loaded: true })
    };
    places.iter().map(answer_one).collect()
}
