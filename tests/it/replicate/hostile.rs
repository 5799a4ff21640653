//! Peers that lie, hang or crawl: each is named and counted, and none delays what others give.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::nodes::{hour_of, of_peer, start};
use super::static_peer::{Lie, StaticPeer};
use super::{HOUR, plant_segment, tree};
use crate::support::{NodeProcess, eventually};

/// With all the others around it, an honest peer's files must be here by then. They take some tenths of a second alone.
const BOUNDED: Duration = Duration::from_secs(30);
/// What listings that are refused may cost while they come: 8 MiB for each of four at once, decompressed and compressed.
const MORE_MEMORY_KIB: u64 = 96 << 10;
const TEN_MILLION: u64 = 10_000_000;

/// The most memory that a process has had.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn plant_many(base: &Path, count: u16) {
    for at in 0..count {
        let (minute, second) = (at / 30, at % 30 * 2);
        plant_segment(
            &hour_of(base),
            &format!("{minute:02}:{second:02}.0"),
            "full",
            &vec![at as u8; 2000 + usize::from(at)],
        );
    }
}

fn failed_passes(node: &NodeProcess, url: &str) -> f64 {
    of_peer(node, "segvault_backfill_failed_passes_total", url)
}

fn outcome(node: &NodeProcess, outcome: &str, url: &str) -> f64 {
    of_peer(node, &format!("segvault_backfill_files_total{{outcome=\"{outcome}\""), url)
}

fn is_named(node: &NodeProcess, message: &str, url: &str, says: &str) -> bool {
    let told = node.logged(message);
    told.iter().any(|line| line["peer"] == url && line.to_string().contains(says))
}

/// A node that copies from these; how long it took until it had all of `theirs`, and the most memory it had.
fn copy_all(ours: &Path, theirs: &Path, urls: &[String]) -> (NodeProcess, Duration) {
    let began = Instant::now();
    let node = start(ours, "127.0.0.1:0", urls);
    let expected = tree(theirs);
    eventually("the honest peer's files are here", || {
        let ours = tree(ours);
        expected.iter().all(|(path, bytes)| ours.get(path) == Some(bytes)).then_some(())
    });
    (node, began.elapsed())
}

#[test]
fn peers_that_lie_hang_or_flood_are_named_and_delay_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    plant_many(&theirs, 400);
    let honest = StaticPeer::honest(&theirs);
    let (alone, _) = copy_all(&dir.path().join("alone"), &theirs, &[honest.url()]);
    let settled_kib = peak_kib(alone.id());
    alone.stop();

    let of_liar = |name: &str| -> PathBuf {
        let base = dir.path().join(name);
        // What nobody else has.
        (0..6u8).for_each(|second| {
            plant_segment(&hour_of(&base), &format!("50:0{second}.0"), "full", &[name.as_bytes(), &[second]].concat());
        });
        base
    };
    let segments = |path: &str| path.starts_with("/segments/");
    let is_hour = |path: &str| path.ends_with(HOUR);
    let elsewhere = format!("{}/files/ch/source/{HOUR}", honest.url());
    let elsewhere_file = format!("{}{}", honest.url(), "/segments/ch/source/x");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    (0..64).for_each(|_| bomb.write_all(&vec![b' '; 1 << 20]).unwrap());
    let bomb = Arc::new(bomb.finish().unwrap());
    let climbs = br#"["../../etc/passwd", "00:00.0-2.0-full-../x.ts"]"#;
    // What it is, how it lies, the message that names it, and what that says.
    let liars = [
        (
            "garbage",
            StaticPeer::lying(&of_liar("garbage"), |path| (path != "/node").then(|| Lie::Body(b"<html>".to_vec()))),
            "peer does not answer as one, will try again",
            "no list",
        ),
        (
            "wrong",
            StaticPeer::lying(&of_liar("wrong"), move |path| segments(path).then(|| Lie::Body(b"wrong".to_vec()))),
            "a file of a peer is refused",
            "other bytes",
        ),
        (
            "half",
            StaticPeer::lying(&of_liar("half"), move |path| segments(path).then_some(Lie::Half)),
            "a file of a peer is refused",
            "broke off",
        ),
        (
            "names",
            StaticPeer::lying(&of_liar("names"), move |path| is_hour(path).then_some(Lie::Names(TEN_MILLION))),
            "a peer fails, will try again",
            "longer than",
        ),
        (
            "bomb",
            StaticPeer::lying(&of_liar("bomb"), move |path| is_hour(path).then(|| Lie::Gzipped(Arc::clone(&bomb)))),
            "a peer fails, will try again",
            "longer than",
        ),
        (
            "climbs",
            StaticPeer::lying(&of_liar("climbs"), move |path| is_hour(path).then(|| Lie::Body(climbs.to_vec()))),
            "a peer lists names that are none",
            "../../etc/passwd",
        ),
        (
            "elsewhere",
            StaticPeer::lying(&of_liar("elsewhere"), move |path| {
                is_hour(path).then(|| Lie::Elsewhere(elsewhere.clone()))
            }),
            "a peer fails, will try again",
            "status 302",
        ),
        (
            "moved",
            StaticPeer::lying(&of_liar("moved"), move |path| {
                segments(path).then(|| Lie::Elsewhere(elsewhere_file.clone()))
            }),
            "a file of a peer is refused",
            "status 302",
        ),
        // One that says nothing is given up after the deadline of its first answer.
        (
            "never",
            StaticPeer::lying(&of_liar("never"), |_| Some(Lie::Never)),
            "peer does not answer as one, will try again",
            "no answer",
        ),
    ];
    let (dripping, mut urls) = (of_liar("dripping"), Vec::new());
    let drips = StaticPeer::lying(&dripping, move |path| segments(path).then_some(Lie::Drip));
    urls.extend(liars.iter().map(|(_, peer, ..)| peer.url()));
    urls.extend([drips.url(), honest.url()]);

    let ours = dir.path().join("ours");
    let (node, took) = copy_all(&ours, &theirs, &urls);
    assert!(took < BOUNDED, "{took:?}");
    eventually("the honest one gave them", || (outcome(&node, "copied", &honest.url()) > 0.0).then_some(()));
    for (what, peer, message, says) in &liars {
        eventually(what, || is_named(&node, message, &peer.url(), says).then_some(()));
        eventually(what, || {
            let counted = ["wrong_bytes", "failed"].map(|label| outcome(&node, label, &peer.url()));
            let refused = of_peer(&node, "segvault_backfill_refused_names_total", &peer.url());
            (failed_passes(&node, &peer.url()) + refused + counted.iter().sum::<f64>() > 0.0).then_some(())
        });
        assert_eq!(outcome(&node, "copied", &peer.url()), 0.0, "{what}");
    }
    let more_kib = peak_kib(node.id()).saturating_sub(settled_kib);
    println!("{more_kib} KiB more than {settled_kib} KiB with the honest one alone, whose files took {took:?}");
    assert!(more_kib < MORE_MEMORY_KIB, "{more_kib} KiB more than with the honest one alone ({settled_kib} KiB)");
    node.stop();
    assert_eq!(tree(&ours), tree(&theirs), "what was being copied at the stop leaves nothing");
}

