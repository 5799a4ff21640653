//! The view of the record.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use segvault::model::{SegmentHash, SegmentKind, SegmentName};
use sha2::{Digest, Sha256};

use super::chrome::Chrome;
use crate::player::origin::{Origin, Plan};
use crate::support::{NodeProcess, eventually, free_address, stored};

/// How old what is shown may be.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// As another recorder on the same disk would write it.
fn fill(base: &Path, origin: &Origin, number: usize) {
    let bytes = origin.bytes(number);
    let (start, duration) = (origin.start_of(number), origin.duration_micros(number));
    let hash = SegmentHash::from_bytes(Sha256::digest(&bytes).into());
    let name = SegmentName::finished(start, duration, SegmentKind::Full, hash);
    let hour = base.join("ch/source").join(name.hour().to_string());
    fs::create_dir_all(&hour).unwrap();
    let temp = hour.join(SegmentName::temp(start, duration, "another").as_str());
    let mut file = File::create(&temp).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    fs::rename(&temp, hour.join(name.as_str())).unwrap();
}

#[test]
fn a_hole_shows_within_seconds_goes_within_seconds_and_a_range_is_hidden_with_a_typed_word() {
    let origin = Origin::start(60);
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let config = format!(
        "[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\"]\n[backfill]\npeers = [\"http://{}\"]\n",
        origin.url(),
        free_address()
    );
    let node = NodeProcess::start_with(&base, &config, |_| {});
    eventually("it records", || (stored(&base, "ch", "source").len() >= 3).then_some(()));
    let mut chrome = Chrome::start(1920, 1080);
    chrome.open(&format!("{}/#/record", node.url()));
    chrome.until_text("[data-node=self]", "recording, newest");
    chrome.until_text(".node", "does not answer");
    chrome.until_text(".strip[data-node=self]", "whole");

    // Lost while the page is open.
    let lost = origin.on_air() + 1;
    origin.follow(Plan { lost: [lost].into(), ..Plan::default() });
    let start = origin.start_of(lost).to_string();
    eventually("the node has the hole", || {
        let told = node.get("/coverage/ch/source").json();
        told["holes"].as_array().unwrap().iter().any(|hole| hole["start"] == start.as_str()).then_some(())
    });
    let made = Instant::now();
    let shown = format!("{} {}", &start[..10], &start[11..21]);
    chrome.until_text(".holes tbody", &shown);
    let took = made.elapsed();
    println!("the hole was shown after {took:?}");
    assert!(took < SHOWN_WITHIN, "{took:?}");
    chrome.until_text(".strip[data-node=self]", "missing in one hole");

    fill(&base, &origin, lost);
    let filled = Instant::now();
    chrome.until("document.querySelectorAll('.holes tbody tr').length === 0");
    let took = filled.elapsed();
    println!("it was gone after {took:?}");
    assert!(took < SHOWN_WITHIN, "{took:?}");

    // Hidden: what is shown first, then only with the word typed.
    let (from, to) = (origin.start_of(lost), origin.due(lost));
    chrome.eval("document.querySelector('details.hide').open = true");
    chrome.type_into("input[name=from]", &from.to_string());
    chrome.type_into("input[name=to]", &to.to_string());
    chrome.type_into("input[name=reason]", "a name on screen");
    chrome.press("Look what that hides");
    chrome.until_text(".preview", "This hides");
    let is_disabled = "[...document.querySelectorAll('.preview button')].at(-1).disabled";
    assert_eq!(chrome.eval(is_disabled), true, "nothing is typed yet");
    chrome.type_into(".preview .confirm input", "c");
    assert_eq!(chrome.eval(is_disabled), true, "not all of the word");
    chrome.type_into(".preview .confirm input", "ch");
    chrome.assert_open_to_all("record-hide");
    chrome.press("Hide it for good");
    chrome.until_text(".tombstones tbody", "a name on screen");
    let hour = from.hour().to_string();
    let names = node.get(&format!("/tombstones/ch/source/{hour}")).text();
    assert!(names.contains(".tombstone"), "{names}");
    chrome.until_text("[data-node=self]", "recording, newest");

    // As narrow as a telephone nothing is cut off, and nothing was said to the console.
    chrome.resize(360, 740);
    chrome.until("document.documentElement.scrollWidth <= innerWidth");
    chrome.press("May this node be stopped?");
    chrome.until_text(".drain", "No: this is only here");
    chrome.assert_open_to_all("record-narrow");
    chrome.assert_silent();
    node.stop();
}
