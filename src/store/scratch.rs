//! Files without a name, for what has to be put together before it can be sent: gone with their last handle, however the
//! process ends, so that nothing is ever left to sweep.
//!
//! Promises: none is made, or grows on, where less of the disk is free than is to stay free.
//! All functions block on the disk; callers run them through `blocking`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::retain::room_at;
use super::{Layout, Pieces, StoreError};
use crate::blocking::Blocking;

/// A directory for such files, and how much of its disk is left alone.
#[derive(Debug, Clone)]
pub struct Scratch {
    dir: PathBuf,
    leave_free_bytes: u64,
}

/// One of them.
#[derive(Debug)]
pub struct ScratchFile(File);

impl Scratch {
    /// In any directory that is there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), leave_free_bytes: 0 }
    }

    /// In BASE/.segvault, which a node makes at its start: where it is gone, so is the disk. So many bytes of the disk stay free for recording.
    pub fn of_record(layout: &Layout, leave_free_bytes: u64) -> Self {
        Self { dir: layout.own_dir(), leave_free_bytes }
    }

    /// `None` where there is no room for as many bytes as are expected.
    pub fn create(&self, expected_bytes: u64) -> Result<Option<ScratchFile>, StoreError> {
        if !self.has_room(expected_bytes)? {
            return Ok(None);
        }
        let made = tempfile::tempfile_in(&self.dir);
        made.map(|file| Some(ScratchFile(file)))
            .map_err(|source| StoreError::new("create a file in", &self.dir, source))
    }

    /// Whether so many more bytes may be written.
    pub fn has_room(&self, more_bytes: u64) -> Result<bool, StoreError> {
        Ok(room_at(&self.dir)?.free_bytes >= self.leave_free_bytes.saturating_add(more_bytes))
    }
}

impl ScratchFile {
    /// Where a child of this process finds it, to write and to read, for as long as we hold it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// All that has been written, and its length in bytes.
    pub fn into_pieces(self, blocking: Blocking) -> Result<(Pieces, u64), StoreError> {
        let size = self.0.metadata().map_err(|source| StoreError::new("look at", &self.path(), source))?.len();
        Ok((Pieces::new(self.0, 0, size, blocking), size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn what_others_write_by_its_path_is_read_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let scratch = Scratch::of_record(&layout, 0);
        assert!(scratch.create(10).is_err(), "it made the directory of a disk that is not there");
        std::fs::create_dir(layout.own_dir()).unwrap();
        let file = scratch.create(10).unwrap().unwrap();
        std::fs::write(file.path(), "0123456789").unwrap();
        let names = || std::fs::read_dir(dir.path().join(".segvault")).unwrap().count();
        assert_eq!(names(), 0);
        let (mut pieces, size_bytes) = file.into_pieces(Blocking::new(1)).unwrap();
        assert_eq!((size_bytes, pieces.next().await.unwrap().unwrap().as_ref()), (10, &b"0123456789"[..]));
        assert_eq!(names(), 0);
    }

    #[test]
    fn what_is_to_stay_free_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir(layout.own_dir()).unwrap();
        let free_bytes = room_at(dir.path()).unwrap().free_bytes;
        assert!(Scratch::of_record(&layout, free_bytes * 2).create(0).unwrap().is_none());
        assert!(Scratch::of_record(&layout, 0).create(free_bytes * 2).unwrap().is_none());
        assert!(Scratch::of_record(&layout, 0).create(u64::MAX).unwrap().is_none());
    }
}
