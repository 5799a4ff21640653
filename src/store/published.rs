//! Remembers what live playlists have published, so that after a restart they go on instead of changing their past.
//!
//! `BASE/.segvault/live/CHANNEL/QUALITY/GENERATION/`: `state.json`, and one file of names for each hour whose past is not
//! what is on disk. Losing a file costs players a jump, never data, so files are renamed into place but not flushed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, Volume, list_hour, replace};
use crate::hls::live::{Generation, Published, Saved};
use crate::model::{Channel, Hour, Quality, SEGMENT_ENDING, SegmentKind, TOMBSTONE_ENDING, Timestamp};
use crate::select::{HourIndex, Taken};

/// Which state: of one quality, in one generation, or in that of addresses that name none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedKey {
    pub channel: Channel,
    pub quality: Quality,
    pub generation: Option<Generation>,
}

#[derive(Serialize, Deserialize)]
struct State {
    last_start_micros: i64,
    last_end_micros: i64,
    last_is_full: bool,
    from: String,
    target_seconds: u64,
    gone_until_micros: Option<i64>,
    looked_micros: i64,
    recent: Vec<Box<str>>,
}

impl State {
    fn new(saved: &Saved, looked: Timestamp) -> Self {
        Self {
            last_start_micros: saved.last.start.micros(),
            last_end_micros: saved.last.end.micros(),
            last_is_full: saved.last.kind == SegmentKind::Full,
            from: saved.from.to_string(),
            target_seconds: saved.target_seconds,
            gone_until_micros: saved.gone_until.map(Timestamp::micros),
            looked_micros: looked.micros(),
            recent: saved.recent.clone(),
        }
    }

    fn saved(&self) -> Option<Saved> {
        let last = Taken {
            start: Timestamp::from_micros(self.last_start_micros),
            end: Timestamp::from_micros(self.last_end_micros),
            // Of the others it only matters that they are not full.
            kind: if self.last_is_full { SegmentKind::Full } else { SegmentKind::Partial },
        };
        let gone_until = self.gone_until_micros.map(Timestamp::from_micros);
        let (from, recent) = (self.from.parse().ok()?, self.recent.clone());
        Some(Saved { last, from, target_seconds: self.target_seconds, gone_until, recent })
    }
}

/// A file that comes after a look may be stamped earlier: the kernel stamps with a clock of ticks, of 10 ms at most, which a
/// busy virtual machine moves late.
const STAMP_LAG_MICROS: i64 = 50_000;
const STATE: &str = "state.json";

fn live_dir(layout: &Layout) -> PathBuf {
    layout.own_dir().join("live")
}

fn dir_of(layout: &Layout, key: &PublishedKey) -> PathBuf {
    let name = key.generation.map_or_else(|| "open".to_owned(), |generation| generation.to_string());
    live_dir(layout).join(&key.channel).join(&key.quality).join(name)
}

/// Keeps the state as it was at `looked`, and those of the hours that differ from the disk which are given.
pub fn write_published(
    layout: &Layout,
    volume: &Volume,
    key: &PublishedKey,
    saved: &Saved,
    looked: Timestamp,
    differing: &[Arc<HourIndex>],
) -> Result<(), StoreError> {
    volume.check()?;
    let dir = dir_of(layout, key);
    fs::create_dir_all(&dir).map_err(|source| StoreError::new("create the directory", &dir, source))?;
    // Must precede the state: without its hours it would be a wrong one.
    for index in differing {
        let names: Vec<&str> = index.best().map(|segment| segment.name).collect();
        write_json(&dir.join(format!("{}.json", index.hour())), &names)?;
    }
    write_json(&dir.join(STATE), &State::new(saved, looked))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec(value).expect("numbers and text are JSON");
    replace(path, &text)
}

