//! What hours are encoded with: learns it from the segments' heads, each segment once, and keeps what it has learnt.
//!
//! Promises: an answer comes within the patience of whoever asks, or little later, with what is known by then; what is not yet known goes on
//! being learnt, one hour at a time, the newest first. However many ask, each segment is read once. Holds a bounded size; safe
//! to drop: hours that are over are kept in side files.
//! Never: delays recording; reads are made through the readers' door, a share at a time.

mod pass;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, error, warn};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::guardian::{Drain, Sentinel};
use crate::blocking::{Blocking, Panicked};
use crate::causes::chain;
use crate::clock::Clock;
use crate::media::{HourKnowledge, HourMedia};
use crate::metrics::Metrics;
use crate::model::{Channel, Hour, Quality};
use crate::select::HourIndex;
use crate::store::{self, Layout, StoreError, Volume};
use pass::{Pass, Passed};

/// What is known of these hours, one answer for each, in order. Waits at most `patience` for what is not known yet.
#[derive(Message)]
#[rtype(result = "Vec<Arc<HourMedia>>")]
pub struct GetMedia {
    pub channel: Channel,
    pub quality: Quality,
    pub hours: Vec<Arc<HourIndex>>,
    pub patience: Duration,
}

/// Hours that are learnt at once while somebody waits, and while nobody does.
const AT_ONCE: usize = 4;
const AT_ONCE_UNWATCHED: usize = 1;
/// Three months of hours. What does not fit is learnt when it is asked for again.
const MOST_TO_LEARN: usize = 2200;
/// For putting together what is known once patience has run out; when the disk is stuck, an answer does not wait for it.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// A segment may come to its hour this much after the hour's end.
const OVER_AFTER: Duration = Duration::from_secs(120);

type Key = (Channel, Quality, Hour);

/// What learning works with. Cheap to clone.
#[derive(Clone)]
pub struct MediaReading {
    pub layout: Layout,
    pub volume: Volume,
    /// The readers' door to the disk.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
}

/// The book's actor.
pub struct MediaBook {
    layout: Layout,
    volume: Volume,
    blocking: Blocking,
    clock: Clock,
    metrics: Metrics,
    log: Logger,
    max_bytes: usize,
    entries: HashMap<Key, Entry>,
    size_bytes: usize,
    /// Entries that have something to learn.
    to_learn: usize,
    under_way: usize,
    /// Numbers questions; also the time for finding out what was not used for the longest.
    questions: u64,
    draining: bool,
    sentinel: Sentinel,
}

#[derive(Default)]
struct Entry {
    media: Option<Arc<HourMedia>>,
    /// `None` if a side file holds it, or nothing is known.
    knowledge: Option<Arc<HourKnowledge>>,
    task: Option<Task>,
    under_way: bool,
    waiting: Vec<Waiting>,
    size_bytes: usize,
    last_used: u64,
    /// Some segment could not be read: worth another try, but no second line in the log.
    has_failed: bool,
}

/// Something to learn.
struct Task {
    index: Weak<HourIndex>,
    /// The question that wants it: whoever waits for this one or an earlier one is served when it is done.
    question: u64,
}

struct Waiting {
    question: u64,
    done: oneshot::Sender<()>,
}

impl MediaBook {
    pub fn new(reading: MediaReading, max_bytes: usize, sentinel: Sentinel) -> Self {
        let MediaReading { layout, volume, blocking, clock, metrics, log } = reading;
        Self {
            layout,
            volume,
            blocking,
            clock,
            metrics,
            log,
            max_bytes,
            entries: HashMap::new(),
            size_bytes: 0,
            to_learn: 0,
            under_way: 0,
            questions: 0,
            draining: false,
            sentinel,
        }
    }

