//! Live playlists that only ever grow at their end.
//!
//! `Published` decides what has been published of a quality, once for all; `LiveText` is the text of one address, which
//! is appended to and shown whole, or from a later entry on. Both are plain values: the actor `LiveEdges` feeds them.

mod generation;
mod published;
mod text;

pub use generation::{BadGeneration, Generation};
pub use published::{Published, Saved, target_seconds};
pub use text::{Asked, Encoding, LiveText, Shown, Window};

#[cfg(test)]
mod tests;
