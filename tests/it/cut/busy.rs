//! A node that records while ten cuts are made without a pause.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use segvault::rehearsal::barcode;

use super::matrix_reels::KINDS;
use crate::record::assert_all_recorded;
use crate::replicate::plant_segment;
use crate::support::{NodeProcess, Reply, small_spec, source};

const AT_ONCE: usize = 10;
const LIVE_SECONDS: u64 = 40;
const TYPES: [&str; 5] = ["smart", "mp4", "mpegts", "smart", "rough"];
/// Whoever watches a node asks for its metrics more rarely.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The node records only, for comparison.
const ALONE: Duration = Duration::from_secs(10);
const METRICS_WITHIN: Duration = Duration::from_millis(100);
/// Beside the one that is cut from and the one that is recorded.
const CHECKED_CHANNELS: usize = 4;
const CHECKED_HOURS: usize = 4;

#[test]
#[ignore = "takes most of a minute; run by `make soak`"]
fn soak_ten_cuts_at_once_cost_recording_nothing() {
    let film = KINDS[0].film();
    let base = film.source.record.layout.base().to_owned();
    std::fs::rename(base.join("ch"), base.join("film")).unwrap();
    let qualities = ["source", "90p"];
    let live = source(&small_spec(), LIVE_SECONDS, 1);
    let node = NodeProcess::start(&base, &[("ch", &live.url(), &qualities)]);

    let (first, until) = (41, 309);
    let range = format!("start={}&end={}", film.source.frame(first), film.source.frame(until));
    let alone = look(&node, ALONE, &["/metrics"]);
    let (waits, cuts) = while_ten_cut(&node, &range, first..until, || {
        look(&node, Duration::from_secs(LIVE_SECONDS) - ALONE, &["/metrics"])
    });
    let (p99, most) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    println!("{cuts} cuts; /metrics {} times: p99 {p99:?}, most {most:?}", waits.len());
    println!("without cuts: p99 {:?}, most {:?}", alone[alone.len() * 99 / 100], alone[alone.len() - 1]);
    // Half a second each; the first ones may have left the playlist before the node was up.
    assert_all_recorded(&node, &live, &qualities, LIVE_SECONDS as usize * 2, LIVE_SECONDS as usize * 2 - 10);
    // Where others than cuts keep the machine busy, it cannot be told.
    let within = METRICS_WITHIN.max(alone[alone.len() - 1] * 3);
    assert!(most <= within, "{most:?}, not {within:?}");
    node.stop();
}

