//! The configuration of a node: a TOML file, environment variables and `--set`, checked into one value.
//!
//! Promises: every fault is reported at once, with its line and key, what is wrong and what is allowed; a key that is
//! accepted is honoured, and one that this version does not honour is refused; later layers win (default, file,
//! environment, `--set`); no secret is printed, in a fault, in `config show` or by Debug.
//! Never: kept as a static; read again while the node runs.
//!
//! To add a key: a field here, a line in the `read_…` function of its section, and its place in
//! `docs/segvault.sample.toml` (a test compares the two).

mod auth;
mod backfill;
mod channel;
mod coverage;
mod database;
mod document;
mod events;
mod fault;
mod oidc;
mod overrides;
mod programs;
mod reach;
mod reader;
mod reading;
mod retention;
mod scrub;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod upload;
mod values;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use auth::{AuthConfig, AuthMode, StaticToken};
pub use backfill::{BackfillConfig, Since};
pub use channel::{ChannelConfig, ClientId, CommandLine, PageUrl, SourceConfig, TwitchConfig};
pub use coverage::CoverageConfig;
pub use database::{Database, Postgres, PostgresAddress};
pub(crate) use document::read_document;
pub use events::{Affix, EventsConfig};
pub(crate) use fault::quoted;
pub use fault::{Fault, Faults, Origin};
pub use oidc::{Audience, GOOGLE, Issuer, OidcConfig, Person};
pub use programs::{AbsentProgram, YT_DLP};
pub use reach::{Debugging, HttpConfig, Reading, TlsConfig, WebOrigin};
pub use reader::Effective;
pub(crate) use reader::{Reader, Section};
pub use retention::RetentionConfig;
pub use scrub::ScrubConfig;
pub use sources::{environment, read_secret, read_secret_text};
pub(crate) use tree::Table;
pub use upload::{
    BucketName, CutterConfig, DestinationConfig, Endpoint, Language, LocalConfig, S3Config, UploadConfig, UrlPrefix,
    YoutubeConfig,
};
pub(crate) use values::Setting;
pub use values::{ByteSize, Secret, SourceUrl, TitlePrefix, parse_duration};

use crate::log;
use crate::model::{NodeName, PeerUrl};
use database::DatabaseUrl;
use sources::{Machine, Sources};

const SECTIONS: &[&str] = &[
    "node",
    "log",
    "http",
    "channel",
    "twitch",
    "record",
    "backfill",
    "scrub",
    "coverage",
    "retention",
    "playlist",
    "cache",
    "cut",
    "database",
    "auth",
    "events",
    "upload",
    "cutter",
];

/// Long enough for any orchestrator's grace, short enough to be one.
const GRACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// Zero seals a hole at once; more than an hour would hold a live playlist beyond any player's patience.
const HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const CUT_STALL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
/// Below this not even one busy hour fits; the cache would only thrash.
const HOURS_SIZE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1 << 20)..=ByteSize::from_bytes(1 << 40);
/// Zero holds nothing.
const SPOOL_SIZE: RangeInclusive<ByteSize> = ByteSize::from_bytes(0)..=ByteSize::from_bytes(1 << 40);
const PERMITS: RangeInclusive<u32> = 1..=64;

