//! The text of one address of a live playlist: entries that are appended and never changed.
//!
//! Promises: each text extends the one before it, or begins later with its sequence numbers raised by what was left out
//! (RFC 8216 §6.2.2). The text is kept in blocks that all answers share; what no answer can show any more is dropped.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::entry::{Gaps, HourText, Urls, gap_entries, push_segment};
use crate::media::{EncodingId, Init};
use crate::model::{Channel, Quality, Timestamp};
use crate::select::{Hole, Part, Segment, Selection, Taken};

/// The last so much of what there is. Never less than players need to go on: three target durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window(pub Duration);

/// What an address asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub gaps: Gaps,
    pub window: Option<Window>,
}

/// How a segment is encoded, as far as a playlist must say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    pub id: EncodingId,
    /// The initialisation section at the head of a segment of fragmented MP4.
    pub init: Option<Init>,
}

/// Older players read all that is shown by default; EXT-X-MAP needs 6, EXT-X-GAP 8, EXT-X-SKIP 9 (RFC 8216 §7).
const VERSION: u8 = 6;
const VERSION_WITH_GAPS: u8 = 8;
const VERSION_WITH_SKIP: u8 = 9;
/// Target durations from the end within which nothing may be skipped (rfc8216bis, EXT-X-SERVER-CONTROL).
const SKIP_BOUNDARY_TARGETS: u64 = 6;
/// Target durations that a player keeps from the end, and that a playlist must not be shorter than.
const HOLD_BACK_TARGETS: u64 = 3;
const BLOCK_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Entry {
    at: u64,
    start: Timestamp,
    duration_micros: i64,
    /// The latest end so far: a segment that lies within the tolerance may end before its predecessor.
    reach: Timestamp,
    after_discontinuity: bool,
    says_map: bool,
    map: Option<Arc<str>>,
}

/// See the module.
#[derive(Debug)]
pub struct LiveText {
    asked: Asked,
    urls: Urls,
    /// Tells this text from another one of the same length.
    born: Timestamp,
    target_seconds: u64,
    entries: VecDeque<Entry>,
    dropped_entries: u64,
    dropped_discontinuities: u64,
    blocks: VecDeque<Block>,
    open: String,
    /// How much text lies before `open`.
    open_at: u64,
    last: Option<Taken>,
    encoding: Option<Encoding>,
    map: Option<Arc<str>>,
    complete: bool,
}

#[derive(Debug)]
struct Block {
    at: u64,
    text: Bytes,
}

/// A playlist as an answer.
#[derive(Debug, Clone)]
pub struct Shown {
    pub text: Vec<Bytes>,
    /// The same for the same text, for an ETag.
    pub tag: String,
    /// EXT-X-MEDIA-SEQUENCE of the entry that comes next.
    pub next_sequence: u64,
    /// Nothing will be added.
    pub complete: bool,
}

impl LiveText {
    pub fn new(channel: &Channel, quality: &Quality, asked: Asked, target_seconds: u64, born: Timestamp) -> Self {
        Self {
            asked,
            urls: Urls::new(channel, quality),
            born,
            target_seconds,
            entries: VecDeque::new(),
            dropped_entries: 0,
            dropped_discontinuities: 0,
            blocks: VecDeque::new(),
            open: String::new(),
            open_at: 0,
            last: None,
            encoding: None,
            map: None,
            complete: false,
        }
    }

    #[cfg(test)]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The last segment that the text has.
    pub fn last(&self) -> Option<Taken> {
        self.last
    }

