//! Mark and cut by mouse and with files, and what a range is warned of.

use std::fs;
use std::path::Path;
use std::process::Command;

use segvault::model::{SegmentHash, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::SETTLED;
use super::chromium::Chromium;
use crate::cut::plain_record;
use crate::jobs::copy_tree;
use crate::support::{NodeProcess, stored};

const START: &str = "2026-01-02T03:59:56";
const END: &str = "2026-01-02T03:59:59";

/// A node with 14 s of `ch`, from 03:59:54 on.
fn recorded(base: &Path) -> NodeProcess {
    copy_tree(plain_record(14).record.layout.base(), base);
    NodeProcess::start_with(base, "", |_| {})
}

fn open(chromium: &mut Chromium, node: &NodeProcess) {
    chromium.open(&format!("{}/#/cut/ch/source?range={START},{END}&at={START}", node.url()));
    chromium.until("document.querySelectorAll('.range').length === 1");
    chromium.until(SETTLED);
}

/// What stands in the fields of the only range.
fn edges(chromium: &mut Chromium) -> (Timestamp, Timestamp) {
    let mut edge = |at: usize| -> Timestamp {
        let text = chromium.value(&format!("document.querySelectorAll('.range .edge input')[{at}].value"));
        text.as_str().unwrap().replace(' ', "T").parse().unwrap()
    };
    (edge(0), edge(1))
}

fn drag(chromium: &mut Chromium, from: (f64, f64), by: f64) {
    let mut mouse = |kind: &str, x: f64, buttons: u32| {
        let button = if kind == "mouseMoved" && buttons == 0 { "none" } else { "left" };
        let event = json!({ "type": kind, "x": x, "y": from.1, "button": button, "buttons": buttons, "clickCount": 1 });
        chromium.tell("Input.dispatchMouseEvent", event);
    };
    mouse("mouseMoved", from.0, 0);
    mouse("mousePressed", from.0, 1);
    (1..=8).for_each(|step| mouse("mouseMoved", from.0 + by * f64::from(step) / 8.0, 1));
    mouse("mouseReleased", from.0 + by, 0);
}

#[test]
fn the_mouse_drags_the_edge_that_it_takes_hold_of_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let node = recorded(&dir.path().join("record"));
    let mut chromium = Chromium::start(1400, 1000);
    open(&mut chromium, &node);
    let before = edges(&mut chromium);
    // From eight minutes to fifteen seconds, with the range's beginning in the middle.
    (0..5).for_each(|_| chromium.press("="));
    let place = chromium.value(
        "(() => { const { left, top, width, height } = document.querySelector('.timeline').getBoundingClientRect(); \
         return [left + width / 2, top + height / 2, width / 15]; })()",
    );
    let [middle, y, second] = [0, 1, 2].map(|at| place[at].as_f64().unwrap());
    drag(&mut chromium, (middle + 3.0 * second, y), -second);
    let dragged = edges(&mut chromium);
    let asked = END.parse::<Timestamp>().unwrap().plus_micros(-1_000_000);
    assert_eq!(dragged.0, before.0);
    assert!((dragged.1.micros() - asked.micros()).abs() < 100_000, "{dragged:?} is not {asked}");
    chromium.press("Ctrl+z");
    assert_eq!(edges(&mut chromium), before, "it is one step to undo");
    // Beside the edges it moves the timeline alone, and a click goes there.
    drag(&mut chromium, (middle + 1.5 * second, y), -second);
    assert_eq!(edges(&mut chromium), before);
    drag(&mut chromium, (middle + 0.5 * second, y), 0.0);
    chromium.until("document.querySelector('.clock').textContent.startsWith('2026-01-02 03:59:57')");
    chromium.assert_silent();
    node.stop();
}

#[test]
fn a_picture_of_ones_own_becomes_the_thumbnail_and_anything_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = recorded(&dir.path().join("record"));
    let picture = dir.path().join("mine.png");
    let frame = node.get(&format!("/frame/ch/source.png?timestamp={START}"));
    assert_eq!(frame.status, 200, "{}", frame.text());
    fs::write(&picture, &frame.body).unwrap();
    let text = dir.path().join("notes.png");
    fs::write(&text, "no picture").unwrap();
    let mut chromium = Chromium::start(1400, 1000);
    open(&mut chromium, &node);
    chromium.value(
        "{ const mode = document.querySelector('.job [name=thumbnail]'); mode.value = 'CUSTOM'; \
         mode.dispatchEvent(new Event('change')); }",
    );
    chromium.choose_file(".job input[type=file]", &text);
    chromium.until("document.querySelector('.job').textContent.includes('notes.png is no PNG that can be shown.')");
    chromium.choose_file(".job input[type=file]", &picture);
    const SHOWN: &str = "document.querySelector('.job .thumbnail').checkVisibility() && document.querySelector('.job .thumbnail').naturalWidth === 192";
    chromium.until(SHOWN);
    // It is part of the draft.
    chromium.value("window.isOld = true; location.reload()");
    chromium.until(&format!("!window.isOld && document.querySelector('.job .thumbnail') && {SHOWN}"));
    chromium.fill("title", "With my picture");
    chromium.press("Enter");
    chromium.until("document.querySelector('.job > p')?.textContent === 'It needs a place to go: “Where to”.'");
    chromium.fill("location", "local");
    chromium.press("Enter");
    chromium.until("document.querySelector('.job > p')?.textContent.startsWith('Filed as')");
    let event = node.get("/api/v1/events").json()["events"][0].clone();
    let kept = node.get(&format!("/thrimshim/event-thumbnail/{}.png", event["id"].as_str().unwrap()));
    assert!(event["thumbnail_mode"] == "CUSTOM" && kept.body == frame.body, "{event}");
    chromium.assert_silent();
    node.stop();
}

#[test]
fn a_range_across_another_encoding_says_where_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("record");
    copy_tree(plain_record(14).record.layout.base(), &base);
    // From 03:59:58 on for two seconds.
    let (name, path) = stored(&base, "ch", "source").remove(2);
    let words = "-nostdin -v error -copyts -i IN -fps_mode passthrough -enc_time_base:v 1:90000 -vf scale=96:32 -c:v libx264 \
                 -preset veryfast -c:a aac -mpegts_copyts 1 -f mpegts -";
    let made = Command::new("ffmpeg")
        .args(words.split_whitespace().map(|word| if word == "IN" { path.to_str().unwrap() } else { word }))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let hash = SegmentHash::from_bytes(Sha256::digest(&made.stdout).into());
    let file = path.file_name().unwrap().to_str().unwrap();
    let (front, _) = file.split_once("-full-").unwrap();
    fs::write(path.with_file_name(format!("{front}-full-{hash}.ts")), &made.stdout).unwrap();
    fs::remove_file(&path).unwrap();
    let node = NodeProcess::start_with(&base, "", |_| {});
    let mut chromium = Chromium::start(1400, 1000);
    open(&mut chromium, &node);
    let at = name.start().to_string();
    assert!(at.starts_with("2026-01-02T03:59:58"), "{at}");
    chromium.until("document.querySelector('.warnings')?.textContent.includes('the encoding changes at 03:59:58')");
    assert!(chromium.text(".warnings").contains("what differs will be re-encoded"));
    // A range before it has nothing to be warned of.
    chromium.value(
        "{ const end = document.querySelectorAll('.range .edge input')[1]; end.value = '2026-01-02 03:59:57.5'; \
         end.dispatchEvent(new Event('change')); }",
    );
    chromium.until("document.querySelectorAll('.warnings li').length === 0");
    chromium.assert_silent();
    node.stop();
}
