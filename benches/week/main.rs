//! `make bench`: figures on a week of a channel, each beside its limit on the same machine in the same run.
//!
//! A tree of 7 days of 2 s segments is made once below target/bench, as a real one would be: with holes, partial and
//! suspect segments, duplicates, temps, tombstones, jitter, and the overlap of a restart. Each figure is a median.
//! Prints one table, and writes it to docs/performance.md. `cargo bench --bench week -- cuts` prints what there is of exact
//! cuts, and writes nothing.
#![allow(clippy::unwrap_used)]

mod cuts;
mod load;
mod players;
mod tree;

use std::fmt::Write as _;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use segvault::model::Span;
use segvault::select::Selection;
use segvault::store::{self, Layout};

use load::{Transfer, fetch, fetch_text, requests_per_second};

const RUNS: usize = 5;
const CLIENTS: usize = 16;
const LOAD_FOR: Duration = Duration::from_secs(3);
const WEEK: [&str; 2] = ["2026-01-01T00:00:00", "2026-01-08T00:00:00"];
const HOUR: [&str; 2] = ["2026-02-01T05:00:00", "2026-02-01T06:00:00"];

fn main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    let mut table = Table::default();
    if std::env::args().any(|word| word == "cuts") {
        return cuts::measure(&dir, &mut table);
    }
    let base = dir.join("base");
    tree::make(&base);
    choosing(&base, &mut table);
    learning(&base, &mut table);
    playlist(&base, &mut table);
    listing(&base, &mut table);
    segments(&base, &dir, &mut table);
    rough_cut(&base, &mut table);
    cuts::measure(&dir, &mut table);
    players::measure(&dir, &mut table);
    let text = table.document();
    print!("{text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    // What other benches wrote stays.
    let others = std::fs::read_to_string(&path).unwrap_or_default();
    let others = others.split_once("\n## ").map_or(String::new(), |(_, others)| format!("\n## {others}"));
    std::fs::write(path, text + &others).unwrap();
}

#[derive(Default)]
struct Table(Vec<[String; 4]>);

impl Table {
    fn row(&mut self, what: &str, ours: String, limit: &str, ratio: String) {
        println!("{what}: {ours}; {limit}; {ratio}");
        self.0.push([what.to_owned(), ours, limit.to_owned(), ratio]);
    }

