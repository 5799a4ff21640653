//! How a node is at the moment, as it tells it to people and to other nodes: `/api/v1/node`.
//!
//! Promises: what an older or a newer node tells can be read, as far as both know it; what is not known is `None`, never a
//! guess. Texts are for people: nothing is decided by them.

use serde::{Deserialize, Serialize};

/// All that a node knows of itself without looking at its disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    pub name: String,
    /// By which it leaves itself out of its peers.
    pub id: Option<String>,
    pub version: String,
    /// What time it is there, UTC.
    pub now: String,
    pub uptime_seconds: f64,
    pub ready: bool,
    /// Why not.
    pub not_ready: Option<String>,
    /// What a person should look at although it is ready.
    pub notes: Vec<String>,
    pub disk: DiskState,
    pub ffmpeg: FfmpegState,
    /// Each quality that it is to record.
    pub recording: Vec<StreamState>,
    /// Those that it copies from; `None` while that part of it does not answer.
    pub peers: Option<Vec<PeerState>>,
    /// Its parts; `None` while who keeps them alive does not answer.
    pub actors: Option<Vec<ActorState>>,
}

/// The disk that the record lies on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskState {
    pub writable: bool,
    /// `None` until it was measured first.
    pub free_bytes: Option<u64>,
    pub size_bytes: Option<u64>,
    /// Where less is free, what is old goes, or copying ends.
    pub min_free_bytes: u64,
    /// Until nothing is free, if it goes on as in the last hour; `None` where it gets no fuller, or that is not known yet.
    pub full_in_seconds: Option<f64>,
    /// Segments that wait in memory for the disk.
    pub held_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FfmpegState {
    /// `None` while it looks, and where there is none.
    pub version: Option<String>,
    pub in_use: u64,
}

/// What a recorder found when it asked its source last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingPhase {
    /// The channel is not on air, or does not offer the quality.
    Waiting,
    Recording,
    /// The source cannot be read.
    Failing,
    /// What was on air has ended.
    Ended,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    pub channel: String,
    pub quality: String,
    /// `None` where the recorder does not answer, or nobody can know.
    pub phase: Option<RecordingPhase>,
    /// The end of the newest segment that was saved in this life of the node, UTC.
    pub newest: Option<String>,
    /// Since then.
    pub lag_seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerStanding {
    NotAsked,
    There,
    /// It is the node itself.
    Ourselves,
    /// It has a copy of the node's disk.
    Copy,
    Failing,
}

/// A node that is copied from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerState {
    pub url: String,
    pub standing: PeerStanding,
    /// Why it fails.
    pub error: Option<String>,
    /// Since all that it had of every quality was here.
    pub behind_seconds: Option<f64>,
    /// So much is its clock ahead.
    pub clock_ahead_seconds: Option<f64>,
    /// How fast files come from it; `None` while it gave none.
    pub bytes_per_second: Option<f64>,
}

/// A part of the node that has a life of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorState {
    pub kind: String,
    /// Which one of its kind.
    pub name: String,
    pub alive: bool,
    pub silent_seconds: f64,
    /// How often it was built anew.
    pub restarts: u32,
    /// Since it ended last.
    pub ended_seconds_ago: Option<f64>,
    /// Whether that was a panic.
    pub panicked: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_newer_node_tells_beside_is_passed_over() {
        let told = json!({ "url": "http://b", "standing": "there", "error": null, "behind_seconds": 1.5,
            "clock_ahead_seconds": null, "bytes_per_second": null, "moon": "full" });
        let peer: PeerState = serde_json::from_value(told.clone()).unwrap();
        assert_eq!((peer.standing, peer.behind_seconds), (PeerStanding::There, Some(1.5)));
        let mut again = serde_json::to_value(&peer).unwrap();
        again["moon"] = "full".into();
        assert_eq!(again, told);
    }
}
