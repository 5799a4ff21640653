//! `/playlist…`: what players read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::live::{self, LiveTerms};
use super::params::{self, Query};
use super::{HttpError, Site};
use crate::actors::GetHours;
use crate::cut;
use crate::hls::playlist::{self, Map, MediaPlaylist, Rendition};
use crate::model::{Channel, Hour, Quality, Span, Timestamp};
use crate::select::{Part, Segment, Selection};
use crate::store::{self, Layout, StoreError};

pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// The longest range that nobody asked for in full.
pub const LONGEST_IMPLICIT: Duration = Duration::from_secs(12 * 3600);
/// Segments whose size tells a rendition's bit rate.
const MEASURED_SEGMENTS: usize = 8;
/// An initialisation section lies within the first bytes of a segment of fragmented MP4.
const HEAD_BYTES: usize = 64 * 1024;

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
    let Some(span) = span else { return Err(HttpError::Absent("content")) };
    let selection = select(&site, &channel, &quality, span).await?;
    let closed = matches!(selection.parts().next_back(), Some(Part::Segment(_)));
    let len = selection.len();
    let map = find_map(&site, &channel, &quality, &selection).await?;
    let playlist = MediaPlaylist::new(&channel, &quality, selection, len, closed, map);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .streaming(stream::iter(playlist.map(|piece| Ok::<_, HttpError>(Bytes::from(piece))))))
}

/// For fragmented MP4: where the initialisation section lies.
async fn find_map(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    selection: &Selection,
) -> Result<Option<Map>, HttpError> {
    let Some(segment) = selection.segments().next().map(Segment::to_name) else { return Ok(None) };
    let path = site.layout.segment_path(channel, quality, &segment);
    let head = site.blocking.run(move || read_head(&path)).await??;
    if !cut::is_mp4(&head) {
        return Ok(None);
    }
    Ok(cut::init_len(&head).ok().map(|length| Map { segment, length_bytes: length as u64 }))
}

/// The beginning of a file; empty if it has just gone.
fn read_head(path: &Path) -> Result<Vec<u8>, StoreError> {
    let read = || {
        let file = File::open(path)?;
        let mut head = vec![0; HEAD_BYTES];
        let mut filled = 0;
        loop {
            match file.read_at(&mut head[filled..], filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        head.truncate(filled);
        Ok(head)
    };
    match read().map_err(|error| StoreError::of_read(path, error)) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        read => read,
    }
}

pub async fn master(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let channel = params::channel(&path)?;
    let asked = AskedRange::parse(&Query::parse(request.query_string()))?;
    let layout = site.layout.clone();
    let look = {
        let channel = channel.clone();
        move || {
            let exists = layout.channel_dir(&channel).is_dir();
            exists.then(|| renditions(&layout, &channel, asked)).transpose()
        }
    };
    let renditions = site.blocking.run(look).await??.ok_or(HttpError::Absent("channel"))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(playlist::master(&channel, &renditions, asked.start, asked.end)))
}

/// The qualities with an hour in the range, best first.
fn renditions(layout: &Layout, channel: &Channel, asked: AskedRange) -> Result<Vec<Rendition>, StoreError> {
    let mut renditions = Vec::new();
    for quality in store::qualities(layout, channel)? {
        let hours = store::hours(layout, channel, &quality)?;
        let touches = |hour: &&Hour| {
            asked.start.is_none_or(|start| start <= hour.end()) && asked.end.is_none_or(|end| hour.start() <= end)
        };
        // Chat lies beside the qualities, but is none.
        let Some(hour) = hours.iter().rev().find(touches).filter(|_| quality.as_str() != "chat") else { continue };
        let bandwidth = measure_bandwidth(layout, channel, &quality, *hour)?;
        renditions.push(Rendition { quality, bandwidth });
    }
    renditions.sort_by(|a, b| b.bandwidth.cmp(&a.bandwidth).then_with(|| a.quality.cmp(&b.quality)));
    Ok(renditions)
}

/// Peak bits per second among the last segments of an hour; 1 where there is nothing to measure, as players refuse 0.
fn measure_bandwidth(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<u64, StoreError> {
    let index = store::load_hour(layout, channel, quality, hour)?.index;
    let rates = index.best().rev().take(MEASURED_SEGMENTS).filter_map(|segment| {
        let path = layout.segment_path(channel, quality, &segment.to_name());
        let len_bytes = path.metadata().ok()?.len();
        let micros = u64::try_from(segment.duration_micros).ok().filter(|micros| *micros > 0)?;
        Some(len_bytes.saturating_mul(8_000_000) / micros)
    });
    Ok(rates.max().unwrap_or(1).max(1))
}
