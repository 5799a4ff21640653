//! What comparing costs where there are many nodes: reckoned, not measured, with the pure parts that a node decides by.
//!
//! Bodies are counted by writing them; the heads of a question and its answer were counted on the wire.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use segvault::model::{Channel, Day, Hour, Quality, SegmentHash, SegmentKind, SegmentName, Timestamp};
use segvault::peers::{HourNames, Reconciled, Window, plan_hour};
use segvault::select::{DayDigests, Digest, HourDigests, NodeDigests, QualityDigests};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PEERS: usize = 49;
const CHANNELS: usize = 20;
const QUALITIES: [&str; 4] = ["source", "720p60", "480p", "160p"];
const DAYS: usize = 30;
const SEGMENTS_PER_HOUR: usize = 1800;
const ROUND_SECONDS: f64 = 120.0;
/// Of a question and its answer, both directions; a 304 was counted at 519.
const HEADS_BYTES: usize = 600;

type Key = (Channel, Quality);
/// What a node shows: of each quality and hour how often it has changed.
type Record = BTreeMap<Key, BTreeMap<Hour, u32>>;

#[derive(Default, Clone, Copy)]
struct Cost {
    questions: usize,
    bytes: usize,
    hours: usize,
}

impl Cost {
    fn ask(&mut self, body_bytes: usize) {
        self.questions += 1;
        self.bytes += HEADS_BYTES + body_bytes;
    }
}

/// What one node remembers of one peer.
#[derive(Default)]
struct Memory {
    root: Option<Digest>,
    qualities: BTreeMap<Key, Reconciled>,
}

pub fn section() -> String {
    let (all, newest) = (record(), hour(DAYS * 24 - 1));
    let first = all.keys().next().unwrap().clone();
    let with = |keys: &[Key], hour: Hour| {
        let mut changed = all.clone();
        keys.iter().for_each(|key| *changed.get_mut(key).unwrap().get_mut(&hour).unwrap() += 1);
        changed
    };
    let every: Vec<Key> = all.keys().cloned().collect();
    let sizes = Sizes::new();
    // What all know of each other after a round.
    let settled = || {
        let mut memory = Memory::default();
        round(&mut memory, &all, &all, &sizes, Ends::InNothing);
        memory
    };
    let started = round(&mut Memory::default(), &all, &all, &sizes, Ends::InNothing);
    let level = round(&mut settled(), &all, &all, &sizes, Ends::InNothing);
    let one_new = round(&mut settled(), &all, &with(std::slice::from_ref(&first), hour(300)), &sizes, Ends::InNothing);
    let live = round(&mut settled(), &all, &with(&every, newest), &sizes, Ends::InYoung);
    // Away while something was deleted: it has just started, and all its peers have the tombstone.
    let stale =
        round(&mut Memory::default(), &all, &with(std::slice::from_ref(&first), hour(300)), &sizes, Ends::InNothing);
    let empty = round(&mut Memory::default(), &Record::new(), &all, &sizes, Ends::InNothing);
    let times = |cost: Cost, peers: usize| Cost {
        questions: cost.questions * peers,
        bytes: cost.bytes * peers,
        hours: cost.hours * peers,
    };
    let plus = |a: Cost, b: Cost| Cost {
        questions: a.questions + b.questions,
        bytes: a.bytes + b.bytes,
        hours: a.hours + b.hours,
    };
    let rows = [
        ("all hold the same and nothing is recorded", times(level, PEERS)),
        ("the same, the first round after its start", times(started, PEERS)),
        ("one peer has one new segment", plus(times(level, PEERS - 1), one_new)),
        ("all record all: every quality of every peer has changed", times(live, PEERS)),
        ("it was away while something was deleted, and has just started", times(stale, PEERS)),
        ("it is empty (its first round, without the segments)", times(empty, PEERS)),
    ];
    let mut text = format!(
        "\nReckoned, not measured: {} nodes that each compare with {PEERS} others, {CHANNELS} channels of {} qualities, {DAYS} days, {SEGMENTS_PER_HOUR} segments an\n\
         hour. By the parts that a node decides with; bodies as they are written, {HEADS_BYTES} bytes for the heads of a question and its\n\
         answer. What one node asks of all its peers in a round of {ROUND_SECONDS:.0} s:\n\n\
         | a node's round | questions | of these, listings of an hour | bytes | a second |\n|---|---|---|---|---|\n",
        PEERS + 1,
        QUALITIES.len(),
    );
    for (what, cost) in rows {
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            cost.questions,
            cost.hours,
            amount(cost.bytes as f64),
            amount(cost.bytes as f64 / ROUND_SECONDS)
        );
    }
    let _ = write!(
        text,
        "\nA node asks each peer for one digest of all it holds, at most twice in a round. One question for each quality would be\n\
         {} a round; one for each hour {}. While all record all, what costs is the listing of the hour that is being recorded,\n\
         of each quality and peer ({} compressed).\n",
        PEERS * CHANNELS * QUALITIES.len(),
        PEERS * CHANNELS * QUALITIES.len() * DAYS * 24,
        amount(sizes.listing as f64),
    );
    text
}

fn amount(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes >= 1e3 => format!("{:.1} KB", bytes / 1e3),
        bytes => format!("{bytes:.0} B"),
    }
}

fn hour(number: usize) -> Hour {
    let start: Timestamp = "2026-01-01T00:00:00".parse().unwrap();
    start.plus_micros(number as i64 * 3_600_000_000).hour()
}

