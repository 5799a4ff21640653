//! What an hour holds that can be copied, on this node or on another.
//!
//! Promises: every name is a type of `model`; what is none is counted, and one example of it is kept for the log.

use crate::model::{CHAT_ENDING, HashedName, Hour, NameFields, SEGMENT_ENDING, SegmentKind, TOMBSTONE_ENDING};
use crate::select::Digest;

/// Of a name that was refused, so much is shown.
const MAX_EXAMPLE_CHARS: usize = 80;

/// A tombstone's file name, and what it hides; a `temp` that is hidden has no hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TombstoneName {
    text: Box<str>,
    hidden: Option<HashedName>,
}

impl TombstoneName {
    pub(super) fn parse(hour: Hour, text: &str) -> Option<Self> {
        let base = text.strip_suffix(TOMBSTONE_ENDING)?;
        let hidden = [SEGMENT_ENDING, CHAT_ENDING]
            .iter()
            .find_map(|ending| HashedName::parse(hour, &format!("{base}{ending}")).ok());
        let is_one = hidden.is_some() || NameFields::parse(&format!("{base}{SEGMENT_ENDING}")).is_ok();
        is_one.then(|| Self { text: text.into(), hidden })
    }

    /// The tombstone that hides `file`.
    pub(super) fn of(file: &HashedName) -> Option<Self> {
        crate::model::tombstone_of(file.as_str()).map(|text| Self { text: text.into(), hidden: Some(file.clone()) })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn hidden(&self) -> Option<&HashedName> {
        self.hidden.as_ref()
    }
}

/// The names of one hour.
#[derive(Debug, Clone)]
pub struct HourNames {
    hour: Hour,
    /// What no tombstone hides, as far as the listing says.
    pub files: Vec<HashedName>,
    pub tombstones: Vec<TombstoneName>,
    pub refused: Refused,
}

impl HourNames {
    pub fn new(hour: Hour) -> Self {
        Self { hour, files: Vec::new(), tombstones: Vec::new(), refused: Refused::default() }
    }

    pub fn of<'n>(hour: Hour, names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut hour = Self::new(hour);
        names.into_iter().for_each(|name| hour.add(name));
        hour
    }

    /// The same as of the listing that these names came from.
    pub fn digest(&self) -> Option<Digest> {
        let files = self.files.iter().map(HashedName::as_str);
        Digest::of_hour(files.chain(self.tombstones.iter().map(TombstoneName::as_str)))
    }

    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// Takes another one's names of the same hour.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.tombstones.extend(other.tombstones);
    }

    /// Takes a name as it came. One of a `temp` is passed over.
    pub fn add(&mut self, text: &str) {
        if let Some(tombstone) = TombstoneName::parse(self.hour, text) {
            self.tombstones.push(tombstone);
        } else if let Ok(file) = HashedName::parse(self.hour, text) {
            self.files.push(file);
        } else if !NameFields::parse(text).is_ok_and(|fields| fields.kind == SegmentKind::Temp) {
            self.refused.add(text);
        }
    }
}

/// Names that are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    pub count: usize,
    /// One of them, escaped and cut to a length that a log line bears.
    pub example: Option<Box<str>>,
}

impl Refused {
    pub fn add(&mut self, text: &str) {
        self.count += 1;
        self.example.get_or_insert_with(|| {
            let shown: String = text.chars().take(MAX_EXAMPLE_CHARS).collect();
            shown.escape_debug().to_string().into()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn only_names_of_files_that_can_be_copied_are_kept() {
        let segment = format!("00:00.0-2.0-full-{HASH}");
        let (good, hidden, chat) =
            (format!("{segment}.ts"), format!("{segment}.tombstone"), format!("00:01-{HASH}.json"));
        let temp = "00:02.0-2.0-temp-b5ea7aad590b.ts";
        let hidden_temp = "00:02.0-2.0-temp-b5ea7aad590b.tombstone";
        let long = "x".repeat(10_000);
        let bad = ["../../etc/passwd", "", ".hidden.ts", "a.tombstone", "../x.tombstone", "a\nb.ts", &long];
        let names = HourNames::of(
            "2026-01-02T03".parse().unwrap(),
            [&*good, &hidden, &chat, temp, hidden_temp].into_iter().chain(bad),
        );
        assert_eq!(names.files.iter().map(HashedName::as_str).collect::<Vec<_>>(), [&*good, &*chat]);
        assert_eq!(names.tombstones.iter().map(TombstoneName::as_str).collect::<Vec<_>>(), [&*hidden, hidden_temp]);
        let all = [&*good, &hidden, &chat, temp, hidden_temp].into_iter().chain(bad);
        assert_eq!(names.digest(), Digest::of_hour(all), "what is copied is what digests count");
        assert_eq!(names.refused.count, bad.len());
        assert_eq!(names.refused.example.as_deref(), Some("../../etc/passwd"));
        let mut refused = Refused::default();
        refused.add(&format!("a\nb{long}"));
        assert!(
            refused.example.is_some_and(|shown| shown.starts_with("a\\nb") && shown.len() <= 2 * MAX_EXAMPLE_CHARS)
        );
    }
}
