//! Whether stored files still have the bytes that their names promise. Those that have not leave the record for quarantine.
//!
//! Promises: a file is moved only after it was read wrong twice, the second time from the disk and not from memory; it is
//! neither deleted nor put in another one's place; what came under its name meanwhile stays in the record, so that several
//! may scrub at once. What a tombstone hides is not opened.
//! Never: decides what is read when, or tells anybody.
//! All functions block on the disk.

mod bad;

use std::fs::{self, File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

pub use bad::{BadFile, bad_files, forget_bad};

use super::recover::hash_file;
use super::{Layout, StoreError, Volume, channels, hours, is_tombstoned, list_hour, qualities};
use crate::metrics::Damage;
use crate::model::{Channel, HashedName, Hour, Quality, SegmentHash, SegmentKind, Span, Timestamp};

/// What disks and file systems say of bytes that they have lost: a failed medium, a checksum that does not match, damaged
/// structures, a medium that is silent about a sector. Other errors, such as a missing right, say nothing about the file.
const LOST_BYTES: [Errno; 5] = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA, Errno::ILSEQ];
/// A quality's hour has about as many bytes as the mean of so many others.
const SAMPLED_HOURS: usize = 3;

/// An hour of a quality, or of a channel's chat. Ordered by name, then by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamHour {
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
}

/// A file of the record whose name says what its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub channel: Channel,
    pub quality: Quality,
    pub name: HashedName,
}

impl StoredFile {
    pub fn path(&self, layout: &Layout) -> PathBuf {
        layout.hour_dir(&self.channel, &self.quality, self.name.hour()).join(self.name.as_str())
    }

    /// `CHANNEL/QUALITY/HOUR/NAME`.
    pub fn path_text(&self) -> String {
        format!("{}/{}/{}", self.channel, self.quality, self.name.path_text())
    }

    /// What the record shows no more without it. `None` of a partial segment, whose time is told as lost already, and of
    /// a chat batch, which takes none.
    pub fn shown_span(&self) -> Option<Span> {
        let shows = matches!(self.name.kind(), Some(SegmentKind::Full | SegmentKind::Suspect));
        Span::new(self.name.start(), self.name.end()).ok().filter(|_| shows)
    }
}

/// What became of a file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scrubbed {
    Good {
        bytes: u64,
    },
    /// It went bad, and is not in the record any more.
    SetAside {
        bytes: u64,
        damage: Damage,
        to: PathBuf,
    },
    /// It is not in the record any more, or a tombstone hides it.
    Gone,
}

/// What was found of a file, without moving it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    Good { bytes: u64 },
    Bad { bytes: u64, damage: Damage },
    Gone,
}

/// Every hour that there is, in order.
pub fn stream_hours(layout: &Layout) -> Result<Vec<StreamHour>, StoreError> {
    let mut found = Vec::new();
    for channel in channels(layout)? {
        for quality in qualities(layout, &channel)? {
            let of = |hour| StreamHour { channel: channel.clone(), quality: quality.clone(), hour };
            found.extend(hours(layout, &channel, &quality)?.into_iter().map(of));
        }
    }
    Ok(found)
}

/// The files of an hour that have a hash in their name, in order of name.
pub fn files_of(layout: &Layout, of: &StreamHour) -> Result<Vec<StoredFile>, StoreError> {
    let listing = list_hour(layout, &of.channel, &of.quality, of.hour)?;
    let names = listing.visible().filter_map(|text| HashedName::parse(of.hour, text).ok());
    let stored = |name| StoredFile { channel: of.channel.clone(), quality: of.quality.clone(), name };
    Ok(names.map(stored).collect())
}

/// The hours into which something came since then, the newest first.
pub fn hours_changed_since(layout: &Layout, since: Timestamp) -> Result<Vec<StreamHour>, StoreError> {
    let mut changed = stream_hours(layout)?;
    // A file gets its final name by a change of its directory.
    changed.retain(|of| was_changed_since(&layout.hour_dir(&of.channel, &of.quality, of.hour), since));
    changed.sort_by(|a, b| b.hour.cmp(&a.hour).then_with(|| a.cmp(b)));
    Ok(changed)
}