    fn document(&self) -> String {
        let mut text = String::from(
            "# Performance\n\nWritten by `make bench`; medians of five or more, each limit measured in the same run. On\n\n",
        );
        let _ = writeln!(text, "    {}\n", machine());
        text.push_str("| figure | segvault | limit | ratio |\n|---|---|---|---|\n");
        for [what, ours, limit, ratio] in &self.0 {
            let _ = writeln!(text, "| {what} | {ours} | {limit} | {ratio} |");
        }
        text.push_str(
            "\nThe tree is a week of one quality, 2 s segments, with 0.5 % missing, partial and suspect segments, duplicates, temps,\n\
             tombstones, jitter of 1 to 5 ms, and the overlap of a restart. Load comes from 16 clients on the same machine and shares\n\
             its cores. Files are in the page cache. A player takes the whole playlist each time (200 KB). Smart cuts are of an hour of\n\
             720p at 30 fps with B-frames in 3 GB, from the middle of a segment to the middle of another.\n",
        );
        text
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    format!("{cores} × {model}, Linux {}", kernel.trim())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn measured(mut once: impl FnMut() -> f64) -> f64 {
    median((0..RUNS).map(|_| once()).collect())
}

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn ms(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

fn quiet(command: &mut Command) {
    assert!(command.stdout(Stdio::null()).stdin(Stdio::null()).status().unwrap().success());
}

fn choosing(base: &Path, table: &mut Table) {
    let find = measured(|| seconds(|| quiet(Command::new("find").arg(base.join("ch/source")))));
    let select = measured(|| {
        seconds(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
            quiet(command.args(["select", "--dir"]).arg(base).args(["ch", "source"]).args(WEEK).arg("--json"));
        })
    });
    table.row(
        "choose the segments of the week, cold, as JSON (a process of its own)",
        ms(select),
        &format!("`find`: {}", ms(find)),
        format!("{:.1} × the limit", select / find),
    );
    let (layout, channel, quality) = (Layout::new(base), "ch".parse().unwrap(), "source".parse().unwrap());
    let span = Span::new(WEEK[0].parse().unwrap(), WEEK[1].parse().unwrap()).unwrap();
    let hours: Vec<Arc<_>> = store::hours(&layout, &channel, &quality)
        .unwrap()
        .into_iter()
        .map(|hour| store::load_hour(&layout, &channel, &quality, hour).unwrap().index)
        .collect();
    let warm = measured(|| seconds(|| drop(std::hint::black_box(Selection::choose(span, hours.clone())))));
    table.row("the same from held indexes", ms(warm), "–", "–".into());
}

/// A node that only serves.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start(base: &Path) -> Self {
        let _ = std::fs::remove_file(base.join(".segvault/listen"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
        command.args(["run", "--set", "node.listen=127.0.0.1:0", "--set", "log.level=warning"]);
        // The tree's names have hashes that are none of its bytes.
        command.args(["--set", "scrub.enabled=false", "--set"]);
        let child = command.arg(format!("node.dir={}", base.display())).stdin(Stdio::null()).spawn().unwrap();
        let address = loop {
            if let Ok(text) = std::fs::read_to_string(base.join(".segvault/listen")) {
                break text.trim().parse().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child, address }
    }

    /// The most that it ever had.
    fn peak_resident_mib(&self) -> f64 {
        self.status_mib("VmHWM:")
    }

    fn resident_mib(&self) -> f64 {
        self.status_mib("VmRSS:")
    }

    fn status_mib(&self, key: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn week_path() -> String {
    format!("/playlist/ch/source.m3u8?start={}&end={}", WEEK[0], WEEK[1])
}

/// Must precede `playlist`: what is learnt there is kept, so that the week's playlist finds it.
fn learning(base: &Path, table: &mut Table) {
    let _ = std::fs::remove_dir_all(base.join(".segvault/media"));
    let node = Node::start(base);
    let began = Instant::now();
    let first = fetch(node.address, &week_path());
    while !fetch_text(node.address, "/metrics").contains("segvault_media_waiting_entries 0") {
        std::thread::sleep(Duration::from_millis(100));
    }
    let seconds = began.elapsed().as_secs_f64();
    let what = "the week's playlist when nothing is known of its encodings yet";
    table.row(what, ms(first.seconds), "–", "–".into());
    table.row("all of the week looked at for its encodings, once (empty files)", ms(seconds), "–", "–".into());
}

fn playlist(base: &Path, table: &mut Table) {
    let path = week_path();
    let mut cold = Vec::new();
    let mut warm = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..RUNS {
        let node = Node::start(base);
        cold.push(fetch(node.address, &path));
        warm.extend((0..RUNS).map(|_| fetch(node.address, &path)));
        resident.push(node.resident_mib());
    }
    let of = |transfers: &[Transfer], figure: fn(&Transfer) -> f64| median(transfers.iter().map(figure).collect());
    let megabytes = cold[0].bytes as f64 / 1e6;
    let what = format!("media playlist of the week ({megabytes:.0} MB)");
    table.row(&format!("{what}, cold"), ms(of(&cold, |one| one.seconds)), "–", "–".into());
    let loopback = measured(|| loopback_seconds(cold[0].bytes));
    let total = of(&warm, |one| one.seconds);
    table.row(
        &format!("{what}, warm"),
        ms(total),
        &format!("as many zeros over loopback: {}", ms(loopback)),
        format!("{:.1} × the limit", total / loopback),
    );
    table.row("first byte of it, warm", ms(of(&warm, |one| one.first_byte_seconds)), "–", "–".into());
    table.row("resident memory after it", format!("{:.0} MiB", median(resident)), "–", "–".into());
}

/// What `cat` into a socket takes at least.
fn loopback_seconds(bytes: u64) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        std::io::copy(&mut std::io::repeat(0).take(bytes), &mut stream).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let took = seconds(|| while stream.read(&mut buffer).unwrap() > 0 {});
    sender.join().unwrap();
    took
}

fn listing(base: &Path, table: &mut Table) {
    let node = Node::start(base);
    let paths = vec!["/files/ch/source/2026-01-03T05".to_owned()];
    let rate = measured(|| requests_per_second(node.address, &paths, CLIENTS, LOAD_FOR));
    table.row("an hour's listing, 16 clients", format!("{rate:.0} /s"), "–", "–".into());
}

fn segments(base: &Path, dir: &Path, table: &mut Table) {
    let hour = base.join("big/source/2026-02-01T05");
    let names: Vec<String> = std::fs::read_dir(&hour)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".ts"))
        .take(64)
        .collect();
    let paths = |prefix: &str| -> Vec<String> {
        names.iter().map(|name| format!("{prefix}/big/source/2026-02-01T05/{}", name.replace(':', "%3A"))).collect()
    };
    let node = Node::start(base);
    let (ours, limit) = (paths("/segments"), paths(""));
    let Some(nginx) = Nginx::start(base, dir) else {
        let rate = measured(|| requests_per_second(node.address, &ours, CLIENTS, LOAD_FOR));
        table.row("a 1.5 MB segment, 16 clients", format!("{rate:.0} /s"), "nginx is not installed", "–".into());
        return;
    };
    // In turn, so that a machine whose speed drifts treats both alike.
    let pairs: Vec<(f64, f64)> = (0..RUNS)
        .map(|_| {
            let ours = requests_per_second(node.address, &ours, CLIENTS, LOAD_FOR);
            (ours, requests_per_second(nginx.address, &limit, CLIENTS, LOAD_FOR))
        })
        .collect();
    let rate = |figure: fn(&(f64, f64)) -> f64| median(pairs.iter().map(figure).collect());
    table.row(
        "a 1.5 MB segment, 16 clients",
        format!("{:.0} /s", rate(|pair| pair.0)),
        &format!("nginx: {:.0} /s", rate(|pair| pair.1)),
        format!("{:.2} × the limit", rate(|pair| pair.0 / pair.1)),
    );
}

struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    fn start(base: &Path, dir: &Path) -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].iter().map(PathBuf::from);
        let program = program.into_iter().find(|path| path.exists())?;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.join("nginx.conf");
        let text = format!(
            "daemon off; worker_processes 2; pid {0}/nginx.pid; error_log {0}/nginx.log; user root;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;\n\
             server {{ listen {address}; root {1}; }} }}\n",
            dir.display(),
            base.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program).arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, address };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Some(nginx);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nginx does not listen; see {}/nginx.log", dir.display());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx ends its workers only when it is asked to end.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn rough_cut(base: &Path, table: &mut Table) {
    let node = Node::start(base);
    let path = format!("/cut/big/source.ts?type=rough&start={}&end={}", HOUR[0], HOUR[1]);
    let cuts: Vec<Transfer> = (0..RUNS).map(|_| fetch(node.address, &path)).collect();
    let hour = base.join("big/source/2026-02-01T05");
    let rate = |transfer: &Transfer| transfer.bytes as f64 / transfer.seconds / 1e9;
    let ours = median(cuts.iter().map(rate).collect());
    let limit = measured(|| cuts[0].bytes as f64 / cat_seconds(&hour) / 1e9);
    table.row(
        &format!("rough cut of an hour ({:.2} GB)", cuts[0].bytes as f64 / 1e9),
        format!("{ours:.2} GB/s"),
        &format!("`cat` to a loopback socket: {limit:.2} GB/s"),
        format!("{:.2} × the limit", ours / limit),
    );
}

/// `cat HOUR/*` into a socket that somebody empties.
fn cat_seconds(hour: &Path) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let drain = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut buffer = vec![0; 256 * 1024];
        while stream.read(&mut buffer).unwrap() > 0 {}
    });
    let stream = TcpStream::connect(address).unwrap();
    seconds(|| {
        let mut cat = Command::new("sh");
        let out = std::os::fd::OwnedFd::from(stream);
        assert!(cat.arg("-c").arg("cat *").current_dir(hour).stdout(out).status().unwrap().success());
        drop(cat);
        drain.join().unwrap();
    })
}
