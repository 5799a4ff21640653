//! Typed calls to another node.
//!
//! Promises: an answer is bounded before it is parsed; a name that is none is counted and passed over; listings may come
//! compressed, files never.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use awc::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use url::Url;

use super::PeerError;
use super::health::PeerHealth;
use super::names::{HourNames, Refused};
use crate::ingest::{Body, ByteBudget, FetchError, HttpClient, Patience, Response};
use crate::model::{Channel, ExtraDir, ExtraPath, Hour, NodeId, PeerUrl, Quality};

/// An hour of one-second segments of ten recorders has 3 MB of names.
const LISTING_BUDGET: ByteBudget = ByteBudget { max_bytes: 8 << 20, deadline: Duration::from_secs(60) };
const ID_BUDGET: ByteBudget = ByteBudget { max_bytes: 64 << 10, deadline: Duration::from_secs(15) };
/// A segment has a few megabytes; who cannot send one in this time is of no use.
const FILE_PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), stall: Duration::from_secs(15), whole: Duration::from_secs(240) };

/// Another node, as one arbiter speaks to it. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    url: PeerUrl,
    client: HttpClient,
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

impl Peer {
    /// To be made on the arbiter that uses it.
    pub fn new(url: PeerUrl) -> Self {
        Self { url, client: HttpClient::of_this_arbiter(), health: None }
    }

    /// The same, and all that it sees of the peer counts for everybody.
    pub fn watched(url: PeerUrl, health: PeerHealth) -> Self {
        Self { health: Some(health), ..Self::new(url) }
    }

    pub(super) fn health(&self) -> Option<&PeerHealth> {
        self.health.as_ref()
    }

    pub fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// What tells the node from others; `None` for one that does not say, as those of the existing system.
    pub async fn id(&self) -> Result<Option<NodeId>, PeerError> {
        #[derive(Deserialize)]
        struct Identity {
            id: String,
        }
        const WHAT: &str = "the node's id";
        let failed = |source| PeerError::Ask { what: WHAT, source };
        let headers = [(header::ACCEPT_ENCODING, "identity")];
        let answer = self.ask(&self.url.join(["node"]), &headers, ID_BUDGET.patience()).await;
        let answer = answer.map_err(failed)?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        let json = answer.whole(ID_BUDGET.max_bytes).await.map_err(failed)?;
        Ok(serde_json::from_slice(&json).ok().and_then(|Identity { id }| id.parse().ok()))
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

    /// The bytes of a file under the peer's `/segments`, by the parts of its path.
    pub async fn file(&self, path: &[&str]) -> Result<Body, FetchError> {
        let url = self.url.join(std::iter::once("segments").chain(path.iter().copied()));
        let answer = self.ask(&url, &[(header::ACCEPT_ENCODING, "identity")], FILE_PATIENCE).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(FetchError::Status(status.as_u16())),
        }
    }

    async fn ask(
        &self,
        url: &Url,
        headers: &[(header::HeaderName, &str)],
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let answer = self.client.ask_here(url, headers, patience).await;
        match (&self.health, &answer) {
            (Some(health), Err(error)) if error.is_unreachable() => health.was_unreachable(),
            (Some(health), _) => health.answered(),
            (None, _) => {}
        }
        answer
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
