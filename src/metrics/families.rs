//! The table of all metrics: name, meaning, labels.
//!
//! Promises: the doc comment of a field is its HELP text; a name says room, what and unit.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Seconds. A segment of a few seconds should take far less than its own length; a stuck one is given up in minutes.
const FETCH_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Seconds. From a listing out of memory to a long cut over a slow line.
const HTTP_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];
/// Seconds. A rough cut of a minute takes less than one; an encode of an hour takes long.
const CUT_SECONDS: &[f64] = &[0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

/// How a kind of metric is made; `buckets` are for histograms.
trait Family: Collector + Clone + Sized + 'static {
    fn make(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self>;
}

macro_rules! family {
    ($($kind:ty => |$name:ident, $help:ident, $labels:pat_param, $buckets:pat_param| $make:expr;)+) => {
        $(impl Family for $kind {
            fn make($name: &str, $help: &str, $labels: &[&str], $buckets: &[f64]) -> prometheus::Result<Self> {
                $make
            }
        })+
    };
}

family! {
    IntCounter => |name, help, _, _| IntCounter::new(name, help);
    IntGauge => |name, help, _, _| IntGauge::new(name, help);
    IntCounterVec => |name, help, labels, _| IntCounterVec::new(Opts::new(name, help), labels);
    CounterVec => |name, help, labels, _| CounterVec::new(Opts::new(name, help), labels);
    IntGaugeVec => |name, help, labels, _| IntGaugeVec::new(Opts::new(name, help), labels);
    GaugeVec => |name, help, labels, _| GaugeVec::new(Opts::new(name, help), labels);
    HistogramVec => |name, help, labels, buckets|
        HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels);
}

