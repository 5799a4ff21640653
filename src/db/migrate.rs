//! Brings the schema up to date.
//!
//! Promises: all migrations that are missing, or none; nodes that start together migrate once, one after the other.
//! Never: goes back. A schema that is newer than this version is left as it is: migrations expand first, and contract
//! only when no older node is left.

use std::collections::BTreeMap;

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::conn::{DbConnection, on_engine};
use super::error::DbError;
use super::handle::Db;
use super::schema::__diesel_schema_migrations::dsl as applied_table;
use super::transaction::Purpose;
use crate::config::Database;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Which migrations the database has, by name, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// One that this version does not know goes by its number alone.
    pub applied: Vec<String>,
    pub pending: Vec<String>,
}

impl Db {
    /// Applies what is missing, all in one transaction. Returns the names of what was applied, oldest first. Needs no
    /// right to change the schema where nothing is missing. The deadline is `Patience::migrate`.
    pub async fn migrate(&self) -> Result<Vec<String>, DbError> {
        if self.migrations().await?.pending.is_empty() {
            return Ok(Vec::new());
        }
        self.transact(Purpose::Migrate, self.patience().migrate, apply).await
    }

    /// What is applied and what is not. Changes nothing, and makes no SQLite file.
    pub async fn migrations(&self) -> Result<MigrationStatus, DbError> {
        if let Database::Sqlite(path) = self.database()
            && !path.exists()
        {
            return Ok(compare(known(), Vec::new()));
        }
        self.run(status).await
    }
}

/// Returns the names of what it applied, which others may have done meanwhile.
fn apply(conn: &mut DbConnection) -> Result<Vec<String>, DbError> {
    let numbers = |versions: Vec<MigrationVersion<'_>>| versions.iter().map(ToString::to_string).collect();
    // Each migration is a savepoint within the transaction that the caller began.
    let applied = match conn {
        DbConnection::Sqlite(conn) => conn.run_pending_migrations(SQLITE).map(numbers),
        DbConnection::Postgres(conn) => conn.run_pending_migrations(POSTGRES).map(numbers),
    };
    Ok(compare(known(), applied.map_err(DbError::from_migration)?).applied)
}

fn status(conn: &mut DbConnection) -> Result<MigrationStatus, DbError> {
    let applied = if has_applied_table(conn)? {
        applied_table::__diesel_schema_migrations.select(applied_table::version).load(conn)?
    } else {
        Vec::new()
    };
    Ok(compare(known(), applied))
}

/// diesel's own question would make the table. Not `to_regclass`: it may answer from a cache that is older than the
/// transaction's last wait for a lock.
fn has_applied_table(conn: &mut DbConnection) -> QueryResult<bool> {
    let question = match conn {
        DbConnection::Sqlite(_) => {
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '__diesel_schema_migrations'"
        }
        DbConnection::Postgres(_) => {
            "SELECT count(*) FROM pg_catalog.pg_tables \
             WHERE tablename = '__diesel_schema_migrations' AND schemaname = ANY (current_schemas(false))"
        }
    };
    let count = on_engine!(conn, |conn| diesel::dsl::sql::<BigInt>(question).get_result::<i64>(conn))?;
    Ok(count > 0)
}

/// This version's migrations by their number; a test holds that both engines have the same.
fn known() -> BTreeMap<String, String> {
    numbered::<Sqlite>(&SQLITE)
}

fn numbered<DB: diesel::backend::Backend>(source: &impl MigrationSource<DB>) -> BTreeMap<String, String> {
    let migrations: Vec<Box<dyn Migration<DB>>> = source.migrations().expect("they are in the program itself");
    migrations.iter().map(|one| (one.name().version().to_string(), one.name().to_string())).collect()
}

fn compare(mut known: BTreeMap<String, String>, mut applied: Vec<String>) -> MigrationStatus {
    applied.sort_unstable();
    let applied = applied.into_iter().map(|number| known.remove(&number).unwrap_or(number)).collect();
    MigrationStatus { applied, pending: known.into_values().collect() }
}

#[cfg(test)]
mod tests {
    use diesel::pg::Pg;

    use super::*;

    fn on_disk(engine: &str) -> Vec<String> {
        let dir = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The compiler does not look at these directories again when one is added: touch this file then.
    #[test]
    fn both_engines_have_the_same_migrations_and_all_are_built_in() {
        let sqlite: Vec<String> = numbered::<Sqlite>(&SQLITE).into_values().collect();
        let postgres: Vec<String> = numbered::<Pg>(&POSTGRES).into_values().collect();
        assert_eq!(sqlite, postgres);
        assert_eq!(sqlite, on_disk("sqlite"));
        assert_eq!(postgres, on_disk("postgres"));
    }

    #[test]
    fn a_migration_of_a_newer_version_is_shown_by_its_number() {
        let known = BTreeMap::from([("0001", "0001_a"), ("0002", "0002_b")].map(|(n, m)| (n.into(), m.into())));
        let status = compare(known, vec!["0009".into(), "0001".into()]);
        assert_eq!(status.applied, ["0001_a", "0009"]);
        assert_eq!(status.pending, ["0002_b"]);
    }
}
