//! Nodes that copy from each other while they run.

use std::path::{Path, PathBuf};

use super::static_peer::StaticPeer;
use super::{HOUR, plant_segment, plant_tree, tree};
use crate::support::{NodeProcess, eventually, free_address};

pub fn start(base: &Path, address: &str, peers: &[String]) -> NodeProcess {
    let listed = if peers.is_empty() { String::new() } else { format!("peers = {peers:?}\n") };
    let more = format!("[backfill]\n{listed}channels = [\"ch é\", \"ch\"]\ninterval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |command| {
        command.args(["--set", &format!("node.listen={address:?}")]);
    })
}

/// The value of a metric of one peer, by the beginning of the line.
pub fn of_peer(node: &NodeProcess, metric: &str, peer: &str) -> f64 {
    let text = node.get("/metrics").text();
    let mut lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(&format!("peer=\"{peer}\"")));
    lines.next().map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

pub fn hour_of(base: &Path) -> PathBuf {
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
fn the_same_bytes_on_both_sides_of_an_hours_edge_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let hour = |base: &Path, hour: &str| base.join("ch/source").join(hour);
    // The same bytes, stamped on this side of the edge here and on the other there; so twice, and one is hidden there.
    plant_segment(&hour(&ours, "2026-01-02T03"), "59:59.999600", "full", b"kept");
    plant_segment(&hour(&theirs, "2026-01-02T04"), "00:00.000000", "full", b"kept");
    let hidden = plant_segment(&hour(&ours, "2026-01-02T05"), "59:59.999600", "full", b"hidden");
    let twin = plant_segment(&hour(&theirs, "2026-01-02T06"), "00:00.000000", "full", b"hidden");
    std::fs::write(hour(&theirs, "2026-01-02T06").join(twin.replace(".ts", ".tombstone")), "").unwrap();
    let other = plant_segment(&hour(&theirs, "2026-01-02T04"), "00:02.0", "full", b"other");
    let mut expected = tree(&ours);
    let mut add =
        |at: &str, name: &str, bytes: &[u8]| expected.insert(format!("ch/source/{at}/{name}"), bytes.to_vec());
    add("2026-01-02T04", &other, b"other");
    add("2026-01-02T05", &hidden.replace(".ts", ".tombstone"), b"");
    add("2026-01-02T06", &twin.replace(".ts", ".tombstone"), b"");
    let peer = StaticPeer::honest(&theirs);
    let node = start(&ours, "127.0.0.1:0", &[peer.url()]);
    eventually("what is new is here, and what is hidden is hidden", || (tree(&ours) == expected).then_some(()));
    eventually("it is level", || (of_peer(&node, "segvault_backfill_lag_seconds", &peer.url()) > 0.0).then_some(()));
    assert!(peer.asked("/segments/").into_keys().all(|path| path.ends_with(&other)), "no twin was fetched");
    node.stop();
    assert_eq!(tree(&ours), expected);
}

#[test]
fn a_node_with_a_copy_of_the_disk_is_another_node_and_both_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let bases = [dir.path().join("original"), dir.path().join("copy")];
    let addresses = [free_address(), free_address()];
    let peers = addresses.each_ref().map(|address| format!("http://{address}"));
    start(&bases[0], &addresses[0], &[]).stop();
    let copied = std::process::Command::new("cp").arg("-r").args(&bases).status().unwrap();
    assert!(copied.success());
    let planted = [b"original", &b"the copy"[..]];
    for (at, bytes) in planted.iter().enumerate() {
        plant_segment(&hour_of(&bases[at]), &format!("00:0{}.0", at * 2), "full", bytes);
    }
    let nodes = [0, 1].map(|at| start(&bases[at], &addresses[at], &peers));
    let [first, second] = nodes.each_ref().map(|node| node.get("/node").json());
    assert_eq!(first["id"], second["id"], "that is what makes it hard");
    for base in &bases {
        eventually("each has what the other had", || (tree(base).len() == 2).then_some(()));
    }
    for (at, node) in nodes.iter().enumerate() {
        let (own, other) = (&peers[at], &peers[1 - at]);
        let told = "a peer has the id of this node, its disk is a copy: give one of the two an id of its own";
        let said = eventually("it is told", || node.logged(told).pop());
        assert!(said["level"] == "error" && said["peer"] == *other, "{said}");
        let left_out =
            eventually("itself is left out", || node.logged("a peer is this node itself, and left out").pop());
        assert_eq!(left_out["peer"], *own);
        let ready = node.get("/readyz").json();
        assert!(ready["notes"].to_string().contains("its disk is a copy"), "{ready}");
    }
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
    let dead = format!("http://{}", free_address());
    std::fs::write(&list, format!("{} # the only one that lives\n{dead}\n", peer.url())).unwrap();
    eventually("the peer of the file is copied from", || is_here(&first));
    let is_told = |node: &NodeProcess| node.get("/metrics").text().contains(&dead);
    eventually("the other one is told", || is_told(&node).then_some(()));
    std::fs::write(&list, "# none\n").unwrap();
    let has_lag = |node: &NodeProcess| node.get("/metrics").text().contains("segvault_backfill_lag_seconds{");
    eventually("the peer is none any more", || (!has_lag(&node)).then_some(()));
    let is_up = |node: &NodeProcess| node.get("/metrics").text().contains("segvault_backfill_peer_up{");
    eventually("nobody is missed", || (!is_up(&node)).then_some(()));
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
