//! Which segments are advertisements that the source stitched in, by its own words.
//!
//! Promises: pure; a segment is an advertisement if its title says so, or if its midpoint lies in a date range of the
//! class; one that merely touches such a range is programme. A range whose end is not known, or that is longer than any
//! break, says nothing. In doubt it is programme; and what is not is kept in quarantine, with every byte.

use std::sync::Arc;

use super::tracker::Wanted;
use crate::hls::upstream::{DateRange, UpstreamSegment};
use crate::model::{Span, Timestamp};
use crate::store::Shelf;

/// How Twitch marks the ranges of its advertisements.
const CLASS: &str = "twitch-stitched-ad";
/// Breaks take a few minutes. A longer range is a mistake that would empty the record.
const LONGEST_MICROS: i64 = 15 * 60 * 1_000_000;

/// What a segment shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    #[default]
    Programme,
    Advertisement(Sign),
}

impl Content {
    pub fn is_advertisement(self) -> bool {
        matches!(self, Self::Advertisement(_))
    }

    /// Where its bytes are put.
    pub fn shelf(self) -> Shelf {
        match self {
            Self::Programme => Shelf::Record,
            Self::Advertisement(_) => Shelf::Quarantine,
        }
    }
}

/// By what an advertisement was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Title,
    DateRange,
}

/// How the advertisements of a channel are known. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdRules {
    titles: Arc<[Box<str>]>,
}

impl AdRules {
    /// `titles` are beginnings of EXTINF titles.
    pub fn new<T: AsRef<str>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self { titles: titles.into_iter().map(|title| title.as_ref().into()).collect() }
    }

    /// What the segments of a playlist with these ranges are to be judged by.
    pub fn judge(&self, ranges: &[DateRange]) -> Judge<'_> {
        let ads = ranges.iter().filter(|range| &*range.class == CLASS);
        let breaks = ads.filter_map(DateRange::span).filter(|span| is_credible(*span)).collect();
        Judge { titles: &self.titles, breaks }
    }
}

/// The rules, and the breaks that one playlist tells.
pub struct Judge<'r> {
    titles: &'r [Box<str>],
    breaks: Vec<Span>,
}

impl Judge<'_> {
    /// `dated` is the source's own time: one from our clock cannot be compared with the source's ranges.
    pub fn content(&self, segment: &UpstreamSegment, dated: Option<Timestamp>) -> Content {
        if self.titles.iter().any(|title| segment.title.starts_with(&**title)) {
            return Content::Advertisement(Sign::Title);
        }
        let midpoint = dated.map(|start| start.plus_micros(segment.duration_micros / 2));
        let is_inside =
            |span: &Span| midpoint.is_some_and(|midpoint| span.start() <= midpoint && midpoint < span.end());
        if self.breaks.iter().any(is_inside) {
            return Content::Advertisement(Sign::DateRange);
        }
        Content::Programme
    }
}

fn is_credible(span: Span) -> bool {
    span.end().micros_since(span.start()) <= LONGEST_MICROS
}

impl Sign {
    /// For the ledger.
    pub fn detail(self, wanted: &Wanted) -> String {
        match self {
            Self::Title => format!("by title {}", wanted.title),
            Self::DateRange => format!("by date range of class {CLASS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::upstream::{self, Playlist};
    use crate::ingest::Tracker;

    /// Four segments of 2 s from 03:04:00 in a list as Twitch writes it, with a break.
    fn judged(titles: [&str; 4], dated: bool, range: &str) -> String {
        let mut text = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:2\n");
        for (number, title) in titles.iter().enumerate() {
            if dated {
                text.push_str(&format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:{:02}Z\n", 2 * number));
            }
            text.push_str(&format!("#EXTINF:2.000,{title}\n{number}.ts\n"));
        }
        text.push_str(range);
        let Ok(Playlist::Media(playlist)) = upstream::parse(text.as_bytes()) else { panic!("{text}") };
        let url = "http://x.test/live.m3u8".parse().unwrap();
        let mut tracker = Tracker::new(None, AdRules::new(["Amazon|"]));
        let wanted = tracker.step(None, &playlist, &url, "2026-01-02T03:04:08".parse().unwrap()).wanted;
        let letter = |one: &Wanted| match one.content {
            Content::Programme => 'p',
            Content::Advertisement(Sign::Title) => 't',
            Content::Advertisement(Sign::DateRange) => 'r',
        };
        wanted.iter().map(letter).collect()
    }

    fn range(class: &str, start: &str, rest: &str) -> String {
        format!(
            "#EXT-X-DATERANGE:ID=\"stitched-ad-1\",CLASS=\"{class}\",START-DATE=\"2026-01-02T03:{start}Z\",{rest}\n"
        )
    }

    #[test]
    fn a_title_or_a_midpoint_tells_an_advertisement() {
        let live = ["live"; 4];
        let ad = |start, rest| range(CLASS, start, rest);
        for (titles, range, expected) in [
            (live, String::new(), "pppp"),
            (["live", "Amazon|123", "Amazon|123,4", "live"], String::new(), "pttp"),
            (["not Amazon|1", "amazon|", "Amazon", ""], String::new(), "pppp"),
            // After the last segment, where m3u8_rs loses it.
            (live, ad("04:02", "DURATION=4.0"), "prrp"),
            // It touches the first and the last: more of them is programme.
            (live, ad("04:01.5", "DURATION=5.0"), "prrp"),
            (live, ad("04:01", "DURATION=6.0"), "rrrp"),
            (live, ad("04:02", "X-NO-END=1"), "pppp"),
            (live, ad("03:00", "DURATION=9000"), "pppp"),
            (live, range("chapter", "04:02", "DURATION=4.0"), "pppp"),
            (["live", "Amazon|1", "live", "live"], ad("04:02", "DURATION=4.0"), "ptrp"),
        ] {
            assert_eq!(judged(titles, true, &range), expected, "{titles:?} {range}");
        }
    }

    #[test]
    fn a_source_without_dates_tells_by_title_alone() {
        let range = range(CLASS, "04:00", "DURATION=60.0");
        assert_eq!(judged(["live", "Amazon|1", "live", "live"], false, &range), "ptpp");
    }
}
