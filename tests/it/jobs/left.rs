//! What killed nodes leave behind.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Crew, RANGES, assert_shows, copy_tree, event, file, over_both, steps, wait_for};
use crate::db::Ground;
use crate::support::{NodeProcess, eventually};

over_both! {
    a_job_whose_node_is_killed_is_begun_anew_by_the_node_or_by_another,
    an_upload_that_was_being_made_final_is_asked_for_and_never_doubled,
    what_cannot_be_known_is_left_to_a_person_and_looked_at_again,
    a_node_that_stops_gives_its_job_back,
}

/// Kills it, as the kernel does when memory runs out.
pub fn kill(mut node: NodeProcess) {
    node.signal("-KILL");
    node.wait();
}

fn a_job_whose_node_is_killed_is_begun_anew_by_the_node_or_by_another(ground: Ground) {
    let crew = Crew::new(ground);
    let watcher = crew.node("watcher", "");
    fs::write(crew.hold(), "").unwrap();
    let alpha = crew.cutter("alpha");
    file(&watcher, "e1", RANGES, &Value::Null);
    wait_for(&watcher, "e1", "CLAIMED");
    kill(alpha);
    assert_eq!(event(&watcher, "e1")["state"], "CLAIMED");
    // It finds its own at once.
    let alpha = crew.cutter("alpha");
    eventually("it is claimed again", || {
        (steps(&watcher, "e1") == ["add", "edit", "claim", "retry", "claim"]).then_some(())
    });
    assert_eq!(event(&watcher, "e1")["error"], Value::Null);
    kill(alpha);
    // Another one waits for the end of the lease.
    fs::remove_file(crew.hold()).unwrap();
    let beta = crew.cutter("beta");
    let done = wait_for(&watcher, "e1", "DONE");
    assert_eq!(done["uploader"], "beta");
    assert_shows(&crew.only_video(), RANGES);
    // What comes back has nothing left to do.
    let alpha = crew.cutter("alpha");
    eventually("it has looked", || (alpha.get("/metrics").text().contains("segvault_jobs_entries")).then_some(()));
    let jobs = crew.base("alpha").join(".segvault/jobs");
    eventually("what was spooled is swept", || {
        fs::read_dir(&jobs).map_or(true, |mut left| left.next().is_none()).then_some(())
    });
    crew.only_video();
    [watcher, alpha, beta].into_iter().for_each(NodeProcess::stop);
}

/// The files of the upload that `e1` had: the video, where it was hidden, where it was spooled.
struct Files {
    video: PathBuf,
    hidden: PathBuf,
    spooled: PathBuf,
}

impl Files {
    fn of(crew: &Crew, node: &str) -> Self {
        let video = crew.only_video();
        let name = video.file_stem().unwrap().to_str().unwrap().to_owned();
        let key = name.rsplit_once("e1.").map(|(_, version)| format!("e1.{version}")).unwrap();
        let hidden = crew.place().join(format!(".upload-{key}.video"));
        let spooled = crew.base(node).join(format!(".segvault/jobs/{key}.video"));
        Self { video, hidden, spooled }
    }
}

