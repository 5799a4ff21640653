//! The contract of events in the database, over both engines.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use segvault::db::{Author, Changed, Db, EventFilter, EventProgress, Playlist, Template, TemplateKept, User};
use segvault::model::{Column, Event, EventState, EventStep, PixelBox, Refusal, UploadLocation};
use serde_json::json;

use super::{ann, at, edited, node, noted, said};
use crate::db::{Ground, contract};

contract! {
    an_event_is_read_as_it_was_written,
    of_two_who_change_the_same_event_neither_is_lost,
    a_claim_fails_if_anything_was_changed_since,
    a_lease_is_renewed_by_its_holder_alone,
    an_event_waits_for_who_may_upload_it,
    pages_hold_every_event_once_in_order,
    texts_are_found_whatever_their_case,
    every_change_has_its_line_and_no_line_is_lost,
    progress_is_the_last_note,
    rows_that_are_no_events_hide_no_other,
    templates_people_and_playlists_are_kept,
    two_nodes_claim_each_event_once,
}

fn by_ann() -> Author {
    Author::Person(ann())
}

async fn migrated(ground: &Ground) -> Db {
    let db = ground.db();
    db.migrate().await.unwrap();
    db
}

async fn add(db: &Db, event: &Event) {
    assert!(db.add_event(event, &by_ann(), at(0)).await.unwrap());
}

fn done(changed: Changed) -> Event {
    match changed {
        Changed::Done(event) => *event,
        other => panic!("{other:?}"),
    }
}

fn places() -> Vec<UploadLocation> {
    vec!["local".parse().unwrap(), "tube".parse().unwrap()]
}

async fn an_event_is_read_as_it_was_written(ground: Ground) {
    let db = migrated(&ground).await;
    let mut event = said("e1");
    for (column, value) in [
        (Column::EventEnd, json!("2026-01-02T03:04:05.999999")),
        (Column::UploaderWhitelist, json!(["alpha", "béta"])),
        (Column::VideoRanges, json!([["2026-01-02T03:00:00.000001", null], [null, null]])),
        (Column::VideoTransitions, json!([["fade", 0.1]])),
        (Column::ThumbnailMode, json!("CUSTOM")),
        (Column::ThumbnailImage, json!("iVBORw0KGgoA")),
        (Column::ThumbnailCrop, json!([1, 2, 3, -4])),
        (Column::ThumbnailTime, json!("1969-12-31T23:59:59.999999")),
        (Column::ThumbnailTemplate, json!("day 'one'; \"x\"")),
        (Column::Notes, json!("é\n\\'; DROP TABLE events; --")),
    ] {
        event.set(column, &value).unwrap();
    }
    add(&db, &event).await;
    assert_eq!(db.event(&event.id).await.unwrap().unwrap(), event);
    assert!(!db.add_event(&event, &by_ann(), at(0)).await.unwrap(), "an id is given once");
    assert_eq!(db.event(&"none".parse().unwrap()).await.unwrap(), None);
    let listed = db.events(&EventFilter::default(), None, 10).await.unwrap().events.remove(0);
    event.edit.thumbnail.image = None;
    assert_eq!(listed, event, "a list has no images");
}

async fn of_two_who_change_the_same_event_neither_is_lost(ground: Ground) {
    let (one, two) = (migrated(&ground).await, ground.db());
    let event = noted("e1");
    add(&one, &event).await;
    let tag = |db: &Db, number: usize| {
        let (db, id) = (db.clone(), event.id.clone());
        async move {
            let change = move |event: &mut Event| {
                event.sheet.tags.push(number.to_string());
                Ok(())
            };
            done(db.change_event(&id, "edit sheet", &by_ann(), at(1), change).await.unwrap())
        }
    };
    join_all((0..20).map(|number| tag(if number % 2 == 0 { &one } else { &two }, number))).await;
    let after = one.event(&event.id).await.unwrap().unwrap();
    let tags: BTreeSet<String> = after.sheet.tags.iter().cloned().collect();
    assert_eq!((tags.len(), after.sheet.tags.len(), after.version), (20, 20, 21));
    // What changes nothing is no change.
    let same = one.change_event(&event.id, "edit sheet", &by_ann(), at(2), |_| Ok(())).await.unwrap();
    assert_eq!(done(same).version, 21);
    let absent = one.change_event(&"none".parse().unwrap(), "edit sheet", &by_ann(), at(2), |_| Ok(())).await.unwrap();
    assert_eq!(absent, Changed::Absent);
}

