//! `[upload.NAME]`: where videos go; and `[cutter]`: how this node makes and sends them.
//!
//! To add a type of destination: a variant of `DestinationType` and of `DestinationConfig`, the function that reads its keys.

mod encode;
mod s3;
mod youtube;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::fault::quoted;
use super::reader::{Reader, Section};
use super::tree::Table;
use super::values::{ByteSize, Setting};
pub use s3::{BucketName, Endpoint, S3Config};
pub use youtube::{Language, YoutubeConfig};

use crate::model::{CutType, FullEncode, UnknownCutType, UploadLocation};

/// More cuts at once only wait for each other's ffmpeg.
const AT_ONCE: RangeInclusive<u32> = 1..=16;
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Shorter, and a busy database takes the job from a node that is at it; longer, and nobody gets on with what a lost node left.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
/// Less, and a video of an hour takes days.
const BANDWIDTH: RangeInclusive<ByteSize> = ByteSize::from_bytes(64 << 10)..=ByteSize::from_bytes(1 << 40);
const RETRY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// One place for videos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadConfig {
    pub location: UploadLocation,
    pub cut_type: CutType,
    /// Usual where the type of cut copies.
    pub encode: FullEncode,
    pub destination: DestinationConfig,
}

/// What kind of place it is, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationConfig {
    Local(LocalConfig),
    S3(S3Config),
    Youtube(YoutubeConfig),
}

/// A directory of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    pub path: PathBuf,
    /// What stands before a file's name in its link.
    pub url_prefix: Option<UrlPrefix>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutterConfig {
    /// How many events are cut at once.
    pub at_once: u32,
    /// From the end of one look for work to the beginning of the next.
    pub interval: Duration,
    /// How long the others believe that a node which says nothing is at its jobs.
    pub lease: Duration,
    /// The first pause before a failed job is tried again; the next ones are longer.
    pub retry: Duration,
}

/// What `type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DestinationType {
    Local,
    Archive,
    S3,
    Youtube,
}

impl DestinationType {
    const ALL: [Self; 4] = [Self::Local, Self::Archive, Self::S3, Self::Youtube];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Archive => "archive",
            Self::S3 => "s3",
            Self::Youtube => "youtube",
        }
    }
}

impl Setting for DestinationType {
    const ALLOWED: &'static str = "write local, archive, s3 or youtube";

    fn read(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        named.ok_or_else(|| format!("{} is no type of destination", quoted(text)))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

impl Setting for CutType {
    const ALLOWED: &'static str = "write smart, rough, mp4, faststart, mpegts or webm";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_: UnknownCutType| format!("{} is no type of cut", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// The beginning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPrefix(Url);

impl UrlPrefix {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UrlPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || url.password().is_some() {
            return Err("not the address of a page, or with a password in it".into());
        }
        Ok(Self(url))
    }
}

impl Setting for UrlPrefix {
    const ALLOWED: &'static str = "write how links begin, as https://example.org/videos/";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

pub(super) fn read_uploads(reader: &mut Reader, root: &Table) -> Vec<UploadConfig> {
    reader.tables(root, "upload", read_upload)
}

fn read_upload(location: UploadLocation, mut section: Section<'_, '_>) -> Option<UploadConfig> {
    let kind = section.required::<DestinationType>("type");
    let upload = match kind {
        Some(DestinationType::Local) => {
            let cut = read_cut(&mut section);
            let local = read_local(&mut section);
            (cut, local.map(DestinationConfig::Local))
        }
        Some(DestinationType::Archive) => {
            let cut = Some((CutType::Archive, FullEncode::default()));
            (cut, read_local(&mut section).map(DestinationConfig::Local))
        }
        Some(DestinationType::S3) => {
            let cut = read_cut(&mut section);
            (cut, s3::read_s3(&mut section).map(DestinationConfig::S3))
        }
        Some(DestinationType::Youtube) => {
            let cut = read_cut(&mut section);
            (cut, youtube::read_youtube(&mut section).map(DestinationConfig::Youtube))
        }
        // What else stands there cannot be judged.
        None => return None,
    };
    section.close();
    let (cut, destination) = upload;
    let (cut_type, encode) = cut?;
    Some(UploadConfig { location, cut_type, encode, destination: destination? })
}

fn read_cut(section: &mut Section<'_, '_>) -> Option<(CutType, FullEncode)> {
    let cut_type = read_cut_type(section);
    let encode = encode::read_encode(section, cut_type);
    Some((cut_type?, encode?))
}

fn read_cut_type(section: &mut Section<'_, '_>) -> Option<CutType> {
    let cut_type = section.text("cut_type", "smart")?;
    if cut_type == CutType::Archive {
        let at = section.origin("cut_type");
        section.fault(&at, "cut_type", format!("it belongs to the type archive; {}", CutType::ALLOWED));
        return None;
    }
    Some(cut_type)
}

fn read_local(section: &mut Section<'_, '_>) -> Option<LocalConfig> {
    let path = section.optional_path("path");
    if !section.has("path") {
        section.missing("path", "write the directory that videos go to");
    }
    let url_prefix = section.optional("url_prefix");
    Some(LocalConfig { path: path??, url_prefix: url_prefix? })
}

pub(super) fn read_cutter(mut section: Section<'_, '_>) -> Option<CutterConfig> {
    let at_once = section.integer("at_once", 1, AT_ONCE);
    let interval = section.duration("interval", "3s", INTERVAL);
    let lease = section.duration("lease", "1m", LEASE);
    let retry = section.duration("retry", "10s", RETRY);
    section.close();
    Some(CutterConfig { at_once: at_once?, interval: interval?, lease: lease?, retry: retry? })
}
