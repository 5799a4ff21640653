//! What would be lost with this node: of each quality the files that no other node holds, and the seconds that no other
//! shows.
//!
//! Promises: a second counts as held elsewhere only if some node lists the very file now, or a full segment over that
//! moment; who does not answer holds nothing.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::PeerError;
use super::client::{HourAnswer, Peer};
use super::names::HourNames;
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::model::{Channel, HashedName, Hour, PeerUrl, Quality, SegmentHash, SegmentKind, SegmentName, Span};
use crate::store::{self, Layout};

/// What only this node holds of an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnlyHere {
    /// In order of their names.
    pub files: Vec<HashedName>,
    /// What of their time nobody shows in full elsewhere; in order, none overlapping another.
    pub spans: Vec<Span>,
}

impl OnlyHere {
    /// Seconds, as microseconds.
    pub fn micros(&self) -> i64 {
        self.spans.iter().map(|span| span.end().micros_since(span.start())).sum()
    }

    /// Chat batches have no duration; each is lost as it is.
    pub fn chat(&self) -> usize {
        self.files.iter().filter(|file| is_chat(file)).count()
    }

    /// Whether nothing is lost without this node: the rest is other versions of what others show in full.
    pub fn is_nothing(&self) -> bool {
        self.spans.is_empty() && self.chat() == 0
    }
}

/// What only this node holds of a quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOnlyHere {
    pub channel: Channel,
    pub quality: Quality,
    /// Those in which there is something.
    pub hours: Vec<OnlyHere>,
}

impl StreamOnlyHere {
    pub fn micros(&self) -> i64 {
        self.hours.iter().map(OnlyHere::micros).sum()
    }

    pub fn files(&self) -> usize {
        self.hours.iter().map(|hour| hour.files.len()).sum()
    }

    pub fn chat(&self) -> usize {
        self.hours.iter().map(OnlyHere::chat).sum()
    }

    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.hours.iter().flat_map(|hour| &hour.spans).copied()
    }

    fn to_json(&self) -> Value {
        let spans: Vec<Value> =
            self.spans().map(|span| json!([span.start().to_string(), span.end().to_string()])).collect();
        json!({
            "channel": self.channel.as_str(),
            "quality": self.quality.as_str(),
            "seconds": self.micros() as f64 / 1e6,
            "files": self.files(),
            "chat": self.chat(),
            "spans": spans,
        })
    }
}

/// Whether a node may be stopped for good, and what speaks against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    pub streams: Vec<StreamOnlyHere>,
    /// Who did not answer some question, and why.
    pub silent: BTreeMap<PeerUrl, String>,
}

impl DrainReport {
    pub fn may_stop(&self) -> bool {
        self.streams.iter().all(|stream| stream.hours.iter().all(OnlyHere::is_nothing))
    }

    /// Those of which others lack something.
    pub fn lacking(&self) -> impl Iterator<Item = &StreamOnlyHere> {
        self.streams.iter().filter(|stream| stream.files() > 0)
    }

    /// `{"may_stop", "silent": [URL, …], "streams": [{"channel", "quality", "seconds", "files", "chat", "spans"}, …]}`
    pub fn to_json(&self) -> Value {
        let silent: Vec<String> = self.silent.keys().map(PeerUrl::to_string).collect();
        let streams: Vec<Value> = self.lacking().map(StreamOnlyHere::to_json).collect();
        json!({ "may_stop": self.may_stop(), "silent": silent, "streams": streams })
    }
}

/// How far a check is, in hours of qualities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainProgress {
    pub done_hours: usize,
    pub all_hours: usize,
}

