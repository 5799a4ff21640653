//! One file from a peer to the disk.
//!
//! Promises: small ones are one piece of disk work, large ones are never held whole; what is not the announced bytes is
//! not stored; nothing is copied twice at once, or although it is there.

use std::path::PathBuf;

use bytes::Bytes;

use super::claims::Claims;
use super::client::Peer;
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
        let Some(_claim) = self.claims.claim(channel, quality, name.hash()) else { return Ok(Outcome::UnderWay) };
        let hour = name.hour().to_string();
        let path = self.layout.hour_dir(channel, quality, name.hour()).join(name.as_str());
        let asked = [channel.as_str(), quality.as_str(), &hour, name.as_str()];
        self.fetch(peer, &asked, path, Some(name.hash())).await
    }

    async fn fetch(
        &self,
        peer: &Peer,
        asked: &[&str],
        path: PathBuf,
        expected: Option<SegmentHash>,
    ) -> Result<Outcome, CopyError> {
        let (looked_at, layout, min_free_bytes) = (path.clone(), self.layout.clone(), self.min_free_bytes);
        let is_needed = move || {
            if looked_at.symlink_metadata().is_ok() || is_tombstoned(&looked_at) {
                return Ok(false);
            }
            if min_free_bytes > 0 && free_bytes(&layout)? < min_free_bytes {
                return Err(CopyError::NoRoom);
            }
            Ok(true)
        };
        if !self.blocking.run(is_needed).await?? {
            return Ok(Outcome::NotNeeded);
        }
        let file = || asked.join("/").into();
        let failed = |source| CopyError::Fetch { file: file(), source };
        let body = match peer.file(asked).await {
            Ok(body) => body,
            // A tombstone, which the next listing shows; or it was deleted.
            Err(error) if error.is_gone() => return Ok(Outcome::Gone),
            Err(error) => return Err(failed(error)),
        };
        if body.expected_bytes().is_some_and(|bytes| bytes > MAX_FILE_BYTES) {
            return Err(failed(FetchError::TooLong(MAX_FILE_BYTES as usize)));
        }
        match self.store(body, path, expected, failed).await? {
            (Copied::New, bytes) => Ok(Outcome::Copied { bytes }),
            (Copied::AlreadyThere | Copied::Tombstoned, _) => Ok(Outcome::NotNeeded),
            (Copied::WrongBytes, _) => Err(CopyError::WrongBytes { file: file() }),
        }
    }

    async fn store(
        &self,
        mut body: Body,
        path: PathBuf,
        expected: Option<SegmentHash>,
        failed: impl Fn(FetchError) -> CopyError,
    ) -> Result<(Copied, u64), CopyError> {
        let mut pending = None;
        let mut received_bytes = 0;
        loop {
            let (gathered, is_all) = self.gather(&mut body).await.map_err(&failed)?;
            received_bytes += gathered.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if received_bytes > MAX_FILE_BYTES {
                return Err(failed(FetchError::TooLong(MAX_FILE_BYTES as usize)));
            }
            let (this, path) = (self.clone(), path.clone());
            let write = move || {
                let mut pending = match pending {
                    Some(pending) => pending,
                    None => this.create(&path)?,
                };
                gathered.iter().try_for_each(|piece| pending.append(piece))?;
                if is_all { pending.finish(expected).map(Written::All) } else { Ok(Written::Part(pending)) }
            };
            match self.blocking.run(write).await?? {
                Written::Part(part) => pending = Some(part),
                Written::All(copied) => return Ok((copied, received_bytes)),
            }
        }
    }

    fn create(&self, path: &std::path::Path) -> Result<PendingCopy, StoreError> {
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

enum Written {
    Part(PendingCopy),
    All(Copied),
}