/// What an earlier process published, if that was after `since`. What has come into its past since then is left out.
pub fn restore_published(
    layout: &Layout,
    key: &PublishedKey,
    since: Timestamp,
) -> Result<Option<Published>, StoreError> {
    let dir = dir_of(layout, key);
    let read = |name: &str| fs::read(dir.join(name)).ok();
    let Some(state) = read(STATE).and_then(|text| serde_json::from_slice::<State>(&text).ok()) else { return Ok(None) };
    let looked = Timestamp::from_micros(state.looked_micros);
    let Some(saved) = state.saved().filter(|_| looked >= since) else { return Ok(None) };
    let mut differing = Vec::new();
    for hour in saved.from.through(saved.last.start.hour()) {
        let kept = read(&format!("{hour}.json")).and_then(|text| serde_json::from_slice::<Vec<String>>(&text).ok());
        match kept {
            Some(names) => {
                differing.push(Arc::new(HourIndex::build(hour, names.iter().map(String::as_str), |_| 0)));
            }
            None => differing.extend(hour_before(layout, key, hour, looked, &saved.recent)?.map(Arc::new)),
        }
    }
    Ok(Some(Published::restore(&saved, differing)))
}

/// The hour as it was at `looked`, if files have come since then.
fn hour_before(
    layout: &Layout,
    key: &PublishedKey,
    hour: Hour,
    looked: Timestamp,
    recent: &[Box<str>],
) -> Result<Option<HourIndex>, StoreError> {
    let dir = layout.hour_dir(&key.channel, &key.quality, hour);
    let changed = |path: &Path| {
        // The kernel's own stamp: a copy that keeps its old times is new here all the same.
        fs::metadata(path).ok().map(|file| file.ctime() * 1_000_000 + file.ctime_nsec() / 1000)
    };
    let surely_seen = looked.plus_micros(-STAMP_LAG_MICROS).micros();
    if changed(&dir).is_none_or(|changed| changed <= surely_seen) {
        return Ok(None);
    }
    let listing = list_hour(layout, &key.channel, &key.quality, hour)?;
    let is_old = |name: &&str| {
        recent.iter().any(|recent| **recent == **name)
            || changed(&dir.join(name)).is_some_and(|changed| changed <= surely_seen)
    };
    let segments: Vec<&str> = listing.segments().collect();
    let old: Vec<&str> = segments.iter().copied().filter(|name| is_old(name)).collect();
    // What was hidden since then had been shown: players are told by their numbers.
    let hidden_since = |tombstone: &&str| changed(&dir.join(tombstone)).is_some_and(|changed| changed > surely_seen);
    let hidden: Vec<String> = listing
        .tombstones()
        .filter(hidden_since)
        .filter_map(|tombstone| Some(format!("{}{SEGMENT_ENDING}", tombstone.strip_suffix(TOMBSTONE_ENDING)?)))
        .filter(|name| is_old(&name.as_str()))
        .collect();
    if old.len() == segments.len() && hidden.is_empty() {
        return Ok(None);
    }
    let size_of = |name: &str| fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    Ok(Some(HourIndex::build(hour, old.into_iter().chain(hidden.iter().map(String::as_str)), size_of)))
}

