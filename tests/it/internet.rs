//! Recording from sources as they are out there: tokens expire, requests fail, segments are encrypted, servers redirect.

use std::time::Duration;

use segvault::rehearsal::SourceHandle;

use crate::gate::{Gate, Rules, gate};
use crate::record::assert_all_recorded;
use crate::support::{NodeProcess, small_spec, source};

/// Every sample of lost seconds, of all causes.
pub fn lost_seconds(node: &NodeProcess) -> f64 {
    let metrics = node.get("/metrics").text();
    let samples = metrics.lines().filter(|line| line.starts_with("segvault_record_lost_seconds_total{"));
    samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// Records `qualities` through the gate until the source has ended: all of it, and nothing told as lost.
pub fn assert_nothing_lost(gate: &Gate, source: &SourceHandle, qualities: &[&str], total: usize, least: usize) {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &gate.url(), qualities)]);
    assert_all_recorded(&node, source, qualities, total, least);
    assert_eq!(lost_seconds(&node), 0.0);
    node.stop();
}

pub fn assert_nothing_sent_twice(gate: &Gate) {
    let sent = gate.sent();
    let segments = sent.iter().filter(|(path, _)| path.ends_with(".ts"));
    let twice: Vec<_> = segments.clone().filter(|(_, times)| **times > 1).collect();
    assert!(segments.count() > 0 && twice.is_empty(), "{twice:?}");
}

#[test]
fn tokens_that_expire_and_requests_that_fail_lose_nothing_and_fetch_nothing_twice() {
    let source = source(&small_spec(), 30, 1);
    let rules = Rules { token_life: Some(Duration::from_secs(5)), failing_percent: 20, ..Rules::default() };
    let gate = gate(&source, rules);
    assert_nothing_lost(&gate, &source, &["source"], 60, 50);
    assert!(gate.refused() > 3, "{}", gate.refused());
    assert_nothing_sent_twice(&gate);
}

#[test]
fn encrypted_segments_are_kept_in_the_clear_and_each_key_is_fetched_about_once() {
    let source = source(&small_spec(), 10, 2);
    let gate = gate(&source, Rules { encrypted: true, ..Rules::default() });
    assert_nothing_lost(&gate, &source, &["source"], 20, 15);
    let keys: u32 = gate.sent().iter().filter(|(path, _)| path.starts_with("/key/")).map(|(_, times)| times).sum();
    // 7 keys; segments of one list that are fetched at once may each ask.
    assert!((7..=20).contains(&keys), "{keys}");
}

#[test]
fn redirects_compression_and_hosts_without_a_scheme_are_followed() {
    let source = source(&small_spec(), 8, 2);
    for rules in [
        Rules { redirected: true, gzip: true, ..Rules::default() },
        Rules { gzip: true, schemeless: true, ..Rules::default() },
    ] {
        let gate = gate(&source, rules);
        assert_nothing_lost(&gate, &source, &["source", "90p"], 16, 1);
    }
}

#[test]
fn segments_that_are_byte_ranges_are_kept_as_such() {
    let source = source(&small_spec(), 8, 2);
    let gate = gate(&source, Rules { ranged: true, ..Rules::default() });
    assert_nothing_lost(&gate, &source, &["source"], 16, 12);
}
