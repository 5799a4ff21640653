//! A live video on a page that yt-dlp understands: YouTube's, first of all.
//!
//! Never: lets yt-dlp download anything.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use url::Url;

use super::command::DEADLINE;
use super::hls::resolve;
use super::{LastWords, Source, SourceError, SourceState, Taste};
use crate::child;
use crate::config::{PageUrl, YT_DLP};
use crate::ingest::client::HttpClient;
use crate::model::Quality;

/// YouTube's addresses die after 6 h (wubloader's downloader gives them up after 5 h, too).
const URL_LIFE: Duration = Duration::from_secs(5 * 3600);
/// YouTube lists hours of history, and whoever fetches much of it at once gets nothing any more (wubloader takes 4, too).
const MAX_CONCURRENT: usize = 4;
/// The description of a live video is some 100 KB.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// What yt-dlp says where there is nothing to record yet, or any more; in lower case.
const NOT_LIVE: &[&str] = &[
    "live event will begin",
    "premieres in",
    "premiere will begin",
    "not currently live",
    "live event has ended",
    "live stream recording is not available",
    "is offline",
];

#[derive(Debug)]
pub(super) struct YtDlpSource {
    page: PageUrl,
    taste: Taste,
}

impl YtDlpSource {
    pub fn new(page: PageUrl, taste: Taste) -> Self {
        Self { page, taste }
    }

    async fn find(&self, client: &HttpClient, qualities: &[Quality]) -> Result<SourceState, SourceError> {
        match self.ask().await? {
            Some(url) => resolve(client, &url, qualities, &self.taste, Some(URL_LIFE)).await,
            None => Ok(SourceState::NotLive),
        }
    }

    /// The address of the HLS playlist; `None` where nothing is live.
    async fn ask(&self) -> Result<Option<Url>, SourceError> {
        let args = [
            "--dump-json",
            "--no-playlist",
            "--no-warnings",
            // What is announced has no formats yet; its state says so.
            "--ignore-no-formats-error",
            // Sound and pictures in one, by HLS: the address that comes with it is that of the master playlist.
            "--format",
            "best[protocol^=m3u8]/bestvideo[protocol^=m3u8]",
            "--",
            self.page.expose(),
        ];
        let finished = child::run(YT_DLP, &args.map(str::to_owned), MAX_OUTPUT_BYTES, DEADLINE).await?;
        if finished.status.success() {
            return live_address(&finished.output).map_err(|why| SourceError::NoHls { why });
        }
        let said = finished.last_words.to_lowercase();
        if NOT_LIVE.iter().any(|words| said.contains(words)) {
            return Ok(None);
        }
        let source = LastWords::of(&finished.last_words);
        Err(SourceError::Failed { program: YT_DLP.into(), status: finished.status, source })
    }
}

impl Source for YtDlpSource {
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>> {
        self.find(client, qualities).boxed_local()
    }

    fn max_concurrent(&self) -> usize {
        MAX_CONCURRENT
    }
}

/// Out of the descriptions of what is on the page, one after the other: the address of the first that is live.
fn live_address(descriptions: &[u8]) -> Result<Option<Url>, String> {
    for video in serde_json::Deserializer::from_slice(descriptions).into_iter::<Value>() {
        let video = video.map_err(|_| "what it printed is no JSON".to_owned())?;
        if let Some(url) = address_of(&video)? {
            return Ok(Some(url));
        }
    }
    Ok(None)
}

/// `live_status` is `is_live`, `is_upcoming`, `was_live`, `post_live`, `not_live`, or absent where the page does not tell.
fn address_of(video: &Value) -> Result<Option<Url>, String> {
    match (video["live_status"].as_str(), video["is_live"].as_bool()) {
        (Some("is_live"), _) | (None, Some(true) | None) => {}
        (Some(_), _) | (None, Some(false)) => return Ok(None),
    }
    let is_hls = |format: &&Value| format["protocol"].as_str().is_some_and(|protocol| protocol.starts_with("m3u8"));
    // The format that was chosen, then all others.
    let formats = std::iter::once(video).chain(video["formats"].as_array().into_iter().flatten());
    let mut addresses = formats.filter(is_hls).filter_map(|format| {
        let text = format["manifest_url"].as_str().or_else(|| format["url"].as_str())?;
        Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    });
    addresses.next().map(Some).ok_or_else(|| "the live video has none".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(video: &Value) -> Result<Option<String>, String> {
        address_of(video).map(|url| url.map(String::from))
    }

    #[test]
    fn the_master_playlist_of_a_live_video_is_found() {
        let master = "https://manifest.googlevideo.com/api/manifest/hls_variant/expire/1/file/index.m3u8";
        let media = "https://manifest.googlevideo.com/api/manifest/hls_playlist/expire/1/itag/96/index.m3u8";
        let format = json!({ "protocol": "m3u8_native", "url": media, "manifest_url": master });
        let mut video =
            json!({ "live_status": "is_live", "is_live": true, "formats": [{ "protocol": "https" }, format] });
        assert_eq!(found(&video), Ok(Some(master.into())), "none was chosen");
        video["protocol"] = json!("m3u8_native");
        video["url"] = json!(media);
        assert_eq!(found(&video), Ok(Some(media.into())), "the page has no master playlist");
        video["manifest_url"] = json!(master);
        assert_eq!(found(&video), Ok(Some(master.into())));
        video["manifest_url"] = json!("file:///etc/passwd");
        video["formats"] = json!([]);
        assert_eq!(found(&video), Err("the live video has none".into()));
    }

    #[test]
    fn what_is_not_live_is_told_from_what_we_do_not_understand() {
        for state in ["is_upcoming", "was_live", "post_live", "not_live"] {
            assert_eq!(found(&json!({ "live_status": state, "formats": [] })), Ok(None), "{state}");
        }
        assert_eq!(found(&json!({ "live_status": null, "is_live": false })), Ok(None));
        assert!(found(&json!({ "live_status": "is_live" })).is_err());
        assert_eq!(live_address(b"WARNING: x"), Err("what it printed is no JSON".into()));
        assert_eq!(live_address(b""), Ok(None), "nothing is on the page");
        let live = json!({ "live_status": "is_live", "protocol": "m3u8_native", "url": "https://x/a.m3u8" });
        let several = format!("{}\n{live}\n", json!({ "live_status": "was_live" }));
        assert_eq!(live_address(several.as_bytes()).unwrap().unwrap().as_str(), "https://x/a.m3u8");
    }
}
