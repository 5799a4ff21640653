//! Videos as objects in a bucket of any S3-compatible store, sent in parts.
//!
//! The object's name follows from the key of the attempt, and the object carries the key and its hash as metadata: so whoever
//! asks sees whose it is. Parts that are there are not sent again. The last step is on the condition that there is no such
//! object; where its answer is lost, the object itself is asked for. Beside the video lie `….json`, which says what it is,
//! and `….png`, its thumbnail; they are written before it exists, so that a video that is there lacks nothing.
//!
//! Promises: each part goes with its hash, so that a store refuses what came otherwise; no more than a piece of a part is in
//! memory.

mod answers;
mod api;
mod credentials;
mod parts;
mod refusal;
mod sign;

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use self::answers::ListedPart;
use self::api::{Bucket, Completed};
use super::freight::Freight;
use super::retry::{Tries, trying};
use super::sidecar::{ending, sidecar_text, with_said};
use super::{
    Destination, Gate, Held, Progress, Published, Thumbnail, Transcoding, Upload, UploadError, UploadTicket,
    VideoMetadata,
};
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::config::{S3Config, read_secret_text};
use crate::ingest::HttpClient;
use crate::throttle::Throttle;

const PNG: &str = "image/png";
const JSON: &str = "application/json";

/// A bucket.
pub struct S3 {
    config: S3Config,
    http: HttpClient,
    clock: Clock,
    blocking: Blocking,
    throttle: Throttle,
}

/// What a ticket holds: enough to go on, also by a later version that would choose other parts.
#[derive(Serialize, Deserialize)]
struct Begun {
    upload_id: String,
    part_bytes: u64,
    /// Parts of other bytes are no use.
    sha256: String,
}

impl Begun {
    fn of(ticket: &UploadTicket) -> Result<Self, UploadError> {
        let unknown = |_| UploadError::TicketGone { why: "its ticket is not one of this kind of destination".into() };
        serde_json::from_str(ticket.expose()).map_err(unknown)
    }
}

impl S3 {
    /// All arbiters of a node share `throttle`.
    pub fn new(config: &S3Config, clock: Clock, blocking: Blocking, throttle: Throttle) -> Self {
        Self { config: config.clone(), http: HttpClient::of_this_arbiter(), clock, blocking, throttle }
    }

