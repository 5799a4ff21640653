//! How this node and the others are, and what each has of a quality. The others are asked by the node itself, so that one
//! address suffices whoever looks.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::recent::Recent;
use crate::causes::chain;
use crate::http::params::{self, Query};
use crate::http::{HttpError, Site};
use crate::model::{Channel, NodeState, PeerStanding, PeerState, PeerUrl, Quality, Span, StreamState, Timestamp};
use crate::peers::{Peer, ToldState};
use crate::select::Report;
use crate::store;

/// Who looks again within this time is told the same.
const OWN_MAX_AGE: Duration = Duration::from_millis(300);
const NODES_MAX_AGE: Duration = Duration::from_millis(900);
const COVERAGE_MAX_AGE: Duration = Duration::from_millis(900);
/// Of a node that has to list whole hours for it.
const LISTED_MAX_AGE: Duration = Duration::from_secs(10);
/// For all that a node of the existing system lists.
const LISTED_WITHIN: Duration = Duration::from_secs(6);
/// More than a crew has.
const MOST_NODES: usize = 64;
/// Of a node that only lists, so many qualities are looked at.
const MOST_LISTED_STREAMS: usize = 16;
const USUAL_WINDOW: Duration = Duration::from_secs(3600);
const LONGEST_WINDOW: Duration = Duration::from_secs(32 * 24 * 3600);

/// What this node and the others told last. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    own: Recent<(), Arc<NodeState>>,
    nodes: Recent<(), Arc<Value>>,
    newest: Recent<PeerUrl, Result<Arc<[StreamState]>, String>>,
    coverage: Recent<Part, Arc<Value>>,
    listed: Recent<(PeerUrl, Part), Listed>,
}

/// A part of a quality.
type Part = (Channel, Quality, Asked);
/// What a node lists of it, or why that is not known.
type Listed = Result<Option<Report>, String>;

/// Which part of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    /// So long until now.
    Latest(Duration),
    Between(Span),
}

impl Asked {
    fn read(query: &Query) -> Result<Self, HttpError> {
        let bad = |parameter: &'static str, why: &str| HttpError::Parameter { parameter, why: why.to_owned() };
        let too_long = |parameter| bad(parameter, "it may not exceed 32 days");
        if let (Some(start), Some(end)) = (query.time("start")?, query.time("end")?) {
            let span = Span::new(start, end)?;
            return if span.duration() <= LONGEST_WINDOW { Ok(Self::Between(span)) } else { Err(too_long("end")) };
        }
        let Some(text) = query.get("window") else { return Ok(Self::Latest(USUAL_WINDOW)) };
        let window = text.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let window = window.ok_or_else(|| bad("window", "it is a number of seconds"))?;
        if window <= LONGEST_WINDOW { Ok(Self::Latest(window)) } else { Err(too_long("window")) }
    }

    fn span(self, now: Timestamp) -> Result<Span, HttpError> {
        match self {
            Self::Between(span) => Ok(span),
            Self::Latest(window) => {
                let micros = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
                Ok(Span::new(now.plus_micros(-micros), now)?)
            }
        }
    }
}

/// How this node is. Waits for no disk.
pub async fn own(site: web::Data<Site>) -> HttpResponse {
    uncached().json(&*own_state(&site).await)
}

async fn own_state(site: &Site) -> Arc<NodeState> {
    site.neighbours.own.get(&(), OWN_MAX_AGE, || async { Arc::new(site.overview.look().await) }).await
}

/// How this node and all that it copies from are.
pub async fn all(site: web::Data<Site>) -> HttpResponse {
    let nodes = site.neighbours.nodes.get(&(), NODES_MAX_AGE, || async { Arc::new(look_at_all(&site).await) }).await;
    uncached().json(&*nodes)
}

