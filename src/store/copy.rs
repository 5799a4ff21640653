//! A file that another node has, while it is being copied: hidden, hashed as it grows, then flushed and renamed.
//!
//! Promises: nothing gets its final name but the very bytes that were announced; a copy that ends early leaves nothing,
//! and what a killed process left is swept away: unlike a recorder's `temp` it was never verified, and its peer has all
//! of it.
//! All functions block on the disk; callers run them through `blocking`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{Layout, StoreError, TempMark, flush_dir, is_tombstoned, make_dir, write_pieces};
use crate::model::SegmentHash;

/// What the name of a copy under way begins with; the period hides it from everybody.
const PREFIX: &str = ".copy-";
/// No file is copied for longer than this, by whichever process.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 60);
/// So many small files are flushed faster by flushing their file system. It takes what others have written with it, so fewer
/// are flushed each by itself.
const FLUSH_AS_ONE: usize = 4;
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
}

/// A file that has no final name yet. Dropped, it is deleted.
#[derive(Debug)]
pub struct PendingCopy {
    temp: PathBuf,
    path: PathBuf,
    file: File,
    opened: Instant,
    hasher: Sha256,
    len_bytes: u64,
}

impl PendingCopy {
    /// `path` is the final one, under the base of `layout`.
    pub fn create(path: &Path, mark: &TempMark) -> Result<Self, StoreError> {
        let dir = path.parent().expect("a file lies in a directory");
        make_dir(dir)?;
        let temp = dir.join(format!("{PREFIX}{}", mark.next()));
        let opened = Instant::now();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temp)
            .map_err(|source| StoreError::new("create", &temp, source))?;
        Ok(Self { temp, path: path.to_owned(), file, opened, hasher: Sha256::new(), len_bytes: 0 })
    }

    pub fn append(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<(), StoreError> {
        write_pieces(&self.file, pieces).map_err(|source| StoreError::new("write", &self.temp, source))?;
        for piece in pieces.iter().map(AsRef::as_ref) {
            self.hasher.update(piece);
            self.len_bytes += piece.len() as u64;
        }
        Ok(())
    }

    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether its bytes so far have this hash.
    pub fn holds(&self, hash: SegmentHash) -> bool {
        hash == SegmentHash::from_bytes(self.hasher.clone().finalize().into())
    }

    fn dir(&self) -> &Path {
        self.path.parent().expect("a file lies in a directory")
    }

    /// Gives the final name. The file has been flushed; its directory is to be.
    fn rename(&self) -> Result<Copied, StoreError> {
        if is_tombstoned(&self.path) {
            return Ok(Copied::Tombstoned);
        }
        if self.path.symlink_metadata().is_ok() {
            return Ok(Copied::AlreadyThere);
        }
        fs::rename(&self.temp, &self.path).map_err(|source| StoreError::new("rename to", &self.path, source))?;
        Ok(Copied::New)
    }
}

/// Flushes copies and gives them their final names: all that lie on one file system with one flush, and their directories
/// with one each. After `Ok(New)` a file survives a power cut. Each must hold the bytes of its name (`holds`).
pub fn finish_together(copies: Vec<PendingCopy>) -> Vec<Result<Copied, StoreError>> {
    let flushed = flush_files(&copies);
    let renamed = copies.iter().zip(flushed).map(|(copy, flushed)| flushed.and_then(|()| copy.rename()));
    let mut done: Vec<Result<Copied, StoreError>> = renamed.collect();
    let mut by_dir: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (number, copy) in copies.iter().enumerate() {
        if matches!(done[number], Ok(Copied::New)) {
            by_dir.entry(copy.dir()).or_default().push(number);
        }
    }
    for (dir, numbers) in by_dir {
        if let Err(error) = flush_dir(dir) {
            for number in numbers {
                // The kernel says it once.
                let same = io::Error::new(error.source.kind(), error.source.to_string());
                done[number] = Err(StoreError::new("flush", dir, same));
            }
        }
    }
    done
}

