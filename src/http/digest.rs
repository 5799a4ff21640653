//! `/digest/…`: one value for all that a node, a quality or a day shows, for nodes that compare.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{HttpError, Site, params};
use crate::model::{BadName, Channel, Day, Quality};
use crate::select::{DayDigests, Digest};

/// All of the node. Who asks for the whole of it may get what it was a moment ago: many do, and a look is one at every hour.
pub async fn node(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let Some(look) = site.digests.node(site.digests_max_age).await? else { return Err(HttpError::NoRoute) };
    let line = |((channel, quality), digest): (&(Channel, Quality), &Digest)| {
        let changed = look.changed.get(&(channel.clone(), quality.clone())).map(Day::to_string);
        (format!("{channel}/{quality}"), json!({ "digest": digest.to_string(), "changed": changed }))
    };
    let digests = &look.digests;
    let qualities = || digests.qualities.iter().map(line).collect::<Value>();
    let table = || json!({ "digest": digests.digest.to_string(), "qualities": qualities() });
    Ok(answer(&request, digests.digest, table))
}

/// What is not there has the digest of nothing, as its listings are empty.
pub async fn quality(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let digests = site.digests.of(&channel, &quality).await?;
    let table = || json!({ "digest": digests.quality.digest.to_string(), "days": texts(&digests.quality.days) });
    Ok(answer(&request, digests.quality.digest, table))
}

pub async fn day(
    site: web::Data<Site>,
    path: web::Path<(String, String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let plain: Result<Quality, BadName> = path.2.parse();
    plain.map_err(|why| HttpError::Name { what: "day", why })?;
    let day = match path.2.parse::<Day>() {
        Ok(day) => site.digests.of(&channel, &quality).await?.day(day),
        Err(_) => DayDigests::new(Default::default()),
    };
    let table = || json!({ "digest": day.digest.to_string(), "hours": texts(&day.hours) });
    Ok(answer(&request, day.digest, table))
}

fn texts<'d, K: ToString + 'd>(table: impl IntoIterator<Item = (&'d K, &'d Digest)>) -> Value {
    table.into_iter().map(|(key, digest)| (key.to_string(), digest.to_string())).collect()
}

fn answer(request: &HttpRequest, digest: Digest, table: impl FnOnce() -> Value) -> HttpResponse {
    let tag = header::EntityTag::new_strong(digest.to_string());
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, tag.to_string()));
    if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), &tag) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.json(table())
}
