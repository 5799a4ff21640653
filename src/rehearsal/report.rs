//! What a node kept of a rehearsed day, beside the truth.
//!
//! Promises: pure; each second that was on air is counted once: recorded, suspect, partial or lost; what counts as recorded
//! has the source's very bytes.
//! Never: believes a name.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Serialize, Serializer};

use super::scenario::{Cause, Expectation};
use super::truth::TrueSegment;
use crate::model::{Quality, SegmentHash, SegmentKind, SegmentName, Span, Timestamp};

/// A segment that a node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: SegmentName,
    /// Of the bytes that came.
    pub content: SegmentHash,
}

/// A loss that a node tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldLoss {
    pub span: Span,
    pub cause: String,
}

/// Microseconds, printed as seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub i64);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e6)
    }
}

/// What became of one quality. Times in seconds of programme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QualityReport {
    pub quality: String,
    /// That was on air, advertisements included.
    pub on_air: Micros,
    /// Of it, what could be had and is no advertisement.
    pub available: Micros,
    pub recorded: Micros,
    /// Kept as `suspect`, whole or not.
    pub suspect: Micros,
    pub partial: Micros,
    pub lost: Micros,
    /// What was available and is not there with all its bytes.
    pub avoidable: Micros,
    /// What the node says of the losses; `None` where it cannot.
    pub causes: Option<BTreeMap<String, Micros>>,
    /// Segments called `full` whose bytes the source never sent as one of the programme.
    pub wrongly_full: Vec<String>,
    /// How far the worst name's time is from the one that the source told.
    pub time_error: Micros,
    /// Segments that the source had to send whole more than once.
    pub fetched_twice: usize,
    pub as_expected: bool,
    /// In which way it is not.
    pub unexpected: Vec<String>,
}

impl QualityReport {
    /// Nothing was lost that could be had, and nothing wrong passes for right.
    pub fn is_good(&self) -> bool {
        self.avoidable == Micros(0) && self.wrongly_full.is_empty()
    }
}

/// Compares what was on air with what a node has and says. `told` is `None` where it keeps no ledger.
pub fn compare(
    quality: &Quality,
    truth: &[TrueSegment],
    kept: &[Kept],
    told: Option<&[ToldLoss]>,
    fetched_twice: usize,
    expectations: &[Expectation],
) -> QualityReport {
    let by_content: HashMap<SegmentHash, &TrueSegment> = truth.iter().map(|one| (one.content, one)).collect();
    let of_programme = |content| by_content.get(&content).filter(|one| !one.advertisement);
    let mut report = QualityReport {
        quality: quality.to_string(),
        on_air: Micros(0),
        available: Micros(0),
        recorded: Micros(0),
        suspect: Micros(0),
        partial: Micros(0),
        lost: Micros(0),
        avoidable: Micros(0),
        causes: told.map(|told| causes_of(truth, told)),
        wrongly_full: Vec::new(),
        time_error: Micros(0),
        fetched_twice,
        as_expected: false,
        unexpected: Vec::new(),
    };
    let mut whole: HashMap<SegmentHash, SegmentKind> = HashMap::new();
    let mut in_part = Vec::new();
    for one in kept {
        let kind = one.name.kind();
        let is_true = one.name.hash() == Some(one.content);
        match of_programme(one.content).filter(|_| is_true) {
            Some(segment) => {
                let best = whole.entry(one.content).or_insert(kind);
                *best = kind.max(*best);
                let error = one.name.start().micros_since(segment.start).abs();
                report.time_error = report.time_error.max(Micros(error));
            }
            None if kind == SegmentKind::Full => report.wrongly_full.push(one.name.path_text()),
            None => in_part.push(one),
        }
    }
    let mut used = HashSet::new();
    for segment in truth {
        let length = Micros(segment.duration_micros);
        report.on_air.0 += length.0;
        let is_available = segment.available && !segment.advertisement;
        if is_available {
            report.available.0 += length.0;
        }
        let whole = whole.get(&segment.content).copied();
        let kind = match whole {
            None if !segment.advertisement => nearest(segment, &in_part, &mut used),
            whole => whole,
        };
        match kind {
            Some(SegmentKind::Full) => report.recorded.0 += length.0,
            Some(SegmentKind::Suspect) => report.suspect.0 += length.0,
            Some(SegmentKind::Partial | SegmentKind::Temp) => report.partial.0 += length.0,
            None => report.lost.0 += length.0,
        }
        let has_all_bytes = matches!(whole, Some(SegmentKind::Full | SegmentKind::Suspect));
        if is_available && !has_all_bytes {
            report.avoidable.0 += length.0;
        }
    }
    report.unexpected = unexpected(&report, quality, expectations);
    report.as_expected = report.unexpected.is_empty();
    report
}

