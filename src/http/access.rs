//! Who asks: the token of a request, and what it opens.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::header;
use serde_json::{Map, Value};

use super::{HttpError, Site};
use crate::auth::Identity;
use crate::model::Role;

/// A picture of 2 MB in base64, and all else that an event has.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// Admits whoever asks, or not. The token stands in the header, or in the `token` of the body, as existing editors send it.
pub async fn admit(
    site: &Site,
    request: &HttpRequest,
    body: Option<&Map<String, Value>>,
    needed: Role,
) -> Result<Identity, HttpError> {
    let in_header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    // The scheme's case does not matter (RFC 9110 §11.1).
    let in_header =
        in_header.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let in_body = || body.and_then(|body| body.get("token")?.as_str());
    let token = in_header.map(|(_, token)| token.trim()).or_else(in_body);
    let from = request.peer_addr().map(|peer| peer.ip());
    Ok(site.door.admit(token, from, needed, Instant::now()).await?)
}

/// Admits whoever asks, and reads the body, which is one JSON object; in this order, so that a stranger learns nothing
/// about bodies.
pub async fn admit_with_body(
    site: &Site,
    request: &HttpRequest,
    body: &[u8],
    needed: Role,
) -> Result<(Identity, Map<String, Value>), HttpError> {
    // No body is an empty one.
    let read = if body.is_empty() { Ok(Map::new()) } else { serde_json::from_slice::<Map<String, Value>>(body) };
    let identity = admit(site, request, read.as_ref().ok(), needed).await?;
    let mut body = read.map_err(|error| HttpError::Parameter {
        parameter: "body",
        why: format!("it must be a JSON object; {error}"),
    })?;
    body.remove("token");
    Ok((identity, body))
}
