//! What of the losses that were noted is still missing, and why: each second once.
//!
//! Promises: in order, and never overlapping; every moment of every loss is in the answer, and no other moment but what the
//! tolerance adds between spans that touch; a moment that several losses claim has the cause that is known best, noticed
//! first; what a full segment shows by now is marked as filled.

use std::collections::BTreeMap;

use super::{Selection, TOLERANCE_MICROS};
use crate::model::{Loss, LossCause, SegmentKind, Span, Timestamp};

/// A loss as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingLoss {
    pub loss: Loss,
    /// The record shows it after all: not a loss any more.
    pub filled: bool,
}

/// Clips losses to `within`, where it is given.
pub fn clip(losses: Vec<Loss>, within: Option<Span>) -> Vec<Loss> {
    let Some(within) = within else { return losses };
    losses.iter().filter_map(|loss| Some(loss.of(intersection(loss.span, within)?))).collect()
}

/// The spans of losses, whatever their cause, joined where they touch.
pub fn joined(losses: &[Loss]) -> Vec<Span> {
    let mut spans: Vec<Span> = losses.iter().map(|loss| loss.span).collect();
    spans.sort_unstable_by_key(|span| span.start());
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if touch(*last, span) => *last = hull(*last, span),
            Some(_) | None => joined.push(span),
        }
    }
    joined
}

/// The spans that full segments of a selection show, in order.
pub fn shown_in_full(selection: &Selection) -> Vec<Span> {
    let full = selection.segments().filter(|segment| segment.kind == SegmentKind::Full);
    full.filter_map(|segment| Span::new(segment.start, segment.end()).ok()).collect()
}

/// How losses stand where the spans in `full`, in order, are shown by now.
pub fn standing(losses: Vec<Loss>, full: &[Span]) -> Vec<StandingLoss> {
    let mut standing: Vec<StandingLoss> = Vec::new();
    for loss in each_second_once(losses) {
        for (span, filled) in split_by(loss.span, full) {
            match standing.last_mut() {
                Some(last) if last.filled == filled && are_alike(&last.loss, &loss) && touch(last.loss.span, span) => {
                    last.loss.span = hull(last.loss.span, span);
                    last.loss.noticed = last.loss.noticed.min(loss.noticed);
                }
                Some(_) | None => standing.push(StandingLoss { loss: loss.of(span), filled }),
            }
        }
    }
    standing
}

/// Seconds still missing, by cause, as microseconds.
pub fn missing_micros(losses: &[StandingLoss]) -> BTreeMap<LossCause, i64> {
    let mut missing = BTreeMap::new();
    for StandingLoss { loss, .. } in losses.iter().filter(|standing| !standing.filled) {
        *missing.entry(loss.cause).or_default() += length(loss.span);
    }
    missing
}

/// Losses that do not overlap, in order of time.
fn each_second_once(mut losses: Vec<Loss>) -> Vec<Loss> {
    losses.sort_by(|a, b| {
        (a.cause, a.noticed, &a.node, a.span.start()).cmp(&(b.cause, b.noticed, &b.node, b.span.start()))
    });
    // By start; none overlaps another.
    let mut claimed: BTreeMap<Timestamp, Loss> = BTreeMap::new();
    for loss in losses {
        for span in unclaimed(loss.span, &claimed) {
            claimed.insert(span.start(), loss.of(span));
        }
    }
    claimed.into_values().collect()
}

/// The parts of `span` that lie between the claimed ones.
fn unclaimed(span: Span, claimed: &BTreeMap<Timestamp, Loss>) -> Vec<Span> {
    // None overlaps another, so of those that begin before `span` only the last can reach into it.
    let before = claimed.range(..=span.start()).next_back();
    let mut from = before.map_or(span.start(), |(_, loss)| loss.span.end().max(span.start()));
    let mut free = Vec::new();
    for (start, loss) in claimed.range(span.start()..span.end()) {
        free.extend(Span::new(from, *start).ok());
        from = from.max(loss.span.end());
    }
    free.extend(Span::new(from, span.end()).ok());
    free
}

/// The parts of `span` inside of `full` (true) and outside (false), in order. A part outside that is not longer than the
/// tolerance counts as inside: segments meet that closely.
pub fn split_by(span: Span, full: &[Span]) -> Vec<(Span, bool)> {
    let mut parts: Vec<(Span, bool)> = Vec::new();
    let mut from = span.start();
    let first = full.partition_point(|one| one.end() <= span.start());
    for inside in full[first..].iter().take_while(|one| one.start() < span.end()) {
        if let Ok(gap) = Span::new(from, inside.start()) {
            parts.push((gap, length(gap) <= TOLERANCE_MICROS));
        }
        if let Ok(part) = Span::new(from.max(inside.start()), inside.end().min(span.end())) {
            parts.push((part, true));
            from = part.end();
        }
    }
    if let Ok(rest) = Span::new(from, span.end()) {
        let closes = !parts.is_empty() && length(rest) <= TOLERANCE_MICROS;
        parts.push((rest, closes));
    }
    parts
}

fn are_alike(a: &Loss, b: &Loss) -> bool {
    a.cause == b.cause && a.node == b.node
}

fn intersection(a: Span, b: Span) -> Option<Span> {
    Span::new(a.start().max(b.start()), a.end().min(b.end())).ok()
}

