//! A tab that is left open: what it holds does not grow, and nothing holds it up.

use std::time::{Duration, Instant};

use segvault::rehearsal::{Program, ReelSpec, Source, SourceSpec};
use serde_json::{Value, json};

use super::chromium::Chromium;
use super::tasks::{LONG_MS, longest};
use super::{ANY_PORT, PLAYS, QUIET, Stage, load};
use crate::support::{NodeProcess, eventually};

/// In minutes, from the environment where somebody wants to see it run sooner.
const SOAK_MINUTES: &str = "SOAK_MINUTES";
const MINUTES: usize = 60;
/// The playlist has a quarter of an hour, which is kept; so much later nothing new may be.
const SETTLED_AFTER: usize = 20;
/// Bytes a minute. A view that kept each of its timers grew by 120 kB, most of it objects and closures; without any such thing
/// the heap grew by 19 kB on a machine that was torn by others, most of it compiled code.
const MOST_GROWTH: f64 = 50_000.0;
const MOST_HELD: f64 = 10_000.0;
/// What is held is counted every so many minutes; it stops the page for a moment.
const COUNTED_EVERY: usize = 10;
/// hls.js keeps half a minute behind the moment shown, and has a few segments before it.
const MOST_BUFFERED: f64 = 90.0;
/// So long of each minute all tasks are noted, with the processor's time.
const NOTED_FOR: Duration = Duration::from_secs(10);
const FRAMES_A_MINUTE: f64 = 1800.0;

/// What a page was like at one moment, after a collection.
#[derive(Debug, Clone, Default)]
struct Look {
    heap_bytes: f64,
    nodes: f64,
    listeners: f64,
    buffered_seconds: f64,
    frames: f64,
    dropped: f64,
    /// In ms, since the look before, by the clock.
    longest_task: f64,
    /// In ms of the processor, of those that were noted.
    longest_own: f64,
    load: f64,
}

const LONG_TASKS: &str = "window.longTasks = []; new PerformanceObserver((list) => { \
    for (const { startTime, duration } of list.getEntries()) longTasks.push([startTime, duration]); }).observe({ type: 'longtask' });";

/// `quiet_since`: tasks before it were of our own looking.
const STATE: &str = "(() => { const video = document.querySelector('video'), { buffered } = video; \
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality(); let seconds = 0; \
    for (let at = 0; at < buffered.length; at += 1) seconds += buffered.end(at) - buffered.start(at); \
    const tasks = longTasks.splice(0).filter(([start]) => start > (window.quietSince ?? 0)); \
    return { seconds, frames: totalVideoFrames, dropped: droppedVideoFrames, longest: Math.max(0, ...tasks.map(([, ms]) => ms)) }; })()";

fn look(chromium: &mut Chromium) -> Look {
    chromium.note_tasks();
    std::thread::sleep(NOTED_FOR);
    let longest_own = longest(&chromium.noted_tasks()).own_ms;
    let state = chromium.value(STATE);
    for _ in 0..2 {
        chromium.tell("HeapProfiler.collectGarbage", json!({}));
    }
    let told = chromium.tell("Performance.getMetrics", json!({}));
    chromium.value("window.quietSince = performance.now() + 200");
    let metrics = told["metrics"].as_array().unwrap();
    let metric = |name: &str| -> f64 {
        let found = metrics.iter().find(|metric| metric["name"] == name);
        found.and_then(|metric| metric["value"].as_f64()).unwrap_or_else(|| panic!("there is no {name}"))
    };
    let part = |name: &str| state[name].as_f64().unwrap();
    Look {
        heap_bytes: metric("JSHeapUsedSize"),
        nodes: metric("Nodes"),
        listeners: metric("JSEventListeners"),
        buffered_seconds: part("seconds"),
        frames: part("frames"),
        dropped: part("dropped"),
        longest_task: part("longest"),
        longest_own,
        load: load(),
    }
}

/// Least squares, for each look to the next.
fn slope(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.clone().sum::<f64>() / count);
    let (mut shared, mut own) = (0.0, 0.0);
    for (at, value) in values.enumerate() {
        let x = at as f64 - middle;
        shared += x * (value - mean);
        own += x * x;
    }
    shared / own
}

/// What is wrong with a page that has settled: looks of it, one a minute, and the bytes that it held, every `COUNTED_EVERY`.
fn faults(looks: &[Look], held: &[f64]) -> Vec<String> {
    let mut found = Vec::new();
    let grows = slope(held.iter().copied()) / COUNTED_EVERY as f64;
    if grows > MOST_HELD {
        found.push(format!("it holds {grows:.0} bytes more a minute"));
    }
    for (what, of, most) in [
        ("bytes of heap", (|look: &Look| look.heap_bytes) as fn(&Look) -> f64, MOST_GROWTH),
        ("nodes", |look| look.nodes, 1.0),
        ("listeners", |look| look.listeners, 0.5),
    ] {
        let grows = slope(looks.iter().map(of));
        if grows > most {
            found.push(format!("it grows by {grows:.1} {what} a minute"));
        }
    }
    found.extend(faults_of_play(looks));
    found
}

