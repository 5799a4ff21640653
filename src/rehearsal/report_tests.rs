use std::time::Duration;

use super::report::*;
use super::truth::TrueSegment;
use super::{Cause, Expectation};
use crate::model::{LossCause, Quality, SegmentHash, SegmentKind, SegmentName, Span, Timestamp};

const SECOND: i64 = 1_000_000;

fn hash(byte: u8) -> SegmentHash {
    SegmentHash::from_bytes([byte; 32])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * SECOND)
}

/// The segment of second `second`; its bytes hash to that number.
fn on_air(second: u8) -> TrueSegment {
    let start = at(i64::from(second));
    let (advertisement, available) = (false, true);
    TrueSegment { start, duration_micros: SECOND, content: hash(second), advertisement, available }
}

fn kept(second: i64, kind: SegmentKind, content: u8) -> Kept {
    Kept { name: SegmentName::finished(at(second), SECOND, kind, hash(content)), content: hash(content) }
}

fn full(second: u8) -> Kept {
    kept(i64::from(second), SegmentKind::Full, second)
}

fn told(from: i64, until: i64, cause: &str) -> ToldLoss {
    ToldLoss { span: Span::new(at(from), at(until)).unwrap(), cause: cause.into() }
}

fn expect(cause: Cause, lost: u64, tolerance: u64) -> Expectation {
    let seconds = Duration::from_secs;
    Expectation { quality: None, cause, lost: seconds(lost), tolerance: seconds(tolerance) }
}

fn report(
    truth: &[TrueSegment],
    kept: &[Kept],
    told: Option<&[ToldLoss]>,
    expectations: &[Expectation],
) -> QualityReport {
    let quality: Quality = "low".parse().unwrap();
    compare(&quality, truth, kept, told, 0, expectations)
}

#[test]
fn each_second_is_recorded_suspect_partial_or_lost() {
    let truth: Vec<TrueSegment> = (0..5).map(on_air).collect();
    let kept = [full(0), kept(1, SegmentKind::Suspect, 1), kept(2, SegmentKind::Partial, 90), full(4)];
    let report = report(&truth, &kept, None, &[]);
    let times = [report.on_air, report.available, report.recorded, report.suspect, report.partial, report.lost];
    assert_eq!(times.map(|time| time.0 / SECOND), [5, 5, 2, 1, 1, 1]);
    assert_eq!(report.avoidable, Micros(2 * SECOND));
    assert!(!report.is_good() && !report.as_expected);
}

#[test]
fn a_suspect_without_all_bytes_was_avoidable() {
    let report = report(&[on_air(0)], &[kept(0, SegmentKind::Suspect, 90)], None, &[]);
    assert_eq!((report.suspect, report.avoidable), (Micros(SECOND), Micros(SECOND)));
}

#[test]
fn what_is_called_full_and_was_never_sent_is_wrongly_full() {
    let truth = [on_air(0), TrueSegment { advertisement: true, ..on_air(1) }];
    let lies = Kept { content: hash(91), ..full(0) };
    for wrong in [kept(0, SegmentKind::Full, 90), full(1), lies] {
        let report =
            report(&truth, &[full(0), wrong.clone()], None, &[expect(Cause::Of(LossCause::Advertisement), 1, 0)]);
        assert_eq!(report.wrongly_full, [wrong.name.path_text()]);
        assert!(!report.is_good() && report.as_expected);
    }
}

#[test]
fn a_segment_is_known_by_its_bytes_whatever_its_time() {
    let mut moved = full(0);
    moved.name = SegmentName::finished(at(0).plus_micros(300_000), SECOND, SegmentKind::Full, hash(0));
    let report = report(&[on_air(0)], &[moved], None, &[]);
    assert_eq!((report.recorded, report.time_error), (Micros(SECOND), Micros(300_000)));
    assert!(report.is_good() && report.as_expected);
}

#[test]
fn what_could_not_be_had_is_no_avoidable_loss_and_must_be_expected() {
    let truth = [on_air(0), TrueSegment { available: false, ..on_air(1) }];
    let bare = report(&truth, &[full(0)], None, &[]);
    assert!(bare.is_good());
    assert_eq!(bare.unexpected, ["1.0 s lost, 0.0 s expected"]);
    assert!(report(&truth, &[full(0)], None, &[expect(Cause::Of(LossCause::Expired), 2, 1)]).as_expected);
    assert!(!report(&truth, &[full(0)], None, &[expect(Cause::Of(LossCause::Expired), 3, 1)]).as_expected);
}

#[test]
fn causes_are_judged_where_they_are_told() {
    let truth = [on_air(0), TrueSegment { available: false, ..on_air(1) }];
    let judge = |cause: &str, expected| {
        report(&truth, &[full(0)], Some(&[told(1, 9, cause), told(-5, 0, "token")]), &[expect(expected, 1, 0)])
    };
    let right = judge("source_down", Cause::Of(LossCause::SourceDown));
    assert!(right.as_expected, "what lies outside of the time on air does not count: {:?}", right.unexpected);
    assert_eq!(right.causes.unwrap().into_iter().collect::<Vec<_>>(), [("source_down".into(), Micros(SECOND))]);
    let wrong = judge("unknown", Cause::Of(LossCause::SourceDown));
    assert_eq!(wrong.unexpected, ["0.0 s told as source_down, 1.0 s expected", "1.0 s told as unknown, none expected"]);
    assert!(judge("unknown", Cause::Any).as_expected);
}
