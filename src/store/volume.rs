//! Tells the volume that BASE lies on from another one: a disk that was unmounted leaves an empty directory behind, and
//! a swapped one looks writable.
//!
//! A random word in BASE/.segvault names the volume. Where BASE is a mount point, the word is also kept beside it, on the
//! file system that stays when the volume goes; so a start finds out as well.
//!
//! Promises: nothing is written to a volume that is not ours. Blocks on the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Layout, StoreError, life_under};
use crate::model::{NodeId, NodeIdentity};

/// In BASE/.segvault.
const FILE: &str = "volume";

/// The volume that the process found at its start. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Volume {
    path: Arc<Path>,
    word: Arc<str>,
}

impl Volume {
    /// Reads the word of the volume under BASE, or gives it one. Fails where an earlier process knew another one here.
    pub fn adopt(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.own_dir().join(FILE);
        let memory = memory_of(layout.base());
        let remembered = memory.as_deref().and_then(|memory| fs::read_to_string(memory).ok());
        let found = match fs::read_to_string(&path) {
            Ok(word) if !word.is_empty() => Some(word),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::of_read(&path, error)),
        };
        if let (Some(remembered), Some(memory)) = (&remembered, &memory)
            && found.as_ref() != Some(remembered)
        {
            let why = format!(
                "another volume than before is mounted, or none; if that is meant, delete {}",
                memory.display()
            );
            return Err(StoreError::new("use", layout.base(), io::Error::other(why)));
        }
        let word = match found {
            Some(word) => word,
            None => {
                let word = new_word();
                write(&path, &word)?;
                word
            }
        };
        if let Some(memory) = memory.filter(|_| remembered.is_none() && is_mount_point(layout.base())) {
            // A parent that cannot be written costs the check at the next start, nothing else.
            let _ = fs::write(memory, &word);
        }
        Ok(Self { path: path.into(), word: word.into() })
    }

    /// The node whose directory this is, for who works beside it; `None` where it was never a node's.
    pub fn node_under(layout: &Layout) -> Option<NodeIdentity> {
        let id = fs::read_to_string(layout.own_dir().join(FILE)).ok()?.trim().parse().ok()?;
        Some(NodeIdentity { id, life: life_under(layout) })
    }

    /// The word as what tells the node from others; `None` where somebody wrote another kind of word.
    pub fn node_id(&self) -> Option<NodeId> {
        self.word.trim().parse().ok()
    }

    /// Whether it is still there. Called before each file is made.
    pub fn check(&self) -> Result<(), StoreError> {
        match fs::read_to_string(&self.path) {
            Ok(word) if *word == *self.word => Ok(()),
            Ok(_) => Err(StoreError::new("use", &self.path, io::Error::other("another volume is mounted"))),
            Err(error) => Err(StoreError::new("find the volume by", &self.path, error)),
        }
    }
}

/// Two volumes agree by chance once in 2^64.
fn new_word() -> String {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    format!("{random:016x}\n")
}

/// A torn word would be that of another volume.
fn write(path: &Path, word: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::new("write", path, source);
    let temp = path.with_extension("temp");
    fs::write(&temp, word).map_err(failed)?;
    fs::File::open(&temp).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&temp, path).map_err(failed)
}

/// Where the word is kept beside BASE; `None` for a BASE without a parent or a name.
fn memory_of(base: &Path) -> Option<PathBuf> {
    Some(base.parent()?.join(format!(".{}.segvault-volume", base.file_name()?.to_str()?)))
}

fn is_mount_point(base: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    base.parent().is_some_and(|parent| device(base) != device(parent))
}

#[cfg(test)]
mod tests {
    use super::super::{HourPeaks, PublishedKey, forget_published, sweep_published, write_knowledge, write_peaks};
    use super::*;
    use crate::media::HourKnowledge;

    fn layout(dir: &Path) -> Layout {
        let layout = Layout::new(dir.join("base"));
        fs::create_dir_all(layout.own_dir()).unwrap();
        layout
    }

    #[test]
    fn a_volume_is_known_again_and_another_one_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let volume = Volume::adopt(&layout).unwrap();
        volume.check().unwrap();
        Volume::adopt(&layout).unwrap().check().unwrap();
        // Unmounted, then another one is there, then ours again.
        let word = fs::read_to_string(layout.own_dir().join(FILE)).unwrap();
        fs::remove_dir_all(layout.base()).unwrap();
        assert!(volume.check().is_err());
        fs::create_dir_all(layout.own_dir()).unwrap();
        assert!(volume.check().is_err());
        Volume::adopt(&layout).unwrap();
        assert!(volume.check().is_err());
        fs::write(layout.own_dir().join(FILE), word).unwrap();
        volume.check().unwrap();
    }

    #[test]
    fn side_files_are_for_no_other_volume() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let volume = Volume::adopt(&layout).unwrap();
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let hour = "2026-01-02T03".parse().unwrap();
        let key = PublishedKey { channel: "ch".parse().unwrap(), quality: "source".parse().unwrap(), generation: None };
        let live = layout.own_dir().join("live/ch/source/open");
        fs::create_dir_all(&live).unwrap();
        let write_all = || {
            [
                write_knowledge(&layout, &volume, &channel, &quality, hour, &HourKnowledge::default()),
                write_peaks(&layout, &volume, &channel, &quality, hour, &HourPeaks::new()),
                forget_published(&layout, &volume, &key),
                sweep_published(&layout, &volume, std::time::Duration::ZERO),
            ]
        };
        fs::write(layout.own_dir().join(FILE), "0123456789abcdef\n").unwrap();
        assert!(write_all().iter().all(Result::is_err) && live.exists());
        assert!(!layout.own_dir().join("media").exists() && !layout.own_dir().join("peaks").exists());
        fs::write(layout.own_dir().join(FILE), &*volume.word).unwrap();
        assert!(write_all().iter().all(Result::is_ok) && !live.exists());
    }

    #[test]
    fn what_is_remembered_beside_a_mount_point_refuses_any_other_volume() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let memory = memory_of(layout.base()).unwrap();
        Volume::adopt(&layout).unwrap();
        assert!(!memory.exists(), "a plain directory needs none");
        fs::write(&memory, "0123456789abcdef\n").unwrap();
        let error = Volume::adopt(&layout).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains(".base.segvault-volume"));
        fs::write(&memory, fs::read_to_string(layout.own_dir().join(FILE)).unwrap()).unwrap();
        Volume::adopt(&layout).unwrap();
    }
}
