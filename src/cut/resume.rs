//! A cut that broke off, taken up where it stopped.
//!
//! Promises: what comes goes on with the very bytes that are there already; where that cannot be known, all of it comes again.
//!
//! Only a rough cut's bytes are known before they are made: they are those of its files, and each file's name holds its hash.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::files::{SourceFile, rough_len};
use crate::model::SegmentHash;

/// Tells the bytes of a rough cut from those of any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(SegmentHash);

/// What is there of a cut, of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub fingerprint: Fingerprint,
    pub bytes: u64,
}

impl Fingerprint {
    /// Of the files in order, each with what is shown of it.
    pub(super) fn of(files: &[SourceFile]) -> Self {
        let mut hash = Sha256::new();
        for file in files {
            hash.update(format!("{} {}\n", file.segment.path_text(), rough_len(file)));
        }
        Self(SegmentHash::from_bytes(hash.finalize().into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// It is no fingerprint: 43 letters of base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no fingerprint of a cut")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        text.parse().map(Self).map_err(|_| NoFingerprint)
    }
}

impl Begun {
    /// How many bytes a cut of `size_bytes` may leave out; none of another one.
    pub(super) fn of(begun: Option<Self>, fingerprint: Option<Fingerprint>, size_bytes: Option<u64>) -> u64 {
        match (begun, fingerprint, size_bytes) {
            (Some(begun), Some(own), Some(size_bytes)) if begun.fingerprint == own && begun.bytes < size_bytes => {
                begun.bytes
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint(SegmentHash::from_bytes([byte; 32]))
    }

    #[test]
    fn only_the_rest_of_the_same_bytes_is_left_out() {
        let (own, other) = (fingerprint(1), fingerprint(2));
        let begun = |fingerprint, bytes| Some(Begun { fingerprint, bytes });
        assert_eq!(Begun::of(begun(own, 5), Some(own), Some(6)), 5);
        assert_eq!(Begun::of(begun(own, 6), Some(own), Some(6)), 0);
        assert_eq!(Begun::of(begun(other, 5), Some(own), Some(6)), 0);
        assert_eq!(Begun::of(begun(own, 5), None, None), 0);
        assert_eq!(Begun::of(None, Some(own), Some(6)), 0);
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let own = fingerprint(7);
        assert_eq!(own.to_string().parse(), Ok(own));
        assert_eq!("".parse::<Fingerprint>(), Err(NoFingerprint));
        assert_eq!("W/x".parse::<Fingerprint>(), Err(NoFingerprint));
    }
}
