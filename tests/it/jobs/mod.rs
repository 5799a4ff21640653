//! Events on their way to published videos, by real nodes: what is published is there once, with the right frames.

mod editor_pages;
mod left;
mod refused;
mod storm;
mod taken;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use segvault::model::Timestamp;
use serde_json::{Value, json};

use crate::cut::{Source, decode, plain_record};
use crate::db::Ground;
use crate::events::{over_both, send};
use crate::support::{NodeProcess, eventually};

/// A cut takes a second; on a machine that is busy with many of them, minutes.
const CUT_PATIENCE: Duration = Duration::from_secs(240);
/// Where ffmpeg is held up for as long as this file is there.
const HOLD: &str = "hold";

/// A database, a directory for videos that all nodes share, and a record that each of them has.
pub struct Crew {
    pub ground: Ground,
    pub dir: tempfile::TempDir,
}

/// A minute and a half of numbered frames would take long; what events need is a few edges.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| plain_record(14))
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Crew {
    pub fn new(ground: Ground) -> Self {
        let crew = Self { ground, dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(crew.dir.path().join("bin")).unwrap();
        let shim = crew.dir.path().join("bin/ffmpeg");
        let hold = crew.hold();
        let real = which("ffmpeg");
        let script = format!("#!/bin/sh\nwhile [ -e {} ]; do sleep 0.05; done\nexec {} \"$@\"\n", hold.display(), real);
        std::fs::write(&shim, script).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
        crew
    }

    pub fn hold(&self) -> PathBuf {
        self.dir.path().join(HOLD)
    }

    pub fn place(&self) -> PathBuf {
        self.dir.path().join("videos")
    }

    pub fn base(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node of this name, with the record; again, if it was one before.
    pub fn node(&self, name: &str, more: &str) -> NodeProcess {
        let base = self.base(name);
        if !base.exists() {
            copy_tree(source().record.layout.base(), &base);
        }
        let url = match self.ground.url.strip_prefix("sqlite:") {
            Some(file) => format!("sqlite:{}", self.ground.dir.path().join(".segvault").join(file).display()),
            None => self.ground.url.clone(),
        };
        let more = format!("[database]\nurl = {url:?}\n{more}");
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.dir.path().join("bin").display());
        let node = NodeProcess::start_with(&base, &more, |command| {
            command.args(["--set", &format!("node.name={name}")]).env("PATH", path);
        });
        eventually("the schema is there", || (node.get("/thrimshim").status == 200).then_some(()));
        node
    }

    /// One that cuts.
    pub fn cutter(&self, name: &str) -> NodeProcess {
        self.node(name, &self.cutting(""))
    }

    pub fn cutting(&self, more: &str) -> String {
        format!(
            "[upload.local]\ntype = \"local\"\npath = {:?}\nurl_prefix = \"http://videos.test/\"\n\
             [cutter]\ninterval = \"200ms\"\nlease = \"5s\"\nretry = \"300ms\"\n{more}",
            self.place()
        )
    }

    /// SQL past the nodes, which may be writing.
    pub fn execute(&self, sql: &str) {
        let mut raw = self.ground.raw();
        if self.ground.url.starts_with("sqlite") {
            raw.execute("PRAGMA busy_timeout = 10000");
        }
        raw.execute(sql);
    }

    /// The videos that are there, by name, sidecars aside.
    pub fn videos(&self) -> BTreeMap<String, PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.place()) else { return BTreeMap::new() };
        let files = entries.map(|entry| entry.unwrap().path());
        let named = files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
        named.filter(|(name, _)| !name.starts_with('.') && name.ends_with(".ts")).collect()
    }

    /// The one video that there is.
    pub fn only_video(&self) -> PathBuf {
        let videos = self.videos();
        assert_eq!(videos.len(), 1, "{videos:?}");
        videos.into_values().next().unwrap()
    }
}

