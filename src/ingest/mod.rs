//! From a source to the store: where playlists come from, what in them is new, and how its bytes are fetched.
//!
//! Promises: depends on nothing but the source and the disk (DESIGN §3.2).

mod client;
mod fetch;
mod shape;
mod source;
mod tracker;

pub use client::{Body, ByteBudget, FetchError, HttpClient, Patience, Response};
pub use fetch::{Fetched, SegmentFetch, TryError, fetch_segment};
pub use shape::{Shape, ShapeCheck};
pub use source::{MediaUrl, PLAYLIST_BUDGET, Source, SourceDeps, SourceError, SourceState, source_of};
pub use tracker::{Lost, Step, Tracker, Wanted};
