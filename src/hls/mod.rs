//! HLS text: what sources send us (`upstream`) and what we publish (`playlist`, `live` where it grows, `master`, `changes`).
//!
//! Never: fetches anything, or reads the disk or the clock.

pub mod changes;
mod entry;
mod hand_on;
mod hour_texts;
pub mod live;
pub mod master;
pub mod playlist;
pub mod upstream;

pub use entry::{Gaps, encode};
pub use hand_on::HandOn;
pub use hour_texts::HourTexts;
