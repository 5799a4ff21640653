//! Events: every way of changing them.
//!
//! Promises: a change happens wholly, with its line in the history, or not at all; of two that began with the same event
//! the second one sees what the first one wrote; nothing that a step forbids is ever written.

use diesel::prelude::*;
use diesel::upsert::excluded;

use super::conn::{DbConnection, on_engine};
use super::error::DbError;
use super::event_row::Row;
use super::events::read_event;
use super::handle::{Db, Engine};
use super::history::{self, Author};
use super::schema::{event_progress, events};
use crate::model::{Event, EventId, EventState, EventStep, NodeName, Refusal, Timestamp};

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// The event as it is now.
    Done(Box<Event>),
    /// There is no such event.
    Absent,
    Refused(Refusal),
}

/// How far a node is with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventProgress {
    pub uploader: NodeName,
    /// What is being done: `cutting`, `uploading`.
    pub activity: String,
    pub done_bytes: u64,
    pub total_bytes: Option<u64>,
    /// When it may be done.
    pub ends_at: Option<Timestamp>,
    pub noted_at: Timestamp,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = event_progress)]
struct ProgressRow {
    event_id: String,
    uploader: String,
    activity: String,
    done_bytes: i64,
    total_bytes: Option<i64>,
    ends_at: Option<i64>,
    noted_at: i64,
}

type ProgressColumns = (String, String, String, i64, Option<i64>, Option<i64>, i64);

impl Db {
    /// Adds a new event; `false` if there is one of that id.
    pub async fn add_event(&self, event: &Event, author: &Author, at: Timestamp) -> Result<bool, DbError> {
        let (event, author) = (event.clone(), author.clone());
        self.write(move |conn| {
            let id = event.id.as_str();
            if diesel::select(diesel::dsl::exists(events::table.find(id))).get_result(conn)? {
                return Ok(false);
            }
            diesel::insert_into(events::table).values(Row::of(&event)).execute(conn)?;
            history::add(conn, None, &event, "add", &author, at)?;
            Ok(true)
        })
        .await
    }

