//! What may be deleted to keep a record within its bounds, and in which order.
//!
//! Promises: never what is pinned; never an hour in which something may still be recorded; by age only what is older than
//! the bound; for room only whole hours that enough other nodes hold, oldest first, and no more than is missing.
//! Never: reads disk or clock.

use std::collections::VecDeque;

use crate::model::{Channel, HashedName, Hour, Quality, Span, Timestamp};

/// A stretch of a channel that stays, whatever the bounds say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub channel: Channel,
    /// All of them, chat too, if `None`.
    pub quality: Option<Quality>,
    pub span: Span,
}

/// A finished file of an hour, as the disk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub name: HashedName,
    pub size_bytes: u64,
    /// A tombstone marks it.
    pub hidden: bool,
}

/// An hour of a quality.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamHour {
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
}

/// What of an hour may still be recorded, by this clock or one that lags behind it by less than an hour.
pub fn is_recent(hour: Hour, now: Timestamp) -> bool {
    hour >= now.hour().previous()
}

/// A file that only touches a pinned stretch stays too; a chat batch is a moment.
pub fn is_pinned(of: &StreamHour, file: &HashedName, pins: &[Pin]) -> bool {
    pins.iter().any(|Pin { channel, quality, span }| {
        let is_of_stream = *channel == of.channel && quality.as_ref().is_none_or(|quality| *quality == of.quality);
        let (start, end) = (file.start(), file.end());
        is_of_stream && start < span.end() && (end > span.start() || start >= span.start())
    })
}

/// Of an hour's files those that end before `bound`, hidden or not: what nobody wants any more.
pub fn aged<'f>(
    of: &StreamHour,
    files: &'f [StoredFile],
    bound: Timestamp,
    pins: &[Pin],
    now: Timestamp,
) -> Vec<&'f StoredFile> {
    if is_recent(of.hour, now) {
        return Vec::new();
    }
    files.iter().filter(|file| file.name.end() < bound && !is_pinned(of, &file.name, pins)).collect()
}

/// Of an hour's files those that may make room, if others hold them: what a tombstone hides is not for others to hold, and
/// deleted by hand.
pub fn spare<'f>(of: &StreamHour, files: &'f [StoredFile], pins: &[Pin], now: Timestamp) -> Vec<&'f StoredFile> {
    if is_recent(of.hour, now) {
        return Vec::new();
    }
    files.iter().filter(|file| !file.hidden && !is_pinned(of, &file.name, pins)).collect()
}

/// Makes room hour by hour, for as long as some is missing.
#[derive(Debug)]
pub struct Freeing {
    waiting: VecDeque<StreamHour>,
    missing_bytes: u64,
}

impl Freeing {
    /// `hours` in any order.
    pub fn new(hours: Vec<StreamHour>, missing_bytes: u64, now: Timestamp) -> Self {
        let mut waiting: Vec<StreamHour> = hours.into_iter().filter(|one| !is_recent(one.hour, now)).collect();
        waiting.sort_by(|a, b| (a.hour, &a.channel, &a.quality).cmp(&(b.hour, &b.channel, &b.quality)));
        Self { waiting: waiting.into(), missing_bytes }
    }

    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// The next hour to be asked about; `None` once nothing is missing, or nothing is left.
    pub fn next_hour(&mut self) -> Option<StreamHour> {
        if self.missing_bytes == 0 { None } else { self.waiting.pop_front() }
    }

