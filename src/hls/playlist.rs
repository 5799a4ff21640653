//! Writes the media playlists of ranges that are over (RFC 8216). Those that go on are in `live`.
//!
//! Promises: an integer TARGETDURATION of at least every EXTINF; a date on every segment; a discontinuity wherever
//! something is missing or the encoding changes; ENDLIST only where the range is shown to its end.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::changes::Change;
use super::entry::{Gaps, HourText, Urls, gap_entries, push_segment};
use super::hour_texts::HourTexts;
use crate::model::{Channel, Quality, SegmentName};
use crate::select::{HourIndex, Part, Selection};

/// The initialisation section at the head of a self-contained segment of fragmented MP4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub segment: SegmentName,
    pub length_bytes: u64,
}

/// A media playlist, as pieces of its text in order: a week of 2 s segments is 54 MB. Hours that are shown as they are come
/// from `HourTexts`, and are made once.
#[derive(Debug)]
pub struct MediaPlaylist {
    selection: Selection,
    hours: Vec<(Arc<HourIndex>, Range<usize>)>,
    /// The hour in which the next part lies.
    hour: usize,
    closed: bool,
    gaps: Gaps,
    /// What stands before a segment beside what a hole asks for, in order.
    changes: Vec<Change>,
    next_change: usize,
    urls: Urls,
    texts: HourTexts,
    next: Next,
    /// Something is missing before the next segment.
    hole_before: bool,
    /// The text of a whole hour, which comes next.
    ready: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    Part(usize),
    Done,
}

/// Pieces are about this long: few enough system calls, and they stay in the processor's cache.
const PIECE_BYTES: usize = 64 * 1024;
/// What a segment takes: two tags, and a path with a name of about 75 bytes.
const SEGMENT_BYTES: usize = 220;

impl MediaPlaylist {
    /// `changes` are in order of their parts.
    pub fn new(
        channel: &Channel,
        quality: &Quality,
        selection: Selection,
        gaps: Gaps,
        changes: Vec<Change>,
        texts: HourTexts,
    ) -> Self {
        let closed = matches!(selection.parts().next_back(), Some(Part::Segment(_)));
        Self {
            hours: selection.hours().map(|(index, parts)| (Arc::clone(index), parts)).collect(),
            hour: 0,
            closed,
            selection,
            gaps,
            changes,
            next_change: 0,
            urls: Urls::new(channel, quality),
            texts,
            next: Next::Head,
            hole_before: false,
            ready: None,
        }
    }

    fn target_seconds(&self) -> u64 {
        // Rounding up also satisfies players that compare without rounding.
        self.selection.longest_micros().max(1).unsigned_abs().div_ceil(1_000_000)
    }

