//! A directory of published videos, anywhere on this machine: each with what is said of it in a JSON file beside it.
//!
//! Promises: a name without a leading period is a whole video, flushed, with the hash that was announced; its sidecar is
//! there before it; two nodes that share the directory know that they do, by the word in `.segvault-location`.
//! All functions block on the disk; callers run them through `blocking`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{StoreError, flush_dir, make_dir};
use crate::model::{FileName, UploadKey};

/// Names the directory, wherever it is mounted.
const WORD_FILE: &str = ".segvault-location";
/// Between two reports of how much has been copied.
const PIECE_BYTES: usize = 1 << 20;

/// Where videos lie. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VideoDir(PathBuf);

/// What a directory has of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoStanding {
    Absent,
    /// Under its hidden name; a copy is under way, or was.
    Begun,
    /// Under its final name, with this length.
    Whole {
        len_bytes: u64,
    },
}

impl VideoDir {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path_of(&self, name: &FileName) -> PathBuf {
        self.0.join(name)
    }

    /// The directory's word; it gets one if it has none.
    pub fn word(&self) -> Result<String, StoreError> {
        if let Some(word) = self.found_word()? {
            return Ok(word);
        }
        make_dir(&self.0)?;
        let path = self.0.join(WORD_FILE);
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        let temp = self.0.join(format!("{WORD_FILE}-{random:016x}"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temp)?;
            file.write_all(format!("{random:016x}\n").as_bytes())?;
            file.sync_all()?;
            // Whoever else does the same now: the first word stands.
            match fs::hard_link(&temp, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => fs::remove_file(&temp),
            }
        };
        write().map_err(|source| StoreError::new("write", &path, source))?;
        flush_dir(&self.0)?;
        let lost = || StoreError::of_read(&path, io::ErrorKind::NotFound.into());
        self.found_word()?.ok_or_else(lost)
    }

