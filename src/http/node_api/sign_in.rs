//! `/api/v1/sign-in`: how somebody who wants to change something says who they are.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use crate::config::AuthMode;
use crate::http::Site;

/// Where an issuer's page sends people back to (`redirect_uri`), on whatever address the page was opened by.
pub const SIGNED_IN: &str = "/ui/signed-in.html";

/// `{"mode": "none" | "tokens" | "oidc", "signed_in", "issuers": [{"issuer", "client_id", "authorization_endpoint"}]}`
pub async fn ways(site: web::Data<Site>) -> HttpResponse {
    let pages = site.door.login_pages().into_iter();
    let issuers = pages.map(|page| {
        json!({
            "issuer": page.issuer, "client_id": page.client_id, "authorization_endpoint": page.address.as_str(),
        })
    });
    let mode = match site.door.mode() {
        AuthMode::None => "none",
        AuthMode::Tokens => "tokens",
        AuthMode::Oidc => "oidc",
    };
    let told = json!({
        "mode": mode, "signed_in": SIGNED_IN, "issuers": issuers.collect::<Vec<Value>>(),
    });
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(told)
}
