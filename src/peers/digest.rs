//! Which days and hours to compare with a peer that tells digests, and what was once found to need nothing. Pure.
//!
//! Promises: a pair of digests counts as reconciled only if it was computed from the very names that were compared; so a
//! peer that lies about its digests gains nothing, and costs a pass now and then. What is remembered is bounded.
//! Never: reads disk or clock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Day, Hour, Timestamp};
use crate::select::{DayDigests, Digest, HourDigests, QualityDigests};

/// Hours and days that are remembered: more than two years of hours that look different and need nothing.
const MAX_REMEMBERED: usize = 20_000;
/// Where so few hours are not what their digests said, they changed between two questions.
const CHANGED_MEANWHILE: usize = 2;
/// A peer without digests, or with wrong ones, is listed plainly for as many passes at most before it is asked for them again.
const MOST_PLAIN_PASSES: u32 = 64;

/// Ours, if we have any, and theirs.
type Pair = (Option<Digest>, Digest);

/// What is known of one quality of one peer.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// What the peer said last.
    theirs: Option<Arc<QualityDigests>>,
    /// Both sides' digests when nothing was left to do.
    level: Option<(Digest, Digest)>,
    days: HashMap<Day, Pair>,
    hours: HashMap<Hour, Pair>,
    plain_passes: u32,
    plain_passes_left: u32,
}

impl Reconciled {
    /// Whether to ask for digests in this pass.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.plain_passes_left == 0;
        self.plain_passes_left = self.plain_passes_left.saturating_sub(1);
        is_due
    }

    /// The peer has no digests, or none that are right.
    pub fn refuse(&mut self) {
        let plain_passes = self.plain_passes.saturating_mul(2).clamp(1, MOST_PLAIN_PASSES);
        *self = Self { plain_passes, plain_passes_left: plain_passes, ..Self::default() };
    }

    pub fn known(&self) -> Option<Digest> {
        self.theirs.as_ref().map(|theirs| theirs.digest)
    }

    /// Takes what the peer answered; `None` means that it is what it was. `None` if that was never said.
    pub fn take(&mut self, answer: Option<QualityDigests>) -> Option<Arc<QualityDigests>> {
        if let Some(theirs) = answer {
            self.days.retain(|day, _| theirs.days.contains_key(day));
            self.hours.retain(|hour, _| theirs.days.contains_key(&Day::of(*hour)));
            self.theirs = Some(Arc::new(theirs));
        }
        self.theirs.clone()
    }

    pub fn is_level(&self, ours: &HourDigests, theirs: &QualityDigests) -> bool {
        self.level == Some((ours.quality.digest, theirs.digest))
    }

    /// What is to be compared, the newest day first; the hours of days that differ are yet to be asked for.
    pub fn differing(
        &self,
        ours: Arc<HourDigests>,
        theirs: Arc<QualityDigests>,
        since: Option<Timestamp>,
    ) -> (Differing, Vec<Day>) {
        let first = since.map(|since| since.hour().previous());
        let differs = |(day, their): &(&Day, &Digest)| {
            let pair = (ours.quality.days.get(day).copied(), **their);
            pair.0 != Some(pair.1) && self.days.get(day) != Some(&pair)
        };
        // Of what is here the tombstones are wanted, however old it is.
        let is_wanted =
            |day: &Day| first.is_none_or(|first| *day >= Day::of(first)) || ours.quality.days.contains_key(day);
        let days = theirs.days.iter().rev().filter(|(day, _)| is_wanted(day)).filter(differs).map(|(day, _)| *day);
        let days: Vec<Day> = days.collect();
        // Where both sides hold the same, there is nothing to do but to hide twins of what a tombstone hides.
        let is_same = |hour: &Hour| {
            let day = Day::of(*hour);
            ours.quality.days.get(&day) == theirs.days.get(&day)
        };
        let with_tombstones = ours.with_tombstones.iter().filter(|hour| is_same(hour));
        let claimed = with_tombstones.filter_map(|hour| Some((*hour, *ours.hours.get(hour)?))).collect();
        (Differing { ours, theirs, first, days: HashMap::new(), claimed }, days)
    }

    /// The hours that are to be compared, newest first.
    pub fn hours(&self, differing: &Differing) -> Vec<Hour> {
        let is_new = |(hour, their): &(&Hour, &Digest)| self.hours.get(hour) != Some(&differing.pair(**hour, **their));
        let mut hours: Vec<Hour> = differing.claimed.iter().filter(is_new).map(|(hour, _)| *hour).collect();
        hours.sort_unstable_by(|a, b| b.cmp(a));
        hours
    }

    /// The names of both sides with these digests were compared, and there was nothing to do.
    pub fn note_nothing(&mut self, hour: Hour, pair: Pair) {
        if self.hours.len() < MAX_REMEMBERED {
            self.hours.insert(hour, pair);
        }
    }

    /// All hours were compared, of which so many were not what their digests said.
    pub fn conclude(&mut self, differing: &Differing, compared: usize, misstated: usize) {
        let is_lie = |wrong: usize, all: usize| wrong > CHANGED_MEANWHILE && wrong * 2 > all;
        let is_misstated = |(day, their): &(&Day, &Digest)| differing.theirs.days.get(*day) != Some(*their);
        let misstated_days = differing.days.iter().filter(is_misstated).count();
        if is_lie(misstated, compared) || is_lie(misstated_days, differing.days.len()) {
            return self.refuse();
        }
        self.plain_passes = 0;
        let is_left = |(hour, their): (&Hour, &Digest)| self.hours.get(hour) != Some(&differing.pair(*hour, *their));
        let mut left: Vec<Day> =
            differing.claimed.iter().filter(|pair| is_left(*pair)).map(|(hour, _)| Day::of(*hour)).collect();
        for (day, their) in &differing.days {
            // It may have changed since the peer told its days.
            let is_reconciled = differing.theirs.days.get(day) == Some(their) && !left.contains(day);
            if is_reconciled && self.days.len() < MAX_REMEMBERED {
                self.days.insert(*day, (differing.ours.quality.days.get(day).copied(), *their));
            } else {
                left.push(*day);
            }
        }
        self.level = left.is_empty().then_some((differing.ours.quality.digest, differing.theirs.digest));
    }
}

