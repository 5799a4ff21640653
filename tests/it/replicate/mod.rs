//! Copying between nodes: real processes and plain servers on loopback.

mod bounty;
mod command;
mod counting_proxy;
mod digests;
mod extras;
mod follow;
mod hostile;
mod isolation;
mod many;
mod nodes;
pub mod static_peer;
mod storm;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use sha2::{Digest, Sha256};
pub use static_peer::StaticPeer;

pub const HOUR: &str = "2026-01-02T03";

/// The text of a hash, as names have it.
pub fn hash_text(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// Writes a segment of these bytes and answers its name. The digits of its time are those of the existing system.
pub fn plant_segment(dir: &Path, offset: &str, kind: &str, bytes: &[u8]) -> String {
    let name = format!("{offset}-2.0-{kind}-{}.ts", hash_text(bytes));
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join(&name), bytes).unwrap();
    name
}

/// Two qualities, three hours, chat, every kind, names with other digits than ours, and one file of 700 KB.
pub fn plant_tree(base: &Path) {
    for (quality, hours) in [("source", 1..=3), ("480p", 3..=3)] {
        for hour in hours {
            let dir = base.join(format!("ch é/{quality}/2026-01-02T{hour:02}"));
            for second in 0..10u8 {
                let kind = ["full", "suspect", "partial"][usize::from(second % 3)];
                plant_segment(&dir, &format!("00:{second:02}.5"), kind, &[second, hour]);
            }
            plant_segment(&dir, "59:58.000001", "full", &vec![hour; 700_000]);
        }
    }
    plant_segment(&base.join(format!("ch é/source/{HOUR}")), "30:00", "full", b"");
    let chat = base.join(format!("ch é/chat/{HOUR}"));
    std::fs::create_dir_all(&chat).unwrap();
    std::fs::write(chat.join(format!("12:18-{}.json", hash_text(b"[1]"))), "[1]").unwrap();
}

/// Every file under a directory with its bytes; what is ours alone (hidden at the top) is left out.
pub fn tree(base: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(base: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            // What is a node's own, and what it draws of its record.
            if entry == base.join(".segvault") || entry == base.join("coverage-maps") {
                continue;
            } else if entry.is_dir() {
                walk(base, &entry, found);
            } else if let Ok(bytes) = std::fs::read(&entry) {
                // What is being copied gets its final name while we look.
                found.insert(entry.strip_prefix(base).unwrap().to_str().unwrap().to_owned(), bytes);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(base, base, &mut found);
    found
}
