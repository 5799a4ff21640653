//! Knowledge runs one way: fails on an arrow between rooms that climbs, and on a crate or an act that is not in its room.
//!
//! A new room needs a line in `LEVELS`; an arrow within a level needs one in `BESIDE`, with its reason.

mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use paths::NamedPath;

/// From the bottom up. A room may know all rooms on lower levels.
const LEVELS: &[&[&str]] = &[
    &["model"],
    &["hls", "media", "select"],
    &["auth", "edits", "ingest", "peers", "cut", "upload", "db", "store"],
    &["http", "actors", "admin"],
    &["node"],
    &["cli"],
    &["main"],
];
/// Arrows between rooms of one level.
const BESIDE: &[(&str, &str)] = &[
    // A playlist is a selection, written down.
    ("hls", "select"),
    // What a playlist must say of its segments' encodings.
    ("hls", "media"),
    // What an hour holds is told along its best segments.
    ("media", "select"),
    // What is fetched goes to the only writer of segments.
    ("ingest", "store"),
    // A cut reads the files that the store lays out.
    ("cut", "store"),
    // What an editor says is checked against what cuts can do.
    ("edits", "cut"),
    // Videos that are published on this machine's disk.
    ("upload", "store"),
    // Destinations are asked as any server is.
    ("upload", "ingest"),
    // What is copied from a peer is fetched as from any server, and goes to the only writer of segments.
    ("peers", "ingest"),
    ("peers", "store"),
    // An issuer's keys are fetched as anything is; what people may stands in the database.
    ("auth", "ingest"),
    ("auth", "db"),
    // Those keys outlive a restart on this machine's disk.
    ("auth", "store"),
    // Requests ask actors; actors know of no requests.
    ("http", "actors"),
    ("admin", "actors"),
];
/// Passed in to whoever needs them. They know the vocabulary and each other.
const CROSS_CUTTING: &[&str] = &[
    "blocking", "causes", "child", "clock", "config", "health", "jitter", "log", "metrics", "png", "profile",
    "shutdown", "throttle",
];
/// Rooms and files that are pure: what is cross-cutting (clocks, logs, threads) is not for them.
const PURE: &[&str] = &[
    "model",
    "hls",
    "media",
    "select",
    "ingest/source/choose.rs",
    "ingest/ads.rs",
    "ingest/outage.rs",
    "ingest/tracker.rs",
    "ingest/sessions.rs",
    "cut/cut_type.rs",
    "cut/plan.rs",
    "cut/piece.rs",
    "cut/transition.rs",
    "peers/plan.rs",
    "peers/bounty.rs",
    "peers/digest.rs",
    "upload/s3/parts.rs",
    "upload/s3/answers.rs",
    "upload/youtube/pacific.rs",
    "upload/youtube/quota.rs",
];
/// The fake source stands beside the house: the command line and tests start it.
const REHEARSAL: &str = "rehearsal";
const REHEARSAL_KNOWS: &[&str] = &["model", "hls", "clock", "config"];

/// Crates that only one place names.
const CRATES: &[(&str, &str)] = &[("m3u8_rs", "hls/upstream.rs"), ("diesel", "db"), ("diesel_migrations", "db")];

/// What asks the machine for wall time.
const WALL_TIME: &[&[&str]] = &[&["SystemTime", "now"], &["Utc", "now"], &["Local", "now"]];
const WALL_TIME_IN: &[&str] = &[
    "clock.rs",
    // A fake source that was given no clock; nothing of a node passes through there.
    "rehearsal/source.rs",
];

/// What makes, changes or removes files.
const FILE_WRITES: &[&[&str]] = &[
    &["File", "create"],
    &["File", "create_new"],
    &["File", "options"],
    &["OpenOptions"],
    &["tempfile"],
    &["fs", "write"],
    &["fs", "rename"],
    &["fs", "copy"],
    &["fs", "hard_link"],
    &["fs", "remove_file"],
    &["fs", "remove_dir_all"],
];
const FILE_WRITES_IN: &[&str] = &[
    "store",
    // Its reels, in directories of its own.
    "rehearsal",
    // The file after `-o`, and the directory of a demo.
    "cli",
    // The lock, the probe and the address in BASE/.segvault.
    "node",
];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: usize,
    what: String,
}

/// Whether `file` (relative to `src`) is `place`: a file or a room, which is a directory and the file beside it.
fn lies_in(file: &str, place: &str) -> bool {
    let rest = file.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

fn lies_in_one_of(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| lies_in(file, place))
}

fn room_of(file: &str) -> &str {
    let first = file.split('/').next().expect("a split has a first part");
    first.strip_suffix(".rs").unwrap_or(first)
}

fn level_of(room: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&room))
}

