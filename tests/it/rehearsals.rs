//! The days of `rehearsals/`, each as a user plays it; and what `segvault rehearse` says of a node that is not true to the
//! source.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Nothing avoidable is lost, and what is lost all the same is what the file expects.
fn play(day: &str) {
    let (code, said, errors) = run(&mut rehearse(&days().join(format!("{day}.toml"))));
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"));
    let good = (code, &report["nothing_avoidable_lost"], &report["as_expected"]);
    assert_eq!(good, (0, &Value::Bool(true), &Value::Bool(true)), "{report:#}\n{errors}");
}

macro_rules! days {
    ($($test:ident: $day:literal),* $(,)?) => {
        const DAYS: &[&str] = &[$($day),*];
        $(
            #[test]
            fn $test() {
                play($day);
            }
        )*
    };
}

days! {
    advertisements_are_told_and_not_kept: "advertisement-break",
    wrong_dates_lose_nothing: "clock-skew",
    a_change_of_the_encoding_loses_nothing: "codec-change",
    an_expired_token_loses_nothing: "expired-token",
    one_failure_in_five_loses_nothing: "flaky-20-percent",
    html_and_garbage_lose_nothing: "html-and-garbage",
    a_lagging_edge_loses_nothing: "lagging-edge",
    missing_dates_lose_nothing: "no-dates",
    redirections_and_broken_tls_lose_nothing: "redirects-and-tls",
    a_reset_loses_nothing_that_was_listed: "sequence-reset",
    half_a_minute_without_a_source_loses_what_was_gone: "source-down-30s",
    stalled_answers_lose_nothing: "stalls",
    truncated_bodies_lose_nothing: "truncated-bodies",
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
    assert_eq!(there, DAYS.iter().map(|day| (*day).to_owned()).collect());
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
