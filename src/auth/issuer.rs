//! Who issues ID tokens, and the keys that they have now (OpenID Connect Discovery 1.0 §4).
//!
//! Promises: keys are fetched beside requests; one that brings a key's id that nobody knows has them fetched again, not more
//! often than every few seconds whoever asks, and waits a moment for that; the last good keys are kept while the issuer is
//! down or lies; over a restart, for a week.

use std::sync::Arc;
use std::time::Duration;

use awc::http::{StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use slog::{Logger, info, warn};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::id_token::Unverified;
use super::keys::{BadKeys, KeySet, Verdict};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::Issuer;
use crate::ingest::{ByteBudget, FetchError, HttpClient};
use crate::jitter::jittered;
use crate::model::Timestamp;
use crate::store::{self, IssuerKeys, Layout};

/// Both answers have a few kilobytes.
const ANSWER: ByteBudget = ByteBudget { max_bytes: 256 << 10, deadline: Duration::from_secs(10) };
/// However many unknown keys are shown to us.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// What a request waits for keys at most.
const WAIT: Duration = Duration::from_secs(3);
/// Between fetches that nobody asked for, where the issuer says nothing of it, and at least and at most.
const USUAL_AGE: Duration = Duration::from_secs(3600);
const LEAST_AGE: Duration = Duration::from_secs(300);
const MOST_AGE: Duration = Duration::from_secs(24 * 3600);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long keys of an earlier life count while the issuer cannot be asked. Issuers change theirs about as often, and have each for
/// longer; a key that they took back must not open a door for ever.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where keys outlive the process. Cheap to clone.
#[derive(Clone)]
pub struct KeyShelf {
    pub layout: Layout,
    pub blocking: Blocking,
    pub clock: Clock,
}

/// One issuer. Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct KnownIssuer(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    state: watch::Sender<State>,
    wanted: Notify,
    log: Logger,
}

/// What is known of it.
#[derive(Debug, Clone, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Its own page, on which people log in.
    page: Option<Url>,
    /// When an attempt to fetch them ended last, and whether it had them.
    tried: Option<(Instant, bool)>,
}

/// What an issuer's keys say of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Signed,
    Forged,
    /// The issuer, asked a moment ago, has no such key.
    UnknownKey,
    /// The key is unknown, and the issuer cannot be asked.
    NoKeys,
}

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error("{url} cannot be read")]
    Fetch { url: Url, source: FetchError },
    #[error("{url} is no description of an issuer")]
    Description { url: Url, source: serde_json::Error },
    #[error("{url} describes another issuer, {named:?}")]
    Another { url: Url, named: String },
    #[error("{url} names no place for keys that can be trusted")]
    Place { url: Url },
    #[error("{url} has no keys")]
    Keys { url: Url, source: BadKeys },
}

impl KnownIssuer {
    pub fn new(issuer: Issuer, log: Logger) -> Self {
        let (state, _) = watch::channel(State::default());
        Self(Arc::new(Inner { issuer, state, wanted: Notify::new(), log }))
    }

    pub fn name(&self) -> &str {
        self.0.issuer.name()
    }

    /// Where people log in (`authorization_endpoint`), once it has told.
    pub fn page(&self) -> Option<Url> {
        self.0.state.borrow().page.clone()
    }

    /// Waits for new keys, for `WAIT` at most, if it takes another one than those known.
    pub async fn judge(&self, token: &Unverified<'_>) -> Judgement {
        let mut news = self.0.state.subscribe();
        let state = news.borrow_and_update().clone();
        if let Some(judgement) = state.judge(token) {
            return judgement;
        }
        if state.tried.is_none_or(|(tried, _)| tried.elapsed() >= ASK_AT_MOST_EVERY) {
            self.0.wanted.notify_one();
            if timeout(WAIT, news.changed()).await.is_err() {
                return Judgement::NoKeys;
            }
        }
        let state = news.borrow().clone();
        state.judge(token).unwrap_or(match state.tried {
            Some((_, true)) => Judgement::UnknownKey,
            Some((_, false)) | None => Judgement::NoKeys,
        })
    }

