//! What is not cut: each ends in the state and with the words that docs/operations.md names.

use std::fs;

use serde_json::{Value, json};

use super::{Crew, RANGES, assert_shows, edit, event, file, over_both, source, steps, submit, wait_for};
use crate::db::Ground;
use crate::events::send;
use crate::support::{NodeProcess, eventually};

over_both! {
    what_nobody_may_cut_goes_back_to_its_editor,
    what_is_missing_is_waited_for_unless_holes_are_allowed,
    while_the_database_takes_no_writes_jobs_wait,
}

fn what_nobody_may_cut_goes_back_to_its_editor(ground: Ground) {
    let crew = Crew::new(ground);
    let node = crew.cutter("alpha");
    let archive = crew.node("beta", &format!("[upload.archive]\ntype = \"archive\"\npath = {:?}\n", crew.place()));
    file(&node, "moon", RANGES, &json!({ "upload_location": "moon" }));
    file(&node, "listed", RANGES, &json!({ "uploader_whitelist": ["beta", "gamma"] }));
    file(&node, "nobody", RANGES, &json!({ "uploader_whitelist": [] }));
    file(&node, "two", RANGES, &json!({ "upload_location": "archive" }));
    for (id, says) in [
        ("moon", "no node has the upload location moon; choose another (there are: archive, local)"),
        (
            "listed",
            "the uploader whitelist (beta, gamma) holds none of the nodes that have the upload location local (alpha)",
        ),
        ("nobody", "the uploader whitelist (empty) holds none of the nodes"),
        ("two", "an archive is of one range"),
    ] {
        let refused = eventually(id, || Some(event(&node, id)).filter(|event| event["state"] == "UNEDITED"));
        let error = refused["error"].as_str().unwrap_or_default();
        assert!(error.starts_with(says), "{id}: {error}");
    }
    // Whoever has mended something else has it tried again; what did not fail is not filed twice.
    let retried = send(&node, "POST", "/api/v1/events/moon/retry", None, &Value::Null);
    assert_eq!((retried.status, &retried.json()["state"]), (200, &json!("EDITED")), "{}", retried.text());
    assert_eq!(retried.json()["error"], Value::Null);
    let again = eventually("moon again", || Some(event(&node, "moon")).filter(|event| event["state"] == "UNEDITED"));
    assert!(again["error"].as_str().unwrap().starts_with("no node has the upload location moon"), "{again}");
    assert_eq!(steps(&node, "moon"), ["add", "edit", "fail", "file again", "fail"]);
    // The editor changes what was wrong.
    submit(&node, "listed", RANGES, &json!({ "uploader_whitelist": ["alpha"] }));
    assert_eq!(wait_for(&node, "listed", "DONE")["error"], Value::Null);
    assert_eq!(send(&node, "POST", "/api/v1/events/listed/retry", None, &Value::Null).json()["code"], "state");
    // What was checked about the cut is kept with it.
    let receipt = node.get("/api/v1/events/listed/receipt").json();
    assert_eq!((&receipt["outcome"], &receipt["frames"]["missing"]), (&json!("done"), &json!(0)), "{receipt}");
    assert_eq!(receipt["bytes"], fs::metadata(crew.only_video()).unwrap().len());
    for never_cut in ["moon", "none"] {
        assert_eq!(node.get(&format!("/api/v1/events/{never_cut}/receipt")).status, 404);
    }
    [node, archive].into_iter().for_each(NodeProcess::stop);
}

fn what_is_missing_is_waited_for_unless_holes_are_allowed(ground: Ground) {
    let crew = Crew::new(ground);
    let node = crew.cutter("alpha");
    let whole = [("2026-01-02T03:59:55", "2026-01-02T04:00:03")];
    let lost = source().path(2).strip_prefix(source().record.layout.base()).unwrap().to_owned();
    fs::remove_file(node.base.join(&lost)).unwrap();
    file(&node, "allowed", &whole, &json!({ "allow_holes": true }));
    file(&node, "whole", &whole, &Value::Null);
    wait_for(&node, "allowed", "DONE");
    assert_eq!(crew.videos().len(), 1);
    let waiting =
        eventually("a person is told", || Some(event(&node, "whole")).filter(|event| !event["error"].is_null()));
    assert_eq!((&waiting["state"], crew.videos().len()), (&json!("EDITED"), 1));
    let error = waiting["error"].as_str().unwrap();
    assert!(error.contains("not cut by alpha: ") && error.contains("it waits for what is missing"), "{error}");
    // It comes from a peer, say.
    fs::copy(source().path(2), node.base.join(&lost)).unwrap();
    assert_eq!(wait_for(&node, "whole", "DONE")["error"], Value::Null);
    let video = crew.videos().into_iter().find(|(name, _)| name.contains("-whole.")).unwrap().1;
    assert_shows(&video, &whole);
    node.stop();
}

fn while_the_database_takes_no_writes_jobs_wait(ground: Ground) {
    let crew = Crew::new(ground);
    let node = crew.cutter("alpha");
    file(&node, "e1", &RANGES[..1], &Value::Null);
    wait_for(&node, "e1", "DONE");
    let is_sqlite = crew.ground.url.starts_with("sqlite");
    let refuse = if is_sqlite {
        "CREATE TRIGGER no_writes BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'read-only'); END"
    } else {
        "CREATE FUNCTION no_writes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'read-only'; END $$; \
         CREATE TRIGGER no_writes BEFORE UPDATE ON events FOR EACH STATEMENT EXECUTE FUNCTION no_writes()"
    };
    fs::write(crew.hold(), "").unwrap();
    file(&node, "e2", &RANGES[..1], &Value::Null);
    file(&node, "e3", &RANGES[1..], &Value::Null);
    eventually("one is claimed", || ["e2", "e3"].iter().any(|id| event(&node, id)["state"] == "CLAIMED").then_some(()));
    crew.execute(refuse);
    // Editors are told at once, and what they sent changes nothing.
    let row = node.get("/thrimshim/e1").json();
    let refused = send(&node, "POST", "/thrimshim/e1", None, &edit(&row, RANGES, &json!({ "state": "MODIFIED" })));
    assert_eq!((refused.status, refused.header("retry-after").is_empty()), (503, false), "{}", refused.text());
    assert_eq!((node.get("/thrimshim/e1").status, &event(&node, "e1")["state"]), (200, &json!("DONE")));
    // The one in flight is cut to its end, and waits for its state to be written.
    fs::remove_file(crew.hold()).unwrap();
    eventually("it waits", || node.logged("a job's state cannot be written yet, the job goes on").pop());
    assert_eq!(crew.videos().len(), 1);
    let allow = if is_sqlite { "DROP TRIGGER no_writes" } else { "DROP TRIGGER no_writes ON events" };
    crew.execute(allow);
    wait_for(&node, "e2", "DONE");
    wait_for(&node, "e3", "DONE");
    assert_eq!(crew.videos().len(), 3);
    node.stop();
}
