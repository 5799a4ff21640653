//! Answers one request to a fake source: the truth, or what the script makes of it.
//!
//! Promises: an answer without a fault is the true one, with its length; only a true answer that was sent whole counts as
//! completed.
//! Never: decides what is on air (that is `show`) or what goes wrong (that is `script`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body::{self, Ending};
use super::fault::{Framing, PathKind};
use super::pages::{self, MediaPage, Token};
use super::plan::{Instead, Plan, Spoilt};
use super::script::Target;
use super::serve::{Air, Wanted};
use super::show::Show;
use super::spec::Container;
use crate::model::Quality;

/// What an address holds behind its path, once it has been through `/…?redirected=1`.
const REDIRECTED: &str = "redirected=1";

pub(super) async fn answer(air: Arc<Air>, wanted: Wanted, request: &HttpRequest) -> HttpResponse {
    let path = wanted.path();
    let at = air.show_now().elapsed();
    let token = token_of(request.query_string());
    let target = Target {
        kind: wanted.kind(),
        quality: wanted.quality(),
        media_sequence: wanted.media_sequence(),
        path: &path,
        nth: air.count_request(&path),
        at,
        token,
        redirected: request.query_string().split('&').any(|part| part == REDIRECTED),
    };
    let (plan, has_tokens) = air.consult_script(&target);
    if !plan.delay.is_zero() {
        actix_web::rt::time::sleep(plan.delay).await;
    }
    if let Some(instead) = plan.instead {
        return answer_instead(instead, &path, request);
    }
    // The master playlist hands out a new token; what lies below it passes its own on.
    let token = if target.kind == PathKind::Master { Some(at) } else { token };
    let token = Token(token.filter(|_| has_tokens));
    match content(&air, wanted, &plan, token).await {
        Ok(content) if plan.padded_bytes > 0 => send_padded(content, plan.padded_bytes),
        Ok(content) => send(content, plan.spoilt, air, path),
        Err(refusal) => plain(refusal.status, refusal.text),
    }
}

/// When the token was handed out, in the programme's time.
fn token_of(query: &str) -> Option<Duration> {
    let token = query.split('&').find_map(|part| part.strip_prefix("token="))?;
    token.parse().ok().map(Duration::from_millis)
}

fn answer_instead(instead: Instead, path: &str, request: &HttpRequest) -> HttpResponse {
    let query = request.query_string();
    let and = if query.is_empty() { "" } else { "&" };
    match instead {
        Instead::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            plain(status, format!("the script says {status}"))
        }
        Instead::Html => open_to_all(StatusCode::OK)
            .content_type("text/html; charset=utf-8")
            .body("<!DOCTYPE html><html><body><h1>Please sign in</h1></body></html>\n"),
        Instead::Nothing => HttpResponse::Ok().streaming(body::nothing()),
        Instead::Redirect => redirect(format!("{path}?{query}{and}{REDIRECTED}")),
        Instead::RedirectLoop => redirect(format!("{path}?{query}")),
        Instead::RedirectToTls => {
            let connection = request.connection_info();
            redirect(format!("https://{}{path}?{query}", connection.host()))
        }
    }
}

fn redirect(location: String) -> HttpResponse {
    open_to_all(StatusCode::FOUND).insert_header((LOCATION, location)).finish()
}

struct Content {
    content_type: &'static str,
    bytes: Bytes,
}

impl Content {
    fn playlist(text: String) -> Self {
        Self { content_type: "application/vnd.apple.mpegurl", bytes: text.into() }
    }
}

/// Why there is no content.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl ToString) -> Self {
        Self { status, text: text.to_string() }
    }
}

/// The true content, or the refusal where there is none yet.
async fn content(air: &Arc<Air>, wanted: Wanted, plan: &Plan, token: Token) -> Result<Content, Refusal> {
    match wanted {
        Wanted::Master => master(air, token),
        Wanted::Media(quality) => media(air, &quality, plan, token),
        Wanted::Segment(segment) => {
            let content_type = match air.show().spec().container {
                Container::MpegTs => "video/mp2t",
                Container::FragmentedMp4 => "video/mp4",
            };
            file(content_type, segment.path).await
        }
        Wanted::Map(_, _, path) => file("video/mp4", path).await,
    }
}

