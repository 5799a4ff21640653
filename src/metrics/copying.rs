//! What copying from peers counts, and being copied from.

use std::time::Duration;

use super::{BountyOutcome, CopyOutcome, Metrics};
use crate::model::{Channel, PeerUrl, Quality, Timestamp};

impl Metrics {
    /// A quality is copied from a peer from now on; how far behind is not known yet.
    pub fn backfill_began(&self, peer: &PeerUrl, channel: &Channel, quality: &Quality, at: Timestamp) {
        for outcome in CopyOutcome::ALL {
            self.0.families.backfill_files.with_label_values(&[&peer.to_string(), outcome.as_str()]);
        }
        let mut level = self.level();
        level.entry(peer.clone()).or_default().entry((channel.clone(), quality.clone())).or_insert(at);
    }

    /// The peer is none any more.
    pub fn backfill_ended(&self, peer: &PeerUrl) {
        self.level().remove(peer);
        // An error means that it was never measured.
        let _ = self.0.families.backfill_lag.remove_label_values(&[&peer.to_string()]);
        let _ = self.0.families.backfill_peer_up.remove_label_values(&[&peer.to_string()]);
        let _ = self.0.families.backfill_peer_skew.remove_label_values(&[&peer.to_string()]);
    }

    /// Seconds that its clock is ahead of ours.
    pub fn backfill_peer_clock_is_off(&self, peer: &PeerUrl, skew: f64) {
        self.0.families.backfill_peer_skew.with_label_values(&[&peer.to_string()]).set(skew);
    }

    pub fn backfill_peer_is_up(&self, peer: &PeerUrl, up: bool) {
        self.0.families.backfill_peer_up.with_label_values(&[&peer.to_string()]).set(if up { 1.0 } else { 0.0 });
    }

    /// All that the peer had of a quality at that time is here.
    pub fn backfill_is_level(&self, peer: &PeerUrl, channel: &Channel, quality: &Quality, at: Timestamp) {
        self.level().entry(peer.clone()).or_default().insert((channel.clone(), quality.clone()), at);
    }

    /// Since when all that a peer had of every quality is here, as far as it is copied from.
    pub fn backfill_behind(&self, peer: &PeerUrl) -> Option<Duration> {
        let level = self.level().get(peer).and_then(|qualities| qualities.values().min().copied())?;
        Some(self.0.clock.now().saturating_since(level))
    }

    /// `bytes` are those of a file that was copied.
    pub fn backfill_file(&self, peer: &PeerUrl, outcome: CopyOutcome, bytes: u64) {
        let peer = peer.to_string();
        self.0.families.backfill_files.with_label_values(&[&peer, outcome.as_str()]).inc();
        self.0.families.backfill_bytes.with_label_values(&[&peer]).inc_by(bytes);
    }

    pub fn backfill_names_refused(&self, peer: &PeerUrl, count: usize) {
        self.0.families.backfill_refused_names.with_label_values(&[&peer.to_string()]).inc_by(count as u64);
    }

    pub fn backfill_pass_failed(&self, peer: &PeerUrl) {
        self.0.families.backfill_failures.with_label_values(&[&peer.to_string()]).inc();
    }

    /// Peers are asked for so much of what was lost here, or no more.
    pub fn bounty(&self, channel: &Channel, quality: &Quality, outcome: BountyOutcome, length: Duration) {
        let labels = [channel.as_str(), quality.as_str(), outcome.as_str()];
        self.0.families.backfill_bounties.with_label_values(&labels).inc_by(length.as_secs_f64());
    }

    pub fn backfill_follow_failed(&self, peer: &PeerUrl) {
        self.0.families.backfill_follow_failures.with_label_values(&[&peer.to_string()]).inc();
    }

    pub fn followers_are(&self, count: usize) {
        self.0.families.http_followers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
