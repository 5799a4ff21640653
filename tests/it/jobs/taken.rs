//! Editors who change their mind while a node is at it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Crew, RANGES, assert_shows, event, file, over_both, steps, submit, wait_for};
use crate::db::Ground;
use crate::events::send;
use crate::support::{NodeProcess, eventually};

over_both! {
    a_cancelled_job_ends_at_once,
    an_edit_takes_the_event_from_its_job,
}

/// A node that is held up in the midst of `e1`.
fn held_up(crew: &Crew) -> NodeProcess {
    fs::write(crew.hold(), "").unwrap();
    let node = crew.cutter("alpha");
    file(&node, "e1", RANGES, &Value::Null);
    wait_for(&node, "e1", "CLAIMED");
    eventually("it is being cut", || (event(&node, "e1")["progress"]["activity"] == "cutting").then_some(()));
    node
}

fn a_cancelled_job_ends_at_once(ground: Ground) {
    let crew = Crew::new(ground);
    let node = held_up(&crew);
    assert_eq!(send(&node, "POST", "/thrimshim/reset/e1", None, &json!({})).status, 200);
    let cancelled = Instant::now();
    eventually("the job has ended", || node.logged("event was taken away from its job").pop());
    let took = cancelled.elapsed();
    // A second, and what a machine that is busy with other tests adds.
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("its ffmpeg has ended", || {
        node.get("/metrics").text().contains("segvault_cut_ffmpeg_in_use_processes 0").then_some(())
    });
    let jobs = node.base.join(".segvault/jobs");
    eventually("nothing is left", || fs::read_dir(&jobs).map_or(true, |mut left| left.next().is_none()).then_some(()));
    fs::remove_file(crew.hold()).unwrap();
    let cancelled = event(&node, "e1");
    assert_eq!((&cancelled["state"], crew.videos().len()), (&json!("UNEDITED"), 0));
    node.stop();
}

fn an_edit_takes_the_event_from_its_job(ground: Ground) {
    let crew = Crew::new(ground);
    let node = held_up(&crew);
    let other = [("2026-01-02T03:59:59.1", "2026-01-02T04:00:02.4")];
    submit(&node, "e1", &other, &json!({ "video_title": "Better" }));
    fs::remove_file(crew.hold()).unwrap();
    wait_for(&node, "e1", "DONE");
    assert_shows(&crew.only_video(), &other);
    assert_eq!(steps(&node, "e1"), ["add", "edit", "claim", "edit", "claim", "finalize", "finish"]);
    node.stop();
}
