//! The command line as a user meets it: answers, refusals, exit codes.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{run, segvault};

const HOUR: &str = "2026-01-02T03";

fn name(second: u32, kind: &str) -> String {
    format!("00:{second:02}.000000-2.0-{kind}-47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU.ts")
}

fn plant(base: &Path, names: &[String]) {
    let hour = base.join("ch/source").join(HOUR);
    std::fs::create_dir_all(&hour).unwrap();
    for name in names {
        std::fs::write(hour.join(name), "").unwrap();
    }
}

fn on(base: &Path, args: &[&str]) -> (i32, String, String) {
    let (command, rest) = args.split_at(1);
    let (command, rest) = if command == ["tombstone"] { (&args[..2], &args[2..]) } else { (command, rest) };
    run(segvault().args(command).arg("--dir").arg(base).args(rest))
}

#[test]
fn select_prints_segments_and_holes() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &[name(0, "full"), name(2, "full"), name(6, "full")]);
    let range = ["2026-01-02T03:00:00", "2026-01-02T03:00:08"];
    let (code, out, _) = on(dir.path(), &["select", "ch", "source", range[0], range[1], "--json"]);
    assert_eq!(code, 0);
    let expected = json!({ "segments": [
        format!("{HOUR}/{}", name(0, "full")), format!("{HOUR}/{}", name(2, "full")), null,
        format!("{HOUR}/{}", name(6, "full")),
    ]});
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    let (code, out, _) = on(dir.path(), &["select", "ch", "source", range[0], range[1]]);
    assert_eq!((code, out.lines().count()), (0, 4));
    assert!(out.contains("# hole 2026-01-02T03:00:04.000000 to 2026-01-02T03:00:06.000000"), "{out}");
}

#[test]
fn what_makes_no_sense_is_usage() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &[name(0, "full")]);
    for (args, says) in [
        (&["select", "ch", "source", "2026-01-02T03:00:08", "2026-01-02T03:00:00"][..], "before it starts"),
        (&["select", "ch", "source", "yesterday", "2026-01-02T03:00:00"], "not a time"),
        (&["select", "../ch", "source", "2026-01-02", "2026-01-03"], "period"),
        (&["select", "ch", "none", "2026-01-02", "2026-01-03"], "no none of ch"),
        (&["tombstone", "add", "ch", "source", "nonsense"], "HOUR/NAME"),
        (&["tombstone", "add", "ch", "source", "2026-01-02T03/../../x.ts"], "no segment"),
        (&["tombstone", "add", "ch", "source", "2026-01-02T03/00:00.0-2.0-full-short.ts"], "hash"),
        (&["tombstone", "add", "ch", "source"], "required"),
        (&["tombstone", "add", "ch", "source", "--range", "2026-01-02T03:00:00"], "START,END"),
        (&["tombstone", "add", "ch", "source", "--range", "2027-01-02,2027-01-03"], "no segment lies"),
    ] {
        let (code, out, said) = on(dir.path(), args);
        assert_eq!((code, out.as_str()), (64, ""), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let nowhere = dir.path().join("nowhere");
    let (code, _, said) = on(&nowhere, &["select", "ch", "source", "2026-01-02", "2026-01-03"]);
    assert!(code == 64 && said.contains("--dir"), "{said}");
    for args in [&["none"][..], &[], &["run", "--frobnicate"], &["completions", "tcl"]] {
        assert_eq!(run(segvault().args(args)).0, 64, "{args:?}");
    }
}

#[test]
fn a_tombstone_is_added_once_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &[name(0, "full"), name(2, "partial"), name(2, "suspect"), name(4, "full")]);
    let path = format!("{HOUR}/{}", name(0, "full"));
    for said in ["", " (was there)"] {
        let (code, out, err) = on(dir.path(), &["tombstone", "add", "ch", "source", &path]);
        assert_eq!((code, out), (0, format!("{}{said}\n", path.replace(".ts", ".tombstone"))), "{err}");
    }
    // By time, all types go: the worse copies must not take the place of the best.
    let range = ["tombstone", "add", "ch", "source", "--range", "2026-01-02T03:00:03,2026-01-02T03:00:03.5"];
    assert_eq!(on(dir.path(), &range).0, 0);
    let (code, out, _) = on(dir.path(), &["tombstone", "list", "ch", "source", "--json"]);
    assert_eq!(code, 0);
    let expected = json!({ "tombstones": [
        path.replace(".ts", ".tombstone"),
        format!("{HOUR}/{}", name(2, "partial").replace(".ts", ".tombstone")),
        format!("{HOUR}/{}", name(2, "suspect").replace(".ts", ".tombstone")),
    ]});
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    assert!(dir.path().join("ch/source").join(HOUR).join(name(0, "full")).exists(), "the bytes stay");
}

#[test]
fn the_configuration_says_where_the_record_is() {
    let dir = tempfile::tempdir().unwrap();
    plant(&dir.path().join("base"), &[name(0, "full")]);
    let config = dir.path().join("segvault.toml");
    std::fs::write(&config, "[node]\ndir = \"base\"\n").unwrap();
    let mut command = segvault();
    command.env("SEGVAULT_CONFIG", &config).args(["tombstone", "list", "ch", "source"]);
    assert_eq!(run(&mut command), (0, String::new(), String::new()));
}

#[test]
fn help_completions_and_configuration_are_answers() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "tombstone", "add"],
        &["completions", "bash"],
        &["config", "show"],
        &["config", "check"],
    ] {
        let (code, out, err) = run(segvault().args(args));
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(!out.is_empty(), "{args:?}");
    }
    assert!(run(segvault().args(["completions", "bash"])).1.contains("tombstone"));
}
