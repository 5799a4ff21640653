//! `[backfill]`: whom to copy from, and what.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::quoted;
use super::reader::Section;
use super::values::{ByteSize, Setting};
use crate::model::{Channel, PeerUrl};

/// Zero leaves nothing to the recorder; more than a day is no recorder's work.
const RECENT_CUTOFF: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const CONCURRENCY: RangeInclusive<u32> = 1..=64;
/// Less, shared by many segments at once, would let the deadline of each pass.
const BANDWIDTH: RangeInclusive<ByteSize> = ByteSize::from_bytes(1 << 20)..=ByteSize::from_bytes(1 << 40);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillConfig {
    pub peers: Vec<PeerUrl>,
    /// Channels that are copied although they are not recorded here.
    pub channels: Vec<Channel>,
    /// What is younger is left to the recorder, where there is one.
    pub recent_cutoff: Duration,
    /// From the end of one comparison to the beginning of the next.
    pub interval: Duration,
    /// Files at once, of each peer.
    pub concurrency: u32,
    /// Bytes per second, of all peers together.
    pub bandwidth: Option<ByteSize>,
}

impl Setting for PeerUrl {
    const ALLOWED: &'static str = "write the address of a node, as http://beta:8000";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|err| format!("{}: {err}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

pub(super) fn read_backfill(mut section: Section<'_, '_>) -> Option<BackfillConfig> {
    let peers = section.optional_texts("peers");
    let channels = section.optional_texts("channels");
    let recent_cutoff = section.duration("recent_cutoff", "120s", RECENT_CUTOFF);
    let interval = section.duration("interval", "120s", INTERVAL);
    let concurrency = section.integer("concurrency", 16, CONCURRENCY);
    let bandwidth = section.optional_size("bandwidth", BANDWIDTH);
    section.close();
    Some(BackfillConfig {
        peers: peers?.unwrap_or_default(),
        channels: channels?.unwrap_or_default(),
        recent_cutoff: recent_cutoff?,
        interval: interval?,
        concurrency: concurrency?,
        bandwidth: bandwidth?,
    })
}
