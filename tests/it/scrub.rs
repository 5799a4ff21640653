//! Nothing stored goes bad unseen: by hand, in a running node, and after a stop that was none in order.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::replicate::{HOUR, plant_segment, static_peer::StaticPeer};
use crate::support::{NodeProcess, eventually, run, segvault};

fn scrub(base: &Path, args: &[&str]) -> (i32, String, String) {
    run(segvault().arg("scrub").arg("--dir").arg(base).args(args))
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Ten segments of two seconds in one hour: the path of each.
fn plant(base: &Path) -> Vec<PathBuf> {
    let dir = base.join("ch/source").join(HOUR);
    let plant = |second: u8| dir.join(plant_segment(&dir, &format!("00:{second:02}.0"), "full", &[second; 5000]));
    (0..10).map(|number| plant(number * 2)).collect()
}

/// As ext4 leaves a file that a power cut took, and as a disk leaves one whose bytes it confuses.
fn spoil(paths: &[&PathBuf]) {
    for (number, path) in paths.iter().enumerate() {
        fs::write(path, if number % 2 == 0 { vec![0; 5000] } else { Vec::new() }).unwrap();
    }
}

fn in_quarantine(base: &Path, path: &Path) -> PathBuf {
    base.join(".segvault/quarantine").join(path.strip_prefix(base).unwrap())
}

#[test]
fn by_hand_it_finds_what_is_bad_and_mends_it_from_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let planted = plant(&ours);
    plant(&theirs);
    let (code, out, _) = scrub(&ours, &["--json"]);
    assert_eq!((code, &json(&out)["files"], &json(&out)["bytes"]), (0, &10.into(), &50_000.into()), "{out}");

    spoil(&[&planted[3], &planted[7]]);
    let (code, out, err) = scrub(&ours, &["--dry-run", "--json"]);
    let bad = json(&out)["bad"].clone();
    let expected = |cause: &str, path: &PathBuf| {
        let file = path.strip_prefix(&ours).unwrap().to_str().unwrap();
        bad.as_array().unwrap().iter().any(|bad| bad["cause"] == cause && bad["file"] == file)
    };
    assert!(code == 1 && expected("wrong_bytes", &planted[3]) && expected("empty", &planted[7]), "{out} {err}");
    assert!(planted.iter().all(|path| path.exists()), "a dry run moves nothing");

    let (code, out, err) = scrub(&ours, &["ch/source"]);
    assert_eq!((code, err.lines().count()), (1, 2), "{out} {err}");
    assert!(out.contains("10 files checked") && out.contains("2 bad"), "{out}");
    assert!(err.contains("wrong_bytes") && err.contains("empty"), "{err}");
    for path in [&planted[3], &planted[7]] {
        assert!(!path.exists() && in_quarantine(&ours, path).exists());
    }
    // The next one finds the others good, and what is missing is not fetched unasked.
    assert_eq!(scrub(&ours, &[]).0, 0);

    let peer = StaticPeer::honest(&theirs);
    let (code, out, err) =
        scrub(&ours, &["--repair-from", "http://127.0.0.1:1", "--repair-from", &peer.url(), "--json"]);
    assert_eq!(code, 0, "{out} {err}");
    assert_eq!(json(&out)["bad"][0]["repaired_from"], peer.url());
    for path in &planted {
        assert_eq!(fs::read(path).unwrap(), fs::read(theirs.join(path.strip_prefix(&ours).unwrap())).unwrap());
    }
    assert_eq!(peer.asked("/segments/").len(), 2, "only what went bad is asked for");
}

#[test]
fn a_node_that_sends_wrong_bytes_mends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let (planted, bad_too) = (plant(&ours), plant(&theirs));
    spoil(&[&planted[3]]);
    spoil(&[&bad_too[3]]);
    let peer = StaticPeer::honest(&theirs);
    let (code, out, err) = scrub(&ours, &["--repair-from", &peer.url(), "--json"]);
    assert_eq!((code, &json(&out)["bad"][0]["repaired_from"]), (1, &Value::Null), "{out} {err}");
    assert!(err.contains("other bytes than its name says") && !planted[3].exists(), "{err}");
}

#[test]
fn what_is_wished_for_is_checked_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let planted = plant(&base);
    spoil(&[&planted[0]]);
    let (code, out, _) = scrub(&base, &["--since", "2026-01-02T03:00:10", "--json"]);
    assert_eq!((code, &json(&out)["files"]), (0, &6.into()), "a file that ends at the time is looked at, too: {out}");
    for (args, code, says) in [
        (&["ch/4k"][..], 1, "nothing of ch/4k"),
        (&["../x"], 64, "period"),
        (&["--since", "yesterday"], 64, "14d"),
        (&["--dry-run", "--repair-from", "http://x:1"], 64, "cannot be used with"),
    ] {
        let (found, _, err) = scrub(&base, args);
        assert!(found == code && err.contains(says), "{args:?}: {found} {err}");
    }
    assert!(planted[0].exists());
}

#[test]
fn without_a_node_what_a_killed_one_left_is_kept_and_beside_one_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let planted = plant(&base);
    let temp = planted[0].with_file_name("00:40.0-2.0-temp-segvault-0123456789abcdef-7.ts");
    fs::write(&temp, "of somebody").unwrap();
    let node = NodeProcess::start(&base, &[]);
    eventually("it keeps it", || node.logged("kept what a killed process left behind").pop());
    let (code, out, err) = scrub(&base, &["--json"]);
    assert_eq!((code, &json(&out)["recovered_temps"]), (0, &0.into()), "{out} {err}");
    node.stop();
    fs::write(&temp, "of somebody").unwrap();
    let (code, out, err) = scrub(&base, &["--json"]);
    assert_eq!((code, &json(&out)["recovered_temps"]), (0, &1.into()), "{out} {err}");
    assert!(!temp.exists());
    let kept = fs::read_dir(temp.parent().unwrap()).unwrap();
    assert_eq!(kept.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("partial")).count(), 1);
}

