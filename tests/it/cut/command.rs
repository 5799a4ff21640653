//! `segvault cut` as a process.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::{PLAIN, Source, assert_shows, record};
use crate::support::output;

fn segvault(from: &[&str], range: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
    command.arg("cut").args(from).args(["ch", "source", "--range", range]).args(more);
    output(&mut command)
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn range(source: &Source, first: usize, last: usize) -> String {
    format!("{},{}", source.frame(first), source.frame(last))
}

#[test]
fn a_cut_of_a_directory_is_a_file_and_a_report() {
    let source = record(PLAIN);
    let base = source.record.layout.base();
    let file = base.join("out.ts");
    let (from, to) = (["--dir", base.to_str().unwrap()], file.to_str().unwrap());
    let range = range(&source, 40, 200);
    let output = segvault(&from, &range, &["-o", to, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let video = std::fs::read(&file).unwrap();
    assert_shows("the command", &video, &(40..200).collect::<Vec<_>>());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bytes"], video.len());
    assert_eq!(report["file"], to);
    assert_eq!(report["holes"], serde_json::json!([]));

    let piped = segvault(&from, &range, &["-o", "-"]);
    assert_eq!(piped.stdout, video);
}

#[test]
fn a_plan_says_what_the_cut_then_does() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(3)).unwrap();
    let base = source.record.layout.base().to_str().unwrap().to_owned();
    let from = ["--dir", base.as_str()];
    let name = |at: usize| source.segments[at].path_text();
    let range = format!("{}+8s", source.frame(30));
    let output = segvault(&from, &range, &["--plan", "--json", "--allow-holes"]);
    assert!(output.status.success(), "{output:?}");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (start, end) = (source.frame(30).to_string(), source.frame(270).to_string());
    let (hole_start, hole_end) = (source.frame(180).to_string(), source.frame(240).to_string());
    let encoding = plan["encodings"][0]["encoding"].as_str().unwrap();
    assert!(encoding.starts_with("avc1.") && encoding.ends_with(" 192x64, mp4a.40.2 48000 Hz"), "{encoding}");
    let encodings = [serde_json::json!({"segment": name(0), "encoding": encoding})];
    let expected = serde_json::json!({"type": "smart", "encodings": encodings, "pieces": [{"start": start, "end": end, "parts": [
        {"do": "re-encode", "segment": name(0), "from": start, "until": null},
        {"do": "copy", "segments": [name(1), name(2)]},
        {"do": "hole", "start": hole_start, "end": hole_end},
        {"do": "re-encode", "segment": name(4), "from": null, "until": end},
    ]}]});
    assert_eq!(plan, expected);

    let output = segvault(&from, &range, &["--plan", "--type", "rough", "--allow-holes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let hole = format!("  hole {hole_start} to {hole_end}");
    assert_eq!(lines[..3], ["rough", &format!("range {start} to {end}"), "  copy 3 whole segments"], "{text}");
    assert_eq!(lines[6..8], [hole.as_str(), "  copy 1 whole segments"], "{text}");

    let refused = error_of(&segvault(&from, &range, &["--plan"]));
    assert!(refused.contains("--allow-holes"), "{refused}");
}

#[test]
fn holes_are_refused_with_what_to_do_and_reported_where_allowed() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(2)).unwrap();
    let base = source.record.layout.base();
    let (from, file) = (["--dir", base.to_str().unwrap()], base.join("out.ts"));
    let (range, to) = (range(&source, 40, 250), file.to_str().unwrap());
    let refused = error_of(&segvault(&from, &range, &["-o", to]));
    assert!(refused.contains("--allow-holes"), "{refused}");
    assert!(!file.exists());
    let output = segvault(&from, &range, &["-o", to, "--allow-holes", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["holes"][0]["start"], source.frame(120).to_string());
    assert_eq!(report["holes"][0]["end"], source.frame(180).to_string());
}

#[test]
fn a_cut_that_breaks_off_never_has_the_final_name() {
    let source = record(PLAIN);
    let base = source.record.layout.base();
    // The last file of the cut cannot be decoded, which shows only when its turn comes.
    std::fs::write(source.path(4), vec![0x47; 188 * 50]).unwrap();
    let (from, file) = (["--dir", base.to_str().unwrap()], base.join("out.ts"));
    let broken = error_of(&segvault(&from, &range(&source, 40, 250), &["-o", file.to_str().unwrap()]));
    assert!(broken.contains("broke off") && broken.contains("out.ts.partial"), "{broken}");
    assert!(!file.exists());
    assert!(base.join("out.ts.partial").exists());
}

#[test]
fn wrong_usage_is_64() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let range = "2026-01-02T03:00:00,2026-01-02T03:00:01";
    for (from, range, more) in [
        (&["--dir", dir][..], "2026-01-02T03:00:00", &["-o", "x"][..]),
        (&["--dir", dir], "2026-01-02T03:00:01,2026-01-02T03:00:00", &["-o", "x"]),
        (&["--dir", dir], range, &["-o", "x", "--type", "none"]),
        (&["--dir", dir], "2026-01-02T03:00:00+5", &["-o", "x"]),
        (&["--dir", dir], range, &[]),
        (&["--dir", dir], range, &["-o", "x", "--plan"]),
        (&["--dir", dir], range, &["-o", "x", "--range", range, "--transition", "nosuch,1"]),
        (&["--dir", dir], range, &["-o", "x", "--range", range, "--transition", "fade,2"]),
        (&["--url", "http://localhost"], range, &["--plan"]),
        (&["--dir", dir], range, &["-o", "x"]),
        (&["--dir", "/nowhere/at/all"], range, &["-o", "x"]),
        (&["--dir", dir, "--url", "http://localhost"], range, &["-o", "x"]),
        (&[], range, &["-o", "x"]),
    ] {
        let output = segvault(from, range, more);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// Answers one request with these bytes, then closes the connection. Gives its address and what it was asked.
fn node_that_answers(answer: Vec<u8>) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut bytes = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = connection.read(&mut bytes).unwrap();
            request.extend(&bytes[..count]);
        }
        connection.write_all(&answer).unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
    });
    (address, asked)
}

