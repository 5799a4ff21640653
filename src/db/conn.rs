//! Connections to either engine: how one is made, set up, and found to be broken.
//!
//! Promises: the engine is the one that the configuration names, never one that happened to open; no connection waits
//! without an end for another writer or a dead server; what a failed attempt says does not hold the password.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::r2d2::R2D2Connection;
use diesel::{Connection, ConnectionError, PgConnection, SqliteConnection};
use r2d2::ManageConnection;
use url::Url;

use crate::config::{Database, Postgres, Secret};

/// The busy timeout first: without it, the change to WAL fails as soon as another process looks at the file. FULL flushes
/// each commit: a state is written before the act that it announces, and power loss must not bring back an event whose
/// video is published. (NORMAL would lose the last commits.)
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                               PRAGMA foreign_keys = ON;";
/// In milliseconds. Each below `Patience::call`, so that the server gives up before we do.
const POSTGRES_SETTINGS: &str =
    "SET statement_timeout = 8000; SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 8000;";
/// What libpq is told unless the configured URL says otherwise. Times in seconds, but `tcp_user_timeout` in
/// milliseconds: a server that vanished is noticed within 20 s, also while we only wait for its answer.
const POSTGRES_PARAMETERS: [(&str, &str); 6] = [
    ("connect_timeout", "3"),
    ("fallback_application_name", "segvault"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];

/// A connection to one of the engines. What is common to both works on it as it is; `on_engine!` is for the rest.
///
/// Never: `establish`, which would try the engines one after the other.
#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The same expression on the connection of either engine.
macro_rules! on_engine {
    ($conn:expr, |$inner:ident| $body:expr) => {
        match $conn {
            $crate::db::conn::DbConnection::Sqlite($inner) => $body,
            $crate::db::conn::DbConnection::Postgres($inner) => $body,
        }
    };
}
pub(super) use on_engine;

/// Why a connection cannot be had, in words without secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// The last failed attempt; the pool itself keeps it for one asker only.
#[derive(Clone, Default)]
pub struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Makes and judges connections for the pool.
pub struct Manager {
    target: Target,
    last_failure: LastFailure,
}

enum Target {
    Sqlite(PathBuf),
    /// The whole URL, with the password; and the password, to be looked for in messages.
    Postgres {
        url: Secret,
        password: Option<Secret>,
    },
}

impl Manager {
    pub fn new(database: &Database, last_failure: LastFailure) -> Self {
        let target = match database {
            Database::Sqlite(path) => Target::Sqlite(path.clone()),
            Database::Postgres(postgres) => {
                Target::Postgres { url: libpq_url(postgres), password: postgres.password.clone() }
            }
        };
        Self { target, last_failure }
    }
}

impl ManageConnection for Manager {
    type Connection = DbConnection;
    type Error = ConnectError;

    fn connect(&self) -> Result<DbConnection, ConnectError> {
        let connected = match &self.target {
            Target::Sqlite(path) => connect_sqlite(path),
            Target::Postgres { url, password } => connect_postgres(url, password.as_ref()),
        };
        self.last_failure.set(connected.as_ref().err().map(ToString::to_string));
        connected
    }

    fn is_valid(&self, conn: &mut DbConnection) -> Result<(), ConnectError> {
        if std::thread::panicking() {
            return Err(ConnectError("asked for during a panic".into()));
        }
        conn.ping().map_err(|error| ConnectError(one_line(&error.to_string())))
    }

    fn has_broken(&self, conn: &mut DbConnection) -> bool {
        std::thread::panicking() || conn.is_broken()
    }
}

fn connect_sqlite(path: &Path) -> Result<DbConnection, ConnectError> {
    let failed = |why: String| ConnectError(format!("{}: {}", path.display(), one_line(&why)));
    let text = path.to_str().ok_or_else(|| failed("the path is not UTF-8".into()))?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed(format!("its directory cannot be made: {error}")))?;
    }
    let mut conn = SqliteConnection::establish(text).map_err(|error| failed(error.to_string()))?;
    conn.batch_execute(SQLITE_SETTINGS).map_err(|error| failed(error.to_string()))?;
    Ok(DbConnection::Sqlite(conn))
}

