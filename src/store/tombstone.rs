//! Tombstones: empty files that hide a segment from the moment they exist (FORMATS §2).

use std::fs::OpenOptions;
use std::path::Path;

use super::{Layout, StoreError, flush_dir, hours, list_hour, make_dir};
use crate::model::{Channel, Hour, Quality, Span, tombstone_of};

/// A tombstone as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub hour: Hour,
    pub name: String,
}

/// Whether a tombstone lies beside `path`. One look at the disk, no cache: it must hold at once.
pub fn is_tombstoned(path: &Path) -> bool {
    let marker = path.file_name().and_then(|name| name.to_str()).and_then(tombstone_of);
    marker.is_some_and(|marker| path.with_file_name(marker).symlink_metadata().is_ok())
}

/// Hides the segment or chat batch `name`. It need not exist here: a node may be told before it has the bytes.
/// Answers whether the tombstone is new.
pub fn add_tombstone(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    tombstone: &str,
) -> Result<bool, StoreError> {
    Ok(add_tombstones(layout, channel, quality, hour, &[tombstone])?[0])
}

/// The same for many of one hour, with one flush. Each is in force as soon as it is made, also if a later one fails.
pub fn add_tombstones<N: AsRef<str>>(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    tombstones: &[N],
) -> Result<Vec<bool>, StoreError> {
    let dir = layout.hour_dir(channel, quality, hour);
    make_dir(&dir)?;
    let create = |tombstone: &N| {
        let path = dir.join(tombstone.as_ref());
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => Ok(true),
            Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(StoreError::new("create", &path, source)),
        }
    };
    let are_new = tombstones.iter().map(create).collect::<Result<Vec<bool>, _>>()?;
    flush_dir(&dir)?;
    Ok(are_new)
}

/// All tombstones of a quality, or those in the hours whose files can touch a span, in order.
pub fn tombstones(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    span: Option<Span>,
) -> Result<Vec<Tombstone>, StoreError> {
    let mut found = Vec::new();
    for hour in hours(layout, channel, quality)? {
        if span.is_some_and(|span| !(span.start().hour().previous()..=span.end().hour()).contains(&hour)) {
            continue;
        }
        let listing = list_hour(layout, channel, quality, hour)?;
        found.extend(listing.tombstones().map(|name| Tombstone { hour, name: name.to_owned() }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_file_is_a_tombstone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let segment = layout.hour_dir(&channel, &quality, hour).join("a.ts");
        assert!(!is_tombstoned(&segment));
        assert!(add_tombstone(&layout, &channel, &quality, hour, "a.tombstone").unwrap());
        assert!(!add_tombstone(&layout, &channel, &quality, hour, "a.tombstone").unwrap());
        assert!(is_tombstoned(&segment));
        let all = tombstones(&layout, &channel, &quality, None).unwrap();
        assert_eq!(all, [Tombstone { hour, name: "a.tombstone".into() }]);
    }
}
