//! Reads directories: which channels, qualities, hours and segments there are.
//!
//! Promises: hidden entries, files among directories, directories among files, and names that are none are passed
//! over; a directory that does not exist is empty.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::time::ClockId;

use super::{Layout, StoreError};
use crate::model::{Channel, Hour, Quality, Span};
use crate::select::{HourIndex, Listing, Selection};

pub fn channels(layout: &Layout) -> Result<Vec<Channel>, StoreError> {
    parsed_subdirs(layout.base())
}

pub fn qualities(layout: &Layout, channel: &Channel) -> Result<Vec<Quality>, StoreError> {
    parsed_subdirs(&layout.channel_dir(channel))
}

pub fn hours(layout: &Layout, channel: &Channel, quality: &Quality) -> Result<Vec<Hour>, StoreError> {
    parsed_subdirs(&layout.quality_dir(channel, quality))
}

/// The files of one hour.
pub fn list_hour(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<Listing, StoreError> {
    read_listing(&layout.hour_dir(channel, quality, hour))
}

fn read_listing(dir: &Path) -> Result<Listing, StoreError> {
    let mut names = Vec::new();
    for_each_entry(dir, |entry| {
        if entry.file_type()?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
        Ok(())
    })?;
    Ok(Listing::new(names))
}

fn parsed_subdirs<T: std::str::FromStr + Ord>(dir: &Path) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    for_each_entry(dir, |entry| {
        // A link to a directory counts: operators move qualities to other disks.
        if entry.file_type()?.is_dir() || (entry.file_type()?.is_symlink() && entry.path().is_dir()) {
            found.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(())
    })?;
    found.sort_unstable();
    Ok(found)
}

fn for_each_entry(dir: &Path, mut visit: impl FnMut(&fs::DirEntry) -> io::Result<()>) -> Result<(), StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(source) if is_absent(&source) => return Ok(()),
        Err(source) => return Err(StoreError::new("list", dir, source)),
    };
    for entry in entries {
        let seen = entry.and_then(|entry| visit(&entry));
        match seen {
            // Entries come and go while we read.
            Err(source) if is_absent(&source) => {}
            Err(source) => return Err(StoreError::new("list", dir, source)),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// File systems stamp a directory with a clock of their own, in ticks: 1 to 10 ms on Linux disks, up to 2 s elsewhere.
/// A directory whose stamp is younger than this may change again without its stamp changing.
const STAMP_TICK: Duration = Duration::from_secs(2);
/// A wall clock that moved against the monotonic one by more than this was set by somebody. Less than half a tick, so
/// that what passes for "not set" cannot carry a stamp back over the tick that we waited for.
const CLOCK_NOISE: Duration = Duration::from_millis(500);

/// Tells whether an hour directory can have changed since it was listed.
///
/// Any change of the entries gives the directory a new stamp (mtime and ctime, which only the kernel sets) of that
/// moment's tick. So equal stamps mean no change, if the listing began after the tick of the stamp had passed: a change
/// in a later tick has another stamp. Two clocks guard the exceptions: a stamp that was younger than `STAMP_TICK`, or in
/// the future, when the listing began is never trusted; and if the wall clock was set since then (seen against the
/// monotonic clock), a later change could repeat the stamp, so it is not trusted either. A changed inode number means a
/// directory that was replaced, or another disk mounted over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourStamp {
    directory: Option<DirectoryStamp>,
    settled: bool,
    wall_minus_monotonic: i128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectoryStamp {
    modified: (i64, u32),
    changed: (i64, u32),
    inode: u64,
    device: (u32, u32),
}

impl HourStamp {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let directory = directory_stamp(dir)?;
        let wall = clock_nanos(ClockId::Realtime);
        let age = directory.map(|stamp| {
            let (seconds, nanos) = stamp.modified.max(stamp.changed);
            wall - (i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
        });
        // An absent directory has no stamp that could repeat: appearing is always seen.
        let settled = age.is_none_or(|age| age > STAMP_TICK.as_nanos() as i128);
        Ok(Self { directory, settled, wall_minus_monotonic: wall - clock_nanos(ClockId::Boottime) })
    }

    /// Whether what was listed when `self` was taken still stands, by one look at the directory.
    pub fn still_holds(&self, layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> bool {
        let Ok(now) = Self::take(&layout.hour_dir(channel, quality, hour)) else { return false };
        let clock_moved = (now.wall_minus_monotonic - self.wall_minus_monotonic).unsigned_abs();
        self.settled && self.directory == now.directory && clock_moved < CLOCK_NOISE.as_nanos()
    }
}

fn directory_stamp(dir: &Path) -> Result<Option<DirectoryStamp>, StoreError> {
    let wanted = StatxFlags::MTIME | StatxFlags::CTIME | StatxFlags::INO;
    match rustix::fs::statx(CWD, dir, AtFlags::empty(), wanted) {
        Ok(stat) => Ok(Some(DirectoryStamp {
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            inode: stat.stx_ino,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
        })),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(StoreError::new("look at", dir, error.into())),
    }
}

fn clock_nanos(clock: ClockId) -> i128 {
    let time = rustix::time::clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// An hour as it was when `stamp` was taken.
#[derive(Debug, Clone)]
pub struct LoadedHour {
    pub index: Arc<HourIndex>,
    pub stamp: HourStamp,
}

/// Lists an hour and chooses its best segments. Blocks on the disk.
pub fn load_hour(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<LoadedHour, StoreError> {
    let dir = layout.hour_dir(channel, quality, hour);
    // Must precede the listing: a change after the look and before the listing then makes the stamp differ.
    let stamp = HourStamp::take(&dir)?;
    let listing = if stamp.directory.is_some() { read_listing(&dir)? } else { Listing::default() };
    let size_of = |name: &str| fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    let index = Arc::new(HourIndex::build(hour, listing.segments(), size_of));
    Ok(LoadedHour { index, stamp })
}

/// Chooses for a span straight from the disk, for those who have no cache. Blocks on the disk.
pub fn load_span(layout: &Layout, channel: &Channel, quality: &Quality, span: Span) -> Result<Selection, StoreError> {
    let (first, last) = (span.start().hour().previous(), span.end().hour());
    let present = hours(layout, channel, quality)?.into_iter().filter(|hour| (first..=last).contains(hour));
    let indexes = present.map(|hour| load_hour(layout, channel, quality, hour).map(|loaded| loaded.index));
    Ok(Selection::choose(span, indexes.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "00:00.0-2.0-full-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.ts";

    fn fixture() -> (tempfile::TempDir, Layout, Channel, Quality, Hour) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout, "ch".parse().unwrap(), "source".parse().unwrap(), "2026-01-02T03".parse().unwrap())
    }

    /// Makes the directory look as if its last change were long ago, as it will be seconds later.
    fn settle(dir: &Path) {
        let past = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: past, last_modification: past };
        rustix::fs::utimensat(CWD, dir, &times, AtFlags::empty()).unwrap();
    }

    #[test]
    fn a_fresh_stamp_is_not_trusted_so_a_change_in_the_same_tick_is_seen() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        for round in 0..50 {
            let before = load_hour(&layout, &channel, &quality, hour).unwrap();
            assert_eq!(before.index.len(), round);
            fs::write(dir.join(NAME.replace("00:00.0", &format!("{round:02}:00.0"))), "").unwrap();
            assert!(!before.stamp.still_holds(&layout, &channel, &quality, hour));
        }
    }

    #[test]
    fn a_changed_directory_does_not_hold() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let absent = load_hour(&layout, &channel, &quality, hour).unwrap();
        assert!(absent.stamp.still_holds(&layout, &channel, &quality, hour));
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        assert!(!absent.stamp.still_holds(&layout, &channel, &quality, hour));
        // utimensat changes mtime only; the ctime that the kernel sets keeps a backdated directory from being trusted.
        settle(&dir);
        let backdated = load_hour(&layout, &channel, &quality, hour).unwrap();
        assert!(!backdated.stamp.still_holds(&layout, &channel, &quality, hour));
    }

    #[test]
    fn an_old_directory_holds_until_a_tombstone_is_touched() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(NAME), "x").unwrap();
        let settled = LoadedHour {
            stamp: HourStamp { settled: true, ..HourStamp::take(&dir).unwrap() },
            ..load_hour(&layout, &channel, &quality, hour).unwrap()
        };
        assert!(settled.stamp.still_holds(&layout, &channel, &quality, hour));
        // The stamp above was declared settled, so wait for the kernel's next tick, as a settled stamp has.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(dir.join(NAME.replace(".ts", ".tombstone")), "").unwrap();
        assert!(!settled.stamp.still_holds(&layout, &channel, &quality, hour));
        assert!(load_hour(&layout, &channel, &quality, hour).unwrap().index.is_empty());
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        let now = HourStamp { settled: true, ..HourStamp::take(&dir).unwrap() };
        assert!(now.still_holds(&layout, &channel, &quality, hour));
        let before_the_step = HourStamp { wall_minus_monotonic: now.wall_minus_monotonic + 1_000_000_000, ..now };
        assert!(!before_the_step.still_holds(&layout, &channel, &quality, hour));
    }

    #[test]
    fn strays_are_passed_over() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(dir.join("d.ts")).unwrap();
        fs::create_dir_all(layout.own_dir()).unwrap();
        fs::write(layout.base().join("stray.txt"), "").unwrap();
        fs::write(layout.quality_dir(&channel, &quality).join("2026-01-02T04"), "").unwrap();
        fs::create_dir(layout.quality_dir(&channel, &quality).join("garbage")).unwrap();
        assert_eq!(channels(&layout).unwrap(), std::slice::from_ref(&channel));
        assert_eq!(hours(&layout, &channel, &quality).unwrap(), [hour]);
        assert_eq!(list_hour(&layout, &channel, &quality, hour).unwrap().visible().count(), 0);
    }
}
