//! Keeps the database open, its schema up to date, and this node's own row in it fresh; tells the peer book of the others.
//!
//! Promises: nobody waits for it; while the database is down it says so once for each cause, and asks ever more rarely;
//! it says when the database is back.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, error, info, warn};
use tokio::time::Instant;

use super::directory::Directory;
use super::guardian::{Drain, Sentinel};
use super::peer_book::InDatabase;
use crate::causes::chain;
use crate::clock::Clock;
use crate::db::{Db, DbError, NodeList, OwnNode};
use crate::jitter::jittered;
use crate::metrics::Metrics;
use crate::model::{NodeName, PeerUrl, Timestamp};

/// How often the registrar asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between passes that succeed. Whoever lists the nodes takes one that was not seen for some of these as gone.
    pub every: Duration,
    /// After the first failure; doubled with each further one.
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            first_backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(60),
        }
    }
}

impl Pace {
    fn backoff_after(self, failures: u32) -> Duration {
        self.first_backoff.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest_backoff)
    }
}

/// What the registrar works with, and what it writes.
#[derive(Clone)]
pub struct Registration {
    pub db: Db,
    pub name: NodeName,
    /// Where the others reach this node, as it was told.
    pub url: Option<PeerUrl>,
    /// Where it listens, if that is one address.
    pub listens_at: Option<PeerUrl>,
    pub directory: Directory,
    /// When this process began: the same for each rebuilt registrar.
    pub started_at: Timestamp,
    pub clock: Clock,
    pub metrics: Metrics,
    pub log: Logger,
    pub pace: Pace,
}

impl Registration {
    fn own_node(&self) -> OwnNode {
        OwnNode {
            name: self.name.clone(),
            url: self.url.clone().map(Into::into),
            default_url: self.listens_at.clone().map(Into::into),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            last_seen: self.clock.now(),
        }
    }
}

/// What a pass led to.
struct Kept {
    /// Migrations.
    applied: Vec<String>,
    nodes: NodeList,
}

/// How the database stands, as far as was told.
#[derive(Debug, Clone, Copy)]
enum Standing {
    NotAsked,
    Up,
    Down { since: Instant, failures: u32, told: Discriminant<DbError> },
}

#[derive(Message)]
#[rtype(result = "()")]
struct Pass;

/// The actor.
pub struct Registrar {
    registration: Registration,
    sentinel: Sentinel,
    /// Whether the schema was up to date at the last pass.
    migrated: bool,
    standing: Standing,
    /// What was told of the rows: which are none, and where this node is said to be.
    told_rows: (Vec<String>, Option<PeerUrl>),
    draining: bool,
}

impl Registrar {
    pub fn new(registration: Registration, sentinel: Sentinel) -> Self {
        Self {
            registration,
            sentinel,
            migrated: false,
            standing: Standing::NotAsked,
            told_rows: Default::default(),
            draining: false,
        }
    }

    fn log(&self) -> &Logger {
        &self.registration.log
    }

    /// Returns the time until the next pass.
    fn take_success(&mut self, Kept { applied, nodes }: Kept) -> Duration {
        self.migrated = true;
        self.registration.metrics.database_is_up(true);
        if !applied.is_empty() {
            info!(self.log(), "database migrated"; "applied" => applied.join(", "));
        }
        match self.standing {
            Standing::Up => {}
            Standing::NotAsked => {
                let db = &self.registration.db;
                info!(self.log(), "database ready"; "engine" => db.engine().as_str(), "address" => db.address());
            }
            Standing::Down { since, failures, .. } => {
                info!(self.log(), "database is back"; "down_s" => since.elapsed().as_secs(), "failures" => failures);
            }
        }
        self.standing = Standing::Up;
        self.take_nodes(nodes);
        self.registration.pace.every
    }