/// Nobody will ask for it again.
pub fn forget_published(layout: &Layout, volume: &Volume, key: &PublishedKey) -> Result<(), StoreError> {
    volume.check()?;
    remove(&dir_of(layout, key))
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StoreError::new("remove", dir, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what earlier processes left and nobody has asked for in `unused_for`.
pub fn sweep_published(layout: &Layout, volume: &Volume, unused_for: Duration) -> Result<(), StoreError> {
    volume.check()?;
    let is_unused = |dir: &Path| {
        let modified = fs::metadata(dir.join(STATE)).and_then(|file| file.modified()).ok();
        modified.is_none_or(|modified| modified.elapsed().is_ok_and(|age| age > unused_for))
    };
    let subdirs = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir())
    };
    for generation in subdirs(live_dir(layout)).flat_map(subdirs).flat_map(subdirs) {
        if is_unused(&generation) {
            remove(&generation)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
    const HOLD: Duration = Duration::from_secs(15);

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
        volume: Volume,
        key: PublishedKey,
        hour: Hour,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path());
            fs::create_dir_all(layout.own_dir()).unwrap();
            let volume = Volume::adopt(&layout).unwrap();
            let generation = Some(Generation { made_millis: 5, target_seconds: 3 });
            let key = PublishedKey { channel: "ch".parse().unwrap(), quality: "source".parse().unwrap(), generation };
            Self { _dir: dir, layout, volume, key, hour: "2026-01-02T03".parse().unwrap() }
        }

        fn plant(&self, second: u32) {
            let dir = self.layout.hour_dir(&self.key.channel, &self.key.quality, self.hour);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("00:{second:02}.0-2.0-full-{HASH}.ts")), "").unwrap();
        }

        fn look(&self, published: &mut Published) {
            let (channel, quality) = (&self.key.channel, &self.key.quality);
            let index = super::super::load_hour(&self.layout, channel, quality, self.hour).unwrap().index;
            let from = published.looks_from(self.hour);
            let late = self.hour.end().plus(HOLD);
            published.look(from, &[index], late, HOLD);
            published.advance(self.hour.start(), late, HOLD);
        }

        fn seconds(&self, published: &Published) -> Vec<i64> {
            let selection = published.choose(self.hour.start(), None, None);
            selection.segments().map(|segment| segment.start.micros_since(self.hour.start()) / 1_000_000).collect()
        }
    }

    fn now() -> Timestamp {
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap();
        Timestamp::from_micros(since_1970.as_micros() as i64)
    }

    #[test]
    fn what_came_while_nobody_looked_is_not_in_the_past_of_the_next_process() {
        let fixture = Fixture::new();
        for second in [0, 2, 8] {
            fixture.plant(second);
        }
        let mut published = Published::new(Some(3));
        fixture.look(&mut published);
        let saved = published.saved().unwrap();
        let looked = now();
        write_published(&fixture.layout, &fixture.volume, &fixture.key, &saved, looked, &[]).unwrap();
        fixture.plant(4);
        fixture.plant(10);
        let mut restored = restore_published(&fixture.layout, &fixture.key, looked).unwrap().unwrap();
        fixture.look(&mut restored);
        assert_eq!(fixture.seconds(&restored), [0, 2, 8, 10]);
        assert!(restored.differs(fixture.hour.start()));
        // And so for the process after that, when the files are old.
        let differing: Vec<_> = restored.differing().cloned().collect();
        write_published(&fixture.layout, &fixture.volume, &fixture.key, &restored.saved().unwrap(), now(), &differing)
            .unwrap();
        let mut again = restore_published(&fixture.layout, &fixture.key, looked).unwrap().unwrap();
        fixture.look(&mut again);
        assert_eq!(fixture.seconds(&again), [0, 2, 8, 10]);
    }

    #[test]
    fn what_was_hidden_while_nobody_looked_is_counted() {
        let fixture = Fixture::new();
        for second in [0, 2, 4, 6] {
            fixture.plant(second);
        }
        let mut published = Published::new(Some(3));
        fixture.look(&mut published);
        let looked = now();
        write_published(&fixture.layout, &fixture.volume, &fixture.key, &published.saved().unwrap(), looked, &[])
            .unwrap();
        let hour_dir = fixture.layout.hour_dir(&fixture.key.channel, &fixture.key.quality, fixture.hour);
        fs::write(hour_dir.join(format!("00:02.0-2.0-full-{HASH}.tombstone")), "").unwrap();
        let mut restored = restore_published(&fixture.layout, &fixture.key, looked).unwrap().unwrap();
        fixture.look(&mut restored);
        assert_eq!(fixture.seconds(&restored), [0, 2, 4, 6]);
        assert_eq!(restored.gone_until(), Some(fixture.hour.start().plus_micros(2_000_000)));
    }

    #[test]
    fn what_is_too_old_or_broken_is_none() {
        let fixture = Fixture::new();
        assert!(restore_published(&fixture.layout, &fixture.key, now()).unwrap().is_none());
        fixture.plant(0);
        let mut published = Published::new(Some(3));
        fixture.look(&mut published);
        let looked = now();
        write_published(&fixture.layout, &fixture.volume, &fixture.key, &published.saved().unwrap(), looked, &[])
            .unwrap();
        assert!(restore_published(&fixture.layout, &fixture.key, looked).unwrap().is_some());
        assert!(restore_published(&fixture.layout, &fixture.key, looked.plus_micros(1)).unwrap().is_none());
        sweep_published(&fixture.layout, &fixture.volume, Duration::from_secs(3600)).unwrap();
        let state = dir_of(&fixture.layout, &fixture.key).join(STATE);
        fs::write(&state, "{").unwrap();
        assert!(restore_published(&fixture.layout, &fixture.key, looked).unwrap().is_none());
        sweep_published(&fixture.layout, &fixture.volume, Duration::ZERO).unwrap();
        assert!(!state.exists());
        forget_published(&fixture.layout, &fixture.volume, &fixture.key).unwrap();
    }
}