    /// The file with the credentials is read each time: what is put there counts at once.
    async fn bucket(&self) -> Result<Bucket<'_>, UploadError> {
        let file = self.config.credentials_file.clone();
        let credentials = self.blocking.run(move || credentials::parse(read_secret_text(&file)?.expose())).await?;
        let credentials = credentials.map_err(|why| UploadError::Refused {
            why: format!("the credentials of the store cannot be read: {why}"),
            remedy: "correct credentials_file",
        })?;
        Ok(Bucket { config: &self.config, http: &self.http, clock: &self.clock, credentials })
    }

    fn object(&self, upload: &Upload) -> String {
        format!("{}{}.{}", self.config.prefix, upload.key, ending(&upload.content_type))
    }

    fn published(&self, object: &str) -> Published {
        let link = match &self.config.url_prefix {
            Some(prefix) => format!("{prefix}{}", sign::encoded_path(object)),
            None => {
                format!("{}/{}", self.config.bucket_url().as_str().trim_end_matches('/'), sign::encoded_path(object))
            }
        };
        Published { video_id: object.to_owned(), link, is_transcoding: false, lacks: None }
    }

    /// What the object's own head says.
    async fn standing(&self, bucket: &Bucket<'_>, upload: &Upload) -> Result<Held, UploadError> {
        let object = self.object(upload);
        let Some(head) = trying(async || bucket.head(&object).await).await? else { return Ok(Held::Nothing) };
        let is_whole = head.len_bytes == Some(upload.len_bytes) && head.sha256 == Some(sign::hex(&upload.sha256));
        Ok(match head.upload_key {
            Some(key) if key == upload.key.as_str() && is_whole => Held::Whole(self.published(&object)),
            Some(key) if key == upload.key.as_str() => {
                let (there, here) = (head.len_bytes.unwrap_or(0), upload.len_bytes);
                Held::Unknowable {
                    why: format!("{object} is there with other bytes ({there}) than the video has here ({here})"),
                }
            }
            _ => Held::Unknowable { why: format!("{object} is there, and not from this upload") },
        })
    }

    /// Sends what is missing, and gives all parts in order.
    async fn send_parts(
        &self,
        bucket: &Bucket<'_>,
        upload: &Upload,
        begun: &Begun,
        progress: &Progress,
    ) -> Result<Vec<ListedPart>, UploadError> {
        let (object, id) = (self.object(upload), &*begun.upload_id);
        let listed = trying(async || bucket.parts(&object, id).await).await?;
        let freight = Freight {
            file: upload.file.clone(),
            blocking: self.blocking.clone(),
            throttle: self.throttle.clone(),
            progress: progress.clone(),
        };
        let mut there = Vec::new();
        for part in parts::parts(upload.len_bytes, begun.part_bytes) {
            let sha256 = freight.sha256(part.first, part.end).await?;
            let done = match parts::is_there(part, Some(&STANDARD.encode(sha256)), &listed) {
                Some(done) => done.clone(),
                None => {
                    let send = async || {
                        let shipment = freight.stretch(part.first, part.end).await?;
                        bucket.put_part(&object, id, part, sha256, shipment).await
                    };
                    trying(send).await?
                }
            };
            there.push(done);
            progress.set(part.end);
        }
        Ok(there)
    }

    async fn put_beside(&self, bucket: &Bucket<'_>, upload: &Upload) -> Result<(), UploadError> {
        let object = self.object(upload);
        let text = Bytes::from(sidecar_text(upload));
        trying(async || bucket.put(&beside(&object, "json"), JSON, text.clone()).await).await?;
        if let Some(thumbnail) = &upload.thumbnail {
            let picture = beside(&object, "png");
            trying(async || bucket.put(&picture, PNG, thumbnail.image.clone()).await).await?;
        }
        Ok(())
    }

    /// The last step. Whatever is lost of its answer, the object is asked for before anything is done again.
    async fn complete(
        &self,
        bucket: &Bucket<'_>,
        upload: &Upload,
        begun: &Begun,
        parts: &[ListedPart],
    ) -> Result<Published, UploadError> {
        let object = self.object(upload);
        let (mut tries, mut is_conditional) = (Tries::new(), true);
        loop {
            let outcome = bucket.complete(&object, &begun.upload_id, parts, is_conditional).await;
            let standing = self.standing(bucket, upload).await;
            match (standing.map_err(unsure)?, outcome) {
                (Held::Whole(published), _) => return Ok(published),
                (Held::Unknowable { why }, _) => {
                    return Err(UploadError::Refused {
                        why,
                        remedy: "look what lies at the name of the video in the bucket",
                    });
                }
                // It was seen right now that nothing is there.
                (Held::Nothing | Held::Some { .. }, Ok(Completed::Refused)) => is_conditional = false,
                (Held::Nothing | Held::Some { .. }, Ok(Completed::Done | Completed::Taken)) => {
                    return Err(unsure("the store says that the object is there, and does not show it"));
                }
                // By now it is known not to have happened.
                (Held::Nothing | Held::Some { .. }, Err(UploadError::NoAnswer { act, source, .. })) => {
                    tries.after(UploadError::NoAnswer { act, is_unsure: false, source }).await?;
                }
                (Held::Nothing | Held::Some { .. }, Err(error)) => tries.after(error).await?,
            }
        }
    }
}

fn unsure(why: impl Into<Box<dyn Error + Send + Sync>>) -> UploadError {
    UploadError::NoAnswer { act: "completing the upload", is_unsure: true, source: why.into() }
}

/// Whoever began before and could not write its ticket down, as we where an answer was lost, left parts that cost money and that
/// nobody would use.
async fn give_up_all(bucket: &Bucket<'_>, object: &str) -> Result<(), UploadError> {
    for abandoned in bucket.uploads_of(object).await? {
        bucket.abort(object, &abandoned).await?;
    }
    Ok(())
}

/// The video is there; what is left of its uploads, such as of a request that was late, is of no use.
async fn tidy(bucket: &Bucket<'_>, object: &str) {
    // Best effort: a rule of the bucket may end what stays.
    let _ = trying(async || give_up_all(bucket, object).await).await;
}

/// The name of what lies beside a video.
fn beside(object: &str, ending: &str) -> String {
    let stem = object.rsplit_once('.').map_or(object, |(stem, _)| stem);
    format!("{stem}.{ending}")
}

