//! Whatever arrives, in whatever order, and whatever is deleted: each text extends the one before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::hls::Gaps;
use crate::media::SegmentMedia;
use crate::media::fixtures::{media, mp4_media};
use crate::model::{Hour, Timestamp};
use crate::select::{HourIndex, Part, Selection};

const HOLD: Duration = Duration::from_secs(15);
const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

fn time(second: i64) -> Timestamp {
    // A minute before the end of an hour, so that the tests cross it.
    "2026-01-02T03:59:00".parse::<Timestamp>().unwrap().plus_micros(second * 1_000_000)
}

/// A directory, as its names.
#[derive(Default, Clone)]
struct Disk {
    hours: BTreeMap<Hour, BTreeSet<String>>,
}

impl Disk {
    fn add(&mut self, start: Timestamp, duration_micros: i64, kind: &str) -> (Hour, String) {
        let hour = start.hour();
        let offset = start.micros_since(hour.start());
        let (minute, second, micros) = (offset / 60_000_000, offset / 1_000_000 % 60, offset % 1_000_000);
        let duration = crate::model::duration_text(duration_micros);
        let name = format!("{minute:02}:{second:02}.{micros:06}-{duration}-{kind}-{HASH}.ts");
        self.hours.entry(hour).or_default().insert(name.clone());
        (hour, name)
    }

    fn indexes(&self, from: Hour) -> Vec<Arc<HourIndex>> {
        let index = |(hour, names): (&Hour, &BTreeSet<String>)| {
            Arc::new(HourIndex::build(*hour, names.iter().map(String::as_str), |name| name.len() as u64))
        };
        self.hours.range(from..).map(index).collect()
    }
}

/// One address that is polled.
struct Poller {
    published: Published,
    text: LiveText,
    shown: Option<Parsed>,
}

fn asked(start: i64, end: Option<i64>, gaps: Gaps, window: Option<u64>) -> Asked {
    let window = window.map(|seconds| Window(Duration::from_secs(seconds)));
    Asked { start: time(start), end: end.map(time), gaps, window }
}

impl Poller {
    fn new(asked: Asked) -> Self {
        let text = LiveText::new(&"c".parse().unwrap(), &"q".parse().unwrap(), asked, 3, time(0));
        Self { published: Published::new(Some(3)), text, shown: None }
    }

    fn poll(&mut self, disk: &Disk, now: Timestamp) -> String {
        let from = self.published.looks_from(self.text.asked().start.hour().previous());
        self.published.look(from, &disk.indexes(from), now, HOLD);
        self.published.advance(self.text.asked().start, now, HOLD);
        let asked = self.text.asked().clone();
        let selection = self.published.choose(asked.start, self.text.last(), asked.end);
        // What the names say: the microseconds of the start tell the encoding.
        self.text.append(&selection, &encodings(&selection, |start| start.micros() % 1_000_000 == 5, media));
        self.text.shorten(self.published.gone_until());
        let text = text_of(&self.text.show(false));
        let parsed = Parsed::new(&text);
        if let Some(before) = &self.shown {
            parsed.extends(before);
        }
        let delta = text_of(&self.text.show(true));
        assert_eq!(Parsed::new(&delta).skipped_of(&parsed), parsed, "a delta update says the same");
        self.shown = Some(parsed);
        text
    }

    /// As a process that was killed, and another that is asked the same.
    fn restart(&mut self) {
        if let Some(saved) = self.published.saved() {
            self.published = Published::restore(&saved, self.published.differing().cloned().collect());
        }
        let asked = self.text.asked().clone();
        self.text = LiveText::new(&"c".parse().unwrap(), &"q".parse().unwrap(), asked, 3, time(0));
    }
}

/// Of each part: one of two encodings, by what `is_other` says of its start.
fn encodings(
    selection: &Selection,
    is_other: impl Fn(Timestamp) -> bool,
    media: impl Fn(u32) -> SegmentMedia,
) -> Vec<Option<Encoding>> {
    let encoding_of = |part: Part<'_>| match part {
        Part::Segment(segment) => {
            let media = media(if is_other(segment.start) { 480 } else { 720 });
            Some(Encoding { id: media.encoding.id(), init: media.init })
        }
        Part::Hole(_) => None,
    };
    selection.parts().map(encoding_of).collect()
}

