//! `/healthz`, `/readyz`, `/node` and `/metrics`: what machines ask about the node itself.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{HttpError, Site};

/// Alive: every actor beats. A failure means that a restart of the process is the cure.
pub async fn healthz(site: web::Data<Site>) -> Result<HttpResponse, HttpError> {
    let silent = site.health.silent();
    if silent.is_empty() {
        return Ok(HttpResponse::Ok().json(json!({ "alive": true })));
    }
    let silent: Vec<String> =
        silent.iter().map(|one| format!("{} for {} s", one.actor, one.silent_for.as_secs())).collect();
    Err(HttpError::NotAlive(silent.join(", ")))
}

/// What the node is called, and what tells it from all others: a node leaves itself out of its peers by that, and finds
/// those that have a copy of its disk. And the ffmpeg that it found at its start, `{"version", "missing"}`: null while it
/// looks, and where there is none.
pub async fn node(site: web::Data<Site>) -> HttpResponse {
    let id = site.identity.as_ref().map(|identity| identity.id.to_string());
    let life = site.identity.as_ref().and_then(|identity| identity.life.as_ref()).map(ToString::to_string);
    let ffmpeg = site.ffmpeg.told().flatten();
    let ffmpeg = ffmpeg.map(|probe| json!({ "version": probe.version, "missing": probe.missing }));
    let answer = json!({ "name": site.name.as_str(), "id": id, "life": life, "ffmpeg": ffmpeg });
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(answer)
}

/// Ready: the store takes writes, HTTP answers, and the node is not on its way out.
pub async fn readyz(site: web::Data<Site>) -> Result<HttpResponse, HttpError> {
    site.health.ready().map_err(HttpError::NotReady)?;
    let mut answer = json!({ "ready": true });
    let notes = site.health.notes();
    if !notes.is_empty() {
        answer["notes"] = notes.into();
    }
    Ok(HttpResponse::Ok().json(answer))
}

pub async fn metrics(site: web::Data<Site>) -> HttpResponse {
    site.metrics.ffmpeg_in_use(site.ffmpeg.in_use());
    let (content_type, text) = site.metrics.render();
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).body(text)
}
