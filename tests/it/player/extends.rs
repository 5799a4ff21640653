//! Whether each text of a live playlist extends the one before: the rule that players rely on (RFC 8216 §6.2.1).
//!
//! Promises: an entry keeps its number, its count of discontinuities, its date, duration and address for as long as it
//! is listed; entries come at the end and go at the front; a fault names the entry and shows both forms of it.
//! Never: asks anybody; whoever has two texts can compare them.

use std::fmt;

use segvault::model::{Timestamp, parse_duration_text};

/// A media playlist, as far as appending to it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub version: u64,
    pub target_seconds: u64,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    pub ended: bool,
    pub entries: Vec<Entry>,
}

/// A segment, with all tags that are about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub discontinuity: bool,
    /// Discontinuities of the whole stream up to it, its own included.
    pub discontinuities: u64,
    pub gap: bool,
    /// What EXT-X-MAP says, also where an earlier entry said it.
    pub map: Option<String>,
    /// As the text of its own PROGRAM-DATE-TIME.
    pub date: Option<String>,
    /// The digits of EXTINF.
    pub extinf: String,
    pub uri: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { discontinuity, discontinuities, gap, map, date, extinf, uri } = self;
        let (mark, gap) = (if *discontinuity { "DISCONTINUITY, " } else { "" }, if *gap { "GAP, " } else { "" });
        let (date, map) = (date.as_deref().unwrap_or("no date"), map.as_deref().unwrap_or("no map"));
        write!(f, "{mark}{gap}{date}, {extinf} s, {uri}, {discontinuities} discontinuities by then, {map}")
    }
}

