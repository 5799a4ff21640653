//! A channel at Twitch: an access token by GraphQL, with it the master playlist from the service called usher.
//!
//! The interface is not documented. What is sent is what the website, streamlink (plugins/twitch.py) and wubloader
//! (downloader/providers.py) send in 2026; what comes back is in `tests/vectors/twitch`.
//!
//! Never: puts the account's token, the access token or the signature into an error.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use awc::http::StatusCode;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use url::Url;

use super::choose::{choose, is_portrait};
use super::token::TokenFile;
use super::{MANY, PLAYLIST_BUDGET, Source, SourceError, SourceState, Taste};
use crate::config::{Secret, TwitchConfig};
use crate::hls::upstream::{self, BadPlaylist, Playlist};
use crate::ingest::client::{ByteBudget, FetchError, HttpClient};
use crate::model::{Quality, TwitchLogin, VideoCodec};

/// Addresses die after 24 h (wubloader's downloader gives them up after 20 h, too).
const URL_LIFE: Duration = Duration::from_secs(20 * 3600);
/// An answer of GraphQL is about a kilobyte.
const ANSWER_BUDGET: ByteBudget = ByteBudget { max_bytes: 64 << 10, deadline: Duration::from_secs(30) };
/// What GraphQL knows the website's question by. Should it forget, the question is asked in full.
const QUESTION_HASH: &str = "ed230aa1e33e07eebb8928504583da78a5173989fadfb1ac94be06a04f3cdbe9";
const QUESTION: &str = "query PlaybackAccessToken($login: String!, $playerType: String!, $platform: String!) { \
    streamPlaybackAccessToken(channelName: $login, \
    params: {platform: $platform, playerBackend: \"mediaplayer\", playerType: $playerType}) { value signature } }";
/// How much of what Twitch says goes into an error.
const EXCERPT_CHARS: usize = 200;

pub(super) struct TwitchSource {
    login: TwitchLogin,
    config: TwitchConfig,
    token: Option<TokenFile>,
    taste: Taste,
}

/// What opens the playlist.
#[derive(Debug, PartialEq, Eq)]
struct Access {
    value: String,
    signature: String,
}

impl TwitchSource {
    pub fn new(login: TwitchLogin, config: TwitchConfig, token: Option<TokenFile>, taste: Taste) -> Self {
        Self { login, config, token, taste }
    }

    async fn find(&self, client: &HttpClient, qualities: &[Quality]) -> Result<SourceState, SourceError> {
        let access = self.access(client).await?;
        let url = self.usher_url(&access, qualities.iter().any(is_portrait), random_below(1_000_000));
        let response = client.ask(&url, PLAYLIST_BUDGET.patience()).await?;
        let status = response.status;
        let text = response.whole(PLAYLIST_BUDGET.max_bytes).await?;
        match status {
            StatusCode::OK => {}
            // Not on air; or the channel is not there at all, which GraphQL would have said.
            StatusCode::NOT_FOUND => return Ok(SourceState::NotLive),
            _ => return Err(SourceError::NoPlaylist { status: status.as_u16(), why: refusal_of_usher(&text) }),
        }
        match upstream::parse(&text)? {
            Playlist::Master(variants) => Ok(choose(&url, &variants, qualities, &self.taste, Some(URL_LIFE))),
            Playlist::Media(_) => Err(BadPlaylist::Broken("it lists segments where variants are due").into()),
        }
    }

    /// With the account's token if there is one, and without it where it is not taken.
    async fn access(&self, client: &HttpClient) -> Result<Access, SourceError> {
        let Some(file) = &self.token else { return self.ask(client, None).await };
        let Some(token) = file.current().await else { return self.ask(client, None).await };
        match self.ask(client, Some(&token)).await {
            Err(SourceError::AccessToken(FetchError::Status(status @ (401 | 403)))) => {
                file.refuse(token, status);
                self.ask(client, None).await
            }
            asked => asked,
        }
    }

