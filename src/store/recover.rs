//! After a start: gives what a killed process left as `temp` a final name, as `partial` (DESIGN §3.1).
//!
//! Runs beside recording, which must not wait while a large archive is read: temps of this process carry its own mark
//! and are left alone. A process of the existing system may share the directories, so a temp that is not of segvault is
//! left alone while it is young. Blocks on the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::pending::give_final_name;
use super::{Layout, StoreError, channels, hours, list_hour, qualities};
use crate::model::{Channel, Hour, Quality, SegmentHash, SegmentKind, SegmentName};

/// What our temps have where others have a UUID.
const OWN_MARK: &str = "segvault-";
/// No recorder writes one segment for longer than this.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Bytes read at a time; large enough that reading is not bound by system calls.
const READ_BYTES: usize = 256 * 1024;

/// Marks the temps of one process. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct TempMark {
    mark: Arc<str>,
    given: Arc<AtomicU64>,
}

impl TempMark {
    /// For a process that begins; two agree by chance once in 2^64.
    pub fn of_this_process() -> Self {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        Self { mark: format!("{OWN_MARK}{random:016x}-").into(), given: Arc::default() }
    }

    /// The last part of a temp's name, never the same twice.
    pub fn next(&self) -> String {
        format!("{}{}", self.mark, self.given.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether nobody writes this temp any more: it is of an earlier segvault, of which only one runs on a directory, or it
/// is old.
fn is_abandoned(path: &Path, name: &SegmentName, mine: &TempMark) -> bool {
    let last = name.as_str().splitn(4, '-').nth(3).unwrap_or_default();
    let age = || path.metadata().ok()?.modified().ok()?.elapsed().ok();
    !last.starts_with(&*mine.mark) && (last.starts_with(OWN_MARK) || age().is_some_and(|age| age > ABANDONED_AFTER))
}

/// What was found at start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Under the names that they have now.
    pub recovered: Vec<LeftBehind>,
    /// Temps without a byte: nothing to keep, so they are removed.
    pub empty: Vec<LeftBehind>,
}

impl Recovery {
    pub fn add(&mut self, other: Self) {
        self.recovered.extend(other.recovered);
        self.empty.extend(other.empty);
    }
}

/// A segment that a killed process did not finish.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftBehind {
    pub channel: Channel,
    pub quality: Quality,
    pub name: SegmentName,
}

/// Recovers every `temp` under BASE but those of `mine`; `on_error` is told of those that cannot be, and they stay.
pub fn recover(layout: &Layout, mine: &TempMark, mut on_error: impl FnMut(StoreError)) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    for channel in channels(layout)? {
        for quality in qualities(layout, &channel)? {
            // The latest first: that is where a process was killed, and where somebody looks.
            for hour in hours(layout, &channel, &quality)?.into_iter().rev() {
                recovery.add(recover_hour(layout, &channel, &quality, hour, mine, &mut on_error)?);
            }
        }
    }
    Ok(recovery)
}

/// Recovers the temps of one hour.
pub fn recover_hour(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    mine: &TempMark,
    mut on_error: impl FnMut(StoreError),
) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    let listing = list_hour(layout, channel, quality, hour)?;
    let temps = listing
        .segments()
        .filter_map(|text| SegmentName::parse(hour, text).ok())
        .filter(|name| name.kind() == SegmentKind::Temp);
    for name in temps {
        let path = layout.segment_path(channel, quality, &name);
        if !is_abandoned(&path, &name, mine) {
            continue;
        }
        let left = |name| LeftBehind { channel: channel.clone(), quality: quality.clone(), name };
        match recover_one(&path, &name) {
            Ok(Some(partial)) => recovery.recovered.push(left(partial)),
            Ok(None) => recovery.empty.push(left(name)),
            Err(error) => on_error(error),
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

pub(super) fn hash_file(mut file: &File) -> io::Result<(SegmentHash, u64)> {
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
        create("9b08923d-10c6-4fd9-94b2-b8fda02f34a6")
            .append(&[b"of a living process of the existing system"])
            .unwrap();
        let (killed, mine) = (TempMark::of_this_process(), TempMark::of_this_process());
        create(&killed.next()).append(&[b"hello world"]).unwrap();
        create(&killed.next());
        let being_written = create(&mine.next());
        let recovery = recover(&layout, &mine, |error| panic!("{error}")).unwrap();
        being_written.discard().unwrap();
        let expected = "58:30.000000-2.0-partial-uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek.ts";
        assert_eq!(recovery.recovered.iter().map(|left| left.name.as_str()).collect::<Vec<_>>(), [expected]);
        assert_eq!(recovery.empty.iter().map(|left| left.name.start()).collect::<Vec<_>>(), [start]);
        assert_eq!(
            list_hour(&layout, &channel, &quality, start.hour()).unwrap().segments().collect::<Vec<_>>(),
            [expected, "58:30.000000-2.0-temp-9b08923d-10c6-4fd9-94b2-b8fda02f34a6.ts"]
        );
        assert_eq!(recover(&layout, &mine, |error| panic!("{error}")).unwrap(), Recovery::default());
    }
}
