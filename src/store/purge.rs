//! Removes the bytes that tombstones hide; the tombstones stay (FORMATS §2).
//!
//! Promises: only a file whose tombstone is flushed is removed, so that no power cut brings a segment back into view; a
//! tombstone is looked for right before; a `temp` is left to whoever writes it. Doing it again goes on where it ended.
//! All functions block on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Layout, StoreError, flush_dir, is_tombstoned, list_hour};
use crate::model::{Channel, HashedName, Hour, Quality, tombstone_of};

/// A file under a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenFile {
    pub name: String,
    pub size_bytes: u64,
    path: PathBuf,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    pub files: u64,
    pub size_bytes: u64,
}

/// The files of an hour that tombstones hide: in the record, and in quarantine, where the record's tombstones hold too.
pub fn hidden_files(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
) -> Result<Vec<HiddenFile>, StoreError> {
    let record = list_hour(layout, channel, quality, hour)?;
    let quarantine = layout.quarantine();
    let set_aside = list_hour(&quarantine, channel, quality, hour)?;
    let is_marked = |name: &&str| tombstone_of(name).is_some_and(|one| record.tombstones().any(|other| other == one));
    let of_record = record.hidden().map(|name| (layout, name));
    let of_quarantine = set_aside.visible().filter(is_marked).map(|name| (&quarantine, name));
    let mut found = Vec::new();
    for (place, name) in of_record.chain(of_quarantine) {
        if HashedName::parse(hour, name).is_err() {
            continue;
        }
        let path = place.hour_dir(channel, quality, hour).join(name);
        match path.symlink_metadata() {
            Ok(file) => found.push(HiddenFile { name: name.to_owned(), size_bytes: file.len(), path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::new("look at", &path, source)),
        }
    }
    Ok(found)
}

/// Every tombstone of an hour, and whether bytes of what it hides are still here.
pub fn tombstone_states(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
) -> Result<BTreeMap<String, bool>, StoreError> {
    let listing = list_hour(layout, channel, quality, hour)?;
    let mut states: BTreeMap<String, bool> = listing.tombstones().map(|name| (name.to_owned(), false)).collect();
    if states.is_empty() {
        return Ok(states);
    }
    let hidden = hidden_files(layout, channel, quality, hour)?;
    for tombstone in hidden.iter().filter_map(|file| tombstone_of(&file.name)) {
        states.insert(tombstone, true);
    }
    Ok(states)
}

/// Removes these files of an hour, as far as a tombstone still hides them.
pub fn purge(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    files: &[HiddenFile],
) -> Result<Purged, StoreError> {
    let mut purged = Purged::default();
    if files.is_empty() {
        return Ok(purged);
    }
    let record = layout.hour_dir(channel, quality, hour);
    // Must precede the first removal: somebody may have touched a tombstone, and a power cut could undo that alone.
    flush_dir(&record)?;
    for file in files {
        if !is_tombstoned(&record.join(&file.name)) {
            continue;
        }
        match fs::remove_file(&file.path) {
            Ok(()) => {
                purged.files += 1;
                purged.size_bytes += file.size_bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::new("delete", &file.path, source)),
        }
    }
    flush_dir(&record)?;
    let quarantine = layout.quarantine().hour_dir(channel, quality, hour);
    if files.iter().any(|file| file.path.starts_with(&quarantine)) {
        flush_dir(&quarantine)?;
    }
    Ok(purged)
}

#[cfg(test)]
mod tests {
    use super::super::add_tombstone;
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
        channel: Channel,
        quality: Quality,
        hour: Hour,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        Fixture { _dir: dir, layout, channel, quality, hour: "2026-01-02T03".parse().unwrap() }
    }

    impl Fixture {
        fn plant(&self, place: &Layout, name: &str) {
            let dir = place.hour_dir(&self.channel, &self.quality, self.hour);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(name), "bytes").unwrap();
        }

        fn hide(&self, name: &str) {
            let tombstone = tombstone_of(name).unwrap();
            add_tombstone(&self.layout, &self.channel, &self.quality, self.hour, &tombstone).unwrap();
        }

        fn hidden(&self) -> Vec<HiddenFile> {
            hidden_files(&self.layout, &self.channel, &self.quality, self.hour).unwrap()
        }

        fn purge(&self, files: &[HiddenFile]) -> Purged {
            purge(&self.layout, &self.channel, &self.quality, self.hour, files).unwrap()
        }

        fn states(&self) -> Vec<(String, bool)> {
            let states = tombstone_states(&self.layout, &self.channel, &self.quality, self.hour).unwrap();
            states.into_iter().collect()
        }
    }

    #[test]
    fn only_what_a_tombstone_hides_is_removed_and_the_tombstone_stays() {
        let fixture = fixture();
        let name = |second: u32, kind: &str| format!("00:{second:02}.0-2.0-{kind}-{HASH}.ts");
        let (seen, hidden, set_aside) = (name(0, "full"), name(2, "full"), name(4, "full"));
        let temp = "00:06.0-2.0-temp-x.ts".to_owned();
        for one in [&seen, &hidden, &temp] {
            fixture.plant(&fixture.layout, one);
        }
        fixture.plant(&fixture.layout.quarantine(), &set_aside);
        for one in [&hidden, &set_aside, &temp] {
            fixture.hide(one);
        }
        assert_eq!(fixture.states().iter().map(|(_, holds)| *holds).collect::<Vec<_>>(), [true, true, false]);
        let files = fixture.hidden();
        assert_eq!(files.iter().map(|file| &file.name).collect::<Vec<_>>(), [&hidden, &set_aside]);
        assert_eq!(fixture.purge(&files), Purged { files: 2, size_bytes: 10 });
        assert_eq!(fixture.purge(&files), Purged::default());
        assert!(fixture.hidden().is_empty() && fixture.states().iter().all(|(_, holds)| !holds));
        let dir = fixture.layout.hour_dir(&fixture.channel, &fixture.quality, fixture.hour);
        assert!(dir.join(&seen).exists() && dir.join(&temp).exists() && !dir.join(&hidden).exists());
        assert_eq!(fixture.states().len(), 3);
    }

    #[test]
    fn what_is_in_view_again_is_not_removed() {
        let fixture = fixture();
        let name = format!("00:00.0-2.0-full-{HASH}.ts");
        fixture.plant(&fixture.layout, &name);
        fixture.hide(&name);
        let files = fixture.hidden();
        let dir = fixture.layout.hour_dir(&fixture.channel, &fixture.quality, fixture.hour);
        fs::remove_file(dir.join(tombstone_of(&name).unwrap())).unwrap();
        assert_eq!(fixture.purge(&files), Purged::default());
        assert!(dir.join(&name).exists());
    }
}