fn text_of(shown: &Shown) -> String {
    shown.text.iter().map(|piece| std::str::from_utf8(piece).unwrap()).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parsed {
    target: u64,
    sequence: usize,
    discontinuity_sequence: usize,
    /// Each with all of its lines.
    entries: Vec<String>,
    ended: bool,
    skipped: usize,
}

impl Parsed {
    fn new(text: &str) -> Self {
        let mut parsed =
            Self { target: 0, sequence: 0, discontinuity_sequence: 0, entries: vec![], ended: false, skipped: 0 };
        let mut entry = String::new();
        for line in text.lines() {
            let number = || line.rsplit_once([':', '=']).unwrap().1.parse::<usize>().unwrap();
            match line.split(':').next().unwrap() {
                "#EXTM3U" | "#EXT-X-VERSION" | "#EXT-X-SERVER-CONTROL" => {}
                "#EXT-X-TARGETDURATION" => parsed.target = number() as u64,
                "#EXT-X-MEDIA-SEQUENCE" => parsed.sequence = number(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => parsed.discontinuity_sequence = number(),
                "#EXT-X-SKIP" => parsed.skipped = number(),
                "#EXT-X-ENDLIST" => parsed.ended = true,
                _ => {
                    entry.push_str(line);
                    entry.push('\n');
                    if !line.starts_with('#') {
                        parsed.entries.push(std::mem::take(&mut entry));
                    }
                }
            }
        }
        assert_eq!(entry, "", "no tag without an entry");
        parsed
    }

    fn extends(&self, before: &Self) {
        assert_eq!(self.target, before.target);
        let removed = self.sequence.checked_sub(before.sequence).expect("sequence numbers never fall");
        assert!(!before.ended || self.entries.len() + removed == before.entries.len(), "nothing comes after the end");
        let removed = removed.min(before.entries.len());
        let (gone, kept) = before.entries.split_at(removed);
        let discontinuities = gone.iter().filter(|entry| entry.contains("#EXT-X-DISCONTINUITY\n")).count();
        if !kept.is_empty() {
            assert_eq!(self.discontinuity_sequence, before.discontinuity_sequence + discontinuities);
        }
        assert!(self.entries.starts_with(kept), "was\n{}is\n{}", kept.concat(), self.entries.concat());
    }

    /// What a player makes of this delta update, which had `full` before.
    fn skipped_of(mut self, full: &Self) -> Self {
        let skipped = std::mem::take(&mut self.skipped);
        self.entries.splice(0..0, full.entries[..skipped].iter().cloned());
        self
    }
}

fn starts(text: &str) -> Vec<String> {
    let dates = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    dates.map(|date| date[14..19].to_owned()).collect()
}

#[test]
fn a_hole_is_waited_for_then_sealed_and_what_comes_later_is_of_the_next_generation() {
    let mut disk = Disk::default();
    for second in [0, 2, 8, 10] {
        disk.add(time(second), 2_000_000, "full");
    }
    let mut live = Poller::new(asked(0, None, Gaps::Discontinuity, None));
    // The segment after the hole ended at 10: as this is the first look, it has been there since then.
    assert_eq!(starts(&live.poll(&disk, time(12))), ["59:00", "59:02"]);
    disk.add(time(6), 2_000_000, "full");
    assert_eq!(starts(&live.poll(&disk, time(24))), ["59:00", "59:02"]);
    let sealed = live.poll(&disk, time(25));
    assert_eq!(starts(&sealed), ["59:00", "59:02", "59:06", "59:08", "59:10"]);
    assert_eq!(sealed.matches("DISCONTINUITY\n").count(), 1);
    assert!(!live.published.differs(time(0)));
    disk.add(time(4), 2_000_000, "full");
    assert_eq!(live.poll(&disk, time(26)), sealed);
    assert!(live.published.differs(time(0)));
    assert!(!Poller::new(asked(0, None, Gaps::Discontinuity, None)).poll(&disk, time(26)).contains("DISCONTINUITY\n"));
}

#[test]
fn what_trickles_into_a_hole_does_not_make_players_wait_again() {
    let mut disk = Disk::default();
    disk.add(time(0), 2_000_000, "full");
    let mut live = Poller::new(asked(0, None, Gaps::Discontinuity, None));
    live.poll(&disk, time(2));
    for (seen, second) in [(40, 38), (45, 30), (50, 20), (54, 10)] {
        disk.add(time(second), 2_000_000, "full");
        assert_eq!(starts(&live.poll(&disk, time(seen))), ["59:00"], "at {seen}");
    }
    assert_eq!(starts(&live.poll(&disk, time(55))).len(), 5);
}

#[test]
fn a_source_whose_clock_runs_ahead_is_waited_for_no_longer() {
    let mut disk = Disk::default();
    let mut live = Poller::new(asked(0, None, Gaps::Discontinuity, None));
    disk.add(time(1000), 2_000_000, "full");
    live.poll(&disk, time(2));
    disk.add(time(1004), 2_000_000, "full");
    assert_eq!(starts(&live.poll(&disk, time(6))).len(), 1);
    assert_eq!(starts(&live.poll(&disk, time(20))).len(), 1);
    assert_eq!(starts(&live.poll(&disk, time(21))).len(), 2);
}

#[test]
fn a_deleted_segment_ends_what_lies_before_it() {
    let mut disk = Disk::default();
    let names: Vec<_> = (0..10).map(|n| disk.add(time(n * 2), 2_000_000, "full")).collect();
    let mut live = Poller::new(asked(0, None, Gaps::Discontinuity, None));
    assert!(live.poll(&disk, time(20)).contains("MEDIA-SEQUENCE:0\n"));
    let (hour, name) = &names[3];
    disk.hours.get_mut(hour).unwrap().remove(name);
    let shortened = live.poll(&disk, time(21));
    assert!(shortened.contains("MEDIA-SEQUENCE:4\n") && !shortened.contains(name));
    assert_eq!(starts(&shortened).len(), 6);
}

#[test]
fn what_would_break_the_target_duration_is_a_hole_until_the_next_generation() {
    let mut disk = Disk::default();
    disk.add(time(0), 2_000_000, "full");
    let mut live = Poller::new(asked(0, None, Gaps::Discontinuity, None));
    live.poll(&disk, time(2));
    disk.add(time(2), 3_600_000, "full");
    disk.add(time(6), 3_400_000, "full");
    live.poll(&disk, time(10));
    assert_eq!(starts(&live.poll(&disk, time(25))), ["59:00", "59:06"]);
    assert!(live.published.differs(time(0)));
    let mut next = Published::new(None);
    next.look(time(0).hour(), &disk.indexes(time(0).hour()), time(26), HOLD);
    assert_eq!((next.target_seconds(), next.differs(time(0))), (Some(6), false));
}

#[test]
fn a_gap_has_entries_that_fill_it() {
    let mut disk = Disk::default();
    disk.add(time(0), 2_000_000, "full");
    disk.add(time(12), 2_000_000, "full");
    let text = Poller::new(asked(0, None, Gaps::Gap, None)).poll(&disk, time(60));
    let parsed = Parsed::new(&text);
    assert_eq!(parsed.entries.iter().filter(|entry| entry.contains("#EXT-X-GAP\n#EXTINF:2.500000,\n")).count(), 4);
    assert!(text.contains("#EXT-X-VERSION:8\n"));
    assert!(parsed.entries[5].starts_with("#EXT-X-DISCONTINUITY\n"));
}

#[test]
fn a_range_ends_when_it_is_shown_to_its_end() {
    let mut disk = Disk::default();
    let mut live = Poller::new(asked(0, Some(5), Gaps::Discontinuity, None));
    for second in [0, 2, 4] {
        assert!(!live.poll(&disk, time(second)).contains("ENDLIST"));
        disk.add(time(second), 2_000_000, "full");
    }
    assert!(live.poll(&disk, time(6)).ends_with("#EXT-X-ENDLIST\n"));
}

#[test]
fn a_map_comes_again_when_the_encoding_changes_and_stays_when_the_window_moves() {
    let mut disk = Disk::default();
    for second in 0..20 {
        disk.add(time(second * 2), 2_000_000, "full");
    }
    let (channel, quality) = ("c".parse().unwrap(), "q".parse().unwrap());
    let mut published = Published::new(Some(3));
    let hour = time(0).hour();
    published.look(hour, &disk.indexes(hour), time(60), HOLD);
    published.advance(time(0), time(60), HOLD);
    let mut text = LiveText::new(&channel, &quality, asked(0, None, Gaps::Discontinuity, Some(12)), 3, time(0));
    let selection = published.choose(time(0), None, None);
    let of_mp4 = |height| mp4_media(height, &[height as u8; 700]);
    text.append(&selection, &encodings(&selection, |start| start >= time(10), of_mp4));
    let whole = text_of(&text.show(false));
    assert_eq!((whole.matches("#EXT-X-MAP").count(), whole.matches("DISCONTINUITY\n").count()), (2, 1));
    text.shorten(None);
    let window = text_of(&text.show(false));
    assert!(window.contains("DISCONTINUITY-SEQUENCE:1\n") && window.contains("MEDIA-SEQUENCE:14\n"), "{window}");
    let map = window.lines().find(|line| line.starts_with("#EXT-X-MAP")).unwrap();
    assert!(map.contains("59%3A10.000000-2.0-") && map.ends_with(",BYTERANGE=\"700@0\""), "{map}");
}

#[derive(Debug, Clone)]
enum Event {
    /// Slot, kind, duration in ms, offset in ms.
    Arrives(i64, &'static str, i64, i64),
    /// The n-th name there is.
    Deleted(usize),
    Passes(i64),
    Restarts,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let kinds = prop_oneof![8 => Just("full"), 1 => Just("partial"), 1 => Just("suspect"), 1 => Just("temp")];
    let durations = prop_oneof![6 => Just(2000), 1 => Just(1990), 1 => Just(3000), 1 => Just(4), 1 => Just(9000)];
    let offsets = prop_oneof![6 => Just(0), 1 => Just(4), 1 => Just(700), 1 => Just(-8)];
    let event = prop_oneof![
        12 => (0i64..60, kinds, durations, offsets).prop_map(|(slot, kind, duration, offset)| {
            Event::Arrives(slot, kind, duration, offset)
        }),
        1 => (0usize..40).prop_map(Event::Deleted),
        6 => (1i64..9).prop_map(Event::Passes),
        1 => Just(Event::Restarts),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn in_any_order_of_arrival_each_playlist_extends_the_one_before(events in events()) {
        let mut disk = Disk::default();
        let mut now = time(0);
        let mut pollers: Vec<Poller> = [
            asked(0, None, Gaps::Discontinuity, None),
            asked(31, Some(90), Gaps::Gap, None),
            asked(3, None, Gaps::Discontinuity, Some(10)),
        ].into_iter().map(Poller::new).collect();
        for event in events {
            match event {
                Event::Arrives(slot, kind, duration, offset) => {
                    let start = time(slot * 2).plus_micros(offset * 1000 + 5 * (slot % 7 / 6));
                    disk.add(start, duration * 1000, kind);
                }
                Event::Deleted(place) => {
                    let names: Vec<_> = disk.hours.iter().flat_map(|(hour, names)| {
                        names.iter().map(|name| (*hour, name.clone()))
                    }).collect();
                    if let Some((hour, name)) = names.get(place) {
                        let names = disk.hours.get_mut(hour).unwrap();
                        names.remove(name);
                        if names.is_empty() {
                            disk.hours.remove(hour);
                        }
                    }
                }
                Event::Passes(seconds) => now = now.plus_micros(seconds * 1_000_000),
                Event::Restarts => pollers.iter_mut().for_each(Poller::restart),
            }
            for poller in &mut pollers {
                poller.poll(&disk, now);
            }
        }
        // In the end everything has been waited for: what is on disk is shown, or belongs to the next generation.
        let later = now.plus_micros(100_000_000);
        for poller in &mut pollers {
            poller.poll(&disk, later);
            prop_assert!(!poller.published.waits(poller.text.asked().start), "nothing waits for ever");
        }
    }
}
