//! Why something was hidden, and by whom: BASE/.segvault/tombstones/CHANNEL, a line of JSON for each tombstone.
//!
//! For people alone: a tombstone holds without it. Only ever added to. Blocks on the disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, make_dir};
use crate::model::Channel;

/// Some hundred thousand lines.
const MOST_READ_BYTES: u64 = 64 << 20;

/// Who hid what, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// QUALITY/HOUR/NAME of the tombstone.
    pub tombstone: String,
    /// When, as text in UTC.
    pub at: String,
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn path(layout: &Layout, channel: &Channel) -> PathBuf {
    layout.own_dir().join("tombstones").join(channel)
}

/// Adds to what is known, flushed.
pub fn write_reasons(layout: &Layout, channel: &Channel, reasons: &[Reason]) -> Result<(), StoreError> {
    let path = path(layout, channel);
    make_dir(path.parent().expect("it lies in a directory"))?;
    // It begins with a line's end: what a crash cut off costs only itself.
    let mut text = String::from("\n");
    for reason in reasons {
        text += &serde_json::to_string(reason).expect("a struct of texts is JSON");
        text.push('\n');
    }
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| StoreError::new("write", &path, source))
}

/// What is known of a channel's tombstones, in the order of writing. What cannot be read is passed over.
pub fn read_reasons(layout: &Layout, channel: &Channel) -> Vec<Reason> {
    let mut text = Vec::new();
    let mut read = || File::open(path(layout, channel))?.take(MOST_READ_BYTES).read_to_end(&mut text);
    if read().is_err() {
        return Vec::new();
    }
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_added_and_what_was_cut_off_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let channel: Channel = "ch".parse().unwrap();
        let reason = |name: &str, reason: Option<&str>| Reason {
            tombstone: format!("source/2026-01-02T03/{name}.tombstone"),
            at: "2026-01-03T00:00:00".into(),
            by: "me".into(),
            reason: reason.map(str::to_owned),
        };
        assert!(read_reasons(&layout, &channel).is_empty());
        write_reasons(&layout, &channel, &[reason("a", Some("a name on\nscreen")), reason("b", None)]).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(&layout, &channel)).unwrap();
        file.write_all(b"{\"tombstone\": \"so").unwrap();
        write_reasons(&layout, &channel, &[reason("c", None)]).unwrap();
        let read: Vec<Reason> = read_reasons(&layout, &channel);
        assert_eq!(read, [reason("a", Some("a name on\nscreen")), reason("b", None), reason("c", None)]);
    }
}
