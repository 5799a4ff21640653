//! What a day's quota leaves to be asked.
//!
//! Promises: nothing is begun that the budget does not hold, as far as it is known what others spent; what Google says to be
//! spent is spent until its midnight.
//! Source: "Quota Calculator", YouTube Data API: 100 calls of videos.insert a day, 10,000 units for all else; every call
//! costs, also one that fails; a day begins at midnight Pacific time. The bytes of an upload cost nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pacific::PacificDay;
use crate::model::{QuotaSpent, Timestamp};

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

impl Cost {
    const fn price(self) -> QuotaSpent {
        match self {
            Self::Insert => QuotaSpent { inserts: 1, units: 0 },
            Self::Units(units) => QuotaSpent { inserts: 0, units },
        }
    }
}

/// One location's budget. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Quota {
    budget: QuotaSpent,
    spent: Arc<Mutex<Spent>>,
}

#[derive(Debug, Default)]
struct Spent {
    day: Option<PacificDay>,
    /// By all, as far as it is known here.
    sum: QuotaSpent,
    /// Of that, what the others do not know yet.
    untold: QuotaSpent,
}

/// What the others are to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    pub day: PacificDay,
    pub spent: QuotaSpent,
}

impl Quota {
    pub fn new(inserts_per_day: u32, units_per_day: u32) -> Self {
        Self { budget: QuotaSpent { inserts: inserts_per_day, units: units_per_day }, spent: Arc::default() }
    }

    /// Spends it; or says how long it is until the next day's budget.
    pub fn spend(&self, cost: Cost, now: Timestamp) -> Result<(), Duration> {
        let mut spent = self.spent(now);
        let sum = spent.sum.plus(cost.price());
        // The one that is spent has nothing to say about the other.
        let is_left = match cost {
            Cost::Insert => sum.inserts <= self.budget.inserts,
            Cost::Units(_) => sum.units <= self.budget.units,
        };
        if !is_left {
            return Err(PacificDay::left(now));
        }
        (spent.sum, spent.untold) = (sum, spent.untold.plus(cost.price()));
        Ok(())
    }

    /// Google says that nothing is left; others may spend of the same quota. Gives how long that holds.
    pub fn is_out(&self, cost: Cost, now: Timestamp) -> Duration {
        let mut spent = self.spent(now);
        let out = match cost {
            Cost::Insert => QuotaSpent { inserts: self.budget.inserts, ..QuotaSpent::NOTHING },
            Cost::Units(_) => QuotaSpent { units: self.budget.units, ..QuotaSpent::NOTHING },
        };
        let more = out.less(spent.sum);
        (spent.sum, spent.untold) = (spent.sum.plus(more), spent.untold.plus(more));
        PacificDay::left(now)
    }

    /// What is to be told now.
    pub fn news(&self, now: Timestamp) -> News {
        let spent = self.spent(now);
        News { day: spent.day.unwrap_or_else(|| PacificDay::of(now)), spent: spent.untold }
    }

    /// These news were told; with them, all have spent `total` of that day. An error says how long it is until the next day's
    /// budget: what was spent last is more than there was.
    pub fn told(&self, news: News, total: QuotaSpent, cost: Option<Cost>, now: Timestamp) -> Result<(), Duration> {
        let mut spent = self.spent(now);
        if spent.day != Some(news.day) {
            return Ok(());
        }
        spent.untold = spent.untold.less(news.spent);
        spent.sum = spent.sum.or_more(total.plus(spent.untold));
        let is_over = match cost {
            Some(Cost::Insert) => total.inserts > self.budget.inserts,
            Some(Cost::Units(_)) => total.units > self.budget.units,
            None => false,
        };
        if is_over { Err(PacificDay::left(now)) } else { Ok(()) }
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

    fn noon() -> Timestamp {
        "2026-01-02T20:00:00".parse().unwrap()
    }

    #[test]
    fn what_is_over_the_budget_waits_for_midnight_in_california() {
        let (quota, noon) = (Quota::new(2, 60), noon());
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

    #[test]
    fn what_others_spend_counts_once_it_is_told() {
        let (quota, noon) = (Quota::new(3, 100), noon());
        let spent = |inserts, units| QuotaSpent { inserts, units };
        quota.spend(Cost::Insert, noon).unwrap();
        quota.spend(LIST, noon).unwrap();
        let news = quota.news(noon);
        assert_eq!(news.spent, spent(1, 1));
        // Another call is under way meanwhile; somebody else began an upload.
        quota.spend(LIST, noon).unwrap();
        assert_eq!(quota.told(news, spent(2, 1), Some(Cost::Insert), noon), Ok(()));
        assert_eq!(quota.news(noon).spent, spent(0, 1), "what was told is not told again");
        quota.spend(Cost::Insert, noon).unwrap();
        assert!(quota.spend(Cost::Insert, noon).is_err(), "all three are spent, one by somebody else");
        // Two took the last one at once: whoever is told of more than there was lets it be.
        let news = quota.news(noon);
        assert!(quota.told(news, spent(4, 2), Some(Cost::Insert), noon).is_err());
        assert_eq!(quota.told(quota.news(noon), spent(4, 2), Some(LIST), noon), Ok(()));
        // What Google says to be out is out for the others, too.
        quota.is_out(LIST, noon);
        assert_eq!(quota.news(noon).spent, spent(0, 98));
        // News of yesterday say nothing of today.
        let tomorrow = noon.plus(Duration::from_secs(12 * 3600));
        assert_eq!(quota.told(news, spent(9, 9), Some(Cost::Insert), tomorrow), Ok(()));
        assert_eq!((quota.news(tomorrow).spent, quota.spend(Cost::Insert, tomorrow)), (spent(0, 0), Ok(())));
    }
}
