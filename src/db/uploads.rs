//! Attempts to publish events, and the nodes that make them.
//!
//! Promises: what is written before an act is written when the call has succeeded; a call whose answer was lost may be made
//! again.

use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use diesel::upsert::excluded;
use serde_json::{Value, json};

use super::conn::on_engine;
use super::error::DbError;
use super::handle::Db;
use super::schema::{event_uploads, events, uploaders};
use crate::config::Secret;
use crate::model::{EventId, EventState, NodeName, Timestamp, UploadKey, UploadLocation};

/// A node that cuts events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploader {
    pub node: NodeName,
    pub locations: Vec<UploadLocation>,
    pub seen_at: Timestamp,
}

/// A cut that lies, whole and checked, on the disk of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct SpooledCut {
    pub content_type: String,
    pub len_bytes: u64,
    pub sha256: [u8; 32],
    pub receipt: Value,
}

/// An attempt, as it was before anything of it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub key: UploadKey,
    pub event: EventId,
    pub uploader: NodeName,
    pub location: UploadLocation,
    pub begun_at: Timestamp,
    pub cut: SpooledCut,
    /// What the destination gave to go on with; `None` until it has.
    pub ticket: Option<Secret>,
}

/// Events in a state that is not their last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsInState {
    pub state: EventState,
    pub count: i64,
    /// Since when the oldest of them waits for its video, or to be told to its destination.
    pub since: Option<Timestamp>,
}

/// States in which a node has something to do.
const OPEN: [EventState; 5] =
    [EventState::Edited, EventState::Claimed, EventState::Finalizing, EventState::Transcoding, EventState::Modified];

#[derive(Clone, Insertable)]
#[diesel(table_name = uploaders)]
struct UploaderRow {
    node: String,
    locations: String,
    seen_at: i64,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = event_uploads)]
struct AttemptRow {
    upload_key: String,
    event_id: String,
    uploader: String,
    location: String,
    begun_at: i64,
    content_type: String,
    len_bytes: i64,
    sha256: Vec<u8>,
    receipt: String,
    ticket: Option<String>,
}

type AttemptColumns = (String, String, String, String, i64, String, i64, Vec<u8>, String, Option<String>);

impl Db {
    /// Writes a node's own row, new or again.
    pub async fn keep_uploader(&self, own: &Uploader) -> Result<(), DbError> {
        let locations: Vec<&str> = own.locations.iter().map(UploadLocation::as_str).collect();
        let row = UploaderRow {
            node: own.node.to_string(),
            locations: json!(locations).to_string(),
            seen_at: own.seen_at.micros(),
        };
        self.write(move |conn| {
            let kept = on_engine!(conn, |conn| {
                diesel::insert_into(uploaders::table)
                    .values(row.clone())
                    .on_conflict(uploaders::node)
                    .do_update()
                    .set((
                        uploaders::locations.eq(excluded(uploaders::locations)),
                        uploaders::seen_at.eq(excluded(uploaders::seen_at)),
                    ))
                    .execute(conn)
            });
            Ok(kept.map(drop)?)
        })
        .await
    }

    /// All that ever cut events, those that can be read.
    pub async fn uploaders(&self) -> Result<Vec<Uploader>, DbError> {
        let rows: Vec<(String, String, i64)> = self.run(|conn| Ok(uploaders::table.load(conn)?)).await?;
        Ok(rows.into_iter().filter_map(read_uploader).collect())
    }

    /// Notes an attempt, before anything of it is begun at its destination. The first note stands.
    pub async fn begin_attempt(&self, attempt: &Attempt) -> Result<(), DbError> {
        let row = AttemptRow {
            upload_key: attempt.key.to_string(),
            event_id: attempt.event.to_string(),
            uploader: attempt.uploader.to_string(),
            location: attempt.location.to_string(),
            begun_at: attempt.begun_at.micros(),
            content_type: attempt.cut.content_type.clone(),
            len_bytes: i64::try_from(attempt.cut.len_bytes).unwrap_or(i64::MAX),
            sha256: attempt.cut.sha256.to_vec(),
            receipt: attempt.cut.receipt.to_string(),
            ticket: attempt.ticket.as_ref().map(|ticket| ticket.expose().to_owned()),
        };
        self.write(move |conn| {
            let noted = on_engine!(conn, |conn| {
                diesel::insert_into(event_uploads::table)
                    .values(row.clone())
                    .on_conflict(event_uploads::upload_key)
                    .do_nothing()
                    .execute(conn)
            });
            Ok(noted.map(drop)?)
        })
        .await
    }

