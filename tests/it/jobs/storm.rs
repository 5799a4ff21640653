//! Many events, several nodes, and everything killed at random: in the end each video is there once, with the right frames.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::left::kill;
use super::{Crew, assert_shows, event, source, submit, time};
use crate::db::Ground;
use crate::dice::{Dice, seed};
use crate::events::send;
use crate::postgres::Postgres;
use crate::support::NodeProcess;

const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// What is done, and how much of it.
struct Storm {
    jobs: usize,
    nodes: usize,
    /// Of so many events one is cut to the frame; the others copy whole segments, without ffmpeg.
    exact_every: usize,
    /// How long things are killed.
    lasts: Duration,
    /// How long it may take until all is published.
    patience: Duration,
}

fn millis(dice: &mut Dice, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + dice.below(to - from))
}

/// What was done to the crew.
#[derive(Debug, Default)]
struct Deeds {
    nodes_killed: u32,
    nodes_frozen: u32,
    ffmpegs_killed: u32,
    databases_killed: u32,
}

/// The children of a process, and theirs, that are ffmpeg.
fn ffmpegs_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let Ok(children) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) else { return found };
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    for child in of_threads.chain([children]).collect::<Vec<_>>().join(" ").split_whitespace() {
        let Ok(child) = child.parse() else { continue };
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if name.trim() == "ffmpeg" {
            found.push(child);
        }
    }
    found
}

fn signal(process: u32, signal: &str) {
    let _ = Command::new("kill").args([signal, &process.to_string()]).status();
}

struct Stage {
    crew: Crew,
    server: Option<Postgres>,
    nodes: Vec<Option<NodeProcess>>,
    dice: Dice,
    deeds: Deeds,
}

impl Stage {
    fn rough_place(&self) -> PathBuf {
        self.crew.dir.path().join("rough")
    }

    fn start(&self, at: usize) -> NodeProcess {
        let rough =
            format!("[upload.rough]\ntype = \"local\"\ncut_type = \"rough\"\npath = {:?}\n", self.rough_place());
        self.crew.node(NAMES[at], &self.crew.cutting(&format!("at_once = 2\n{rough}")))
    }

    fn strike(&mut self) {
        let at = self.dice.below(self.nodes.len() as u64) as usize;
        match self.dice.below(20) {
            0..=10 => {
                kill(self.nodes[at].take().unwrap());
                self.deeds.nodes_killed += 1;
                sleep(millis(&mut self.dice, 0, 1500));
                self.nodes[at] = Some(self.start(at));
            }
            11..=12 => {
                // Longer than a lease: the others take over what it was at, and then it goes on.
                let node = self.nodes[at].as_ref().unwrap();
                node.signal("-STOP");
                self.deeds.nodes_frozen += 1;
                sleep(Duration::from_millis(6500));
                node.signal("-CONT");
            }
            13..=17 => {
                let node = self.nodes[at].as_ref().unwrap();
                for ffmpeg in ffmpegs_of(node.id()) {
                    signal(ffmpeg, "-KILL");
                    self.deeds.ffmpegs_killed += 1;
                }
            }
            _ => {
                if let Some(server) = &mut self.server {
                    server.down();
                    self.deeds.databases_killed += 1;
                    sleep(millis(&mut self.dice, 0, 2500));
                    server.up();
                }
            }
        }
    }
}

