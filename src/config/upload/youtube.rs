//! The keys of `type = "youtube"`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::BANDWIDTH;
use crate::config::fault::quoted;
use crate::config::reader::Section;
use crate::config::values::{ByteSize, Setting};

/// Google's unit is the least; of more than a GiB too much would be sent again.
const CHUNK_SIZE: RangeInclusive<ByteSize> = ByteSize::from_bytes(256 << 10)..=ByteSize::from_bytes(1 << 30);
const SETTLE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);
/// Ids of videoCategories.list have at most two digits so far.
const CATEGORY: RangeInclusive<u32> = 1..=99;
const PER_DAY: RangeInclusive<u32> = 1..=1_000_000_000;

/// A channel of YouTube's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YoutubeConfig {
    /// Client id, client secret and refresh token. Read anew at each use.
    pub credentials_file: PathBuf,
    pub category: u32,
    pub language: Option<Language>,
    pub notify_subscribers: bool,
    pub chunk_size: ByteSize,
    /// Bytes per second, of all uploads there together.
    pub bandwidth: Option<ByteSize>,
    pub uploads_per_day: u32,
    pub units_per_day: u32,
    /// How long a video may exist and not be listed.
    pub settle: Duration,
    pub api: Url,
    pub token_url: Url,
}

/// A language by its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language(Box<str>);

impl Language {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Language {
    const ALLOWED: &'static str = "write the tag of a language, as en or pt-BR";

    fn read(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(2..=35).contains(&text.len()) || !text.bytes().all(is_good) {
            return Err(format!("{} is no tag of a language", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// A server that gets tokens: the connection has to be closed to others, unless it stays on this machine.
struct TrustedUrl(Url);

impl Setting for TrustedUrl {
    const ALLOWED: &'static str = "write the address of a server, with https: unless it is on this machine";

    fn read(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL ({error})"))?;
        let is_here = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
        if has_more || !(url.scheme() == "https" || (url.scheme() == "http" && is_here)) {
            return Err("not the address of a server that may see tokens".into());
        }
        Ok(Self(url))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

pub(super) fn read_youtube(section: &mut Section<'_, '_>) -> Option<YoutubeConfig> {
    let credentials_file = section.optional_path("credentials_file");
    if !section.has("credentials_file") {
        let allowed = "write the path of a JSON file with client_id, client_secret and refresh_token";
        section.missing("credentials_file", allowed);
    }
    // 20 is Gaming.
    let category = section.integer("category", 20, CATEGORY);
    let language = section.optional("language");
    let notify_subscribers = section.boolean("notify_subscribers", false);
    let chunk_size = section.size("chunk_size", "16MiB", CHUNK_SIZE);
    let bandwidth = section.optional_size("bandwidth", BANDWIDTH);
    // What Google gives a new project.
    let uploads_per_day = section.integer("uploads_per_day", 100, PER_DAY);
    let units_per_day = section.integer("units_per_day", 10_000, PER_DAY);
    let settle = section.duration("settle", "10m", SETTLE);
    let api = section.text::<TrustedUrl>("api", "https://www.googleapis.com");
    let token_url = section.text::<TrustedUrl>("token_url", "https://oauth2.googleapis.com/token");
    Some(YoutubeConfig {
        credentials_file: credentials_file??,
        category: category?,
        language: language?,
        notify_subscribers: notify_subscribers?,
        chunk_size: chunk_size?,
        bandwidth: bandwidth?,
        uploads_per_day: uploads_per_day?,
        units_per_day: units_per_day?,
        settle: settle?,
        api: api?.0,
        token_url: token_url?.0,
    })
}
