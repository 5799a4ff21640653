//! The address of another node.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Url;

/// Why a text is no address of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPeerUrl {
    #[error("not a URL ({0})")]
    NoUrl(url::ParseError),
    #[error("not a URL that can be fetched: {0}:")]
    Scheme(String),
    #[error("the address of a node holds no user, password, query or fragment")]
    More,
}

/// Where a node answers, such as `http://beta:8000`. Holds no secret, so it may be shown and be a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerUrl(Url);

impl PeerUrl {
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// Without the path: what a browser's policies name, such as `http://beta:8000`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether the host is a service in DNS (RFC 2782), whose records say hosts and ports.
    pub fn names_service(&self) -> bool {
        self.host().starts_with('_')
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// What a service in DNS named: the same on another host, whose port it said.
    pub fn on(&self, host: &str, port: u16) -> Option<Self> {
        let mut url = self.0.clone();
        let is_set = url.set_host(Some(host)).is_ok() && url.set_port(Some(port)).is_ok();
        is_set.then_some(Self(url))
    }

    /// The same at one of its host's addresses.
    pub fn at(&self, address: IpAddr) -> Option<Self> {
        let mut url = self.0.clone();
        url.set_ip_host(address).ok().map(|()| Self(url))
    }

    /// The address of something on that node. The parts are escaped as needed.
    pub fn join<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut().expect("http has a path, checked when parsed").pop_if_empty().extend(parts);
        url
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for PeerUrl {
    type Err = BadPeerUrl;

    fn from_str(text: &str) -> Result<Self, BadPeerUrl> {
        Url::parse(text).map_err(BadPeerUrl::NoUrl)?.try_into()
    }
}

impl TryFrom<Url> for PeerUrl {
    type Error = BadPeerUrl;

    fn try_from(url: Url) -> Result<Self, BadPeerUrl> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadPeerUrl::Scheme(url.scheme().to_owned()));
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(BadPeerUrl::More);
        }
        Ok(Self(url))
    }
}

impl From<PeerUrl> for Url {
    fn from(PeerUrl(url): PeerUrl) -> Self {
        url
    }
}

/// Which of what is missing is copied first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CopyOrder {
    #[default]
    Newest,
    Oldest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_joined_by_parts_that_cannot_leave_it() {
        let peer: PeerUrl = "http://beta:8000".parse().unwrap();
        assert_eq!(peer.to_string(), "http://beta:8000");
        assert_eq!(peer.join(["files", "a b", "é?#"]).as_str(), "http://beta:8000/files/a%20b/%C3%A9%3F%23");
        let behind: PeerUrl = "https://example.org/segvault/".parse().unwrap();
        assert_eq!(behind.to_string(), "https://example.org/segvault");
        assert_eq!(behind.join(["files"]).as_str(), "https://example.org/segvault/files");
    }

    #[test]
    fn what_is_no_address_of_a_node_is_refused() {
        for bad in ["", "beta:8000", "ftp://a", "http://me@a", "http://me:pass@a", "http://a/?x=1", "http://a/#x"] {
            assert!(bad.parse::<PeerUrl>().is_err(), "{bad}");
        }
    }
}
