//! `/thrimshim…` as the editor pages of the existing system use it.

use serde_json::{Value, json};

use super::{over_both, send, start};
use crate::db::Ground;
use crate::support::NodeProcess;

const TERMS: &str = "[events]\nchannel = \"gdq\"\nbegins = \"2026-01-02T00:00:00\"\ntitle_header = \"GDQ\"\n\
                     description_footer = \"Recorded live.\"\nupload_locations = [\"local\", \"tube\"]\n";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

over_both! {
    an_editor_loads_edits_and_submits_a_row,
    what_an_editor_may_not_say_is_refused_in_words,
    what_is_published_is_modified_or_reset,
    templates_are_kept_listed_and_shown,
}

fn note(node: &NodeProcess, id: &str) {
    let event = json!({
        "id": id, "sheet_name": "Friday", "event_start": "2026-01-02T03:00:00", "event_end": "2026-01-02T03:10:00",
        "description": "A run", "notes": "Mind the gap", "tags": ["Day 1", "Run"],
    });
    assert_eq!(send(node, "POST", "/api/v1/events", None, &event).status, 201);
}

/// What the editor sends for a row as it was loaded.
fn edit_of(row: &Value, state: &str) -> Value {
    let mut edit = json!({
        "video_ranges": [["2026-01-02T03:00:00.5", "2026-01-02T03:01:00"], ["2026-01-02T03:02:00", "2026-01-02T03:03:00"]],
        "video_transitions": [["fade", 1.5]],
        "video_title": "A run", "video_description": "Told by me\n\n0:00 - start", "video_tags": ["a"],
        "allow_holes": false, "upload_location": "local", "public": true, "video_channel": "gdq",
        "video_quality": row["video_quality"], "uploader_whitelist": null, "state": state,
        "thumbnail_mode": "BARE", "thumbnail_template": null, "thumbnail_crop": null, "thumbnail_location": null,
        "thumbnail_time": "2026-01-02T03:00:30", "thumbnail_image": null,
    });
    for seen in ["sheet_name", "event_start", "event_end", "category", "description", "notes", "tags"] {
        edit[seen] = row[seen].clone();
    }
    edit
}

