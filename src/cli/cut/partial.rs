//! A file that is not whole yet, and beside it what is known of it: so that a cut which was interrupted goes on where it stopped.
//!
//! Promises: one process at a time writes it; what is said to be in it was flushed to the disk before.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cut::{Begun, Fingerprint};

/// Appended to the name while a file is being written.
const UNFINISHED_ENDING: &str = ".partial";
/// Appended to that for what is known of it, and while that is being written.
const MARK_ENDING: &str = ".json";
const UNFINISHED_MARK_ENDING: &str = ".json.new";
/// What is flushed first, and twice as much each time; or what came within a second, where it comes slowly.
const FIRST_MARK_BYTES: u64 = 4 << 20;
const MARK_EVERY: Duration = Duration::from_secs(1);

/// What is known of a file that is not whole.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Of the cut.
    fingerprint: String,
    /// How long it will be, and how much of it is on the disk.
    size_bytes: u64,
    flushed_bytes: u64,
}

/// What an earlier run has left.
#[derive(Debug)]
pub struct Left {
    file: File,
    /// What of it can be gone on with.
    pub begun: Option<Begun>,
}

impl Left {
    /// Looks for what is there beside `path`. An error if another process is writing it.
    pub fn of(path: &Path) -> anyhow::Result<Option<Self>> {
        let unfinished = unfinished(path);
        let file = match OpenOptions::new().write(true).open(&unfinished) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| cannot_write(&unfinished)),
        };
        lock(&file, &unfinished)?;
        let len_bytes = file.metadata().with_context(|| cannot_write(&unfinished))?.len();
        let begun = std::fs::read(with_ending(&unfinished, MARK_ENDING)).ok().and_then(|mark| begun(&mark, len_bytes));
        Ok(Some(Self { file, begun }))
    }
}

/// What a mark says of a file of so many bytes.
fn begun(mark: &[u8], len_bytes: u64) -> Option<Begun> {
    let mark: Mark = serde_json::from_slice(mark).ok()?;
    let fingerprint = mark.fingerprint.parse().ok()?;
    // A last byte is left to be asked for.
    let bytes = mark.flushed_bytes.min(mark.size_bytes.checked_sub(1)?);
    (bytes > 0 && bytes <= len_bytes).then_some(Begun { fingerprint, bytes })
}

fn lock(file: &File, path: &Path) -> anyhow::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!(
                "{} is being written by another cut; wait for it, or choose another place with -o",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| cannot_write(path)),
    }
}

/// A file being written that gets its name once it is whole.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    /// By which it could be gone on with, and how long it will be; where that is known.
    known: Option<(Fingerprint, u64)>,
    written_bytes: u64,
    marked_bytes: u64,
    marked_at: Instant,
}

impl Partial {
    /// Goes on after the first `begins_at_bytes` of what was left, or begins anew.
    pub fn create(
        path: &Path,
        left: Option<Left>,
        begins_at_bytes: u64,
        known: Option<(Fingerprint, u64)>,
    ) -> anyhow::Result<Self> {
        let unfinished = unfinished(path);
        let create = || -> anyhow::Result<File> {
            let mut file = match left {
                Some(left) => left.file,
                None => {
                    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&unfinished)?;
                    lock(&file, &unfinished)?;
                    file
                }
            };
            if begins_at_bytes == 0 {
                // Must precede the writing: it says what was in the file.
                removed(&with_ending(&unfinished, MARK_ENDING))?;
            }
            file.set_len(begins_at_bytes)?;
            file.seek(SeekFrom::Start(begins_at_bytes))?;
            Ok(file)
        };
        let file = create().with_context(|| cannot_write(&unfinished))?;
        let (written_bytes, marked_bytes) = (begins_at_bytes, begins_at_bytes);
        Ok(Self { path: path.to_owned(), file, known, written_bytes, marked_bytes, marked_at: Instant::now() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        let unmarked_bytes = self.written_bytes - self.marked_bytes;
        let is_due =
            unmarked_bytes >= self.marked_bytes.max(FIRST_MARK_BYTES) || self.marked_at.elapsed() >= MARK_EVERY;
        if is_due { self.mark() } else { Ok(()) }
    }

    fn mark(&mut self) -> io::Result<()> {
        let Some((fingerprint, size_bytes)) = self.known else { return Ok(()) };
        // Must precede the mark, which says so.
        self.file.sync_data()?;
        let mark = Mark { fingerprint: fingerprint.to_string(), size_bytes, flushed_bytes: self.written_bytes };
        let unfinished = unfinished(&self.path);
        let new = with_ending(&unfinished, UNFINISHED_MARK_ENDING);
        std::fs::write(&new, serde_json::to_vec(&mark)?)?;
        std::fs::rename(new, with_ending(&unfinished, MARK_ENDING))?;
        (self.marked_bytes, self.marked_at) = (self.written_bytes, Instant::now());
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    pub fn finish(self) -> io::Result<()> {
        let unfinished = unfinished(&self.path);
        // Must precede the rename: the name promises that all bytes are there.
        self.file.sync_all()?;
        std::fs::rename(&unfinished, &self.path)?;
        removed(&with_ending(&unfinished, MARK_ENDING))
    }
}

fn removed(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a file is until it is whole.
pub fn unfinished(path: &Path) -> PathBuf {
    with_ending(path, UNFINISHED_ENDING)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub fn cannot_write(path: &Path) -> String {
    format!("cannot write {}; choose another place with -o", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_believed_as_far_as_the_file_goes() {
        let fingerprint = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
        let bytes = |size: u64, flushed: u64, len: u64| {
            let mark = Mark { fingerprint: fingerprint.into(), size_bytes: size, flushed_bytes: flushed };
            begun(&serde_json::to_vec(&mark).unwrap(), len).map(|begun| begun.bytes)
        };
        assert_eq!(bytes(100, 60, 80), Some(60));
        // All of it is there, but for its name: a byte comes again.
        assert_eq!(bytes(100, 100, 100), Some(99));
        assert_eq!(bytes(100, 60, 59), None);
        assert_eq!(bytes(100, 0, 80), None);
        assert_eq!(bytes(0, 0, 0), None);
        assert_eq!(begun(b"{}", 80).map(|begun| begun.bytes), None);
        assert_eq!(begun(br#"{"fingerprint": "x", "size_bytes": 9, "flushed_bytes": 5}"#, 80), None);
    }

    #[test]
    fn one_at_a_time_writes_and_what_is_left_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ts");
        let known = Some(("47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU".parse().unwrap(), 10 << 20));
        assert!(Left::of(&path).unwrap().is_none());
        let mut partial = Partial::create(&path, None, 0, known).unwrap();
        partial.write(&vec![1; 5 << 20]).unwrap();
        partial.write(&[1; 10]).unwrap();
        assert!(Left::of(&path).unwrap_err().to_string().contains("another cut"));
        drop(partial);
        let left = Left::of(&path).unwrap().unwrap();
        // A second may have passed between the two.
        assert!(left.begun.is_some_and(|begun| begun.bytes >= 5 << 20));
        let mut partial = Partial::create(&path, Some(left), 5 << 20, known).unwrap();
        partial.write(&vec![2; 5 << 20]).unwrap();
        partial.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [vec![1; 5 << 20], vec![2; 5 << 20]].concat());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
