//! The origin and the node that records it; and a scenario as it happens there: holes that are filled, a restart.
//!
//! Promises: what is due happens when it is asked to act, once, and is noted.
//! Never: knows of a player.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use segvault::clock::Clock;
use segvault::model::{SegmentHash, SegmentKind, SegmentName};
use sha2::{Digest, Sha256};

use super::Scenario;
use super::account::{Away, ms};
use super::origin::{Origin, Plan, WINDOW};
use crate::support::{NodeProcess, eventually, stored};

/// How long nobody answers during a restart. hls.js gives a media playlist up for good after 3 s without an answer.
const AWAY: Duration = Duration::from_millis(1600);
/// A player asks again at intervals that grow; this long after the node's return it has noticed.
const NOTICED_AFTER: Duration = Duration::from_secs(5);
const MASTER: &str = "/playlist/ch.m3u8";

/// A node that records a stream without faults.
pub struct Set {
    pub origin: Origin,
    node: NodeProcess,
    address: String,
    media_path: String,
    base: PathBuf,
    _dir: tempfile::TempDir,
}

impl Set {
    /// Of a stream of at least so many segments. Returns when there is enough for a player to begin with.
    pub fn start(segments: usize) -> Self {
        let origin = Origin::start(segments);
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        let node = record(&base, &origin, "127.0.0.1:0");
        eventually("there is enough to begin with", || {
            (stored(&base, "ch", "source").len() >= WINDOW / 2).then_some(())
        });
        let (address, media_path) = (node.url().replace("http://", ""), media_path(&node));
        Self { origin, node, address, media_path, base, _dir: dir }
    }

    /// HOST:PORT of the node, also after its restart.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the master playlist handed out at the beginning.
    pub fn media_path(&self) -> &str {
        &self.media_path
    }

    pub fn master_url(&self) -> String {
        format!("http://{}{MASTER}", self.address)
    }
}

/// The same, while a scenario happens.
pub struct Stage {
    pub set: Set,
    /// With the numbers that its segments have in this stream.
    pub scenario: Scenario,
    /// While the node was restarted.
    pub away: Option<Away>,
    /// Segments that are still to be written, and how long after they were due.
    unfilled: Vec<(usize, Duration)>,
    clock: Clock,
}

impl Stage {
    /// The scenario's first segment is the next that goes on air.
    pub fn begin(set: Set, scenario: &Scenario) -> Self {
        let scenario = scenario.shifted(set.origin.on_air());
        set.origin.follow(Plan { lost: scenario.lost(), encoding_changes: scenario.encoding_changes.clone() });
        let unfilled = scenario.filled().collect();
        Self { set, scenario, away: None, unfilled, clock: Clock::system() }
    }

    /// Does what has become due.
    pub fn act(&mut self) {
        let now = self.clock.now();
        let is_due = |number: usize, after: Duration| self.set.origin.due(number).plus(after) <= now;
        let restart_is_due = self.away.is_none() && is_due(self.scenario.restart, Duration::ZERO);
        let due: Vec<usize> =
            self.unfilled.iter().filter(|(number, after)| is_due(*number, *after)).map(|(number, _)| *number).collect();
        self.unfilled.retain(|(number, _)| !due.contains(number));
        for number in due {
            self.fill(number);
        }
        if restart_is_due {
            self.restart();
        }
    }

    /// Nothing more is going to happen.
    pub fn is_over(&self) -> bool {
        self.unfilled.is_empty() && self.away.is_some()
    }

    /// A live playlist may pass over what came too late; the record may not: whoever asks for the range gets it.
    pub fn unrecorded(&self) -> Vec<String> {
        let is_unfilled = |number: &usize| self.unfilled.iter().any(|(unfilled, _)| unfilled == number);
        let filled = self.scenario.filled().map(|(number, _)| number).filter(|number| !is_unfilled(number));
        let missing = filled.filter(|number| {
            let (start, end) = (self.set.origin.start_of(*number), self.set.origin.due(*number));
            let text = self.set.node.get(&format!("/playlist/ch/source.m3u8?start={start}&end={end}")).text();
            text.matches("#EXTINF").count() != 1
        });
        missing.map(|number| format!("segment {number} was filled and is not in its own range")).collect()
    }

    pub fn stop(self) {
        self.set.node.stop();
    }

    fn restart(&mut self) {
        let from = self.clock.now();
        self.set.node.signal("-TERM");
        assert_eq!(self.set.node.wait().code(), Some(0), "{:#?}", self.set.node.log());
        // Nobody answers for long enough that a player asks in vain.
        std::thread::sleep(AWAY);
        self.set.node = record(&self.set.base, &self.set.origin, &self.set.address);
        let back = self.clock.now();
        println!("the node was away for {:?}", back.saturating_since(from));
        self.away = Some(ms(from)..=ms(back.plus(NOTICED_AFTER)));
    }

    /// Writes a segment into the node's directory, as another recorder on the same disk would.
    fn fill(&self, number: usize) {
        let bytes = self.set.origin.bytes(number);
        let (start, duration) = (self.set.origin.start_of(number), self.set.origin.duration_micros(number));
        let hash = SegmentHash::from_bytes(Sha256::digest(&bytes).into());
        let name = SegmentName::finished(start, duration, SegmentKind::Full, hash);
        let hour = self.set.base.join("ch/source").join(name.hour().to_string());
        fs::create_dir_all(&hour).unwrap();
        let temp = hour.join(SegmentName::temp(start, duration, "another").as_str());
        let mut file = File::create(&temp).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temp, hour.join(name.as_str())).unwrap();
    }
}

fn record(base: &Path, origin: &Origin, listen: &str) -> NodeProcess {
    let channel = format!("[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\"]\n", origin.url());
    NodeProcess::start_with(base, &channel, |command| {
        command.arg("--set").arg(format!("node.listen={listen:?}"));
    })
}

/// The address that the master playlist hands out, as a player takes it.
fn media_path(node: &NodeProcess) -> String {
    let text = node.get(MASTER).text();
    let address = text.lines().find(|line| !line.starts_with('#')).unwrap_or_else(|| panic!("no address in {text}"));
    assert!(address.starts_with('/'), "{address}");
    address.to_owned()
}
