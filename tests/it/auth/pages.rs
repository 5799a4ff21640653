//! What pages in a browser may do on a node that asks nobody who they are.

use serde_json::json;

use super::{address, send, start};
use crate::db::Ground;
use crate::support::NodeProcess;

/// Tries to note an event; whether it was noted, and the status.
fn write(node: &NodeProcess, id: &str, headers: &[(&str, &str)]) -> (bool, u16) {
    let body = json!({ "id": id }).to_string();
    let status = send(&address(node), "POST", "/api/v1/events", headers, &body).status;
    (node.get(&format!("/api/v1/events/{id}")).status == 200, status)
}

#[test]
fn pages_of_strangers_do_not_write_to_a_node_on_this_machine() {
    let ground = Ground::sqlite();
    let node = start(&ground, "[auth]\norigins = [\"https://editor.example.org\"]\n");
    let here = address(&node);
    let port = here.rsplit(':').next().unwrap();
    let (own, by_name) = (format!("http://{here}"), format!("localhost:{port}"));
    let own_by_name = format!("http://{by_name}");
    let rebound = format!("evil.example:{port}");
    let rebound_page = format!("http://{rebound}");
    for (place, (headers, is_noted)) in [
        (&[][..], true),
        (&[("Origin", own.as_str())], true),
        (&[("Origin", &own_by_name), ("Host", &by_name)], true),
        (&[("Origin", "https://editor.example.org")], true),
        // As a proxy hands it on that keeps the name.
        (&[("Origin", "https://editor.example.org"), ("Host", "editor.example.org")], true),
        (&[("Origin", "https://evil.example")], false),
        (&[("Origin", "null")], false),
        (&[("Origin", "http://localhost:1")], false),
        (&[("Origin", &rebound_page), ("Host", &rebound)], false),
        (&[("Host", &rebound)], false),
    ]
    .into_iter()
    .enumerate()
    {
        let (found, status) = write(&node, &format!("e{place}"), headers);
        assert_eq!((found, status), (is_noted, if is_noted { 201 } else { 403 }), "{headers:?}");
    }
    for path in ["/thrimshim/e0", "/thrimshim/manual-link/e0", "/thrimshim/reset/e0", "/generate_videos/ch/source"] {
        let reply = send(&here, "POST", path, &[("Origin", "https://evil.example")], "{}");
        assert_eq!((reply.status, reply.text().contains("auth.origins")), (403, true), "{path}");
    }
    let read = send(&here, "GET", "/api/v1/events", &[("Origin", "https://evil.example")], "");
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "*"), "reading is open to all");
    node.stop();
}
