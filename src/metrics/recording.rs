//! What recording counts.

use std::time::Duration;

use super::{FetchReason, Metrics, PollOutcome};
use crate::model::{Channel, LossCause, Quality, SegmentKind, Timestamp};

impl Metrics {
    /// Makes the counters of these streams exist at zero, so that their first increase is seen as one.
    pub fn preregister<'a>(&self, streams: impl IntoIterator<Item = (&'a Channel, &'a Quality)>) {
        let families = &self.0.families;
        for (channel, quality) in streams {
            let (channel, quality) = (channel.as_str(), quality.as_str());
            families.record_bytes.with_label_values(&[channel, quality]);
            families.record_fetch_duration.with_label_values(&[channel, quality]);
            families.record_advertisements.with_label_values(&[channel, quality]);
            for kind in [SegmentKind::Full, SegmentKind::Suspect, SegmentKind::Partial] {
                families.record_segments.with_label_values(&[channel, quality, kind.as_str()]);
            }
            for reason in FetchReason::ALL {
                families.record_fetch_errors.with_label_values(&[channel, quality, reason.as_str()]);
            }
            for cause in LossCause::ALL {
                families.record_lost.with_label_values(&[channel, quality, cause.as_str()]);
            }
            for outcome in PollOutcome::ALL {
                families.record_playlist_polls.with_label_values(&[channel, quality, outcome.as_str()]);
            }
        }
    }

    /// A segment that ends at `end` stands under its final name.
    pub fn segment_saved(&self, channel: &Channel, quality: &Quality, kind: SegmentKind, bytes: u64, end: Timestamp) {
        let families = &self.0.families;
        families.record_segments.with_label_values(&[channel.as_str(), quality.as_str(), kind.as_str()]).inc();
        families.record_bytes.with_label_values(&[channel.as_str(), quality.as_str()]).inc_by(bytes);
        self.segment_is_here(channel, quality, end);
    }

    /// One that was recorded and is there already: a peer that records the same was faster with it. The record goes on all
    /// the same.
    pub fn segment_is_here(&self, channel: &Channel, quality: &Quality, end: Timestamp) {
        let mut newest = self.newest();
        let known = newest.entry((channel.clone(), quality.clone())).or_insert(end);
        *known = end.max(*known);
    }

    pub fn segment_fetched(&self, channel: &Channel, quality: &Quality, took: Duration) {
        let labels = [channel.as_str(), quality.as_str()];
        self.0.families.record_fetch_duration.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub fn fetch_failed(&self, channel: &Channel, quality: &Quality, reason: FetchReason) {
        let labels = [channel.as_str(), quality.as_str(), reason.as_str()];
        self.0.families.record_fetch_errors.with_label_values(&labels).inc();
    }

    /// This much of the stream is given up.
    pub fn lost(&self, channel: &Channel, quality: &Quality, cause: LossCause, length: Duration) {
        let labels = [channel.as_str(), quality.as_str(), cause.as_str()];
        self.0.families.record_lost.with_label_values(&labels).inc_by(length.as_secs_f64());
    }

    pub fn playlist_polled(&self, channel: &Channel, quality: &Quality, outcome: PollOutcome) {
        let labels = [channel.as_str(), quality.as_str(), outcome.as_str()];
        self.0.families.record_playlist_polls.with_label_values(&labels).inc();
    }

    /// The end of the newest segment that was saved of a quality.
    pub fn newest_end(&self, channel: &Channel, quality: &Quality) -> Option<Timestamp> {
        self.newest().get(&(channel.clone(), quality.clone())).copied()
    }

    /// An advertisement of the source was put into quarantine.
    pub fn advertisement_set_aside(&self, channel: &Channel, quality: &Quality) {
        self.0.families.record_advertisements.with_label_values(&[channel.as_str(), quality.as_str()]).inc();
    }
}