fn which(program: &str) -> String {
    let found = std::process::Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to)
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What an editor submits for a row as it was loaded.
pub fn edit(row: &Value, ranges: &[(&str, &str)], more: &Value) -> Value {
    let mut edit = json!({
        "video_ranges": ranges.iter().map(|(start, end)| json!([start, end])).collect::<Vec<_>>(),
        "video_transitions": vec![Value::Null; ranges.len() - 1],
        "video_title": "A run: of it", "video_description": "Told by me", "video_tags": ["a"],
        "allow_holes": false, "upload_location": "local", "public": true, "video_channel": "ch",
        "video_quality": "source", "uploader_whitelist": null, "state": "EDITED",
        "thumbnail_mode": "NONE", "thumbnail_template": null, "thumbnail_crop": null, "thumbnail_location": null,
        "thumbnail_time": null, "thumbnail_image": null,
    });
    for seen in ["sheet_name", "event_start", "event_end", "category", "description", "notes", "tags"] {
        edit[seen] = row[seen].clone();
    }
    for (field, value) in more.as_object().into_iter().flatten() {
        edit[field] = value.clone();
    }
    edit
}

/// Notes an event and submits an edit of it, as an editor's page does.
pub fn file(node: &NodeProcess, id: &str, ranges: &[(&str, &str)], more: &Value) {
    let event = json!({ "id": id, "event_start": "2026-01-02T03:59:54", "description": "A run", "tags": ["Day 1"] });
    assert_eq!(send(node, "POST", "/api/v1/events", None, &event).status, 201);
    submit(node, id, ranges, more);
}

pub fn submit(node: &NodeProcess, id: &str, ranges: &[(&str, &str)], more: &Value) {
    let row = node.get(&format!("/thrimshim/{id}")).json();
    let reply = send(node, "POST", &format!("/thrimshim/{id}"), None, &edit(&row, ranges, more));
    assert_eq!(reply.status, 201, "{}", reply.text());
}

pub fn event(node: &NodeProcess, id: &str) -> Value {
    node.get(&format!("/api/v1/events/{id}")).json()
}

