//! `/playlist…`: what players read.

use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::encodings::changes_along;
use super::gate::signed_link;
use super::live::{self, LiveTerms};
use super::params::{self, Query};
use super::{HttpError, Site};
use crate::actors::GetHours;
use crate::hls::HandOn;
use crate::hls::playlist::MediaPlaylist;
use crate::model::{Channel, Hour, Quality, Span, Timestamp};
use crate::select::Selection;
use crate::store;

pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// The longest range that nobody asked for in full.
pub const LONGEST_IMPLICIT: Duration = Duration::from_secs(12 * 3600);

/// A range as asked: either end may be left to what is on disk.
#[derive(Debug, Clone, Copy)]
pub struct AskedRange {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

impl AskedRange {
    pub fn parse(query: &Query) -> Result<Self, HttpError> {
        let asked = Self { start: query.time("start")?, end: query.time("end")? };
        if let (Some(start), Some(end)) = (asked.start, asked.end) {
            Span::new(start, end)?;
        }
        Ok(asked)
    }

    /// Whether more may come into it.
    pub fn goes_on(self, now: Timestamp) -> bool {
        self.end.is_none_or(|end| end > now)
    }

    /// Fills the missing ends: the beginning of the first hour there is, the end of the last.
    fn among(self, hours: &[Hour]) -> Result<Option<Span>, HttpError> {
        let first = self.start.or(hours.first().map(|hour| hour.start()));
        let last = self.end.or(hours.last().map(|hour| hour.end()));
        let (Some(start), Some(end)) = (first, last) else { return Ok(None) };
        Ok(match Span::new(start, end) {
            Ok(span) => Some(span),
            // One end was asked for, and lies beyond all that there is.
            Err(_) if self.start.is_none() || self.end.is_none() => None,
            Err(error) => return Err(error.into()),
        })
    }
}

/// The hours on disk of a quality that must exist.
pub async fn hours_of(site: &Site, channel: &Channel, quality: &Quality) -> Result<Vec<Hour>, HttpError> {
    let (layout, channel, quality) = (site.layout.clone(), channel.clone(), quality.clone());
    let look = move || {
        let exists = layout.quality_dir(&channel, &quality).is_dir();
        exists.then(|| store::hours(&layout, &channel, &quality)).transpose()
    };
    site.blocking.run(look).await??.ok_or(HttpError::Absent("channel or quality"))
}

/// The span that a request means, or `None` where nothing can be in it.
pub async fn span_of(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    asked: AskedRange,
) -> Result<Option<Span>, HttpError> {
    let hours = hours_of(site, channel, quality).await?;
    asked.among(&hours)
}

/// Chooses what to show, from the cache of hours.
pub async fn select(site: &Site, channel: &Channel, quality: &Quality, span: Span) -> Result<Selection, HttpError> {
    let cache = site.directory.hour_cache.get(&()).ok_or(HttpError::Restarting)?;
    let question = GetHours { channel: channel.clone(), quality: quality.clone(), span };
    let hours = cache.send(question).await.map_err(|_| HttpError::Restarting)??;
    Ok(Selection::choose(span, hours))
}

pub async fn media(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let (asked, terms) = (AskedRange::parse(&query)?, LiveTerms::parse(&query)?);
    let span = span_of(&site, &channel, &quality, asked).await?;
    let is_implicit = asked.start.is_none() || asked.end.is_none();
    if is_implicit && terms.window.is_none() && span.is_some_and(|span| span.duration() > LONGEST_IMPLICIT) {
        return Err(HttpError::ImplicitRangeTooLong);
    }
    let now = site.clock.now();
    // A stream that has not begun has a playlist too: players ask again.
    let start = asked.start.or(span.map(Span::start)).unwrap_or(now);
    if let Some(shown) = live::playlist(&site, &channel, &quality, start, asked.end, &terms).await? {
        return Ok(live::respond(shown, &request));
    }
    let selection = match span {
        Some(span) => select(&site, &channel, &quality, span).await?,
        // The one end that was asked for lies beyond all that there is.
        None => Selection::nothing(now),
    };
    let changes = changes_along(&site, &channel, &quality, &selection).await;
    let playlist = MediaPlaylist::new(&channel, &quality, selection, terms.gaps, changes, site.hour_texts.clone());
    // A HEAD is answered without writing what nobody reads.
    let pieces = playlist.take(if request.method() == Method::HEAD { 0 } else { usize::MAX });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .streaming(stream::iter(pieces_handed_on(&request, pieces).map(Ok::<_, HttpError>))))
}

/// Where a player came by a signed link, what it is led to opens by the same link.
pub fn hand_on(request: &HttpRequest) -> Option<HandOn> {
    Some(HandOn::new(&signed_link(request.query_string())?.parameters()))
}

/// A whole text, with the link in it if there is one.
pub fn handed_on(request: &HttpRequest, text: Bytes) -> Bytes {
    let Some(mut hand_on) = hand_on(request) else { return text };
    [hand_on.push(&text), hand_on.end()].concat().into()
}

fn pieces_handed_on(
    request: &HttpRequest,
    mut pieces: impl Iterator<Item = Bytes> + 'static,
) -> Box<dyn Iterator<Item = Bytes>> {
    let Some(hand_on) = hand_on(request) else { return Box::new(pieces) };
    let mut hand_on = Some(hand_on);
    Box::new(std::iter::from_fn(move || match pieces.next() {
        Some(piece) => hand_on.as_mut().map(|hand_on| hand_on.push(&piece)),
        None => hand_on.take().map(HandOn::end),
    }))
}
