//! Videos at YouTube, through its Data API and resumable uploads.
//!
//! A video exists once the last byte of its session has come, and not before. Where the answer to that was lost, the session
//! is asked; where the session is forgotten too, the channel's newest videos are looked through for the mark of the attempt,
//! which each video carries as a tag. Both are read from YouTube's own records, not from its search, which lags for hours. What
//! was uploaded may be listed late: so a video that is not found is looked for again until `settle` is over, and only then is
//! there none.
//!
//! Promises: no second session for a key while the first may have led to a video; nothing asked that the day's budget does
//! not hold; no refusal is met with the same request again, but those that say "later".

mod api;
mod oauth;
mod pacific;
mod quota;
mod refusal;
mod resources;
mod session;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use self::api::{Api, PAGE};
use self::oauth::Tokens;
pub use self::quota::Quota;
use self::resources::{MAX_THUMBNAIL_BYTES, PlaylistItem, Video, insert, is_video_id, mark, update};
use self::session::{Begun, Standing, chunk_end};
use super::freight::Freight;
use super::retry::{Tries, trying};
use super::{
    Destination, Gate, Held, Progress, Published, QuotaBook, Thumbnail, Transcoding, Upload, UploadError, UploadTicket,
    VideoMetadata,
};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::YoutubeConfig;
use crate::ingest::HttpClient;
use crate::model::{Timestamp, UploadKey};
use crate::throttle::Throttle;

/// How far back a channel is looked through: a thousand videos, at two units of quota for fifty.
const MAX_PAGES: usize = 20;
/// How far Google's clock may be from ours, and its times from each other.
const CLOCKS: Duration = Duration::from_secs(3600);
/// How long to wait between two looks for a video that may be listed late, at most.
const LOOKS: Duration = Duration::from_secs(60);
/// Attempts whose sessions are gone that are kept in mind. More of them at once are looked for again from the beginning.
const MAX_MISSED: usize = 1000;

/// A channel.
pub struct Youtube {
    api: Api,
    blocking: Blocking,
    throttle: Throttle,
    /// Since when an attempt's session is known to be gone, and its video is not listed.
    missed: RefCell<BTreeMap<UploadKey, Instant>>,
}

impl Youtube {
    /// All arbiters of a node share `throttle` and `quota`; nodes share `book`.
    pub fn new(
        config: &YoutubeConfig,
        clock: Clock,
        blocking: Blocking,
        throttle: Throttle,
        quota: Quota,
        book: Option<Arc<dyn QuotaBook>>,
    ) -> Self {
        let http = HttpClient::of_this_arbiter();
        let file = config.credentials_file.clone();
        let tokens = Tokens::new(file, config.token_url.clone(), http.clone(), blocking.clone());
        let api = Api { config: config.clone(), http, clock, tokens, quota, book };
        Self { api, blocking, throttle, missed: RefCell::default() }
    }

    fn published(&self, video_id: &str, lacks: Option<String>) -> Published {
        let link = format!("https://youtu.be/{video_id}");
        Published { video_id: video_id.to_owned(), link, is_transcoding: true, lacks }
    }

    /// The video is there; the rest may fail.
    async fn dressed(&self, upload: &Upload, video_id: &str) -> Published {
        let Some(thumbnail) = &upload.thumbnail else { return self.published(video_id, None) };
        let set = trying(async || self.api.set_thumbnail(video_id, &thumbnail.image).await).await;
        self.published(video_id, set.err().map(|error| format!("the thumbnail: {}", chain(&error))))
    }

    /// The video of an attempt whose session is gone.
    async fn look_for(&self, upload: &Upload, begun: &Begun) -> Result<Held, UploadError> {
        match self.find(&mark(&upload.key), begun.began).await? {
            Found::Video(video) => {
                self.missed.borrow_mut().remove(&upload.key);
                Ok(Held::Whole(self.dressed(upload, &video.id).await))
            }
            Found::Nothing => self.settled(&upload.key),
            Found::TooMany => Ok(Held::Unknowable {
                why: format!(
                    "the session is gone, and the video is not among the newest {} of the channel",
                    MAX_PAGES * PAGE
                ),
            }),
        }
    }

