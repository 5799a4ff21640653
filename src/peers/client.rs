//! Typed calls to another node.
//!
//! Promises: an answer is bounded before it is parsed; a name that is none is counted and passed over; listings may come
//! compressed, files never.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use awc::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use url::Url;

use super::PeerError;
use super::access::PeerAccess;
use super::health::PeerHealth;
use super::names::{HourNames, Refused};
use crate::ingest::{Body, ByteBudget, FetchError, HttpClient, Patience, Response};
use crate::model::{Channel, Day, ExtraDir, ExtraPath, Hour, NodeIdentity, PeerUrl, Quality, Timestamp};
use crate::select::{DayDigests, Digest, NodeDigests, QualityDigests};

/// An hour of one-second segments of ten recorders has 3 MB of names.
const LISTING_BUDGET: ByteBudget = ByteBudget { max_bytes: 8 << 20, deadline: Duration::from_secs(60) };
const ID_BUDGET: ByteBudget = ByteBudget { max_bytes: 64 << 10, deadline: Duration::from_secs(15) };
/// Forty years of days. A node that has just started may have to list a season first.
const DIGEST_BUDGET: ByteBudget = ByteBudget { max_bytes: 1 << 20, deadline: Duration::from_secs(60) };
/// A segment has a few megabytes; who cannot send one in this time is of no use.
const FILE_PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), stall: Duration::from_secs(15), whole: Duration::from_secs(240) };

/// Another node, as one arbiter speaks to it. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    url: PeerUrl,
    client: HttpClient,
    access: PeerAccess,
    /// `None` where nobody else asks the same peer.
    health: Option<PeerHealth>,
}

/// What a peer calls the present state of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(Box<str>);

/// An hour's listing, or that it is still the one of the tag.
#[derive(Debug)]
pub enum HourAnswer {
    Same,
    New { names: HourNames, tag: Option<Tag> },
}

/// A peer's digests, or that they are still those of the question.
#[derive(Debug)]
pub enum DigestAnswer<T> {
    Same,
    New(T),
    /// It has none, as nodes of the existing system, or none at the moment.
    NotOffered,
}

/// What a peer tells of all its qualities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTold {
    pub digests: NodeDigests,
    /// The days of which it says that they changed last.
    pub changed: BTreeMap<(Channel, Quality), Day>,
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// `None` of one that does not say, as those of the existing system.
    pub identity: Option<NodeIdentity>,
    /// What time it is there, to the second.
    pub date: Option<Timestamp>,
}

impl Peer {
    /// To be made on the arbiter that uses it.
    pub fn new(url: PeerUrl, access: &PeerAccess) -> Self {
        Self { url, client: access.client(), access: access.clone(), health: None }
    }

    /// The same, and all that it sees of the peer counts for everybody.
    pub fn watched(url: PeerUrl, access: &PeerAccess, health: PeerHealth) -> Self {
        Self { health: Some(health), ..Self::new(url, access) }
    }

    pub(super) fn health(&self) -> Option<&PeerHealth> {
        self.health.as_ref()
    }

    pub fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// What tells the node from others, and what time it has.
    pub async fn introduction(&self) -> Result<Introduction, PeerError> {
        #[derive(Deserialize)]
        struct Identity {
            id: String,
            life: Option<String>,
        }
        const WHAT: &str = "the node's id";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.ask(&self.url.join(["node"]), &headers, ID_BUDGET.patience()).await;
        let answer = answer.map_err(failed)?;
        let date = answer.date;
        if answer.status != StatusCode::OK {
            return Ok(Introduction { identity: None, date });
        }
        let json = answer.whole(ID_BUDGET.max_bytes).await.map_err(failed)?;
        let read = |Identity { id, life }| {
            let life = life.and_then(|life| life.parse().ok());
            id.parse().ok().map(|id| NodeIdentity { id, life })
        };
        Ok(Introduction { identity: serde_json::from_slice(&json).ok().and_then(read), date })
    }

    pub async fn channels(&self) -> Result<(Vec<Channel>, Refused), PeerError> {
        self.names("channels", &["files"]).await
    }

    pub async fn qualities(&self, channel: &Channel) -> Result<(Vec<Quality>, Refused), PeerError> {
        self.names("qualities", &["files", channel.as_str()]).await
    }

    /// Not in order.
    pub async fn hours(&self, channel: &Channel, quality: &Quality) -> Result<(Vec<Hour>, Refused), PeerError> {
        self.names("hours", &["files", channel.as_str(), quality.as_str()]).await
    }

