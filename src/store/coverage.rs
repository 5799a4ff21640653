//! How much of each quality is there, computed hour by hour, each hour once for each change of its directory; and the maps of it
//! beside the record.
//!
//! Promises: an answer was true at some moment after the look for it began; one look at a quality at a time, in pieces of a day, so
//! that who else reads is never kept waiting; a bounded number of hours is held.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use super::list::{HourStamp, hours, list_stamped};
use super::{Layout, StoreError, Volume};
use crate::blocking::{Blocking, Panicked};
use crate::model::{Channel, Hour, Quality};
use crate::select::{HourCoverage, HourIndex, StreamCoverage};

/// Where crews look for maps of coverage, beside the channels; no channel.
pub(super) const MAPS_DIR: &str = "coverage-maps";
/// Some 50 MB where nothing is torn: 20 channels of 4 qualities for 100 days.
const MAX_HOURS: usize = 200_000;
/// Hours that are listed at once, in one piece of disk work: a few dozen milliseconds.
const HOURS_AT_ONCE: usize = 24;

/// Why it cannot be said how much is there.
#[derive(Debug, thiserror::Error)]
pub enum CoverageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// The coverage of everything under BASE. Cheap to clone; clones share what is known.
#[derive(Debug, Clone)]
pub struct Coverages {
    layout: Layout,
    shelf: Arc<Mutex<Shelf>>,
}

type Key = (Channel, Quality);

#[derive(Debug, Default)]
struct Shelf {
    qualities: HashMap<Key, Place>,
    uses: u64,
}

#[derive(Debug, Default)]
struct Place {
    /// Held during a look.
    known: Arc<tokio::sync::Mutex<Known>>,
    held_hours: usize,
    last_used: u64,
}

#[derive(Debug, Default)]
struct Known {
    hours: BTreeMap<Hour, KnownHour>,
    stream: Arc<StreamCoverage>,
}

#[derive(Debug, Clone)]
struct KnownHour {
    stamp: HourStamp,
    coverage: Arc<HourCoverage>,
}

impl Coverages {
    pub fn new(layout: Layout) -> Self {
        Self { layout, shelf: Arc::default() }
    }

    /// How a quality stands now; empty, where there is none. `blocking` is the door of who asks.
    pub async fn of(
        &self,
        channel: &Channel,
        quality: &Quality,
        blocking: &Blocking,
    ) -> Result<Arc<StreamCoverage>, CoverageError> {
        let key = (channel.clone(), quality.clone());
        let place = {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.uses += 1;
            let uses = shelf.uses;
            let place = shelf.qualities.entry(key.clone()).or_default();
            place.last_used = uses;
            Arc::clone(&place.known)
        };
        let mut known = place.lock().await;
        let looked = self.look(&key, &mut known, blocking).await;
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if known.hours.is_empty() {
            // Nobody can fill the memory by asking for what is not there.
            shelf.qualities.remove(&key);
        } else {
            if let Some(place) = shelf.qualities.get_mut(&key) {
                place.held_hours = known.hours.len();
            }
            shelf.evict(&key);
        }
        looked.map(|()| Arc::clone(&known.stream))
    }

    /// What is known stays known, hour by hour, also where it fails or is given up amid it.
    async fn look(&self, key: &Key, known: &mut Known, blocking: &Blocking) -> Result<(), CoverageError> {
        let (layout, (channel, quality)) = (self.layout.clone(), key.clone());
        let present = blocking.run(move || hours(&layout, &channel, &quality)).await??;
        let before = known.hours.len();
        known.hours.retain(|hour, _| present.binary_search(hour).is_ok());
        let mut has_changed = known.hours.len() != before;
        for hours in present.chunks(HOURS_AT_ONCE) {
            let (layout, key) = (self.layout.clone(), key.clone());
            let asked: Vec<(Hour, Option<HourStamp>)> =
                hours.iter().map(|hour| (*hour, known.hours.get(hour).map(|known| known.stamp))).collect();
            let look = move || -> Result<Vec<(Hour, KnownHour)>, StoreError> {
                let (channel, quality) = (&key.0, &key.1);
                let changed = asked.into_iter().filter(|(hour, stamp)| {
                    !stamp.is_some_and(|stamp| stamp.still_holds(&layout, channel, quality, *hour))
                });
                changed.map(|(hour, _)| Ok((hour, list(&layout, channel, quality, hour)?))).collect()
            };
            let listed = blocking.run(look).await??;
            has_changed |= !listed.is_empty();
            known.hours.extend(listed);
        }
        if has_changed {
            let hours = known.hours.values().map(|known| Arc::clone(&known.coverage));
            known.stream = Arc::new(StreamCoverage::new(hours));
        }
        Ok(())
    }
}

