//! The history of events: a line for each change, only ever added to.

use std::fmt;

use diesel::prelude::*;
use serde_json::{Map, Value, json};

use super::conn::DbConnection;
use super::error::DbError;
use super::handle::Db;
use super::schema::event_history;
use crate::model::{Email, Event, EventId, NodeName, Timestamp};

/// Most lines of an answer.
pub const MAX_LINES: i64 = 1000;

/// Whom a change is put down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    Person(Email),
    Node(NodeName),
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(email) => email.fmt(f),
            Self::Node(name) => write!(f, "node {name}"),
        }
    }
}

/// A line: who did what to an event, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryLine {
    pub event_id: String,
    /// The version that the change made.
    pub version: i64,
    pub at: Timestamp,
    pub by: String,
    /// A step, or `add`, `edit sheet`.
    pub what: String,
    /// {column: [before, after]}.
    pub changes: Value,
}

impl HistoryLine {
    pub fn to_json(&self) -> Value {
        json!({
            "event_id": self.event_id,
            "version": self.version,
            "at": self.at.to_string(),
            "by": self.by,
            "what": self.what,
            "changes": self.changes,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = event_history)]
struct NewLine {
    event_id: String,
    version: i64,
    changed_at: i64,
    changed_by: String,
    step: String,
    changes: String,
}

type Line = (String, i64, i64, String, String, String);

impl Db {
    /// What was done to an event, oldest first; of very long histories the end.
    pub async fn history(&self, id: &EventId) -> Result<Vec<HistoryLine>, DbError> {
        let id = id.to_string();
        self.run(move |conn| {
            let lines = event_history::table.filter(event_history::event_id.eq(id));
            let lines: Vec<Line> = lines.order(event_history::version.desc()).limit(MAX_LINES).load(conn)?;
            Ok(lines.into_iter().rev().map(read).collect())
        })
        .await
    }

    /// What was done to any event at `since` or later, in order of time, then of event and version; at most 1,000 lines.
    pub async fn changes_since(&self, since: Timestamp) -> Result<Vec<HistoryLine>, DbError> {
        self.run(move |conn| {
            let lines = event_history::table.filter(event_history::changed_at.ge(since.micros()));
            let order = (event_history::changed_at, event_history::event_id, event_history::version);
            let lines: Vec<Line> = lines.order(order).limit(MAX_LINES).load(conn)?;
            Ok(lines.into_iter().map(read).collect())
        })
        .await
    }
}

/// Within the transaction of the change.
pub(super) fn add(
    conn: &mut DbConnection,
    before: Option<&Event>,
    after: &Event,
    what: &str,
    author: &Author,
    at: Timestamp,
) -> QueryResult<()> {
    let differences = before.map(|before| before.differences(after)).unwrap_or_default();
    let changes: Map<String, Value> =
        differences.into_iter().map(|one| (one.column.to_string(), json!([one.before, one.after]))).collect();
    let line = NewLine {
        event_id: after.id.to_string(),
        version: after.version,
        changed_at: at.micros(),
        changed_by: author.to_string(),
        step: what.to_owned(),
        changes: Value::from(changes).to_string(),
    };
    diesel::insert_into(event_history::table).values(line).execute(conn)?;
    Ok(())
}

fn read((event_id, version, at, by, what, changes): Line) -> HistoryLine {
    let changes = serde_json::from_str(&changes).unwrap_or(Value::Null);
    HistoryLine { event_id, version, at: Timestamp::from_micros(at), by, what, changes }
}