/// As if the node had been killed right after FINALIZING was written, at another point of the upload each time.
fn an_upload_that_was_being_made_final_is_asked_for_and_never_doubled(ground: Ground) {
    let crew = Crew::new(ground);
    let (watcher, alpha) = (crew.node("watcher", ""), crew.cutter("alpha"));
    file(&watcher, "e1", RANGES, &Value::Null);
    let first = wait_for(&watcher, "e1", "DONE");
    alpha.stop();
    let back = || {
        crew.execute(
            "UPDATE events SET state = 'FINALIZING', uploader = 'alpha', lease_until = 5, video_id = NULL, \
             video_link = NULL, upload_time = NULL WHERE id = 'e1'",
        );
    };
    let sidecar = |video: &Path| video.with_extension("json");
    let settled = |node: &str| {
        let node = crew.cutter(node);
        let done = wait_for(&watcher, "e1", "DONE");
        assert_shows(&crew.only_video(), RANGES);
        assert!(sidecar(&crew.only_video()).exists());
        node.stop();
        done
    };

    // The video exists.
    back();
    assert_eq!(settled("alpha")["video_link"], first["video_link"]);
    // And another node says so, where both see the directory.
    back();
    assert_eq!(settled("beta")["video_link"], first["video_link"]);
    crew.execute("UPDATE events SET uploader = 'alpha' WHERE id = 'e1'");

    // It was copied and not renamed, and the cut is still there: it is finished.
    let Files { video, hidden, spooled } = Files::of(&crew, "alpha");
    fs::create_dir_all(spooled.parent().unwrap()).unwrap();
    fs::copy(&video, &spooled).unwrap();
    fs::rename(&video, &hidden).unwrap();
    fs::remove_file(sidecar(&video)).unwrap();
    back();
    let resumed = settled("alpha");
    assert_eq!((&resumed["video_link"], spooled.exists()), (&first["video_link"], false));
    assert!(!steps(&watcher, "e1").contains(&"retry".to_owned()));

    // The cut went bad meanwhile: it is made anew, and what was begun is gone.
    fs::copy(&video, &spooled).unwrap();
    let mut bytes = fs::read(&spooled).unwrap();
    bytes[1000] ^= 1;
    fs::write(&spooled, bytes).unwrap();
    fs::rename(&video, &hidden).unwrap();
    fs::remove_file(sidecar(&video)).unwrap();
    back();
    let again = settled("alpha");
    assert!(again["video_link"] != first["video_link"] && !hidden.exists(), "{again}");
    assert!(steps(&watcher, "e1").ends_with(&["retry", "claim", "finalize", "finish"].map(str::to_owned)));

    // Nothing of it is there.
    let Files { video, .. } = Files::of(&crew, "alpha");
    fs::remove_file(sidecar(&video)).unwrap();
    fs::remove_file(&video).unwrap();
    back();
    settled("beta");
    watcher.stop();
}

fn what_cannot_be_known_is_left_to_a_person_and_looked_at_again(ground: Ground) {
    let crew = Crew::new(ground);
    let (watcher, alpha) = (crew.node("watcher", ""), crew.cutter("alpha"));
    file(&watcher, "e1", &RANGES[..1], &Value::Null);
    wait_for(&watcher, "e1", "DONE");
    alpha.stop();
    crew.execute(
        "UPDATE events SET state = 'FINALIZING', lease_until = 5, video_link = NULL, upload_time = NULL WHERE id = 'e1'",
    );
    // Another directory is mounted there, or none.
    let away = crew.dir.path().join("away");
    fs::rename(crew.place(), &away).unwrap();
    let beta = crew.cutter("beta");
    let alpha = crew.cutter("alpha");
    let doubted =
        eventually("a person is told", || Some(event(&watcher, "e1")).filter(|event| !event["error"].is_null()));
    let error = doubted["error"].as_str().unwrap();
    assert!(error.contains("does not say whether the video exists") && error.contains("another directory"), "{error}");
    assert_eq!((&doubted["state"], &doubted["uploader"]), (&json!("FINALIZING"), &json!("alpha")));
    // It is back.
    copy_tree(&away, &crew.place());
    let done = wait_for(&watcher, "e1", "DONE");
    assert_eq!(done["error"], Value::Null);
    crew.only_video();
    [watcher, alpha, beta].into_iter().for_each(NodeProcess::stop);
}

fn a_node_that_stops_gives_its_job_back(ground: Ground) {
    let crew = Crew::new(ground);
    let watcher = crew.node("watcher", "");
    fs::write(crew.hold(), "").unwrap();
    let alpha = crew.cutter("alpha");
    file(&watcher, "e1", RANGES, &Value::Null);
    wait_for(&watcher, "e1", "CLAIMED");
    alpha.stop();
    let waiting = event(&watcher, "e1");
    assert_eq!(
        (&waiting["state"], &waiting["error"], &waiting["uploader"]),
        (&json!("EDITED"), &Value::Null, &Value::Null)
    );
    fs::remove_file(crew.hold()).unwrap();
    let beta = crew.cutter("beta");
    wait_for(&watcher, "e1", "DONE");
    assert_shows(&crew.only_video(), RANGES);
    [watcher, beta].into_iter().for_each(NodeProcess::stop);
}
