//! The digests of what lies here, hour by hour, each computed once for each change of its directory.
//!
//! Promises: an answer was true at some moment after the look for it began; one look at a quality for all who ask during
//! it, in pieces of a day, so that who else reads is never kept waiting; a bounded number of hours is held. What was
//! computed is kept in side files under BASE/.segvault/digests, so that a restart lists only what has changed since;
//! after a reboot of the machine all of it is listed anew, as stamps of another boot prove nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use serde::{Deserialize, Serialize};

use super::list::{HourStamp, channels, hours, list_stamped, qualities};
use super::{Layout, StoreError, make_dir, replace};
use crate::blocking::{Blocking, Panicked};
use crate::model::{Channel, Day, Hour, Quality};
use crate::select::{Digest, HourDigests, NodeDigests};

/// Some 40 MB: 20 channels of 4 qualities for 100 days.
const MAX_HOURS: usize = 200_000;
/// Hours that are listed at once, in one piece of disk work: a few dozen milliseconds.
const HOURS_AT_ONCE: usize = 24;
/// Hours listed anew until the side file is written again: a restart lists as many again at most.
const WRITE_AFTER_HOURS: usize = 24;
/// A century of hours.
const MAX_SIDE_FILE_BYTES: u64 = 256 << 20;

/// Why digests cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DigestsError {
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// What a node holds, as digests.
#[derive(Debug)]
pub struct NodeLook {
    pub digests: NodeDigests,
    /// The latest day of each quality that has changed since this process looks.
    pub changed: BTreeMap<(Channel, Quality), Day>,
}

/// The digests of everything under BASE. Cheap to clone; clones share what is known.
#[derive(Debug, Clone)]
pub struct Digests {
    layout: Layout,
    blocking: Blocking,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    qualities: HashMap<Key, Place>,
    uses: u64,
}

type Key = (Channel, Quality);
type Look = BoxFuture<'static, Result<(Arc<Looked>, Instant), DigestsError>>;

/// What is known of a quality, and the look that is under way while somebody waits for it.
#[derive(Debug, Default)]
struct Place {
    /// With the moment at which the look for it began.
    latest: Option<(Arc<Looked>, Instant)>,
    under_way: Option<WeakShared<Look>>,
    last_used: u64,
}

#[derive(Debug)]
struct Looked {
    hours: BTreeMap<Hour, KnownHour>,
    digests: Arc<HourDigests>,
    /// Hours listed since the side file was written.
    unwritten: usize,
}

#[derive(Debug, Clone, Copy)]
struct KnownHour {
    stamp: HourStamp,
    digest: Option<Digest>,
    has_tombstones: bool,
}

impl Digests {
    /// `blocking` is the door of those who may wait.
    pub fn new(layout: Layout, blocking: Blocking) -> Self {
        Self { layout, blocking, shelf: Arc::default() }
    }

    /// What a quality holds now; nothing, where there is none.
    pub async fn of(&self, channel: &Channel, quality: &Quality) -> Result<Arc<HourDigests>, DigestsError> {
        self.recent(channel, quality, Duration::ZERO).await
    }

    /// What it holds, or held at some moment no longer ago than that.
    pub async fn recent(
        &self,
        channel: &Channel,
        quality: &Quality,
        max_age: Duration,
    ) -> Result<Arc<HourDigests>, DigestsError> {
        let key = (channel.clone(), quality.clone());
        let look = {
            let mut shelf = self.shelf();
            shelf.uses += 1;
            let uses = shelf.uses;
            let place = shelf.qualities.entry(key.clone()).or_default();
            place.last_used = uses;
            if let Some((looked, began)) = &place.latest
                && began.elapsed() < max_age
            {
                return Ok(Arc::clone(&looked.digests));
            }
            match place.under_way.as_ref().and_then(WeakShared::upgrade) {
                Some(look) => look,
                None => {
                    let before = place.latest.as_ref().map(|(looked, _)| Arc::clone(looked));
                    let look: Look = self.clone().look(key.clone(), before).boxed();
                    let look: Shared<Look> = look.shared();
                    place.under_way = look.downgrade();
                    look
                }
            }
        };
        let looked = look.await;
        let mut shelf = self.shelf();
        match &looked {
            Ok((looked, began)) if !looked.hours.is_empty() => {
                let place = shelf.qualities.get_mut(&key);
                if let Some(place) = place.filter(|place| place.latest.as_ref().is_none_or(|(_, at)| at < began)) {
                    place.latest = Some((Arc::clone(looked), *began));
                    place.under_way = None;
                }
                shelf.evict(&key);
            }
            // Nobody can fill the memory by asking for what is not there.
            Ok(_) | Err(_) => drop(shelf.qualities.remove(&key)),
        }
        Ok(Arc::clone(&looked?.0.digests))
    }

