//! `/losses/…`: what is not in the record, and why.

use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::params::{self, Query};
use super::{HttpError, Site};
use crate::model::{Span, Timestamp};
use crate::store::{self, LossLine};

/// Enough that two answers never share a tag by chance.
const TAG_BYTES: usize = 15;

/// The losses of a quality as they stand now; without start or end, from the beginning or to the end of the ledger.
pub async fn get(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let within = within(&Query::parse(request.query_string()))?;
    let layout = site.layout.clone();
    let (json, tag) = site
        .blocking
        .run(move || {
            let losses = store::losses(&layout, &channel, &quality, within)?;
            let lines: Vec<LossLine> = losses.iter().map(LossLine::from).collect();
            let json = serde_json::to_vec(&lines).expect("structs of texts are JSON");
            let tag: Arc<str> = URL_SAFE_NO_PAD.encode(&Sha256::digest(&json)[..TAG_BYTES]).into();
            Ok::<_, HttpError>((json, tag))
        })
        .await??;
    let tag = header::EntityTag::new_strong(tag.to_string());
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, tag.to_string()));
    if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    Ok(response.content_type("application/json").body(json))
}

fn within(query: &Query) -> Result<Option<Span>, HttpError> {
    let (start, end) = (query.time("start")?, query.time("end")?);
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    let (first, last) = (Timestamp::from_micros(i64::MIN / 2), Timestamp::from_micros(i64::MAX / 2));
    Ok(Some(Span::new(start.unwrap_or(first), end.unwrap_or(last))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_may_be_open() {
        let within = |text: &str| within(&Query::parse(text));
        assert_eq!(within("").unwrap(), None);
        let one = within("start=2026-01-02T03:04:05").unwrap().unwrap();
        assert_eq!((one.start().to_string().as_str(), one.end() > one.start()), ("2026-01-02T03:04:05.000000", true));
        assert!(within("end=2026-01-02").unwrap().is_some());
        assert!(within("start=2026-01-03&end=2026-01-02").is_err());
        assert!(within("start=junk").is_err());
    }
}
