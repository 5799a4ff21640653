//! Other nodes: what they hold, and how what is missing here is copied from them.
//!
//! Promises: names are parsed into types of `model` before anything else, sizes are bounded, and every wait has a
//! deadline; nothing is stored that was not verified, but for extra files, which have no hash. With nodes of the
//! existing system it speaks only what they speak (FORMATS §4).
//! Never: follows a peer's redirects; deletes.

mod access;
mod book;
mod bounty;
mod census;
mod claims;
mod client;
mod copy;
mod digest;
mod drain;
mod extras;
mod finish;
mod follow;
mod health;
mod names;
mod neighbour;
mod pass;
mod plan;
mod remembered;
mod root;
mod span;
mod srv;
mod told;
mod twins;

pub use crate::throttle::Throttle;
pub use access::{AccessError, PeerAccess};
pub use book::{BookError, PeerSource};
pub use bounty::{Bounties, LostLately, Opened};
pub use census::{Found, Standing, TombstoneState, find_nodes, holders, tombstone_state};
pub use claims::Claims;
pub use client::{DigestAnswer, HourAnswer, Introduction, NodeTold, Peer, Tag};
pub use copy::{Copier, CopyError, Outcome};
pub use digest::{Differing, Reconciled};
pub use drain::{DrainProgress, DrainReport, OnlyHere, StreamOnlyHere, drain_check};
pub use extras::{ExtraNotice, ExtrasPass, ExtrasReport};
pub use finish::Finisher;
pub use follow::{FollowEvent, Following, follow};
pub use health::{News, PeerHealth, Turn, backoff_after};
pub use names::{HourNames, Refused, TombstoneName};
pub use neighbour::ToldState;
pub use pass::{Notice, Pass, PassReport};
pub use plan::{HourPlan, Window, plan_hour};
pub use remembered::Remembered;
pub use root::{Root, Roots};
pub use span::{SpanCopy, Wrong};

use crate::blocking::Panicked;
use crate::ingest::FetchError;
use crate::store::{DigestsError, StoreError};

/// Why a peer could not be compared with.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("cannot ask for {what}")]
    Ask { what: &'static str, source: FetchError },
    #[error("the answer for {what} is no list of names")]
    NoList { what: &'static str, source: serde_json::Error },
    #[error("the answer is no table of digests, or they do not add up")]
    NoDigests,
    #[error("what it tells of stored files is {why}")]
    NoFeed { why: &'static str },
    #[error("copying fails")]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Digests(#[from] DigestsError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl PeerError {
    /// Whether the peer as a whole is at fault: nothing else will fare better.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Ask { source, .. } | Self::Copy(CopyError::Fetch { source, .. }) => source.is_unreachable(),
            Self::NoList { .. }
            | Self::NoDigests
            | Self::NoFeed { .. }
            | Self::Copy(_)
            | Self::Store(_)
            | Self::Digests(_)
            | Self::Panicked(_) => false,
        }
    }

    /// Whether an answer has only lasted for as long as any may.
    pub fn is_of_age(&self) -> bool {
        matches!(self, Self::Ask { source: FetchError::TooSlow(_), .. })
    }
}
