//! Tells those who follow a quality what is stored in it, as soon as it is.
//!
//! Promises: what this node writes is told at once, what others put into the directory at the next look, a second later;
//! nobody looks while nobody follows; one who does not keep up is let go, and delays nobody.
//! Never: tells of hours that are long over; comparisons find what comes into those.

mod ring;

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, warn};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::guardian::{Drain, Sentinel};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Channel, Hour, Quality};
use crate::store::{self, HourStamp, Layout, StoreError};
use ring::{MOST_HELD, Ring};

pub use ring::{StoredKind, Told};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A follower who is away for less goes on where it was.
const HELD_FOR: Duration = Duration::from_secs(120);
/// What a follower may be behind: all that is held, and as much again.
const QUEUE: usize = 2 * MOST_HELD;
/// A large crew's channels; each is looked at every second.
const MOST_STREAMS: usize = 256;
/// Of all qualities together.
const MOST_FOLLOWERS: usize = 1024;

type Stream = (Channel, Quality);

/// For a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// What came before is not told: who wants it lists it. Later news have higher cursors.
    List {
        cursor: u64,
    },
    Told(Told),
}

/// Somebody wants to follow.
#[derive(Message)]
#[rtype(result = "Result<mpsc::Receiver<News>, FeedError>")]
pub struct Follow {
    pub channel: Channel,
    pub quality: Quality,
    /// The last cursor that it saw.
    pub after: Option<u64>,
}

/// A file has its final name.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stored {
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
    pub name: Box<str>,
}

/// Why nobody more can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    #[error("too many follow already")]
    TooMany,
    #[error("the node is stopping")]
    Stopping,
}

struct Followed {
    ring: Ring,
    stamps: HashMap<Hour, HourStamp>,
    followers: Vec<mpsc::Sender<News>>,
    /// With what they saw last. They begin when the first look has ended.
    waiting: Vec<(mpsc::Sender<News>, Option<u64>)>,
    looking: bool,
    /// Whether it was said that the disk cannot be read.
    told: bool,
    /// When somebody was there last.
    left_at: Instant,
}

type Looked = Vec<(Hour, Vec<Box<str>>, HourStamp)>;

/// What the actor needs.
#[derive(Clone)]
pub struct FeedReading {
    pub layout: Layout,
    /// The readers' door to the disk.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
}

/// The actor.
pub struct StoredFeed {
    reading: FeedReading,
    streams: HashMap<Stream, Followed>,
    sentinel: Sentinel,
    draining: bool,
}

impl StoredFeed {
    pub fn new(reading: FeedReading, sentinel: Sentinel) -> Self {
        Self { reading, streams: HashMap::new(), sentinel, draining: false }
    }

    fn followers(&self) -> usize {
        self.streams.values().map(|followed| followed.followers.len() + followed.waiting.len()).sum()
    }

    /// Lets go of who left, and of what nobody follows.
    fn tidy(&mut self) {
        for followed in self.streams.values_mut() {
            followed.followers.retain(|follower| !follower.is_closed());
            followed.waiting.retain(|(follower, _)| !follower.is_closed());
            if followed.is_followed() {
                followed.left_at = Instant::now();
            }
        }
        self.streams.retain(|_, followed| followed.left_at.elapsed() < HELD_FOR);
        self.reading.metrics.followers_are(self.followers());
    }

    fn look(&mut self, stream: Stream, ctx: &mut Context<Self>) {
        let now = self.reading.clock.now().hour();
        let Some(followed) = self.streams.get_mut(&stream) else { return };
        if std::mem::replace(&mut followed.looking, true) {
            return;
        }
        // Recorders whose clock is ahead write into the next one.
        let hours = [now.previous(), now, now.next()];
        followed.ring.watch(hours);
        followed.stamps.retain(|hour, _| hours.contains(hour));
        let (layout, (channel, quality), stamps) =
            (self.reading.layout.clone(), stream.clone(), followed.stamps.clone());
        let look = move || look_at(&layout, &channel, &quality, hours, &stamps);
        ctx.spawn(self.reading.blocking.run(look).into_actor(self).map(move |looked, this, _| {
            let log = this.reading.log.clone();
            let Some(followed) = this.streams.get_mut(&stream) else { return };
            followed.looking = false;
            let error = match looked {
                Ok(Ok(looked)) => return followed.take(looked),
                Ok(Err(error)) => chain(&error),
                Err(error) => chain(&error),
            };
            if !std::mem::replace(&mut followed.told, true) {
                warn!(log, "followers cannot be told what is stored"; "channel" => %stream.0, "error" => error);
            }
        }));
    }
}