    /// Nothing is not believed at once.
    fn settled(&self, key: &UploadKey) -> Result<Held, UploadError> {
        let mut missed = self.missed.borrow_mut();
        if missed.len() >= MAX_MISSED {
            missed.clear();
        }
        let since = *missed.entry(key.clone()).or_insert_with(Instant::now);
        let left = self.api.config.settle.saturating_sub(since.elapsed());
        if left.is_zero() {
            missed.remove(key);
            return Ok(Held::Nothing);
        }
        let why = "the session is gone; the video may exist and not be listed yet".into();
        Err(UploadError::Busy { why, retry_after: Some(left.min(LOOKS)) })
    }

    async fn find(&self, mark: &str, began: Timestamp) -> Result<Found, UploadError> {
        let Some(playlist) = trying(async || self.api.uploads().await).await? else { return Ok(Found::Nothing) };
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = trying(async || self.api.page(&playlist, next.as_deref()).await).await?;
            let ids: Vec<&str> = page.items.iter().map(|item| &*item.content_details.video_id).collect();
            if !ids.is_empty() {
                let videos = trying(async || self.api.videos(&ids).await).await?;
                if let Some(video) = videos.into_iter().find(|video| video.tags().any(|tag| tag == mark)) {
                    return Ok(Found::Video(video));
                }
            }
            // A single one may stand out of order; a whole page does not.
            if page.items.iter().all(|item| is_before(item, began)) || page.next_page_token.is_none() {
                return Ok(Found::Nothing);
            }
            next = page.next_page_token;
        }
        Ok(Found::TooMany)
    }

    /// Sends all that is missing. It ends with the video's id, as the last byte makes the video exist.
    async fn send_all(
        &self,
        upload: &Upload,
        begun: &Begun,
        from_bytes: u64,
        progress: &Progress,
        gate: Gate<'_>,
    ) -> Result<String, UploadError> {
        let freight = Freight {
            file: upload.file.clone(),
            blocking: self.blocking.clone(),
            throttle: self.throttle.clone(),
            progress: progress.clone(),
        };
        let (len, chunk) = (upload.len_bytes, self.api.config.chunk_size.bytes());
        let (mut at, mut gate, mut tries) = (from_bytes.min(len), Some(gate), Tries::new());
        loop {
            progress.set(at);
            let end = chunk_end(at, len, chunk);
            if end == len
                && let Some(gate) = gate.take()
            {
                gate.await?;
            }
            let stood = if at == len {
                self.api.standing(begun).await
            } else {
                let shipment = freight.stretch(at, end).await?;
                self.api.put_chunk(begun, upload, at, shipment).await
            };
            let stood = match stood {
                Ok(stood) => stood,
                Err(error) => {
                    tries.after(error).await.map_err(|error| if end == len { unsure(error) } else { error })?;
                    trying(async || self.api.standing(begun).await).await.map_err(unsure)?
                }
            };
            match stood {
                Standing::Whole(id) => return Ok(id),
                // Whether it led to a video is for `held` to find out.
                Standing::Gone => return Err(unsure(UploadError::TicketGone { why: "the session is gone".into() })),
                Standing::At(now) if now > end => {
                    let why = format!("it has {now} bytes, of which {end} were sent");
                    return Err(UploadError::WrongBytes { why });
                }
                Standing::At(now) if now > at => {
                    tries.succeeded();
                    at = now;
                }
                // It lost some; or it has all, and no video yet.
                Standing::At(now) => {
                    at = now;
                    let why = "the upload does not get on".into();
                    tries.after(UploadError::Busy { why, retry_after: None }).await.map_err(unsure)?;
                }
            }
        }
    }
}

/// What the channel has of an attempt.
enum Found {
    Video(Video),
    Nothing,
    /// It has more videos than are looked through.
    TooMany,
}

fn is_before(item: &PlaylistItem, began: Timestamp) -> bool {
    let text = item.snippet.published_at.trim_end_matches('Z');
    text.parse::<Timestamp>().is_ok_and(|at| at.plus(CLOCKS) < began)
}

/// The video may exist all the same.
fn unsure(error: UploadError) -> UploadError {
    match error {
        UploadError::NoAnswer { act, source, .. } => UploadError::NoAnswer { act, is_unsure: true, source },
        error @ (UploadError::Withdrawn(_) | UploadError::Store(_) | UploadError::Panicked(_)) => error,
        error => UploadError::NoAnswer { act: "sending the video", is_unsure: true, source: error.into() },
    }
}

