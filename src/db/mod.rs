//! What nodes share: the database, SQLite or PostgreSQL. The only room that names diesel.
//!
//! Promises: nothing waits for the database before it is asked something; each question has a deadline, runs off the
//! arbiters, and says why it failed; a write happens wholly or not at all, on either engine alike; no error, log line or
//! printed address holds the password.
//! Never: in the way of recording.

mod breaker;
mod changes;
mod conn;
mod error;
mod event_row;
mod events;
mod handle;
mod history;
mod migrate;
mod nodes;
mod playlists;
mod quota;
mod schema;
mod templates;
mod transaction;
mod uploads;
mod users;

pub use changes::{Changed, EventProgress};
pub use error::{DbError, Outage};
pub use events::{EventCursor, EventFilter, EventPage, MAX_PAGE};
pub use handle::{Db, Engine, Patience};
pub use history::{Author, HistoryLine, MAX_LINES};
pub use migrate::MigrationStatus;
pub use nodes::{Node, NodeList, OwnNode, UnreadableNode};
pub use playlists::Playlist;
pub use templates::{Template, TemplateKept};
pub use uploads::{Attempt, JobsInState, SpooledCut, Uploader};
pub use users::User;

/// Takes the tables away, as a restore of an empty database would. For tests of other rooms.
#[cfg(test)]
pub(crate) fn forget_schema(file: &std::path::Path) {
    use diesel::Connection;
    use diesel::connection::SimpleConnection;
    let mut conn = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 5000; DROP TABLE event_history; DROP TABLE event_progress; DROP TABLE event_uploads; DROP TABLE quota_spent; \
         DROP TABLE uploaders; DROP TABLE events; \
         DROP TABLE users; DROP TABLE templates; DROP TABLE playlists; DROP TABLE nodes; DROP TABLE __diesel_schema_migrations").unwrap();
}
