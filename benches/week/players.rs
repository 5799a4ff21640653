//! Two hundred players on one live playlist, while it is recorded.

use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use segvault::model::Timestamp;

use super::load::{ask, fetch_text, read_answer};
use super::{Node, RUNS, Table, median};

const PLAYERS: usize = 200;
const SEGMENT: Duration = Duration::from_secs(2);
const FOR: Duration = Duration::from_secs(20);
/// Half an hour lies before: as much is listed at each change, and shown.
const BEFORE: usize = 900;
const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
const TICKS_PER_SECOND: f64 = 100.0;

pub fn measure(dir: &Path, table: &mut Table) {
    let runs: Vec<(f64, f64)> = (0..RUNS).map(|_| once(&dir.join("live"))).collect();
    let share = median(runs.iter().map(|run| run.0).collect());
    let listings = median(runs.iter().map(|run| run.1).collect());
    let what = format!("{PLAYERS} players poll a live playlist of half an hour every 2 s");
    table.row(&what, format!("{:.1} % of a core", share * 100.0), "–", "–".into());
    table.row("times that the hour was listed for them, per change", format!("{listings:.2}"), "–", "–".into());
}

/// The node's share of a core, and listings per change.
fn once(base: &Path) -> (f64, f64) {
    let _ = std::fs::remove_dir_all(base);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
    let segment_micros = SEGMENT.as_micros() as i64;
    let at = |number: i64| Timestamp::from_micros(now + number * segment_micros);
    (1 - BEFORE as i64..=0).for_each(|number| add(base, at(number)));
    let node = Node::start(base);
    let path = format!("/playlist/ch/source.m3u8?start={}", at(-(BEFORE as i64)));
    fetch_text(node.address, &path);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for player in 0..PLAYERS {
            let (path, over, address) = (&path, &over, node.address);
            scope.spawn(move || poll(address, path, SEGMENT * player as u32 / PLAYERS as u32, over));
        }
        std::thread::sleep(SEGMENT);
        let (busy, listed) = (processor_seconds(&node), listings(node.address));
        let began = Instant::now();
        let mut changes = 0;
        while began.elapsed() < FOR {
            changes += 1;
            add(base, at(changes));
            std::thread::sleep(SEGMENT);
        }
        let share = (processor_seconds(&node) - busy) / began.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        (share, (listings(node.address) - listed) / changes as f64)
    })
}

fn add(base: &Path, start: Timestamp) {
    let hour = start.hour();
    let micros = start.micros_since(hour.start());
    let (minute, second) = (micros / 60_000_000, micros as f64 % 6e7 / 1e6);
    let dir: PathBuf = base.join("ch/source").join(hour.to_string());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("new.temp"), "").unwrap();
    std::fs::rename(dir.join("new.temp"), dir.join(format!("{minute:02}:{second:09.6}-2.0-full-{HASH}.ts"))).unwrap();
}

fn poll(address: SocketAddr, path: &str, phase: Duration, over: &AtomicBool) {
    std::thread::sleep(phase);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone().unwrap());
    while !over.load(Ordering::Relaxed) {
        ask(&mut stream, path, "keep-alive");
        read_answer(&mut reader);
        std::thread::sleep(SEGMENT);
    }
}

fn listings(address: SocketAddr) -> f64 {
    let text = fetch_text(address, "/metrics");
    let line = text.lines().find(|line| line.starts_with("segvault_cache_hour_misses_total")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// What the process has used of all cores so far (proc_pid_stat(5)).
fn processor_seconds(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_PER_SECOND
}
