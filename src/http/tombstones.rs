//! `/tombstones/…`: what is hidden in an hour, and whether its bytes are still on disk.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::{HttpError, Site, params};
use crate::store;

/// `{NAME: {"bytes": true|false}}`, by the names of the tombstones. For who wants to know whether deleting is done.
pub async fn get(site: web::Data<Site>, path: web::Path<(String, String, String)>) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let states = match params::hour(&path.2)? {
        None => BTreeMap::new(),
        Some(hour) => {
            let layout = site.layout.clone();
            site.blocking.run(move || store::tombstone_states(&layout, &channel, &quality, hour)).await??
        }
    };
    let states: BTreeMap<String, Value> =
        states.into_iter().map(|(name, bytes)| (name, json!({ "bytes": bytes }))).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(states))
}
