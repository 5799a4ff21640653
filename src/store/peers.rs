//! Keeps what each source said last of who the peers are. Losing it costs time, never data, so it is renamed into place
//! but not flushed.

use std::fs;
use std::path::PathBuf;

use super::{Layout, StoreError};

fn peers_path(layout: &Layout, source: &str) -> PathBuf {
    layout.own_dir().join(format!("peers-{source}"))
}

/// `None` where there is none, or none that can be read.
pub fn read_peers(layout: &Layout, source: &'static str) -> Option<String> {
    fs::read_to_string(peers_path(layout, source)).ok()
}

pub fn write_peers(layout: &Layout, source: &'static str, text: &str) -> Result<(), StoreError> {
    let path = peers_path(layout, source);
    let temp = path.with_extension("temp");
    let write = || fs::write(&temp, text).and_then(|()| fs::rename(&temp, &path));
    write().map_err(|source| StoreError::new("write", &path, source))
}
