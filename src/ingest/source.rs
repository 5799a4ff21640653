//! Where the playlists of a channel come from. A new kind of source is a new implementation of `Source`.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use url::Url;

use super::client::{ByteBudget, FetchError, HttpClient};
use super::hedge::hedged;
use super::sessions::Dates;
use crate::hls::upstream::{self, BadPlaylist, Playlist, Variant};
use crate::model::Quality;

/// A playlist is text of some kilobytes; hours of history make megabytes. More is an attack or a mistake.
pub const PLAYLIST_BUDGET: ByteBudget = ByteBudget { max_bytes: 16 << 20, deadline: Duration::from_secs(90) };
const MASTER_BUDGET: ByteBudget = ByteBudget { deadline: Duration::from_secs(30), ..PLAYLIST_BUDGET };
/// A playlist that is not there by then is asked for a second time beside.
pub const PLAYLIST_SOFT: Duration = Duration::from_secs(5);
/// The quality that stands for the best variant, however the source names it.
const BEST: &str = "source";

/// Why a source gave no answer that we understand.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot fetch the master playlist")]
    Fetch(#[from] FetchError),
    #[error("the master playlist is unusable")]
    Playlist(#[from] BadPlaylist),
}

/// The address of one quality's media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaUrl {
    pub quality: Quality,
    pub url: Url,
    /// How long the address is good for, where the source tells.
    pub lives_for: Option<Duration>,
}

/// What a source says of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    NotLive,
    Live { media: Vec<MediaUrl>, missing: Vec<Quality>, offered: Vec<String> },
}

/// Finds the media playlists of a channel.
pub trait Source {
    /// Asks the source where the media playlists of `qualities` are now. Not being live is an answer, not an error.
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>>;

    /// How far the dates in its media playlists can be believed.
    fn dates(&self) -> Dates {
        Dates::AsTold
    }
}

/// A plain HLS address: a master playlist, or one media playlist.
#[derive(Debug, Clone)]
pub struct HlsSource {
    url: Url,
}

impl HlsSource {
    pub fn new(url: Url) -> Self {
        Self { url }
    }
}

impl Source for HlsSource {
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>> {
        async move {
            let fetched = hedged(PLAYLIST_SOFT, || client.get_located(&self.url, None, MASTER_BUDGET)).await;
            let (text, base) = match fetched {
                Err(error) if error.is_gone() => return Ok(SourceState::NotLive),
                fetched => fetched?,
            };
            Ok(match upstream::parse(&text)? {
                Playlist::Master(variants) => choose(&base, &variants, qualities),
                // The address is a media playlist itself: it serves the one quality that can be meant.
                Playlist::Media(_) => {
                    let (media, missing) = qualities
                        .iter()
                        .cloned()
                        .partition::<Vec<_>, _>(|quality| quality.as_str() == BEST || qualities.len() == 1);
                    let media =
                        media.into_iter().map(|quality| MediaUrl { quality, url: self.url.clone(), lives_for: None });
                    SourceState::Live { media: media.collect(), missing, offered: vec![BEST.into()] }
                }
            })
        }
        .boxed_local()
    }
}

/// Picks each quality's variant: by name, and `source` as the one with most pixels, then bits.
fn choose(base: &Url, variants: &[Variant], qualities: &[Quality]) -> SourceState {
    let (mut media, mut missing) = (Vec::new(), Vec::new());
    for quality in qualities {
        let named = |variant: &&Variant| variant.names.iter().any(|name| name.eq_ignore_ascii_case(quality.as_str()));
        let best = || {
            let ranked = variants.iter().max_by_key(|variant| (variant.pixels, variant.bandwidth));
            ranked.filter(|_| quality.as_str() == BEST)
        };
        let variant = variants.iter().find(named).or_else(best);
        match variant.and_then(|variant| base.join(&variant.uri).ok()) {
            Some(url) => media.push(MediaUrl { quality: quality.clone(), url, lives_for: None }),
            None => missing.push(quality.clone()),
        }
    }
    let offered = variants.iter().filter_map(|variant| variant.names.first().cloned()).collect();
    SourceState::Live { media, missing, offered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(uri: &str, name: &str, pixels: u64, bandwidth: u64) -> Variant {
        Variant { uri: uri.into(), names: vec![name.into()], bandwidth, pixels }
    }

    #[test]
    fn source_is_the_best_and_others_go_by_name() {
        let variants = [variant("s.m3u8", "480p", 400_000, 1), variant("l.m3u8", "1080p60", 2_000_000, 9)];
        let base: Url = "http://x.test/a/master.m3u8".parse().unwrap();
        let wanted: Vec<Quality> = ["source", "480P", "360p"].iter().map(|name| name.parse().unwrap()).collect();
        let SourceState::Live { media, missing, .. } = choose(&base, &variants, &wanted) else { panic!() };
        let urls: Vec<&str> = media.iter().map(|one| one.url.as_str()).collect();
        assert_eq!(urls, ["http://x.test/a/l.m3u8", "http://x.test/a/s.m3u8"]);
        assert_eq!(missing, ["360p".parse().unwrap()]);
    }
}
