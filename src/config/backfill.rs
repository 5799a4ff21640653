//! `[backfill]`: whom to copy from, and what.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::channel::ChannelConfig;
use super::database::Database;
use super::fault::quoted;
use super::reader::Section;
use super::sources::read_secret;
use super::values::{ByteSize, Setting, parse_duration};
use crate::model::{Channel, CopyOrder, ExtraDir, PeerUrl, Timestamp};

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
    /// A host each of whose addresses is a node's, or a service (`_http._tcp.…`) whose hosts and ports are.
    pub peers_dns: Option<PeerUrl>,
    /// What peers are shown that ask who somebody is; looked at again while the node runs.
    pub token_file: Option<PathBuf>,
    /// Authorities, in PEM, whose certificates are believed beside those that everybody believes.
    pub ca_file: Option<PathBuf>,
    /// Channels that are copied although they are not recorded here.
    pub channels: Vec<Channel>,
    /// Directories of files that are neither segments nor chat.
    pub extras: Vec<ExtraDir>,
    /// What is older is not wanted.
    pub since: Option<Since>,
    pub order: CopyOrder,
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
    /// How old this node's digests may be where they are compared with many peers': little beside the time between two
    /// comparisons, so that nothing is found much later, and much beside the time that looking at all hours takes.
    pub fn digests_max_age(&self) -> Duration {
        self.interval / 12
    }

    /// Whether there is a place where peers may be listed; a database that nodes share is one.
    pub fn may_have_peers(&self, database: &Database) -> bool {
        let is_shared = match database {
            Database::Sqlite(_) => false,
            Database::Postgres(_) => true,
        };
        is_shared || !self.peers.is_empty() || self.peers_file.is_some() || self.peers_dns.is_some()
    }
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Time(Timestamp),
    /// Before now, whenever that is.
    Age(Duration),
}

impl Since {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Age(age) => now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX)),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let age = parse_duration(text).map(Self::Age);
        age.or_else(|_| text.parse().map(Self::Time)).map_err(|_| format!("write {SINCE}"))
    }
}

const SINCE: &str = "a time in UTC, or an age such as 14d";

impl Setting for Since {
    const ALLOWED: &'static str = "write a time in UTC as 2026-01-02T03:04:05, or an age such as 14d";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_: String| format!("{} is neither a time nor an age", quoted(text)))
    }

    fn shown(&self) -> String {
        match self {
            Self::Time(time) => time.to_string(),
            Self::Age(age) => age.shown(),
        }
    }
}

impl Setting for CopyOrder {
    const ALLOWED: &'static str = "write newest or oldest";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "newest" => Ok(Self::Newest),
            "oldest" => Ok(Self::Oldest),
            _ => Err(format!("{} is no order", quoted(text))),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Newest => "newest".into(),
            Self::Oldest => "oldest".into(),
        }
    }
}

/// A name in DNS, with a port unless its records say it.
struct PeersDns(PeerUrl);

impl Setting for PeersDns {
    const ALLOWED: &'static str = "write HOST:PORT, or a service as _http._tcp.segvault.example";

    fn read(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        url.parse().map(Self).map_err(|err| format!("{}: {err}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.0.to_string()
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

/// `recorded` are no directories of extra files, which nobody verifies.
pub(super) fn read_backfill(mut section: Section<'_, '_>, recorded: &[ChannelConfig]) -> Option<BackfillConfig> {
    let peers = section.optional_texts("peers");
    let peers_file = section.optional_path("peers_file");
    let peers_dns = section.optional::<PeersDns>("peers_dns");
    if let Some(Some(PeersDns(service))) = &peers_dns
        && service.is_https()
        && !service.names_service()
    {
        let at = section.origin("peers_dns");
        section.fault(&at, "peers_dns", "an address has no certificate; write it as http://NAME:PORT");
    }
    let token_file = section.optional_path("token_file");
    if let Some(Some(Err(problem))) = token_file.as_ref().map(|file| file.as_deref().map(read_secret)) {
        let at = section.origin("token_file");
        section.fault(&at, "token_file", problem);
    }
    let ca_file = section.optional_path("ca_file");
    let channels = section.optional_texts::<Channel>("channels");
    let extras = section.optional_texts::<ExtraDir>("extras");
    let copied = channels.iter().flatten().flatten();
    let channel_names: Vec<&str> =
        recorded.iter().map(|channel| &channel.name).chain(copied).map(Channel::as_str).collect();
    for dir in extras.iter().flatten().flatten().filter(|dir| channel_names.contains(&dir.as_str())) {
        let at = section.origin("extras");
        section.fault(
            &at,
            "extras",
            format!("{} is a channel, whose files are verified; leave it out", quoted(dir.as_str())),
        );
    }
    let since = section.optional("since");
    let order = section.text("order", "newest");
    let recent_cutoff = section.duration("recent_cutoff", "120s", RECENT_CUTOFF);
    let interval = section.duration("interval", "120s", INTERVAL);
    let concurrency = section.integer("concurrency", 16, CONCURRENCY);
    let follow = section.boolean("follow", true);
    let bandwidth = section.optional_size("bandwidth", BANDWIDTH);
    section.close();
    Some(BackfillConfig {
        peers: peers?.unwrap_or_default(),
        peers_file: peers_file?,
        peers_dns: peers_dns?.map(|PeersDns(service)| service),
        token_file: token_file?,
        ca_file: ca_file?,
        channels: channels?.unwrap_or_default(),
        extras: extras?.unwrap_or_default(),
        since: since?,
        order: order?,
        recent_cutoff: recent_cutoff?,
        interval: interval?,
        concurrency: concurrency?,
        follow: follow?,
        bandwidth: bandwidth?,
    })
}
