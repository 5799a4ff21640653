//! Writes the playlists that players read (RFC 8216).
//!
//! Promises: an integer TARGETDURATION of at least every EXTINF; a date on every segment; a discontinuity wherever
//! something is missing or the encoding changes; ENDLIST only where the range is closed and shown to its end.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::changes::Change;
use crate::model::{Channel, Hour, Quality, SegmentName, Timestamp};
use crate::select::{Part, Segment, Selection};

/// RFC 3986's unreserved characters stand for themselves in a path part.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One path part of a URL.
pub fn encode(part: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(part, PATH_PART)
}

/// The initialisation section at the head of a self-contained segment of fragmented MP4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub segment: SegmentName,
    pub length_bytes: u64,
}

/// A media playlist, as pieces of its text in order: a week of 2 s segments is 54 MB, and is never held whole.
#[derive(Debug, Clone)]
pub struct MediaPlaylist {
    selection: Selection,
    /// How many parts of the selection are shown.
    len: usize,
    closed: bool,
    /// What stands before a segment beside what a hole asks for, in order.
    changes: Vec<Change>,
    next_change: usize,
    urls: Urls,
    next: Next,
    /// Something is missing before the next segment.
    hole_before: bool,
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
    /// Shows the first `len` parts of `selection`. `closed`: nothing will be added, as the range has an end and it is
    /// reached. `changes` are in order of their parts.
    pub fn new(
        channel: &Channel,
        quality: &Quality,
        selection: Selection,
        len: usize,
        closed: bool,
        changes: Vec<Change>,
    ) -> Self {
        let urls = Urls::new(channel, quality);
        Self { selection, len, closed, changes, next_change: 0, urls, next: Next::Head, hole_before: false }
    }

    fn push_head(&self, text: &mut String) {
        // Rounding up also satisfies players that compare without rounding.
        let target_seconds = (self.selection.longest_micros().max(1) + 999_999) / 1_000_000;
        // EXT-X-MAP in a playlist that is not I-frames only needs version 6.
        let has_map = self.changes.iter().any(|change| change.map.is_some());
        let version = if has_map { 6 } else { 3 };
        let _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_seconds}\n#EXT-X-MEDIA-SEQUENCE:0\n"
        );
        if self.closed {
            text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
        }
    }

    /// Parts from `at` on until the piece is full; answers where to go on.
    fn push_parts(&mut self, text: &mut String, mut at: usize) -> Next {
        let mut hour_text = HourText::default();
        while at < self.len && text.len() < PIECE_BYTES {
            match self.selection.part(at) {
                Part::Hole(_) => self.hole_before = true,
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
                    push_segment(text, &self.urls, hour_text.of(segment.hour), &segment);
                }
            }
            at += 1;
        }
        if at < self.len {
            return Next::Part(at);
        }
        if self.closed {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Next::Done
    }
}

impl Iterator for MediaPlaylist {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let parts_left = self.len - if let Next::Part(at) = self.next { at } else { 0 };
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
        Some(text)
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

/// An hour's name, written once for its many segments.
#[derive(Default)]
pub(super) struct HourText(Option<(Hour, String)>);

impl HourText {
    pub(super) fn of(&mut self, hour: Hour) -> &str {
        if self.0.as_ref().is_none_or(|(held, _)| *held != hour) {
            self.0 = Some((hour, hour.to_string()));
        }
        self.0.as_ref().map_or("", |(_, text)| text)
    }
}

/// By hand, as a long playlist is little else: formatting it with `write!` takes several times as long.
pub(super) fn push_segment(text: &mut String, urls: &Urls, hour_text: &str, segment: &Segment<'_>) {
    let offset_micros = segment.start.micros_since(segment.hour.start()) as u64;
    text.push_str("#EXT-X-PROGRAM-DATE-TIME:");
    text.push_str(hour_text);
    text.push(':');
    push_digits(text, offset_micros / 60_000_000, 2);
    text.push(':');
    push_digits(text, offset_micros / 1_000_000 % 60, 2);
    text.push('.');
    push_digits(text, offset_micros % 1_000_000, 6);
    text.push_str("Z\n");
    push_extinf(text, segment.duration_micros);
    urls.push(text, hour_text, segment.name);
    text.push('\n');
}

/// The date tag of anything but a segment.
pub(super) fn push_date(text: &mut String, time: Timestamp) {
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{time}Z");
}

pub(super) fn push_extinf(text: &mut String, duration_micros: i64) {
    text.push_str("#EXTINF:");
    let duration_micros = duration_micros.unsigned_abs();
    push_digits(text, duration_micros / 1_000_000, 1);
    text.push('.');
    push_digits(text, duration_micros % 1_000_000, 6);
    text.push_str(",\n");
}

/// A number in decimal, with zeros before it to at least `width` digits.
fn push_digits(text: &mut String, mut value: u64, width: usize) {
    // 20 digits hold any u64.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let from = at.min(digits.len() - width);
    text.push_str(std::str::from_utf8(&digits[from..]).expect("digits are ASCII"));
}

/// Where segments' bytes are.
#[derive(Debug, Clone)]
pub(super) struct Urls {
    /// `/segments/CHANNEL/QUALITY/`
    prefix: String,
}

impl Urls {
    pub(super) fn new(channel: &Channel, quality: &Quality) -> Self {
        Self { prefix: format!("/segments/{}/{}/", encode(channel.as_str()), encode(quality.as_str())) }
    }

