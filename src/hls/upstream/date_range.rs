//! EXT-X-DATERANGE: what a source says about stretches of its time (RFC 8216 §4.3.2.7), wherever in the list it says it.
//!
//! m3u8_rs keeps only the last one before a segment, and none after the last segment; so the lines are read here.
//!
//! Promises: tags of one ID are one range, whose attributes may be spread over them; a range without an ID or a start is
//! none; a comma within quotes parts nothing.

use std::collections::BTreeMap;

use super::parse_date_time;
use crate::model::{Span, Timestamp, parse_duration_text};

/// A stretch of time with a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateRange {
    /// CLASS; empty where it is not told.
    pub class: Box<str>,
    pub start: Timestamp,
    /// By END-DATE, DURATION or PLANNED-DURATION, in this order; `None` while the source does not know.
    pub end: Option<Timestamp>,
}

impl DateRange {
    /// `None` while its end is not known, and where it ends at its start.
    pub fn span(&self) -> Option<Span> {
        Span::new(self.start, self.end?).ok()
    }
}

/// The ranges of a playlist, by ID.
pub(super) fn date_ranges(text: &str) -> Vec<DateRange> {
    let mut by_id: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for tag in text.lines().filter_map(|line| line.trim().strip_prefix("#EXT-X-DATERANGE:")) {
        let told: Vec<(&str, &str)> = attributes(tag).collect();
        if let Some((_, id)) = told.iter().find(|(name, _)| *name == "ID") {
            by_id.entry(id).or_default().extend(told);
        }
    }
    by_id.values().filter_map(range).collect()
}

fn range(told: &BTreeMap<&str, &str>) -> Option<DateRange> {
    let date = |name| told.get(name).and_then(|text| parse_date_time(text));
    let length = |name| told.get(name).and_then(|text| parse_duration_text(text));
    let start = date("START-DATE")?;
    let micros = || length("DURATION").or_else(|| length("PLANNED-DURATION"));
    let end = date("END-DATE").or_else(|| Some(start.plus_micros(micros()?)));
    Some(DateRange { class: told.get("CLASS").copied().unwrap_or_default().into(), start, end })
}

/// The names and values of an attribute list, without quotes.
fn attributes(mut list: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, rest) = list.split_once('=')?;
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.split_once(',').map_or("", |(_, after)| after))
            }
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        list = after;
        Some((name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        let row = |one: DateRange| (one.class.to_string(), one.span().map_or("none".into(), |span| span.to_string()));
        date_ranges(text).into_iter().map(row).collect()
    }

    #[test]
    fn a_range_ends_by_date_duration_or_plan() {
        let minute = "2026-01-02T03:04:00.000000/2026-01-02T03:05:00.000000";
        for (end, span) in [
            ("END-DATE=\"2026-01-02T04:05:00+01:00\",DURATION=3", minute),
            ("DURATION=60.0,PLANNED-DURATION=30", minute),
            ("PLANNED-DURATION=60", minute),
            ("X-OWN=1", "none"),
            ("DURATION=0", "none"),
            ("DURATION=soon", "none"),
            ("END-DATE=\"2026-01-02T03:00:00Z\"", "none"),
        ] {
            let text = format!("#EXT-X-DATERANGE:ID=\"a,b=c\",CLASS=\"ad\",START-DATE=\"2026-01-02T03:04:00Z\",{end}");
            assert_eq!(shown(&text), [("ad".to_owned(), span.to_owned())], "{end}");
        }
    }

    #[test]
    fn tags_of_one_id_are_one_range() {
        let text = "#EXT-X-DATERANGE:ID=\"1\",CLASS=\"ad\",START-DATE=\"2026-01-02T03:04:00Z\"\n#EXTINF:2,\na.ts\n\
            #EXT-X-DATERANGE:ID=\"2\",CLASS=\"b\",START-DATE=\"2026-01-02T03:04:00Z\"\n#EXTINF:2,\nb.ts\n\
            #EXT-X-DATERANGE:ID=\"1\",DURATION=60\n#EXT-X-DATERANGE:CLASS=\"no id\",START-DATE=\"2026-01-02T03:04:00Z\"\n\
            #EXT-X-DATERANGE:ID=\"no start\"\n#EXT-X-DATERANGE:ID=\"torn";
        let minute = "2026-01-02T03:04:00.000000/2026-01-02T03:05:00.000000".to_owned();
        assert_eq!(shown(text), [("ad".to_owned(), minute), ("b".to_owned(), "none".to_owned())]);
    }
}
