//! What is kept out of the record and not thrown away: BASE/.segvault/quarantine/CHANNEL/QUALITY/HOUR/NAME.
//!
//! Its files have the names and the guarantees of segments, and are written like them (`Layout::quarantine`).
//!
//! Promises: restoring gives the record a whole segment or none; the bytes leave quarantine only once they are safe in the
//! record; what a tombstone hides stays where it is.
//! All functions block on the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::recover::hash_file;
use super::scrub::forget_bad;
use super::{Layout, PendingSegment, StoreError, flush_dir, hours, is_tombstoned, list_hour, make_dir};
use crate::model::{Channel, Quality, SegmentKind, SegmentName, Span};

/// Bytes copied at a time, where a quality lies on another disk.
const COPY_BYTES: usize = 256 * 1024;

/// What became of a segment that should go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    InRecord,
    /// The same segment was in the record already; the copy in quarantine is gone.
    WasThere,
    /// A tombstone hides it, so it stays in quarantine.
    Tombstoned,
}

/// The finished segments in quarantine that hold a moment of `within`, or all, in order.
pub fn quarantined(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    within: Option<Span>,
) -> Result<Vec<SegmentName>, StoreError> {
    let quarantine = layout.quarantine();
    let is_wanted = |name: &SegmentName| {
        let is_inside = within.is_none_or(|span| name.start() < span.end() && name.end() > span.start());
        name.kind() != SegmentKind::Temp && is_inside
    };
    let mut found = Vec::new();
    for hour in hours(&quarantine, channel, quality)? {
        if within.is_none_or(|span| (span.start().hour().previous()..=span.end().hour()).contains(&hour)) {
            let listing = list_hour(&quarantine, channel, quality, hour)?;
            let parsed = listing.segments().filter_map(|text| SegmentName::parse(hour, text).ok());
            found.extend(parsed.filter(is_wanted));
        }
    }
    found.sort_by(|a, b| (a.start(), a.as_str()).cmp(&(b.start(), b.as_str())));
    Ok(found)
}

/// Moves a segment from quarantine into the record. `unique` is for a temp, should it have to be copied.
pub fn restore(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    name: &SegmentName,
    unique: &str,
) -> Result<Restored, StoreError> {
    let from = layout.quarantine().segment_path(channel, quality, name);
    let to = layout.segment_path(channel, quality, name);
    if is_tombstoned(&to) {
        return Ok(Restored::Tombstoned);
    }
    if to.exists() {
        // The same name has the same hash, so the same content; or the one in quarantine went bad.
        fs::remove_file(&from).map_err(|source| StoreError::new("delete", &from, source))?;
        forget_bad(&from);
        return Ok(Restored::WasThere);
    }
    check(&from, name)?;
    let (from_dir, to_dir) = (parent(&from), parent(&to));
    make_dir(to_dir)?;
    match fs::rename(&from, &to) {
        Ok(()) => {
            // The new name must be safe before the old one is gone.
            flush_dir(to_dir)?;
            flush_dir(from_dir)?;
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(layout, channel, quality, name, &from, unique)?;
            fs::remove_file(&from).map_err(|source| StoreError::new("delete", &from, source))?;
        }
        Err(source) => return Err(StoreError::new("rename to", &to, source)),
    }
    forget_bad(&from);
    Ok(Restored::InRecord)
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a segment lies in its hour directory")
}

/// Bytes that rotted in quarantine are not for the record.
fn check(path: &Path, name: &SegmentName) -> Result<(), StoreError> {
    let hashed = File::open(path).and_then(|file| hash_file(&file));
    match hashed.map_err(|source| StoreError::new("read", path, source))? {
        (hash, _) if Some(hash) == name.hash() => Ok(()),
        _ => Err(StoreError::new("restore", path, io::Error::other("its bytes are not those of its name"))),
    }
}

