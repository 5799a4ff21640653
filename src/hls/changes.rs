//! Where a playlist must say that the encoding changes.
//!
//! Promises: an hour of one encoding costs the same however many segments it has; what is unknown never counts as a change.

use std::sync::Arc;

use super::playlist::Map;
use crate::media::{EncodingId, HourMedia, Init, SegmentMedia};
use crate::select::{Part, Selection};

/// What must stand before a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The segment's place among the parts of the selection.
    pub part: usize,
    /// Its encoding is another than that of the segment before it.
    pub discontinuity: bool,
    /// Its initialisation section is another than the one in force.
    pub map: Option<Map>,
}

/// The changes along a selection, in order. `media` has one of each of the selection's hours. `first` is what the first
/// segment is, for a caller who has looked: a player needs its map before all else.
pub fn changes(selection: &Selection, media: &[Arc<HourMedia>], first: Option<&SegmentMedia>) -> Vec<Change> {
    let Some(first_part) = first_segment(selection) else { return Vec::new() };
    let mut walk = Walk { selection, first_part, changes: Vec::new(), last: None };
    if let Some(first) = first {
        walk.see(first_part, (first.encoding.id(), first.init));
    }
    for ((index, parts), media) in selection.hours().zip(media) {
        debug_assert!(media.is_of(index));
        if media.in_order().all(|kind| walk.last == Some((kind.id, kind.media.init))) {
            continue;
        }
        for part in parts {
            if let Some(kind) = selection.place_in_hour(part).and_then(|place| media.at(place)) {
                walk.see(part, (kind.id, kind.media.init));
            }
        }
    }
    walk.changes
}

/// The place of the first segment: a hole may precede it.
pub fn first_segment(selection: &Selection) -> Option<usize> {
    (0..selection.len()).find(|part| selection.place_in_hour(*part).is_some())
}

struct Walk<'s> {
    selection: &'s Selection,
    first_part: usize,
    changes: Vec<Change>,
    last: Option<(EncodingId, Option<Init>)>,
}

impl Walk<'_> {
    fn see(&mut self, part: usize, seen: (EncodingId, Option<Init>)) {
        if self.last == Some(seen) {
            return;
        }
        let last = self.last.replace(seen);
        let (id, init) = seen;
        let discontinuity = last.is_some_and(|(last_id, _)| last_id != id);
        let has_new_init = discontinuity || last.is_none_or(|(_, last_init)| last_init != init);
        let map = init.filter(|_| has_new_init).map(|init| self.map(part, init));
        if discontinuity || map.is_some() {
            // What is known first of all stands for what comes before it.
            let part = if last.is_none() { self.first_part } else { part };
            self.changes.push(Change { part, discontinuity, map });
        }
    }

    fn map(&self, part: usize, init: Init) -> Map {
        match self.selection.part(part) {
            Part::Segment(segment) => Map { segment: segment.to_name(), length_bytes: init.len_bytes },
            Part::Hole(_) => unreachable!("only segments have an encoding"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fixtures::{hour, index_of, media, mp4_media};
    use crate::model::Span;

    /// The changes along two hours of four segments each, as (part, discontinuity, whose map). Part 4 is the hole that
    /// ends the first hour.
    fn found(known: &[Option<SegmentMedia>; 8], first: Option<&SegmentMedia>) -> Vec<(usize, bool, Option<String>)> {
        let segments = [(0, "full"), (2, "full"), (4, "full"), (6, "full")];
        let hours = [index_of("2026-01-02T03", &segments), index_of("2026-01-02T04", &segments)];
        let media = [Arc::new(hour(&hours[0], &known[..4])), Arc::new(hour(&hours[1], &known[4..]))];
        let span = Span::new("2026-01-02T03".parse().unwrap(), "2026-01-02T04:00:08".parse().unwrap()).unwrap();
        let selection = Selection::choose(span, hours.to_vec());
        let changes = changes(&selection, &media, first);
        let map = |map: Map| format!("{} {}", map.segment.path_text()[11..19].to_owned(), map.length_bytes);
        changes.into_iter().map(|change| (change.part, change.discontinuity, change.map.map(map))).collect()
    }

    #[test]
    fn a_change_stands_before_the_first_segment_that_differs() {
        let (a, b) = (Some(media(720)), Some(media(480)));
        let all_a = std::array::from_fn(|_| a.clone());
        assert_eq!(found(&all_a, None), []);
        let known = [a.clone(), a.clone(), b.clone(), b.clone(), b.clone(), b.clone(), b.clone(), a.clone()];
        assert_eq!(found(&known, None), [(2, true, None), (8, true, None)]);
        let known = [a.clone(), a.clone(), a.clone(), a.clone(), b.clone(), b.clone(), b.clone(), b.clone()];
        assert_eq!(found(&known, None), [(5, true, None)]);
    }

    #[test]
    fn what_is_unknown_is_no_change() {
        let (a, b) = (Some(media(720)), Some(media(480)));
        let known = [None, a.clone(), None, a.clone(), None, a.clone(), None, b];
        assert_eq!(found(&known, None), [(8, true, None)]);
        assert_eq!(found(&std::array::from_fn(|_| None), None), []);
    }

    #[test]
    fn an_initialisation_is_named_at_the_start_and_whenever_it_is_another() {
        let [a, a_again, b] = [mp4_media(720, b"one"), mp4_media(720, b"other"), mp4_media(480, b"three")].map(Some);
        let known =
            [a.clone(), a.clone(), a_again.clone(), a_again.clone(), a_again.clone(), b.clone(), b.clone(), None];
        let expected = [
            (0, false, Some("03/00:00 3".into())),
            (2, false, Some("03/00:04 5".into())),
            (6, true, Some("04/00:02 5".into())),
        ];
        assert_eq!(found(&known, None), expected);
        // The first is not known yet: the next one's serves.
        let known = [None, a.clone(), a.clone(), a.clone(), a.clone(), a.clone(), a.clone(), a.clone()];
        assert_eq!(found(&known, None), [(0, false, Some("03/00:02 3".into()))]);
        assert_eq!(found(&known, a.as_ref()), [(0, false, Some("03/00:00 3".into()))]);
        // A way round through another container needs it again.
        let known = [a.clone(), Some(media(720)), a.clone(), a.clone(), None, None, None, None];
        let maps: Vec<bool> = found(&known, None).into_iter().map(|(_, _, map)| map.is_some()).collect();
        assert_eq!(maps, [true, false, true]);
    }
}
