//! Three nodes and whatever can happen to them, in an order that a seed decides: segments come, get lost and rot, are
//! hidden and deleted; nodes are killed, cut off from each other, and their clocks step. Afterwards all three must hold the
//! same: everything that was not hidden, nothing that was, and no wrong byte.
//!
//! `SEGVAULT_SEED=N` plays one again, `STORM_OPERATIONS=N` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::hash_text;
use crate::dice::{Dice, seed};
use crate::support::{NodeProcess, run, segvault, try_get};

const NODES: usize = 3;
const HOURS: [&str; 3] = ["2026-01-02T03", "2026-01-02T04", "2026-01-03T00"];
const QUALITIES: [&str; 2] = ["source", "480p"];
/// A storm ends in the same state on all nodes, at the latest so long after everything is well again.
const HEALED_WITHIN: Duration = Duration::from_secs(180);

/// A way from one node to another, which can be cut.
struct Link {
    address: String,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (cut, connections) = (Arc::clone(&is_cut), Arc::clone(&open));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else { continue };
                for (mut from, mut to) in [(&client, &server), (&server, &client)].map(|(from, to)| {
                    connections.lock().unwrap().push(from.try_clone().unwrap());
                    (from.try_clone().unwrap(), to.try_clone().unwrap())
                }) {
                    std::thread::spawn(move || {
                        // Whichever side ends, the other one is told.
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, is_cut, open }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn heal(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

/// A node, running or not.
struct Place {
    base: PathBuf,
    address: String,
    /// Where it finds the others.
    links: Vec<Link>,
    /// How far its clock is off, for its next look: a file that the clock is read from.
    clock: PathBuf,
    process: Option<NodeProcess>,
}

impl Place {
    fn start(&mut self) {
        let peers: Vec<String> = self.links.iter().map(|link| format!("http://{}", link.address)).collect();
        let more = format!("[backfill]\npeers = {peers:?}\nchannels = [\"ch\"]\ninterval = \"1s\"\n");
        let (address, clock) = (&self.address, &self.clock);
        self.process = Some(NodeProcess::start_with(&self.base, &more, |command| {
            command.args(["--set", &format!("node.listen={address:?}")]);
            if let Some(library) = clock_library() {
                command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
                // Durations stay true, and so do the times of files; only what o'clock it is does not.
                for setting in ["FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT", "FAKETIME_NO_CACHE"] {
                    command.env(setting, "1");
                }
            }
        }));
    }

    /// As power does.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("-KILL");
            process.wait();
        }
    }

    fn path(&self, segment: &str) -> PathBuf {
        self.base.join("ch").join(segment)
    }

    fn holds_intact(&self, segment: &str) -> bool {
        fs::read(self.path(segment)).is_ok_and(|bytes| segment.ends_with(&format!("{}.ts", hash_text(&bytes))))
    }

    fn step_clock(&self, seconds: i64) {
        fs::write(&self.clock, format!("{seconds:+}")).unwrap();
    }
}

/// libfaketime, which `make deps` installs.
fn clock_library() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    places.iter().map(|place| Path::new(place).join("libfaketimeMT.so.1")).find(|library| library.exists())
}

struct Storm {
    dice: Dice,
    places: Vec<Place>,
    /// QUALITY/HOUR/NAME of all that there ever was.
    segments: Vec<String>,
    hidden: BTreeSet<String>,
    counts: BTreeMap<&'static str, usize>,
    made: u64,
}

impl Storm {
    fn new(dir: &Path, seed: u64) -> Self {
        // Nobody else is likely to get these between now and the nodes' start.
        let listeners: Vec<TcpListener> = (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<String> = listeners.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
        drop(listeners);
        let place = |at: usize| Place {
            base: dir.join(format!("node-{at}")),
            address: addresses[at].clone(),
            links: (0..NODES).filter(|to| *to != at).map(|to| Link::to(addresses[to].clone())).collect(),
            clock: dir.join(format!("clock-{at}")),
            process: None,
        };
        let mut places: Vec<Place> = (0..NODES).map(place).collect();
        for place in &mut places {
            place.step_clock(0);
            place.start();
        }
        let dice = Dice::new(seed);
        Self { dice, places, segments: Vec::new(), hidden: BTreeSet::new(), counts: BTreeMap::new(), made: 0 }
    }

    fn operation(&mut self) {
        let at = self.dice.below(NODES as u64) as usize;
        let what = match self.dice.below(100) {
            0..40 => self.add(at),
            40..55 => self.lose(at),
            55..65 => self.rot(at),
            65..75 => self.hide(at),
            75..80 => self.delete_hidden(at),
            80..88 => self.kill_or_start(at),
            88..96 => self.cut_or_heal(at),
            96..98 => self.step_clock(at),
            _ => self.ask_for_hidden(at),
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn add(&mut self, at: usize) -> &'static str {
        self.made += 1;
        let size = 200 + self.dice.below(4000);
        let mut bytes: Vec<u8> = self.made.to_le_bytes().to_vec();
        bytes.extend((0..size).map(|_| self.dice.roll() as u8));
        let second = self.dice.below(3600);
        let kind = *self.dice.of(&["full", "full", "full", "suspect", "partial"]);
        let (quality, hour) = (*self.dice.of(&QUALITIES), *self.dice.of(&HOURS));
        let name =
            format!("{:02}:{:02}.{:06}-2.0-{kind}-{}.ts", second / 60, second % 60, self.made, hash_text(&bytes));
        let segment = format!("{quality}/{hour}/{name}");
        let path = self.places[at].path(&segment);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temp = path.with_file_name(format!(".{}", self.made));
        fs::write(&temp, bytes).unwrap();
        fs::rename(temp, path).unwrap();
        self.segments.push(segment);
        "add"
    }

    /// A segment that another node holds as well, so that it can come back.
    fn one_of_several(&mut self, at: usize) -> Option<String> {
        if self.segments.is_empty() {
            return None;
        }
        let segment = self.dice.of(&self.segments).clone();
        let is_elsewhere = (0..NODES).any(|other| other != at && self.places[other].holds_intact(&segment));
        (is_elsewhere && !self.hidden.contains(&segment) && self.places[at].path(&segment).exists()).then_some(segment)
    }

    fn lose(&mut self, at: usize) -> &'static str {
        let Some(segment) = self.one_of_several(at) else { return "nothing to lose" };
        fs::remove_file(self.places[at].path(&segment)).unwrap();
        "lose"
    }

    /// A bit turns over, and no clock tells.
    fn rot(&mut self, at: usize) -> &'static str {
        let Some(segment) = self.one_of_several(at) else { return "nothing to rot" };
        let file = fs::File::options().read(true).write(true).open(self.places[at].path(&segment)).unwrap();
        let (changed, offset) = (file.metadata().unwrap().modified().unwrap(), self.dice.below(200));
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        file.set_modified(changed).unwrap();
        "rot"
    }