impl Listed {
    /// Reads the text of a media playlist; the fault is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some("#EXTM3U") {
            return Err(format!("a playlist begins with #EXTM3U, this one does not:\n{text}"));
        }
        let mut listed = Self {
            version: 1,
            target_seconds: 0,
            media_sequence: 0,
            discontinuity_sequence: 0,
            ended: false,
            entries: Vec::new(),
        };
        let (mut discontinuity, mut gap, mut map, mut date, mut extinf) = (false, false, None, None, None);
        let mut discontinuities = None;
        for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.parse::<u64>().map_err(|_| format!("{line} holds no whole number"));
            match tag {
                "#EXT-X-VERSION" => listed.version = number()?,
                "#EXT-X-TARGETDURATION" => listed.target_seconds = number()?,
                "#EXT-X-MEDIA-SEQUENCE" => listed.media_sequence = number()?,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => listed.discontinuity_sequence = number()?,
                "#EXT-X-ENDLIST" => listed.ended = true,
                "#EXT-X-DISCONTINUITY" => discontinuity = true,
                "#EXT-X-GAP" => gap = true,
                "#EXT-X-MAP" => map = Some(value.to_owned()),
                "#EXT-X-PROGRAM-DATE-TIME" => date = Some(value.to_owned()),
                "#EXTINF" => extinf = Some(value.split(',').next().unwrap_or_default().to_owned()),
                _ if line.starts_with('#') => {}
                _ => {
                    let count = discontinuities.get_or_insert(listed.discontinuity_sequence);
                    *count += u64::from(discontinuity);
                    listed.entries.push(Entry {
                        discontinuity: std::mem::take(&mut discontinuity),
                        discontinuities: *count,
                        gap: std::mem::take(&mut gap),
                        map: map.clone(),
                        date: date.take(),
                        extinf: extinf.take().ok_or_else(|| format!("{line} has no EXTINF"))?,
                        uri: line.to_owned(),
                    });
                }
            }
        }
        Ok(listed)
    }

    /// The number of the entry that would come next.
    pub fn end_sequence(&self) -> u64 {
        self.media_sequence + self.entries.len() as u64
    }

    /// Whether `next`, read later from the same address, only adds at the end and removes at the front. The fault is
    /// what a player would stumble over, with both sides of it.
    pub fn is_extended_by(&self, next: &Self) -> Result<(), String> {
        if next.target_seconds != self.target_seconds {
            return Err(format!("TARGETDURATION was {}, is {}", self.target_seconds, next.target_seconds));
        }
        if next.media_sequence < self.media_sequence || next.end_sequence() < self.end_sequence() {
            let numbers = |list: &Self| format!("{}..{}", list.media_sequence, list.end_sequence());
            return Err(format!("it went back: listed numbers {}, then {}", numbers(self), numbers(next)));
        }
        if next.discontinuity_sequence < self.discontinuity_sequence {
            let (before, after) = (self.discontinuity_sequence, next.discontinuity_sequence);
            return Err(format!("DISCONTINUITY-SEQUENCE was {before}, is {after}"));
        }
        if self.ended && *self != *next {
            return Err("it changed after ENDLIST".to_owned());
        }
        let removed = next.media_sequence - self.media_sequence;
        for (at, before) in self.entries.iter().enumerate().skip(removed as usize) {
            let after = &next.entries[at - removed as usize];
            // The mark at the front may be counted by DISCONTINUITY-SEQUENCE instead; the count says all.
            let is_same = Entry { discontinuity: after.discontinuity, ..before.clone() } == *after;
            if !is_same {
                let number = self.media_sequence + at as u64;
                return Err(format!("entry {number} changed\n  was: {before}\n  is:  {after}"));
            }
        }
        if removed > 0 && next.total_micros()? < 3 * next.target_seconds as i64 * 1_000_000 {
            return Err("it removed what leaves less than three target durations (RFC 8216 §6.2.2)".to_owned());
        }
        Ok(())
    }

    /// Whether the list is one that a player can follow: durations within the target, times without overlap, and a mark
    /// wherever time is missing.
    pub fn is_sound(&self) -> Result<(), String> {
        /// As much may lie between two segments that follow on each other (FORMATS §3).
        const SLACK_MICROS: i64 = 10_000;
        let mut end: Option<Timestamp> = None;
        for (at, entry) in self.entries.iter().enumerate() {
            let fault = |what: &str| Err(format!("entry {}: {what}\n  {entry}", self.media_sequence + at as u64));
            let micros = micros_of(entry)?;
            if (micros + 500_000) / 1_000_000 > self.target_seconds as i64 {
                return fault("it is longer than TARGETDURATION");
            }
            let Some(date) = &entry.date else { return fault("it has no date") };
            let Ok(start) = date.parse::<Timestamp>() else { return fault("its date cannot be read") };
            let missing = end.map_or(0, |end| start.micros_since(end));
            if missing < -SLACK_MICROS {
                return fault("it begins before the one before it ends");
            }
            if missing > SLACK_MICROS && !entry.discontinuity {
                return fault("time is missing before it, and no DISCONTINUITY says so");
            }
            end = Some(start.plus_micros(micros));
        }
        Ok(())
    }

    fn total_micros(&self) -> Result<i64, String> {
        self.entries.iter().map(micros_of).sum()
    }
}

fn micros_of(entry: &Entry) -> Result<i64, String> {
    parse_duration_text(&entry.extinf).ok_or_else(|| format!("EXTINF {:?} is no duration: {entry}", entry.extinf))
}

/// A list of (mark before it, second of its date, name), each 2 s long.
fn list(head: &str, entries: &[(&str, u32, &str)]) -> Listed {
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{head}\n");
    for (mark, second, name) in entries {
        text += &format!("{mark}\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:00:{second:02}Z\n#EXTINF:2.0,\n{name}\n");
    }
    Listed::parse(&text).unwrap()
}

const DISC: &str = "#EXT-X-DISCONTINUITY";
const FOUR: [(&str, u32, &str); 4] = [("", 0, "a"), ("", 2, "b"), (DISC, 6, "c"), ("", 8, "d")];