    fn push_head(&self, text: &mut String) {
        let target_seconds = self.target_seconds();
        // EXT-X-MAP in a playlist that is not I-frames only needs version 6, EXT-X-GAP 8.
        let has_map = self.changes.iter().any(|change| change.map.is_some());
        let version = match self.gaps {
            Gaps::Gap => 8,
            Gaps::Discontinuity if has_map => 6,
            Gaps::Discontinuity => 3,
        };
        let _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_seconds}\n#EXT-X-MEDIA-SEQUENCE:0\n"
        );
        if self.closed {
            text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
        }
    }

    /// Parts from `at` on until the piece is full, or a whole hour is ready; answers where to go on.
    fn push_parts(&mut self, text: &mut String, mut at: usize) -> Next {
        let mut hour_text = HourText::default();
        while at < self.selection.len() && text.len() < PIECE_BYTES {
            while self.hours.get(self.hour).is_some_and(|(_, parts)| parts.end <= at) {
                self.hour += 1;
            }
            match self.selection.part(at) {
                Part::Hole(hole) => {
                    self.hole_before = true;
                    if self.gaps == Gaps::Gap {
                        for gap in gap_entries(hole, self.target_seconds()) {
                            gap.push(text, &self.urls);
                        }
                    }
                }
                Part::Segment(segment) => {
                    // Before the first segment there is nothing to be discontinuous with.
                    let after_hole = std::mem::take(&mut self.hole_before) && at > 1;
                    match self.changes.get(self.next_change).filter(|change| change.part == at) {
                        None if after_hole => text.push_str("#EXT-X-DISCONTINUITY\n"),
                        None => {}
                        Some(change) => {
                            push_change(text, &self.urls, change, after_hole);
                            self.next_change += 1;
                        }
                    }
                    if let Some(end) = self.end_of_whole_hour(at) {
                        self.ready = Some(self.hour_from(at..end));
                        return Next::Part(end);
                    }
                    push_segment(text, &self.urls, hour_text.of(segment.hour), &segment);
                }
            }
            at += 1;
        }
        if at < self.selection.len() {
            return Next::Part(at);
        }
        if self.closed {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Next::Done
    }

    /// If the segment at `at` is its hour's first, and all that follows in the hour is shown as it would be in any longer
    /// range: where the next hour begins. What is shown then depends on nothing but the hour and its first segment.
    fn end_of_whole_hour(&self, at: usize) -> Option<usize> {
        let (index, parts) = self.hours.get(self.hour)?;
        let is_first =
            at == parts.start || (at == parts.start + 1 && self.selection.place_in_hour(parts.start).is_none());
        let goes_on = self.selection.span().end() >= index.hour().end().plus_micros(index.longest_micros());
        let is_uniform = self.changes.get(self.next_change).is_none_or(|change| change.part >= parts.end);
        (is_first && goes_on && is_uniform && self.gaps == Gaps::Discontinuity).then_some(parts.end)
    }

    fn hour_from(&self, parts: Range<usize>) -> Bytes {
        let index = &self.hours[self.hour].0;
        let first = self.selection.place_in_hour(parts.start).expect("it is a segment");
        self.texts.get_or_write(index, first, || {
            let mut text = String::with_capacity(parts.len() * SEGMENT_BYTES);
            let mut hour_text = HourText::default();
            for part in parts.map(|place| self.selection.part(place)) {
                match part {
                    Part::Hole(_) => text.push_str("#EXT-X-DISCONTINUITY\n"),
                    Part::Segment(segment) => {
                        push_segment(&mut text, &self.urls, hour_text.of(segment.hour), &segment);
                    }
                }
            }
            text
        })
    }
}

impl Iterator for MediaPlaylist {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(hour) = self.ready.take() {
            return Some(hour);
        }
        let parts_left = self.selection.len() - if let Next::Part(at) = self.next { at } else { 0 };
        let mut text = String::with_capacity((parts_left * SEGMENT_BYTES).min(PIECE_BYTES) + 2 * SEGMENT_BYTES);
        let at = match self.next {
            Next::Head => {
                self.push_head(&mut text);
                0
            }
            Next::Part(at) => at,
            Next::Done => return None,
        };
        self.next = self.push_parts(&mut text, at);
        // An hour that follows another without a hole has nothing before it.
        if text.is_empty() { self.next() } else { Some(text.into()) }
    }
}

