//! `[scrub]`: how fast what is stored is read again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Section;
use super::values::ByteSize;

/// Less would be a disk that does nothing else; more than a year is no check any more.
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(366 * 24 * 3600);
/// Below this not even a small record is through in a month.
const MAX_RATE: RangeInclusive<ByteSize> = ByteSize::from_bytes(64 << 10)..=ByteSize::from_bytes(1 << 40);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubConfig {
    /// If not, nothing stored is read again unasked, also not after a stop that was none in order.
    pub enabled: bool,
    /// All that is stored is read once in this time, if the disk can do that beside its work.
    pub within: Duration,
    /// Bytes per second, at most.
    pub max_rate: ByteSize,
}

pub(super) fn read_scrub(mut section: Section<'_, '_>) -> Option<ScrubConfig> {
    let enabled = section.boolean("enabled", true);
    let within = section.duration("within", "30d", WITHIN);
    let max_rate = section.size("max_rate", "64MiB", MAX_RATE);
    section.close();
    Some(ScrubConfig { enabled: enabled?, within: within?, max_rate: max_rate? })
}
