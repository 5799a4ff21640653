//! What was stored lately in one quality, numbered, for those who follow it. Pure.
//!
//! Promises: numbers only grow; a name is told once, whoever saw it first; who asks for what is no more held is told so.
//! Never: holds more than so many.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::model::{HashedName, Hour, TOMBSTONE_ENDING};

/// Minutes of segments: who is away for longer lists anew.
pub const MOST_HELD: usize = 256;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    Stored,
    Tombstone,
}

/// A file that has its name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub cursor: u64,
    pub kind: StoredKind,
    pub hour: Hour,
    pub name: Arc<str>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Ring {
    held: VecDeque<Told>,
    /// Of the last one told.
    cursor: u64,
    /// Names that need no telling, of the hours that are watched.
    seen: BTreeMap<Hour, HashSet<Box<str>>>,
    has_begun: bool,
}

impl Ring {
    /// `cursor` is to be higher than any that a ring of this quality had before.
    pub fn new(cursor: u64) -> Self {
        Self { held: VecDeque::new(), cursor, seen: BTreeMap::new(), has_begun: false }
    }

    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// These hours are watched from now on. Of one that is new after the beginning all names are news.
    pub fn watch(&mut self, hours: impl IntoIterator<Item = Hour>) {
        let seen = hours.into_iter().map(|hour| (hour, self.seen.remove(&hour).unwrap_or_default()));
        self.seen = seen.collect();
    }

    /// Takes names that are there before anybody followed.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes names of an hour; those that are news are held, and answered in their order.
    pub fn take<'n>(&mut self, hour: Hour, names: impl IntoIterator<Item = &'n str>) -> Vec<Told> {
        let Some(seen) = self.seen.get_mut(&hour) else { return Vec::new() };
        let mut news = Vec::new();
        for name in names {
            let Some(kind) = kind_of(hour, name) else { continue };
            if !seen.insert(name.into()) || !self.has_begun {
                continue;
            }
            self.cursor += 1;
            news.push(Told { cursor: self.cursor, kind, hour, name: name.into() });
        }
        self.held.extend(news.iter().cloned());
        let too_many = self.held.len().saturating_sub(MOST_HELD);
        self.held.drain(..too_many);
        news
    }

    /// What was told after `cursor`; `None` if some of it is no more held, or the cursor is none of ours.
    pub fn after(&self, cursor: u64) -> Option<Vec<Told>> {
        let first = self.cursor - self.held.len() as u64;
        let held = (first..=self.cursor).contains(&cursor) && self.has_begun;
        held.then(|| self.held.iter().filter(|told| told.cursor > cursor).cloned().collect())
    }
}

/// `None` for what cannot be copied: a `temp`, a stray.
fn kind_of(hour: Hour, name: &str) -> Option<StoredKind> {
    if name.ends_with(TOMBSTONE_ENDING) {
        return Some(StoredKind::Tombstone);
    }
    HashedName::parse(hour, name).is_ok().then_some(StoredKind::Stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentHash;

    fn name(number: u32) -> String {
        let hash = SegmentHash::from_bytes([number as u8; 32]);
        format!("{:02}:{:02}.0-2.0-full-{hash}.ts", number / 60, number % 60)
    }

    fn hour() -> Hour {
        "2026-01-02T03".parse().unwrap()
    }

    fn ring() -> Ring {
        let mut ring = Ring::new(1000);
        ring.watch([hour()]);
        assert!(ring.take(hour(), [&*name(0)]).is_empty());
        ring.begin();
        ring
    }

    fn cursors(told: &[Told]) -> Vec<u64> {
        told.iter().map(|told| told.cursor).collect()
    }

    #[test]
    fn what_was_there_is_no_news_and_what_comes_is_told_once() {
        let mut ring = ring();
        let (first, second, gone) = (name(1), name(2), name(1).replace(".ts", ".tombstone"));
        assert_eq!(cursors(&ring.take(hour(), [&*first])), [1001]);
        let temp = "00:03.0-2.0-temp-x.ts";
        let told = ring.take(hour(), [&*name(0), &first, temp, "stray.ts", &second, &gone]);
        assert_eq!(cursors(&told), [1002, 1003]);
        assert_eq!(told.iter().map(|told| told.kind).collect::<Vec<_>>(), [StoredKind::Stored, StoredKind::Tombstone]);
        assert!(ring.take("2026-01-02T09".parse().unwrap(), [&*first]).is_empty(), "an hour that is not watched");
    }

    #[test]
    fn an_hour_that_begins_is_all_news() {
        let mut ring = ring();
        ring.watch([hour(), hour().next()]);
        assert_eq!(ring.take(hour().next(), [&*name(0)]).len(), 1);
        ring.watch([hour().next()]);
        assert!(ring.take(hour(), [&*name(9)]).is_empty());
        assert!(ring.take(hour().next(), [&*name(0)]).is_empty());
    }

    #[test]
    fn who_was_away_gets_what_is_held_or_is_told_that_it_is_too_much() {
        let mut ring = ring();
        assert_eq!(ring.after(1000), Some(vec![]));
        (1..=MOST_HELD as u32 + 10).for_each(|number| assert_eq!(ring.take(hour(), [&*name(number)]).len(), 1));
        let newest = ring.cursor();
        assert_eq!(newest, 1000 + MOST_HELD as u64 + 10);
        assert_eq!(cursors(&ring.after(newest - 2).unwrap()), [newest - 1, newest]);
        assert_eq!(ring.after(newest - MOST_HELD as u64).map(|told| told.len()), Some(MOST_HELD));
        for unknown in [0, 1000, newest - MOST_HELD as u64 - 1, newest + 1, u64::MAX] {
            assert_eq!(ring.after(unknown), None, "{unknown}");
        }
    }
}
