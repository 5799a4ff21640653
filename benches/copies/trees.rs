//! What is copied: many small segments, or some large ones, each with bytes of its own.

use std::fs;
use std::path::{Path, PathBuf};

use segvault::model::{SegmentHash, SegmentKind, SegmentName, Timestamp};
use sha2::{Digest, Sha256};

const SEGMENT_MICROS: i64 = 2_000_000;

pub struct Tree {
    pub base: PathBuf,
    pub files: usize,
    pub file_bytes: usize,
}

impl Tree {
    pub fn small(dir: &Path) -> Self {
        Self::make(dir.join("small"), 21_600, 1024)
    }

    pub fn large(dir: &Path) -> Self {
        Self::make(dir.join("large"), 900, 1_527_777)
    }

    /// Makes it unless an earlier run has finished it.
    fn make(base: PathBuf, files: usize, file_bytes: usize) -> Self {
        let finished = base.join("finished");
        if !finished.exists() {
            println!("making {files} segments of {file_bytes} bytes below {} …", base.display());
            let _ = fs::remove_dir_all(&base);
            let start: Timestamp = "2026-01-01T00:00:00".parse().unwrap();
            for number in 0..files {
                // Another beginning each, so that no two have the same hash.
                let mut bytes = vec![0x47; file_bytes];
                bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
                let hash = SegmentHash::from_bytes(Sha256::digest(&bytes).into());
                let at = start.plus_micros(number as i64 * SEGMENT_MICROS);
                let name = SegmentName::finished(at, SEGMENT_MICROS, SegmentKind::Full, hash);
                let hour = base.join("ch/source").join(name.hour().to_string());
                fs::create_dir_all(&hour).unwrap();
                fs::write(hour.join(name.as_str()), bytes).unwrap();
            }
            fs::write(finished, "").unwrap();
        }
        Self { base, files, file_bytes }
    }
}
