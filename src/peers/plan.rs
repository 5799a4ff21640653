//! Which files of an hour to copy from a peer, and which tombstones to take over. Pure.
//!
//! Promises: nothing that a tombstone of either side hides is copied, nor its twin; of twins one is enough; the newest
//! comes first; the same names give the same plan.
//! Never: reads disk or clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::names::{HourNames, TombstoneName};
use crate::model::{CopyOrder, HashedName, SegmentHash, Span, Timestamp};
use crate::select::TOLERANCE_MICROS;

/// Which segments are anybody's to copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// What ends before it is not wanted.
    pub since: Option<Timestamp>,
    /// What ends after it is left to the recorder, which is at it.
    pub recent: Option<Timestamp>,
    /// But for what lies in these: the recorder has lost it.
    pub lost: Arc<[Span]>,
    pub order: CopyOrder,
}

impl Window {
    /// Whether it is left to the recorder, for now.
    pub fn is_young(&self, file: &HashedName) -> bool {
        self.recent.is_some_and(|recent| file.end() > recent) && !self.is_lost(file)
    }

    fn is_lost(&self, file: &HashedName) -> bool {
        // Its neighbours may reach that far into what is missing.
        let reaches = |end: Timestamp, start: Timestamp| end.micros_since(start) > TOLERANCE_MICROS;
        self.lost.iter().any(|lost| reaches(file.end(), lost.start()) && reaches(lost.end(), file.start()))
    }
}

/// What is to be done for one hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HourPlan {
    /// To be created before anything is fetched.
    pub tombstones: Vec<TombstoneName>,
    /// Newest first.
    pub fetch: Vec<HashedName>,
    /// How many are left to the recorder, for now.
    pub young: usize,
}

impl HourPlan {
    /// Whether the two hours need not be compared again while neither changes.
    pub fn is_nothing(&self) -> bool {
        self.tombstones.is_empty() && self.fetch.is_empty() && self.young == 0
    }
}

/// Compares this node's hour with a peer's.
pub fn plan_hour(ours: &HourNames, theirs: &HourNames, window: Window) -> HourPlan {
    let mut hidden = Known::default();
    ours.tombstones
        .iter()
        .chain(&theirs.tombstones)
        .filter_map(TombstoneName::hidden)
        .for_each(|file| hidden.add(file));
    let mut plan = HourPlan { tombstones: new_tombstones(ours, theirs, &hidden), ..HourPlan::default() };

    let mut known = Known::default();
    ours.files.iter().for_each(|file| known.add(file));
    let mut candidates: Vec<&HashedName> = theirs.files.iter().collect();
    candidates.sort_unstable_by(|a, b| (b.start(), b.as_str()).cmp(&(a.start(), a.as_str())));
    for file in candidates {
        if hidden.has_twin_of(file) || known.has_twin_of(file) {
            continue;
        }
        if window.since.is_some_and(|since| file.end() < since) {
            continue;
        }
        if window.is_young(file) {
            plan.young += 1;
            continue;
        }
        known.add(file);
        plan.fetch.push(file.clone());
    }
    plan
}

/// The peer's that are not here, and those that hide our twins of what is hidden: the same bytes under another name.
fn new_tombstones(ours: &HourNames, theirs: &HourNames, hidden: &Known<'_>) -> Vec<TombstoneName> {
    let mut here: HashSet<&str> = ours.tombstones.iter().map(TombstoneName::as_str).collect();
    let mut new: Vec<TombstoneName> =
        theirs.tombstones.iter().filter(|tombstone| here.insert(tombstone.as_str())).cloned().collect();
    let twins = ours.files.iter().filter(|file| hidden.has_twin_of(file)).filter_map(TombstoneName::of);
    let twins: Vec<TombstoneName> = twins.filter(|twin| !here.contains(twin.as_str())).collect();
    new.extend(twins);
    new
}

/// Files, to be looked up by what they hold.
#[derive(Default)]
struct Known<'n>(HashMap<SegmentHash, Vec<&'n HashedName>>);

impl<'n> Known<'n> {
    fn add(&mut self, file: &'n HashedName) {
        self.0.entry(file.hash()).or_default().push(file);
    }