    async fn ask(&self, client: &HttpClient, token: Option<&Secret>) -> Result<Access, SourceError> {
        let variables = json!({
            "login": self.login.as_str(), "isLive": true, "isVod": false, "vodID": "",
            "playerType": "embed", "platform": "site",
        });
        let known = json!({
            "operationName": "PlaybackAccessToken", "variables": variables,
            "extensions": { "persistedQuery": { "version": 1, "sha256Hash": QUESTION_HASH } },
        });
        match access_of(&self.post(client, token, &known).await?, &self.login) {
            Err(NoAccess::UnknownQuestion) => {}
            answer => return answer.map_err(NoAccess::into_error),
        }
        let in_full = json!({
            "operationName": "PlaybackAccessToken", "query": QUESTION,
            "variables": { "login": self.login.as_str(), "playerType": "embed", "platform": "site" },
        });
        access_of(&self.post(client, token, &in_full).await?, &self.login).map_err(NoAccess::into_error)
    }

    async fn post(&self, client: &HttpClient, token: Option<&Secret>, body: &Value) -> Result<Bytes, SourceError> {
        let authorization = token.map(|token| format!("OAuth {}", token.expose()));
        let mut headers = vec![("client-id", self.config.client_id.as_str()), ("content-type", "application/json")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let answer = async {
            let body = body.to_string().into();
            let response = client.post(self.config.gql.expose(), &headers, body, ANSWER_BUDGET.patience()).await?;
            match response.status {
                // GraphQL says what is wrong in the body.
                StatusCode::OK | StatusCode::BAD_REQUEST => response.whole(ANSWER_BUDGET.max_bytes).await,
                status => Err(FetchError::Status(status.as_u16())),
            }
        };
        answer.await.map_err(SourceError::AccessToken)
    }

    fn usher_url(&self, access: &Access, portrait: bool, cache_buster: u64) -> Url {
        let mut url = self.config.usher.expose().clone();
        let path = format!("{}/{}.m3u8", url.path().trim_end_matches('/'), self.login);
        url.set_path(&path);
        let codecs: Vec<&str> = self.taste.codecs.iter().map(|codec| name_at_twitch(*codec)).collect();
        url.query_pairs_mut()
            .append_pair("platform", "web")
            .append_pair("p", &cache_buster.to_string())
            .append_pair("allow_source", "true")
            .append_pair("allow_audio_only", "true")
            .append_pair("playlist_include_framerate", "true")
            // What is not named here is not offered: HEVC and AV1, and with them 1440p and more.
            .append_pair("supported_codecs", &codecs.join(","))
            .append_pair("sig", &access.signature)
            .append_pair("token", &access.value);
        if portrait {
            // Landscape and portrait variants in one list.
            url.query_pairs_mut().append_pair("multigroup_video", "true");
        }
        url
    }
}

impl Source for TwitchSource {
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>> {
        self.find(client, qualities).boxed_local()
    }

    fn max_concurrent(&self) -> usize {
        MANY
    }
}

const fn name_at_twitch(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::Hevc => "h265",
        VideoCodec::Av1 => "av1",
    }
}

/// Why GraphQL's answer holds no access token.
#[derive(Debug, PartialEq, Eq)]
enum NoAccess {
    UnknownQuestion,
    Other(String),
}

impl NoAccess {
    fn into_error(self) -> SourceError {
        let why = match self {
            Self::UnknownQuestion => "it does not know the question".to_owned(),
            Self::Other(why) => why,
        };
        SourceError::NoAccessToken { why }
    }
}

fn access_of(answer: &[u8], login: &TwitchLogin) -> Result<Access, NoAccess> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Err(NoAccess::Other("the answer is no JSON".into()));
    };
    let token = &answer["data"]["streamPlaybackAccessToken"];
    if let (Some(value), Some(signature)) = (token["value"].as_str(), token["signature"].as_str()) {
        return Ok(Access { value: value.into(), signature: signature.into() });
    }
    match answer["errors"][0]["message"].as_str() {
        Some("PersistedQueryNotFound") => Err(NoAccess::UnknownQuestion),
        Some(message) => Err(NoAccess::Other(excerpt(message))),
        None if answer["data"].is_object() => Err(NoAccess::Other(format!("there is no channel {login}"))),
        None => Err(NoAccess::Other("the answer has another form than we know".into())),
    }
}

/// Usher's errors are a list: `[{"error": "…", "error_code": "content_geoblocked"}]`.
fn refusal_of_usher(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = if answer.is_array() { &answer[0] } else { &answer };
    let said = first["error_code"].as_str().or_else(|| first["error"].as_str());
    said.map_or_else(|| "without a reason".to_owned(), excerpt)
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS).collect()
}

fn random_below(limit: u64) -> u64 {
    // Each RandomState has keys of its own.
    RandomState::new().hash_one(0u8) % limit
}

#[cfg(test)]
mod tests;