/// What became of each.
fn flush_files(copies: &[PendingCopy]) -> Vec<Result<(), StoreError>> {
    let mut by_disk: HashMap<Option<u64>, Vec<&PendingCopy>> = HashMap::new();
    for copy in copies {
        by_disk.entry(copy.file.metadata().ok().map(|file| file.dev())).or_default().push(copy);
    }
    let is_flushed = |(disk, copies): &(&Option<u64>, &Vec<&PendingCopy>)| {
        // What failed between two files' opening is told only to the earlier one.
        let earliest = copies.iter().min_by_key(|copy| copy.opened);
        let is_worth_it = disk.is_some() && copies.len() >= FLUSH_AS_ONE && disk_flush_tells_errors();
        earliest.is_some_and(|copy| is_worth_it && rustix::fs::syncfs(&copy.file).is_ok())
    };
    let flushed: Vec<Option<u64>> = by_disk.iter().filter(is_flushed).map(|(disk, _)| *disk).collect();
    let flush = |copy: &PendingCopy| {
        let disk = copy.file.metadata().ok().map(|file| file.dev());
        if flushed.contains(&disk) {
            return Ok(());
        }
        copy.file.sync_all().map_err(|source| StoreError::new("flush", &copy.temp, source))
    };
    copies.iter().map(flush).collect()
}

/// Before Linux 5.8 syncfs(2) told nothing of what could not be written.
fn disk_flush_tells_errors() -> bool {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().unwrap_or_default().split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= (5, 8),
        _ => false,
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

    /// `None` if the bytes are wrong.
    fn copy(layout: &Layout, bytes: &[u8]) -> Option<Copied> {
        let path = layout.base().join("ch/source/2026-01-02T03").join(format!("58:30.5-2.0-full-{HASH}.ts"));
        let mut pending = PendingCopy::create(&path, &TempMark::of_this_process()).unwrap();
        pending.append(&bytes.chunks(3).collect::<Vec<_>>()).unwrap();
        pending.holds(HASH.parse().unwrap()).then(|| finish_together(vec![pending]).pop().unwrap().unwrap())
    }

    fn files(layout: &Layout) -> Vec<String> {
        let entries = fs::read_dir(layout.base().join("ch/source/2026-01-02T03")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn only_the_announced_bytes_get_the_name_as_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(copy(&layout, b"hello worl"), None);
        assert!(files(&layout).is_empty());
        assert_eq!(copy(&layout, b"hello world"), Some(Copied::New));
        assert_eq!(copy(&layout, b"hello world"), Some(Copied::AlreadyThere));
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
        assert_eq!(copy(&layout, b"hello world"), Some(Copied::Tombstoned));
        assert_eq!(files(&layout), [tombstone]);
    }

    #[test]
    fn of_many_that_are_finished_together_each_has_its_own_end() {
        let dir = tempfile::tempdir().unwrap();
        let hours = [dir.path().join("ch/source/2026-01-02T03"), dir.path().join("ch/source/2026-01-02T04")];
        let pending = |number: usize| {
            let mut pending =
                PendingCopy::create(&hours[number % 2].join(format!("{number}.ts")), &TempMark::of_this_process())
                    .unwrap();
            pending.append(&[[number as u8]]).unwrap();
            pending
        };
        let copies: Vec<PendingCopy> = (0..20).map(pending).collect();
        fs::write(hours[0].join("2.ts"), "there").unwrap();
        fs::write(hours[1].join("3.tombstone"), "").unwrap();
        fs::remove_file(&copies[5].temp).unwrap();
        for (number, done) in finish_together(copies).into_iter().enumerate() {
            match number {
                2 => assert_eq!(done.unwrap(), Copied::AlreadyThere),
                3 => assert_eq!(done.unwrap(), Copied::Tombstoned),
                5 => assert!(done.unwrap_err().to_string().starts_with("cannot rename to")),
                _ => {
                    assert_eq!(done.unwrap(), Copied::New);
                    assert_eq!(fs::read(hours[number % 2].join(format!("{number}.ts"))).unwrap(), [number as u8]);
                }
            }
        }
        // Of the others not even a temp is left.
        let left: usize = hours.iter().map(|hour| fs::read_dir(hour).unwrap().count()).sum();
        assert_eq!(left, 17 + 2);
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
