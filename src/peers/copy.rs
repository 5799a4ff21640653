//! One file from a peer to the disk.
//!
//! Promises: small ones are one piece of disk work and share a flush with others, large ones are never held whole; what is
//! not the announced bytes is not stored; nothing is copied twice at once, or although it is there.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::claims::{Claim, Claims};
use super::client::Peer;
use super::finish::{Finisher, Place};
use super::throttle::Throttle;
use crate::blocking::{Blocking, Panicked};
use crate::ingest::{Body, FetchError};
use crate::model::{Channel, HashedName, Quality, SegmentHash};
use crate::store::{Copied, Layout, PendingCopy, StoreError, TempMark, Volume, free_bytes, is_tombstoned};

/// Bytes gathered before they go to the disk: few enough to stay small, enough to make few system calls.
const WRITE_BYTES: usize = 256 * 1024;
/// No segment and no emote is larger; an hour of the largest quality has less.
const MAX_FILE_BYTES: u64 = 1 << 30;

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
        let Some(claim) = self.claims.claim(channel, quality, name.hash()) else {
            return Ok(Received::Ended(Outcome::UnderWay));
        };
        let hour = name.hour().to_string();
        let path = self.layout.hour_dir(channel, quality, name.hour()).join(name.as_str());
        let asked = [channel.as_str(), quality.as_str(), &hour, name.as_str()];
        let file = || asked.join("/").into();
        let Some(body) = self.ask(peer, &asked, &path).await? else { return Ok(Received::Ended(Outcome::NotNeeded)) };
        let failed = |source| CopyError::Fetch { file: file(), source };
        let body = match body {
            Ok(body) => body,
            // A tombstone, which the next listing shows; or it was deleted.
            Err(error) if error.is_gone() => return Ok(Received::Ended(Outcome::Gone)),
            Err(error) => return Err(failed(error)),
        };
        if body.expected_bytes().is_some_and(|bytes| bytes > MAX_FILE_BYTES) {
            return Err(failed(FetchError::TooLong(MAX_FILE_BYTES as usize)));
        }
        match self.write(body, path, name.hash(), failed).await? {
            Some(copy) => Ok(Received::Whole { copy, claim, place: self.finisher.place().await }),
            None => Err(CopyError::WrongBytes { file: file() }),
        }
    }

    /// The second half.
    pub(super) async fn finish(&self, received: Received) -> Result<Outcome, CopyError> {
        let (copy, _claim, place) = match received {
            Received::Ended(outcome) => return Ok(outcome),
            Received::Whole { copy, claim, place } => (copy, claim, place),
        };
        let bytes = copy.len_bytes();
        Ok(match self.finisher.finish(copy, place).await? {
            Copied::New => Outcome::Copied { bytes },
            Copied::AlreadyThere | Copied::Tombstoned => Outcome::NotNeeded,
        })
    }

    /// `None` if the file is not needed any more.
    async fn ask(
        &self,
        peer: &Peer,
        asked: &[&str],
        path: &Path,
    ) -> Result<Option<Result<Body, FetchError>>, CopyError> {
        let (path, layout, min_free_bytes) = (path.to_owned(), self.layout.clone(), self.min_free_bytes);
        let is_needed = move || {
            if path.symlink_metadata().is_ok() || is_tombstoned(&path) {
                return Ok(false);
            }
            if min_free_bytes > 0 && free_bytes(&layout)? < min_free_bytes {
                return Err(CopyError::NoRoom);
            }
            Ok(true)
        };
        Ok(if self.blocking.run(is_needed).await?? { Some(peer.file(asked).await) } else { None })
    }

    /// `None` if they are other bytes than those of the hash.
    async fn write(
        &self,
        mut body: Body,
        path: PathBuf,
        expected: SegmentHash,
        failed: impl Fn(FetchError) -> CopyError,
    ) -> Result<Option<PendingCopy>, CopyError> {
        let mut pending: Option<PendingCopy> = None;
        loop {
            let (gathered, is_all) = self.gather(&mut body).await.map_err(&failed)?;
            let (this, path) = (self.clone(), path.clone());
            let write = move || -> Result<_, StoreError> {
                let mut pending = match pending {
                    Some(pending) => pending,
                    None => this.create(&path)?,
                };
                gathered.iter().try_for_each(|piece| pending.append(piece))?;
                let is_right = !is_all || pending.holds(expected);
                Ok((pending, is_right))
            };
            let (written, is_right) = self.blocking.run(write).await??;
            if written.len_bytes() > MAX_FILE_BYTES {
                return Err(failed(FetchError::TooLong(MAX_FILE_BYTES as usize)));
            }
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
    async fn gather(&self, body: &mut Body) -> Result<(Vec<Bytes>, bool), FetchError> {
        let (mut gathered, mut gathered_bytes) = (Vec::new(), 0);
        while gathered_bytes < WRITE_BYTES {
            let Some(piece) = body.next().await else { return Ok((gathered, true)) };
            let piece = piece?;
            self.throttle.took(piece.len()).await;
            gathered_bytes += piece.len();
            gathered.push(piece);
        }
        Ok((gathered, false))
    }
}

/// What a peer has done its part of.
#[derive(Debug)]
pub(super) enum Received {
    Ended(Outcome),
    /// The announced bytes, yet to be flushed and named.
    Whole {
        copy: PendingCopy,
        claim: Claim,
        place: Place,
    },
}
