//! What every request must pass before a handler sees it: no page of a stranger writes, and where reading is closed nobody
//! reads without a token or a signed link.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::{Method, header};
use percent_encoding::percent_decode_str;
use url::Url;

use super::params::Query;
use super::{HttpError, Site, access};
use crate::auth::{LinkKey, SignedLink};
use crate::config::{AuthConfig, AuthMode, Reading, WebOrigin};
use crate::model::{Channel, PeerUrl, Quality, Role, Timestamp};

/// The rules. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Rules>);

struct Rules {
    /// Whether pages of other sites are kept from writing. Where tokens are asked for, such a page has none.
    guards_writes: bool,
    origins: Vec<WebOrigin>,
    /// What this machine is called by those on it, beside its own names; `None` where others can reach it, by any name.
    hosts: Option<Vec<String>>,
    read: Reading,
    metrics: Reading,
    links: Option<LinkKey>,
}

impl Gate {
    /// `is_near`: it listens on the loopback.
    pub fn new(config: &AuthConfig, is_near: bool, url: Option<&PeerUrl>) -> Self {
        let asks_nobody = config.mode == AuthMode::None;
        let configured = config.origins.iter().map(|origin| origin.host().to_owned());
        let hosts = configured.chain(url.map(|url| url.host().to_owned()));
        Self(Arc::new(Rules {
            guards_writes: asks_nobody || !config.origins.is_empty(),
            origins: config.origins.clone(),
            hosts: (asks_nobody && is_near).then(|| hosts.collect()),
            read: config.read,
            metrics: config.metrics,
            links: config.link_key.as_ref().map(LinkKey::new),
        }))
    }

    /// Whether answers are not for everybody, so that no cache on the way may keep them for others.
    pub fn is_closed(&self) -> bool {
        self.0.read == Reading::Token
    }

    /// Whether a token of a reader has to be shown before the handler is asked.
    fn needs_token(&self, path: &str, is_read: bool) -> bool {
        match path {
            "/healthz" | "/readyz" => false,
            path if path == "/metrics" || path.starts_with("/metrics/") => self.0.metrics == Reading::Token,
            // These take the token in the body as well, and ask for it themselves.
            path if !is_read && path.starts_with("/thrimshim/") => false,
            _ => self.is_closed(),
        }
    }

    fn is_opened(&self, path: &str, query: &str, now: Timestamp) -> bool {
        let Some(links) = &self.0.links else { return false };
        let (Some(link), Some((channel, quality))) = (signed_link(query), played(path)) else { return false };
        links.opens(&link, &channel, quality.as_ref(), now)
    }
}

/// Lets a request through, or says why not.
pub async fn pass(site: &Site, request: &HttpRequest) -> Result<(), HttpError> {
    let (gate, path) = (&site.gate, request.path());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && gate.0.guards_writes {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        // HTTP/2 says it in the address.
        let host = header(header::HOST).or(request.uri().authority().map(|authority| authority.as_str()));
        comes_from_here(&gate.0, header(header::ORIGIN), host)?;
    }
    let has_link = || is_read && gate.is_opened(path, request.query_string(), site.clock.now());
    if gate.needs_token(path, is_read) && !has_link() {
        access::admit(site, request, None, Role::Reader).await?;
    }
    Ok(())
}

/// A browser says which page writes; who is no browser says nothing. A page that has a name of its own lead to this machine
/// (DNS rebinding) is known by that name. Reading is as open to every page as CORS makes it, so nothing is gained there.
fn comes_from_here(rules: &Rules, origin: Option<&str>, host: Option<&str>) -> Result<(), HttpError> {
    if let (Some(hosts), Some(host)) = (&rules.hosts, host) {
        let name = Url::parse(&format!("http://{host}")).ok().and_then(|url| url.host_str().map(str::to_owned));
        if !name.is_some_and(|name| is_this_machine(&name) || hosts.contains(&name)) {
            return Err(HttpError::ForeignHost);
        }
    }
    let Some(origin) = origin else { return Ok(()) };
    let Ok(from) = Url::parse(origin) else { return Err(HttpError::ForeignOrigin) };
    let own = host.and_then(|host| Url::parse(&format!("{}://{host}", from.scheme())).ok());
    let is_own = matches!(from.scheme(), "http" | "https") && own.is_some_and(|own| own.origin() == from.origin());
    if is_own || rules.origins.iter().any(|known| known.is(&from)) { Ok(()) } else { Err(HttpError::ForeignOrigin) }
}

/// As a URL has it (names in lower case, IPv6 in brackets).
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    let is_loopback = address.is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_loopback || host == "localhost" || host.ends_with(".localhost")
}

