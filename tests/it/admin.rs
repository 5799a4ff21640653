//! `segvault admin`: what an operator with a shell asks of a node that runs, and changes.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{NodeProcess, eventually, run, segvault, small_spec, source};

/// What a node that runs answers `segvault admin`.
fn admin(node: &NodeProcess, command: &str) -> (i32, Value, String) {
    let dir = node.base.to_str().unwrap();
    let (code, out, err) = run(segvault().args(["admin", "--json", "--dir", dir]).args(command.split(' ')));
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

#[test]
fn an_operator_asks_a_running_node_restarts_a_part_and_sets_levels() {
    let dir = tempfile::tempdir().unwrap();
    let live = source(&small_spec(), 20, 1);
    let node = NodeProcess::start(&dir.path().join("base"), &[("ch", &live.url(), &["source"])]);
    eventually("it records", || (!node.acknowledged("source").is_empty()).then_some(()));
    let of = |actors: &Value, kind: &str| {
        let all = actors.as_array().unwrap().iter();
        all.filter(|actor| actor["kind"] == kind).map(|actor| actor["restarts"].as_u64().unwrap()).sum::<u64>()
    };
    let (code, actors, _) = admin(&node, "actors");
    assert_eq!((code, of(&actors, "hour_cache")), (0, 0), "{actors}");
    let (code, restarted, _) = admin(&node, "restart stream_worker ch source");
    assert_eq!(code, 0);
    let restarted: Vec<&str> =
        restarted["restarted"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(restarted.contains(&"stream_worker ch source"), "{restarted:?}");
    eventually("it is built anew", || (of(&admin(&node, "actors").1, "stream_worker") >= 1).then_some(()));
    let had = node.acknowledged("source").len();
    eventually("it records again", || (node.acknowledged("source").len() > had + 2).then_some(()));
    assert_eq!(node.logged("an operator has actors built anew").len(), 1);

    assert_eq!(admin(&node, "level actors debug").1, json!({ "level": "info", "modules": { "actors": "debug" } }));
    assert_eq!(admin(&node, "level warning").1["level"], "warning");
    assert_eq!(admin(&node, "level actors default").1["modules"], json!({}));
    let (_, in_flight, _) = admin(&node, "inflight");
    assert!(in_flight.as_array().unwrap().iter().any(|door| door["door"] == "disk: recording"), "{in_flight}");
    assert!(!admin(&node, "caches").1.as_array().unwrap().is_empty());
    assert_eq!(admin(&node, "node").1["ready"], true);
    let (code, _, said) = admin(&node, "restart nobody");
    assert_eq!((code, said.trim()), (1, "segvault: there is no nobody \"\"; `actors` lists them"));
    let (_, table, _) = run(segvault().args(["admin", "--dir", node.base.to_str().unwrap(), "actors"]));
    assert!(table.starts_with("kind ") && table.contains("\nstream_worker "), "{table}");
    let socket = node.base.join(".segvault/admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let base = node.base.clone();
    node.stop();
    let (code, _, said) = run(segvault().args(["admin", "--dir", base.to_str().unwrap(), "actors"]));
    assert!(code == 1 && said.contains("does one run on this directory"), "{said}");
}