    /// Notes what the destination gave to go on with, before the first byte is sent.
    pub async fn note_ticket(&self, key: &UploadKey, ticket: &Secret) -> Result<(), DbError> {
        let (key, ticket) = (key.to_string(), ticket.clone());
        self.write(move |conn| {
            let attempt = diesel::update(event_uploads::table.find(&key));
            Ok(attempt.set(event_uploads::ticket.eq(ticket.expose())).execute(conn).map(drop)?)
        })
        .await
    }

    pub async fn attempt(&self, key: &UploadKey) -> Result<Option<Attempt>, DbError> {
        let key = key.to_string();
        let row: Option<AttemptColumns> =
            self.run(move |conn| Ok(event_uploads::table.find(key).first(conn).optional()?)).await?;
        row.map(read_attempt).transpose()
    }

    /// In which state an event is, if this attempt of this node is the one that it is at.
    pub async fn state_at(
        &self,
        id: &EventId,
        uploader: &NodeName,
        key: &UploadKey,
    ) -> Result<Option<EventState>, DbError> {
        let (id, uploader, key) = (id.to_string(), uploader.to_string(), key.to_string());
        let state: Option<String> = self
            .run(move |conn| {
                let own = events::table
                    .find(id)
                    .filter(events::uploader.eq(uploader))
                    .filter(events::upload_key.eq(key))
                    .filter(events::state.eq_any([EventState::Claimed.as_str(), EventState::Finalizing.as_str()]));
                Ok(own.select(events::state).first(conn).optional()?)
            })
            .await?;
        Ok(state.and_then(|state| state.parse().ok()))
    }

    /// How many events are in each state in which nodes have something to do; none is left out.
    pub async fn open_jobs(&self) -> Result<Vec<JobsInState>, DbError> {
        let rows: Vec<(String, i64, Option<i64>, Option<i64>)> = self
            .run(|conn| {
                let open = events::table.filter(events::state.eq_any(OPEN.map(EventState::as_str)));
                let grouped = open.group_by(events::state).select((
                    events::state,
                    count_star(),
                    min(events::edit_time),
                    min(events::last_modified),
                ));
                Ok(grouped.load(conn)?)
            })
            .await?;
        let of = |state: EventState| {
            let row = rows.iter().find(|row| row.0 == state.as_str());
            let since = row.and_then(|row| if state == EventState::Modified { row.3 } else { row.2 });
            JobsInState { state, count: row.map_or(0, |row| row.1), since: since.map(Timestamp::from_micros) }
        };
        Ok(OPEN.map(of).to_vec())
    }
}

fn read_uploader((node, locations, seen_at): (String, String, i64)) -> Option<Uploader> {
    let locations: Vec<String> = serde_json::from_str(&locations).ok()?;
    Some(Uploader {
        node: node.parse().ok()?,
        locations: locations.iter().filter_map(|name| name.parse().ok()).collect(),
        seen_at: Timestamp::from_micros(seen_at),
    })
}

fn read_attempt(row: AttemptColumns) -> Result<Attempt, DbError> {
    let (key, event, uploader, location, begun_at, content_type, len_bytes, sha256, receipt, ticket) = row;
    let unreadable = |why: &str| DbError::Unreadable { what: format!("upload {key:?}"), why: why.into() };
    Ok(Attempt {
        event: event.parse().map_err(|_| unreadable("its event's id"))?,
        uploader: uploader.parse().map_err(|_| unreadable("its uploader"))?,
        location: location.parse().map_err(|_| unreadable("its location"))?,
        begun_at: Timestamp::from_micros(begun_at),
        cut: SpooledCut {
            content_type,
            len_bytes: u64::try_from(len_bytes).map_err(|_| unreadable("its length"))?,
            sha256: sha256.try_into().map_err(|_| unreadable("its hash"))?,
            receipt: serde_json::from_str(&receipt).map_err(|_| unreadable("its receipt"))?,
        },
        ticket: ticket.map(|ticket| Secret::new(&ticket)),
        key: key.parse().map_err(|_| unreadable("its key"))?,
    })
}