fn push_change(text: &mut String, urls: &Urls, change: &Change, after_hole: bool) {
    if after_hole || change.discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if let Some(map) = &change.map {
        text.push_str(&urls.map_tag(map.segment.hour(), map.segment.as_str(), map.length_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    /// A playlist of (offset as text, duration as text) within one hour.
    fn shown(segments: &[(&str, &str)], from: &str, until: &str) -> String {
        changing(segments, from, until, Gaps::Discontinuity, Vec::new())
    }

    fn changing(segments: &[(&str, &str)], from: &str, until: &str, gaps: Gaps, changes: Vec<Change>) -> String {
        let names: Vec<String> =
            segments.iter().map(|(start, duration)| format!("{start}-{duration}-full-{HASH}.ts")).collect();
        let hour = "2026-01-02T03".parse().unwrap();
        let index = HourIndex::build(hour, names.iter().map(String::as_str), |_| 0);
        let span = Span::new(from.parse().unwrap(), until.parse().unwrap()).unwrap();
        let selection = Selection::choose(span, vec![Arc::new(index)]);
        let texts = HourTexts::new(1 << 20);
        text(MediaPlaylist::new(&"x y".parse().unwrap(), &"source".parse().unwrap(), selection, gaps, changes, texts))
    }

    fn text(playlist: MediaPlaylist) -> String {
        playlist.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_hole_is_a_discontinuity_and_the_target_covers_every_segment() {
        let segments = [("00:00.0", "2.0"), ("00:04", "2.400001")];
        let text = shown(&segments, "2026-01-02T02:59:50", "2026-01-02T03:00:06.4");
        assert_eq!(
            text,
            format!(
                "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
                 #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:00:00.000000Z\n#EXTINF:2.000000,\n\
                 /segments/x%20y/source/2026-01-02T03/00%3A00.0-2.0-full-{HASH}.ts\n#EXT-X-DISCONTINUITY\n\
                 #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:00:04.000000Z\n#EXTINF:2.400001,\n\
                 /segments/x%20y/source/2026-01-02T03/00%3A04-2.400001-full-{HASH}.ts\n#EXT-X-ENDLIST\n"
            )
        );
    }

    #[test]
    fn a_change_is_told_before_its_segment_and_only_once_where_a_hole_is() {
        let map = |second: &str| {
            let name = format!("00:{second}-2.0-full-{HASH}.ts");
            let segment = SegmentName::parse("2026-01-02T03".parse().unwrap(), &name).unwrap();
            Some(Map { segment, length_bytes: 700 })
        };
        let segments = [("00:00", "2.0"), ("00:02", "2.0"), ("00:06", "2.0"), ("00:08", "2.0")];
        // The hole is part 2.
        let changes = vec![
            Change { part: 0, discontinuity: false, map: map("00") },
            Change { part: 1, discontinuity: true, map: map("02") },
            Change { part: 3, discontinuity: true, map: None },
            Change { part: 4, discontinuity: false, map: map("08") },
        ];
        let text = changing(&segments, "2026-01-02T03:00:00", "2026-01-02T03:00:10", Gaps::Discontinuity, changes);
        let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-")).collect();
        let told: Vec<String> =
            told.into_iter().map(|tag| tag.split("/00%3A").last().unwrap().replace(HASH, "H")).collect();
        let date = |second: &str| format!("PROGRAM-DATE-TIME:2026-01-02T03:00:{second}.000000Z");
        let map = |second: &str| format!("{second}-2.0-full-H.ts\",BYTERANGE=\"700@0\"");
        let expected = [
            &["VERSION:6".to_owned(), "TARGETDURATION:2".to_owned(), "MEDIA-SEQUENCE:0".to_owned()][..],
            &["PLAYLIST-TYPE:VOD".to_owned(), map("00"), date("00"), "DISCONTINUITY".to_owned(), map("02"), date("02")],
            &["DISCONTINUITY".to_owned(), date("06"), map("08"), date("08"), "ENDLIST".to_owned()],
        ];
        assert_eq!(told, expected.concat());
    }

    #[test]
    fn an_open_or_empty_playlist_has_no_end() {
        let open = shown(&[("00:00", "2.0")], "2026-01-02T03:00:00", "2026-01-02T03:00:04");
        assert!(open.contains("#EXTINF") && !open.contains("ENDLIST"));
        let empty = shown(&[], "2026-01-02T03:00:00", "2026-01-02T03:00:02");
        assert!(empty.contains("#EXT-X-TARGETDURATION:1\n") && !empty.contains("DISCONTINUITY"));
    }

    #[test]
    fn gaps_fill_what_is_missing_up_to_both_ends() {
        let segments = [("00:04", "2.0"), ("00:09", "2.0")];
        let text = changing(&segments, "2026-01-02T03:00:01", "2026-01-02T03:00:12", Gaps::Gap, Vec::new());
        let gaps: Vec<&str> = text.split("#EXT-X-GAP\n#EXTINF:").skip(1).map(|rest| &rest[..8]).collect();
        assert_eq!(gaps, ["1.500000", "1.500000", "1.500000", "1.500000", "1.000000"]);
        assert_eq!((text.matches("#EXT-X-DISCONTINUITY\n").count(), text.contains("VERSION:8")), (1, true), "{text}");
    }

    /// Three hours with holes, overlaps and jitter, each from its first segment or from within.
    #[test]
    fn hours_that_are_held_say_what_they_would_say_anew() {
        let hours: Vec<Arc<HourIndex>> = (3..6)
            .map(|hour| {
                let segment = |n: u64| {
                    let micros = n * 2_000_000 + n * 7919 % 11_000 + if n.is_multiple_of(53) { 900_000 } else { 0 };
                    let (minute, second) = (micros / 60_000_000, micros % 60_000_000);
                    format!("{minute:02}:{:02}.{:06}-2.0-full-{HASH}.ts", second / 1_000_000, second % 1_000_000)
                };
                let names: Vec<String> = (0..1799).filter(|n| n * 31 % 97 != hour).map(segment).collect();
                let hour = format!("2026-01-02T{hour:02}").parse().unwrap();
                Arc::new(HourIndex::build(hour, names.iter().map(String::as_str), |_| 0))
            })
            .collect();
        let texts = HourTexts::new(1 << 20);
        for (from, until) in
            [("03:00:00", "06:00:00"), ("03:30:01", "06:00:00"), ("02:00:00", "05:00:03"), ("04:59:59", "06:00:00")]
        {
            let at = |time| format!("2026-01-02T{time}").parse().unwrap();
            let selection = Selection::choose(Span::new(at(from), at(until)).unwrap(), hours.clone());
            let mut expected = String::new();
            let mut hole_before = false;
            for (place, part) in selection.parts().enumerate() {
                match part {
                    Part::Hole(_) => hole_before = place > 0,
                    Part::Segment(segment) => {
                        if std::mem::take(&mut hole_before) {
                            expected.push_str("#EXT-X-DISCONTINUITY\n");
                        }
                        let urls = Urls::new(&"c".parse().unwrap(), &"q".parse().unwrap());
                        push_segment(&mut expected, &urls, &segment.hour.to_string(), &segment);
                    }
                }
            }
            for _ in 0..2 {
                let (channel, quality) = ("c".parse().unwrap(), "q".parse().unwrap());
                let (selection, texts) = (selection.clone(), texts.clone());
                let playlist =
                    MediaPlaylist::new(&channel, &quality, selection, Gaps::Discontinuity, Vec::new(), texts);
                let text = text(playlist);
                let entries = text.split_once("MEDIA-SEQUENCE:0\n").unwrap().1;
                let entries = entries.trim_start_matches("#EXT-X-PLAYLIST-TYPE:VOD\n");
                assert!(entries.trim_end_matches("#EXT-X-ENDLIST\n") == expected, "{from} to {until}");
            }
        }
    }

    #[test]
    fn a_long_playlist_has_every_segment() {
        let starts: Vec<String> = (0..1800).map(|n| format!("{:02}:{:02}.{:06}", n / 30, n % 30 * 2, n)).collect();
        let segments: Vec<(&str, &str)> = starts.iter().map(|start| (start.as_str(), "2.0")).collect();
        let text = shown(&segments, "2026-01-02T03:00:00", "2026-01-02T04:00:00");
        assert_eq!(text.matches("#EXTINF:2.000000,").count(), 1800);
        for (n, start) in starts.iter().enumerate() {
            let expected = format!(
                "#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:{start}Z\n#EXTINF:2.000000,\n\
                 /segments/x%20y/source/2026-01-02T03/{}-2.0-full-{HASH}.ts\n",
                start.replace(':', "%3A")
            );
            assert!(text.contains(&expected), "{n}: {expected}");
        }
    }
}
