//! The requests that YouTube understands, one method each.
//!
//! Promises: each has a token, deadlines, and its price paid out of the budget before it goes out; an answer is read into a
//! type, or is an error that says what its job can do.
//! Never: tries again, but once with a new token where the old one was refused.

use std::sync::Arc;
use std::time::Duration;

use awc::http::{Method, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::oauth::Tokens;
use super::quota::{Cost, LIST, Quota, THUMBNAIL, UPDATE};
use super::refusal::{self, Act, Refusal};
use super::resources::{Channels, PlaylistPage, Video, Videos};
use super::session::{self, Begun, Standing};
use crate::clock::Clock;
use crate::config::YoutubeConfig;
use crate::ingest::sending::{Cargo, Outgoing, Reply, Shipment};
use crate::ingest::{HttpClient, Patience};
use crate::model::QuotaSpent;
use crate::upload::freight::lost;
use crate::upload::{QuotaBook, Upload, UploadError};

const ASKED: Patience = patience(60, 120);
/// After its last byte a chunk may be worked on for a while.
const CHUNK: Patience = patience(180, 24 * 3600);
/// Fifty videos with long descriptions have a third of a MiB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// As many as a page of a playlist or a list of videos holds.
pub const PAGE: usize = 50;
/// "Client closed request": what an upload that was cancelled answers.
const CANCELLED: u16 = 499;

const fn patience(head_secs: u64, whole_secs: u64) -> Patience {
    Patience {
        head: Duration::from_secs(head_secs),
        stall: Duration::from_secs(60),
        whole: Duration::from_secs(whole_secs),
    }
}

/// YouTube, as one account sees it.
pub struct Api {
    pub config: YoutubeConfig,
    pub http: HttpClient,
    pub clock: Clock,
    pub tokens: Tokens,
    pub quota: Quota,
    /// What other nodes spend of it.
    pub book: Option<Arc<dyn QuotaBook>>,
}

/// An answer: its status, where a session stands or leads, its body.
struct Heard {
    status: StatusCode,
    range: Option<String>,
    location: Option<String>,
    body: Bytes,
}

impl Api {
    /// Begins a session.
    pub async fn begin(&self, upload: &Upload, video: &Value) -> Result<Begun, UploadError> {
        let act = Act { text: "beginning the upload", cost: Some(Cost::Insert) };
        let mut url = self.url("/upload/youtube/v3/videos");
        url.query_pairs_mut()
            .append_pair("uploadType", "resumable")
            .append_pair("part", "snippet,status")
            .append_pair("notifySubscribers", if self.config.notify_subscribers { "true" } else { "false" });
        let headers = vec![
            ("content-type", "application/json; charset=UTF-8".to_owned()),
            ("x-upload-content-length", upload.len_bytes.to_string()),
            ("x-upload-content-type", upload.content_type.clone()),
        ];
        let body = Bytes::from(video.to_string());
        let heard = self.call(act, Method::POST, &url, headers, || Cargo::Whole(body.clone()), |_| false).await?;
        let location = heard.location.unwrap_or_default();
        Begun::new(&location, &self.config.api, self.clock.now(), upload).map_err(|why| UploadError::Busy {
            why: format!("beginning the upload: the address of the session cannot be used: {why}"),
            retry_after: None,
        })
    }

    /// How far a session is.
    pub async fn standing(&self, begun: &Begun) -> Result<Standing, UploadError> {
        let act = Act { text: "asking how far the upload is", cost: None };
        let headers = vec![("content-range", format!("bytes */{}", begun.len_bytes))];
        let nothing = || Cargo::Whole(Bytes::new());
        let heard = self.call(act, Method::PUT, &begun.session, headers, nothing, in_session).await?;
        self.stood(act, heard)
    }

    /// Sends the bytes `from..from + shipment`, and says how far the session is then.
    pub async fn put_chunk(
        &self,
        begun: &Begun,
        upload: &Upload,
        from: u64,
        shipment: Shipment,
    ) -> Result<Standing, UploadError> {
        let act = Act { text: "sending the video", cost: None };
        let last = from + shipment.len_bytes - 1;
        let token = self.tokens.bearer().await?;
        let outgoing = Outgoing {
            method: Method::PUT,
            url: &begun.session,
            headers: vec![
                ("authorization", token.expose().to_owned()),
                ("content-type", upload.content_type.clone()),
                ("content-range", format!("bytes {from}-{last}/{}", upload.len_bytes)),
            ],
            cargo: Cargo::Stream(shipment),
            patience: CHUNK,
        };
        let reply = self.http.carry(outgoing).await.map_err(|error| lost(act.text, error))?;
        if reply.status == StatusCode::UNAUTHORIZED {
            self.tokens.is_refused(&token);
            // With the next token it may do; how far it is has to be asked first.
            return Err(UploadError::Busy {
                why: "sending the video: the token was refused".into(),
                retry_after: None,
            });
        }
        let heard = self.heard(act, reply, in_session).await?;
        self.stood(act, heard)
    }

    /// Gives a session up. One that is gone is given up.
    pub async fn cancel(&self, begun: &Begun) -> Result<(), UploadError> {
        let act = Act { text: "giving the upload up", cost: None };
        let is_over = |status: StatusCode| in_session(status) || status.as_u16() == CANCELLED;
        let nothing = || Cargo::Whole(Bytes::new());
        self.call(act, Method::DELETE, &begun.session, Vec::new(), nothing, is_over).await.map(drop)
    }

    /// Videos by their ids, at most [`PAGE`]. Those that are not there are left out.
    pub async fn videos(&self, ids: &[&str]) -> Result<Vec<Video>, UploadError> {
        let ids = ids.join(",");
        let query = [("part", "snippet,status"), ("id", &*ids)];
        Ok(self.list::<Videos>("asking for the video", "/youtube/v3/videos", &query).await?.items)
    }

    /// The playlist of the channel's uploads.
    pub async fn uploads(&self) -> Result<Option<String>, UploadError> {
        let query = [("part", "contentDetails"), ("mine", "true")];
        Ok(self.list::<Channels>("asking for the channel", "/youtube/v3/channels", &query).await?.uploads())
    }

    /// A page of a playlist: the first, or the one of this token.
    pub async fn page(&self, playlist: &str, token: Option<&str>) -> Result<PlaylistPage, UploadError> {
        let mut query = vec![("part", "snippet,contentDetails"), ("maxResults", "50"), ("playlistId", playlist)];
        query.extend(token.map(|token| ("pageToken", token)));
        self.list("looking through the channel's videos", "/youtube/v3/playlistItems", &query).await
    }

    pub async fn update(&self, video: &Value) -> Result<(), UploadError> {
        let act = Act { text: "changing the video", cost: Some(UPDATE) };
        let mut url = self.url("/youtube/v3/videos");
        url.query_pairs_mut().append_pair("part", "snippet,status");
        let headers = vec![("content-type", "application/json; charset=UTF-8".to_owned())];
        let body = Bytes::from(video.to_string());
        self.call(act, Method::PUT, &url, headers, || Cargo::Whole(body.clone()), |_| false).await.map(drop)
    }

    pub async fn set_thumbnail(&self, video_id: &str, png: &Bytes) -> Result<(), UploadError> {
        let act = Act { text: "setting the thumbnail", cost: Some(THUMBNAIL) };
        let mut url = self.url("/upload/youtube/v3/thumbnails/set");
        url.query_pairs_mut().append_pair("videoId", video_id).append_pair("uploadType", "media");
        let headers = vec![("content-type", "image/png".to_owned())];
        self.call(act, Method::POST, &url, headers, || Cargo::Whole(png.clone()), |_| false).await.map(drop)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        text: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, UploadError> {
        let act = Act { text, cost: Some(LIST) };
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        let heard = self.call(act, Method::GET, &url, Vec::new(), || Cargo::Nothing, |_| false).await?;
        serde_json::from_slice(&heard.body).map_err(|error| nonsense(act, &error.to_string()))
    }

    fn stood(&self, act: Act, heard: Heard) -> Result<Standing, UploadError> {
        let standing = session::standing(heard.status, heard.range.as_deref(), &heard.body);
        standing.ok_or_else(|| nonsense(act, "it does not say how far it is"))
    }

    /// Sends it, and once more with a new token if that is what is wrong.
    async fn call(
        &self,
        act: Act,
        method: Method,
        url: &Url,
        headers: Vec<(&'static str, String)>,
        cargo: impl Fn() -> Cargo,
        expected: impl Fn(StatusCode) -> bool,
    ) -> Result<Heard, UploadError> {
        if let Some(cost) = act.cost {
            let spent = |left| UploadError::Busy {
                why: format!("{}: the day's budget of the location is spent", act.text),
                retry_after: Some(left),
            };
            self.quota.spend(cost, self.clock.now()).map_err(spent)?;
            self.tell(Some(cost)).await?.map_err(spent)?;
        }
        let mut tries_left = 2;
        loop {
            tries_left -= 1;
            let token = self.tokens.bearer().await?;
            let mut headers = headers.clone();
            headers.push(("authorization", token.expose().to_owned()));
            let outgoing = Outgoing { method: method.clone(), url, headers, cargo: cargo(), patience: ASKED };
            let reply = self.http.carry(outgoing).await.map_err(|error| lost(act.text, error))?;
            if reply.status == StatusCode::UNAUTHORIZED {
                self.tokens.is_refused(&token);
                if tries_left > 0 {
                    continue;
                }
            }
            let heard = self.heard(act, reply, &expected).await;
            if heard.is_err() && act.cost.is_some() {
                // It may have said that nothing is left.
                let _ = self.tell(None).await;
            }
            return heard;
        }
    }

    /// Tells the other nodes what was spent here, and hears what they did. An inner error says how long there is nothing left, as
    /// the last of it was spent by more than one.
    async fn tell(&self, cost: Option<Cost>) -> Result<Result<(), Duration>, UploadError> {
        let Some(book) = &self.book else { return Ok(Ok(())) };
        let project = self.tokens.project().await?;
        let news = self.quota.news(self.clock.now());
        if cost.is_none() && news.spent == QuotaSpent::NOTHING {
            return Ok(Ok(()));
        }
        Ok(match book.add(&project, news.day.number(), news.spent).await {
            Some(total) => self.quota.told(news, total, cost, self.clock.now()),
            None => Ok(()),
        })
    }

    /// What is neither a success nor `expected` is an error.
    async fn heard(&self, act: Act, reply: Reply, expected: impl Fn(StatusCode) -> bool) -> Result<Heard, UploadError> {
        let text = |name| reply.header(name).map(str::to_owned);
        let (status, range, location, retry_after) =
            (reply.status, text("range"), text("location"), text("retry-after"));
        let body = reply.whole(MAX_ANSWER_BYTES).await;
        if status.is_success() || expected(status) {
            let body = body.map_err(|error| lost(act.text, error))?;
            return Ok(Heard { status, range, location, body });
        }
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let refusal = Refusal::parse(&body.unwrap_or_default());
        Err(refusal::error(act, status, &refusal, retry_after, &self.quota, self.clock.now()))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.config.api.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }
}

/// What says how far a session is.
fn in_session(status: StatusCode) -> bool {
    matches!(status, StatusCode::PERMANENT_REDIRECT | StatusCode::NOT_FOUND | StatusCode::GONE)
}

fn nonsense(act: Act, why: &str) -> UploadError {
    UploadError::Busy { why: format!("{}: the answer makes no sense: {why}", act.text), retry_after: None }
}
