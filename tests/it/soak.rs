//! Long runs, for `make soak`: not part of `make test`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use segvault::model::{SegmentHash, SegmentKind};
use segvault::rehearsal::{AtEnd, Program, ReelSpec, Rendition, Source, SourceHandle, SourceSpec};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::record::assert_all_recorded;
use crate::rehearsals::rehearse;
use crate::support::{NodeProcess, PATIENCE, quality, reel, run, stored};

const TEN_MINUTES: u64 = 600;
/// What the first minute may still allocate before memory counts.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Resident memory in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time since its start, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in ticks of 10 ms: proc(5).
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
#[ignore = "takes ten minutes; run by `make soak`"]
fn soak_ten_minutes_of_two_qualities() {
    let spec = ReelSpec {
        renditions: vec![
            Rendition::new(quality("source"), 1280, 720, 6_000_000),
            Rendition::new(quality("360p"), 640, 360, 1_500_000),
        ],
        ..ReelSpec::default()
    };
    let reel = reel(&spec, TEN_MINUTES);
    let program = Program::Prepared { reel, other: None, origin: None, speed: 1, at_end: AtEnd::End };
    let source = Source::start(SourceSpec::new(program)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &source.url(), &["source", "360p"])]);
    let began = Instant::now();
    let mut resident = Vec::new();
    while began.elapsed() < Duration::from_secs(TEN_MINUTES) {
        std::thread::sleep(Duration::from_secs(1));
        if began.elapsed() > SETTLED_AFTER {
            resident.push(resident_kib(node.id()));
        }
    }
    let cpu = cpu_seconds(node.id()) / began.elapsed().as_secs_f64();
    let segments = (TEN_MINUTES / 2) as usize;
    assert_all_recorded(&node, &source, &["source", "360p"], segments, segments - 5);

    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len() as u64;
    let quarter = resident.len() / 4;
    let (first, last) = (mean(&resident[..quarter]), mean(&resident[resident.len() - quarter..]));
    let most = *resident.iter().max().unwrap();
    println!(
        "{segments} segments of each quality; resident: first quarter {first} KiB, last quarter {last} KiB, most {most} KiB; \
         processor: {:.2} % of one core",
        cpu * 100.0
    );
    assert!(most < 40 * 1024, "{most} KiB");
    assert!(last < first + first / 10, "{first} KiB grew to {last} KiB");
    assert!(cpu < 0.03, "{cpu}");
    node.stop();
}

/// How much of what the source has shown is not there, `full` and byte for byte; in µs.
fn micros_lost(node: &NodeProcess, channel: &str, name: &str, source: &SourceHandle) -> i64 {
    let kept = stored(&node.base, channel, name);
    let full = kept.iter().filter(|(name, _)| name.kind() == SegmentKind::Full);
    let full: HashSet<SegmentHash> = full.filter_map(|(name, _)| name.hash()).collect();
    let published = source.published(&quality(name));
    let lost = published.iter().filter(|one| {
        let hash = SegmentHash::from_bytes(Sha256::digest(one.stored_bytes().unwrap()).into());
        !full.contains(&hash)
    });
    lost.map(|one| one.duration_micros).sum()
}

/// Five channels of ten qualities each, in segments of two seconds.
#[test]
#[ignore = "takes five minutes; run by `make soak`"]
fn soak_fifty_qualities() {
    const CHANNELS: usize = 5;
    const FIVE_MINUTES: u64 = 300;
    let names: Vec<String> = (0..10).map(|at| format!("q{at}")).collect();
    let renditions = names.iter().map(|name| Rendition::new(quality(name), 160, 90, 100_000));
    let spec = ReelSpec { renditions: renditions.collect(), ..ReelSpec::default() };
    let reel = reel(&spec, FIVE_MINUTES);
    let start = || {
        let program = Program::Prepared { reel: reel.clone(), other: None, origin: None, speed: 1, at_end: AtEnd::End };
        Source::start(SourceSpec { window_segments: 15, ..SourceSpec::new(program) }).unwrap()
    };
    let sources: Vec<SourceHandle> = (0..CHANNELS).map(|_| start()).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut channels = String::new();
    for (at, source) in sources.iter().enumerate() {
        let _ = writeln!(channels, "[[channel]]\nname = \"ch{at}\"\nhls = {:?}\nqualities = {names:?}", source.url());
    }
    let node = NodeProcess::start_with(&dir.path().join("base"), &channels, |_| {});
    let began = Instant::now();
    let mut resident = Vec::new();
    while began.elapsed() < Duration::from_secs(FIVE_MINUTES) {
        std::thread::sleep(Duration::from_secs(1));
        if began.elapsed() > SETTLED_AFTER {
            resident.push(resident_kib(node.id()));
        }
    }
    let cpu = cpu_seconds(node.id()) / began.elapsed().as_secs_f64();
    let lost = || -> i64 {
        let each = sources.iter().enumerate().flat_map(|(at, source)| names.iter().map(move |name| (at, source, name)));
        each.map(|(at, source, name)| micros_lost(&node, &format!("ch{at}"), name, source)).sum()
    };
    // The last segments may be under way.
    let end = Instant::now() + PATIENCE;
    let lost = loop {
        let lost = lost();
        if lost == 0 || Instant::now() > end {
            break lost;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let most = *resident.iter().max().unwrap();
    println!(
        "{CHANNELS} channels of {} qualities: {} s lost of {} s; resident: most {most} KiB; processor: {:.2} % of one core",
        names.len(),
        lost as f64 / 1e6,
        CHANNELS as u64 * names.len() as u64 * FIVE_MINUTES,
        cpu * 100.0
    );
    assert_eq!(lost, 0);
    // A debug build took 32 MiB and 6.5 % of a core.
    assert!(most < 64 * 1024, "{most} KiB");
    assert!(cpu < 0.2, "{cpu}");
    node.stop();
}

/// A token that is good for a minute, and one failure in five, for ten minutes: nothing is lost, and no segment is fetched
/// to its end twice.
#[test]
#[ignore = "takes ten minutes; run by `make soak`"]
fn soak_token_expiry() {
    let mut scenario = tempfile::NamedTempFile::new().unwrap();
    write!(
        scenario,
        "[rehearsal]\nlength = \"{TEN_MINUTES}s\"\nsegment = \"2s\"\nsettle = \"60s\"\nkeep = \"120s\"\n\
         [[fault]]\nkind = \"token-expiry\"\non = \"media\"\nlifetime = \"60s\"\n\
         [[fault]]\nkind = \"status\"\nshare = \"20%\"\n"
    )
    .unwrap();
    let (code, said, errors) = run(&mut rehearse(scenario.path()));
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"));
    println!("{report:#}");
    assert_eq!(code, 0, "{report:#}");
    for quality in report["qualities"].as_array().unwrap() {
        assert_eq!((&quality["lost"], &quality["recorded"]), (&0.0.into(), &(TEN_MINUTES as f64).into()), "{report:#}");
        assert_eq!(quality["fetched_twice"], 0, "{report:#}");
    }
}
