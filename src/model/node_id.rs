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

/// The random word of one life of a node: from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeId(NodeId);

impl FromStr for LifeId {
    type Err = BadNodeId;

    fn from_str(text: &str) -> Result<Self, BadNodeId> {
        text.parse().map(Self)
    }
}

impl fmt::Display for LifeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What tells a node from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Lies in the store; so a copy of the disk has the same.
    pub id: NodeId,
    /// `None` of a node that does not say.
    pub life: Option<LifeId>,
}

impl NodeIdentity {
    pub fn is_same_node_as(&self, other: &Self) -> bool {
        self.id == other.id && !self.is_copy_of(other)
    }

    /// Whether both have the store of one, as the disk was copied: no node lives twice at a time.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        self.id == other.id && self.life.is_some() && other.life.is_some() && self.life != other.life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_in_another_life_is_a_copy_of_the_disk() {
        let of = |id: &str, life: Option<&str>| NodeIdentity {
            id: id.parse().unwrap(),
            life: life.map(|life| life.parse().unwrap()),
        };
        let ours = of("a1", Some("b1"));
        for (theirs, is_same, is_copy) in [
            (of("a1", Some("b1")), true, false),
            (of("a1", Some("b2")), false, true),
            (of("a1", None), true, false),
            (of("a2", Some("b1")), false, false),
            (of("a2", None), false, false),
        ] {
            assert_eq!((ours.is_same_node_as(&theirs), ours.is_copy_of(&theirs)), (is_same, is_copy), "{theirs:?}");
        }
        assert!("../x".parse::<LifeId>().is_err());
    }
}
