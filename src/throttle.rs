//! A bound on bytes per second, shared by all who copy from peers, or by all who upload to one location.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Cheap to clone; clones share the budget.
#[derive(Debug, Clone, Default)]
pub struct Throttle {
    paced: Option<Arc<Paced>>,
    hurries: bool,
}

#[derive(Debug)]
struct Paced {
    bytes_per_second: u64,
    /// When what was taken so far is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Throttle {
    pub fn new(bytes_per_second: u64) -> Self {
        let paced = Paced { bytes_per_second: bytes_per_second.max(1), paid_at: Mutex::default() };
        Self { paced: Some(Arc::new(paced)), hurries: false }
    }

    /// The same budget, for who pays and does not wait: the others wait the longer.
    pub fn hurried(&self) -> Self {
        Self { hurries: true, ..self.clone() }
    }

    /// Takes note of bytes that have come, and waits until the ones before them are paid for.
    pub async fn took(&self, bytes: usize) {
        let Some(paced) = &self.paced else { return };
        let due = {
            let mut paid_at = paced.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due = paid_at.map_or(now, |paid| paid.max(now));
            let cost = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / paced.bytes_per_second);
            *paid_at = Some(due + cost);
            due
        };
        if !self.hurries {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn the_rate_holds_for_all_clones_together() {
        let began = Instant::now();
        let throttle = Throttle::new(10_000);
        let other = throttle.clone();
        for _ in 0..5 {
            throttle.took(500).await;
            other.took(500).await;
        }
        let took = began.elapsed();
        // The last 500 bytes are paid for by who comes next.
        assert!(took >= Duration::from_millis(450), "{took:?}");
        let hurried = throttle.hurried();
        assert!(tokio::time::timeout(Duration::ZERO, hurried.took(5_000)).await.is_ok());
        throttle.took(1).await;
        assert!(began.elapsed() >= Duration::from_millis(950), "what hurried was not paid for");
        let unbounded = Throttle::default();
        assert!(tokio::time::timeout(Duration::ZERO, unbounded.took(usize::MAX)).await.is_ok());
    }
}
