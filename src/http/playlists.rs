//! `/playlist…`: what players read.

use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::encodings::changes_along;
use super::params::{self, Query};
use super::{HttpError, Site};
use crate::actors::GetHours;
use crate::hls::playlist::MediaPlaylist;
use crate::model::{Channel, Hour, Quality, SegmentKind, Span, Timestamp};
use crate::select::{Part, Segment, Selection};
use crate::store;

pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// The longest range that nobody asked for in full.
const LONGEST_IMPLICIT: Duration = Duration::from_secs(12 * 3600);

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
    let asked = AskedRange::parse(&Query::parse(request.query_string()))?;
    let span = span_of(&site, &channel, &quality, asked).await?;
    let is_implicit = asked.start.is_none() || asked.end.is_none();
    if is_implicit && span.is_some_and(|span| span.duration() > LONGEST_IMPLICIT) {
        return Err(HttpError::ImplicitRangeTooLong);
    }
    let now = site.clock.now();
    let selection = match span {
        Some(span) => select(&site, &channel, &quality, span).await?,
        // A stream that has not begun has a playlist too: players ask again.
        None => Selection::nothing(now),
    };
    let is_live = asked.end.is_none_or(|end| end > now);
    let len = if is_live { settled_len(&selection, now, site.hold) } else { selection.len() };
    let ends_in_a_segment = len > 0 && matches!(selection.part(len - 1), Part::Segment(_));
    let closed = !is_live && ends_in_a_segment;
    let changes = changes_along(&site, &channel, &quality, &selection).await;
    let playlist = MediaPlaylist::new(&channel, &quality, selection, len, closed, changes);
    // A HEAD is answered without writing what nobody reads.
    let pieces = playlist.take(if request.method() == Method::HEAD { 0 } else { usize::MAX });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .streaming(stream::iter(pieces.map(|piece| Ok::<_, HttpError>(Bytes::from(piece))))))
}

/// How much of a live answer will not change any more: it ends before the first hole, or segment that is not whole, that
/// may still be filled. What comes after it waits, for at most `hold`.
fn settled_len(selection: &Selection, now: Timestamp, hold: Duration) -> usize {
    let is_young = |segment: Segment<'_>| segment.end().plus(hold) > now;
    let mut shown_any = false;
    for place in 0..selection.len() {
        let is_settled = match selection.part(place) {
            // Nothing is shown before the first segment, so nothing changes there.
            Part::Hole(_) if !shown_any => true,
            // A hole is as old as what follows it; the one at the end is never.
            Part::Hole(_) => match (place + 1 < selection.len()).then(|| selection.part(place + 1)) {
                Some(Part::Segment(after)) => !is_young(after),
                Some(Part::Hole(_)) | None => false,
            },
            Part::Segment(segment) => segment.kind == SegmentKind::Full || !is_young(segment),
        };
        if !is_settled {
            return place;
        }
        shown_any |= matches!(selection.part(place), Part::Segment(_));
    }
    selection.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::select::HourIndex;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    /// Segments of 2 s at these seconds of the hour, chosen from the hour's beginning to its end.
    fn selection(segments: &[(u32, &str)]) -> Selection {
        let names: Vec<String> =
            segments.iter().map(|(second, kind)| format!("00:{second:02}.0-2.0-{kind}-{HASH}.ts")).collect();
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let index = HourIndex::build(hour, names.iter().map(String::as_str), |_| 0);
        Selection::choose(Span::new(hour.start(), hour.end()).unwrap(), vec![Arc::new(index)])
    }

    #[test]
    fn a_live_playlist_stops_before_what_may_still_be_filled() {
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let settled = |selection: &Selection, second: i64| {
            let len = settled_len(selection, hour.start().plus_micros(second * 1_000_000), Duration::from_secs(15));
            selection.parts().take(len).filter(|part| matches!(part, Part::Segment(_))).count()
        };
        let holed = selection(&[(2, "full"), (4, "full"), (8, "full")]);
        assert_eq!(settled(&holed, 11), 2);
        // The segment after the hole ends at 10; the hole is sealed 15 s later. The hole at the end never is.
        assert_eq!(settled(&holed, 24), 2);
        assert_eq!(settled(&holed, 25), 3);
        let broken = selection(&[(0, "full"), (2, "partial"), (4, "full")]);
        assert_eq!(settled(&broken, 9), 1);
        assert_eq!(settled(&broken, 21), 3);
        assert_eq!(settled(&selection(&[]), 9), 0);
    }
}
