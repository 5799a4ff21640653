//! What is remembered of a peer's quality between passes: what both sides had in common, and what the peer had wrong.
//!
//! Promises: what was once found to need nothing is forgotten when more is wanted than then. All of it is bounded.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Tag;
use super::digest::Reconciled;
use crate::model::{HashedName, Hour, Timestamp};
use crate::store::HourStamp;

/// A file whose bytes were wrong is not asked for again from that peer for so long; a scrubber may mend it.
const WRONG_FOR: Duration = Duration::from_secs(3600);
/// Of more wrong files the earliest are forgotten, and asked for again.
const MAX_WRONG: usize = 10_000;

/// What a peer and this node had in common, and what the peer had wrong. For one (peer, channel, quality).
#[derive(Debug, Default)]
pub struct Remembered {
    pub(super) digests: Reconciled,
    /// Where the peer tells no digests.
    pub(super) reconciled: HashMap<Hour, (Tag, HourStamp)>,
    /// What was earlier was not wanted.
    since: Option<Timestamp>,
    wrong: HashMap<Box<str>, Instant>,
}

impl Remembered {
    /// What needed nothing because it was too old may be wanted again, once there is room.
    pub(super) fn set_since(&mut self, since: Option<Timestamp>) {
        if since < std::mem::replace(&mut self.since, since) {
            self.digests = Reconciled::default();
            self.reconciled.clear();
        }
    }

    pub(super) fn is_wrong(&self, name: &HashedName) -> bool {
        self.wrong.get(name.as_str()).is_some_and(|at| at.elapsed() < WRONG_FOR)
    }

    pub(super) fn note_wrong(&mut self, name: &HashedName) {
        if self.wrong.len() >= MAX_WRONG {
            let earliest = self.wrong.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            earliest.map(|name| self.wrong.remove(&name));
        }
        self.wrong.insert(name.as_str().into(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_old_and_is_wanted_again_is_compared_again() {
        let at = |hours: i64| Some(Timestamp::from_micros(hours * 3_600_000_000));
        let mut memory = Remembered::default();
        for (since, is_kept) in
            [(at(5), true), (at(6), true), (at(6), true), (at(4), false), (at(9), true), (None, false)]
        {
            memory.digests.refuse();
            memory.set_since(since);
            assert_eq!(!memory.digests.is_due(), is_kept, "{since:?}");
        }
    }
}
