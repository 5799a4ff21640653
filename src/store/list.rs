//! Reads directories: which channels, qualities, hours and segments there are.
//!
//! Promises: hidden entries, files among directories, directories among files, and names that are none are passed
//! over; a directory that does not exist is empty.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::coverage::MAPS_DIR;
use super::{Layout, StoreError};
use crate::model::{Channel, Hour, Quality, Span};
use crate::select::{HourIndex, Listing, Selection};

pub fn channels(layout: &Layout) -> Result<Vec<Channel>, StoreError> {
    let mut channels: Vec<Channel> = parsed_subdirs(layout.base())?;
    channels.retain(|channel| channel.as_str() != MAPS_DIR);
    Ok(channels)
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

/// Elsewhere than on a disk of this machine, stamps come in ticks of up to 2 s (FAT), from a clock that is not ours. A
/// directory whose stamp is younger than this may change again without its stamp changing.
const STAMP_TICK: Duration = Duration::from_secs(2);
/// File systems whose stamps are the kernel's coarse clock as it is, to the nanosecond: ext, XFS, Btrfs, tmpfs, F2FS and
/// overlays of them (statfs(2)).
const STAMPED_BY_KERNEL: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630];
/// A wall clock that moved against the monotonic one by more than this was set by somebody. Less than half a tick, so
/// that what passes for "not set" cannot carry a stamp back over the tick that we waited for.
const CLOCK_NOISE: Duration = Duration::from_millis(500);

/// Tells whether an hour directory can have changed since it was listed.
///
/// Any change of the entries gives the directory a new stamp (mtime and ctime, which only the kernel sets) of that
/// moment's tick. So equal stamps mean no change, if the tick of the stamp had passed when the listing began: a change in a
/// later tick has another stamp. Whether it had passed is read from the very clock that the stamps are taken from, where
/// the file system is one of `STAMPED_BY_KERNEL`; so it holds also on a virtual machine whose ticks come late. (From
/// Linux 6.13 on, a change after a look gets a stamp finer than the clock: another one in any case.) Elsewhere, and where
/// the stamp has no nanoseconds, it must be older than `STAMP_TICK`. A stamp in the future is never trusted. If the wall
/// clock was set since the listing (seen against the monotonic clock), a later change could repeat the stamp, so it is not
/// trusted either. A changed inode number means a directory that was replaced, or another disk mounted over it.
///
/// What we write ourselves is no exception: stamps before and after our own change cannot tell it from a change that
/// somebody else makes between the two, and no tombstone may go unseen. It costs one listing per change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourStamp {
    directory: Option<DirectoryStamp>,
    settled: bool,
    wall_minus_monotonic: i128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
        let tick_has_passed = |stamp: DirectoryStamp| {
            // Must precede the listing, as this look does: later changes are stamped with this clock or a later one.
            let clock = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
            let newest = stamp.modified.max(stamp.changed);
            !newest.1.is_multiple_of(1_000_000)
                && (clock.tv_sec, clock.tv_nsec as u32) > newest
                && is_stamped_by_kernel(dir)
        };
        let settled =
            age.is_none_or(|age| age > STAMP_TICK.as_nanos() as i128) || directory.is_some_and(tick_has_passed);
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

fn is_stamped_by_kernel(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|fs| STAMPED_BY_KERNEL.contains(&(fs.f_type as u64)))
}

fn clock_nanos(clock: ClockId) -> i128 {
    let time = rustix::time::clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// An hour as it was when `stamp` was taken. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LoadedHour {
    pub index: Arc<HourIndex>,
    pub stamp: HourStamp,
    listed: Arc<Listed>,
}

/// What the hour's listing shows beside the index, and the listing's text once somebody has asked for it.
#[derive(Debug)]
struct Listed {
    chat: Vec<Box<str>>,
    tombstones: Vec<Box<str>>,
    /// Without tombstones, and with them.
    texts: [OnceLock<ListingText>; 2],
    /// The same, compressed.
    gzipped: [OnceLock<Bytes>; 2],
}

/// A listing as peers read it.
#[derive(Debug, Clone)]
pub struct ListingText {
    /// A JSON list of names.
    pub json: Bytes,
    /// The same for the same names on every node.
    pub tag: Arc<str>,
}

impl LoadedHour {
    /// The JSON list of visible names, with the tombstones if asked. Made once.
    pub fn listing_text(&self, with_tombstones: bool) -> ListingText {
        let make = || {
            let segments = self.index.all().map(|segment| segment.name);
            let strays = self.index.unparsable().iter().map(|(name, _)| &**name);
            let chat = self.listed.chat.iter().map(|name| &**name);
            let tombstones = self.listed.tombstones.iter().map(|name| &**name).filter(|_| with_tombstones);
            let mut names: Vec<&str> = segments.chain(strays).chain(chat).chain(tombstones).collect();
            names.sort_unstable();
            let json = serde_json::to_vec(&names).expect("a list of text is JSON");
            let tag = URL_SAFE_NO_PAD.encode(&Sha256::digest(&json)[..TAG_BYTES]).into();
            ListingText { json: json.into(), tag }
        };
        self.listed.texts[usize::from(with_tombstones)].get_or_init(make).clone()
    }

