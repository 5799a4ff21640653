//! Mark and cut: with the keyboard alone, to the frame; jobs; and who is kept out of the page by how it is made.

use std::fs;

use segvault::rehearsal::barcode;
use serde_json::{Value, json};

use super::chromium::Chromium;
use super::{ANY_PORT, PLAYS, Stage, kept_in, wait_for_something};
use crate::support::{eventually, request};

const AXE: &str = include_str!("vendor/axe-core/axe.min.js");
/// Longest of the ranges that are cut; the source has 30 frames a second.
const FRAMES: u32 = 30;

#[test]
fn the_keyboard_alone_cuts_exactly_the_frames_that_were_marked() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1500, 1000);
    let downloads = chromium.downloads();
    chromium.open(&format!("{}/#/cut/c/source", node.url()));
    chromium.until(PLAYS);
    chromium.press("k");
    for _ in 0..3 {
        chromium.go("Shift+ArrowLeft");
    }
    let first = mark(&mut chromium, &["Shift+ArrowRight", "ArrowRight", "ArrowRight"]);
    chromium.go("ArrowRight");
    let second = mark(&mut chromium, &["Shift+ArrowRight", "ArrowLeft"]);
    assert_eq!((first.1 - first.0, second.1 - second.0), (FRAMES + 2, FRAMES - 1), "{first:?}, {second:?}");
    assert_eq!(second.0, first.1 + 1);
    chromium.until("document.querySelectorAll('.range').length === 2");

    // A cross-fade of ten frames, typed: `t` goes to the list, its first letters choose, Tab goes to the seconds.
    chromium.until("document.querySelectorAll('.joint option').length > 5");
    chromium.press("t");
    for letter in ["f", "a", "d", "e"] {
        chromium.press(letter);
    }
    chromium.until("document.querySelector('.joint select').value === 'fade'");
    chromium.press("Tab");
    chromium.value("document.activeElement.select()");
    chromium.type_in("0.5");
    chromium.press("Tab");
    chromium.until("document.activeElement.textContent === 'Preview'");
    chromium.press("p");
    chromium.until("document.querySelector('dialog video')?.currentTime > 0.1");
    chromium.press("Escape");
    chromium.until("!document.querySelector('dialog')");

    // A reload loses nothing.
    let total = chromium.text(".total");
    chromium.value("window.isOld = true; location.reload()");
    chromium.until("!window.isOld && document.querySelector('.joint select')?.value === 'fade'");
    chromium.until("[...document.querySelectorAll('.frame')].every((frame) => frame.naturalWidth > 0)");
    assert_eq!(chromium.text(".total"), total);
    chromium.picture(&kept_in().join("cut.png"));
    chromium.press("x");
    chromium.until("document.querySelector('.download-said')?.textContent.startsWith('Done')");
    let file = eventually("the file is there", || {
        let files = fs::read_dir(&downloads).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "ts"))
    });
    let frames = barcode::read_each(&file).unwrap();
    let fade = FRAMES / 2;
    let expected = (first.1 - first.0 + 1) + (second.1 - second.0 + 1) - fade;
    assert_eq!(frames.len() as u32, expected, "{frames:?}");
    let before: Vec<_> = (first.0..=first.1 - fade).map(Some).collect();
    let behind: Vec<_> = (second.0 + fade..=second.1).map(Some).collect();
    assert_eq!(frames[..before.len()], before, "{frames:?}");
    assert_eq!(frames[frames.len() - behind.len()..], behind, "{frames:?}");
    assert!(chromium.text(".download-said").contains(&format!("{expected} frames")));

    chromium.press("ArrowUp");
    chromium.press("Delete");
    chromium.until("document.querySelectorAll('.range').length === 1 && !document.querySelector('.joint')");
    chromium.press("Ctrl+z");
    chromium.until("document.querySelectorAll('.range').length === 2");
    assert_eq!(chromium.text(".total"), total, "with its transition");
    chromium.press("Ctrl+y");
    chromium.until("document.querySelectorAll('.range').length === 1");
    chromium.assert_silent();
}

/// Marks from the frame on the screen to where these keys lead, and adds the range; the numbers of both frames.
fn mark(chromium: &mut Chromium, keys: &[&str]) -> (u32, u32) {
    let first = chromium.frame();
    chromium.press("i");
    for key in keys {
        chromium.go(key);
    }
    let last = chromium.frame();
    chromium.press("o");
    chromium.press("a");
    (first, last)
}