async fn a_claim_fails_if_anything_was_changed_since(ground: Ground) {
    let db = migrated(&ground).await;
    let mut event = edited("e1", at(1));
    event.set(Column::ThumbnailMode, &json!("CUSTOM")).unwrap();
    event.set(Column::ThumbnailImage, &json!("iVBORw0KGgoA")).unwrap();
    add(&db, &event).await;
    let read = db.waiting(&node("alpha"), &places(), at(5), 10).await.unwrap().remove(0);
    let retitle = |event: &mut Event| {
        event.edit.video_title = Some("Another".into());
        event.submit(&ann(), at(1))
    };
    done(db.change_event(&event.id, "edit", &by_ann(), at(2), retitle).await.unwrap());
    // With a shell, nobody counts the version.
    ground.raw().execute("UPDATE events SET version = 1");
    let refused = db.claim_event(&read, &node("alpha"), at(3), at(9)).await.unwrap();
    let Changed::Refused(Refusal::Changed(differences)) = refused else { panic!("{refused:?}") };
    assert_eq!(differences.iter().map(|one| one.column).collect::<Vec<_>>(), [Column::VideoTitle]);
    let read = db.waiting(&node("alpha"), &places(), at(5), 10).await.unwrap().remove(0);
    ground.raw().execute("UPDATE events SET version = 7");
    let read = Event { version: 7, ..read };
    let claimed = done(db.claim_event(&read, &node("alpha"), at(3), at(9)).await.unwrap());
    assert_eq!((claimed.job.state, claimed.job.lease_until), (EventState::Claimed, Some(at(9))));
    let again = db.claim_event(&read, &node("beta"), at(3), at(9)).await.unwrap();
    assert!(matches!(again, Changed::Refused(_)), "{again:?}");
    // A step that the state forbids is refused by what was written, whatever the caller believed.
    let finish = |event: &mut Event| event.transcoded(at(4));
    let refused = db.change_event(&event.id, "finish", &by_ann(), at(4), finish).await.unwrap();
    assert!(matches!(refused, Changed::Refused(Refusal::Illegal(_))), "{refused:?}");
    assert_eq!(db.event(&event.id).await.unwrap().unwrap(), claimed);
}

async fn a_lease_is_renewed_by_its_holder_alone(ground: Ground) {
    let db = migrated(&ground).await;
    let event = edited("e1", at(1));
    add(&db, &event).await;
    let (alpha, beta) = (node("alpha"), node("beta"));
    assert!(!db.renew_lease(&event.id, &alpha, at(20)).await.unwrap());
    let claimed = done(db.claim_event(&event, &alpha, at(2), at(10)).await.unwrap());
    assert!(db.renew_lease(&event.id, &alpha, at(20)).await.unwrap());
    assert!(!db.renew_lease(&event.id, &beta, at(30)).await.unwrap());
    assert_eq!(db.abandoned(at(20)).await.unwrap(), []);
    let held = db.claims_of(&alpha).await.unwrap();
    assert_eq!((held.len(), held[0].job.lease_until, held[0].version), (1, Some(at(20)), claimed.version));
    assert_eq!(db.abandoned(at(21)).await.unwrap(), held);
    assert_eq!(db.claims_of(&beta).await.unwrap(), []);
    done(db.change_event(&event.id, "cancel", &by_ann(), at(5), Event::cancel).await.unwrap());
    assert!(!db.renew_lease(&event.id, &alpha, at(30)).await.unwrap(), "who is cancelled learns of it");
}

async fn an_event_waits_for_who_may_upload_it(ground: Ground) {
    let db = migrated(&ground).await;
    // More than one look's rows are for others.
    for number in 0..120 {
        let mut event = edited(&format!("other{number:03}"), at(number));
        event.edit.uploader_whitelist = Some(vec![node("beta")]);
        add(&db, &event).await;
    }
    add(&db, &edited("late", at(501))).await;
    add(&db, &edited("first", at(500))).await;
    let mut elsewhere = edited("elsewhere", at(1));
    elsewhere.edit.upload_location = Some("moon".parse().unwrap());
    add(&db, &elsewhere).await;
    let mut backing_off = edited("backing-off", at(1));
    backing_off.job.retry_at = Some(at(1000));
    add(&db, &backing_off).await;
    add(&db, &said("draft")).await;
    let names = |events: Vec<Event>| events.into_iter().map(|event| event.id.to_string()).collect::<Vec<_>>();
    let waiting = |name: &'static str, now: i64, limit: usize| {
        let db = db.clone();
        async move { names(db.waiting(&node(name), &places(), at(now), limit).await.unwrap()) }
    };
    assert_eq!(waiting("alpha", 999, 10).await, ["first", "late"]);
    assert_eq!(waiting("alpha", 1000, 10).await, ["backing-off", "first", "late"]);
    assert_eq!(waiting("beta", 999, 2).await, ["other000", "other001"]);
    assert_eq!(db.waiting(&node("alpha"), &[], at(999), 10).await.unwrap(), []);
}

