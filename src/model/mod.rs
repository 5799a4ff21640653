//! The vocabulary: every word of the domain as a type that cannot hold nonsense.
//!
//! Promises: what comes from outside (a URL, a peer, a directory, a config file) is parsed here once, and is safe
//! to use in a path, a log line or a metric label from then on.
//! Never: reads the disk, the clock or the network.

mod codec;
mod cut_type;
mod day;
mod event;
mod event_column;
mod event_json;
mod event_state;
mod event_steps;
mod extra;
mod full_encode;
mod hashed;
mod login;
mod loss;
mod names;
mod node_id;
mod node_state;
mod peer;
mod quota;
mod range;
mod role;
mod segment;
mod time;
mod upload_key;
mod wording;

pub use codec::{UnknownCodec, VideoCodec};
pub use cut_type::{CutType, UnknownCutType};
pub use day::Day;
pub use event::{
    EditFields, Event, EventTransition, JobFields, PixelBox, SheetFields, Thumbnail, ThumbnailMode, VideoRange,
};
pub use event_column::{Column, ColumnKind};
pub use event_json::{BadField, Difference, read_png, read_text};
pub use event_state::{BadState, EventState, EventStep, IllegalStep};
pub use event_steps::{EVERY_EDIT_NEEDS, Refusal};
pub use extra::{BadExtraPath, ExtraPath, MAX_EXTRA_PARTS};
pub use full_encode::{EncoderPreset, FullCodec, FullEncode, UnknownEncode};
pub use hashed::{CHAT_ENDING, HashedName};
pub use login::{BadLogin, TwitchLogin};
pub use loss::{BadLossCause, Loss, LossCause, LossDetail};
pub use names::{BadName, Channel, EventId, ExtraDir, FileName, NodeName, Quality, TemplateName, UploadLocation};
pub use node_id::{BadNodeId, LifeId, NodeId, NodeIdentity};
pub use node_state::{
    ActorState, DiskState, FfmpegState, NodeState, PeerStanding, PeerState, RecordingPhase, StreamState,
};
pub use peer::{BadPeerUrl, CopyOrder, PeerUrl};
pub use quota::QuotaSpent;
pub use range::BadRange;
pub use role::{BadEmail, BadRole, Email, Role, Roles};
pub use segment::{
    BadSegmentName, NameFields, SEGMENT_ENDING, SegmentHash, SegmentKind, SegmentName, TOMBSTONE_ENDING, duration_text,
    parse_duration_text, tombstone_of,
};
pub use time::{BadTime, EmptySpan, Hour, Span, Timestamp};
pub use upload_key::{BadUploadKey, UploadKey};
pub use wording::{MAX_DESCRIPTION_CHARS, MAX_TITLE_CHARS, Wording, check_wording};