    /// What a directory of extra files holds; nothing where the peer knows of no such directories.
    pub async fn extras(&self, dir: &ExtraDir) -> Result<(Vec<ExtraPath>, Refused), PeerError> {
        match self.names("extra files", &["extras", dir.as_str()]).await {
            Err(PeerError::Ask { source, .. }) if source.is_gone() => Ok((Vec::new(), Refused::default())),
            answer => answer,
        }
    }

    /// What an hour holds, its tombstones too.
    pub async fn hour(
        &self,
        channel: &Channel,
        quality: &Quality,
        hour: Hour,
        known: Option<&Tag>,
    ) -> Result<HourAnswer, PeerError> {
        const WHAT: &str = "the segments of an hour";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let mut url = self.url.join(["files", channel.as_str(), quality.as_str(), &hour.to_string()]);
        url.set_query(Some("tombstones=true"));
        let mut headers = vec![(header::ACCEPT_ENCODING, "gzip")];
        headers.extend(known.map(|Tag(tag)| (header::IF_NONE_MATCH, &**tag)));
        let answer = self.ask(&url, &headers, LISTING_BUDGET.patience()).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(HourAnswer::Same),
            status => return Err(failed(FetchError::Status(status.as_u16()))),
        }
        let tag = answer.etag.clone().map(Tag);
        let json = answer.whole(LISTING_BUDGET.max_bytes).await.map_err(failed)?;
        let mut names = HourNames::new(hour);
        each_name(&json, |name| names.add(name)).map_err(|source| PeerError::NoList { what: WHAT, source })?;
        Ok(HourAnswer::New { names, tag })
    }

    /// What all of the node holds, quality by quality.
    pub async fn node_digests(&self, known: Option<Digest>) -> Result<DigestAnswer<NodeTold>, PeerError> {
        self.digests(&["digest"], known, read_node_digests).await
    }

    /// What a quality holds, day by day, as digests; `known` is what it was.
    pub async fn digest(
        &self,
        channel: &Channel,
        quality: &Quality,
        known: Option<Digest>,
    ) -> Result<DigestAnswer<QualityDigests>, PeerError> {
        let path = ["digest", channel.as_str(), quality.as_str()];
        self.digests(&path, known, read_quality_digests).await
    }

    /// What a day holds, hour by hour.
    pub async fn day_digest(
        &self,
        channel: &Channel,
        quality: &Quality,
        day: Day,
        known: Option<Digest>,
    ) -> Result<DigestAnswer<DayDigests>, PeerError> {
        let path = ["digest", channel.as_str(), quality.as_str(), &day.to_string()];
        self.digests(&path, known, |text| read_day_digests(text, day)).await
    }

    async fn digests<T>(
        &self,
        path: &[&str],
        known: Option<Digest>,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<DigestAnswer<T>, PeerError> {
        let failed = |source| PeerError::Ask { what: "digests", source };
        let tag = known.map(|known| format!("\"{known}\""));
        let mut headers = vec![(header::ACCEPT_ENCODING, "identity")];
        headers.extend(tag.as_deref().map(|tag| (header::IF_NONE_MATCH, tag)));
        let url = self.url.join(path.iter().copied());
        let answer = self.ask(&url, &headers, DIGEST_BUDGET.patience()).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(DigestAnswer::Same),
            // Also of one that cannot just now: what it lists can be had without.
            _ => return Ok(DigestAnswer::NotOffered),
        }
        let text = answer.whole(DIGEST_BUDGET.max_bytes).await.map_err(failed)?;
        read(&text).map(DigestAnswer::New).ok_or(PeerError::NoDigests)
    }

    /// The tombstones of an hour, each with whether the peer still has bytes of what it hides. `None` from a node that does
    /// not say, as those of the existing system.
    pub async fn tombstones(
        &self,
        channel: &Channel,
        quality: &Quality,
        hour: Hour,
    ) -> Result<Option<BTreeMap<String, bool>>, PeerError> {
        #[derive(Deserialize)]
        struct State {
            bytes: bool,
        }
        const WHAT: &str = "the tombstones of an hour";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let url = self.url.join(["tombstones", channel.as_str(), quality.as_str(), &hour.to_string()]);
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.ask(&url, &headers, LISTING_BUDGET.patience()).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(failed(FetchError::Status(status.as_u16()))),
        }
        let json = answer.whole(LISTING_BUDGET.max_bytes).await.map_err(failed)?;
        let states: BTreeMap<String, State> =
            serde_json::from_slice(&json).map_err(|source| PeerError::NoList { what: WHAT, source })?;
        Ok(Some(states.into_iter().map(|(name, State { bytes })| (name, bytes)).collect()))
    }

    /// Whether the peer would send a file; `None` where it does not say, as it hides it. No byte of it is waited for.
    pub async fn has_file(&self, path: &[&str]) -> Result<Option<bool>, PeerError> {
        let url = self.url.join(std::iter::once("segments").chain(path.iter().copied()));
        let answer = self.ask_for_bytes(&url).await.map_err(|source| PeerError::Ask { what: "a file", source })?;
        Ok(match answer.status {
            StatusCode::OK => Some(true),
            StatusCode::NOT_FOUND => Some(false),
            _ => None,
        })
    }

    /// The bytes of a file under the peer's `/segments`, by the parts of its path.
    pub async fn file(&self, path: &[&str]) -> Result<Body, FetchError> {
        let url = self.url.join(std::iter::once("segments").chain(path.iter().copied()));
        let answer = self.ask_for_bytes(&url).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(FetchError::Status(status.as_u16())),
        }
    }

    pub(super) async fn ask(
        &self,
        url: &Url,
        headers: &[(header::HeaderName, &str)],
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let answer = self.send(&self.client, url, headers, patience).await;
        self.hear(&answer, FetchError::is_unreachable);
        answer
    }

    /// For what may be slow to come while all else is well.
    async fn ask_for_bytes(&self, url: &Url) -> Result<Response, FetchError> {
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.send(&self.client, url, &headers, FILE_PATIENCE).await;
        self.hear(&answer, FetchError::is_unconnected);
        answer
    }

    /// For an answer that goes on and on.
    pub(super) async fn ask_at_length(
        &self,
        url: &Url,
        headers: &[(header::HeaderName, &str)],
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let answer = self.send(&self.access.client_for_long_answers(), url, headers, patience).await;
        self.hear(&answer, FetchError::is_unconnected);
        answer
    }

    /// No redirect is followed, so nobody else sees the token.
    async fn send(
        &self,
        client: &HttpClient,
        url: &Url,
        headers: &[(header::HeaderName, &str)],
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let token = self.access.authorization();
        let mut headers = headers.to_vec();
        headers.extend(token.as_deref().map(|token| (header::AUTHORIZATION, token)));
        client.ask_here(url, &headers, patience).await
    }

    /// What an answer, or its absence, says of the peer is for all who ask it.
    fn hear(&self, answer: &Result<Response, FetchError>, is_down: fn(&FetchError) -> bool) {
        let Some(health) = &self.health else { return };
        match answer {
            Err(error) if is_down(error) => health.was_unreachable(),
            Err(FetchError::NoAnswer(_)) => {}
            Ok(_) | Err(_) => health.answered(),
        }
    }

    async fn names<T: FromStr>(&self, what: &'static str, path: &[&str]) -> Result<(Vec<T>, Refused), PeerError> {
        let failed = |source| PeerError::Ask { what, source };
        let url = self.url.join(path.iter().copied());
        let headers = [(header::ACCEPT_ENCODING, "gzip")];
        let answer = self.ask(&url, &headers, LISTING_BUDGET.patience()).await.map_err(failed)?;
        if answer.status != StatusCode::OK {
            return Err(failed(FetchError::Status(answer.status.as_u16())));
        }
        let json = answer.whole(LISTING_BUDGET.max_bytes).await.map_err(failed)?;
        let (mut names, mut refused) = (Vec::new(), Refused::default());
        each_name(&json, |name| match name.parse() {
            Ok(name) => names.push(name),
            Err(_) => refused.add(name),
        })
        .map_err(|source| PeerError::NoList { what, source })?;
        Ok((names, refused))
    }
}