/// Whether a file or directory was changed since then, or does not say.
pub fn was_changed_since(path: &Path, since: Timestamp) -> bool {
    let micros = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000);
    fs::symlink_metadata(path).map_or(true, |stat| {
        let newest = micros(stat.mtime(), stat.mtime_nsec()).max(micros(stat.ctime(), stat.ctime_nsec()));
        newest >= since.micros()
    })
}

/// About how many bytes these hours, in order, hold together: of each quality a few are looked at.
pub fn estimate_bytes(layout: &Layout, hours: &[StreamHour]) -> u64 {
    let of_quality = hours.chunk_by(|a, b| (&a.channel, &a.quality) == (&b.channel, &b.quality));
    let estimates = of_quality.map(|hours| {
        let step = hours.len().div_ceil(SAMPLED_HOURS).max(1);
        let samples: Vec<u64> = hours.iter().skip(step / 2).step_by(step).map(|of| bytes_of(layout, of)).collect();
        let mean = samples.iter().sum::<u64>() / (samples.len() as u64).max(1);
        mean.saturating_mul(hours.len() as u64)
    });
    estimates.fold(0, u64::saturating_add)
}

fn bytes_of(layout: &Layout, of: &StreamHour) -> u64 {
    let files = files_of(layout, of).unwrap_or_default();
    files.iter().filter_map(|file| fs::metadata(file.path(layout)).ok()).map(|stat| stat.len()).sum()
}

/// Compares a file with its name; what is wrong is read once more, from the disk.
pub fn check(layout: &Layout, file: &StoredFile) -> Result<Checked, StoreError> {
    Ok(match look_twice(layout, file)? {
        None => Checked::Gone,
        Some(Looked { bytes, damage: None, .. }) => Checked::Good { bytes },
        Some(Looked { bytes, damage: Some(damage), .. }) => Checked::Bad { bytes, damage },
    })
}

/// The same, and what is wrong goes to quarantine. `volume` is `None` where BASE was never a node's.
pub fn scrub(
    layout: &Layout,
    volume: Option<&Volume>,
    file: &StoredFile,
    now: Timestamp,
) -> Result<Scrubbed, StoreError> {
    let Some(looked) = look_twice(layout, file)? else { return Ok(Scrubbed::Gone) };
    let Looked { bytes, damage: Some(damage), inode } = looked else {
        return Ok(Scrubbed::Good { bytes: looked.bytes });
    };
    volume.map_or(Ok(()), Volume::check)?;
    let set_aside = bad::set_aside(layout, file, inode, damage, now)?;
    Ok(set_aside.map_or(Scrubbed::Gone, |to| Scrubbed::SetAside { bytes, damage, to }))
}

/// Tells a file from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(stat: &Metadata) -> Self {
        Self { device: stat.dev(), number: stat.ino() }
    }

    /// `None` of what is not there, or does not say.
    fn at(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().map(|stat| Self::of(&stat))
    }
}

/// One reading of a file.
struct Looked {
    bytes: u64,
    damage: Option<Damage>,
    /// `None` if even that cannot be read.
    inode: Option<Inode>,
}

fn look_twice(layout: &Layout, file: &StoredFile) -> Result<Option<Looked>, StoreError> {
    let path = file.path(layout);
    match look(&path, file.name.hash(), false)? {
        Some(Looked { damage: Some(_), .. }) => look(&path, file.name.hash(), true),
        looked => Ok(looked),
    }
}

/// `None` of what is gone, or hidden by a tombstone.
fn look(path: &Path, expected: SegmentHash, from_disk: bool) -> Result<Option<Looked>, StoreError> {
    // Must precede the opening: a tombstone that can be seen hides the bytes (FORMATS §2).
    if is_tombstoned(path) {
        return Ok(None);
    }
    let unreadable = |inode| Looked { bytes: 0, damage: Some(Damage::Unreadable), inode };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_lost(&error) => return Ok(Some(unreadable(Inode::at(path)))),
        Err(error) => return Err(StoreError::of_read(path, error)),
    };
    let inode = file.metadata().ok().map(|stat| Inode::of(&stat));
    let was_cached = is_cached(&file);
    if from_disk {
        forget_cached(&file);
    }
    let hashed = hash_file(&file);
    // What readers do not want in memory should not push out what they do.
    if from_disk || !was_cached {
        forget_cached(&file);
    }
    match hashed {
        Ok((hash, bytes)) => {
            let wrong = if bytes == 0 { Damage::Empty } else { Damage::WrongBytes };
            Ok(Some(Looked { bytes, damage: (hash != expected).then_some(wrong), inode }))
        }
        Err(error) if is_lost(&error) => Ok(Some(unreadable(inode))),
        Err(error) => Err(StoreError::of_read(path, error)),
    }
}