async fn look_at_all(site: &Site) -> Value {
    let own = own_state(site).await;
    let others = join_all(peers(site, &own).iter().map(|(url, _)| look_at(site, &own, url))).await;
    let own = json!({ "url": null, "self": true, "took_ms": 0, "error": null, "state": &*own, "listed": null });
    json!({ "nodes": std::iter::once(own).chain(others).collect::<Vec<Value>>() })
}

/// Those that this node copies from, but for itself, with what it knows of them.
fn peers(site: &Site, own: &NodeState) -> Vec<(PeerUrl, Option<PeerState>)> {
    let mut peers: Vec<(PeerUrl, Option<PeerState>)> = match &own.peers {
        Some(peers) => {
            let others = peers.iter().filter(|peer| peer.standing != PeerStanding::Ourselves);
            others.filter_map(|peer| Some((peer.url.parse().ok()?, Some(peer.clone())))).collect()
        }
        // Who keeps the book is being restarted.
        None => site.directory.backfill_peers.keys().into_iter().map(|(url, ..)| (url, None)).collect(),
    };
    peers.sort_by(|a, b| a.0.cmp(&b.0));
    peers.dedup_by(|a, b| a.0 == b.0);
    peers.truncate(MOST_NODES);
    peers
}

/// Where they answer.
pub(super) async fn peers_of(site: &Site) -> Vec<PeerUrl> {
    let own = own_state(site).await;
    peers(site, &own).into_iter().map(|(url, _)| url).collect()
}

async fn look_at(site: &Site, own: &NodeState, url: &PeerUrl) -> Value {
    let began = Instant::now();
    let (mut state, mut listed, mut error) = (None, None, None);
    match Peer::new(url.clone(), &site.peer_access).state().await {
        Ok(ToldState::Whole(told)) => state = Some(told),
        Ok(ToldState::NotOffered) => {
            let found = site.neighbours.newest.get(url, LISTED_MAX_AGE, || newest(site, own, url)).await;
            match found {
                Ok(streams) => listed = Some(streams),
                Err(why) => error = Some(why),
            }
        }
        Err(why) => error = Some(chain(&why)),
    }
    json!({
        "url": url.to_string(),
        "self": false,
        "took_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "error": error,
        "state": state,
        "listed": listed.as_deref(),
    })
}

/// What the listings of a node that does not say how it is show: the newest of each quality that is recorded here.
async fn newest(site: &Site, own: &NodeState, url: &PeerUrl) -> Result<Arc<[StreamState]>, String> {
    let peer = Peer::new(url.clone(), &site.peer_access);
    let ask = |stream: &StreamState| {
        let (peer, names) = (peer.clone(), (stream.channel.clone(), stream.quality.clone()));
        async move {
            let (channel, quality) = (names.0.parse().ok()?, names.1.parse().ok()?);
            let newest = peer.newest_end(&channel, &quality).await;
            let lag = |end: Timestamp| site.clock.now().micros_since(end) as f64 / 1e6;
            Some(newest.map(|newest| StreamState {
                channel: names.0,
                quality: names.1,
                phase: None,
                newest: newest.map(|end| end.to_string()),
                lag_seconds: newest.map(lag),
            }))
        }
    };
    let asked = join_all(own.recording.iter().take(MOST_LISTED_STREAMS).map(ask));
    let answers = timeout(LISTED_WITHIN, asked).await.map_err(|_| "it lists too slowly".to_owned())?;
    let streams: Result<Vec<StreamState>, _> = answers.into_iter().flatten().collect();
    streams.map(Arc::from).map_err(|error| chain(&error))
}

/// What each node has of a quality: the holes with the causes that it knows, what may be short, what is hidden.
pub async fn coverage(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let asked = Asked::read(&Query::parse(request.query_string()))?;
    let span = asked.span(site.clock.now())?;
    let key = (channel, quality, asked);
    let look = || async { Arc::new(cover(&site, &key, span).await) };
    let answer = site.neighbours.coverage.get(&key, COVERAGE_MAX_AGE, look).await;
    Ok(uncached().json(&*answer))
}

