//! A video that is put together in a file without a name before its first byte goes out, as its start tells of all of it.
//!
//! Promises: where too little of the disk is free it ends with an error; the place among those who run ffmpeg is held until the
//! file has been read or given up, so that there are no more such files than places.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::CutError;
use super::ffmpeg::Seat;
use super::files::ByteStream;
use crate::blocking::Blocking;
use crate::store::{Scratch, StoreError};

/// After so many bytes the disk is looked at again.
const LOOK_EVERY_BYTES: u64 = 64 << 20;
/// Once it has had all of its input, ffmpeg moves the file's content to make room at the start. Slower disks are no use.
const SLOWEST_MOVE_BYTES_PER_S: u64 = 20 << 20;

/// What a child has been fed with.
#[derive(Debug, Default)]
struct Fed {
    bytes: AtomicU64,
    has_ended: AtomicBool,
}

/// Where to put it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub scratch: Scratch,
    pub blocking: Blocking,
}

impl Place {
    /// Runs an ffmpeg that writes into a file, of some `expected_bytes`, by its path. Answers once all of it is there: with its
    /// length in bytes, and the bytes.
    pub async fn spooled(
        self,
        seat: Seat,
        args: impl FnOnce(&Path) -> Vec<OsString>,
        input: ByteStream,
        expected_bytes: u64,
    ) -> Result<(u64, ByteStream), CutError> {
        let scratch = self.scratch.clone();
        let made = self.blocking.run(move || scratch.create(expected_bytes)).await??;
        let file = made.ok_or(CutError::NoRoom)?;
        let fed = Arc::new(Fed::default());
        let mut running = seat.run(args(&file.path()), self.watched(input, Arc::clone(&fed)))?;
        let (mut known_bytes, mut moved) = (0, Duration::ZERO);
        running
            .finished(|waited| {
                let bytes = fed.bytes.load(Ordering::Relaxed);
                if fed.has_ended.load(Ordering::Relaxed) {
                    moved += waited;
                    return moved.as_secs().saturating_mul(SLOWEST_MOVE_BYTES_PER_S) < bytes;
                }
                bytes > std::mem::replace(&mut known_bytes, bytes)
            })
            .await?;
        let path = file.path();
        let (pieces, size_bytes) = self.blocking.clone().run(move || file.into_pieces(self.blocking)).await??;
        let bytes = stream::try_unfold((pieces, seat, path), |(mut pieces, seat, path)| async move {
            let next = pieces.next().await.map_err(|source| StoreError::of_read(&path, source))?;
            Ok(next.map(|bytes| (bytes, (pieces, seat, path))))
        });
        Ok((size_bytes, bytes.boxed()))
    }

    /// The same bytes, for as long as there is room for them.
    fn watched(&self, input: ByteStream, fed: Arc<Fed>) -> ByteStream {
        let state = (input, self.clone(), fed, 0);
        let watched = stream::try_unfold(state, |(mut input, place, fed, unlooked_bytes)| async move {
            let Some(bytes) = input.next().await else {
                fed.has_ended.store(true, Ordering::Relaxed);
                return Ok(None);
            };
            let bytes = bytes?;
            fed.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let mut unlooked_bytes = unlooked_bytes + bytes.len() as u64;
            if unlooked_bytes >= LOOK_EVERY_BYTES {
                unlooked_bytes = 0;
                let scratch = place.scratch.clone();
                if !place.blocking.run(move || scratch.has_room(LOOK_EVERY_BYTES)).await?? {
                    return Err(CutError::NoRoom);
                }
            }
            Ok(Some((bytes, (input, place, fed, unlooked_bytes))))
        });
        watched.boxed()
    }
}
