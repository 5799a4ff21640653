//! Digests: one value for all that an hour, a day, a quality or a node shows, the same on every node that shows the same. Pure.
//!
//! Promises: what is copied between nodes counts, and nothing else: names with a hash that no tombstone hides, and the
//! tombstones. A change of any name changes the digest of its hour, of its day, and of its quality.
//! Never: reads the disk or the clock.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::model::{
    BadSegmentName, CHAT_ENDING, Channel, Day, HashedName, Hour, NameFields, Quality, SEGMENT_ENDING, SegmentHash,
    SegmentKind, TOMBSTONE_ENDING,
};

/// What each level begins with, so that no digest of one is one of another, nor of another form to come.
const HOUR_PREFIX: &str = "segvault digest 1: hour\n";
const DAY_PREFIX: &str = "segvault digest 1: day\n";
const QUALITY_PREFIX: &str = "segvault digest 1: quality\n";
const NODE_PREFIX: &str = "segvault digest 1: node\n";

/// SHA-256 of lines; written as the hashes in names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(SegmentHash);

impl Digest {
    /// Of the names of one hour, whatever their order, as the listing with tombstones has them. `None` if none of them
    /// counts: an hour that shows nothing is like one that does not exist.
    pub fn of_hour<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut names: Vec<&str> = names.into_iter().filter(|name| counts(name)).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| Self::of_lines(HOUR_PREFIX, names))
    }

    fn of_lines(prefix: &str, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut hasher = Sha256::new_with_prefix(prefix);
        for line in lines {
            hasher.update(line);
            hasher.update(b"\n");
        }
        Self(SegmentHash::from_bytes(hasher.finalize().into()))
    }

    fn of_table<K: fmt::Display>(prefix: &str, table: &BTreeMap<K, Self>) -> Self {
        Self::of_lines(prefix, table.iter().map(|(key, digest)| format!("{key} {digest}")))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Digest {
    type Err = BadSegmentName;

    fn from_str(text: &str) -> Result<Self, BadSegmentName> {
        text.parse().map(Self)
    }
}

/// Whether a name is one that nodes copy from each other: of a file with a hash, or of a tombstone.
fn counts(name: &str) -> bool {
    let is_segment = |name: &str| NameFields::parse(name).is_ok();
    // The hour does not matter to whether a name is one.
    let is_chat = |name: &str| HashedName::parse(some_hour(), name).is_ok();
    if let Some(base) = name.strip_suffix(TOMBSTONE_ENDING) {
        return is_segment(&format!("{base}{SEGMENT_ENDING}")) || is_chat(&format!("{base}{CHAT_ENDING}"));
    }
    if name.ends_with(CHAT_ENDING) {
        return is_chat(name);
    }
    NameFields::parse(name).is_ok_and(|fields| fields.kind != SegmentKind::Temp)
}

fn some_hour() -> Hour {
    crate::model::Timestamp::from_micros(0).hour()
}

/// A day, hour by hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayDigests {
    pub digest: Digest,
    pub hours: BTreeMap<Hour, Digest>,
}

impl DayDigests {
    pub fn new(hours: BTreeMap<Hour, Digest>) -> Self {
        Self { digest: Digest::of_table(DAY_PREFIX, &hours), hours }
    }
}

/// A quality, day by day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualityDigests {
    pub digest: Digest,
    pub days: BTreeMap<Day, Digest>,
}

impl QualityDigests {
    pub fn new(days: BTreeMap<Day, Digest>) -> Self {
        Self { digest: Digest::of_table(QUALITY_PREFIX, &days), days }
    }

    /// The same with one day as it is now.
    pub fn with_day(&self, day: Day, now: &DayDigests) -> Self {
        let mut days = self.days.clone();
        if now.hours.is_empty() {
            days.remove(&day);
        } else {
            days.insert(day, now.digest);
        }
        Self::new(days)
    }

    /// Of all the hours of a quality.
    pub fn of_hours(hours: &BTreeMap<Hour, Digest>) -> Self {
        let mut by_day: BTreeMap<Day, BTreeMap<Hour, Digest>> = BTreeMap::new();
        for (hour, digest) in hours {
            by_day.entry(Day::of(*hour)).or_default().insert(*hour, *digest);
        }
        Self::new(by_day.into_iter().map(|(day, hours)| (day, DayDigests::new(hours).digest)).collect())
    }
}

/// A node, quality by quality. One of which nothing is shown is like one that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDigests {
    pub digest: Digest,
    pub qualities: BTreeMap<(Channel, Quality), Digest>,
}

impl NodeDigests {
    pub fn new(qualities: BTreeMap<(Channel, Quality), Digest>) -> Self {
        // Neither name holds a slash or a line's end.
        let line =
            |((channel, quality), digest): (&(Channel, Quality), &Digest)| format!("{channel}/{quality} {digest}");
        Self { digest: Digest::of_lines(NODE_PREFIX, qualities.iter().map(line)), qualities }
    }
}

/// What a quality shows, hour by hour.
#[derive(Debug)]
pub struct HourDigests {
    /// Of the hours that show something.
    pub hours: BTreeMap<Hour, Digest>,
    /// Those that hold a tombstone, in order.
    pub with_tombstones: Vec<Hour>,
    pub quality: QualityDigests,
    /// The latest day that was not the same at the look before.
    pub changed: Option<Day>,
}

impl HourDigests {
    /// `before` is what it showed at the look before this one.
    pub fn new(hours: BTreeMap<Hour, Digest>, with_tombstones: Vec<Hour>, before: Option<&Self>) -> Self {
        let quality = QualityDigests::of_hours(&hours);
        let changed = before.and_then(|before| {
            let (old, new) = (&before.quality.days, &quality.days);
            let is_changed = |day: &&Day| old.get(*day) != new.get(*day);
            old.keys().chain(new.keys()).filter(is_changed).max().copied().or(before.changed)
        });
        Self { hours, with_tombstones, quality, changed }
    }