async fn pages_hold_every_event_once_in_order(ground: Ground) {
    let db = migrated(&ground).await;
    for number in 0..25_i64 {
        let mut event =
            if number % 3 == 0 { edited(&format!("E{number}"), at(1)) } else { noted(&format!("e{number}")) };
        // Some begin together, some at no known time.
        event.sheet.event_start = (number % 5 != 0).then(|| at(number / 4));
        add(&db, &event).await;
    }
    let states = [vec![], vec![EventState::Edited], vec![EventState::Edited, EventState::Unedited, EventState::Done]];
    for (states, newest_first) in states.iter().flat_map(|states| [(states, false), (states, true)]) {
        let filter = EventFilter { states: states.clone(), newest_first, ..EventFilter::default() };
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = db.events(&filter, after.as_ref(), 4).await.unwrap();
            assert!(page.events.len() == 4 || page.next.is_none());
            seen.extend(page.events);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let keys: Vec<(i64, &str)> = seen
            .iter()
            .map(|event| (event.sheet.event_start.map_or(i64::MAX, |start| start.micros()), event.id.as_str()))
            .collect();
        let in_order = if newest_first { keys.iter().rev().is_sorted() } else { keys.is_sorted() };
        assert!(in_order, "{keys:?}");
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), if filter.states.len() == 1 { 9 } else { 25 });
    }
    let within = EventFilter { from: Some(at(2)), to: Some(at(3)), ..EventFilter::default() };
    let found = db.events(&within, None, 100).await.unwrap().events;
    assert_eq!(found.len(), 3, "8, 9 and 11");
    for (channel, editor, found) in
        [("gdq", ann(), 9), ("other", ann(), 0), ("gdq", "bob@example.org".parse().unwrap(), 0)]
    {
        let of =
            EventFilter { channel: Some(channel.parse().unwrap()), editor: Some(editor), ..EventFilter::default() };
        assert_eq!(db.events(&of, None, 100).await.unwrap().events.len(), found);
    }
}

async fn texts_are_found_whatever_their_case(ground: Ground) {
    let db = migrated(&ground).await;
    let mut event = noted("e1");
    event.set(Column::Description, &json!("ÄPFEL 100% of_it")).unwrap();
    event.set(Column::Tags, &json!(["Speed Run"])).unwrap();
    add(&db, &event).await;
    add(&db, &noted("e2")).await;
    for (text, found) in [
        ("äpfel", 1),
        ("100%", 1),
        ("of_it", 1),
        ("ofxit", 0),
        ("speed run", 1),
        ("E2", 1),
        ("e", 2),
        ("\\", 0),
        ("", 2),
    ] {
        let filter = EventFilter { text: Some(text.into()), ..EventFilter::default() };
        assert_eq!(db.events(&filter, None, 10).await.unwrap().events.len(), found, "{text}");
    }
}

async fn every_change_has_its_line_and_no_line_is_lost(ground: Ground) {
    let db = migrated(&ground).await;
    add(&db, &said("e1")).await;
    let id = noted("e1").id;
    let alpha = node("alpha");
    let submit = |event: &mut Event| event.submit(&ann(), at(1));
    let event = done(db.change_event(&id, EventStep::Edit.as_str(), &by_ann(), at(1), submit).await.unwrap());
    done(db.claim_event(&event, &alpha, at(2), at(9)).await.unwrap());
    let lines = db.history(&id).await.unwrap();
    let told: Vec<(i64, &str, &str)> = lines.iter().map(|line| (line.version, &*line.by, &*line.what)).collect();
    let ann = "ann@example.org";
    assert_eq!(told, [(1, ann, "add"), (2, ann, "edit"), (3, "node alpha", "claim")]);
    assert_eq!(lines[2].changes, json!({ "state": ["EDITED", "CLAIMED"], "uploader": [null, "alpha"] }));
    assert_eq!(db.changes_since(at(1)).await.unwrap(), lines[1..]);
    for act in ["UPDATE event_history SET changed_by = 'nobody'", "DELETE FROM event_history"] {
        let refused = ground.raw().try_execute(act).unwrap_err().to_string();
        assert!(refused.contains("only ever added to"), "{refused}");
    }
    assert_eq!(db.history(&id).await.unwrap(), lines);
    // An event with a history stays.
    assert!(ground.raw().try_execute("PRAGMA foreign_keys = ON; DELETE FROM events").is_err());
}