/// The signed link in a query.
pub fn signed_link(query: &str) -> Option<SignedLink> {
    let query = Query::parse(query);
    SignedLink::read(query.get("sig")?, query.get("until")?)
}

/// What a path plays: only such paths are opened by links.
fn played(path: &str) -> Option<(Channel, Option<Quality>)> {
    let parts: Option<Vec<String>> = path
        .strip_prefix('/')?
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8().ok().map(|part| part.into_owned()))
        .collect();
    let parts = parts?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts[..] {
        ["playlist", channel] => Some((channel.strip_suffix(".m3u8")?.parse().ok()?, None)),
        ["playlist", channel, quality] => {
            Some((channel.parse().ok()?, Some(quality.strip_suffix(".m3u8")?.parse().ok()?)))
        }
        ["segments", channel, quality, _, _] => Some((channel.parse().ok()?, Some(quality.parse().ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting as _;

    fn rules(hosts: Option<&[&str]>) -> Rules {
        Rules {
            guards_writes: true,
            origins: vec![WebOrigin::read("https://editor.example.org").unwrap()],
            hosts: hosts.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()),
            read: Reading::Open,
            metrics: Reading::Open,
            links: None,
        }
    }

    #[test]
    fn only_own_and_known_pages_write() {
        let (near, far) = (rules(Some(&["editor.example.org"])), rules(None));
        for (origin, host, from_near, from_far) in [
            (None, Some("127.0.0.1:8000"), true, true),
            (None, None, true, true),
            (Some("http://127.0.0.1:8000"), Some("127.0.0.1:8000"), true, true),
            (Some("http://localhost:8000"), Some("localhost:8000"), true, true),
            (Some("http://LOCALHOST:8000"), Some("localhost:8000"), true, true),
            (Some("http://[::1]:8000"), Some("[::1]:8000"), true, true),
            (Some("http://segvault.localhost"), Some("segvault.localhost:80"), true, true),
            (Some("http://localhost:3000"), Some("localhost:8000"), false, false),
            (Some("http://localhost"), Some("localhost:8000"), false, false),
            (Some("http://localhost:8000"), Some("127.0.0.1:8000"), false, false),
            (Some("https://editor.example.org"), Some("127.0.0.1:8000"), true, true),
            (Some("https://editor.example.org:443"), Some("editor.example.org"), true, true),
            (Some("http://editor.example.org"), Some("127.0.0.1:8000"), false, false),
            (Some("https://evil.example"), Some("127.0.0.1:8000"), false, false),
            (Some("https://editor.example.org.evil.example"), Some("127.0.0.1:8000"), false, false),
            (Some("null"), Some("127.0.0.1:8000"), false, false),
            (Some(""), Some("127.0.0.1:8000"), false, false),
            (Some("file://"), Some("127.0.0.1:8000"), false, false),
            // A name that leads to this machine, from elsewhere.
            (Some("http://evil.example:8000"), Some("evil.example:8000"), false, true),
            (None, Some("evil.example:8000"), false, true),
            (None, Some("localhost.evil.example"), false, true),
            (None, Some("127.0.0.1.evil.example"), false, true),
            (None, Some("evil@127.0.0.1"), true, true),
            (None, Some("/"), false, true),
        ] {
            assert_eq!(comes_from_here(&near, origin, host).is_ok(), from_near, "near: {origin:?} {host:?}");
            assert_eq!(comes_from_here(&far, origin, host).is_ok(), from_far, "far: {origin:?} {host:?}");
        }
    }

    #[test]
    fn links_open_what_players_ask_for() {
        let played = |path| {
            played(path)
                .map(|(channel, quality)| format!("{channel} {}", quality.map_or("-".into(), |q| q.to_string())))
        };
        for (path, expected) in [
            ("/playlist/c.m3u8", Some("c -")),
            ("/playlist/c/q.m3u8", Some("c q")),
            ("/playlist/a%20b/q.m3u8", Some("a b q")),
            ("/segments/c/q/2026-01-02T03/00%3A00-2.0-full-x.ts", Some("c q")),
            ("/segments/c/q/../x", Some("c q")),
            ("/segments/c/q/H/N/more", None),
            ("/segments/c", None),
            ("/segments/c%2Fq/x/H/N", None),
            ("/segments/.segvault/q/H/N", None),
            ("//playlist/c.m3u8", None),
            ("/files/c/q/H", None),
            ("/cut/c/q.ts", None),
            ("/playlist/c", None),
            ("/", None),
        ] {
            assert_eq!(played(path).as_deref(), expected, "{path}");
        }
    }
}
