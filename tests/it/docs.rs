//! What the documents say is there, is there: links, targets of make, commands, keys, addresses.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::support::{NodeProcess, run, segvault};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn documents() -> Vec<PathBuf> {
    let in_dir = |dir: &Path| -> Vec<PathBuf> {
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
    };
    [in_dir(root()), in_dir(&root().join("docs"))].concat()
}

/// What stands in backticks in the first column of the table under a heading.
fn first_column(document: &str, heading: &str) -> Vec<String> {
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cell = row.replace("\\|", "/").split('|').nth(1).unwrap().to_owned();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

/// What a heading is called in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    heading.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_to_files() {
    let documents = documents();
    assert!(documents.len() >= 5, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {target}", document.display());
            if !part.is_empty() {
                let text = fs::read_to_string(file).unwrap();
                let mut headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                assert!(headings.any(|heading| anchor(heading) == part), "{}: {target}", document.display());
            }
        }
    }
}

#[test]
fn make_has_the_targets_that_documents_name() {
    let makefile = read("Makefile");
    let is_target = |word: &str| makefile.lines().any(|line| line.starts_with(&format!("{word}:")));
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let after_mark = ["`make ", "    make "].iter().flat_map(|mark| text.split(mark).skip(1));
        for target in after_mark.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap()) {
            assert!(is_target(target), "{}: make {target}", document.display());
        }
    }
}

#[test]
fn the_readme_lists_the_commands_that_there_are() {
    let told: BTreeSet<String> = first_column(&read("README.md"), "The command")
        .iter()
        .map(|usage| usage.split_whitespace().nth(1).unwrap().to_owned())
        .collect();
    let (code, help, _) = run(segvault().arg("--help"));
    assert_eq!(code, 0);
    let commands = help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| line.starts_with("  "));
    let there: BTreeSet<String> = commands.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(told, there.into_iter().filter(|command| command != "help").collect());
}

#[test]
fn the_configurations_of_the_documents_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let readme = read("README.md");
    let (_, rest) = readme.split_once("\n    [node]\n").expect("the README shows a configuration");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let shown = format!("[node]\n{}", lines.collect::<Vec<_>>().join("\n"));
    assert!(shown.contains("[[channel]]"), "{shown}");
    for text in [shown, read("deploy/k8s/base/segvault.toml")] {
        let file = dir.path().join("segvault.toml");
        fs::write(&file, &text).unwrap();
        let (code, _, faults) = run(segvault().args(["config", "check", "--config"]).arg(&file));
        assert_eq!(code, 0, "{faults}\n{text}");
    }
}

#[test]
fn a_node_answers_to_every_address_in_the_readme() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("record"), &[]);
    let paths = first_column(&read("README.md"), "HTTP");
    let addresses: Vec<&String> = paths.iter().filter(|path| path.starts_with('/')).collect();
    assert!(addresses.len() >= 10, "{addresses:?}");
    for address in addresses {
        let path = address.split('?').next().unwrap();
        let path = path.replace("HOUR", "2026-01-02T03").replace("NAME", "x.ts");
        if path.starts_with("/follow/") || path.ends_with("/stream") {
            // Has no end.
            let mut status = [0; 12];
            node.ask(&path).read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200", "{address}");
            continue;
        }
        // A profile takes as long as it is told.
        let path = if path.ends_with("/profile") { format!("{path}?seconds=1") } else { path };
        let body = node.get(&path).text();
        assert!(!body.contains("no_route"), "{address}: {body}");
    }
    assert!(node.get("/nowhere").text().contains("no_route"));
    node.stop();
}

#[test]
fn operations_names_metrics_that_there_are() {
    let families = read("src/metrics/families.rs");
    let operations = read("docs/operations.md");
    let named: BTreeSet<&str> =
        operations.split('`').skip(1).step_by(2).filter(|code| code.starts_with("segvault_")).collect();
    assert!(named.len() > 5, "{named:?}");
    for metric in named {
        assert!(families.contains(&format!("\"{metric}\"")), "{metric}");
    }
}

#[test]
fn every_alert_asks_for_what_a_node_exports_and_says_what_to_do() {
    let (rules, operations) = (read("deploy/prometheus/segvault.rules.yaml"), read("docs/operations.md"));
    let families = read("src/metrics/families.rs");
    let is_of_a_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let metrics: BTreeSet<&str> = rules
        .split("segvault_")
        .skip(1)
        .map(|rest| rest.find(|letter| !is_of_a_name(letter)).map_or(rest, |end| &rest[..end]))
        .collect();
    assert!(metrics.len() >= 10, "{metrics:?}");
    for metric in metrics {
        assert!(families.contains(&format!("\"segvault_{metric}\"")), "no node exports segvault_{metric}");
    }
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    let tests = read("deploy/prometheus/tests/segvault.rules.test.yaml");
    for alert in alerts {
        assert!(operations.contains(&format!("\n### {alert}\n")), "docs/operations.md says nothing of {alert}");
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "no case makes {alert} fire");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not shown to be silent");
    }
}
