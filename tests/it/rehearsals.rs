//! The days of `rehearsals/`, each as a user plays it; and what `segvault rehearse` says of a node that is not true to the
//! source.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{NodeProcess, eventually, run, segvault, stored};

fn days() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rehearsals")
}

/// `segvault rehearse`, with the video that earlier runs have left.
pub fn rehearse(scenario: &Path) -> Command {
    let mut command = segvault();
    command.arg("rehearse").arg(scenario).arg("--json");
    command.arg("--reels").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("reels"));
    command
}

/// Each day takes its time, most of it spent waiting: so many at once. The longest begins first.
const AT_ONCE: usize = 7;
const DAYS: [&str; 13] = [
    "source-down-30s",
    "stalls",
    "lagging-edge",
    "expired-token",
    "html-and-garbage",
    "truncated-bodies",
    "flaky-20-percent",
    "redirects-and-tls",
    "advertisement-break",
    "clock-skew",
    "codec-change",
    "no-dates",
    "sequence-reset",
];

/// `Err` says how the report of this day differs from its file.
fn play(day: &str) -> Result<(), String> {
    let (code, said, errors) = run(&mut rehearse(&days().join(format!("{day}.toml"))));
    let report: Value = serde_json::from_str(&said).map_err(|error| format!("{day}: {error}: {said}{errors}"))?;
    match (code, &report["nothing_avoidable_lost"], &report["as_expected"]) {
        (0, Value::Bool(true), Value::Bool(true)) => Ok(()),
        _ => Err(format!("{day}: {report:#}\n{errors}")),
    }
}

#[test]
fn each_bad_day_loses_what_its_file_says_cannot_be_helped_and_nothing_else() {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(day) = DAYS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = play(day) {
                        failures.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} days:\n{}", failures.len(), DAYS.len(), failures.join("\n"));
}

#[test]
fn every_day_that_is_shipped_is_played_and_says_at_its_head_what_it_is() {
    let files = std::fs::read_dir(days()).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<String> = files
        .map(|path| {
            let head = std::fs::read_to_string(&path).unwrap().lines().take_while(|line| line.starts_with('#')).count();
            assert!(head >= 3, "{}", path.display());
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(there, DAYS.map(str::to_owned).into());
}

#[test]
fn the_kinds_of_fault_are_those_of_the_document() {
    let (_, _, said) = run(&mut rehearse(scenario("[[fault]]\nkind = \"\"\n").path()));
    let words = said.split("; write ").nth(1).unwrap_or_else(|| panic!("{said}")).trim().split(", ");
    let document = std::fs::read_to_string(days().parent().unwrap().join("docs/rehearsal.md")).unwrap();
    let (_, table) = document.split_once("\n## Kinds\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let told = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(told.collect::<Vec<_>>(), words.collect::<Vec<_>>());
}

#[test]
fn the_document_shows_a_scenario_that_is_accepted() {
    let document = std::fs::read_to_string(days().parent().unwrap().join("docs/rehearsal.md")).unwrap();
    let shown =
        document.lines().filter(|line| line.is_empty() || line.starts_with("    ")).collect::<Vec<_>>().join("\n");
    let (_, shown) = shown.split_once("[rehearsal]").unwrap();
    // A key that nobody knows makes sure that it is not played; it must be the only fault.
    let (code, _, said) = run(&mut rehearse(scenario(&format!("[rehearsal]{shown}\nstray = 1\n")).path()));
    assert_eq!((code, said.lines().count()), (64, 1), "{said}");
    assert!(said.contains("expect.0.stray"), "{said}");
}

fn scenario(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_bad_scenario_is_refused_with_every_fault() {
    let file = scenario("[rehearsal]\nlenght = \"9s\"\n[[fault]]\nkind = \"htlm\"\n");
    let (code, said, faults) = run(&mut rehearse(file.path()));
    assert_eq!((code, said.as_str()), (64, ""));
    assert!(faults.contains(":2:1: rehearsal.lenght") && faults.contains(":4:8: fault.0.kind"), "{faults}");
    let (code, _, faults) = run(&mut rehearse(Path::new("/does/not/exist.toml")));
    assert_eq!(code, 64);
    assert!(faults.contains("/does/not/exist.toml"), "{faults}");
}

/// A node that runs already is played to; a file that it loses, and one whose bytes change, do not go unseen.
#[test]
fn a_node_that_is_not_true_to_the_source_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    // Free a moment ago: the node must be told an address before anybody listens there.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let base = dir.path().join("base");
    let node = NodeProcess::start(&base, &[("ch", &format!("http://{listen}/master.m3u8"), &["source"])]);
    let file = scenario("[rehearsal]\nlength = \"12s\"\nqualities = [\"source\", \"90p\"]\nsettle = \"8s\"\n");
    let mut command = rehearse(file.path());
    command.args(["--node", &node.url(), "--listen", &listen, "--channel", "ch"]);
    let rehearsal = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let kept = eventually("some segments are there", || {
        let kept = stored(&base, "ch", "source");
        (kept.len() >= 4).then_some(kept)
    });
    std::fs::remove_file(&kept[0].1).unwrap();
    let mut bytes = std::fs::read(&kept[1].1).unwrap();
    bytes[400] ^= 1;
    std::fs::write(&kept[1].1, bytes).unwrap();

    let output = rehearsal.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let qualities = report["qualities"].as_array().unwrap();
    assert_eq!(qualities.len(), 1, "only what the node asked for is judged: {report:#}");
    assert_eq!(qualities[0]["quality"], "source");
    assert_eq!((&qualities[0]["avoidable"], &qualities[0]["lost"]), (&2.0.into(), &2.0.into()), "{report:#}");
    assert_eq!(qualities[0]["wrongly_full"].as_array().unwrap().len(), 1, "{report:#}");
    node.stop();
}