    /// One day of it; a day of which there is nothing has no hours.
    pub fn day(&self, day: Day) -> DayDigests {
        let of_day = self.hours.range(day.first_hour()..).take_while(|(hour, _)| Day::of(**hour) == day);
        DayDigests::new(of_day.map(|(hour, digest)| (*hour, *digest)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    fn names() -> Vec<String> {
        let segment = format!("00:00.0-2.0-full-{HASH}");
        vec![
            format!("{segment}.ts"),
            format!("00:02.0-2.0-full-{HASH}.tombstone"),
            format!("00:04-{HASH}.json"),
            "00:06.0-2.0-temp-x.tombstone".to_owned(),
        ]
    }

    fn of(names: &[String]) -> Option<Digest> {
        Digest::of_hour(names.iter().map(String::as_str))
    }

    #[test]
    fn what_is_copied_counts_and_nothing_else() {
        let (all, whole) = (names(), of(&names()).unwrap());
        for left_out in 0..all.len() {
            let mut fewer = all.clone();
            fewer.remove(left_out);
            assert_ne!(of(&fewer), Some(whole), "{}", all[left_out]);
        }
        for stray in ["00:08.0-2.0-temp-x.ts", "stray.ts", "batch.json", "stray.tombstone", ".x.ts", "x", ""] {
            let more = [&all[..], &[stray.to_owned()]].concat();
            assert_eq!(of(&more), Some(whole), "{stray:?}");
            assert_eq!(of(&[stray.to_owned()]), None, "{stray:?}");
        }
        assert_eq!(of(&[]), None);
    }

    /// Nodes of different versions must agree: a change of any of these is a change of format.
    #[test]
    fn the_values_are_what_they_were() {
        let hour = of(&names()).unwrap();
        let hours = BTreeMap::from([("2026-01-02T03".parse().unwrap(), hour)]);
        let of_day = DayDigests::new(hours.clone()).digest;
        let of_quality = QualityDigests::of_hours(&hours).digest;
        let sha = |text: String| SegmentHash::from_bytes(Sha256::digest(text).into()).to_string();
        let mut sorted = names();
        sorted.sort();
        assert_eq!(hour.to_string(), sha(format!("segvault digest 1: hour\n{}\n", sorted.join("\n"))));
        assert_eq!(of_day.to_string(), sha(format!("segvault digest 1: day\n2026-01-02T03 {hour}\n")));
        assert_eq!(of_quality.to_string(), sha(format!("segvault digest 1: quality\n2026-01-02 {of_day}\n")));
        assert_eq!(QualityDigests::new(BTreeMap::new()).digest.to_string(), sha("segvault digest 1: quality\n".into()));
        let names = ("ch é".parse().unwrap(), "source".parse().unwrap());
        let of_node = NodeDigests::new(BTreeMap::from([(names, of_quality)])).digest;
        assert_eq!(of_node.to_string(), sha(format!("segvault digest 1: node\nch é/source {of_quality}\n")));
    }

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = of(&names()).unwrap();
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in ["", "x", &HASH[1..], &format!("{HASH}A")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_latest_day_that_changed_is_told_until_another_does() {
        let digest = of(&names()).unwrap();
        let look = |hours: &[&str], before: Option<&HourDigests>| {
            let hours = hours.iter().map(|hour| (hour.parse().unwrap(), digest)).collect();
            HourDigests::new(hours, Vec::new(), before)
        };
        let first = look(&["2026-01-02T03", "2026-01-05T00"], None);
        assert_eq!(first.changed, None);
        let more = look(&["2026-01-02T03", "2026-01-03T00", "2026-01-05T00"], Some(&first));
        assert_eq!(more.changed, Some("2026-01-03".parse().unwrap()));
        let same = look(&["2026-01-02T03", "2026-01-03T00", "2026-01-05T00"], Some(&more));
        assert_eq!(same.changed, more.changed);
        assert_eq!(look(&["2026-01-02T03"], Some(&same)).changed, Some("2026-01-05".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(order in Just(names()).prop_shuffle(), again in 0usize..4) {
            let repeated = [&order[..], &order[again..]].concat();
            prop_assert_eq!(of(&repeated), of(&names()));
        }

        #[test]
        fn a_change_of_an_hour_changes_its_day_and_quality(hour in 0i64..200, seed in any::<u8>()) {
            let digest = |seed: u8| Digest(SegmentHash::from_bytes([seed; 32]));
            let at = |hour: i64| crate::model::Timestamp::from_micros(hour * 3_600_000_000).hour();
            let before: BTreeMap<Hour, Digest> = (0..100).map(|hour| (at(hour), digest(7))).collect();
            let mut after = before.clone();
            let changed = after.insert(at(hour), digest(seed)) != Some(digest(seed));
            let new = after.clone();
            let (before, after) = (QualityDigests::of_hours(&before), QualityDigests::of_hours(&after));
            prop_assert_eq!(before.digest != after.digest, changed);
            let day = Day::of(at(hour));
            let of_day = HourDigests::new(new, Vec::new(), None).day(day);
            prop_assert_eq!(&before.with_day(day, &of_day), &after);
            let without = after.with_day(day, &DayDigests::new(BTreeMap::new()));
            prop_assert!(!without.days.contains_key(&day) && without.days.len() + 1 == after.days.len());
            for (day, digest) in &after.days {
                prop_assert_eq!(before.days.get(day) != Some(digest), changed && *day == Day::of(at(hour)));
            }
        }
    }
}
