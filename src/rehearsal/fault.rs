//! The ways in which an answer of the fake source can be wrong.
//!
//! Promises: each does the one thing that it says.
//! Never: says when, how often or to whom (that is `script`).

use std::time::Duration;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    Master,
    Media,
    Segment,
    Map,
}

/// How a body that is cut short had announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With the Content-Length of the whole.
    Length,
    /// In chunks, the last of which never comes.
    Chunked,
}

/// One way to answer wrongly. The last five change only playlists, and spoil no other answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a short text; what is no status of HTTP becomes 500.
    Status(u16),
    /// 200 with an HTML page, as captive portals and error pages do.
    Html,
    /// The connection closes after so many bytes of the body. A shorter body is sent whole.
    Truncated { after_bytes: usize, framing: Framing },
    /// After so many bytes of the body nothing more comes, and the connection stays open. A shorter body is sent whole.
    Stalled { after_bytes: usize },
    /// The answer begins this much later.
    Delayed(Duration),
    /// The connection closes without an answer.
    Dropped,
    /// All bytes come, but so many more were announced; then the connection closes.
    WrongLength { extra_bytes: usize },
    /// Only so many bytes come, announced as if they were all.
    Short { bytes: usize },
    /// The byte at this place is another one. A shorter body is sent as it is.
    Corrupt { at_byte: usize },
    /// 302 to an address that has what was asked for.
    Redirected,
    /// 302 to where the request came to, for ever.
    RedirectLoop,
    /// 302 to this very port as https, where nobody speaks TLS.
    BrokenTls,
    /// 403, unless the address holds a token that a master playlist has handed out less than this ago.
    TokenExpires { after: Duration },
    /// The playlist goes on for so many bytes, with comments. Spoils master playlists too.
    Huge { bytes: u64 },
    /// The playlist has no PROGRAM-DATE-TIME.
    WithoutDateTimes,
    /// The playlist is as it was this many segments ago, as from a stale edge server.
    Stale { segments: usize },
    /// The playlist stays as it was when the rule's time began.
    Frozen,
    /// The playlist says ENDLIST, though the stream goes on.
    FalseEnd,
}

/// Which playlists alone a fault can spoil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoils {
    Anything,
    Playlists,
    MediaPlaylists,
}

impl Fault {
    /// How old a token may be, where one is asked for.
    pub(super) fn token_lifetime(&self) -> Option<Duration> {
        if let Self::TokenExpires { after } = self { Some(*after) } else { None }
    }

    pub(super) fn spoils(&self) -> Spoils {
        match self {
            Self::WithoutDateTimes | Self::Stale { .. } | Self::Frozen | Self::FalseEnd => Spoils::MediaPlaylists,
            Self::Huge { .. } => Spoils::Playlists,
            Self::Status(_)
            | Self::Html
            | Self::Truncated { .. }
            | Self::Stalled { .. }
            | Self::Delayed(_)
            | Self::Dropped
            | Self::WrongLength { .. }
            | Self::Short { .. }
            | Self::Corrupt { .. }
            | Self::Redirected
            | Self::RedirectLoop
            | Self::BrokenTls
            | Self::TokenExpires { .. } => Spoils::Anything,
        }
    }

    /// Whether who meets it cannot have the true answer from this request, nor from another one that meets it too.
    pub(super) fn withholds(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Html
            | Self::Truncated { .. }
            | Self::Stalled { .. }
            | Self::Dropped
            | Self::WrongLength { .. }
            | Self::Short { .. }
            | Self::Corrupt { .. }
            | Self::RedirectLoop
            | Self::BrokenTls
            | Self::Huge { .. } => true,
            Self::Delayed(_)
            | Self::Redirected
            | Self::TokenExpires { .. }
            | Self::WithoutDateTimes
            | Self::Stale { .. }
            | Self::Frozen
            | Self::FalseEnd => false,
        }
    }
}