    /// All that is under BASE, quality by quality, each no older than that. `None` if it is more than can be held.
    pub async fn node(&self, max_age: Duration) -> Result<Option<Arc<NodeLook>>, DigestsError> {
        let layout = self.layout.clone();
        let list = move || -> Result<Vec<Key>, StoreError> {
            let mut keys = Vec::new();
            for channel in channels(&layout)? {
                keys.extend(qualities(&layout, &channel)?.into_iter().map(|quality| (channel.clone(), quality)));
            }
            Ok(keys)
        };
        let keys = self.blocking.run(list).await?.map_err(Arc::new)?;
        let (mut table, mut changed, mut hours) = (BTreeMap::new(), BTreeMap::new(), 0);
        for key in keys {
            let digests = self.recent(&key.0, &key.1, max_age).await?;
            hours += digests.hours.len();
            if hours > MAX_HOURS {
                return Ok(None);
            }
            if digests.hours.is_empty() {
                continue;
            }
            changed.extend(digests.changed.map(|day| (key.clone(), day)));
            table.insert(key, digests.quality.digest);
        }
        Ok(Some(Arc::new(NodeLook { digests: NodeDigests::new(table), changed })))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Each change is whole before anything can panic.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(self, key: Key, before: Option<Arc<Looked>>) -> Result<(Arc<Looked>, Instant), DigestsError> {
        let began = Instant::now();
        let (layout, (channel, quality), known) = (self.layout.clone(), key.clone(), before.clone());
        let begin = move || {
            let hours = hours(&layout, &channel, &quality)?;
            let kept = if known.is_none() && !hours.is_empty() { read(&layout, &channel, &quality) } else { None };
            Ok::<_, StoreError>((hours, Arc::new(kept.unwrap_or_default())))
        };
        let (hours, kept) = self.blocking.run(begin).await?.map_err(Arc::new)?;
        let mut looked = Vec::with_capacity(hours.len());
        for hours in hours.chunks(HOURS_AT_ONCE) {
            let (layout, (channel, quality), hours) = (self.layout.clone(), key.clone(), hours.to_vec());
            let (before, kept) = (before.clone(), Arc::clone(&kept));
            let look = move || -> Result<Vec<(Hour, KnownHour, bool)>, StoreError> {
                let known = |hour: &Hour| before.as_ref().map_or(&*kept, |before| &before.hours).get(hour).copied();
                let look_at = |hour: Hour| match known(&hour) {
                    Some(known) if known.stamp.still_holds(&layout, &channel, &quality, hour) => {
                        Ok((hour, known, false))
                    }
                    _ => list(&layout, &channel, &quality, hour).map(|listed| (hour, listed, true)),
                };
                hours.into_iter().map(look_at).collect()
            };
            looked.extend(self.blocking.run(look).await?.map_err(Arc::new)?);
        }
        let listed = looked.iter().filter(|(_, _, is_new)| *is_new).count();
        let unwritten = before.as_ref().map_or(0, |before| before.unwritten) + listed;
        let before_all = before.clone();
        if let Some(before) = before.filter(|before| listed == 0 && before.hours.len() == looked.len()) {
            return Ok((before, began));
        }
        let hours = looked.into_iter().map(|(hour, known, _)| (hour, known)).collect();
        let before = before_all.map(|before| Arc::clone(&before.digests));
        Ok((self.sum_up(key, hours, unwritten, before).await?, began))
    }

    async fn sum_up(
        self,
        key: Key,
        hours: BTreeMap<Hour, KnownHour>,
        unwritten: usize,
        before: Option<Arc<HourDigests>>,
    ) -> Result<Arc<Looked>, DigestsError> {
        let sum_up = move || {
            let shown: BTreeMap<Hour, Digest> =
                hours.iter().filter_map(|(hour, known)| Some((*hour, known.digest?))).collect();
            let with_tombstones =
                hours.iter().filter(|(_, known)| known.has_tombstones).map(|(hour, _)| *hour).collect();
            let digests = Arc::new(HourDigests::new(shown, with_tombstones, before.as_deref()));
            // Losing it costs a listing. So does a disk that does not take it.
            let is_due = unwritten >= WRITE_AFTER_HOURS;
            let is_written = is_due && write(&self.layout, &key.0, &key.1, &hours).is_ok();
            Arc::new(Looked { hours, digests, unwritten: if is_written { 0 } else { unwritten } })
        };
        Ok(self.blocking.run(sum_up).await?)
    }
}

impl Shelf {
    /// Forgets the qualities that were not asked for the longest, until the rest fits; `kept` stays.
    fn evict(&mut self, kept: &Key) {
        let held = |place: &Place| place.latest.as_ref().map_or(0, |(looked, _)| looked.hours.len());
        let mut total: usize = self.qualities.values().map(held).sum();
        while total > MAX_HOURS {
            let others = self.qualities.iter().filter(|(key, place)| *key != kept && held(place) > 0);
            let Some((key, place)) = others.min_by_key(|(_, place)| place.last_used) else { break };
            total -= held(place);
            let key = key.clone();
            self.qualities.remove(&key);
        }
    }
}

fn list(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<KnownHour, StoreError> {
    let (listing, stamp) = list_stamped(layout, channel, quality, hour)?;
    let digest = Digest::of_hour(listing.visible().chain(listing.tombstones()));
    Ok(KnownHour { stamp, digest, has_tombstones: listing.tombstones().next().is_some() })
}

/// What a side file holds.
#[derive(Serialize, Deserialize)]
struct SideFile {
    /// Stamps of another boot prove nothing: its clock may have been any.
    boot: String,
    hours: Vec<SideHour>,
}

#[derive(Serialize, Deserialize)]
struct SideHour {
    hour: String,
    stamp: HourStamp,
    digest: Option<String>,
    has_tombstones: bool,
}

fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

fn side_file(layout: &Layout, channel: &Channel, quality: &Quality) -> PathBuf {
    layout.own_dir().join("digests").join(channel).join(format!("{quality}.json"))
}

/// What was kept of a quality in this boot. `None` where there is nothing that can be read.
fn read(layout: &Layout, channel: &Channel, quality: &Quality) -> Option<BTreeMap<Hour, KnownHour>> {
    let path = side_file(layout, channel, quality);
    if path.metadata().ok()?.len() > MAX_SIDE_FILE_BYTES {
        return None;
    }
    let kept: SideFile = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if kept.boot != boot()? {
        return None;
    }
    let parse = |SideHour { hour, stamp, digest, has_tombstones }: SideHour| {
        let digest = digest.map(|digest| digest.parse()).transpose().ok()?;
        Some((hour.parse().ok()?, KnownHour { stamp, digest, has_tombstones }))
    };
    kept.hours.into_iter().map(parse).collect()
}

/// A directory that is no node's gets none.
fn write(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    hours: &BTreeMap<Hour, KnownHour>,
) -> Result<(), StoreError> {
    let Some(boot) = boot().filter(|_| layout.own_dir().is_dir()) else { return Ok(()) };
    let side_hour = |(hour, known): (&Hour, &KnownHour)| SideHour {
        hour: hour.to_string(),
        stamp: known.stamp,
        digest: known.digest.map(|digest| digest.to_string()),
        has_tombstones: known.has_tombstones,
    };
    let text = serde_json::to_vec(&SideFile { boot, hours: hours.iter().map(side_hour).collect() });
    let path = side_file(layout, channel, quality);
    let dir = path.parent().expect("a side file lies in its channel's directory");
    make_dir(dir)?;
    replace(&path, &text.expect("texts and numbers are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
        digests: Digests,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path());
            fs::create_dir(layout.own_dir()).unwrap();
            Self { _dir: dir, digests: Digests::new(layout.clone(), Blocking::new(4)), layout }
        }

        fn dir(&self, hour: &str) -> PathBuf {
            self.layout.base().join("ch/source").join(hour)
        }

        fn plant(&self, hour: &str, second: u32, ending: &str) {
            fs::create_dir_all(self.dir(hour)).unwrap();
            fs::write(self.dir(hour).join(format!("00:{second:02}.0-2.0-full-{HASH}.{ending}")), "").unwrap();
        }

        async fn of(&self) -> Arc<HourDigests> {
            self.digests.of(&"ch".parse().unwrap(), &"source".parse().unwrap()).await.unwrap()
        }

        /// Hours listed since the start or the last writing.
        fn unwritten(&self) -> usize {
            self.digests
                .shelf()
                .qualities
                .values()
                .filter_map(|place| place.latest.as_ref())
                .map(|(it, _)| it.unwritten)
                .sum()
        }
    }

    /// As a directory looks some seconds after its last change.
    async fn settle() {
        actix_rt::time::sleep(std::time::Duration::from_millis(2100)).await;
    }

    #[actix_rt::test]
    async fn whatever_anyone_changes_shows_at_once_and_in_its_day_alone() {
        let fixture = Fixture::new();
        assert!(fixture.of().await.hours.is_empty());
        fixture.plant("2026-01-02T03", 0, "ts");
        fixture.plant("2026-01-03T23", 0, "ts");
        let mut before = fixture.of().await;
        let (first, second): (Day, Day) = ("2026-01-02".parse().unwrap(), "2026-01-03".parse().unwrap());
        for (second_of_hour, ending) in [(1, "ts"), (1, "tombstone"), (2, "ts"), (2, "tombstone")] {
            fixture.plant("2026-01-02T03", second_of_hour, ending);
            let after = fixture.of().await;
            assert_ne!(after.quality.digest, before.quality.digest, "{second_of_hour} {ending}");
            assert_ne!(after.day(first).digest, before.day(first).digest);
            assert_eq!(after.day(second).digest, before.day(second).digest);
            assert_eq!(after.quality.days[&first], after.day(first).digest);
            before = after;
        }
        assert_eq!(before.with_tombstones, ["2026-01-02T03".parse().unwrap()]);
        fs::remove_dir_all(fixture.dir("2026-01-02T03")).unwrap();
        assert_eq!(fixture.of().await.hours.len(), 1);
        // What shows nothing is like what is not there.
        fs::create_dir(fixture.dir("2026-01-04T00")).unwrap();
        assert_eq!(fixture.of().await.quality.days.len(), 1);
    }

    #[actix_rt::test]
    async fn an_hour_is_listed_once_for_each_change_however_many_ask() {
        let fixture = Fixture::new();
        (0..10).for_each(|hour| fixture.plant(&format!("2026-01-02T{hour:02}"), 0, "ts"));
        settle().await;
        let all = futures_util::future::join_all((0..50).map(|_| fixture.of())).await;
        assert!(all.iter().all(|digests| Arc::ptr_eq(digests, &all[0])));
        assert!(Arc::ptr_eq(&fixture.of().await, &all[0]));
        assert_eq!(fixture.unwritten(), 10);
        fixture.plant("2026-01-02T03", 1, "ts");
        settle().await;
        fixture.of().await;
        fixture.of().await;
        assert_eq!(fixture.unwritten(), 11);
    }

    #[actix_rt::test]
    async fn what_may_be_old_is_not_looked_for_and_what_may_not_is() {
        let fixture = Fixture::new();
        fixture.plant("2026-01-02T03", 0, "ts");
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let recent = async |max_age| fixture.digests.recent(&channel, &quality, max_age).await.unwrap();
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        let first = recent(hour).await;
        fixture.plant("2026-01-02T04", 0, "ts");
        assert!(Arc::ptr_eq(&recent(hour).await, &first));
        actix_rt::time::sleep(second).await;
        let second_look = recent(second).await;
        assert_eq!(second_look.hours.len(), 2);
        assert_eq!(second_look.changed, Some("2026-01-02".parse().unwrap()));
    }

    #[actix_rt::test]
    async fn a_node_is_all_its_qualities_that_show_something() {
        let fixture = Fixture::new();
        assert!(fixture.digests.node(Duration::ZERO).await.unwrap().unwrap().digests.qualities.is_empty());
        fixture.plant("2026-01-02T03", 0, "ts");
        fs::create_dir_all(fixture.layout.base().join("ch/empty/2026-01-02T03")).unwrap();
        fs::create_dir_all(fixture.layout.base().join("emotes/x")).unwrap();
        let before = fixture.digests.node(Duration::ZERO).await.unwrap().unwrap();
        let of_quality = fixture.of().await.quality.digest;
        let key = ("ch".parse().unwrap(), "source".parse().unwrap());
        assert_eq!(before.digests.qualities, BTreeMap::from([(key.clone(), of_quality)]));
        assert!(before.changed.is_empty());
        fixture.plant("2026-01-02T03", 1, "tombstone");
        let after = fixture.digests.node(Duration::ZERO).await.unwrap().unwrap();
        assert_ne!(after.digests.digest, before.digests.digest);
        assert_eq!(after.changed[&key], "2026-01-02".parse().unwrap());
    }

    #[actix_rt::test]
    async fn what_is_not_there_is_not_held() {
        let fixture = Fixture::new();
        for number in 0..50 {
            let channel = format!("ch{number}").parse().unwrap();
            assert!(fixture.digests.of(&channel, &"source".parse().unwrap()).await.unwrap().hours.is_empty());
        }
        assert!(fixture.digests.shelf().qualities.is_empty());
    }

    #[actix_rt::test]
    async fn a_restart_lists_only_what_has_changed_and_believes_no_other_boot() {
        let fixture = Fixture::new();
        (0..24).for_each(|hour| fixture.plant(&format!("2026-01-02T{hour:02}"), 0, "ts"));
        settle().await;
        let before = fixture.of().await;
        let path = side_file(&fixture.layout, &"ch".parse().unwrap(), &"source".parse().unwrap());
        fixture.plant("2026-01-02T03", 1, "tombstone");
        settle().await;
        let again =
            |digests: Digests| Fixture { digests, layout: fixture.layout.clone(), _dir: tempfile::tempdir().unwrap() };
        let restarted = again(Digests::new(fixture.layout.clone(), Blocking::new(4)));
        let after = restarted.of().await;
        assert_eq!(restarted.unwritten(), 1);
        assert_eq!(after.quality, fixture.of().await.quality);
        assert_ne!(after.quality, before.quality);
        let text = fs::read_to_string(&path).unwrap();
        let (boot_then, other_boot) = (boot().unwrap(), "0000\n");
        for spoilt in [text.replace(boot_then.trim(), other_boot.trim()), text[1..].to_owned()] {
            fs::write(&path, &spoilt).unwrap();
            let restarted = again(Digests::new(fixture.layout.clone(), Blocking::new(4)));
            assert_eq!(restarted.of().await.quality, after.quality);
            assert_ne!(fs::read_to_string(&path).unwrap(), spoilt, "all was listed, and written");
        }
    }
}
