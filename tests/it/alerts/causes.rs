//! What makes nodes ill.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use segvault::clock::Clock;
use serde_json::json;

use super::Ward;
use super::prometheus::Target;
use crate::replicate::static_peer::Lie;
use crate::replicate::{HOUR, StaticPeer, plant_segment};
use crate::support::{eventually, free_address, run, segvault, try_get};

/// Twice as many lines as a log holds that nobody reads (`QUEUED_LINES`), and a pipe.
const REFUSED_CUTS: usize = 20_000;
/// Twice as many holes as the ledger keeps while the disk refuses it (`MOST_KEPT`).
const HOLES: usize = 20_000;

/// Files that take the scrubber eight minutes, of which those after the first went bad; and no round has ended for fifty days.
pub fn plant_rot(base: &Path) {
    let dir = base.join("ch/source").join(HOUR);
    for number in 0..160u8 {
        let offset = format!("{:02}:{:02}.0", number / 30, number % 30 * 2);
        let name = plant_segment(&dir, &offset, "full", &vec![number; 192 << 10]);
        if number > 20 {
            fs::write(dir.join(name), vec![0; 192 << 10]).unwrap();
        }
    }
    let began = Clock::system().now().micros() - 50 * 86400 * 1_000_000;
    let state = json!({
        "unchecked_since_micros": null,
        "round": { "began_micros": began, "ended_micros": null, "done": null, "bytes": 0 },
    });
    fs::create_dir_all(base.join(".segvault")).unwrap();
    fs::write(base.join(".segvault/scrub.json"), state.to_string()).unwrap();
}

pub fn some_segments(base: &Path) {
    let dir = base.join("ch/source").join(HOUR);
    for number in 0..5u8 {
        plant_segment(&dir, &format!("00:{:02}.0", number * 2), "full", &[number; 5000]);
    }
}

/// With the clock so many seconds ahead.
pub fn ahead(command: &mut Command, seconds: i64, file: &Path) {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    let library = places.iter().map(|place| Path::new(place).join("libfaketimeMT.so.1")).find(|path| path.exists());
    fs::write(file, format!("{seconds:+}")).unwrap();
    command.env("LD_PRELOAD", library.expect("libfaketime is missing; `make deps` installs it"));
    command.env("FAKETIME_TIMESTAMP_FILE", file);
    for setting in ["FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT", "FAKETIME_NO_CACHE"] {
        command.env(setting, "1");
    }
}

/// A certificate for a day.
pub fn short_certificate(dir: &Path) -> String {
    let (key, certificate) = (dir.join("day.key"), dir.join("day.crt"));
    let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost";
    let mut command = Command::new("openssl");
    let (code, _, said) = run(command.args(args.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    assert_eq!(code, 0, "{said}");
    format!("[http]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}

/// A token that says when it expires. Nobody asks for its signature here.
pub fn short_token(dir: &Path) -> PathBuf {
    let expires = Clock::system().now().micros() / 1_000_000 + 600;
    let part = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.x", part("{}".into()), part(json!({ "exp": expires }).to_string()));
    let file = dir.join("token");
    fs::write(&file, token).unwrap();
    file
}

/// A node whose log nobody reads, asked for cuts that it refuses, each with a line of its own.
pub struct Mute {
    child: Child,
    is_over: Arc<AtomicBool>,
}

impl Mute {
    pub fn start(ward: &mut Ward) -> Self {
        let (base, address) = (ward.base("mute"), free_address());
        some_segments(&base);
        let mut command = segvault();
        command.args(["run", "--set", &format!("node.dir={base:?}"), "--set", "node.name=mute"]);
        command.args(["--set", &format!("node.listen={address:?}"), "--set", "log.format=json"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mute = Self { child, is_over: Arc::default() };
        eventually("it is up", || try_get(&address, "/healthz").filter(|reply| reply.status == 200));
        ward.targets.push(Target { name: "mute", address, over_tls: false });
        mute
    }

    pub fn make_it_talk(&self, address: &str) {
        let (address, is_over) = (address.to_owned(), Arc::clone(&self.is_over));
        std::thread::spawn(move || {
            for _ in 0..REFUSED_CUTS {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                try_get(&address, "/cut/ch/source.ts?start=2026-01-02T03:04:05&end=2026-01-02T03:04:06");
            }
        });
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk that is filled: a little at a time at first, then all of it.
pub fn fill(inside: &Path, from_then_on: Duration, is_over: &Arc<AtomicBool>) {
    let (filler, is_over, began) = (inside.join("filler"), Arc::clone(is_over), Instant::now());
    std::thread::spawn(move || {
        let Ok(mut file) = fs::File::create(filler) else { return };
        while !is_over.load(Ordering::Relaxed) {
            let piece = if began.elapsed() < from_then_on { 64 << 10 } else { 1 << 20 };
            // Full is what is wanted.
            let _ = file.write_all(&vec![0; piece]);
            std::thread::sleep(Duration::from_millis(500));
        }
    });
}

/// A source of which nothing can be recorded, and each segment is a hole of its own: at first one, and then all that there are.
pub fn holes(dir: &Path, are_all_there: &Arc<AtomicBool>) -> StaticPeer {
    fs::create_dir(dir).unwrap();
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\"\n";
    let (are_all_there, began) = (Arc::clone(are_all_there), Clock::system().now().plus_micros(-7_200_000_000));
    StaticPeer::lying(dir, move |path| {
        let count = if are_all_there.load(Ordering::Relaxed) { HOLES } else { 1 };
        let mut list = head.to_owned();
        for number in 0..count {
            let start = began.plus_micros(number as i64 * 200_000);
            let _ = write!(list, "#EXT-X-PROGRAM-DATE-TIME:{start}Z\n#EXTINF:0.1,\n{number}.ts\n");
        }
        (path == "/live.m3u8").then(|| Lie::Body(list.into_bytes()))
    })
}
