//! `[coverage]`: how often it is looked at what is there, and of how long there are maps.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::channel::ChannelConfig;
use super::reader::Section;
use super::values::Setting;
use crate::model::{Channel, Span};

const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const MAPS: RangeInclusive<Duration> = HOUR..=Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverageConfig {
    /// If not, there are no figures among the metrics and no maps beside the record; both can still be asked for.
    pub enabled: bool,
    pub interval: Duration,
    /// How far back maps reach, from the newest hour.
    pub maps: Duration,
    off: BTreeMap<Channel, Vec<Span>>,
}

impl CoverageConfig {
    pub fn map_hours(&self) -> u32 {
        u32::try_from(self.maps.as_secs().div_ceil(HOUR.as_secs())).unwrap_or(u32::MAX)
    }

    /// When nothing of the channel was meant to be recorded.
    pub fn off(&self, channel: &Channel) -> Vec<Span> {
        self.off.get(channel).cloned().unwrap_or_default()
    }

    pub(super) fn take_channels(&mut self, channels: &[ChannelConfig]) {
        for channel in channels {
            self.off.insert(channel.name.clone(), channel.planned_off.iter().map(|off| off.0).collect());
        }
    }
}

/// A stretch of time, written START/END.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOff(Span);

impl Setting for PlannedOff {
    const ALLOWED: &'static str = "write START/END in UTC, as 2026-01-02T03:00/2026-01-02T05:30";

    fn read(text: &str) -> Result<Self, String> {
        let (start, end) = text.split_once('/').ok_or_else(|| format!("{text:?} has no slash"))?;
        let time = |text: &str| text.parse().map_err(|why| format!("{text:?} is no time: {why}"));
        Span::new(time(start)?, time(end)?).map(Self).map_err(|why| why.to_string())
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.0.start(), self.0.end())
    }
}

pub(super) fn read_coverage(mut section: Section<'_, '_>) -> Option<CoverageConfig> {
    let enabled = section.boolean("enabled", true);
    let interval = section.duration("interval", "1m", INTERVAL);
    let maps = section.duration("maps", "7d", MAPS);
    section.close();
    Some(CoverageConfig { enabled: enabled?, interval: interval?, maps: maps?, off: BTreeMap::new() })
}
