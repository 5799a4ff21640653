//! Looks at a node over HTTP as a peer would: what it lists, what it serves, what it says of its losses.
//!
//! Promises: every segment that counts was fetched and hashed; one that was fetched is not fetched again.
//! Never: looks at a disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::blocking::Blocking;
use crate::ingest::{ByteBudget, FetchError, HttpClient};
use crate::model::{Channel, Hour, Quality, SegmentHash, SegmentName, Span, Timestamp};
use crate::rehearsal::{Kept, QualityReport, RehearsalError, Stage, ToldLoss, TrueSegment, compare, on_air};

/// What a node kept before the rehearsal is not looked at; its clock may differ, and names may be mistimed, by this much.
const MISTIMED_BY: Duration = Duration::from_secs(300);
const LIST_BUDGET: ByteBudget = ByteBudget { max_bytes: 64 << 20, deadline: Duration::from_secs(60) };
/// Small pictures; whatever is larger was not ours.
const SEGMENT_BUDGET: ByteBudget = ByteBudget { max_bytes: 64 << 20, deadline: Duration::from_secs(60) };
/// A cause is a word or two; what a stranger sends is cut to that.
const CAUSE_CHARS: usize = 40;

/// A loss as the node's ledger has it; other members are not ours to judge.
#[derive(Deserialize)]
struct LedgerEntry {
    start: String,
    end: String,
    cause: String,
    /// The record shows it by now.
    #[serde(default)]
    filled: bool,
}

pub struct Examiner<'s> {
    client: HttpClient,
    node: Url,
    channel: Channel,
    stage: &'s Stage,
    truth: Vec<(Quality, Vec<TrueSegment>)>,
    /// By quality and name: the hash of the bytes that came.
    seen: HashMap<(Quality, String), SegmentHash>,
}

impl<'s> Examiner<'s> {
    /// To be called when the programme is over.
    pub async fn new(
        node: &Url,
        channel: &Channel,
        stage: &'s Arc<Stage>,
        qualities: &[Quality],
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(!node.cannot_be_a_base(), "{node} is no address of a node; write it as http://HOST:PORT");
        let (played, wanted) = (stage.clone(), qualities.to_vec());
        let read = move || wanted.into_iter().map(|quality| Ok((quality.clone(), played.truth(&quality)?))).collect();
        let truth: Result<Vec<_>, RehearsalError> = Blocking::new(1).run(read).await?;
        Ok(Self {
            client: HttpClient::of_this_arbiter(),
            node: node.clone(),
            channel: channel.clone(),
            stage,
            truth: truth.context("cannot read what was played")?,
            seen: HashMap::new(),
        })
    }

    /// One look at everything.
    pub async fn examine(&mut self) -> anyhow::Result<Vec<QualityReport>> {
        let mut reports = Vec::new();
        for at in 0..self.truth.len() {
            let kept = self.kept(at).await?;
            let (quality, truth) = &self.truth[at];
            let told = self.told(quality, truth).await?;
            let twice = self.stage.fetched_twice(quality);
            let expectations = &self.stage.scenario().expectations;
            reports.push(compare(quality, truth, &kept, told.as_deref(), twice, expectations));
        }
        Ok(reports)
    }

