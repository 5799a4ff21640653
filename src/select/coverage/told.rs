//! Reads what another node tells of a stream: the text that `Report::to_json` writes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::report::{HoleReport, Report};
use crate::model::{LossCause, Span};

#[derive(Deserialize)]
struct Told {
    #[serde(flatten)]
    ends: Ends,
    holes: Vec<ToldHole>,
    // Older nodes do not tell these.
    #[serde(default)]
    begins: Option<String>,
    #[serde(default)]
    unsure: Vec<Ends>,
    #[serde(default)]
    hidden: Vec<Ends>,
}

#[derive(Deserialize)]
struct ToldHole {
    #[serde(flatten)]
    ends: Ends,
    /// Seconds by cause.
    lost: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Ends {
    start: String,
    end: String,
}

impl Ends {
    fn read(&self) -> Option<Span> {
        Span::new(self.start.parse().ok()?, self.end.parse().ok()?).ok()
    }
}

impl Report {
    /// `None` where it is no such text. Figures of hours are passed over.
    pub fn read(json: &[u8]) -> Option<Self> {
        let told: Told = serde_json::from_slice(json).ok()?;
        let spans = |all: &[Ends]| all.iter().map(Ends::read).collect::<Option<Vec<Span>>>();
        let hole = |hole: &ToldHole| {
            let mut lost_micros = BTreeMap::new();
            for (cause, seconds) in &hole.lost {
                // A newer node may know causes that are not known here.
                let cause = cause.parse().unwrap_or(LossCause::Unknown);
                *lost_micros.entry(cause).or_default() += (seconds * 1e6).round() as i64;
            }
            Some(HoleReport { span: hole.ends.read()?, lost_micros })
        };
        Some(Self {
            span: told.ends.read()?,
            begins: told.begins.and_then(|begins| begins.parse().ok()),
            holes: told.holes.iter().map(hole).collect::<Option<_>>()?,
            unsure: spans(&told.unsure)?,
            hidden: spans(&told.hidden)?,
            hours: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_writes_another_reads() {
        let span = |from: i64, to: i64| {
            let at = |micros: i64| crate::model::Timestamp::from_micros(1_767_322_800_000_000 + micros);
            Span::new(at(from), at(to)).unwrap()
        };
        let report = Report {
            span: span(0, 60_000_000),
            begins: Some(span(1, 2).start()),
            holes: vec![HoleReport {
                span: span(2_000_000, 4_500_001),
                lost_micros: BTreeMap::from([(LossCause::Disk, 2_500_001)]),
            }],
            unsure: vec![span(5_000_000, 6_000_000)],
            hidden: vec![span(2_000_000, 3_000_000)],
            hours: Vec::new(),
        };
        let mut json = report.to_json();
        let read = Report::read(json.to_string().as_bytes()).unwrap();
        assert_eq!(read.begins, report.begins);
        assert_eq!(
            (read.span, read.holes, read.unsure, read.hidden),
            (report.span, report.holes, report.unsure, report.hidden)
        );
        json["holes"][0]["lost"] = serde_json::json!({ "meteor": 1.5 });
        json["unsure"].take();
        json.as_object_mut().unwrap().remove("unsure");
        let read = Report::read(json.to_string().as_bytes()).unwrap();
        assert_eq!(read.holes[0].lost_micros, BTreeMap::from([(LossCause::Unknown, 1_500_000)]));
        json["holes"][0]["end"] = "never".into();
        assert!(Report::read(json.to_string().as_bytes()).is_none());
    }
}
