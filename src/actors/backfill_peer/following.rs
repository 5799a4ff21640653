//! How a peer is followed: what it says that it has stored is fetched at once.
//!
//! Promises: a peer that cannot be followed is compared with as ever, and tried again ever more rarely; what was missed
//! while nobody followed brings the next comparison forward. Only one thing at a time is read from a peer: what it tells
//! faster than it gives waits in its own memory.

use std::time::Duration;

use actix::prelude::*;
use slog::{debug, info, warn};
use tokio::time::Instant;

use super::{BackfillPeer, Teller, Tick};
use crate::causes::chain;
use crate::jitter::jittered;
use crate::model::{Channel, Hour, Quality};
use crate::peers::{FollowEvent, HourNames, PassReport, PeerError, PeerHealth, SpanCopy, backoff_after, follow};

/// A peer of the existing system may be one of ours after its next start.
const NOT_OFFERED_REST: Duration = Duration::from_secs(600);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// However often a peer says that there is more to list.
const LISTED_EVERY: Duration = Duration::from_secs(10);
/// Who could be followed for so long is none that tells nonsense.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Names that are taken as one.
const MOST_AT_ONCE: usize = 64;

/// Time to follow again.
#[derive(Message)]
#[rtype(result = "()")]
struct Follow;

/// What the peer has is to be listed.
#[derive(Message)]
#[rtype(result = "()")]
struct Listed;

/// Whether and how the peer is followed.
#[derive(Default)]
pub(super) struct Followed {
    under_way: Option<SpawnHandle>,
    rest: Option<SpawnHandle>,
    /// The last event's.
    cursor: Option<u64>,
    failures: u32,
    /// Whether it was said that the peer cannot be followed.
    told: bool,
    /// When the next pass that it brought forward begins, or the last one began.
    listed_at: Option<Instant>,
}

impl Followed {
    /// Everything under way, to be dropped.
    pub fn end(&mut self) -> impl Iterator<Item = SpawnHandle> + use<> {
        self.under_way.take().into_iter().chain(self.rest.take())
    }
}

/// How following ended.
struct Ended {
    cursor: Option<u64>,
    /// It lasted.
    was_well: bool,
    why: Option<PeerError>,
}

/// What is done with news.
struct Reader {
    copy: SpanCopy,
    health: PeerHealth,
    teller: Teller,
    me: Addr<BackfillPeer>,
}

impl Reader {
    async fn read(&self, mut cursor: Option<u64>) -> Ended {
        let began = Instant::now();
        let (channel, quality) = (&self.copy.channel, &self.copy.quality);
        // Only until the connection stands.
        let turn = self.health.turn().await;
        let followed = follow(&self.copy.peer, channel, quality, cursor).await;
        drop(turn);
        let mut following = match followed {
            Ok(Some(following)) => following,
            Ok(None) => return Ended { cursor: None, was_well: true, why: None },
            Err(error) => return Ended { cursor, was_well: false, why: Some(error) },
        };
        let why = loop {
            let mut named = Vec::new();
            let mut error = None;
            let mut next = following.next().await.map(Some).unwrap_or_else(|failed| end_with(&mut error, failed));
            while let Some(event) = next {
                match event {
                    FollowEvent::List => self.me.do_send(Listed),
                    FollowEvent::Named(names) => named.push(names),
                }
                if named.len() >= MOST_AT_ONCE {
                    break;
                }
                next = following.ready().unwrap_or_else(|failed| end_with(&mut error, failed));
            }
            if let Err(error) = self.take(named, channel, quality).await {
                // The next comparison finds it, and tells.
                debug!(self.teller.log, "what a peer tells of cannot be copied"; "error" => chain(&error));
            }
            // Only now: what was dropped in between is told again.
            cursor = following.last_id().or(cursor);
            if let Some(error) = error {
                break error;
            }
        };
        Ended { cursor, was_well: began.elapsed() > WELL_AFTER, why: Some(why) }
    }

