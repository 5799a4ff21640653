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

#[cfg(test)]
mod tests {
    use diesel::prelude::*;
    use r2d2::ManageConnection;

    use super::super::conn::{LastFailure, Manager as Connections};
    use super::*;
    use crate::config::Database;

    fn add(conn: &mut DbConnection, sql: &str) -> Result<usize, DbError> {
        Ok(diesel::sql_query(sql).execute(conn)?)
    }

    fn two_connections(dir: &std::path::Path) -> (DbConnection, DbConnection) {
        let connections = Connections::new(&Database::Sqlite(dir.join("a.db")), LastFailure::default());
        let (mut one, mut two) = (connections.connect().unwrap(), connections.connect().unwrap());
        one.batch_execute("CREATE TABLE t (a INTEGER)").unwrap();
        two.batch_execute("PRAGMA busy_timeout = 0").unwrap();
        (one, two)
    }

    #[test]
    fn nobody_writes_between_what_a_write_reads_and_what_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) = two_connections(dir.path());
        let written = transaction(&mut one, Purpose::Write, |one| {
            add(one, "SELECT * FROM t")?;
            let other = transaction(&mut two, Purpose::Write, |two| add(two, "INSERT INTO t VALUES (1)"));
            assert!(matches!(other, Err(DbError::Busy { .. })), "{other:?}");
            add(one, "INSERT INTO t VALUES (2)")
        });
        assert_eq!(written.unwrap(), 1);
        assert_eq!(transaction(&mut two, Purpose::Write, |two| add(two, "DELETE FROM t WHERE a = 2")).unwrap(), 1);
    }

    #[test]
    fn what_fails_leaves_no_trace_and_no_open_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) = two_connections(dir.path());
        let failed = transaction(&mut one, Purpose::Write, |one| {
            add(one, "INSERT INTO t VALUES (1)")?;
            add(one, "INSERT INTO nothing VALUES (1)")
        });
        assert!(matches!(failed, Err(DbError::Broken(_))), "{failed:?}");
        assert_eq!(transaction(&mut two, Purpose::Write, |two| add(two, "DELETE FROM t")).unwrap(), 0);
        assert_eq!(transaction(&mut one, Purpose::Write, |one| add(one, "INSERT INTO t VALUES (3)")).unwrap(), 1);
    }
}
