//! Live that was held up: who follows it is brought back to it, and nobody else is moved.

use std::time::Duration;

use serde_json::json;

use super::chromium::Chromium;
use super::{ANY_PORT, PLAYS, Stage, wait_for_something};

/// More than is caught up with by playing faster, of segments this short.
const STOPPED_FOR: Duration = Duration::from_secs(14);
/// The moment shown, in seconds behind the clock.
const DELAY: &str =
    "((Date.now() - Date.parse(document.querySelector('.clock').textContent.replace(' ', 'T') + 'Z')) / 1000)";
const RATE: &str = "document.querySelector('video').playbackRate";
/// Lists come half a segment sooner or later, and a stall lets the player stay a second further behind.
const AS_BEFORE_SECONDS: f64 = 3.0;

#[test]
fn who_follows_live_comes_back_to_it_by_itself_and_who_went_back_stays_there() {
    let stage = Stage::new("");
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1280, 900);
    chromium.open(&format!("{}/#/watch/c/source", node.url()));
    chromium.until(PLAYS);
    chromium.until("document.querySelector('#delay').textContent.startsWith('live, ')");
    chromium.value("new Promise((done) => setTimeout(done, 2000))");
    let before = chromium.value(DELAY).as_f64().unwrap();

    // The node stands still, as a machine that has no time for it.
    node.signal("-STOP");
    std::thread::sleep(STOPPED_FOR);
    let late = chromium.value(DELAY).as_f64().unwrap();
    assert!(late > before + STOPPED_FOR.as_secs_f64() / 2.0, "it did not wait: {before} s, then {late} s");
    node.signal("-CONT");
    chromium.until("/^Back at live. Passed over: 1?[0-9]/.test(document.querySelector('.note').textContent)");
    chromium.until(&format!("{DELAY} < {before} + {AS_BEFORE_SECONDS} && {RATE} === 1"));
    let after = chromium.value(DELAY).as_f64().unwrap();
    println!("{before:.1} s behind, {late:.1} s when the node goes on, {after:.1} s a moment later");

    // Who goes back to see what was passed over is not dragged from there.
    chromium.value(
        "[...document.querySelectorAll('.note button')].find((one) => one.textContent === 'Go back there').click()",
    );
    chromium.until("document.querySelector('#delay').textContent === 'playing'");
    let back = chromium.value(DELAY).as_f64().unwrap();
    let moved = chromium.value(&format!("new Promise((done) => setTimeout(() => done({DELAY}), 2500))"));
    assert!(back > before + 5.0 && moved.as_f64().unwrap() > back - 1.0, "{before}, {back}, {moved}");
    assert_eq!(chromium.value(RATE), 1);

    // A gap as a short stall leaves it is played away.
    chromium.press("End");
    chromium.until(&format!(
        "document.querySelector('#delay').textContent.startsWith('live, ') && {DELAY} < {before} + {AS_BEFORE_SECONDS}"
    ));
    chromium.value("document.querySelector('video').currentTime -= 3.5");
    chromium.until("document.querySelector('#delay').textContent.endsWith('behind, catching up')");
    let rate = chromium.value(RATE).as_f64().unwrap();
    assert!(rate > 1.0 && rate <= 1.5, "{rate}");
    chromium.until(&format!("{RATE} === 1 && {DELAY} < {before} + {AS_BEFORE_SECONDS}"));
    // While nobody answered, the browser itself said so.
    let others: Vec<_> = chromium.said().into_iter().filter(|(_, said)| !said.contains("net::ERR_")).collect();
    assert!(others.is_empty(), "the console: {others:#?}");
    node.stop();
}

#[test]
fn a_small_gap_is_played_away_and_a_large_one_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let node = crate::support::NodeProcess::start_with(&dir.path().join("base"), "", |_| {});
    let mut chromium = Chromium::start(800, 600);
    chromium.open(&format!("{}/#/jobs", node.url()));
    chromium.until("document.querySelector('h1')?.textContent === 'Jobs'");
    // Seconds behind, seconds loaded, the longest segment, whether it is catching up already.
    let cases = json!([
        [0.0, 4.0, 2, false],
        [1.9, 4.0, 2, false],
        [1.9, 4.0, 2, true],
        [0.2, 4.0, 2, true],
        [2.5, 4.0, 2, false],
        [5.0, 4.0, 6, false],
        [6.5, 4.0, 6, false],
        [6.5, 0.5, 2, true],
        [12.5, 4.0, 2, false],
        [12.5, 4.0, 6, true],
        [18.5, 0.0, 6, false],
        [301.0, 0.0, 2, false],
        [-3.0, 4.0, 2, true],
    ]);
    let found = chromium.value(&format!(
        "import('/ui/deck/edge.js').then(({{ pursuit }}) => {cases}.map(([behind, ahead, target, isCatchingUp]) => \
         pursuit({{ behind, ahead, target }}, isCatchingUp)))"
    ));
    let expected = json!([1, 1, 1.25, 1, 1.3, 1, 1.5, 1, "jump", 1.5, "jump", "anew", 1]);
    assert_eq!(found, expected);
    node.stop();
}