/// `None` where it is no such table, or its digest is not that of its days.
fn read_quality_digests(json: &[u8]) -> Option<QualityDigests> {
    #[derive(Deserialize)]
    struct Text {
        digest: String,
        days: BTreeMap<String, String>,
    }
    let Text { digest, days } = serde_json::from_slice(json).ok()?;
    let of_days = QualityDigests::new(parse_table(days)?);
    (digest.parse() == Ok(of_days.digest)).then_some(of_days)
}

fn read_node_digests(json: &[u8]) -> Option<NodeTold> {
    #[derive(Deserialize)]
    struct Text {
        digest: String,
        qualities: BTreeMap<String, Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        digest: String,
        changed: Option<String>,
    }
    let Text { digest, qualities } = serde_json::from_slice(json).ok()?;
    let (mut table, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for (key, line) in qualities {
        let (channel, quality) = key.split_once('/')?;
        let key: (Channel, Quality) = (channel.parse().ok()?, quality.parse().ok()?);
        changed.extend(line.changed.and_then(|day| day.parse().ok()).map(|day| (key.clone(), day)));
        table.insert(key, line.digest.parse().ok()?);
    }
    let digests = NodeDigests::new(table);
    (digest.parse() == Ok(digests.digest)).then_some(NodeTold { digests, changed })
}

/// The same of a day, whose hours must be its own.
fn read_day_digests(json: &[u8], day: Day) -> Option<DayDigests> {
    #[derive(Deserialize)]
    struct Text {
        digest: String,
        hours: BTreeMap<String, String>,
    }
    let Text { digest, hours } = serde_json::from_slice(json).ok()?;
    let of_hours = DayDigests::new(parse_table(hours)?);
    let are_its_own = of_hours.hours.keys().all(|hour| Day::of(*hour) == day);
    (are_its_own && digest.parse() == Ok(of_hours.digest)).then_some(of_hours)
}

fn parse_table<K: FromStr + Ord>(table: BTreeMap<String, String>) -> Option<BTreeMap<K, Digest>> {
    table.into_iter().map(|(key, digest)| Some((key.parse().ok()?, digest.parse().ok()?))).collect()
}

/// Hands over each text of a JSON list, without keeping them all.
fn each_name(json: &[u8], take: impl FnMut(&str)) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_seq(EachName(take))?;
    reader.end()
}

