//! HLS text: what sources send us (`upstream`) and what we publish (`playlist`).
//!
//! Never: fetches anything, or reads the disk or the clock.

pub mod playlist;
pub mod upstream;
