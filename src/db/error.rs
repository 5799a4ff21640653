//! Why the database did not do what it was asked, sorted by what the asker can do about it.

use std::error::Error;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as QueryError};

use crate::blocking::Panicked;

/// What the engines say when others were in the way and a new attempt may succeed. PostgreSQL's are those of an English
/// server: diesel hands out no code for them. (For a serialisation failure it does.)
const CONTENTION: [&str; 4] =
    ["database is locked", "database table is locked", "deadlock detected", "canceling statement due to lock timeout"];

/// Why a question to the database has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It may be back later. A write whose answer was lost may have happened.
    #[error("the database is unavailable")]
    Unavailable(#[source] Outage),
    /// Others were in the way, each time. Nothing was written.
    #[error("the database was busy through {attempts} attempts")]
    Busy {
        attempts: u32,
        #[source]
        source: QueryError,
    },
    /// The schema is not up to date, and cannot be brought there. Nothing was changed.
    #[error("the database's schema cannot be migrated")]
    Migration(#[source] Box<dyn Error + Send + Sync>),
    /// It answered, but not as it should: a missing table or right, a broken file, a fault of ours.
    #[error("the database refused a query")]
    Broken(#[source] QueryError),
    /// Somebody wrote what we cannot read.
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: String, why: String },
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// How the database is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the connection was lost")]
    Lost(#[source] QueryError),
    /// It failed again and again, and is left alone for a moment.
    #[error("it failed again and again, and is asked again in {:.1} s", .0.as_secs_f64())]
    Resting(Duration),
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    NoAnswer(Duration),
}

impl From<QueryError> for DbError {
    fn from(error: QueryError) -> Self {
        match error {
            // The connection was rolled back or is thrown away; what counts is why the commit failed.
            QueryError::RollbackErrorOnCommit { commit_error, .. } => (*commit_error).into(),
            error if is_lost(&error) => Self::Unavailable(Outage::Lost(error)),
            error if is_contention(&error) => Self::Busy { attempts: 1, source: error },
            error => Self::Broken(error),
        }
    }
}

impl DbError {
    /// What a migration says comes in a box; the outages and locks among it are no fault of the schema.
    pub(super) fn from_migration(error: Box<dyn Error + Send + Sync>) -> Self {
        let error = match error.downcast::<QueryError>() {
            Ok(query) => match Self::from(*query) {
                Self::Broken(error) => return Self::Migration(error.into()),
                other => return other,
            },
            Err(error) => error,
        };
        Self::Migration(error)
    }
}

fn is_lost(error: &QueryError) -> bool {
    use DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
    matches!(
        error,
        QueryError::DatabaseError(ClosedConnection | UnableToSendCommand, _) | QueryError::BrokenTransactionManager
    )
}

fn is_contention(error: &QueryError) -> bool {
    match error {
        QueryError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        QueryError::DatabaseError(_, information) => {
            CONTENTION.iter().any(|words| information.message().contains(words))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: DatabaseErrorKind, message: &str) -> QueryError {
        QueryError::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn what_the_engines_say_is_sorted_by_what_helps() {
        use DatabaseErrorKind::{ClosedConnection, SerializationFailure, UniqueViolation, Unknown};
        let busy = |error: QueryError| matches!(DbError::from(error), DbError::Busy { attempts: 1, .. });
        assert!(busy(failed(Unknown, "database is locked")));
        assert!(busy(failed(Unknown, "deadlock detected")));
        assert!(busy(failed(SerializationFailure, "Konnte nicht serialisieren")));
        assert!(!busy(failed(UniqueViolation, "duplicate key")));
        assert!(matches!(failed(ClosedConnection, "gone").into(), DbError::Unavailable(Outage::Lost(_))));
        assert!(matches!(QueryError::NotFound.into(), DbError::Broken(_)));
        let both = QueryError::RollbackErrorOnCommit {
            rollback_error: Box::new(failed(Unknown, "cannot rollback")),
            commit_error: Box::new(failed(SerializationFailure, "could not serialize access")),
        };
        assert!(busy(both));
    }

    #[test]
    fn an_outage_during_a_migration_is_an_outage() {
        let lost = failed(DatabaseErrorKind::ClosedConnection, "gone");
        assert!(matches!(DbError::from_migration(lost.into()), DbError::Unavailable(_)));
        let denied = failed(DatabaseErrorKind::Unknown, "permission denied for schema public");
        assert!(matches!(DbError::from_migration(denied.into()), DbError::Migration(_)));
        assert!(matches!(DbError::from_migration("syntax error".into()), DbError::Migration(_)));
    }
}
