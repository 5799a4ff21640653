//! What a node tells of itself and of others, and what is done about the record over HTTP.

use std::path::Path;
use std::time::Duration;

use segvault::model::SegmentHash;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::events::send;
use crate::replicate::static_peer::StaticPeer;
use crate::support::{NodeProcess, eventually, free_address};

const HOUR: &str = "2026-01-02T03";

/// A node of channel `ch`, which it copies from `peers`.
pub fn start(base: &Path, name: &str, address: &str, peers: &[String]) -> NodeProcess {
    let listed = if peers.is_empty() { String::new() } else { format!("peers = {peers:?}\n") };
    let more = format!("[backfill]\n{listed}channels = [\"ch\"]\ninterval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |command| {
        command.args(["--set", &format!("node.listen={address:?}"), "--set", &format!("node.name={name:?}")]);
    })
}

/// A segment of two seconds in the record; its name.
fn plant(base: &Path, offset: &str, bytes: &[u8]) -> String {
    let hash = SegmentHash::from_bytes(Sha256::digest(bytes).into());
    let (hour, name) = (base.join("ch/source").join(HOUR), format!("{offset}-2.0-full-{hash}.ts"));
    std::fs::create_dir_all(&hour).unwrap();
    std::fs::write(hour.join(&name), bytes).unwrap();
    name
}

fn of<'v>(nodes: &'v Value, url: &str) -> &'v Value {
    nodes["nodes"].as_array().unwrap().iter().find(|node| node["url"] == url).unwrap_or(&Value::Null)
}

#[test]
fn one_address_tells_how_all_nodes_are_and_what_each_has() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs, listed) = (dir.path().join("ours"), dir.path().join("theirs"), dir.path().join("listed"));
    for (base, offsets) in
        [(&ours, ["00:00.0", "00:04.0"]), (&theirs, ["00:00.0", "00:06.0"]), (&listed, ["00:00.0", "00:04.0"])]
    {
        offsets.iter().for_each(|offset| drop(plant(base, offset, offset.as_bytes())));
    }
    let (address, dead) = (free_address(), format!("http://{}", free_address()));
    let other = start(&theirs, "other", &address, &[]);
    let existing = StaticPeer::honest(&listed);
    // So that nothing is copied while the test looks, all of it is too old.
    let more = format!(
        "[backfill]\npeers = {:?}\nchannels = [\"ch\"]\ninterval = \"1s\"\nsince = \"2026-02-01\"\n",
        [other.url(), existing.url(), dead.clone()]
    );
    let node = NodeProcess::start_with(&ours, &more, |_| {});

    let own = eventually("it is ready", || {
        let own = node.get("/api/v1/node").json();
        (own["ready"] == true).then_some(own)
    });
    assert_eq!(
        (&own["name"], &own["not_ready"], &own["recording"]),
        (&json!("test"), &Value::Null, &json!([])),
        "{own}"
    );
    assert!(
        own["actors"].as_array().unwrap().iter().any(|actor| actor["kind"] == "peer_book" && actor["restarts"] == 0)
    );
    let peers = eventually("each peer was asked", || {
        let own = node.get("/api/v1/node").json();
        let peers = own["peers"].as_array()?.clone();
        let standing = |url: &str| peers.iter().find(|peer| peer["url"] == url).map(|peer| peer["standing"].clone());
        let all = [other.url(), existing.url(), dead.clone()].map(|url| standing(&url));
        (all == [Some(json!("there")), Some(json!("there")), Some(json!("failing"))]).then_some(peers)
    });
    assert!(peers.iter().all(|peer| (peer["standing"] == "failing") == peer["error"].is_string()), "{peers:?}");
    eventually("the disk was measured", || node.get("/api/v1/node").json()["disk"]["free_bytes"].as_u64());

    // A machine that has no time may answer late, which is told as silence.
    let nodes = eventually("all that live answer in time", || {
        let nodes = node.get("/api/v1/nodes").json();
        let is_whole = of(&nodes, &other.url())["error"].is_null() && of(&nodes, &existing.url())["error"].is_null();
        is_whole.then_some(nodes)
    });
    assert!(nodes["nodes"][0]["self"] == true && nodes["nodes"][0]["state"]["name"] == "test", "{nodes}");
    assert_eq!(of(&nodes, &other.url())["state"]["name"], "other");
    let existing_one = of(&nodes, &existing.url());
    assert!(existing_one["state"].is_null() && existing_one["listed"].is_array(), "{existing_one}");
    assert!(of(&nodes, &dead)["error"].is_string(), "{nodes}");

    let path = format!("/api/v1/coverage/ch/source?start={HOUR}:00:00&end={HOUR}:00:08");
    let told = eventually("all that live tell in time", || {
        let told = node.get(&path).json();
        let tells = |url: &str| of(&told, url)["coverage"].is_object();
        (tells(&other.url()) && tells(&existing.url())).then_some(told)
    });
    let holes = |row: &Value| -> Vec<String> {
        let holes = row["coverage"]["holes"].as_array().unwrap().iter();
        holes
            .map(|hole| {
                format!("{}-{}", &hole["start"].as_str().unwrap()[17..19], &hole["end"].as_str().unwrap()[17..19])
            })
            .collect()
    };
    assert_eq!(holes(&told["nodes"][0]), ["02-04", "06-08"], "{told}");
    assert_eq!(holes(of(&told, &other.url())), ["02-06"]);
    assert_eq!(holes(of(&told, &existing.url())), ["02-04", "06-08"]);
    assert_eq!(
        (&of(&told, &existing.url())["listed"], &of(&told, &other.url())["listed"]),
        (&json!(true), &json!(false))
    );
    assert!(of(&told, &dead)["error"].is_string());
    for bad in ["window=0", "window=1e3", "start=junk&end=junk", "window=9999999"] {
        assert_eq!(node.get(&format!("/api/v1/coverage/ch/source?{bad}")).status, 400, "{bad}");
    }
    other.stop();
    node.stop();
}

