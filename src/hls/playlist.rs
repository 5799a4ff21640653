//! Writes the playlists that players read (RFC 8216).
//!
//! Promises: an integer TARGETDURATION of at least every EXTINF; a date on every segment; a discontinuity wherever
//! something is missing; ENDLIST only where the range is closed and shown to its end.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{Channel, Quality, SegmentName, Timestamp};
use crate::select::{Part, Segment};

/// RFC 3986's unreserved characters stand for themselves in a path part.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One path part of a URL.
pub fn encode(part: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(part, PATH_PART)
}

/// Where a segment's bytes are.
pub fn segment_url(channel: &Channel, quality: &Quality, hour: crate::model::Hour, name: &str) -> String {
    format!("/segments/{}/{}/{hour}/{}", encode(channel.as_str()), encode(quality.as_str()), encode(name))
}

/// The initialisation section at the head of a self-contained segment of fragmented MP4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub segment: SegmentName,
    pub length_bytes: u64,
}

/// What a media playlist shows.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    pub channel: &'a Channel,
    pub quality: &'a Quality,
    pub parts: &'a [Part<'a>],
    /// Nothing will be added: the range has an end, and it is reached.
    pub closed: bool,
    /// Present for fragmented MP4.
    pub map: Option<Map>,
}

/// The whole text of a media playlist.
pub fn media(shown: &Shown<'_>) -> String {
    let segments = || {
        shown.parts.iter().filter_map(|part| match part {
            Part::Segment(segment) => Some(segment),
            Part::Hole(_) => None,
        })
    };
    let longest = segments().map(|segment| segment.duration_micros).max().unwrap_or(0);
    // Rounding up also satisfies players that compare without rounding.
    let target_seconds = (longest.max(1) + 999_999) / 1_000_000;
    // EXT-X-MAP in a playlist that is not I-frames only needs version 6.
    let version = if shown.map.is_some() { 6 } else { 3 };
    let mut text = String::with_capacity(256 + segments().count() * 200);
    let _ = write!(
        text,
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_seconds}\n#EXT-X-MEDIA-SEQUENCE:0\n"
    );
    if shown.closed {
        text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
    }
    if let Some(map) = &shown.map {
        let url = segment_url(shown.channel, shown.quality, map.segment.hour(), map.segment.as_str());
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{url}\",BYTERANGE=\"{}@0\"", map.length_bytes);
    }
    let mut hole_before = false;
    let mut first = true;
    for part in shown.parts {
        match part {
            Part::Hole(_) => hole_before = true,
            Part::Segment(segment) => {
                if hole_before && !first {
                    text.push_str("#EXT-X-DISCONTINUITY\n");
                }
                (hole_before, first) = (false, false);
                push_segment(&mut text, shown, segment);
            }
        }
    }
    if shown.closed {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn push_segment(text: &mut String, shown: &Shown<'_>, segment: &Segment<'_>) {
    let (seconds, micros) = (segment.duration_micros / 1_000_000, segment.duration_micros % 1_000_000);
    let url = segment_url(shown.channel, shown.quality, segment.hour, segment.name);
    let _ = write!(text, "#EXT-X-PROGRAM-DATE-TIME:{}Z\n#EXTINF:{seconds}.{micros:06},\n{url}\n", segment.start);
}

/// One quality of a channel, as a master playlist offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    pub quality: Quality,
    /// Peak bits per second, measured.
    pub bandwidth: u64,
}

/// The whole text of a master playlist, best rendition first. `query` is appended to each address as it is.
pub fn master(channel: &Channel, renditions: &[Rendition], start: Option<Timestamp>, end: Option<Timestamp>) -> String {
    let mut query = String::new();
    for (key, time) in [("start", start), ("end", end)] {
        if let Some(time) = time {
            let mark = if query.is_empty() { '?' } else { '&' };
            let _ = write!(query, "{mark}{key}={}Z", encode(&time.to_string()));
        }
    }
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for (place, rendition) in renditions.iter().enumerate() {
        let (name, default) = (&rendition.quality, if place == 0 { "YES" } else { "NO" });
        let _ = write!(
            text,
            "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"{name}\",NAME=\"{name}\",AUTOSELECT=YES,DEFAULT={default}\n\
             #EXT-X-STREAM-INF:BANDWIDTH={},VIDEO=\"{name}\",NAME=\"{name}\"\n/playlist/{}/{}.m3u8{query}\n",
            rendition.bandwidth,
            encode(channel.as_str()),
            encode(name.as_str()),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hour, SegmentKind};
    use crate::select::Hole;

    fn segment(second: i64, duration_micros: i64) -> Segment<'static> {
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let start = hour.start().plus_micros(second * 1_000_000);
        Segment { hour, name: "00:00.0-2.0-full-x.ts", start, duration_micros, kind: SegmentKind::Full }
    }

    fn shown(parts: &[Part<'_>], closed: bool) -> String {
        let (channel, quality) = ("x y".parse().unwrap(), "source".parse().unwrap());
        media(&Shown { channel: &channel, quality: &quality, parts, closed, map: None })
    }

    #[test]
    fn a_hole_is_a_discontinuity_and_the_target_covers_every_segment() {
        let hole = Hole { start: segment(2, 0).start, end: segment(4, 0).start };
        let parts = [
            Part::Hole(hole),
            Part::Segment(segment(0, 2_000_000)),
            Part::Hole(hole),
            Part::Segment(segment(4, 2_400_001)),
        ];
        assert_eq!(
            shown(&parts, true),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:00:00.000000Z\n#EXTINF:2.000000,\n\
             /segments/x%20y/source/2026-01-02T03/00%3A00.0-2.0-full-x.ts\n#EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:00:04.000000Z\n#EXTINF:2.400001,\n\
             /segments/x%20y/source/2026-01-02T03/00%3A00.0-2.0-full-x.ts\n#EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn an_open_or_empty_playlist_has_no_end() {
        assert!(!shown(&[Part::Segment(segment(0, 2_000_000))], false).contains("ENDLIST"));
        assert!(shown(&[], false).contains("#EXT-X-TARGETDURATION:1\n"));
    }
}