/// Asks these nodes for every hour that this one has a record of. `tell` hears how far it is, before each hour.
pub async fn drain_check(
    layout: &Layout,
    blocking: &Blocking,
    peers: &[Peer],
    tell: &mut dyn FnMut(DrainProgress),
) -> Result<DrainReport, PeerError> {
    let place = layout.clone();
    let look = move || {
        let with_hours = |(channel, quality)| {
            let hours = store::hours(&place, &channel, &quality)?;
            Ok((channel, quality, hours))
        };
        store::streams(&place)?.into_iter().map(with_hours).collect::<Result<Vec<_>, store::StoreError>>()
    };
    let streams = blocking.run(look).await??;
    let all_hours = streams.iter().map(|(_, _, hours)| hours.len()).sum();
    let mut progress = DrainProgress { done_hours: 0, all_hours };
    let mut report = DrainReport::default();
    for (channel, quality, hours) in streams {
        let mut stream = StreamOnlyHere { channel, quality, hours: Vec::new() };
        for hour in hours {
            tell(progress);
            progress.done_hours += 1;
            let (place, channel, quality) = (layout.clone(), stream.channel.clone(), stream.quality.clone());
            let listing = blocking.run(move || store::list_hour(&place, &channel, &quality, hour)).await??;
            let ours: Vec<HashedName> =
                listing.visible().filter_map(|name| HashedName::parse(hour, name).ok()).collect();
            if ours.is_empty() {
                continue;
            }
            let mut failed = |peer: &Peer, error: PeerError| {
                report.silent.entry(peer.url().clone()).or_insert_with(|| chain(&error));
            };
            let found = only_here(peers, &stream.channel, &stream.quality, hour, &ours, &mut failed).await;
            if !found.files.is_empty() {
                stream.hours.push(found);
            }
        }
        report.streams.push(stream);
    }
    Ok(report)
}

fn is_chat(file: &HashedName) -> bool {
    file.as_str().ends_with(crate::model::CHAT_ENDING)
}

/// Asks these nodes for an hour of which these are our visible files. What fails is handed to `failed`.
async fn only_here(
    peers: &[Peer],
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    ours: &[HashedName],
    failed: &mut dyn FnMut(&Peer, super::PeerError),
) -> OnlyHere {
    let theirs = listings(peers, channel, quality, hour, failed).await;
    let found = compare(ours, &theirs);
    if found.spans.is_empty() {
        return found;
    }
    // Recorders that round differently put one segment into two hours, and one may run past its hour's end.
    let mut all = theirs;
    for beside in [hour.previous(), hour.next()] {
        all.extend(listings(peers, channel, quality, beside, failed).await);
    }
    compare(ours, &all)
}

async fn listings(
    peers: &[Peer],
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    failed: &mut dyn FnMut(&Peer, super::PeerError),
) -> Vec<HourNames> {
    let answers = join_all(peers.iter().map(|peer| peer.hour(channel, quality, hour, None))).await;
    let mut listings = Vec::new();
    for (peer, answer) in peers.iter().zip(answers) {
        match answer {
            Ok(HourAnswer::New { names, .. }) => listings.push(names),
            // No tag was sent, so that this says nothing.
            Ok(HourAnswer::Same) => {}
            Err(error) => failed(peer, error),
        }
    }
    listings
}

/// Compares our files with what others list, of any hours.
fn compare(ours: &[HashedName], theirs: &[HourNames]) -> OnlyHere {
    let mut by_hash: HashMap<SegmentHash, Vec<&HashedName>> = HashMap::new();
    let mut full = Vec::new();
    for file in theirs.iter().flat_map(|hour| &hour.files) {
        by_hash.entry(file.hash()).or_default().push(file);
        let is_full = SegmentName::parse(file.hour(), file.as_str()).is_ok_and(|one| one.kind() == SegmentKind::Full);
        full.extend(Span::new(file.start(), file.end()).ok().filter(|_| is_full));
    }
    let has_twin =
        |file: &&HashedName| by_hash.get(&file.hash()).is_some_and(|same| same.iter().any(|one| one.is_twin_of(file)));
    let mut files: Vec<HashedName> = ours.iter().filter(|file| !has_twin(file)).cloned().collect();
    files.sort_unstable_by(|a, b| (a.start(), a.as_str()).cmp(&(b.start(), b.as_str())));
    let spans = files.iter().filter_map(|file| Span::new(file.start(), file.end()).ok()).collect();
    OnlyHere { files, spans: without(union(spans), &union(full)) }
}

