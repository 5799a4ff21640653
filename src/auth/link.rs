//! Signed links: who has one may play a channel, or a quality of it, until it expires.
//!
//! Promises: a link opens nothing but what it was made for, and not beyond its time; signatures are compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::config::Secret;
use crate::model::{Channel, Quality, Timestamp};

/// What signs links. All nodes that share it accept each other's.
#[derive(Clone)]
pub struct LinkKey(hmac::Key);

/// What a link shows of itself: a signature, and until when it is good, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLink {
    signature: [u8; 32],
    until_seconds: u64,
}

impl LinkKey {
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// A link to all of a channel, or to one of its qualities.
    pub fn sign(&self, channel: &Channel, quality: Option<&Quality>, until: Timestamp) -> SignedLink {
        let until_seconds = u64::try_from(until.micros() / 1_000_000).unwrap_or(0);
        let tag = hmac::sign(&self.0, signed_text(channel, quality, until_seconds).as_bytes());
        SignedLink { signature: tag.as_ref().try_into().expect("SHA-256 has 32 bytes"), until_seconds }
    }

    /// Whether the link is for this, and still good.
    pub fn opens(&self, link: &SignedLink, channel: &Channel, quality: Option<&Quality>, now: Timestamp) -> bool {
        let is_over = i128::from(link.until_seconds) * 1_000_000 <= i128::from(now.micros());
        let is_signed = |quality: Option<&Quality>| {
            let text = signed_text(channel, quality, link.until_seconds);
            hmac::verify(&self.0, text.as_bytes(), &link.signature).is_ok()
        };
        !is_over && (is_signed(None) || (quality.is_some() && is_signed(quality)))
    }
}

/// No name holds the end of a line, and no quality is empty.
fn signed_text(channel: &Channel, quality: Option<&Quality>, until_seconds: u64) -> String {
    format!("segvault link\n{channel}\n{}\n{until_seconds}", quality.map_or("", Quality::as_str))
}

impl SignedLink {
    /// From the parameters `sig` and `until`.
    pub fn read(signature: &str, until: &str) -> Option<Self> {
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        let until_seconds = until.parse().ok().filter(|_| until.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(Self { signature, until_seconds })
    }

    /// `sig=…&until=…`.
    pub fn parameters(&self) -> String {
        format!("sig={}&until={}", URL_SAFE_NO_PAD.encode(self.signature), self.until_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_what_it_is_for_until_it_expires() {
        let key = LinkKey::new(&Secret::new("0123456789abcdef0123456789abcdef"));
        let [one, other]: [Channel; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        let [source, small]: [Quality; 2] = ["source", "480p"].map(|name| name.parse().unwrap());
        let until: Timestamp = "2026-01-02T03:04:05".parse().unwrap();
        let before = until.plus_micros(-1);

        let of_channel = key.sign(&one, None, until);
        assert!(key.opens(&of_channel, &one, None, before) && key.opens(&of_channel, &one, Some(&small), before));
        assert!(!key.opens(&of_channel, &other, None, before) && !key.opens(&of_channel, &one, None, until));
        let of_quality = key.sign(&one, Some(&source), until);
        assert!(key.opens(&of_quality, &one, Some(&source), before));
        assert!(!key.opens(&of_quality, &one, None, before) && !key.opens(&of_quality, &one, Some(&small), before));

        let later = SignedLink { until_seconds: of_channel.until_seconds + 1, ..of_channel.clone() };
        assert!(!key.opens(&later, &one, None, before), "nobody lengthens it");
        let mut forged = of_channel.clone();
        forged.signature[31] ^= 1;
        assert!(!key.opens(&forged, &one, None, before));
        let another = LinkKey::new(&Secret::new("another 6789abcdef0123456789abcdef"));
        assert!(!another.opens(&of_channel, &one, None, before));
    }

    #[test]
    fn a_link_survives_its_address() {
        let key = LinkKey::new(&Secret::new("0123456789abcdef0123456789abcdef"));
        let link = key.sign(&"c".parse().unwrap(), None, "2026-01-02".parse().unwrap());
        let parameters = link.parameters();
        let (sig, until) = parameters.strip_prefix("sig=").unwrap().split_once("&until=").unwrap();
        assert_eq!(SignedLink::read(sig, until), Some(link));
        for (sig, until) in
            [("", until), (sig, ""), (sig, "+5"), (&sig[1..], until), ("*", until), (sig, "99999999999999999999")]
        {
            assert_eq!(SignedLink::read(sig, until), None, "{sig} {until}");
        }
    }
}
