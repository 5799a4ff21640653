//! The bytes of a file on their way out: read as they go, paced, counted.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Progress, UploadError};
use crate::blocking::Blocking;
use crate::ingest::sending::{SendError, Shipment};
use crate::store::{Pieces, StoreError};
use crate::throttle::Throttle;

/// A file that is sent in stretches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Freight {
    pub file: PathBuf,
    pub blocking: Blocking,
    pub throttle: Throttle,
    pub progress: Progress,
}

impl Freight {
    /// The bytes `first..end`, and each of them counted as sent once the next are asked for.
    pub async fn stretch(&self, first: u64, end: u64) -> Result<Shipment, UploadError> {
        let pieces = self.pieces(first, end).await?;
        let pieces = stream::try_unfold((self.clone(), pieces, first), |(freight, mut pieces, at)| async move {
            freight.progress.set(at);
            let piece = pieces.next().await.map_err(|error| io::Error::other(freight.unreadable(error)))?;
            let Some(piece) = piece else { return Ok(None) };
            freight.throttle.took(piece.len()).await;
            let next = at + piece.len() as u64;
            Ok(Some((piece, (freight, pieces, next))))
        });
        Ok(Shipment { len_bytes: end - first, pieces: pieces.boxed_local() })
    }

    /// The hash of the bytes `first..end`.
    pub async fn sha256(&self, first: u64, end: u64) -> Result<[u8; 32], UploadError> {
        let mut pieces = self.pieces(first, end).await?;
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.next().await.map_err(|error| self.unreadable(error))? {
            hash.update(&piece);
        }
        Ok(hash.finalize().into())
    }

    async fn pieces(&self, first: u64, end: u64) -> Result<Pieces, UploadError> {
        let file = self.file.clone();
        let file = self.blocking.run(move || File::open(file)).await?.map_err(|error| self.unreadable(error))?;
        Ok(Pieces::new(file, first, end, self.blocking.clone()))
    }

    fn unreadable(&self, error: io::Error) -> StoreError {
        StoreError::of_read(&self.file, error)
    }
}

/// An answer that did not come.
pub fn lost(act: &'static str, error: SendError) -> UploadError {
    match error {
        // Ours: nothing of this concerns the destination.
        SendError::Unreadable(error) => match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => StoreError::of_read("the video".as_ref(), error).into(),
        },
        error => UploadError::NoAnswer { act, is_unsure: false, source: error.into() },
    }
}
