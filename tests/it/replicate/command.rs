//! `segvault backfill`.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::static_peer::{Lie, StaticPeer};
use super::{HOUR, plant_segment, plant_tree, tree};
use crate::support::{NodeProcess, eventually, run, segvault};

fn backfill(base: &Path, from: &str, args: &[&str]) -> (i32, String, String) {
    std::fs::create_dir_all(base).unwrap();
    run(segvault().arg("backfill").arg("--dir").arg(base).args(["--from", from]).args(args))
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn an_empty_directory_becomes_what_a_node_of_either_system_has_each_file_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours, of_node) = (dir.path().join("theirs"), dir.path().join("ours"), dir.path().join("of-node"));
    plant_tree(&theirs);
    let planted = tree(&theirs);
    let peer = StaticPeer::honest(&theirs);
    let (code, out, err) = backfill(&ours, &peer.url(), &["--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(tree(&ours), planted);
    assert_eq!(json(&out)["copied_files"], planted.len());
    let sent = peer.asked("/segments/");
    assert_eq!(sent.len(), planted.len());
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");

    let (code, out, _) = backfill(&ours, &peer.url(), &["--json"]);
    assert_eq!((code, &json(&out)["copied_files"]), (0, &0.into()));
    assert_eq!(peer.asked("/segments/"), sent, "what is there is not sent again");

    let node = NodeProcess::start(&theirs, &[]);
    let (code, out, err) = backfill(&of_node, &node.url(), &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(tree(&of_node), planted);
    node.stop();
}

#[test]
fn without_a_node_all_that_are_known_are_copied_from_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, ours) = (dir.path().join("first"), dir.path().join("second"), dir.path().join("ours"));
    plant_tree(&first);
    let late = plant_segment(&second.join("other/source").join(HOUR), "00:00.0", "full", b"of the other");
    let peers = [&first, &second].map(|base| StaticPeer::honest(base));
    std::fs::create_dir_all(ours.join(".segvault")).unwrap();
    // As a node that ran here has kept it of its database.
    std::fs::write(ours.join(".segvault/peers-database"), format!("{}\n", peers[1].url())).unwrap();
    let config = dir.path().join("config.toml");
    let write = |more: &str| std::fs::write(&config, format!("[node]\ndir = {ours:?}\n[backfill]\n{more}")).unwrap();
    let once = |args: &[&str]| run(segvault().args(["backfill", "--config"]).arg(&config).args(args));
    let of_first = format!("peers = [{:?}]\n", peers[0].url());
    write(&format!("{of_first}since = \"2027-01-01T00:00:00\"\n"));
    let (code, out, err) = once(&["--json"]);
    assert_eq!((code, err.as_str(), &json(&out)["copied_files"]), (0, "", &0.into()), "all is older");
    write(&of_first);
    let (code, out, err) = once(&["--json", "other/source"]);
    assert_eq!((code, err.as_str(), &json(&out)["copied_files"]), (0, "", &1.into()), "{out}");
    assert_eq!(json(&out)["streams"][0]["node"], peers[1].url());
    assert!(ours.join("other/source").join(HOUR).join(&late).exists());
    let (code, out, err) = once(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains(&format!("other/source of {}: 0 files copied", peers[1].url())), "{out}");
    let copied = tree(&ours);
    assert!(tree(&first).iter().all(|(path, bytes)| copied.get(path) == Some(bytes)));
    let (code, _, err) = once(&["nobody"]);
    assert!(code == 1 && err.contains("nobody who answers has anything of nobody"), "{err}");

    // One of several that is away is told, and costs nothing of the others.
    let [_, second] = peers;
    let before = second.asked("/files").values().sum::<usize>();
    write(&format!("peers = [{:?}]\n", format!("http://{}", crate::support::free_address())));
    let (code, out, err) = once(&[]);
    assert!(code == 1 && err.contains("cannot be reached") && out.contains("other/source of"), "{out} {err}");
    assert!(second.asked("/files").values().sum::<usize>() > before);
    std::fs::remove_file(ours.join(".segvault/peers-database")).unwrap();
    write("");
    let (code, _, err) = once(&[]);
    assert!(code == 1 && err.contains("no other node is known"), "{err}");
}

#[test]
fn what_is_wished_for_is_copied_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_tree(&theirs);
    let peer = StaticPeer::honest(&theirs);
    let (code, out, _) = backfill(&ours, &peer.url(), &["--since", "2026-01-02T02:30:00", "ch é/source"]);
    assert_eq!(code, 0, "{out}");
    let copied: Vec<String> = tree(&ours).into_keys().collect();
    let expected = |path: &String| {
        path.starts_with("ch é/source/2026-01-02T03/") || path.starts_with("ch é/source/2026-01-02T02/59:58")
    };
    assert_eq!(copied, tree(&theirs).into_keys().filter(expected).collect::<Vec<_>>());
    for (wish, says) in [("nobody", "nothing of nobody"), ("ch é/4k", "nothing of ch é/4k")] {
        let (code, _, err) = backfill(&ours, &peer.url(), &[wish]);
        assert_eq!(code, 1);
        assert!(err.contains(says), "{err}");
    }
    for bad in [&["../x"][..], &["ch/../x"], &["--since", "yesterday"]] {
        assert_eq!(backfill(&ours, &peer.url(), bad).0, 64, "{bad:?}");
    }
    let (code, _, err) = backfill(&ours, "http://127.0.0.1:1", &[]);
    assert_eq!(code, 1);
    assert!(err.contains("cannot reach"), "{err}");
}