fn from_node(answer: &[u8], file: &Path) -> (Output, String) {
    let (address, asked) = node_that_answers(answer.to_vec());
    let range = "2026-01-02T03:00:00,2026-01-02T03:00:01";
    let output = segvault(&["--url", &address], range, &["-o", file.to_str().unwrap(), "--type", "rough"]);
    (output, asked.join().unwrap())
}

#[test]
fn a_node_is_asked_and_its_bytes_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.ts");
    let (output, asked) = from_node(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &file);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    let expected =
        "GET /cut/ch/source.ts?range=2026-01-02T03%3A00%3A00.000000%2C2026-01-02T03%3A00%3A01.000000&type=rough";
    assert_eq!(asked, format!("{expected} HTTP/1.1"));
}

#[test]
fn a_body_that_ends_early_is_no_video() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.ts");
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
    ] {
        let broken = error_of(&from_node(answer, &file).0);
        assert!(broken.contains("out.ts.partial"), "{broken}");
        assert!(!file.exists());
    }
}

#[test]
fn a_refusal_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.ts");
    for (body, shown) in
        [(r#"{"code": "holes", "message": "3 holes"}"#, "3 holes"), ("<h1>no\x1b[2J</h1>", "<h1>no[2J</h1>")]
    {
        let length = body.len();
        let answer = format!("HTTP/1.1 406 Not Acceptable\r\nContent-Length: {length}\r\n\r\n{body}");
        let refused = error_of(&from_node(answer.as_bytes(), &file).0);
        assert!(refused.ends_with(&format!("(406 Not Acceptable): {shown}\n")), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
