//! One file from a peer to the disk.
//!
//! Promises: small ones are one piece of disk work and share a flush with others, large ones are never held whole; what is not the announced bytes is
//! not stored; nothing is copied twice at once, or although it is there.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::claims::{Claim, Claims, Copying};
use super::client::Peer;
use super::finish::{Finisher, Place};
use super::health::PeerHealth;
use super::twins;
use crate::blocking::{Blocking, Panicked};
use crate::ingest::{Body, FetchError};
use crate::model::{Channel, ExtraDir, ExtraPath, HashedName, Quality, SegmentHash};
use crate::store::{self, Copied, Layout, PendingCopy, StoreError, TempMark, Volume, free_bytes, is_tombstoned};
use crate::throttle::Throttle;

/// Bytes gathered before they go to the disk: few enough to stay small, enough to make few system calls.
const WRITE_BYTES: usize = 512 * 1024;
/// No segment is larger; an hour of the largest quality has less.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Nobody can say whether an extra file is what it should be; so it is at least no way to fill a disk.
const MAX_EXTRA_BYTES: u64 = 64 << 20;

/// What became of a file that was to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Copied {
        bytes: u64,
    },
    /// It came from elsewhere meanwhile, or was hidden by a tombstone.
    NotNeeded,
    /// Another peer is giving it.
    UnderWay,
    /// Another peer took it over, as this one is slow.
    Yielded,
    /// The peer does not have it any more.
    Gone,
}

/// Why a file could not be copied, this time.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot fetch {file}")]
    Fetch { file: Box<str>, source: FetchError },
    #[error("what came as {file} are other bytes than its name says")]
    WrongBytes { file: Box<str> },
    #[error("too little of the disk is free (retention.min_free)")]
    NoRoom,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl CopyError {
    /// Whether this node is at fault: another file will fare no better.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoRoom | Self::Store(_) | Self::Panicked(_) => true,
            Self::Fetch { .. } | Self::WrongBytes { .. } => false,
        }
    }
}

/// Copies files, for whichever peer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Copier {
    pub layout: Layout,
    /// `None` where BASE was never a node's.
    pub volume: Option<Volume>,
    /// A door of its own: copying never delays a recorder.
    pub blocking: Blocking,
    /// Who waits for a flush waits with others of the same door.
    pub finisher: Finisher,
    pub claims: Claims,
    pub throttle: Throttle,
    pub mark: TempMark,
    /// Where less is free, room is for the recorder, and nothing is copied.
    pub min_free_bytes: u64,
}

impl Copier {
    /// Copies a file of an hour.
    pub async fn copy(
        &self,
        peer: &Peer,
        channel: &Channel,
        quality: &Quality,
        name: &HashedName,
    ) -> Result<Outcome, CopyError> {
        self.finish(self.receive(peer, channel, quality, name).await?).await
    }

    /// The first half of it: everything that the peer has a part in.
    pub(super) async fn receive(
        &self,
        peer: &Peer,
        channel: &Channel,
        quality: &Quality,
        name: &HashedName,
    ) -> Result<Received, CopyError> {
        let hour = name.hour().to_string();
        let path = self.layout.hour_dir(channel, quality, name.hour()).join(name.as_str());
        let asked = [channel.as_str(), quality.as_str(), &hour, name.as_str()];
        let what = Copying::Segment(channel.clone(), quality.clone(), name.hash());
        let at_edge = name.hour_beside().map(|_| (channel.clone(), quality.clone(), name.clone()));
        let wanted =
            WantedFile { asked: &asked, path, at_edge, expected: Some(name.hash()), max_bytes: MAX_FILE_BYTES };
        self.claim_and_receive(peer, what, wanted).await
    }

    /// The second half.
    pub(super) async fn finish(&self, received: Received) -> Result<Outcome, CopyError> {
        let (copy, _claim, place) = match received {
            Received::Ended(outcome) => return Ok(outcome),
            Received::Whole { copy, claim, place } => (copy, claim, place),
        };
        let bytes = copy.len_bytes();
        Ok(match self.finisher.finish(*copy, place).await? {
            Copied::New => Outcome::Copied { bytes },
            Copied::AlreadyThere | Copied::Tombstoned => Outcome::NotNeeded,
        })
    }

    /// Copies a file that has no hash, and stays as it is once it is here.
    pub async fn copy_extra(&self, peer: &Peer, dir: &ExtraDir, path: &ExtraPath) -> Result<Outcome, CopyError> {
        let (layout, of) = (self.layout.clone(), (dir.clone(), path.clone()));
        let place = self.blocking.run(move || store::place_of_extra(&layout, &of.0, &of.1)).await?;
        // A link that an operator made stays what it is.
        let Some(place) = place else { return Ok(Outcome::NotNeeded) };
        let asked: Vec<&str> = std::iter::once(dir.as_str()).chain(path.parts()).collect();
        let what = Copying::Extra(place.clone());
        let wanted =
            WantedFile { asked: &asked, path: place, at_edge: None, expected: None, max_bytes: MAX_EXTRA_BYTES };
        self.finish(self.claim_and_receive(peer, what, wanted).await?).await
    }