/// Whether `next`, which does not start before `last`, follows it within the tolerance.
fn touch(last: Span, next: Span) -> bool {
    next.start().micros_since(last.end()) <= TOLERANCE_MICROS
}

fn hull(a: Span, b: Span) -> Span {
    Span::new(a.start().min(b.start()), a.end().max(b.end())).expect("a span that holds another is not empty")
}

fn length(span: Span) -> i64 {
    span.end().micros_since(span.start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::LossDetail;

    fn span(start: i64, end: i64) -> Span {
        Span::new(Timestamp::from_micros(start * 1_000_000), Timestamp::from_micros(end * 1_000_000)).unwrap()
    }

    fn loss(start: i64, end: i64, cause: LossCause, noticed: i64) -> Loss {
        let noticed = Timestamp::from_micros(noticed);
        Loss { span: span(start, end), cause, noticed, node: "a".parse().unwrap(), detail: LossDetail::default() }
    }

    fn shown(standing: &[StandingLoss]) -> Vec<(i64, i64, &'static str, bool)> {
        let seconds = |time: Timestamp| time.micros() / 1_000_000;
        let row = |one: &StandingLoss| {
            (seconds(one.loss.span.start()), seconds(one.loss.span.end()), one.loss.cause.as_str(), one.filled)
        };
        standing.iter().map(row).collect()
    }

    #[test]
    fn spans_of_one_cause_that_touch_are_one() {
        let losses = vec![
            loss(4, 6, LossCause::Expired, 9),
            loss(2, 4, LossCause::Expired, 5),
            loss(6, 8, LossCause::Disk, 5),
            loss(10, 12, LossCause::Expired, 5),
            loss(10, 12, LossCause::Expired, 7),
        ];
        let found = standing(losses, &[]);
        assert_eq!(shown(&found), [(2, 6, "expired", false), (6, 8, "disk", false), (10, 12, "expired", false)]);
        assert_eq!(found[0].loss.noticed.micros(), 5);
        assert_eq!(
            missing_micros(&found),
            BTreeMap::from([(LossCause::Expired, 6_000_000), (LossCause::Disk, 2_000_000)])
        );
    }

    #[test]
    fn a_second_has_the_cause_that_is_known_best() {
        let losses = vec![loss(0, 100, LossCause::Unknown, 1), loss(40, 70, LossCause::Advertisement, 2)];
        let expected = [(0, 40, "unknown", false), (40, 70, "advertisement", false), (70, 100, "unknown", false)];
        assert_eq!(shown(&standing(losses, &[])), expected);
    }

    #[test]
    fn what_came_after_all_is_filled_and_not_counted() {
        let found = standing(vec![loss(0, 10, LossCause::Expired, 1)], &[span(2, 4), span(4, 6), span(9, 20)]);
        let expected =
            [(0, 2, "expired", false), (2, 6, "expired", true), (6, 9, "expired", false), (9, 10, "expired", true)];
        assert_eq!(shown(&found), expected);
        assert_eq!(missing_micros(&found)[&LossCause::Expired], 5_000_000);
        assert_eq!(shown(&standing(vec![loss(2, 4, LossCause::Disk, 1)], &[span(0, 9)])), [(2, 4, "disk", true)]);
    }

    #[test]
    fn clipping_leaves_what_lies_within() {
        let losses = vec![loss(0, 4, LossCause::Disk, 1), loss(6, 8, LossCause::Disk, 1)];
        assert_eq!(clip(losses.clone(), Some(span(2, 6))), [loss(2, 4, LossCause::Disk, 1)]);
        assert_eq!(clip(losses.clone(), None), losses);
        assert_eq!(joined(&[losses[1].clone(), losses[0].clone()]), [span(0, 4), span(6, 8)]);
    }

    fn any_losses() -> impl Strategy<Value = Vec<Loss>> {
        let any = (0i64..50, 1i64..20, 0..LossCause::ALL.len(), 0i64..5);
        prop::collection::vec(
            any.prop_map(|(start, len, cause, noticed)| loss(start, start + len, LossCause::ALL[cause], noticed)),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn each_second_is_told_once_and_by_its_best_cause(
            losses in any_losses(),
            full in prop::collection::vec((0i64..60, 1i64..6), 0..6),
        ) {
            let mut full: Vec<Span> = full.into_iter().map(|(start, len)| span(start, start + len)).collect();
            full.sort_by_key(|span| span.start());
            full.dedup_by(|next, last| next.start() < last.end());
            let found = standing(losses.clone(), &full);
            for pair in found.windows(2) {
                prop_assert!(pair[0].loss.span.end() <= pair[1].loss.span.start());
            }
            for second in 0..80 {
                let holds = |span: Span| {
                    let middle = Timestamp::from_micros(second * 1_000_000 + 500_000);
                    span.start() <= middle && middle < span.end()
                };
                let best = losses.iter().filter(|loss| holds(loss.span)).map(|loss| loss.cause).min();
                let told = found.iter().find(|one| holds(one.loss.span));
                prop_assert_eq!(told.map(|one| one.loss.cause), best);
                if let Some(told) = told {
                    prop_assert_eq!(told.filled, full.iter().any(|span| holds(*span)));
                }
            }
        }
    }
}
