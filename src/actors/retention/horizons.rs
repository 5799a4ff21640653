//! Until when hours of each quality were deleted to make room: what is older is not copied back from others, or the disk
//! would fill and be emptied for ever.
//!
//! It is kept in BASE/.segvault/horizons.json. Once much room is free again (somebody gave the node a larger disk), what is
//! older may come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Channel, Quality, Timestamp};
use crate::select::retain::StreamHour;
use crate::store::{self, Layout, StoreError};

/// Shared by who deletes and who copies. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Horizons {
    until: Arc<Mutex<BTreeMap<(Channel, Quality), Timestamp>>>,
    has_much_room: Arc<AtomicBool>,
}

impl Horizons {
    /// What an earlier process knew. Blocks on the disk.
    pub fn read(layout: &Layout) -> Self {
        Self { until: Arc::new(Mutex::new(store::read_horizons(layout))), has_much_room: Arc::default() }
    }

    /// What of a quality ends before this is not wanted.
    pub fn of(&self, channel: &Channel, quality: &Quality) -> Option<Timestamp> {
        if self.has_much_room.load(Ordering::Relaxed) {
            return None;
        }
        self.until().get(&(channel.clone(), quality.clone())).copied()
    }

    pub fn set_has_much_room(&self, has_much_room: bool) {
        self.has_much_room.store(has_much_room, Ordering::Relaxed);
    }

    /// Blocks on the disk.
    pub(super) fn move_to(&self, layout: &Layout, of: &StreamHour) -> Result<(), StoreError> {
        let key = (of.channel.clone(), of.quality.clone());
        let moved = {
            let mut until = self.until();
            if until.get(&key).is_some_and(|known| *known >= of.hour.end()) {
                return Ok(());
            }
            until.insert(key, of.hour.end());
            until.clone()
        };
        store::write_horizons(layout, &moved)
    }

    fn until(&self) -> MutexGuard<'_, BTreeMap<(Channel, Quality), Timestamp>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_moves_one_way_and_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality): (Channel, Quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let of =
            |hour: &str| StreamHour { channel: channel.clone(), quality: quality.clone(), hour: hour.parse().unwrap() };
        let horizons = Horizons::read(&layout);
        assert_eq!(horizons.of(&channel, &quality), None);
        for hour in ["2026-01-02T03", "2026-01-02T02"] {
            horizons.move_to(&layout, &of(hour)).unwrap();
            for horizons in [&horizons, &Horizons::read(&layout)] {
                assert_eq!(horizons.of(&channel, &quality), Some("2026-01-02T04".parse().unwrap()));
            }
        }
        assert_eq!(horizons.of(&channel, &"480p".parse().unwrap()), None);
        horizons.set_has_much_room(true);
        assert_eq!(horizons.of(&channel, &quality), None);
    }
}
