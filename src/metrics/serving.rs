//! What answers, cuts and jobs count.

use std::time::Duration;

use super::{JobOutcome, LookOutcome, Metrics, UploadAct, UploadOutcome};
use crate::model::{EventState, UploadLocation};

impl Metrics {
    pub fn hour_cache_hit(&self) {
        self.0.families.cache_hour_hits.inc();
    }

    pub fn hour_cache_miss(&self) {
        self.0.families.cache_hour_misses.inc();
    }

    /// What the cache of hours holds now.
    pub fn hour_cache_holds(&self, entries: usize, bytes: usize) {
        self.0.families.cache_hours.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.0.families.cache_hours_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A segment was looked at for what it is encoded with.
    pub fn media_looked_at(&self, outcome: LookOutcome) {
        self.0.families.media_segments.with_label_values(&[outcome.as_str()]).inc();
    }

    /// What the media book holds now, and how many hours it has yet to learn.
    pub fn media_book_holds(&self, entries: usize, to_learn: usize) {
        self.0.families.media_hours.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.0.families.media_waiting_hours.set(i64::try_from(to_learn).unwrap_or(i64::MAX));
    }

    /// A request was answered; `route` is the pattern, never the path.
    pub fn http_answered(&self, route: &'static str, status: u16, took: Duration) {
        let families = &self.0.families;
        families.http_requests.with_label_values(&[route, &status.to_string()]).inc();
        families.http_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// A cut has ended, well or not.
    pub fn cut_ended(&self, cut_type: &'static str, outcome: &'static str, took: Duration) {
        let families = &self.0.families;
        families.cut_cuts.with_label_values(&[cut_type, outcome]).inc();
        families.cut_duration.with_label_values(&[cut_type]).observe(took.as_secs_f64());
    }

    pub fn ffmpeg_in_use(&self, count: usize) {
        self.0.families.cut_ffmpeg_in_use.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many events are in a state; the oldest waits for this long.
    pub fn jobs_in_state(&self, state: EventState, count: i64, oldest: Duration) {
        let families = &self.0.families;
        families.jobs_entries.with_label_values(&[state.as_str()]).set(count);
        families
            .jobs_oldest
            .with_label_values(&[state.as_str()])
            .set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// Makes the counters of a location exist at zero.
    pub fn preregister_location(&self, location: &UploadLocation) {
        for outcome in JobOutcome::ALL {
            self.0.families.jobs_ended.with_label_values(&[location.as_str(), outcome.as_str()]);
        }
    }

    /// A job is over.
    pub fn job_ended(&self, location: &UploadLocation, outcome: JobOutcome) {
        self.0.families.jobs_ended.with_label_values(&[location.as_str(), outcome.as_str()]).inc();
    }

    /// Whether the database did what it was last asked.
    pub fn database_is_up(&self, up: bool) {
        self.0.families.database_up.set(up.into());
    }

    /// Makes the counters of a place for videos exist at zero.
    pub fn preregister_uploads(&self, location: &UploadLocation) {
        let families = &self.0.families;
        families.upload_sent.with_label_values(&[location.as_str()]);
        for (act, outcome) in UploadAct::ALL.iter().flat_map(|act| UploadOutcome::ALL.iter().map(move |one| (act, one)))
        {
            families.upload_acts.with_label_values(&[location.as_str(), act.as_str(), outcome.as_str()]);
        }
    }

    /// A place for videos was asked for something.
    pub fn upload_acted(&self, location: &UploadLocation, act: UploadAct, outcome: UploadOutcome) {
        let labels = [location.as_str(), act.as_str(), outcome.as_str()];
        self.0.families.upload_acts.with_label_values(&labels).inc();
    }

    /// Bytes of a video went out.
    pub fn upload_sent(&self, location: &UploadLocation, bytes: u64) {
        self.0.families.upload_sent.with_label_values(&[location.as_str()]).inc_by(bytes);
    }
}