    /// Takes on what is not known of an hour; answers who will tell when it is. `None` if all is known, or there is too
    /// much to learn already.
    fn take_on(&mut self, key: Key, index: &Arc<HourIndex>) -> Option<oneshot::Receiver<()>> {
        let question = self.questions;
        let held = self.entries.get(&key);
        let is_known = held.is_some_and(|entry| {
            entry.task.is_none() && !entry.has_failed && entry.media.as_ref().is_some_and(|media| media.is_of(index))
        });
        let has_task = held.is_some_and(|entry| entry.task.is_some());
        if is_known || self.draining || (!has_task && self.to_learn >= MOST_TO_LEARN) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.last_used = question;
            }
            return None;
        }
        self.to_learn += usize::from(!has_task);
        let entry = self.entries.entry(key).or_default();
        entry.last_used = question;
        entry.waiting.retain(|waiting| !waiting.done.is_closed());
        entry.task = Some(Task { index: Arc::downgrade(index), question });
        let (done, told) = oneshot::channel();
        entry.waiting.push(Waiting { question, done });
        Some(told)
    }

    /// Begins passes, as many as may be under way: first of the hours that somebody waits for, then the newest.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.draining {
            let idle = self.entries.iter().filter(|(_, entry)| entry.task.is_some() && !entry.under_way);
            let next =
                idle.map(|(key, entry)| (entry.is_watched(), key)).max_by_key(|(watched, key)| (*watched, key.2));
            let Some((is_watched, key)) = next else { return };
            if self.under_way >= if is_watched { AT_ONCE } else { AT_ONCE_UNWATCHED } {
                return;
            }
            self.begin_pass(key.clone(), ctx);
        }
    }

    fn begin_pass(&mut self, key: Key, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(task) = &entry.task else { return };
        let (channel, quality, hour) = key.clone();
        let pass = Pass {
            layout: self.layout.clone(),
            volume: self.volume.clone(),
            channel,
            quality,
            hour,
            index: Weak::clone(&task.index),
            knowledge: entry.knowledge.clone(),
            is_over: self.clock.now() > hour.end().plus(OVER_AFTER),
            metrics: self.metrics.clone(),
        };
        let question = task.question;
        entry.under_way = true;
        self.under_way += 1;
        let done = self.blocking.run(move || pass.run()).into_actor(self).map(move |passed, this, ctx| {
            this.under_way -= 1;
            this.end_pass(&key, question, passed);
            this.pump(ctx);
        });
        ctx.spawn(done);
    }

    fn end_pass(&mut self, key: &Key, question: u64, passed: Result<Result<Passed, StoreError>, Panicked>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.under_way = false;
        let had_failed = entry.has_failed;
        let failure = match passed {
            Ok(Ok(passed)) => {
                entry.media = Some(passed.media);
                entry.knowledge = passed.knowledge;
                entry.has_failed = passed.failure.is_some();
                if passed.is_complete {
                    entry.end_task(question, &mut self.to_learn);
                }
                passed.failure.map(|error| chain(&error))
            }
            Ok(Err(error)) => {
                entry.has_failed = true;
                entry.end_task(question, &mut self.to_learn);
                Some(chain(&error))
            }
            Err(panicked) => {
                entry.end_task(question, &mut self.to_learn);
                error!(self.log, "learning what an hour is encoded with failed"; "channel" => %key.0,
                    "quality" => %key.1, "hour" => %key.2, "error" => chain(&panicked));
                None
            }
        };
        if let Some(error) = failure.filter(|_| !had_failed) {
            warn!(self.log, "cannot learn all of what an hour is encoded with, the next question tries again";
                "channel" => %key.0, "quality" => %key.1, "hour" => %key.2, "error" => error);
        }
        let size_bytes = entry.held_bytes();
        self.size_bytes = self.size_bytes - entry.size_bytes + size_bytes;
        entry.size_bytes = size_bytes;
        self.evict();
        self.metrics.media_book_holds(self.entries.len(), self.to_learn);
    }

    /// Forgets the hours that were not asked for the longest, until the rest fits. What is being learnt stays.
    fn evict(&mut self) {
        if self.size_bytes <= self.max_bytes {
            return;
        }
        let idle = self.entries.iter().filter(|(_, entry)| entry.task.is_none() && !entry.under_way);
        let mut by_use: Vec<(u64, Key)> = idle.map(|(key, entry)| (entry.last_used, key.clone())).collect();
        by_use.sort_unstable_by_key(|(last_used, _)| *last_used);
        for (_, key) in by_use {
            if self.size_bytes <= self.max_bytes {
                break;
            }
            self.size_bytes -= self.entries.remove(&key).map_or(0, |entry| entry.size_bytes);
        }
    }

    /// What is known now: what is held of these very indexes, the rest put together from what was learnt of the names.
    fn answer(
        &self,
        channel: &Channel,
        quality: &Quality,
        hours: Vec<Arc<HourIndex>>,
    ) -> ResponseActFuture<Self, Vec<Arc<HourMedia>>> {
        let held: Vec<Held> = hours
            .into_iter()
            .map(|index| {
                let entry = self.entries.get(&(channel.clone(), quality.clone(), index.hour()));
                let media = entry.and_then(|entry| entry.media.clone()).filter(|media| media.is_of(&index));
                Held { media, knowledge: entry.and_then(|entry| entry.knowledge.clone()), index }
            })
            .collect();
        if held.iter().all(|hour| hour.media.is_some()) {
            return Box::pin(actix::fut::ready(held.into_iter().filter_map(|hour| hour.media).collect()));
        }
        let unknown: Vec<Arc<HourIndex>> = held.iter().map(|hour| Arc::clone(&hour.index)).collect();
        let (layout, channel, quality) = (self.layout.clone(), channel.clone(), quality.clone());
        let made = self
            .blocking
            .run(move || held.into_iter().map(|hour| hour.into_media(&layout, &channel, &quality)).collect());
        let made = timeout(ANSWER_WITHIN, made).into_actor(self);
        Box::pin(made.map(move |made: Result<Result<Vec<Arc<HourMedia>>, Panicked>, _>, _, _| match made {
            Ok(Ok(made)) => made,
            Ok(Err(_)) | Err(_) => unknown.iter().map(|index| Arc::new(HourMedia::unknown(index))).collect(),
        }))
    }
}

