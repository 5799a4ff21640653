//! Deletes files of the record to keep it within its bounds; what goes is decided elsewhere (`select::retain`).
//!
//! Promises: only finished files go, and tombstones stay; a directory that is left empty goes too, and what is kept beside
//! an hour goes with its last file. Each deletion stands alone: a crash in between leaves the rest.
//! All functions block on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Layout, StoreError, channels, flush_dir, hours, list_hour, make_dir, qualities, replace};
use crate::model::{Channel, HashedName, Hour, Quality, Timestamp};
use crate::select::retain::{StoredFile, StreamHour};

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    pub files: u64,
    pub size_bytes: u64,
}

/// The finished files of an hour, hidden ones too.
pub fn stored_files(layout: &Layout, of: &StreamHour) -> Result<Vec<StoredFile>, StoreError> {
    let StreamHour { channel, quality, hour } = of;
    let (dir, listing) = (layout.hour_dir(channel, quality, *hour), list_hour(layout, channel, quality, *hour)?);
    let named = listing.visible().map(|name| (name, false)).chain(listing.hidden().map(|name| (name, true)));
    let mut files = Vec::new();
    for (text, hidden) in named {
        let Ok(name) = HashedName::parse(*hour, text) else { continue };
        let path = dir.join(text);
        match path.symlink_metadata() {
            Ok(file) => files.push(StoredFile { name, size_bytes: file.len(), hidden }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::new("look at", &path, source)),
        }
    }
    Ok(files)
}

/// Every quality that has a directory here.
pub fn streams(layout: &Layout) -> Result<Vec<(Channel, Quality)>, StoreError> {
    let mut found = Vec::new();
    for channel in channels(layout)? {
        found.extend(qualities(layout, &channel)?.into_iter().map(|quality| (channel.clone(), quality)));
    }
    Ok(found)
}

/// Every hour whose bytes lie on the same disk as BASE: others make no room there.
pub fn hours_on_disk(layout: &Layout) -> Result<Vec<StreamHour>, StoreError> {
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    let base = device(layout.base());
    let mut found = Vec::new();
    for (channel, quality) in streams(layout)? {
        if device(&layout.quality_dir(&channel, &quality)) == base {
            let all = hours(layout, &channel, &quality)?.into_iter();
            found.extend(all.map(|hour| StreamHour { channel: channel.clone(), quality: quality.clone(), hour }));
        }
    }
    Ok(found)
}

/// The disk of BASE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// That may still be written.
    pub free_bytes: u64,
    pub size_bytes: u64,
}

pub fn room(layout: &Layout) -> Result<Room, StoreError> {
    room_at(layout.base())
}

pub(super) fn room_at(dir: &Path) -> Result<Room, StoreError> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| StoreError::new("look at the disk of", dir, error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Room { free_bytes: bytes(stat.f_bavail), size_bytes: bytes(stat.f_blocks) })
}

/// Bytes that may still be written under BASE.
pub fn free_bytes(layout: &Layout) -> Result<u64, StoreError> {
    room(layout).map(|room| room.free_bytes)
}

/// Deletes these files of an hour, then what is left empty.
pub fn delete_files(layout: &Layout, of: &StreamHour, files: &[StoredFile]) -> Result<Deleted, StoreError> {
    let StreamHour { channel, quality, hour } = of;
    let dir = layout.hour_dir(channel, quality, *hour);
    let mut deleted = Deleted::default();
    for file in files {
        let path = dir.join(file.name.as_str());
        match fs::remove_file(&path) {
            Ok(()) => {
                deleted.files += 1;
                deleted.size_bytes += file.size_bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::new("delete", &path, source)),
        }
    }
    // Refused where something is left, or was put there meanwhile.
    if fs::remove_dir(&dir).is_ok() {
        flush_dir(&layout.quality_dir(channel, quality))?;
    } else if dir.is_dir() {
        flush_dir(&dir)?;
    }
    Ok(deleted)
}

/// What is kept beside the hours, by the first part of its path under BASE/.segvault. Each is learnt anew if need be.
const LEARNT: [&str; 2] = ["media", "peaks"];

/// Removes what was learnt of hours that are no more; answers how many files. `limit` bounds the work.
pub fn sweep_learnt(layout: &Layout, limit: usize) -> Result<usize, StoreError> {
    let mut swept = 0;
    for kind in LEARNT {
        let side = Layout::new(layout.own_dir().join(kind));
        for (channel, quality) in streams(&side)? {
            for (hour, path) in side_files(&side.quality_dir(&channel, &quality))? {
                if swept >= limit {
                    return Ok(swept);
                }
                if !layout.hour_dir(&channel, &quality, hour).exists() {
                    swept += usize::from(fs::remove_file(&path).is_ok());
                }
            }
        }
    }
    Ok(swept)
}

