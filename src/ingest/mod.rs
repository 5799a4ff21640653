//! From a source to the store: where playlists come from, what in them is new, and how its bytes are fetched.
//!
//! Promises: depends on nothing but the source and the disk (DESIGN §3.2).

mod ads;
mod client;
mod fetch;
mod outage;
mod shape;
mod source;
mod tracker;

pub use ads::{AdRules, Content, Sign};
pub use client::{Body, ByteBudget, FetchError, HttpClient, Patience, Response};
pub use fetch::{Fetched, SegmentFetch, TryError, fetch_segment};
pub use outage::{Outage, Outed, session_began};
pub use shape::{Shape, ShapeCheck};
pub use source::{HlsSource, MediaUrl, PLAYLIST_BUDGET, Source, SourceError, SourceState};
pub use tracker::{Lost, Step, Tracker, Wanted};
