//! `/debug/…`: who looks for a fault sees what the node does, and nobody else; the node goes on recording.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::replicate::{HOUR, plant_segment};
use crate::support::{NodeProcess, Reply, eventually, small_spec, source, try_get};

const PROFILE: &str = "/debug/pprof/profile";
const HEAP: &str = "/debug/pprof/heap";
/// What a node does that is asked for its metrics.
const RENDERS: &str = "segvault::metrics::Metrics::render";

#[test]
fn a_profile_of_a_busy_node_names_our_functions_and_costs_no_second() {
    let dir = tempfile::tempdir().unwrap();
    let live = source(&small_spec(), 60, 1);
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &live.url(), &["source"])]);
    eventually("it records", || (!node.acknowledged("source").is_empty()).then_some(()));
    let is_over = Arc::new(AtomicBool::new(false));
    let (address, until) = (node.url().trim_start_matches("http://").to_owned(), Arc::clone(&is_over));
    let busy = std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            assert_eq!(try_get(&address, "/metrics").map(|reply| reply.status), Some(200));
        }
    });
    // The texts of a protobuf stand in it as they are. On a machine that has much else to do, the node may not get a hundredth of
    // a second at first.
    eventually("our function is in a profile", || {
        let profile = node.get(&format!("{PROFILE}?seconds=1"));
        let told = (profile.status, profile.header("content-type"));
        assert_eq!(told, (200, "application/octet-stream"), "{}", profile.text());
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&profile.body[..]).read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).contains(RENDERS).then_some(())
    });
    eventually("it is in a picture", || {
        let flames = node.get(&format!("{PROFILE}?seconds=1&format=svg"));
        assert_eq!((flames.status, flames.header("content-type")), (200, "image/svg+xml"), "{}", flames.text());
        flames.text().contains(&format!("<title>{RENDERS} (")).then_some(())
    });
    is_over.store(true, Ordering::Relaxed);
    busy.join().unwrap();

    // One at a time, whichever comes first.
    let refused = eventually("two ask at once", || {
        let first = node.ask(&format!("{PROFILE}?seconds=3"));
        let second = node.get(&format!("{PROFILE}?seconds=3"));
        let mut both = [crate::support::read_reply(first, false), second];
        both.sort_by_key(|reply| reply.status);
        let [taken, other] = both;
        assert_eq!(taken.status, 200);
        (other.status != 200).then_some(other)
    });
    assert_eq!((refused.status, refused.json()["code"].clone()), (409, "profile_under_way".into()));

    for (query, code) in
        [("seconds=61", "bad_parameter"), ("seconds=0", "bad_parameter"), ("format=x", "bad_parameter")]
    {
        let reply = node.get(&format!("{PROFILE}?{query}"));
        assert_eq!((reply.status, reply.json()["code"].clone()), (400, code.into()), "{query}");
    }
    for path in [PROFILE, "/debug/memory", HEAP] {
        for header in [("X-Forwarded-For", "192.0.2.1"), ("Origin", "https://example.org")] {
            let reply = node.get_with("GET", path, &[header]);
            assert_eq!((reply.status, reply.json()["code"].clone()), (403, "debug_closed".into()), "{path} {header:?}");
        }
    }
    let memory = node.get("/debug/memory").json();
    let of = |key: &str| memory[key].as_u64().unwrap();
    assert!(of("resident_bytes") > 4 << 20 && of("anonymous_bytes") > 0 && of("files_bytes") > 0, "{memory}");
    assert_eq!(of("resident_bytes"), of("heap_bytes") + of("anonymous_bytes") + of("files_bytes"));
    assert!(node.get("/metrics").text().contains("route=\"/debug\""));

    let had = node.acknowledged("source").len();
    eventually("it goes on recording", || (node.acknowledged("source").len() > had + 1).then_some(()));
    let losses = node.get("/losses/ch/source").json();
    assert_eq!(losses, serde_json::json!([]), "nothing was lost meanwhile");
    node.stop();
}

/// What an hour's index is made by.
const INDEXES: &str = "segvault::select::index::";

#[test]
fn a_profile_of_the_heap_names_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for number in 0..900 {
        let offset = format!("{:02}:{:02}.0", number / 30, number % 30 * 2);
        plant_segment(&base.join("ch/source").join(HOUR), &offset, "full", &[7]);
    }
    // A note for each kilobyte, so that little is enough.
    let node = NodeProcess::start_with(&base, "[http]\nheap_sample = \"1KiB\"\n", |_| {});
    let playlist = format!("/playlist/ch/source.m3u8?start={HOUR}:00:00&end={HOUR}:30:00");
    assert_eq!(node.get(&playlist).status, 200);
    // What the index holds: a few dozen bytes for each name.
    let held = held(&node.get(HEAP));
    let of_indexes = held.iter().filter(|(name, _)| name.contains(INDEXES)).map(|(_, bytes)| *bytes).max();
    assert!(of_indexes.is_some_and(|bytes| (10_000..10_000_000).contains(&bytes)), "{of_indexes:?} of {held:?}");
    let flames = node.get(&format!("{HEAP}?format=svg"));
    assert_eq!((flames.status, flames.header("content-type")), (200, "image/svg+xml"), "{}", flames.text());
    assert!(flames.text().contains(&format!("<title>{INDEXES}")) && flames.text().contains(" bytes, "));
    assert!(!flames.text().contains("sampler") && !flames.text().contains("trace_unsynchronized"), "how it was noted");
    let refused = node.get(&format!("{HEAP}?format=x"));
    assert_eq!((refused.status, refused.json()["code"].clone()), (400, "bad_parameter".into()));
    node.stop();
}

