//! At start: gives what a killed process left as `temp` a final name, as `partial` (DESIGN §3.1).
//!
//! Must run before anything of ours records into the same directories: a temp that is still being written looks the
//! same. A process of the existing system may share them, so a temp that is not ours is left alone while it is young.
//! Blocks on the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::pending::give_final_name;
use super::{Layout, StoreError, channels, hours, list_hour, qualities};
use crate::model::{SegmentHash, SegmentKind, SegmentName};

/// What our temps have where others have a UUID.
const OWN_MARK: &str = "segvault-";
/// No recorder writes one segment for longer than this.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Bytes read at a time; large enough that reading is not bound by system calls.
const READ_BYTES: usize = 256 * 1024;

/// The last part of a temp's name, unlike that of any other temp: no process gives out the same twice, and two agree by
/// chance once in 2^64.
pub fn own_temp_mark(count: u64) -> String {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), count);
    format!("{OWN_MARK}{random:016x}-{count}")
}

fn is_abandoned(path: &Path, name: &SegmentName) -> bool {
    let is_ours = name.as_str().splitn(4, '-').nth(3).is_some_and(|last| last.starts_with(OWN_MARK));
    let age = || path.metadata().ok()?.modified().ok()?.elapsed().ok();
    is_ours || age().is_some_and(|age| age > ABANDONED_AFTER)
}

/// What was found at start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub recovered: Vec<SegmentName>,
    /// Temps without a byte: nothing to keep, so they are removed.
    pub empty: usize,
}

/// Recovers every `temp` under BASE; `on_error` is told of those that cannot be, and they stay.
pub fn recover(layout: &Layout, mut on_error: impl FnMut(StoreError)) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    for channel in channels(layout)? {
        for quality in qualities(layout, &channel)? {
            for hour in hours(layout, &channel, &quality)? {
                let listing = list_hour(layout, &channel, &quality, hour)?;
                let temps = listing
                    .segments()
                    .filter_map(|text| SegmentName::parse(hour, text).ok())
                    .filter(|name| name.kind() == SegmentKind::Temp);
                for name in temps {
                    let path = layout.segment_path(&channel, &quality, &name);
                    if !is_abandoned(&path, &name) {
                        continue;
                    }
                    match recover_one(&path, &name) {
                        Ok(Some(name)) => recovery.recovered.push(name),
                        Ok(None) => recovery.empty += 1,
                        Err(error) => on_error(error),
                    }
                }
            }
        }
    }
    Ok(recovery)
}

fn recover_one(path: &Path, temp: &SegmentName) -> Result<Option<SegmentName>, StoreError> {
    let failed = |act| move |source| StoreError::new(act, path, source);
    let file = File::open(path).map_err(failed("open"))?;
    let (hash, len_bytes) = hash_file(&file).map_err(failed("read"))?;
    if len_bytes == 0 {
        fs::remove_file(path).map_err(failed("delete"))?;
        return Ok(None);
    }
    file.sync_all().map_err(failed("flush"))?;
    let name = SegmentName::finished(temp.start(), temp.duration_micros(), SegmentKind::Partial, hash);
    Ok(Some(give_final_name(path, name)?.name().clone()))
}

fn hash_file(mut file: &File) -> io::Result<(SegmentHash, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut len_bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((SegmentHash::from_bytes(hasher.finalize().into()), len_bytes));
        }
        hasher.update(&buffer[..read]);
        len_bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::PendingSegment;
    use super::*;

    #[test]
    fn a_temp_becomes_a_partial_and_an_empty_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let start = "2026-01-02T03:58:30".parse().unwrap();
        let create =
            |unique: &str| PendingSegment::create(&layout, &channel, &quality, start, 2_000_000, unique).unwrap();
        create("9b08923d-10c6-4fd9-94b2-b8fda02f34a6").append(b"of a living process of the existing system").unwrap();
        create(&own_temp_mark(1)).append(b"hello world").unwrap();
        create(&own_temp_mark(2));
        let recovery = recover(&layout, |error| panic!("{error}")).unwrap();
        let expected = "58:30.000000-2.0-partial-uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek.ts";
        assert_eq!(recovery.recovered.iter().map(SegmentName::as_str).collect::<Vec<_>>(), [expected]);
        assert_eq!(recovery.empty, 1);
        assert_eq!(
            list_hour(&layout, &channel, &quality, start.hour()).unwrap().segments().collect::<Vec<_>>(),
            [expected, "58:30.000000-2.0-temp-9b08923d-10c6-4fd9-94b2-b8fda02f34a6.ts"]
        );
        assert_eq!(recover(&layout, |error| panic!("{error}")).unwrap(), Recovery::default());
    }
}
