//! Knows where a channel's media playlists are. Asks the source now and then, so that a worker which needs an address
//! has one at once; and remembers each answer for a while, so that many workers that ask at once, or a source that is
//! down, cost one request per interval.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::guardian::{Drain, Sentinel};
use crate::ingest::{Dates, HttpClient, Source, SourceError, SourceState};
use crate::jitter::jittered;
use crate::model::{Channel, Quality};

/// Between questions to the source that nobody had to ask for, where the channel is important, and where it is not (wubloader
/// asks as often). For as long an answer stands.
const IMPORTANT_STANDS: Duration = Duration::from_secs(5);
const ANSWER_STANDS: Duration = Duration::from_secs(20);
/// An address that is of no use to one worker is asked for anew, but not more often than this.
const JUST_ASKED: Duration = Duration::from_secs(1);
/// Silence stands for this long, and each time that it goes on for twice as long, up to what an answer does: a request that
/// failed by chance costs nothing.
const SILENCE_STANDS: Duration = Duration::from_secs(1);

/// Where is this quality's media playlist now? `Err` means that the source could not be asked.
#[derive(Message)]
#[rtype(result = "Result<MediaFound, ()>")]
pub struct FindMedia {
    pub quality: Quality,
    /// An address that was told before then is of no use.
    pub newer_than: Option<Instant>,
}

/// An address of a media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMedia {
    pub url: Url,
    /// How long it is good for from now on, where the source tells.
    pub lives_for: Option<Duration>,
    pub dates: Dates,
    /// When the source told it.
    pub told_at: Instant,
}

/// The answer to `FindMedia`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaFound {
    At(FoundMedia),
    NotLive,
    /// The channel is live without this quality.
    NotOffered,
}

/// What the source said; `Err` if nothing.
#[derive(Clone)]
struct Answered {
    told_at: Instant,
    /// Nobody asks anew before, whatever it wants.
    stands_until: Instant,
    answer: Result<SourceState, ()>,
    /// Questions in a row without an answer.
    silences: u32,
}

/// Time to ask the source, whether anybody wants to know or not.
#[derive(Message)]
#[rtype(result = "()")]
struct Refresh;

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

impl Downloader {
    /// What the source says, or has said: an answer stands for its time, and longer if somebody is live and it `will do`.
    fn ask(&self, will_do: impl Fn(Instant) -> bool + 'static) -> ResponseActFuture<Self, Answered> {
        let (asked, source, client) = (Rc::clone(&self.asked), Rc::clone(&self.source), self.client.clone());
        let (qualities, answer_stands) = (Rc::clone(&self.qualities), self.answer_stands);
        async move {
            let mut asked = asked.lock().await;
            let stands = |asked: &&Answered| {
                let is_live = matches!(asked.answer, Ok(SourceState::Live { .. }));
                Instant::now() < asked.stands_until || (is_live && will_do(asked.told_at))
            };
            if let Some(standing) = asked.as_ref().filter(stands) {
                return (None, standing.clone());
            }
            let fresh = source.media_urls(&client, &qualities).await;
            let before = asked.as_ref().map_or(0, |asked| asked.silences);
            let (stands, silences) = match &fresh {
                Ok(SourceState::Live { .. }) => (JUST_ASKED, 0),
                Ok(SourceState::NotLive) => (answer_stands, 0),
                Err(_) => (silence_stands(before, answer_stands), before.saturating_add(1)),
            };
            let (told_at, answer) = (Instant::now(), fresh.as_ref().map(SourceState::clone).map_err(|_| ()));
            let answered = Answered { told_at, stands_until: told_at + stands, answer, silences };
            *asked = Some(answered.clone());
            (Some(fresh), answered)
        }
        .into_actor(self)
        .map(|(fresh, answered), this, _| {
            if let Some(fresh) = &fresh {
                this.tell(fresh);
            }
            answered
        })
        .boxed_local()
    }
}

impl Actor for Downloader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        if !self.source.is_costly() {
            ctx.notify_later(Refresh, self.answer_stands);
        }
    }
}

impl Handler<Refresh> for Downloader {
    type Result = ();