#[test]
fn what_crawls_from_one_peer_is_taken_from_another() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_many(&theirs, 200);
    let crawls = StaticPeer::lying(&theirs, |path| path.starts_with("/segments/").then_some(Lie::Drip));
    let stalls = StaticPeer::lying(&theirs, |path| path.starts_with("/segments/").then_some(Lie::Never));
    let good = StaticPeer::honest(&theirs);
    let (node, took) = copy_all(&ours, &theirs, &[crawls.url(), stalls.url(), good.url()]);
    // A body that crawls is given four minutes by whoever has nothing better.
    assert!(took < BOUNDED, "{took:?}");
    // Each is counted after it is there.
    eventually("the good one gave all", || (outcome(&node, "copied", &good.url()) == 200.0).then_some(()));
    for slow in [&crawls, &stalls] {
        let is_told = || is_named(&node, "a peer is slow, a faster one gives its files", &slow.url(), "");
        eventually("it is named", || is_told().then_some(()));
        assert!(outcome(&node, "yielded", &slow.url()) > 0.0);
    }
    node.stop();
}

#[test]
fn a_channel_that_cannot_be_listed_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    plant_segment(&theirs.join("ch é/source").join(HOUR), "00:00.0", "full", b"listed");
    plant_segment(&hour_of(&theirs), "00:00.0", "full", b"not listed");
    let peer = StaticPeer::lying(&theirs, |path| (path == "/files/ch").then(|| Lie::Body(b"{}".to_vec())));
    let ours = dir.path().join("ours");
    let node = start(&ours, "127.0.0.1:0", &[peer.url()]);
    eventually("the other channel is here", || (tree(&ours).len() == 1).then_some(()));
    eventually("it is named", || {
        let told = node.logged("a peer does not list a channel, will try again");
        told.iter().any(|line| line["channel"] == "ch" && line["peer"] == peer.url()).then_some(())
    });
    eventually("it is counted each time", || (failed_passes(&node, &peer.url()) >= 2.0).then_some(()));
    assert_eq!(node.logged("a peer does not list a channel, will try again").len(), 1);
    node.stop();
    assert!(tree(&ours).into_keys().all(|path| path.starts_with("ch é/")));
}

#[test]
fn a_peer_that_is_down_is_asked_by_one_quality_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    for quality in 0..12u8 {
        plant_segment(&theirs.join(format!("ch/q{quality}")).join(HOUR), "00:00.0", "full", &[quality]);
    }
    let peer = NodeProcess::start(&theirs, &[]);
    let address = peer.url();
    let node = start(&ours, "127.0.0.1:0", std::slice::from_ref(&address));
    eventually("all is here", || (tree(&ours) == tree(&theirs)).then_some(()));
    let up = || of_peer(&node, "segvault_backfill_peer_up", &address);
    eventually("it is known to be up", || (up() == 1.0).then_some(()));
    let failed_before = failed_passes(&node, &address);
    peer.stop();
    eventually("it is known to be down", || (up() == 0.0).then_some(()));
    let began = Instant::now();
    // The backoff grows from half a second: after this time it was asked a handful of times, not by each of twelve each second.
    std::thread::sleep(Duration::from_secs(6));
    let asked = failed_passes(&node, &address) - failed_before;
    let most = 14.0 + began.elapsed().as_secs_f64() / 0.5;
    assert!(asked <= most.min(30.0), "{asked} questions");
    assert_eq!(node.logged("a peer cannot be reached, will try again").len(), 1);
    let later = plant_segment(&theirs.join("ch/q3").join(HOUR), "00:02.0", "full", b"later");
    let listen = address.trim_start_matches("http://").to_owned();
    let peer = start(&theirs, &listen, &[]);
    eventually("it goes on", || ours.join("ch/q3").join(HOUR).join(&later).exists().then_some(()));
    eventually("it is told", || node.logged("a peer is back").pop());
    assert_eq!(up(), 1.0);
    node.stop();
    peer.stop();
}
