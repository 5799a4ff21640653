//! Uploads to real servers: an S3-compatible store, and a stand-in for YouTube; with connections that break in between.

mod flaky;
mod memory;
mod node;
mod s3;
mod stand_in;
mod wire;
mod youtube;

use std::path::Path;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use segvault::blocking::Blocking;
use segvault::clock::Clock;
use segvault::config::Config;
use segvault::log::DropCount;
use segvault::metrics::Metrics;
use segvault::upload::{
    Destination, Gate, Means, Progress, Thumbnail, Upload, VideoMetadata, Withdrawn, destination_of,
};

use crate::dice::Dice;

/// The destination that a configuration makes, as a node reads it.
fn destination(dir: &Path, clock: &Clock, upload: &str) -> Rc<dyn Destination> {
    let file = dir.join("segvault.toml");
    std::fs::write(&file, format!("[node]\nname = \"test\"\ndir = {dir:?}\n{upload}")).unwrap();
    let config = Config::load(Some(&file), &[], std::iter::empty()).unwrap().config;
    let metrics = Metrics::new(clock.clone(), DropCount::default());
    let means = Means::new(&config.uploads, Blocking::new(2), clock.clone(), metrics);
    destination_of(&config.uploads[0], &means)
}

/// Bytes that are different everywhere.
fn content(len_bytes: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// An upload of this content, out of a file in `dir`.
fn upload(dir: &Path, key: &str, content: &[u8]) -> Upload {
    let file = dir.join(format!("{key}.video"));
    std::fs::write(&file, content).unwrap();
    let image = bytes::Bytes::from_static(b"\x89PNG\r\n\x1a\nnot much of a picture");
    Upload {
        key: key.parse().unwrap(),
        metadata: VideoMetadata {
            title: "A fast run".into(),
            description: "It was fast.".into(),
            tags: vec!["run".into(), "fast".into()],
            is_public: true,
        },
        file,
        len_bytes: content.len() as u64,
        sha256: Sha256::digest(content).into(),
        content_type: "video/mp4".into(),
        thumbnail: Some(Thumbnail { sha256: Sha256::digest(&image).into(), image }),
        sidecar: serde_json::json!({"event": {"id": key}}),
    }
}

fn open() -> Gate<'static> {
    Box::pin(async { Ok(()) })
}

fn shut() -> Gate<'static> {
    Box::pin(async { Err(Withdrawn) })
}

/// Sends until `bytes` of them are out, and then stops as a killed process does.
async fn send_until(
    destination: &dyn Destination,
    upload: &Upload,
    ticket: &segvault::upload::UploadTicket,
    bytes: u64,
) {
    let progress = Progress::default();
    let enough = async {
        while progress.bytes() < bytes {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let never: Gate<'_> = Box::pin(std::future::pending());
    tokio::select! {
        biased;
        () = enough => {}
        ended = destination.send(upload, ticket, 0, &progress, never) => panic!("it ended by itself: {ended:?}"),
    }
}
