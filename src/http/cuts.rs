//! `/cut…` and `/frame…`: video and pictures, made while they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodyStream, BoxBody, SizedStream};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use slog::{error, info, warn};

use super::params::{self, Query};
use super::playlists::{AskedRange, select, span_of};
use super::{HttpError, Site};
use crate::causes::chain;
use crate::cut::{self, CutError, CutStream, CutType, Plan, Record, still_span};
use crate::model::{Channel, Quality, Span};

/// More ranges than this are a mistake.
const MAX_RANGES: usize = 1000;

pub async fn cut(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let cut_type = cut_type(&query)?;
    let allow_holes = query.flag("allow_holes")?;
    let spans = spans(&site, &channel, &quality, &query).await?;
    check_transitions(&query, spans.len())?;

    let mut selections = Vec::with_capacity(spans.len());
    for span in spans {
        selections.push(select(&site, &channel, &quality, span).await?);
    }
    let plan = Plan::new(cut_type, &selections, allow_holes);
    let started = match plan {
        Ok(plan) => cut::start(record(&site, channel, quality), site.ffmpeg.clone(), plan).await,
        Err(error) => Err(error.into()),
    };
    let stream = started.inspect_err(|error| {
        site.metrics.cut_ended(cut_type.as_str(), "refused", std::time::Duration::ZERO);
        warn!(site.log, "cut refused"; "query" => request.query_string(), "error" => chain(error));
    })?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, stream.content_type().as_str()));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    let size_bytes = stream.size_bytes();
    let body = Observed::new(stream, site.get_ref().clone(), cut_type);
    Ok(response.body(match size_bytes {
        Some(size_bytes) => BoxBody::new(SizedStream::new(size_bytes, body)),
        None => BoxBody::new(BodyStream::new(body)),
    }))
}

/// The frame that a cut at `timestamp` would begin with, as PNG.
pub async fn frame(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let moment = Query::parse(request.query_string())
        .time("timestamp")?
        .ok_or_else(|| HttpError::Parameter { parameter: "timestamp", why: "it is missing".into() })?;
    super::playlists::hours_of(&site, &channel, &quality).await?;
    let selection = select(&site, &channel, &quality, still_span(moment)).await?;
    if !selection.has_content() {
        return Err(HttpError::NoContent);
    }
    if request.method() == Method::HEAD {
        // There is something to show; drawing it for nobody would take an ffmpeg.
        return Ok(picture_answer().streaming(stream::empty::<Result<Bytes, HttpError>>()));
    }
    let picture = cut::still(record(&site, channel, quality), site.ffmpeg.clone(), &selection).await?;
    Ok(picture_answer().body(picture))
}

fn picture_answer() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "image/png"));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

fn record(site: &Site, channel: Channel, quality: Quality) -> Record {
    Record { layout: site.layout.clone(), channel, quality, blocking: site.blocking.clone() }
}

fn cut_type(query: &Query) -> Result<CutType, HttpError> {
    match query.get("type") {
        None => Ok(CutType::Fast),
        Some(text) => text.parse().map_err(|_| HttpError::Parameter {
            parameter: "type",
            why: "this version makes rough and fast cuts".into(),
        }),
    }
}

/// `range=START,END` repeated, or one range by `start` and `end`.
async fn spans(site: &Site, channel: &Channel, quality: &Quality, query: &Query) -> Result<Vec<Span>, HttpError> {
    let ranges: Vec<&str> = query.all("range").collect();
    if ranges.is_empty() {
        let span = span_of(site, channel, quality, AskedRange::parse(query)?).await?;
        return Ok(vec![span.ok_or(HttpError::NoContent)?]);
    }
    let bad = |why: &str| HttpError::Parameter { parameter: "range", why: why.to_owned() };
    if query.get("start").is_some() || query.get("end").is_some() {
        return Err(bad("give either ranges, or start and end"));
    }
    if ranges.len() > MAX_RANGES {
        return Err(bad("there are more than 1000 ranges"));
    }
    super::playlists::hours_of(site, channel, quality).await?;
    ranges
        .into_iter()
        .map(|range| {
            let (start, end) = range.split_once(',').ok_or_else(|| bad("write it as START,END"))?;
            Ok(Span::new(params::time("range", start)?, params::time("range", end)?)?)
        })
        .collect()
}

/// This version joins ranges by hard cuts, which an empty transition asks for.
fn check_transitions(query: &Query, ranges: usize) -> Result<(), HttpError> {
    let bad = |why: &str| Err(HttpError::Parameter { parameter: "transition", why: why.to_owned() });
    let transitions: Vec<&str> = query.all("transition").collect();
    if transitions.len() >= ranges.max(1) {
        return bad("there is one fewer than ranges, at most");
    }
    if transitions.iter().any(|transition| !transition.is_empty()) {
        return bad("this version makes hard cuts only; leave it empty");
    }
    Ok(())
}

/// Tells log and metrics how a cut ended; when it is dropped early, the client has left.
struct Observed {
    stream: CutStream,
    site: Site,
    cut_type: CutType,
    began: Instant,
    sent_bytes: u64,
    told: bool,
}

impl Observed {
    fn new(stream: CutStream, site: Site, cut_type: CutType) -> Self {
        Self { stream, site, cut_type, began: Instant::now(), sent_bytes: 0, told: false }
    }

    fn tell(&mut self, outcome: &'static str) {
        self.told = true;
        let took = self.began.elapsed();
        self.site.metrics.cut_ended(self.cut_type.as_str(), outcome, took);
        info!(self.site.log, "cut ended"; "type" => self.cut_type.as_str(), "outcome" => outcome,
            "bytes" => self.sent_bytes, "took_ms" => took.as_millis() as u64);
    }
}

impl Stream for Observed {
    type Item = Result<Bytes, CutError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.stream.poll_next_unpin(cx));
        match &next {
            Some(Ok(piece)) => self.sent_bytes += piece.len() as u64,
            Some(Err(failure)) => {
                error!(self.site.log, "cut failed on its way"; "error" => chain(failure));
                self.tell("failed");
            }
            None => self.tell("done"),
        }
        Poll::Ready(next)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // A body of known size is dropped at its last byte, without being asked for the end.
        if !self.told {
            let done = self.stream.size_bytes() == Some(self.sent_bytes);
            self.tell(if done { "done" } else { "left" });
        }
    }
}
