//! The kinds of value that a key can have: how each is read, refused and printed.
//!
//! Promises: what is printed can be read again, secrets aside, which are never printed, not even by Debug.
//! Never: reads the disk or the environment.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::fault::quoted;
use crate::log;
use crate::model::{BadName, Channel, ExtraDir, NodeName, Quality};

/// A value that is written as a text in quotes.
pub(crate) trait Setting: Sized {
    /// What may stand here, as an instruction; the second half of every refusal.
    const ALLOWED: &'static str;

    /// Reads the text, or says what is wrong with it, without repeating a secret.
    fn read(text: &str) -> Result<Self, String>;

    /// The text that `config show` prints.
    fn shown(&self) -> String;
}

const ALLOWED_NAME: &str =
    "write 1 to 128 bytes without a slash, backslash or control character, not beginning with a period";

macro_rules! name_setting {
    ($name:ty, $allowed:expr) => {
        impl Setting for $name {
            const ALLOWED: &'static str = $allowed;

            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|err: BadName| format!("{}: {err}", quoted(text)))
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        }
    };
}

name_setting!(NodeName, ALLOWED_NAME);
name_setting!(Channel, ALLOWED_NAME);
name_setting!(ExtraDir, ALLOWED_NAME);

impl Setting for Quality {
    const ALLOWED: &'static str = ALLOWED_NAME;

