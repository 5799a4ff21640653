//! A file that another node has, while it is being copied: hidden, hashed as it grows, then flushed and renamed.
//!
//! Promises: nothing gets its final name but the very bytes that were announced; a copy that ends early leaves nothing,
//! and what a killed process left is swept away: unlike a recorder's `temp` it was never verified, and its peer has all
//! of it.
//! All functions block on the disk; callers run them through `blocking`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Layout, StoreError, TempMark, flush_dir, is_tombstoned, make_dir};
use crate::model::SegmentHash;

/// What the name of a copy under way begins with; the period hides it from everybody.
const PREFIX: &str = ".copy-";
/// No file is copied for longer than this, by whichever process.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Directories of extra files are not nested deeper than this.
const MAX_DEPTH: usize = 16;

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    New,
    /// It came from elsewhere meanwhile.
    AlreadyThere,
    /// A tombstone came meanwhile: the bytes are not kept.
    Tombstoned,
    /// The bytes are not those of the name.
    WrongBytes,
}

/// A file that has no final name yet. Dropped, it is deleted.
#[derive(Debug)]
pub struct PendingCopy {
    temp: PathBuf,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len_bytes: u64,
}

impl PendingCopy {
    /// `path` is the final one, under the base of `layout`.
    pub fn create(path: &Path, mark: &TempMark) -> Result<Self, StoreError> {
        let dir = path.parent().expect("a file lies in a directory");
        make_dir(dir)?;
        let temp = dir.join(format!("{PREFIX}{}", mark.next()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temp)
            .map_err(|source| StoreError::new("create", &temp, source))?;
        Ok(Self { temp, path: path.to_owned(), file, hasher: Sha256::new(), len_bytes: 0 })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| StoreError::new("write", &self.temp, source))?;
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Flushes and gives the final name, if the bytes have this hash; opaque files have none. After `Ok(New)` the file
    /// survives a power cut.
    pub fn finish(self, expected: Option<SegmentHash>) -> Result<Copied, StoreError> {
        if expected.is_some_and(|hash| hash != SegmentHash::from_bytes(self.hasher.clone().finalize().into())) {
            return Ok(Copied::WrongBytes);
        }
        self.file.sync_all().map_err(|source| StoreError::new("flush", &self.temp, source))?;
        if is_tombstoned(&self.path) {
            return Ok(Copied::Tombstoned);
        }
        if self.path.symlink_metadata().is_ok() {
            return Ok(Copied::AlreadyThere);
        }
        fs::rename(&self.temp, &self.path).map_err(|source| StoreError::new("rename to", &self.path, source))?;
        flush_dir(self.path.parent().expect("a file lies in a directory"))?;
        Ok(Copied::New)
    }
}

impl Drop for PendingCopy {
    fn drop(&mut self) {
        // Fails where it has been renamed; what cannot be deleted is swept away later.
        let _ = fs::remove_file(&self.temp);
    }
}

/// Removes what killed processes left of copies; answers how many. What is in the way stays.
pub fn sweep_copies(layout: &Layout) -> usize {
    sweep(layout.base(), MAX_DEPTH)
}

fn sweep(dir: &Path, depth: usize) -> usize {
    let mut swept = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = entry.path();
        if name.to_string_lossy().starts_with(PREFIX) {
            let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
            let is_swept = age.is_some_and(|age| age > ABANDONED_AFTER) && fs::remove_file(&path).is_ok();
            swept += usize::from(is_swept);
        } else if depth > 0 && !name.to_string_lossy().starts_with('.') && path.is_dir() {
            swept += sweep(&path, depth - 1);
        }
    }
    swept
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek";

    fn copy(layout: &Layout, bytes: &[u8]) -> Copied {
        let path = layout.base().join("ch/source/2026-01-02T03").join(format!("58:30.5-2.0-full-{HASH}.ts"));
        let mut pending = PendingCopy::create(&path, &TempMark::of_this_process()).unwrap();
        bytes.chunks(3).for_each(|piece| pending.append(piece).unwrap());
        pending.finish(Some(HASH.parse().unwrap())).unwrap()
    }

    fn files(layout: &Layout) -> Vec<String> {
        let entries = fs::read_dir(layout.base().join("ch/source/2026-01-02T03")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn only_the_announced_bytes_get_the_name_as_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(copy(&layout, b"hello worl"), Copied::WrongBytes);
        assert!(files(&layout).is_empty());
        assert_eq!(copy(&layout, b"hello world"), Copied::New);
        assert_eq!(copy(&layout, b"hello world"), Copied::AlreadyThere);
        assert_eq!(files(&layout), [format!("58:30.5-2.0-full-{HASH}.ts")]);
    }

    #[test]
    fn a_tombstone_that_came_meanwhile_keeps_the_bytes_out() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let hour = layout.base().join("ch/source/2026-01-02T03");
        fs::create_dir_all(&hour).unwrap();
        let tombstone = format!("58:30.5-2.0-full-{HASH}.tombstone");
        fs::write(hour.join(&tombstone), "").unwrap();
        assert_eq!(copy(&layout, b"hello world"), Copied::Tombstoned);
        assert_eq!(files(&layout), [tombstone]);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_once_nobody_can_be_writing_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let hour = layout.base().join("ch/source/2026-01-02T03");
        fs::create_dir_all(&hour).unwrap();
        for name in [".copy-segvault-1-0", ".copy-segvault-1-1", "kept"] {
            fs::write(hour.join(name), "x").unwrap();
        }
        let long_ago = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
        for name in [".copy-segvault-1-0", "kept"] {
            rustix::fs::utimensat(rustix::fs::CWD, hour.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
        }
        assert_eq!(sweep_copies(&layout), 1);
        let mut left = files(&layout);
        left.sort();
        assert_eq!(left, [".copy-segvault-1-1", "kept"]);
    }
}