fn master(air: &Air, token: Token) -> Result<Content, Refusal> {
    let show = air.show_now();
    match show.variants() {
        Ok(Some(variants)) => Ok(Content::playlist(pages::master(show.spec(), &variants, token))),
        Ok(None) => Err(not_yet(&show)),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.chain())),
    }
}

fn media(air: &Air, quality: &Quality, plan: &Plan, token: Token) -> Result<Content, Refusal> {
    let show = air.show_now();
    let page = MediaPage {
        target_seconds: show.target_seconds(),
        date_times: air.date_times && !plan.without_date_times,
        ended: show.is_over(quality) || plan.false_end,
        independent: !show.spec().open_gop,
        token,
    };
    let segments = show.window(quality, air.window_segments, plan.stale_segments, plan.frozen_at).unwrap_or_default();
    page.text(segments).map(Content::playlist).ok_or_else(|| not_yet(&show))
}

fn not_yet(show: &Show) -> Refusal {
    match show.broken() {
        Some(why) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why),
        None => Refusal::new(StatusCode::NOT_FOUND, "not on air yet"),
    }
}

async fn file(content_type: &'static str, path: PathBuf) -> Result<Content, Refusal> {
    let read = web::block(move || std::fs::read(path)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Content { content_type, bytes: bytes.into() }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "no longer on disk"))
        }
        Ok(Err(error)) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}

fn send(content: Content, spoilt: Option<Spoilt>, air: Arc<Air>, path: String) -> HttpResponse {
    let whole = content.bytes.len();
    let mut bytes = content.bytes;
    let done: body::WhenComplete = Box::new(move || air.count_completed(&path));
    let untrue = || Ending::Whole(Box::new(|| ()));
    let (announced_bytes, ending) = match spoilt {
        Some(Spoilt::Truncated { after_bytes, framing }) if after_bytes < whole => {
            bytes.truncate(after_bytes);
            ((framing == Framing::Length).then_some(whole), Ending::Broken)
        }
        Some(Spoilt::Stalled { after_bytes }) if after_bytes < whole => {
            bytes.truncate(after_bytes);
            (Some(whole), Ending::Stalled)
        }
        Some(Spoilt::WrongLength { extra_bytes }) => (Some(whole + extra_bytes), Ending::Broken),
        Some(Spoilt::Short { bytes: short }) if short < whole => {
            bytes.truncate(short);
            (Some(short), untrue())
        }
        Some(Spoilt::Corrupt { at_byte }) if at_byte < whole => {
            let mut changed = bytes.to_vec();
            changed[at_byte] ^= 0xff;
            bytes = changed.into();
            (Some(whole), untrue())
        }
        Some(Spoilt::Truncated { .. } | Spoilt::Stalled { .. } | Spoilt::Short { .. } | Spoilt::Corrupt { .. })
        | None => (Some(whole), Ending::Whole(done)),
    };
    let mut response = head_of(content.content_type);
    if let Some(announced) = announced_bytes {
        response.no_chunking(announced as u64);
    }
    response.streaming(body::stream(bytes, ending))
}

fn send_padded(content: Content, bytes: u64) -> HttpResponse {
    head_of(content.content_type).streaming(body::padded(content.bytes, bytes))
}

fn head_of(content_type: &'static str) -> HttpResponseBuilder {
    let mut response = open_to_all(StatusCode::OK);
    response.content_type(content_type).insert_header((CACHE_CONTROL, "no-cache"));
    response
}

pub(super) fn plain(status: StatusCode, text: String) -> HttpResponse {
    open_to_all(status).content_type("text/plain; charset=utf-8").body(text + "\n")
}

/// Players in a browser come from another origin.
fn open_to_all(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    response
}
