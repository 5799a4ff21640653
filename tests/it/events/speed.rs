//! Many events: how long lists and looks for work take, and how many claims there are in a second. The bounds are wide, as
//! other tests run beside; `soak_…` prints figures.

use std::time::Instant;

use futures_util::future::join_all;
use segvault::db::{Author, Changed, Db, EventFilter, EventProgress};
use segvault::model::{EventState, UploadLocation};

use super::{ann, at, edited, node};
use crate::db::{Ground, Raw};

fn here() -> Vec<UploadLocation> {
    vec!["local".parse().unwrap()]
}

/// Copies the one event there is a hundred thousand times, in the state DONE, but for 10.
fn multiply(ground: &Ground) {
    let mut raw = ground.raw();
    let numbers = match &raw {
        Raw::Sqlite(_) => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) SELECT i FROM n"
        }
        Raw::Postgres(_) => "SELECT generate_series(1, 99999)::bigint",
    };
    raw.execute(&format!(
        "INSERT INTO events (id, event_start, description, notes, upload_location, video_ranges, video_transitions, \
         video_title, video_description, video_tags, video_channel, thumbnail_mode, state, editor, edit_time, \
         upload_time, video_link, search) \
         SELECT 'many' || n.i, 1767322800000000 + n.i * 60000000, description, notes, upload_location, video_ranges, \
         video_transitions, video_title, video_description || substr('{}', 1, 400), video_tags, video_channel, \
         thumbnail_mode, CASE WHEN n.i % 10000 = 0 THEN 'EDITED' ELSE 'DONE' END, editor, n.i, 1, 'http://v', \
         search || ' number ' || n.i \
         FROM events, ({numbers}) AS n(i) WHERE id = 'one'",
        "words ".repeat(70)
    ).replace("AS n(i)", match &raw { Raw::Sqlite(_) => "AS n", Raw::Postgres(_) => "AS n(i)" }));
    raw.execute("ANALYZE");
}

async fn many(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    assert!(db.add_event(&edited("one", at(1)), &Author::Person(ann()), at(1)).await.unwrap());
    multiply(&ground);
    let page = db.events(&EventFilter::default(), None, 100).await.unwrap();
    let middle =
        db.events(&EventFilter { from: Some(at(3_000_000_000_000)), ..EventFilter::default() }, None, 1).await.unwrap();
    let states = |states: &[EventState]| EventFilter { states: states.to_vec(), ..EventFilter::default() };
    let text = |text: &str| EventFilter { text: Some(text.into()), ..EventFilter::default() };
    let asked = [
        ("first page", EventFilter::default(), None),
        ("second page", EventFilter::default(), page.next),
        ("in the middle", EventFilter::default(), middle.next),
        ("one state", states(&[EventState::Edited]), None),
        ("all states", states(&EventState::ALL), None),
        ("a common text", text("number 7"), None),
        ("a rare text", text("number 99999"), None),
        ("no such text", text("nowhere"), None),
    ];
    for (what, filter, after) in asked {
        let took = median(|| async {
            db.events(&filter, after.as_ref(), 100).await.unwrap();
        })
        .await;
        eprintln!("{}: {what}: {took:.1} ms", db.engine());
        assert!(took < 500.0, "{what}: {took} ms");
    }
    let took = median(|| async {
        assert_eq!(db.waiting(&node("alpha"), &here(), at(5), 1).await.unwrap().len(), 1);
    })
    .await;
    eprintln!("{}: poll: {took:.2} ms", db.engine());
    assert!(took < 50.0, "{took} ms");
}

/// The median of 9, in milliseconds.
async fn median<F: Future<Output = ()>>(ask: impl Fn() -> F) -> f64 {
    let mut all = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        ask().await;
        all.push(began.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    all[4]
}

#[actix_rt::test]
#[ignore = "takes a while: 100,000 events"]
async fn soak_a_hundred_thousand_events_in_sqlite() {
    many(Ground::sqlite()).await;
}

#[actix_rt::test]
#[ignore = "takes a while: 100,000 events"]
async fn soak_a_hundred_thousand_events_in_postgresql() {
    many(Ground::postgres()).await;
}

/// Two nodes with four connections each, which all want everything. Each begins elsewhere in what it finds: who all begin with
/// the oldest are in each other's way.
async fn claims(ground: Ground) {
    let (alpha, beta) = (ground.db(), ground.db());
    alpha.migrate().await.unwrap();
    for number in 0..1000 {
        let event = edited(&format!("e{number:04}"), at(number));
        assert!(alpha.add_event(&event, &Author::Person(ann()), at(1)).await.unwrap());
    }
    let began = Instant::now();
    let claimers = (0..8).map(|place| if place % 2 == 0 { (&alpha, "alpha", place) } else { (&beta, "beta", place) });
    let claimers = claimers.map(|(db, name, place)| claim_all(db.clone(), name, place));
    let claimed: usize = join_all(claimers).await.into_iter().sum();
    let per_second = 1000.0 / began.elapsed().as_secs_f64();
    eprintln!("{}: {per_second:.0} claims a second", alpha.engine());
    assert_eq!(claimed, 1000, "each once");
    // What the machine can do just now: the least that a write can be, without a clash.
    let began = Instant::now();
    join_all((0..8).map(|place| note_all(if place % 2 == 0 { alpha.clone() } else { beta.clone() }, place))).await;
    eprintln!("{}: {:.0} plain writes a second", alpha.engine(), 1000.0 / began.elapsed().as_secs_f64());
    let history = alpha.changes_since(at(2)).await.unwrap();
    assert_eq!(history.len(), 1000, "a line for each");
}

async fn note_all(db: Db, place: usize) {
    for number in place * 125..(place + 1) * 125 {
        let progress = EventProgress {
            uploader: node("alpha"),
            activity: "cutting".into(),
            done_bytes: 1,
            total_bytes: None,
            ends_at: None,
            noted_at: at(1),
        };
        db.note_progress(&format!("e{number:04}").parse().unwrap(), &progress).await.unwrap();
    }
}

async fn claim_all(db: Db, name: &str, place: usize) -> usize {
    let (me, mut claimed) = (node(name), 0);
    loop {
        let mut waiting = db.waiting(&me, &here(), at(2000), 40).await.unwrap();
        if waiting.is_empty() {
            return claimed;
        }
        let first = waiting.len() * place / 8;
        waiting.rotate_left(first);
        // By then the others are where this one began.
        waiting.truncate(5);
        for event in waiting {
            if let Changed::Done(_) = db.claim_event(&event, &me, at(2000), at(9000)).await.unwrap() {
                claimed += 1;
            }
        }
    }
}

#[actix_rt::test]
#[ignore = "prints figures"]
async fn soak_a_thousand_claims_in_sqlite() {
    claims(Ground::sqlite()).await;
}

#[actix_rt::test]
#[ignore = "prints figures"]
async fn soak_a_thousand_claims_in_postgresql() {
    claims(Ground::postgres()).await;
}
