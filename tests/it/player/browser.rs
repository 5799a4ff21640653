//! hls.js in a headless Chromium, and all that it tells.
//!
//! Promises: the browser ends with its handle, and also when the test is killed; nothing of it is left on disk.
//! Never: judges what it was told.

use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::web::{Request, Response, Web};
use crate::support::PATIENCE;

/// As Debian, Ubuntu and Google name it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What the page tells once a second, as far as it is judged; the rest is for people. Times on the wall clock are in ms since 1970.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beacon {
    pub at: i64,
    pub current_time: f64,
    /// What is being shown belongs to this moment of the record.
    pub date: Option<i64>,
    pub paused: bool,
    /// How long the picture has stood still by now.
    pub standing_ms: u64,
    pub frames: u64,
    pub dropped: u64,
    /// Of the picture.
    pub width: u32,
    /// In seconds, as the player estimates it.
    pub latency: f64,
    pub level: Option<Level>,
    pub events: Vec<Event>,
}

/// The media playlist as the player holds it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    pub live: bool,
    #[serde(rename = "startSN")]
    pub start_sn: u64,
    #[serde(rename = "endSN")]
    pub end_sn: u64,
    #[serde(rename = "startCC")]
    pub start_cc: u64,
    #[serde(rename = "endCC")]
    pub end_cc: u64,
    pub targetduration: f64,
    pub url: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub at: i64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum What {
    Error(PlayerError),
    /// The player has come to this segment.
    Frag {
        sn: u64,
        cc: u64,
        date: Option<i64>,
    },
    /// The picture stood still, and moves again.
    Stall {
        ms: u64,
    },
    /// Not judged.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PlayerError {
    #[serde(rename = "type")]
    pub kind: String,
    pub details: String,
    pub fatal: bool,
    why: Option<String>,
}

impl fmt::Display for PlayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, details, fatal, why } = self;
        let fatal = if *fatal { "fatal " } else { "" };
        // The reason may hold whole playlists; they are in the beacons.
        let why = why.as_deref().and_then(|why| why.lines().next()).unwrap_or("no reason given");
        write!(f, "{fatal}{kind} {details}: {why}")
    }
}

/// How the playing of a cut ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `ended` or `failed`.
    pub how: String,
    /// In seconds.
    pub current_time: f64,
    /// Decoded; those that were never shown, as they came too late, are among them.
    pub frames: u64,
    pub error: Option<String>,
    /// All that the console has, and what hls.js calls an error.
    pub complaints: Vec<String>,
}

/// A picture as it was shown, under the date that the player gave it; of a cut, the first is 0 and the last 1.
#[derive(Debug, Clone)]
pub struct Picture {
    pub date: i64,
    pub png: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub struct Told {
    pub beacons: Vec<Beacon>,
    pub pictures: Vec<Picture>,
    /// Once a cut has been played.
    pub report: Option<Report>,
    /// The beacons as they came, one to a line.
    pub lines: Vec<String>,
    /// What the page said and nobody understood.
    pub misunderstood: Vec<String>,
}

impl Told {
    fn note(&mut self, line: String) {
        match serde_json::from_str(&line) {
            Ok(beacon) => self.beacons.push(beacon),
            Err(error) => self.misunderstood.push(format!("{error}: {line}")),
        }
        self.lines.push(line);
    }
}

pub struct Browser {
    child: Child,
    told: Arc<Mutex<Told>>,
    _web: Web,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Plays this master playlist.
    pub fn play(url: &str, low_latency: bool) -> Self {
        Self::open("player.html", url, &format!("low_latency={low_latency}"))
    }

    /// Plays a cut to its end: by itself, or as the one segment of so many seconds with hls.js.
    pub fn play_cut(url: &str, as_segment_of: Option<f64>) -> Self {
        Self::open("cut.html", url, &as_segment_of.map_or(String::new(), |seconds| format!("seconds={seconds}")))
    }

    fn open(page: &str, url: &str, query: &str) -> Self {
        let told: Arc<Mutex<Told>> = Arc::default();
        let heard = Arc::clone(&told);
        let web = Web::start(move |request| answer(request, &heard));
        let profile = tempfile::tempdir().unwrap();
        let url = utf8_percent_encode(url, NON_ALPHANUMERIC);
        let page = format!("{}/{page}?{query}&url={url}", web.url());
        let child = start(&profile, &page);
        Self { child, told, _web: web, _profile: profile }
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// The player has given up; nothing more will come.
    pub fn has_given_up(&self) -> bool {
        let told = self.told.lock().unwrap();
        let mut events = told.beacons.iter().flat_map(|beacon| &beacon.events);
        events.any(|event| matches!(&event.what, What::Error(error) if error.fatal))
    }

    pub fn last(&self) -> Option<Beacon> {
        self.told.lock().unwrap().beacons.last().cloned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its pipe is how it is told to go.
        drop(self.child.stdin.take());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // Gone already, if all is well; else with everything that it has started.
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The pipe for debugging serves for one thing: a Chromium whose pipe closes ends by itself, also after a kill -9 here.
fn start(profile: &tempfile::TempDir, page: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$@" 3<&0 4>/dev/null"#, "sh"]).arg(program());
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-pipe"]);
    // Containers give /dev/shm 64 MiB, which is not enough for it.
    command.args(["--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]);
    // It asks nobody for anything: no updates, no reports, no first run.
    command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
    command.args(["--disable-breakpad", "--disable-sync", "--disable-extensions"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).arg(page);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = |name| std::env::split_paths(&path).map(move |dir| dir.join(name)).find(|file| file.is_file());
    NAMES.into_iter().find_map(named).expect("there is a Chromium; `make deps` installs it")
}

fn answer(request: Request, told: &Mutex<Told>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/player.html") => Response::ok("text/html; charset=utf-8", include_bytes!("player.html").as_slice()),
        ("GET", "/player.js") => Response::ok(SCRIPT, include_bytes!("player.js").as_slice()),
        ("GET", "/cut.html") => Response::ok("text/html; charset=utf-8", include_bytes!("cut.html").as_slice()),
        ("GET", "/cut.js") => Response::ok(SCRIPT, include_bytes!("cut.js").as_slice()),
        ("GET", "/hls.min.js") => {
            Response::ok(SCRIPT, include_bytes!("../../../ui/vendor/hls.js/hls.min.js").as_slice())
        }
        ("POST", "/report") => {
            let mut told = told.lock().unwrap();
            match serde_json::from_slice(&request.body) {
                Ok(report) => told.report = Some(report),
                Err(error) => told.misunderstood.push(error.to_string()),
            }
            Response::ok("text/plain", Vec::new())
        }
        ("POST", path) => {
            let mut told = told.lock().unwrap();
            match path.strip_prefix("/picture/").and_then(|date| date.parse().ok()) {
                Some(date) => told.pictures.push(Picture { date, png: request.body }),
                None => told.note(String::from_utf8_lossy(&request.body).into_owned()),
            }
            Response::ok("text/plain", Vec::new())
        }
        _ => Response::not_found(),
    }
}
