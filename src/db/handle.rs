//! The handle that everybody asks through.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use r2d2::{NopErrorHandler, Pool, PooledConnection};
use tokio::time::{sleep, timeout};

use super::breaker::Breaker;
use super::conn::{DbConnection, LastFailure, Manager};
use super::error::{DbError, Outage};
use super::transaction::{Purpose, transaction};
use crate::blocking::Blocking;
use crate::config::Database;
use crate::jitter::jittered;

/// Connections, and questions at once. Few: an SQLite file has one writer, and a server is shared by all nodes.
const CONNECTIONS: u32 = 4;
/// How often a write that others were in the way of is tried, if its deadline allows. Of those who clash one succeeds,
/// so this is more than there are connections in a crew of nodes.
const MOST_ATTEMPTS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long the database may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// To get a connection; more than libpq's own `connect_timeout`, so that its reason is known.
    pub connect: Duration,
    /// For a question as a whole, with all attempts.
    pub call: Duration,
    /// For all migrations together.
    pub migrate: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(4), call: Duration::from_secs(10), migrate: Duration::from_secs(120) }
    }
}

/// The database. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Db {
    database: Arc<Database>,
    pool: Pool<Manager>,
    last_failure: LastFailure,
    /// A door of its own, so that a slow database holds up no disk work. As wide as the pool: whoever is in has a
    /// connection, or the database cannot be reached.
    blocking: Blocking,
    breaker: Breaker,
    patience: Patience,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("engine", &self.engine()).field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens nothing yet: the first question does.
    pub fn new(database: &Database) -> Self {
        Self::with_patience(database, Patience::default())
    }

    /// Like [`Db::new`], for those who have more or less time.
    pub fn with_patience(database: &Database, patience: Patience) -> Self {
        let last_failure = LastFailure::default();
        let pool = Pool::builder()
            .max_size(CONNECTIONS)
            .min_idle(Some(0))
            // Once asked while the database is down, the pool goes on trying by itself, every half of this time and for
            // at most CONNECTIONS connections, until it has a connection or is dropped.
            .connection_timeout(patience.connect)
            // The default one logs each attempt of its own; the failure reaches whoever asked.
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(Manager::new(database, last_failure.clone()));
        let blocking = Blocking::new(CONNECTIONS as usize);
        let breaker = Breaker::default();
        Self { database: Arc::new(database.clone()), pool, last_failure, blocking, breaker, patience }
    }

    pub fn engine(&self) -> Engine {
        match &*self.database {
            Database::Sqlite(_) => Engine::Sqlite,
            Database::Postgres(_) => Engine::Postgres,
        }
    }

    /// A path, or a URL without the password.
    pub fn address(&self) -> String {
        match &*self.database {
            Database::Sqlite(path) => path.display().to_string(),
            Database::Postgres(postgres) => postgres.address.to_string(),
        }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Runs `work` on a connection, outside of any transaction: for reading. The deadline is `Patience::call`; work that
    /// has begun by then goes on to its end, unheard.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.run_within(self.patience.call, work).await
    }

    /// Runs `work` in a transaction that has all or no effect. It is tried again while others are in the way, so it must
    /// have no effect beyond the database. The deadline is `Patience::call`; a write that ends after it may have happened.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut DbConnection) -> Result<T, DbError> + Send + Sync + 'static,
    ) -> Result<T, DbError> {
        self.transact(Purpose::Write, self.patience.call, work).await
    }

    /// As [`Db::write`], but once: what others are in the way of is for the caller to begin anew.
    pub(super) async fn write_once<T: Send + 'static>(
        &self,
        work: impl Fn(&mut DbConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.run_within(self.patience.call, move |conn| transaction(conn, Purpose::Write, work)).await
    }

    pub(super) async fn transact<T: Send + 'static>(
        &self,
        purpose: Purpose,
        deadline: Duration,
        work: impl Fn(&mut DbConnection) -> Result<T, DbError> + Send + Sync + 'static,
    ) -> Result<T, DbError> {
        let work = Arc::new(work);
        let until = Instant::now() + deadline;
        let mut in_the_way = None;
        for attempts in 1.. {
            let work = Arc::clone(&work);
            let left = until.saturating_duration_since(Instant::now());
            let done = self.run_within(left, move |conn| transaction(conn, purpose, |conn| work(conn))).await;
            match (done, in_the_way.take()) {
                (Err(DbError::Busy { source, .. }), _) => {
                    let pause = jittered(pause_after(attempts));
                    if attempts >= MOST_ATTEMPTS || Instant::now() + pause >= until {
                        return Err(DbError::Busy { attempts, source });
                    }
                    in_the_way = Some(source);
                    sleep(pause).await;
                }
                // The deadline came during an attempt, after others had failed for this.
                (Err(DbError::Unavailable(Outage::NoAnswer(_))), Some(source)) => {
                    return Err(DbError::Busy { attempts, source });
                }
                (done, _) => return done,
            }
        }
        unreachable!("the attempts are bounded")
    }

    async fn run_within<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let now = Instant::now();
        self.breaker.pass(now).map_err(|rest| DbError::Unavailable(Outage::Resting(rest)))?;
        let until = now + deadline;
        let (pool, last_failure) = (self.pool.clone(), self.last_failure.clone());
        let work = move || {
            let mut conn = check_out(&pool, &last_failure, until)?;
            work(&mut conn)
        };
        let done = match timeout(deadline, self.blocking.run(work)).await {
            Ok(done) => done.map_err(DbError::from).flatten(),
            Err(_) => Err(DbError::Unavailable(Outage::NoAnswer(deadline))),
        };
        self.breaker.note(matches!(done, Err(DbError::Unavailable(_))), Instant::now());
        done
    }
}

/// Blocks until there is a connection that answers, but not beyond `until` nor the pool's own patience.
fn check_out(
    pool: &Pool<Manager>,
    last_failure: &LastFailure,
    until: Instant,
) -> Result<PooledConnection<Manager>, DbError> {
    let wait = pool.connection_timeout().min(until.saturating_duration_since(Instant::now()));
    pool.get_timeout(wait)
        .map_err(|_| DbError::Unavailable(last_failure.get().map_or(Outage::NoAnswer(wait), Outage::Connect)))
}

fn pause_after(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE)
}