impl Shelf {
    /// Forgets the qualities that were not asked for the longest, until the rest fits; `kept` stays.
    fn evict(&mut self, kept: &Key) {
        let mut total: usize = self.qualities.values().map(|place| place.held_hours).sum();
        while total > MAX_HOURS {
            let others = self.qualities.iter().filter(|(key, place)| *key != kept && place.held_hours > 0);
            let Some((key, place)) = others.min_by_key(|(_, place)| place.last_used) else { break };
            total -= place.held_hours;
            let key = key.clone();
            self.qualities.remove(&key);
        }
    }
}

fn list(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<KnownHour, StoreError> {
    let (listing, stamp) = list_stamped(layout, channel, quality, hour)?;
    let dir = layout.hour_dir(channel, quality, hour);
    let size_of = |name: &str| fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    let index = HourIndex::build(hour, listing.segments(), size_of);
    Ok(KnownHour { stamp, coverage: Arc::new(HourCoverage::of(&index, &listing)) })
}

/// How a quality stands, straight from the disk, for those who have no cache. Blocks on the disk.
pub fn coverage(layout: &Layout, channel: &Channel, quality: &Quality) -> Result<StreamCoverage, StoreError> {
    let hours = hours(layout, channel, quality)?;
    let listed: Result<Vec<_>, StoreError> =
        hours.into_iter().map(|hour| list(layout, channel, quality, hour).map(|known| known.coverage)).collect();
    Ok(StreamCoverage::new(listed?))
}

/// Writes the map of a quality where crews look for it: BASE/coverage-maps/CHANNEL_QUALITY_coverage.png. Not flushed. Blocks on the
/// disk.
pub fn write_map(
    layout: &Layout,
    volume: &Volume,
    channel: &Channel,
    quality: &Quality,
    png: &[u8],
) -> Result<(), StoreError> {
    volume.check()?;
    let dir = layout.base().join(MAPS_DIR);
    let path = dir.join(format!("{channel}_{quality}_coverage.png"));
    let temp = dir.join(format!(".{channel}_{quality}.temp"));
    let write = || {
        fs::create_dir_all(&dir)?;
        fs::write(&temp, png)?;
        fs::rename(&temp, &path)
    };
    write().map_err(|source| StoreError::new("write", &path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::Among;

    const HASH: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

    #[actix_rt::test]
    async fn only_what_changed_is_listed_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality): (Channel, Quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let blocking = Blocking::new(1);
        let coverages = Coverages::new(layout.clone());
        let empty = coverages.of(&channel, &quality, &blocking).await.unwrap();
        assert_eq!((empty.span(), coverages.shelf.lock().unwrap().qualities.len()), (None, 0));

        let hour: Hour = "2026-01-02T03".parse().unwrap();
        for hour in [hour, hour.next()] {
            let dir = layout.hour_dir(&channel, &quality, hour);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("00:00.0-1800.0-full-{HASH}.ts")), "").unwrap();
        }
        // A stamp as young as a tick of the clock proves nothing.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let first = coverages.of(&channel, &quality, &blocking).await.unwrap();
        let again = coverages.of(&channel, &quality, &blocking).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "nothing has changed");
        assert_eq!(first.holes(first.span().unwrap(), Among::Shown).len(), 1);

        fs::write(layout.hour_dir(&channel, &quality, hour).join(format!("30:00.0-1800.0-full-{HASH}.ts")), "")
            .unwrap();
        let filled = coverages.of(&channel, &quality, &blocking).await.unwrap();
        assert_eq!(filled.holes(filled.span().unwrap(), Among::Shown), []);
        assert_eq!(*filled, coverage(&layout, &channel, &quality).unwrap());

        fs::remove_dir_all(layout.quality_dir(&channel, &quality)).unwrap();
        assert_eq!(coverages.of(&channel, &quality, &blocking).await.unwrap().span(), None);
        assert_eq!(coverages.shelf.lock().unwrap().qualities.len(), 0);
    }
}
