//! Keeps what each source said last of who the peers are. Losing it costs time, never data, so it is renamed into place
//! but not flushed.

use std::fs;
use std::path::PathBuf;

use super::{Layout, StoreError, replace};
use crate::model::PeerUrl;

const PREFIX: &str = "peers-";

fn peers_path(layout: &Layout, source: &str) -> PathBuf {
    layout.own_dir().join(format!("{PREFIX}{source}"))
}

/// What all sources said last, for who works beside a node or without one. Blocks on the disk.
pub fn kept_peers(layout: &Layout) -> Vec<PeerUrl> {
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && path.extension().is_none()
    };
    let paths = fs::read_dir(layout.own_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = paths.filter(is_kept).filter_map(|path| fs::read_to_string(path).ok());
    let mut peers: Vec<PeerUrl> =
        texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// `None` where there is none, or none that can be read.
pub fn read_peers(layout: &Layout, source: &'static str) -> Option<String> {
    fs::read_to_string(peers_path(layout, source)).ok()
}

pub fn write_peers(layout: &Layout, source: &'static str, text: &str) -> Result<(), StoreError> {
    let path = peers_path(layout, source);
    replace(&path, text.as_bytes())
}
