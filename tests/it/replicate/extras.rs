//! Directories of files that are neither segments nor chat.

use std::path::Path;

use super::nodes::of_peer;
use super::static_peer::{Lie, StaticPeer};
use super::tree;
use crate::support::{NodeProcess, eventually};

fn start(base: &Path, peers: &[String]) -> NodeProcess {
    let peers = if peers.is_empty() { String::new() } else { format!("peers = {peers:?}\n") };
    let more = format!("[backfill]\n{peers}extras = [\"emotes\"]\ninterval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |_| {})
}

fn plant(base: &Path, path: &str, text: &str) {
    let path = base.join("emotes").join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn extra_files_are_copied_by_name_and_what_is_here_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours, third) = (dir.path().join("theirs"), dir.path().join("ours"), dir.path().join("third"));
    for (path, text) in
        [("25.png", "theirs"), ("v2/é 26.gif", "x"), ("v2/empty", ""), (".hidden", "x"), ("b.json", "[]")]
    {
        plant(&theirs, path, text);
    }
    plant(&ours, "25.png", "ours");
    std::fs::create_dir_all(theirs.join("other")).unwrap();
    std::fs::write(theirs.join("other/x"), "not wished for").unwrap();
    let peer = start(&theirs, &[]);
    assert_eq!(peer.get("/extras/emotes").json(), serde_json::json!(["25.png", "b.json", "v2/empty", "v2/é 26.gif"]));
    assert_eq!(peer.get("/extras/none").json(), serde_json::json!([]));
    assert_eq!((peer.get("/extras/.segvault").status, peer.get("/extras/a%2F..").status), (403, 403));
    let node = start(&ours, &[peer.url()]);
    let has_all = |base: &Path| {
        let names: Vec<String> = tree(base).into_keys().collect();
        (names == ["emotes/25.png", "emotes/b.json", "emotes/v2/empty", "emotes/v2/é 26.gif"]).then_some(())
    };
    eventually("what was missing is here", || has_all(&ours));
    assert_eq!(std::fs::read(ours.join("emotes/25.png")).unwrap(), b"ours");
    // From a node of the existing system likewise.
    let other = StaticPeer::honest(&ours);
    let copier = start(&third, &[other.url()]);
    eventually("it speaks with both", || has_all(&third));
    assert_eq!(tree(&third), tree(&ours));
    [peer, node, copier].into_iter().for_each(NodeProcess::stop);
}

#[test]
fn extra_files_never_leave_their_directory_nor_come_in_half() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours, outside) = (dir.path().join("theirs"), dir.path().join("ours"), dir.path().join("outside"));
    for path in ["good.png", "half.png", "linked/x.png"] {
        plant(&theirs, path, &"x".repeat(1000));
    }
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(ours.join("emotes")).unwrap();
    std::os::unix::fs::symlink(&outside, ours.join("emotes/linked")).unwrap();
    let bad = [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        ".hidden",
        "source/2026-01-02T03/00:00.0-2.0-full-x.ts",
        "a\u{0}b",
    ];
    let names = [&bad[..], &["half.png", "linked/x.png", "good.png"]].concat();
    let listing = serde_json::to_vec(&names).unwrap();
    let peer = StaticPeer::lying(&theirs, move |path| match path {
        "/extras/emotes" => Some(Lie::Body(listing.clone())),
        path if path.ends_with("half.png") => Some(Lie::Half),
        _ => None,
    });
    let node = start(&ours, &[peer.url()]);
    eventually("what can be copied is here", || ours.join("emotes/good.png").exists().then_some(()));
    eventually("the rest is named and counted", || {
        let refused = of_peer(&node, "segvault_backfill_refused_names_total", &peer.url());
        let is_named = !node.logged("an extra file of a peer is refused").is_empty();
        (refused >= bad.len() as f64 && is_named && !node.logged("a peer lists names that are none").is_empty())
            .then_some(())
    });
    let asked = peer.asked("/segments/");
    assert!(asked.keys().all(|path| path.ends_with("/good.png") || path.ends_with("/half.png")), "{asked:?}");
    node.stop();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "a link is not followed");
    let names: Vec<String> = tree(&ours).into_keys().collect();
    assert_eq!(names, ["emotes/good.png"]);
}
