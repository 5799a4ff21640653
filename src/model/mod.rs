//! The vocabulary: every word of the domain as a type that cannot hold nonsense.
//!
//! Promises: what comes from outside (a URL, a peer, a directory, a config file) is parsed here once, and is safe
//! to use in a path, a log line or a metric label from then on.
//! Never: reads the disk, the clock or the network.

mod codec;
mod day;
mod hashed;
mod login;
mod loss;
mod names;
mod node_id;
mod peer;
mod range;
mod segment;
mod time;

pub use codec::{UnknownCodec, VideoCodec};
pub use day::Day;
pub use hashed::{CHAT_ENDING, HashedName};
pub use login::{BadLogin, TwitchLogin};
pub use loss::{BadLossCause, Loss, LossCause, LossDetail};
pub use names::{BadName, Channel, FileName, NodeName, Quality};
pub use node_id::{BadNodeId, NodeId};
pub use peer::{BadPeerUrl, PeerUrl};
pub use range::BadRange;
pub use segment::{
    BadSegmentName, NameFields, SEGMENT_ENDING, SegmentHash, SegmentKind, SegmentName, TOMBSTONE_ENDING, duration_text,
    parse_duration_text, tombstone_of,
};
pub use time::{BadTime, EmptySpan, Hour, Span, Timestamp};
