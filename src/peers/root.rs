//! What a peer told last of all its qualities at once, for all that compare with it.
//!
//! Promises: however many compare, the peer is asked twice in an interval at most; one that tells no such digests is rarely
//! asked for them; nobody waits long for another's question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::PeerError;
use super::client::{DigestAnswer, NodeTold, Peer};
use crate::model::{Channel, Day, PeerUrl, Quality};
use crate::select::Digest;

/// A peer without such digests may have them after its next start.
const SILENT_FOR: Duration = Duration::from_secs(600);
/// Whoever waits longer for another's question asks for its own quality alone.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// One for each peer, for as long as anybody compares with it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roots {
    interval: Duration,
    by_peer: Arc<Mutex<HashMap<PeerUrl, Weak<Root>>>>,
}

impl Roots {
    /// `interval` is the time between two comparisons of a quality, which may be half of it.
    pub fn new(interval: Duration) -> Self {
        Self { interval, by_peer: Arc::default() }
    }

    pub fn of(&self, peer: &PeerUrl) -> Arc<Root> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        by_peer.retain(|_, root| root.strong_count() > 0);
        if let Some(root) = by_peer.get(peer).and_then(Weak::upgrade) {
            return root;
        }
        let root = Arc::new(Root { max_age: self.interval / 2, asking: Semaphore::new(1), state: Mutex::default() });
        by_peer.insert(peer.clone(), Arc::downgrade(&root));
        root
    }
}

/// What is known of one peer.
#[derive(Debug)]
pub struct Root {
    max_age: Duration,
    asking: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<(Arc<NodeTold>, Instant)>,
    silent_until: Option<Instant>,
}

/// What the peer tells of one quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It does not tell all at once, or could not be asked.
    Untold,
    /// It shows nothing of it.
    Nothing,
    Told {
        digest: Digest,
        changed: Option<Day>,
    },
}

impl Root {
    pub(super) async fn line(&self, peer: &Peer, channel: &Channel, quality: &Quality) -> Line {
        if self.is_due() {
            let Ok(Ok(_turn)) = timeout(TURN_WITHIN, self.asking.acquire()).await else { return Line::Untold };
            // Not if somebody else has asked meanwhile.
            if self.is_due() {
                let known = self.state().told.as_ref().map(|(told, _)| Arc::clone(told));
                let answer = peer.node_digests(known.as_ref().map(|told| told.digests.digest)).await;
                // It counts from now, however long it took, or those who wait would ask once more.
                self.take(answer, known, Instant::now());
            }
        }
        self.state().line(channel, quality)
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        !state.is_fresh(self.max_age) && state.silent_until.is_none_or(|until| Instant::now() >= until)
    }

    fn take(&self, answer: Result<DigestAnswer<NodeTold>, PeerError>, known: Option<Arc<NodeTold>>, at: Instant) {
        let (told, silent_for) = match answer {
            Ok(DigestAnswer::Same) => (known, None),
            Ok(DigestAnswer::New(told)) => (Some(Arc::new(told)), None),
            Ok(DigestAnswer::NotOffered) | Err(PeerError::NoDigests) => (None, Some(SILENT_FOR)),
            // Each quality meets the fault by itself, and tells it.
            Err(_) => (None, Some(self.max_age)),
        };
        let silent_until = silent_for.map(|time| Instant::now() + time);
        *self.state() = State { told: told.map(|told| (told, at)), silent_until };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_fresh(&self, max_age: Duration) -> bool {
        self.told.as_ref().is_some_and(|(_, at)| at.elapsed() < max_age)
    }

    fn line(&self, channel: &Channel, quality: &Quality) -> Line {
        let Some((told, _)) = &self.told else { return Line::Untold };
        let key = (channel.clone(), quality.clone());
        match told.digests.qualities.get(&key) {
            Some(digest) => Line::Told { digest: *digest, changed: told.changed.get(&key).copied() },
            None => Line::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::access::PeerAccess;
    use super::*;
    use crate::select::{NodeDigests, QualityDigests};

    fn names() -> (Channel, Quality) {
        ("ch".parse().unwrap(), "source".parse().unwrap())
    }

    fn told() -> NodeTold {
        let digest = QualityDigests::new(BTreeMap::new()).digest;
        NodeTold { digests: NodeDigests::new(BTreeMap::from([(names(), digest)])), changed: BTreeMap::new() }
    }

    #[actix_rt::test]
    async fn an_answer_counts_for_half_an_interval_and_silence_for_longer() {
        let url: PeerUrl = "http://127.0.0.1:1".parse().unwrap();
        let roots = Roots::new(Duration::from_secs(2));
        let root = roots.of(&url);
        let (channel, quality) = names();
        let line = |quality: &Quality| root.state().line(&channel, quality);
        assert!(root.is_due() && line(&quality) == Line::Untold);
        root.take(Ok(DigestAnswer::New(told())), None, Instant::now());
        assert!(!root.is_due() && matches!(line(&quality), Line::Told { changed: None, .. }));
        assert_eq!(line(&"480p".parse().unwrap()), Line::Nothing);
        assert!(Arc::ptr_eq(&roots.of(&url), &root));
        // As a second later.
        root.take(Ok(DigestAnswer::New(told())), None, Instant::now() - Duration::from_secs(1));
        assert!(root.is_due());
        root.take(Ok(DigestAnswer::NotOffered), None, Instant::now());
        assert!(!root.is_due() && line(&quality) == Line::Untold);
        drop(root);
        assert!(roots.of(&url).is_due(), "nobody compared with it");
    }

    #[actix_rt::test]
    async fn a_peer_that_cannot_be_asked_is_asked_once_for_all_qualities() {
        let url: PeerUrl = "http://127.0.0.1:1".parse().unwrap();
        let (root, peer) = (Roots::new(Duration::from_secs(600)).of(&url), Peer::new(url, &PeerAccess::default()));
        let (channel, quality) = names();
        assert_eq!(root.line(&peer, &channel, &quality).await, Line::Untold);
        assert!(!root.is_due());
        assert_eq!(root.line(&peer, &channel, &quality).await, Line::Untold);
    }
}
