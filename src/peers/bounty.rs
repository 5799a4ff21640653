//! What was lost here, and when peers are asked for it. Pure.
//!
//! Promises: what is lost is asked for at once, and again ever more rarely while it may still appear somewhere; no moment is
//! in two bounties; those that touch, and were opened about the same time, are one; what full segments show by now is asked
//! for no more.
//! Never: reads disk or clock; times are handed in, as time since some beginning.

use std::time::Duration;

use crate::model::{Span, Timestamp};
use crate::select::TOLERANCE_MICROS;
use crate::select::losses::split_by;

/// Between the first two questions; then twice as long each time. A recorder has a segment seconds after another one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// By then whoever records it has it, and later the comparisons with peers find what appears.
const OPEN_FOR: Duration = Duration::from_secs(5 * 60);
/// What goes on being lost is not one bounty that never ends.
const JOINED_WITHIN: Duration = Duration::from_secs(60);
/// Of a longer loss the newest hour is asked for like this; what is older is found by comparing with peers.
const LONGEST_MICROS: i64 = 3_600_000_000;
/// Of more the oldest is given up. Minutes of single segments, every other one lost.
const MOST_OPEN: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounty {
    span: Span,
    opened: Duration,
    /// When to ask next, and how long after that again.
    due: Duration,
    rest: Duration,
}

/// The open bounties of one quality, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounties(Vec<Bounty>);

/// What a loss changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Of the loss, what no bounty was open for.
    pub fresh: Vec<Span>,
    /// There was no room for it any more.
    pub given_up: Vec<Span>,
}

impl Bounties {
    /// Takes a loss; it is due at once, whether or not it was known.
    pub fn open(&mut self, lost: Span, now: Duration) -> Opened {
        let newest = lost.start().max(lost.end().plus_micros(-LONGEST_MICROS));
        let lost = Span::new(newest, lost.end()).expect("the newest part of a span is one");
        for known in self.0.iter_mut().filter(|known| overlap(known.span, lost)) {
            known.due = now;
        }
        let fresh = self.unknown(lost);
        self.0.extend(fresh.iter().map(|span| Bounty { span: *span, opened: now, due: now, rest: FIRST_REST }));
        self.0.sort_unstable_by_key(|bounty| bounty.span.start());
        self.join();
        Opened { fresh, given_up: self.make_room() }
    }

    /// What to ask for now. `jitter` spreads the waits.
    pub fn due(&mut self, now: Duration, jitter: impl Fn(Duration) -> Duration) -> Vec<Span> {
        let mut due = Vec::new();
        for bounty in self.0.iter_mut().filter(|bounty| bounty.due <= now) {
            due.push(bounty.span);
            bounty.due = now + jitter(bounty.rest);
            bounty.rest = (bounty.rest * 2).min(LONGEST_REST);
        }
        due
    }

    /// Takes out what full segments show, given in order; answers what that was.
    pub fn settle(&mut self, full: &[Span]) -> Vec<Span> {
        let mut filled = Vec::new();
        let mut left = Vec::with_capacity(self.0.len());
        let mut room = MOST_OPEN.saturating_sub(self.0.len());
        for bounty in self.0.drain(..) {
            let parts = split_by(bounty.span, full);
            let missing = parts.iter().filter(|(_, is_shown)| !is_shown).count();
            if missing.saturating_sub(1) > room {
                left.push(bounty);
                continue;
            }
            room -= missing.saturating_sub(1);
            for (span, is_shown) in parts {
                if is_shown {
                    filled.push(span);
                } else {
                    left.push(Bounty { span, ..bounty });
                }
            }
        }
        self.0 = left;
        filled
    }

    /// Takes out what was open for long enough.
    pub fn give_up(&mut self, now: Duration) -> Vec<Span> {
        let (old, left) = self.0.drain(..).partition(|bounty| bounty.opened + OPEN_FOR <= now);
        self.0 = left;
        spans_of(&old)
    }

    /// When there is something to do next; `None` while nothing is open.
    pub fn next_at(&self) -> Option<Duration> {
        self.0.iter().map(|bounty| bounty.due.min(bounty.opened + OPEN_FOR)).min()
    }

    /// What is open, in order.
    pub fn spans(&self) -> Vec<Span> {
        spans_of(&self.0)
    }

    fn unknown(&self, span: Span) -> Vec<Span> {
        let mut from = span.start();
        let mut unknown = Vec::new();
        for known in self.0.iter().map(|bounty| bounty.span).filter(|known| overlap(*known, span)) {
            unknown.extend(Span::new(from, known.start()));
            from = from.max(known.end());
        }
        unknown.extend(Span::new(from, span.end()));
        unknown
    }

