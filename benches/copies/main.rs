//! `make bench`, second part: how fast an empty node copies all that another has, beside what the machine can do; and what
//! comparing costs where there are many nodes, reckoned with the pure parts alone.
//!
//! Both nodes are processes of their own on loopback, with files on one disk. Writes its section of docs/performance.md.
#![allow(clippy::unwrap_used)]

mod reckoning;
mod trees;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use trees::Tree;

const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);
const HEADING: &str = "## Copies between nodes\n";

fn main() {
    // Without measuring anything, for who changes how nodes compare: cargo bench --bench copies -- --reckon
    if std::env::args().any(|arg| arg == "--reckon") {
        return print!("{}", reckoning::section());
    }
    let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/copies");
    let mut text = String::from(HEADING);
    text.push_str(
        "\nMedians of three. An empty node copies all that another has, from its start to the last file: compared, fetched, hashed,\n\
         each file and its directory flushed before it counts. The limit is `cat` of the same files into a loopback socket whose\n\
         reader hashes and writes nothing; beside it, the same into one file that is flushed at the end. Both nodes share the\n\
         machine's cores. The other's files are in the page cache, as for `cat`; where the copies go to memory (a tmpfs), nothing but\n\
         the cores is the limit.\n\n| figure | segvault | limit | ratio |\n|---|---|---|---|\n",
    );
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    for (make, dir, place) in [
        (Tree::small as fn(&Path) -> Tree, &*disk, "to the disk"),
        (Tree::small, memory.path(), "to memory"),
        (Tree::large, &*disk, "to the disk"),
        (Tree::large, memory.path(), "to memory"),
    ] {
        let tree = make(&disk);
        let runs: Vec<Run> = (0..RUNS).map(|_| measure(&tree, dir)).collect();
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let _ = writeln!(
            text,
            "| {} segments of {} bytes, {place} | {:.0} /s, {:.0} MB/s | `cat`: {:.0} MB/s; flushed: {:.0} MB/s | {:.2} × `cat`, {:.2} × flushed |",
            tree.files,
            tree.file_bytes,
            of(|run| run.files_per_second),
            of(|run| run.megabytes_per_second),
            of(|run| run.limit),
            of(|run| run.flushed),
            of(|run| run.megabytes_per_second / run.limit),
            of(|run| run.megabytes_per_second / run.flushed),
        );
        let _ = writeln!(text, "| resident memory at most, meanwhile | {:.0} MiB | – | – |", of(|run| run.peak_mib));
        println!("{text}");
    }
    text.push_str(&reckoning::section());
    print!("{text}");
    write_section(&text);
}

/// Leaves what other benches wrote as it is.
fn write_section(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, own) = document.split_once(HEADING).unwrap_or((&document, ""));
    let after = own.split_once("\n## ").map_or(String::new(), |(_, after)| format!("\n## {after}"));
    std::fs::write(path, format!("{}\n\n{text}{after}", before.trim_end())).unwrap();
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Run {
    files_per_second: f64,
    megabytes_per_second: f64,
    /// Of `cat`, in MB/s.
    limit: f64,
    /// The same with the bytes on the disk.
    flushed: f64,
    peak_mib: f64,
}

fn measure(tree: &Tree, dir: &Path) -> Run {
    let megabytes = (tree.files * tree.file_bytes) as f64 / 1e6;
    let limit = megabytes / cat_seconds(&tree.base, None);
    let flushed = megabytes / cat_seconds(&tree.base, Some(&dir.join("flushed")));
    let theirs = Node::start(&tree.base, "");
    let ours = dir.join("empty");
    let _ = std::fs::remove_dir_all(&ours);
    let began = Instant::now();
    let more = format!("[backfill]\npeers = [\"http://{}\"]\nchannels = [\"ch\"]\n", theirs.address);
    let node = Node::start(&ours, &more);
    while copied(node.address) < tree.files {
        assert!(began.elapsed() < PATIENCE, "{} of {} files", copied(node.address), tree.files);
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let run = Run {
        files_per_second: tree.files as f64 / seconds,
        megabytes_per_second: megabytes / seconds,
        limit,
        flushed,
        peak_mib: node.peak_mib(),
    };
    drop(node);
    let _ = std::fs::remove_dir_all(&ours);
    run
}

fn copied(address: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("segvault_backfill_files_total{outcome=\"copied\""));
    line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as usize)
}

/// `cat` of every file into a socket whose reader hashes what comes, and writes it to a file if told.
fn cat_seconds(base: &Path, to: Option<&Path>) -> f64 {
    let mut to = to.map(|path| std::fs::File::create(path).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => {
                    if let Some(file) = to {
                        file.sync_all().unwrap();
                    }
                    return hasher.finalize();
                }
                read => {
                    hasher.update(&buffer[..read]);
                    if let Some(file) = to.as_mut() {
                        file.write_all(&buffer[..read]).unwrap();
                    }
                }
            }
        }
    });
    let stream = TcpStream::connect(address).unwrap();
    let began = Instant::now();
    let mut cat = Command::new("sh");
    let out = std::os::fd::OwnedFd::from(stream);
    let all = "find ch -name '*.ts' -print0 | xargs -0 cat";
    assert!(cat.arg("-c").arg(all).current_dir(base).stdout(out).status().unwrap().success());
    drop(cat);
    reader.join().unwrap();
    began.elapsed().as_secs_f64()
}

struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start(base: &Path, more: &str) -> Self {
        std::fs::create_dir_all(base).unwrap();
        let _ = std::fs::remove_file(base.join(".segvault/listen"));
        let config: PathBuf = base.with_extension("toml");
        let head = format!("[node]\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n");
        std::fs::write(&config, head + more).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
        let child = command.arg("run").arg("--config").arg(&config).stdin(Stdio::null()).spawn().unwrap();
        let address = loop {
            if let Ok(text) = std::fs::read_to_string(base.join(".segvault/listen")) {
                break text.trim().parse().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child, address }
    }

    /// The most that was resident at once (proc_pid_status(5)).
    fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Node {
    /// In order: after a stop that was none, the next start reads what was written last.
    fn drop(&mut self) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