/// As every segment is written: temp, hash, flush, rename.
fn copy(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    name: &SegmentName,
    from: &Path,
    unique: &str,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::new("read", from, source);
    let mut file = File::open(from).map_err(failed)?;
    let mut pending = PendingSegment::create(layout, channel, quality, name.start(), name.duration_micros(), unique)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        pending.append(&[&buffer[..read]])?;
    }
    pending.finish(name.kind()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::add_tombstone;
    use super::*;
    use crate::model::{Timestamp, tombstone_of};

    fn fixture() -> (tempfile::TempDir, Layout, Channel, Quality) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout, "ch".parse().unwrap(), "source".parse().unwrap())
    }

    fn save(layout: &Layout, start: Timestamp) -> SegmentName {
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let mut pending = PendingSegment::create(layout, &channel, &quality, start, 2_000_000, "t").unwrap();
        pending.append(&[start.to_string()]).unwrap();
        pending.finish(SegmentKind::Full).unwrap().name().clone()
    }

    fn starts(names: &[SegmentName]) -> Vec<String> {
        names.iter().map(|name| name.start().to_string()[11..19].to_owned()).collect()
    }

    #[test]
    fn what_is_restored_leaves_quarantine_and_is_in_the_record() {
        let (_dir, layout, channel, quality) = fixture();
        let times = ["2026-01-02T03:59:59", "2026-01-02T04:00:01", "2026-01-02T04:00:03"];
        for time in times {
            save(&layout.quarantine(), time.parse().unwrap());
        }
        let all = quarantined(&layout, &channel, &quality, None).unwrap();
        assert_eq!(starts(&all), ["03:59:59", "04:00:01", "04:00:03"]);
        let within = Span::new("2026-01-02T04:00:00".parse().unwrap(), "2026-01-02T04:00:03".parse().unwrap()).ok();
        let two = quarantined(&layout, &channel, &quality, within).unwrap();
        assert_eq!(starts(&two), ["03:59:59", "04:00:01"]);
        for name in &two {
            assert_eq!(restore(&layout, &channel, &quality, name, "r").unwrap(), Restored::InRecord);
        }
        assert_eq!(starts(&quarantined(&layout, &channel, &quality, None).unwrap()), ["04:00:03"]);
        let bytes = fs::read(layout.segment_path(&channel, &quality, &two[0])).unwrap();
        assert_eq!(bytes, two[0].start().to_string().as_bytes());
        save(&layout.quarantine(), two[0].start());
        assert_eq!(restore(&layout, &channel, &quality, &two[0], "r").unwrap(), Restored::WasThere);
        assert_eq!(starts(&quarantined(&layout, &channel, &quality, None).unwrap()), ["04:00:03"]);
    }

    #[test]
    fn what_a_tombstone_hides_stays_in_quarantine() {
        let (_dir, layout, channel, quality) = fixture();
        let name = save(&layout.quarantine(), "2026-01-02T03:00:00".parse().unwrap());
        let tombstone = tombstone_of(name.as_str()).unwrap();
        add_tombstone(&layout, &channel, &quality, name.hour(), &tombstone).unwrap();
        assert_eq!(restore(&layout, &channel, &quality, &name, "r").unwrap(), Restored::Tombstoned);
        assert_eq!(quarantined(&layout, &channel, &quality, None).unwrap(), std::slice::from_ref(&name));
        assert!(!layout.segment_path(&channel, &quality, &name).exists());
    }

    #[test]
    fn a_copy_to_another_disk_is_the_same_segment() {
        let (_dir, layout, channel, quality) = fixture();
        let name = save(&layout.quarantine(), "2026-01-02T03:00:00".parse().unwrap());
        let from = layout.quarantine().segment_path(&channel, &quality, &name);
        copy(&layout, &channel, &quality, &name, &from, "c").unwrap();
        let copied = fs::read(layout.segment_path(&channel, &quality, &name)).unwrap();
        assert_eq!(copied, fs::read(from).unwrap());
    }

    #[test]
    fn what_rotted_is_not_restored() {
        let (_dir, layout, channel, quality) = fixture();
        let name = save(&layout.quarantine(), "2026-01-02T03:00:00".parse().unwrap());
        let from = layout.quarantine().segment_path(&channel, &quality, &name);
        fs::write(&from, "rotten").unwrap();
        let error = restore(&layout, &channel, &quality, &name, "r").unwrap_err();
        assert!(crate::causes::chain(&error).contains("not those of its name"));
        assert!(!layout.segment_path(&channel, &quality, &name).exists() && from.exists());
    }
}
