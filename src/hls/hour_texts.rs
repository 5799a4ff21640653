//! Keeps the text of hours in playlists of ranges that are over: a week is a concatenation.
//!
//! An index never changes, so its text never does; an hour that changes has a new index. Bounded; what was not asked for
//! the longest goes first, and is written again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use crate::select::HourIndex;

/// The texts of many hours. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct HourTexts {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    /// By the address of an index: no other takes it while an entry's `Weak` is there.
    texts: HashMap<usize, Entry>,
    size_bytes: usize,
    max_bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    index: Weak<HourIndex>,
    /// The place of the segment that the text begins with.
    first: usize,
    text: Bytes,
    used: u64,
}

impl HourTexts {
    pub fn new(max_bytes: usize) -> Self {
        let held = Held { texts: HashMap::new(), size_bytes: 0, max_bytes, uses: 0 };
        Self { held: Arc::new(Mutex::new(held)) }
    }

    /// The text of `index` from its segment at `first` on; what `write` writes, if it is not there yet.
    pub fn get_or_write(&self, index: &Arc<HourIndex>, first: usize, write: impl FnOnce() -> String) -> Bytes {
        if let Some(text) = self.held().get(index, first) {
            return text;
        }
        let mut text = write();
        text.shrink_to_fit();
        let text = Bytes::from(text);
        self.held().put(index, first, text.clone());
        text
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // Whoever panicked here left at worst an entry less.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn get(&mut self, index: &Arc<HourIndex>, first: usize) -> Option<Bytes> {
        self.uses += 1;
        let entry = self.texts.get_mut(&(Arc::as_ptr(index) as usize))?;
        entry.used = self.uses;
        (entry.first == first).then(|| entry.text.clone())
    }

    fn put(&mut self, index: &Arc<HourIndex>, first: usize, text: Bytes) {
        self.size_bytes += text.len();
        let entry = Entry { index: Arc::downgrade(index), first, text, used: self.uses };
        let replaced = self.texts.insert(Arc::as_ptr(index) as usize, entry);
        self.size_bytes -= replaced.map_or(0, |replaced| replaced.text.len());
        if self.size_bytes > self.max_bytes {
            self.evict();
        }
    }

    /// First what nobody can ask for any more, then what was not asked for the longest; some more than must go, so that a
    /// long playlist does not sort at each of its hours.
    fn evict(&mut self) {
        self.texts.retain(|_, entry| entry.index.strong_count() > 0);
        let mut by_use: Vec<(u64, usize)> = self.texts.iter().map(|(key, entry)| (entry.used, *key)).collect();
        by_use.sort_unstable();
        self.size_bytes = self.texts.values().map(|entry| entry.text.len()).sum();
        for (_, key) in by_use {
            if self.size_bytes <= self.max_bytes - self.max_bytes / 8 {
                break;
            }
            self.size_bytes -= self.texts.remove(&key).map_or(0, |entry| entry.text.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Arc<HourIndex> {
        Arc::new(HourIndex::empty("2026-01-02T03".parse().unwrap()))
    }

    #[test]
    fn a_text_is_written_once_per_hour_and_beginning() {
        let texts = HourTexts::new(1000);
        let (one, other) = (index(), index());
        assert_eq!(texts.get_or_write(&one, 0, || "a".into()), "a");
        assert_eq!(texts.get_or_write(&one, 0, || panic!("it is held")), "a");
        assert_eq!(texts.get_or_write(&other, 0, || "b".into()), "b");
        assert_eq!(texts.get_or_write(&one, 1, || "c".into()), "c");
        assert_eq!(texts.get_or_write(&one, 1, || panic!("it is held")), "c");
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes() {
        let texts = HourTexts::new(100);
        let hours: Vec<_> = (0..20).map(|_| index()).collect();
        for hour in &hours {
            texts.get_or_write(&hours[0], 0, || "x".repeat(10));
            texts.get_or_write(hour, 0, || "x".repeat(10));
        }
        assert!(texts.held().size_bytes <= 100);
        texts.get_or_write(&hours[0], 0, || panic!("it was asked for all the time"));
        texts.get_or_write(&hours[19], 0, || panic!("it was the last"));
        drop(hours);
        texts.held().evict();
        assert_eq!(texts.held().texts.len(), 0);
    }
}