fn sample(node: &NodeProcess, metric: &str) -> f64 {
    let metrics = node.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(&format!("{metric} "))).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn copies_from(peer: &StaticPeer) -> String {
    let url = peer.url();
    format!("[backfill]\npeers = [{url:?}]\nchannels = [\"ch\"]\ninterval = \"1s\"\nrecent_cutoff = \"0s\"\n")
}

fn told_lost(base: &Path) -> Value {
    let (code, out, err) = run(segvault().args(["losses", "--dir"]).arg(base).args(["ch", "source", "--json"]));
    assert_eq!(code, 0, "{err}");
    json(&out)
}

#[test]
fn a_running_node_finds_what_went_bad_tells_it_and_gets_it_from_a_peer() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let planted = plant(&ours);
    plant(&theirs);
    spoil(&[&planted[3], &planted[7]]);
    let node = NodeProcess::start_with(&ours, "", |_| {});
    eventually("the round is done", || node.logged("a round through all that is stored is done").pop());
    assert_eq!(node.logged("a stored file went bad, it is in quarantine").len(), 2);
    assert_eq!(sample(&node, "segvault_scrub_files_total"), 10.0);
    assert_eq!(sample(&node, "segvault_scrub_bad_files_total{cause=\"wrong_bytes\"}"), 1.0);
    assert_eq!(sample(&node, "segvault_scrub_bad_files_total{cause=\"empty\"}"), 1.0);
    assert_eq!(sample(&node, "segvault_scrub_left_bytes"), 0.0);
    // It is neither listed nor served.
    let path = planted[3].strip_prefix(&ours).unwrap().to_str().unwrap();
    assert_eq!(node.get(&format!("/segments/{path}")).status, 404);
    assert!(!node.get(&format!("/files/ch/source/{HOUR}")).text().contains(path.rsplit_once('/').unwrap().1));
    node.stop();
    let lost = told_lost(&ours);
    assert!(lost.to_string().contains("\"corrupt\"") && !lost.to_string().contains("\"filled\":true"), "{lost}");

    let peer = StaticPeer::honest(&theirs);
    let node = NodeProcess::start_with(&ours, &copies_from(&peer), |_| {});
    let is_whole = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.len() == 5000 && bytes != [0; 5000]);
    eventually("it is whole again", || [&planted[3], &planted[7]].into_iter().all(is_whole).then_some(()));
    assert!(told_lost(&ours).to_string().contains("\"filled\":true"));
    // The round was over, so it is not due again.
    assert!(node.logged("a round through all that is stored begins").is_empty());
    node.stop();
}

#[test]
fn after_a_kill_what_was_written_last_is_checked_first() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let planted = plant(&base);
    let mut node = NodeProcess::start_with(&base, "", |_| {});
    eventually("the round is done", || node.logged("a round through all that is stored is done").pop());
    assert!(node.logged("the last run did not end in order, what it wrote last is checked first").is_empty());
    node.signal("-KILL");
    node.wait();
    // What ext4 leaves of a file that was never flushed; it looks as if it had been written just before.
    spoil(&[&planted[4]]);

    let node = NodeProcess::start_with(&base, "", |_| {});
    assert_eq!(node.logged("the last run did not end in order, what it wrote last is checked first").len(), 1);
    let told = eventually("it is checked", || node.logged("what was written near the last stop is checked").pop());
    assert_eq!((&told["files"], &told["bad"]), (&10.into(), &1.into()), "{told}");
    assert!(!planted[4].exists() && in_quarantine(&base, &planted[4]).exists());
    node.stop();

    let node = NodeProcess::start_with(&base, "", |_| {});
    eventually("it lives", || base.join(".segvault/alive").exists().then_some(()));
    assert!(node.logged("the last run did not end in order, what it wrote last is checked first").is_empty());
    node.stop();
    assert!(!base.join(".segvault/alive").exists());
}

#[test]
fn a_check_after_a_kill_that_is_itself_cut_short_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let planted = plant(&base);
    fs::create_dir_all(base.join(".segvault")).unwrap();
    fs::write(base.join(".segvault/alive"), "").unwrap();
    // As if a life had found that, and was stopped before it could do anything about it.
    fs::write(base.join(".segvault/scrub.json"), "{\"unchecked_since_micros\":0,\"round\":null}").unwrap();
    fs::remove_file(base.join(".segvault/alive")).unwrap();
    spoil(&[&planted[4]]);
    let node = NodeProcess::start_with(&base, "", |_| {});
    let told = eventually("it is checked", || node.logged("what was written near the last stop is checked").pop());
    assert_eq!(told["bad"], 1, "{told}");
    node.stop();
}

#[test]
fn by_hand_and_by_a_node_at_once_nothing_good_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let planted = plant(&ours);
    plant(&theirs);
    let peer = StaticPeer::honest(&theirs);
    spoil(&planted.iter().collect::<Vec<_>>());
    let node = NodeProcess::start_with(&ours, &copies_from(&peer), |_| {});
    for _ in 0..3 {
        let (code, out, err) = scrub(&ours, &["--json"]);
        assert!(code == 0 || code == 1, "{out} {err}");
    }
    let good = |path: &PathBuf| fs::read(path).ok() == fs::read(theirs.join(path.strip_prefix(&ours).unwrap())).ok();
    eventually("all is whole again", || planted.iter().all(good).then_some(()));
    node.stop();
    assert_eq!(scrub(&ours, &[]).0, 0);
}