#[test]
fn a_job_is_filed_and_a_conflict_is_explained_with_nothing_lost() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let listed = node.get("/coverage/c/source").json();
    let (start, end) = (listed["start"].as_str().unwrap(), listed["end"].as_str().unwrap());
    let mut chromium = Chromium::start(1500, 1000);
    chromium.open(&format!("{}/#/cut/c/source?range={start},{end}&at={start}", node.url()));
    chromium.until("document.querySelectorAll('.range').length === 1");
    for (name, text) in [("title", "A run"), ("description", "As it was"), ("tags", "a, b"), ("location", "local")] {
        chromium.fill(name, text);
    }
    chromium.press("Enter");
    chromium.until("document.querySelector('.job > p')?.textContent.startsWith('Filed as')");
    let events = node.get("/api/v1/events").json();
    let event = &events["events"][0];
    assert_eq!(
        (&event["state"], &event["video_title"], &event["video_tags"]),
        (&json!("EDITED"), &json!("A run"), &json!(["a", "b"]))
    );
    assert_eq!(event["video_ranges"], json!([[start, end]]));

    // Somebody else changes it; then we do.
    let id = event["id"].as_str().unwrap();
    let theirs = change(&node, id, &json!({ "video_title": "Their run" }));
    assert_eq!(theirs["video_title"], "Their run");
    chromium.fill("title", "My run");
    chromium.press("Enter");
    chromium.until("document.querySelector('dialog[open] h2')?.textContent.startsWith('Somebody else')");
    let told = chromium.text("dialog");
    assert!(told.contains("My run") && told.contains("Their run"), "{told}");
    chromium.picture(&kept_in().join("conflict.png"));
    chromium.press("Escape");
    chromium.until("!document.querySelector('dialog')");
    assert_eq!(chromium.value("document.querySelector('.job [name=title]').value"), "My run");
    // The refusal is an answer of 409, which the browser notes by itself.
    let others: Vec<_> = chromium.said().into_iter().filter(|(_, said)| !said.contains("409")).collect();
    assert!(others.is_empty(), "the console: {others:#?}");
}

fn change(node: &crate::support::NodeProcess, id: &str, fields: &Value) -> Value {
    let address = node.url().replace("http://", "");
    let body = fields.to_string();
    let length = body.len().to_string();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "PATCH /api/v1/events/{id} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let reply = crate::support::read_reply(stream, false);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[test]
fn nobody_is_kept_out_of_a_view_by_how_it_is_made() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let listed = node.get("/coverage/c/source").json();
    let (start, end) = (listed["start"].as_str().unwrap(), listed["end"].as_str().unwrap());
    let mut chromium = Chromium::start(1400, 900);
    let views = ["watch/c/source".to_owned(), format!("cut/c/source?range={start},{end}")];
    for view in &views {
        chromium.open("about:blank");
        chromium.open(&format!("{}/#/{view}", node.url()));
        chromium.until(PLAYS);
        chromium.press("k");
        chromium.value(AXE);
        for scheme in ["dark", "light"] {
            chromium.prefer(scheme);
            let found = chromium.value(
                "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations\
                 .filter(({ impact }) => impact === 'serious' || impact === 'critical')\
                 .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`))",
            );
            assert_eq!(found, json!([]), "{scheme}, {view}");
            let name = view.split('/').next().unwrap();
            chromium.picture(&kept_in().join(format!("{name}-{scheme}.png")));
        }
    }
    chromium.assert_silent();
}

#[test]
fn the_page_is_sent_as_it_may_be() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    let page = node.get("/");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((page.status, page.header("x-content-type-options")), (200, "nosniff"));
    let gzipped = node.get_with("GET", "/ui/app.js", &[("Accept-Encoding", "gzip")]);
    assert_eq!(gzipped.header("content-encoding"), "gzip");
    let plain = node.get("/ui/app.js");
    assert!(plain.body.len() > gzipped.body.len() && plain.header("content-encoding").is_empty());
    let tag = plain.header("etag").to_owned();
    let address = node.url().replace("http://", "");
    assert_eq!(request(&address, "GET", "/ui/app.js", &[("If-None-Match", &tag)]).status, 304);
    for path in ["/ui/", "/ui/..%2fCargo.toml", "/ui/tsconfig.json", "/ui/vendor"] {
        assert_eq!(node.get(path).status, 404, "{path}");
    }
}
