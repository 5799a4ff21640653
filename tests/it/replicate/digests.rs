//! Digests: what nodes tell each other of what they hold, and what that saves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use segvault::model::Hour;
use segvault::select::{DayDigests, Digest, NodeDigests, QualityDigests};
use serde_json::json;

use super::counting_proxy::{Count, CountingProxy};
use super::static_peer::{Lie, StaticPeer};
use super::{HOUR, plant_segment, tree};
use crate::support::{NodeProcess, eventually, run, segvault};

/// Of a quality's directory, straight from the names on disk.
fn digests_of(dir: &Path) -> BTreeMap<Hour, Digest> {
    let hours = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let digest = |entry: std::fs::DirEntry| {
        let names: Vec<String> = std::fs::read_dir(entry.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let is_hidden = |name: &str| {
            let base = name.rsplit_once('.').unwrap().0;
            !name.ends_with(".tombstone") && names.contains(&format!("{base}.tombstone"))
        };
        let shown = names.iter().map(String::as_str).filter(|name| !is_hidden(name));
        Some((entry.file_name().to_str().unwrap().parse().unwrap(), Digest::of_hour(shown)?))
    };
    hours.filter_map(digest).collect()
}

#[test]
fn a_digest_stands_for_what_listings_show_and_is_asked_for_by_tag() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let quality = base.join("ch/source");
    let names: Vec<String> = (0..4u8)
        .map(|second| plant_segment(&quality.join(HOUR), &format!("00:0{second}.0"), "full", &[second]))
        .collect();
    plant_segment(&quality.join("2026-01-03T00"), "00:00.0", "partial", b"x");
    std::fs::write(quality.join(HOUR).join("00:09.0-2.0-temp-x.ts"), "").unwrap();
    std::fs::create_dir_all(quality.join("2026-01-04T00")).unwrap();
    let node = NodeProcess::start_with(&base, "", |_| {});
    let tag = |digest: Digest| format!("\"{digest}\"");
    let check = || {
        let hours = digests_of(&quality);
        let of_quality = QualityDigests::of_hours(&hours);
        let days: BTreeMap<String, String> =
            of_quality.days.iter().map(|(day, digest)| (day.to_string(), digest.to_string())).collect();
        let answer = node.get("/digest/ch/source");
        assert_eq!(answer.json(), json!({ "digest": of_quality.digest.to_string(), "days": days }));
        assert_eq!(answer.header("etag"), tag(of_quality.digest));
        let first: BTreeMap<Hour, Digest> =
            hours.into_iter().filter(|(hour, _)| hour.to_string().starts_with("2026-01-02")).collect();
        let of_day = DayDigests::new(first);
        let answer = node.get("/digest/ch/source/2026-01-02");
        let hour = of_day.hours.values().next().unwrap().to_string();
        assert_eq!(answer.json(), json!({ "digest": of_day.digest.to_string(), "hours": { HOUR: hour } }));
        assert_eq!(answer.header("etag"), tag(of_day.digest));
        (of_quality.digest, of_day.digest)
    };
    let (before, day_before) = check();
    let key = ("ch".parse().unwrap(), "source".parse().unwrap());
    let of_node = NodeDigests::new(BTreeMap::from([(key, before)])).digest;
    let line = json!({ "digest": before.to_string(), "changed": null });
    let answer = node.get("/digest");
    assert_eq!(answer.json(), json!({ "digest": of_node.to_string(), "qualities": { "ch/source": line } }));
    assert_eq!(node.get_with("GET", "/digest", &[("if-none-match", &tag(of_node))]).status, 304);
    for (path, digest) in [("/digest/ch/source", before), ("/digest/ch/source/2026-01-02", day_before)] {
        let again = node.get_with("GET", path, &[("if-none-match", &tag(digest))]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    // A shell's tombstone is seen at once.
    std::fs::write(quality.join(HOUR).join(names[1].replace(".ts", ".tombstone")), "").unwrap();
    let changed = node.get_with("GET", "/digest/ch/source", &[("if-none-match", &tag(before))]);
    assert_eq!(changed.status, 200);
    assert_ne!(check().0, before);
    std::fs::remove_file(quality.join(HOUR).join(&names[2])).unwrap();
    check();

    // What is not there is empty, as its listing is; what is no name is refused.
    let nothing = QualityDigests::new(BTreeMap::new()).digest.to_string();
    for path in ["/digest/nobody/source", "/digest/ch/chat"] {
        assert_eq!(node.get(path).json(), json!({ "digest": nothing, "days": {} }), "{path}");
    }
    let no_hours = DayDigests::new(BTreeMap::new()).digest.to_string();
    for path in ["/digest/ch/source/2025-01-02", "/digest/ch/source/someday"] {
        assert_eq!(node.get(path).json(), json!({ "digest": no_hours, "hours": {} }), "{path}");
    }
    for path in ["/digest/.segvault/losses", "/digest/ch/source/.x"] {
        assert_eq!(node.get(path).status, 403, "{path}");
    }
    node.stop();
}

const QUALITIES: [&str; 4] = ["source", "720p60", "480p", "160p"];

/// A segment in each hour of so many days.
fn plant_days(base: &Path, days: u32) {
    let start: Hour = "2026-01-01T00".parse().unwrap();
    let hours = std::iter::successors(Some(start), |hour| Some(hour.next())).take(days as usize * 24);
    for (number, hour) in hours.enumerate() {
        for quality in QUALITIES {
            let dir = base.join("ch").join(quality).join(hour.to_string());
            plant_segment(&dir, "00:00.0", "full", format!("{quality} {number}").as_bytes());
        }
    }
}

fn start(base: &Path, peers: &[String]) -> NodeProcess {
    let peers = if peers.is_empty() { String::new() } else { format!("peers = {peers:?}\n") };
    // What passes ask is counted, not what following does.
    let more = format!("[backfill]\n{peers}channels = [\"ch\"]\ninterval = \"1s\"\nfollow = false\n");
    NodeProcess::start_with(base, &more, |_| {})
}

/// What was asked but for what every round asks: the one question for all qualities, and the book's looks for new ones.
fn asked_beside_rounds(proxy: &CountingProxy) -> BTreeMap<String, Count> {
    let mut asked = proxy.asked();
    // An answer may come after its question was forgotten.
    asked.retain(|path, count| count.requests > 0 && !["/digest", "/node", "/files/ch"].contains(&&**path));
    asked
}

/// Waits until a round asks nothing but whether anything has changed.
fn settle(proxy: &CountingProxy) {
    eventually("nothing more is asked", || {
        proxy.forget();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        (proxy.asked().contains_key("/digest") && asked_beside_rounds(proxy).is_empty()).then_some(())
    });
}

/// Waits for so many questions in a row beside which nothing is asked, and answers what one costs: bytes of both directions,
/// for all qualities. (A node that gets no time to answer for long is asked about each quality by itself.)
fn rounds(proxy: &CountingProxy, at_least: usize) -> u64 {
    proxy.forget();
    let questions = eventually("rounds go by in which nothing else is asked", || {
        if !asked_beside_rounds(proxy).is_empty() {
            proxy.forget();
        }
        proxy.asked().get("/digest").copied().filter(|count| count.requests >= at_least)
    });
    questions.bytes / questions.requests as u64
}

/// What else was asked for a quality: of digests, listings and segments.
fn found_with(proxy: &CountingProxy, quality: &str) -> [usize; 3] {
    let asked = asked_beside_rounds(proxy);
    ["/digest/ch/", "/files/ch/", "/segments/ch/"].map(|prefix| {
        let prefix = format!("{prefix}{quality}");
        asked.iter().filter(|(path, _)| path.starts_with(&prefix)).map(|(_, count)| count.requests).sum()
    })
}

/// Two nodes that hold the same, the second copying from the first through the proxy.
fn converged(dir: &Path, days: u32) -> (NodeProcess, CountingProxy, NodeProcess) {
    let (theirs, ours) = (dir.join("theirs"), dir.join("ours"));
    plant_days(&theirs, days);
    plant_days(&ours, days);
    let peer = start(&theirs, &[]);
    let proxy = CountingProxy::before(&peer);
    let node = start(&ours, &[proxy.url()]);
    settle(&proxy);
    (peer, proxy, node)
}

#[test]
fn a_converged_pair_asks_one_small_question_a_round() {
    let dir = tempfile::tempdir().unwrap();
    let (peer, proxy, node) = converged(dir.path(), 7);
    let bytes = rounds(&proxy, 3);
    println!("7 days: {bytes} bytes a round");
    assert!(bytes < 1000, "{bytes} bytes a round");
    node.stop();
    peer.stop();
}

#[test]
fn however_long_the_record_is_a_round_costs_the_same_and_one_new_segment_is_found_with_three_questions() {
    let dir = tempfile::tempdir().unwrap();
    let (peer, proxy, node) = converged(dir.path(), 90);
    let bytes = rounds(&proxy, 3);
    println!("90 days: {bytes} bytes a round");
    assert!(bytes < 1000, "{bytes} bytes a round");

    // In the middle. The first of the three is the round's own question; then its day, its hour.
    let [middle, here] = ["theirs", "ours"].map(|node| dir.path().join(node).join("ch/480p/2026-01-04T05"));
    let mut new = String::new();
    let found = [2u8, 4, 6].map(|second| {
        proxy.forget();
        new = plant_segment(&middle, &format!("00:0{second}.0"), "full", &[second]);
        eventually("it is found", || here.join(&new).exists().then_some(()));
        let found = found_with(&proxy, "480p");
        settle(&proxy);
        found
    });
    // On a busy machine not each time.
    assert!(found.contains(&[1, 1, 1]), "{found:?}");

    // A deletion likewise.
    let tombstone = new.replace(".ts", ".tombstone");
    std::fs::write(middle.join(&tombstone), "").unwrap();
    eventually("it is hidden", || here.join(&tombstone).exists().then_some(()));
    settle(&proxy);
    node.stop();
    peer.stop();
}

#[test]
fn what_was_lost_or_found_bad_here_is_fetched_again_although_both_sides_were_level() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_days(&theirs, 3);
    plant_days(&ours, 3);
    let hour = "ch/source/2026-01-02T07";
    let (lost, bad) = (plant_segment(&theirs.join(hour), "00:10.0", "full", b"lost"), {
        plant_segment(&theirs.join(hour), "00:12.0", "full", b"bad")
    });
    let peer = start(&theirs, &[]);
    let proxy = CountingProxy::before(&peer);
    let node = start(&ours, &[proxy.url()]);
    let path = |name: &str| ours.join(hour).join(name);
    eventually("all is copied", || (path(&lost).exists() && path(&bad).exists()).then_some(()));
    settle(&proxy);

    proxy.forget();
    std::fs::remove_file(path(&lost)).unwrap();
    eventually("it is back", || path(&lost).exists().then_some(()));
    assert_eq!(found_with(&proxy, "source")[1..], [1, 1], "one hour was listed, one segment sent");
    settle(&proxy);

    std::fs::write(path(&bad), b"BAD").unwrap();
    let (code, _, err) = run(segvault().arg("scrub").arg("--dir").arg(&ours).arg("ch/source"));
    assert!(code == 1 && err.contains("wrong_bytes"), "{code} {err}");
    eventually("it is good", || std::fs::read(path(&bad)).is_ok_and(|bytes| bytes == b"bad").then_some(()));
    settle(&proxy);
    node.stop();
    peer.stop();
}

#[test]
fn nodes_that_stamp_differently_stop_listing_what_needs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_days(&theirs, 3);
    plant_days(&ours, 3);
    for (base, offset) in [(&theirs, "00:10.000"), (&ours, "00:10.001")] {
        plant_segment(&base.join("ch/source/2026-01-02T07"), offset, "full", b"a twin");
    }
    let peer = start(&theirs, &[]);
    let proxy = CountingProxy::before(&peer);
    let node = start(&ours, &[proxy.url()]);
    eventually("it was compared, once", || {
        proxy.asked().get("/files/ch/source/2026-01-02T07").filter(|count| count.requests == 1).map(drop)
    });
    settle(&proxy);
    rounds(&proxy, 3);
    node.stop();
    peer.stop();
}