    /// The EXT-X-MAP line for a segment that holds its own initialisation section.
    pub(super) fn map_tag(&self, hour: Hour, name: &str, init_bytes: u64) -> String {
        let mut line = String::from("#EXT-X-MAP:URI=\"");
        self.push(&mut line, &hour.to_string(), name);
        let _ = writeln!(line, "\",BYTERANGE=\"{init_bytes}@0\"");
        line
    }

    /// Where nothing is: an entry must have an address, and players do not ask for one that is marked as a gap.
    pub(super) fn push_gap(&self, text: &mut String, start: Timestamp) {
        let _ = writeln!(text, "{}{}/gap-{}", self.prefix, start.hour(), start.micros());
    }

    fn push(&self, text: &mut String, hour_text: &str, name: &str) {
        text.push_str(&self.prefix);
        text.push_str(hour_text);
        text.push('/');
        match name.split_once(':') {
            // What nearly every name is: the colon of MM:SS, and else only what stands for itself.
            Some((minute, rest)) if is_plain(minute) && is_plain(rest) => {
                text.push_str(minute);
                text.push_str("%3A");
                text.push_str(rest);
            }
            _ => {
                let _ = write!(text, "{}", encode(name));
            }
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Span;
    use crate::select::HourIndex;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    /// A playlist of (offset as text, duration as text) within one hour.
    fn shown(segments: &[(&str, &str)], from: &str, until: &str, closed: bool) -> MediaPlaylist {
        changing(segments, from, until, closed, Vec::new())
    }

    fn changing(
        segments: &[(&str, &str)],
        from: &str,
        until: &str,
        closed: bool,
        changes: Vec<Change>,
    ) -> MediaPlaylist {
        let names: Vec<String> =
            segments.iter().map(|(start, duration)| format!("{start}-{duration}-full-{HASH}.ts")).collect();
        let hour = "2026-01-02T03".parse().unwrap();
        let index = HourIndex::build(hour, names.iter().map(String::as_str), |_| 0);
        let span = Span::new(from.parse().unwrap(), until.parse().unwrap()).unwrap();
        let selection = Selection::choose(span, vec![Arc::new(index)]);
        let len = selection.len();
        MediaPlaylist::new(&"x y".parse().unwrap(), &"source".parse().unwrap(), selection, len, closed, changes)
    }

    #[test]
    fn a_hole_is_a_discontinuity_and_the_target_covers_every_segment() {
        let segments = [("00:00.0", "2.0"), ("00:04", "2.400001")];
        let text: String = shown(&segments, "2026-01-02T02:59:50", "2026-01-02T03:00:06.4", true).collect();
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
        let text: String = changing(&segments, "2026-01-02T03:00:00", "2026-01-02T03:00:10", true, changes).collect();
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
        let open: String = shown(&[("00:00", "2.0")], "2026-01-02T03:00:00", "2026-01-02T03:00:02", false).collect();
        assert!(open.contains("#EXTINF") && !open.contains("ENDLIST"));
        let empty: String = shown(&[], "2026-01-02T03:00:00", "2026-01-02T03:00:02", false).collect();
        assert!(empty.contains("#EXT-X-TARGETDURATION:1\n") && !empty.contains("DISCONTINUITY"));
    }

    #[test]
    fn a_long_playlist_comes_in_pieces_of_bounded_size() {
        let starts: Vec<String> = (0..1800).map(|n| format!("{:02}:{:02}.{:06}", n / 30, n % 30 * 2, n)).collect();
        let segments: Vec<(&str, &str)> = starts.iter().map(|start| (start.as_str(), "2.0")).collect();
        let playlist = shown(&segments, "2026-01-02T03:00:00", "2026-01-02T04:00:00", false);
        let pieces: Vec<String> = playlist.collect();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 2 * SEGMENT_BYTES));
        let text = pieces.concat();
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

    #[test]
    fn digits_are_padded_and_never_cut() {
        for (value, width, expected) in
            [(0, 1, "0"), (7, 2, "07"), (123, 2, "123"), (0, 6, "000000"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut text = String::new();
            push_digits(&mut text, value, width);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_name_of_any_form_is_encoded() {
        let urls = Urls::new(&"c".parse().unwrap(), &"q".parse().unwrap());
        for name in ["00:00.5-2.0-full-a_b.ts", "a b:c.ts", "a:b:c", "é", "plain.ts", "%3A:x"] {
            let mut text = String::new();
            urls.push(&mut text, "H", name);
            assert_eq!(text, format!("/segments/c/q/H/{}", encode(name)));
        }
    }
}
