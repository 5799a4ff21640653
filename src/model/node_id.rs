//! What tells a node from all others, whatever it is called and wherever it is reached.

use std::fmt;
use std::str::FromStr;

/// The random word of a node's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeId(Box<str>);

/// A text that is no node's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node's id is 1 to 64 letters and digits")]
pub struct BadNodeId;

impl FromStr for NodeId {
    type Err = BadNodeId;

    fn from_str(text: &str) -> Result<Self, BadNodeId> {
        let is_one = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_one { Ok(Self(text.into())) } else { Err(BadNodeId) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