fn is_lost(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| LOST_BYTES.contains(&errno))
}

/// Whether the beginning of a file is in the page cache; no, where the file system does not tell.
fn is_cached(file: &File) -> bool {
    let mut byte = [0];
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT) == Ok(1)
}

/// It is advice: a file system may not take it.
fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use super::super::{PendingSegment, Restored, quarantined, restore};
    use super::*;
    use crate::model::SegmentName;

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self { layout: Layout::new(dir.path()), _dir: dir }
        }

        fn save(&self, start: &str) -> StoredFile {
            let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
            let start: Timestamp = start.parse().unwrap();
            let mut pending = PendingSegment::create(&self.layout, &channel, &quality, start, 2_000_000, "t").unwrap();
            pending.append(&[start.to_string()]).unwrap();
            let name = pending.finish(SegmentKind::Full).unwrap().name().as_str().to_owned();
            StoredFile { channel, quality, name: HashedName::parse(start.hour(), &name).unwrap() }
        }

        fn scrub(&self, file: &StoredFile) -> Scrubbed {
            scrub(&self.layout, None, file, "2026-01-03T00:00:00".parse().unwrap()).unwrap()
        }

        fn quarantine(&self, file: &StoredFile) -> PathBuf {
            file.path(&self.layout.quarantine())
        }
    }

    #[test]
    fn what_went_bad_leaves_the_record_whole_and_is_marked() {
        let fixture = Fixture::new();
        let good = fixture.save("2026-01-02T03:00:00");
        assert_eq!(fixture.scrub(&good), Scrubbed::Good { bytes: 26 });
        for (second, bytes, damage) in [(2, vec![0; 26], Damage::WrongBytes), (4, vec![], Damage::Empty)] {
            let bad = fixture.save(&format!("2026-01-02T03:00:0{second}"));
            fs::write(bad.path(&fixture.layout), &bytes).unwrap();
            let checked = Checked::Bad { bytes: bytes.len() as u64, damage };
            assert_eq!(check(&fixture.layout, &bad).unwrap(), checked);
            assert!(bad.path(&fixture.layout).exists(), "checking moves nothing");
            let to = fixture.quarantine(&bad);
            let expected = Scrubbed::SetAside { bytes: bytes.len() as u64, damage, to: to.clone() };
            assert_eq!(fixture.scrub(&bad), expected);
            assert_eq!(fs::read(to).unwrap(), bytes);
            assert_eq!(fixture.scrub(&bad), Scrubbed::Gone);
        }
        let of = StreamHour { channel: good.channel.clone(), quality: good.quality.clone(), hour: good.name.hour() };
        assert_eq!(files_of(&fixture.layout, &of).unwrap(), std::slice::from_ref(&good));
        let marked = bad_files(&fixture.layout, &good.channel, &good.quality).unwrap();
        assert_eq!(marked.iter().map(|bad| bad.damage).collect::<Vec<_>>(), [Damage::WrongBytes, Damage::Empty]);
        assert_eq!(marked[0].noticed.to_string(), "2026-01-03T00:00:00.000000");
    }

    #[test]
    fn what_went_bad_is_not_restored_before_a_good_copy_is_there() {
        let fixture = Fixture::new();
        let file = fixture.save("2026-01-02T03:00:00");
        fs::write(file.path(&fixture.layout), "rotten").unwrap();
        fixture.scrub(&file);
        let names = quarantined(&fixture.layout, &file.channel, &file.quality, None).unwrap();
        let [name]: &[SegmentName; 1] = names[..].try_into().unwrap();
        let restore = || restore(&fixture.layout, &file.channel, &file.quality, name, "r");
        assert!(crate::causes::chain(&restore().unwrap_err()).contains("not those of its name"));
        assert_eq!(fixture.save("2026-01-02T03:00:00"), file);
        assert_eq!(restore().unwrap(), Restored::WasThere);
        assert!(bad_files(&fixture.layout, &file.channel, &file.quality).unwrap().is_empty());
    }

    #[test]
    fn what_goes_bad_again_does_not_replace_what_is_in_quarantine() {
        let fixture = Fixture::new();
        for rotten in ["one", "two", "three"] {
            let file = fixture.save("2026-01-02T03:00:00");
            fs::write(file.path(&fixture.layout), rotten).unwrap();
            let Scrubbed::SetAside { to, .. } = fixture.scrub(&file) else { panic!("{rotten} is not told") };
            assert_eq!(fs::read_to_string(to).unwrap(), rotten);
        }
        let file = fixture.save("2026-01-02T03:00:00");
        let dir = fixture.quarantine(&file).parent().unwrap().to_owned();
        let kept = fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().metadata().unwrap().len() < 6);
        assert_eq!(kept.count(), 3);
    }

    #[test]
    fn a_good_copy_that_came_meanwhile_stays_in_the_record() {
        let fixture = Fixture::new();
        let file = fixture.save("2026-01-02T03:00:00");
        let path = file.path(&fixture.layout);
        // As another process that scrubs, and a peer's copy, may leave it while this one still reads.
        let other = path.with_extension("other");
        fs::write(&other, "").unwrap();
        let seen_before = Inode::at(&other);
        let now = "2026-01-03T00:00:00".parse().unwrap();
        let aside = bad::set_aside(&fixture.layout, &file, seen_before, Damage::WrongBytes, now).unwrap();
        assert_eq!((aside, path.exists()), (None, true));
        assert_eq!(fixture.scrub(&file), Scrubbed::Good { bytes: 26 });
    }

    #[test]
    fn what_a_tombstone_hides_is_left_alone() {
        let fixture = Fixture::new();
        let file = fixture.save("2026-01-02T03:00:00");
        let path = file.path(&fixture.layout);
        fs::write(&path, "rotten").unwrap();
        fs::write(path.with_extension("tombstone"), "").unwrap();
        assert_eq!((fixture.scrub(&file), path.exists()), (Scrubbed::Gone, true));
    }

    #[test]
    fn another_volume_is_left_alone() {
        let fixture = Fixture::new();
        let file = fixture.save("2026-01-02T03:00:00");
        fs::create_dir_all(fixture.layout.own_dir()).unwrap();
        let volume = Volume::adopt(&fixture.layout).unwrap();
        fs::write(fixture.layout.own_dir().join("volume"), "another").unwrap();
        fs::write(file.path(&fixture.layout), "rotten").unwrap();
        assert!(scrub(&fixture.layout, Some(&volume), &file, Timestamp::from_micros(0)).is_err());
        assert!(file.path(&fixture.layout).exists());
    }

    #[test]
    fn only_lost_bytes_speak_against_a_file() {
        for (errno, lost) in [(Errno::IO, true), (Errno::UCLEAN, true), (Errno::ACCESS, false), (Errno::MFILE, false)] {
            assert_eq!(is_lost(&errno.into()), lost, "{errno}");
        }
    }

    #[test]
    fn hours_are_told_newest_first_and_by_what_came_into_them() {
        let fixture = Fixture::new();
        let before = Timestamp::from_micros(0);
        for start in ["2026-01-02T03:00:00", "2026-01-02T05:00:00", "2026-01-02T04:00:00"] {
            fixture.save(start);
        }
        let texts = |hours: Vec<StreamHour>| hours.iter().map(|of| of.hour.to_string()).collect::<Vec<_>>();
        let all = stream_hours(&fixture.layout).unwrap();
        assert_eq!(estimate_bytes(&fixture.layout, &all), 3 * 26);
        assert_eq!(texts(all), ["2026-01-02T03", "2026-01-02T04", "2026-01-02T05"]);
        let newest_first = ["2026-01-02T05", "2026-01-02T04", "2026-01-02T03"];
        assert_eq!(texts(hours_changed_since(&fixture.layout, before).unwrap()), newest_first);
        let far = "2999-01-01T00:00:00".parse().unwrap();
        assert!(hours_changed_since(&fixture.layout, far).unwrap().is_empty());
    }
}