    /// Hands on where the others are. A node without an address, or that nobody shall copy from, is left out.
    fn take_nodes(&mut self, NodeList { nodes, unreadable }: NodeList) {
        let mut bad: Vec<String> = unreadable.iter().map(|row| format!("{:?}: {}", row.name, row.why)).collect();
        let (mut peers, mut own) = (Vec::new(), None);
        for node in nodes {
            let is_own = node.name == self.registration.name;
            let Some(url) = node.url.filter(|_| node.backfill_from || is_own) else { continue };
            match PeerUrl::try_from(url) {
                Ok(url) if is_own => own = Some(url),
                Ok(url) => peers.push(url),
                Err(why) => bad.push(format!("{:?}: {why}", node.name.as_str())),
            }
        }
        let said = (bad, own);
        if said != self.told_rows {
            let (bad, own) = &said;
            if !bad.is_empty() {
                warn!(self.log(), "the database has rows that are no nodes"; "count" => bad.len(), "first" => &bad[0]);
            }
            let listens_at = self.registration.listens_at.as_ref().filter(|_| self.registration.url.is_none());
            if let (Some(own), Some(listens_at)) = (own, listens_at)
                && own != listens_at
            {
                info!(self.log(), "the database has another address of this node, which stays; node.url would replace it";
                    "address" => own.to_string(), "listens_at" => listens_at.to_string());
            }
            self.told_rows = said;
        }
        if let Some(peer_book) = self.registration.directory.peer_book.get(&()) {
            peer_book.do_send(InDatabase(peers));
        }
    }

    /// Returns the time until the next pass.
    fn take_failure(&mut self, failure: &DbError) -> Duration {
        // The one that comes back may be another, restored or empty.
        self.migrated = false;
        self.registration.metrics.database_is_up(false);
        let told = discriminant(failure);
        let (since, failures, news) = match self.standing {
            Standing::NotAsked | Standing::Up => (Instant::now(), 1, true),
            Standing::Down { since, failures, told: before } => (since, failures.saturating_add(1), told != before),
        };
        self.standing = Standing::Down { since, failures, told };
        if news {
            self.tell(failure);
        } else {
            debug!(self.log(), "database still fails"; "failures" => failures, "error" => chain(failure));
        }
        jittered(self.registration.pace.backoff_after(failures))
    }

    fn tell(&self, failure: &DbError) {
        let address = self.registration.db.address();
        match failure {
            DbError::Unavailable(_) | DbError::Busy { .. } | DbError::Panicked(_) => {
                warn!(self.log(), "database fails, will try again"; "address" => address, "error" => chain(failure));
            }
            DbError::Migration(_) | DbError::Broken(_) | DbError::Unreadable { .. } => {
                error!(self.log(), "database cannot be used until somebody mends it"; "address" => address,
                    "error" => chain(failure));
            }
        }
    }
}

/// May be dropped at any point: a transaction has all or no effect.
async fn pass(registration: Registration, migrated: bool) -> Result<Kept, DbError> {
    let applied = if migrated { Vec::new() } else { registration.db.migrate().await? };
    registration.db.keep_node(&registration.own_node()).await?;
    Ok(Kept { applied, nodes: registration.db.nodes().await? })
}

impl Actor for Registrar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sentinel.keep_beating(ctx);
        ctx.notify(Pass);
    }
}

impl Handler<Pass> for Registrar {
    type Result = ();

    fn handle(&mut self, _: Pass, ctx: &mut Self::Context) {
        if self.draining {
            return;
        }
        let pass = pass(self.registration.clone(), self.migrated);
        ctx.spawn(pass.into_actor(self).map(|done, this, ctx| {
            let rest = match done {
                Ok(kept) => this.take_success(kept),
                Err(failure) => this.take_failure(&failure),
            };
            ctx.notify_later(Pass, rest);
        }));
    }
}

impl Handler<Drain> for Registrar {
    type Result = ();

    /// Answers at once: a pass that has begun may be cut anywhere, and may be waiting for a database that is down.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::actors::{ActorKind, Child, Directory, Guardian};
    use crate::config::Database;
    use crate::db::Patience;
    use crate::health::Health;
    use crate::log::DropCount;

