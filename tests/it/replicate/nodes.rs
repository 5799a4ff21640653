//! Nodes that copy from each other while they run.

use std::path::{Path, PathBuf};

use super::static_peer::{Lie, StaticPeer};
use super::{HOUR, plant_segment, plant_tree, tree};
use crate::support::{NodeProcess, eventually, free_address};

fn start(base: &Path, address: &str, peers: &[String]) -> NodeProcess {
    let more = format!("[backfill]\npeers = {peers:?}\nchannels = [\"ch é\", \"ch\"]\ninterval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |command| {
        command.args(["--set", &format!("node.listen={address:?}")]);
    })
}

/// The value of a metric of one peer, by the beginning of the line.
fn of_peer(node: &NodeProcess, metric: &str, peer: &str) -> f64 {
    let text = node.get("/metrics").text();
    let mut lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(&format!("peer=\"{peer}\"")));
    lines.next().map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn hour_of(base: &Path) -> PathBuf {
    base.join("ch/source").join(HOUR)
}

#[test]
fn nodes_that_each_have_a_part_end_up_with_everything_and_send_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    plant_tree(&whole);
    let planted = tree(&whole);
    let bases = ["a", "b", "c"].map(|name| dir.path().join(name));
    let mut missing = [planted.len(); 3];
    for (place, (path, bytes)) in planted.iter().enumerate() {
        // Each has every other file but one, so that no two have the same.
        for (node, base) in bases.iter().enumerate().filter(|(node, _)| place % 3 != *node) {
            std::fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            std::fs::write(base.join(path), bytes).unwrap();
            missing[node] -= 1;
        }
    }
    let addresses = [free_address(), free_address(), free_address()];
    // Everybody has the same list, with itself in it.
    let peers: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    let nodes = [0, 1, 2].map(|node| start(&bases[node], &addresses[node], &peers));
    for (node, base) in nodes.iter().zip(&bases) {
        eventually("all is here", || (tree(base) == planted).then_some(()));
        eventually("it leaves itself out", || {
            let left_out = node.logged("a peer is this node itself, and left out");
            left_out.iter().any(|line| line["peer"] == node.url()).then_some(())
        });
    }
    for (at, node) in nodes.iter().enumerate() {
        let copied = || -> f64 {
            peers.iter().map(|peer| of_peer(node, "segvault_backfill_files_total{outcome=\"copied\"", peer)).sum()
        };
        eventually("each missing file was copied, and none twice", || (copied() == missing[at] as f64).then_some(()));
        let other = &peers[(at + 1) % 3];
        eventually("the lag is measured", || {
            let lag = of_peer(node, "segvault_backfill_lag_seconds", other);
            (0.0 < lag && lag < 30.0).then_some(())
        });
    }
    nodes.into_iter().for_each(NodeProcess::stop);
}

#[test]
fn what_several_peers_have_is_sent_by_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_tree(&theirs);
    let peers = [(); 3].map(|()| StaticPeer::honest(&theirs));
    let urls: Vec<String> = peers.iter().map(StaticPeer::url).collect();
    let node = start(&ours, "127.0.0.1:0", &urls);
    eventually("all is here", || (tree(&ours) == tree(&theirs)).then_some(()));
    let sent: usize = peers.iter().flat_map(|peer| peer.asked("/segments/").into_values()).sum();
    assert_eq!(sent, tree(&theirs).len());
    node.stop();
}

