//! What a segment is encoded with, read from its own bytes; and what that makes of an hour.
//!
//! Promises: any bytes are read without a panic, in bounded memory and time; the same bytes have the same `EncodingId` on
//! every node.
//! Never: reads the disk or the clock; decodes a picture or a sound.

mod audio;
mod bits;
mod encoding;
mod fmp4;
mod frame_rate;
mod hour;
mod knowledge;
pub mod mp4;
pub mod mpegts;
mod parameter_sets;
mod probe;
mod sample_entry;
mod ts;

pub use audio::adts_ticks;
pub use encoding::{Audio, CodecName, Container, Encoding, EncodingId, Init, SegmentMedia, Video};
pub use fmp4::{FragmentScan, video_letters};
pub use frame_rate::{FrameRate, FrameRateScan};
#[cfg(test)]
pub use hour::fixtures;
pub use hour::{HourKind, HourMedia, Totals};
pub use knowledge::HourKnowledge;
pub use probe::{Probe, Probed};
