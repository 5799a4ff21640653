//! `/api/v1/events…` and the document that describes it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{over_both, send, start};
use crate::db::Ground;
use crate::postgres::Postgres;
use crate::support::{NodeProcess, PATIENCE, eventually};

over_both! {
    events_are_noted_listed_changed_and_told_of,
    each_operation_of_the_document_is_answered_as_it_says,
}

fn note(node: &NodeProcess, id: &str, description: &str) {
    let event = json!({ "id": id, "description": description });
    assert_eq!(send(node, "POST", "/api/v1/events", None, &event).status, 201);
}

fn events_are_noted_listed_changed_and_told_of(ground: Ground) {
    let node = start(&ground, "");
    let mut told = BufReader::new(node.ask("/api/v1/events/stream")).lines();
    let end = Instant::now() + PATIENCE;
    let mut line = || {
        // A quiet stream is not a silent one: it ends no read.
        assert!(Instant::now() < end, "the rest was not told");
        told.next().unwrap().unwrap()
    };
    // What happens before it listens is not told.
    while !line().starts_with(": ") {}
    let mut next = || loop {
        if let Some(data) = line().strip_prefix("data: ") {
            break serde_json::from_str::<Value>(data).unwrap();
        }
    };
    for number in 0..5 {
        note(&node, &format!("e{number}"), if number == 3 { "A rare one" } else { "A run" });
    }
    assert_eq!(send(&node, "POST", "/api/v1/events", None, &json!({ "id": "e1" })).json()["code"], "taken");
    let page = node.get("/api/v1/events?limit=3").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let rest = node.get(&format!("/api/v1/events?limit=3&after={}", page["next"].as_str().unwrap())).json();
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    let rare = node.get("/api/v1/events?text=RARE&state=UNEDITED&state=DONE").json();
    assert_eq!((&rare["events"][0]["id"], rare["events"].as_array().unwrap().len()), (&json!("e3"), 1));
    for bad in ["state=done", "limit=0", "limit=501", "after=x", "from=yesterday", "text=%00"] {
        assert_eq!(node.get(&format!("/api/v1/events?{bad}")).status, 400, "{bad}");
    }

    let patch = |body: Value| send(&node, "PATCH", "/api/v1/events/e1", None, &body);
    let first = patch(json!({ "version": 1, "tags": ["a"], "video_title": "T" })).json();
    assert_eq!(
        (&first["version"], &first["state"], &first["editor"]),
        (&json!(2), &json!("UNEDITED"), &json!("anyone"))
    );
    let stale = patch(json!({ "version": 1, "tags": ["b"] }));
    let message = stale.json()["message"].as_str().unwrap().to_owned();
    assert!(stale.status == 409 && message.contains("version 2") && message.contains("video_title"), "{message}");
    for (body, status) in [
        (json!({ "state": "EDITED" }), 400),
        (json!({ "state": "CLAIMED" }), 400),
        (json!({ "uploader": "alpha" }), 400),
        (json!({ "color": "red" }), 400),
        (json!({ "version": "1" }), 400),
        (json!({ "state": "MODIFIED" }), 409),
        (json!({ "tags": ["a"] }), 200),
    ] {
        let reply = patch(body.clone());
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
    let link = json!({ "link": "https://v/1" });
    assert_eq!(send(&node, "POST", "/api/v1/events/e1/link", None, &link).json()["state"], "DONE");
    assert_eq!(send(&node, "POST", "/api/v1/events/e1/cancel", None, &Value::Null).status, 409);
    assert_eq!(send(&node, "POST", "/api/v1/events/e1/reset", None, &Value::Null).json()["state"], "UNEDITED");

    // Every change was told, each once, the others' too.
    let mut seen = Vec::new();
    while seen.len() < 8 {
        let line = next();
        seen.push((line["event_id"].as_str().unwrap().to_owned(), line["version"].as_i64().unwrap()));
    }
    let of_e1: Vec<i64> = seen.iter().filter(|(id, _)| id == "e1").map(|(_, version)| *version).collect();
    assert_eq!((of_e1, seen.iter().collect::<BTreeSet<_>>().len()), (vec![1, 2, 3, 4], 8));
    // A listener does not hold up a stop.
    let began = Instant::now();
    node.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// What the routes' source says that there is.
fn routed() -> BTreeSet<String> {
    let rooms = ["events_api", "node_api"];
    let read =
        |room| std::fs::read_to_string(format!("{}/src/http/{room}/mod.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let source = rooms.map(read).concat().replace("resource_for(", "resource(");
    let patterns = source.split("resource(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    let paths = patterns.map(|rest| rest.split('"').next().unwrap().to_owned());
    paths.filter(|path| path != "/api/openapi.json").collect()
}

fn each_operation_of_the_document_is_answered_as_it_says(ground: Ground) {
    let node = start(&ground, "");
    note(&node, "e1", "x");
    let document = node.get("/api/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), routed());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            if let Some(name) = schema.as_str() {
                assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
            }
            if path.ends_with("/stream") {
                continue;
            }
            // Whatever is sent, the answer is one of those in the document.
            for id in ["e1", "none", ".hidden", "%00", "é"] {
                for body in [Value::Null, json!({}), json!({ "id": 5 }), json!({ "id": "e1", "link": "http://v" })] {
                    let asked = path.replace("{id}", id).replace("{channel}", id).replace("{quality}", id);
                    let reply = send(&node, &method.to_uppercase(), &asked, None, &body);
                    let documented = &operation["responses"][reply.status.to_string()];
                    assert!(documented.is_object(), "{method} {asked} {body}: {} {}", reply.status, reply.text());
                    assert!(reply.status < 500, "{}", reply.text());
                }
            }
        }
        let path = path.replace("{id}", "e1").replace("{channel}", "e1").replace("{quality}", "e1");
        assert_eq!(send(&node, "DELETE", &path, None, &Value::Null).status, 405, "{path}");
    }
    node.stop();
}

#[test]
fn while_the_database_is_down_it_is_said_and_soon_at_once() {
    let mut server = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground { url: server.new_database(), dir };
    let node = start(&ground, "");
    note(&node, "e1", "x");
    server.down();
    let down = eventually("a 503", || Some(node.get("/thrimshim/e1")).filter(|reply| reply.status == 503));
    assert!(!down.header("retry-after").is_empty() && !down.text().contains("127.0.0.1"), "{}", down.text());
    let took = |path: &str| {
        let began = Instant::now();
        assert_eq!(node.get(path).status, 503);
        began.elapsed()
    };
    // After a few failures nobody waits, but who looks whether it is back; the rest of the node goes on.
    eventually("an answer at once", || (took("/api/v1/events") < Duration::from_millis(500)).then_some(()));
    assert_eq!(node.get("/files").status, 200);
    server.up();
    let back = eventually("it is back", || Some(node.get("/api/v1/events/e1")).filter(|reply| reply.status == 200));
    assert_eq!(back.json()["description"], "x");
    node.stop();
}
