//! Knows where a channel's media playlists are. Asks the source, and remembers the answer for a while, so that many
//! workers that ask at once, or a source that is down, cost one request per interval.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::guardian::Sentinel;
use crate::ingest::{HttpClient, Source, SourceError, SourceState};
use crate::model::{Channel, Quality};

/// An answer of the source, or its silence, stands for this long: enough for the workers of one channel to share it.
const ANSWER_STANDS: Duration = Duration::from_secs(1);

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

/// When the source was asked, and what it said; `Err` if nothing.
type Answered = (Instant, Result<SourceState, ()>);

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
        source: impl Source + 'static,
        log: Logger,
        sentinel: Sentinel,
    ) -> Self {
        Self {
            channel,
            qualities: qualities.into(),
            source: Rc::new(source),
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
        let qualities = Rc::clone(&self.qualities);
        async move {
            let mut asked = asked.lock().await;
            if let Some((_, answer)) = asked.as_ref().filter(|(when, _)| when.elapsed() < ANSWER_STANDS) {
                return (None, answer.clone());
            }
            let fresh = source.media_urls(&client, &qualities).await;
            let answer = fresh.as_ref().map(SourceState::clone).map_err(|_| ());
            *asked = Some((Instant::now(), answer.clone()));
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
