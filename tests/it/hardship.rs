//! Bad input and bad luck from outside: a clear error that says what to do, and nothing lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use segvault::model::SegmentKind;
use segvault::rehearsal::{Fault, PathKind, Rule, SourceHandle};

use crate::internet::lost_seconds;
use crate::record::LONG_SECONDS;
use crate::support::{NodeProcess, assert_hashes, eventually, quality, run, segvault, small_spec, source, stored};

/// Runs a node that must not start: exit code and what it says.
fn refused(dir: &Path, config: &str) -> (i32, String) {
    let path = dir.join("bad.toml");
    std::fs::write(&path, config).unwrap();
    let (code, out, err) = run(segvault().args(["run", "--config"]).arg(&path));
    assert_eq!(out, "");
    (code, err)
}

#[test]
fn a_bad_configuration_is_refused_with_every_fault_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = refused(dir.path(), "[node]\nlisten = 7\ncolour = 1\n[[channel]]\nname = \"../x\"\n");
    assert_eq!(code, 64, "{said}");
    for part in ["bad.toml:2", "bad.toml:3", "bad.toml:5", "colour", "hls"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (code, _, said) = run(segvault().args(["run", "--config", "/does/not/exist.toml"]));
    assert_eq!(code, 64);
    assert!(said.contains("/does/not/exist.toml") && said.contains("No such file"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    // Below a plain file nobody can make a directory, not even root.
    let base = dir.path().join("file/base");
    let (code, said) = refused(dir.path(), &format!("[node]\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("file/base") && said.contains("node.dir"), "{said}");
}

#[test]
fn two_nodes_on_one_directory_and_two_on_one_port_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let node = NodeProcess::start_with(&base, "", |_| {});
    let (code, said) = refused(dir.path(), &format!("[node]\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another segvault"), "{said}");
    let address = node.url().replace("http://", "");
    let other = dir.path().join("other");
    let (code, said) = refused(dir.path(), &format!("[node]\ndir = {other:?}\nlisten = {address:?}\n"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("node.listen"), "{said}");
    node.stop();
}

#[test]
fn a_source_that_answers_html_stores_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 60, 1);
    let html = source.script().lock().unwrap().add(Rule::on(PathKind::Master, Fault::Html));
    let base = dir.path().join("base");
    let node = NodeProcess::start(&base, &[("ch", &source.url(), &["source"])]);
    let told = eventually("it is told", || node.logged("source gives no answer, will ask again").pop());
    assert!(told["error"].as_str().unwrap().contains("an HTML page"), "{told}");
    assert!(stored(&base, "ch", "source").is_empty());
    {
        let script = source.script();
        let mut script = script.lock().unwrap();
        script.add(Rule::on(PathKind::Segment, Fault::Html));
        script.remove(html);
    }
    // Segments that are pages: tried again, never kept.
    eventually("it records", || (!node.logged("recording").is_empty()).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(stored(&base, "ch", "source").is_empty());
    source.script().lock().unwrap().clear();
    eventually("all that was refused comes in", || (stored(&base, "ch", "source").len() >= 3).then_some(()));
    let kept = stored(&base, "ch", "source");
    assert!(kept.iter().all(|(name, _)| name.kind() == SegmentKind::Full));
    node.stop();
}

/// A server that says it has sent all, and has not: once it is believed only where it says the same again and again.
#[test]
fn a_body_that_ends_early_elsewhere_each_time_comes_whole_and_one_that_always_ends_there_is_suspect() {
    const VARIES: u64 = 4;
    const ALIKE: u64 = 6;
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 60, 1);
    {
        let script = source.script();
        let mut script = script.lock().unwrap();
        let short = |bytes, number| Rule::on(PathKind::Segment, Fault::Short { bytes }).of_segment(number);
        for (bytes, answers) in [(4000, 1), (5000, 2), (6000, 3), (7000, 4)] {
            script.add(short(bytes, VARIES).for_requests(answers));
        }
        script.add(short(4000, ALIKE));
    }
    let base = dir.path().join("base");
    let node = NodeProcess::start(&base, &[("ch", &source.url(), &["source"])]);
    let kept = |number: u64| {
        let published = source.published(&quality("source"));
        let start = published.iter().find(|one| one.media_sequence == number)?.start;
        stored(&base, "ch", "source").into_iter().find(|(name, _)| name.start() == start)
    };
    let (varies, path) = eventually("what varied is there", || kept(VARIES));
    assert_eq!(varies.kind(), SegmentKind::Full);
    assert!(std::fs::metadata(path).unwrap().len() > 7000);
    let (alike, path) = eventually("what is always the same is there", || kept(ALIKE));
    assert_eq!((alike.kind(), std::fs::metadata(path).unwrap().len()), (SegmentKind::Suspect, 4000));
    node.stop();
}

/// A node on a small file system of its own, in a namespace of its own: it goes with the process. With the path of BASE
/// through the process's own eyes, as its mounts are not ours.
fn node_on_a_small_disk(base: &Path, url: &str) -> (NodeProcess, PathBuf) {
    std::fs::create_dir(base).unwrap();
    let mount = format!("mount -t tmpfs -o size=16m none {0} && exec \"$@\"", base.display());
    // Root needs no user namespace, and may be in a container that allows none.
    let is_root = rustix::process::geteuid().is_root();
    let unshare: Vec<&str> = ["--mount", "--map-root-user", "sh", "-c", &mount, "sh"]
        .into_iter()
        .filter(|arg| !(is_root && *arg == "--map-root-user"))
        .collect();
    let (code, _, said) = run(Command::new("unshare").args(&unshare).arg("true"));
    assert_eq!(code, 0, "this test needs root, or user namespaces (unshare): {said}");
    let config = base.with_extension("toml");
    let text = format!(
        "[node]\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [[channel]]\nname = \"ch\"\nhls = {url:?}\nqualities = [\"source\"]\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("unshare");
    command.args(&unshare).arg(env!("CARGO_BIN_EXE_segvault")).args(["run", "--config"]).arg(&config);
    let node = NodeProcess::spawn(base, &mut command);
    let inside = Path::new("/proc").join(node.id().to_string()).join("root").join(base.strip_prefix("/").unwrap());
    (node, inside)
}

fn sample(node: &NodeProcess, metric: &str) -> f64 {
    let metrics = node.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(&format!("{metric} "))).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// All that the source has shown since the first kept segment, `full`, once it is as far as it was when this was asked.
fn assert_nothing_missing(inside: &Path, source: &SourceHandle) {
    let last = source.published(&quality("source")).last().unwrap().start;
    let kept = eventually("memory is written out", || {
        let kept = stored(inside, "ch", "source");
        let first = kept.first()?.0.start();
        let due = source.published(&quality("source")).iter().filter(|one| (first..=last).contains(&one.start)).count();
        (kept.iter().filter(|(name, _)| name.start() <= last).count() >= due).then_some(kept)
    });
    assert_hashes(&kept);
    for pair in kept.windows(2).filter(|pair| pair[1].0.start() <= last) {
        assert_eq!(pair[0].0.end(), pair[1].0.start(), "{} then {}", pair[0].0.as_str(), pair[1].0.as_str());
        assert_eq!(pair[0].0.kind(), SegmentKind::Full);
    }
}

#[test]
fn a_disk_that_is_full_for_20_s_is_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), LONG_SECONDS, 2);
    let (mut node, inside) = node_on_a_small_disk(&dir.path().join("base"), &source.url());
    eventually("it records", || (stored(&inside, "ch", "source").len() >= 4).then_some(()));
    let filler = inside.join("filler");
    // It ends with an error, as it should: there is no more space.
    let _ = std::fs::write(&filler, vec![0; 16 << 20]);
    let full_since = Instant::now();
    eventually("the disk is full and it says so", || {
        (!node.logged("store cannot be written, memory holds what comes").is_empty()).then_some(())
    });
    let unready = node.get("/readyz");
    assert_eq!((unready.status, unready.json()["code"].as_str().unwrap()), (503, "not_ready"));
    assert_eq!(node.get("/healthz").status, 200);
    eventually("the metric says so", || (sample(&node, "segvault_store_writable") == 0.0).then_some(()));
    std::thread::sleep(Duration::from_secs(20).saturating_sub(full_since.elapsed()));
    eventually("memory holds it", || (sample(&node, "segvault_store_spool_bytes") > 0.0).then_some(()));

    std::fs::remove_file(&filler).unwrap();
    eventually("it is ready again", || (node.get("/readyz").status == 200).then_some(()));
    assert_nothing_missing(&inside, &source);
    assert_eq!(lost_seconds(&node), 0.0);
    eventually("memory is free", || (sample(&node, "segvault_store_spool_bytes") == 0.0).then_some(()));
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}