    /// Keeps the keys fresh, for ever. To be run on one arbiter, once.
    pub async fn keep(self, shelf: KeyShelf) {
        let Inner { issuer, state, wanted, log } = &*self.0;
        let (client, mut failures) = (HttpClient::of_this_arbiter(), 0u32);
        // Those of an earlier life, until they are too old.
        let mut restored = shelf.restore(issuer.name()).await;
        if let Some((keys, until)) = &restored {
            info!(log, "an issuer's keys are known from before"; "issuer" => issuer.name(), "until" => %until);
            state.send_modify(|state| state.keys = Some(Arc::clone(keys)));
        }
        loop {
            let rest = match fetch(&client, issuer).await {
                Ok(Told { keys, text, page, max_age }) => {
                    restored = None;
                    shelf.keep(issuer.name(), text, log).await;
                    let keys = Arc::new(keys);
                    let is_new = state.borrow().keys.as_ref() != Some(&keys);
                    if is_new || failures > 0 {
                        info!(log, "an issuer's keys are there"; "issuer" => issuer.name(), "new" => is_new);
                    }
                    failures = 0;
                    state.send_replace(State { keys: Some(keys), page, tried: Some((Instant::now(), true)) });
                    max_age.unwrap_or(USUAL_AGE).clamp(LEAST_AGE, MOST_AGE)
                }
                Err(error) => {
                    if failures == 0 {
                        warn!(log, "an issuer's keys cannot be fetched, the last ones are kept";
                            "issuer" => issuer.name(), "error" => chain(&error));
                    }
                    failures = failures.saturating_add(1);
                    let is_too_old = restored.as_ref().is_some_and(|(_, until)| *until < shelf.clock.now());
                    if is_too_old && restored.take().is_some() {
                        warn!(log, "an issuer's keys from before are too old to be believed"; "issuer" => issuer.name());
                    }
                    state.send_modify(|state| {
                        state.tried = Some((Instant::now(), false));
                        state.keys = state.keys.take().filter(|_| !is_too_old);
                    });
                    FIRST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)
                }
            };
            // Who asks meanwhile is told what is known.
            let least = ASK_AT_MOST_EVERY.min(rest);
            sleep(least).await;
            let _ = timeout(jittered(rest - least), wanted.notified()).await;
        }
    }
}

impl KeyShelf {
    /// What an earlier life kept, and until when it counts.
    async fn restore(&self, issuer: &str) -> Option<(Arc<KeySet>, Timestamp)> {
        let (layout, of) = (self.layout.clone(), issuer.to_owned());
        let kept = self.blocking.run(move || store::read_issuer_keys(&layout, &of)).await.ok()??;
        let (until, now) = (kept.fetched().plus(KEPT_FOR), self.clock.now());
        // What is of the future was written by a wrong clock: nobody knows how old it is.
        let is_believed = kept.fetched() <= now && now <= until;
        let keys = KeySet::read(kept.keys.as_bytes()).ok().filter(|_| is_believed)?;
        Some((Arc::new(keys), until))
    }

    /// What cannot be kept is fetched again by the next life.
    async fn keep(&self, issuer: &str, text: Bytes, log: &Logger) {
        let Ok(keys) = String::from_utf8(text.to_vec()) else { return };
        let kept = IssuerKeys { issuer: issuer.to_owned(), fetched_micros: self.clock.now().micros(), keys };
        let layout = self.layout.clone();
        if let Ok(Err(error)) = self.blocking.run(move || store::write_issuer_keys(&layout, &kept)).await {
            warn!(log, "an issuer's keys cannot be kept for the next start"; "error" => chain(&error));
        }
    }
}

impl State {
    /// `None` where the key is not among those known.
    fn judge(&self, token: &Unverified<'_>) -> Option<Judgement> {
        match token.judge(self.keys.as_ref()?) {
            Verdict::Signed => Some(Judgement::Signed),
            Verdict::Forged => Some(Judgement::Forged),
            Verdict::UnknownKey => None,
        }
    }
}

/// What an issuer tells of itself.
struct Told {
    keys: KeySet,
    /// The keys as they came.
    text: Bytes,
    page: Option<Url>,
    /// How long the keys are good.
    max_age: Option<Duration>,
}

async fn fetch(client: &HttpClient, issuer: &Issuer) -> Result<Told, NoKeys> {
    #[derive(Deserialize)]
    struct Description {
        issuer: String,
        jwks_uri: String,
        authorization_endpoint: Option<String>,
    }
    let url = issuer.discovery();
    let (description, _) = get(client, url).await?;
    let description: Description =
        serde_json::from_slice(&description).map_err(|source| NoKeys::Description { url: url.clone(), source })?;
    // Discovery 1.0 §4.3: else somebody could speak for another.
    if description.issuer != issuer.name() {
        return Err(NoKeys::Another { url: url.clone(), named: description.issuer });
    }
    let own = |text: &str| Url::parse(text).ok().filter(|place| issuer.may_be_at(place));
    let page = description.authorization_endpoint.as_deref().and_then(own);
    let place = own(&description.jwks_uri);
    let url = place.ok_or_else(|| NoKeys::Place { url: url.clone() })?;
    let (text, max_age) = get(client, &url).await?;
    let keys = KeySet::read(&text).map_err(|source| NoKeys::Keys { url, source })?;
    Ok(Told { keys, text, page, max_age })
}

/// No redirect is followed: what is signed by whom must not depend on where an answer sends us.
async fn get(client: &HttpClient, url: &Url) -> Result<(Bytes, Option<Duration>), NoKeys> {
    let failed = |source| NoKeys::Fetch { url: url.clone(), source };
    let headers = [(header::ACCEPT_ENCODING, "identity")];
    let answer = client.ask_here(url, &headers, ANSWER.patience()).await.map_err(failed)?;
    if answer.status != StatusCode::OK {
        return Err(failed(FetchError::Status(answer.status.as_u16())));
    }
    let max_age = answer.max_age;
    Ok((answer.whole(ANSWER.max_bytes).await.map_err(failed)?, max_age))
}
