//! (channel, quality, hour) → the shared index of that hour. Loads each hour once however many ask.
//!
//! Promises: what it hands out was true at the moment of the question: each hour that is held is looked at again
//! (`HourStamp`), so files that anyone adds, removes or tombstones show at once. Holds a bounded size; safe to drop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use bytes::Bytes;
use futures_util::FutureExt;
use slog::{Logger, warn};

use super::guardian::Sentinel;
use crate::blocking::{Blocking, Panicked};
use crate::metrics::Metrics;
use crate::model::{Channel, Hour, Quality, Span};
use crate::select::HourIndex;
use crate::store::{self, Layout, ListingText, LoadedHour, StoreError};

/// The indexes of the hours that `span` touches and that exist, in order.
#[derive(Message)]
#[rtype(result = "Result<Vec<Arc<HourIndex>>, CacheError>")]
pub struct GetHours {
    pub channel: Channel,
    pub quality: Quality,
    pub span: Span,
}

/// The text of one hour's listing; an hour that does not exist has an empty one.
#[derive(Message)]
#[rtype(result = "Result<HeldListing, CacheError>")]
pub struct GetListing {
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
    pub with_tombstones: bool,
    /// Compressed by gzip.
    pub gzipped: bool,
}

/// A listing in the form that was asked for.
#[derive(Debug, Clone)]
pub struct HeldListing {
    pub bytes: Bytes,
    /// Of the names: the same in either form, and on every node.
    pub tag: Arc<str>,
}

/// Why hours cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Into how many pieces of disk work a question about many hours is divided, and how many hours are too few to divide.
const SHARES: usize = 4;
const LEAST_SHARE: usize = 8;

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

/// What the actor needs.
#[derive(Clone)]
pub struct HourReading {
    pub layout: Layout,
    /// The readers' door to the disk.
    pub blocking: Blocking,
    pub metrics: Metrics,
    pub log: Logger,
    /// How much all indexes may take.
    pub max_bytes: usize,
}

/// The cache's actor.
pub struct HourCache {
    reading: HourReading,
    entries: HashMap<Key, Entry>,
    size_bytes: usize,
    uses: u64,
    sentinel: Sentinel,
}

/// What one question found, and whether the disk had to be listed for it.
struct Answer {
    hour: LoadedHour,
    loaded: bool,
}

