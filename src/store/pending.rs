//! A segment while it is being written: a `temp` file that is hashed as it grows, then flushed and renamed.
//!
//! Promises: a crash at any point leaves either the temp or the complete final file; a temp that is dropped without
//! being finished is left for `recover`, unless it is discarded.
//! All functions block on the disk; callers run them through `blocking`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Layout, StoreError, flush_dir, make_dir, write_pieces};
use crate::model::{Channel, Quality, SegmentHash, SegmentKind, SegmentName, Timestamp};

/// What became of a finished segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    New(SegmentName),
    /// The same bytes were there under the same name.
    AlreadyThere(SegmentName),
}

impl Saved {
    pub fn name(&self) -> &SegmentName {
        match self {
            Self::New(name) | Self::AlreadyThere(name) => name,
        }
    }
}

/// A segment that has no final name yet.
#[derive(Debug)]
pub struct PendingSegment {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len_bytes: u64,
    /// The file holds more than was hashed.
    damaged: bool,
    start: Timestamp,
    duration_micros: i64,
}

impl PendingSegment {
    /// `unique` tells this writer's temp from all others of the same segment; letters, digits and dashes only.
    pub fn create(
        layout: &Layout,
        channel: &Channel,
        quality: &Quality,
        start: Timestamp,
        duration_micros: i64,
        unique: &str,
    ) -> Result<Self, StoreError> {
        let name = SegmentName::temp(start, duration_micros, unique);
        let dir = layout.hour_dir(channel, quality, name.hour());
        make_dir(&dir)?;
        let path = dir.join(name.as_str());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| StoreError::new("create", &path, source))?;
        Ok(Self { path, file, hasher: Sha256::new(), len_bytes: 0, damaged: false, start, duration_micros })
    }

    /// What fails leaves the temp as it was before.
    pub fn append(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<(), StoreError> {
        if let Err(source) = write_pieces(&self.file, pieces) {
            // A part of them may have been written, and is not in the hash.
            let restored =
                self.file.set_len(self.len_bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.len_bytes)));
            self.damaged |= restored.is_err();
            return Err(StoreError::new("write", &self.path, source));
        }
        for piece in pieces.iter().map(AsRef::as_ref) {
            self.hasher.update(piece);
            self.len_bytes += piece.len() as u64;
        }
        Ok(())
    }

    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// What its bytes so far hash to.
    pub fn content(&self) -> SegmentHash {
        SegmentHash::from_bytes(self.hasher.clone().finalize().into())
    }

    /// Flushes and gives the final name. After `Ok` the segment survives a power cut; after an error it may be tried
    /// again, or discarded.
    pub fn finish(&mut self, kind: SegmentKind) -> Result<Saved, StoreError> {
        debug_assert_ne!(kind, SegmentKind::Temp);
        if self.damaged {
            return Err(StoreError::new("restore", &self.path, io::Error::other("a part of a write is left in it")));
        }
        self.file.sync_all().map_err(|source| StoreError::new("flush", &self.path, source))?;
        give_final_name(&self.path, SegmentName::finished(self.start, self.duration_micros, kind, self.content()))
    }

    /// Deletes the temp: its bytes are kept elsewhere.
    pub fn discard(&self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(|source| StoreError::new("delete", &self.path, source))
    }
}

/// Renames a flushed temp beside itself and makes the rename durable.
pub(super) fn give_final_name(temp: &std::path::Path, name: SegmentName) -> Result<Saved, StoreError> {
    let dir = temp.parent().expect("a temp lies in its hour directory");
    let path = dir.join(name.as_str());
    if path.exists() {
        // The same name has the same hash, so the same content: the temp holds nothing new. Its rename may have been
        // the last thing before the disk failed.
        flush_dir(dir)?;
        fs::remove_file(temp).map_err(|source| StoreError::new("delete", temp, source))?;
        return Ok(Saved::AlreadyThere(name));
    }
    fs::rename(temp, &path).map_err(|source| StoreError::new("rename to", &path, source))?;
    flush_dir(dir)?;
    Ok(Saved::New(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(dir: &tempfile::TempDir, unique: &str) -> PendingSegment {
        let start = "2026-01-02T03:58:30".parse().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        PendingSegment::create(&layout, &channel, &quality, start, 2_000_000, unique).unwrap()
    }

    fn files(dir: &tempfile::TempDir) -> Vec<String> {
        let hour = dir.path().join("ch/source/2026-01-02T03");
        let mut names: Vec<String> =
            fs::read_dir(hour).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_segment_gets_its_final_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = pending(&dir, "a");
        segment.append(&[b"hello "]).unwrap();
        segment.append(&[b"world"]).unwrap();
        assert_eq!(files(&dir), ["58:30.000000-2.0-temp-a.ts"]);
        let saved = segment.finish(SegmentKind::Full).unwrap();
        let expected = "58:30.000000-2.0-full-uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek.ts";
        assert_eq!(saved.name().as_str(), expected);
        assert_eq!(files(&dir), [expected]);
    }

    #[test]
    fn the_same_bytes_again_are_already_there() {
        let dir = tempfile::tempdir().unwrap();
        for (unique, is_new) in [("a", true), ("b", false)] {
            let mut segment = pending(&dir, unique);
            segment.append(&[b"x"]).unwrap();
            assert_eq!(matches!(segment.finish(SegmentKind::Full).unwrap(), Saved::New(_)), is_new);
        }
        assert_eq!(files(&dir).len(), 1);
    }

    #[test]
    fn a_discarded_segment_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        pending(&dir, "a").discard().unwrap();
        assert!(files(&dir).is_empty());
    }
}
