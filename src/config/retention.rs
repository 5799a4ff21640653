//! `[retention]`, and what a channel says of it: how long the record is kept, and how much of the disk is left free.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::channel::ChannelConfig;
use super::reader::Section;
use super::values::ByteSize;
use crate::model::Channel;

/// Less could reach what is being recorded; more than a century is for ever.
pub(super) const MAX_AGE: RangeInclusive<Duration> =
    Duration::from_secs(3600)..=Duration::from_secs(100 * 365 * 24 * 3600);
const MIN_FREE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1 << 20)..=ByteSize::from_bytes(1 << 50);
const MIN_COPIES: RangeInclusive<u32> = 0..=16;
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// What is older goes; `None` keeps it for ever.
    max_age: Option<Duration>,
    /// What channels say instead.
    channels: BTreeMap<Channel, Duration>,
    /// The same for quarantine; `None` is as the record.
    quarantine_max_age: Option<Duration>,
    /// Below it room is made.
    pub min_free: Option<ByteSize>,
    /// Only what so many other nodes hold is deleted to make room.
    pub min_copies: u32,
    /// From the end of one look to the beginning of the next.
    pub interval: Duration,
}

impl RetentionConfig {
    /// `None` means for ever.
    pub fn max_age(&self, channel: &Channel) -> Option<Duration> {
        self.channels.get(channel).copied().or(self.max_age)
    }

    pub fn quarantine_max_age(&self, channel: &Channel) -> Option<Duration> {
        self.quarantine_max_age.or_else(|| self.max_age(channel))
    }

    pub(super) fn take_channels(&mut self, channels: &[ChannelConfig]) {
        let ages = channels.iter().filter_map(|channel| Some((channel.name.clone(), channel.max_age?)));
        self.channels = ages.collect();
    }
}

pub(super) fn read_retention(mut section: Section<'_, '_>) -> Option<RetentionConfig> {
    let max_age = section.optional_duration("max_age", MAX_AGE);
    let quarantine_max_age = section.optional_duration("quarantine_max_age", MAX_AGE);
    let min_free = section.optional_size("min_free", MIN_FREE);
    let min_copies = section.integer("min_copies", 1, MIN_COPIES);
    let interval = section.duration("interval", "5m", INTERVAL);
    section.close();
    Some(RetentionConfig {
        max_age: max_age?,
        channels: BTreeMap::new(),
        quarantine_max_age: quarantine_max_age?,
        min_free: min_free?,
        min_copies: min_copies?,
        interval: interval?,
    })
}