    /// The same as `listing_text`, compressed by gzip. Made once.
    pub fn gzipped_listing(&self, with_tombstones: bool) -> Bytes {
        let make = || {
            let text = self.listing_text(with_tombstones).json;
            let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 2), Compression::fast());
            let written = io::Write::write_all(&mut encoder, &text).and_then(|()| encoder.finish());
            written.expect("memory takes what is written").into()
        };
        self.listed.gzipped[usize::from(with_tombstones)].get_or_init(make).clone()
    }

    /// Whether there is no such directory.
    pub fn is_absent(&self) -> bool {
        self.stamp.directory.is_none()
    }

    /// Memory that this value holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        let texts = self.listed.texts.iter().filter_map(OnceLock::get).map(|text| text.json.len());
        let gzipped = self.listed.gzipped.iter().filter_map(OnceLock::get).map(Bytes::len);
        let names =
            self.listed.chat.iter().chain(&self.listed.tombstones).map(|name| name.len() + size_of::<Box<str>>());
        self.index.size_bytes() + size_of::<Listed>() + texts.chain(gzipped).sum::<usize>() + names.sum::<usize>()
    }
}

/// Enough that two listings never share a tag by chance.
const TAG_BYTES: usize = 15;

/// The files of one hour, and the stamp that tells whether they have changed since.
pub fn list_stamped(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
) -> Result<(Listing, HourStamp), StoreError> {
    let dir = layout.hour_dir(channel, quality, hour);
    // Must precede the listing: a change after the look and before the listing then makes the stamp differ.
    let stamp = HourStamp::take(&dir)?;
    Ok((if stamp.directory.is_some() { read_listing(&dir)? } else { Listing::default() }, stamp))
}

/// Lists an hour and chooses its best segments. Blocks on the disk.
pub fn load_hour(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<LoadedHour, StoreError> {
    let dir = layout.hour_dir(channel, quality, hour);
    let (listing, stamp) = list_stamped(layout, channel, quality, hour)?;
    let size_of = |name: &str| fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    let index = Arc::new(HourIndex::build(hour, listing.segments(), size_of));
    let listed = Listed {
        chat: listing.chat().map(Into::into).collect(),
        tombstones: listing.tombstones().map(Into::into).collect(),
        texts: Default::default(),
        gzipped: Default::default(),
    };
    Ok(LoadedHour { index, stamp, listed: Arc::new(listed) })
}

/// Chooses for a span straight from the disk, for those who have no cache. Blocks on the disk, on all cores.
pub fn load_span(layout: &Layout, channel: &Channel, quality: &Quality, span: Span) -> Result<Selection, StoreError> {
    let (first, last) = (span.start().hour().previous(), span.end().hour());
    let mut present = hours(layout, channel, quality)?;
    present.retain(|hour| (first..=last).contains(hour));
    let load = |hours: &[Hour]| -> Result<Vec<Arc<HourIndex>>, StoreError> {
        let loaded = hours.iter().map(|hour| load_hour(layout, channel, quality, *hour).map(|loaded| loaded.index));
        loaded.collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = present.len().div_ceil(cores).max(1);
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = present.chunks(share).map(|hours| scope.spawn(move || load(hours))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("loading an hour does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Selection::choose(span, shares.concat()))
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
    fn a_change_is_seen_in_whichever_part_of_a_tick_it_falls() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        for round in 0..600 {
            // Over several ticks, of which a Linux kernel makes 100 to 1,000 in a second.
            std::thread::sleep(Duration::from_micros(round * 97 % 5000));
            let before = load_hour(&layout, &channel, &quality, hour).unwrap();
            assert_eq!(before.index.len(), round as usize);
            let start = format!("{:02}:{:02}.0", round / 60, round % 60);
            fs::write(dir.join(NAME.replace("00:00.0", &start)), "").unwrap();
            assert!(!before.stamp.still_holds(&layout, &channel, &quality, hour));
        }
    }

    #[test]
    fn a_directory_is_listed_once_per_change_and_not_for_seconds_after_it() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        if !is_stamped_by_kernel(&dir) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        let loaded = load_hour(&layout, &channel, &quality, hour).unwrap();
        assert!(loaded.stamp.still_holds(&layout, &channel, &quality, hour));
    }

    #[test]
    fn a_changed_directory_does_not_hold() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let absent = load_hour(&layout, &channel, &quality, hour).unwrap();
        assert!(absent.stamp.still_holds(&layout, &channel, &quality, hour));
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        assert!(!absent.stamp.still_holds(&layout, &channel, &quality, hour));
        // Whoever sets the times of a directory changes its ctime.
        let loaded = load_hour(&layout, &channel, &quality, hour).unwrap();
        settle(&dir);
        assert!(!loaded.stamp.still_holds(&layout, &channel, &quality, hour));
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

    #[test]
    fn a_listing_names_all_that_is_visible_and_its_tag_follows_the_names() {
        let (_guard, layout, channel, quality, hour) = fixture();
        let dir = layout.hour_dir(&channel, &quality, hour);
        fs::create_dir_all(&dir).unwrap();
        for name in [NAME, "stray.ts", "batch.json", "gone.ts", "gone.tombstone", ".hidden.ts"] {
            fs::write(dir.join(name), "").unwrap();
        }
        let load = || load_hour(&layout, &channel, &quality, hour).unwrap();
        let loaded = load();
        assert_eq!(loaded.listing_text(false).json, format!("[{NAME:?},\"batch.json\",\"stray.ts\"]"));
        assert_eq!(
            loaded.listing_text(true).json,
            format!("[{NAME:?},\"batch.json\",\"gone.tombstone\",\"stray.ts\"]")
        );
        assert_eq!(load().listing_text(false).tag, loaded.listing_text(false).tag);
        fs::write(dir.join("batch.tombstone"), "").unwrap();
        assert_ne!(load().listing_text(false).tag, loaded.listing_text(false).tag);
    }
}