/// What the book has of an hour that is asked for.
struct Held {
    index: Arc<HourIndex>,
    media: Option<Arc<HourMedia>>,
    knowledge: Option<Arc<HourKnowledge>>,
}

impl Held {
    /// Blocks on the disk.
    fn into_media(self, layout: &Layout, channel: &Channel, quality: &Quality) -> Arc<HourMedia> {
        let Self { index, media, knowledge } = self;
        let made = match (media, knowledge) {
            (Some(media), _) => return media,
            (None, Some(knowledge)) => HourMedia::new(&index, &knowledge),
            (None, None) => HourMedia::new(&index, &store::read_knowledge(layout, channel, quality, index.hour())),
        };
        Arc::new(made)
    }
}

impl Entry {
    /// Somebody still waits: not all have run out of patience.
    fn is_watched(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.done.is_closed())
    }

    /// The task of this question is done, unless a later one has taken its place; those who waited for it are told.
    fn end_task(&mut self, question: u64, to_learn: &mut usize) {
        if self.task.as_ref().is_some_and(|task| task.question <= question) {
            self.task = None;
            *to_learn -= 1;
        }
        for waiting in self.waiting.extract_if(.., |waiting| waiting.question <= question) {
            // Whoever has run out of patience has an answer.
            let _ = waiting.done.send(());
        }
    }

    fn held_bytes(&self) -> usize {
        let media = self.media.as_ref().map_or(0, |media| media.size_bytes());
        let knowledge = self.knowledge.as_ref().map_or(0, |knowledge| knowledge.size_bytes());
        size_of::<(Key, Self)>() + media + knowledge
    }
}

impl Actor for MediaBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
    }
}

impl Handler<GetMedia> for MediaBook {
    type Result = ResponseActFuture<Self, Vec<Arc<HourMedia>>>;

    fn handle(&mut self, question: GetMedia, ctx: &mut Self::Context) -> Self::Result {
        let GetMedia { channel, quality, hours, patience } = question;
        self.questions += 1;
        let keyed = hours.iter().rev().map(|index| ((channel.clone(), quality.clone(), index.hour()), index));
        let told: Vec<oneshot::Receiver<()>> = keyed.filter_map(|(key, index)| self.take_on(key, index)).collect();
        if told.is_empty() {
            return self.answer(&channel, &quality, hours);
        }
        self.pump(ctx);
        let waited = timeout(patience, futures_util::future::join_all(told));
        let answered = waited.into_actor(self).then(move |_, this, _| this.answer(&channel, &quality, hours));
        Box::pin(answered)
    }
}

impl Handler<Drain> for MediaBook {
    type Result = ();

    /// From here on nothing more is learnt, and nobody waits.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        for entry in self.entries.values_mut() {
            entry.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests;
