//! An ID token: what it says, and whether that is enough (OpenID Connect Core 1.0 §2, §3.1.3.7; RFC 7519; RFC 8725).
//!
//! Promises: nothing that a token says is used before its signature has been verified, but for which keys that takes.
//! Never: fetches keys; knows what people may.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::keys::{Algorithm, KeySet, Verdict};
use crate::config::{Audience, GOOGLE};
use crate::model::{Email, Timestamp};

/// Google's have about 1200 bytes; with groups in them others' have several times that.
const MOST_BYTES: usize = 16 << 10;
/// By how much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// A token that has the form of one. Nothing of it is believed yet.
pub struct Unverified<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    signed: &'t str,
    signature: Vec<u8>,
    claims: Claims,
}

/// Why a token that an issuer has signed opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the token has expired; log in again")]
    Expired,
    #[error("the token is not valid yet; is a clock wrong?")]
    NotYet,
    #[error("the token was made for another application (auth.client_ids)")]
    Audience,
    #[error("the token tells no address that its issuer has verified")]
    Unverified,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11); none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: OneOrMany,
    /// Seconds since 1970, which may have a fraction (RFC 7519 §2).
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    email: Option<String>,
    email_verified: Option<Truth>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Some issuers write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Truth {
    Plain(bool),
    Text(String),
}

impl<'t> Unverified<'t> {
    /// `None` where it is no signed token with the claims of an ID token.
    pub fn read(token: &'t str) -> Option<Self> {
        if token.len() > MOST_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = decode(header)?;
        if header.crit.is_some() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { algorithm: header.alg, key_id: header.kid, signed, signature, claims: decode(claims)? })
    }

    /// Whether `issuer` is who it claims to be from.
    pub fn is_from(&self, issuer: &str) -> bool {
        let claimed = self.claims.iss.as_str();
        // <https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload>: with or without.
        claimed == issuer || (issuer == GOOGLE && Some(claimed) == GOOGLE.strip_prefix("https://"))
    }

    pub fn judge(&self, keys: &KeySet) -> Verdict {
        keys.verify(self.algorithm, self.key_id.as_deref(), self.signed.as_bytes(), &self.signature)
    }

    /// Whose it is. Only of one that `judge` says is signed.
    pub fn owner(self, audiences: &[Audience], now: Timestamp) -> Result<Email, Unfit> {
        let Claims { aud, exp, iat, nbf, email, email_verified, .. } = self.claims;
        let (now, leeway) = (now.micros() as f64 / 1e6, LEEWAY.as_secs_f64());
        let named = match aud {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        let is_ours = |name: &String| audiences.iter().any(|ours| ours.as_str() == name);
        // One that is for somebody else too, could come from there.
        if named.is_empty() || !named.iter().all(is_ours) {
            return Err(Unfit::Audience);
        }
        if exp + leeway <= now {
            return Err(Unfit::Expired);
        }
        if nbf.unwrap_or(iat) - leeway > now || iat - leeway > now {
            return Err(Unfit::NotYet);
        }
        let is_verified = match email_verified {
            Some(Truth::Plain(truth)) => truth,
            Some(Truth::Text(text)) => text == "true",
            None => false,
        };
        let email = email.filter(|email| is_verified && email.contains('@'));
        email.and_then(|email| email.parse().ok()).ok_or(Unfit::Unverified)
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::keys::tests::{Signer, set};
    use super::*;
    use crate::config::Setting as _;

    const NOW: i64 = 1_767_322_800;

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.org", "aud": "us", "exp": NOW + 600, "iat": NOW - 10,
            "email": "Ann@example.org", "email_verified": true,
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    fn owner(claims: &Value) -> Option<Result<String, Unfit>> {
        let signer = Signer::new();
        let token = signer.token(&json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }), claims);
        let token = Unverified::read(&token)?;
        assert_eq!(token.judge(&set(&[signer.published("k")])), Verdict::Signed);
        let audiences = [Audience::read("us").unwrap(), Audience::read("us-too").unwrap()];
        Some(token.owner(&audiences, Timestamp::from_micros(NOW * 1_000_000)).map(|email| email.to_string()))
    }

    #[test]
    fn what_a_token_claims_must_be_enough() {
        let ann = || Some(Ok("ann@example.org".to_owned()));
        assert_eq!(owner(&claims()), ann());
        for (key, value, expected) in [
            ("aud", json!(["us"]), ann()),
            ("aud", json!(["us-too", "us"]), ann()),
            ("aud", json!(["us", "them"]), Some(Err(Unfit::Audience))),
            ("aud", json!([]), Some(Err(Unfit::Audience))),
            ("aud", json!("them"), Some(Err(Unfit::Audience))),
            ("aud", json!(null), None),
            ("exp", json!(NOW - 59), ann()),
            ("exp", json!(NOW - 60), Some(Err(Unfit::Expired))),
            ("exp", json!(0), Some(Err(Unfit::Expired))),
            ("exp", json!(-1e300), Some(Err(Unfit::Expired))),
            ("exp", json!("never"), None),
            ("exp", json!(null), None),
            ("iat", json!(NOW + 60), ann()),
            ("iat", json!(NOW + 61), Some(Err(Unfit::NotYet))),
            ("iat", json!(null), None),
            ("nbf", json!(NOW + 61), Some(Err(Unfit::NotYet))),
            ("nbf", json!(NOW as f64 + 59.5), ann()),
            ("email_verified", json!("true"), ann()),
            ("email_verified", json!(false), Some(Err(Unfit::Unverified))),
            ("email_verified", json!("no"), Some(Err(Unfit::Unverified))),
            ("email_verified", json!(null), Some(Err(Unfit::Unverified))),
            ("email_verified", json!(1), None),
            ("email", json!(null), Some(Err(Unfit::Unverified))),
            ("email", json!("ann"), Some(Err(Unfit::Unverified))),
            ("email", json!("ann@example.org,bob"), Some(Err(Unfit::Unverified))),
        ] {
            assert_eq!(owner(&with(key, value.clone())), expected, "{key} {value}");
        }
    }

    #[test]
    fn what_is_no_signed_token_is_none() {
        let signer = Signer::new();
        let good = signer.token(&json!({ "alg": "ES256" }), &claims());
        assert!(Unverified::read(&good).is_some());
        for header in [
            json!({ "alg": "none" }),
            json!({ "alg": "HS256", "kid": "k" }),
            json!({}),
            json!({ "alg": "ES256", "crit": ["exp"] }),
        ] {
            assert!(Unverified::read(&signer.token(&header, &claims())).is_none(), "{header}");
        }
        let unsigned = &good[..=good.rfind('.').unwrap()];
        let token = Unverified::read(unsigned).unwrap();
        assert_eq!(token.judge(&set(&[signer.published("k")])), Verdict::Forged, "nothing is signed by nothing");
        for bad in ["", ".", "..", "a.b.c", &format!("{good}="), &format!("{good}.x"), &"a.".repeat(20_000)] {
            assert!(Unverified::read(bad).is_none(), "{bad:.40}");
        }
    }

    #[test]
    fn google_may_leave_out_what_its_name_begins_with() {
        let from = |iss: &str| {
            let token = Signer::new().token(&json!({ "alg": "ES256" }), &with("iss", json!(iss)));
            move |issuer: &str| Unverified::read(&token).unwrap().is_from(issuer)
        };
        assert!(from("accounts.google.com")(GOOGLE) && from(GOOGLE)(GOOGLE));
        assert!(!from("id.example.org")("https://id.example.org") && !from("https://evil.example")(GOOGLE));
    }
}