    /// Memory that this value holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.text.len()).sum();
        size_of::<Self>() + blocks + self.open.capacity() + self.entries.len() * size_of::<Entry>()
    }

    /// Adds what follows `last`. A hole at the selection's end is left to what comes after it. `encodings` are those of the
    /// selection's parts, as far as they are known.
    pub fn append(&mut self, selection: &Selection, encodings: &[Option<Encoding>]) {
        let mut hole = None;
        let mut hour_text = HourText::default();
        for (place, part) in selection.parts().enumerate() {
            match part {
                Part::Hole(found) => hole = Some(found),
                Part::Segment(segment) => {
                    // Before the first segment there is nothing to be discontinuous with.
                    let hole = hole.take().filter(|_| self.last.is_some());
                    if let Some(hole) = hole.filter(|_| self.asked.gaps == Gaps::Gap) {
                        self.push_gap(hole);
                    }
                    let encoding = encodings.get(place).copied().flatten();
                    self.push(&segment, hole.is_some(), encoding, &mut hour_text);
                }
            }
            if self.open.len() >= BLOCK_BYTES {
                self.close_block();
                // What falls out of the window need not wait for the end.
                self.shorten(None);
            }
        }
        self.complete = self.asked.end.is_some() && hole.is_none();
    }

    fn reach(&self) -> Option<Timestamp> {
        self.entries.back().map(|entry| entry.reach)
    }

    fn push(&mut self, segment: &Segment<'_>, hole: bool, encoding: Option<Encoding>, hour_text: &mut HourText) {
        let at = self.open_at + self.open.len() as u64;
        let before = self.encoding;
        let changed = matches!((before, encoding), (Some(before), Some(now)) if before.id != now.id);
        let after_discontinuity = hole || changed;
        if after_discontinuity {
            self.open.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let new_init = encoding.and_then(|encoding| encoding.init);
        let new_init = new_init.filter(|init| changed || before.is_none_or(|before| before.init != Some(*init)));
        if let Some(init) = new_init {
            let map = self.urls.map_tag(segment.hour, segment.name, init.len_bytes);
            self.open.push_str(&map);
            self.map = Some(map.into());
        }
        push_segment(&mut self.open, &self.urls, hour_text.of(segment.hour), segment);
        let reach = self.reach().map_or(segment.end(), |reach| reach.max(segment.end()));
        self.entries.push_back(Entry {
            at,
            start: segment.start,
            duration_micros: segment.duration_micros,
            reach,
            after_discontinuity,
            says_map: new_init.is_some(),
            map: self.map.clone(),
        });
        self.encoding = encoding.or(before);
        self.last = Some(segment.taken());
    }

    fn push_gap(&mut self, hole: Hole) {
        for gap in gap_entries(hole, self.target_seconds) {
            let at = self.open_at + self.open.len() as u64;
            gap.push(&mut self.open, &self.urls);
            self.entries.push_back(Entry {
                at,
                start: gap.start,
                duration_micros: gap.duration_micros,
                reach: gap.start.plus_micros(gap.duration_micros),
                after_discontinuity: false,
                says_map: false,
                map: self.map.clone(),
            });
            if self.open.len() >= BLOCK_BYTES {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        let text = Bytes::from(std::mem::take(&mut self.open));
        let at = self.open_at;
        self.open_at += text.len() as u64;
        self.blocks.push_back(Block { at, text });
    }

    /// Begins after `gone_until`, and at the window's beginning.
    pub fn shorten(&mut self, gone_until: Option<Timestamp>) {
        let gone = gone_until.map_or(0, |gone| self.entries.partition_point(|entry| entry.start <= gone));
        let outside = match (self.asked.window, self.reach()) {
            (Some(Window(window)), Some(reach)) => {
                let window = window.max(Duration::from_secs(self.target_seconds * HOLD_BACK_TARGETS));
                let begin = reach.plus_micros(-(window.as_micros() as i64));
                self.entries.partition_point(|entry| entry.reach <= begin)
            }
            (Some(_) | None, _) => 0,
        };
        for entry in self.entries.drain(..gone.max(outside)) {
            self.dropped_entries += 1;
            self.dropped_discontinuities += u64::from(entry.after_discontinuity);
        }
        let kept_from = self.entries.front().map_or(self.open_at, |entry| entry.at);
        while self.blocks.front().is_some_and(|block| block.at + block.text.len() as u64 <= kept_from) {
            self.blocks.pop_front();
        }
    }

    /// The text as it is now. `skip`: a delta update, without what lies before the skip boundary.
    pub fn show(&self, skip: bool) -> Shown {
        let skipped = if skip { self.skippable() } else { 0 };
        let mut head = String::with_capacity(512);
        let version = match self.asked.gaps {
            _ if skipped > 0 => VERSION_WITH_SKIP,
            Gaps::Gap => VERSION_WITH_GAPS,
            Gaps::Discontinuity => VERSION,
        };
        let target = self.target_seconds;
        let _ = write!(
            head,
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={}.0,HOLD-BACK={}.0\n\
             #EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            SKIP_BOUNDARY_TARGETS * target,
            HOLD_BACK_TARGETS * target,
            self.dropped_entries,
            self.dropped_discontinuities,
        );
        if skipped > 0 {
            let _ = writeln!(head, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
        }
        let first = self.entries.get(skipped);
        if let Some(map) = first.filter(|entry| !entry.says_map).and_then(|entry| entry.map.as_ref()) {
            head.push_str(map);
        }
        let mut text = vec![Bytes::from(head)];
        let from = first.map_or(self.open_at + self.open.len() as u64, |entry| entry.at);
        for block in self.blocks.iter().filter(|block| block.at + block.text.len() as u64 > from) {
            text.push(block.text.slice(from.saturating_sub(block.at) as usize..));
        }
        text.push(Bytes::copy_from_slice(&self.open.as_bytes()[from.saturating_sub(self.open_at) as usize..]));
        if self.complete {
            text.push(Bytes::from_static(b"#EXT-X-ENDLIST\n"));
        }
        let next_sequence = self.dropped_entries + self.entries.len() as u64;
        let tag = format!(
            "{:x}-{:x}-{next_sequence:x}-{skipped:x}{}",
            self.born.micros(),
            self.dropped_entries,
            if self.complete { "-end" } else { "" }
        );
        Shown { text, tag, next_sequence, complete: self.complete }
    }

    /// How many entries lie before the skip boundary.
    fn skippable(&self) -> usize {
        let mut left_micros = (SKIP_BOUNDARY_TARGETS * self.target_seconds * 1_000_000) as i64;
        for (place, entry) in self.entries.iter().enumerate().rev() {
            left_micros -= entry.duration_micros;
            if left_micros < 0 {
                return place;
            }
        }
        0
    }
}