    /// Keeps what is logged, as `level message`; debug lines apart.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl slog::Drain for Told {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
            self.0.lock().unwrap().push(format!("{} {}", record.level().as_short_str(), record.msg()));
            Ok(())
        }
    }

    impl Told {
        fn count(&self, line: &str) -> usize {
            self.0.lock().unwrap().iter().filter(|told| *told == line).count()
        }
    }

    struct Scene {
        db: Db,
        metrics: Metrics,
        told: Told,
        directory: Directory,
        guardian: Addr<Guardian>,
    }

    /// A guardian that keeps one registrar, whose database is this file.
    fn scene(file: &Path) -> Scene {
        let patience = Patience {
            connect: Duration::from_millis(200),
            call: Duration::from_secs(5),
            migrate: Duration::from_secs(5),
        };
        let db = Db::with_patience(&Database::Sqlite(file.to_owned()), patience);
        let (clock, told) = (Clock::system(), Told::default());
        let metrics = Metrics::new(clock.clone(), DropCount::default());
        let log = Logger::root(told.clone(), slog::o!());
        let directory = Directory::default();
        let registration = Registration {
            db: db.clone(),
            name: "alpha".parse().unwrap(),
            url: None,
            listens_at: None,
            directory: directory.clone(),
            started_at: clock.now(),
            clock,
            metrics: metrics.clone(),
            log: log.clone(),
            pace: Pace {
                every: Duration::from_millis(50),
                first_backoff: Duration::from_millis(10),
                longest_backoff: Duration::from_millis(50),
            },
        };
        let published = directory.clone();
        let factory = move |arbiter: &ArbiterHandle, sentinel| {
            let registration = registration.clone();
            let address = Registrar::start_in_arbiter(arbiter, move |_| Registrar::new(registration, sentinel));
            published.registrar.publish((), address);
        };
        let child = Child {
            kind: ActorKind::Registrar,
            name: String::new(),
            arbiter: "registrar".into(),
            factory: Box::new(factory),
        };
        let guardian = Guardian::new(log, metrics.clone(), Health::default(), vec![child]).start();
        Scene { db, metrics, told, directory, guardian }
    }

    impl Scene {
        fn is_up(&self) -> bool {
            self.metrics.render().1.contains("\nsegvault_database_up 1\n")
        }

        async fn last_seen(&self) -> Timestamp {
            self.db.nodes().await.unwrap().nodes[0].last_seen.unwrap()
        }
    }

    async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..6000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never came true: {what}");
    }

    #[actix_rt::test]
    async fn an_outage_is_told_once_and_so_is_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("own");
        std::fs::write(&in_the_way, "not a directory").unwrap();
        let scene = scene(&in_the_way.join("segvault.db"));
        let (warning, quiet) = ("WARN database fails, will try again", "DEBG database still fails");
        eventually("it asks again and again", || scene.told.count(quiet) >= 3).await;
        assert_eq!(scene.told.count(warning), 1);
        assert!(!scene.is_up());

        std::fs::remove_file(&in_the_way).unwrap();
        eventually("it is back", || scene.told.count("INFO database is back") == 1).await;
        assert_eq!((scene.told.count(warning), scene.told.count("INFO database migrated")), (1, 1));
        assert!(scene.is_up());
        assert_eq!(scene.db.nodes().await.unwrap().nodes[0].name.as_str(), "alpha");
        drop(scene.guardian);
    }

    #[actix_rt::test]
    async fn its_row_stays_fresh_until_it_is_drained() {
        let dir = tempfile::tempdir().unwrap();
        let scene = scene(&dir.path().join("own/segvault.db"));
        eventually("it is ready", || scene.told.count("INFO database ready") == 1).await;
        let first = scene.last_seen().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(scene.last_seen().await > first);
        assert_eq!(scene.told.count("INFO database ready"), 1, "only changes are told");

        scene.guardian.send(Drain).await.unwrap();
        scene.directory.registrar.get(&()).unwrap().send(Drain).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let last = scene.last_seen().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(scene.last_seen().await, last);
    }

    #[actix_rt::test]
    async fn a_schema_that_was_lost_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("segvault.db");
        let scene = scene(&file);
        eventually("it is ready", || scene.told.count("INFO database ready") == 1).await;
        crate::db::forget_schema(&file);
        eventually("it is told", || scene.told.count("ERRO database cannot be used until somebody mends it") == 1)
            .await;
        eventually("it is back", || scene.told.count("INFO database is back") == 1).await;
        assert_eq!(scene.told.count("INFO database migrated"), 2);
    }

    #[test]
    fn the_backoff_grows_to_its_bound() {
        let pace = Pace::default();
        let waits: Vec<u64> = (1..=8).map(|failures| pace.backoff_after(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.backoff_after(u32::MAX), Duration::from_secs(60));
    }
}
