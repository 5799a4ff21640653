use std::time::Duration;

use super::families::NAMES;
use super::*;
use crate::clock::ClockHand;
use crate::model::{EventState, LossCause, SegmentKind};

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
        let of_family: Vec<_> = found.iter().filter(|(sample, _)| sample.split('{').next() == Some(family)).collect();
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
            LossCause::ALL.iter().for_each(|cause| metrics.lost(&channel, &quality, *cause, Duration::from_secs(1)));
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
        assert!(name.strip_prefix("segvault_").unwrap().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
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