/// Why the code of `file` may not name `to`; `None` if it may.
fn refusal(file: &str, to: &str) -> Option<String> {
    let from = room_of(file);
    if from == to || (from == "main" && to == "cli") {
        return None;
    }
    let (is_cross_cutting, to_level) = (CROSS_CUTTING.contains(&to), level_of(to));
    if to_level.is_none() && !is_cross_cutting && to != REHEARSAL {
        return Some(format!("`{to}` is no room that tests/it/rooms knows"));
    }
    let allowed = if from == REHEARSAL {
        REHEARSAL_KNOWS.contains(&to)
    } else if to == REHEARSAL {
        from == "cli"
    } else if CROSS_CUTTING.contains(&from) {
        is_cross_cutting || to == "model"
    } else if is_cross_cutting {
        !lies_in_one_of(file, PURE)
    } else {
        match level_of(from) {
            Some(level) => Some(level) > to_level || BESIDE.contains(&(from, to)),
            None => return Some(format!("`{from}` is no room that tests/it/rooms knows")),
        }
    };
    (!allowed).then(|| format!("`{from}` may not know `{to}`"))
}

fn faults_of_path(file: &str, path: &NamedPath) -> Vec<String> {
    let mut faults = Vec::new();
    let first = path.parts[0].as_str();
    // A bare `crate` stands in `pub(crate)`.
    if let ("crate" | "segvault", Some(room)) = (first, path.parts.get(1)) {
        faults.extend(refusal(file, room));
    }
    for (name, place) in CRATES {
        if first == *name && !lies_in(file, place) {
            faults.push(format!("only {place} names `{name}`"));
        }
    }
    let names_one_of = |acts: &[&[&str]]| acts.iter().any(|act| path.holds(act));
    if names_one_of(WALL_TIME) && !lies_in_one_of(file, WALL_TIME_IN) {
        faults.push("only the clock asks the machine for the time".into());
    }
    if names_one_of(FILE_WRITES) && !lies_in_one_of(file, FILE_WRITES_IN) {
        faults.push("only the store writes segment files".into());
    }
    faults
}

/// The depth of the file's module below the crate's root.
fn depth_of(file: &str) -> usize {
    let parts = file.split('/').count();
    let is_module_of_its_directory = file.ends_with("/mod.rs") || file == "lib.rs" || file == "main.rs";
    if is_module_of_its_directory { parts - 1 } else { parts }
}

fn faults_of(file: &str, named: &paths::Named) -> Vec<Fault> {
    let faults_of = |path: &NamedPath| {
        let line = path.line;
        faults_of_path(file, path).into_iter().map(move |what| Fault { line, what }).collect::<Vec<_>>()
    };
    named.paths.iter().flat_map(faults_of).collect()
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Where the file of a module declared in `file` may lie, relative to `src`, without `.rs`.
fn module_file(file: &str, module: &str) -> String {
    let stem = file.strip_suffix("/mod.rs").or_else(|| file.strip_suffix(".rs")).unwrap_or(file);
    if stem == "lib" || stem == "main" { module.to_owned() } else { format!("{stem}/{module}") }
}

#[test]
fn knowledge_runs_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 50, "the sources were not found");
    files.sort();
    let read = |path: &PathBuf| {
        let file = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let named = paths::read(&fs::read_to_string(path).unwrap(), depth_of(&file));
        (file.clone(), named.unwrap_or_else(|error| panic!("src/{file}: {error}")))
    };
    let files: Vec<(String, paths::Named)> = files.iter().map(read).collect();
    let test_modules: Vec<String> = files
        .iter()
        .flat_map(|(file, named)| named.test_modules.iter().map(move |module| module_file(file, module)))
        .collect();
    let is_test = |file: &str| test_modules.iter().any(|module| lies_in(file, module));
    let mut faults = Vec::new();
    for (file, named) in files.iter().filter(|(file, _)| file != "lib.rs" && !is_test(file)) {
        faults.extend(faults_of(file, named).iter().map(|fault| format!("src/{file}:{}: {}", fault.line, fault.what)));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The compiler refuses it wherever nobody allows it.
#[test]
fn only_the_allocator_may_be_unsafe() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.retain(|path| fs::read_to_string(path).unwrap().contains("(unsafe_code)"));
    assert_eq!(files, [src.join("profile/heap/sampler.rs")]);
}

#[cfg(test)]
mod checker {
    use super::*;

    fn faults(file: &str, source: &str) -> Vec<String> {
        let named = paths::read(source, depth_of(file)).unwrap();
        faults_of(file, &named).into_iter().map(|fault| fault.what).collect()
    }

