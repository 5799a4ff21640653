//! Cuts that were killed in the middle, and asked for again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use segvault::cut::Record;
use segvault::model::{SegmentKind, Timestamp};

use super::{PLAIN, assert_shows, empty_record, put, record};
use crate::support::{NodeProcess, eventually, output};

const SEGMENTS: usize = 16;
const SEGMENT_BYTES: usize = 2 << 20;
const SECONDS: i64 = 2;
/// What of it is there when it ends: beyond the third time that it is flushed, and within a segment.
const KILLED_AT_KIB: usize = 21 * 1024 - 300;

/// A record of segments that hold anything: a rough cut does not look into them.
struct Big {
    _dir: tempfile::TempDir,
    record: Record,
    file: PathBuf,
}

fn start() -> Timestamp {
    "2026-01-02T03:59:50".parse().unwrap()
}

fn at(number: usize) -> Timestamp {
    start().plus_micros(number as i64 * SECONDS * 1_000_000)
}

/// No two are alike, and no packet starts where it should not.
fn content(number: usize) -> Vec<u8> {
    let mut state = number as u32 + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    (0..SEGMENT_BYTES / 4).flat_map(|_| next()).collect()
}

impl Big {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let record = empty_record(&dir);
        for number in 0..SEGMENTS {
            put(&record, at(number), at(number + 1), SegmentKind::Full, &content(number));
        }
        let file = dir.path().join("out.ts");
        Self { _dir: dir, record, file }
    }

    fn whole(&self) -> Vec<u8> {
        (0..SEGMENTS).flat_map(content).collect()
    }

    fn partial(&self, ending: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    fn command(&self, from: &[&str], prefix: &[&str], more: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_segvault");
        let (first, rest) = prefix.split_first().unwrap_or((&program, &[]));
        let mut command = Command::new(first);
        command.args(rest);
        if !prefix.is_empty() {
            command.arg(program);
        }
        command.arg("cut").args(from).args(["ch", "source", "--json", "--range", &format!("{}+32s", start())]);
        command.args(["-o", self.file.to_str().unwrap()]).args(more);
        command
    }

    fn base(&self) -> &str {
        self.record.layout.base().to_str().unwrap()
    }

    /// Has the kernel end the process at a byte of the file.
    fn kill_in_the_middle(&self) {
        let limit = format!("ulimit -c 0; ulimit -f {KILLED_AT_KIB}; exec \"$@\"");
        let prefix = ["bash", "-c", &limit, "bash"];
        let killed = output(&mut self.command(&["--dir", self.base()], &prefix, &["--type", "rough"]));
        assert!(!killed.status.success(), "{killed:?}");
        assert!(!self.file.exists());
        assert_eq!(self.partial(".partial").metadata().unwrap().len(), KILLED_AT_KIB as u64 * 1024);
    }

    /// How much of the file is known to be good.
    fn marked_bytes(&self) -> Option<u64> {
        let mark = std::fs::read(self.partial(".partial.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&mark).unwrap()["flushed_bytes"].as_u64()
    }

    /// Nothing but the file is left.
    fn assert_whole(&self, output: &Output, resumed_bytes: u64, expected: &[u8]) {
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (report["bytes"].as_u64(), &report["resumed_bytes"]),
            (Some(expected.len() as u64), &resumed_bytes.into())
        );
        assert!(std::fs::read(&self.file).unwrap() == expected, "other bytes");
        assert!(!self.partial(".partial").exists() && !self.partial(".partial.json").exists());
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_rough_cut_that_was_killed_goes_on_where_it_stopped() {
    let big = Big::new();
    big.kill_in_the_middle();
    let marked = big.marked_bytes().unwrap();
    assert!((8 << 20..=KILLED_AT_KIB as u64 * 1024).contains(&marked), "{marked}");
    // What lies beyond was never said to be there.
    let half = std::fs::OpenOptions::new().write(true).open(big.partial(".partial")).unwrap();
    half.set_len(marked).unwrap();
    half.set_len(marked + 1000).unwrap();
    let again = output(&mut big.command(&["--dir", big.base()], &[], &["--type", "rough"]));
    assert!(words(&again).contains(&format!("has the first {marked} bytes")), "{again:?}");
    big.assert_whole(&again, marked, &big.whole());
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["receipt"]["bytes"], big.whole().len());
    assert_eq!(report["receipt"]["segments"].as_array().unwrap().len(), SEGMENTS);
}

#[test]
fn what_a_directory_began_a_node_ends() {
    let big = Big::new();
    big.kill_in_the_middle();
    let marked = big.marked_bytes().unwrap();
    let node = NodeProcess::start(big.record.layout.base(), &[]);
    let again = output(&mut big.command(&["--url", &node.url()], &[], &["--type", "rough"]));
    big.assert_whole(&again, marked, &big.whole());
    // A range without a condition may be of another cut by now.
    let query = format!("/cut/ch/source.ts?type=rough&range={}+4s", start());
    let whole = node.get(&query);
    let etag = whole.header("etag").to_owned();
    assert_eq!((whole.status, whole.body.len()), (200, 2 * SEGMENT_BYTES));
    let ask = |headers: &[(&str, &str)]| node.get_with("GET", &query, headers);
    assert_eq!(ask(&[("Range", "bytes=5-")]).status, 200);
    assert_eq!(ask(&[("Range", "bytes=5-"), ("If-Range", "\"another\"")]).status, 200);
    assert_eq!(ask(&[("Range", "bytes=4194304-"), ("If-Range", &etag)]).status, 200);
    let rest = ask(&[("Range", "bytes=2097153-"), ("If-Range", &etag)]);
    assert_eq!((rest.status, rest.header("content-range")), (206, "bytes 2097153-4194303/4194304"));
    assert!(rest.body == whole.body[2_097_153..], "other bytes");
    node.stop();
}

#[test]
fn what_is_left_of_another_cut_is_no_part_of_this_one() {
    let big = Big::new();
    big.kill_in_the_middle();
    // A better segment has come meanwhile.
    let other = vec![7; 3 << 20];
    let old = big.record.layout.segment_path(
        &big.record.channel,
        &big.record.quality,
        &put(&big.record, at(3), at(4), SegmentKind::Full, &content(3)),
    );
    std::fs::remove_file(old).unwrap();
    put(&big.record, at(3), at(4), SegmentKind::Full, &other);
    let again = output(&mut big.command(&["--dir", big.base()], &[], &["--type", "rough"]));
    assert!(words(&again).contains("again from its start"), "{again:?}");
    let all = (0..SEGMENTS).flat_map(|number| if number == 3 { other.clone() } else { content(number) });
    big.assert_whole(&again, 0, &all.collect::<Vec<_>>());
}

#[test]
fn a_cut_that_is_made_anew_says_so() {
    let source = record(PLAIN);
    let base = source.record.layout.base();
    let file = base.join("out.ts");
    std::fs::write(base.join("out.ts.partial"), vec![9; 9000]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
    command.args(["cut", "--dir", base.to_str().unwrap(), "ch", "source", "-o", file.to_str().unwrap()]);
    let again = output(command.args(["--range", &format!("{},{}", source.frame(40), source.frame(200))]));
    assert!(words(&again).contains("only a rough cut goes on where it stopped"), "{again:?}");
    assert_shows("made anew", &std::fs::read(&file).unwrap(), &(40..200).collect::<Vec<_>>());
}

/// Stands in for a node: answers each request as told, and keeps what it was asked.
struct Standin {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Standin {
    /// `answer` is given the request, and writes until it has said all or nobody listens.
    fn start(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = Vec::new();
                let mut bytes = [0; 1024];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match connection.read(&mut bytes).unwrap_or(0) {
                        0 => break,
                        count => request.extend(&bytes[..count]),
                    }
                }
                let request = String::from_utf8(request).unwrap().to_lowercase();
                kept.lock().unwrap().push(request.clone());
                answer(&request, &mut connection);
            }
        });
        Self { url, asked }
    }
}

