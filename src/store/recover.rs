//! At start: gives what a killed process left as `temp` a final name, as `partial` (DESIGN §3.1).
//!
//! Must run before anything records into the same directories: a temp that is still being written looks the same.
//! Blocks on the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::pending::give_final_name;
use super::{Layout, StoreError, channels, hours, list_hour, qualities};
use crate::model::{SegmentHash, SegmentKind, SegmentName};

/// Bytes read at a time; large enough that reading is not bound by system calls.
const READ_BYTES: usize = 256 * 1024;

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
        let create = |unique| PendingSegment::create(&layout, &channel, &quality, start, 2_000_000, unique).unwrap();
        create("killed").append(b"hello world").unwrap();
        create("barely-begun");
        let recovery = recover(&layout, |error| panic!("{error}")).unwrap();
        let expected = "58:30.000000-2.0-partial-uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek.ts";
        assert_eq!(recovery.recovered.iter().map(SegmentName::as_str).collect::<Vec<_>>(), [expected]);
        assert_eq!(recovery.empty, 1);
        assert_eq!(
            list_hour(&layout, &channel, &quality, start.hour()).unwrap().segments().collect::<Vec<_>>(),
            [expected]
        );
        assert_eq!(recover(&layout, |error| panic!("{error}")).unwrap(), Recovery::default());
    }
}
