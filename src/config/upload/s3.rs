//! The keys of `type = "s3"`.

use std::path::PathBuf;

use url::Url;

use super::{BANDWIDTH, UrlPrefix};
use crate::config::fault::quoted;
use crate::config::reader::Section;
use crate::config::values::{ByteSize, Setting};

/// What S3 takes: 5 MiB to 5 GiB.
const PART_SIZE: std::ops::RangeInclusive<ByteSize> = ByteSize::from_bytes(5 << 20)..=ByteSize::from_bytes(5 << 30);

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    pub endpoint: Endpoint,
    pub region: Box<str>,
    pub bucket: BucketName,
    /// What stands before the names of all objects.
    pub prefix: Box<str>,
    /// Whether the bucket is in the path of an address, and not in its host.
    pub path_style: bool,
    /// Read anew at each use.
    pub credentials_file: PathBuf,
    /// What stands before an object's name in its link.
    pub url_prefix: Option<UrlPrefix>,
    pub part_size: ByteSize,
    /// Bytes per second, of all uploads there together.
    pub bandwidth: Option<ByteSize>,
}

impl S3Config {
    /// Where the bucket is asked.
    pub fn bucket_url(&self) -> Url {
        let mut url = self.endpoint.0.clone();
        let bucket = &self.bucket.0;
        if self.path_style {
            url.set_path(&format!("{}/{bucket}", url.path().trim_end_matches('/')));
        } else {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            // Refused for an IP address alone, which read_s3 refuses first.
            let _ = url.set_host(Some(&host));
        }
        url
    }
}

/// The address of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Setting for Endpoint {
    const ALLOWED: &'static str = "write the address of the store, as https://s3.eu-central-1.amazonaws.com";

    fn read(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL ({error})"))?;
        let has_more =
            !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
        if !matches!(url.scheme(), "http" | "https") || has_more {
            return Err("not just the address of a server".into());
        }
        Ok(Self(url))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// "General purpose bucket naming rules", and what older ones may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketName(Box<str>);

impl Setting for BucketName {
    const ALLOWED: &'static str = "write 3 to 255 letters, digits, periods, hyphens and underscores";

    fn read(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(3..=255).contains(&text.len()) || !text.bytes().all(is_good) || text.starts_with('.') {
            return Err(format!("{} is no name of a bucket", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// The region that requests are signed for.
struct Region(Box<str>);

impl Setting for Region {
    const ALLOWED: &'static str = "write 1 to 64 small letters, digits and hyphens, as eu-central-1";

    fn read(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_good) {
            return Err(format!("{} is no region", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// What objects' names begin with.
struct Prefix(Box<str>);

impl Setting for Prefix {
    const ALLOWED: &'static str = "write at most 512 bytes that do not begin with a slash, as videos/";

    fn read(text: &str) -> Result<Self, String> {
        // The crate url would work such parts of a path out; what is signed would be another one.
        let climbs = text.split('/').any(|part| matches!(part, "." | ".."));
        if text.len() > 512
            || text.starts_with('/')
            || text.contains("//")
            || climbs
            || text.chars().any(char::is_control)
        {
            return Err(format!("{} is no beginning of a name", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

pub(super) fn read_s3(section: &mut Section<'_, '_>) -> Option<S3Config> {
    let endpoint = section.required::<Endpoint>("endpoint");
    let region = section.text::<Region>("region", "us-east-1");
    let bucket = section.required("bucket");
    let prefix = section.text::<Prefix>("prefix", "");
    let path_style = section.boolean("path_style", true);
    let credentials_file = section.optional_path("credentials_file");
    if !section.has("credentials_file") {
        section
            .missing("credentials_file", "write the path of a file with aws_access_key_id and aws_secret_access_key");
    }
    let url_prefix = section.optional("url_prefix");
    let part_size = section.size("part_size", "16MiB", PART_SIZE);
    let bandwidth = section.optional_size("bandwidth", BANDWIDTH);
    let is_address = endpoint.as_ref().is_some_and(|endpoint| !matches!(endpoint.0.host(), Some(url::Host::Domain(_))));
    if path_style == Some(false) && is_address {
        let at = section.origin("path_style");
        section.fault(&at, "path_style", "the endpoint is an IP address, before which no bucket can stand");
        return None;
    }
    Some(S3Config {
        endpoint: endpoint?,
        region: region?.0,
        bucket: bucket?,
        prefix: prefix?.0,
        path_style: path_style?,
        credentials_file: credentials_file??,
        url_prefix: url_prefix?,
        part_size: part_size?,
        bandwidth: bandwidth?,
    })
}
