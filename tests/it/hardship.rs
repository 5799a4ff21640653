//! Bad input and bad luck from outside: a clear error that says what to do, and nothing lost.

use std::path::Path;
use std::process::Command;

use segvault::model::SegmentKind;
use segvault::rehearsal::{Fault, PathKind, Rule};

use crate::record::LONG_SECONDS;
use crate::support::{NodeProcess, assert_hashes, eventually, run, segvault, small_spec, source, stored};

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

#[test]
fn a_full_disk_is_told_and_recording_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    std::fs::create_dir(&base).unwrap();
    // A small file system of its own, in a namespace of its own: it goes with the process.
    let mount = format!("mount -t tmpfs -o size=2m none {0} && exec \"$@\"", base.display());
    // Root needs no user namespace, and may be in a container that allows none.
    let is_root = rustix::process::geteuid().is_root();
    let unshare: Vec<&str> = ["--mount", "--map-root-user", "sh", "-c", &mount, "sh"]
        .into_iter()
        .filter(|arg| !(is_root && *arg == "--map-root-user"))
        .collect();
    let (code, _, said) = run(Command::new("unshare").args(&unshare).arg("true"));
    assert_eq!(code, 0, "this test needs root, or user namespaces (unshare): {said}");

    let source = source(&small_spec(), LONG_SECONDS, 2);
    let config = base.with_extension("toml");
    std::fs::write(
        &config,
        format!(
            "[node]\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
             [[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\"]\n",
            source.url()
        ),
    )
    .unwrap();
    let mut node = NodeProcess::spawn(
        &base,
        Command::new("unshare")
            .args(&unshare)
            .arg(env!("CARGO_BIN_EXE_segvault"))
            .args(["run", "--config"])
            .arg(&config),
    );
    eventually("the disk is full and it says so", || {
        (!node.logged("store cannot be written, what comes may be lost").is_empty()).then_some(())
    });
    let unready = node.get("/readyz");
    assert_eq!((unready.status, unready.json()["code"].as_str().unwrap()), (503, "not_ready"));
    assert_eq!(node.get("/healthz").status, 200);

    // Through the process's own eyes: its mounts are not ours.
    let inside = Path::new("/proc").join(node.id().to_string()).join("root").join(base.strip_prefix("/").unwrap());
    let kept = stored(&inside, "ch", "source");
    assert!(kept.len() > 10);
    assert_hashes(&kept);
    for (_, path) in &kept {
        std::fs::remove_file(path).unwrap();
    }
    let newest = kept.last().unwrap().0.start();
    eventually("it records again", || {
        stored(&inside, "ch", "source").last().filter(|(name, _)| name.start() > newest).map(|_| ())
    });
    assert_hashes(&stored(&inside, "ch", "source"));
    eventually("it is ready again", || (node.get("/readyz").status == 200).then_some(()));
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}
