//! A plain HLS address: a master playlist, or one media playlist.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use url::Url;

use super::choose::choose;
use super::{BEST, MANY, PLAYLIST_BUDGET, Source, SourceError, SourceState, Taste};
use crate::hls::upstream::{self, Playlist};
use crate::ingest::client::HttpClient;
use crate::model::Quality;

#[derive(Debug)]
pub(super) struct HlsSource {
    url: Url,
    taste: Taste,
}

impl HlsSource {
    pub fn new(url: Url, taste: Taste) -> Self {
        Self { url, taste }
    }
}

impl Source for HlsSource {
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>> {
        resolve(client, &self.url, qualities, &self.taste, None).boxed_local()
    }

    fn max_concurrent(&self) -> usize {
        MANY
    }
}

/// Reads what is at an address, whoever found it.
pub(super) async fn resolve(
    client: &HttpClient,
    url: &Url,
    qualities: &[Quality],
    taste: &Taste,
    usual_life: Option<Duration>,
) -> Result<SourceState, SourceError> {
    let text = match client.get_whole(url, None, PLAYLIST_BUDGET).await {
        Err(error) if error.is_gone() => return Ok(SourceState::NotLive),
        fetched => fetched?,
    };
    Ok(match upstream::parse(&text)? {
        Playlist::Master(variants) => choose(url, &variants, qualities, taste, usual_life),
        // The address is a media playlist itself: it serves the one quality that can be meant.
        Playlist::Media(_) => {
            let (media, missing) = qualities
                .iter()
                .cloned()
                .partition::<Vec<_>, _>(|quality| quality.as_str() == BEST || qualities.len() == 1);
            let media = media.iter().map(|quality| taste.media_url(quality, url.clone(), usual_life));
            SourceState::Live { media: media.collect(), missing, offered: vec![BEST.into()] }
        }
    })
}
