//! Nothing holds the page up: how long its main thread is at one task, by the processor's time and by the clock.
//!
//! On a machine that others take, a task is long because it waits. So what is judged is the processor's time that the thread
//! itself had meanwhile, which the browser notes beside the clock's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use segvault::clock::Clock;
use segvault::model::SegmentHash;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::chromium::Chromium;
use super::{ANY_PORT, PLAYS, Stage, load, wait_for_something};
use crate::support::{PATIENCE, eventually};

/// What people feel (RAIL: an answer within 100 ms).
pub const LONG_MS: f64 = 100.0;

/// One turn of a page's main thread, in ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Task {
    pub clock_ms: f64,
    pub own_ms: f64,
}

/// The longest of each kind.
pub fn longest(tasks: &[Task]) -> Task {
    let most = |of: fn(&Task) -> f64| tasks.iter().map(of).fold(0.0, f64::max);
    Task { clock_ms: most(|task| task.clock_ms), own_ms: most(|task| task.own_ms) }
}

impl Chromium {
    /// Notes each task from here on.
    pub fn note_tasks(&mut self) {
        let config = json!({ "recordMode": "recordAsMuchAsPossible", "includedCategories": ["toplevel"], "excludedCategories": ["*"] });
        self.tell("Tracing.start", json!({ "transferMode": "ReportEvents", "traceConfig": config }));
    }

    /// What was noted of pages' main threads.
    pub fn noted_tasks(&mut self) -> Vec<Task> {
        // A task is noted when it ends, which is after the answer that came of it.
        self.value("new Promise((done) => { setTimeout(done, 50); })");
        self.tell("Tracing.end", json!({}));
        let end = Instant::now() + PATIENCE;
        while self.take_events("Tracing.tracingComplete").is_empty() {
            assert!(Instant::now() < end, "Chromium does not end its notes");
            std::thread::sleep(Duration::from_millis(20));
        }
        let parts = self.take_events("Tracing.dataCollected");
        tasks_of(parts.iter().flat_map(|part| part["params"]["value"].as_array().unwrap()))
    }
}

fn tasks_of<'v>(events: impl Iterator<Item = &'v Value> + Clone) -> Vec<Task> {
    let thread = |event: &Value| (event["pid"].as_u64(), event["tid"].as_u64());
    let names = events.clone().filter(|event| event["name"] == "thread_name");
    let main: BTreeSet<_> = names.filter(|event| event["args"]["name"] == "CrRendererMain").map(thread).collect();
    let tasks = events.filter(|event| event["ph"] == "X" && event["name"] == "ThreadControllerImpl::RunTask");
    let of_main = tasks.filter(|event| main.contains(&thread(event)));
    let ms = |event: &Value, name: &str| event[name].as_f64().map(|micros| micros / 1000.0);
    of_main
        .map(|event| {
            let clock_ms = ms(event, "dur").unwrap_or_default();
            // Of a task without the processor's time, all of it may have been ours.
            Task { clock_ms, own_ms: ms(event, "tdur").unwrap_or(clock_ms) }
        })
        .collect()
}

#[test]
fn a_task_that_takes_long_is_noted_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let node = crate::support::NodeProcess::start_with(&dir.path().join("base"), "", |_| {});
    let mut chromium = Chromium::start(800, 600);
    chromium.open(&format!("{}/#/jobs", node.url()));
    chromium.until("document.querySelector('h1')?.textContent === 'Jobs'");
    // So much work that it takes long however fast it is done, and not so much that a busy machine never ends it. What a host
    // takes from this machine may be noted wrongly.
    eventually("a long task is noted as such", || {
        chromium.note_tasks();
        chromium.value(
            "(() => { const end = performance.now() + 400; let sum = 0; \
             for (let at = 0; at < 4e8 || performance.now() < end; at += 1) sum = (sum + at) | 0; return sum; })()",
        );
        let Task { clock_ms, own_ms } = longest(&chromium.noted_tasks());
        println!("{clock_ms} ms, {own_ms} ms of its own");
        (own_ms > LONG_MS && own_ms < clock_ms + 20.0).then_some(())
    });
    node.stop();
}

/// How often somebody looks around.
const TRIES: u32 = 3;
/// So many holes the record has beside what is recorded now.
const HOLES: u32 = 6000;
/// Of an hour that has some.
const HOLES_AN_HOUR: u32 = 90;

/// A record that was torn for days: of each 40 s, 10 are there. Nobody reads what is in these files.
fn tear(base: &Path) {
    let hash = SegmentHash::from_bytes(Sha256::digest(b"").into());
    let first = Clock::system().now().hour();
    for hole in 0..HOLES {
        let (hour, at) = (hole / HOLES_AN_HOUR, 40 * (hole % HOLES_AN_HOUR));
        let dir = base.join("c/source").join((0..=hour + 1).fold(first, |hour, _| hour.previous()).to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{:02}:{:02}-10.0-full-{hash}.ts", at / 60, at % 60)), b"").unwrap();
    }
}

/// The longest task while somebody looks around.
fn of_looking_around(chromium: &mut Chromium) -> Task {
    chromium.note_tasks();
    // What is known of the whole comes anew meanwhile, and the view turns under it.
    for key in ["-", "-", "-", "=", "=", "-", "Home", "End"] {
        chromium.press(key);
        std::thread::sleep(Duration::from_millis(900));
    }
    chromium.until(PLAYS);
    let tasks = chromium.noted_tasks();
    let most = longest(&tasks);
    println!("{} tasks; the longest: {most:?}", tasks.len());
    assert!(tasks.len() > 200, "{} tasks were noted", tasks.len());
    most
}

#[test]
fn nothing_holds_the_page_up_while_it_plays_over_a_torn_record() {
    let stage = Stage::new("");
    tear(&stage.base());
    let node = stage.node(ANY_PORT);
    wait_for_something(&node);
    let mut chromium = Chromium::start(1280, 900);
    chromium.open("about:blank");
    chromium.note_tasks();
    chromium.open(&format!("{}/#/cut/c/source", node.url()));
    chromium.until(PLAYS);
    chromium.until("/[0-9]{3,} stretches/.test(document.querySelector('.holes summary').textContent) || (document.querySelector('[title=\"Zoom out (−)\"]').click(), false)");
    let started = longest(&chromium.noted_tasks());
    // What is ours is long each time. Once, it may be long because the machine's own host took the processor, which is noted as if
    // the task had had it.
    let most = (0..TRIES).map(|_| of_looking_around(&mut chromium)).find(|most| most.own_ms < LONG_MS);
    println!("while it began: {started:?}; at a load of {:.1}", load());
    assert!(most.is_some(), "each time a task took longer than {LONG_MS} ms of the processor");
    chromium.assert_silent();
    node.stop();
}
