use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cut::UnknownCutType;
use crate::model::{SegmentHash, SegmentKind};
use crate::select::HourIndex;

fn at(micros: i64) -> Timestamp {
    "2026-01-02T03:00:00".parse::<Timestamp>().unwrap().plus_micros(micros)
}

fn name(start: i64, duration: i64, kind: SegmentKind) -> SegmentName {
    SegmentName::finished(at(start), duration, kind, SegmentHash::from_bytes([7; 32]))
}

fn selection(segments: &[SegmentName], start: i64, end: i64) -> Selection {
    let span = Span::new(at(start), at(end)).unwrap();
    let hours = span.hours().map(|hour| {
        let names = segments.iter().filter(|name| name.hour() == hour).map(SegmentName::as_str);
        Arc::new(HourIndex::build(hour, names, |_| 0))
    });
    Selection::choose(span, hours.collect())
}

fn planned(cut_type: CutType, ranges: &[Selection], allow_holes: bool) -> Result<Plan, PlanError> {
    let pieces: Vec<Piece<Selection>> = ranges.iter().cloned().map(Piece::Range).collect();
    Plan::new(cut_type, &pieces, allow_holes)
}

/// Six segments of two seconds from 10 s on.
fn six() -> Vec<SegmentName> {
    (5..11).map(|at| name(at * 2_000_000, 2_000_000, SegmentKind::Full)).collect()
}

fn parts(segments: &[SegmentName], start: i64, end: i64) -> Vec<Part> {
    let plan = planned(CutType::Smart, &[selection(segments, start, end)], true).unwrap();
    plan.parts().cloned().collect()
}

#[test]
fn edges_are_trimmed_and_the_middle_is_copied() {
    let all = six();
    let trim = |at: usize, from, until| Part::Trim { segment: all[at].clone(), from, until };
    let copy = |range: std::ops::Range<usize>| Part::Copy { segments: all[range].to_vec() };
    let (start, end) = (11_000_000, 19_500_000);
    for (start, end, expected) in [
        (start, end, vec![trim(0, Some(at(start)), None), copy(1..4), trim(4, None, Some(at(end)))]),
        (10_000_000, 22_000_000, vec![copy(0..6)]),
        (12_000_000, 14_000_000, vec![copy(1..2)]),
        // Half a tick of 90 kHz is 5.56 µs: less is no frame.
        (12_000_005, 13_999_995, vec![copy(1..2)]),
        (12_000_006, 14_000_000, vec![trim(1, Some(at(12_000_006)), None)]),
        (12_000_000, 13_999_994, vec![trim(1, None, Some(at(13_999_994)))]),
        (12_500_000, 13_500_000, vec![trim(1, Some(at(12_500_000)), Some(at(13_500_000)))]),
        // The first one ends within half a tick of the start: it has nothing to show.
        (11_999_996, 14_000_000, vec![copy(1..2)]),
        (12_000_000, 14_000_004, vec![copy(1..2)]),
    ] {
        assert_eq!(parts(&all, start, end), expected, "{start}..{end}");
    }
}

#[test]
fn the_file_before_the_first_leads_in_unless_there_is_a_hole() {
    let all = six();
    let lead_in = |segments: &[SegmentName], start| {
        let plan = planned(CutType::Smart, &[selection(segments, start, 22_000_000)], true).unwrap();
        plan.ranges().next().unwrap().lead_in.clone()
    };
    assert_eq!(lead_in(&all, 14_500_000), Some(all[1].clone()));
    assert_eq!(lead_in(&all, 14_000_000), Some(all[1].clone()));
    // Selected, but with nothing to show.
    assert_eq!(lead_in(&all, 13_999_996), Some(all[1].clone()));
    assert_eq!(lead_in(&all[1..], 12_000_000), None);
    assert_eq!(lead_in(&[&all[..1], &all[2..]].concat(), 14_500_000), None);
}

#[test]
fn a_second_segment_that_starts_before_the_range_is_trimmed_too() {
    let all = [name(0, 2_005_000, SegmentKind::Full), name(2_000_000, 2_000_000, SegmentKind::Full)];
    let from = Some(at(2_003_000));
    assert_eq!(
        parts(&all, 2_003_000, 4_000_000),
        [
            Part::Trim { segment: all[0].clone(), from, until: None },
            Part::Trim { segment: all[1].clone(), from, until: None }
        ]
    );
}

#[test]
fn rough_takes_whole_segments() {
    let plan = planned(CutType::Rough, &[selection(&six(), 11_000_000, 19_500_000)], false).unwrap();
    assert_eq!(plan.parts().collect::<Vec<_>>(), [&Part::Copy { segments: six()[..5].to_vec() }]);
}