impl Destination for S3 {
    fn begin<'a>(&'a self, upload: &'a Upload) -> LocalBoxFuture<'a, Result<UploadTicket, UploadError>> {
        async move {
            let (bucket, object) = (self.bucket().await?, self.object(upload));
            let begin = async || {
                give_up_all(&bucket, &object).await?;
                bucket.begin(&object, &upload.content_type, upload.key.as_str(), upload.sha256).await
            };
            let begun = Begun {
                upload_id: trying(begin).await?.into(),
                part_bytes: parts::part_bytes(upload.len_bytes, self.config.part_size.bytes()),
                sha256: sign::hex(&upload.sha256),
            };
            let text =
                serde_json::to_string(&begun).map_err(|error| UploadError::TicketGone { why: error.to_string() })?;
            UploadTicket::new(&text).map_err(|error| UploadError::TicketGone { why: error.to_string() })
        }
        .boxed_local()
    }

    fn held<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: Option<&'a UploadTicket>,
    ) -> LocalBoxFuture<'a, Result<Held, UploadError>> {
        async move {
            let bucket = self.bucket().await?;
            let standing = self.standing(&bucket, upload).await?;
            if let Held::Whole(published) = &standing {
                tidy(&bucket, &published.video_id).await;
            }
            let (Held::Nothing, Some(ticket)) = (&standing, ticket) else { return Ok(standing) };
            let Ok(begun) = Begun::of(ticket) else { return Ok(standing) };
            if begun.sha256 != sign::hex(&upload.sha256) {
                return Ok(standing);
            }
            let object = self.object(upload);
            match trying(async || bucket.parts(&object, &begun.upload_id).await).await {
                Ok(listed) => {
                    let all = parts::parts(upload.len_bytes, begun.part_bytes);
                    let bytes = all.filter(|part| parts::is_there(*part, None, &listed).is_some());
                    Ok(Held::Some { bytes: bytes.map(parts::Part::len_bytes).sum() })
                }
                // It may have been completed between the two questions.
                Err(UploadError::TicketGone { .. }) => self.standing(&bucket, upload).await,
                Err(error) => Err(error),
            }
        }
        .boxed_local()
    }

    fn send<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
        _from_bytes: u64,
        progress: &'a Progress,
        gate: Gate<'a>,
    ) -> LocalBoxFuture<'a, Result<Published, UploadError>> {
        async move {
            let begun = Begun::of(ticket)?;
            if begun.sha256 != sign::hex(&upload.sha256) {
                return Err(UploadError::TicketGone { why: "the video has other bytes than when it was begun".into() });
            }
            let bucket = self.bucket().await?;
            let parts = self.send_parts(&bucket, upload, &begun, progress).await?;
            self.put_beside(&bucket, upload).await?;
            gate.await?;
            // It may have taken long, and credentials may expire.
            let bucket = self.bucket().await?;
            let published = self.complete(&bucket, upload, &begun, &parts).await?;
            tidy(&bucket, &published.video_id).await;
            Ok(published)
        }
        .boxed_local()
    }

    fn transcoding<'a>(&'a self, _video_id: &'a str) -> LocalBoxFuture<'a, Result<Transcoding, UploadError>> {
        async { Ok(Transcoding::Done) }.boxed_local()
    }

    fn modify<'a>(
        &'a self,
        video_id: &'a str,
        metadata: &'a VideoMetadata,
        thumbnail: Option<&'a Thumbnail>,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        async move {
            let bucket = self.bucket().await?;
            if trying(async || bucket.head(video_id).await).await?.is_none() {
                return Err(UploadError::NoVideo { video_id: video_id.to_owned() });
            }
            let name = beside(video_id, "json");
            let old = trying(async || bucket.get(&name).await).await?;
            let text = Bytes::from(with_said(old.as_deref(), metadata));
            trying(async || bucket.put(&name, JSON, text.clone()).await).await?;
            if let Some(thumbnail) = thumbnail {
                let name = beside(video_id, "png");
                trying(async || bucket.put(&name, PNG, thumbnail.image.clone()).await).await?;
            }
            Ok(())
        }
        .boxed_local()
    }

    fn discard<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        async move {
            // A ticket of another kind opens nothing here.
            let Ok(begun) = Begun::of(ticket) else { return Ok(()) };
            let (bucket, object) = (self.bucket().await?, self.object(upload));
            trying(async || bucket.abort(&object, &begun.upload_id).await).await?;
            if let Held::Nothing = self.standing(&bucket, upload).await? {
                for ending in ["json", "png"] {
                    trying(async || bucket.delete(&beside(&object, ending)).await).await?;
                }
            }
            Ok(())
        }
        .boxed_local()
    }
}