fn row(node: &NodeProcess, id: &str) -> Value {
    let reply = node.get(&format!("/thrimshim/{id}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn submit(node: &NodeProcess, id: &str, edit: &Value) -> (u16, String) {
    let reply = send(node, "POST", &format!("/thrimshim/{id}"), None, edit);
    (reply.status, reply.text())
}

fn an_editor_loads_edits_and_submits_a_row(ground: Ground) {
    let node = start(&ground, TERMS);
    assert_eq!(node.get("/thrimshim").json(), json!([]));
    note(&node, "e1");
    let defaults = node.get("/thrimshim/defaults").json();
    let expected = json!({
        "video_channel": "gdq", "bustime_start": "2026-01-02T00:00:00.000000", "title_prefix": "GDQ - ",
        "title_max_length": 94, "upload_locations": ["local", "tube"],
    });
    assert_eq!(defaults, expected);
    let transitions = node.get("/thrimshim/transitions").json();
    assert!(transitions.as_array().unwrap().iter().any(|one| one["name"] == "fade" && one["description"].is_string()));

    let loaded = row(&node, "e1");
    assert_eq!((&loaded["state"], &loaded["video_channel"]), (&json!("UNEDITED"), &json!("gdq")));
    assert_eq!((&loaded["video_title"], &loaded["video_ranges"]), (&Value::Null, &Value::Null));
    assert_eq!(loaded["thumbnail_time"], "2026-01-02T03:05:00.000000", "the middle");
    assert_eq!((&loaded["title_prefix"], &loaded["upload_locations"]), (&json!("GDQ - "), &json!(["local", "tube"])));

    // A draft may be half said.
    let mut draft = edit_of(&loaded, "UNEDITED");
    draft["video_ranges"] = json!([["2026-01-02T03:00:00.5", null]]);
    draft["video_transitions"] = json!([]);
    assert_eq!(submit(&node, "e1", &draft), (201, String::new()));
    assert_eq!(row(&node, "e1")["video_ranges"], json!([["2026-01-02T03:00:00.500000", null]]));

    assert_eq!(submit(&node, "e1", &edit_of(&loaded, "EDITED")), (201, String::new()));
    let stored = node.get("/api/v1/events/e1").json();
    assert_eq!((&stored["state"], &stored["editor"]), (&json!("EDITED"), &json!("anyone")));
    assert_eq!(stored["video_title"], "GDQ - A run");
    assert_eq!(stored["video_description"], "Told by me\n\n0:00 - start\n\nRecorded live.");
    let again = row(&node, "e1");
    assert_eq!((&again["video_title"], &again["video_transitions"]), (&json!("A run"), &json!([["fade", 1.5]])));
    assert_eq!(again["video_description"], "Told by me\n\n0:00 - start", "what was added is taken off");
    let all = node.get("/thrimshim").json();
    assert_eq!((all.as_array().unwrap().len(), &all[0]["id"]), (1, &json!("e1")));

    // Case, blanks and the order of tags are no change; another note is.
    let mut same = edit_of(&loaded, "EDITED");
    same["tags"] = json!(["run", " day 1"]);
    assert_eq!(submit(&node, "e1", &same).0, 201);
    let renoted = send(&node, "PATCH", "/api/v1/events/e1", None, &json!({ "notes": "Another" }));
    assert_eq!(renoted.status, 200, "{}", renoted.text());
    let (status, text) = submit(&node, "e1", &same);
    assert!(status == 409 && text.contains("notes: \"Mind the gap\" => \"Another\""), "{status} {text}");
    same["override_changes"] = json!(true);
    assert_eq!(submit(&node, "e1", &same).0, 201);
    node.stop();
}

fn what_an_editor_may_not_say_is_refused_in_words(ground: Ground) {
    let node = start(&ground, TERMS);
    note(&node, "e1");
    let good = edit_of(&row(&node, "e1"), "EDITED");
    for (field, value, says) in [
        ("video_title", json!("x".repeat(95)), "100 characters"),
        ("video_title", json!("<b>"), "< or >"),
        ("video_title", json!(" "), "blank"),
        ("video_title", json!(null), "must not be null"),
        ("video_description", json!("x".repeat(5000)), "5000 characters"),
        ("video_ranges", json!([]), "at least one range"),
        ("video_ranges", json!([["2026-01-02T03:00:00", "2026-01-02T03:01:00"]]), "exactly 0 transitions for 1 ranges"),
        ("video_ranges", json!([["2026-01-03", "2026-01-02"], ["2026-01-02", "2026-01-03"]]), "before it starts"),
        ("video_transitions", json!([["spin", 1]]), "no transition \"spin\""),
        ("video_transitions", json!([["fade", 100]]), "0.02 to 60"),
        ("thumbnail_mode", json!("TEMPLATE"), "thumbnail_template"),
        ("thumbnail_mode", json!("CUSTOM"), "thumbnail_image"),
        ("thumbnail_image", json!(PNG), "only where thumbnail_mode is CUSTOM"),
        ("upload_location", json!(null), "upload_location"),
        ("video_channel", json!("../x"), "video_channel"),
        ("notes", json!("a\0b"), "NUL"),
        ("state", json!("DONE"), "bad state"),
        ("state", json!("MODIFIED"), "UNEDITED already"),
    ] {
        let mut edit = good.clone();
        edit[field] = value;
        let (status, text) = submit(&node, "e1", &edit);
        let expected = if says == "UNEDITED already" { 403 } else { 400 };
        assert!(status == expected && text.contains(says) && !text.contains('{'), "{field}: {status} {text}");
    }
    let mut edit = good.clone();
    edit.as_object_mut().unwrap().remove("public");
    let (status, text) = submit(&node, "e1", &edit);
    assert!(status == 400 && text.contains("fields are missing: public"), "{text}");
    assert_eq!(submit(&node, "none", &good).0, 404);
    assert_eq!(submit(&node, "..%2fup", &good).0, 403);
    assert_eq!(send(&node, "POST", "/thrimshim/e1", None, &json!([1])).status, 400);
    assert_eq!(node.get("/thrimshim/none").status, 404);
    let untouched = node.get("/api/v1/events/e1").json();
    assert_eq!((&untouched["state"], &untouched["version"]), (&json!("UNEDITED"), &json!(1)));
    node.stop();
}

fn what_is_published_is_modified_or_reset(ground: Ground) {
    let node = start(&ground, TERMS);
    note(&node, "e1");
    note(&node, "e2");
    let link = |id: &str, body: Value| send(&node, "POST", &format!("/thrimshim/manual-link/{id}"), None, &body);
    assert_eq!(link("e1", json!({ "link": "javascript:x" })).status, 400);
    assert_eq!(link("e1", json!({ "link": "http://v/1", "upload_location": "tube" })).status, 400);
    assert_eq!(link("none", json!({ "link": "http://v/1" })).status, 404);
    let youtube = json!({ "link": "https://youtu.be/dQw4w9WgXcQ", "upload_location": "youtube-manual" });
    assert_eq!(link("e1", youtube.clone()).status, 200);
    assert_eq!(link("e1", youtube).status, 403, "it is published");
    let linked = row(&node, "e1");
    assert_eq!((&linked["state"], &linked["video_id"]), (&json!("DONE"), &json!("dQw4w9WgXcQ")));
    let (status, text) = submit(&node, "e1", &edit_of(&linked, "EDITED"));
    assert!(status == 403 && text.contains("DONE already"), "{text}");

    // As the nodes write it, in another way than they do.
    let edit = edit_of(&row(&node, "e2"), "EDITED");
    assert_eq!(submit(&node, "e2", &edit).0, 201);
    ground
        .raw()
        .execute("UPDATE events SET state = 'DONE', video_link = 'http://v/2', upload_time = 5 WHERE id = 'e2'");
    let mut changes = edit_of(&row(&node, "e2"), "MODIFIED");
    changes["video_title"] = json!("Another");
    changes["video_quality"] = json!("480p");
    assert_eq!(submit(&node, "e2", &changes), (201, String::new()));
    let modified = node.get("/api/v1/events/e2").json();
    assert_eq!((&modified["state"], &modified["video_title"]), (&json!("MODIFIED"), &json!("GDQ - Another")));
    assert_eq!(modified["video_quality"], "source", "what is cut stays");

    let reset = |query: &str| send(&node, "POST", &format!("/thrimshim/reset/e2{query}"), None, &json!({})).status;
    assert_eq!((reset(""), reset("?force=false")), (403, 403));
    assert_eq!(reset("?force=true"), 200);
    let reset = row(&node, "e2");
    assert_eq!(
        (&reset["state"], &reset["video_link"], &reset["editor"]),
        (&json!("UNEDITED"), &Value::Null, &Value::Null)
    );
    let history = node.get("/api/v1/events/e2/history").json();
    let steps: Vec<&str> = history.as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["add", "edit", "modify", "reset"]);
    assert_eq!(send(&node, "POST", "/thrimshim/auth-test", None, &json!({})).json(), "anyone");
    node.stop();
}

fn templates_are_kept_listed_and_shown(ground: Ground) {
    let node = start(&ground, TERMS);
    let template = json!({
        "name": "day one", "description": "d", "attribution": "by Bob", "crop": [0, 0, 1920, 1080],
        "location": [1, 2, 3, 4], "image": PNG,
    });
    let add = |template: &Value| send(&node, "POST", "/thrimshim/add-template", None, template);
    assert_eq!(add(&template).status, 201);
    assert_eq!(add(&template).status, 409, "the name is taken");
    for (field, value) in [("image", json!("R0lG")), ("crop", json!([1])), ("name", json!("../x")), ("name", json!(""))]
    {
        let mut bad = template.clone();
        bad[field] = value;
        let refused = add(&bad).status;
        assert!(refused == 400 || refused == 403, "{field}: {refused}");
    }
    let mut metadata = template.clone();
    metadata.as_object_mut().unwrap().remove("image");
    assert_eq!(node.get("/thrimshim/templates").json(), json!([metadata]));
    assert_eq!(node.get("/thrimshim/template-metadata/day%20one").json(), metadata);
    let image = node.get("/thrimshim/template/day%20one.png");
    assert_eq!((image.header("content-type"), &image.body[..4]), ("image/png", &b"\x89PNG"[..]));
    let mut renamed = metadata.clone();
    renamed["name"] = json!("day two");
    let update = |name: &str| send(&node, "POST", &format!("/thrimshim/update-template/{name}"), None, &renamed).status;
    assert_eq!((update("none"), update("day%20one")), (404, 200));
    assert_eq!(node.get("/thrimshim/template/day%20one.png").status, 404);
    assert_eq!(node.get("/thrimshim/template/day%20two.png").body, image.body, "the image stayed");

    // Whose template it is, is told in the description; and an image of its own is shown.
    note(&node, "e1");
    let mut edit = edit_of(&row(&node, "e1"), "EDITED");
    edit["thumbnail_mode"] = json!("TEMPLATE");
    edit["thumbnail_template"] = json!("day two");
    assert_eq!(submit(&node, "e1", &edit), (201, String::new()));
    let stored = node.get("/api/v1/events/e1").json();
    assert!(
        stored["video_description"].as_str().unwrap().ends_with("start\n\nThumbnail Credit: by Bob\nRecorded live.")
    );
    assert_eq!(row(&node, "e1")["video_description"], edit["video_description"]);
    assert_eq!(node.get("/thrimshim/event-thumbnail/e1.png").status, 404);
    edit["thumbnail_mode"] = json!("CUSTOM");
    edit["thumbnail_image"] = json!(PNG);
    assert_eq!(submit(&node, "e1", &edit).0, 201);
    assert_eq!(node.get("/thrimshim/event-thumbnail/e1.png").body, image.body);
    edit["thumbnail_image"] = Value::Null;
    assert_eq!(submit(&node, "e1", &edit).0, 201, "the image that is there stays");
    assert_eq!(row(&node, "e1")["thumbnail_image"], PNG);
    node.stop();
}
