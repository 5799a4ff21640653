//! The bytes of a file, piece by piece: out of the page cache at once, from the disk through the blocking door.
//!
//! Promises: one piece in memory at a time; nothing is read before it is asked for; an arbiter never waits for the disk; a
//! file that is shorter than was said is an error, never a short answer.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};

use crate::blocking::Blocking;
use crate::media::mpegts::PACKET_BYTES;

/// From the disk: large enough to make few trips, small enough for hundreds of clients at once. Whole packets of MPEG-TS, like
/// the other: who rewrites them need not put any together.
const DISK_PIECE_BYTES: u64 = whole_packets(256 * 1024);
/// From the page cache: fits the processor's cache, and what the allocator keeps (glibc maps larger ones anew each time).
const CACHED_PIECE_BYTES: u64 = whole_packets(96 * 1024);

const fn whole_packets(bytes: u64) -> u64 {
    bytes - bytes % PACKET_BYTES as u64
}

/// A stretch of a file that is being read.
#[derive(Debug)]
pub struct Pieces {
    blocking: Blocking,
    file: Arc<File>,
    at: u64,
    end: u64,
    /// The piece given out last, or what was made of it. Who asks for the next has mostly done with it, and its memory is taken
    /// again: a new piece would be allocated and filled with zeros first.
    last: Bytes,
}

impl Pieces {
    /// Reads the bytes `first..end` of `file`.
    pub fn new(file: File, first: u64, end: u64, blocking: Blocking) -> Self {
        Self { blocking, file: Arc::new(file), at: first, end, last: Bytes::new() }
    }

    /// The next piece, never empty; `None` after the last.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.next_own().await?;
        if let Some(piece) = &piece {
            self.take_back(piece.clone());
        }
        Ok(piece)
    }

    /// The same, which nobody else holds, so that it can be changed where it is.
    pub async fn next_own(&mut self) -> io::Result<Option<Bytes>> {
        let left_bytes = self.end.saturating_sub(self.at);
        if left_bytes == 0 {
            return Ok(None);
        }
        let memory = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        let piece = match self.read_cached(left_bytes.min(CACHED_PIECE_BYTES), memory)? {
            Ok(piece) => piece,
            Err(memory) => self.read_disk(left_bytes.min(DISK_PIECE_BYTES), memory).await?,
        };
        self.at += piece.len() as u64;
        Ok(Some(piece.freeze()))
    }

    /// What is read next may take this memory, once nobody else holds it.
    pub fn take_back(&mut self, done: Bytes) {
        self.last = done;
    }

    /// What is in the page cache, if anything; it may be less than wanted. Otherwise the memory again. Does not wait.
    fn read_cached(&self, wanted: u64, mut piece: BytesMut) -> io::Result<Result<BytesMut, BytesMut>> {
        piece.resize(wanted as usize, 0);
        let slices = &mut [IoSliceMut::new(&mut piece)];
        match rustix::io::preadv2(&self.file, slices, self.at, ReadWriteFlags::NOWAIT) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                piece.truncate(read);
                Ok(Ok(piece))
            }
            // Not in the cache; or a file system that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => Ok(Err(piece)),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_disk(&self, wanted: u64, mut piece: BytesMut) -> io::Result<BytesMut> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        let read = self.blocking.run(move || {
            piece.resize(wanted as usize, 0);
            file.read_exact_at(&mut piece, at).map(|()| piece)
        });
        read.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(len_bytes: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..len_bytes).map(|at| (at % 251) as u8).collect();
        file.write_all(&content).unwrap();
        file
    }

    async fn read_all(mut pieces: Pieces) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await? {
            assert!(!piece.is_empty() && piece.len() as u64 <= DISK_PIECE_BYTES);
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    #[actix_rt::test]
    async fn any_stretch_comes_whole_and_in_order() {
        for (first, end) in
            [(0, 0), (0, 1), (0, 98_304), (0, 98_305), (7, 600_000), (300_000, 300_010), (600_000, 600_000)]
        {
            let all = read_all(Pieces::new(file(600_000), first, end, Blocking::new(1))).await.unwrap();
            assert_eq!(all, (first..end).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        }
    }

    #[actix_rt::test]
    async fn what_is_changed_where_it_is_comes_from_the_file_all_the_same() {
        let mut pieces = Pieces::new(file(600_000), 0, 600_000, Blocking::new(1));
        let (mut all, mut places) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.next_own().await.unwrap() {
            all.extend_from_slice(&piece);
            let mut own = piece.try_into_mut().unwrap();
            own.fill(0);
            places.push(own.as_ptr());
            pieces.take_back(own.freeze());
        }
        assert_eq!(all, (0..600_000).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        assert!(places.len() > 1 && places.iter().all(|place| *place == places[0]), "memory was taken anew");
    }

    #[actix_rt::test]
    async fn what_is_not_in_the_cache_comes_from_the_disk() {
        let pieces = Pieces::new(file(600_000), 5, 600_000, Blocking::new(1));
        assert_eq!(pieces.read_disk(10, BytesMut::new()).await.unwrap()[..], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    }

    #[actix_rt::test]
    async fn a_file_that_shrank_is_an_error() {
        let error = read_all(Pieces::new(file(600_000), 0, 600_001, Blocking::new(1))).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = Pieces::new(file(10), 0, 11, Blocking::new(1)).read_disk(11, BytesMut::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
