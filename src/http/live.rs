//! The live side of `/playlist/C/Q.m3u8`: a range that goes on, or one that somebody followed while it did.

use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;

use super::params::{self, Query};
use super::playlists::{LONGEST_IMPLICIT, PLAYLIST_TYPE, hand_on};
use super::{HttpError, Site};
use crate::actors::GetLive;
use crate::hls::Gaps;
use crate::hls::live::{Asked, Generation, Shown, Window};
use crate::model::{Channel, Quality, Timestamp};

/// A player that followed a range to its end may ask for it once more, late.
const FOLLOWED_UNTIL: Duration = Duration::from_secs(3600);

/// How a playlist that grows is wanted: our own parameters, and those of players (rfc8216bis §6.2.5).
#[derive(Debug, Clone, Copy)]
pub struct LiveTerms {
    /// `gen`, as the master playlist gives it.
    pub generation: Option<Generation>,
    /// `window`: the last so many seconds.
    pub window: Option<Window>,
    /// `gaps=gap` or `gaps=discontinuity`.
    pub gaps: Gaps,
    /// `_HLS_msn`: answer once this entry is there.
    pub wait_for: Option<u64>,
    /// `_HLS_skip`: a delta update will do.
    pub skip: bool,
}

impl LiveTerms {
    pub fn parse(query: &Query) -> Result<Self, HttpError> {
        let generation = query
            .get("gen")
            .map(|text| text.parse().map_err(|why: crate::hls::live::BadGeneration| bad("gen", why.to_string())));
        let number = |parameter: &'static str| {
            let parse = |text: &str| text.parse::<u64>().map_err(|_| bad(parameter, "it must be a number".into()));
            query.get(parameter).map(parse).transpose()
        };
        let window = number("window")?.map(Duration::from_secs);
        if window.is_some_and(|window| window.is_zero() || window > LONGEST_IMPLICIT) {
            return Err(bad("window", "it must be seconds, 12 hours at most".into()));
        }
        let gaps = match query.get("gaps") {
            None | Some("discontinuity") => Gaps::Discontinuity,
            Some("gap") => Gaps::Gap,
            Some(_) => return Err(bad("gaps", "it must be gap or discontinuity".into())),
        };
        let skip = match query.get("_HLS_skip") {
            None | Some("") => false,
            Some("YES" | "v2") => true,
            Some(_) => return Err(bad("_HLS_skip", "it must be YES or v2".into())),
        };
        Ok(Self {
            generation: generation.transpose()?,
            window: window.map(Window),
            gaps,
            wait_for: number("_HLS_msn")?,
            skip,
        })
    }
}

fn bad(parameter: &'static str, why: String) -> HttpError {
    HttpError::Parameter { parameter, why }
}

/// The playlist, if the range is a live one for this client.
pub async fn playlist(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    start: Timestamp,
    end: Option<Timestamp>,
    terms: &LiveTerms,
) -> Result<Option<Shown>, HttpError> {
    let now = site.clock.now();
    let is_live = terms.generation.is_some() || end.is_none_or(|end| end > now);
    let is_just_over = end.is_some_and(|end| end.plus(FOLLOWED_UNTIL) > now);
    if !is_live && !is_just_over {
        return Ok(None);
    }
    let live_edges = site.directory.live_edges.get(&()).ok_or(HttpError::Restarting)?;
    let question = GetLive {
        channel: channel.clone(),
        quality: quality.clone(),
        generation: terms.generation,
        asked: Asked { start, end, gaps: terms.gaps, window: terms.window },
        wait_for: terms.wait_for,
        skip: terms.skip,
        only_if_followed: !is_live,
    };
    Ok(live_edges.send(question).await.map_err(|_| HttpError::Restarting)??)
}

pub fn respond(shown: Shown, request: &HttpRequest) -> HttpResponse {
    let tag = header::EntityTag::new_strong(shown.tag);
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, tag.to_string()));
    if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), &tag) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    let text: Vec<Bytes> = match hand_on(request) {
        None => shown.text,
        Some(mut hand_on) => {
            let mut text: Vec<Bytes> = shown.text.iter().map(|piece| hand_on.push(piece)).collect();
            text.push(hand_on.end());
            text
        }
    };
    let len_bytes: usize = text.iter().map(|piece| piece.len()).sum();
    let pieces = stream::iter(text.into_iter().map(Ok::<_, HttpError>));
    response.insert_header((header::CONTENT_TYPE, PLAYLIST_TYPE)).body(SizedStream::new(len_bytes as u64, pieces))
}