    /// Changes an event: `change` gets it as it is, may be asked again, and its result is written with a new version and a
    /// line in the history. What `change` leaves as it was is not written.
    pub async fn change_event(
        &self,
        id: &EventId,
        what: &'static str,
        author: &Author,
        at: Timestamp,
        change: impl Fn(&mut Event) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<Changed, DbError> {
        let (id, author) = (id.clone(), author.clone());
        self.write(move |conn| change_in(conn, &id, what, &author, at, &change)).await
    }

    /// CLAIMED, if the event is still exactly what `candidate` was read as, image aside: whoever claims has planned with all
    /// of it.
    pub async fn claim_event(
        &self,
        candidate: &Event,
        uploader: &NodeName,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Changed, DbError> {
        let (expected, node) = (candidate.clone(), uploader.clone());
        let author = Author::Node(uploader.clone());
        let claim = move |event: &mut Event| {
            let mut expected = expected.clone();
            if expected.edit.thumbnail.image.is_none() {
                expected.edit.thumbnail.image.clone_from(&event.edit.thumbnail.image);
            }
            if *event != expected {
                return Err(Refusal::Changed(expected.differences(event)));
            }
            event.claim(&node, lease_until)
        };
        let id = candidate.id.clone();
        let work = move |conn: &mut DbConnection| change_in(conn, &id, EventStep::Claim.as_str(), &author, now, &claim);
        match self.engine() {
            // Whoever writes is in the way of all: that says nothing about this event.
            Engine::Sqlite => self.write(work).await,
            Engine::Postgres => match self.write_once(work).await {
                // Somebody changed the event, or claimed it, at the same time: to wait and to try again would find that
                // out.
                Err(DbError::Busy { .. }) => Ok(Changed::Refused(Refusal::Changed(Vec::new()))),
                claimed => claimed,
            },
        }
    }

    /// Says that the uploader is still at work. `false` if the event is not its own any more: it must stop.
    pub async fn renew_lease(&self, id: &EventId, uploader: &NodeName, until: Timestamp) -> Result<bool, DbError> {
        let (id, uploader) = (id.to_string(), uploader.to_string());
        self.write(move |conn| {
            // No change of the event: it has no line in the history, and the version stays.
            let own = events::table
                .find(&id)
                .filter(events::uploader.eq(&uploader))
                .filter(events::state.eq_any([EventState::Claimed.as_str(), EventState::Finalizing.as_str()]));
            let renewed = diesel::update(own).set(events::lease_until.eq(until.micros())).execute(conn)?;
            Ok(renewed == 1)
        })
        .await
    }

    /// Notes how far a node is; the last note stands.
    pub async fn note_progress(&self, id: &EventId, progress: &EventProgress) -> Result<(), DbError> {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let row = ProgressRow {
            event_id: id.to_string(),
            uploader: progress.uploader.to_string(),
            activity: progress.activity.clone(),
            done_bytes: number(progress.done_bytes),
            total_bytes: progress.total_bytes.map(number),
            ends_at: progress.ends_at.map(Timestamp::micros),
            noted_at: progress.noted_at.micros(),
        };
        self.write(move |conn| Ok(upsert_progress(conn, &row)?)).await
    }

    /// The last note.
    pub async fn progress(&self, id: &EventId) -> Result<Option<EventProgress>, DbError> {
        let id = id.to_string();
        let row: Option<ProgressColumns> =
            self.run(move |conn| Ok(event_progress::table.find(id).first(conn).optional()?)).await?;
        let Some((id, uploader, activity, done, total, ends_at, noted_at)) = row else { return Ok(None) };
        let uploader = uploader.parse().map_err(|_| DbError::Unreadable {
            what: format!("progress of event {id:?}"),
            why: "its uploader".into(),
        })?;
        let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Some(EventProgress {
            uploader,
            activity,
            done_bytes: bytes(done),
            total_bytes: total.map(bytes),
            ends_at: ends_at.map(Timestamp::from_micros),
            noted_at: Timestamp::from_micros(noted_at),
        }))
    }
}

fn change_in(
    conn: &mut DbConnection,
    id: &EventId,
    what: &'static str,
    author: &Author,
    at: Timestamp,
    change: &(impl Fn(&mut Event) -> Result<(), Refusal> + ?Sized),
) -> Result<Changed, DbError> {
    let Some(before) = read_event(conn, id.as_str())? else { return Ok(Changed::Absent) };
    let mut after = before.clone();
    if let Err(refusal) = change(&mut after) {
        return Ok(Changed::Refused(refusal));
    }
    if after == before {
        return Ok(Changed::Done(Box::new(after)));
    }
    after.version = before.version + 1;
    diesel::update(events::table.find(id.as_str())).set(Row::of(&after)).execute(conn)?;
    history::add(conn, Some(&before), &after, what, author, at)?;
    Ok(Changed::Done(Box::new(after)))
}

fn upsert_progress(conn: &mut DbConnection, row: &ProgressRow) -> QueryResult<()> {
    on_engine!(conn, |conn| {
        diesel::insert_into(event_progress::table)
            .values(row.clone())
            .on_conflict(event_progress::event_id)
            .do_update()
            .set((
                event_progress::uploader.eq(excluded(event_progress::uploader)),
                event_progress::activity.eq(excluded(event_progress::activity)),
                event_progress::done_bytes.eq(excluded(event_progress::done_bytes)),
                event_progress::total_bytes.eq(excluded(event_progress::total_bytes)),
                event_progress::ends_at.eq(excluded(event_progress::ends_at)),
                event_progress::noted_at.eq(excluded(event_progress::noted_at)),
            ))
            .execute(conn)
    })?;
    Ok(())
}
