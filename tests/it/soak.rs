//! Long runs, for `make soak`: not part of `make test`.

use std::time::{Duration, Instant};

use segvault::rehearsal::{AtEnd, Program, ReelSpec, Rendition, Source, SourceSpec};

use crate::gate::{Rules, gate};
use crate::internet::{assert_nothing_sent_twice, lost_seconds};
use crate::record::assert_all_recorded;
use crate::support::{NodeProcess, quality, reel, small_spec, source};

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
    let program = Program::Prepared { reel, origin: None, speed: 1, at_end: AtEnd::End };
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

#[test]
#[ignore = "takes five minutes; run by `make soak`"]
fn soak_tokens_that_expire_every_minute_while_a_fifth_of_requests_fail() {
    const SECONDS: u64 = 300;
    let source = source(&small_spec(), SECONDS, 1);
    let rules = Rules { token_life: Some(Duration::from_secs(60)), failing_percent: 20, ..Rules::default() };
    let gate = gate(&source, rules);
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &gate.url(), &["source", "90p"])]);
    std::thread::sleep(Duration::from_secs(SECONDS));
    let segments = (SECONDS * 2) as usize;
    assert_all_recorded(&node, &source, &["source", "90p"], segments, segments - 20);
    assert_eq!(lost_seconds(&node), 0.0);
    node.stop();
    assert_nothing_sent_twice(&gate);
    println!("{} requests refused for their token", gate.refused());
}

#[test]
#[ignore = "takes three minutes; run by `make soak`"]
fn soak_fifty_qualities_are_recorded_in_little_memory() {
    const SECONDS: u64 = 180;
    let spec = ReelSpec {
        renditions: vec![
            Rendition::new(quality("source"), 640, 360, 1_000_000),
            Rendition::new(quality("90p"), 640, 360, 1_000_000),
        ],
        ..ReelSpec::default()
    };
    let source = source(&spec, SECONDS, 1);
    let gate = gate(&source, Rules { copies: 50, ..Rules::default() });
    let names: Vec<String> = (0..50).map(|copy| format!("q{copy}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let url = gate.url();
    let channels: Vec<String> = (0..5).map(|channel| format!("ch{channel}")).collect();
    let of = |channel: usize| (channels[channel].as_str(), url.as_str(), &names[channel * 10..channel * 10 + 10]);
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[of(0), of(1), of(2), of(3), of(4)]);
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        std::thread::sleep(Duration::from_secs(1));
        most = most.max(resident_kib(node.id()));
    }
    let cpu = cpu_seconds(node.id()) / began.elapsed().as_secs_f64();
    let saved = node.logged("segment saved").len();
    println!("{saved} segments; resident: most {most} KiB; processor: {:.1} % of one core", cpu * 100.0);
    assert!(saved > 50 * (SECONDS as usize / 2 - 5), "{saved}");
    assert_eq!(lost_seconds(&node), 0.0);
    assert!(most < 60 * 1024, "{most} KiB");
    assert!(cpu < 0.5, "{cpu}");
    node.stop();
}
