//! One hour of one quality, as a compact immutable value: every segment's fields, and which one is best per start.
//!
//! A week of 2 s segments is 302,400 of these entries; so the names of an hour share one text, an entry is 24 bytes,
//! and a hash is decoded only where a tie needs it.

use std::cmp::Ordering;

use crate::model::{BadSegmentName, Hour, NameFields, SegmentKind, SegmentName, Timestamp};

/// A segment as an index shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    pub hour: Hour,
    pub name: &'a str,
    pub start: Timestamp,
    pub duration_micros: i64,
    pub kind: SegmentKind,
}

impl Segment<'_> {
    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(self.duration_micros)
    }

    pub fn taken(&self) -> Taken {
        Taken { start: self.start, end: self.end(), kind: self.kind }
    }

    pub fn to_name(self) -> SegmentName {
        SegmentName::parse(self.hour, self.name).expect("an index holds only names that parse")
    }
}

/// What choosing along a range needs to know of a segment that it took: a segment without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub start: Timestamp,
    pub end: Timestamp,
    pub kind: SegmentKind,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    duration_micros: i64,
    offset_micros: u32,
    text_at: u32,
    text_len: u8,
    kind: SegmentKind,
}

/// The segments of one hour, by start and then name.
#[derive(Debug)]
pub struct HourIndex {
    hour: Hour,
    texts: Box<str>,
    entries: Box<[Entry]>,
    /// Positions in `entries`: one per start, in order.
    best: Box<[u32]>,
    longest_micros: i64,
    unparsable: Vec<(Box<str>, BadSegmentName)>,
}