    /// Measures how the peer fares, unless nothing came of it.
    async fn claim_and_receive(
        &self,
        peer: &Peer,
        what: Copying,
        wanted: WantedFile<'_>,
    ) -> Result<Received, CopyError> {
        let speed = peer.health().and_then(PeerHealth::speed);
        let Some(claim) = self.claims.claim(what, speed) else { return Ok(Received::Ended(Outcome::UnderWay)) };
        let done = tokio::select! {
            biased;
            done = self.fetch(peer, &claim, wanted) => done,
            () = claim.taken() => Ok(Fetched::Ended(Outcome::Yielded)),
        };
        let is_telling = match &done {
            Ok(Fetched::Ended(outcome)) => !matches!(outcome, Outcome::NotNeeded | Outcome::Gone),
            Ok(Fetched::Whole(_)) => true,
            Err(error) => !error.is_ours(),
        };
        if let Some(health) = peer.health().filter(|_| is_telling) {
            let (bytes, took) = claim.progress();
            health.gave(bytes, took);
        }
        Ok(match done? {
            Fetched::Ended(outcome) => Received::Ended(outcome),
            Fetched::Whole(copy) => Received::Whole { copy, claim, place: self.finisher.place().await },
        })
    }

    async fn fetch(
        &self,
        peer: &Peer,
        claim: &Claim,
        WantedFile { asked, path, at_edge, expected, max_bytes }: WantedFile<'_>,
    ) -> Result<Fetched, CopyError> {
        let (looked_at, layout, min_free_bytes) = (path.clone(), self.layout.clone(), self.min_free_bytes);
        let is_needed = move || {
            if looked_at.symlink_metadata().is_ok() || is_tombstoned(&looked_at) {
                return Ok(false);
            }
            if let Some((channel, quality, name)) = &at_edge
                && twins::is_beside(&layout, channel, quality, name)?
            {
                return Ok(false);
            }
            if min_free_bytes > 0 && free_bytes(&layout)? < min_free_bytes {
                return Err(CopyError::NoRoom);
            }
            Ok(true)
        };
        if !self.blocking.run(is_needed).await?? {
            return Ok(Fetched::Ended(Outcome::NotNeeded));
        }
        let file = || asked.join("/").into();
        let failed = |source| CopyError::Fetch { file: file(), source };
        let body = match peer.file(asked).await {
            Ok(body) => body,
            // A tombstone, which the next listing shows; or it was deleted.
            Err(error) if error.is_gone() => return Ok(Fetched::Ended(Outcome::Gone)),
            Err(error) => return Err(failed(error)),
        };
        let too_long = FetchError::TooLong(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        if body.expected_bytes().is_some_and(|bytes| bytes > max_bytes) {
            return Err(failed(too_long));
        }
        match self.write(body, claim, path, expected, max_bytes, failed).await? {
            Some(copy) => Ok(Fetched::Whole(Box::new(copy))),
            None => Err(CopyError::WrongBytes { file: file() }),
        }
    }

    /// `None` if they are other bytes than those of the hash.
    async fn write(
        &self,
        mut body: Body,
        claim: &Claim,
        path: PathBuf,
        expected: Option<SegmentHash>,
        max_bytes: u64,
        failed: impl Fn(FetchError) -> CopyError,
    ) -> Result<Option<PendingCopy>, CopyError> {
        let mut pending: Option<PendingCopy> = None;
        let mut received_bytes = 0;
        loop {
            let (gathered, is_all) = self.gather(&mut body, claim).await.map_err(&failed)?;
            if is_all {
                claim.is_whole();
            }
            received_bytes += gathered.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if received_bytes > max_bytes {
                return Err(failed(FetchError::TooLong(usize::try_from(max_bytes).unwrap_or(usize::MAX))));
            }
            let (this, path) = (self.clone(), path.clone());
            let write = move || -> Result<_, StoreError> {
                let mut pending = match pending {
                    Some(pending) => pending,
                    None => this.create(&path)?,
                };
                pending.append(&gathered)?;
                let is_right = !is_all || expected.is_none_or(|hash| pending.holds(hash));
                Ok((pending, is_right))
            };
            let (written, is_right) = self.blocking.run(write).await??;
            if is_all {
                return Ok(is_right.then_some(written));
            }
            pending = Some(written);
        }
    }

    fn create(&self, path: &Path) -> Result<PendingCopy, StoreError> {
        self.volume.as_ref().map_or(Ok(()), Volume::check)?;
        PendingCopy::create(path, &self.mark)
    }

    /// Some of the body, and whether that was the rest of it.
    async fn gather(&self, body: &mut Body, claim: &Claim) -> Result<(Vec<Bytes>, bool), FetchError> {
        let (mut gathered, mut gathered_bytes) = (Vec::new(), 0);
        while gathered_bytes < WRITE_BYTES {
            let Some(piece) = body.next().await else { return Ok((gathered, true)) };
            let piece = piece?;
            claim.received(piece.len() as u64);
            self.throttle.took(piece.len()).await;
            gathered_bytes += piece.len();
            gathered.push(piece);
        }
        Ok((gathered, false))
    }
}

/// A file of a peer.
struct WantedFile<'a> {
    /// The parts of its path under the peer's `/segments`.
    asked: &'a [&'a str],
    /// Where it shall lie.
    path: PathBuf,
    /// Of a segment that may have a twin in the hour beside.
    at_edge: Option<(Channel, Quality, HashedName)>,
    /// `None` where nobody knows.
    expected: Option<SegmentHash>,
    max_bytes: u64,
}

/// What the bytes of a file came to.
enum Fetched {
    Ended(Outcome),
    Whole(Box<PendingCopy>),
}

/// What a peer has done its part of.
#[derive(Debug)]
pub(super) enum Received {
    Ended(Outcome),
    /// The announced bytes, yet to be flushed and named.
    Whole {
        copy: Box<PendingCopy>,
        claim: Claim,
        place: Place,
    },
}
