//! A node as a real process against the live source: what it keeps, byte for byte, on good days and bad ones.

use std::path::Path;
use std::time::Duration;

use segvault::model::SegmentKind;
use segvault::rehearsal::{Container, Fault, Framing, PathKind, ReelSpec, Rule, SourceHandle};

use crate::support::{NodeProcess, assert_hashes, eventually, quality, small_spec, source, source_with, stored};

/// Longer than a test that stops the source by itself takes on a busy machine.
pub const LONG_SECONDS: u64 = 300;
const BOTH: [&str; 2] = ["source", "90p"];

/// Waits until the source has ended, after `total` segments, and the node has kept its last segment; then every segment since the first one kept
/// must be there, `full`, under its time, with the source's very bytes.
pub fn assert_all_recorded(node: &NodeProcess, source: &SourceHandle, qualities: &[&str], total: usize, least: usize) {
    for name in qualities {
        let published = eventually("the source ends and all is kept", || {
            let published = source.published(&quality(name));
            let last = published.last()?;
            let kept = stored(&node.base, "ch", name);
            let is_kept = kept.iter().any(|(kept, _)| kept.start() == last.start);
            (published.len() == total && is_kept).then_some(published)
        });
        let kept = eventually("no segment is under way", || {
            let kept = stored(&node.base, "ch", name);
            let first = kept.first()?.0.start();
            let expected = published.iter().filter(|one| one.start >= first).count();
            (kept.len() >= expected).then_some(kept)
        });
        assert_hashes(&kept);
        let first = kept[0].0.start();
        let expected: Vec<_> = published.iter().filter(|one| one.start >= first).collect();
        assert!(expected.len() >= least, "{} of {}", expected.len(), published.len());
        assert_eq!(kept.len(), expected.len(), "{name}");
        for ((kept, path), published) in kept.iter().zip(expected) {
            assert_eq!(kept.start(), published.start, "{name}");
            assert_eq!(kept.duration_micros(), published.duration_micros, "{name}");
            assert_eq!(kept.kind(), SegmentKind::Full, "{name}");
            let sent = published.stored_bytes().unwrap();
            assert!(std::fs::read(path).unwrap() == sent, "{} differs from what was sent", path.display());
        }
    }
}

fn record(base: &Path, source: &SourceHandle) -> NodeProcess {
    NodeProcess::start(base, &[("ch", &source.url(), &BOTH)])
}

#[test]
fn every_byte_of_two_qualities_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 10, 2);
    let node = record(&dir.path().join("base"), &source);
    assert_all_recorded(&node, &source, &BOTH, 20, 15);
    let metrics = node.get("/metrics").text();
    let saved = stored(&node.base, "ch", "source").len();
    let line = format!("segvault_record_segments_total{{channel=\"ch\",kind=\"full\",quality=\"source\"}} {saved}");
    assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    node.stop();
}

#[test]
fn fragmented_mp4_is_kept_with_its_initialisation_section() {
    let dir = tempfile::tempdir().unwrap();
    let spec = ReelSpec { container: Container::FragmentedMp4, ..small_spec() };
    let source = source(&spec, 6, 2);
    let node = record(&dir.path().join("base"), &source);
    assert_all_recorded(&node, &source, &BOTH, 12, 8);
    let playlist = node.get("/playlist/ch/source.m3u8").text();
    assert!(playlist.contains("#EXT-X-MAP:URI=\"/segments/ch/source/"), "{playlist}");
    node.stop();
}

#[test]
fn faults_that_pass_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 30, 2);
    {
        let script = source.script();
        let mut script = script.lock().unwrap();
        script.add(Rule::on(PathKind::Segment, Fault::Status(503)).for_requests(3));
        script.add(Rule::on(PathKind::Segment, Fault::Html).of_quality(quality("90p")).for_requests(2));
        for framing in [Framing::Length, Framing::Chunked] {
            let truncated = Fault::Truncated { after_bytes: 5000, framing };
            script.add(Rule::on(PathKind::Segment, truncated).of_segment(4).for_requests(2));
        }
        script.add(Rule::on(PathKind::Segment, Fault::Dropped).of_segment(6).for_requests(2));
        script.add(Rule::on(PathKind::Media, Fault::Html).for_requests(2));
        script.add(Rule::on(PathKind::Media, Fault::Status(500)).for_requests(2));
        script.add(Rule::on(PathKind::Media, Fault::Stale { segments: 3 }).for_requests(3));
        script.add(Rule::on(PathKind::Master, Fault::Status(502)).for_requests(1));
    }
    let node = record(&dir.path().join("base"), &source);
    assert_all_recorded(&node, &source, &BOTH, 60, 45);
    assert!(!node.logged("playlist cannot be read, will try again").is_empty());
    node.stop();
}

