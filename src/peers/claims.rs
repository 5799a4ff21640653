//! What is being copied right now, whoever it comes from: so that nothing comes twice at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Channel, Quality, SegmentHash};

type Key = (Channel, Quality, SegmentHash);

/// The copies under way in this process. Cheap to clone; clones share the set.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashSet<Key>>>);

impl Claims {
    /// `None` while somebody copies these bytes. Whoever has a claim looks at the disk before anything else: the one
    /// before may have just been done.
    pub fn claim(&self, channel: &Channel, quality: &Quality, hash: SegmentHash) -> Option<Claim> {
        let key = (channel.clone(), quality.clone(), hash);
        self.keys().insert(key.clone()).then(|| Claim { claims: self.clone(), key })
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to copy some bytes, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    key: Key,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.keys().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_claimed_once_until_they_are_let_go() {
        let claims = Claims::default();
        let claim = |seed| {
            let hash = SegmentHash::from_bytes([seed; 32]);
            claims.clone().claim(&"ch".parse().unwrap(), &"source".parse().unwrap(), hash)
        };
        let held = claim(1);
        assert!(held.is_some() && claim(1).is_none() && claim(2).is_some());
        drop(held);
        assert!(claim(1).is_some());
    }
}
