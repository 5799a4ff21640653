//! The command line as a user meets it: answers, refusals, exit codes.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{run, segvault};

const HOUR: &str = "2026-01-02T03";

fn name(second: u32, kind: &str) -> String {
    format!("00:{second:02}.000000-2.0-{kind}-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.ts")
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
        (&["tombstone", "add", "nonsense"], "HOUR/NAME"),
        (&["tombstone", "add", "ch/source/2026-01-02T03/../../x.ts"], "no segment"),
        (&["tombstone", "add", "ch/source/2026-01-02T03/00:00.0-2.0-full-short.ts"], "hash"),
        (&["tombstone", "add", &format!("ch/none/{HOUR}/{}", name(0, "full"))], "no none of ch"),
        (&["tombstone", "add"], "required"),
        (&["tombstone", "add", "ch", "--from", "2026-01-02T03:00:00"], "--to"),
        (&["tombstone", "add", "ch", "--from", "2027-01-02", "--to", "2027-01-03"], "nothing of ch lies"),
        (&["tombstone", "add", "none", "--from", "2027-01-02", "--to", "2027-01-03"], "no none"),
        (&["tombstone", "list", "ch", "--quality", "none"], "no ch/none"),
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
fn the_configuration_says_where_the_record_is() {
    let dir = tempfile::tempdir().unwrap();
    plant(&dir.path().join("base"), &[name(0, "full")]);
    let config = dir.path().join("segvault.toml");
    std::fs::write(&config, "[node]\ndir = \"base\"\n").unwrap();
    let mut command = segvault();
    command.env("SEGVAULT_CONFIG", &config).args(["tombstone", "list", "ch"]);
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