    /// So much of it went.
    pub fn freed(&mut self, bytes: u64) {
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SegmentHash;

    fn hour(number: u32) -> Hour {
        format!("2026-01-{:02}T{:02}", 1 + number / 24, number % 24).parse().unwrap()
    }

    fn of(stream: u8, number: u32) -> StreamHour {
        StreamHour {
            channel: format!("ch{}", stream / 2).parse().unwrap(),
            quality: ["source", "480p"][usize::from(stream % 2)].parse().unwrap(),
            hour: hour(number),
        }
    }

    fn file(hour: Hour, minute: u32, size_bytes: u64, hidden: bool) -> StoredFile {
        let text = format!("{minute:02}:00.0-120.0-full-{}.ts", SegmentHash::from_bytes([minute as u8; 32]));
        StoredFile { name: HashedName::parse(hour, &text).unwrap(), size_bytes, hidden }
    }

    fn pin(stream: u8, all: bool, from: u32, minutes: u32) -> Pin {
        let StreamHour { channel, quality, .. } = of(stream, 0);
        let start = hour(0).start().plus_micros(i64::from(from) * 60_000_000);
        let span = Span::new(start, start.plus_micros(i64::from(minutes) * 60_000_000)).unwrap();
        Pin { channel, quality: (!all).then_some(quality), span }
    }

    #[test]
    fn a_file_goes_when_all_of_it_is_too_old() {
        let (of, now) = (of(0, 3), hour(30).start());
        let files: Vec<StoredFile> = [0, 10, 58].map(|minute| file(of.hour, minute, 1, minute == 10)).into();
        let minutes = |bound: i64, pins: &[Pin], now| {
            let bound = of.hour.start().plus_micros(bound * 60_000_000);
            aged(&of, &files, bound, pins, now).len()
        };
        assert_eq!([2, 3, 12, 13, 60, 61].map(|bound| minutes(bound, &[], now)), [0, 1, 1, 2, 2, 3]);
        // Two minutes long from 03:10, under a tombstone or not.
        assert_eq!(minutes(99, &[pin(0, false, 3 * 60 + 11, 1)], now), 2);
        assert_eq!(minutes(99, &[pin(1, false, 3 * 60 + 11, 1)], now), 3, "another quality is pinned");
        assert_eq!(minutes(99, &[pin(1, true, 3 * 60 + 11, 1)], now), 2, "all qualities are");
        assert_eq!(minutes(99, &[], hour(4).end().plus_micros(-1)), 0, "the hour before is recent");
        assert_eq!(minutes(99, &[], hour(5).start()), 3);
    }

    #[test]
    fn what_a_tombstone_hides_makes_no_room() {
        let of = of(0, 3);
        let files = [file(of.hour, 0, 1, true), file(of.hour, 2, 1, false)];
        assert_eq!(spare(&of, &files, &[], hour(30).start()), [&files[1]]);
    }

    type Shown = (u8, u32, Vec<(u32, u64, bool)>, usize);

    /// Some hours of some streams, each with files and with how many others hold them.
    fn any_hours() -> impl Strategy<Value = Vec<Shown>> {
        let files = prop::collection::vec((0u32..60, 1u64..50, any::<bool>()), 0..5);
        prop::collection::vec((0u8..4, 0u32..40, files, 0usize..4), 0..20)
    }

    proptest! {
        #[test]
        fn room_is_made_of_the_oldest_that_others_hold_and_of_nothing_else(
            hours in any_hours(),
            pins in prop::collection::vec((0u8..4, any::<bool>(), 0u32..2400, 1u32..120), 0..4),
            now in 2u32..42,
            missing in 0u64..200,
            least in 0usize..3,
        ) {
            let now = hour(now).start().plus_micros(7);
            let pins: Vec<Pin> = pins.into_iter().map(|(stream, all, from, minutes)| pin(stream, all, from, minutes)).collect();
            let mut tree: Vec<(StreamHour, Vec<StoredFile>, usize)> = Vec::new();
            for (stream, number, files, copies) in hours {
                let of = of(stream, number);
                if tree.iter().all(|(known, ..)| *known != of) {
                    let files = files.into_iter().map(|(minute, size, hidden)| file(of.hour, minute, size, hidden));
                    tree.push((of.clone(), files.collect(), copies));
                }
            }
            let mut freeing = Freeing::new(tree.iter().map(|(of, ..)| of.clone()).collect(), missing, now);
            let (mut gone, mut freed, mut last, mut asked) = (Vec::new(), 0, None, 0);
            while let Some(next) = freeing.next_hour() {
                asked += 1;
                prop_assert!(freed < missing, "no more than is missing");
                prop_assert!(last.is_none_or(|last| last <= next.hour), "oldest first");
                last = Some(next.hour);
                let (_, files, copies) = tree.iter().find(|(of, ..)| *of == next).unwrap();
                if *copies < least {
                    continue;
                }
                let going = spare(&next, files, &pins, now);
                let bytes = going.iter().map(|file| file.size_bytes).sum::<u64>();
                freed += bytes;
                freeing.freed(bytes);
                gone.extend(going.into_iter().map(|file| (next.clone(), file.clone())));
            }
            for (of, file) in &gone {
                prop_assert!(of.hour < now.hour().previous());
                prop_assert!(!file.hidden && !is_pinned(of, &file.name, &pins));
            }
            let old = tree.iter().filter(|(of, ..)| of.hour < now.hour().previous()).count();
            prop_assert!(freed >= missing || asked == old, "all that there is was asked about");
        }

        #[test]
        fn age_takes_nothing_young_or_pinned(
            files in prop::collection::vec((0u32..60, any::<bool>()), 0..12),
            (number, now, bound) in (0u32..40, 0u32..42, 0u32..2600),
            (stream, all, from, minutes) in (0u8..4, any::<bool>(), 0u32..2400, 1u32..240),
        ) {
            let (of, now, pins) = (of(0, number), hour(now).start(), [pin(stream, all, from, minutes)]);
            let bound = hour(0).start().plus_micros(i64::from(bound) * 60_000_000);
            let files: Vec<StoredFile> = files.into_iter().map(|(minute, hidden)| file(of.hour, minute, 1, hidden)).collect();
            let gone = aged(&of, &files, bound, &pins, now);
            for file in &files {
                let may_go = file.name.end() < bound && !is_pinned(&of, &file.name, &pins) && of.hour < now.hour().previous();
                prop_assert_eq!(gone.contains(&file), may_go);
            }
        }
    }
}
