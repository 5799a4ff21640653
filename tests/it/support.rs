//! What tests share: a node as a real process, a plain HTTP client, a prepared live source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use segvault::model::{Quality, SegmentName};
use segvault::rehearsal::{AtEnd, Program, Reel, ReelSpec, Rendition, Source, SourceHandle, SourceSpec};
use serde_json::Value;

/// Long enough for a machine that is busy with other tests; success takes a fraction of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody else is likely to get it between this and the node's start.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Asks again and again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn quality(name: &str) -> Quality {
    name.parse().unwrap()
}

/// Two small renditions, in segments of half a second, so that much happens in little time.
pub fn small_spec() -> ReelSpec {
    ReelSpec {
        renditions: vec![
            Rendition::new(quality("source"), 320, 180, 300_000),
            Rendition::new(quality("90p"), 160, 90, 100_000),
        ],
        segment: Duration::from_millis(500),
        ..ReelSpec::default()
    }
}

/// A prepared reel; made once, then kept between runs of the tests.
pub fn reel(spec: &ReelSpec, seconds: u64) -> Reel {
    Reel::prepare(spec, Duration::from_secs(seconds), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("reels"))
        .expect("ffmpeg makes the video; `make deps` installs it")
}

/// A source that plays `seconds` of video, `speed` times faster than real, and then says that it has ended.
pub fn source(spec: &ReelSpec, seconds: u64, speed: u32) -> SourceHandle {
    source_with(spec, seconds, speed, |_| {})
}

pub fn source_with(spec: &ReelSpec, seconds: u64, speed: u32, change: impl FnOnce(&mut SourceSpec)) -> SourceHandle {
    let program = Program::Prepared { reel: reel(spec, seconds), other: None, origin: None, speed, at_end: AtEnd::End };
    let mut spec = SourceSpec::new(program);
    // A node that starts late on a busy machine still finds what has been shown.
    spec.window_segments = 20;
    change(&mut spec);
    Source::start(spec).unwrap()
}

/// `segvault` with the environment of a user who has set nothing.
pub fn segvault() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEGVAULT_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a command prints until its end; one that hangs is killed and fails the test, instead of holding up all others.
pub fn output(command: &mut Command) -> Output {
    const FAR_TOO_LONG: Duration = Duration::from_secs(900);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    end.recv_timeout(FAR_TOO_LONG).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &id]).status();
        panic!("hangs: {command:?}")
    })
}

/// Runs to the end: exit code, standard output, standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let output = output(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A running `segvault run`.
pub struct NodeProcess {
    child: Child,
    pub base: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    address: String,
}

impl NodeProcess {
    /// A node that records these (channel, URL, qualities).
    pub fn start(base: &Path, channels: &[(&str, &str, &[&str])]) -> Self {
        let mut sets = String::new();
        for (name, url, qualities) in channels {
            let _ = writeln!(sets, "[[channel]]\nname = {name:?}\nhls = {url:?}\nqualities = {qualities:?}");
        }
        Self::start_with(base, &sets, |_| {})
    }

    /// The same with more configuration, and with changes to the command.
    pub fn start_with(base: &Path, more: &str, change: impl FnOnce(&mut Command)) -> Self {
        let config = base.with_extension("toml");
        let head =
            format!("[node]\nname = \"test\"\ndir = {base:?}\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n");
        std::fs::write(&config, head + more).unwrap();
        let mut command = segvault();
        command.arg("run").arg("--config").arg(&config);
        change(&mut command);
        Self::spawn(base, &mut command)
    }

    /// Any command that becomes a node with logs in JSON.
    pub fn spawn(base: &Path, command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let mut node = Self { child, base: base.to_owned(), lines, address: String::new() };
        let end = Instant::now() + PATIENCE;
        node.address = loop {
            if let Some(line) = node.logged("node is up").pop() {
                break line["address"].as_str().unwrap().to_owned();
            }
            assert!(node.child.try_wait().unwrap().is_none() && Instant::now() < end, "not up: {:#?}", node.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        node
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> Reply {
        request(&self.address, "GET", path, &[])
    }

    pub fn get_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        request(&self.address, method, path, headers)
    }

    /// An open connection that has asked for `path`, for clients that read slowly.
    pub fn ask(&self, path: &str) -> TcpStream {
        ask(&self.address, "GET", path, &[])
    }

    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Log lines with this message.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["msg"] == message).collect()
    }

