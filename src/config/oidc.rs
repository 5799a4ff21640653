//! `[auth]`, for those who say who they are by an ID token: who issues them, for whom, and what people may.

use url::{Host, Url};

use super::fault::quoted;
use super::values::Setting;
use crate::model::{Email, Roles};

/// Who is asked where nobody is named: <https://developers.google.com/identity/openid-connect/openid-connect>.
pub const GOOGLE: &str = "https://accounts.google.com";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// At least one. Each is believed about every address.
    pub issuers: Vec<Issuer>,
    /// Whom tokens must be made for; at least one.
    pub client_ids: Vec<Audience>,
    /// Roles beside those of the database.
    pub people: Vec<Person>,
}

/// Who issues ID tokens, by the name that stands in them (OpenID Connect Discovery 1.0 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    name: Box<str>,
    discovery: Url,
}

impl Issuer {
    /// As it stands in tokens, letter by letter.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it says what it is.
    pub fn discovery(&self) -> &Url {
        &self.discovery
    }

    /// Whether `url`, which it names, is taken for its own: for keys, and to log in. Nobody on the way may exchange what comes
    /// from there, so without TLS only on this machine.
    pub fn may_be_at(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.discovery.scheme() == "http" && is_near(url))
    }
}

/// http on the loopback.
fn is_near(url: &Url) -> bool {
    let host = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && host
}

impl Setting for Issuer {
    const ALLOWED: &'static str = "write the issuer as it stands in its tokens, as https://accounts.google.com; http only \
                                   on the loopback";

    fn read(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|err| format!("{} is no URL ({err})", quoted(text)))?;
        let has_more =
            !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
        if !(url.scheme() == "https" || is_near(&url)) || has_more {
            return Err(format!("{} is no issuer", quoted(text)));
        }
        let discovery = format!("{}/.well-known/openid-configuration", text.trim_end_matches('/'));
        let discovery = Url::parse(&discovery).map_err(|err| format!("{} is no URL ({err})", quoted(text)))?;
        Ok(Self { name: text.into(), discovery })
    }

    fn shown(&self) -> String {
        self.name.to_string()
    }
}

/// Whom a token is made for: the client id that the issuer gave the pages on which people log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Box<str>);

impl Audience {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Audience {
    const ALLOWED: &'static str = "write the client id, as 1234-abcd.apps.googleusercontent.com";

    fn read(text: &str) -> Result<Self, String> {
        // RFC 6749 appendix A.1: visible characters.
        if text.is_empty() || text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{} is no client id", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

/// Somebody, and what they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub email: Email,
    pub roles: Roles,
}

impl Setting for Person {
    const ALLOWED: &'static str =
        "write \"WHO ROLES\": an address, and some of reader, editor, artist and operator with commas";

    fn read(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [email, roles] = parts[..] else {
            return Err(format!("{} words where two are due", parts.len()));
        };
        Ok(Self {
            email: email.parse().map_err(|_| "the first word is nobody's address".to_owned())?,
            roles: roles.parse().map_err(|_| "the second word has a role that there is not".to_owned())?,
        })
    }

    fn shown(&self) -> String {
        format!("{} {}", self.email, self.roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_far_with_tls_or_near() {
        for (text, discovery) in [
            (GOOGLE, "https://accounts.google.com/.well-known/openid-configuration"),
            ("https://id.example.org/realms/a/", "https://id.example.org/realms/a/.well-known/openid-configuration"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/.well-known/openid-configuration"),
        ] {
            let issuer = Issuer::read(text).unwrap();
            assert_eq!((issuer.discovery().as_str(), issuer.shown().as_str()), (discovery, text));
        }
        for bad in ["", "accounts.google.com", "http://id.example.org", "https://a@b", "https://a?b", "http://10.0.0.1"]
        {
            assert!(Issuer::read(bad).is_err(), "{bad}");
        }
        let allows = |issuer: &str, url: &str| Issuer::read(issuer).unwrap().may_be_at(&url.parse().unwrap());
        assert!(allows(GOOGLE, "https://www.googleapis.com/oauth2/v3/certs"));
        assert!(!allows(GOOGLE, "http://127.0.0.1/certs") && !allows("http://127.0.0.1", "http://10.0.0.1/certs"));
        assert!(allows("http://127.0.0.1:9000", "http://localhost:9000/keys"));
    }

    #[test]
    fn a_person_has_an_address_and_roles() {
        assert_eq!(Person::read("Ann@example.org editor,artist").unwrap().shown(), "ann@example.org editor,artist");
        for bad in ["", "ann@example.org", "ann root", "ann editor x", ", editor"] {
            assert!(Person::read(bad).is_err(), "{bad}");
        }
        assert!(Audience::read("1-a.apps.example").is_ok() && Audience::read("a b").is_err());
    }
}