impl HourIndex {
    /// Takes the visible segment names of `hour` in any order. `size_of` gives a file's size in bytes, and is asked only
    /// where the choice between two names of one start needs it.
    pub fn build<'n>(
        hour: Hour,
        names: impl IntoIterator<Item = &'n str>,
        mut size_of: impl FnMut(&str) -> u64,
    ) -> Self {
        let mut parsed = Vec::new();
        let mut unparsable = Vec::new();
        for name in names {
            match NameFields::parse(name) {
                Ok(fields) => parsed.push((fields, name)),
                Err(why) => unparsable.push((name.into(), why)),
            }
        }
        parsed.sort_unstable_by(|(a, a_name), (b, b_name)| {
            a.offset_micros.cmp(&b.offset_micros).then_with(|| a_name.cmp(b_name))
        });
        let mut texts = String::with_capacity(parsed.iter().map(|(_, name)| name.len()).sum());
        let entries: Box<[Entry]> = parsed
            .iter()
            .map(|(fields, name)| {
                let text_at = u32::try_from(texts.len()).expect("an hour's names are far below 4 GiB");
                texts.push_str(name);
                Entry {
                    duration_micros: fields.duration_micros,
                    offset_micros: fields.offset_micros,
                    text_at,
                    text_len: u8::try_from(name.len()).expect("a name that parses is at most 255 bytes"),
                    kind: fields.kind,
                }
            })
            .collect();
        let mut index =
            Self { hour, texts: texts.into(), entries, best: Box::default(), longest_micros: 0, unparsable };
        index.best = index.choose(&mut size_of);
        index.longest_micros = index.best().map(|segment| segment.duration_micros).max().unwrap_or(0);
        index
    }

    /// An hour of just these segments, each the only one of its start.
    pub fn of<'s>(hour: Hour, segments: impl Iterator<Item = Segment<'s>>) -> Self {
        Self::build(hour, segments.map(|segment| segment.name), |_| 0)
    }

    pub fn empty(hour: Hour) -> Self {
        Self::build(hour, [], |_| 0)
    }

    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// The best segment of each start, in order of start (FORMATS §3).
    pub fn best(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + ExactSizeIterator {
        self.best.iter().map(|at| self.segment(*at))
    }

    /// Every segment, the `temp` ones too.
    pub fn all(&self) -> impl Iterator<Item = Segment<'_>> {
        (0..self.entries.len() as u32).map(|at| self.segment(at))
    }

    /// Whether a segment of this start has this very name, best or not.
    pub fn has(&self, segment: &Segment<'_>) -> bool {
        let offset_micros = segment.start.micros_since(self.hour.start());
        let first = self.entries.partition_point(|entry| i64::from(entry.offset_micros) < offset_micros);
        let same_start =
            self.entries[first..].iter().take_while(|entry| i64::from(entry.offset_micros) == offset_micros);
        same_start.map(|entry| self.text(entry)).any(|name| name == segment.name)
    }

    /// The duration of the longest best segment, in µs; 0 where there is none.
    pub fn longest_micros(&self) -> i64 {
        self.longest_micros
    }

    /// How many starts have a segment.
    pub fn len(&self) -> usize {
        self.best.len()
    }

    pub fn is_empty(&self) -> bool {
        self.best.is_empty()
    }

    /// File names that end like a segment but are none, with the reason.
    pub fn unparsable(&self) -> &[(Box<str>, BadSegmentName)] {
        &self.unparsable
    }

    /// Memory that this value holds, in bytes, for the bound of a cache.
    pub fn size_bytes(&self) -> usize {
        let unparsable: usize = self.unparsable.iter().map(|(name, _)| name.len() + 24).sum();
        size_of::<Self>() + self.texts.len() + size_of_val(&*self.entries) + size_of_val(&*self.best) + unparsable
    }

    /// What choosing along a range needs of the segment at `place` of `best()`: its text is left alone.
    pub(super) fn brief_at(&self, place: usize) -> Taken {
        let entry = &self.entries[self.best[place] as usize];
        let start = self.hour.start().plus_micros(i64::from(entry.offset_micros));
        Taken { start, end: start.plus_micros(entry.duration_micros), kind: entry.kind }
    }

    /// The segment at `place` of `best()`.
    pub(super) fn best_at(&self, place: usize) -> Segment<'_> {
        self.segment(self.best[place])
    }

    fn segment(&self, at: u32) -> Segment<'_> {
        let entry = &self.entries[at as usize];
        Segment {
            hour: self.hour,
            name: self.text(entry),
            start: self.hour.start().plus_micros(i64::from(entry.offset_micros)),
            duration_micros: entry.duration_micros,
            kind: entry.kind,
        }
    }

    fn text(&self, entry: &Entry) -> &str {
        &self.texts[entry.text_at as usize..][..usize::from(entry.text_len)]
    }

    fn choose(&self, size_of: &mut impl FnMut(&str) -> u64) -> Box<[u32]> {
        let mut best: Vec<u32> = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.kind == SegmentKind::Temp {
                continue;
            }
            let at = at as u32;
            match best.last_mut() {
                Some(last) if self.entries[*last as usize].offset_micros == entry.offset_micros => {
                    if self.is_better(entry, &self.entries[*last as usize], size_of) {
                        *last = at;
                    }
                }
                _ => best.push(at),
            }
        }
        best.into()
    }

    /// Whether `later` (by name) takes the place of `earlier`, which has the same start.
    fn is_better(&self, later: &Entry, earlier: &Entry, size_of: &mut impl FnMut(&str) -> u64) -> bool {
        let mut by_size = || size_of(self.text(later)).cmp(&size_of(self.text(earlier)));
        let order = later.kind.cmp(&earlier.kind).then_with(|| match later.kind {
            SegmentKind::Full => later
                .duration_micros
                .cmp(&earlier.duration_micros)
                .then_with(&mut by_size)
                .then_with(|| self.hash_order(later, earlier)),
            // On equal sizes the name that sorts first stays.
            SegmentKind::Suspect | SegmentKind::Partial | SegmentKind::Temp => by_size(),
        });
        order == Ordering::Greater
    }

    /// Hashes compare as raw bytes, which is not the order of their text.
    fn hash_order(&self, a: &Entry, b: &Entry) -> Ordering {
        let hash = |entry: &Entry| SegmentName::parse(self.hour, self.text(entry)).ok().and_then(|name| name.hash());
        hash(a).cmp(&hash(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const Z: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzw";

    fn best(names: &[String], size_of: impl FnMut(&str) -> u64) -> Vec<String> {
        let index = HourIndex::build("2026-01-02T03".parse().unwrap(), names.iter().map(String::as_str), size_of);
        index.best().map(|segment| segment.name.to_owned()).collect()
    }

    #[test]
    fn partial_never_replaces_full() {
        let (full, partial) = (format!("00:00.0-2.0-full-{A}.ts"), format!("00:00.0-9.0-partial-{Z}.ts"));
        assert_eq!(best(&[partial, full.clone()], |_| 7), [full]);
    }

    #[test]
    fn a_size_is_asked_only_for_a_tie() {
        let names =
            [format!("00:00-2.0-full-{A}.ts"), format!("00:00-3.0-full-{Z}.ts"), format!("00:02-2.0-full-{A}.ts")];
        assert_eq!(best(&names, |name| panic!("asked for {name}")).len(), 2);
    }

    #[test]
    fn one_start_written_in_two_ways_is_one_start() {
        let names = [format!("00:00.5-2.0-full-{A}.ts"), format!("00:00.500000-2.0-full-{Z}.ts")];
        assert_eq!(best(&names, |_| 1), [names[1].clone()]);
    }

    #[test]
    fn names_that_are_none_are_set_aside() {
        let index = HourIndex::build("2026-01-02T03".parse().unwrap(), ["a.ts", "00:00-1e300-full-x.ts"], |_| 0);
        assert_eq!((index.len(), index.unparsable().len()), (0, 2));
    }
}