struct EachName<F>(F);

/// A text that is borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

impl<'j, F: FnMut(&str)> Visitor<'j> for EachName<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'j>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = list.next_element()? {
            (self.0)(&name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_that_do_not_add_up_are_none() {
        let hour = "2026-01-02T03".parse().unwrap();
        let name = "00:00-47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU.json";
        let of_day = DayDigests::new(BTreeMap::from([(hour, Digest::of_hour([name]).unwrap())]));
        let of_quality = QualityDigests::of_hours(&of_day.hours);
        let (day, other): (Day, Day) = ("2026-01-02".parse().unwrap(), "2026-01-03".parse().unwrap());
        let text = |digest: Digest| {
            format!("{{\"digest\":\"{digest}\",\"hours\":{{\"{hour}\":\"{}\"}}}}", of_day.hours[&hour])
        };
        assert_eq!(read_day_digests(text(of_day.digest).as_bytes(), day), Some(of_day.clone()));
        assert_eq!(read_day_digests(text(of_day.digest).as_bytes(), other), None);
        assert_eq!(read_day_digests(text(of_quality.digest).as_bytes(), day), None);
        let text = |day: &str| {
            format!("{{\"digest\":\"{}\",\"days\":{{\"{day}\":\"{}\"}}}}", of_quality.digest, of_day.digest)
        };
        assert_eq!(read_quality_digests(text("2026-01-02").as_bytes()), Some(of_quality.clone()));
        for bad in [text("2026-01-03"), text("../../etc"), "[]".into(), String::new(), text("2026-01-02") + "x"] {
            assert_eq!(read_quality_digests(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn digests_of_a_node_that_do_not_add_up_are_none() {
        let of_quality = QualityDigests::new(BTreeMap::new()).digest;
        let key = ("ch".parse().unwrap(), "source".parse().unwrap());
        let digests = NodeDigests::new(BTreeMap::from([(key, of_quality)]));
        let text = |digest: Digest, key: &str, day: &str| {
            format!(r#"{{"digest":"{digest}","qualities":{{"{key}":{{"digest":"{of_quality}","changed":{day}}}}}}}"#)
        };
        let read = |text: String| read_node_digests(text.as_bytes());
        let told = read(text(digests.digest, "ch/source", r#""2026-01-02""#)).unwrap();
        assert_eq!((&told.digests, told.changed.len()), (&digests, 1));
        for no_hint in ["null", r#""never""#] {
            assert_eq!(read(text(digests.digest, "ch/source", no_hint)).unwrap().changed.len(), 0);
        }
        for bad in [text(of_quality, "ch/source", "null"), text(digests.digest, "ch/480p", "null"), "[]".into()] {
            assert_eq!(read(bad), None);
        }
        for bad in ["ch", "../source", "ch/.x", ""] {
            assert_eq!(read(text(digests.digest, bad, "null")), None, "{bad}");
        }
    }

    #[test]
    fn a_list_of_names_is_one_and_nothing_else() {
        let read = |json: &str| {
            let mut names = Vec::new();
            each_name(json.as_bytes(), |name| names.push(name.to_owned())).map(|()| names)
        };
        assert_eq!(read(r#"["a", "b\n"]"#).unwrap(), ["a", "b\n"]);
        assert!(read("[]").unwrap().is_empty());
        for bad in ["", "{}", "null", "[1]", "[\"a\"", "[\"a\"] x", "<html>", "[[\"a\"]]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