#[test]
fn what_is_added_at_the_end_and_removed_at_the_front_is_an_extension() {
    let before = list("", &FOUR);
    assert_eq!(before.is_extended_by(&before), Ok(()));
    let more = [&FOUR[..], &[("", 10, "e")]].concat();
    for next in [
        list("", &more),
        list("#EXT-X-MEDIA-SEQUENCE:1", &more[1..]),
        list("#EXT-X-MEDIA-SEQUENCE:2", &more[2..]),
        // The mark has gone to the head, and is counted there.
        list("#EXT-X-MEDIA-SEQUENCE:2\n#EXT-X-DISCONTINUITY-SEQUENCE:1", &[("", 6, "c"), more[3], more[4]]),
    ] {
        assert_eq!(before.is_extended_by(&next), Ok(()));
    }
}

#[test]
fn whatever_changes_the_past_is_a_fault_that_names_it() {
    let before = list("", &FOUR);
    let with = |at: usize, entry| {
        let mut entries = FOUR;
        entries[at] = entry;
        list("", &entries)
    };
    let in_the_middle = [&FOUR[..2], &[("", 4, "late")], &FOUR[2..]].concat();
    for (next, fault) in [
        (list("", &in_the_middle), "entry 2 changed"),
        (list("", &FOUR[..3]), "it went back"),
        (list("", &FOUR[1..]), "it went back"),
        (list("#EXT-X-MEDIA-SEQUENCE:1", &FOUR), "entry 1 changed"),
        (with(1, ("", 2, "other")), "entry 1 changed"),
        (with(3, ("", 9, "d")), "entry 3 changed"),
        (with(2, ("", 6, "c")), "entry 2 changed"),
        (with(0, (DISC, 0, "a")), "entry 0 changed"),
        (with(3, ("#EXT-X-GAP", 8, "d")), "entry 3 changed"),
        (with(0, ("#EXT-X-MAP:URI=\"m\"", 0, "a")), "entry 0 changed"),
        (list("#EXT-X-TARGETDURATION:3", &FOUR), "TARGETDURATION was 2, is 3"),
        (list("#EXT-X-MEDIA-SEQUENCE:3", &[("", 8, "d")]), "entry 3 changed"),
        (
            list("#EXT-X-MEDIA-SEQUENCE:3\n#EXT-X-DISCONTINUITY-SEQUENCE:1", &FOUR[3..]),
            "less than three target durations",
        ),
    ] {
        let said = before.is_extended_by(&next).unwrap_err();
        assert!(said.contains(fault), "{fault} is not in: {said}");
    }
    let said = before.is_extended_by(&list("", &in_the_middle)).unwrap_err();
    assert!(said.contains("was: DISCONTINUITY, 2026-01-02T03:00:06Z, 2.0 s, c") && said.contains("late"), "{said}");
    let ended = list("#EXT-X-ENDLIST", &FOUR);
    assert_eq!(before.is_extended_by(&ended), Ok(()));
    assert!(ended.is_extended_by(&before).is_err());
}

#[test]
fn a_list_that_hides_missing_time_or_repeats_it_is_unsound() {
    assert_eq!(list("", &FOUR).is_sound(), Ok(()));
    for (entries, fault) in
        [([("", 0, "a"), ("", 4, "b")], "time is missing"), ([("", 0, "a"), (DISC, 1, "b")], "begins before")]
    {
        let said = list("", &entries).is_sound().unwrap_err();
        assert!(said.contains(fault) && said.contains("entry 1"), "{said}");
    }
    let long = list("#EXT-X-TARGETDURATION:1", &FOUR).is_sound().unwrap_err();
    assert!(long.contains("longer than TARGETDURATION"), "{long}");
}

#[test]
fn what_is_no_playlist_is_refused() {
    for text in ["", "<html>", "#EXTM3U\n#EXT-X-TARGETDURATION:2.5\n", "#EXTM3U\na.ts\n"] {
        assert!(Listed::parse(text).is_err(), "{text:?}");
    }
}
