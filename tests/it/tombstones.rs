//! Hiding what was recorded, on all nodes, and deleting its bytes.

use std::path::Path;

use serde_json::Value;

use crate::replicate::{HOUR, plant_segment};
use crate::support::{NodeProcess, eventually, free_address, run, segvault};

const FROM: &str = "2026-01-02T03:00:03";
const TO: &str = "2026-01-02T03:00:04";

fn tombstone(base: &Path, args: &[&str]) -> (i32, String, String) {
    run(segvault().args(["tombstone", args[0], "--dir"]).arg(base).args(&args[1..]))
}

fn json(base: &Path, args: &[&str]) -> Value {
    let (code, out, err) = tombstone(base, &[args, &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn plant(base: &Path, quality: &str, offset: &str, kind: &str) -> String {
    let bytes = format!("{quality} {offset} {kind}");
    let name = plant_segment(&base.join("ch").join(quality).join(HOUR), offset, kind, bytes.as_bytes());
    format!("ch/{quality}/{HOUR}/{name}")
}

fn hidden(path: &str) -> String {
    format!("{}.tombstone", path.rsplit_once('.').unwrap().0)
}

/// Two qualities, two versions of one moment, chat, quarantine, and what lies around; answers what overlaps FROM to TO.
fn plant_all(base: &Path) -> Vec<String> {
    for (quality, offset) in [("source", "00:00.0"), ("source", "00:04.0"), ("480p", "00:01.0")] {
        plant(base, quality, offset, "full");
    }
    let mut inside = vec![
        plant(base, "480p", "00:03.5", "partial"),
        plant(base, "source", "00:02.0", "full"),
        plant(base, "source", "00:02.5", "suspect"),
    ];
    let quarantine = base.join(".segvault/quarantine/ch/source").join(HOUR);
    let name = plant_segment(&quarantine, "00:03.0", "full", b"advertisement");
    inside.push(format!("ch/source/{HOUR}/{name}"));
    let chat = base.join("ch/chat").join(HOUR);
    std::fs::create_dir_all(&chat).unwrap();
    for offset in ["00:02", "00:03"] {
        std::fs::write(chat.join(format!("{offset}-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.json")), "").unwrap();
    }
    inside.push(format!("ch/chat/{HOUR}/00:03-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.json"));
    inside.sort_unstable();
    inside
}

fn start(base: &Path, address: &str, peers: &[String]) -> NodeProcess {
    let more = format!("[backfill]\npeers = {peers:?}\nchannels = [\"ch\"]\ninterval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |command| {
        command.args(["--set", &format!("node.listen={address:?}")]);
    })
}

#[test]
fn a_range_hides_every_version_of_everything_in_it_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    let inside = plant_all(base);
    let expected: Vec<String> = inside.iter().map(|path| hidden(path)).collect();
    let range = ["ch", "--from", FROM, "--to", TO];
    let lines = |out: &str| {
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };

    let (code, out, err) = tombstone(base, &[&["add", "--dry-run"], &range[..]].concat());
    assert_eq!((code, lines(&out)), (0, expected.clone()), "{err}");
    assert!(err.contains("5 files"), "{err}");
    assert_eq!(json(base, &["list"])["tombstones"].as_array().unwrap().len(), 0, "that was a dry run");

    let why = ["--reason", "a name on screen", "--author", "me"];
    let (code, out, err) = tombstone(base, &[&["add"], &range[..], &why].concat());
    assert_eq!((code, lines(&out)), (0, expected.clone()), "{err}");
    let (code, out, _) = tombstone(base, &[&["add"], &range[..]].concat());
    assert!(code == 0 && out.lines().count() == 5 && out.lines().all(|line| line.ends_with(" (was there)")), "{out}");

    let listed = json(base, &["list", "ch", "--from", FROM]);
    let rows = listed["tombstones"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let said = (&row["bytes"], &row["by"], &row["reason"]);
        assert_eq!(said, (&true.into(), &"me".into(), &"a name on screen".into()), "{row}");
    }
    let (_, out, _) = tombstone(base, &["list"]);
    assert!(out.lines().all(|line| line.ends_with("me: a name on screen")), "{out}");
    assert!(json(base, &["list", "--to", FROM])["tombstones"].as_array().unwrap().len() < 5);
    // The record of reasons is for people: without it, and with one touched by hand, all goes on.
    std::fs::remove_dir_all(base.join(".segvault/tombstones")).unwrap();
    let by_hand = plant(base, "source", "00:06.0", "full");
    std::fs::write(base.join(hidden(&by_hand)), "").unwrap();
    assert_eq!(tombstone(base, &["list", "--quality", "source"]).1.lines().count(), 4);

    // Nobody else is known, so that all may go.
    let (code, out, _) = tombstone(base, &["purge"]);
    assert_eq!((code, out.lines().count()), (0, 6));
    assert!(base.join(&by_hand).exists(), "that was a dry run");
    let (code, out, err) = tombstone(base, &["purge", "--yes", "--quality", "source"]);
    assert_eq!((code, out.lines().count()), (0, 4), "{err}");
    let quarantine = base.join(".segvault/quarantine/ch/source").join(HOUR);
    assert_eq!(std::fs::read_dir(quarantine).unwrap().count(), 0);
    assert!(inside.iter().filter(|path| path.contains("source")).all(|path| !base.join(path).exists()));
    assert!(base.join(&inside[0]).exists(), "another quality");
    assert_eq!(tombstone(base, &["list"]).1.lines().count(), 6, "tombstones stay");
}

#[test]
fn what_is_hidden_on_a_running_node_is_hidden_everywhere_and_purged_when_all_know() {
    let dir = tempfile::tempdir().unwrap();
    let bases = ["a", "b"].map(|name| dir.path().join(name));
    plant_all(&bases[0]);
    let addresses = [free_address(), free_address()];
    let peers = addresses.each_ref().map(|address| format!("http://{address}"));
    let first = start(&bases[0], &addresses[0], &peers);
    let second = start(&bases[1], &addresses[1], &peers);
    let segment = plant(&bases[0], "source", "00:08.0", "full");
    eventually("it is copied", || bases[1].join(&segment).exists().then_some(()));

    let (listing, get) = (format!("/files/ch/source/{HOUR}"), format!("/segments/{segment}"));
    let range = "start=2026-01-02T03:00:08&end=2026-01-02T03:00:10";
    let (playlist, cut) =
        (format!("/playlist/ch/source.m3u8?{range}"), format!("/cut/ch/source.ts?{range}&type=rough"));
    let name = segment.rsplit('/').next().unwrap();
    assert!(first.get(&listing).text().contains(name) && first.get(&playlist).text().contains("-full-"));
    let config = ["--config".to_owned(), bases[0].with_extension("toml").to_str().unwrap().to_owned()];
    let of_first = |args: &[&str]| {
        let args = args.iter().copied().chain(config.iter().map(String::as_str));
        run(segvault().arg("tombstone").args(args))
    };
    let (code, _, err) = of_first(&["add", "ch", "--from", "2026-01-02T03:00:08", "--to", "2026-01-02T03:00:09"]);
    assert_eq!(code, 0, "{err}");
    // At once, although the node was told nothing.
    assert!(!first.get(&listing).text().contains(name) && !first.get(&playlist).text().contains("-full-"));
    assert_eq!((first.get(&get).status, first.get(&cut).status), (410, 406));
    eventually("the other knows", || bases[1].join(hidden(&segment)).exists().then_some(()));
    assert_eq!((second.get(&get).status, second.get(&cut).status), (410, 406));
    let states = second.get(&format!("/tombstones/ch/source/{HOUR}")).json();
    assert_eq!(states[hidden(name)]["bytes"], true, "{states}");

    // The second goes; another is hidden meanwhile.
    second.signal("-KILL");
    drop(second);
    let later = plant(&bases[0], "source", "00:20.0", "full");
    std::fs::write(bases[0].join(hidden(&later)), "").unwrap();
    let (code, out, err) = of_first(&["status", "--json"]);
    assert_eq!(code, 0, "{err}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(status["silent"][&peers[1]].is_string() && status["silent"].as_object().unwrap().len() == 1, "{status}");
    assert_eq!(status["tombstones"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&status["tombstones"][0]["bytes"], &status["tombstones"][0]["nodes"][&peers[1]]),
        (&true.into(), &Value::Null)
    );
    let (code, _, err) = of_first(&["purge", "--yes"]);
    assert!(code == 1 && err.contains("2 files stay") && bases[0].join(&segment).exists(), "{err}");

    // It is back, and learns what it missed.
    let second = start(&bases[1], &addresses[1], &peers);
    eventually("it has learnt it", || bases[1].join(hidden(&later)).exists().then_some(()));
    let (_, out, _) = of_first(&["status"]);
    assert!(
        out.contains("has the tombstone, still holds the bytes") && out.contains("has the tombstone, no bytes"),
        "{out}"
    );
    let (code, _, err) = of_first(&["purge", "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert!(!bases[0].join(&segment).exists() && !bases[0].join(&later).exists());
    assert!(bases[1].join(&segment).exists(), "each node deletes its own");
    assert_eq!(first.get(&get).status, 410);
    assert_eq!(first.get(&format!("/tombstones/ch/source/{HOUR}")).json()[hidden(name)]["bytes"], false);
    // The other still has the bytes, and passes go on: they do not come back.
    for (at, offset) in [(1, "00:30.0"), (0, "00:32.0"), (1, "00:34.0")] {
        let later = plant(&bases[at], "source", offset, "full");
        eventually("what came later is copied", || bases[1 - at].join(&later).exists().then_some(()));
    }
    assert!(!bases[0].join(&segment).exists());

    // Force needs nobody.
    second.stop();
    let last = plant(&bases[0], "source", "00:40.0", "full");
    std::fs::write(bases[0].join(hidden(&last)), "").unwrap();
    assert_eq!(of_first(&["purge", "--yes"]).0, 1);
    assert_eq!(of_first(&["purge", "--yes", "--force"]).0, 0);
    assert!(!bases[0].join(&last).exists() && bases[0].join(hidden(&last)).exists());
    first.stop();
}

#[test]
fn a_node_that_does_not_say_whether_it_holds_bytes_is_asked_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let paths = [0, 2].map(|second| plant(&ours, "source", &format!("00:0{second}.0"), "full"));
    for base in [&ours, &theirs] {
        std::fs::create_dir_all(base.join(format!("ch/source/{HOUR}"))).unwrap();
        paths.iter().for_each(|path| std::fs::write(base.join(hidden(path)), "").unwrap());
    }
    plant(&theirs, "source", "00:00.0", "full");
    let peer = crate::replicate::StaticPeer::honest(&theirs);
    let status = json(&ours, &["status", "--peer", &peer.url()]);
    let said: Vec<&Value> =
        status["tombstones"].as_array().unwrap().iter().map(|one| &one["nodes"][peer.url()]["bytes"]).collect();
    assert_eq!(said, [&Value::from(true), &Value::from(false)], "{status}");
    assert_eq!(tombstone(&ours, &["purge", "--yes", "--peer", &peer.url()]).0, 0);
    assert!(paths.iter().all(|path| !ours.join(path).exists()));
}
