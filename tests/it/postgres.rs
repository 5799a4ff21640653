//! A PostgreSQL server of the tests' own: a fresh cluster in a temporary directory, on a free port of the loopback.
//!
//! A shell keeps it, as an unprivileged user (the server refuses root), and stops it and removes the directory when its
//! standard input ends. So no server is left behind, even when the tests are killed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Debian's package makes this user.
const SERVER_USER: &str = "postgres";
/// The role that owns the databases, and no more; the password has what must be escaped in a URL.
const ROLE: &str = "segvault";
pub const PASSWORD: &str = "s3cret /@:%25+";
const PASSWORD_IN_URL: &str = "s3cret%20%2F%40%3A%2525%2B";
/// Another port is tried when somebody else took the free one in between.
const START_ATTEMPTS: usize = 5;

/// `$1` holds the programs. Answers each word on standard input with a line: the directory at first, then up or down.
const KEEPER: &str = r#"
trap '' INT TERM HUP
dir=$(mktemp -d "${TMPDIR:-/tmp}/segvault-pg.XXXXXX") || exit 1
printf '%s' "$2" > "$dir/password"
"$1/initdb" -D "$dir/data" -U superuser --auth=scram-sha-256 --pwfile="$dir/password" --no-sync -E UTF8 --locale=C \
    > "$dir/log" 2>&1 || { cat "$dir/log" >&2; rm -rf "$dir"; exit 1; }
echo "$dir"
stop() { "$1/pg_ctl" -D "$dir/data" -m immediate -w stop >> "$dir/log" 2>&1; }
while read -r word port; do
    case $word in
    up) "$1/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 \
            -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off" \
            start > /dev/null 2>&1 && echo up || echo failed ;;
    down) stop "$1"; echo down ;;
    esac
done
stop "$1"
rm -rf "$dir"
"#;

/// A running server; stopped when dropped.
pub struct Postgres {
    programs: PathBuf,
    keeper: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Postgres {
    /// Starts one. Panics, saying what to do, where PostgreSQL is not installed.
    pub fn start() -> Self {
        let programs = programs();
        let mut keeper = unprivileged("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&programs)
            .arg(PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt of the tests is no signal to the keeper: it sees its standard input end.
            .process_group(0)
            .current_dir("/")
            .spawn()
            .unwrap();
        let words = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut server = Self { programs, keeper, words, answers, port: 0 };
        let dir = server.answer();
        assert!(Path::new(&dir).is_absolute(), "initdb failed: {dir:?}");
        for _ in 0..START_ATTEMPTS {
            server.port = free_port();
            if server.tell_up() {
                server.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'"));
                return server;
            }
        }
        panic!("PostgreSQL did not start; see {dir}/log");
    }

    /// A server for all tests of this process that leave it up; it ends with the process.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// Makes a new, empty database and returns its URL, with the password of its owner.
    pub fn new_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {ROLE}"));
        format!("postgres://{ROLE}:{PASSWORD_IN_URL}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL as the superuser; returns its rows, one per line, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "superuser"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Stops the server at once, as a crash would.
    pub fn down(&mut self) {
        self.tell("down");
        assert_eq!(self.answer(), "down");
    }

    /// Starts it again, on the same port and with what it held.
    pub fn up(&mut self) {
        assert!(self.tell_up(), "PostgreSQL did not start again on port {}", self.port);
    }

    fn tell_up(&mut self) -> bool {
        self.tell(&format!("up {}", self.port));
        self.answer() == "up"
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.words.as_mut().unwrap(), "{words}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.keeper.wait();
    }
}

/// A command that is not run as root.
fn unprivileged(program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = [format!("--reuid={SERVER_USER}"), format!("--regid={SERVER_USER}"), "--init-groups".into()];
    // TMPDIR may be a place that only root may write to.
    command.args(user).arg("--").arg(program).env_remove("TMPDIR");
    command
}

/// Where Debian's packages put initdb and pg_ctl; the newest version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let number = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = programs.max_by_key(number);
    newest.expect("PostgreSQL's server is not installed (no /usr/lib/postgresql/*/bin/initdb): run `make deps`")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