fn connect_postgres(url: &Secret, password: Option<&Secret>) -> Result<DbConnection, ConnectError> {
    // libpq would refuse it too, but repeat the password in its message.
    if password.is_some_and(|password| password.expose().contains('\0')) {
        return Err(ConnectError("the password holds a NUL, which no server takes".into()));
    }
    let failed = |error: ConnectionError| ConnectError(without_password(one_line(&error.to_string()), password));
    let mut conn = PgConnection::establish(url.expose()).map_err(failed)?;
    let set_up = conn.batch_execute(POSTGRES_SETTINGS);
    set_up.map_err(|error| ConnectError(format!("the session cannot be set up: {}", one_line(&error.to_string()))))?;
    Ok(DbConnection::Postgres(conn))
}

/// The configured URL with our parameters, where it does not have its own.
fn libpq_url(postgres: &Postgres) -> Secret {
    let mut url = Url::parse(postgres.expose_url().expose()).expect("what a URL says of itself is a URL");
    let own: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    for (name, value) in POSTGRES_PARAMETERS {
        if !own.iter().any(|own| own == name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Secret::new(url.as_str())
}

/// No message of libpq is known to hold the password of a URL that was parsed before; should one do so, it is not shown.
fn without_password(message: String, password: Option<&Secret>) -> String {
    let Some(password) = password.map(Secret::expose).filter(|password| !password.is_empty()) else { return message };
    let encoded = percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC).to_string();
    if message.contains(password) || message.contains(&encoded) {
        return "the reason holds the password, and is not shown".into();
    }
    message
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;
    use diesel::sql_types::{BigInt, Text};

    use super::*;
    use crate::config::Config;

    fn postgres(url: &str) -> Postgres {
        let sets = ["node.dir=/nonexistent".to_owned(), format!("database.url={url}")];
        match Config::load(None, &sets, std::iter::empty()).unwrap().config.database.database {
            Database::Postgres(postgres) => postgres,
            Database::Sqlite(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn our_parameters_give_way_to_configured_ones() {
        let url = libpq_url(&postgres("postgres://me:p%40s@db/vault?connect_timeout=9"));
        assert!(url.expose().starts_with("postgres://me:p%40s@db/vault?connect_timeout=9&"), "{}", url.expose());
        assert_eq!(url.expose().matches("connect_timeout").count(), 1);
        assert!(url.expose().ends_with("&keepalives_count=3&tcp_user_timeout=20000"));
        // libpq reads a plus sign as a plus sign.
        assert!(POSTGRES_PARAMETERS.iter().all(|(_, value)| !value.contains(' ')));
    }

    #[test]
    fn a_message_with_the_password_is_not_shown() {
        let password = Secret::new("hunter 2");
        for told in ["bad \"hunter 2\"", "bad hunter%202"] {
            let shown = without_password(told.into(), Some(&password));
            assert!(!shown.contains("hunter"), "{shown}");
        }
        assert_eq!(without_password("connection refused".into(), Some(&password)), "connection refused");
        let nul = Secret::new("hun\0ter");
        let error = connect_postgres(&Secret::new("postgres://x"), Some(&nul)).err().unwrap();
        assert!(!error.to_string().contains("hun"), "{error}");
    }

    #[test]
    fn an_sqlite_connection_waits_logs_ahead_and_minds_foreign_keys() {
        let dir = tempfile::tempdir().unwrap();
        let DbConnection::Sqlite(mut conn) = connect_sqlite(&dir.path().join("made/too/a.db")).unwrap() else {
            panic!("another engine");
        };
        let mut number = |pragma: &str| {
            diesel::dsl::sql::<BigInt>(&format!("PRAGMA {pragma}")).get_result::<i64>(&mut conn).unwrap()
        };
        assert_eq!((number("busy_timeout"), number("synchronous"), number("foreign_keys")), (2000, 2, 1));
        let mode: String = diesel::dsl::sql::<Text>("PRAGMA journal_mode").get_result(&mut conn).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_failed_attempt_is_remembered_until_one_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("own");
        std::fs::write(&in_the_way, "a file").unwrap();
        let last_failure = LastFailure::default();
        let manager = Manager::new(&Database::Sqlite(in_the_way.join("a.db")), last_failure.clone());
        assert!(manager.connect().is_err());
        assert!(last_failure.get().unwrap().contains("its directory cannot be made"), "{:?}", last_failure.get());
        std::fs::remove_file(&in_the_way).unwrap();
        assert!(manager.connect().is_ok());
        assert_eq!(last_failure.get(), None);
    }
}