/// What differs between both sides in one pass.
#[derive(Debug)]
pub struct Differing {
    ours: Arc<HourDigests>,
    theirs: Arc<QualityDigests>,
    /// What is earlier is not wanted, but for the tombstones of what is here.
    first: Option<Hour>,
    /// Days that were asked for, with the digest that came with their hours.
    days: HashMap<Day, Digest>,
    /// The peer's digests of the hours that need a look.
    claimed: HashMap<Hour, Digest>,
}

impl Differing {
    /// The hours of a day, as the peer tells them.
    pub fn take(&mut self, day: Day, theirs: DayDigests) {
        self.days.insert(day, theirs.digest);
        let has_tombstones = |hour: &Hour| self.ours.with_tombstones.binary_search(hour).is_ok();
        let is_same = |hour: &Hour, their: Digest| self.ours.hours.get(hour) == Some(&their) && !has_tombstones(hour);
        let is_wanted =
            |hour: &Hour| self.first.is_none_or(|first| *hour >= first) || self.ours.hours.contains_key(hour);
        let hours = theirs.hours.into_iter().filter(|(hour, their)| is_wanted(hour) && !is_same(hour, *their));
        self.claimed.extend(hours);
    }

    /// Whether an hour is what its digest said.
    pub fn is_as_claimed(&self, hour: Hour, theirs: Option<Digest>) -> bool {
        self.claimed.get(&hour).copied() == theirs
    }

