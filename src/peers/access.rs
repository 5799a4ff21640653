//! How this node shows itself to others: a token, where they ask for one, and whose certificates it believes.
//!
//! Promises: the token goes to peers alone, and a new one in its file is used without a restart; no redirect takes it elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, crypto::ring};
use serde::Deserialize;
use slog::{Logger, info, warn};
use tokio::time::sleep;

use crate::blocking::Blocking;
use crate::config::{BackfillConfig, Secret, read_secret};
use crate::ingest::HttpClient;
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// A small file, which others keep fresh; who corrects it waits for this.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why peers cannot be spoken to as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{0}; see backfill.token_file")]
    Token(String),
    #[error("{} cannot be read; see backfill.ca_file", path.display())]
    Authority { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate of an authority in PEM; see backfill.ca_file", .0.display())]
    NoAuthority(PathBuf),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Cheap to clone; clones share the token. The default shows nothing, and believes whom everybody believes.
#[derive(Clone, Default)]
pub struct PeerAccess {
    token: Arc<RwLock<Option<Secret>>>,
    token_file: Option<PathBuf>,
    tls: Option<Arc<ClientConfig>>,
}

impl PeerAccess {
    /// Reads what the configuration names. Blocks.
    pub fn open(config: &BackfillConfig) -> Result<Self, AccessError> {
        let token = config.token_file.as_deref().map(read_secret).transpose().map_err(AccessError::Token)?;
        let tls = config.ca_file.as_deref().map(trusting).transpose()?;
        Ok(Self { token: Arc::new(RwLock::new(token)), token_file: config.token_file.clone(), tls: tls.map(Arc::new) })
    }

    /// The value of `Authorization`.
    pub(super) fn authorization(&self) -> Option<String> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().map(|token| format!("Bearer {}", token.expose()))
    }

    /// The client of the current arbiter.
    pub(super) fn client(&self) -> HttpClient {
        self.tls.as_ref().map_or_else(HttpClient::of_this_arbiter, HttpClient::with_tls)
    }

    pub(super) fn client_for_long_answers(&self) -> HttpClient {
        self.tls.as_ref().map_or_else(HttpClient::for_long_answers, HttpClient::for_long_answers_with_tls)
    }

    /// Reads the token again when its file has another. Never ends; returns at once where there is no such file.
    pub async fn keep(self, blocking: Blocking, metrics: Metrics, log: Logger) {
        let Some(path) = self.token_file.clone() else { return };
        let expires = |token: &Option<Secret>| token.as_ref().and_then(expires);
        let current = || self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        metrics.peers_token_expires(expires(&current()));
        let mut is_told = false;
        loop {
            sleep(LOOK_EVERY).await;
            let file = path.clone();
            let Ok(read) = blocking.run(move || read_secret(&file)).await else { continue };
            match read {
                Ok(token) if current().as_ref() == Some(&token) => is_told = false,
                Ok(token) => {
                    let token = Some(token);
                    metrics.peers_token_expires(expires(&token));
                    *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
                    info!(log, "showing peers a new token");
                    is_told = false;
                }
                Err(error) if !is_told => {
                    warn!(log, "the token for peers cannot be read, the one before is used"; "error" => error);
                    is_told = true;
                }
                Err(_) => {}
            }
        }
    }
}

/// Whom everybody believes, and the authorities in this file.
fn trusting(path: &Path) -> Result<ClientConfig, AccessError> {
    let pem = std::fs::read(path).map_err(|source| AccessError::Authority { path: path.to_owned(), source })?;
    let mut roots = actix_tls::connect::rustls_0_23::webpki_roots_cert_store();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.unwrap_or_default();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(AccessError::NoAuthority(path.to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// When a token expires that says so itself: one with claims (RFC 7519). It is our own, so nobody need have verified it.
fn expires(token: &Secret) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = token.expose().split('.').nth(1)?;
    let Claims { exp } = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(Timestamp::from_micros((exp * 1e6) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_claims_says_when_it_expires() {
        let with = |claims: &str| Secret::new(&format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)));
        let found = expires(&with("{\"exp\": 1767323045, \"iss\": \"x\"}")).map(|time| time.to_string());
        assert_eq!(found.as_deref(), Some("2026-01-02T03:04:05.000000"));
        for without in [with("{}"), with("junk"), Secret::new("0123456789abcdef"), Secret::new("a.b")] {
            assert_eq!(expires(&without), None);
        }
    }
}
