//! Long runs, for `make soak`: not part of `make test`.

use std::time::{Duration, Instant};

use segvault::rehearsal::{AtEnd, Program, ReelSpec, Rendition, Source, SourceSpec};

use crate::record::assert_all_recorded;
use crate::support::{NodeProcess, quality, reel};

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