#[test]
fn a_range_is_hidden_as_it_was_shown_before_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let first = plant(&base, "00:00.0", b"a");
    let node = start(&base, "test", "127.0.0.1:0", &[]);
    let post = |body: Value| send(&node, "POST", "/api/v1/tombstones/ch", None, &body);
    let range = |more: Value| {
        let mut body = json!({ "from": format!("{HOUR}:00:00"), "to": format!("{HOUR}:00:03") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let shown = post(range(json!({ "dry_run": true }))).json();
    let is_there = |name: &str| node.get(&format!("/segments/ch/source/{HOUR}/{name}")).status;
    assert_eq!((&shown["files"], &shown["hidden_files"], is_there(&first)), (&json!(1), &json!(0), 200), "{shown}");
    let later = plant(&base, "00:02.0", b"b");
    let refused = post(range(json!({ "mark": shown["mark"] })));
    assert_eq!((refused.status, &refused.json()["code"], is_there(&first)), (409, &json!("changed"), 200));
    let shown = post(range(json!({ "dry_run": true }))).json();
    let hidden = post(range(json!({ "mark": shown["mark"], "reason": "a name on screen" })));
    assert_eq!((hidden.status, is_there(&first), is_there(&later)), (200, 410, 410), "{}", hidden.text());
    let listed = node.get("/api/v1/tombstones/ch?nodes=true").json();
    let rows = listed["tombstones"].as_array().unwrap();
    assert_eq!((rows.len(), &listed["more"]), (2, &json!(false)), "{listed}");
    assert!(rows.iter().all(|row| row["reason"] == "a name on screen" && row["bytes"] == true), "{listed}");
    assert_eq!(rows[1]["start"], format!("{HOUR}:00:00.000000"), "the latest first");
    let one = node.get("/api/v1/tombstones/ch?limit=1").json();
    assert_eq!((one["tombstones"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));
    for (body, status) in [
        (json!({}), 400),
        (range(json!({ "quality": "absent" })), 404),
        (range(json!({ "quality": "../up" })), 403),
        (range(json!({ "dry_run": "yes" })), 400),
        (range(json!({ "forever": true })), 400),
        (json!({ "from": "2026-01-01", "to": "2026-01-03" }), 400),
    ] {
        assert_eq!(post(body.clone()).status, status, "{body}");
    }
    node.stop();
}

#[test]
fn whether_a_node_may_be_stopped_is_found_out_beside_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    plant(&ours, "00:00.0", b"a");
    plant(&theirs, "00:00.0", b"a");
    plant(&ours, "00:02.0", b"b");
    let address = free_address();
    let other = start(&theirs, "other", &address, &[]);
    let node = start(&ours, "test", "127.0.0.1:0", &[format!("http://{address}")]);
    eventually("the peer is known", || {
        node.get("/api/v1/node").json()["peers"].as_array().filter(|peers| !peers.is_empty()).map(drop)
    });
    assert_eq!(node.get("/api/v1/drain-check").json()["state"], "never");
    let check = || {
        let begun = send(&node, "POST", "/api/v1/drain-check", None, &json!({}));
        assert_eq!((begun.status, &begun.json()["state"]), (202, &json!("running")));
        eventually("it is known", || {
            let told = node.get("/api/v1/drain-check").json();
            (told["state"] != "running").then_some(told)
        })
    };
    let told = check();
    assert_eq!(
        (&told["state"], &told["may_stop"], &told["streams"][0]["seconds"]),
        (&json!("done"), &json!(false), &json!(2.0)),
        "{told}"
    );
    assert_eq!(told["asked"], json!([format!("http://{address}")]));
    plant(&theirs, "00:02.0", b"b");
    // A listing that the other just gave may be told again for a moment.
    std::thread::sleep(Duration::from_millis(100));
    eventually("it may be stopped", || (check()["may_stop"] == true).then_some(()));
    other.stop();
    node.stop();
}
