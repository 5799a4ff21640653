//! Who may reach what over HTTP: `[http]`, and the parts of `[auth]` that are no question of who somebody is.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use url::Url;

use super::fault::quoted;
use super::reader::Section;
use super::sources::read_secret;
use super::values::{ByteSize, Secret, Setting};

/// What SHA-256 takes in without losing any of it (RFC 2104 §3).
const LEAST_KEY_BYTES: usize = 32;
const HEAP_SAMPLE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1 << 10)..=ByteSize::from_bytes(1 << 30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Without it, plain HTTP.
    pub tls: Option<TlsConfig>,
    pub debug: Debugging,
    /// Who asks for memory is noted for one byte in so many, unless nobody may look into the process.
    pub heap_sample: ByteSize,
}

impl HttpConfig {
    /// One byte of the heap in so many is noted with who asked for it; 0 for none, where nobody may see it.
    pub fn notes_every_bytes(&self) -> u64 {
        if self.debug == Debugging::Off { 0 } else { self.heap_sample.bytes() }
    }
}

/// What a node serves TLS with. Both are looked at again while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The chain in PEM, the node's own first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Who may look into the process: profiles, memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debugging {
    Off,
    /// Who asks on this machine itself, without a proxy.
    Loopback,
    /// Who has an operator's token, from anywhere.
    Token,
}

impl Setting for Debugging {
    const ALLOWED: &'static str = "write loopback, token or off";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "loopback" => Ok(Self::Loopback),
            "token" => Ok(Self::Token),
            _ => Err(format!("{} is none of them", quoted(text))),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::Loopback => "loopback".into(),
            Self::Token => "token".into(),
        }
    }
}

/// Whether something is for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Open,
    /// For who has a token of a reader, or a signed link.
    Token,
}

impl Setting for Reading {
    const ALLOWED: &'static str = "write open or token";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "token" => Ok(Self::Token),
            _ => Err(format!("{} is neither", quoted(text))),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Open => "open".into(),
            Self::Token => "token".into(),
        }
    }
}

/// Where a page comes from, as browsers say it (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(Url);

impl WebOrigin {
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub fn is(&self, page: &Url) -> bool {
        self.0.origin() == page.origin()
    }
}

impl Setting for WebOrigin {
    const ALLOWED: &'static str =
        "write where the pages come from, as https://editor.example.org or http://localhost:8080";

    fn read(text: &str) -> Result<Self, String> {
        let bad = || format!("{} is no origin of a page", quoted(text));
        let url = Url::parse(text).map_err(|_| bad())?;
        // No path, no user, nothing else: what browsers send would never be equal to it.
        let is_plain = url.origin().ascii_serialization() == text.trim_end_matches('/').to_ascii_lowercase();
        if matches!(url.scheme(), "http" | "https") && is_plain { Ok(Self(url)) } else { Err(bad()) }
    }

    fn shown(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

pub(super) fn read_http(mut section: Section<'_, '_>) -> Option<HttpConfig> {
    let certificate = section.optional_path("certificate");
    let key = section.optional_path("key");
    let tls = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Some(TlsConfig { certificate, key })),
        (None, None) => Some(None),
        (Some(_), None) => {
            section.missing("key", "a certificate is served with its key; write a path in quotes");
            None
        }
        (None, Some(_)) => {
            section.missing("certificate", "a key is served with its certificate; write a path in quotes");
            None
        }
    };
    let debug = section.text("debug", "loopback");
    let heap_sample = section.size("heap_sample", "2MiB", HEAP_SAMPLE);
    section.close();
    Some(HttpConfig { tls: tls?, debug: debug?, heap_sample: heap_sample? })
}

/// Reads the key that signs links. Blocks.
pub(super) fn read_key(path: &Path) -> Result<Secret, String> {
    let key = read_secret(path)?;
    if key.expose().len() < LEAST_KEY_BYTES {
        return Err(format!(
            "{} has less than {LEAST_KEY_BYTES} characters; openssl rand -hex 32 makes a key",
            path.display()
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for (text, shown) in [
            ("https://editor.example.org", "https://editor.example.org"),
            ("https://Editor.example.org/", "https://editor.example.org"),
            ("http://localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(WebOrigin::read(text).unwrap().shown(), shown);
        }
        for bad in ["", "*", "null", "editor.example.org", "https://a/b", "https://u@a", "file://x", "https://a?b"] {
            assert!(WebOrigin::read(bad).is_err(), "{bad}");
        }
    }
}
