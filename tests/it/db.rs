//! The contract of the database room, over SQLite and PostgreSQL alike.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use futures_util::future::join_all;
use segvault::causes::chain;
use segvault::config::{Config, Database};
use segvault::db::{Db, DbError, Outage, OwnNode, Patience};
use segvault::model::{QuotaSpent, Timestamp};

use crate::postgres::{PASSWORD, Postgres};

/// Time enough for a busy machine; little enough for a test.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(2), call: Duration::from_secs(6), migrate: Duration::from_secs(30) };
/// What a caller may wait beyond a deadline: for the machine to come round to it.
const SLACK: Duration = Duration::from_secs(2);

/// A new, empty database.
pub struct Ground {
    pub url: String,
    pub dir: tempfile::TempDir,
}

impl Ground {
    pub fn sqlite() -> Self {
        Self { url: "sqlite:own/vault.db".into(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn postgres() -> Self {
        Self { url: Postgres::shared().new_database(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn db(&self) -> Db {
        Db::with_patience(&database(&self.url, self.dir.path()), PATIENCE)
    }

    /// A connection past the room, to look and to stand in the way.
    pub fn raw(&self) -> Raw {
        match database(&self.url, self.dir.path()) {
            Database::Sqlite(path) => Raw::Sqlite(SqliteConnection::establish(path.to_str().unwrap()).unwrap()),
            Database::Postgres(_) => Raw::Postgres(PgConnection::establish(&self.url).unwrap()),
        }
    }
}

pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap();
    }

    pub fn try_execute(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Raw::Sqlite(conn) => conn.batch_execute(sql),
            Raw::Postgres(conn) => conn.batch_execute(sql),
        }
    }
}

fn database(url: &str, dir: &Path) -> Database {
    let sets = [format!("node.dir={}", dir.display()), format!("database.url={url}")];
    Config::load(None, &sets, std::iter::empty()).unwrap().config.database.database
}

fn own(name: &str, last_seen: &str) -> OwnNode {
    OwnNode {
        name: name.parse().unwrap(),
        url: None,
        default_url: None,
        version: "1.2.3".into(),
        started_at: "2026-01-02T03:04:05.678901".parse().unwrap(),
        last_seen: last_seen.parse().unwrap(),
    }
}

/// Each claim as one test per engine.
macro_rules! contract {
    ($($claim:ident),+ $(,)?) => {
        mod sqlite {
            $(#[actix_rt::test]
            async fn $claim() {
                super::$claim(super::Ground::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[actix_rt::test]
            async fn $claim() {
                super::$claim(super::Ground::postgres()).await;
            })+
        }
    };
}

pub(crate) use contract;

contract! {
    migrating_twice_changes_nothing,
    nodes_that_start_together_migrate_once,
    a_node_keeps_one_row,
    what_a_person_wrote_stays,
    rows_of_others_are_read_as_they_are,
    writers_that_clash_all_succeed,
    a_lock_that_is_not_let_go_is_busy_within_the_deadline,
    before_the_first_migration_a_query_is_refused,
    a_schema_that_is_newer_is_left_alone,
    what_is_spent_of_a_quota_is_summed_up,
}

async fn migrating_twice_changes_nothing(ground: Ground) {
    let db = ground.db();
    let before = db.migrations().await.unwrap();
    assert_eq!(before.applied, [""; 0]);
    assert_eq!(before.pending[0], "0001_nodes");
    assert_eq!(db.migrate().await.unwrap(), before.pending);
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
    assert_eq!(db.migrate().await.unwrap(), [""; 0]);
    assert_eq!(ground.db().migrate().await.unwrap(), [""; 0]);
    let after = db.migrations().await.unwrap();
    assert_eq!((after.applied, after.pending), (before.pending, before.applied));
    assert_eq!(db.nodes().await.unwrap().nodes.len(), 1);
}

async fn nodes_that_start_together_migrate_once(ground: Ground) {
    let all: Vec<Db> = (0..6).map(|_| ground.db()).collect();
    let done = join_all(all.iter().map(Db::migrate)).await;
    let applied: Vec<String> = done.into_iter().flat_map(|done| done.unwrap()).collect();
    assert_eq!(applied, all[0].migrations().await.unwrap().applied, "each migration is applied by one of them");
}

async fn a_node_keeps_one_row(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    db.keep_node(&own("beta", "2026-01-02T03:04:06")).await.unwrap();
    db.keep_node(&own("alpha", "2026-01-02T03:04:06")).await.unwrap();
    let again = OwnNode {
        url: Some("http://beta:8000/".parse().unwrap()),
        version: "1.2.4".into(),
        started_at: "2026-01-03".parse().unwrap(),
        ..own("beta", "2026-01-03T00:00:00.000001")
    };
    db.keep_node(&again).await.unwrap();
    let list = db.nodes().await.unwrap();
    assert_eq!(list.unreadable, []);
    let names: Vec<&str> = list.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["alpha", "beta"]);
    let beta = &list.nodes[1];
    assert_eq!((beta.url.as_ref(), beta.version.as_deref()), (again.url.as_ref(), Some("1.2.4")));
    assert_eq!((beta.started_at, beta.last_seen), (Some(again.started_at), Some(again.last_seen)));
    assert_eq!(list.nodes[0].started_at, Some(own("alpha", "2026-01-02").started_at), "to the microsecond");
}

async fn what_a_person_wrote_stays(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    // As operators of the existing system write it.
    ground.raw().execute("INSERT INTO nodes (name, url, backfill_from) VALUES ('alpha', 'http://alpha:8000', FALSE)");
    ground.raw().execute("INSERT INTO nodes (name, url) VALUES ('peer', 'https://peer')");
    let seen: Timestamp = "2026-01-02".parse().unwrap();
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
    let nodes = db.nodes().await.unwrap().nodes;
    assert_eq!(nodes[0].url.as_ref().unwrap().as_str(), "http://alpha:8000/");
    assert_eq!((nodes[0].backfill_from, nodes[0].last_seen), (false, Some(seen)));
    assert_eq!((nodes[1].backfill_from, nodes[1].last_seen, &nodes[1].version), (true, None, &None));
    // What a node only thinks counts where nobody knows better.
    for (name, kept) in [("alpha", "http://alpha:8000/"), ("gamma", "http://10.0.0.1:8000/")] {
        let default_url = Some("http://10.0.0.1:8000/".parse().unwrap());
        db.keep_node(&OwnNode { default_url, ..own(name, "2026-01-02") }).await.unwrap();
        let nodes = db.nodes().await.unwrap().nodes;
        let row = nodes.iter().find(|node| node.name.as_str() == name).unwrap();
        assert_eq!(row.url.as_ref().unwrap().as_str(), kept);
    }
}

async fn rows_of_others_are_read_as_they_are(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    ground.raw().execute("INSERT INTO nodes (name) VALUES ('Zulu'), ('../up'), ('alpha'), ('é')");
    let list = db.nodes().await.unwrap();
    let names: Vec<&str> = list.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["Zulu", "alpha", "é"], "in the same order on both engines");
    assert_eq!(list.unreadable[0].name, "../up");
}

async fn writers_that_clash_all_succeed(ground: Ground) {
    let (one, two) = (ground.db(), ground.db());
    one.migrate().await.unwrap();
    let row = own("alpha", "2026-01-02");
    let done = join_all((0..24).map(|at| if at % 2 == 0 { one.keep_node(&row) } else { two.keep_node(&row) })).await;
    done.into_iter().for_each(|done| done.unwrap());
    assert_eq!(one.nodes().await.unwrap().nodes.len(), 1);
}

async fn a_lock_that_is_not_let_go_is_busy_within_the_deadline(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    let mut raw = ground.raw();
    match &raw {
        Raw::Sqlite(_) => raw.execute("BEGIN IMMEDIATE"),
        Raw::Postgres(_) => raw.execute("BEGIN; LOCK TABLE nodes IN EXCLUSIVE MODE"),
    }
    let began = Instant::now();
    let failure = db.keep_node(&own("alpha", "2026-01-02")).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE.call + SLACK, "{:?}", began.elapsed());
    assert!(matches!(failure, DbError::Busy { attempts: 2.., .. }), "{failure:?}");
    // Reading goes on meanwhile, and writing as soon as it may.
    assert_eq!(db.nodes().await.unwrap().nodes, []);
    raw.execute("ROLLBACK");
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
}

async fn before_the_first_migration_a_query_is_refused(ground: Ground) {
    let failure = ground.db().nodes().await.unwrap_err();
    assert!(matches!(failure, DbError::Broken(_)), "{failure:?}");
    assert!(chain(&failure).contains("nodes"), "{}", chain(&failure));
    let failure = ground.db().keep_node(&own("alpha", "2026-01-02")).await.unwrap_err();
    assert!(matches!(failure, DbError::Broken(_)), "{failure:?}");
}

async fn a_schema_that_is_newer_is_left_alone(ground: Ground) {
    let db = ground.db();
    db.migrate().await.unwrap();
    ground.raw().execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
    assert_eq!(db.migrate().await.unwrap(), [""; 0]);
    assert_eq!(db.migrations().await.unwrap().applied.last().unwrap(), "9999");
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
}

async fn what_is_spent_of_a_quota_is_summed_up(ground: Ground) {
    let (one, two) = (ground.db(), ground.db());
    one.migrate().await.unwrap();
    let more = QuotaSpent { inserts: 1, units: 50 };
    let all = join_all((0..24).map(|at| (if at % 2 == 0 { &one } else { &two }).add_quota("p", 20_000, more))).await;
    let mut totals: Vec<u32> = all.into_iter().map(|total| total.unwrap().inserts).collect();
    totals.sort_unstable();
    assert_eq!(totals, (1..=24).collect::<Vec<u32>>(), "each one saw what was before it");
    let read = |project: &'static str, day| one.add_quota(project, day, QuotaSpent::NOTHING);
    assert_eq!(read("p", 20_000).await.unwrap(), QuotaSpent { inserts: 24, units: 1200 });
    for (project, day) in [("other", 20_000), ("p", 20_001)] {
        assert_eq!(read(project, day).await.unwrap(), QuotaSpent::NOTHING);
    }
    // What is long over is forgotten.
    one.add_quota("p", 20_008, more).await.unwrap();
    assert_eq!(read("p", 20_000).await.unwrap(), QuotaSpent::NOTHING);
}

/// `segvault db migrate` as a process, which can be killed.
fn migrating(ground: &Ground) -> std::process::Child {
    let sets = [format!("node.dir={}", ground.dir.path().display()), format!("database.url={}", ground.url)];
    let mut command = crate::support::segvault();
    command.args(["db", "migrate"]).stdout(Stdio::null()).stderr(Stdio::null());
    for set in &sets {
        command.args(["--set", set]);
    }
    command.spawn().unwrap()
}

/// What is there is all of it or nothing, and the next one brings it up to date.
async fn assert_migrates_after_a_kill(ground: &Ground) -> bool {
    let before = ground.db().migrations().await.unwrap();
    assert!(before.applied.is_empty() || before.pending.is_empty(), "half of it is there: {before:?}");
    let db = ground.db();
    assert_eq!(db.migrate().await.unwrap(), before.pending);
    assert_eq!(db.migrations().await.unwrap().pending, [""; 0]);
    let untouched = Ground::sqlite();
    untouched.db().migrate().await.unwrap();
    assert_eq!(columns(ground), columns(&untouched));
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
    !before.pending.is_empty()
}

#[actix_rt::test]
async fn a_migration_whose_process_is_killed_is_done_by_the_next_on_sqlite() {
    let mut killed_amid = 0;
    for round in 0..12 {
        let ground = Ground::sqlite();
        let file = ground.dir.path().join(".segvault/own/vault.db");
        let mut process = migrating(&ground);
        crate::support::eventually("it has begun", || file.exists().then_some(()));
        std::thread::sleep(Duration::from_millis(round));
        let _ = process.kill();
        process.wait().unwrap();
        killed_amid += u32::from(assert_migrates_after_a_kill(&ground).await);
    }
    assert!(killed_amid > 0, "each was done before it was killed");
}

/// The server goes on with what it was told, and finds that nobody is there to commit it.
#[actix_rt::test]
async fn a_migration_whose_process_is_killed_is_done_by_the_next_on_postgres() {
    let (server, ground) = (Postgres::shared(), Ground::postgres());
    let name = ground.url.rsplit('/').next().unwrap().to_owned();
    server.sql(
        &name,
        "CREATE FUNCTION slowly() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); END $$; \
         CREATE EVENT TRIGGER slowly ON ddl_command_end EXECUTE FUNCTION slowly()",
    );
    let mut process = migrating(&ground);
    let amid = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'PgSleep'");
    crate::support::eventually("it is amid", || (server.sql(&name, &amid).trim() == "1").then_some(()));
    process.kill().unwrap();
    process.wait().unwrap();
    // It waits for the lock that the dead one still has.
    assert!(assert_migrates_after_a_kill(&ground).await, "it was done before it was killed");
    server.sql(&name, "DROP EVENT TRIGGER slowly");
}

/// Table, column, type, whether it may be NULL; without what the engines and diesel keep for themselves.
fn columns(ground: &Ground) -> Vec<(String, String, String, bool)> {
    type Column = (Text, Text, Text, Bool);
    let sqlite = "SELECT t.name, c.name, lower(c.type), c.\"notnull\" = 0 FROM sqlite_master t, pragma_table_xinfo(t.name) c \
                  WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND t.name NOT LIKE '!_!_diesel%' \
                  ESCAPE '!'";
    let postgres = "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' \
                    FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '!_!_diesel%' \
                    ESCAPE '!'";
    let mut columns: Vec<(String, String, String, bool)> = match ground.raw() {
        Raw::Sqlite(mut conn) => diesel::dsl::sql::<Column>(sqlite).load(&mut conn).unwrap(),
        Raw::Postgres(mut conn) => diesel::dsl::sql::<Column>(postgres).load(&mut conn).unwrap(),
    };
    columns.sort();
    columns
}

#[actix_rt::test]
async fn both_engines_have_the_same_columns() {
    let (sqlite, postgres) = (Ground::sqlite(), Ground::postgres());
    sqlite.db().migrate().await.unwrap();
    postgres.db().migrate().await.unwrap();
    let found = columns(&sqlite);
    assert_eq!(found, columns(&postgres));
    let nodes: Vec<(&str, &str, bool)> = found
        .iter()
        .filter(|column| column.0 == "nodes")
        .map(|(_, name, kind, null)| (&**name, &**kind, *null))
        .collect();
    assert_eq!(
        nodes,
        [
            ("backfill_from", "boolean", false),
            ("last_seen", "bigint", true),
            ("name", "text", false),
            ("started_at", "bigint", true),
            ("url", "text", true),
            ("version", "text", true),
        ]
    );
}

/// Asserts that the database is unavailable, and is found so in time; returns what is said about it.
async fn unavailable(db: &Db) -> String {
    let began = Instant::now();
    let failure = db.keep_node(&own("alpha", "2026-01-02")).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE.call + SLACK, "{:?}", began.elapsed());
    assert!(matches!(failure, DbError::Unavailable(_)), "{failure:?}");
    let told = format!("{} {failure:?}", chain(&failure));
    assert!(!told.contains(PASSWORD) && !told.contains('\n'), "{told}");
    told
}

#[actix_rt::test]
async fn a_server_that_goes_down_is_unavailable_until_it_is_back() {
    let mut server = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let db = Db::with_patience(&database(&server.new_database(), dir.path()), PATIENCE);
    db.migrate().await.unwrap();
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
    server.down();
    let told = unavailable(&db).await;
    assert!(told.contains("refused"), "{told}");
    unavailable(&db).await;
    server.up();
    db.keep_node(&own("beta", "2026-01-02")).await.unwrap();
    assert_eq!(db.nodes().await.unwrap().nodes.len(), 2);
}

#[actix_rt::test]
async fn a_file_that_cannot_be_opened_is_unavailable_until_it_can() {
    let ground = Ground::sqlite();
    let own_dir = ground.dir.path().join(".segvault");
    std::fs::write(&own_dir, "in the way").unwrap();
    let db = ground.db();
    let told = unavailable(&db).await;
    assert!(told.contains("vault.db: its directory cannot be made"), "{told}");
    std::fs::remove_file(&own_dir).unwrap();
    db.migrate().await.unwrap();
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
}

#[actix_rt::test]
async fn a_server_that_is_silent_is_unavailable_within_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://me:hunter2@{}/vault", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let db = Db::with_patience(&database(&url, dir.path()), PATIENCE);
    unavailable(&db).await;
    // Later its own reason is known.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = unavailable(&db).await;
    assert!(told.contains("timeout expired"), "{told}");
}