/// A node has all of its duties at once: it records, checks how much of each channel is there, reads what is stored, and cuts.
#[test]
#[ignore = "takes a minute; run by `make soak`"]
fn soak_probes_answer_within_100_ms_while_all_is_checked_cut_and_scrubbed() {
    let film = KINDS[0].film();
    let base = film.source.record.layout.base().to_owned();
    std::fs::rename(base.join("ch"), base.join("film")).unwrap();
    for number in 0..CHECKED_CHANNELS {
        for hour in 0..CHECKED_HOURS {
            plant_hour(&base.join(format!("checked-{number}/source/2026-01-02T{hour:02}")), 0..1800, 64);
        }
    }
    // What the scrubber is at for all of the time.
    plant_hour(&base.join("large/source/2026-01-02T03"), 0..200, 1 << 20);
    let live = source(&small_spec(), LIVE_SECONDS * 2, 1);
    let more = format!(
        "[coverage]\ninterval = \"1s\"\n[scrub]\nmax_rate = \"2MiB\"\n[[channel]]\nname = \"ch\"\nhls = {:?}\n\
         qualities = [\"source\", \"90p\"]\n",
        live.url()
    );
    // Nobody is at these addresses; what there is of them is checked all the same.
    let checked = (0..CHECKED_CHANNELS)
        .map(|number| format!("[[channel]]\nname = \"checked-{number}\"\nhls = \"http://127.0.0.1:9/live.m3u8\"\n"));
    let node = NodeProcess::start_with(&base, &(more + &checked.collect::<String>()), |_| {});
    let probes = ["/metrics", "/healthz"];
    let alone = look(&node, ALONE, &probes);
    let (first, until) = (41, 309);
    let range = format!("start={}&end={}", film.source.frame(first), film.source.frame(until));
    let is_over = AtomicBool::new(false);
    let (waits, cuts) = std::thread::scope(|scope| {
        // Hours that change are computed again.
        scope.spawn(|| {
            for turn in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (channel, hour) = (turn % CHECKED_CHANNELS, turn / CHECKED_CHANNELS % CHECKED_HOURS);
                let dir = base.join(format!("checked-{channel}/source/2026-01-02T{hour:02}"));
                let second = 3 + turn as u64 % 3500;
                plant_segment(&dir, &format!("{:02}:{:02}.5", second / 60, second % 60), "full", &turn.to_be_bytes());
                std::thread::sleep(LOOK_EVERY);
            }
        });
        let told =
            while_ten_cut(&node, &range, first..until, || look(&node, Duration::from_secs(LIVE_SECONDS), &probes));
        is_over.store(true, Ordering::Relaxed);
        told
    });
    let (p99, most) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    let p99_alone = alone[alone.len() * 99 / 100];
    println!(
        "{cuts} cuts; {probes:?} {} times: p99 {p99:?}, most {most:?}; without cuts: p99 {p99_alone:?}",
        waits.len()
    );
    let metrics = node.get("/metrics").text();
    let of = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(of("segvault_scrub_left_bytes ") > 0.0 && of("segvault_scrub_bytes_total ") > 0.0, "it was scrubbing");
    assert!(of("segvault_coverage_missing_seconds{channel=\"checked-0\"").is_finite(), "it was checking");
    assert_eq!(of("segvault_record_lost_seconds_total{cause=\"disk\""), 0.0);
    let within = METRICS_WITHIN.max(p99_alone * 3);
    assert!(p99 <= within, "{p99:?}, not {within:?}");
    node.stop();
}

/// Segments of two seconds each, of so many bytes.
fn plant_hour(dir: &Path, numbers: std::ops::Range<u32>, size: usize) {
    for number in numbers {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let second = number * 2;
        plant_segment(dir, &format!("{:02}:{:02}.0", second / 60, second % 60), "full", &bytes);
    }
}

/// Makes ten cuts at once, again and again, for as long as the work takes; what comes of it, and how many cuts were made.
fn while_ten_cut<R>(
    node: &NodeProcess,
    range: &str,
    frames: std::ops::Range<usize>,
    work: impl FnOnce() -> R,
) -> (R, usize) {
    let (is_over, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done = std::thread::scope(|scope| {
        for client in 0..AT_ONCE {
            let (is_over, cuts, frames) = (&is_over, &cuts, frames.clone());
            scope.spawn(move || {
                for turn in client.. {
                    let cut_type = TYPES[turn % TYPES.len()];
                    let cut = node.get(&format!("/cut/film/source.ts?type={cut_type}&{range}"));
                    assert_eq!((cut.status, cut.complete), (200, true), "{cut_type}: {}", cut.text());
                    if turn == client && cut_type != "rough" {
                        assert_shows_all(&cut, frames.clone());
                    }
                    cuts.fetch_add(1, Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    });
    (done, cuts.into_inner())
}

/// How long each answer took, sorted.
fn look(node: &NodeProcess, duration: Duration, paths: &[&str]) -> Vec<Duration> {
    let (began, mut waits) = (Instant::now(), Vec::new());
    while began.elapsed() < duration {
        for path in paths {
            let asked = Instant::now();
            let answer = node.get(path);
            waits.push(asked.elapsed());
            assert_eq!((answer.status, answer.complete), (200, true), "{path}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    waits.sort_unstable();
    waits
}

fn assert_shows_all(cut: &Reply, frames: std::ops::Range<usize>) {
    let shown = barcode::read_bytes(&cut.body).unwrap();
    assert!(shown.into_iter().map(|number| number as usize).eq(frames.clone()), "not {frames:?}");
}