async fn cover(site: &Site, part: &Part, span: Span) -> Value {
    let (channel, quality, _) = part;
    let own = own_state(site).await;
    let ours = async {
        let told = own_coverage(site, channel, quality, span).await;
        row(None, false, told.map_err(|error| chain(&error)))
    };
    let peers = peers(site, &own);
    let others = join_all(peers.iter().map(|(url, known)| coverage_of(site, url, known.as_ref(), part, span)));
    let (ours, others) = futures_util::future::join(ours, others).await;
    let nodes: Vec<Value> = std::iter::once(ours).chain(others).collect();
    json!({ "start": span.start().to_string(), "end": span.end().to_string(), "nodes": nodes })
}

fn row(url: Option<&PeerUrl>, is_listed: bool, told: Result<Option<Report>, String>) -> Value {
    let (report, error) = match told {
        Ok(report) => (report, None),
        Err(error) => (None, Some(error)),
    };
    json!({
        "url": url.map(PeerUrl::to_string),
        "self": url.is_none(),
        "error": error,
        // Of what is only listed, no causes are known.
        "listed": is_listed,
        "coverage": report.map(|report| report.to_json()),
    })
}

async fn own_coverage(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    span: Span,
) -> Result<Option<Report>, HttpError> {
    let stream = site.coverages.of(channel, quality, &site.blocking).await?;
    if stream.span().is_none() {
        return Ok(None);
    }
    let (layout, of) = (site.layout.clone(), (channel.clone(), quality.clone()));
    let report = site
        .blocking
        .run(move || {
            let losses = store::losses(&layout, &of.0, &of.1, Some(span))?;
            let standing: Vec<_> = losses.into_iter().filter(|standing| !standing.filled).collect();
            Ok::<_, HttpError>(Report { hours: Vec::new(), ..Report::new(&stream, span, &standing) })
        })
        .await??;
    Ok(Some(report))
}

async fn coverage_of(site: &Site, url: &PeerUrl, known: Option<&PeerState>, part: &Part, span: Span) -> Value {
    // One that does not answer would hold up the answers of all others.
    if let Some(PeerState { standing: PeerStanding::Failing, error, .. }) = known {
        return row(Some(url), false, Err(error.clone().unwrap_or_else(|| "it does not answer".to_owned())));
    }
    let (channel, quality, _) = part;
    let peer = Peer::new(url.clone(), &site.peer_access);
    match peer.coverage(channel, quality, span).await {
        Ok(Some(report)) => row(Some(url), false, Ok(Some(Report { hours: Vec::new(), ..report }))),
        Ok(None) => {
            let listing = (url.clone(), part.clone());
            let list = || async {
                match timeout(LISTED_WITHIN, peer.listed_coverage(channel, quality, span)).await {
                    Ok(listed) => listed.map_err(|error| chain(&error)),
                    Err(_) => Err("it lists too slowly".to_owned()),
                }
            };
            row(Some(url), true, site.neighbours.listed.get(&listing, LISTED_MAX_AGE, list).await)
        }
        Err(error) => row(Some(url), false, Err(chain(&error))),
    }
}

fn uncached() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_until_now_and_bounded() {
        let now: Timestamp = "2026-01-02T03:00:00".parse().unwrap();
        let span = |text: &str| Asked::read(&Query::parse(text)).and_then(|asked| asked.span(now));
        assert_eq!(span("").unwrap().to_string(), "2026-01-02T02:00:00.000000/2026-01-02T03:00:00.000000");
        assert_eq!(span("window=60").unwrap().duration().as_secs(), 60);
        let between = span("start=2026-01-01&end=2026-01-02&window=60").unwrap();
        assert_eq!(between.duration().as_secs(), 24 * 3600);
        for bad in [
            "window=0",
            "window=x",
            "window=99999999",
            "start=2026-01-01&end=2026-03-01",
            "start=2026-01-02&end=2026-01-01",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
