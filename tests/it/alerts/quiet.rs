//! An hour in which nothing is wrong, at the pace of life: three nodes record, copy from each other, cut, publish and scrub,
//! and no alert fires.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use segvault::clock::Clock;
use segvault::rehearsal::{ReelSpec, Rendition, Source, SourceSpec};
use serde_json::{Value, json};

use super::prometheus::{Alerts, Prometheus};
use super::{RULES, Ward, on_its_own_disk};
use crate::jobs;
use crate::postgres::Postgres;
use crate::support::{eventually, quality, reel, run, segvault, stored};

/// `QUIET_MINUTES` says it otherwise.
const MINUTES: u64 = 60;
/// What deploy/prometheus/prometheus.yaml says.
const SCRAPE_SECONDS: u64 = 15;
/// Each has a disk of its own, so that what else this machine writes is not foreseen to fill it: 50 kB/s, for a day.
const DISK_MB: u32 = 4096;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// An editor looks at what was just on air; and now and then it becomes a video.
const CUT_EVERY: Duration = Duration::from_secs(60);
const PUBLISH_EVERY: Duration = Duration::from_secs(600);
/// By hand, beside the nodes' own.
const SCRUB_EVERY: Duration = Duration::from_secs(900);
/// The record is no younger before there is something to cut.
const FIRST_CUT: Duration = Duration::from_secs(90);
/// How far back a cut begins and ends, in seconds.
const CUT_FROM: i64 = 70;
const CUT_TO: i64 = 50;

/// Says when something is due, again and again.
struct Due {
    at: Duration,
    every: Duration,
}

impl Due {
    fn first(at: Duration, every: Duration) -> Self {
        Self { at, every }
    }

    fn is(&mut self, now: Duration) -> bool {
        let is_due = now >= self.at;
        while self.at <= now {
            self.at += self.every;
        }
        is_due
    }
}

/// What was just on air, as a cut's start and end.
fn lately() -> (String, String) {
    let now = Clock::system().now();
    let ago = |seconds: i64| now.plus_micros(-seconds * 1_000_000).to_string();
    (ago(CUT_FROM), ago(CUT_TO))
}

#[test]
#[ignore = "an hour, or QUIET_MINUTES; `make soak`"]
fn soak_a_quiet_hour_fires_nothing() {
    let minutes = std::env::var("QUIET_MINUTES").map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let length = Duration::from_secs(minutes * 60);
    let spec = ReelSpec {
        renditions: vec![
            Rendition::new(quality("source"), 320, 180, 300_000),
            Rendition::new(quality("90p"), 160, 90, 100_000),
        ],
        ..ReelSpec::default()
    };
    let source = Source::start(SourceSpec { window_segments: 30, ..SourceSpec::prepared(reel(&spec, 60)) }).unwrap();
    let server = Postgres::start();
    let mut ward = Ward::new();
    // They find each other in the database.
    let shared = format!("[database]\nurl = {:?}\n[scrub]\nwithin = \"1h\"\n", server.new_database());
    let channel = format!("[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\", \"90p\"]\n", source.url());
    let editors = format!("{shared}{channel}[events]\nupload_locations = [\"local\"]\n");
    let place = format!(
        "[upload.local]\ntype = \"local\"\npath = {:?}\nurl_prefix = \"http://v.test/\"\n",
        ward.base("videos")
    );
    let insides = [
        ("edits", editors),
        ("cuts", format!("{shared}{channel}{place}")),
        ("copies", format!("{shared}[backfill]\nchannels = [\"ch\"]\n")),
    ]
    .map(|(name, more)| (name, on_its_own_disk(&mut ward, name, DISK_MB, &more)));
    let base = |name: &str| insides.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    eventually("the schema is there", || (ward.node("edits").get("/thrimshim").status == 200).then_some(()));

    let rules = fs::read_to_string(RULES).unwrap();
    let prometheus = Prometheus::start(ward.dir.path(), &rules, &ward.targets, SCRAPE_SECONDS);
    eventually("all are asked", || (prometheus.healthy() == ward.targets.len()).then_some(()));
    let began = Instant::now();
    let mut waited: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut cut = Due::first(FIRST_CUT, CUT_EVERY);
    let mut publish = Due::first(FIRST_CUT, PUBLISH_EVERY);
    let mut scrub = Due::first(FIRST_CUT, SCRUB_EVERY);
    let (mut cuts, mut events, mut scrubs) = (0, Vec::new(), 0);
    while began.elapsed() < length {
        let firing = prometheus.firing();
        assert_eq!(firing, Alerts::new(), "after {:?}; waited before: {waited:?}", began.elapsed());
        for alert in prometheus.pending() {
            *waited.entry(alert).or_default() += 1;
        }
        let (start, end) = lately();
        if cut.is(began.elapsed()) {
            let reply = ward.node("edits").get(&format!("/cut/ch/source.ts?start={start}&end={end}&type=smart"));
            assert!(reply.status == 200 && reply.complete && !reply.body.is_empty(), "{}", reply.text());
            cuts += 1;
        }
        if publish.is(began.elapsed()) {
            let id = format!("e{}", events.len());
            jobs::file(ward.node("edits"), &id, &[(&start, &end)], &json!({ "video_quality": "source" }));
            events.push(id);
        }
        if scrub.is(began.elapsed()) {
            let (code, _, said) = run(segvault().arg("scrub").arg("--dir").arg(base("copies")));
            assert_eq!(code, 0, "{said}");
            scrubs += 1;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    assert_eq!(prometheus.fired(), Alerts::new());
    assert_eq!(prometheus.healthy(), ward.targets.len());
    assert!(prometheus.rules().len() > 20, "{:?}", prometheus.rules());

    // It was no hour in which nothing happened.
    for id in &events {
        jobs::wait_for(ward.node("edits"), id, "DONE");
    }
    for name in ["source", "90p"] {
        // The last seconds may be on their way.
        let due = (length.as_secs() as usize).saturating_sub(20) / 2;
        for (node, base) in &insides {
            let have = stored(base, "ch", name).len();
            assert!(have >= due, "{node} has {have} segments of {name}, of {due} at least");
        }
    }
    for name in ["edits", "cuts"] {
        let losses: Value = ward.node(name).get("/losses/ch/source").json();
        assert_eq!(losses, json!([]), "{name}");
    }
    println!(
        "{minutes} minutes: {} rules looked at every {SCRAPE_SECONDS} s, none fired; {cuts} cuts, {} videos, {scrubs} scrubs by hand; \
         waiting for a while, in looks: {waited:?}",
        prometheus.rules().len(),
        events.len()
    );
    assert!(length < Duration::from_secs(180) || (cuts > 0 && !events.is_empty() && scrubs > 0));
    ward.nodes.into_iter().for_each(|(_, node)| node.stop());
}