    fn read(text: &str) -> Result<Self, String> {
        // FORMATS §1: BASE/CHANNEL/chat holds chat batches, which are no segments.
        if text == "chat" {
            return Err("\"chat\" is where chat messages are kept and cannot be a quality".into());
        }
        text.parse().map_err(|err: BadName| format!("{}: {err}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    const ALLOWED: &'static str = "write an IP address and a port, as 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{} is no address", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for log::Format {
    const ALLOWED: &'static str = "write auto, json or terminal";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{} is no log format", quoted(text)))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

impl Setting for log::Level {
    const ALLOWED: &'static str = "write error, warning, info, debug or trace";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{} is no log level", quoted(text)))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

/// The units of a text such as "15s", largest last, each with how many of the smallest it holds.
type Units = [(&'static str, u64)];

const DURATION_UNITS: &Units = &[("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 3600 * 1000), ("d", 24 * 3600 * 1000)];
const SIZE_UNITS: &Units = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads digits and a unit, exactly.
fn read_amount(text: &str, units: &Units) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{} does not begin with a whole number", quoted(text)));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit.trim_start()) else {
        let why = if unit.is_empty() { "has no unit".into() } else { format!("has the unknown unit {}", quoted(unit)) };
        return Err(format!("{} {why}", quoted(text)));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| format!("{} is too large", quoted(text)))
}

/// The shortest exact text.
fn amount_text(amount: u64, units: &Units) -> String {
    let (name, factor) =
        units.iter().rev().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor)).unwrap_or(&units[0]);
    format!("{}{name}", amount / factor)
}

/// A duration as the configuration has it, such as `15s`, `2m` or `14d`, for arguments of the command line.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::read(text)
}

impl Setting for Duration {
    const ALLOWED: &'static str = "write a whole number and a unit, as 250ms, 15s, 2m, 12h or 14d";

    fn read(text: &str) -> Result<Self, String> {
        read_amount(text, DURATION_UNITS).map(Duration::from_millis)
    }

    fn shown(&self) -> String {
        amount_text(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), DURATION_UNITS)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&amount_text(self.0, SIZE_UNITS))
    }
}

impl Setting for ByteSize {
    const ALLOWED: &'static str = "write a whole number and a unit, as 500B, 512KiB, 64MiB, 20GiB or 1TiB";

    fn read(text: &str) -> Result<Self, String> {
        read_amount(text, SIZE_UNITS).map(ByteSize)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Where an HLS playlist is fetched from. User, password and query, which may be keys to it, are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl(Url);

impl SourceUrl {
    /// The whole URL, with its secrets.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.0;
        let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
        let host = url.host_str().unwrap_or_default();
        write!(f, "{}://{user}{host}", url.scheme())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        write!(f, "{}{}", url.path(), if url.query().is_some() { "?***" } else { "" })
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for SourceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|err| format!("not a URL ({err})"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("not a URL that can be fetched: {}:", url.scheme()));
        }
        Ok(Self(url))
    }
}

impl Setting for SourceUrl {
    const ALLOWED: &'static str = "write the address of an HLS playlist, as https://example.org/live/master.m3u8";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// How the titles of some segments begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TitlePrefix(Box<str>);

impl TitlePrefix {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for TitlePrefix {
    const ALLOWED: &'static str = "write how the title begins, in 1 to 128 bytes without a control character";

    fn read(text: &str) -> Result<Self, String> {
        // An empty one would be the beginning of every title.
        if text.trim().is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
            return Err(format!("{} is no beginning of a title", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

/// A text that is neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one who opens the door with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, millis) in
            [("250ms", 250), ("15s", 15_000), ("2m", 120_000), ("12h", 43_200_000), ("14d", 1_209_600_000)]
        {
            assert_eq!(Duration::read(text), Ok(Duration::from_millis(millis)));
            assert_eq!(Duration::from_millis(millis).shown(), text);
        }
        assert_eq!(Duration::read("15 s").unwrap().shown(), "15s");
        assert_eq!(Duration::read("90s").unwrap().shown(), "90s");
        assert_eq!(Duration::ZERO.shown(), "0ms");
        for (bad, why) in [
            ("", "does not begin with a whole number"),
            ("s", "does not begin with a whole number"),
            ("-1s", "does not begin with a whole number"),
            ("15", "has no unit"),
            ("1.5h", "unknown unit \".5h\""),
            ("2weeks", "unknown unit \"weeks\""),
            ("1S", "unknown unit \"S\""),
            ("99999999999999999999s", "too large"),
            ("999999999999999999d", "too large"),
            ("\u{0661}s", "does not begin with a whole number"),
        ] {
            let problem = Duration::read(bad).unwrap_err();
            assert!(problem.contains(why), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [("0B", 0), ("500B", 500), ("512KiB", 524_288), ("64MiB", 67_108_864), ("1TiB", 1 << 40)] {
            assert_eq!(ByteSize::read(text), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).shown(), text);
        }
        for bad in ["64", "64MB", "64mib", "1.5GiB", "MiB", "99999999TiB"] {
            assert!(ByteSize::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_source_url_hides_its_keys() {
        let url = SourceUrl::read("https://me:pass@example.org:8443/live/a.m3u8?token=abc#x").unwrap();
        assert_eq!(url.to_string(), "https://***@example.org:8443/live/a.m3u8?***");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(url.expose().query(), Some("token=abc"));
        assert_eq!(
            SourceUrl::read("http://127.0.0.1:9000/m.m3u8").unwrap().to_string(),
            "http://127.0.0.1:9000/m.m3u8"
        );
        for (bad, why) in [
            ("", "not a URL (relative URL without a base)"),
            ("live.m3u8", "not a URL (relative URL without a base)"),
            ("ftp://example.org/a", "not a URL that can be fetched: ftp:"),
            ("file:///etc/passwd", "not a URL that can be fetched: file:"),
            ("http://", "not a URL (empty host)"),
            ("http://a:99999/", "not a URL (invalid port number)"),
        ] {
            assert_eq!(SourceUrl::read(bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn names_that_would_hide_or_climb_are_refused() {
        for bad in ["", ".", "..", ".hid", "a/b", "a\\b", "a\0", "chat"] {
            assert!(Quality::read(bad).is_err(), "{bad:?}");
        }
        assert!(Channel::read("chat").is_ok());
        assert!(Channel::read("../x").is_err());
        assert!(NodeName::read(".x").is_err());
    }

    #[test]
    fn a_title_prefix_says_something() {
        assert_eq!(TitlePrefix::read("Amazon|").unwrap().as_str(), "Amazon|");
        for bad in ["", " ", "a\n", &"x".repeat(129)] {
            assert!(TitlePrefix::read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn amounts_survive_their_text(amount in any::<u64>()) {
            prop_assert_eq!(ByteSize::read(&ByteSize(amount).shown()), Ok(ByteSize(amount)));
            let millis = Duration::from_millis(amount);
            prop_assert_eq!(Duration::read(&millis.shown()), Ok(millis));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-zA-Z:/@?.]{0,24}|.{0,24}") {
            let _ = Duration::read(&text);
            let _ = ByteSize::read(&text);
            let _ = SourceUrl::read(&text).map(|url| url.to_string());
        }
    }
}
