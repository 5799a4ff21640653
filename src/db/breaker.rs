//! A database that is down is left alone for a moment: whoever asks is told at once, and no connection is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One or two may be chance.
const FAILURES_BEFORE_REST: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(4);

/// Counts failures in a row, of all who share it.
#[derive(Clone, Default)]
pub struct Breaker(Arc<Mutex<Standing>>);

#[derive(Debug, Default)]
struct Standing {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Breaker {
    /// Lets a question through, or says how long none is. After a rest one is let through, and the next after another rest
    /// or its success.
    pub fn pass(&self, now: Instant) -> Result<(), Duration> {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = standing.rests_until else { return Ok(()) };
        match until.checked_duration_since(now) {
            Some(left) if !left.is_zero() => Err(left),
            _ => {
                standing.rests_until = Some(now + LONGEST_REST);
                Ok(())
            }
        }
    }

    /// Notes how a question ended: without a word from the database, or with one.
    pub fn note(&self, is_outage: bool, now: Instant) {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_outage {
            *standing = Standing::default();
            return;
        }
        standing.failures = standing.failures.saturating_add(1);
        if let Some(more) = standing.failures.checked_sub(FAILURES_BEFORE_REST) {
            standing.rests_until = Some(now + FIRST_REST.saturating_mul(1 << more.min(8)).min(LONGEST_REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_rests_and_one_at_a_time_looks_whether_it_is_back() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_BEFORE_REST {
            assert_eq!(breaker.pass(start), Ok(()));
            breaker.note(true, start);
        }
        assert_eq!(breaker.pass(start), Err(FIRST_REST));
        let later = start + FIRST_REST;
        assert_eq!(breaker.pass(later), Ok(()), "one looks");
        assert!(breaker.pass(later).is_err(), "the others wait for it");
        breaker.note(true, later);
        assert_eq!(breaker.pass(later), Err(FIRST_REST * 2));
        assert_eq!(breaker.pass(later + FIRST_REST * 2), Ok(()));
        breaker.note(false, later);
        for _ in 0..FAILURES_BEFORE_REST - 1 {
            assert_eq!(breaker.pass(later), Ok(()));
            breaker.note(true, later);
        }
        assert_eq!(breaker.pass(later), Ok(()), "the count began anew");
    }
}