fn rage(ground: Ground, server: Option<Postgres>, storm: &Storm) {
    let mut dice = Dice::new(seed(1));
    let began = Instant::now();
    let crew = Crew::new(ground);
    let watcher = crew.node("watcher", "");
    let mut asked: BTreeMap<String, (bool, [String; 2])> = BTreeMap::new();
    for at in 0..storm.jobs {
        let id = format!("job-{at}");
        let start = time("2026-01-02T03:59:54").plus_micros(dice.below(9_000_000) as i64);
        let end = start.plus_micros(1_000_000 + dice.below(3_000_000) as i64);
        let (range, is_exact) = ([start.to_string(), end.to_string()], at % storm.exact_every == 0);
        let location = if is_exact { "local" } else { "rough" };
        let noted = json!({ "id": id, "description": "A run" });
        assert_eq!(send(&watcher, "POST", "/api/v1/events", None, &noted).status, 201);
        let more = json!({ "upload_location": location });
        submit(&watcher, &id, &[(&range[0], &range[1])], &more);
        asked.insert(id, (is_exact, range));
    }
    let filed = began.elapsed();
    let mut stage = Stage { crew, server, nodes: Vec::new(), dice, deeds: Deeds::default() };
    for at in 0..storm.nodes {
        let node = stage.start(at);
        stage.nodes.push(Some(node));
    }
    let end = Instant::now() + storm.lasts;
    while Instant::now() < end {
        sleep(millis(&mut stage.dice, 100, 1200));
        stage.strike();
    }
    let calm = Instant::now();
    let late = calm + storm.patience;
    let not_done = || {
        // The database may be coming back.
        let page = watcher.get("/api/v1/events?limit=500&state=UNEDITED&state=EDITED&state=CLAIMED&state=FINALIZING");
        (page.status == 200).then(|| page.json()["events"].as_array().unwrap().clone())
    };
    loop {
        match not_done() {
            Some(left) if left.is_empty() => break,
            left => {
                let brief = |one: &Value| format!("{} {} {}", one["id"], one["state"], one["error"]);
                let left: Vec<String> = left.unwrap_or_default().iter().map(brief).collect();
                assert!(Instant::now() < late, "{} are left: {left:#?}\n{:?}", left.len(), stage.deeds);
                sleep(Duration::from_millis(250));
            }
        }
    }
    let settled = calm.elapsed();

    // Each once, and nothing else.
    let (mut seen, mut attempts) = (BTreeSet::new(), 0);
    for (id, (is_exact, range)) in &asked {
        let done = event(&watcher, id);
        assert_eq!((&done["state"], &done["error"]), (&json!("DONE"), &Value::Null), "{done}");
        let place = if *is_exact { stage.crew.place() } else { stage.rough_place() };
        let video = place.join(done["video_id"].as_str().unwrap());
        if *is_exact {
            assert_shows(&video, &[(&range[0], &range[1])]);
        }
        assert!(video.with_extension("json").exists(), "{}", video.display());
        seen.insert(video);
        attempts += super::steps(&watcher, id).iter().filter(|step| *step == "claim").count();
    }
    assert_eq!(seen.len(), storm.jobs);
    let mut there = BTreeSet::new();
    for place in [stage.crew.place(), stage.rough_place()] {
        for file in fs::read_dir(place).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(!name.starts_with(".upload-"), "{name} is left");
            if name.ends_with(".ts") {
                there.insert(file);
            }
        }
    }
    assert_eq!(there, seen, "each video once");
    eprintln!(
        "{} jobs published once each, {attempts} claims, {:?}; filed in {:.1} s, storm of {} s, settled {:.1} s after it",
        storm.jobs,
        stage.deeds,
        filed.as_secs_f64(),
        storm.lasts.as_secs(),
        settled.as_secs_f64()
    );
    stage.nodes.into_iter().flatten().for_each(NodeProcess::stop);
    watcher.stop();
    assert!(!source().segments.is_empty());
}

/// A server of its own, as it is killed.
fn on_postgres(storm: &Storm) {
    let server = Postgres::start();
    let ground = Ground { url: server.new_database(), dir: tempfile::tempdir().unwrap() };
    rage(ground, Some(server), storm);
}

const SMALL: Storm =
    Storm { jobs: 10, nodes: 2, exact_every: 3, lasts: Duration::from_secs(5), patience: Duration::from_secs(120) };
const LARGE: Storm =
    Storm { jobs: 500, nodes: 4, exact_every: 5, lasts: Duration::from_secs(180), patience: Duration::from_secs(1800) };

#[test]
fn whatever_is_killed_each_video_is_published_once() {
    on_postgres(&SMALL);
}

#[test]
#[ignore = "long"]
fn soak_five_hundred_jobs_in_a_storm_are_published_once_each() {
    on_postgres(&LARGE);
}

/// The nodes share the file.
#[test]
#[ignore = "long"]
fn soak_five_hundred_jobs_in_a_storm_over_one_sqlite_file() {
    rage(Ground::sqlite(), None, &LARGE);
}
