//! A video that is kept in BASE, beside the channels: written under a hidden name, then flushed and renamed.
//!
//! Promises: a file under its final name is whole and survives a power cut; one that is given up leaves nothing.
//! All functions block on the disk; callers run them through `blocking`.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::NamedTempFile;

use super::{Layout, StoreError, flush_dir};
use crate::model::FileName;

/// As other files in BASE: all may read.
const MODE: u32 = 0o644;

/// A video that has no final name yet.
#[derive(Debug)]
pub struct PendingVideo {
    layout: Layout,
    path: PathBuf,
    file: NamedTempFile,
}

impl PendingVideo {
    /// A video of this name that is there already is replaced when this one is finished.
    pub fn create(layout: &Layout, name: &FileName) -> Result<Self, StoreError> {
        let path = layout.base().join(name);
        let file = tempfile::Builder::new()
            .prefix(".video-")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(layout.base())
            .map_err(|source| StoreError::new("create a file for", &path, source))?;
        Ok(Self { layout: layout.clone(), path, file })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| StoreError::new("write", &self.path, source))
    }

    pub fn finish(self) -> Result<(), StoreError> {
        let Self { layout, path, file } = self;
        // Must precede the rename: the name promises that all bytes are there.
        file.as_file().sync_all().map_err(|source| StoreError::new("flush", &path, source))?;
        file.persist(&path).map_err(|error| StoreError::new("rename to", &path, error.error))?;
        flush_dir(layout.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_has_its_name_when_it_is_whole_and_leaves_nothing_when_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let name: FileName = "ch_source_race_0.mkv".parse().unwrap();
        for content in ["first", "second"] {
            let mut video = PendingVideo::create(&layout, &name).unwrap();
            video.append(content.as_bytes()).unwrap();
            assert!(names().iter().any(|name| name.starts_with('.')));
            video.finish().unwrap();
            assert_eq!(names(), ["ch_source_race_0.mkv"]);
            assert_eq!(std::fs::read_to_string(dir.path().join(&name)).unwrap(), content);
        }
        let mut video = PendingVideo::create(&layout, &name).unwrap();
        video.append(b"third").unwrap();
        drop(video);
        assert_eq!(names(), ["ch_source_race_0.mkv"]);
        assert_eq!(std::fs::read_to_string(dir.path().join(&name)).unwrap(), "second");
    }
}