/// What was kept of this segment, if it is not whole: what begins within half a segment of it, once.
fn nearest<'k>(segment: &TrueSegment, in_part: &[&'k Kept], used: &mut HashSet<&'k str>) -> Option<SegmentKind> {
    let distance = |kept: &Kept| kept.name.start().micros_since(segment.start).abs();
    let near = in_part.iter().filter(|kept| distance(kept) < segment.duration_micros / 2);
    let found = near.filter(|kept| !used.contains(kept.name.as_str())).max_by_key(|kept| kept.name.kind())?;
    used.insert(found.name.as_str());
    Some(found.name.kind())
}

/// Seconds for each cause, of what was told of the time on air.
fn causes_of(truth: &[TrueSegment], told: &[ToldLoss]) -> BTreeMap<String, Micros> {
    let mut causes = BTreeMap::new();
    let Some(on_air) = on_air(truth) else { return causes };
    for loss in told {
        let start = loss.span.start().max(on_air.start());
        let end = loss.span.end().min(on_air.end());
        let length = end.micros_since(start).max(0);
        causes.entry(loss.cause.clone()).or_insert(Micros(0)).0 += length;
    }
    causes.retain(|_, length| length.0 > 0);
    causes
}

/// From the first to the last moment that playlists told of.
pub fn on_air(truth: &[TrueSegment]) -> Option<Span> {
    let start: Timestamp = truth.iter().map(|segment| segment.start).min()?;
    let end = truth.iter().map(TrueSegment::end).max()?;
    Span::new(start, end).ok()
}

/// Where the losses differ from those that the scenario says cannot be helped.
fn unexpected(report: &QualityReport, quality: &Quality, expectations: &[Expectation]) -> Vec<String> {
    let about_us = |one: &&Expectation| one.quality.as_ref().is_none_or(|other| other == quality);
    let expected: Vec<&Expectation> = expectations.iter().filter(about_us).collect();
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let all: i64 = expected.iter().map(|one| micros(one.lost)).sum();
    let tolerance: i64 = expected.iter().map(|one| micros(one.tolerance)).sum();
    let mut found = Vec::new();
    let lost = report.lost.0 + report.partial.0;
    if (lost - all).abs() > tolerance {
        found.push(format!("{} lost, {} expected", seconds(lost), seconds(all)));
    }
    let any_cause = expected.iter().any(|one| one.cause == Cause::Any);
    let Some(causes) = report.causes.as_ref().filter(|_| !any_cause) else { return found };
    for one in &expected {
        let told = causes.get(&one.cause.to_string()).map_or(0, |told| told.0);
        if (told - micros(one.lost)).abs() > micros(one.tolerance) {
            found.push(format!("{} told as {}, {} expected", seconds(told), one.cause, seconds(micros(one.lost))));
        }
    }
    for (cause, told) in causes {
        if !expected.iter().any(|one| one.cause.to_string() == *cause) {
            found.push(format!("{} told as {cause}, none expected", seconds(told.0)));
        }
    }
    found
}

/// `12.5 s`.
pub fn seconds(micros: i64) -> String {
    format!("{} s", crate::model::duration_text(micros))
}
