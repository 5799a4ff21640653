//! HLS text: what sources send us (`upstream`) and what we publish (`playlist`, and `live` where it grows).
//!
//! Never: fetches anything, or reads the disk or the clock.

pub mod live;
pub mod playlist;
pub mod upstream;