    async fn take(&self, named: Vec<HourNames>, channel: &Channel, quality: &Quality) -> Result<(), PeerError> {
        let replication = &self.teller.replication;
        let window = replication.window(channel, quality);
        let now = replication.clock.now().hour();
        let is_near = |hour: Hour| (now.previous()..=now.next()).contains(&hour);
        let mut by_hour: Vec<HourNames> = Vec::new();
        for mut names in named.into_iter().filter(|names| is_near(names.hour())) {
            self.teller.tell_refused(&names.refused);
            names.files.retain(|file| !window.is_young(file));
            if names.files.is_empty() && names.tombstones.is_empty() {
                continue;
            }
            match by_hour.iter_mut().find(|known| known.hour() == names.hour()) {
                Some(known) => known.join(names),
                None => by_hour.push(names),
            }
        }
        let mut report = PassReport::default();
        for names in by_hour {
            self.copy.take(names, window.clone(), &mut report, &|notice| self.teller.tell(&notice)).await?;
        }
        Ok(())
    }
}

fn end_with(end: &mut Option<PeerError>, error: PeerError) -> Option<FollowEvent> {
    *end = Some(error);
    None
}

impl BackfillPeer {
    pub(super) fn begin_following(&self, ctx: &mut Context<Self>) {
        if self.replication.config.follow {
            ctx.notify(Follow);
        }
    }

    fn take_ended(&mut self, ended: Ended, ctx: &mut Context<Self>) {
        let Ended { cursor, was_well, why } = ended;
        self.followed.under_way = None;
        self.followed.cursor = cursor;
        let rest = match why {
            None => jittered(NOT_OFFERED_REST),
            // Connections are made anew now and then.
            Some(error) if was_well && error.is_of_age() => Duration::ZERO,
            // The turn that the next try waits for is its rest.
            Some(error) if error.is_unreachable() && self.health.is_down() => {
                self.replication.metrics.backfill_follow_failed(self.peer.url());
                Duration::ZERO
            }
            Some(error) => {
                if was_well {
                    (self.followed.failures, self.followed.told) = (0, false);
                }
                self.followed.failures = self.followed.failures.saturating_add(1);
                self.replication.metrics.backfill_follow_failed(self.peer.url());
                if !std::mem::replace(&mut self.followed.told, true) {
                    warn!(self.log, "a peer cannot be followed, comparing goes on"; "error" => chain(&error));
                }
                backoff_after(self.followed.failures).min(LONGEST_REST)
            }
        };
        self.followed.rest = Some(ctx.notify_later(Follow, rest));
    }
}

impl Handler<Follow> for BackfillPeer {
    type Result = ();

    fn handle(&mut self, _: Follow, ctx: &mut Self::Context) {
        if self.draining || !self.wanted || self.followed.under_way.is_some() {
            return;
        }
        // What comes all the time keeps to the bandwidth, and has a door that no bulk takes.
        let mut copy = self.seeking.copy.clone();
        copy.copier.throttle = self.replication.copier.throttle.clone();
        let reader = Reader { copy, health: self.health.clone(), teller: self.teller(), me: ctx.address() };
        let cursor = self.followed.cursor;
        let work = async move { reader.read(cursor).await };
        self.followed.under_way =
            Some(ctx.spawn(work.into_actor(self).map(|ended, this, ctx| this.take_ended(ended, ctx))));
    }
}

impl Handler<Listed> for BackfillPeer {
    type Result = ();

    /// Brings the next pass forward.
    fn handle(&mut self, _: Listed, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.followed.told) {
            info!(self.log, "a peer is followed again");
        }
        let now = Instant::now();
        let is_to_come = self.followed.listed_at.is_some_and(|at| at > now);
        if self.draining || !self.wanted || self.failures > 0 || is_to_come {
            return;
        }
        if self.pass.is_some() {
            self.again = true;
            return;
        }
        let at = self.followed.listed_at.map_or(now, |last| now.max(last + LISTED_EVERY));
        self.followed.listed_at = Some(at);
        if let Some(rest) = self.rest.replace(ctx.notify_later(Tick, at - now)) {
            ctx.cancel_future(rest);
        }
    }
}
