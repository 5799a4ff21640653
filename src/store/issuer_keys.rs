//! Keeps the public keys of issuers of tokens, for a node that starts while its issuer is down: BASE/.segvault/issuers/HASH.json.
//!
//! Losing a file costs nothing once the issuer answers, so it is renamed into place but not flushed. Blocks on the disk.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Layout, StoreError, make_dir, replace};
use crate::model::Timestamp;

/// What an issuer had, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerKeys {
    /// Who it was: the file's name alone is not believed.
    pub issuer: String,
    pub fetched_micros: i64,
    /// A set of keys (RFC 7517), as text.
    pub keys: String,
}

impl IssuerKeys {
    pub fn fetched(&self) -> Timestamp {
        Timestamp::from_micros(self.fetched_micros)
    }
}

fn keys_path(layout: &Layout, issuer: &str) -> PathBuf {
    let mut name = String::new();
    for byte in &Sha256::digest(issuer)[..16] {
        let _ = write!(name, "{byte:02x}");
    }
    layout.own_dir().join("issuers").join(format!("{name}.json"))
}

/// `None` where there are none, or none that can be read.
pub fn read_issuer_keys(layout: &Layout, issuer: &str) -> Option<IssuerKeys> {
    let text = fs::read(keys_path(layout, issuer)).ok()?;
    serde_json::from_slice(&text).ok().filter(|found: &IssuerKeys| found.issuer == issuer)
}

pub fn write_issuer_keys(layout: &Layout, keys: &IssuerKeys) -> Result<(), StoreError> {
    let path = keys_path(layout, &keys.issuer);
    let dir = path.parent().expect("it lies in a directory of ours");
    let text = serde_json::to_vec(keys).expect("numbers and text are JSON");
    make_dir(dir)?;
    replace(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_for_their_issuer_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let keys = IssuerKeys { issuer: "https://a".into(), fetched_micros: 5, keys: "{}".into() };
        assert_eq!(read_issuer_keys(&layout, "https://a"), None);
        write_issuer_keys(&layout, &keys).unwrap();
        assert_eq!(read_issuer_keys(&layout, "https://a"), Some(keys));
        assert_eq!(read_issuer_keys(&layout, "https://b"), None);
        // Whoever renames a file does not make another issuer of it.
        fs::rename(keys_path(&layout, "https://a"), keys_path(&layout, "https://b")).unwrap();
        assert_eq!(read_issuer_keys(&layout, "https://b"), None);
        fs::write(keys_path(&layout, "https://a"), "{").unwrap();
        assert_eq!(read_issuer_keys(&layout, "https://a"), None);
    }
}
