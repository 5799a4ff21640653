//! A day of segments, scattered over nodes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::nodes::{of_peer, start};
use super::{hash_text, tree};
use crate::dice::{Dice, seed};
use crate::support::{NodeProcess, free_address};

/// How many of a hundred segments each node is given.
const GIVEN_PERCENT: u64 = 60;

fn scattered_over_three(per_hour: u64, patience: Duration) {
    let seed = seed(1);
    let mut dice = Dice::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let bases: [PathBuf; 3] = ["a", "b", "c"].map(|name| dir.path().join(name));
    let (mut given, mut all) = ([0; 3], 0);
    for hour in 0..24 {
        for at in 0..per_hour {
            let tenths = at * 36_000 / per_hour;
            let bytes = format!("{hour} {at} {seed}").repeat(20);
            let (minute, second, tenth) = (tenths / 600, tenths / 10 % 60, tenths % 10);
            let name = format!("{minute:02}:{second:02}.{tenth}-2.0-full-{}.ts", hash_text(bytes.as_bytes()));
            let places = [0, 1, 2].map(|_| dice.below(100) < GIVEN_PERCENT);
            for (node, base) in bases.iter().enumerate().filter(|(node, _)| places[*node]) {
                let hour = base.join(format!("ch/source/2026-01-02T{hour:02}"));
                std::fs::create_dir_all(&hour).unwrap();
                std::fs::write(hour.join(&name), &bytes).unwrap();
                given[node] += 1;
            }
            all += usize::from(places.contains(&true));
        }
    }
    let addresses = [free_address(), free_address(), free_address()];
    let peers = addresses.each_ref().map(|address| format!("http://{address}"));
    let began = Instant::now();
    let nodes = [0, 1, 2].map(|node| start(&bases[node], &addresses[node], &peers));
    let of_peers = |node: &NodeProcess, outcome: &str| -> f64 {
        let metric = format!("segvault_backfill_files_total{{outcome=\"{outcome}\"");
        peers.iter().map(|peer| of_peer(node, &metric, peer)).sum()
    };
    // Listing a day takes longer than asking what was counted.
    for (at, node) in nodes.iter().enumerate() {
        while of_peers(node, "copied") < (all - given[at]) as f64 {
            assert!(began.elapsed() < patience, "{} of {}", of_peers(node, "copied"), all - given[at]);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let took = began.elapsed();
    let trees = bases.each_ref().map(|base| tree(base));
    assert_eq!(trees[0].len(), all);
    assert!(trees[0] == trees[1] && trees[1] == trees[2], "the nodes differ");
    for (path, bytes) in &trees[0] {
        assert!(path.ends_with(&format!("-{}.ts", hash_text(bytes))), "{path}");
    }
    let sent: f64 = nodes.iter().map(files_sent).sum();
    let missing: usize = given.iter().map(|given| all - given).sum();
    let copied: f64 = nodes.iter().map(|node| of_peers(node, "copied")).sum();
    let taken_over: f64 = nodes.iter().map(|node| of_peers(node, "yielded")).sum();
    println!("{missing} files copied in {took:?}, {sent} sent, {taken_over} given up by a slow peer for a faster one");
    assert_eq!(copied, missing as f64, "each was stored once");
    assert!(sent <= copied + taken_over, "each was sent once: {sent} for {copied}");
    nodes.into_iter().for_each(NodeProcess::stop);
}

/// Files that a node has sent.
fn files_sent(node: &NodeProcess) -> f64 {
    let text = node.get("/metrics").text();
    let line =
        text.lines().find(|line| line.starts_with("segvault_http_requests_total{route=\"/segments\",status=\"200\"}"));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn a_day_that_is_scattered_over_three_nodes_is_whole_on_each_and_sent_once() {
    scattered_over_three(25, Duration::from_secs(60));
}

#[test]
#[ignore = "takes minutes; run by `make soak`"]
fn soak_a_whole_day_scattered_over_three_nodes() {
    scattered_over_three(1800, Duration::from_secs(20 * 60));
}
