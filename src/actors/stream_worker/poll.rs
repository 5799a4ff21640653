//! One poll of a media playlist.

use url::Url;

use crate::hls::upstream::{self, BadPlaylist, MediaPlaylist, Playlist};
use crate::ingest::{FetchError, HttpClient, PLAYLIST_BUDGET, PLAYLIST_SOFT, hedged};
use crate::metrics::PollOutcome;
use crate::model::LossCause;

/// Why a poll gave no playlist.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    #[error("cannot fetch the media playlist")]
    Fetch(#[from] FetchError),
    #[error("the media playlist is unusable")]
    Playlist(#[from] BadPlaylist),
    #[error("the media playlist is a master playlist")]
    Master,
}

impl PollError {
    pub fn outcome(&self) -> PollOutcome {
        match self {
            Self::Fetch(_) => PollOutcome::Failed,
            Self::Playlist(_) | Self::Master => PollOutcome::Malformed,
        }
    }

    /// The source has nothing there.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_gone())
    }

    /// Of what is lost, should this go on.
    pub fn loss_cause(&self) -> LossCause {
        match self {
            Self::Fetch(error) if error.is_refused() => LossCause::Token,
            Self::Fetch(_) | Self::Playlist(_) | Self::Master => LossCause::SourceDown,
        }
    }

    /// Whether only a fresh address can help.
    pub fn condemns_address(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Status(401 | 403 | 404 | 410)) | Self::Master)
    }
}

/// The playlist, and the address that answered in the end.
pub async fn poll_once(client: &HttpClient, url: &Url) -> Result<(MediaPlaylist, Url), PollError> {
    let (text, base) = hedged(PLAYLIST_SOFT, || client.get_located(url, None, PLAYLIST_BUDGET)).await?;
    match upstream::parse(&text)? {
        Playlist::Media(playlist) => Ok((playlist, base)),
        Playlist::Master(_) => Err(PollError::Master),
    }
}