    #[test]
    fn an_arrow_that_climbs_is_a_fault() {
        for (file, source, fault) in [
            ("store/list.rs", "use crate::http::Routes;", "`store` may not know `http`"),
            ("store/list.rs", "use crate::{model::Hour, actors};", "`store` may not know `actors`"),
            ("store/list.rs", "fn f() { crate::ingest::go() }", "`store` may not know `ingest`"),
            ("store/mod.rs", "use super::cut::Plan;", "`store` may not know `cut`"),
            ("media/mpegts/scan.rs", "use super::super::super::http;", "`media` may not know `http`"),
            ("model/time.rs", "use crate::select::Hole;", "`model` may not know `select`"),
            ("select/range.rs", "use crate::hls::Playlist;", "`select` may not know `hls`"),
            ("node.rs", "use crate::cli::Args;", "`node` may not know `cli`"),
            ("node/stop.rs", "use crate::cli::Args;", "`node` may not know `cli`"),
            ("metrics.rs", "use crate::store::Layout;", "`metrics` may not know `store`"),
            ("actors/guardian.rs", "use crate::http::Routes;", "`actors` may not know `http`"),
            ("rehearsal/show.rs", "use crate::store::Layout;", "`rehearsal` may not know `store`"),
            ("ingest/source.rs", "use crate::rehearsal::Source;", "`ingest` may not know `rehearsal`"),
            ("hls/playlist.rs", "use crate::clock::Clock;", "`hls` may not know `clock`"),
            ("cut/plan.rs", "use crate::log;", "`cut` may not know `log`"),
            ("cut/plan.rs", "use crate::attic::Box;", "`attic` is no room that tests/it/rooms knows"),
            ("attic.rs", "use crate::model::Hour;", "`attic` is no room that tests/it/rooms knows"),
        ] {
            assert_eq!(faults(file, source), [fault], "{file}: {source}");
        }
    }

    #[test]
    fn an_arrow_that_descends_is_none() {
        for (file, source) in [
            ("main.rs", "use segvault::cli;"),
            ("cli/run.rs", "use crate::node::Node; use crate::select::Selection; use crate::rehearsal::Source;"),
            ("node.rs", "use crate::{actors::Guardian, http, config::Config, model::Channel};"),
            ("http/cut.rs", "use crate::actors::GetHours; use crate::cut::Plan; use crate::metrics::Metrics;"),
            ("ingest/fetch.rs", "use crate::store::Saved; use crate::blocking::Blocking;"),
            ("hls/playlist.rs", "use crate::select::Part;"),
            ("store/list.rs", "use super::Layout; pub(crate) fn f() {} #[cfg(test)] mod tests { use crate::cli::A; }"),
            ("media/mpegts/scan.rs", "use super::super::Encoding;"),
            ("metrics.rs", "use crate::clock::Clock; use crate::model::Channel;"),
        ] {
            assert_eq!(faults(file, source), <[&str; 0]>::default(), "{file}: {source}");
        }
    }

    #[test]
    fn a_crate_or_an_act_outside_its_room_is_a_fault() {
        for (file, source, fault) in [
            ("hls/playlist.rs", "use m3u8_rs::Playlist;", "only hls/upstream.rs names `m3u8_rs`"),
            ("actors/registrar.rs", "use diesel::prelude::*;", "only db names `diesel`"),
            (
                "select/index.rs",
                "fn f() { std::time::SystemTime::now(); }",
                "only the clock asks the machine for the time",
            ),
            ("http/files.rs", "fn f() { chrono::Utc::now(); }", "only the clock asks the machine for the time"),
            ("http/files.rs", "fn f() { std::fs::write(a, b); }", "only the store writes segment files"),
            ("cut/files.rs", "use std::fs::{self, OpenOptions};", "only the store writes segment files"),
            ("actors/a.rs", "use tokio::fs::{rename, read};", "only the store writes segment files"),
            ("http/a.rs", "fn f() { std::fs::OpenOptions::new(); }", "only the store writes segment files"),
            ("cut/trim.rs", "fn f() { tempfile::tempdir(); }", "only the store writes segment files"),
        ] {
            assert_eq!(faults(file, source), [fault], "{file}: {source}");
        }
        let allowed = [
            ("hls/upstream.rs", "use m3u8_rs::Playlist;"),
            ("db/nodes.rs", "use diesel::prelude::*;"),
            ("clock.rs", "fn f() { SystemTime::now(); }"),
            ("store/pending.rs", "use std::fs::{self, OpenOptions};"),
            ("cut/files.rs", "fn f() { std::fs::File::open(path); }"),
        ];
        for (file, source) in allowed {
            assert_eq!(faults(file, source), <[&str; 0]>::default(), "{file}: {source}");
        }
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_found() {
        assert_eq!(module_file("config/mod.rs", "tests"), "config/tests");
        assert_eq!(module_file("ingest/tracker.rs", "tests"), "ingest/tracker/tests");
        assert_eq!(module_file("lib.rs", "testing"), "testing");
        assert!(lies_in("config/tests.rs", "config/tests"));
        assert!(!lies_in("config/tests_of_more.rs", "config/tests"));
    }
}