    fn join(&mut self) {
        let mut joined: Vec<Bounty> = Vec::with_capacity(self.0.len());
        for next in self.0.drain(..) {
            match joined.last_mut() {
                Some(last) if last.is_one_with(&next) => {
                    last.span = Span::new(last.span.start(), next.span.end()).expect("they are in order");
                    last.opened = last.opened.min(next.opened);
                    last.due = last.due.min(next.due);
                    last.rest = last.rest.min(next.rest);
                }
                Some(_) | None => joined.push(next),
            }
        }
        self.0 = joined;
    }

    fn make_room(&mut self) -> Vec<Span> {
        let mut given_up = Vec::new();
        while self.0.len() > MOST_OPEN {
            let oldest = (0..self.0.len()).min_by_key(|at| self.0[*at].opened).expect("it is not empty");
            given_up.push(self.0.remove(oldest).span);
        }
        given_up
    }
}

impl Bounty {
    /// `next` does not begin before `self` ends.
    fn is_one_with(&self, next: &Self) -> bool {
        next.span.start().micros_since(self.span.end()) <= TOLERANCE_MICROS
            && next.span.end().micros_since(self.span.start()) <= LONGEST_MICROS
            && self.opened.abs_diff(next.opened) < JOINED_WITHIN
    }
}

/// What was lost here lately, whether or not a bounty for it is open still: nobody leaves it to the recorder. In order;
/// those that touch are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostLately(Vec<Span>);

impl LostLately {
    pub fn add(&mut self, lost: Span) {
        let mut joined = lost;
        self.0.retain(|known| {
            let touch = known.start().micros_since(joined.end()) <= TOLERANCE_MICROS
                && joined.start().micros_since(known.end()) <= TOLERANCE_MICROS;
            if touch {
                let (start, end) = (known.start().min(joined.start()), known.end().max(joined.end()));
                joined = Span::new(start, end).expect("a span that holds another is not empty");
            }
            !touch
        });
        let place = self.0.partition_point(|known| known.start() < joined.start());
        self.0.insert(place, joined);
    }

    /// Forgets what is old enough to be anybody's, and beyond a bound the oldest.
    pub fn forget(&mut self, before: Timestamp) {
        self.0.retain(|known| known.end() > before);
        let too_many = self.0.len().saturating_sub(MOST_LOST);
        self.0.drain(..too_many);
    }

    pub fn spans(&self) -> &[Span] {
        &self.0
    }
}

/// A day in which every other minute is lost.
const MOST_LOST: usize = 720;

fn overlap(a: Span, b: Span) -> bool {
    a.start() < b.end() && b.start() < a.end()
}