/// The same moments, in order, none overlapping another.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| span.start());
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut().filter(|last| span.start() <= last.end()) {
            Some(last) => *last = Span::new(last.start(), last.end().max(span.end())).unwrap_or(*last),
            None => joined.push(span),
        }
    }
    joined
}

/// What of `spans` lies in none of `shown`; both are in order and do not overlap. Slivers that rounding leaves are nothing.
fn without(spans: Vec<Span>, shown: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    for span in spans {
        let mut at = span.start();
        let first = shown.partition_point(|one| one.end() <= span.start());
        for one in shown[first..].iter().take_while(|one| one.start() < span.end()) {
            left.extend(Span::new(at, one.start()).ok());
            at = at.max(one.end());
        }
        left.extend(Span::new(at, span.end()).ok());
    }
    left.retain(|span| span.end().micros_since(span.start()) > crate::select::TOLERANCE_MICROS);
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hour() -> Hour {
        "2026-01-02T03".parse().unwrap()
    }

    fn name(start: &str, seconds: u32, kind: &str, seed: u8) -> String {
        format!("{start}-{seconds}.0-{kind}-{}.ts", SegmentHash::from_bytes([seed; 32]))
    }

    fn files(names: &[String]) -> Vec<HashedName> {
        names.iter().map(|name| HashedName::parse(hour(), name).unwrap()).collect()
    }

    fn of(ours: &[String], theirs: &[String]) -> (usize, f64, bool) {
        let theirs = HourNames::of(hour(), theirs.iter().map(String::as_str));
        let found = compare(&files(ours), &[theirs]);
        (found.files.len(), found.micros() as f64 / 1e6, found.is_nothing())
    }

    #[test]
    fn a_second_that_nobody_else_shows_in_full_is_only_here() {
        let ours = [name("00:00.0", 4, "full", 1), name("00:04.0", 4, "partial", 2)];
        assert_eq!(of(&ours, &[]), (2, 8.0, false));
        assert_eq!(of(&ours, &ours), (0, 0.0, true));
        // Other bytes over the same time will do, if they are whole.
        assert_eq!(of(&ours, &[name("00:00.0", 8, "full", 9)]), (2, 0.0, true));
        assert_eq!(of(&ours, &[name("00:00.0", 8, "suspect", 9)]), (2, 8.0, false));
        assert_eq!(of(&ours, &[name("00:01.0", 2, "full", 9), ours[1].clone()]), (1, 2.0, false));
        assert_eq!(of(&ours, &[name("00:00.004", 8, "full", 9)]).1, 0.0, "recorders round differently");
        assert_eq!(of(&ours, &[ours[0].replace(".ts", ".tombstone"), ours[1].clone()]), (1, 4.0, false));
        let chat = format!("00:00-{}.json", SegmentHash::from_bytes([7; 32]));
        assert_eq!(of(std::slice::from_ref(&chat), &[]), (1, 0.0, false));
        assert_eq!(of(std::slice::from_ref(&chat), std::slice::from_ref(&chat)), (0, 0.0, true));
    }

    proptest! {
        #[test]
        fn each_second_is_either_shown_elsewhere_or_only_here(
            ours in prop::collection::vec((0i64..50, 1i64..8), 0..12),
            shown in prop::collection::vec((0i64..50, 1i64..8), 0..12),
        ) {
            let span = |(start, length): (i64, i64)| {
                let start = hour().start().plus_micros(start * 1_000_000);
                Span::new(start, start.plus_micros(length * 1_000_000)).unwrap()
            };
            let (ours, shown): (Vec<Span>, Vec<Span>) = (ours.into_iter().map(span).collect(), shown.into_iter().map(span).collect());
            let left = without(union(ours.clone()), &union(shown.clone()));
            let holds = |spans: &[Span], second: i64| {
                let at = hour().start().plus_micros(second * 1_000_000 + 500_000);
                spans.iter().filter(|span| span.start() <= at && at < span.end()).count()
            };
            for second in 0..60 {
                let expected = holds(&ours, second) > 0 && holds(&shown, second) == 0;
                prop_assert_eq!(holds(&left, second), usize::from(expected));
            }
        }
    }
}
