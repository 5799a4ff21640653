//! `/cut…`: video, made while it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodyStream, BoxBody, SizedStream};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use slog::{error, info, warn};

use super::encodings::media_within;
use super::params::{self, Query};
use super::playlists::{AskedRange, select, span_of};
use super::receipts::CUT_HEADER;
use super::{HttpError, Site};
use crate::causes::chain;
use crate::cut::{
    self, BadTransition, Begun, CutError, CutStream, CutType, Joint, KnownEncodings, OnChange, Piece, Plan, PlanError,
    Record, UnknownCutType, UnknownOnChange,
};
use crate::model::{Channel, Quality, Span};
use crate::select::Selection;

/// More ranges than this are a mistake: each costs an index, and nearly each two runs of ffmpeg.
const MAX_RANGES: usize = 256;

/// How long a cut waits for what nobody knows yet of its segments' encodings.
const ENCODINGS_PATIENCE: Duration = Duration::from_secs(20);

pub async fn cut(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let cut_type = cut_type(&query)?;
    let spans = spans(&site, &channel, &quality, &query).await?;
    let pieces = pieces(&spans, &query)?;
    let plan = plan(&site, &channel, &quality, cut_type, &pieces, &query).await?;
    run(&site, &request, record(&site, channel, quality), cut_type, plan).await
}

/// The transition between two ranges alone, small and quick.
pub async fn preview(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let spans = spans(&site, &channel, &quality, &query).await?;
    let mut pieces = pieces(&spans, &query)?;
    pieces.retain(|piece| matches!(piece, Piece::Blend { .. }));
    if pieces.len() != 1 {
        let why = "a preview is of two ranges and the transition between them".into();
        return Err(HttpError::Parameter { parameter: "transition", why });
    }
    let plan = plan(&site, &channel, &quality, CutType::Smart, &pieces, &query).await?;
    let plan = plan.map(Plan::previewed);
    run(&site, &request, record(&site, channel, quality), CutType::Smart, plan).await
}

/// Chooses what shows the pieces. What cannot be planned is an answer, as it is to be counted among the cuts.
async fn plan(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    cut_type: CutType,
    pieces: &[Piece<Span>],
    query: &Query,
) -> Result<Result<Plan, PlanError>, HttpError> {
    let (allow_holes, on_change) = (query.flag("allow_holes")?, on_change(query)?);
    let mut selected = Vec::with_capacity(pieces.len());
    for piece in pieces {
        selected.push(match piece {
            Piece::Range(span) => Piece::Range(select(site, channel, quality, *span).await?),
            Piece::Blend { out, into, transition } => Piece::Blend {
                out: select(site, channel, quality, *out).await?,
                into: select(site, channel, quality, *into).await?,
                transition: *transition,
            },
        });
    }
    let plan = match Plan::new(cut_type, &selected, allow_holes) {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error)),
    };
    let mut known = KnownEncodings::default();
    // A rough cut takes everything as it is, and waits for no such knowledge.
    for selection in selected.iter().filter(|_| cut_type != CutType::Rough).flat_map(Piece::stretches) {
        learn_encodings(site, channel, quality, selection, &mut known).await;
    }
    Ok(plan.told(&known, on_change))
}

/// What is not learnt in time counts as no change.
pub async fn learn_encodings(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    selection: &Selection,
    known: &mut KnownEncodings,
) {
    let hours = selection.hours().map(|(index, _)| Arc::clone(index)).collect();
    let media = media_within(site, channel, quality, hours, ENCODINGS_PATIENCE).await;
    known.see(selection, &media);
}

fn on_change(query: &Query) -> Result<OnChange, HttpError> {
    let text = query.get("change").map(str::parse).transpose();
    let bad = |why: UnknownOnChange| HttpError::Parameter { parameter: "change", why: why.to_string() };
    Ok(text.map_err(bad)?.unwrap_or_default())
}

/// Answers with the video of a plan.
async fn run(
    site: &Site,
    request: &HttpRequest,
    record: Record,
    cut_type: CutType,
    plan: Result<Plan, PlanError>,
) -> Result<HttpResponse, HttpError> {
    let started = match plan {
        Ok(plan) => cut::start_after(record, site.ffmpeg.clone(), plan, begun(request)).await,
        Err(error) => Err(error.into()),
    };
    let stream = started.inspect_err(|error| {
        site.metrics.cut_ended(cut_type.as_str(), "refused", Duration::ZERO);
        warn!(site.log, "cut refused"; "query" => request.query_string(), "error" => chain(error));
    })?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, stream.content_type().as_str()));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response.insert_header((CUT_HEADER, site.receipts.keep(stream.receipt()).to_string()));
    if let Some(fingerprint) = stream.fingerprint() {
        response.insert_header((header::ETAG, header::EntityTag::new_strong(fingerprint.to_string()).to_string()));
    }
    let (size_bytes, first) = (stream.size_bytes(), stream.begins_at_bytes());
    if let Some(size_bytes) = size_bytes
        && first > 0
    {
        response.status(StatusCode::PARTIAL_CONTENT);
        response.insert_header((header::CONTENT_RANGE, format!("bytes {first}-{}/{size_bytes}", size_bytes - 1)));
    }
    let body = Observed::new(stream, site.clone(), cut_type);
    Ok(response.body(match size_bytes {
        Some(size_bytes) => BoxBody::new(SizedStream::new(size_bytes - first, body)),
        None => BoxBody::new(BodyStream::new(body)),
    }))
}

/// What a client has of a cut that broke off: it asks for the rest, of the very bytes that it has the start of. A range without
/// that condition is passed over, as another cut may be what the address means by now.
fn begun(request: &HttpRequest) -> Option<Begun> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let fingerprint = text(header::IF_RANGE)?.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    let bytes = text(header::RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
    Some(Begun { fingerprint, bytes })
}

pub fn record(site: &Site, channel: Channel, quality: Quality) -> Record {
    Record { layout: site.layout.clone(), channel, quality, blocking: site.blocking.clone() }
}

fn cut_type(query: &Query) -> Result<CutType, HttpError> {
    match query.get("type") {
        None => Ok(CutType::Smart),
        Some(text) => {
            text.parse().map_err(|why: UnknownCutType| HttpError::Parameter { parameter: "type", why: why.to_string() })
        }
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
        return Err(bad("there are more than 256 ranges"));
    }
    super::playlists::hours_of(site, channel, quality).await?;
    ranges.into_iter().map(|range| params::range("range", range)).collect()
}

/// The ranges, with what `transition=TYPE,SECONDS` repeated (or empty, for a hard cut) puts between them.
fn pieces(spans: &[Span], query: &Query) -> Result<Vec<Piece<Span>>, HttpError> {
    let bad = |why: String| HttpError::Parameter { parameter: "transition", why };
    let joints: Vec<Joint> = query
        .all("transition")
        .map(str::parse)
        .collect::<Result<_, BadTransition>>()
        .map_err(|why| bad(why.to_string()))?;
    cut::pieces(spans, &joints).map_err(|why| bad(why.to_string()))
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
        // What the client has counts, too: it has all of it in the end.
        let sent_bytes = stream.begins_at_bytes();
        Self { stream, site, cut_type, began: Instant::now(), sent_bytes, told: false }
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