/// Removes the ledger of hours before `before`; answers how many files.
pub fn forget_losses(layout: &Layout, channel: &Channel, quality: &Quality, before: Hour) -> Result<usize, StoreError> {
    let dir = layout.losses().quality_dir(channel, quality);
    let old = side_files(&dir)?.into_iter().filter(|(hour, _)| *hour < before);
    Ok(old.filter(|(_, path)| fs::remove_file(path).is_ok()).count())
}

const HORIZONS: &str = "horizons.json";

/// Until when hours of each quality were deleted to make room; nothing where that cannot be read.
pub fn read_horizons(layout: &Layout) -> BTreeMap<(Channel, Quality), Timestamp> {
    let text = fs::read(layout.own_dir().join(HORIZONS)).unwrap_or_default();
    let kept: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap_or_default();
    let parse = |(stream, until): (String, String)| {
        let (channel, quality) = stream.split_once('/')?;
        Some(((channel.parse().ok()?, quality.parse().ok()?), until.parse().ok()?))
    };
    kept.into_iter().filter_map(parse).collect()
}

/// Renamed into place; losing it costs copies of what is deleted again.
pub fn write_horizons(layout: &Layout, horizons: &BTreeMap<(Channel, Quality), Timestamp>) -> Result<(), StoreError> {
    let path = layout.own_dir().join(HORIZONS);
    make_dir(&layout.own_dir())?;
    let texts: BTreeMap<String, String> = horizons
        .iter()
        .map(|((channel, quality), until)| (format!("{channel}/{quality}"), until.to_string()))
        .collect();
    let text = serde_json::to_vec(&texts).expect("texts are JSON");
    replace(&path, &text)
}

/// Files that are named by an hour, with or without an ending, in order.
fn side_files(dir: &Path) -> Result<Vec<(Hour, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::new("list", dir, source)),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let hour_of = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
    let mut files: Vec<(Hour, PathBuf)> = paths.filter_map(|path| Some((hour_of(&path)?, path))).collect();
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::add_tombstone;
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn finished_files_go_and_empty_hours_and_what_was_learnt_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let of = |hour: &str| StreamHour {
            channel: "ch".parse().unwrap(),
            quality: "source".parse().unwrap(),
            hour: hour.parse().unwrap(),
        };
        let hours = ["2026-01-02T03", "2026-01-02T04"].map(of);
        let name = format!("00:00.0-2.0-full-{HASH}");
        for one in &hours {
            let dir = layout.hour_dir(&one.channel, &one.quality, one.hour);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("{name}.ts")), "bytes").unwrap();
            for (kind, ending) in [("media", ""), ("peaks", ".json"), ("losses", "")] {
                let side = layout.own_dir().join(kind).join("ch/source");
                fs::create_dir_all(&side).unwrap();
                fs::write(side.join(format!("{}{ending}", one.hour)), "").unwrap();
            }
        }
        let dir = layout.hour_dir(&hours[0].channel, &hours[0].quality, hours[0].hour);
        fs::write(dir.join("00:02.0-2.0-temp-x.ts"), "").unwrap();
        add_tombstone(&layout, &hours[0].channel, &hours[0].quality, hours[0].hour, &format!("{name}.tombstone"))
            .unwrap();
        let mut on_disk = hours_on_disk(&layout).unwrap();
        on_disk.sort_by_key(|one| one.hour);
        assert_eq!(on_disk, hours);
        for (one, hidden) in hours.iter().zip([true, false]) {
            let files = stored_files(&layout, one).unwrap();
            assert_eq!(files.iter().map(|file| (file.size_bytes, file.hidden)).collect::<Vec<_>>(), [(5, hidden)]);
            assert_eq!(delete_files(&layout, one, &files).unwrap(), Deleted { files: 1, size_bytes: 5 });
            assert_eq!(delete_files(&layout, one, &files).unwrap(), Deleted::default());
        }
        let mut left: Vec<String> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["00:00.0-2.0-full-".to_owned() + HASH + ".tombstone", "00:02.0-2.0-temp-x.ts".into()]);
        assert_eq!(hours_on_disk(&layout).unwrap().len(), 1);
        assert_eq!(sweep_learnt(&layout, 1).unwrap() + sweep_learnt(&layout, 9).unwrap(), 2);
        assert_eq!(sweep_learnt(&layout, 9).unwrap(), 0);
        let (channel, quality) = (&hours[0].channel, &hours[0].quality);
        assert_eq!(forget_losses(&layout, channel, quality, hours[1].hour).unwrap(), 1);
        assert!(free_bytes(&layout).unwrap() > 0);
    }
}
