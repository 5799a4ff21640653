//! Which files of an hour directory exist for the world: what ends right, is not hidden, and is not tombstoned.

use std::collections::HashSet;

use crate::model::{CHAT_ENDING, SEGMENT_ENDING, TOMBSTONE_ENDING};

/// The names of one hour directory, as read from the disk, sorted.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    files: Vec<Box<str>>,
    tombstones: Vec<Box<str>>,
    marked: HashSet<Box<str>>,
}

impl Listing {
    /// Takes the names of regular files in any order.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut listing = Self::default();
        for name in names {
            let name = name.as_ref();
            if name.starts_with('.') {
                continue;
            }
            if let Some(base) = name.strip_suffix(TOMBSTONE_ENDING) {
                listing.tombstones.push(name.into());
                listing.marked.insert(base.into());
            } else if name.ends_with(SEGMENT_ENDING) || name.ends_with(CHAT_ENDING) {
                listing.files.push(name.into());
            }
        }
        listing.files.sort_unstable();
        listing.tombstones.sort_unstable();
        listing
    }

    /// Segments that no tombstone marks, in order of name; `temp` ones too.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.visible().filter(|name| name.ends_with(SEGMENT_ENDING))
    }

    /// Chat batches that no tombstone marks, in order of name.
    pub fn chat(&self) -> impl Iterator<Item = &str> {
        self.visible().filter(|name| name.ends_with(CHAT_ENDING))
    }

    /// Segments and chat batches that no tombstone marks, in order of name.
    pub fn visible(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|name| &**name).filter(|name| !self.is_marked(name))
    }

    /// Segments and chat batches that a tombstone marks, in order of name; `temp` ones too.
    pub fn hidden(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|name| &**name).filter(|name| self.is_marked(name))
    }

    pub fn tombstones(&self) -> impl Iterator<Item = &str> {
        self.tombstones.iter().map(|name| &**name)
    }

    fn is_marked(&self, name: &str) -> bool {
        !self.marked.is_empty() && name.rsplit_once('.').is_some_and(|(base, _)| self.marked.contains(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_hides_what_it_marks_and_is_shown_itself() {
        let listing = Listing::new(["b.ts", "a.ts", "a.tombstone", "c.json", ".d.ts", ".e.tombstone", "f", "g.TS"]);
        assert_eq!(listing.segments().collect::<Vec<_>>(), ["b.ts"]);
        assert_eq!(listing.visible().collect::<Vec<_>>(), ["b.ts", "c.json"]);
        assert_eq!(listing.hidden().collect::<Vec<_>>(), ["a.ts"]);
        assert_eq!(listing.tombstones().collect::<Vec<_>>(), ["a.tombstone"]);
    }
}
