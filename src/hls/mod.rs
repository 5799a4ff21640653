//! HLS text: what sources send us (`upstream`) and what we publish (`playlist`, `live` where it grows, `master`, `changes`).
//!
//! Never: fetches anything, or reads the disk or the clock.

pub mod changes;
pub mod live;
pub mod master;
pub mod playlist;
pub mod upstream;
