//! A program that prints the address of a playlist, such as `streamlink --stream-url`.
//!
//! Promises: a program that prints nothing and ends well says that the channel is not live.
//! Never: puts anything into its arguments but what the configuration says.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt};
use url::Url;

use super::hls::resolve;
use super::{LastWords, MANY, Source, SourceError, SourceState, Taste};
use crate::child;
use crate::config::CommandLine;
use crate::ingest::client::HttpClient;
use crate::model::Quality;

/// A program of this kind asks a website or two.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
/// An address, or a few, and what some programs print around them.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// Of one channel at once: each is a Python that starts.
const AT_ONCE: usize = 2;
/// What streamlink says, with exit code 1, where it finds nothing.
const NOT_LIVE: &str = "No playable streams found";
/// How much of what a program printed goes into an error.
const EXCERPT_CHARS: usize = 200;

#[derive(Debug)]
pub(super) struct CommandSource {
    line: CommandLine,
    taste: Taste,
}

impl CommandSource {
    pub fn new(line: CommandLine, taste: Taste) -> Self {
        Self { line, taste }
    }

    async fn find(&self, client: &HttpClient, qualities: &[Quality]) -> Result<SourceState, SourceError> {
        if self.line.is_per_quality() {
            return self.find_each(qualities).await;
        }
        let Some(any) = qualities.first() else { return Ok(SourceState::NotLive) };
        match self.print(any).await? {
            Some(url) => resolve(client, &url, qualities, &self.taste, None).await,
            None => Ok(SourceState::NotLive),
        }
    }

    /// Each quality's address is its media playlist. A failure counts only where no quality is found.
    async fn find_each(&self, qualities: &[Quality]) -> Result<SourceState, SourceError> {
        let printed = stream::iter(qualities).map(|quality| async move { (quality, self.print(quality).await) });
        let printed: Vec<_> = printed.buffered(AT_ONCE).collect().await;
        let (mut media, mut missing, mut failure) = (Vec::new(), Vec::new(), None);
        for (quality, printed) in printed {
            match printed {
                Ok(Some(url)) => media.push(self.taste.media_url(quality, url, None)),
                Ok(None) => missing.push(quality.clone()),
                Err(error) => {
                    missing.push(quality.clone());
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            _ if !media.is_empty() => {
                let offered = media.iter().map(|one| one.quality.to_string()).collect();
                Ok(SourceState::Live { media, missing, offered })
            }
            Some(error) => Err(error),
            None => Ok(SourceState::NotLive),
        }
    }

    /// The address that the program prints for a quality; `None` where it says that there is none.
    async fn print(&self, quality: &Quality) -> Result<Option<Url>, SourceError> {
        let program = self.line.program();
        let finished = child::run(program, &self.line.args(quality), MAX_OUTPUT_BYTES, DEADLINE).await?;
        let printed = String::from_utf8_lossy(&finished.output);
        if !finished.status.success() {
            if printed.contains(NOT_LIVE) || finished.last_words.contains(NOT_LIVE) {
                return Ok(None);
            }
            // Some say on standard output what is wrong.
            let said = if finished.last_words.is_empty() { printed.trim() } else { finished.last_words.as_str() };
            let source = LastWords::of(said);
            return Err(SourceError::Failed { program: program.to_owned(), status: finished.status, source });
        }
        first_address(&printed).map_err(|printed| SourceError::NoAddress { program: program.to_owned(), printed })
    }
}

impl Source for CommandSource {
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

/// The first line that is an http or https address. `None` where there is no line at all; an error with what there is
/// where none is an address.
fn first_address(printed: &str) -> Result<Option<Url>, String> {
    let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut addresses = lines.filter_map(|line| Url::parse(line).ok());
    match addresses.find(|url| matches!(url.scheme(), "http" | "https")) {
        Some(url) => Ok(Some(url)),
        None => Err(printed.trim().chars().take(EXCERPT_CHARS).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_counts_and_nothing_means_not_live() {
        let found = |printed| first_address(printed).map(|url| url.map(|url| url.to_string()));
        assert_eq!(
            found("\n [cli] hello\n https://x/a.m3u8?t=1\r\nhttp://y/b\n"),
            Ok(Some("https://x/a.m3u8?t=1".into()))
        );
        assert_eq!(found(" \n\n"), Ok(None));
        for other in ["file:///etc/passwd", "rtmp://x/live", "nothing here", "/relative.m3u8"] {
            assert_eq!(found(other), Err(other.to_owned()));
        }
    }
}
