//! Memory does not grow with a video's length. A process of its own measures, as other tests run in this one.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::stand_in::StandIn;
use super::wire::{Answer, Request, serve};
use super::{destination, open, upload};
use crate::support::output;
use segvault::clock::Clock;
use segvault::upload::Progress;

/// Which upload the process of its own makes; without it, that test has nothing to do.
const CONFIG: &str = "UPLOADS_MEMORY_CONFIG";
const LEN: &str = "UPLOADS_MEMORY_LEN";
const MIB: u64 = 1 << 20;

/// What stands behind `name` in /proc/self/status, in bytes.
fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The process of its own. It prints by how much memory grew at most.
#[actix_rt::test]
#[ignore = "started by the tests below"]
async fn child_that_uploads() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let len_bytes: u64 = std::env::var(LEN).unwrap().parse().unwrap();
    let dir = TempDir::new().unwrap();
    let destination = destination(dir.path(), &Clock::system(), &config);
    let mut upload = upload(dir.path(), "long.1", b"x");
    // It takes no room on the disk.
    std::fs::File::options().write(true).open(&upload.file).unwrap().set_len(len_bytes).unwrap();
    upload.len_bytes = len_bytes;
    upload.sha256 = zeros_with_x(len_bytes);
    // Sinks of the test check it, not the uploader.
    let ticket = destination.begin(&upload).await.unwrap();
    let before = status_bytes("VmHWM:");
    destination.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
    println!("GREW={}", status_bytes("VmHWM:") - before);
}

fn zeros_with_x(len_bytes: u64) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"x");
    let zeros = vec![0; MIB as usize];
    let mut left = len_bytes - 1;
    while left > 0 {
        let some = left.min(MIB) as usize;
        hash.update(&zeros[..some]);
        left -= some as u64;
    }
    hash.finalize().into()
}

/// By how many bytes the memory of a process grew that uploaded so much.
fn growth(config: &str, len_bytes: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "uploads::memory::child_that_uploads", "--ignored", "--nocapture"])
        .env(CONFIG, config)
        .env(LEN, len_bytes.to_string());
    let printed = output(&mut child);
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let errors = String::from_utf8_lossy(&printed.stderr).into_owned();
    let found = text.split("GREW=").nth(1).unwrap_or_else(|| panic!("it failed: {text}\n{errors}"));
    found.split_whitespace().next().unwrap().parse().unwrap()
}

/// YouTube, which takes the bytes and checks them.
fn to_youtube(len_bytes: u64) {
    let (dir, stand_in) = (TempDir::new().unwrap(), StandIn::start());
    let (secrets, port): (PathBuf, u16) = (dir.path().join("secrets"), stand_in.port);
    std::fs::write(&secrets, r#"{"client_id": "me", "client_secret": "hush", "refresh_token": "refresh/me"}"#).unwrap();
    let grew = growth(
        &format!(
            "[upload.channel]\ntype = \"youtube\"\ncredentials_file = {secrets:?}\napi = \"http://127.0.0.1:{port}\"\n\
             token_url = \"http://127.0.0.1:{port}/token\"\n"
        ),
        len_bytes,
    );
    println!("youtube: {} MiB sent, memory grew by {} KiB", len_bytes / MIB, grew / 1024);
    assert!(grew < 60 * MIB, "memory grew by {grew} bytes");
    let youtube = stand_in.now();
    assert_eq!((youtube.videos.len(), youtube.videos[0].bytes), (1, len_bytes));
    assert_eq!(youtube.videos[0].sha256, zeros_with_x(len_bytes));
}

/// The bytes of the parts that came, and the hash that was said of the whole.
type Seen = Arc<Mutex<(u64, Option<String>)>>;

/// A store that forgets all bytes once it has compared their hash with what was said of them.
fn forgetful_store() -> (u16, Seen) {
    let seen = Seen::default();
    let shared = Arc::clone(&seen);
    let port = serve(move |request| take(request, &shared));
    (port, seen)
}

fn take(request: &mut Request<'_>, seen: &Mutex<(u64, Option<String>)>) -> Option<Answer> {
    let (is_part, is_new) = (request.query.contains_key("partNumber"), request.query.contains_key("uploads"));
    match &*request.method {
        "PUT" => {
            let (mut hash, said) = (Sha256::new(), request.header("x-amz-content-sha256").to_owned());
            let mut len_bytes = 0;
            while request.left_bytes > 0 {
                let piece = request.piece();
                hash.update(&piece);
                len_bytes += piece.len() as u64;
            }
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, said);
            seen.lock().unwrap().0 += if is_part { len_bytes } else { 0 };
            Answer::with(200, "etag", "\"e\"".into())
        }
        "POST" if is_new => {
            seen.lock().unwrap().1 = Some(request.header("x-amz-meta-segvault-sha256").to_owned());
            Answer::new(200, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
        }
        "POST" => {
            request.body();
            Answer::new(200, "<CompleteMultipartUploadResult/>")
        }
        "GET" if request.query.contains_key("uploads") => Answer::new(200, "<ListMultipartUploadsResult/>"),
        "GET" => Answer::new(200, "<ListPartsResult/>"),
        "HEAD" => {
            let seen = seen.lock().unwrap();
            let headers = vec![
                ("content-length", seen.0.to_string()),
                ("x-amz-meta-segvault-key", "long.1".to_owned()),
                ("x-amz-meta-segvault-sha256", seen.1.clone().unwrap_or_default()),
            ];
            Some(Answer { status: 200, headers, body: String::new() })
        }
        method => panic!("nobody should ask {method}"),
    }
}

fn to_s3(len_bytes: u64) {
    let (dir, (port, seen)) = (TempDir::new().unwrap(), forgetful_store());
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "aws_access_key_id = test\naws_secret_access_key = hush\n").unwrap();
    let grew = growth(
        &format!(
            "[upload.shelf]\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:{port}\"\nbucket = \"long\"\n\
             credentials_file = {keys:?}\n"
        ),
        len_bytes,
    );
    println!("s3: {} MiB sent, memory grew by {} KiB", len_bytes / MIB, grew / 1024);
    assert!(grew < 60 * MIB, "memory grew by {grew} bytes");
    assert_eq!(seen.lock().unwrap().0, len_bytes);
}

#[test]
fn memory_is_flat_however_long_a_video_is() {
    to_youtube(160 * MIB + 1);
    to_s3(160 * MIB + 1);
}

#[test]
#[ignore = "takes most of a minute: make soak"]
fn soak_memory_is_flat_for_two_gibibytes() {
    to_youtube(2048 * MIB + 1);
    to_s3(2048 * MIB + 1);
}