async fn progress_is_the_last_note(ground: Ground) {
    let db = migrated(&ground).await;
    let event = noted("e1");
    add(&db, &event).await;
    assert_eq!(db.progress(&event.id).await.unwrap(), None);
    let mut progress = EventProgress {
        uploader: node("alpha"),
        activity: "cutting".into(),
        done_bytes: 5,
        total_bytes: None,
        ends_at: None,
        noted_at: at(1),
    };
    db.note_progress(&event.id, &progress).await.unwrap();
    progress.done_bytes = 1 << 40;
    (progress.total_bytes, progress.ends_at) = (Some(1 << 41), Some(at(7)));
    db.note_progress(&event.id, &progress).await.unwrap();
    assert_eq!(db.progress(&event.id).await.unwrap(), Some(progress.clone()));
    assert!(db.note_progress(&noted("none").id, &progress).await.is_err(), "there is no such event");
}

async fn rows_that_are_no_events_hide_no_other(ground: Ground) {
    let db = migrated(&ground).await;
    add(&db, &edited("e1", at(1))).await;
    ground
        .raw()
        .execute("INSERT INTO events (id) VALUES ('../up'); INSERT INTO events (id, video_quality) VALUES ('e2', '')");
    let page = db.events(&EventFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.unreadable.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["../up", "e2"]);
    assert!(db.event(&"e2".parse().unwrap()).await.unwrap_err().to_string().contains("e2"));
}

async fn templates_people_and_playlists_are_kept(ground: Ground) {
    let db = migrated(&ground).await;
    let template = |name: &str, attribution: &str| Template {
        name: name.parse().unwrap(),
        description: "d".into(),
        attribution: attribution.into(),
        crop: PixelBox([0, 0, 1920, 1080]),
        location: PixelBox([1, 2, 3, 4]),
    };
    assert_eq!(db.add_template(&template("b", ""), vec![1]).await.unwrap(), TemplateKept::Kept);
    assert_eq!(db.add_template(&template("a b", ""), vec![2]).await.unwrap(), TemplateKept::Kept);
    assert_eq!(db.add_template(&template("b", "x"), vec![3]).await.unwrap(), TemplateKept::Taken);
    let name = |name: &str| name.parse().unwrap();
    assert_eq!(db.update_template(&name("b"), &template("a b", "x"), None).await.unwrap(), TemplateKept::Taken);
    assert_eq!(db.update_template(&name("z"), &template("z", "x"), None).await.unwrap(), TemplateKept::Absent);
    assert_eq!(db.update_template(&name("b"), &template("c", "x"), None).await.unwrap(), TemplateKept::Kept);
    assert_eq!(db.templates().await.unwrap(), [template("a b", ""), template("c", "x")]);
    assert_eq!(db.template(&name("c")).await.unwrap(), Some(template("c", "x")));
    assert_eq!(db.template_image(&name("c")).await.unwrap(), Some(vec![1]));
    assert_eq!(db.template_image(&name("b")).await.unwrap(), None);

    let user = |roles: &str| User { email: ann(), name: "Ann".into(), roles: roles.parse().unwrap() };
    db.keep_user(&user("editor")).await.unwrap();
    db.keep_user(&user("editor,artist")).await.unwrap();
    assert_eq!(db.user(&ann()).await.unwrap(), Some(user("editor,artist")));
    assert_eq!(db.users().await.unwrap(), [user("editor,artist")]);
    assert!(db.remove_user(&ann()).await.unwrap() && !db.remove_user(&ann()).await.unwrap());

    let mut playlist = Playlist {
        id: "p1".into(),
        name: "All".into(),
        description: String::new(),
        tags: None,
        playlist_id: None,
        show_in_description: true,
        default_template: Some(name("c")),
    };
    db.keep_playlist(&playlist).await.unwrap();
    assert!(!playlist.holds(&[]));
    playlist.tags = Some(vec!["Day 1".into()]);
    db.keep_playlist(&playlist).await.unwrap();
    assert_eq!(db.playlists().await.unwrap(), [playlist.clone()]);
    assert!(playlist.holds(&["DAY 1".into(), "x".into()]) && !playlist.holds(&["x".into()]));
}

/// How many events a node claims until there are none.
async fn claim_all(db: Db, name: &'static str) -> Vec<String> {
    let (me, mut mine) = (node(name), Vec::new());
    loop {
        let waiting = db.waiting(&me, &places(), at(5), 20).await.unwrap();
        if waiting.is_empty() {
            return mine;
        }
        for event in waiting {
            match db.claim_event(&event, &me, at(5), at(9)).await.unwrap() {
                Changed::Done(event) => mine.push(event.id.to_string()),
                Changed::Absent | Changed::Refused(_) => {}
            }
        }
    }
}

async fn two_nodes_claim_each_event_once(ground: Ground) {
    let db = migrated(&ground).await;
    for number in 0..60 {
        add(&db, &edited(&format!("e{number:02}"), at(1))).await;
    }
    let claimed = join_all([claim_all(db, "alpha"), claim_all(ground.db(), "beta")]).await.concat();
    assert_eq!(claimed.len(), 60);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), 60);
}