fn record() -> Record {
    let key = |number: usize, quality: &&str| (format!("channel{number}").parse().unwrap(), quality.parse().unwrap());
    let hours: BTreeMap<Hour, u32> = (0..DAYS * 24).map(|number| (hour(number), 0)).collect();
    (0..CHANNELS)
        .flat_map(|number| QUALITIES.iter().map(move |quality| key(number, quality)))
        .map(|key| (key, hours.clone()))
        .collect()
}

/// A digest that stands for an hour in some state.
fn digest(key: &Key, hour: Hour, changes: u32) -> Digest {
    let hash = SegmentHash::from_bytes(Sha256::digest(format!("{key:?} {hour} {changes}")).into());
    Digest::of_hour([format!("00:00-{hash}.json").as_str()]).unwrap()
}

fn digests(record: &Record, key: &Key) -> HourDigests {
    let hours = record.get(key).into_iter().flatten().map(|(hour, changes)| (*hour, digest(key, *hour, *changes)));
    HourDigests::new(hours.collect(), Vec::new(), None)
}

/// How the comparison of an hour ends, once its segments are copied.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    InNothing,
    /// It is being recorded, and left to the recorder.
    InYoung,
}

/// What one round of one node with one peer costs, in the order in which a pass asks.
fn round(memory: &mut Memory, ours: &Record, theirs: &Record, sizes: &Sizes, ends: Ends) -> Cost {
    let mut cost = Cost::default();
    let shown: BTreeMap<Key, HourDigests> = theirs.keys().map(|key| (key.clone(), digests(theirs, key))).collect();
    let root = NodeDigests::new(shown.iter().map(|(key, one)| (key.clone(), one.quality.digest)).collect());
    if memory.root == Some(root.digest) {
        cost.ask(0);
    } else {
        cost.ask(root_bytes(&root));
    }
    memory.root = Some(root.digest);
    for (key, theirs) in shown {
        let ours = Arc::new(digests(ours, &key));
        let memory = memory.qualities.entry(key).or_default();
        let (known, told) = (memory.known(), theirs.quality.digest);
        // The day that changed last is asked for at once, where anything is known of the others.
        let mut early = None;
        let said = if known == Some(told) {
            memory.take(None)
        } else if ours.quality.digest == told {
            memory.take(Some(ours.quality.clone()))
        } else {
            let changed =
                theirs.quality.days.iter().filter(|(day, digest)| ours.quality.days.get(*day) != Some(*digest));
            match changed.map(|(day, _)| *day).next_back().filter(|_| known.is_some()) {
                Some(day) => {
                    cost.ask(table_bytes("hours", &theirs.day(day).hours));
                    early = Some(day);
                }
                None => cost.ask(table_bytes("days", &theirs.quality.days)),
            }
            // While it is recorded it changes between the two questions, so the second is asked, too.
            if early.is_some() && ends == Ends::InYoung {
                cost.ask(table_bytes("days", &theirs.quality.days));
            }
            memory.take(Some(theirs.quality.clone()))
        };
        let said = said.unwrap();
        if memory.is_level(&ours, &said) {
            continue;
        }
        let (mut differing, days) = memory.differing(Arc::clone(&ours), said, None);
        for day in days {
            let of_day: DayDigests = theirs.day(day);
            if early != Some(day) {
                cost.ask(table_bytes("hours", &of_day.hours));
            }
            differing.take(day, of_day);
        }
        let hours = memory.hours(&differing);
        for hour in &hours {
            cost.ask(sizes.listing);
            cost.hours += 1;
            if ends == Ends::InNothing && ours.hours.get(hour) == theirs.hours.get(hour) {
                memory.note_nothing(*hour, (ours.hours.get(hour).copied(), theirs.hours[hour]));
            }
        }
        memory.conclude(&differing, hours.len(), 0);
    }
    cost
}

fn root_bytes(root: &NodeDigests) -> usize {
    let line = |((channel, quality), digest): (&Key, &Digest)| {
        let changed = Day::of(hour(DAYS * 24 - 1)).to_string();
        (format!("{channel}/{quality}"), json!({ "digest": digest.to_string(), "changed": changed }))
    };
    let qualities: Value = root.qualities.iter().map(line).collect();
    json!({ "digest": root.digest.to_string(), "qualities": qualities }).to_string().len()
}

fn table_bytes<K: ToString>(name: &str, table: &BTreeMap<K, Digest>) -> usize {
    let table: Value = table.iter().map(|(key, digest)| (key.to_string(), digest.to_string())).collect();
    json!({ "digest": QualityDigests::new(BTreeMap::new()).digest.to_string(), name: table }).to_string().len()
}

struct Sizes {
    /// An hour's names, compressed as a node sends them.
    listing: usize,
}

impl Sizes {
    /// Of an hour in which one segment is missing here, which `plan_hour` finds.
    fn new() -> Self {
        let hour = hour(300);
        let name = |number: usize| {
            let hash = SegmentHash::from_bytes(Sha256::digest(number.to_le_bytes()).into());
            let start = hour.start().plus_micros(number as i64 * 2_000_000);
            SegmentName::finished(start, 2_000_000, SegmentKind::Full, hash).as_str().to_owned()
        };
        let names: Vec<String> = (0..SEGMENTS_PER_HOUR).map(name).collect();
        let of = |names: &[String]| HourNames::of(hour, names.iter().map(String::as_str));
        let plan = plan_hour(&of(&names[1..]), &of(&names), Window::default());
        assert_eq!((plan.fetch.len(), plan.fetch[0].as_str()), (1, &*names[0]));
        assert!(plan_hour(&of(&names), &of(&names), Window::default()).is_nothing());
        let json = serde_json::to_vec(&names).unwrap();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut encoder, &json).unwrap();
        Self { listing: encoder.finish().unwrap().len() }
    }
}