fn spans_of(bounties: &[Bounty]) -> Vec<Span> {
    bounties.iter().map(|bounty| bounty.span).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: i64 = 1_767_322_800_000_000;

    fn tenths(start: i64, end: i64) -> Span {
        let at = |tenth: i64| Timestamp::from_micros(BASE + tenth * 100_000);
        Span::new(at(start), at(end)).unwrap()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Seconds at which a single loss is asked for.
    fn asked_at(bounties: &mut Bounties) -> Vec<u64> {
        let mut asked = Vec::new();
        while let Some(next) = bounties.next_at() {
            bounties.give_up(next);
            if !bounties.due(next, |rest| rest).is_empty() {
                asked.push(next.as_secs());
            }
        }
        asked
    }

    #[test]
    fn a_loss_is_asked_for_at_once_and_ever_more_rarely_and_then_given_up() {
        let mut bounties = Bounties::default();
        assert_eq!(bounties.open(tenths(0, 20), secs(0)).fresh, [tenths(0, 20)]);
        assert_eq!(asked_at(&mut bounties), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert_eq!(bounties, Bounties::default());
    }

    #[test]
    fn what_is_lost_again_is_due_again_and_counted_once() {
        let mut bounties = Bounties::default();
        bounties.open(tenths(0, 20), secs(0));
        assert_eq!(bounties.due(secs(0), |rest| rest).len(), 1);
        assert!(bounties.due(secs(0), |rest| rest).is_empty());
        assert_eq!(bounties.open(tenths(0, 20), secs(0)), Opened::default());
        assert_eq!(bounties.due(secs(0), |rest| rest), [tenths(0, 20)]);
        assert_eq!(bounties.open(tenths(10, 30), secs(0)).fresh, [tenths(20, 30)]);
        assert_eq!(bounties.spans(), [tenths(0, 30)]);
    }

    #[test]
    fn what_touches_is_one_unless_it_would_never_end() {
        let mut bounties = Bounties::default();
        for second in 0..200 {
            bounties.open(tenths(10 * second, 10 * second + 10), secs(second as u64));
        }
        assert_eq!(bounties.spans(), [tenths(0, 600), tenths(600, 1200), tenths(1200, 1800), tenths(1800, 2000)]);
        assert_eq!(bounties.give_up(secs(300)), [tenths(0, 600)]);
    }

    #[test]
    fn of_a_long_loss_the_newest_hour_is_asked_for() {
        let mut bounties = Bounties::default();
        bounties.open(tenths(0, 48 * 36_000), secs(0));
        assert_eq!(bounties.spans(), [tenths(47 * 36_000, 48 * 36_000)]);
    }

    #[test]
    fn what_full_segments_show_is_filled_and_the_rest_stays_open() {
        let mut bounties = Bounties::default();
        bounties.open(tenths(0, 60), secs(0));
        assert_eq!(bounties.settle(&[tenths(-20, 0)]), []);
        assert_eq!(bounties.settle(&[tenths(20, 40)]), [tenths(20, 40)]);
        assert_eq!(bounties.spans(), [tenths(0, 20), tenths(40, 60)]);
        assert_eq!(bounties.settle(&[tenths(-5, 20), tenths(40, 60)]), [tenths(0, 20), tenths(40, 60)]);
        assert_eq!(bounties.next_at(), None);
    }

    #[test]
    fn there_are_never_too_many_and_the_oldest_goes() {
        let mut bounties = Bounties::default();
        for number in 0..MOST_OPEN as i64 {
            assert!(bounties.open(tenths(40 * number, 40 * number + 20), secs(number as u64)).given_up.is_empty());
        }
        assert_eq!(bounties.open(tenths(90_000, 90_020), secs(99)).given_up, [tenths(0, 20)]);
        assert_eq!(bounties.spans().len(), MOST_OPEN);
        // Splitting one in two would be one too many: it stays whole until all of it is there.
        assert!(bounties.settle(&[tenths(90_005, 90_010)]).is_empty());
        assert_eq!(bounties.settle(&[tenths(90_000, 90_020)]), [tenths(90_000, 90_020)]);
    }

    #[test]
    fn what_was_lost_lately_is_joined_and_forgotten_with_age() {
        let mut lost = LostLately::default();
        for span in [tenths(40, 60), tenths(0, 20), tenths(20, 30), tenths(50, 70)] {
            lost.add(span);
        }
        assert_eq!(lost.spans(), [tenths(0, 30), tenths(40, 70)]);
        lost.forget(tenths(30, 31).start());
        assert_eq!(lost.spans(), [tenths(40, 70)]);
        for number in 0..2 * MOST_LOST as i64 {
            lost.add(tenths(100 + 20 * number, 110 + 20 * number));
            lost.forget(tenths(0, 1).start());
        }
        assert_eq!(lost.spans().len(), MOST_LOST);
    }

    fn length(spans: &[Span]) -> i64 {
        spans.iter().map(|span| span.end().micros_since(span.start())).sum()
    }

    #[derive(Debug, Clone)]
    enum Act {
        Lose(i64, i64),
        Show(i64, i64),
        Wait(u64),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0i64..300, 1i64..80).prop_map(|(start, length)| Act::Lose(start, start + length)),
            (0i64..300, 1i64..40).prop_map(|(start, length)| Act::Show(start, start + length)),
            (0u64..90).prop_map(Act::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_opened_moment_is_open_or_filled_or_given_up_once(acts in prop::collection::vec(any_act(), 1..60)) {
            let (mut bounties, mut now) = (Bounties::default(), Duration::ZERO);
            let (mut opened, mut done) = (0, 0);
            for act in acts {
                match act {
                    Act::Lose(start, end) => {
                        let lost = bounties.open(tenths(start, end), now);
                        opened += length(&lost.fresh);
                        done += length(&lost.given_up);
                        prop_assert!(!bounties.due(now, |rest| rest).is_empty(), "a loss is due at once");
                    }
                    Act::Show(start, end) => done += length(&bounties.settle(&[tenths(start, end)])),
                    Act::Wait(seconds) => {
                        now += secs(seconds);
                        done += length(&bounties.give_up(now));
                        bounties.due(now, |rest| rest);
                    }
                }
                let open = bounties.spans();
                prop_assert!(open.len() <= MOST_OPEN && open.windows(2).all(|two| two[0].end() <= two[1].start()));
                prop_assert_eq!(opened, done + length(&open));
                prop_assert!(bounties.next_at().is_none_or(|next| next >= now), "nothing is overdue");
            }
        }
    }
}
