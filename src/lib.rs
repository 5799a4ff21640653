//! The map of the house, in the order in which data flows. See ARCHITECTURE.md.

pub mod model;

pub mod hls;
pub mod media;
pub mod select;

pub mod auth;
pub mod cut;
pub mod db;
pub mod edits;
pub mod ingest;
pub mod peers;
pub mod store;
pub mod upload;

pub mod actors;
pub mod admin;
pub mod http;

pub mod node;

pub mod cli;

// Cross-cutting; passed in, never static.
pub mod blocking;
pub mod causes;
pub mod child;
pub mod clock;
pub mod config;
pub mod health;
pub mod jitter;
pub mod log;
pub mod metrics;
pub mod png;
pub mod profile;

pub mod rehearsal;
pub mod shutdown;
pub mod throttle;

/// As in the program.
#[cfg(test)]
#[global_allocator]
static HEAP: profile::SampledHeap = profile::SampledHeap;
