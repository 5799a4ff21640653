//! Answers that many ask for at once: one looks, the others are told what it found.
//!
//! Promises: an answer is never older than the caller bears; a bounded number of answers is held; who goes away while it looks
//! leaves the look to the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More questions than one page asks at once.
const MOST_HELD: usize = 64;

/// The latest answer to each question. Cheap to clone; clones share what is known.
#[derive(Debug)]
pub struct Recent<K, V>(Arc<Mutex<HashMap<K, Place<V>>>>);

/// Held during a look.
type Latest<V> = Arc<tokio::sync::Mutex<Option<(Instant, V)>>>;

#[derive(Debug)]
struct Place<V> {
    latest: Latest<V>,
    last_used: Instant,
}

impl<K, V> Clone for Recent<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    pub async fn get<F: Future<Output = V>>(&self, key: &K, max_age: Duration, look: impl FnOnce() -> F) -> V {
        let place = self.place(key);
        let mut latest = place.lock().await;
        if let Some((at, known)) = &*latest
            && at.elapsed() < max_age
        {
            return known.clone();
        }
        let began = Instant::now();
        let found = look().await;
        *latest = Some((began, found.clone()));
        found
    }

    fn place(&self, key: &K) -> Latest<V> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.contains_key(key) && places.len() >= MOST_HELD {
            let oldest = places.iter().min_by_key(|(_, place)| place.last_used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| places.remove(&oldest));
        }
        let now = Instant::now();
        let place = places.entry(key.clone()).or_insert_with(|| Place { latest: Arc::default(), last_used: now });
        place.last_used = now;
        Arc::clone(&place.latest)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[actix_rt::test]
    async fn one_looks_for_all_who_ask_meanwhile() {
        let (recent, looks) = (Recent::<u32, u32>::default(), Cell::new(0));
        let look = || async {
            looks.set(looks.get() + 1);
            tokio::task::yield_now().await;
            looks.get()
        };
        let long = Duration::from_secs(60);
        let both = futures_util::future::join(recent.get(&1, long, look), recent.get(&1, long, look)).await;
        assert_eq!((both, looks.get()), ((1, 1), 1));
        assert_eq!(recent.get(&1, Duration::ZERO, look).await, 2);
        for key in 0..1000 {
            recent.get(&key, long, look).await;
        }
        assert_eq!(recent.0.lock().unwrap().len(), MOST_HELD);
        // A look that was given up is taken up by the next who asks.
        let given_up =
            tokio::time::timeout(Duration::from_millis(1), recent.get(&5000, long, std::future::pending)).await;
        assert!(given_up.is_err());
        recent.get(&5000, long, look).await;
    }
}