#[actix_rt::test]
async fn a_connection_that_was_cut_is_replaced() {
    let ground = Ground::postgres();
    let db = ground.db();
    db.migrate().await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'segvault'";
    let name = ground.url.rsplit('/').next().unwrap();
    let ended = Postgres::shared().sql(name, &format!("{cut} AND datname = '{name}'"));
    assert!(ended.contains('t'), "no connection to cut: {ended:?}");
    db.keep_node(&own("alpha", "2026-01-02")).await.unwrap();
}

#[actix_rt::test]
async fn a_wrong_password_is_said_but_not_repeated() {
    let ground = Ground::postgres();
    let (url, dir) = (ground.url.replace("s3cret", "wr0ng"), ground.dir.path());
    let told = unavailable(&Db::with_patience(&database(&url, dir), PATIENCE)).await;
    assert!(told.contains("password authentication failed") && !told.contains("wr0ng"), "{told}");
    let shown = format!("{:?} {}", ground.db(), ground.db().address());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[actix_rt::test]
async fn a_user_who_may_not_make_tables_is_told_so_and_can_still_use_them() {
    let server = Postgres::shared();
    let ground = Ground::postgres();
    let name = ground.url.rsplit('/').next().unwrap();
    server.sql(name, &format!("ALTER DATABASE {name} OWNER TO superuser; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let failure = ground.db().migrate().await.unwrap_err();
    assert!(matches!(failure, DbError::Migration(_)), "{failure:?}");
    assert!(chain(&failure).contains("permission denied"), "{}", chain(&failure));
    server.sql(name, "GRANT CREATE ON SCHEMA public TO segvault");
    ground.db().migrate().await.unwrap();
    server.sql(name, "REVOKE CREATE ON SCHEMA public FROM segvault");
    assert_eq!(ground.db().migrate().await.unwrap(), [""; 0]);
}

#[actix_rt::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let ground = Ground::postgres();
    let setup = ground.db();
    setup.migrate().await.unwrap();
    let hasty = Patience { call: Duration::from_secs(1), ..PATIENCE };
    let db = Db::with_patience(&database(&ground.url, ground.dir.path()), hasty);
    let mut raw = ground.raw();
    raw.execute("BEGIN; LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE");
    let began = Instant::now();
    let failure = db.nodes().await.unwrap_err();
    assert!(matches!(failure, DbError::Unavailable(Outage::NoAnswer(_))), "{failure:?}");
    assert!(began.elapsed() < hasty.call + SLACK, "{:?}", began.elapsed());
    raw.execute("ROLLBACK");
    assert_eq!(db.nodes().await.unwrap().nodes, []);
}
