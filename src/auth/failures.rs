//! How often whom was refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many wrong tokens are a mistake, more are guesses.
const MOST_FAILURES: u32 = 10;
/// Within so long; then the count begins anew.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. With more of them, the oldest counts are forgotten.
const MOST_ADDRESSES: usize = 4096;

/// Counts failures by address. An IPv6 network of 64 bits counts as one address; unknown addresses count together.
#[derive(Debug, Default)]
pub struct Failures(HashMap<Option<IpAddr>, Count>);

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    since: Instant,
}

impl Failures {
    /// How long the address is not listened to; `None` if it is.
    pub fn closed_for(&self, from: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let count = self.0.get(&network(from))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(count.since))?;
        (count.failures >= MOST_FAILURES && !left.is_zero()).then_some(left)
    }

    pub fn count(&mut self, from: Option<IpAddr>, now: Instant) {
        let from = network(from);
        if self.0.len() >= MOST_ADDRESSES && !self.0.contains_key(&from) {
            self.0.retain(|_, count| now.saturating_duration_since(count.since) < WINDOW);
            let oldest = self.0.iter().min_by_key(|(_, count)| count.since).map(|(from, _)| *from);
            if let (Some(oldest), true) = (oldest, self.0.len() >= MOST_ADDRESSES) {
                self.0.remove(&oldest);
            }
        }
        let count = self.0.entry(from).or_insert(Count { failures: 0, since: now });
        if now.saturating_duration_since(count.since) >= WINDOW {
            *count = Count { failures: 0, since: now };
        }
        count.failures += 1;
    }
}

fn network(from: Option<IpAddr>) -> Option<IpAddr> {
    match from? {
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(address.to_ipv4_mapped().map_or(IpAddr::from([a, b, c, d, 0, 0, 0, 0]), IpAddr::V4))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_forgotten_in_time_and_are_never_too_many() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let address = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        for number in 0..10_000 {
            failures.count(address(number), start + Duration::from_millis(number.into()));
            assert!(failures.0.len() <= MOST_ADDRESSES);
        }
        let end = start + Duration::from_secs(10);
        assert!(failures.0.contains_key(&address(9_999)));
        for _ in 1..MOST_FAILURES {
            assert_eq!(failures.closed_for(address(9_999), end), None);
            failures.count(address(9_999), end);
        }
        assert!(failures.closed_for(address(9_999), end).is_some());
        assert_eq!(failures.closed_for(address(9_999), end + WINDOW), None);
        failures.count(address(9_999), end + WINDOW);
        assert_eq!(failures.closed_for(address(9_999), end + WINDOW), None);
    }

    #[test]
    fn a_network_guesses_as_one() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
