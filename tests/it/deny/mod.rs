//! Holds the tree of dependencies against `deny.toml`: licences, banned crates, sources; and what others wrote that lies
//! in `ui/vendor/` and `tests/it/page/vendor/` against its own word.
//!
//! Promises: needs cargo and nothing else, and no network once the crates are there; a rule that it does not know is a
//! fault.

mod licence;
mod vendored;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Severity,
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Severity,
    unknown_git: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    Warn,
    Deny,
}

/// The part of `cargo metadata` that is judged.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// Where crates.io says that a package comes from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    severity: Severity,
    what: String,
}

fn deny(what: String) -> Verdict {
    Verdict { severity: Severity::Deny, what }
}

fn judge(rules: &Rules, metadata: &Metadata) -> Vec<Verdict> {
    let used: BTreeSet<&str> = metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let packages: Vec<&Package> = metadata.packages.iter().filter(|one| used.contains(one.id.as_str())).collect();
    let mut verdicts = Vec::new();
    for package in &packages {
        verdicts.extend(judge_licence(rules, package));
        verdicts.extend(judge_source(rules, package));
        if rules.bans.deny.iter().any(|banned| banned.name == package.name) {
            verdicts.push(deny(format!("{} {} is banned", package.name, package.version)));
        }
    }
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<&str> = versions.into_iter().collect();
        let what = format!("{name} is there more than once: {}", versions.join(", "));
        verdicts.push(Verdict { severity: rules.bans.multiple_versions, what });
    }
    verdicts
}

fn judge_licence(rules: &Rules, package: &Package) -> Option<Verdict> {
    let Package { name, version, license, .. } = package;
    let Some(expression) = license else { return Some(deny(format!("{name} {version} names no licence"))) };
    match licence::is_allowed(expression, &rules.licenses.allow) {
        Ok(true) => None,
        Ok(false) => Some(deny(format!("{name} {version} is licensed {expression}, which is not allowed"))),
        Err(why) => Some(deny(format!("{name} {version}: {why}"))),
    }
}

/// A package without a source is one of this workspace.
fn judge_source(rules: &Rules, package: &Package) -> Option<Verdict> {
    let source = package.source.as_deref().filter(|source| *source != CRATES_IO)?;
    let severity = if source.starts_with("git+") { rules.sources.unknown_git } else { rules.sources.unknown_registry };
    Some(Verdict { severity, what: format!("{} {} comes from {source}", package.name, package.version) })
}

fn output_of(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {}: {}", args.join(" "), output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn read_rules() -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("deny.toml: {error}"))
}

/// What is built on this machine; the crates of other systems need not even be downloaded.
fn read_metadata() -> Metadata {
    let version = output_of("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let args = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host];
    serde_json::from_str(&output_of(env!("CARGO"), &args)).unwrap()
}

#[test]
fn dependencies_keep_to_the_rules() {
    let (rules, metadata) = (read_rules(), read_metadata());
    assert!(metadata.resolve.nodes.len() > 100, "the tree of dependencies was not found");
    let (denied, warned): (Vec<Verdict>, Vec<Verdict>) =
        judge(&rules, &metadata).into_iter().partition(|verdict| verdict.severity == Severity::Deny);
    for warning in warned {
        println!("warning: {}", warning.what);
    }
    let denied: Vec<String> = denied.into_iter().map(|verdict| verdict.what).collect();
    assert!(denied.is_empty(), "\n{}", denied.join("\n"));
}

#[test]
fn each_rule_can_be_broken() {
    let rules = Rules {
        licenses: Licenses { allow: vec!["MIT".into()] },
        bans: Bans { multiple_versions: Severity::Warn, deny: vec![Banned { name: "bad".into() }] },
        sources: Sources { unknown_registry: Severity::Deny, unknown_git: Severity::Deny },
    };
    let metadata = r#"{
        "packages": [
            {"id": "0", "name": "ours", "version": "1.0.0", "license": "MIT", "source": null},
            {"id": "1", "name": "free", "version": "1.0.0", "license": "GPL-3.0-only", "source": null},
            {"id": "2", "name": "mute", "version": "1.0.0", "license": null, "source": null},
            {"id": "3", "name": "bad", "version": "1.0.0", "license": "MIT", "source": null},
            {"id": "4", "name": "git", "version": "1.0.0", "license": "MIT", "source": "git+https://example.org/x"},
            {"id": "5", "name": "far", "version": "1.0.0", "license": "MIT", "source": "registry+https://example.org"},
            {"id": "6", "name": "ours", "version": "2.0.0", "license": "MIT", "source": null},
            {"id": "7", "name": "unused", "version": "1.0.0", "license": null, "source": null}
        ],
        "resolve": {"nodes": [{"id": "0"}, {"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4"}, {"id": "5"}, {"id": "6"}]}
    }"#;
    let verdicts = judge(&rules, &serde_json::from_str(metadata).unwrap());
    let told: Vec<&str> = verdicts.iter().map(|verdict| verdict.what.as_str()).collect();
    let expected = [
        "free 1.0.0 is licensed GPL-3.0-only, which is not allowed",
        "mute 1.0.0 names no licence",
        "bad 1.0.0 is banned",
        "git 1.0.0 comes from git+https://example.org/x",
        "far 1.0.0 comes from registry+https://example.org",
        "ours is there more than once: 1.0.0, 2.0.0",
    ];
    assert_eq!(told, expected);
    let warned: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.severity == Severity::Warn).collect();
    assert_eq!(warned.len(), 1);
}
