//! Where the playlists of a channel come from. A new kind of source is a new implementation of `Source`.
//!
//! Promises: not being live is an answer, not an error; a name that a service changes costs at most the names, never
//! `source` itself.
//! Never: fetches segments; keeps an answer (who asks decides how long it stands).

mod choose;
mod command;
mod hls;
mod token;
mod twitch;
mod ytdlp;

use std::process::ExitStatus;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use slog::Logger;
use url::Url;

use super::client::{ByteBudget, FetchError, HttpClient};
use super::sessions::Dates;
use crate::blocking::Blocking;
use crate::child::ChildError;
use crate::config::{ChannelConfig, SourceConfig, TwitchConfig};
use crate::hls::upstream::BadPlaylist;
use crate::model::{Quality, VideoCodec};

use command::CommandSource;
use hls::HlsSource;
use token::TokenFile;
use twitch::TwitchSource;
use ytdlp::YtDlpSource;

/// A playlist is text of some kilobytes; hours of history make megabytes. More is an attack or a mistake.
pub const PLAYLIST_BUDGET: ByteBudget = ByteBudget { max_bytes: 16 << 20, deadline: Duration::from_secs(90) };
const MASTER_BUDGET: ByteBudget = ByteBudget { deadline: Duration::from_secs(30), ..PLAYLIST_BUDGET };
/// A playlist that is not there by then is asked for a second time beside.
pub const PLAYLIST_SOFT: Duration = Duration::from_secs(5);
/// The quality that stands for the best variant, however the source names it.
const BEST: &str = "source";
/// What a content network bears from one client without a word. wubloader fetches as many.
const MANY: usize = 64;

/// Why a source gave no answer that we understand.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot fetch the master playlist")]
    Fetch(#[from] FetchError),
    #[error("the master playlist is unusable")]
    Playlist(#[from] BadPlaylist),
    #[error("cannot ask Twitch for an access token")]
    AccessToken(#[source] FetchError),
    #[error("Twitch gives no access token: {why}")]
    NoAccessToken { why: String },
    #[error("Twitch gives no playlist: status {status}, {why}")]
    NoPlaylist { status: u16, why: String },
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("{program} failed ({status})")]
    Failed { program: String, status: ExitStatus, source: LastWords },
    #[error("{program} printed no http or https address: {printed:?}")]
    NoAddress { program: String, printed: String },
    #[error("yt-dlp knows of no HLS playlist: {why}")]
    NoHls { why: String },
}

/// What a program said at its end. Apart from the error, as it may differ from one failure to the next that is the same.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LastWords(String);

impl LastWords {
    /// How much of them is worth a log line: the end says what is wrong.
    const CHARS: usize = 200;

    fn of(said: &str) -> Self {
        let surplus = said.chars().count().saturating_sub(Self::CHARS);
        let end: String = said.chars().skip(surplus).collect();
        Self(if end.is_empty() { "it said nothing".to_owned() } else { end })
    }
}

/// The address of one quality's media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaUrl {
    pub quality: Quality,
    pub url: Url,
    /// How long the address is good from now on; `None` where nobody knows.
    pub lives_for: Option<Duration>,
}

/// What a source says of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    NotLive,
    Live {
        media: Vec<MediaUrl>,
        missing: Vec<Quality>,
        /// The names of each variant that there is, as `1080p60|chunked`.
        offered: Vec<String>,
    },
}

/// Finds the media playlists of a channel.
pub trait Source {
    /// Asks the source where the media playlists of `qualities` are now. Not being live is an answer, not an error.
    fn media_urls<'a>(
        &'a self,
        client: &'a HttpClient,
        qualities: &'a [Quality],
    ) -> LocalBoxFuture<'a, Result<SourceState, SourceError>>;

    /// How many segments of one quality may be fetched from it at once, at most.
    fn max_concurrent(&self) -> usize;

    /// How far the dates in its media playlists can be believed.
    fn dates(&self) -> Dates {
        Dates::AsTold
    }

    /// Whether a question starts a program: then it is asked only when somebody needs an address.
    fn is_costly(&self) -> bool {
        false
    }
}

/// What a channel wants of whatever its source offers.
#[derive(Debug, Clone)]
struct Taste {
    codecs: Vec<VideoCodec>,
    /// Overrides what the kind of source knows.
    url_life: Option<Duration>,
}

impl Taste {
    fn media_url(&self, quality: &Quality, url: Url, usual_life: Option<Duration>) -> MediaUrl {
        MediaUrl { quality: quality.clone(), url, lives_for: self.url_life.or(usual_life) }
    }
}

/// What sources of some kinds need beside their channel's configuration.
#[derive(Debug, Clone)]
pub struct SourceDeps {
    pub twitch: TwitchConfig,
    /// The recorder's own door to the disk.
    pub blocking: Blocking,
    pub log: Logger,
}

/// The source that a channel is configured to have.
pub fn source_of(channel: &ChannelConfig, deps: &SourceDeps) -> Box<dyn Source> {
    let taste = Taste { codecs: channel.codecs.clone(), url_life: channel.url_life };
    match &channel.source {
        SourceConfig::Hls(url) => Box::new(HlsSource::new(url.expose().clone(), taste)),
        SourceConfig::Twitch(login) => {
            let token = deps.twitch.token_file.clone();
            let log = deps.log.new(slog::o!("channel" => channel.name.to_string()));
            let token = token.map(|path| TokenFile::new(path, deps.blocking.clone(), log));
            Box::new(TwitchSource::new(login.clone(), deps.twitch.clone(), token, taste))
        }
        SourceConfig::Youtube(page) => Box::new(YtDlpSource::new(page.clone(), taste)),
        SourceConfig::Command(line) => Box::new(CommandSource::new(line.clone(), taste)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_kind_of_source_says_what_it_bears_and_how_far_its_dates_can_be_believed() {
        for (key, bears, dates, is_costly) in [
            ("hls=http://source.test/live.m3u8", MANY, Dates::AsTold, false),
            ("twitch=example", MANY, Dates::Exact, false),
            ("youtube=https://www.youtube.com/@example/live", 4, Dates::AsTold, true),
            ("command=[\"true\"]", MANY, Dates::AsTold, true),
        ] {
            let sets = ["channel.0.name=ch".to_owned(), format!("channel.0.{key}")];
            let config = Config::load(None, &sets, std::iter::empty()).map_err(|faults| faults.to_string()).unwrap();
            let log = Logger::root(slog::Discard, slog::o!());
            let deps = SourceDeps { twitch: config.config.twitch, blocking: Blocking::new(1), log };
            let source = source_of(&config.config.channels[0], &deps);
            assert_eq!(
                (source.max_concurrent(), source.dates(), source.is_costly()),
                (bears, dates, is_costly),
                "{key}"
            );
        }
    }
}
