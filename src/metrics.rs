//! What a node counts and measures, for Prometheus.
//!
//! Promises: one method per event, so that a label cannot be forgotten or misspelt; labels come from the configuration
//! or from an enum; a registry of its own per node.
//! Never: static; waits.

mod families;
mod labels;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

pub use labels::{
    BountyOutcome, CopyOutcome, CoverageWindow, Damage, DeleteCause, FetchReason, JobOutcome, LookOutcome, PollOutcome,
    UploadAct, UploadOutcome,
};

use crate::clock::Clock;
use crate::log::DropCount;
use crate::model::{Channel, EventState, LossCause, PeerUrl, Quality, SegmentKind, Timestamp, UploadLocation};
use families::Families;

const MICROS_PER_SECOND: f64 = 1e6;

/// The metrics of one node. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// When something last happened to each quality.
type LastTimes = BTreeMap<(Channel, Quality), Timestamp>;

struct Inner {
    registry: Registry,
    families: Families,
    clock: Clock,
    log_dropped: DropCount,
    /// Ends of the newest segments, from which the lag is worked out when somebody asks.
    newest: Mutex<LastTimes>,
    /// When each peer's qualities were last found to be all here.
    level: Mutex<BTreeMap<PeerUrl, LastTimes>>,
}

impl Metrics {
    pub fn new(clock: Clock, log_dropped: DropCount) -> Self {
        let registry = Registry::new();
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the registry is new, and the collector's names are good");
        let families = Families::register(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for damage in Damage::ALL {
            families.scrub_bad_files.with_label_values(&[damage.as_str()]);
        }
        Self(Arc::new(Inner {
            registry,
            families,
            clock,
            log_dropped,
            newest: Mutex::default(),
            level: Mutex::default(),
        }))
    }

    /// `None` where that is not known.
    pub fn certificate_expires(&self, at: Option<Timestamp>) {
        self.0.families.certificate_expires.set(seconds(at));
    }

    /// Likewise.
    pub fn peers_token_expires(&self, at: Option<Timestamp>) {
        self.0.families.peers_token_expires.set(seconds(at));
    }

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

    /// The same for how often actors of these types were rebuilt.
    pub fn preregister_actors(&self, actors: impl IntoIterator<Item = &'static str>) {
        for actor in actors {
            self.0.families.actors_restarts.with_label_values(&[actor]);
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

    /// The end of the newest segment that was saved of a quality.
    pub fn newest_end(&self, channel: &Channel, quality: &Quality) -> Option<Timestamp> {
        self.newest().get(&(channel.clone(), quality.clone())).copied()
    }

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

    /// An actor of this type ended unasked and was rebuilt.
    pub fn actor_restarted(&self, actor: &'static str) {
        self.0.families.actors_restarts.with_label_values(&[actor]).inc();
    }

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

    /// So many segments of a killed process were kept as partial.
    pub fn segments_recovered(&self, count: usize) {
        self.0.families.store_recovered.inc_by(count as u64);
    }

    /// So many losses are not in the ledger.
    pub fn losses_not_noted(&self, count: usize) {
        self.0.families.store_losses_not_noted.inc_by(count as u64);
    }

    /// An advertisement of the source was put into quarantine.
    pub fn advertisement_set_aside(&self, channel: &Channel, quality: &Quality) {
        self.0.families.record_advertisements.with_label_values(&[channel.as_str(), quality.as_str()]).inc();
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

    /// The content type, and everything in Prometheus' text format.
    pub fn render(&self) -> (&'static str, String) {
        self.refresh();
        let text = TextEncoder::new().encode_to_string(&self.0.registry.gather());
        (TEXT_FORMAT, text.expect("a family without a name or a value is all that is refused, and neither is gathered"))
    }

    /// Works out what follows from the time or is counted elsewhere.
    fn refresh(&self) {
        let (families, now) = (&self.0.families, self.0.clock.now());
        // Held to the end, so that two who ask at once do not both add the same dropped lines.
        let newest = self.newest();
        for ((channel, quality), end) in newest.iter() {
            let labels = [channel.as_str(), quality.as_str()];
            families.record_newest.with_label_values(&labels).set(end.micros() as f64 / MICROS_PER_SECOND);
            families.record_lag.with_label_values(&labels).set(now.micros_since(*end) as f64 / MICROS_PER_SECOND);
        }
        for (peer, qualities) in self.level().iter() {
            if let Some(behind) = qualities.values().min() {
                let lag = now.micros_since(*behind) as f64 / MICROS_PER_SECOND;
                families.backfill_lag.with_label_values(&[&peer.to_string()]).set(lag);
            }
        }
        families.log_dropped.inc_by(self.0.log_dropped.get().saturating_sub(families.log_dropped.get()));
    }

    fn level(&self) -> MutexGuard<'_, BTreeMap<PeerUrl, LastTimes>> {
        // As below.
        self.0.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> MutexGuard<'_, LastTimes> {
        // A panic elsewhere leaves the map whole: each change to it is one assignment.
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since 1970; 0 for never.
fn seconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, |at| at.micros() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::families::NAMES;
    use super::*;
    use crate::clock::ClockHand;

    fn start() -> (Metrics, ClockHand, DropCount) {
        let (clock, hand) = Clock::settable("2026-01-02T03:04:10".parse().unwrap());
        let dropped = DropCount::default();
        (Metrics::new(clock, dropped.clone()), hand, dropped)
    }

    fn stream() -> (Channel, Quality) {
        ("gdq".parse().unwrap(), "source".parse().unwrap())
    }

    /// Reads a rendering back: each sample's name with labels, and its value.
    fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
        let (content_type, text) = metrics.render();
        assert!(content_type.starts_with("text/plain"));
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
        samples
    }

    /// Makes every method leave a trace.
    fn touch_everything(metrics: &Metrics) {
        let (channel, quality) = stream();
        metrics.segment_saved(&channel, &quality, SegmentKind::Full, 1500, "2026-01-02T03:04:08".parse().unwrap());
        metrics.segment_fetched(&channel, &quality, Duration::from_millis(300));
        metrics.fetch_failed(&channel, &quality, FetchReason::Timeout);
        metrics.lost(&channel, &quality, LossCause::Expired, Duration::from_millis(2500));
        metrics.playlist_polled(&channel, &quality, PollOutcome::Fresh);
        let peer = "http://beta:8000".parse().unwrap();
        metrics.backfill_began(&peer, &channel, &quality, "2026-01-02T03:03:10".parse().unwrap());
        metrics.backfill_file(&peer, CopyOutcome::Copied, 700);
        metrics.coverage(&channel, &quality, CoverageWindow::Hour, 2, Duration::from_millis(3500));
        metrics.coverage_lost(&channel, &quality, CoverageWindow::Day, Duration::from_millis(1500));
        metrics.bounty(&channel, &quality, BountyOutcome::Filled, Duration::from_millis(1500));
        metrics.backfill_follow_failed(&peer);
        metrics.followers_are(2);
        metrics.backfill_names_refused(&peer, 3);
        metrics.backfill_pass_failed(&peer);
        metrics.store_has_room(4000, 9000);
        metrics.backfill_peer_is_up(&peer, false);
        metrics.backfill_peer_clock_is_off(&peer, -2.5);
        metrics.backfill_is_level(&peer, &channel, &quality, "2026-01-02T03:04:00".parse().unwrap());
        metrics.backfill_began(&peer, &channel, &quality, "2026-01-02T03:04:09".parse().unwrap());
        metrics.actor_restarted("downloader");
        metrics.hour_cache_hit();
        metrics.hour_cache_miss();
        metrics.hour_cache_holds(3, 4096);
        metrics.media_looked_at(LookOutcome::Known);
        metrics.media_book_holds(5, 2);
        metrics.database_is_up(true);
        metrics.upload_acted(&"shelf".parse().unwrap(), UploadAct::Send, UploadOutcome::Failed);
        metrics.upload_sent(&"shelf".parse().unwrap(), 800);
        metrics.advertisement_set_aside(&channel, &quality);
        metrics.http_answered("/cut", 200, Duration::from_secs(1));
        metrics.cut_ended("fast", "done", Duration::from_secs(2));
        metrics.retention_deleted(DeleteCause::Age, 4, 6000);
        metrics.scrubbed(3, 4500);
        metrics.file_went_bad(Damage::Empty);
        metrics.jobs_in_state(EventState::Edited, 3, Duration::from_secs(90));
        metrics.job_ended(&"local".parse().unwrap(), JobOutcome::Published);
        metrics.scrub_round(4500, 9000, Duration::from_secs(60), Duration::from_secs(120));
    }

    #[test]
    fn every_event_is_counted_under_its_labels() {
        let (metrics, _, dropped) = start();
        touch_everything(&metrics);
        metrics.ffmpeg_in_use(1);
        dropped.add(7);
        let found = samples(&metrics);
        for (sample, value) in [
            ("segvault_record_segments_total{channel=\"gdq\",kind=\"full\",quality=\"source\"}", 1.0),
            ("segvault_retention_deleted_files_total{cause=\"age\"}", 4.0),
            ("segvault_retention_deleted_bytes_total{cause=\"age\"}", 6000.0),
            ("segvault_record_bytes_total{channel=\"gdq\",quality=\"source\"}", 1500.0),
            ("segvault_record_lag_seconds{channel=\"gdq\",quality=\"source\"}", 2.0),
            ("segvault_record_newest_segment_timestamp_seconds{channel=\"gdq\",quality=\"source\"}", 1767323048.0),
            ("segvault_record_fetch_duration_seconds_bucket{channel=\"gdq\",quality=\"source\",le=\"0.25\"}", 0.0),
            ("segvault_record_fetch_duration_seconds_bucket{channel=\"gdq\",quality=\"source\",le=\"0.5\"}", 1.0),
            ("segvault_record_fetch_errors_total{channel=\"gdq\",quality=\"source\",reason=\"timeout\"}", 1.0),
            ("segvault_record_lost_seconds_total{cause=\"expired\",channel=\"gdq\",quality=\"source\"}", 2.5),
            ("segvault_record_playlist_polls_total{channel=\"gdq\",outcome=\"fresh\",quality=\"source\"}", 1.0),
            ("segvault_record_advertisement_segments_total{channel=\"gdq\",quality=\"source\"}", 1.0),
            ("segvault_backfill_bounty_seconds_total{channel=\"gdq\",outcome=\"filled\",quality=\"source\"}", 1.5),
            ("segvault_backfill_files_total{outcome=\"copied\",peer=\"http://beta:8000\"}", 1.0),
            ("segvault_backfill_files_total{outcome=\"wrong_bytes\",peer=\"http://beta:8000\"}", 0.0),
            ("segvault_backfill_bytes_total{peer=\"http://beta:8000\"}", 700.0),
            ("segvault_backfill_refused_names_total{peer=\"http://beta:8000\"}", 3.0),
            ("segvault_backfill_failed_passes_total{peer=\"http://beta:8000\"}", 1.0),
            ("segvault_store_free_bytes", 4000.0),
            ("segvault_store_size_bytes", 9000.0),
            ("segvault_backfill_peer_clock_skew_seconds{peer=\"http://beta:8000\"}", -2.5),
            ("segvault_backfill_peer_up{peer=\"http://beta:8000\"}", 0.0),
            ("segvault_backfill_lag_seconds{peer=\"http://beta:8000\"}", 10.0),
            ("segvault_actors_restarts_total{actor=\"downloader\"}", 1.0),
            ("segvault_cache_hour_hits_total", 1.0),
            ("segvault_cache_hour_misses_total", 1.0),
            ("segvault_backfill_follow_failures_total{peer=\"http://beta:8000\"}", 1.0),
            ("segvault_http_followers_connections", 2.0),
            ("segvault_cache_index_entries", 3.0),
            ("segvault_cache_index_bytes", 4096.0),
            ("segvault_media_segments_total{outcome=\"known\"}", 1.0),
            ("segvault_media_known_entries", 5.0),
            ("segvault_media_waiting_entries", 2.0),
            ("segvault_database_up", 1.0),
            ("segvault_upload_acts_total{act=\"send\",location=\"shelf\",outcome=\"failed\"}", 1.0),
            ("segvault_upload_sent_bytes_total{location=\"shelf\"}", 800.0),
            ("segvault_http_requests_total{route=\"/cut\",status=\"200\"}", 1.0),
            ("segvault_http_request_duration_seconds_count{route=\"/cut\"}", 1.0),
            ("segvault_cut_cuts_total{outcome=\"done\",type=\"fast\"}", 1.0),
            ("segvault_cut_duration_seconds_sum{type=\"fast\"}", 2.0),
            ("segvault_cut_ffmpeg_in_use_processes", 1.0),
            ("segvault_coverage_missing_seconds{channel=\"gdq\",quality=\"source\",window=\"hour\"}", 3.5),
            ("segvault_coverage_holes_entries{channel=\"gdq\",quality=\"source\",window=\"hour\"}", 2.0),
            ("segvault_coverage_lost_seconds{channel=\"gdq\",quality=\"source\",window=\"day\"}", 1.5),
            ("segvault_scrub_files_total", 3.0),
            ("segvault_scrub_bytes_total", 4500.0),
            ("segvault_scrub_bad_files_total{cause=\"empty\"}", 1.0),
            ("segvault_scrub_bad_files_total{cause=\"wrong_bytes\"}", 0.0),
            ("segvault_scrub_round_bytes", 4500.0),
            ("segvault_scrub_left_bytes", 9000.0),
            ("segvault_scrub_round_age_seconds", 60.0),
            ("segvault_scrub_eta_seconds", 120.0),
            ("segvault_jobs_entries{state=\"EDITED\"}", 3.0),
            ("segvault_jobs_oldest_age_seconds{state=\"EDITED\"}", 90.0),
            ("segvault_jobs_ended_total{location=\"local\",outcome=\"published\"}", 1.0),
            ("segvault_log_dropped_lines_total", 7.0),
            (concat!("segvault_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ] {
            assert_eq!(found.get(sample), Some(&value), "{sample}\n{found:#?}");
        }
        assert!(found["process_resident_memory_bytes"] > 0.0);
    }

    #[test]
    fn the_lag_grows_while_nothing_is_saved() {
        let (metrics, hand, _) = start();
        let (channel, quality) = stream();
        let save = |end: &str| metrics.segment_saved(&channel, &quality, SegmentKind::Full, 1, end.parse().unwrap());
        let lag = || samples(&metrics).get("segvault_record_lag_seconds{channel=\"gdq\",quality=\"source\"}").copied();
        assert_eq!(lag(), None);
        save("2026-01-02T03:04:08");
        hand.advance(Duration::from_secs(60));
        assert_eq!(lag(), Some(62.0));
        save("2026-01-02T03:05:10");
        // An older one that comes late is no step back.
        save("2026-01-02T03:04:06");
        assert_eq!(lag(), Some(0.0));
        // What a peer had here first is recorded, too; it is not counted twice.
        hand.advance(Duration::from_secs(30));
        assert_eq!(lag(), Some(30.0));
        metrics.segment_is_here(&channel, &quality, "2026-01-02T03:05:40".parse().unwrap());
        assert_eq!(lag(), Some(0.0));
        assert_eq!(samples(&metrics)["segvault_record_bytes_total{channel=\"gdq\",quality=\"source\"}"], 3.0);
    }

    #[test]
    fn known_streams_begin_at_zero() {
        let (metrics, _, _) = start();
        let (channel, quality) = stream();
        metrics.preregister([(&channel, &quality)]);
        let found = samples(&metrics);
        for (family, others) in [
            ("segvault_record_segments_total", 3),
            ("segvault_record_bytes_total", 1),
            ("segvault_record_fetch_errors_total", FetchReason::ALL.len()),
            ("segvault_record_lost_seconds_total", LossCause::ALL.len()),
            ("segvault_record_playlist_polls_total", PollOutcome::ALL.len()),
            ("segvault_record_lag_seconds", 0),
        ] {
            let of_family: Vec<_> =
                found.iter().filter(|(sample, _)| sample.split('{').next() == Some(family)).collect();
            assert_eq!(of_family.len(), others, "{family}: {found:#?}");
            assert!(of_family.iter().all(|(_, value)| **value == 0.0), "{of_family:?}");
        }
    }

    /// What a scrape may cost: a hundred channels, one quality each beside `source`, copied from ten peers.
    #[test]
    fn a_hundred_channels_and_ten_peers_stay_below_20_000_series() {
        let (metrics, _hand, _dropped) = start();
        touch_everything(&metrics);
        let now = "2026-01-02T03:04:08".parse().unwrap();
        let peers: Vec<PeerUrl> = (0..10).map(|at| format!("http://peer-{at}:8000").parse().unwrap()).collect();
        for channel in 0..100 {
            let channel: Channel = format!("channel-{channel}").parse().unwrap();
            for quality in ["source", "480p"] {
                let quality: Quality = quality.parse().unwrap();
                for kind in SegmentKind::ALL {
                    metrics.segment_saved(&channel, &quality, kind, 1500, now);
                }
                metrics.segment_fetched(&channel, &quality, Duration::from_millis(300));
                metrics.advertisement_set_aside(&channel, &quality);
                FetchReason::ALL.iter().for_each(|reason| metrics.fetch_failed(&channel, &quality, *reason));
                LossCause::ALL
                    .iter()
                    .for_each(|cause| metrics.lost(&channel, &quality, *cause, Duration::from_secs(1)));
                PollOutcome::ALL.iter().for_each(|outcome| metrics.playlist_polled(&channel, &quality, *outcome));
                for outcome in BountyOutcome::ALL {
                    metrics.bounty(&channel, &quality, *outcome, Duration::from_secs(1));
                }
                for window in CoverageWindow::ALL {
                    metrics.coverage(&channel, &quality, *window, 1, Duration::from_secs(1));
                    metrics.coverage_lost(&channel, &quality, *window, Duration::from_secs(1));
                }
                for peer in &peers {
                    metrics.backfill_began(peer, &channel, &quality, now);
                    metrics.backfill_is_level(peer, &channel, &quality, now);
                    metrics.backfill_peer_is_up(peer, true);
                    metrics.backfill_peer_clock_is_off(peer, 0.0);
                    metrics.backfill_names_refused(peer, 1);
                    metrics.backfill_pass_failed(peer);
                    metrics.backfill_follow_failed(peer);
                }
            }
        }
        let series = samples(&metrics).len();
        assert!((8_000..20_000).contains(&series), "{series}");
    }

    #[test]
    fn names_say_room_what_and_unit() {
        let (metrics, _, _) = start();
        touch_everything(&metrics);
        let (_, text) = metrics.render();
        let types: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        for name in NAMES {
            let kind = *types.get(name).unwrap_or_else(|| panic!("{name} is not in the text"));
            assert!(
                name.strip_prefix("segvault_").unwrap().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            let units = [
                "_total",
                "_seconds",
                "_bytes",
                "_entries",
                "_processes",
                "_connections",
                "_info",
                "_up",
                "_writable",
                "_stuck",
            ];
            assert!(units.iter().any(|unit| name.ends_with(unit)), "{name}");
            let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap();
            assert!(help.ends_with('.') && !help.starts_with(' '), "{help:?}");
        }
    }

    #[test]
    fn a_strange_channel_stays_inside_its_label() {
        let (metrics, _, _) = start();
        let (_, quality) = stream();
        let channel = "a\"} 1 b{".parse().unwrap();
        metrics.fetch_failed(&channel, &quality, FetchReason::Other);
        assert!(samples(&metrics).keys().any(|sample| sample.contains("channel=\"a\\\"} 1 b{\"")));
    }
}
