//! A node that records while ten cuts are made without a pause.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use segvault::rehearsal::barcode;

use super::matrix_reels::KINDS;
use crate::record::assert_all_recorded;
use crate::support::{NodeProcess, Reply, small_spec, source};

const AT_ONCE: usize = 10;
const LIVE_SECONDS: u64 = 40;
const TYPES: [&str; 5] = ["smart", "mp4", "mpegts", "smart", "rough"];
/// Whoever watches a node asks for its metrics more rarely.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The node records only, for comparison.
const ALONE: Duration = Duration::from_secs(10);
const METRICS_WITHIN: Duration = Duration::from_millis(100);

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
    let (is_over, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let alone = look(&node, ALONE);
    let waits = std::thread::scope(|scope| {
        for client in 0..AT_ONCE {
            let (node, range, is_over, cuts) = (&node, &range, &is_over, &cuts);
            scope.spawn(move || {
                for turn in client.. {
                    let cut_type = TYPES[turn % TYPES.len()];
                    let cut = node.get(&format!("/cut/film/source.ts?type={cut_type}&{range}"));
                    assert_eq!((cut.status, cut.complete), (200, true), "{cut_type}: {}", cut.text());
                    if turn == client && cut_type != "rough" {
                        assert_shows_all(&cut, first..until);
                    }
                    cuts.fetch_add(1, Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let waits = look(&node, Duration::from_secs(LIVE_SECONDS) - ALONE);
        is_over.store(true, Ordering::Relaxed);
        waits
    });
    let (p99, most) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    println!("{} cuts; /metrics {} times: p99 {p99:?}, most {most:?}", cuts.into_inner(), waits.len());
    println!("without cuts: p99 {:?}, most {:?}", alone[alone.len() * 99 / 100], alone[alone.len() - 1]);
    // Half a second each; the first ones may have left the playlist before the node was up.
    assert_all_recorded(&node, &live, &qualities, LIVE_SECONDS as usize * 2, LIVE_SECONDS as usize * 2 - 10);
    // Where others than cuts keep the machine busy, it cannot be told.
    let within = METRICS_WITHIN.max(alone[alone.len() - 1] * 3);
    assert!(most <= within, "{most:?}, not {within:?}");
    node.stop();
}

/// How long each answer of /metrics took, sorted.
fn look(node: &NodeProcess, duration: Duration) -> Vec<Duration> {
    let (began, mut waits) = (Instant::now(), Vec::new());
    while began.elapsed() < duration {
        let asked = Instant::now();
        let metrics = node.get("/metrics");
        waits.push(asked.elapsed());
        assert_eq!((metrics.status, metrics.complete), (200, true));
        std::thread::sleep(LOOK_EVERY);
    }
    waits.sort_unstable();
    waits
}

fn assert_shows_all(cut: &Reply, frames: std::ops::Range<usize>) {
    let shown = barcode::read_bytes(&cut.body).unwrap();
    assert!(shown.into_iter().map(|number| number as usize).eq(frames.clone()), "not {frames:?}");
}
