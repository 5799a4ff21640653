//! `/playlist/C.m3u8`: which qualities there are, and what they take.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::try_join_all;

use super::encodings::media_of;
use super::params::{self, Query};
use super::playlists::{AskedRange, LONGEST_IMPLICIT, PLAYLIST_TYPE, handed_on};
use super::{HttpError, Site};
use crate::actors::{GetGeneration, GetHours};
use crate::hls::live::{Generation, Window};
use crate::hls::master::{Range, Rendition, master};
use crate::media::{HourKind, Totals};
use crate::model::{Channel, Hour, Quality, Span, Timestamp};
use crate::select::HourIndex;
use crate::store::{self, Layout, StoreError};

/// What a player shows that asks for no range.
const WINDOW: Duration = Duration::from_secs(3 * 3600);
/// With less than this in its newest hour, a rendition is judged by the hour before it, too.
const ENOUGH_MICROS: i64 = 60_000_000;
/// Hours with nothing to show that are passed over in search of one with something: all of a day may be hidden.
const MOST_EMPTY_HOURS: usize = 24;
/// Segments whose sizes tell the bit rate where nothing else does.
const MEASURED_SEGMENTS: usize = 8;

pub async fn get(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let channel = params::channel(&path)?;
    let asked = AskedRange::parse(&Query::parse(request.query_string()))?;
    let (layout, of_channel) = (site.layout.clone(), channel.clone());
    let look = move || {
        let exists = layout.channel_dir(&of_channel).is_dir();
        exists.then(|| offered(&layout, &of_channel, asked)).transpose()
    };
    let offered = site.blocking.run(look).await??.ok_or(HttpError::Absent("channel"))?;
    let now = site.clock.now();
    let (range, goes_on) = (range(asked, &offered, now), asked.goes_on(now));
    let described =
        offered.into_iter().map(|(quality, hours)| describe(&site, &channel, quality, hours, range, goes_on));
    let renditions = try_join_all(described).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(handed_on(&request, master(&channel, renditions, range).into())))
}

/// The qualities with an hour in the range, each with those hours, the newest first.
fn offered(layout: &Layout, channel: &Channel, asked: AskedRange) -> Result<Vec<(Quality, Vec<Hour>)>, StoreError> {
    let mut offered = Vec::new();
    for quality in store::qualities(layout, channel)? {
        let touches = |hour: &Hour| {
            asked.start.is_none_or(|start| start <= hour.end()) && asked.end.is_none_or(|end| hour.start() <= end)
        };
        let mut hours = store::hours(layout, channel, &quality)?;
        hours.retain(touches);
        hours.reverse();
        // Chat lies beside the qualities, but is none.
        if !hours.is_empty() && quality.as_str() != "chat" {
            offered.push((quality, hours));
        }
    }
    Ok(offered)
}

/// What the media playlists are asked for. One that goes on is a window, so that a player that is left open for a week
/// stays small: the longest there is where the player says where to begin, a few hours where it does not.
fn range(asked: AskedRange, offered: &[(Quality, Vec<Hour>)], now: Timestamp) -> Range {
    let AskedRange { start, end } = asked;
    if !asked.goes_on(now) || (start.is_some() && end.is_some()) {
        return Range { start, end, window: None };
    }
    if start.is_some() {
        return Range { start, end, window: Some(Window(LONGEST_IMPLICIT)) };
    }
    let newest = offered.iter().filter_map(|(_, hours)| hours.first()).max();
    let oldest = offered.iter().filter_map(|(_, hours)| hours.last()).min();
    let start = newest.zip(oldest).map(|(newest, oldest)| newest.previous().previous().max(*oldest).start());
    Range { start, end, window: Some(Window(WINDOW)) }
}

async fn describe(
    site: &Site,
    channel: &Channel,
    quality: Quality,
    hours: Vec<Hour>,
    range: Range,
    goes_on: bool,
) -> Result<Rendition, HttpError> {
    let generation = match range.start.filter(|_| goes_on) {
        Some(start) => Some(generation(site, channel, &quality, start).await?),
        None => None,
    };
    let indexes = newest_with_content(site, channel, &quality, &hours).await?;
    let media = media_of(site, channel, &quality, indexes.clone()).await;
    let totals = media.iter().map(|hour| hour.totals()).fold(Totals::default(), Totals::and);
    let newest: Option<HourKind> = media.iter().rev().find_map(|hour| hour.in_order().next_back().cloned());
    let average = totals.average_bits_per_second();
    let peak = match average {
        Some(average) => totals.peak_bits_per_second.max(average),
        // Nothing could be learnt in time; sizes can always be had.
        None => {
            let (layout, channel, quality) = (site.layout.clone(), channel.clone(), quality.clone());
            site.blocking.run(move || peak_of_sizes(&layout, &channel, &quality, &indexes)).await?
        }
    };
    let frame_rate = newest.as_ref().and_then(|kind| kind.frame_rate);
    let encoding = newest.map(|kind| kind.media.encoding);
    Ok(Rendition { quality, peak, average, encoding, frame_rate, generation })
}

async fn generation(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    start: Timestamp,
) -> Result<Generation, HttpError> {
    let live_edges = site.directory.live_edges.get(&()).ok_or(HttpError::Restarting)?;
    let question = GetGeneration { channel: channel.clone(), quality: quality.clone(), start };
    Ok(live_edges.send(question).await.map_err(|_| HttpError::Restarting)??)
}

/// The newest of `hours` that shows something; the one before it goes first if that is not much.
async fn newest_with_content(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    hours: &[Hour],
) -> Result<Vec<Arc<HourIndex>>, HttpError> {
    for hour in hours.iter().take(MOST_EMPTY_HOURS) {
        let cache = site.directory.hour_cache.get(&()).ok_or(HttpError::Restarting)?;
        let span = Span::new(hour.start(), hour.start().plus_micros(1)).expect("a microsecond is not empty");
        // The answer holds the hour before as well.
        let question = GetHours { channel: channel.clone(), quality: quality.clone(), span };
        let mut indexes = cache.send(question).await.map_err(|_| HttpError::Restarting)??;
        let Some(newest) = indexes.pop_if(|index| index.hour() == *hour && !index.is_empty()) else { continue };
        let shown_micros: i64 = newest.best().map(|segment| segment.duration_micros).sum();
        let before = indexes.pop().filter(|index| !index.is_empty() && shown_micros < ENOUGH_MICROS);
        return Ok(before.into_iter().chain([newest]).collect());
    }
    Ok(Vec::new())
}

/// Peak bits per second among the last segments. Blocks on the disk.
fn peak_of_sizes(layout: &Layout, channel: &Channel, quality: &Quality, indexes: &[Arc<HourIndex>]) -> u64 {
    let newest = indexes.iter().rev().flat_map(|index| index.best().rev()).take(MEASURED_SEGMENTS);
    let rates = newest.filter_map(|segment| {
        let len_bytes = layout.segment_path(channel, quality, &segment.to_name()).metadata().ok()?.len();
        len_bytes.saturating_mul(8_000_000).checked_div(segment.duration_micros.unsigned_abs())
    });
    rates.max().unwrap_or(0)
}
