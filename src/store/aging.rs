//! Remembers by which time age was last counted, in BASE/.segvault/retention.json. Losing it costs only the comparison.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, Volume, replace};
use crate::model::Timestamp;
use crate::select::AgingClock;

#[derive(Serialize, Deserialize)]
struct Text {
    now_micros: i64,
    ahead_for_seconds: Option<u64>,
}

fn path(layout: &Layout) -> PathBuf {
    layout.own_dir().join("retention.json")
}

/// `None` where there is none, or none that can be read. Blocks on the disk.
pub fn read_aging(layout: &Layout) -> Option<AgingClock> {
    let text: Text = serde_json::from_slice(&fs::read(path(layout)).ok()?).ok()?;
    Some(AgingClock::of(Timestamp::from_micros(text.now_micros), text.ahead_for_seconds.map(Duration::from_secs)))
}

/// Not flushed. Blocks on the disk.
pub fn write_aging(layout: &Layout, volume: &Volume, clock: &AgingClock) -> Result<(), StoreError> {
    volume.check()?;
    let path = path(layout);
    let text =
        Text { now_micros: clock.now().micros(), ahead_for_seconds: clock.ahead_for().map(|ahead| ahead.as_secs()) };
    let text = serde_json::to_vec(&text).expect("numbers are JSON");
    replace(&path, &text)
}