#[test]
fn digests_that_lie_cost_a_pass_now_and_then_and_keep_nothing_from_being_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    for hour in 0..6u8 {
        plant_segment(&theirs.join(format!("ch/source/2026-01-02T{hour:02}")), "00:00.0", "full", &[hour]);
    }
    let number = AtomicU64::new(0);
    // Another table each time, which adds up.
    let random = move |hours: std::ops::Range<u8>| -> BTreeMap<Hour, Digest> {
        hours
            .map(|hour| {
                let name =
                    format!("00:00-{}.json", super::hash_text(&number.fetch_add(1, Ordering::Relaxed).to_le_bytes()));
                (format!("2026-01-02T{hour:02}").parse().unwrap(), Digest::of_hour([name.as_str()]).unwrap())
            })
            .collect()
    };
    let texts = |table: Vec<(String, String)>| table.into_iter().collect::<BTreeMap<_, _>>();
    let day = std::sync::Mutex::new(DayDigests::new(BTreeMap::new()));
    let peer = StaticPeer::lying(&theirs, move |path| match path {
        "/digest" => {
            let of_quality = QualityDigests::of_hours(&random(0..1)).digest;
            let of_node = NodeDigests::new([(("ch".parse().unwrap(), "source".parse().unwrap()), of_quality)].into());
            let lines = json!({ "ch/source": { "digest": of_quality.to_string(), "changed": "2026-01-02" } });
            let text = json!({ "digest": of_node.digest.to_string(), "qualities": lines }).to_string();
            Some(Lie::Body(text.into_bytes()))
        }
        "/digest/ch/source" => {
            *day.lock().unwrap() = DayDigests::new(random(0..6));
            let of_quality = QualityDigests::of_hours(&day.lock().unwrap().hours);
            let days = texts(of_quality.days.iter().map(|(day, one)| (day.to_string(), one.to_string())).collect());
            Some(Lie::Body(json!({ "digest": of_quality.digest.to_string(), "days": days }).to_string().into_bytes()))
        }
        "/digest/ch/source/2026-01-02" => {
            let day = day.lock().unwrap();
            let hours = texts(day.hours.iter().map(|(hour, one)| (hour.to_string(), one.to_string())).collect());
            Some(Lie::Body(json!({ "digest": day.digest.to_string(), "hours": hours }).to_string().into_bytes()))
        }
        _ => None,
    });
    let node = start(&ours, &[peer.url()]);
    eventually("all is copied", || (tree(&ours) == tree(&theirs)).then_some(()));
    let passes = || peer.asked("/files/ch/source/2026-01-02T00").into_values().sum::<usize>();
    eventually("a dozen passes", || (passes() >= 12).then_some(()));
    let with_digests: usize = peer
        .asked("/digest/")
        .into_iter()
        .filter(|(path, _)| path == "/digest/ch/source")
        .map(|(_, times)| times)
        .sum();
    assert!((1..=5).contains(&with_digests), "{with_digests} passes with digests of {}", passes());
    node.stop();
}

#[test]
fn a_node_that_tells_no_digests_is_rarely_asked_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    plant_segment(&theirs.join("ch/source").join(HOUR), "00:00.0", "full", b"x");
    let peer = StaticPeer::honest(&theirs);
    let node = start(&ours, &[peer.url()]);
    let listed = || peer.asked("/files/ch/source").get("/files/ch/source").copied().unwrap_or_default();
    eventually("a dozen passes", || (listed() >= 12).then_some(()));
    let asked: usize = peer.asked("/digest/").into_values().sum();
    assert!((1..=5).contains(&asked), "{asked} of {}", listed());
    assert_eq!(tree(&ours), tree(&theirs));
    node.stop();
}
