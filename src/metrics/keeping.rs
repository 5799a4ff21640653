//! What is measured of the record and of the disk that it is on.

use std::time::Duration;

use super::{CoverageWindow, Damage, DeleteCause, Metrics};
use crate::model::{Channel, Quality};

impl Metrics {
    /// What is missing of a stream within a window.
    pub fn coverage(
        &self,
        channel: &Channel,
        quality: &Quality,
        window: CoverageWindow,
        holes: usize,
        missing: Duration,
    ) {
        let labels = [channel.as_str(), quality.as_str(), window.as_str()];
        self.0.families.coverage_missing.with_label_values(&labels).set(missing.as_secs_f64());
        self.0.families.coverage_holes.with_label_values(&labels).set(i64::try_from(holes).unwrap_or(i64::MAX));
    }

    pub fn coverage_lost(&self, channel: &Channel, quality: &Quality, window: CoverageWindow, lost: Duration) {
        let labels = [channel.as_str(), quality.as_str(), window.as_str()];
        self.0.families.coverage_lost.with_label_values(&labels).set(lost.as_secs_f64());
    }

    /// The stream is there no more.
    pub fn coverage_is_unknown(&self, channel: &Channel, quality: &Quality) {
        for window in CoverageWindow::ALL.iter().copied() {
            let labels = [channel.as_str(), quality.as_str(), window.as_str()];
            // An error means that it was never measured.
            let _ = self.0.families.coverage_missing.remove_label_values(&labels);
            let _ = self.0.families.coverage_holes.remove_label_values(&labels);
            let _ = self.0.families.coverage_lost.remove_label_values(&labels);
        }
    }

    /// So many segments of a killed process were kept as partial.
    pub fn segments_recovered(&self, count: usize) {
        self.0.families.store_recovered.inc_by(count as u64);
    }

    /// So many losses are not in the ledger.
    pub fn losses_not_noted(&self, count: usize) {
        self.0.families.store_losses_not_noted.inc_by(count as u64);
    }

    /// So many files were deleted to keep the record within its bounds.
    pub fn retention_deleted(&self, cause: DeleteCause, files: u64, bytes: u64) {
        let families = &self.0.families;
        families.retention_deleted.with_label_values(&[cause.as_str()]).inc_by(files);
        families.retention_deleted_bytes.with_label_values(&[cause.as_str()]).inc_by(bytes);
    }

    /// Whether too little of the disk is free and nothing may be deleted.
    pub fn retention_is_stuck(&self, is_stuck: bool) {
        self.0.families.retention_stuck.set(i64::from(is_stuck));
    }

    /// So much of the disk is free, of so much.
    pub fn store_has_room(&self, free_bytes: u64, size_bytes: u64) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.families.store_free_bytes.set(gauge(free_bytes));
        self.0.families.store_size_bytes.set(gauge(size_bytes));
    }

    pub fn store_writable(&self, writable: bool) {
        self.0.families.store_writable.set(i64::from(writable));
    }

    /// Segments that wait for the disk take this much memory.
    pub fn spool_holds(&self, bytes: usize) {
        self.0.families.store_spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many stored files, with so many bytes, were compared with their names.
    pub fn scrubbed(&self, files: u64, bytes: u64) {
        self.0.families.scrub_files.inc_by(files);
        self.0.families.scrub_bytes.inc_by(bytes);
    }

    /// A stored file went bad, and is in quarantine now.
    pub fn file_went_bad(&self, damage: Damage) {
        self.0.families.scrub_bad_files.with_label_values(&[damage.as_str()]).inc();
    }

    /// How far the round through the record is: bytes done and left, since when, and for how long still.
    pub fn scrub_round(&self, done_bytes: u64, left_bytes: u64, age: Duration, eta: Duration) {
        let families = &self.0.families;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        families.scrub_round_bytes.set(gauge(done_bytes));
        families.scrub_left_bytes.set(gauge(left_bytes));
        families.scrub_round_age.set(gauge(age.as_secs()));
        families.scrub_eta.set(gauge(eta.as_secs()));
    }
}