    fn pair(&self, hour: Hour, theirs: Digest) -> Pair {
        (self.ours.hours.get(&hour).copied(), theirs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    fn hour(at: u32) -> Hour {
        format!("2026-01-{:02}T{:02}", at / 24 + 1, at % 24).parse().unwrap()
    }

    fn digest(seed: u32) -> Digest {
        Digest::of_hour([format!("{:02}:{:02}-{HASH}.json", seed / 60, seed % 60).as_str()]).unwrap()
    }

    fn table(hours: &[(u32, u32)]) -> BTreeMap<Hour, Digest> {
        hours.iter().map(|(at, seed)| (hour(*at), digest(*seed))).collect()
    }

    fn ours(hours: &[(u32, u32)], with_tombstones: &[u32]) -> Arc<HourDigests> {
        let hours = table(hours);
        let with_tombstones = with_tombstones.iter().copied().map(hour).collect();
        Arc::new(HourDigests::new(hours, with_tombstones, None))
    }

    /// One pass against a peer that tells these; answers the hours that it compares. Those of `nothing` need nothing.
    fn pass(memory: &mut Reconciled, ours: &Arc<HourDigests>, theirs: &[(u32, u32)], nothing: &[u32]) -> Vec<Hour> {
        let hours = table(theirs);
        let theirs = memory.take(Some(QualityDigests::of_hours(&hours))).unwrap();
        if memory.is_level(ours, &theirs) {
            return Vec::new();
        }
        let (mut differing, days) = memory.differing(Arc::clone(ours), theirs, None);
        for day in days {
            let of_day = hours.iter().filter(|(hour, _)| Day::of(**hour) == day);
            differing.take(day, DayDigests::new(of_day.map(|(hour, digest)| (*hour, *digest)).collect()));
        }
        let compared = memory.hours(&differing);
        for hour in nothing.iter().copied().map(hour).filter(|hour| compared.contains(hour)) {
            memory.note_nothing(hour, (ours.hours.get(&hour).copied(), hours[&hour]));
        }
        memory.conclude(&differing, compared.len(), 0);
        compared
    }

    #[test]
    fn only_what_differs_is_compared_newest_first_and_what_needs_nothing_once() {
        let (mut memory, ours) = (Reconciled::default(), ours(&[(0, 1), (30, 1), (31, 1), (60, 9)], &[]));
        let theirs = [(0, 1), (30, 2), (31, 1), (40, 3), (70, 4)];
        assert_eq!(pass(&mut memory, &ours, &theirs, &[30, 70]), [hour(70), hour(40), hour(30)]);
        assert_eq!(pass(&mut memory, &ours, &theirs, &[40]), [hour(40)]);
        assert!(memory.level.is_some());
        assert!(pass(&mut memory, &ours, &theirs, &[]).is_empty());
        let changed = [(0, 1), (30, 2), (31, 1), (40, 3), (70, 5)];
        assert_eq!(pass(&mut memory, &ours, &changed, &[]), [hour(70)]);
        assert_eq!(memory.level, None);
    }

    #[test]
    fn what_both_have_needs_no_look_unless_a_tombstone_may_have_a_twin_there() {
        let mut memory = Reconciled::default();
        let theirs = [(0, 1), (30, 2)];
        assert!(pass(&mut memory, &ours(&theirs, &[]), &theirs, &[]).is_empty());
        assert!(memory.level.is_some());
        let mut memory = Reconciled::default();
        let ours = ours(&theirs, &[30]);
        assert_eq!(pass(&mut memory, &ours, &theirs, &[30]), [hour(30)]);
        assert!(pass(&mut memory, &ours, &theirs, &[]).is_empty());
        assert!(memory.level.is_some());
    }

    #[test]
    fn what_changes_here_is_compared_again() {
        let mut memory = Reconciled::default();
        let theirs = [(0, 1)];
        assert_eq!(pass(&mut memory, &ours(&[(0, 2)], &[]), &theirs, &[0]), [hour(0)]);
        assert!(pass(&mut memory, &ours(&[(0, 2)], &[]), &theirs, &[]).is_empty());
        assert_eq!(pass(&mut memory, &ours(&[(0, 3)], &[]), &theirs, &[]), [hour(0)], "bytes were lost here");
        assert_eq!(pass(&mut memory, &ours(&[], &[]), &theirs, &[]), [hour(0)]);
    }

    #[test]
    fn what_is_too_old_is_not_compared() {
        let memory = Reconciled::default();
        let hours = table(&[(1, 1), (25, 1), (28, 1), (29, 1), (50, 1)]);
        let theirs = Arc::new(QualityDigests::of_hours(&hours));
        let (mut differing, days) = memory.differing(ours(&[], &[]), theirs, Some(hour(30).start()));
        assert_eq!(days, [Day::of(hour(50)), Day::of(hour(25))]);
        for day in days {
            let of_day = hours.iter().filter(|(hour, _)| Day::of(**hour) == day);
            differing.take(day, DayDigests::new(of_day.map(|(hour, digest)| (*hour, *digest)).collect()));
        }
        assert_eq!(memory.hours(&differing), [hour(50), hour(29)], "segments of the hour before may reach into it");
    }

    #[test]
    fn of_what_is_here_the_tombstones_are_wanted_however_old_it_is() {
        let memory = Reconciled::default();
        let hours = table(&[(1, 1), (2, 1), (25, 1), (50, 1)]);
        let theirs = Arc::new(QualityDigests::of_hours(&hours));
        let (mut differing, days) = memory.differing(ours(&[(1, 2), (50, 2)], &[]), theirs, Some(hour(50).start()));
        assert_eq!(days, [Day::of(hour(50)), Day::of(hour(1))]);
        for day in days {
            let of_day = hours.iter().filter(|(hour, _)| Day::of(**hour) == day);
            differing.take(day, DayDigests::new(of_day.map(|(hour, digest)| (*hour, *digest)).collect()));
        }
        assert_eq!(memory.hours(&differing), [hour(50), hour(1)]);
    }

    #[test]
    fn a_peer_whose_digests_are_wrong_is_asked_for_them_ever_more_rarely() {
        let mut memory = Reconciled::default();
        let mut passes_with_digests = Vec::new();
        for number in 0..200 {
            if memory.is_due() {
                passes_with_digests.push(number);
                memory.refuse();
            }
        }
        assert_eq!(passes_with_digests, [0, 2, 5, 10, 19, 36, 69, 134, 199]);
        let theirs = Arc::new(QualityDigests::of_hours(&table(&[(0, 1)])));
        let (differing, _) = memory.differing(ours(&[], &[]), theirs, None);
        let mut changed_meanwhile = Reconciled::default();
        changed_meanwhile.conclude(&differing, 100, 50);
        assert!(changed_meanwhile.is_due());
        let mut lied_to = Reconciled::default();
        lied_to.conclude(&differing, 100, 51);
        assert!(!lied_to.is_due());

        // Days that are not what was told of them, and nothing to compare in any.
        let hours = table(&(0..4).map(|day| (day * 24, 1)).collect::<Vec<_>>());
        for (wrong_days, is_believed) in [(2, true), (3, false)] {
            let mut memory = Reconciled::default();
            let theirs = Arc::new(QualityDigests::of_hours(&hours));
            let (mut differing, days) = memory.differing(ours(&[], &[]), theirs, None);
            for (number, day) in days.into_iter().enumerate() {
                let of_day = hours.iter().filter(|(hour, _)| number >= wrong_days && Day::of(**hour) == day);
                differing.take(day, DayDigests::new(of_day.map(|(hour, digest)| (*hour, *digest)).collect()));
            }
            memory.conclude(&differing, 4 - wrong_days, 0);
            assert_eq!(memory.is_due(), is_believed, "{wrong_days}");
        }
    }
}
