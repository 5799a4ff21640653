//! `/api/v1/events…`: events for scripts and pages of our own. `openapi` describes what is answered.

mod openapi;
mod stream;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::access::{MAX_BODY_BYTES, admit_with_body};
use super::params::{self, Query};
use super::thrimshim::{event_id, link_of};
use super::{HttpError, Site, get_or_head, resource, resource_for};
use crate::db::{Author, Changed, EventCursor, EventFilter, HistoryLine, MAX_PAGE};
use crate::edits::{self, Patch};
use crate::model::{Event, EventState, EventStep, Role, SheetFields};
pub use openapi::Operation;
pub use stream::Feed;

/// Events of a page unless somebody asks for another number.
const USUAL_PAGE: usize = 100;

pub fn routes(config: &mut web::ServiceConfig) {
    let payload = || web::PayloadConfig::new(MAX_BODY_BYTES);
    config
        .service(resource("/api/openapi.json").route(get_or_head().to(openapi::get)))
        .service(
            resource_for("/api/v1/events", "GET, HEAD, POST")
                .app_data(payload())
                .route(get_or_head().to(list))
                .route(web::post().to(add)),
        )
        .service(resource_for("/api/v1/events/stream", "GET").route(web::get().to(stream::get)))
        .service(
            resource_for("/api/v1/events/{id}", "GET, HEAD, PATCH")
                .app_data(payload())
                .route(get_or_head().to(show))
                .route(web::patch().to(change)),
        )
        .service(resource("/api/v1/events/{id}/history").route(get_or_head().to(history)))
        .service(resource("/api/v1/events/{id}/receipt").route(get_or_head().to(receipt)))
        .service(resource_for("/api/v1/events/{id}/retry", "POST").app_data(payload()).route(web::post().to(retry)))
        .service(resource_for("/api/v1/events/{id}/cancel", "POST").app_data(payload()).route(web::post().to(cancel)))
        .service(resource_for("/api/v1/events/{id}/reset", "POST").app_data(payload()).route(web::post().to(reset)))
        .service(resource_for("/api/v1/events/{id}/link", "POST").app_data(payload()).route(web::post().to(link)));
}

/// `{"events", "next", "unreadable"}`.
async fn list(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let query = Query::parse(request.query_string());
    let bad = |parameter: &'static str, why: String| HttpError::Parameter { parameter, why };
    let states: Result<Vec<EventState>, _> = query.all("state").map(str::parse).collect();
    let mut states = states.map_err(|why| bad("state", why.to_string()))?;
    states.sort_unstable();
    states.dedup();
    let limit = query.get("limit").map(|text| text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)));
    let limit = limit.unwrap_or(Some(USUAL_PAGE)).ok_or_else(|| bad("limit", format!("it is 1 to {MAX_PAGE}")))?;
    let after =
        query.get("after").map(|text| read_cursor(text).ok_or_else(|| bad("after", "it is no `next` of ours".into())));
    let text = query.get("text").map(str::to_owned);
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(bad("text", "it may not hold a NUL".into()));
    }
    let editor =
        query.get("editor").map(|text| text.parse().map_err(|_| bad("editor", "it is an address of e-mail".into())));
    let newest_first = match query.get("order") {
        None | Some("oldest") => false,
        Some("newest") => true,
        Some(_) => return Err(bad("order", "it is oldest or newest".into())),
    };
    let filter = EventFilter {
        states,
        from: query.time("from")?,
        to: query.time("to")?,
        text,
        channel: query.get("channel").map(params::channel).transpose()?,
        editor: editor.transpose()?,
        newest_first,
    };
    let page = site.db.events(&filter, after.transpose()?.as_ref(), limit).await?;
    let events: Vec<Value> = page.events.iter().map(|event| event.to_json().into()).collect();
    let unreadable: Vec<Value> = page.unreadable.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
    let next = page.next.as_ref().map(cursor_text);
    Ok(HttpResponse::Ok().json(json!({ "events": events, "next": next, "unreadable": unreadable })))
}

fn cursor_text(cursor: &EventCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", cursor.listed_at, cursor.id))
}

fn read_cursor(text: &str) -> Option<EventCursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (listed_at, id) = text.split_once(' ').filter(|(_, id)| !id.contains('\0'))?;
    Some(EventCursor { listed_at: listed_at.parse().ok()?, id: id.to_owned() })
}

