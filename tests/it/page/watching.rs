//! Watch: how soon, how much, what is missing, and a node that goes away.

use std::fs;
use std::time::{Duration, Instant};

use super::chromium::Chromium;
use super::{ANY_PORT, PLAYS, QUIET, Stage, kept_in, load, wait_for_something};
use crate::support::{eventually, free_address, stored};

/// Of the first view, as it goes over the wire.
const MOST_BYTES: f64 = 400_000.0;
/// From opening the page to moving picture, on a machine that does nothing else; and on one that is busy with other tests.
const SOON: Duration = Duration::from_millis(1500);
const LATE: Duration = Duration::from_secs(40);
/// The page looks every 2.5 s, and shows what it found within 5 s; a busy machine gets more.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// `resource` entries count what went over the wire, whatever was loaded before anybody looked.
const TRANSFERRED: &str = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]\
    .filter(({ name }) => new URL(name).pathname.startsWith('/ui/') || new URL(name).pathname === '/')\
    .reduce((sum, { transferSize }) => sum + transferSize, 0)";
const ORIGINS: &str = "[...new Set(performance.getEntriesByType('resource')\
    .map(({ name }) => new URL(name)).filter(({ protocol }) => protocol !== 'blob:').map(({ origin }) => origin))]";

#[test]
fn a_page_plays_live_soon_with_little_and_without_a_word() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1280, 900);
    let began = Instant::now();
    chromium.open(&format!("{}/", node.url()));
    chromium.until(PLAYS);
    let took = began.elapsed();
    let bytes = chromium.value(TRANSFERRED).as_f64().unwrap();
    let load = load();
    println!("a moving picture after {} ms, {bytes} bytes of the page, at a load of {load:.1}", took.as_millis());
    assert!(took < if load < QUIET { SOON } else { LATE }, "{took:?}");
    assert!((100_000.0..MOST_BYTES).contains(&bytes), "{bytes} bytes");
    assert_eq!(chromium.value(ORIGINS), serde_json::json!([node.url()]), "nobody else is asked for anything");
    chromium.until("document.querySelector('#delay').textContent.startsWith('live, ')");
    chromium.until("location.hash === '#/watch/c/source'");

    // A moment of the past, from its address: the same frame, whoever opens it.
    chromium.press("k");
    chromium.go("Shift+ArrowLeft");
    let frame = chromium.frame();
    chromium.until("location.hash.includes('at=')");
    chromium.value("new Promise((done) => setTimeout(done, 3500))");
    let address = chromium.value("location.href");
    chromium.open("about:blank");
    chromium.open(address.as_str().unwrap());
    chromium.until("document.querySelector('#delay')?.textContent === 'paused'");
    chromium.go("m");
    assert_eq!(chromium.frame(), frame, "{address}");
    chromium.assert_silent();
}

#[test]
fn a_hole_is_shown_while_it_plays_and_goes_when_it_is_filled() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1280, 900);
    chromium.open(&format!("{}/#/watch/c/source", node.url()));
    chromium.until(PLAYS);
    const SUMMARY: &str = "document.querySelector('.holes summary').textContent";
    chromium.until(&format!("{SUMMARY} === 'Nothing is missing in view'"));

    let (name, path) = stored(&stage.base(), "c", "source").remove(2);
    let aside = stage.dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let began = Instant::now();
    chromium.until(&format!("{SUMMARY}.includes('0.5 s missing in view, 1 stretch')"));
    let shown = began.elapsed();
    let listed = chromium.text(".holes li");
    let start = name.start().to_string().replace('T', " ");
    assert!(listed.contains(&start[..21]), "{listed} is not of {start}");
    chromium.picture(&kept_in().join("hole.png"));
    fs::rename(&aside, &path).unwrap();
    let began = Instant::now();
    chromium.until(&format!("{SUMMARY} === 'Nothing is missing in view'"));
    let gone = began.elapsed();
    println!("a hole was shown after {} ms, and gone after {} ms", shown.as_millis(), gone.as_millis());
    assert!(shown < SHOWN_WITHIN && gone < SHOWN_WITHIN, "{shown:?}, {gone:?}");
    let before = chromium.value("document.querySelector('video').currentTime").as_f64().unwrap();
    chromium.until(&format!("document.querySelector('video').currentTime > {before} + 1"));
    assert_eq!(chromium.text(".note"), "", "nothing was missing where it played");

    // A tombstone hides the same; who plays across it is told.
    fs::write(path.with_extension("tombstone"), "").unwrap();
    chromium.until("document.querySelector('.holes li .cause-hidden')");
    assert!(chromium.text(".holes li").contains("hidden by a tombstone"));
    let (unsure, at) = stored(&stage.base(), "c", "source").remove(4);
    fs::rename(&at, at.to_str().unwrap().replace("-full-", "-suspect-")).unwrap();
    let told = node.get("/coverage/c/source").json();
    let spans = |of: &str| -> Vec<String> {
        let spans = told[of].as_array().unwrap().iter();
        spans.map(|span| span["start"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((spans("hidden"), spans("unsure")), (vec![name.start().to_string()], vec![unsure.start().to_string()]));
    chromium.open("about:blank");
    let before_it = name.start().plus_micros(-700_000);
    chromium.open(&format!("{}/#/watch/c/source?at={before_it}", node.url()));
    chromium.until("document.querySelector('.screen')?.getAttribute('aria-busy') === 'false'");
    chromium.press(" ");
    chromium
        .until("/^Missing here: 0.5 s.*: hidden by a tombstone/.test(document.querySelector('.note')?.textContent)");
    chromium.assert_silent();
}

#[test]
fn the_page_goes_on_by_itself_when_the_node_was_killed_and_is_back() {
    let stage = Stage::new("");
    let address = free_address();
    let mut node = stage.node(&address);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1280, 900);
    chromium.open(&format!("{}/", node.url()));
    chromium.until(PLAYS);
    chromium.value("window.stays = true");
    chromium.assert_silent();
    node.signal("-KILL");
    node.wait();
    chromium.until("!document.querySelector('#link').hidden");
    // The kernel may hold the port for a moment.
    eventually("the address is free again", || std::net::TcpListener::bind(&address).ok().map(drop));
    let node = stage.node(&address);
    let newest =
        format!("Date.parse(document.querySelector('.clock').textContent.replace(' ', 'T') + 'Z') > {}", now_ms());
    // It shows what was recorded after the node came back, and still knows what it knew.
    chromium.until(&newest);
    chromium.until(
        "document.querySelector('#link').hidden && document.querySelector('#delay').textContent.startsWith('live')",
    );
    assert_eq!(chromium.value("window.stays"), true, "it was not loaded anew");
    // While nobody answered, the browser itself said so.
    let others: Vec<_> = chromium.said().into_iter().filter(|(_, said)| !said.contains("net::ERR_")).collect();
    assert!(others.is_empty(), "the console: {others:#?}");
    node.stop();
}

fn now_ms() -> i64 {
    segvault::clock::Clock::system().now().micros() / 1000
}
