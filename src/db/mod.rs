//! What nodes share: the database, SQLite or PostgreSQL. The only room that names diesel.
//!
//! Promises: nothing waits for the database before it is asked something; each question has a deadline, runs off the
//! arbiters, and says why it failed; a write happens wholly or not at all, on either engine alike; no error, log line or
//! printed address holds the password.
//! Never: in the way of recording.

mod conn;
mod error;
mod handle;
mod migrate;
mod nodes;
mod schema;
mod transaction;

pub use error::{DbError, Outage};
pub use handle::{Db, Engine, Patience};
pub use migrate::MigrationStatus;
pub use nodes::{Node, NodeList, OwnNode, UnreadableNode};

/// Takes the tables away, as a restore of an empty database would. For tests of other rooms.
#[cfg(test)]
pub(crate) fn forget_schema(file: &std::path::Path) {
    use diesel::Connection;
    use diesel::connection::SimpleConnection;
    let mut conn = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 5000; DROP TABLE nodes; DROP TABLE __diesel_schema_migrations").unwrap();
}