/// The same, however short the play was.
fn faults_of_play(looks: &[Look]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, pair) in looks.windows(2).enumerate() {
        let shown = |look: &Look| look.frames - look.dropped;
        let more = shown(&pair[1]) - shown(&pair[0]);
        if more == 0.0 || pair[1].load < QUIET && more < FRAMES_A_MINUTE / 2.0 {
            found.push(format!("it showed {more} frames in minute {at}"));
        }
    }
    for (at, look) in looks.iter().enumerate() {
        if look.buffered_seconds > MOST_BUFFERED {
            found.push(format!("{} s were buffered in minute {at}", look.buffered_seconds));
        }
        // Where others take the processor, a task is long because it waits.
        let longest = if look.load < QUIET { look.longest_own.max(look.longest_task) } else { look.longest_own };
        if longest > LONG_MS {
            found.push(format!("a task took {longest} ms in minute {at}"));
        }
    }
    found
}

#[test]
fn what_is_judged_flat_does_not_grow() {
    let looks = |growth: f64| -> Vec<Look> {
        let minute = |at: usize| Look {
            // A collection leaves now a little more and now a little less.
            heap_bytes: 3e6 + growth * at as f64 + [0.0, 150e3, 60e3][at % 3],
            nodes: 330.0 + (at % 2) as f64 * 5.0,
            listeners: 72.0 + (at % 2) as f64 * 2.0,
            buffered_seconds: 36.0,
            frames: FRAMES_A_MINUTE * at as f64,
            ..Look::default()
        };
        (0..40).map(minute).collect()
    };
    let (flat, leaking) = ([900e3, 950e3, 890e3, 960e3, 910e3], [900e3, 1150e3, 1390e3, 1600e3, 1910e3]);
    assert_eq!(faults(&looks(0.0), &flat), Vec::<String>::new());
    assert_eq!(faults(&looks(60_000.0), &flat).len(), 1, "half of what timers that were kept have made");
    assert_eq!(faults(&looks(0.0), &leaking).len(), 1, "a quarter of it");
    let mut still = looks(0.0);
    still[7].frames = still[6].frames;
    still[9].buffered_seconds = 200.0;
    still[11].longest_task = 120.0;
    still[12] = Look { longest_task: 300.0, load: 4.0, ..still[12].clone() };
    still[13] = Look { longest_own: 110.0, load: 4.0, ..still[13].clone() };
    assert_eq!(faults(&still, &flat).len(), 4, "{:?}", faults(&still, &flat));
}

/// What a view lets go must be gone: each timer was kept for as long as its view, which a tab left for a week is.
#[test]
fn timers_that_have_run_are_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start_with(&dir.path().join("base"), "", |_| {});
    let mut chromium = Chromium::start(800, 600);
    chromium.open(&format!("{}/#/jobs", node.url()));
    chromium.until("document.querySelector('h1')?.textContent === 'Jobs'");
    let run = "import('/ui/dom.js').then(({ Hold }) => { window.hold = new Hold(); window.ran = 0; \
         window.refs = Array.from({ length: 20 }, () => { const held = { big: true }; \
         hold.after(1, () => { if (held.big) window.ran += 1; }); return new WeakRef(held); }); })";
    chromium.value(run);
    chromium.until("window.ran === 20");
    eventually("they are let go", || {
        chromium.tell("HeapProfiler.collectGarbage", json!({}));
        (chromium.value("refs.every((ref) => ref.deref() === undefined)") == true).then_some(())
    });
    assert_eq!(chromium.value("hold.ended"), Value::Bool(false));
    // What a page that leaks holds is seen.
    let before = chromium.held_bytes();
    chromium.value("void (window.leaked = Array.from({ length: 50_000 }, (_, at) => ({ at, next: at + 0.5 })))");
    let more = chromium.held_bytes() - before;
    assert!((1_000_000..5_000_000).contains(&more), "{more} bytes");
    node.stop();
}

#[test]
#[ignore = "takes an hour"]
fn soak_an_hour_of_play_leaves_the_heap_flat() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::Live { spec: ReelSpec::default(), directory: dir.path().join("source") };
    let stage = Stage { source: Source::start(SourceSpec::new(program)).unwrap(), dir, more: String::new() };
    let node = stage.node(ANY_PORT);
    let mut chromium = Chromium::start(1280, 900);
    chromium.tell("Performance.enable", json!({}));
    chromium.tell("HeapProfiler.enable", json!({}));
    chromium.tell("Page.addScriptToEvaluateOnNewDocument", json!({ "source": LONG_TASKS }));
    eventually("something is recorded", || (node.acknowledged("source").len() > 3).then_some(()));
    chromium.open(&format!("{}/", node.url()));
    chromium.until(PLAYS);
    let minutes = std::env::var(SOAK_MINUTES).map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let (began, mut looks, mut held) = (Instant::now(), Vec::new(), Vec::new());
    for minute in 0..=minutes {
        std::thread::sleep((Duration::from_secs(60) * minute as u32).saturating_sub(began.elapsed()));
        let seen = look(&mut chromium);
        println!("minute {minute}: {seen:?}");
        looks.push(seen);
        if minute >= SETTLED_AFTER && minute % COUNTED_EVERY == 0 {
            held.push(chromium.held_bytes() as f64);
            println!("minute {minute}: {} bytes are held", held[held.len() - 1]);
            chromium.value("window.quietSince = performance.now() + 200");
        }
    }
    assert_eq!(faults_of_play(&looks), Vec::<String>::new());
    // Before that a page that is well grows, too.
    if minutes >= MINUTES {
        let settled = &looks[SETTLED_AFTER..];
        println!("the heap grows by {:.0} bytes a minute", slope(settled.iter().map(|look| look.heap_bytes)));
        assert_eq!(faults(settled, &held), Vec::<String>::new());
    }
    chromium.until("document.querySelector('#delay').textContent.startsWith('live, ')");
    chromium.assert_silent();
    node.stop();
}
