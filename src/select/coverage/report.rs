//! What is told of a stream: what is missing, and why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Among, HourCoverage, KindFigures, StreamCoverage};
use crate::model::{LossCause, Span, Timestamp};
use crate::select::StandingLoss;

/// A hole, and what the ledger knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoleReport {
    pub span: Span,
    /// Microseconds that are noted as lost, by cause. Of the rest nobody knows that there was anything.
    pub lost_micros: BTreeMap<LossCause, i64>,
}

/// What is known of a span of a stream.
#[derive(Debug, Clone)]
pub struct Report {
    pub span: Span,
    /// When all of the stream begins; `None` where that is not known. What is missing before was never begun.
    pub begins: Option<Timestamp>,
    pub holes: Vec<HoleReport>,
    /// Shown by segments that are not full.
    pub unsure: Vec<Span>,
    /// What segments that a tombstone hides would show.
    pub hidden: Vec<Span>,
    /// The hours that the span touches, whole.
    pub hours: Vec<HourCoverage>,
}

impl Report {
    /// `losses` are in order, none overlaps another.
    pub fn new(stream: &StreamCoverage, span: Span, losses: &[StandingLoss]) -> Self {
        let of = |hole: Span| {
            let first = losses.partition_point(|standing| standing.loss.span.end() <= hole.start());
            let mut lost_micros = BTreeMap::new();
            for StandingLoss { loss, .. } in
                losses[first..].iter().take_while(|standing| standing.loss.span.start() < hole.end())
            {
                let shared = loss.span.end().min(hole.end()).micros_since(loss.span.start().max(hole.start()));
                *lost_micros.entry(loss.cause).or_default() += shared.max(0);
            }
            HoleReport { span: hole, lost_micros }
        };
        let holes = stream.holes(span, Among::Shown).into_iter().map(of).collect();
        let is_touched = |of: &&HourCoverage| of.hour.next().start() > span.start() && of.hour.start() < span.end();
        // A segment of the hour before may reach into the span.
        let first = span.start().hour().previous();
        let near = || stream.hours().filter(|of| of.hour >= first && of.hour.start() < span.end());
        let within = |spans: &[Span]| -> Vec<Span> {
            let clipped = spans.iter().map(|of| Span::new(of.start().max(span.start()), of.end().min(span.end())));
            clipped.filter_map(Result::ok).collect()
        };
        let unsure = near().flat_map(|of| within(&of.unsure)).collect();
        let hidden = near().flat_map(|of| within(&of.hidden)).collect();
        let hours = stream.hours().filter(is_touched).cloned().collect();
        Self { span, begins: stream.span().map(Span::start), holes, unsure, hidden, hours }
    }

    pub fn missing_micros(&self) -> i64 {
        self.holes.iter().map(|hole| length(hole.span)).sum()
    }

    /// What is missing and was there to be had.
    pub fn lost_micros(&self) -> i64 {
        self.holes.iter().flat_map(|hole| hole.lost_micros.values()).sum()
    }

    /// As `/coverage/CHANNEL/QUALITY` and `segvault coverage --json` print it.
    pub fn to_json(&self) -> Value {
        let whole = length(self.span);
        json!({
            "start": self.span.start().to_string(),
            "end": self.span.end().to_string(),
            "begins": self.begins.map(|begins| begins.to_string()),
            "seconds": seconds(whole),
            "missing_seconds": seconds(self.missing_micros()),
            "lost_seconds": seconds(self.lost_micros()),
            "holes": self.holes.iter().map(HoleReport::to_json).collect::<Vec<_>>(),
            "unsure": self.unsure.iter().map(|of| span_json(*of)).collect::<Vec<_>>(),
            "hidden": self.hidden.iter().map(|of| span_json(*of)).collect::<Vec<_>>(),
            "hours": self.hours.iter().map(hour).collect::<Vec<_>>(),
        })
    }
}

impl HoleReport {
    fn to_json(&self) -> Value {
        let causes: BTreeMap<&str, f64> =
            self.lost_micros.iter().map(|(cause, micros)| (cause.as_str(), seconds(*micros))).collect();
        json!({
            "start": self.span.start().to_string(),
            "end": self.span.end().to_string(),
            "seconds": seconds(length(self.span)),
            "lost": causes,
        })
    }
}

fn span_json(of: Span) -> Value {
    json!({ "start": of.start().to_string(), "end": of.end().to_string() })
}

fn hour(of: &HourCoverage) -> Value {
    json!({
        "hour": of.hour.to_string(),
        "raw_seconds": seconds(of.raw_micros),
        "editable_seconds": seconds(of.editable_micros),
        "full": kind(&of.full),
        "suspect": kind(&of.suspect),
        "partial": kind(&of.partial),
        "bad_names": of.bad_names,
    })
}

fn kind(figures: &KindFigures) -> Value {
    json!({
        "count": figures.count,
        "seconds": seconds(figures.duration_micros),
        "overlaps": figures.overlap_count,
        "overlap_seconds": seconds(figures.overlap_micros),
    })
}

fn length(span: Span) -> i64 {
    span.end().micros_since(span.start())
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// From either end of what there is, where the caller names none; `None` where there is nothing.
pub fn coverage_span(stream: &StreamCoverage, start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Span> {
    let whole = stream.span()?;
    Span::new(start.unwrap_or(whole.start()), end.unwrap_or(whole.end())).ok()
}