    fn handle(&mut self, _: Refresh, ctx: &mut Self::Context) {
        let asked = self.ask(|_| false);
        ctx.spawn(asked.map(|_, this, ctx| {
            ctx.notify_later(Refresh, this.answer_stands);
        }));
    }
}

impl Handler<FindMedia> for Downloader {
    type Result = ResponseActFuture<Self, Result<MediaFound, ()>>;

    fn handle(&mut self, question: FindMedia, _: &mut Self::Context) -> Self::Result {
        let (newer_than, fresh_for) = (question.newer_than, self.answer_stands);
        let will_do =
            move |when: Instant| when.elapsed() < fresh_for && newer_than.is_none_or(|newer_than| when > newer_than);
        self.ask(will_do)
            .map(move |Answered { told_at, answer, .. }, this, _| {
                let media = match answer? {
                    SourceState::NotLive => return Ok(MediaFound::NotLive),
                    SourceState::Live { media, .. } => media,
                };
                let found = media.into_iter().find(|media| media.quality == question.quality);
                Ok(found.map_or(MediaFound::NotOffered, |media| {
                    let lives_for = media.lives_for.map(|life| life.saturating_sub(told_at.elapsed()));
                    MediaFound::At(FoundMedia { url: media.url, lives_for, dates: this.source.dates(), told_at })
                }))
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
    use std::cell::Cell;

    use futures_util::future::{LocalBoxFuture, ready};
    use slog::Discard;

    use super::*;
    use crate::ingest::MediaUrl;

    /// Gives another token each time.
    #[derive(Default)]
    struct Tokens(Rc<Cell<u32>>);

    impl Source for Tokens {
        fn media_urls<'a>(
            &'a self,
            _: &'a HttpClient,
            qualities: &'a [Quality],
        ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>> {
            self.0.set(self.0.get() + 1);
            let url: url::Url = format!("http://source.test/live.m3u8?token={}", self.0.get()).parse().unwrap();
            let media = |quality: &Quality| MediaUrl {
                quality: quality.clone(),
                url: url.clone(),
                lives_for: Some(Duration::from_secs(60)),
            };
            let media = qualities.iter().map(media).collect();
            Box::pin(ready(Ok(SourceState::Live { media, missing: Vec::new(), offered: Vec::new() })))
        }

        fn max_concurrent(&self) -> usize {
            1
        }
    }

    async fn find(downloader: &Addr<Downloader>, newer_than: Option<Instant>) -> FoundMedia {
        let question = FindMedia { quality: "source".parse().unwrap(), newer_than };
        match downloader.send(question).await.unwrap() {
            Ok(MediaFound::At(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    #[actix_rt::test]
    async fn an_address_is_at_hand_and_one_that_is_no_good_is_not_told_twice() {
        let source = Tokens::default();
        let asked = Rc::clone(&source.0);
        let (channel, qualities) = ("ch".parse().unwrap(), vec!["source".parse().unwrap()]);
        let log = Logger::root(Discard, slog::o!());
        let downloader =
            Downloader::new(channel, qualities, Box::new(source), false, log, Sentinel::unguarded()).start();
        let first = find(&downloader, None).await;
        tokio::time::sleep(JUST_ASKED * 2).await;
        let again = find(&downloader, None).await;
        assert_eq!((again.url, asked.get()), (first.url.clone(), 1));
        assert!(again.lives_for.unwrap() < Duration::from_secs(60));
        let fresh = find(&downloader, Some(first.told_at)).await;
        assert!(fresh.url != first.url && asked.get() == 2);
        // Whoever asks at the same moment shares the answer.
        assert_eq!(find(&downloader, Some(first.told_at)).await.url, fresh.url);
    }

    #[test]
    fn silence_is_asked_again_soon_and_then_as_seldom_as_others() {
        let stands: Vec<u64> =
            (0..40).map(|before| silence_stands(before, IMPORTANT_STANDS).as_millis().try_into().unwrap()).collect();
        for (stand, most) in stands.iter().zip([1000, 2000, 4000].into_iter().chain(std::iter::repeat(5000))) {
            assert!((most / 2..=most).contains(stand), "{stands:?}");
        }
    }
}
