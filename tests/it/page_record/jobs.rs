//! The view of jobs.

use serde_json::{Value, json};

use super::chrome::Chrome;
use crate::events::send;
use crate::support::NodeProcess;

#[test]
fn jobs_are_followed_without_a_reload_and_what_was_typed_outlives_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start_with(&dir.path().join("base"), "", |_| {});
    crate::support::eventually("the database is there", || (node.get("/api/v1/events").status == 200).then_some(()));
    let post = |path: &str, body: Value| {
        let reply = send(&node, "POST", path, None, &body);
        assert!(reply.status < 300, "{path}: {}", reply.text());
        reply.json()
    };
    let patch = |id: &str, body: Value| {
        let reply = send(&node, "PATCH", &format!("/api/v1/events/{id}"), None, &body);
        assert!(reply.status < 300, "{}", reply.text());
    };
    let note = |id: &str, start: &str| {
        post("/api/v1/events", json!({ "id": id, "description": format!("What {id} is"), "event_start": start }));
    };
    note("e1", "2026-01-02T03:00:00");
    let mut chrome = Chrome::start(1920, 1080);
    chrome.open(&format!("{}/#/jobs", node.url()));
    chrome.until_text(".jobs", "What e1 is");

    // Somebody else notes another one, which begins later: it stands first.
    note("e2", "2026-01-03T03:00:00");
    chrome.until_text(".jobs", "What e2 is");
    assert!(chrome.text(".jobs tbody tr:first-child").contains("What e2 is"));

    // Two change the title of one.
    chrome.eval("[...document.querySelectorAll('.jobs a')].find((one) => one.innerText === 'What e1 is').click()");
    chrome.until_text(".event", "Save");
    chrome.until("document.querySelector('.event h2').innerText === 'What e1 is'");
    chrome.type_into("input[name=video_title]", "Mine");
    patch("e1", json!({ "video_title": "Theirs", "video_description": "of theirs" }));
    chrome.until_text(".jobs", "Theirs");
    chrome.until_text(".conflict", "What you typed is still here");
    let title = "document.querySelector('input[name=video_title]').value";
    assert_eq!(chrome.eval(title), "Mine");
    assert!(chrome.text(".event .theirs").contains("It says by now: Theirs"));

    // A reload in the middle of it loses nothing either; the address has the event.
    let address = chrome.eval("location.href").as_str().unwrap().to_owned();
    assert!(address.contains("event=e1"), "{address}");
    chrome.eval("window.isOld = true; location.reload()");
    chrome.until(&format!("!window.isOld && document.querySelector('input[name=video_title]') && {title} === 'Mine'"));
    chrome.until_text(".conflict", "What you typed is still here");
    chrome.press("Save");
    chrome.until_text(".event", "Saved.");
    let now = node.get("/api/v1/events/e1").json();
    assert_eq!((&now["video_title"], &now["video_description"]), (&json!("Mine"), &json!("of theirs")));
    chrome.assert_open_to_all("jobs");

    // Published by somebody, and seen here; the filter is part of the address.
    post("/api/v1/events/e1/link", json!({ "link": "https://videos.example.org/1" }));
    chrome.until_text(".event .pill", "published");
    chrome.until_text(".event", "https://videos.example.org/1");
    chrome.press("published");
    chrome.until("document.querySelectorAll('.jobs tbody tr').length === 1");
    assert!(chrome.eval("location.hash").as_str().unwrap().contains("state=DONE"));
    chrome.press("published");
    chrome.type_into("input[name=text]", "e2");
    chrome.until("document.querySelector('.jobs tbody').innerText.includes('What e2 is') && document.querySelectorAll('.jobs tbody tr').length === 1");
    assert!(chrome.eval("location.hash").as_str().unwrap().contains("text=e2"));
    chrome.resize(360, 740);
    chrome.until("document.documentElement.scrollWidth <= innerWidth");
    chrome.assert_silent();
    node.stop();
}