    fn hide(&mut self, at: usize) -> &'static str {
        // Not too many, or little is left at the end.
        if self.segments.is_empty() || self.hidden.len() * 5 > self.segments.len() {
            return "nothing to hide";
        }
        let segment = self.dice.of(&self.segments).clone();
        let path = self.places[at].path(&segment);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("tombstone"), "").unwrap();
        self.hidden.insert(segment);
        "hide"
    }

    fn delete_hidden(&mut self, at: usize) -> &'static str {
        let hidden: Vec<String> = self.hidden.iter().cloned().collect();
        if hidden.is_empty() {
            return "nothing to delete";
        }
        let path = self.places[at].path(self.dice.of::<String>(&hidden));
        if path.with_extension("tombstone").exists() && fs::remove_file(path).is_ok() { "delete" } else { "no bytes" }
    }

    fn kill_or_start(&mut self, at: usize) -> &'static str {
        if self.places[at].process.is_some() {
            self.places[at].kill();
            "kill"
        } else {
            self.places[at].start();
            "start"
        }
    }

    fn cut_or_heal(&mut self, at: usize) -> &'static str {
        let way = self.dice.below(NODES as u64 - 1) as usize;
        let link = &self.places[at].links[way];
        if link.is_cut.load(Ordering::SeqCst) {
            link.heal();
            "heal"
        } else {
            link.cut();
            "cut"
        }
    }

    fn step_clock(&mut self, at: usize) -> &'static str {
        let seconds = *self.dice.of(&[-86_400, -3600, -61, -1, 0, 1, 61, 3600, 86_400]);
        self.places[at].step_clock(seconds);
        "clock"
    }

    /// What is hidden here is served here to nobody.
    fn ask_for_hidden(&mut self, at: usize) -> &'static str {
        let place = &self.places[at];
        let hidden: Vec<&String> =
            self.hidden.iter().filter(|one| place.path(one).with_extension("tombstone").exists()).collect();
        if hidden.is_empty() || place.process.is_none() {
            return "nothing to ask for";
        }
        let segment = *self.dice.of(&hidden);
        if let Some(reply) = try_get(&place.address, &format!("/segments/ch/{segment}")) {
            assert!(matches!(reply.status, 404 | 410), "{segment} is hidden, and the answer is {}", reply.status);
        }
        "ask"
    }

    fn calm_down(&mut self) {
        for place in &mut self.places {
            place.links.iter().for_each(Link::heal);
            place.step_clock(0);
            if place.process.is_none() {
                place.start();
            }
        }
        // What rotted is found by whoever looks at all of it.
        for place in &self.places {
            let (code, out, errors) = run(segvault().args(["scrub", "--dir"]).arg(&place.base));
            assert!(code == 0 || code == 1, "{code}: {out} {errors}");
        }
    }

    /// What is wrong yet, if anything.
    fn difference(&self) -> Option<String> {
        let expected: BTreeSet<&String> = self.segments.iter().filter(|one| !self.hidden.contains(*one)).collect();
        let mut wrong = String::new();
        for (at, place) in self.places.iter().enumerate() {
            for segment in &expected {
                if !place.holds_intact(segment) {
                    let is_there = if place.path(segment).exists() { "is wrong" } else { "is missing" };
                    let _ = writeln!(wrong, "node {at}: {segment} {is_there}");
                }
            }
            for segment in &self.hidden {
                if !place.path(segment).with_extension("tombstone").exists() {
                    let _ = writeln!(wrong, "node {at}: {segment} is not hidden");
                }
            }
        }
        (!wrong.is_empty()).then_some(wrong)
    }

    /// What each serves is what there should be.
    fn assert_served(&self) {
        for place in &self.places {
            let mut served = BTreeSet::new();
            for quality in QUALITIES {
                for hour in HOURS {
                    let names = try_get(&place.address, &format!("/files/ch/{quality}/{hour}")).unwrap().json();
                    let names: Vec<String> = serde_json::from_value(names).unwrap();
                    served.extend(names.into_iter().map(|name| format!("{quality}/{hour}/{name}")));
                }
            }
            let expected: BTreeSet<String> =
                self.segments.iter().filter(|one| !self.hidden.contains(*one)).cloned().collect();
            assert_eq!(served, expected, "{}", place.base.display());
            for segment in &self.hidden {
                let reply = try_get(&place.address, &format!("/segments/ch/{segment}")).unwrap();
                assert!(matches!(reply.status, 404 | 410), "{segment} is hidden, and the answer is {}", reply.status);
            }
        }
    }
}