/// The names of hours that have changed.
fn look_at(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hours: [Hour; 3],
    stamps: &HashMap<Hour, HourStamp>,
) -> Result<Looked, StoreError> {
    let mut looked = Vec::new();
    for hour in hours {
        if stamps.get(&hour).is_some_and(|stamp| stamp.still_holds(layout, channel, quality, hour)) {
            continue;
        }
        let (listing, stamp) = store::list_stamped(layout, channel, quality, hour)?;
        let names = listing.visible().chain(listing.tombstones()).map(Box::from).collect();
        looked.push((hour, names, stamp));
    }
    Ok(looked)
}

impl Followed {
    fn new(cursor: u64) -> Self {
        Self {
            ring: Ring::new(cursor),
            stamps: HashMap::new(),
            followers: Vec::new(),
            waiting: Vec::new(),
            looking: false,
            told: false,
            left_at: Instant::now(),
        }
    }

    fn is_followed(&self) -> bool {
        !self.followers.is_empty() || !self.waiting.is_empty()
    }

    fn take(&mut self, looked: Looked) {
        self.told = false;
        for (hour, names, stamp) in looked {
            self.stamps.insert(hour, stamp);
            self.take_names(hour, names.iter().map(|name| &**name));
        }
        self.ring.begin();
        for (follower, after) in std::mem::take(&mut self.waiting) {
            self.admit(follower, after);
        }
    }

    fn take_names<'n>(&mut self, hour: Hour, names: impl IntoIterator<Item = &'n str>) {
        for told in self.ring.take(hour, names) {
            // Whoever has no room left does not keep up.
            self.followers.retain(|follower| follower.try_send(News::Told(told.clone())).is_ok());
        }
    }

    fn admit(&mut self, follower: mpsc::Sender<News>, after: Option<u64>) {
        let first = match after.and_then(|after| self.ring.after(after)) {
            Some(missed) => missed.into_iter().map(News::Told).collect(),
            None => vec![News::List { cursor: self.ring.cursor() }],
        };
        // The queue is empty, and longer than all that is held.
        if first.into_iter().all(|news| follower.try_send(news).is_ok()) {
            self.followers.push(follower);
        }
    }
}

impl Actor for StoredFeed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.run_interval(LOOK_EVERY, |this, ctx| {
            this.tidy();
            let followed = this.streams.iter().filter(|(_, followed)| followed.is_followed());
            let streams: Vec<Stream> = followed.map(|(stream, _)| stream.clone()).collect();
            streams.into_iter().for_each(|stream| this.look(stream, ctx));
        });
    }
}

impl Handler<Follow> for StoredFeed {
    type Result = Result<mpsc::Receiver<News>, FeedError>;

    fn handle(&mut self, Follow { channel, quality, after }: Follow, ctx: &mut Self::Context) -> Self::Result {
        if self.draining {
            return Err(FeedError::Stopping);
        }
        let stream = (channel, quality);
        let has_room = self.streams.contains_key(&stream) || self.streams.len() < MOST_STREAMS;
        if !has_room || self.followers() >= MOST_FOLLOWERS {
            return Err(FeedError::TooMany);
        }
        // By the clock, so that no cursor of an earlier start is one of ours.
        let cursor = u64::try_from(self.reading.clock.now().micros()).unwrap_or_default();
        let followed = self.streams.entry(stream.clone()).or_insert_with(|| Followed::new(cursor));
        let (sender, news) = mpsc::channel(QUEUE);
        // After the look: so that nothing falls between what the follower lists and what it is told.
        followed.waiting.push((sender, after));
        followed.left_at = Instant::now();
        self.look(stream, ctx);
        Ok(news)
    }
}

impl Handler<Stored> for StoredFeed {
    type Result = ();

    fn handle(&mut self, Stored { channel, quality, hour, name }: Stored, _: &mut Self::Context) {
        if let Some(followed) = self.streams.get_mut(&(channel, quality))
            && followed.ring.has_begun()
        {
            followed.take_names(hour, [&*name]);
        }
    }
}

impl Handler<Drain> for StoredFeed {
    type Result = ();

    /// Ends what followers read.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        self.streams.clear();
    }
}