#[test]
fn holes_are_refused_or_listed() {
    let mut all = six();
    all.remove(2);
    let ranges = [selection(&all, 10_000_000, 22_000_000)];
    let hole = Hole { start: at(14_000_000), end: at(16_000_000) };
    for cut_type in CutType::ALL {
        let refused = Err(PlanError::Holes(ContainsHoles { first: hole, count: 1 }));
        assert_eq!(planned(cut_type, &ranges, false), refused);
        if cut_type == CutType::Archive {
            assert_eq!(planned(cut_type, &ranges, true), refused);
            continue;
        }
        let plan = planned(cut_type, &ranges, true).unwrap();
        assert_eq!(plan.holes().collect::<Vec<_>>(), [hole]);
        assert_eq!(plan.segments().count(), 5);
    }
    // Where there is nothing at all, to allow holes would not help.
    let nothing = selection(&all, 14_000_000, 16_000_000);
    for allow_holes in [false, true] {
        let planned = planned(CutType::Smart, std::slice::from_ref(&nothing), allow_holes);
        assert_eq!(planned, Err(PlanError::NoContent(nothing.span())));
    }
    assert_eq!(planned(CutType::Smart, &[], true), Err(PlanError::NoRanges));
}

#[test]
fn there_is_an_archive_for_each_stretch_without_holes() {
    let mut all = six();
    all.remove(2);
    let archives = Plan::archives(&selection(&all, 11_000_000, 30_000_000), &KnownEncodings::default());
    let segments: Vec<Vec<SegmentName>> = archives.iter().map(|plan| plan.segments().cloned().collect()).collect();
    assert_eq!(segments, [all[..2].to_vec(), all[2..].to_vec()]);
    assert_eq!(archives[0].ranges().next().unwrap().span, Span::new(at(10_000_000), at(14_000_000)).unwrap());
    assert_eq!(Plan::archives(&selection(&all, 14_000_000, 16_000_000), &KnownEncodings::default()), []);
    let twice = [selection(&all, 10_000_000, 12_000_000), selection(&all, 12_000_000, 13_000_000)];
    assert_eq!(planned(CutType::Archive, &twice, false), Err(PlanError::NotOneRange));
}

#[test]
fn what_copies_whole_segments_is_not_blended() {
    let side = |start: i64| selection(&six(), start, start + 1_000_000);
    let transition = "fade,1".parse().unwrap();
    let pieces = [Piece::Blend { out: side(11_000_000), into: side(14_000_000), transition }];
    for cut_type in CutType::ALL {
        let plan = Plan::new(cut_type, &pieces, false);
        if cut_type.is_exact() {
            let segments: Vec<SegmentName> = plan.unwrap().segments().cloned().collect();
            assert_eq!(segments, [six()[0].clone(), six()[2].clone()]);
        } else {
            assert_eq!(plan, Err(PlanError::NoBlends(cut_type)));
        }
    }
}

#[test]
fn a_partial_segment_is_used_and_followed_by_a_hole() {
    let all = [name(0, 2_000_000, SegmentKind::Partial), name(2_000_000, 2_000_000, SegmentKind::Full)];
    let ranges = [selection(&all, 0, 4_000_000)];
    assert!(matches!(planned(CutType::Smart, &ranges, false), Err(PlanError::Holes(_))));
    assert_eq!(planned(CutType::Smart, &ranges, true).unwrap().segments().count(), 2);
}

#[test]
fn only_known_types_have_a_name() {
    assert_eq!("fast".parse(), Ok(CutType::Smart));
    for cut_type in CutType::ALL {
        assert_eq!(cut_type.as_str().parse(), Ok(cut_type));
    }
    for bad in ["", "Fast", "mkv"] {
        assert_eq!(bad.parse::<CutType>(), Err(UnknownCutType), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_frame_time_rounded_to_microseconds_finds_its_tick(ticks in 0i64..10_000_000_000) {
        prop_assert_eq!(ticks_of_micros((ticks * 100 + 4) / 9), ticks);
        prop_assert_eq!(ticks_of_micros(ticks * 100 / 9), ticks);
    }

    /// Every moment of the range that a segment covers is in exactly one part, and no other moment is in any.
    #[test]
    fn parts_cover_the_range_and_no_more(
        durations in prop::collection::vec(1_000_000i64..3_000_000, 1..12),
        start in 0i64..20_000_000,
        length in 1_000i64..20_000_000,
        probe in 0i64..40_000_000,
    ) {
        let mut segments = Vec::new();
        let mut next = 0;
        for duration in durations {
            segments.push(name(next, duration, SegmentKind::Full));
            next += duration;
        }
        let selection = selection(&segments, start, start + length);
        let Ok(plan) = planned(CutType::Smart, std::slice::from_ref(&selection), true) else {
            prop_assert!(start >= next - 6);
            return Ok(());
        };
        // Bounds within half a tick count as equal, so keep that far from them.
        let near = |bound: i64| (probe - bound).abs() < 12;
        prop_assume!(!near(start) && !near(start + length));
        prop_assume!(segments.iter().all(|name| !near(name.start().micros_since(at(0)))));
        let moment = at(probe);
        let shown = plan.parts().map(|part| match part {
            Part::Copy { segments } => segments.iter().filter(|s| s.start() <= moment && moment < s.end()).count(),
            Part::Convert { .. } => unreachable!("no encoding is known"),
            Part::Trim { segment, from, until } => usize::from(
                from.unwrap_or(segment.start()) <= moment && moment < until.unwrap_or(segment.end())
            ),
        });
        let wanted = probe >= start && probe < start + length && probe < next;
        prop_assert_eq!(shown.sum::<usize>(), usize::from(wanted));
    }
}
