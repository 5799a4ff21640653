//! What one attempt to publish one event's video at one location is called.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::EventId;

/// An id that is longer, or has other letters than these keys have, stands in them by its hash.
const MAX_PLAIN_ID_BYTES: usize = 64;
/// A hash is not taken for an id: no id that stands for itself has this letter.
const HASH_MARK: char = '~';
const MAX_KEY_BYTES: usize = 96;

/// One attempt: an event and the version of it that was claimed, so that no two attempts have the same. Letters, digits, `-`,
/// `_`, `~` and `.`, not beginning with a period, at most 96 of them: safe in file names, object keys, addresses and headers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadKey(Box<str>);

/// A text is no key of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of an upload has 1 to 96 letters, digits, '-', '_', '~' and '.', and does not begin with a period")]
pub struct BadUploadKey;

impl UploadKey {
    /// `version` is that of the event when it was claimed.
    pub fn new(event: &EventId, version: i64) -> Self {
        let id = event.as_str();
        let is_plain = id.len() <= MAX_PLAIN_ID_BYTES
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if is_plain {
            return Self(format!("{id}.{version}").into());
        }
        let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(id)[..16]);
        Self(format!("{HASH_MARK}{hash}.{version}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadKey {
    type Err = BadUploadKey;

    fn from_str(text: &str) -> Result<Self, BadUploadKey> {
        let is_of_a_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.');
        let is_key =
            (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_of_a_key);
        if is_key { Ok(Self(text.into())) } else { Err(BadUploadKey) }
    }
}

impl fmt::Display for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_attempt_has_a_key_of_its_own_that_is_safe_anywhere() {
        let ids =
            ["0b3c6f5e-5a3e-4f0e-9d1a-1b2c3d4e5f60", "a b", "é", "a.1", "a", &"x".repeat(65), &"x".repeat(128), "~a"];
        let mut keys = BTreeSet::new();
        for id in ids {
            for version in [1, 11, i64::MAX] {
                let key = UploadKey::new(&id.parse().unwrap(), version);
                assert_eq!(key.as_str().parse(), Ok(key.clone()), "{id:?}");
                assert!(keys.insert(key), "{id:?}");
            }
        }
        for bad in ["", ".a", "a/b", "a b", "é", &"x".repeat(97)] {
            assert_eq!(bad.parse::<UploadKey>(), Err(BadUploadKey), "{bad:?}");
        }
    }
}