#[test]
fn tombstones_are_taken_over_and_what_they_hide_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let hour = Path::new("ch/source").join(HOUR);
    let names: Vec<String> = (0..4u8)
        .map(|second| plant_segment(&theirs.join(&hour), &format!("00:0{second}.0"), "full", &[second]))
        .collect();
    let mark =
        |base: &Path, name: &str| std::fs::write(base.join(&hour).join(name.replace(".ts", ".tombstone")), "").unwrap();
    // Hidden there, and here already; hidden there only; hidden here only; the same bytes, stamped 1 ms later here.
    plant_segment(&ours.join(&hour), "00:00.001", "full", &[0]);
    mark(&theirs, &names[0]);
    mark(&theirs, &names[1]);
    mark(&ours, &names[2]);
    let peer = StaticPeer::honest(&theirs);
    let (code, out, _) = backfill(&ours, &peer.url(), &["--json"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(json(&out)["tombstones"], 3);
    let twin = format!(
        "{}.tombstone",
        plant_segment(&dir.path().join("x"), "00:00.001", "full", &[0]).trim_end_matches(".ts")
    );
    let mut expected: Vec<String> = names[..3].iter().map(|name| name.replace(".ts", ".tombstone")).collect();
    expected.extend([names[3].clone(), twin.clone(), twin.replace(".tombstone", ".ts")]);
    expected.sort();
    let got: Vec<String> = tree(&ours).into_keys().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(got, expected);
}

#[test]
fn lies_are_named_and_nothing_of_them_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let hour = theirs.join("ch/source").join(HOUR);
    let names: Vec<String> =
        (0..8u8).map(|second| plant_segment(&hour, &format!("00:0{second}.0"), "full", &[second; 3000])).collect();
    let (wrong, half, gone, moved) = (names[1].clone(), names[3].clone(), names[5].clone(), names[6].clone());
    let listing =
        serde_json::to_vec(&[&names[..], &["../../etc/passwd".into(), "/etc/passwd".into()]].concat()).unwrap();
    let elsewhere = StaticPeer::honest(&theirs);
    let target = format!("{}/segments/ch/source/{HOUR}/{moved}", elsewhere.url());
    let peer = StaticPeer::lying(&theirs, move |path| match path.rsplit('/').next().unwrap() {
        name if name == wrong => Some(Lie::Body(vec![7; 3000])),
        name if name == half => Some(Lie::Half),
        name if name == gone => Some(Lie::Status("410 Gone")),
        name if name == moved => Some(Lie::Elsewhere(target.clone())),
        HOUR => Some(Lie::Body(listing.clone())),
        _ => None,
    });
    let (code, out, err) = backfill(&ours, &peer.url(), &["--json"]);
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(json(&out)["failed_files"], 3, "{out}{err}");
    assert_eq!(json(&out)["refused_names"], 2);
    for (index, says) in [(1, "other bytes"), (3, "broke off"), (6, "status 302")] {
        let named = err.lines().any(|line| line.contains(&names[index]) && line.contains(says));
        assert!(named, "{says}: {err}");
    }
    assert!(err.contains("\"../../etc/passwd\""), "{err}");
    let stored: Vec<String> = tree(&ours).into_keys().collect();
    assert_eq!(stored, [0, 2, 4, 7].map(|index| format!("ch/source/{HOUR}/{}", names[index])));
    assert!(elsewhere.asked("/").is_empty(), "a redirect is not followed");

    for lie in [&b"<html>"[..], b"{}", b"[1,2]", b"[\"2026-01-02T03\"", &[b' '; 9 << 20]] {
        let peer =
            StaticPeer::lying(&theirs, move |path| (path == "/files/ch/source").then(|| Lie::Body(lie.to_vec())));
        let (code, out, err) = backfill(&ours, &peer.url(), &[]);
        assert_eq!(code, 1, "{out}");
        assert!(err.contains("ch/source: ") && err.contains("hours"), "{err}");
    }
}

#[test]
fn an_interrupted_copy_leaves_whole_files_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let hour = theirs.join("ch/source").join(HOUR);
    let newest = plant_segment(&hour, "00:09.0", "full", b"newest");
    // Large enough that some of it is on the disk already.
    let stuck = plant_segment(&hour, "00:01.0", "full", &vec![1; 2_000_000]);
    let hanging = stuck.clone();
    let peer = StaticPeer::lying(&theirs, move |path| path.ends_with(&hanging).then_some(Lie::Drip));
    std::fs::create_dir_all(&ours).unwrap();
    let mut command = segvault();
    let mut child = command.arg("backfill").arg("--dir").arg(&ours).args(["--from", &peer.url()]).spawn().unwrap();
    eventually("the newest is copied, the other hangs", || {
        let is_there = ours.join("ch/source").join(HOUR).join(&newest).exists();
        (is_there && peer.asked("/segments/").len() == 2).then_some(())
    });
    let pid = child.id().to_string();
    let began = Instant::now();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(began.elapsed().as_secs() < 30);
    assert_eq!(tree(&ours).into_keys().collect::<Vec<_>>(), [format!("ch/source/{HOUR}/{newest}")]);
    let (code, ..) = backfill(&ours, &StaticPeer::honest(&theirs).url(), &[]);
    assert_eq!((code, tree(&ours)), (0, tree(&theirs)));
}
