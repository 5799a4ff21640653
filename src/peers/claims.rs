//! What is being copied right now, and from whom: so that nothing comes twice at once, and nothing waits for a slow peer.
//!
//! Promises: a copy from a peer that is much slower than another which has the same is given up for that one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::health::Speed;
use crate::model::{Channel, Quality, SegmentHash};

/// Who is that many times as fast takes a copy over, which begins anew.
const WORTH_IT: f64 = 4.0;
/// Until then nobody does: most copies have long ended, and one hiccup makes no peer slow.
const HEAD_START: Duration = Duration::from_secs(1);

/// What is copied at most once at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Copying {
    /// Whatever its name: twins are one.
    Segment(Channel, Quality, SegmentHash),
    /// Its place on disk.
    Extra(PathBuf),
}

/// The copies under way in this process. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<Copying, Arc<Holding>>>>);

/// How a copy gets on.
#[derive(Debug)]
struct Holding {
    began: Instant,
    received_bytes: AtomicU64,
    /// All has come, and is on its way to the disk.
    is_whole: AtomicBool,
    taken: Notify,
}

impl Holding {
    fn gives_way_to(&self, speed: Option<Speed>, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < HEAD_START || self.is_whole.load(Ordering::Relaxed) {
            return false;
        }
        let so_far = Speed::of(self.received_bytes.load(Ordering::Relaxed), elapsed);
        speed.unwrap_or(Speed::ASSUMED).is_times(WORTH_IT, so_far)
    }
}

impl Claims {
    /// `speed` is that of the peer which would give it. `None` while another gives it that is not much slower. Whoever has a
    /// claim looks at the disk before anything else: the one before may have just been done.
    pub fn claim(&self, what: Copying, speed: Option<Speed>) -> Option<Claim> {
        self.claim_at(what, speed, Instant::now())
    }

    fn claim_at(&self, what: Copying, speed: Option<Speed>, now: Instant) -> Option<Claim> {
        let mut holdings = self.holdings();
        if let Some(holding) = holdings.get(&what) {
            if !holding.gives_way_to(speed, now) {
                return None;
            }
            holding.taken.notify_one();
        }
        let holding = Arc::new(Holding {
            began: now,
            received_bytes: AtomicU64::new(0),
            is_whole: AtomicBool::new(false),
            taken: Notify::new(),
        });
        holdings.insert(what.clone(), Arc::clone(&holding));
        drop(holdings);
        Some(Claim { claims: self.clone(), what, holding })
    }

    fn holdings(&self) -> MutexGuard<'_, HashMap<Copying, Arc<Holding>>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to copy something, until it is dropped or taken over.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    what: Copying,
    holding: Arc<Holding>,
}

impl Claim {
    /// So much more has come.
    pub fn received(&self, bytes: u64) {
        self.holding.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn is_whole(&self) {
        self.holding.is_whole.store(true, Ordering::Relaxed);
    }

    /// How much has come, and since when.
    pub fn progress(&self) -> (u64, Duration) {
        (self.holding.received_bytes.load(Ordering::Relaxed), self.holding.began.elapsed())
    }

    /// Returns when somebody faster has it.
    pub async fn taken(&self) {
        self.holding.taken.notified().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut holdings = self.claims.holdings();
        if holdings.get(&self.what).is_some_and(|current| Arc::ptr_eq(current, &self.holding)) {
            holdings.remove(&self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seed: u8) -> Copying {
        Copying::Segment("ch".parse().unwrap(), "source".parse().unwrap(), SegmentHash::from_bytes([seed; 32]))
    }

    const FAST: Option<Speed> = Some(Speed::ASSUMED);

    #[test]
    fn the_same_bytes_are_claimed_once_until_they_are_let_go() {
        let claims = Claims::default();
        let held = claims.claim(segment(1), None);
        assert!(held.is_some() && claims.claim(segment(1), None).is_none());
        assert!(claims.clone().claim(segment(2), None).is_some());
        drop(held);
        assert!(claims.claim(segment(1), None).is_some());
    }

    #[actix_rt::test]
    async fn a_faster_peer_takes_over_and_is_not_disturbed_by_the_one_before() {
        let (claims, began) = (Claims::default(), Instant::now());
        let at = |seconds, speed| claims.claim_at(segment(1), speed, began + Duration::from_secs(seconds));
        let crawling = at(0, None).unwrap();
        assert!(at(0, Some(Speed::of(1 << 30, Duration::from_secs(1)))).is_none(), "it has hardly begun");
        assert!(at(3, FAST).is_none(), "it is not that much slower");
        let taken = at(4, FAST).expect("nothing came");
        tokio::time::timeout(Duration::from_secs(30), crawling.taken()).await.expect("it is told");
        drop(crawling);
        assert!(at(5, FAST).is_none(), "it is still held");
        taken.received(1 << 20);
        assert!(at(20, FAST).is_none(), "what comes fast enough stays");
        assert!(at(200, FAST).is_some(), "what stalls does not");
    }

    #[test]
    fn what_has_come_is_not_fetched_again() {
        let (claims, now) = (Claims::default(), Instant::now());
        let held = claims.claim_at(segment(1), None, now).unwrap();
        held.received(10);
        held.is_whole();
        assert!(claims.claim_at(segment(1), FAST, now + Duration::from_secs(100)).is_none());
        assert_eq!(held.progress().0, 10);
    }
}