/// Everything a node can be told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub node: NodeConfig,
    pub log: LogConfig,
    pub http: HttpConfig,
    /// In the order of the file; no name twice.
    pub channels: Vec<ChannelConfig>,
    pub twitch: TwitchConfig,
    pub record: RecordConfig,
    pub backfill: BackfillConfig,
    pub scrub: ScrubConfig,
    pub coverage: CoverageConfig,
    pub retention: RetentionConfig,
    pub playlist: PlaylistConfig,
    pub cache: CacheConfig,
    pub cut: CutConfig,
    pub database: DatabaseConfig,
    pub auth: AuthConfig,
    pub events: EventsConfig,
    /// By name.
    pub uploads: Vec<UploadConfig>,
    pub cutter: CutterConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    pub name: NodeName,
    /// BASE of the formats, absolute.
    pub dir: PathBuf,
    /// Port 0 asks the system for one.
    pub listen: SocketAddr,
    /// Where other nodes reach this one; by default where it listens, if that is one address.
    pub url: Option<PeerUrl>,
    /// How long a stop may take, from the signal to the exit.
    pub grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    pub format: log::Format,
    pub level: log::Level,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordConfig {
    /// How many segments of one quality may be fetched at once.
    pub segment_permits: u32,
    /// How much memory may hold what is recorded while the disk is in trouble.
    pub spool_size: ByteSize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaylistConfig {
    /// How long a live playlist stops short of a hole, before it seals it.
    pub hold: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// How much memory the indexes of hours may take.
    pub hours_size: ByteSize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutConfig {
    /// How many ffmpeg processes may run at once.
    pub max_ffmpeg: u32,
    /// How long one of them may give nothing to somebody who asks.
    pub stall: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    pub database: Database,
}

/// A checked configuration, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    effective: Vec<Effective>,
}

impl Loaded {
    /// Every key, in the order of the sections, with its value and origin.
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// The configuration as TOML, each value with its origin behind it; secrets masked.
    pub fn show(&self) -> String {
        show::render(&self.effective)
    }
}

impl Config {
    /// Reads the file (if there is one) and lays the environment and the `--set` texts over it.
    ///
    /// Blocks: reads the file, and the password file if one is named. For `environment` see [`environment()`].
    pub fn load(
        path: Option<&Path>,
        sets: &[String],
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, Faults> {
        load_on(&Machine::this(), path, sets, environment)
    }
}

fn load_on(
    machine: &Machine,
    path: Option<&Path>,
    sets: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Faults> {
    let sources = Sources::gather(machine, path, sets, environment, SECTIONS);
    let mut reader = Reader {
        faults: Vec::new(),
        effective: Vec::new(),
        miss: sources.file_is_whole,
        file_dir: sources.file_dir.clone(),
        current_dir: machine.current_dir.clone(),
    };
    let config = read_config(&mut reader, &sources.root, machine);
    let faults = sources.all_faults(reader.faults, &reader.effective);
    match (config, Faults::from_list(faults)) {
        (Some(config), None) => Ok(Loaded { config, effective: reader.effective }),
        (None, None) => unreachable!("a value is missing only where a fault says why"),
        (_, Some(faults)) => Err(faults),
    }
}

fn read_config(reader: &mut Reader, root: &Table, machine: &Machine) -> Option<Config> {
    let node = read_node(reader.section(root, "node"), machine);
    let log = read_log(reader.section(root, "log"));
    let http = reach::read_http(reader.section(root, "http"));
    let channels = channel::read_channels(reader, root);
    let twitch = channel::read_twitch(reader.section(root, "twitch"));
    let record = read_record(reader.section(root, "record"));
    let backfill = backfill::read_backfill(reader.section(root, "backfill"), &channels);
    let scrub = scrub::read_scrub(reader.section(root, "scrub"));
    let mut coverage = coverage::read_coverage(reader.section(root, "coverage"));
    if let Some(coverage) = &mut coverage {
        coverage.take_channels(&channels);
    }
    let mut retention = retention::read_retention(reader.section(root, "retention"));
    if let Some(retention) = &mut retention {
        retention.take_channels(&channels);
    }
    let playlist = read_playlist(reader.section(root, "playlist"));
    let cache = read_cache(reader.section(root, "cache"));
    let cut = read_cut(reader.section(root, "cut"), machine);
    let dir = node.as_ref().map(|node| node.dir.as_path());
    let database = read_database(reader.section(root, "database"), dir);
    let auth = auth::read_auth(reader.section(root, "auth"), node.as_ref().map(|node| node.listen));
    let events = events::read_events(reader.section(root, "events"));
    let uploads = upload::read_uploads(reader, root);
    let cutter = upload::read_cutter(reader.section(root, "cutter"));
    reader.close(root, SECTIONS);
    Some(Config {
        node: node?,
        log: log?,
        http: http?,
        channels,
        twitch: twitch?,
        record: record?,
        backfill: backfill?,
        scrub: scrub?,
        coverage: coverage?,
        retention: retention?,
        playlist: playlist?,
        cache: cache?,
        cut: cut?,
        database: database?,
        auth: auth?,
        events: events?,
        uploads,
        cutter: cutter?,
    })
}

fn read_node(mut section: Section<'_, '_>, machine: &Machine) -> Option<NodeConfig> {
    let name = section.text("name", &machine.host_name);
    let dir = section.path("dir", "/var/lib/segvault");
    let listen = section.text("listen", "127.0.0.1:8000");
    let url = section.optional("url");
    // Kubernetes kills after 30 s unless told otherwise; this leaves some of it to the last flush.
    let grace = section.duration("grace", "25s", GRACE);
    section.close();
    Some(NodeConfig { name: name?, dir: dir?, listen: listen?, url: url?, grace: grace? })
}

fn read_log(mut section: Section<'_, '_>) -> Option<LogConfig> {
    let format = section.text("format", "auto");
    let level = section.text("level", "info");
    section.close();
    Some(LogConfig { format: format?, level: level? })
}

fn read_record(mut section: Section<'_, '_>) -> Option<RecordConfig> {
    let segment_permits = section.integer("segment_permits", 8, PERMITS);
    let spool_size = section.size("spool_size", "64MiB", SPOOL_SIZE);
    section.close();
    Some(RecordConfig { segment_permits: segment_permits?, spool_size: spool_size? })
}

fn read_playlist(mut section: Section<'_, '_>) -> Option<PlaylistConfig> {
    let hold = section.duration("hold", "15s", HOLD);
    section.close();
    Some(PlaylistConfig { hold: hold? })
}

fn read_cache(mut section: Section<'_, '_>) -> Option<CacheConfig> {
    let hours_size = section.size("hours_size", "64MiB", HOURS_SIZE);
    section.close();
    Some(CacheConfig { hours_size: hours_size? })
}

fn read_cut(mut section: Section<'_, '_>, machine: &Machine) -> Option<CutConfig> {
    let cores = machine.cores.clamp(*PERMITS.start(), *PERMITS.end());
    let max_ffmpeg = section.integer("max_ffmpeg", cores, PERMITS);
    let stall = section.duration("stall", "60s", CUT_STALL);
    section.close();
    Some(CutConfig { max_ffmpeg: max_ffmpeg?, stall: stall? })
}

/// `dir` is `None` where it has a fault of its own.
fn read_database(mut section: Section<'_, '_>, dir: Option<&Path>) -> Option<DatabaseConfig> {
    let url = section.text("url", "sqlite:segvault.db");
    let file = section.optional_path("password_file");
    let file_at = section.origin("password_file");
    let database = match (url?, file?) {
        (DatabaseUrl::Sqlite(path), None) => Ok(Database::Sqlite(dir?.join(".segvault").join(path))),
        (DatabaseUrl::Sqlite(_), Some(_)) => Err("an SQLite file has no password; leave the key out".to_owned()),
        (DatabaseUrl::Postgres { address, password }, None) => Ok(Database::Postgres(Postgres { address, password })),
        (DatabaseUrl::Postgres { password: Some(_), .. }, Some(_)) => {
            Err("the url holds a password already; keep one of the two".to_owned())
        }
        (DatabaseUrl::Postgres { address, password: None }, Some(file)) => sources::read_secret(&file)
            .map(|password| Database::Postgres(Postgres { address, password: Some(password) })),
    };
    if let Err(problem) = &database {
        section.fault(&file_at, "password_file", problem.clone());
    }
    section.close();
    Some(DatabaseConfig { database: database.ok()? })
}
