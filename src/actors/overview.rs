//! How the node is at this moment: asks its parts, and puts together what they and the shared handles know.
//!
//! Promises: nothing here waits for the disk, the network or the database; a part that does not answer soon is told as such,
//! and holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout};

use super::directory::Directory;
use super::guardian::TellActors;
use super::peer_book::TellPeers;
use super::stream_worker::TellPhase;
use crate::clock::Clock;
use crate::cut::Ffmpeg;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::{Channel, DiskState, FfmpegState, NodeIdentity, NodeName, NodeState, Quality, StreamState};
use crate::store::{RoomWatch, Spool};

/// A part that lives answers within milliseconds.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// What the answer is put together from. Cheap to clone.
#[derive(Clone)]
pub struct Overview {
    pub name: NodeName,
    pub identity: Option<NodeIdentity>,
    pub started: Instant,
    pub directory: Directory,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub room: RoomWatch,
    pub spool: Spool,
    pub ffmpeg: Ffmpeg,
    pub min_free_bytes: u64,
    /// What is to be recorded here.
    pub recorded: Arc<[(Channel, Quality)]>,
}

impl Overview {
    /// Looks now.
    pub async fn look(&self) -> NodeState {
        let asked = self.recorded.iter().map(|(channel, quality)| self.stream(channel, quality));
        let recording = join_all(asked);
        let parts =
            join(ask(self.directory.guardian.get(&()), TellActors), ask(self.directory.peer_book.get(&()), TellPeers));
        let (recording, (actors, peers)) = join(recording, parts).await;
        let ready = self.health.ready();
        NodeState {
            name: self.name.to_string(),
            id: self.identity.as_ref().map(|identity| identity.id.to_string()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.clock.now().to_string(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            ready: ready.is_ok(),
            not_ready: ready.err().map(|why| why.as_str().to_owned()),
            notes: self.health.notes().into_iter().map(str::to_owned).collect(),
            disk: self.disk(),
            ffmpeg: FfmpegState {
                version: self.ffmpeg.told().flatten().map(|probe| probe.version.clone()),
                in_use: self.ffmpeg.in_use() as u64,
            },
            recording,
            peers,
            actors,
        }
    }

    fn disk(&self) -> DiskState {
        let room = self.room.room();
        DiskState {
            writable: self.health.is_store_writable(),
            free_bytes: room.map(|room| room.free_bytes),
            size_bytes: room.map(|room| room.size_bytes),
            min_free_bytes: self.min_free_bytes,
            full_in_seconds: self.room.full_in().map(|left| left.as_secs_f64()),
            held_bytes: self.spool.held_bytes() as u64,
        }
    }

    async fn stream(&self, channel: &Channel, quality: &Quality) -> StreamState {
        let phase = ask(self.directory.workers.get(&(channel.clone(), quality.clone())), TellPhase).await;
        let newest = self.metrics.newest_end(channel, quality);
        let lag = newest.map(|newest| self.clock.now().micros_since(newest) as f64 / 1e6);
        StreamState {
            channel: channel.to_string(),
            quality: quality.to_string(),
            phase,
            newest: newest.map(|newest| newest.to_string()),
            lag_seconds: lag,
        }
    }
}

/// `None` where there is no such actor, or it does not answer in time.
async fn ask<A, M>(actor: Option<Addr<A>>, message: M) -> Option<M::Result>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    timeout(ANSWERS_WITHIN, actor?.send(message)).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::Limits;
    use crate::log::DropCount;
    use crate::model::RecordingPhase;

    #[actix_rt::test]
    async fn parts_that_are_not_there_are_told_as_unknown_and_hold_up_nothing() {
        let (clock, _hand) = Clock::settable("2026-01-02T03:04:10".parse().unwrap());
        let metrics = Metrics::new(clock.clone(), DropCount::default());
        let (channel, quality): (Channel, Quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let overview = Overview {
            name: "alpha".parse().unwrap(),
            identity: None,
            started: Instant::now(),
            directory: Directory::default(),
            clock,
            metrics: metrics.clone(),
            health: Health::default(),
            room: RoomWatch::default(),
            spool: Spool::new(1000),
            ffmpeg: Ffmpeg::new("ffmpeg", Limits::default()),
            min_free_bytes: 7,
            recorded: [(channel.clone(), quality.clone())].into(),
        };
        let first = overview.look().await;
        assert_eq!((first.actors, first.peers, first.ready), (None, None, false));
        assert_eq!((first.recording[0].phase, first.recording[0].lag_seconds), (None::<RecordingPhase>, None));
        assert_eq!((first.disk.free_bytes, first.disk.min_free_bytes), (None, 7));
        let end = "2026-01-02T03:04:08.5".parse().unwrap();
        metrics.segment_saved(&channel, &quality, crate::model::SegmentKind::Full, 10, end);
        assert_eq!(overview.look().await.recording[0].lag_seconds, Some(1.5));
    }
}