fn play(operations: usize) {
    let seed = seed(1);
    assert!(clock_library().is_some(), "libfaketime is missing; `make deps` installs it");
    let dir = tempfile::tempdir().unwrap();
    let mut storm = Storm::new(dir.path(), seed);
    let began = Instant::now();
    for _ in 0..operations {
        storm.operation();
        std::thread::sleep(Duration::from_millis(storm.dice.below(40)));
    }
    println!("{operations} operations in {:.1} s: {:?}", began.elapsed().as_secs_f64(), storm.counts);
    let calm = Instant::now();
    storm.calm_down();
    while let Some(wrong) = storm.difference() {
        assert!(calm.elapsed() < HEALED_WITHIN, "SEGVAULT_SEED={seed}: not healed:\n{wrong}");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!(
        "the same on all nodes after {:.1} s: {} segments, {} hidden",
        calm.elapsed().as_secs_f64(),
        storm.segments.len() - storm.hidden.len(),
        storm.hidden.len()
    );
    storm.assert_served();
    storm.places.into_iter().for_each(|place| place.process.unwrap().stop());
}

#[test]
fn after_a_storm_all_nodes_are_the_same() {
    play(150);
}

#[test]
#[ignore = "minutes; `make soak`"]
fn soak_after_a_thousand_operations_all_nodes_are_the_same() {
    play(std::env::var("STORM_OPERATIONS").map_or(1000, |operations| operations.parse().unwrap()));
}
