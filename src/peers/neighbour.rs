//! What another node tells of how it is and of how much it has, for people who look at all nodes at once.
//!
//! Promises: of a node that does not say, as those of the existing system, what its listings show; no question is asked
//! twice, and none waits for longer than its deadline. Nothing is decided by these answers.

use std::sync::Arc;
use std::time::Duration;

use awc::http::{StatusCode, header};

use super::PeerError;
use super::client::{HourAnswer, Peer};
use super::names::HourNames;
use crate::ingest::{ByteBudget, FetchError};
use crate::model::{Channel, HashedName, Hour, NodeState, Quality, Span, Timestamp};
use crate::select::{HourCoverage, HourIndex, Listing, Report, StreamCoverage};

/// A node that is slower than this is told as silent: somebody waits for all of them.
const STATE_BUDGET: ByteBudget = ByteBudget { max_bytes: 1 << 20, deadline: Duration::from_millis(1500) };
const COVERAGE_BUDGET: ByteBudget = ByteBudget { max_bytes: 4 << 20, deadline: Duration::from_secs(4) };
/// Of a node that lists and does not tell, so many hours are listed at most.
pub const MOST_LISTED_HOURS: usize = 26;

/// How a node is, as far as it says.
#[derive(Debug, Clone)]
pub enum ToldState {
    Whole(Box<NodeState>),
    /// It does not say: it is of the existing system, or an older one.
    NotOffered,
}

impl Peer {
    /// How it is.
    pub async fn state(&self) -> Result<ToldState, PeerError> {
        const WHAT: &str = "the node's state";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let url = self.url().join(["api", "v1", "node"]);
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.ask(&url, &headers, STATE_BUDGET.patience()).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(ToldState::NotOffered),
            status => return Err(failed(FetchError::Status(status.as_u16()))),
        }
        let json = answer.whole(STATE_BUDGET.max_bytes).await.map_err(failed)?;
        let state = serde_json::from_slice(&json).map_err(|source| PeerError::NoList { what: WHAT, source })?;
        Ok(ToldState::Whole(Box::new(state)))
    }

    /// The end of the newest segment that it lists of a quality; `None` where it has none.
    pub async fn newest_end(&self, channel: &Channel, quality: &Quality) -> Result<Option<Timestamp>, PeerError> {
        let (mut hours, _) = self.hours(channel, quality).await?;
        hours.sort_unstable();
        // An hour that has just begun may hold nothing yet.
        for hour in hours.into_iter().rev().take(2) {
            let HourAnswer::New { names, .. } = self.hour(channel, quality, hour, None).await? else { continue };
            if let Some(end) = names.files.iter().map(HashedName::end).max() {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// What it has of a span; `None` where it has nothing of the quality, or does not say.
    pub async fn coverage(
        &self,
        channel: &Channel,
        quality: &Quality,
        span: Span,
    ) -> Result<Option<Report>, PeerError> {
        const WHAT: &str = "how much it has";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let mut url = self.url().join(["coverage", channel.as_str(), quality.as_str()]);
        url.query_pairs_mut()
            .append_pair("start", &span.start().to_string())
            .append_pair("end", &span.end().to_string());
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.ask(&url, &headers, COVERAGE_BUDGET.patience()).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(None),
            status => return Err(failed(FetchError::Status(status.as_u16()))),
        }
        let json = answer.whole(COVERAGE_BUDGET.max_bytes).await.map_err(failed)?;
        Report::read(&json).map(Some).ok_or(PeerError::NoFeed { why: "no report of what it has" })
    }

    /// The same, made of what it lists; of the latest hours of a longer span, whose part before is left out. `None` where
    /// it lists nothing there.
    pub async fn listed_coverage(
        &self,
        channel: &Channel,
        quality: &Quality,
        span: Span,
    ) -> Result<Option<Report>, PeerError> {
        let (mut hours, _) = self.hours(channel, quality).await?;
        hours.sort_unstable();
        let (first, last) = (span.start().hour().previous(), span.end().hour());
        let has_earlier = hours.first().is_some_and(|earliest| *earliest < first);
        hours.retain(|hour| (first..=last).contains(hour));
        let left_out = hours.len().saturating_sub(MOST_LISTED_HOURS);
        let hours = hours.split_off(left_out);
        let mut listed = Vec::new();
        for hour in &hours {
            if let HourAnswer::New { names, .. } = self.hour(channel, quality, *hour, None).await? {
                listed.push(Arc::new(coverage_of(*hour, &names)));
            }
        }
        let Some(from) = hours.first().filter(|_| !listed.is_empty()) else { return Ok(None) };
        let start = if left_out > 0 { span.start().max(from.start()) } else { span.start() };
        let mut report =
            Span::new(start, span.end()).ok().map(|span| Report::new(&StreamCoverage::new(listed), span, &[]));
        if let Some(report) = &mut report {
            report.hours.clear();
            report.begins = report.begins.filter(|_| !has_earlier && left_out == 0);
        }
        Ok(report)
    }
}

/// Sizes are not listed: they only choose among segments of one start and kind, which cover about the same.
fn coverage_of(hour: Hour, names: &HourNames) -> HourCoverage {
    let hidden = names.tombstones.iter().filter_map(|tombstone| tombstone.hidden()).map(HashedName::as_str);
    let tombstones = names.tombstones.iter().map(|tombstone| tombstone.as_str());
    let listing = Listing::new(names.files.iter().map(HashedName::as_str).chain(hidden).chain(tombstones));
    let index = HourIndex::build(hour, listing.segments(), |_| 0);
    HourCoverage::of(&index, &listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentHash;

    #[test]
    fn a_listing_shows_what_is_there_and_what_is_hidden() {
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let name =
            |start: &str, kind: &str, seed: u8| format!("{start}-2.0-{kind}-{}", SegmentHash::from_bytes([seed; 32]));
        let names = [
            format!("{}.ts", name("00:00.0", "full", 1)),
            format!("{}.ts", name("00:04.0", "partial", 2)),
            format!("{}.tombstone", name("00:06.0", "full", 3)),
        ];
        let names = HourNames::of(hour, names.iter().map(String::as_str));
        let stream = StreamCoverage::new([Arc::new(coverage_of(hour, &names))]);
        let at = |seconds: i64| hour.start().plus_micros(seconds * 1_000_000);
        let span = |from, to| Span::new(at(from), at(to)).unwrap();
        let report = Report::new(&stream, span(0, 8), &[]);
        let holes: Vec<Span> = report.holes.iter().map(|hole| hole.span).collect();
        assert_eq!(holes, [span(2, 4), span(6, 8)]);
        assert_eq!((report.unsure, report.hidden), (vec![span(4, 6)], vec![span(6, 8)]));
    }
}
