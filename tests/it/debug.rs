//! `/debug/…`: who looks for a fault sees what the node does, and nobody else; the node goes on recording.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{NodeProcess, eventually, small_spec, source, try_get};

const PROFILE: &str = "/debug/pprof/profile";
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
    for path in [PROFILE, "/debug/memory", "/debug/pprof/heap"] {
        for header in [("X-Forwarded-For", "192.0.2.1"), ("Origin", "https://example.org")] {
            let reply = node.get_with("GET", path, &[header]);
            assert_eq!((reply.status, reply.json()["code"].clone()), (403, "debug_closed".into()), "{path} {header:?}");
        }
    }
    let memory = node.get("/debug/memory").json();
    let of = |key: &str| memory[key].as_u64().unwrap();
    assert!(of("resident_bytes") > 4 << 20 && of("anonymous_bytes") > 0 && of("files_bytes") > 0, "{memory}");
    assert_eq!(of("resident_bytes"), of("heap_bytes") + of("anonymous_bytes") + of("files_bytes"));
    assert_eq!(node.get("/debug/pprof/heap").json()["code"], "no_heap_profile");
    assert!(node.get("/metrics").text().contains("route=\"/debug\""));

    let had = node.acknowledged("source").len();
    eventually("it goes on recording", || (node.acknowledged("source").len() > had + 1).then_some(()));
    let losses = node.get("/losses/ch/source").json();
    assert_eq!(losses, serde_json::json!([]), "nothing was lost meanwhile");
    node.stop();
}

#[test]
fn who_may_look_into_the_process_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str, more: &str| NodeProcess::start_with(&dir.path().join(name), more, |_| {});
    let status = |node: &NodeProcess, headers: &[(&str, &str)]| node.get_with("GET", "/debug/memory", headers).status;

    let off = start("off", "[http]\ndebug = \"off\"\n");
    assert_eq!(status(&off, &[]), 403);

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