fn registered<F: Family>(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> F {
    let family = F::make(name, help.trim(), labels, buckets).expect("the table below holds good names, tested");
    registry.register(Box::new(family.clone())).expect("the table below holds no name twice, tested");
    family
}

macro_rules! families {
    ($(
        #[doc = $help:literal]
        $field:ident: $kind:ident = $name:literal, [$($label:literal),*] $(, $buckets:ident)?;
    )+) => {
        pub(super) struct Families {
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl Families {
            pub fn register(registry: &Registry) -> Self {
                Self {
                    $($field: registered(registry, $name, $help, &[$($label),*], families!(@buckets $($buckets)?)),)+
                }
            }
        }

        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$($name,)+];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

families! {
    /// Segments saved under their final name.
    record_segments: IntCounterVec = "segvault_record_segments_total", ["channel", "quality", "kind"];
    /// Bytes of the segments saved.
    record_bytes: IntCounterVec = "segvault_record_bytes_total", ["channel", "quality"];
    /// Time from the end of the newest segment saved until now; absent until there is one.
    record_lag: GaugeVec = "segvault_record_lag_seconds", ["channel", "quality"];
    /// End of the newest segment saved, in seconds since 1970; absent until there is one.
    record_newest: GaugeVec = "segvault_record_newest_segment_timestamp_seconds", ["channel", "quality"];
    /// Time that a segment took to fetch, from the request to the flush to disk.
    record_fetch_duration: HistogramVec = "segvault_record_fetch_duration_seconds", ["channel", "quality"], FETCH_SECONDS;
    /// Attempts to fetch a segment that failed; one may be followed by a better one.
    record_fetch_errors: IntCounterVec = "segvault_record_fetch_errors_total", ["channel", "quality", "reason"];
    /// Segments that were put into quarantine as advertisements; they are not among the segments saved.
    record_advertisements: IntCounterVec = "segvault_record_advertisement_segments_total", ["channel", "quality"];
    /// Seconds of the stream that were given up as lost to this node.
    record_lost: CounterVec = "segvault_record_lost_seconds_total", ["channel", "quality", "cause"];
    /// Requests for a media playlist of a source.
    record_playlist_polls: IntCounterVec = "segvault_record_playlist_polls_total", ["channel", "quality", "outcome"];
    /// Files that a peer has and this node had not.
    backfill_files: IntCounterVec = "segvault_backfill_files_total", ["peer", "outcome"];
    /// Bytes of the files copied from a peer.
    backfill_bytes: IntCounterVec = "segvault_backfill_bytes_total", ["peer"];
    /// Names in a peer's listings that are none.
    backfill_refused_names: IntCounterVec = "segvault_backfill_refused_names_total", ["peer"];
    /// Comparisons with a peer that it ended by failing.
    backfill_failures: IntCounterVec = "segvault_backfill_failed_passes_total", ["peer"];
    /// 1 if a peer could be reached when it was asked last, 0 if not.
    backfill_peer_up: GaugeVec = "segvault_backfill_peer_up", ["peer"];
    /// How far a peer's clock is ahead of this node's, to about a second.
    backfill_peer_skew: GaugeVec = "segvault_backfill_peer_clock_skew_seconds", ["peer"];
    /// Seconds lost here that peers were asked for at once.
    backfill_bounties: CounterVec = "segvault_backfill_bounty_seconds_total", ["channel", "quality", "outcome"];
    /// Time since this node last had all that the peer has, of the quality that is furthest behind.
    backfill_lag: GaugeVec = "segvault_backfill_lag_seconds", ["peer"];
    /// Connections on which a peer could not be followed.
    backfill_follow_failures: IntCounterVec = "segvault_backfill_follow_failures_total", ["peer"];
    /// Seconds that are not in the record, between the first and the last that are.
    coverage_missing: GaugeVec = "segvault_coverage_missing_seconds", ["channel", "quality", "window"];
    /// Holes in the record.
    coverage_holes: IntGaugeVec = "segvault_coverage_holes_entries", ["channel", "quality", "window"];
    /// Seconds that were there to be had and are not in the record, advertisements aside.
    coverage_lost: GaugeVec = "segvault_coverage_lost_seconds", ["channel", "quality", "window"];
    /// Those who follow what is stored here.
    http_followers: IntGauge = "segvault_http_followers_connections", [];
    /// Actors that ended unasked and were rebuilt.
    actors_restarts: IntCounterVec = "segvault_actors_restarts_total", ["actor"];
    /// Hours asked for whose index was in memory.
    cache_hour_hits: IntCounter = "segvault_cache_hour_hits_total", [];
    /// Hours asked for whose index had to be read from disk.
    cache_hour_misses: IntCounter = "segvault_cache_hour_misses_total", [];
    /// Indexes of hours in memory.
    cache_hours: IntGauge = "segvault_cache_index_entries", [];
    /// Memory that the indexes of hours take.
    cache_hours_bytes: IntGauge = "segvault_cache_index_bytes", [];
    /// Segments looked at for what they are encoded with; each is looked at once.
    media_segments: IntCounterVec = "segvault_media_segments_total", ["outcome"];
    /// Hours of which it is in memory what they are encoded with.
    media_hours: IntGauge = "segvault_media_known_entries", [];
    /// Hours of which it is yet to be learnt what they are encoded with.
    media_waiting_hours: IntGauge = "segvault_media_waiting_entries", [];
    /// Requests answered.
    http_requests: IntCounterVec = "segvault_http_requests_total", ["route", "status"];
    /// Time from a request to the head of its answer.
    http_duration: HistogramVec = "segvault_http_request_duration_seconds", ["route"], HTTP_SECONDS;
    /// Cuts made or refused.
    cut_cuts: IntCounterVec = "segvault_cut_cuts_total", ["type", "outcome"];
    /// Time that a cut took.
    cut_duration: HistogramVec = "segvault_cut_duration_seconds", ["type"], CUT_SECONDS;
    /// Segments of a killed process that were kept as partial at the start.
    store_recovered: IntCounter = "segvault_store_recovered_segments_total", [];
    /// Losses that are not in the ledger: they came faster than the disk took them, or claim more than a month.
    store_losses_not_noted: IntCounter = "segvault_store_losses_not_noted_total", [];
    /// Files that were deleted to keep the record within its bounds.
    retention_deleted: IntCounterVec = "segvault_retention_deleted_files_total", ["cause"];
    /// Bytes of these files.
    retention_deleted_bytes: IntCounterVec = "segvault_retention_deleted_bytes_total", ["cause"];
    /// 1 if too little of the disk is free and nothing may be deleted, else 0.
    retention_stuck: IntGauge = "segvault_retention_stuck", [];
    /// Bytes that the disk has.
    store_size_bytes: IntGauge = "segvault_store_size_bytes", [];
    /// Bytes free on the disk.
    store_free_bytes: IntGauge = "segvault_store_free_bytes", [];
    /// 1 if the store took the last probe write, else 0.
    store_writable: IntGauge = "segvault_store_writable", [];
    /// Memory that segments take which wait for the disk.
    store_spool_bytes: IntGauge = "segvault_store_spool_bytes", [];
    /// Stored files whose bytes were compared with the hash in their name.
    scrub_files: IntCounter = "segvault_scrub_files_total", [];
    /// Bytes of the stored files compared.
    scrub_bytes: IntCounter = "segvault_scrub_bytes_total", [];
    /// Stored files that went bad and were put into quarantine.
    scrub_bad_files: IntCounterVec = "segvault_scrub_bad_files_total", ["cause"];
    /// Bytes compared in this round through the record.
    scrub_round_bytes: IntGauge = "segvault_scrub_round_bytes", [];
    /// Bytes that this round has yet to compare, estimated.
    scrub_left_bytes: IntGauge = "segvault_scrub_left_bytes", [];
    /// Time since this round began; after its end, how long ago the last round began.
    scrub_round_age: IntGauge = "segvault_scrub_round_age_seconds", [];
    /// Time until this round is through at the present pace, estimated; 0 between rounds.
    scrub_eta: IntGauge = "segvault_scrub_eta_seconds", [];
    /// Pieces of work that run ffmpeg now.
    cut_ffmpeg_in_use: IntGauge = "segvault_cut_ffmpeg_in_use_processes", [];
    /// Questions and acts at a place for videos, by how they ended.
    upload_acts: IntCounterVec = "segvault_upload_acts_total", ["location", "act", "outcome"];
    /// Bytes of videos that were sent to a place for videos; some more than once.
    upload_sent: IntCounterVec = "segvault_upload_sent_bytes_total", ["location"];
    /// Events that nodes have something to do about.
    jobs_entries: IntGaugeVec = "segvault_jobs_entries", ["state"];
    /// Since when the oldest event in a state waits: from its edit, or its change where it is published.
    jobs_oldest: IntGaugeVec = "segvault_jobs_oldest_age_seconds", ["state"];
    /// Events that this node has claimed and is done with.
    jobs_ended: IntCounterVec = "segvault_jobs_ended_total", ["location", "outcome"];
    /// Whether the database did what it was last asked (1) or not (0).
    database_up: IntGauge = "segvault_database_up", [];
    /// When the certificate that the node serves TLS with expires; 0 without one.
    certificate_expires: IntGauge = "segvault_certificate_expires_timestamp_seconds", [];
    /// When the token that peers are shown expires; 0 where it does not say, or there is none.
    peers_token_expires: IntGauge = "segvault_peers_token_expires_timestamp_seconds", [];
    /// Log lines dropped because standard error was too slow.
    log_dropped: IntCounter = "segvault_log_dropped_lines_total", [];
    /// Always 1; its label says which version runs.
    build_info: IntGaugeVec = "segvault_build_info", ["version"];
}
