//! Which nodes there are besides this one, and what each says of a tombstone.
//!
//! Promises: this node itself and a node that has several addresses are known by their ids, so that none is counted twice;
//! what cannot be known is said to be unknown.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join_all;

use super::PeerError;
use super::access::PeerAccess;
use super::client::{HourAnswer, Peer};
use super::names::{HourNames, TombstoneName};
use crate::model::{Channel, HashedName, Hour, NodeIdentity, PeerUrl, Quality, SegmentHash};

/// What stands behind an address.
pub enum Found {
    Node(Peer),
    /// This node itself.
    Ourselves,
    /// One that was found under an earlier address.
    Again,
    Silent(PeerError),
}

/// An address and what stands behind it.
pub struct Standing {
    pub url: PeerUrl,
    pub found: Found,
}

/// Asks all of them at once who they are; `ours` is this node. To be called on the arbiter that asks them on.
pub async fn find_nodes(urls: Vec<PeerUrl>, ours: Option<NodeIdentity>, access: &PeerAccess) -> Vec<Standing> {
    let ask = |url: PeerUrl| async move {
        let peer = Peer::new(url, access);
        let identity = peer.introduction().await.map(|said| said.identity);
        (peer, identity)
    };
    let mut known: Vec<NodeIdentity> = Vec::new();
    let mut standing = Vec::new();
    for (peer, identity) in join_all(urls.into_iter().map(ask)).await {
        let url = peer.url().clone();
        let found = match identity {
            Err(error) => Found::Silent(error),
            Ok(None) => Found::Node(peer),
            Ok(Some(node)) if ours.as_ref().is_some_and(|ours| node.is_same_node_as(ours)) => Found::Ourselves,
            Ok(Some(node)) if known.iter().any(|known| node.is_same_node_as(known)) => Found::Again,
            Ok(Some(node)) => {
                known.push(node);
                Found::Node(peer)
            }
        };
        standing.push(Standing { url, found });
    }
    standing
}

/// How many of these nodes hold all of these files of an hour, or their twins, as they say now. One that fails holds nothing.
pub async fn holders(peers: &[Peer], channel: &Channel, quality: &Quality, hour: Hour, files: &[HashedName]) -> usize {
    let asked = peers.iter().map(|peer| peer.hour(channel, quality, hour, None));
    let answers = join_all(asked).await;
    answers
        .iter()
        .filter(|answer| matches!(answer, Ok(HourAnswer::New { names, .. }) if holds_all(names, files)))
        .count()
}

fn holds_all(theirs: &HourNames, files: &[HashedName]) -> bool {
    let mut by_hash: HashMap<SegmentHash, Vec<&HashedName>> = HashMap::new();
    theirs.files.iter().for_each(|file| by_hash.entry(file.hash()).or_default().push(file));
    let has =
        |file: &HashedName| by_hash.get(&file.hash()).is_some_and(|same| same.iter().any(|one| one.is_twin_of(file)));
    files.iter().all(has)
}

/// What a node has of something that is hidden here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneState {
    pub has_tombstone: bool,
    /// Whether it still holds what the tombstone hides; `None` where it does not say.
    pub has_bytes: Option<bool>,
}

/// What a node has of these tombstones of an hour, in their order.
pub async fn tombstone_state(
    peer: &Peer,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    tombstones: &[String],
) -> Result<Vec<TombstoneState>, PeerError> {
    let theirs = match peer.hour(channel, quality, hour, None).await? {
        HourAnswer::New { names, .. } => names,
        // No tag was sent; whoever says so nonetheless has said nothing.
        HourAnswer::Same => HourNames::new(hour),
    };
    let said = peer.tombstones(channel, quality, hour).await?;
    let mut states = Vec::new();
    for name in tombstones {
        let hidden = TombstoneName::parse(hour, name).and_then(|tombstone| tombstone.hidden().cloned());
        let has_tombstone = theirs.tombstones.iter().any(|one| one.as_str() == name);
        let has_bytes = match (&said, hidden) {
            (_, None) => None,
            (Some(said), Some(hidden)) => Some(holds(said, &theirs, name, &hidden)),
            (None, Some(hidden)) => {
                let hour = hour.to_string();
                peer.has_file(&[channel.as_str(), quality.as_str(), &hour, hidden.as_str()]).await?
            }
        };
        states.push(TombstoneState { has_tombstone, has_bytes });
    }
    Ok(states)
}

/// A node that lacks the tombstone shows what it holds.
fn holds(said: &BTreeMap<String, bool>, theirs: &HourNames, tombstone: &str, hidden: &HashedName) -> bool {
    match said.get(tombstone) {
        Some(bytes) => *bytes,
        None => theirs.files.iter().any(|file| file.as_str() == hidden.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_one_file_does_not_hold_all() {
        let hour = "2026-01-02T03".parse().unwrap();
        let name = |start: &str, seed: u8| format!("{start}-2.0-full-{}.ts", SegmentHash::from_bytes([seed; 32]));
        let ours: Vec<HashedName> = [name("00:00.5", 1), name("00:02.5", 2)]
            .iter()
            .map(|name| HashedName::parse(hour, name).unwrap())
            .collect();
        let holds = |theirs: &[String]| holds_all(&HourNames::of(hour, theirs.iter().map(String::as_str)), &ours);
        assert!(holds(&[name("00:00.5", 1), name("00:02.5004", 2), name("00:04.5", 3)]));
        assert!(!holds(&[name("00:00.5", 1)]));
        assert!(!holds(&[name("00:00.5", 1), name("00:02.5", 3)]));
        assert!(!holds(&[name("00:00.5", 1), name("00:02.5", 2).replace("full", "partial")]));
        assert!(!holds(&[name("00:00.5", 1), name("00:02.5", 2).replace(".ts", ".tombstone")]));
    }
}