impl HourCache {
    pub fn new(reading: HourReading, sentinel: Sentinel) -> Self {
        Self { reading, entries: HashMap::new(), size_bytes: 0, uses: 0, sentinel }
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
            if answer.loaded {
                self.reading.metrics.hour_cache_miss();
            } else {
                self.reading.metrics.hour_cache_hit();
            }
            let index = &answer.hour.index;
            let key = (channel.clone(), quality.clone(), index.hour());
            if answer.hour.is_absent() {
                // Nobody can fill the memory by asking for what is not there.
                self.forget(&key);
                continue;
            }
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let size_bytes = answer.hour.size_bytes();
            self.size_bytes = self.size_bytes - entry.size_bytes + size_bytes;
            entry.size_bytes = size_bytes;
            // A live hour is loaded every few seconds: say each stray once.
            let strays = index.unparsable();
            for (name, why) in strays.iter().skip(entry.strays_told) {
                warn!(self.reading.log, "file name in an hour is no segment name, skipped";
                    "channel" => %channel, "quality" => %quality, "hour" => %index.hour(),
                    "file" => %name, "why" => %why);
            }
            entry.strays_told = entry.strays_told.max(strays.len());
        }
        self.evict();
        self.reading.metrics.hour_cache_holds(self.entries.len(), self.size_bytes);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.size_bytes -= entry.size_bytes;
        }
    }

    /// Looks at `hours`, loading those that are not held or have changed.
    fn ask<F: Fn(&LoadedHour) + Send + Sync + 'static>(
        &mut self,
        channel: Channel,
        quality: Quality,
        hours: &[Hour],
        also: F,
    ) -> ResponseActFuture<Self, Result<Vec<LoadedHour>, CacheError>> {
        let places = self.places(&channel, &quality, hours);
        let also = Arc::new(also);
        // In shares, so that a week is loaded on all cores.
        let share = places.len().div_ceil(SHARES).max(LEAST_SHARE);
        let work = places.chunks(share).map(|places| {
            let (layout, places, also) = (self.reading.layout.clone(), places.to_vec(), Arc::clone(&also));
            let (channel, quality) = (channel.clone(), quality.clone());
            self.reading.blocking.run(move || {
                let answers = answer_all(&layout, &channel, &quality, &places)?;
                answers.iter().for_each(|answer| also(&answer.hour));
                Ok(answers)
            })
        });
        let work = futures_util::future::join_all(work).map(|shares| -> Result<Vec<Answer>, CacheError> {
            let shares: Vec<Vec<Answer>> = shares.into_iter().map(flatten).collect::<Result<_, _>>()?;
            Ok(shares.into_iter().flatten().collect())
        });
        let answered = work.into_actor(self).map(move |answers, this, _| {
            let answers = answers?;
            this.account(&channel, &quality, &answers);
            Ok(answers.into_iter().map(|answer| answer.hour).collect())
        });
        Box::pin(answered)
    }

    /// Forgets the hours that were not asked for the longest, until the rest fits.
    fn evict(&mut self) {
        if self.size_bytes <= self.reading.max_bytes {
            return;
        }
        let mut by_use: Vec<(u64, Key)> =
            self.entries.iter().map(|(key, entry)| (entry.last_used, key.clone())).collect();
        by_use.sort_unstable_by_key(|(last_used, _)| *last_used);
        for (_, key) in by_use {
            if self.size_bytes <= self.reading.max_bytes {
                break;
            }
            self.forget(&key);
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
        let present = {
            let (layout, channel, quality) = (self.reading.layout.clone(), channel.clone(), quality.clone());
            self.reading.blocking.run(move || present_hours(&layout, &channel, &quality, span)).map(flatten)
        };
        present
            .into_actor(self)
            .then(move |present, this, _| match present {
                Ok(hours) => this.ask(channel, quality, &hours, |_| ()),
                Err(error) => Box::pin(actix::fut::ready(Err(error))),
            })
            .map(|hours, _, _| Ok(hours?.into_iter().map(|hour| hour.index).collect()))
            .boxed_local()
    }
}

impl Handler<GetListing> for HourCache {
    type Result = ResponseActFuture<Self, Result<HeldListing, CacheError>>;

