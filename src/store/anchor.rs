//! Remembers which time was given to which media sequence number, for sources that do not say times themselves.
//!
//! With it a restarted recorder gives a segment the name that it had before, instead of one a few milliseconds off.
//! Losing the file costs duplicates, never data, so it is renamed into place but not flushed.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, make_dir, replace};
use crate::model::{Channel, Quality, Timestamp};

/// The last segment whose time was worked out from the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub media_sequence: u64,
    /// Path of the segment's URL, without its query: tokens change, and are secrets.
    pub path: String,
    pub start_micros: i64,
}

impl Anchor {
    pub fn start(&self) -> Timestamp {
        Timestamp::from_micros(self.start_micros)
    }
}

fn anchor_path(layout: &Layout, channel: &Channel, quality: &Quality) -> PathBuf {
    layout.own_dir().join("anchors").join(channel).join(format!("{quality}.json"))
}

/// `None` where there is none, or none that can be read.
pub fn read_anchor(layout: &Layout, channel: &Channel, quality: &Quality) -> Option<Anchor> {
    let text = fs::read(anchor_path(layout, channel, quality)).ok()?;
    serde_json::from_slice(&text).ok()
}

pub fn write_anchor(layout: &Layout, channel: &Channel, quality: &Quality, anchor: &Anchor) -> Result<(), StoreError> {
    let path = anchor_path(layout, channel, quality);
    let dir = path.parent().expect("an anchor lies in its channel's directory");
    let text = serde_json::to_vec(anchor).expect("numbers and text are JSON");
    make_dir(dir)?;
    replace(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_back_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        assert_eq!(read_anchor(&layout, &channel, &quality), None);
        let anchor = Anchor { media_sequence: 7, path: "/a/7.ts".into(), start_micros: 5 };
        write_anchor(&layout, &channel, &quality, &anchor).unwrap();
        assert_eq!(read_anchor(&layout, &channel, &quality), Some(anchor));
        fs::write(anchor_path(&layout, &channel, &quality), "{").unwrap();
        assert_eq!(read_anchor(&layout, &channel, &quality), None);
    }
}