/// Runs a shell's line among the mounts of a node.
fn within(node: &NodeProcess, line: &str) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &node.id().to_string()]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    let (code, _, said) = run(command.args(["sh", "-c", line]));
    assert_eq!(code, 0, "{line}: {said}");
}

/// As a file system makes itself after an error. What is open stays writable, so the mount is laid over with one of the same
/// volume that is not.
#[test]
fn a_disk_that_turns_read_only_is_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), LONG_SECONDS, 2);
    let base = dir.path().join("base");
    let (mut node, inside) = node_on_a_small_disk(&base, &source.url());
    eventually("it records", || (stored(&inside, "ch", "source").len() >= 4).then_some(()));
    within(&node, &format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", base.display()));
    let told = eventually("it is told", || node.logged("store cannot be written, memory holds what comes").pop());
    assert!(told["error"].as_str().unwrap().contains("Read-only file system"), "{told}");
    assert_eq!((node.get("/readyz").status, node.get("/healthz").status), (503, 200));
    eventually("the metric says so", || (sample(&node, "segvault_store_writable") == 0.0).then_some(()));
    eventually("memory holds some", || (sample(&node, "segvault_store_spool_bytes") > 50_000.0).then_some(()));
    // What is there is served all the same.
    assert_eq!(node.get("/files/ch/source").status, 200);
    within(&node, &format!("umount {}", base.display()));
    eventually("it is ready again", || (node.get("/readyz").status == 200).then_some(()));
    assert_nothing_missing(&inside, &source);
    assert_eq!(lost_seconds(&node), 0.0);
    eventually("memory is free", || (sample(&node, "segvault_store_spool_bytes") == 0.0).then_some(()));
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_volume_that_is_swapped_is_left_alone_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), LONG_SECONDS, 2);
    let base = dir.path().join("base");
    let (mut node, inside) = node_on_a_small_disk(&base, &source.url());
    eventually("it records", || (stored(&inside, "ch", "source").len() >= 4).then_some(()));
    // Another volume, with the directories of ours: only its word tells.
    within(&node, &format!("mount -t tmpfs none {0} && mkdir -p {0}/.segvault {0}/ch", base.display()));
    eventually("it says so", || (node.get("/readyz").status == 503).then_some(()));
    eventually("memory holds some", || (sample(&node, "segvault_store_spool_bytes") > 50_000.0).then_some(()));
    assert!(stored(&inside, "ch", "source").is_empty());
    within(&node, &format!("umount {}", base.display()));
    eventually("it is ready again", || (node.get("/readyz").status == 200).then_some(()));
    assert_nothing_missing(&inside, &source);
    assert_eq!(lost_seconds(&node), 0.0);
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}