    fn has_twin_of(&self, file: &HashedName) -> bool {
        self.0.get(&file.hash()).is_some_and(|same_bytes| same_bytes.iter().any(|known| known.is_twin_of(file)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(seed: u8) -> SegmentHash {
        SegmentHash::from_bytes([seed; 32])
    }

    fn name(start: &str, kind: &str, seed: u8) -> String {
        format!("{start}-2.0-{kind}-{}.ts", hash(seed))
    }

    fn hour(names: &[String]) -> HourNames {
        let names = HourNames::of("2026-01-02T03".parse().unwrap(), names.iter().map(String::as_str));
        assert_eq!(names.refused.count, 0);
        names
    }

    fn tombstone(name: &str) -> String {
        name.replace(".ts", ".tombstone")
    }

    fn texts(plan: &HourPlan) -> (Vec<&str>, Vec<&str>) {
        let tombstones = plan.tombstones.iter().map(TombstoneName::as_str).collect();
        (tombstones, plan.fetch.iter().map(HashedName::as_str).collect())
    }

    fn plan(ours: &[String], theirs: &[String]) -> HourPlan {
        plan_hour(&hour(ours), &hour(theirs), Window::default())
    }

    #[test]
    fn what_is_missing_is_fetched_newest_first_and_temps_never() {
        let (a, b, c) = (name("00:00.0", "full", 1), name("00:02.0", "suspect", 2), name("00:04.0", "partial", 3));
        let temp = "00:06.0-2.0-temp-x.ts".to_owned();
        let plan = plan(std::slice::from_ref(&b), &[a.clone(), b.clone(), temp, c.clone()]);
        assert_eq!(texts(&plan), (vec![], vec![&*c, &*a]));
    }

    #[test]
    fn twins_are_one() {
        let (ours, twin) = (name("00:00.500000", "full", 1), name("00:00.501000", "full", 1));
        assert!(plan(std::slice::from_ref(&ours), std::slice::from_ref(&twin)).is_nothing());
        assert_eq!(plan(&[], &[ours.clone(), twin]).fetch.len(), 1);
        let other = name("00:00.502000", "full", 1);
        assert_eq!(plan(&[ours], std::slice::from_ref(&other)).fetch.len(), 1);
    }

    #[test]
    fn a_tombstone_of_either_side_keeps_a_file_and_its_twin_out() {
        let (file, twin) = (name("00:00.500000", "full", 1), name("00:00.500400", "full", 1));
        let marked = tombstone(&file);
        for theirs in [&file, &twin] {
            assert!(plan(std::slice::from_ref(&marked), std::slice::from_ref(theirs)).is_nothing());
        }
        let with_theirs = plan(&[], &[marked.clone(), twin.clone()]);
        assert_eq!(texts(&with_theirs), (vec![&*marked], vec![]));
        let with_our_twin = plan(std::slice::from_ref(&twin), std::slice::from_ref(&marked));
        assert_eq!(texts(&with_our_twin), (vec![&*marked, &*tombstone(&twin)], vec![]));
        assert!(plan(&[marked.clone(), tombstone(&twin)], &[marked]).is_nothing());
    }

    #[test]
    fn what_is_young_is_left_to_the_recorder_and_what_is_old_to_nobody() {
        let theirs = hour(&[name("00:00.0", "full", 1), name("00:02.0", "full", 2), name("00:04.0", "full", 3)]);
        let at = |text: &str| Some(format!("2026-01-02T03:{text}").parse().unwrap());
        let window = Window { since: at("00:03"), recent: at("00:05"), ..Window::default() };
        let plan = plan_hour(&hour(&[]), &theirs, window);
        assert_eq!((texts(&plan).1, plan.young), (vec![&*name("00:02.0", "full", 2)], 1));
        assert!(!HourPlan { young: 1, ..HourPlan::default() }.is_nothing(), "it will be old enough soon");
    }

    #[test]
    fn what_the_recorder_lost_is_not_left_to_it_nor_is_anything_else_taken() {
        let names =
            ["00:00.0", "00:02.005", "00:04.0", "00:06.0"].map(|start| name(start, "full", start.as_bytes()[4]));
        let span = |start: &str, end: &str| {
            Span::new(
                format!("2026-01-02T03:{start}").parse().unwrap(),
                format!("2026-01-02T03:{end}").parse().unwrap(),
            )
        };
        // The one before reaches 5 ms into it: recorders round.
        let lost = [span("00:04", "00:05").unwrap()];
        let window = Window { recent: Some(Timestamp::from_micros(0)), lost: lost.into(), ..Window::default() };
        let plan = plan_hour(&hour(&[]), &hour(&names), window);
        assert_eq!((texts(&plan).1, plan.young), (vec![&*names[2]], 3));
    }

    fn any_hour() -> impl Strategy<Value = HourNames> {
        let one = (0u32..8, 0u32..3, 0u8..4, any::<bool>());
        prop::collection::vec(one, 0..12).prop_map(|names| {
            let text = |(second, milli, seed, hidden): (u32, u32, u8, bool)| {
                let name = name(&format!("00:{second:02}.{milli:03}"), "full", seed);
                if hidden { tombstone(&name) } else { name }
            };
            let mut names: Vec<String> = names.into_iter().map(text).collect();
            names.sort();
            names.dedup();
            hour(&names)
        })
    }

    /// What the disk shows after a plan was carried out.
    fn carry_out(ours: &HourNames, plan: &HourPlan) -> HourNames {
        let mut after = ours.clone();
        after.tombstones.extend(plan.tombstones.iter().cloned());
        after.files.extend(plan.fetch.iter().cloned());
        after.files.retain(|file| {
            !after.tombstones.iter().any(|tombstone| TombstoneName::of(file).is_some_and(|of| of == *tombstone))
        });
        after
    }

    proptest! {
        #[test]
        fn after_each_has_copied_from_the_other_neither_lacks_anything(a in any_hour(), b in any_hour()) {
            // Deletion goes along a chain of twins by one link for each pass.
            let (mut a_then, mut b_then) = (a, b);
            for _ in 0..4 {
                a_then = carry_out(&a_then, &plan_hour(&a_then, &b_then, Window::default()));
                b_then = carry_out(&b_then, &plan_hour(&b_then, &a_then, Window::default()));
            }
            prop_assert!(plan_hour(&a_then, &b_then, Window::default()).is_nothing());
            prop_assert!(plan_hour(&b_then, &a_then, Window::default()).is_nothing());
            for file in &b_then.files {
                prop_assert!(a_then.files.iter().any(|one| one.is_twin_of(file)));
            }
        }
    }
}