pub fn wait_for(node: &NodeProcess, id: &str, state: &str) -> Value {
    let late = Instant::now() + CUT_PATIENCE;
    loop {
        let found = event(node, id);
        if found["state"] == state {
            return found;
        }
        assert!(Instant::now() < late, "waited in vain: {id} is to be {state}: {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was done to an event, one step after the other.
pub fn steps(node: &NodeProcess, id: &str) -> Vec<String> {
    let lines = node.get(&format!("/api/v1/events/{id}/history")).json();
    lines.as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap().to_owned()).collect()
}

/// Fails unless the video has exactly these frames.
pub fn assert_shows(video: &Path, ranges: &[(&str, &str)]) {
    let (shown, words) = decode(&std::fs::read(video).unwrap());
    let expected: Vec<usize> =
        ranges.iter().flat_map(|(start, end)| source().expected(time(start), time(end))).collect();
    assert!(!expected.is_empty());
    assert_eq!((shown, words.as_str()), (expected, ""), "{}", video.display());
}

pub const RANGES: &[(&str, &str)] =
    &[("2026-01-02T03:59:55.5", "2026-01-02T03:59:58.7"), ("2026-01-02T04:00:01.2", "2026-01-02T04:00:03")];

over_both! {
    what_is_filed_on_one_node_is_published_once_by_another,
    what_is_changed_of_a_video_is_told_to_its_destination,
    a_location_says_how_what_it_gets_is_encoded,
}

fn what_is_filed_on_one_node_is_published_once_by_another(ground: Ground) {
    let crew = Crew::new(ground);
    let alpha = crew.node("alpha", "[events]\nupload_locations = [\"local\"]\n");
    let (beta, gamma) = (crew.cutter("beta"), crew.cutter("gamma"));
    let more = json!({ "thumbnail_mode": "BARE", "thumbnail_time": "2026-01-02T03:59:56" });
    file(&alpha, "e1", RANGES, &more);
    let done = wait_for(&alpha, "e1", "DONE");
    let video = crew.only_video();
    assert_shows(&video, RANGES);
    let name = video.file_name().unwrap().to_str().unwrap();
    assert_eq!(done["video_link"], format!("http://videos.test/{name}"));
    assert_eq!((&done["video_id"], &done["error"]), (&json!(name), &Value::Null));
    assert!(name.starts_with("A-run-of-it-e1.") && done["upload_time"].is_string(), "{done}");
    assert!(["beta", "gamma"].contains(&done["uploader"].as_str().unwrap()));
    assert_eq!(steps(&alpha, "e1"), ["add", "edit", "claim", "finalize", "finish"]);
    let sidecar: Value = serde_json::from_slice(&std::fs::read(video.with_extension("json")).unwrap()).unwrap();
    assert_eq!((&sidecar["title"], &sidecar["receipt"]["outcome"]), (&json!("A run: of it"), &json!("done")));
    assert_eq!(sidecar["receipt"]["frames"]["missing"], 0);
    assert!(std::fs::read(video.with_extension("png")).unwrap().starts_with(b"\x89PNG"));
    for node in [&beta, &gamma] {
        let jobs = node.base.join(".segvault/jobs");
        assert!(!jobs.exists() || std::fs::read_dir(jobs).unwrap().next().is_none(), "a cut is left");
    }
    let published: f64 = [&beta, &gamma].map(published).iter().sum();
    assert_eq!(published, 1.0);
    [alpha, beta, gamma].into_iter().for_each(NodeProcess::stop);
}

fn published(node: &NodeProcess) -> f64 {
    let text = node.get("/metrics").text();
    let sample = "segvault_jobs_ended_total{location=\"local\",outcome=\"published\"} ";
    text.lines().find_map(|line| line.strip_prefix(sample)).unwrap().parse().unwrap()
}

fn what_is_changed_of_a_video_is_told_to_its_destination(ground: Ground) {
    let crew = Crew::new(ground);
    let node = crew.cutter("alpha");
    file(&node, "e1", &RANGES[..1], &Value::Null);
    wait_for(&node, "e1", "DONE");
    let (video, bytes) = (crew.only_video(), std::fs::read(crew.only_video()).unwrap());
    let more = json!({
        "state": "MODIFIED", "video_title": "Another", "public": false, "thumbnail_mode": "BARE",
        "thumbnail_time": "2026-01-02T03:59:57",
    });
    submit(&node, "e1", &RANGES[..1], &more);
    let done = wait_for(&node, "e1", "DONE");
    assert_eq!((&done["video_title"], &done["error"]), (&json!("Another"), &Value::Null));
    let sidecar: Value = serde_json::from_slice(&std::fs::read(video.with_extension("json")).unwrap()).unwrap();
    assert_eq!((&sidecar["title"], &sidecar["public"]), (&json!("Another"), &json!(false)));
    assert_eq!(sidecar["upload_key"].as_str().unwrap().split('.').next(), Some("e1"), "the rest stays");
    let picture = std::fs::read(video.with_extension("png")).unwrap();
    assert_eq!(std::fs::read(crew.only_video()).unwrap(), bytes);
    // Without another picture, the picture is not written again.
    std::fs::remove_file(video.with_extension("png")).unwrap();
    let mut third = more;
    third["video_title"] = json!("A third");
    submit(&node, "e1", &RANGES[..1], &third);
    eventually("it is told", || (event(&node, "e1")["state"] == "DONE").then_some(()));
    assert!(!video.with_extension("png").exists() && !picture.is_empty());
    node.stop();
}

fn a_location_says_how_what_it_gets_is_encoded(ground: Ground) {
    let crew = Crew::new(ground);
    let place = |name: &str, more: &str| {
        let path = crew.dir.path().join(name);
        format!("[upload.{name}]\ntype = \"local\"\npath = {path:?}\ncut_type = \"mpegts\"\n{more}")
    };
    let places = place("usual", "")
        + &place("small", "encode_preset = \"ultrafast\"\nencode_crf = 45\nencode_audio_kbps = 32\n");
    let node = crew.node("alpha", &crew.cutting(&places));
    for name in ["usual", "small"] {
        file(&node, name, &RANGES[..1], &json!({ "upload_location": name }));
    }
    let lens = ["usual", "small"].map(|name| {
        let done = wait_for(&node, name, "DONE");
        let video = crew.dir.path().join(name).join(done["video_id"].as_str().unwrap());
        assert_shows(&video, &RANGES[..1]);
        std::fs::metadata(video).unwrap().len()
    });
    assert!(lens[1] * 3 < lens[0] * 2, "{lens:?}");
    node.stop();
}
