//! `/files…`: what there is, as JSON lists of names.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::params::{self, Query};
use super::{HttpError, Site};
use crate::actors::GetListing;
use crate::store;

pub async fn channels(site: web::Data<Site>) -> Result<HttpResponse, HttpError> {
    let layout = site.layout.clone();
    let channels = site.blocking.run(move || store::channels(&layout)).await??;
    Ok(names(channels))
}

pub async fn qualities(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let (layout, channel) = (site.layout.clone(), params::channel(&path)?);
    let qualities = site.blocking.run(move || store::qualities(&layout, &channel)).await??;
    Ok(names(qualities))
}

pub async fn hours(site: web::Data<Site>, path: web::Path<(String, String)>) -> Result<HttpResponse, HttpError> {
    let (layout, channel, quality) = (site.layout.clone(), params::channel(&path.0)?, params::quality(&path.1)?);
    let hours = site.blocking.run(move || store::hours(&layout, &channel, &quality)).await??;
    Ok(names(hours))
}

/// The listing that peers compare: visible names, with `tombstones=true` the tombstones too.
pub async fn segments(
    site: web::Data<Site>,
    path: web::Path<(String, String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let with_tombstones = Query::parse(request.query_string()).flag("tombstones")?;
    let Some(hour) = params::hour(&path.2)? else { return Ok(names::<String>(Vec::new())) };
    let cache = site.directory.hour_cache.get(&()).ok_or(HttpError::Restarting)?;
    let gzipped = params::takes_gzip(request.headers().get(header::ACCEPT_ENCODING));
    let question = GetListing { channel, quality, hour, with_tombstones, gzipped };
    let listing = cache.send(question).await.map_err(|_| HttpError::Restarting)??;
    // A strong tag stands for bytes, so each form has its own (RFC 9110 §8.8.3.3).
    let form = if gzipped { "-gzip" } else { "" };
    let tag = header::EntityTag::new_strong(format!("{}{form}", listing.tag));
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, tag.to_string()));
    response.insert_header((header::VARY, "accept-encoding"));
    if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    if gzipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    Ok(response.content_type("application/json").body(listing.bytes))
}

pub(super) fn names<T: ToString>(names: Vec<T>) -> HttpResponse {
    let names: Vec<String> = names.iter().map(T::to_string).collect();
    HttpResponse::Ok().insert_header(("cache-control", "no-cache")).json(names)
}