    /// HOUR/NAME of the segments that the log acknowledged for a quality.
    pub fn acknowledged(&self, quality: &str) -> Vec<String> {
        let saved = self.logged("segment saved").into_iter().filter(|line| line["quality"] == quality);
        saved.map(|line| line["segment"].as_str().unwrap().to_owned()).collect()
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn wait(&mut self) -> ExitStatus {
        eventually("the node ends", || self.child.try_wait().unwrap())
    }

    pub fn stop(mut self) {
        self.signal("-TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{:#?}", self.log());
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.log().join("\n"));
        }
        // Gone already, if the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How much of the processor the host of a virtual machine takes away, as Linux counts it (proc(5), `/proc/stat`).
pub struct Stolen {
    ticks: [u64; 2],
}

impl Stolen {
    /// Above this share, what happens in real time says nothing.
    pub const MUCH: f64 = 0.05;

    pub fn from_now() -> Self {
        Self { ticks: Self::ticks() }
    }

    /// Of all processors, since it was begun; 0 where nobody counts.
    pub fn share(&self) -> f64 {
        let [stolen, all] = Self::ticks();
        (stolen - self.ticks[0]) as f64 / (all - self.ticks[1]).max(1) as f64
    }

    /// Those stolen, and all.
    fn ticks() -> [u64; 2] {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).take(8).map_while(|field| field.parse().ok()).collect();
        [ticks.get(7).copied().unwrap_or(0), ticks.iter().sum()]
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// The connection ended where the answer said that it would.
    pub complete: bool,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    try_ask(address, method, path, headers).unwrap()
}

fn try_ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    Ok(stream)
}

/// `None` where nobody answers, as while a node restarts.
pub fn try_get(address: &str, path: &str) -> Option<Reply> {
    let stream = try_ask(address, "GET", path, &[]).ok()?;
    let answers = stream.peek(&mut [0]).is_ok_and(|read| read > 0);
    answers.then(|| read_reply(stream, false))
}

pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    read_reply(ask(address, method, path, headers), method == "HEAD")
}

pub fn read_reply(mut stream: TcpStream, headless: bool) -> Reply {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    let end = Instant::now() + 2 * PATIENCE;
    // A reset after the last byte is the server's way to close early; completeness is judged below.
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
        assert!(Instant::now() < end, "an answer without end, after {} bytes", bytes.len());
    }
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head") + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let raw = bytes.split_off(head_end);
    let (body, complete) = match headers.get("content-length").map(|length| length.parse::<usize>().unwrap()) {
        _ if headless => (raw, true),
        Some(length) => (raw.clone(), raw.len() == length),
        None if headers.contains_key("transfer-encoding") => dechunk(&raw),
        None => (raw, true),
    };
    Reply { status, headers, body, complete }
}

fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line_end) = raw.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line_end]).unwrap().trim(), 16).unwrap();
        raw = &raw[line_end + 2..];
        if size == 0 {
            return (body, true);
        }
        if raw.len() < size + 2 {
            body.extend_from_slice(raw);
            return (body, false);
        }
        body.extend_from_slice(&raw[..size]);
        raw = &raw[size + 2..];
    }
}

/// Every final segment of a quality on disk, in order of time; temps are left out.
pub fn stored(base: &Path, channel: &str, quality: &str) -> Vec<(SegmentName, PathBuf)> {
    let mut found = Vec::new();
    let Ok(hours) = std::fs::read_dir(base.join(channel).join(quality)) else { return found };
    for hour in hours.map(|entry| entry.unwrap()) {
        let parsed = hour.file_name().to_str().unwrap().parse().unwrap();
        for file in std::fs::read_dir(hour.path()).unwrap().map(|entry| entry.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            if let Ok(name) = SegmentName::parse(parsed, &name)
                && name.hash().is_some()
            {
                found.push((name, file.path()));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| (a.start(), a.as_str()).cmp(&(b.start(), b.as_str())));
    found
}

/// Fails if the bytes of a final name do not match its hash.
pub fn assert_hashes(stored: &[(SegmentName, PathBuf)]) {
    use sha2::{Digest, Sha256};
    for (name, path) in stored {
        let hash = Sha256::digest(std::fs::read(path).unwrap());
        let hash = segvault::model::SegmentHash::from_bytes(hash.into());
        assert_eq!(Some(hash), name.hash(), "{}", path.display());
    }
}
