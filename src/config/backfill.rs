//! `[backfill]`: whom to copy from, and what.

use std::ops::RangeInclusive;
use std::path::PathBuf;
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
    /// A file with an address of a node on each line, read again at each interval.
    pub peers_file: Option<PathBuf>,
    /// A host each of whose addresses is a node's.
    pub peers_dns: Option<PeerUrl>,
    /// Channels that are copied although they are not recorded here.
    pub channels: Vec<Channel>,
    /// What is younger is left to the recorder, where there is one.
    pub recent_cutoff: Duration,
    /// From the end of one comparison to the beginning of the next.
    pub interval: Duration,
    /// Files at once, of each peer.
    pub concurrency: u32,
    /// Whether peers are followed, so that what they store is here within seconds.
    pub follow: bool,
    /// Bytes per second, of all peers together.
    pub bandwidth: Option<ByteSize>,
}

impl BackfillConfig {
    /// Whether there is a place where peers may be listed.
    pub fn may_have_peers(&self) -> bool {
        !self.peers.is_empty() || self.peers_file.is_some() || self.peers_dns.is_some()
    }
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
    let peers_file = section.optional_path("peers_file");
    let peers_dns = section.optional::<PeerUrl>("peers_dns");
    if let Some(Some(service)) = &peers_dns
        && service.is_https()
    {
        let at = section.origin("peers_dns");
        section.fault(&at, "peers_dns", "an address has no certificate; write it as http://NAME:PORT");
    }
    let channels = section.optional_texts("channels");
    let recent_cutoff = section.duration("recent_cutoff", "120s", RECENT_CUTOFF);
    let interval = section.duration("interval", "120s", INTERVAL);
    let concurrency = section.integer("concurrency", 16, CONCURRENCY);
    let follow = section.boolean("follow", true);
    let bandwidth = section.optional_size("bandwidth", BANDWIDTH);
    section.close();
    Some(BackfillConfig {
        peers: peers?.unwrap_or_default(),
        peers_file: peers_file?,
        peers_dns: peers_dns?,
        channels: channels?.unwrap_or_default(),
        recent_cutoff: recent_cutoff?,
        interval: interval?,
        concurrency: concurrency?,
        follow: follow?,
        bandwidth: bandwidth?,
    })
}
