//! Who may do what.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{send, start};
use crate::db::Ground;
use crate::support::{run, segvault};

fn hash(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every write that there is: what it needs, and whether it changes something where it is allowed.
const WRITES: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/events", "editor"),
    ("PATCH", "/api/v1/events/e1", "editor"),
    ("POST", "/api/v1/events/e1/cancel", "editor"),
    ("POST", "/api/v1/events/e1/retry", "editor"),
    ("POST", "/api/v1/events/e1/link", "editor"),
    ("POST", "/api/v1/events/e1/reset", "operator"),
    ("POST", "/thrimshim/e1", "editor"),
    ("POST", "/thrimshim/manual-link/e1", "editor"),
    ("POST", "/thrimshim/reset/e1?force=true", "editor"),
    ("POST", "/thrimshim/auth-test", "editor"),
    ("POST", "/thrimshim/add-template", "artist"),
    ("POST", "/thrimshim/update-template/x", "artist"),
    ("POST", "/generate_videos/ch/source", "editor"),
];

#[test]
fn a_write_takes_a_token_with_its_role_and_changes_nothing_without() {
    let tokens: Vec<String> = ["reader", "editor", "artist", "operator"]
        .map(|role| format!("{role}@example.org {role} {}", hash(&format!("{role}-s3cret"))))
        .into();
    let ground = Ground::sqlite();
    let node = start(&ground, &format!("[auth]\nmode = \"tokens\"\ntokens = {tokens:?}\n"));
    let body = json!({ "id": "e1", "link": "http://v/1", "notes": "x" });
    let token = |role: &str| format!("{role}-s3cret");
    let event = json!({ "id": "e1", "notes": "as it was" });
    assert_eq!(send(&node, "POST", "/api/v1/events", Some(&token("editor")), &event).status, 201);
    let before = node.get("/api/v1/events/e1").json();
    assert_eq!(node.get("/api/v1/events/e1/history").json()[0]["by"], "editor@example.org");
    for (method, path, needed) in WRITES {
        let status = |token: Option<&str>| send(&node, method, path, token, &body).status;
        assert_eq!((status(None), status(Some(""))), (401, 401), "{path}");
        for role in ["reader", "editor", "artist", "operator"] {
            if role != *needed && role != "operator" {
                assert_eq!(status(Some(&token(role))), 403, "{role} {path}");
            }
        }
        assert_eq!(node.get("/api/v1/events/e1").json(), before, "{path}");
    }
    for (method, path, needed) in WRITES {
        let status = send(&node, method, path, Some(&token(needed)), &body).status;
        assert!(![401, 403, 405].contains(&status) || *path == "/thrimshim/manual-link/e1", "{path}: {status}");
    }
    // As editors of the existing system send it.
    let in_body = send(&node, "POST", "/thrimshim/auth-test", None, &json!({ "token": token("editor") }));
    assert_eq!(in_body.json(), "editor@example.org");

    let refused = send(&node, "POST", "/thrimshim/auth-test", Some("wr0ng"), &Value::Null);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    let mut guesses = 1;
    let closed = loop {
        let reply = send(&node, "POST", "/thrimshim/auth-test", Some("wr0ng"), &Value::Null);
        if reply.status == 429 {
            break reply;
        }
        guesses += 1;
        assert!(reply.status == 401 && guesses < 50, "{}", reply.text());
    };
    assert!(closed.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(send(&node, "POST", "/thrimshim/auth-test", Some(&token("editor")), &Value::Null).status, 429);
    assert_eq!(node.get("/api/v1/events/e1").status, 200, "reading goes on");
    let log = node.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("wr0ng") && !log.contains(&hash("editor-s3cret")));
    node.stop();
}

#[test]
fn beyond_the_loopback_nobody_writes_unless_it_is_said_twice() {
    let check = |sets: &[&str]| {
        let mut command = segvault();
        command.args(["config", "check"]);
        for set in sets {
            command.args(["--set", set]);
        }
        run(&mut command)
    };
    let wide = "node.listen=0.0.0.0:8000";
    assert_eq!(check(&[wide]).0, 0, "without a word, tokens are needed");
    let (code, _, faults) = check(&[wide, "auth.mode=none"]);
    assert!(code == 64 && faults.contains("anyone_may_write"), "{faults}");
    assert_eq!(check(&[wide, "auth.mode=none", "auth.anyone_may_write=true"]).0, 0);
    assert_eq!(check(&["auth.mode=none"]).0, 0);
    assert_eq!(check(&["auth.mode=tokens", "auth.anyone_may_write=true"]).0, 64);
    let (code, _, faults) = check(&["auth.tokens=[\"ann editor hunter2\"]"]);
    assert!(code == 64 && !faults.contains("hunter2"), "{faults}");
}

#[test]
fn a_node_that_others_can_reach_takes_no_write_by_default() {
    let ground = Ground::sqlite();
    let node = start(&ground, "[auth]\nmode = \"tokens\"\n");
    for token in [None, Some("anything")] {
        assert_eq!(send(&node, "POST", "/api/v1/events", token, &json!({ "id": "e1" })).status, 401);
    }
    assert_eq!(node.get("/thrimshim").json(), json!([]));
    node.stop();
}
