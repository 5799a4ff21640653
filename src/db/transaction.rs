//! Transactions, as each engine begins them.
//!
//! A plain BEGIN will not do: on SQLite a transaction that reads and then writes fails at once when somebody wrote in
//! between, whatever the busy timeout; on PostgreSQL two of them can both decide on what they read.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::{Connection, QueryResult};

use super::conn::DbConnection;
use super::error::DbError;

type Manager = <DbConnection as Connection>::TransactionManager;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// As if nobody else wrote meanwhile; it may fail for that, and is then tried again.
    Write,
    /// Alone among all who migrate. The long limits are for whoever waits for them.
    Migrate,
}

/// Migrating waits its turn under this lock, which ends with the transaction. The key is "segvault" in ASCII; the lock
/// is the database's own, so it does not meet other databases of the server. READ COMMITTED, so that what is read after
/// the wait is what the one before has left. Times in milliseconds.
const POSTGRES_MIGRATE: &str = "SET LOCAL statement_timeout = 100000; SET LOCAL lock_timeout = 60000; \
                                SELECT pg_advisory_xact_lock(8315166045148376180);";

/// Runs `work` wholly or not at all. Must not be nested.
pub fn transaction<T>(
    conn: &mut DbConnection,
    purpose: Purpose,
    work: impl FnOnce(&mut DbConnection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    begin(conn, purpose)?;
    match prepare(conn, purpose).map_err(DbError::from).and_then(|()| work(conn)) {
        Ok(done) => {
            Manager::commit_transaction(conn)?;
            Ok(done)
        }
        Err(error) => {
            // If this fails too, the pool finds the transaction open and throws the connection away.
            let _ = Manager::rollback_transaction(conn);
            Err(error)
        }
    }
}

fn begin(conn: &mut DbConnection, purpose: Purpose) -> QueryResult<()> {
    match (conn, purpose) {
        (DbConnection::Sqlite(conn), Purpose::Write | Purpose::Migrate) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")
        }
        (DbConnection::Postgres(conn), Purpose::Write) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL SERIALIZABLE")
        }
        (DbConnection::Postgres(conn), Purpose::Migrate) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL READ COMMITTED")
        }
    }
}

fn prepare(conn: &mut DbConnection, purpose: Purpose) -> QueryResult<()> {
    match (conn, purpose) {
        (DbConnection::Postgres(conn), Purpose::Migrate) => conn.batch_execute(POSTGRES_MIGRATE),
        (DbConnection::Postgres(_), Purpose::Write) | (DbConnection::Sqlite(_), Purpose::Write | Purpose::Migrate) => {
            Ok(())
        }
    }
}
