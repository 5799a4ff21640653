//! `segvault db migrate|status`.
//!
//! Promises: `status` changes nothing; no password is printed; what the table holds cannot move the cursor.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::config::{ConfigArgs, EXIT_OK, EXIT_USAGE};
use crate::causes::chain;
use crate::clock::Clock;
use crate::db::{Db, DbError, Engine, MigrationStatus, Node, NodeList};
use crate::model::Timestamp;

/// How a command ends when the database does not do what was asked.
const EXIT_FAILED: u8 = 1;

/// What to do with the database of the configuration.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DbCommand {
    /// Bring the schema up to date; makes the database's tables where there are none.
    ///
    /// A node does so by itself when it starts.
    Migrate {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show the database's address, its migrations and the nodes in it.
    Status {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl DbCommand {
    fn config(&self) -> &ConfigArgs {
        match self {
            Self::Migrate { config } | Self::Status { config, .. } => config,
        }
    }
}

/// Everything that `status` says.
struct Status {
    engine: Engine,
    address: String,
    migrations: MigrationStatus,
    nodes: NodeList,
}

/// Runs the command. Blocks, for two minutes at most. Returns the exit code.
pub fn run(command: &DbCommand, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let database = match command.config().load() {
        Ok(loaded) => loaded.config.database.database,
        Err(faults) => {
            writeln!(err, "{faults}")?;
            return Ok(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let db = Db::new(&database);
    let answer = match command {
        DbCommand::Migrate { .. } => runtime.block_on(db.migrate()).map(|applied| migrated_text(&db, &applied)),
        DbCommand::Status { json: false, .. } => {
            runtime.block_on(ask(&db)).map(|status| status_text(&status, Clock::system().now()))
        }
        DbCommand::Status { json: true, .. } => runtime.block_on(ask(&db)).map(|status| status_json(&status)),
    };
    // A thread that still waits for the server must not hold up the exit.
    runtime.shutdown_background();
    match answer {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(EXIT_OK)
        }
        Err(error) => {
            writeln!(err, "{} at {}: {}", db.engine(), db.address(), chain(&error))?;
            writeln!(err, "{}", advice(&error, db.engine()))?;
            Ok(EXIT_FAILED)
        }
    }
}

async fn ask(db: &Db) -> Result<Status, DbError> {
    let migrations = db.migrations().await?;
    // The table of nodes comes with the first of them.
    let nodes = if migrations.applied.is_empty() { NodeList::default() } else { db.nodes().await? };
    Ok(Status { engine: db.engine(), address: db.address(), migrations, nodes })
}

/// What a person can do about it.
pub(super) fn advice(error: &DbError, engine: Engine) -> &'static str {
    match (error, engine) {
        (DbError::Unavailable(_), Engine::Postgres) => {
            "check that the server runs and can be reached from here, and that database.url and the password are right \
             (segvault config show says where they come from)"
        }
        (DbError::Unavailable(_), Engine::Sqlite) => {
            "check that the directory exists and that this user may write there (segvault config show says where \
             database.url and node.dir come from)"
        }
        (DbError::Busy { .. }, _) => "somebody else holds a lock on it; try again, or find out who does",
        (DbError::Migration(_), _) => {
            "nothing was changed; check that this user may create tables, and that the database is not another \
             program's"
        }
        (DbError::Broken(_), _) => "check that this user may read and write its tables, and that its disk is not full",
        (DbError::Unreadable { .. }, _) => "somebody else wrote it; mend the row in the database",
        (DbError::Panicked(_), _) => "this is a fault of segvault; please report it",
    }
}

fn migrated_text(db: &Db, applied: &[String]) -> String {
    let mut text = format!("{} at {}\n", db.engine(), db.address());
    if applied.is_empty() {
        text.push_str("up to date, nothing to apply\n");
    }
    for name in applied {
        text.push_str(&format!("applied {name}\n"));
    }
    text
}

fn status_text(status: &Status, now: Timestamp) -> String {
    let mut text = format!("{} at {}\n", status.engine, status.address);
    let MigrationStatus { applied, pending } = &status.migrations;
    text.push_str(&format!("migrations: {} applied, {} pending\n", applied.len(), pending.len()));
    for (state, names) in [("applied", applied), ("pending", pending)] {
        for name in names {
            text.push_str(&format!("  {state} {}\n", name.escape_debug()));
        }
    }
    if !pending.is_empty() {
        text.push_str("  (segvault db migrate applies what is pending)\n");
    }
    text.push_str(&format!("nodes: {}\n", status.nodes.nodes.len()));
    for node in &status.nodes.nodes {
        text.push_str(&format!("  {}\n", node_text(node, now)));
    }
    for row in &status.nodes.unreadable {
        text.push_str(&format!("  a row that is no node, {:?}: {}\n", row.name, row.why.escape_debug()));
    }
    text
}

fn node_text(node: &Node, now: Timestamp) -> String {
    let seen = match node.last_seen {
        Some(seen) => format!("last seen {seen} ({} ago)", span_text(now.saturating_since(seen))),
        None => "never seen".to_owned(),
    };
    let mut text = format!("{}: {seen}", node.name);
    if let Some(version) = &node.version {
        text.push_str(&format!(", version {}", version.escape_debug()));
    }
    if let Some(url) = &node.url {
        text.push_str(&format!(", {}", without_password(url)));
    }
    if !node.backfill_from {
        text.push_str(", not copied from");
    }
    text
}

/// The largest unit that fits: this is for a glance.
fn span_text(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn status_json(status: &Status) -> String {
    let nodes: Vec<Value> = status.nodes.nodes.iter().map(node_json).collect();
    let unreadable: Vec<Value> =
        status.nodes.unreadable.iter().map(|row| json!({ "name": row.name, "why": row.why })).collect();
    let object = json!({
        "engine": status.engine.as_str(),
        "address": status.address,
        "migrations": { "applied": status.migrations.applied, "pending": status.migrations.pending },
        "nodes": nodes,
        "unreadable_nodes": unreadable,
    });
    format!("{object}\n")
}

fn node_json(node: &Node) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "name": node.name.as_str(),
        "url": node.url.as_ref().map(without_password),
        "backfill_from": node.backfill_from,
        "version": node.version,
        "started_at": time(node.started_at),
        "last_seen": time(node.last_seen),
    })
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Cannot be refused: a password was read from this very place.
        let _ = url.set_password(Some("***"));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::db::{OwnNode, UnreadableNode};

    #[derive(Parser)]
    struct Command {
        #[command(subcommand)]
        db: DbCommand,
    }

    fn run_on(dir: &Path, words: &[&str]) -> (u8, String, String) {
        let dir = format!("node.dir={}", dir.display());
        let words = ["db"].iter().chain(words).copied().chain(["--set", dir.as_str()]);
        let command = Command::parse_from(words).db;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&command, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn status_makes_nothing_and_migrate_makes_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let (code, out, err) = run_on(dir.path(), &["status"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("migrations: 0 applied, 5 pending\n  pending 0001_nodes\n"), "{out}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

        let file = dir.path().join(".segvault/segvault.db");
        let address = format!("sqlite at {}\n", file.display());
        let applied =
            "applied 0001_nodes\napplied 0002_events\napplied 0003_people\napplied 0004_uploads\napplied 0005_quota\n";
        assert_eq!(run_on(dir.path(), &["migrate"]), (0, format!("{address}{applied}"), String::new()));
        let again = (0, format!("{address}up to date, nothing to apply\n"), String::new());
        assert_eq!(run_on(dir.path(), &["migrate"]), again);
        let (_, out, _) = run_on(dir.path(), &["status"]);
        let applied = "  applied 0001_nodes\n  applied 0002_events\n  applied 0003_people\n  applied 0004_uploads\n  applied 0005_quota\n";
        assert_eq!(out, format!("{address}migrations: 5 applied, 0 pending\n{applied}nodes: 0\n"));
    }

    #[test]
    fn json_is_one_object_with_the_nodes() {
        let dir = tempfile::tempdir().unwrap();
        run_on(dir.path(), &["migrate"]);
        let db = Db::new(&crate::config::Database::Sqlite(dir.path().join(".segvault/segvault.db")));
        let own = OwnNode {
            name: "alpha".parse().unwrap(),
            url: None,
            default_url: None,
            version: "1.2.3".into(),
            started_at: "2026-01-02T03:04:05".parse().unwrap(),
            last_seen: "2026-01-02T04:04:05".parse().unwrap(),
        };
        actix_rt::System::new().block_on(db.keep_node(&own)).unwrap();
        let (code, out, _) = run_on(dir.path(), &["status", "--json"]);
        assert_eq!((code, out.lines().count()), (0, 1));
        let object: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(object["engine"], "sqlite");
        assert_eq!(
            object["migrations"],
            json!({ "applied": ["0001_nodes", "0002_events", "0003_people", "0004_uploads", "0005_quota"], "pending": [] })
        );
        let node = json!({
            "name": "alpha", "url": null, "backfill_from": true, "version": "1.2.3",
            "started_at": "2026-01-02T03:04:05.000000", "last_seen": "2026-01-02T04:04:05.000000"
        });
        assert_eq!(object["nodes"], json!([node]));
    }

    #[test]
    fn an_unreachable_database_is_exit_1_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".segvault"), "in the way").unwrap();
        let (code, out, err) = run_on(dir.path(), &["migrate"]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("the database is unavailable: cannot connect: "), "{err}");
        assert!(err.contains("check that the directory exists"), "{err}");
        let url = "database.url=postgres://me:hunter2@127.0.0.1:1/vault";
        let (code, _, err) = run_on(dir.path(), &["status", "--set", url]);
        assert_eq!(code, 1);
        assert!(err.starts_with("postgresql at postgres://me@127.0.0.1:1/vault: the database is unavailable"), "{err}");
        assert!(err.contains("check that the server runs") && !err.contains("hunter2"), "{err}");
    }

    #[test]
    fn a_bad_configuration_is_exit_64() {
        let dir = tempfile::tempdir().unwrap();
        let (code, out, err) = run_on(dir.path(), &["status", "--set", "database.url=mysql:x"]);
        assert_eq!((code, out.as_str()), (64, ""));
        assert!(err.contains("database.url"), "{err}");
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor_or_show_a_password() {
        let node = Node {
            name: "alpha".parse().unwrap(),
            url: Some(Url::parse("http://me:hunter2@a:8000/").unwrap()),
            backfill_from: false,
            version: Some("1\u{1b}[2J".into()),
            started_at: None,
            last_seen: Some("2026-01-02T03:04:05".parse().unwrap()),
        };
        let status = Status {
            engine: Engine::Sqlite,
            address: "/x".into(),
            migrations: MigrationStatus { applied: vec!["9\n9".into()], pending: vec![] },
            nodes: NodeList {
                nodes: vec![node],
                unreadable: vec![UnreadableNode { name: "\u{1b}c".into(), why: "bad".into() }],
            },
        };
        let text = status_text(&status, "2026-01-02T06:04:05".parse().unwrap());
        assert!(text.contains("alpha: last seen 2026-01-02T03:04:05.000000 (3 h ago), version 1\\u{1b}[2J"), "{text}");
        assert!(text.contains("http://me:***@a:8000/, not copied from"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("hunter2") && text.lines().count() == 6, "{text}");
        assert!(!status_json(&status).contains("hunter2"));
    }
}
