//! Access tokens, out of a refresh token.
//!
//! Promises: one is used until shortly before its end; one is asked for at a time; the file with the secrets is read each
//! time, so that what is put there counts at once; no secret is in what Debug, an error or a log shows.
//! Source: RFC 6749, sections 5 and 6; "Using OAuth 2.0 for Web Server Applications", Google.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use awc::http::{Method, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::blocking::Blocking;
use crate::config::{Secret, read_secret_text};
use crate::ingest::sending::{Cargo, Outgoing};
use crate::ingest::{HttpClient, Patience};
use crate::upload::UploadError;
use crate::upload::freight::lost;

/// A request may be under way for so long before Google looks at its token.
const EARLY: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 64 << 10;
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), stall: Duration::from_secs(30), whole: Duration::from_secs(60) };
const ACT: &str = "asking for an access token";

/// The tokens of one account, for one arbiter.
pub struct Tokens {
    file: PathBuf,
    token_url: Url,
    http: HttpClient,
    blocking: Blocking,
    /// Held by who asks for a token.
    asks: Semaphore,
    current: RefCell<Option<Current>>,
}

struct Current {
    token: Secret,
    good_until: Instant,
}

/// What the file holds, as Google's own tools and wubloader write it.
#[derive(Deserialize)]
struct Account {
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
struct Denied {
    #[serde(default)]
    error: String,
}

impl Tokens {
    pub fn new(file: PathBuf, token_url: Url, http: HttpClient, blocking: Blocking) -> Self {
        Self { file, token_url, http, blocking, asks: Semaphore::new(1), current: RefCell::default() }
    }

    /// A token that is good for a while, as the value of the header `Authorization`.
    pub async fn bearer(&self) -> Result<Secret, UploadError> {
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let _asking = self.asks.acquire().await.expect("the semaphore is never closed");
        // Whoever asked before may have got it for all.
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let Granted { access_token, expires_in } = self.refresh().await?;
        let token = Secret::new(&format!("Bearer {access_token}"));
        let good_until = Instant::now() + Duration::from_secs(expires_in.min(86_400)).saturating_sub(EARLY);
        *self.current.borrow_mut() = Some(Current { token: token.clone(), good_until });
        Ok(token)
    }

    /// Google does not take this one any more: the next is a new one.
    pub fn is_refused(&self, token: &Secret) {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|current| current.token == *token) {
            *current = None;
        }
    }

    fn good(&self) -> Option<Secret> {
        let current = self.current.borrow();
        current.as_ref().filter(|current| Instant::now() < current.good_until).map(|current| current.token.clone())
    }

    /// Whose quota is spent: the project that the client is of, whose number its id begins with.
    pub async fn project(&self) -> Result<String, UploadError> {
        let Account { client_id, .. } = self.account().await?;
        let number = client_id.split('-').next().unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Ok(if is_number { number.to_owned() } else { client_id })
    }

    async fn account(&self) -> Result<Account, UploadError> {
        let file = self.file.clone();
        let account = self.blocking.run(move || account(&file)).await?;
        account.map_err(|why| UploadError::Refused {
            why,
            remedy: "write client_id, client_secret and refresh_token into it, as JSON",
        })
    }

    async fn refresh(&self) -> Result<Granted, UploadError> {
        let account = self.account().await?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &account.client_id)
            .append_pair("client_secret", &account.client_secret)
            .append_pair("refresh_token", &account.refresh_token)
            .finish();
        let outgoing = Outgoing {
            method: Method::POST,
            url: &self.token_url,
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            cargo: Cargo::Whole(Bytes::from(body)),
            patience: PATIENCE,
        };
        let reply = self.http.carry(outgoing).await.map_err(|error| lost(ACT, error))?;
        let status = reply.status;
        let body = reply.whole(MAX_ANSWER_BYTES).await.map_err(|error| lost(ACT, error))?;
        if status != StatusCode::OK {
            return Err(denied(status, &body));
        }
        let unread = |_| UploadError::Busy { why: format!("{ACT}: the answer makes no sense"), retry_after: None };
        serde_json::from_slice(&body).map_err(unread)
    }
}

/// Nothing of the file's content is in an error. Blocks.
fn account(file: &std::path::Path) -> Result<Account, String> {
    let text = read_secret_text(file)?;
    let broken = |error: serde_json::Error| format!("{} is broken in line {}", file.display(), error.line());
    serde_json::from_str(text.expose()).map_err(broken)
}

fn denied(status: StatusCode, body: &[u8]) -> UploadError {
    let Denied { error } = serde_json::from_slice(body).unwrap_or_default();
    let known =
        ["invalid_grant", "invalid_client", "unauthorized_client", "deleted_client", "access_denied", "invalid_scope"];
    // What Google says may repeat what it was told; one of its own words cannot.
    let said = known.into_iter().find(|known| *known == error).map_or_else(|| status.to_string(), str::to_owned);
    let why = format!("{ACT}: Google says {said}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return UploadError::Busy { why, retry_after: None };
    }
    let remedy = match &*error {
        "invalid_grant" => {
            "the refresh token was revoked or has expired: make a new one and put it into credentials_file"
        }
        "invalid_client" | "unauthorized_client" | "deleted_client" => {
            "correct client_id and client_secret in credentials_file, or make a new client"
        }
        _ => "make the client and the refresh token in credentials_file anew",
    };
    UploadError::Refused { why, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_token_says_what_to_do_and_no_secret() {
        let error = denied(StatusCode::BAD_REQUEST, br#"{"error": "invalid_grant", "error_description": "hush"}"#);
        let text = error.to_string();
        assert!(!error.is_retryable() && text.contains("make a new one") && !text.contains("hush"), "{text}");
        let error = denied(StatusCode::UNAUTHORIZED, br#"{"error": "hush"}"#);
        assert!(!error.is_retryable() && !error.to_string().contains("hush"), "{error}");
        assert!(denied(StatusCode::SERVICE_UNAVAILABLE, b"<html>").is_retryable());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"client_id\": \"hush\", }").unwrap();
        let why = account(file.path()).err().unwrap();
        assert!(why.contains("line 1") && !why.contains("hush"), "{why}");
    }
}