    /// The same, where it has one.
    pub fn found_word(&self) -> Result<Option<String>, StoreError> {
        let path = self.0.join(WORD_FILE);
        let mut word = String::new();
        match File::open(&path).and_then(|file| file.take(64).read_to_string(&mut word)) {
            Ok(_) => Ok(Some(word.trim().to_owned()).filter(|word| !word.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::of_read(&path, error)),
        }
    }

    pub fn standing(&self, key: &UploadKey, name: &FileName) -> Result<VideoStanding, StoreError> {
        let path = self.path_of(name);
        match fs::metadata(&path) {
            Ok(found) => return Ok(VideoStanding::Whole { len_bytes: found.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::of_read(&path, error)),
        }
        let is_begun = self.hidden(key, "video").exists();
        Ok(if is_begun { VideoStanding::Begun } else { VideoStanding::Absent })
    }

    /// Copies the video at `from` to its hidden name, its sidecar and its picture to others, all flushed; `told` hears how many
    /// bytes are copied, and ends it by saying false. Answers with the hash of what was copied, or `None` if it was ended.
    pub fn copy(
        &self,
        key: &UploadKey,
        from: &Path,
        sidecar: &str,
        picture: Option<&[u8]>,
        mut told: impl FnMut(u64) -> bool,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        let temp = self.hidden(key, "video");
        let failed = |source| StoreError::new("write", &temp, source);
        if !told(0) {
            return Ok(None);
        }
        let mut source = File::open(from).map_err(|error| StoreError::of_read(from, error))?;
        let mut file = File::create(&temp).map_err(failed)?;
        let (mut hasher, mut piece, mut copied) = (Sha256::new(), vec![0; PIECE_BYTES], 0);
        loop {
            let read = source.read(&mut piece).map_err(|error| StoreError::of_read(from, error))?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
            file.write_all(&piece[..read]).map_err(failed)?;
            copied += read as u64;
            if !told(copied) {
                return Ok(None);
            }
        }
        file.sync_all().map_err(failed)?;
        write(&self.hidden(key, "json"), sidecar.as_bytes())?;
        if let Some(png) = picture {
            write(&self.hidden(key, "png"), png)?;
        }
        // Whoever does not want it any more has discarded it, perhaps before the last of it was written.
        if !told(copied) {
            self.remove_begun(key)?;
            return Ok(None);
        }
        Ok(Some(hasher.finalize().into()))
    }

    /// Gives all of them their final names. Whoever discarded the copy meanwhile makes it fail.
    pub fn publish(&self, key: &UploadKey, name: &FileName) -> Result<(), StoreError> {
        let path = self.path_of(name);
        // The video last: whoever sees it finds what belongs to it.
        for (what, path) in [("png", picture_of(&path)), ("json", sidecar_of(&path)), ("video", path)] {
            match fs::rename(self.hidden(key, what), &path) {
                Err(error) if what == "png" && error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|source| StoreError::new("rename to", &path, source))?,
            }
        }
        flush_dir(&self.0)
    }

    /// Takes away what was begun.
    pub fn discard(&self, key: &UploadKey, name: &FileName) -> Result<(), StoreError> {
        self.remove_begun(key)?;
        let path = self.path_of(name);
        if !path.exists() {
            remove(&sidecar_of(&path))?;
            remove(&picture_of(&path))?;
        }
        flush_dir(&self.0)
    }

    /// Replaces what is said of a video that is there; `false` if it is not.
    pub fn change_sidecar(
        &self,
        name: &FileName,
        change: impl FnOnce(Option<String>) -> String,
    ) -> Result<bool, StoreError> {
        let video = self.path_of(name);
        if !video.exists() {
            return Ok(false);
        }
        let path = sidecar_of(&video);
        let text = change(fs::read_to_string(&path).ok());
        let temp = self.0.join(format!(".{name}.json"));
        write(&temp, text.as_bytes())?;
        fs::rename(&temp, &path).map_err(|source| StoreError::new("rename to", &path, source))?;
        flush_dir(&self.0)?;
        Ok(true)
    }

    /// Puts a picture beside a video.
    pub fn put_picture(&self, name: &FileName, png: &[u8]) -> Result<(), StoreError> {
        let path = picture_of(&self.path_of(name));
        let temp = self.0.join(format!(".{name}.png"));
        write(&temp, png)?;
        fs::rename(&temp, &path).map_err(|source| StoreError::new("rename to", &path, source))?;
        flush_dir(&self.0)
    }

    /// The video's first: without it nothing can be published.
    fn remove_begun(&self, key: &UploadKey) -> Result<(), StoreError> {
        ["video", "json", "png"].into_iter().try_for_each(|what| remove(&self.hidden(key, what)))
    }

    fn hidden(&self, key: &UploadKey, what: &str) -> PathBuf {
        self.0.join(format!(".upload-{key}.{what}"))
    }
}

fn sidecar_of(video: &Path) -> PathBuf {
    video.with_extension("json")
}

fn picture_of(video: &Path) -> PathBuf {
    video.with_extension("png")
}

/// Writes a file anew, and flushes it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| StoreError::new("write", path, source))
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

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_video_appears_whole_with_its_sidecar_and_what_was_discarded_never_does() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("spooled");
        fs::write(&from, b"a video").unwrap();
        let place = dir.path().join("videos");
        let videos = VideoDir::new(&place);
        let (key, name): (UploadKey, FileName) = ("e1.2".parse().unwrap(), "race-e1.2.ts".parse().unwrap());
        let word = videos.word().unwrap();
        assert_eq!((videos.word().unwrap(), VideoDir::new(&place).found_word().unwrap()), (word.clone(), Some(word)));
        assert_eq!(videos.standing(&key, &name).unwrap(), VideoStanding::Absent);
        assert_eq!(videos.copy(&key, &from, "{}", None, |_| false).unwrap(), None);
        assert_eq!(videos.standing(&key, &name).unwrap(), VideoStanding::Absent);
        assert_eq!(videos.copy(&key, &from, "{}", None, |bytes| bytes == 0).unwrap(), None);
        assert_eq!(videos.standing(&key, &name).unwrap(), VideoStanding::Begun);
        // It was discarded while its last byte was on its way: what is written after that goes, too.
        let mut heard = 0;
        let wanted = |_| {
            heard += 1;
            if heard == 2 {
                videos.discard(&key, &name).unwrap();
            }
            heard < 3
        };
        assert_eq!(videos.copy(&key, &from, "{}", Some(b"png"), wanted).unwrap(), None);
        assert_eq!(names(&place), [WORD_FILE]);
        assert_eq!(videos.copy(&key, &from, "{}", None, |bytes| bytes == 0).unwrap(), None);
        let hash: [u8; 32] = Sha256::digest(b"a video").into();
        assert_eq!(videos.copy(&key, &from, "{}", Some(b"png"), |bytes| bytes == 0 || bytes == 7).unwrap(), Some(hash));
        assert!(names(&place).iter().all(|name| name.starts_with('.')));

        videos.discard(&key, &name).unwrap();
        assert_eq!(names(&place), [WORD_FILE]);
        assert!(videos.publish(&key, &name).is_err(), "somebody else discarded it");
        assert_eq!(names(&place), [WORD_FILE]);

        videos.copy(&key, &from, "{}", Some(b"png"), |_| true).unwrap();
        videos.publish(&key, &name).unwrap();
        assert_eq!(names(&place), [WORD_FILE, "race-e1.2.json", "race-e1.2.png", "race-e1.2.ts"]);
        assert_eq!(videos.standing(&key, &name).unwrap(), VideoStanding::Whole { len_bytes: 7 });
        assert!(videos.change_sidecar(&name, |old| old.unwrap() + "!").unwrap());
        assert_eq!(fs::read_to_string(place.join("race-e1.2.json")).unwrap(), "{}!");
        assert!(!videos.change_sidecar(&"none.ts".parse().unwrap(), |_| unreachable!()).unwrap());
        videos.discard(&key, &name).unwrap();
        assert_eq!(names(&place).len(), 4, "what is published stays");
    }
}
