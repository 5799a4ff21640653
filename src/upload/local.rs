//! Videos as files in a directory of this machine, each with a JSON file beside it.
//!
//! The ticket is the directory's word: a node that sees another directory under the same location cannot say what became of
//! an upload, and says that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::sidecar::{ending, sidecar_text, with_said};
use super::{
    Destination, Gate, Held, Progress, Published, Thumbnail, Transcoding, Upload, UploadError, UploadTicket,
    VideoMetadata,
};
use crate::blocking::Blocking;
use crate::config::LocalConfig;
use crate::model::FileName;
use crate::store::{StoreError, VideoDir, VideoStanding};

/// How much of a title stands in a file's name, in bytes: with the key and an ending it has less than Linux takes.
const MAX_SLUG_BYTES: usize = 80;
/// What stands as it is in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A directory.
pub struct Local {
    videos: VideoDir,
    /// What stands before a file's name in its link; without it, the link is the path.
    url_prefix: Option<String>,
    blocking: Blocking,
}

impl Local {
    pub fn new(config: &LocalConfig, blocking: Blocking) -> Self {
        let url_prefix = config.url_prefix.as_ref().map(|prefix| prefix.as_str().to_owned());
        Self { videos: VideoDir::new(&config.path), url_prefix, blocking }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&VideoDir) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, UploadError> {
        let videos = self.videos.clone();
        Ok(self.blocking.run(move || work(&videos)).await??)
    }

    fn published(&self, name: &FileName) -> Published {
        let link = match &self.url_prefix {
            Some(prefix) => format!("{prefix}{}", utf8_percent_encode(name.as_str(), PLAIN)),
            None => format!("file://{}", path_text(&self.videos.path_of(name))),
        };
        Published { video_id: name.to_string(), link, is_transcoding: false, lacks: None }
    }

    async fn copy(&self, upload: &Upload, progress: &Progress) -> Result<(), UploadError> {
        let (key, file, sidecar) = (upload.key.clone(), upload.file.clone(), sidecar_text(upload));
        let (told, picture) = (progress.clone(), upload.thumbnail.as_ref().map(|thumbnail| thumbnail.image.clone()));
        // The copying thread goes on when its future is dropped: it must not go on for long.
        let wanted = Arc::new(AtomicBool::new(true));
        let _until_dropped = Unwanted(Arc::clone(&wanted));
        let copied = self.with(move |videos| {
            videos.copy(&key, &file, &sidecar, picture.as_deref(), |bytes| {
                told.set(bytes);
                wanted.load(Ordering::Relaxed)
            })
        });
        match copied.await? {
            Some(hash) if hash == upload.sha256 => Ok(()),
            Some(_) | None => Err(UploadError::WrongBytes { why: "its hash is another one".into() }),
        }
    }
}

struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Destination for Local {
    fn begin<'a>(&'a self, _upload: &'a Upload) -> LocalBoxFuture<'a, Result<UploadTicket, UploadError>> {
        async move {
            let word = self.with(VideoDir::word).await?;
            UploadTicket::new(&word).map_err(|error| UploadError::TicketGone { why: error.to_string() })
        }
        .boxed_local()
    }

    fn held<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: Option<&'a UploadTicket>,
    ) -> LocalBoxFuture<'a, Result<Held, UploadError>> {
        async move {
            let Some(ticket) = ticket else { return Ok(Held::Nothing) };
            if self.with(VideoDir::found_word).await?.as_deref() != Some(ticket.expose()) {
                let why = "it was begun in another directory than this node has under the location".into();
                return Ok(Held::Unknowable { why });
            }
            let (key, name) = (upload.key.clone(), file_name(upload));
            let standing = self.with(move |videos| videos.standing(&key, &name)).await?;
            Ok(match standing {
                VideoStanding::Absent => Held::Nothing,
                // What a killed process wrote may not have reached the disk: it is written anew.
                VideoStanding::Begun => Held::Some { bytes: 0 },
                VideoStanding::Whole { len_bytes } if len_bytes == upload.len_bytes => {
                    Held::Whole(self.published(&file_name(upload)))
                }
                VideoStanding::Whole { len_bytes } => {
                    let name = file_name(upload);
                    let why = format!("{name} is there with {len_bytes} bytes, and has {} here", upload.len_bytes);
                    Held::Unknowable { why }
                }
            })
        }
        .boxed_local()
    }

    fn send<'a>(
        &'a self,
        upload: &'a Upload,
        _ticket: &'a UploadTicket,
        _from_bytes: u64,
        progress: &'a Progress,
        gate: Gate<'a>,
    ) -> LocalBoxFuture<'a, Result<Published, UploadError>> {
        async move {
            self.copy(upload, progress).await?;
            gate.await?;
            let (key, name) = (upload.key.clone(), file_name(upload));
            let published = self.published(&name);
            self.with(move |videos| videos.publish(&key, &name)).await?;
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
            let absent = || UploadError::NoVideo { video_id: video_id.to_owned() };
            let name: FileName = video_id.parse().map_err(|_| absent())?;
            let (metadata, thumbnail) = (metadata.clone(), thumbnail.cloned());
            let changed = self.with(move |videos| {
                let change = |old: Option<String>| with_said(old.as_deref().map(str::as_bytes), &metadata);
                let is_there = videos.change_sidecar(&name, change)?;
                if let Some(thumbnail) = thumbnail.filter(|_| is_there) {
                    videos.put_picture(&name, &thumbnail.image)?;
                }
                Ok(is_there)
            });
            if changed.await? { Ok(()) } else { Err(absent()) }
        }
        .boxed_local()
    }

    fn discard<'a>(
        &'a self,
        upload: &'a Upload,
        ticket: &'a UploadTicket,
    ) -> LocalBoxFuture<'a, Result<(), UploadError>> {
        async move {
            let (key, name, word) = (upload.key.clone(), file_name(upload), ticket.expose().to_owned());
            self.with(move |videos| {
                // What was begun elsewhere is not here.
                let is_here = videos.found_word()?.as_deref() == Some(word.as_str());
                if is_here { videos.discard(&key, &name) } else { Ok(()) }
            })
            .await
        }
        .boxed_local()
    }
}

/// Says in a few letters what it is, and by its key which: the same for each try of one attempt.
fn file_name(upload: &Upload) -> FileName {
    let mut slug = String::new();
    for letter in upload.metadata.title.chars() {
        let letter = if letter.is_alphanumeric() { letter } else { '-' };
        if slug.len() + letter.len_utf8() > MAX_SLUG_BYTES {
            break;
        }
        if letter != '-' || !slug.ends_with('-') {
            slug.push(letter);
        }
    }
    let slug = slug.trim_matches('-');
    let slug = if slug.is_empty() { "video" } else { slug };
    let ending = ending(&upload.content_type);
    format!("{slug}-{}.{ending}", upload.key).parse().expect("letters, a key and an ending are a name")
}

fn path_text(path: &Path) -> String {
    const PATH: &AsciiSet = &PLAIN.remove(b'/');
    let text = path.to_string_lossy();
    utf8_percent_encode(&text, PATH).to_string()
}