#[test]
fn a_source_without_dates_is_timed_by_the_clock_and_stays_continuous() {
    let dir = tempfile::tempdir().unwrap();
    // In real time: a source that plays faster than the clock cannot be timed by it.
    let source = source_with(&small_spec(), 12, 1, |spec| spec.date_times = false);
    let base = dir.path().join("base");
    let node = record(&base, &source);
    eventually("some are kept", || (stored(&base, "ch", "source").len() >= 6).then_some(()));
    node.stop();
    // The second process goes on with the times of the first.
    let node = record(&base, &source);
    let all = eventually("the last is kept", || {
        let count = source.published(&quality("source")).len();
        let kept = stored(&base, "ch", "source");
        (count == 24 && kept.len() >= count - 6).then_some(kept)
    });
    node.stop();
    assert_hashes(&all);
    for pair in all.windows(2) {
        assert_eq!(pair[0].0.end(), pair[1].0.start(), "{} then {}", pair[0].0.as_str(), pair[1].0.as_str());
    }
    let published = source.published(&quality("source"));
    let shift = all[0].0.start().micros_since(published[published.len() - all.len()].start).abs();
    assert!(shift < 3_000_000, "anchored {shift} µs away from the truth");
}

#[test]
fn a_stream_that_ends_and_returns_is_recorded_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 60, 4);
    let node = record(&dir.path().join("base"), &source);
    let count = || stored(&node.base, "ch", "source").len();
    eventually("some are kept", || (count() >= 4).then_some(()));
    source.end_stream();
    eventually("the end is noticed", || {
        (!node.logged("stream ended, waiting for its return").is_empty()).then_some(())
    });
    let at_end = count();
    source.reset_sequence();
    source.resume_stream();
    eventually("more are kept", || (count() >= at_end + 6).then_some(()));
    assert!(!node.logged("source began anew").is_empty());
    assert_hashes(&stored(&node.base, "ch", "source"));
    node.stop();
}

#[test]
fn a_channel_that_is_not_live_is_calm_and_begins_when_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 60, 2);
    let off_air = source.script().lock().unwrap().add(Rule::off_air());
    let node = record(&dir.path().join("base"), &source);
    eventually("it is told", || (!node.logged("channel is not live").is_empty()).then_some(()));
    eventually("it is ready", || (node.get("/readyz").status == 200).then_some(()));
    let troubled: Vec<String> =
        node.log().into_iter().filter(|line| line.contains("\"warning\"") || line.contains("\"error\"")).collect();
    assert!(troubled.is_empty(), "{troubled:#?}");
    source.script().lock().unwrap().remove(off_air);
    eventually("it is recorded", || (stored(&node.base, "ch", "source").len() >= 2).then_some(()));
    node.stop();
}

#[test]
fn what_is_cut_off_to_the_end_is_kept_as_partial() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 8, 1);
    let truncated = Fault::Truncated { after_bytes: 188 * 20, framing: Framing::Length };
    let cut_off = source.script().lock().unwrap().add(Rule::on(PathKind::Segment, truncated).of_segment(5));
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &source.url(), &["source"])]);
    eventually("it is tried twice", || {
        let published = source.published(&quality("source"));
        let name = &published.get(5)?.name;
        source.accesses().iter().find(|(path, access)| path.contains(name.as_str()) && access.requests >= 2).map(|_| ())
    });
    {
        let script = source.script();
        let mut script = script.lock().unwrap();
        script.add(Rule::on(PathKind::Segment, Fault::Status(404)).of_segment(5));
        script.remove(cut_off);
    }
    let partial = eventually("it is given up", || {
        stored(&node.base, "ch", "source").into_iter().find(|(name, _)| name.kind() == SegmentKind::Partial)
    });
    let published = source.published(&quality("source"));
    assert_eq!(partial.0.start(), published[5].start);
    let (kept, sent) = (std::fs::read(&partial.1).unwrap(), published[5].stored_bytes().unwrap());
    assert!(!kept.is_empty() && sent.starts_with(&kept) && kept.len() < sent.len());
    node.stop();
}

/// 20 instants; a segment that was acknowledged survives each, and no final name lies.
#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), LONG_SECONDS, 2);
    let base = dir.path().join("base");
    let mut acknowledged: Vec<String> = Vec::new();
    let mut recovered = 0;
    for round in 0..20u64 {
        let node = record(&base, &source);
        recovered += node.logged("kept what a killed process left behind").len();
        assert_hashes(&stored(&base, "ch", "source"));
        assert_hashes(&stored(&base, "ch", "90p"));
        let before = node.acknowledged("source").len();
        eventually("it records", || (node.acknowledged("source").len() > before).then_some(()));
        // Spread over the life of a segment, differently in each round and run.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), round);
        std::thread::sleep(Duration::from_millis(random % 700));
        node.signal("-KILL");
        let mut node = node;
        node.wait();
        acknowledged.extend(node.acknowledged("source"));
        let kept: Vec<String> = stored(&base, "ch", "source").iter().map(|(name, _)| name.path_text()).collect();
        for name in &acknowledged {
            assert!(kept.contains(name), "round {round}: {name} was acknowledged and is gone");
        }
    }
    let node = record(&base, &source);
    recovered += node.logged("kept what a killed process left behind").len();
    println!("{} acknowledged, {recovered} recovered as partial", acknowledged.len());
    let all = stored(&base, "ch", "source");
    assert_hashes(&all);
    let temps = || walk(&base).into_iter().filter(|path| path.contains("-temp-segvault-")).count();
    // What is being written at this moment is of this process.
    eventually("temps of earlier processes are recovered", || (temps() <= 2).then_some(()));
    node.stop();
    assert!(acknowledged.len() >= 20);
}

/// Every file below a directory.
pub fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}