/// Takes the sheet's fields and an id.
async fn add(site: web::Data<Site>, request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, HttpError> {
    let (who, mut body) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let Some(id) = body.remove("id") else { return Err(HttpError::MissingFields(vec!["id"])) };
    let bad_id = |why: String| HttpError::Parameter { parameter: "id", why };
    let id = id.as_str().ok_or_else(|| bad_id("it must be a text".into()))?.parse();
    let mut event =
        Event::new(id.map_err(|why: crate::model::BadName| bad_id(why.to_string()))?, SheetFields::default());
    edits::set_sheet(&mut event, &body)?;
    if !site.db.add_event(&event, &Author::Person(who.email), site.clock.now()).await? {
        return Err(HttpError::Taken);
    }
    Ok(HttpResponse::Created().json(event.to_json()))
}

async fn show(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let id = event_id(&path)?;
    let event = site.db.event(&id).await?.ok_or(HttpError::Absent("event"))?;
    let mut answer = event.to_json();
    let is_at_work = event.job.state.is_leased();
    let progress = site.db.progress(&id).await?.filter(|_| is_at_work).map(|progress| {
        let percent = progress.total_bytes.filter(|total| *total > 0).map(|total| {
            // How much there will be is an estimate until it is there.
            (progress.done_bytes.saturating_mul(100) / total).min(99)
        });
        json!({
            "percent": percent,
            "uploader": progress.uploader.as_str(),
            "activity": progress.activity,
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "ends_at": progress.ends_at.map(|time| time.to_string()),
            "noted_at": progress.noted_at.to_string(),
        })
    });
    answer.insert("progress".into(), json!(progress));
    Ok(HttpResponse::Ok().json(answer))
}

/// Fields by their names; `version` for compare-and-set; `state` for a step: EDITED, UNEDITED or MODIFIED.
async fn change(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, body) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let id = event_id(&path)?;
    let patch = Patch::read(body)?;
    let (at, author) = (site.clock.now(), Author::Person(who.email.clone()));
    let expected = patch.version;
    let what = patch.what();
    let changed = site.db.change_event(&id, what, &author, at, move |event| patch.apply(event, &who.email, at)).await?;
    if let (Changed::Refused(refusal), Some(known)) = (&changed, expected)
        && edits::is_stale(refusal)
    {
        return Err(stale(&site, &id, known).await?);
    }
    answer(changed)
}

/// What was done since the version that the caller knows.
async fn stale(site: &Site, id: &crate::model::EventId, known: i64) -> Result<HttpError, HttpError> {
    let lines = site.db.history(id).await?;
    let version = lines.last().map_or(known, |line| line.version);
    let tell = |line: &HistoryLine| {
        let columns: Vec<&str> = line.changes.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        format!("{} by {} at {} ({})", line.what, line.by, line.at, columns.join(", "))
    };
    Ok(HttpError::Stale { version, since: lines.iter().filter(|line| line.version > known).map(tell).collect() })
}

fn answer(changed: Changed) -> Result<HttpResponse, HttpError> {
    match changed {
        Changed::Done(event) => Ok(HttpResponse::Ok().json(event.to_json())),
        Changed::Absent => Err(HttpError::Absent("event")),
        Changed::Refused(refusal) => Err(refusal.into()),
    }
}

async fn history(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let lines = site.db.history(&event_id(&path)?).await?;
    if lines.is_empty() {
        return Err(HttpError::Absent("event"));
    }
    Ok(HttpResponse::Ok().json(lines.iter().map(HistoryLine::to_json).collect::<Vec<_>>()))
}

/// What was checked about the cut that the event's last upload is of.
async fn receipt(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let event = site.db.event(&event_id(&path)?).await?.ok_or(HttpError::Absent("event"))?;
    let attempt = match &event.job.upload {
        Some(key) => site.db.attempt(key).await?,
        None => None,
    };
    let receipt = attempt.ok_or(HttpError::Absent("receipt: no cut of this event is kept"))?.cut.receipt;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(receipt))
}

/// Files an event again that failed, or waits after a failure, as it was edited.
async fn retry(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, _) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let (id, at, author) = (event_id(&path)?, site.clock.now(), Author::Person(who.email.clone()));
    let change = move |event: &mut Event| event.file_again(&who.email, at);
    answer(site.db.change_event(&id, edits::FILED_AGAIN, &author, at, change).await?)
}

async fn cancel(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, _) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let (id, author) = (event_id(&path)?, Author::Person(who.email));
    answer(site.db.change_event(&id, EventStep::Cancel.as_str(), &author, site.clock.now(), Event::cancel).await?)
}

async fn reset(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, _) = admit_with_body(&site, &request, &body, Role::Operator).await?;
    let (id, author) = (event_id(&path)?, Author::Person(who.email));
    answer(site.db.change_event(&id, EventStep::Reset.as_str(), &author, site.clock.now(), Event::reset).await?)
}

/// `{link}`: it was published by hand.
async fn link(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, body) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let (id, link, now) = (event_id(&path)?, link_of(&body)?, site.clock.now());
    let author = Author::Person(who.email.clone());
    let change = move |event: &mut Event| event.link(&who.email, None, &link, now);
    answer(site.db.change_event(&id, EventStep::Link.as_str(), &author, now, change).await?)
}

/// As `params` has it, for the stream.
fn since(query: &Query) -> Result<Option<crate::model::Timestamp>, HttpError> {
    query.get("since").map(|text| params::time("since", text)).transpose()
}
