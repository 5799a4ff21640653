//! Recording from sources as they are out there: tokens expire, requests fail, segments are encrypted, servers redirect.

use std::time::Duration;

use segvault::rehearsal::{AtEnd, Fault, PathKind, Program, Rule, SourceHandle};

use crate::gate::{Gate, Rules, gate};
use crate::record::{assert_all_recorded, walk};
use crate::support::{NodeProcess, eventually, quality, reel, small_spec, source, source_with, stored};

/// Every sample of lost seconds, of all causes.
pub fn lost_seconds(node: &NodeProcess) -> f64 {
    let metrics = node.get("/metrics").text();
    let samples = metrics.lines().filter(|line| line.starts_with("segvault_record_lost_seconds_total{"));
    samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

fn sample(node: &NodeProcess, beginning: &str) -> f64 {
    let metrics = node.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{beginning}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
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

/// The stuck request would hold the segment for 30 s, and the list has no more than 10.
#[test]
fn requests_that_are_stuck_are_overtaken_by_a_second_one() {
    let source = source(&small_spec(), 40, 1);
    {
        let script = source.script();
        let mut script = script.lock().unwrap();
        script.add(Rule::on(PathKind::Segment, Fault::Stalled { after_bytes: 1000 }).of_segment(4).for_requests(1));
        script.add(Rule::on(PathKind::Segment, Fault::Delayed(Duration::from_secs(50))).of_segment(6).for_requests(1));
    }
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &source.url(), &["source"])]);
    eventually("it records", || (stored(&node.base, "ch", "source").len() >= 8).then_some(()));
    let delayed = Rule::on(PathKind::Media, Fault::Delayed(Duration::from_secs(80))).for_requests(1);
    source.script().lock().unwrap().add(delayed);
    assert_all_recorded(&node, &source, &["source"], 80, 70);
    assert_eq!(lost_seconds(&node), 0.0);
    let failed = "segvault_record_fetch_errors_total{channel=\"ch\",quality=\"source\",reason=\"timeout\"}";
    assert_eq!(sample(&node, failed), 0.0, "the second try came before the first one failed");
    assert!(node.logged("segment saved, but it is not whole").is_empty());
    let base = node.base.clone();
    node.stop();
    let temps: Vec<String> = walk(&base).into_iter().filter(|path| path.contains("-temp-")).collect();
    assert!(temps.is_empty(), "what was overtaken is gone: {temps:?}");
}

#[test]
fn history_is_fetched_beside_the_live_edge_and_never_delays_it() {
    const PAST_SECONDS: u64 = 200;
    let source = source_with(&small_spec(), 300, 1, |spec| {
        let now = (spec.clock)();
        let origin = Some(now.plus_micros(-1_000_000 * PAST_SECONDS as i64));
        spec.program =
            Program::Prepared { reel: reel(&small_spec(), 300), other: None, origin, speed: 1, at_end: AtEnd::End };
        spec.window_segments = 1000;
    });
    let slow = Rule::on(PathKind::Segment, Fault::Delayed(Duration::from_millis(300)));
    source.script().lock().unwrap().add(slow);
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &source.url(), &["source"])]);
    let began = source.published(&quality("source")).last().unwrap().start;
    // 140 s of history at 0.5 s take two permits 40 s; the last minute takes eight of them 5 s.
    let kept = eventually("the live edge is reached", || {
        let kept = stored(&node.base, "ch", "source");
        kept.last().is_some_and(|(name, _)| name.start() > began).then_some(kept)
    });
    let listed = source.published(&quality("source")).len();
    assert!(kept.len() < listed - 50, "{} of {listed}", kept.len());
    let first = source.published(&quality("source"))[0].start;
    eventually("all of the history is there", || {
        let kept = stored(&node.base, "ch", "source");
        let is_whole =
            kept.first()?.0.start() == first && kept.windows(2).all(|two| two[0].0.end() == two[1].0.start());
        (is_whole && kept.len() > listed).then_some(())
    });
    assert_eq!(lost_seconds(&node), 0.0);
    node.stop();
}
