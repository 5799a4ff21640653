//! Files that went bad: how they get into quarantine, each with a mark beside it that says why: `….bad`, one object of JSON.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Inode, StoredFile};
use crate::metrics::Damage;
use crate::model::{Channel, HashedName, Quality, Timestamp};
use crate::store::{Layout, StoreError, flush_dir, hours, make_dir};

const MARK_ENDING: &str = "bad";
/// A mark has some 200.
const MAX_MARK_BYTES: u64 = 4096;
/// A name does not go bad more often than this; who meets it has worse troubles than a move that fails.
const MOST_OF_A_NAME: u32 = 1000;

/// A file that is in quarantine because it went bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    pub file: StoredFile,
    pub damage: Damage,
    /// When it was noticed.
    pub noticed: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    name: String,
    cause: String,
    noticed: String,
}

/// What went bad of a quality, in order of time.
pub fn bad_files(layout: &Layout, channel: &Channel, quality: &Quality) -> Result<Vec<BadFile>, StoreError> {
    let quarantine = layout.quarantine();
    let mut found = Vec::new();
    for hour in hours(&quarantine, channel, quality)? {
        let dir = quarantine.hour_dir(channel, quality, hour);
        let failed = |source| StoreError::new("list", &dir, source);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let mark = if path.extension().is_some_and(|ending| ending == MARK_ENDING) { read(&path) } else { None };
            let parsed = mark.and_then(|mark| {
                let name = HashedName::parse(hour, &mark.name).ok()?;
                let damage = Damage::ALL.iter().copied().find(|damage| damage.as_str() == mark.cause)?;
                let file = StoredFile { channel: channel.clone(), quality: quality.clone(), name };
                Some(BadFile { file, damage, noticed: mark.noticed.parse().ok()? })
            });
            found.extend(parsed);
        }
    }
    found.sort_by(|a, b| (a.file.name.start(), a.file.name.as_str()).cmp(&(b.file.name.start(), b.file.name.as_str())));
    Ok(found)
}

/// `None` of what is no mark.
fn read(path: &Path) -> Option<Mark> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_MARK_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What lay at `path` in quarantine is not there any more, so its mark goes too.
pub fn forget_bad(path: &Path) {
    // A mark without a file says that it went bad once, which is true.
    let _ = fs::remove_file(path.with_extension(MARK_ENDING));
}

/// Moves a file out of the record and answers where to; `None` if what is there now is not what was read as `inode`.
pub(super) fn set_aside(
    layout: &Layout,
    file: &StoredFile,
    inode: Option<Inode>,
    damage: Damage,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let from = file.path(layout);
    let is_other = |path: &Path| inode.is_some_and(|inode| Inode::at(path) != Some(inode));
    if is_other(&from) {
        return Ok(None);
    }
    let in_quarantine = file.path(&layout.quarantine());
    let dir = in_quarantine.parent().expect("a file lies in its hour directory");
    make_dir(dir)?;
    // Must precede the move: a file without a mark would pass for one that is good.
    mark(&in_quarantine, file, damage, now)?;
    let mut to = free_place(&in_quarantine)?;
    match fs::rename(&from, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // The quality lies on another disk: there it is hidden from everybody, which needs no reading of it.
            to = free_place(&hidden(&from, MARK_ENDING))?;
            fs::rename(&from, &to).map_err(|source| StoreError::new("rename to", &to, source))?;
        }
        Err(source) => return Err(StoreError::new("rename to", &to, source)),
    }
    if is_other(&to) {
        // Between the look and the move somebody else moved the bad one, and a good one came.
        fs::rename(&to, &from).map_err(|source| StoreError::new("rename to", &from, source))?;
        return Ok(None);
    }
    flush_dir(to.parent().expect("a file lies in a directory"))?;
    flush_dir(from.parent().expect("a file lies in its hour directory"))?;
    Ok(Some(to))
}

fn mark(beside: &Path, file: &StoredFile, damage: Damage, now: Timestamp) -> Result<(), StoreError> {
    let path = beside.with_extension(MARK_ENDING);
    let mark = Mark { name: file.name.as_str().into(), cause: damage.as_str().into(), noticed: now.to_string() };
    let text = serde_json::to_vec(&mark).expect("text is JSON");
    fs::write(&path, text).map_err(|source| StoreError::new("write", &path, source))
}

/// The path itself, or a hidden one beside it while something lies there.
fn free_place(path: &Path) -> Result<PathBuf, StoreError> {
    let places =
        std::iter::once(path.to_owned()).chain((2..MOST_OF_A_NAME).map(|time| hidden(path, &time.to_string())));
    let mut free = places.filter(|place| fs::symlink_metadata(place).is_err());
    free.next().ok_or_else(|| StoreError::new("move", path, io::Error::other("it has gone bad too often")))
}

fn hidden(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    path.with_file_name(format!(".{what}-{}", name.trim_start_matches('.')))
}