    fn handle(&mut self, question: GetListing, _: &mut Self::Context) -> Self::Result {
        let GetListing { channel, quality, hour, with_tombstones, gzipped } = question;
        let write = move |hour: &LoadedHour| {
            let ListingText { json, tag } = hour.listing_text(with_tombstones);
            HeldListing { bytes: if gzipped { hour.gzipped_listing(with_tombstones) } else { json }, tag }
        };
        // Writing the text of thousands of names is work, too: the first time it is done off the arbiter.
        self.ask(channel, quality, &[hour], move |hour| drop(write(hour)))
            .map(move |hours, _, _| Ok(write(&hours?.pop().expect("as many answers as questions"))))
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
            return Ok(Answer { hour: held.clone(), loaded: false });
        }
        let loaded = store::load_hour(layout, channel, quality, *hour)?;
        *held = Some(loaded.clone());
        Ok(Answer { hour: loaded, loaded: true })
    };
    places.iter().map(answer_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::log::DropCount;

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
        metrics: Metrics,
        cache: Addr<HourCache>,
    }

    impl Fixture {
        fn new(max_bytes: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path());
            let metrics = Metrics::new(Clock::system(), DropCount::default());
            let log = Logger::root(slog::Discard, slog::o!());
            let reading = HourReading {
                layout: layout.clone(),
                blocking: Blocking::new(8),
                metrics: metrics.clone(),
                log,
                max_bytes,
            };
            let cache = HourCache::new(reading, Sentinel::unguarded());
            Self { _dir: dir, layout, metrics, cache: cache.start() }
        }

        fn plant(&self, hour: &str, second: u32) {
            let dir = self.layout.base().join("ch/source").join(hour);
            std::fs::create_dir_all(&dir).unwrap();
            let hash = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
            std::fs::write(dir.join(format!("00:{second:02}.0-2.0-full-{hash}.ts")), "").unwrap();
        }

        fn ask(&self, start: &str, end: &str) -> Request<HourCache, GetHours> {
            let span = Span::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
            let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
            self.cache.send(GetHours { channel, quality, span })
        }

        /// (asked and held, asked and loaded, hours held)
        fn counted(&self) -> (u64, u64, u64) {
            let (_, text) = self.metrics.render();
            let value = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#')).unwrap();
                line.rsplit_once(' ').unwrap().1.parse().unwrap()
            };
            let names =
                ["segvault_cache_hour_hits_total", "segvault_cache_hour_misses_total", "segvault_cache_index_entries"];
            (value(names[0]), value(names[1]), value(names[2]))
        }
    }

    /// As a directory looks some seconds after its last change.
    async fn settle() {
        actix_rt::time::sleep(std::time::Duration::from_millis(2100)).await;
    }

    #[actix_rt::test]
    async fn an_hour_is_loaded_once_for_all_who_ask_at_once() {
        let fixture = Fixture::new(1 << 20);
        fixture.plant("2026-01-02T03", 0);
        fixture.plant("2026-01-02T03", 2);
        settle().await;
        let all = (0..50).map(|_| fixture.ask("2026-01-02T03:00:00", "2026-01-02T03:10:00"));
        let answers = futures_util::future::join_all(all).await;
        for answer in answers {
            let hours = answer.unwrap().unwrap();
            assert_eq!(hours.iter().map(|hour| hour.len()).collect::<Vec<_>>(), [2]);
        }
        assert_eq!(fixture.counted(), (49, 1, 1));
    }

    #[actix_rt::test]
    async fn what_anyone_changes_shows_at_once() {
        let fixture = Fixture::new(1 << 20);
        fixture.plant("2026-01-02T03", 0);
        for second in 1..40 {
            fixture.plant("2026-01-02T03", second);
            let hours = fixture.ask("2026-01-02T03:00:00", "2026-01-02T03:10:00").await.unwrap().unwrap();
            assert_eq!(hours[0].len(), second as usize + 1);
        }
    }

    #[actix_rt::test]
    async fn it_holds_a_bounded_size_and_forgets_what_was_not_asked_for_the_longest() {
        let fixture = Fixture::new(1200);
        for hour in 0..10 {
            fixture.plant(&format!("2026-01-02T{hour:02}"), 0);
        }
        settle().await;
        let ask =
            |hour: u32| fixture.ask(&format!("2026-01-02T{hour:02}:10:00"), &format!("2026-01-02T{hour:02}:20:00"));
        for hour in 1..10 {
            // Each asks for the hour before, too.
            assert_eq!(ask(hour).await.unwrap().unwrap().len(), 2);
        }
        let (_, loaded, held) = fixture.counted();
        assert_eq!(loaded, 10);
        assert!((1..=4).contains(&held), "{held} hours held");
        ask(9).await.unwrap().unwrap();
        assert_eq!(fixture.counted().1, 10, "the latest is still held");
        ask(1).await.unwrap().unwrap();
        assert_eq!(fixture.counted().1, 12, "the oldest was forgotten");
    }

    #[actix_rt::test]
    async fn a_listing_is_held_and_what_is_not_there_is_not() {
        let fixture = Fixture::new(1 << 20);
        fixture.plant("2026-01-02T03", 0);
        settle().await;
        let ask = |hour: &str| {
            let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
            let question =
                GetListing { channel, quality, hour: hour.parse().unwrap(), with_tombstones: false, gzipped: false };
            fixture.cache.send(question)
        };
        let (first, second) =
            (ask("2026-01-02T03").await.unwrap().unwrap(), ask("2026-01-02T03").await.unwrap().unwrap());
        assert_eq!((first.bytes.as_ptr(), &first.tag), (second.bytes.as_ptr(), &second.tag));
        for hour in 4..24 {
            let none = ask(&format!("2026-01-02T{hour:02}")).await.unwrap().unwrap();
            assert_eq!(none.bytes, "[]");
        }
        assert_eq!(fixture.counted().2, 1, "only what exists is held");
    }

    #[actix_rt::test]
    async fn a_thousand_years_cost_what_is_there() {
        let fixture = Fixture::new(1 << 20);
        fixture.plant("2026-01-02T03", 0);
        let hours = fixture.ask("0001-01-01T00:00:00", "9999-12-31T00:00:00").await.unwrap().unwrap();
        assert_eq!(hours.len(), 1);
    }
}
