//! Waiting times that differ, so that those who failed together do not try again together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Between a half and the whole of `duration`, at random.
pub fn jittered(duration: Duration) -> Duration {
    // Each RandomState has keys of its own: random enough to spread retries, and no dependency.
    let random = RandomState::new().hash_one(0u8);
    duration.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_differs() {
        let second = Duration::from_secs(1);
        let drawn: Vec<Duration> = (0..100).map(|_| jittered(second)).collect();
        assert!(drawn.iter().all(|one| (second / 2..=second).contains(one)), "{drawn:?}");
        assert!(drawn.iter().any(|one| *one != drawn[0]));
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