#[test]
fn peers_that_lie_or_hang_are_named_and_delay_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_tree(&theirs);
    let of_liar = |name: &str| {
        let base = dir.path().join(name);
        // More than one hour holds nothing that anybody else has.
        (0..6u8).for_each(|second| {
            plant_segment(&hour_of(&base), &format!("00:0{second}.0"), "full", &[name.as_bytes(), &[second]].concat());
        });
        base
    };
    let segments = |path: &str| path.starts_with("/segments/");
    let liars = [
        StaticPeer::lying(&of_liar("garbage"), |path| (path != "/node").then(|| Lie::Body(b"<html>".to_vec()))),
        StaticPeer::lying(&of_liar("wrong"), move |path| segments(path).then(|| Lie::Body(b"wrong".to_vec()))),
        StaticPeer::lying(&of_liar("half"), move |path| segments(path).then_some(Lie::Half)),
        StaticPeer::lying(&of_liar("drip"), move |path| segments(path).then_some(Lie::Drip)),
        StaticPeer::lying(&of_liar("never"), |_| Some(Lie::Never)),
        StaticPeer::lying(&of_liar("climbs"), |path| {
            path.ends_with(HOUR).then(|| Lie::Body(br#"["../../etc/passwd", "00:00.0-2.0-full-../x.ts"]"#.to_vec()))
        }),
    ];
    let honest = StaticPeer::honest(&theirs);
    let mut urls: Vec<String> = liars.iter().map(StaticPeer::url).collect();
    urls.push(honest.url());
    let node = start(&ours, "127.0.0.1:0", &urls);
    eventually("the honest peer's is here", || {
        let ours = tree(&ours);
        tree(&theirs).keys().all(|path| ours.contains_key(path)).then_some(())
    });
    let copied = |url: &str| of_peer(&node, "segvault_backfill_files_total{outcome=\"copied\"", url);
    for (place, outcome) in [(1, "wrong_bytes"), (2, "failed")] {
        let metric = format!("segvault_backfill_files_total{{outcome=\"{outcome}\"");
        eventually("a liar is counted", || (of_peer(&node, &metric, &urls[place]) >= 5.0).then_some(()));
        eventually("a liar is named", || {
            node.logged("a file of a peer is refused").iter().any(|line| line["peer"] == urls[place]).then_some(())
        });
    }
    eventually("garbage is named and counted", || {
        let told = node.logged("peer does not answer as one, will try again");
        let is_told =
            told.iter().any(|line| line["peer"] == urls[0] && line["error"].as_str().unwrap().contains("no list"));
        (is_told && of_peer(&node, "segvault_backfill_failed_passes_total", &urls[0]) > 0.0).then_some(())
    });
    eventually("names that climb are named and counted", || {
        let told = node.logged("a peer lists names that are none");
        let is_told = told.iter().any(|line| line["peer"] == urls[5] && line["example"] == "../../etc/passwd");
        (is_told && of_peer(&node, "segvault_backfill_refused_names_total", &urls[5]) >= 2.0).then_some(())
    });
    // One that says nothing is given up after the listing's deadline.
    eventually("the silent one is named", || {
        let told = node.logged("peer does not answer as one, will try again");
        told.iter().any(|line| line["peer"] == urls[4]).then_some(())
    });
    assert!(urls[..6].iter().all(|url| copied(url) == 0.0));
    assert!(hour_of(&ours).read_dir().map_or(true, |mut entries| {
        entries.all(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with('.'))
    }));
    node.stop();
    assert_eq!(tree(&ours), tree(&theirs), "what was being copied at the stop leaves nothing");
}

#[test]
fn a_tombstone_hides_everywhere_and_deleted_bytes_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let bases = ["a", "b"].map(|name| dir.path().join(name));
    let bytes = b"to be deleted";
    let names = bases.each_ref().map(|base| plant_segment(&hour_of(base), "00:00.0", "full", bytes));
    let addresses = [free_address(), free_address()];
    let peers = addresses.each_ref().map(|address| format!("http://{address}"));
    let nodes = [0, 1].map(|node| start(&bases[node], &addresses[node], &peers));
    let path = format!("/segments/ch/source/{HOUR}/{}", names[0]);
    assert_eq!(nodes[1].get(&path).status, 200);
    // As an operator does it: with nothing but a shell, on one of them.
    std::fs::write(hour_of(&bases[0]).join(names[0].replace(".ts", ".tombstone")), "").unwrap();
    assert_eq!(nodes[0].get(&path).status, 410);
    eventually("hidden on the other too", || (nodes[1].get(&path).status == 410).then_some(()));
    std::fs::remove_file(hour_of(&bases[1]).join(&names[1])).unwrap();
    // That passes went on in between is seen by what came later.
    for (node, second) in [(0, 4u8), (1, 5), (0, 6)] {
        let later = plant_segment(&hour_of(&bases[node]), &format!("00:0{second}.0"), "full", &[second]);
        eventually("what came later is copied", || hour_of(&bases[1 - node]).join(&later).exists().then_some(()));
    }
    assert!(!hour_of(&bases[1]).join(&names[1]).exists());
    assert!(hour_of(&bases[0]).join(&names[0]).exists(), "a tombstone deletes no bytes");
    nodes.into_iter().for_each(NodeProcess::stop);
}

#[test]
fn peers_of_a_file_come_and_go_and_are_remembered_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let plant = |second: u8| plant_segment(&hour_of(&theirs), &format!("00:0{second}.0"), "full", &[second]);
    let is_here = |name: &String| hour_of(&ours).join(name).exists().then_some(());
    let (peer, list) = (StaticPeer::honest(&theirs), dir.path().join("peers"));
    let start = || {
        let more = format!("[backfill]\npeers_file = {list:?}\nchannels = [\"ch\"]\ninterval = \"1s\"\n");
        NodeProcess::start_with(&ours, &more, |_| {})
    };
    let first = plant(0);
    let node = start();
    eventually("that there is no file is told", || {
        node.logged("a list of peers cannot be had, its last answer counts").pop()
    });
    std::fs::write(&list, format!("{} # the only one\n", peer.url())).unwrap();
    eventually("the peer of the file is copied from", || is_here(&first));
    std::fs::write(&list, "# none\n").unwrap();
    let has_lag = |node: &NodeProcess| node.get("/metrics").text().contains("segvault_backfill_lag_seconds{");
    eventually("the peer is none any more", || (!has_lag(&node)).then_some(()));
    let second = plant(1);
    std::fs::write(&list, peer.url()).unwrap();
    eventually("it is one again", || is_here(&second));
    node.stop();
    std::fs::remove_file(&list).unwrap();
    let third = plant(2);
    let node = start();
    eventually("it is remembered", || is_here(&third));
    node.stop();
}