    /// What the node lists of the time on air, and what its bytes are.
    async fn kept(&mut self, at: usize) -> anyhow::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        let (quality, truth) = &self.truth[at];
        let (quality, Some(on_air)) = (quality.clone(), on_air(truth)) else { return Ok(kept) };
        let margin = i64::try_from(MISTIMED_BY.as_micros()).unwrap_or(i64::MAX);
        let (first, last) = (on_air.start().plus_micros(-margin), on_air.end().plus_micros(margin));
        let hours: Vec<String> = self.list(&["files", self.channel.as_str(), quality.as_str()]).await?;
        for hour in hours.iter().filter_map(|hour| hour.parse::<Hour>().ok()) {
            if hour.end() <= first || hour.start() > last {
                continue;
            }
            let path = ["files", self.channel.as_str(), quality.as_str(), &hour.to_string()];
            let names: Vec<String> = self.list(&path).await?;
            let names = names.iter().filter_map(|name| SegmentName::parse(hour, name).ok());
            for name in names.filter(|name| name.hash().is_some() && (first..=last).contains(&name.start())) {
                let content = self.content(&quality, &name).await?;
                kept.push(Kept { name, content });
            }
        }
        Ok(kept)
    }

    async fn content(&mut self, quality: &Quality, name: &SegmentName) -> anyhow::Result<SegmentHash> {
        let key = (quality.clone(), name.path_text());
        if let Some(hash) = self.seen.get(&key) {
            return Ok(*hash);
        }
        let hour = name.hour().to_string();
        let url = self.address(&["segments", self.channel.as_str(), quality.as_str(), &hour, name.as_str()]);
        let bytes = self.client.get_whole(&url, None, SEGMENT_BUDGET).await;
        let bytes = bytes.with_context(|| format!("cannot fetch {url}"))?;
        let hash = SegmentHash::from_bytes(Sha256::digest(&bytes).into());
        self.seen.insert(key, hash);
        Ok(hash)
    }

    /// What the node's ledger says of the time on air; `None` where it keeps none.
    async fn told(&self, quality: &Quality, truth: &[TrueSegment]) -> anyhow::Result<Option<Vec<ToldLoss>>> {
        let Some(on_air) = on_air(truth) else { return Ok(None) };
        let mut url = self.address(&["losses", self.channel.as_str(), quality.as_str()]);
        url.query_pairs_mut()
            .append_pair("start", &on_air.start().to_string())
            .append_pair("end", &on_air.end().to_string());
        let text = match self.client.get_whole(&url, None, LIST_BUDGET).await {
            Err(FetchError::Status(404)) => return Ok(None),
            answered => answered.with_context(|| format!("cannot fetch {url}"))?,
        };
        ledger(&text).with_context(|| format!("{url} is no list of losses")).map(Some)
    }

    async fn list(&self, path: &[&str]) -> anyhow::Result<Vec<String>> {
        let url = self.address(path);
        let text = self.client.get_whole(&url, None, LIST_BUDGET).await;
        let text = text.with_context(|| format!("cannot fetch {url}; is the node running?"))?;
        serde_json::from_slice(&text).with_context(|| format!("{url} is no list"))
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.node.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        url
    }
}

/// Reads a list of losses: one array, or one object on each line. Entries without a length are none, nor are those that the
/// record has filled.
fn ledger(text: &[u8]) -> anyhow::Result<Vec<ToldLoss>> {
    let is_array = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let entries: Vec<LedgerEntry> = if is_array {
        serde_json::from_slice(text)?
    } else {
        serde_json::Deserializer::from_slice(text).into_iter().collect::<Result<_, _>>()?
    };
    let mut told = Vec::with_capacity(entries.len());
    for entry in entries.into_iter().filter(|entry| !entry.filled) {
        let (start, end): (Timestamp, Timestamp) = (entry.start.parse()?, entry.end.parse()?);
        if let Ok(span) = Span::new(start, end) {
            // Whatever answered need not be a node of ours: nothing that moves a terminal's cursor.
            let cause = entry.cause.chars().filter(|letter| !letter.is_control()).take(CAUSE_CHARS).collect();
            told.push(ToldLoss { span, cause });
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_an_array_or_lines() {
        let one = r#"{"start": "2026-01-02T03:04:05", "end": "2026-01-02T03:04:07Z", "cause": "token", "count": 2}"#;
        let two = r#"{"start": "2026-01-02T03:04:08", "end": "2026-01-02T03:04:08", "cause": "disk\u001b[2J"}"#;
        let filled = one.replace("\"count\": 2", "\"filled\": true");
        for text in [format!(" [{one},\n{filled},{two}]"), format!("{one}\n{filled}\n{two}\n")] {
            let told = ledger(text.as_bytes()).unwrap();
            let told: Vec<_> = told.iter().map(|loss| (loss.span.duration().as_secs(), loss.cause.as_str())).collect();
            assert_eq!(told[0], (2, "token"), "{text}");
            assert!(told[1..].iter().all(|(length, cause)| (*length, *cause) == (0, "disk[2J")), "{told:?}");
        }
        assert!(ledger(b"").unwrap().is_empty() && ledger(b"[]").unwrap().is_empty());
        assert!(ledger(b"<html>").is_err());
    }
}