const OWN: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
const OTHER: &str = "57DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

fn head(status: &str, etag: &str, len: usize, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nETag: \"{etag}\"\r\nContent-Length: {len}\r\n{more}\r\n").into_bytes()
}

/// A node that sends the first part of this and then no more, until the command has been killed.
fn killed_while_a_node_sends(big: &Big, whole: &[u8]) {
    let sent = whole.to_vec();
    let stuck = Standin::start(move |_, connection| {
        let _ = connection.write_all(&head("200 OK", OWN, sent.len(), ""));
        let _ = connection.write_all(&sent[..7 << 20]);
        // Ends when the other side does.
        let _ = connection.read(&mut [0; 1]);
    });
    let mut command = big.command(&["--url", &stuck.url], &[], &["--type", "rough"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("a part of it is on the disk", || big.marked_bytes());
    child.kill().unwrap();
    child.wait().unwrap();
}

fn range_of(request: &str) -> Option<usize> {
    request.lines().find_map(|line| line.strip_prefix("range: bytes="))?.strip_suffix('-')?.parse().ok()
}

#[test]
fn a_download_that_was_killed_asks_for_the_rest_of_the_same_bytes() {
    let big = Big::new();
    let whole = big.whole();
    killed_while_a_node_sends(&big, &whole);
    let marked = big.marked_bytes().unwrap();
    let sent = whole.clone();
    let node = Standin::start(move |request, connection| {
        let from = range_of(request).unwrap();
        let more = format!("Content-Range: bytes {from}-{}/{}\r\n", sent.len() - 1, sent.len());
        let _ = connection.write_all(&head("206 Partial Content", OWN, sent.len() - from, &more));
        let _ = connection.write_all(&sent[from..]);
    });
    let again = output(&mut big.command(&["--url", &node.url], &[], &["--type", "rough"]));
    big.assert_whole(&again, marked, &whole);
    let asked = node.asked.lock().unwrap().concat();
    assert!(asked.contains(&format!("if-range: \"{}\"", OWN.to_lowercase())), "{asked}");
}

#[test]
fn a_download_of_other_bytes_begins_again() {
    let big = Big::new();
    let whole = big.whole();
    // One that says so, and one that sends a part of something else.
    for is_partial in [false, true] {
        killed_while_a_node_sends(&big, &whole);
        let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
        let sent = other.clone();
        let node = Standin::start(move |request, connection| {
            let _ = match range_of(request).filter(|_| is_partial) {
                Some(from) => {
                    let more = format!("Content-Range: bytes {from}-{}/{}\r\n", sent.len() - 1, sent.len());
                    let head = head("206 Partial Content", OTHER, sent.len() - from, &more);
                    connection.write_all(&[&head, &sent[from..]].concat())
                }
                None => connection.write_all(&[&head("200 OK", OTHER, sent.len(), ""), &sent[..]].concat()),
            };
        });
        let again = output(&mut big.command(&["--url", &node.url], &[], &["--type", "rough"]));
        assert!(words(&again).contains("again from its start"), "{again:?}");
        big.assert_whole(&again, 0, &other);
        std::fs::remove_file(&big.file).unwrap();
    }
}

#[test]
fn two_never_write_the_same_file() {
    let big = Big::new();
    let partial = big.partial(".partial");
    let held = std::fs::File::create(&partial).unwrap();
    held.lock().unwrap();
    let refused = output(&mut big.command(&["--dir", big.base()], &[], &["--type", "rough"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(words(&refused).contains("another cut"), "{refused:?}");
    assert!(!Path::new(&big.file).exists() && partial.metadata().unwrap().len() == 0);
}
