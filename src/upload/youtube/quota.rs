//! What a day's quota leaves to be asked.
//!
//! Promises: nothing is begun that the budget does not hold; what Google says to be spent is spent until its midnight.
//! Source: "Quota Calculator", YouTube Data API: 100 calls of videos.insert a day, 10,000 units for all else; every call
//! costs, also one that fails; a day begins at midnight Pacific time. The bytes of an upload cost nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pacific::PacificDay;
use crate::model::Timestamp;

/// What is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// One upload begun.
    Insert,
    /// So many units of what all other calls share.
    Units(u32),
}

pub const LIST: Cost = Cost::Units(1);
pub const UPDATE: Cost = Cost::Units(50);
pub const THUMBNAIL: Cost = Cost::Units(50);

/// One location's budget. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Quota {
    inserts_per_day: u32,
    units_per_day: u32,
    spent: Arc<Mutex<Spent>>,
}

#[derive(Debug, Default)]
struct Spent {
    day: Option<PacificDay>,
    inserts: u32,
    units: u32,
}

impl Quota {
    pub fn new(inserts_per_day: u32, units_per_day: u32) -> Self {
        Self { inserts_per_day, units_per_day, spent: Arc::default() }
    }

    /// Spends it; or says how long it is until the next day's budget.
    pub fn spend(&self, cost: Cost, now: Timestamp) -> Result<(), Duration> {
        let mut spent = self.spent(now);
        let (counter, budget, price) = match cost {
            Cost::Insert => (&mut spent.inserts, self.inserts_per_day, 1),
            Cost::Units(units) => (&mut spent.units, self.units_per_day, units),
        };
        match counter.checked_add(price).filter(|sum| *sum <= budget) {
            Some(sum) => {
                *counter = sum;
                Ok(())
            }
            None => Err(PacificDay::left(now)),
        }
    }

    /// Google says that nothing is left; others may spend of the same quota. Gives how long that holds.
    pub fn is_out(&self, cost: Cost, now: Timestamp) -> Duration {
        let mut spent = self.spent(now);
        match cost {
            Cost::Insert => spent.inserts = self.inserts_per_day,
            Cost::Units(_) => spent.units = self.units_per_day,
        }
        PacificDay::left(now)
    }

    fn spent(&self, now: Timestamp) -> MutexGuard<'_, Spent> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let today = PacificDay::of(now);
        // A clock that is set back begins no new day.
        if spent.day.is_none_or(|day| day < today) {
            *spent = Spent { day: Some(today), ..Spent::default() };
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_budget_waits_for_midnight_in_california() {
        let quota = Quota::new(2, 60);
        let noon: Timestamp = "2026-01-02T20:00:00".parse().unwrap();
        let wait = Err(Duration::from_secs(12 * 3600));
        assert_eq!(quota.spend(Cost::Insert, noon), Ok(()));
        assert_eq!(quota.clone().spend(Cost::Insert, noon), Ok(()));
        assert_eq!(quota.spend(Cost::Insert, noon), wait);
        // Uploads and the rest are counted apart.
        assert_eq!(quota.spend(UPDATE, noon), Ok(()));
        assert_eq!(quota.spend(THUMBNAIL, noon), wait);
        assert_eq!(quota.spend(LIST, noon), Ok(()));
        let tomorrow = noon.plus(Duration::from_secs(12 * 3600));
        assert_eq!(quota.spend(Cost::Insert, tomorrow), Ok(()));
        assert_eq!(quota.is_out(Cost::Insert, tomorrow), Duration::from_secs(24 * 3600));
        assert!(quota.spend(Cost::Insert, noon).is_err(), "a clock that is set back begins no new day");
        assert_eq!(quota.spend(LIST, tomorrow), Ok(()));
    }
}
