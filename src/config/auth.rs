//! `[auth]`: who may do what.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::fault::quoted;
use super::oidc::{Audience, GOOGLE, Issuer, OidcConfig, Person};
use super::reach::{Reading, WebOrigin, read_key};
use super::reader::Section;
use super::values::{Secret, Setting};
use crate::model::{Email, Roles};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    pub mode: AuthMode,
    pub tokens: Vec<StaticToken>,
    /// There exactly where the mode is oidc.
    pub oidc: Option<OidcConfig>,
    /// Who may look.
    pub read: Reading,
    /// Who may look at the metrics.
    pub metrics: Reading,
    /// What signs links for players, where looking takes a token.
    pub link_key: Option<Secret>,
    /// Where pages may come from that write, beside the node's own address.
    pub origins: Vec<WebOrigin>,
}

/// How somebody who wants to write says who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all: whoever reaches the node may everything.
    None,
    /// By one of the tokens.
    Tokens,
    /// By one of the tokens, or by an ID token (OpenID Connect Core 1.0 §2).
    Oidc,
}

/// A token as the configuration has it: whose it is, and how it is recognised. The token itself stands nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticToken {
    pub email: Email,
    pub roles: Roles,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

impl Setting for AuthMode {
    const ALLOWED: &'static str = "write none, tokens or oidc";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "tokens" => Ok(Self::Tokens),
            "oidc" => Ok(Self::Oidc),
            _ => Err(format!("{} is no way to tell who somebody is", quoted(text))),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Tokens => "tokens".into(),
            Self::Oidc => "oidc".into(),
        }
    }
}

impl Setting for StaticToken {
    const ALLOWED: &'static str = "write \"WHO ROLES HASH\": an address or a word, some of reader, editor, artist and \
                                   operator with commas, and the SHA-256 of the token in hexadecimal";

    /// What is wrong is told without the text: somebody may have written the token itself.
    fn read(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [email, roles, hash] = parts[..] else {
            return Err(format!("{} words where three are due", parts.len()));
        };
        Ok(Self {
            email: email.parse().map_err(|_| "the first word is nobody's address".to_owned())?,
            roles: roles.parse().map_err(|_| "the second word has a role that there is not".to_owned())?,
            hash: read_hash(hash).ok_or("the third word is no SHA-256: it has 64 hexadecimal digits")?,
        })
    }

    fn shown(&self) -> String {
        let mut hash = String::new();
        for byte in self.hash {
            let _ = write!(hash, "{byte:02x}");
        }
        format!("{} {} {hash}", self.email, self.roles)
    }
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// `listen` is `None` where it has a fault of its own.
pub(super) fn read_auth(mut section: Section<'_, '_>, listen: Option<SocketAddr>) -> Option<AuthConfig> {
    let is_near = listen.is_none_or(|listen| listen.ip().is_loopback());
    // Who can only be reached from this machine need not ask who is there.
    let mode = section.text::<AuthMode>("mode", if is_near { "none" } else { "tokens" });
    let mode_at = section.origin("mode");
    let anyone = section.boolean("anyone_may_write", false);
    let anyone_at = section.origin("anyone_may_write");
    let tokens = section.texts_or_none::<StaticToken>("tokens", &[]);
    let mut is_sound = true;
    if mode == Some(AuthMode::None) && !is_near && anyone == Some(false) {
        let problem = "none lets everybody write who reaches node.listen, which is not on the loopback; write \
                       auth.anyone_may_write = true as well if that is meant, or use tokens";
        section.fault(&mode_at, "mode", problem);
        is_sound = false;
    }
    if matches!(mode, Some(AuthMode::Tokens | AuthMode::Oidc)) && anyone == Some(true) {
        section.fault(&anyone_at, "anyone_may_write", "it belongs to the mode none; leave it out");
        is_sound = false;
    }
    let oidc = read_oidc(&mut section, mode);
    let read = section.text::<Reading>("read", "open");
    let metrics = section.text::<Reading>("metrics", if read == Some(Reading::Token) { "token" } else { "open" });
    for (key, value) in [("read", read), ("metrics", metrics)] {
        if mode == Some(AuthMode::None) && value == Some(Reading::Token) {
            let at = section.origin(key);
            section.fault(&at, key, "there are no tokens where the mode is none; use tokens or oidc");
            is_sound = false;
        }
    }
    let link_key = read_link_key(&mut section, read);
    let origins = section.optional_texts::<WebOrigin>("origins");
    section.close();
    let auth = AuthConfig {
        mode: mode?,
        tokens: tokens?,
        oidc: oidc?,
        read: read?,
        metrics: metrics?,
        link_key: link_key?,
        origins: origins?.unwrap_or_default(),
    };
    is_sound.then_some(auth)
}

/// `None` is a fault; `Some(None)` that no key is named.
fn read_link_key(section: &mut Section<'_, '_>, read: Option<Reading>) -> Option<Option<Secret>> {
    let Some(file) = section.optional_path("link_key_file")? else { return Some(None) };
    let key = match read? {
        Reading::Token => read_key(&file),
        Reading::Open => Err("links are for where reading takes a token (auth.read); leave the key out".to_owned()),
    };
    match key {
        Ok(key) => Some(Some(key)),
        Err(problem) => {
            let at = section.origin("link_key_file");
            section.fault(&at, "link_key_file", problem);
            None
        }
    }
}

/// `None` is a fault; `Some(None)` another mode.
fn read_oidc(section: &mut Section<'_, '_>, mode: Option<AuthMode>) -> Option<Option<OidcConfig>> {
    let issuers = section.optional_texts::<Issuer>("issuers");
    let client_ids = section.optional_texts::<Audience>("client_ids");
    let people = section.optional_texts::<Person>("people");
    match mode? {
        AuthMode::Oidc => {
            if !section.has("client_ids") {
                section.missing("client_ids", Audience::ALLOWED);
            }
            let google = || vec![Issuer::read(GOOGLE).expect("it is one")];
            let (issuers, people) = (issuers?.unwrap_or_else(google), people?.unwrap_or_default());
            Some(Some(OidcConfig { issuers, client_ids: client_ids??, people }))
        }
        AuthMode::None | AuthMode::Tokens => {
            let mut is_sound = true;
            for key in ["issuers", "client_ids", "people"] {
                if section.has(key) {
                    let at = section.origin(key);
                    section.fault(&at, key, "it belongs to the mode oidc; leave it out");
                    is_sound = false;
                }
            }
            is_sound.then_some(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_hash_with_a_name_and_roles() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let text = format!("Ann@example.org editor,artist {hash}");
        let token = StaticToken::read(&text).unwrap();
        assert_eq!(token.shown(), format!("ann@example.org editor,artist {hash}"));
        assert_eq!((token.hash[0], token.hash[31]), (0x9f, 0x08));
        for (bad, says) in [
            ("", "0 words"),
            ("hunter2", "1 words"),
            ("ann editor hunter2", "no SHA-256"),
            (&format!("ann editor {}é", &hash[..62]), "no SHA-256"),
            (&format!("ann root {hash}"), "role"),
        ] {
            let problem = StaticToken::read(bad).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{problem}");
        }
    }
}
