//! `/api/v1/node…` and what else people ask of the record as a whole: how this node and the others are, what each has, what
//! is hidden, whether the node may be stopped; how to say who asks.

mod drain;
mod nodes;
mod openapi;
mod recent;
mod sign_in;
mod tombstones;

use actix_web::web;

use super::access::MAX_BODY_BYTES;
use super::{get_or_head, resource, resource_for};

pub use drain::DrainBoard;
pub use nodes::Neighbours;
pub use openapi::{OPERATIONS, schemas};

pub fn routes(config: &mut web::ServiceConfig) {
    let payload = || web::PayloadConfig::new(MAX_BODY_BYTES);
    config
        .service(resource("/api/v1/node").route(get_or_head().to(nodes::own)))
        .service(resource("/api/v1/nodes").route(get_or_head().to(nodes::all)))
        .service(resource("/api/v1/coverage/{channel}/{quality}").route(get_or_head().to(nodes::coverage)))
        .service(resource("/api/v1/sign-in").route(get_or_head().to(sign_in::ways)))
        .service(
            resource_for("/api/v1/tombstones/{channel}", "GET, HEAD, POST")
                .app_data(payload())
                .route(get_or_head().to(tombstones::list))
                .route(web::post().to(tombstones::add)),
        )
        .service(
            resource_for("/api/v1/drain-check", "GET, HEAD, POST")
                .app_data(payload())
                .route(get_or_head().to(drain::get))
                .route(web::post().to(drain::begin)),
        );
}