impl Destination for Youtube {
    fn begin<'a>(&'a self, upload: &'a Upload) -> LocalBoxFuture<'a, Result<UploadTicket, UploadError>> {
        async move {
            let refused = |why, remedy| Err(UploadError::Refused { why, remedy });
            if upload.len_bytes == 0 {
                return refused("the video is empty".to_owned(), "choose other times");
            }
            let thumbnail_bytes = upload.thumbnail.as_ref().map_or(0, |thumbnail| thumbnail.image.len());
            if thumbnail_bytes > MAX_THUMBNAIL_BYTES {
                let why = format!("the thumbnail has {thumbnail_bytes} bytes, YouTube takes {MAX_THUMBNAIL_BYTES}");
                return refused(why, "choose a smaller thumbnail");
            }
            let video = insert(&self.api.config, &upload.key, &upload.metadata)?;
            trying(async || self.api.begin(upload, &video).await).await?.ticket()
        }
        .boxed_local()
    }

    fn held<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: Option<&'a UploadTicket>,
    ) -> LocalBoxFuture<'a, Result<Held, UploadError>> {
        async move {
            // Without its address nobody ever sent a byte in a session, and without bytes there is no video.
            let Some(ticket) = ticket else { return Ok(Held::Nothing) };
            let begun = Begun::of(ticket)?;
            match trying(async || self.api.standing(&begun).await).await? {
                Standing::At(bytes) if begun.is_for(upload) => Ok(Held::Some { bytes: bytes.min(upload.len_bytes) }),
                // It was cut anew meanwhile: what is there is of no use, and no video.
                Standing::At(_) => Ok(Held::Nothing),
                Standing::Whole(id) => Ok(Held::Whole(self.dressed(upload, &id).await)),
                Standing::Gone => self.look_for(upload, &begun).await,
            }
        }
        .boxed_local()
    }

    fn send<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
        from_bytes: u64,
        progress: &'a Progress,
        gate: Gate<'a>,
    ) -> LocalBoxFuture<'a, Result<Published, UploadError>> {
        async move {
            let begun = Begun::of(ticket)?;
            if !begun.is_for(upload) {
                return Err(UploadError::TicketGone { why: "the video has other bytes than when it was begun".into() });
            }
            let id = self.send_all(upload, &begun, from_bytes, progress, gate).await?;
            progress.set(upload.len_bytes);
            Ok(self.dressed(upload, &id).await)
        }
        .boxed_local()
    }

    fn transcoding<'a>(&'a self, video_id: &'a str) -> LocalBoxFuture<'a, Result<Transcoding, UploadError>> {
        async move {
            let video = self.video(video_id).await?;
            Ok(video.transcoding())
        }
        .boxed_local()
    }

    fn modify<'a>(
        &'a self,
        video_id: &'a str,
        metadata: &'a VideoMetadata,
        thumbnail: Option<&'a Thumbnail>,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        async move {
            let video = self.video(video_id).await?;
            if let Some(update) = update(&video, metadata)? {
                trying(async || self.api.update(&update).await).await?;
            }
            if let Some(thumbnail) = thumbnail {
                trying(async || self.api.set_thumbnail(video_id, &thumbnail.image).await).await?;
            }
            Ok(())
        }
        .boxed_local()
    }

    fn discard<'a>(
        &'a self,
        _upload: &'a Upload,
        ticket: &'a UploadTicket,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        async move {
            // A ticket of another kind opens nothing here.
            let Ok(begun) = Begun::of(ticket) else { return Ok(()) };
            trying(async || self.api.cancel(&begun).await).await
        }
        .boxed_local()
    }
}

impl Youtube {
    async fn video(&self, video_id: &str) -> Result<Video, UploadError> {
        let absent = || UploadError::NoVideo { video_id: video_id.to_owned() };
        if !is_video_id(video_id) {
            return Err(absent());
        }
        let videos = trying(async || self.api.videos(&[video_id]).await).await?;
        videos.into_iter().find(|video| video.id == video_id).ok_or_else(absent)
    }
}