/// Bytes held by each function and what it called, in a profile that must hold together:
/// <https://github.com/google/pprof/blob/main/proto/profile.proto>.
fn held(reply: &Reply) -> BTreeMap<String, u64> {
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/octet-stream"), "{}", reply.text());
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut bytes).unwrap();
    let profile = fields(&bytes);
    let texts: Vec<String> = messages(&profile, 6).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    let text = |message: &[(u64, Field<'_>)], field| texts[number(message, field) as usize].as_str();
    assert_eq!(texts[0], "");
    let kinds: Vec<_> = messages(&profile, 1).map(fields).collect();
    let kinds: Vec<_> = kinds.iter().map(|kind| (text(kind, 1), text(kind, 2))).collect();
    assert_eq!(kinds, [("inuse_objects", "count"), ("inuse_space", "bytes")]);
    let functions: BTreeMap<u64, String> =
        messages(&profile, 5).map(fields).map(|one| (number(&one, 1), text(&one, 2).to_owned())).collect();
    let places: BTreeMap<u64, &String> = messages(&profile, 4)
        .map(fields)
        .map(|place| {
            let line = fields(messages(&place, 4).next().unwrap());
            (number(&place, 1), &functions[&number(&line, 1)])
        })
        .collect();
    let mut held = BTreeMap::new();
    for sample in messages(&profile, 2).map(fields) {
        let [objects, bytes] = packed(messages(&sample, 2).next().unwrap())[..] else { panic!("two numbers a stack") };
        assert!(0 < objects && objects <= bytes);
        let mut names: Vec<&String> =
            packed(messages(&sample, 1).next().unwrap()).iter().map(|place| places[place]).collect();
        names.sort();
        names.dedup();
        names.into_iter().for_each(|name| *held.entry(name.clone()).or_default() += bytes);
    }
    assert!(!held.is_empty());
    held
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message: <https://protobuf.dev/programming-guides/encoding/>.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        found.push(match tag & 7 {
            0 => (tag >> 3, Field::Number(value)),
            2 => {
                let (one, rest) = bytes.split_at(value as usize);
                bytes = rest;
                (tag >> 3, Field::Bytes(one))
            }
            other => panic!("a profile has no fields of type {other}"),
        });
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without end")
}

fn packed(mut bytes: &[u8]) -> Vec<u64> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(varint(&mut bytes));
    }
    values
}

fn messages<'a>(of: &[(u64, Field<'a>)], field: u64) -> impl Iterator<Item = &'a [u8]> {
    of.iter().filter_map(move |(number, value)| match value {
        Field::Bytes(bytes) if *number == field => Some(*bytes),
        Field::Bytes(_) | Field::Number(_) => None,
    })
}

fn number(of: &[(u64, Field<'_>)], field: u64) -> u64 {
    let found = of.iter().find_map(|(number, value)| match value {
        Field::Number(value) if *number == field => Some(*value),
        Field::Bytes(_) | Field::Number(_) => None,
    });
    found.unwrap_or(0)
}

#[test]
fn who_may_look_into_the_process_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str, more: &str| NodeProcess::start_with(&dir.path().join(name), more, |_| {});
    let status = |node: &NodeProcess, headers: &[(&str, &str)]| node.get_with("GET", "/debug/memory", headers).status;

    let off = start("off", "[http]\ndebug = \"off\"\n");
    assert_eq!(status(&off, &[]), 403);
    assert_eq!([HEAP, PROFILE].map(|path| off.get(path).status), [403, 403]);

    // Nobody has a token: nobody may.
    let none = start("none", "[http]\ndebug = \"token\"\n");
    assert_eq!(status(&none, &[]), 401);

    let hash = |token: &str| {
        use sha2::Digest as _;
        sha2::Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let tokens = format!(
        "[auth]\nmode = \"tokens\"\ntokens = [\"op@example.org operator {}\", \"ed@example.org editor {}\"]\n[http]\ndebug = \"token\"\n",
        hash("let-me-operate"),
        hash("let-me-edit"),
    );
    let node = start("tokens", &tokens);
    assert_eq!(status(&node, &[]), 401);
    assert_eq!(status(&node, &[("Authorization", "Bearer let-me-edit")]), 403);
    // From behind a proxy, too.
    let headers = [("Authorization", "Bearer let-me-operate"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(status(&node, &headers), 200);
}
