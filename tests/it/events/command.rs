//! `segvault events` as a user meets it.

use serde_json::{Value, json};

use super::over_both;
use crate::db::Ground;
use crate::support::{run, segvault};

over_both! {
    events_are_kept_from_a_shell,
}

fn events_are_kept_from_a_shell(ground: Ground) {
    let sets = [format!("node.dir={}", ground.dir.path().display()), format!("database.url={}", ground.url)];
    let events = |args: &[&str]| {
        let mut command = segvault();
        command.arg("events").args(args);
        for set in &sets {
            command.args(["--set", set]);
        }
        run(&mut command)
    };
    let json = |args: &[&str]| -> Value {
        let (code, out, error) = events(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).unwrap()
    };
    assert_eq!(events(&["list"]), (0, String::new(), String::new()));
    let added = json(&["add", "e1", "event_start=2026-01-02T03:00:00", "tags=[\"a\"]", "description=A run"]);
    assert_eq!((&added["state"], &added["tags"]), (&json!("UNEDITED"), &json!(["a"])));
    assert_eq!(events(&["add", "e1"]).0, 1);
    let edited = json(&[
        "edit",
        "e1",
        "video_ranges=[[\"2026-01-02T03:00:00\",\"2026-01-02T03:01:00\"]]",
        "video_transitions=[]",
        "video_title=T",
        "video_description=",
        "video_tags=[]",
        "video_channel=gdq",
        "upload_location=local",
        "thumbnail_mode=NONE",
        "--state",
        "EDITED",
        "--by",
        "Ann@example.org",
        "--version",
        "1",
    ]);
    assert_eq!(
        (&edited["state"], &edited["editor"], &edited["version"]),
        (&json!("EDITED"), &json!("ann@example.org"), &json!(2))
    );
    let (code, _, error) = events(&["edit", "e1", "notes=x", "--version", "1"]);
    assert!(code == 1 && error.contains("not of version 1"), "{error}");
    let (code, out, _) = events(&["list", "--state", "EDITED", "--text", "RUN"]);
    assert!(code == 0 && out.contains("EDITED") && out.contains("e1") && out.lines().count() == 1, "{out}");
    assert_eq!(json(&["list", "--state", "DONE"]), json!([]));
    let (code, out, _) = events(&["show", "e1"]);
    assert!(code == 0 && out.contains("video_title            \"T\""), "{out}");
    let (code, _, error) = events(&["retry", "e1"]);
    assert!(code == 1 && error.contains("nothing about the event has failed"), "{error}");
    assert_eq!(json(&["cancel", "e1"])["state"], "UNEDITED");
    assert_eq!(json(&["reset", "e1"])["state"], "UNEDITED");
    let history = json(&["history", "e1"]);
    let steps: Vec<&str> = history.as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["add", "edit", "cancel"], "what changes nothing is no change");
    for (args, code, says) in [
        (&["show", "none"][..], 1, "no event none"),
        (&["history", "none"], 1, "no event none"),
        (&["edit", "e1"], 64, "say what to change"),
        (&["edit", "e1", "color=red"], 64, "no field \"color\""),
        (&["edit", "e1", "notes"], 64, "FIELD=VALUE"),
        (&["edit", "e1", "video_ranges=x"], 1, "must be a list"),
        (&["edit", "e1", "--state", "EDITED", "video_channel=null"], 1, "video_channel"),
        (&["edit", "e1", "--state", "CLAIMED"], 64, "ways of their own"),
        (&["list", "--state", "done"], 64, "UNEDITED, EDITED"),
    ] {
        let (ended, _, error) = events(args);
        assert!(ended == code && error.contains(says), "{args:?}: {ended} {error}");
    }
}
