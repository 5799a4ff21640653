//! Cuts on their way to a destination: BASE/.segvault/jobs/KEY.video, hashed as they grow.
//!
//! Promises: what `finish` has answered for survives a power cut, with that length and hash; `verify` tells whether it still
//! is so. All functions block on the disk; callers run them through `blocking`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Layout, StoreError, flush_dir, make_dir};
use crate::model::UploadKey;

const ENDING: &str = "video";
const READ_AT_ONCE: usize = 1 << 20;

/// Where the cut of an attempt lies.
pub fn job_file(layout: &Layout, key: &UploadKey) -> PathBuf {
    dir(layout).join(format!("{key}.{ENDING}"))
}

fn dir(layout: &Layout) -> PathBuf {
    layout.own_dir().join("jobs")
}

/// A cut that grows.
#[derive(Debug)]
pub struct PendingJobFile {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len_bytes: u64,
}

impl PendingJobFile {
    /// One of this key that is there is begun anew.
    pub fn create(layout: &Layout, key: &UploadKey) -> Result<Self, StoreError> {
        make_dir(&dir(layout))?;
        let path = job_file(layout, key);
        let file = File::create(&path).map_err(|source| StoreError::new("create", &path, source))?;
        Ok(Self { path, file, hasher: Sha256::new(), len_bytes: 0 })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| StoreError::new("write", &self.path, source))?;
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes it durable; answers with its length and hash.
    pub fn finish(self) -> Result<(u64, [u8; 32]), StoreError> {
        self.file.sync_all().map_err(|source| StoreError::new("flush", &self.path, source))?;
        flush_dir(self.path.parent().expect("it lies in a directory"))?;
        Ok((self.len_bytes, self.hasher.finalize().into()))
    }
}

/// Whether the cut of an attempt is there, with this length and hash.
pub fn verify_job_file(
    layout: &Layout,
    key: &UploadKey,
    len_bytes: u64,
    sha256: &[u8; 32],
) -> Result<bool, StoreError> {
    let path = job_file(layout, key);
    let read = || {
        let mut file = File::open(&path)?;
        if file.metadata()?.len() != len_bytes {
            return Ok::<bool, io::Error>(false);
        }
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; READ_AT_ONCE]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(<[u8; 32]>::from(hasher.finalize()) == *sha256),
                read => hasher.update(&piece[..read]),
            }
        }
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        read => read.map_err(|source| StoreError::of_read(&path, source)),
    }
}

/// Removes the cut of an attempt, if it is there.
pub fn remove_job_file(layout: &Layout, key: &UploadKey) -> Result<(), StoreError> {
    remove(&job_file(layout, key))
}

/// Removes what no attempt of `kept` needs.
pub fn sweep_job_files(layout: &Layout, kept: &[UploadKey]) -> Result<(), StoreError> {
    let dir = dir(layout);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| StoreError::of_read(&dir, source))?,
    };
    for entry in entries {
        let path = entry.map_err(|source| StoreError::of_read(&dir, source))?.path();
        let is_kept = kept.iter().any(|key| job_file(layout, key) == path);
        if !is_kept && path.extension().is_some_and(|ending| ending == ENDING) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::new("remove", path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_known_again_and_what_nobody_needs_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        sweep_job_files(&layout, &[]).unwrap();
        let keys: [UploadKey; 2] = ["e1.2".parse().unwrap(), "e2.3".parse().unwrap()];
        let make = |key| {
            let mut file = PendingJobFile::create(&layout, key).unwrap();
            file.append(b"a ").unwrap();
            file.append(b"cut").unwrap();
            file.finish().unwrap()
        };
        let (len_bytes, hash) = make(&keys[0]);
        assert_eq!((len_bytes, hash), (5, Sha256::digest(b"a cut").into()));
        assert!(verify_job_file(&layout, &keys[0], 5, &hash).unwrap());
        assert!(!verify_job_file(&layout, &keys[1], 5, &hash).unwrap());
        fs::write(job_file(&layout, &keys[0]), b"A cut").unwrap();
        assert!(!verify_job_file(&layout, &keys[0], 5, &hash).unwrap());
        make(&keys[1]);
        sweep_job_files(&layout, &keys[1..]).unwrap();
        assert!(!job_file(&layout, &keys[0]).exists() && job_file(&layout, &keys[1]).exists());
        remove_job_file(&layout, &keys[1]).unwrap();
        remove_job_file(&layout, &keys[1]).unwrap();
        assert!(!job_file(&layout, &keys[1]).exists());
    }
}
