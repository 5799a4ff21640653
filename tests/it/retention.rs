//! Keeping a record within its bounds, and knowing what only one node holds.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::replicate::{HOUR, StaticPeer, hash_text, plant_segment, tree};
use crate::support::{NodeProcess, eventually, run, segvault};

fn plant(base: &Path, hour: &str, offset: &str, bytes: &[u8]) -> PathBuf {
    let dir = base.join("ch/source").join(hour);
    let name = plant_segment(&dir, offset, "full", bytes);
    dir.join(name)
}

/// The hour of the machine's clock so many hours ago.
fn hours_ago(hours: i64) -> String {
    let now = segvault::clock::Clock::system().now();
    now.plus_micros(-hours * 3_600_000_000).hour().to_string()
}

fn on(base: &Path, command: &[&str], args: &[&str]) -> (i32, String, String) {
    run(segvault().args(command).arg("--dir").arg(base).args(args))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn sample(node: &NodeProcess, metric: &str) -> f64 {
    let metrics = node.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(metric) && !line.starts_with('#'));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn what_is_too_old_goes_but_for_pins_and_tombstones_and_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (base, theirs) = (dir.path().join("base"), dir.path().join("theirs"));
    let old = plant(&base, HOUR, "00:00.0", b"old");
    let emptied = plant(&base, "2026-01-02T05", "00:00.0", b"alone in its hour");
    let hidden = plant(&base, HOUR, "00:02.0", b"hidden");
    std::fs::write(hidden.with_extension("tombstone"), "").unwrap();
    let pinned = plant(&base, HOUR, "00:04.0", b"pinned");
    let pinned_and_hidden = plant(&base, HOUR, "00:04.5", b"pinned, hidden elsewhere");
    let set_aside = plant(&base.join(".segvault/quarantine"), HOUR, "00:06.0", b"advertisement");
    let young = plant(&base, &hours_ago(3), "00:00.0", b"young");
    let chat = base.join("ch/chat").join(HOUR);
    std::fs::create_dir_all(&chat).unwrap();
    std::fs::write(chat.join("00:08-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.json"), "").unwrap();
    for (kind, file) in [("media", "2026-01-02T05"), ("peaks", "2026-01-02T05.json"), ("losses", "2025-12-01T05")] {
        let side = base.join(".segvault").join(kind).join("ch/source");
        std::fs::create_dir_all(&side).unwrap();
        std::fs::write(side.join(file), "").unwrap();
    }
    // A peer keeps all of it, and hides one of them.
    for path in [&old, &emptied, &pinned_and_hidden] {
        let copy = theirs.join(path.strip_prefix(&base).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(path, copy).unwrap();
    }
    let tombstone = pinned_and_hidden.with_extension("tombstone");
    std::fs::write(theirs.join(tombstone.strip_prefix(&base).unwrap()), "").unwrap();
    let peer = StaticPeer::honest(&theirs);

    let range = ["ch", "--from", "2026-01-02T03:00:05", "--to", "2026-01-02T03:00:06", "--reason", "the finale"];
    let (code, out, err) = on(&base, &["pin", "add"], &range);
    assert!(code == 0 && out.contains("the finale"), "{out}{err}");
    let max_age = ["--set", "retention.max_age=5h"];
    let (code, out, err) = on(&base, &["retention"], &[&max_age[..], &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let going: Value = serde_json::from_str(&out).unwrap();
    let rows = going["hours"].as_array().unwrap();
    let of_cause = |cause: &str| -> u64 {
        rows.iter().filter(|row| row["cause"] == cause).map(|row| row["files"].as_u64().unwrap()).sum()
    };
    assert_eq!((of_cause("age"), of_cause("quarantine"), of_cause("space")), (4, 1, 0), "{going}");
    assert!(old.exists(), "that was only said");

    let more = format!(
        "[retention]\nmax_age = \"5h\"\ninterval = \"1s\"\n\
         [backfill]\npeers = [{:?}]\nchannels = [\"ch\"]\ninterval = \"1s\"\n",
        peer.url()
    );
    let node = NodeProcess::start_with(&base, &more, |_| {});
    eventually("the old is gone", || (!old.exists() && !emptied.exists() && !hidden.exists()).then_some(()));
    eventually("chat and quarantine too", || (!chat.exists() && !set_aside.exists()).then_some(()));
    eventually("an empty hour is none", || (!emptied.parent().unwrap().exists()).then_some(()));
    eventually("nor is anything known of it", || {
        let own = base.join(".segvault");
        let left = |kind: &str| names(&own.join(kind).join("ch/source")).len();
        (left("media") + left("peaks") + left("losses") == 0).then_some(())
    });
    assert!(hidden.with_extension("tombstone").exists() && young.exists() && pinned.exists());
    eventually("tombstones are learnt however old they are", || tombstone.exists().then_some(()));
    assert!(pinned_and_hidden.exists());
    assert!(sample(&node, "segvault_retention_deleted_files_total{cause=\"age\"}") >= 4.0);
    // Passes go on (what is of the last two minutes is not theirs yet): what is too old is not fetched again.
    for offset in ["00:00.0", "00:02.0"] {
        let new = plant(&theirs, &hours_ago(1), offset, offset.as_bytes());
        let here = base.join(new.strip_prefix(&theirs).unwrap());
        eventually("what is young is copied", || here.exists().then_some(()));
    }
    assert!(!old.exists() && !emptied.exists());
    assert!(peer.asked("/segments/").keys().all(|path| !path.contains("2026-01-02T0")));

    // A list of pins that cannot be read pins everything.
    let pins = base.join(".segvault/pins.json");
    let good = std::fs::read(&pins).unwrap();
    std::fs::write(&pins, "{").unwrap();
    let new = plant(&base, HOUR, "00:20.0", b"another");
    eventually("it is told", || node.logged("the record cannot be kept within its bounds, will try again").pop());
    assert!(new.exists() && pinned.exists());
    std::fs::write(&pins, good).unwrap();
    eventually("it goes on", || (!new.exists()).then_some(()));
    let (code, out, _) = on(&base, &["pin", "list"], &["--json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &listed["pins"][0]["reason"]), (0, &"the finale".into()));
    assert_eq!((on(&base, &["pin", "remove"], &["7"]).0, on(&base, &["pin", "remove"], &["1"]).0), (1, 0));
    eventually("what is pinned no more goes", || (!pinned.exists()).then_some(()));
    node.stop();
}

/// A node whose directory is a file system of 16 MB, with the path of that directory through the node's own eyes.
fn node_on_a_small_disk(base: &Path, more: &str) -> (NodeProcess, PathBuf) {
    std::fs::create_dir(base).unwrap();
    let mount = format!("mount -t tmpfs -o size=16m none {0} && exec \"$@\"", base.display());
    let is_root = rustix::process::geteuid().is_root();
    let map: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let config = base.with_extension("toml");
    let text =
        format!("[node]\nname = \"test\"\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n{more}");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").args(map).args(["sh", "-c", &mount, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_segvault")).args(["run", "--config"]).arg(&config);
    let node = NodeProcess::spawn(base, &mut command);
    let inside = Path::new("/proc").join(node.id().to_string()).join("root").join(base.strip_prefix("/").unwrap());
    (node, inside)
}

#[test]
fn room_is_made_of_the_oldest_hours_that_a_peer_holds_and_of_nothing_else() {
    const MEGABYTES: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let peer = StaticPeer::honest(&theirs);
    let more = format!(
        "[retention]\nmin_free = \"5MiB\"\ninterval = \"1s\"\n\
         [backfill]\npeers = [{:?}]\nchannels = [\"ch\"]\ninterval = \"1s\"\n",
        peer.url()
    );
    // It must know its peer before it lacks room; that is seen by what it copies.
    plant(&theirs, &hours_ago(5), "00:00.0", b"to begin with");
    let (mut node, inside) = node_on_a_small_disk(&dir.path().join("base"), &more);
    let of_peer = theirs.join("ch/source").join(hours_ago(5));
    eventually("it copies", || (names(&inside.join("ch/source").join(hours_ago(5))) == names(&of_peer)).then_some(()));

    let (code, _, err) = on(&inside, &["pin", "add"], &["ch", "--from", "2026-01-02T02", "--to", "2026-01-02T03"]);
    assert_eq!(code, 0, "{err}");
    // From the oldest: what only we have, what is pinned, what goes, what goes, what may stay; and what is being recorded.
    let hours = ["2026-01-02T01", "2026-01-02T02", "2026-01-02T03", "2026-01-02T04", "2026-01-02T05", &hours_ago(1)];
    let planted: Vec<PathBuf> = hours
        .iter()
        .enumerate()
        .map(|(at, hour)| {
            let bytes = vec![at as u8; 2 * MEGABYTES];
            if at != 0 {
                plant(&theirs, hour, "00:00.0", &bytes);
            }
            plant(&inside, hour, "00:00.0", &bytes)
        })
        .collect();
    // 12 MB of 16 and a little more are taken, and 5 must be free.
    eventually("the oldest that the peer holds goes", || (!planted[2].exists()).then_some(()));
    eventually("there is room", || {
        (sample(&node, "segvault_store_free_bytes") >= 5.0 * MEGABYTES as f64).then_some(())
    });
    let left: Vec<bool> = planted.iter().map(|path| path.exists()).collect();
    assert_eq!(left, [true, true, false, true, true, true], "no more than was missing");
    eventually("that is enough", || (sample(&node, "segvault_retention_stuck") == 0.0).then_some(()));

    // Passes go on, and what was deleted does not come back, although the peer has it.
    let later = plant(&theirs, &hours_ago(1), "00:30.0", b"later");
    let here = inside.join(later.strip_prefix(&theirs).unwrap());
    eventually("what came later is copied", || here.exists().then_some(()));
    assert!(!planted[2].exists());

    // More than all that may go is missing: it is told, nothing else goes, and nothing is copied.
    let filler = inside.join("filler");
    std::fs::write(&filler, vec![1; 5 * MEGABYTES + MEGABYTES / 2]).unwrap();
    eventually("all that may go has gone", || (!planted[3].exists() && !planted[4].exists()).then_some(()));
    eventually("it is told", || {
        node.logged("too little of the disk is free and nothing may be deleted; recording goes on while it can").pop()
    });
    eventually("the metric says so", || (sample(&node, "segvault_retention_stuck") == 1.0).then_some(()));
    let ready = node.get("/readyz");
    assert!(ready.status == 200 && ready.text().contains("retention.min_free"), "{}", ready.text());
    assert!([0, 1, 5].iter().all(|at| planted[*at].exists()), "only here, pinned, and recent");
    let unwanted = plant(&theirs, &hours_ago(1), "00:40.0", b"no room for it");
    let here = inside.join(unwanted.strip_prefix(&theirs).unwrap());
    let asked = peer.asked("/files/ch/source").values().sum::<usize>();
    eventually("passes go on", || (peer.asked("/files/ch/source").values().sum::<usize>() > asked + 6).then_some(()));
    assert!(!here.exists() && peer.asked("/segments/").keys().all(|path| !path.contains("00:40.0")));
    std::fs::remove_file(&filler).unwrap();
    eventually("with room it is copied", || here.exists().then_some(()));
    eventually("it is ready without a note", || (!node.get("/readyz").text().contains("min_free")).then_some(()));
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_node_may_be_stopped_once_another_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let bases = ["a", "b"].map(|name| dir.path().join(name));
    (0..6u8).for_each(|second| drop(plant(&bases[0], HOUR, &format!("00:{:02}.0", 2 * second), &[second])));
    std::fs::create_dir_all(bases[0].join("ch/chat").join(HOUR)).unwrap();
    let chat = format!("ch/chat/{HOUR}/00:08-{}.json", hash_text(b""));
    std::fs::write(bases[0].join(&chat), "").unwrap();
    let first = NodeProcess::start_with(&bases[0], "", |_| {});
    let check = |peers: &[&str]| {
        let peers: Vec<&str> = peers.iter().flat_map(|peer| ["--peer", peer]).collect();
        let (code, out, err) = on(&bases[0], &["drain-check"], &[&peers[..], &["--json"]].concat());
        (code, serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
    };
    let alone = check(&[]);
    assert_eq!(
        (alone.0, &alone.1["streams"][1]["seconds"], &alone.1["streams"][0]["chat"]),
        (1, &12.0.into(), &1.into())
    );
    // It does not count as another node itself, nor does one that is down.
    let down = format!("http://{}", crate::support::free_address());
    let (code, said) = check(&[&first.url(), &down]);
    assert_eq!((code, &said["silent"]), (1, &serde_json::json!([down])), "{said}");

    let second = NodeProcess::start_with(&bases[1], "", |_| {});
    let (code, said) = check(&[&second.url()]);
    assert_eq!((code, &said["streams"][1]["files"]), (1, &6.into()), "{said}");
    let (code, _, err) = on(&bases[1], &["backfill"], &["--from", &first.url()]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(tree(&bases[0]), tree(&bases[1]));
    let (code, said) = check(&[&second.url(), &down]);
    assert_eq!((code, &said["may_stop"], &said["streams"]), (0, &true.into(), &serde_json::json!([])), "{said}");
    let (code, out, _) = on(&bases[0], &["drain-check"], &["--peer", &second.url()]);
    assert_eq!((code, out.as_str()), (0, "may be stopped\n"));
    plant(&bases[0], HOUR, "00:20.0", b"new");
    let (code, out, _) = on(&bases[0], &["drain-check"], &["--peer", &second.url()]);
    assert!(code == 1 && out.contains("ch/source  2.0 s only here, in 1 files"), "{out}");
    first.stop();
    second.stop();
}

#[test]
fn a_clock_that_is_suddenly_far_ahead_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let old = plant(&base, HOUR, "00:00.0", b"an hour old, by the last look");
    let state = base.join(".segvault/retention.json");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    let last_look: segvault::model::Timestamp = "2026-01-02T04:00:00".parse().unwrap();
    std::fs::write(&state, format!("{{\"now_micros\":{},\"ahead_for_seconds\":null}}", last_look.micros())).unwrap();
    let more = "[retention]\nmax_age = \"5h\"\ninterval = \"1s\"\n";
    let node = NodeProcess::start_with(&base, more, |_| {});
    eventually("it is told", || {
        node.logged("the clock is far ahead of the last look; for a day of running nothing is deleted by it").pop()
    });
    let (code, out, err) = on(&base, &["retention"], &["--set", "retention.max_age=5h", "--json"]);
    assert!(code == 0 && err.contains("age counts from 2026-01-02T04:"), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["hours"], serde_json::json!([]));
    eventually("looks go on", || {
        let text = std::fs::read_to_string(&state).ok()?;
        let state: Value = serde_json::from_str(&text).ok()?;
        (state["now_micros"].as_i64()? > last_look.micros() + 2_000_000).then_some(())
    });
    assert!(old.exists());
    node.stop();
    // What the operator may do who knows better.
    std::fs::remove_file(&state).unwrap();
    let node = NodeProcess::start_with(&base, more, |_| {});
    eventually("the old is gone", || (!old.exists()).then_some(()));
    node.stop();
}
