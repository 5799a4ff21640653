//! What the database itself holds of events, whoever writes: the same in both engines.

use super::{at, edited};
use crate::db::{Ground, contract};
use segvault::db::Author;

contract! {
    what_a_state_lacks_is_refused_by_the_database,
}

/// What is set of an EDITED event, and whether the database takes it.
const ROWS: &[(&str, bool)] = &[
    ("notes = 'x'", true),
    ("state = 'LOST'", false),
    ("upload_location = NULL", false),
    ("video_title = NULL", false),
    ("video_description = NULL", false),
    ("video_tags = NULL", false),
    ("video_channel = NULL", false),
    ("video_ranges = NULL, video_transitions = NULL", false),
    ("state = 'UNEDITED', video_ranges = NULL, video_transitions = NULL, video_title = NULL", true),
    ("state = 'UNEDITED', video_ranges = NULL", false),
    ("editor = NULL", false),
    ("edit_time = NULL", false),
    ("video_transitions = '[null]'", false),
    ("video_ranges = '[]'", false),
    ("video_ranges = '[[1,2],[3,4]]', video_transitions = '[null]'", true),
    ("video_ranges = 'no list'", false),
    ("tags = 'no list'", false),
    ("uploader_whitelist = '[\"alpha\"]'", true),
    ("uploader_whitelist = 'no list'", false),
    ("state = 'CLAIMED', lease_until = 1", false),
    ("state = 'CLAIMED', uploader = 'alpha'", false),
    ("state = 'CLAIMED', uploader = 'alpha', lease_until = 1", true),
    ("state = 'FINALIZING', lease_until = 1", false),
    ("state = 'TRANSCODING'", false),
    ("state = 'TRANSCODING', uploader = 'alpha'", true),
    ("state = 'DONE', video_link = 'x'", false),
    ("state = 'DONE', upload_time = 1", false),
    ("state = 'DONE', upload_time = 1, video_link = 'x'", true),
    ("state = 'DONE', upload_time = 1, video_link = 'x', video_ranges = NULL, video_transitions = NULL", true),
    ("state = 'MODIFIED', upload_time = 1, video_link = 'x'", false),
    ("state = 'MODIFIED', upload_time = 1, video_link = 'x', last_modified = 1", true),
    ("state = 'MODIFIED', upload_time = 1, last_modified = 1", false),
    ("thumbnail_mode = 'ONEOFF'", false),
    ("thumbnail_mode = 'BARE'", false),
    ("thumbnail_mode = 'BARE', thumbnail_time = 1", true),
    ("thumbnail_mode = 'TEMPLATE', thumbnail_time = 1", false),
    ("thumbnail_mode = 'TEMPLATE', thumbnail_template = 'x'", false),
    ("thumbnail_mode = 'TEMPLATE', thumbnail_time = 1, thumbnail_template = 'x'", true),
    ("thumbnail_mode = 'CUSTOM'", false),
    ("thumbnail_crop = '[1,2,3]'", false),
    ("thumbnail_location = '[1,2,3,4]'", true),
];

async fn what_a_state_lacks_is_refused_by_the_database(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    let author = Author::Node("alpha".parse().unwrap());
    assert!(db.add_event(&edited("e1", at(1)), &author, at(1)).await.unwrap());
    let mut raw = ground.raw();
    for (set, is_taken) in ROWS {
        raw.execute("BEGIN");
        let done = raw.try_execute(&format!("UPDATE events SET {set} WHERE id = 'e1'"));
        assert_eq!(done.is_ok(), *is_taken, "{set}: {done:?}");
        raw.execute("ROLLBACK");
    }
    for refused in [
        "INSERT INTO users VALUES ('Ann@Example.org', 'Ann', 'editor')",
        "INSERT INTO templates (name, crop, location, image) VALUES ('a', '[1]', '[1,2,3,4]', '')",
        "INSERT INTO playlists (id, tags) VALUES ('a', 'b')",
        "INSERT INTO events (id) VALUES ('')",
    ] {
        assert!(raw.try_execute(refused).is_err(), "{refused}");
    }
}
