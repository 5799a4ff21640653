//! From a source to the store: where playlists come from, what in them is new, and how its bytes are fetched.
//!
//! Promises: depends on nothing but the source and the disk (DESIGN §3.2).

mod ads;
mod attempt;
mod client;
mod decrypt;
mod extras;
mod fetch;
mod hedge;
mod outage;
mod sessions;
mod shape;
mod sink;
mod source;
mod tracker;

pub use ads::{AdRules, Content, Sign};
pub use attempt::TryError;
pub use client::sending;
pub use client::{Body, ByteBudget, FetchError, HttpClient, Patience, Response};
pub use extras::{ExtraError, Extras};
pub use fetch::{Fetched, SegmentFetch, fetch_segment};
pub use hedge::hedged;
pub use outage::{Outage, Outed, session_began};
pub use sessions::{Dates, Due, SessionId, Sessions};
pub use shape::{Shape, ShapeCheck};
pub use sink::{Disk, DiskError, Kept};
pub use source::{MediaUrl, PLAYLIST_BUDGET, PLAYLIST_SOFT, Source, SourceDeps, SourceError, SourceState, source_of};
pub use tracker::{Address, Cipher, Listed, Lost, Step, Tracker, Wanted, WantedMap};
