//! Knows where a channel's media playlists are. Asks the source, and remembers the answer for a while, so that many
//! workers that ask at once, or a source that is down, cost one request per interval.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::guardian::{Drain, Sentinel};
use crate::ingest::{HttpClient, Source, SourceError, SourceState};
use crate::jitter::jittered;
use crate::model::{Channel, Quality};

/// An answer of the source stands for this long, so that it is not asked more often than that: where the channel is
/// important, and where it is not (wubloader asks as often).
const IMPORTANT_STANDS: Duration = Duration::from_secs(5);
const ANSWER_STANDS: Duration = Duration::from_secs(20);
/// Silence stands for this long, and each time that it goes on for twice as long, up to what an answer does: a request that
/// failed by chance costs nothing.
const SILENCE_STANDS: Duration = Duration::from_secs(1);

/// Where is this quality's media playlist now? `Err` means that the source could not be asked.
#[derive(Message)]
#[rtype(result = "Result<MediaFound, ()>")]
pub struct FindMedia {
    pub quality: Quality,
}

/// The answer to `FindMedia`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaFound {
    At(Url),
    NotLive,
    /// The channel is live without this quality.
    NotOffered,
}

/// What the source said; `Err` if nothing.
struct Answered {
    stands_until: Instant,
    answer: Result<SourceState, ()>,
    /// Questions in a row without an answer.
    silences: u32,
}

/// What the source last said, so that the log tells changes and not repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Nothing,
    NotLive,
    Live,
    Failed(String),
}

/// The actor of one channel.
pub struct Downloader {
    channel: Channel,
    qualities: Rc<[Quality]>,
    source: Rc<dyn Source>,
    answer_stands: Duration,
    client: HttpClient,
    log: Logger,
    sentinel: Sentinel,
    /// The lock makes askers wait for the request under way instead of sending their own.
    asked: Rc<Mutex<Option<Answered>>>,
    told: Told,
}

impl Downloader {
    /// Must be called on the arbiter that it will live on.
    pub fn new(
        channel: Channel,
        qualities: Vec<Quality>,
        source: Box<dyn Source>,
        important: bool,
        log: Logger,
        sentinel: Sentinel,
    ) -> Self {
        Self {
            channel,
            qualities: qualities.into(),
            source: source.into(),
            answer_stands: if important { IMPORTANT_STANDS } else { ANSWER_STANDS },
            client: HttpClient::of_this_arbiter(),
            log,
            sentinel,
            asked: Rc::default(),
            told: Told::Nothing,
        }
    }

    fn tell(&mut self, fresh: &Result<SourceState, SourceError>) {
        let now = match fresh {
            Ok(SourceState::NotLive) => Told::NotLive,
            Ok(SourceState::Live { .. }) => Told::Live,
            Err(error) => Told::Failed(error.to_string()),
        };
        if now == self.told {
            return;
        }
        let channel = &self.channel;
        match fresh {
            Ok(SourceState::NotLive) => info!(self.log, "channel is not live"; "channel" => %channel),
            Ok(SourceState::Live { missing, offered, .. }) => {
                info!(self.log, "channel is live"; "channel" => %channel, "offered" => offered.join(", "));
                for quality in missing {
                    warn!(self.log, "quality is not offered";
                        "channel" => %channel, "quality" => %quality, "offered" => offered.join(", "));
                }
            }
            Err(error) => {
                let chain = crate::causes::chain(error);
                warn!(self.log, "source gives no answer, will ask again"; "channel" => %channel, "error" => chain);
            }
        }
        self.told = now;
    }
}

impl Actor for Downloader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
    }
}

impl Handler<FindMedia> for Downloader {
    type Result = ResponseActFuture<Self, Result<MediaFound, ()>>;

    fn handle(&mut self, question: FindMedia, _: &mut Self::Context) -> Self::Result {
        let (asked, source, client) = (Rc::clone(&self.asked), Rc::clone(&self.source), self.client.clone());
        let (qualities, answer_stands) = (Rc::clone(&self.qualities), self.answer_stands);
        async move {
            let mut asked = asked.lock().await;
            if let Some(standing) = asked.as_ref().filter(|asked| Instant::now() < asked.stands_until) {
                return (None, standing.answer.clone());
            }
            let fresh = source.media_urls(&client, &qualities).await;
            let answer = fresh.as_ref().map(SourceState::clone).map_err(|_| ());
            let before = asked.as_ref().map_or(0, |asked| asked.silences);
            let (stands, silences) = match &answer {
                Ok(_) => (answer_stands, 0),
                Err(()) => (silence_stands(before, answer_stands), before.saturating_add(1)),
            };
            *asked = Some(Answered { stands_until: Instant::now() + stands, answer: answer.clone(), silences });
            (Some(fresh), answer)
        }
        .into_actor(self)
        .map(move |(fresh, answer), this, _| {
            if let Some(fresh) = &fresh {
                this.tell(fresh);
            }
            Ok(match answer? {
                SourceState::NotLive => MediaFound::NotLive,
                SourceState::Live { media, .. } => {
                    let found = media.into_iter().find(|media| media.quality == question.quality);
                    found.map_or(MediaFound::NotOffered, |media| MediaFound::At(media.url))
                }
            })
        })
        .boxed_local()
    }
}

impl Handler<Drain> for Downloader {
    type Result = ();

    /// Ends a question under way: what runs for it ends with it.
    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

fn silence_stands(before: u32, most: Duration) -> Duration {
    jittered(SILENCE_STANDS.saturating_mul(2u32.saturating_pow(before)).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_again_soon_and_then_as_seldom_as_others() {
        let stands: Vec<u64> =
            (0..40).map(|before| silence_stands(before, IMPORTANT_STANDS).as_millis().try_into().unwrap()).collect();
        for (stand, most) in stands.iter().zip([1000, 2000, 4000].into_iter().chain(std::iter::repeat(5000))) {
            assert!((most / 2..=most).contains(stand), "{stands:?}");
        }
    }
}
