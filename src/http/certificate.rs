//! The certificate that a node serves TLS with: read from its files, and again when they change.
//!
//! Promises: connections that stand are not touched; a pair that cannot be used leaves the one before in force, and is told
//! of once.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::ring};
use sha2::{Digest, Sha256};
use slog::{Logger, info, warn};
use tokio::time::sleep;

use super::validity::not_after;
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::config::TlsConfig;
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// Who renews a certificate does it weeks before it is needed; who tests it waits for this.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A long chain has some ten kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// Why the files are no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key in PEM", .0.display())]
    NoKey(PathBuf),
    #[error("the key cannot be used, or is not the certificate's")]
    Unfit(#[from] rustls::Error),
}

/// The certificate in force. Cheap to clone; clones change together.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsConfig,
    current: RwLock<Arc<CertifiedKey>>,
}

/// Both files, as they were once.
struct Found {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What tells them from others.
type Fingerprint = [u8; 32];

/// What is in force, and until when it is good, where that can be read.
struct Pair {
    key: CertifiedKey,
    expires: Option<Timestamp>,
}

impl Certificate {
    /// Reads both files. Blocks. The second value is what to keep it fresh with.
    pub fn open(files: &TlsConfig) -> Result<(Self, Renewal), CertificateError> {
        let found = Found::read(files)?;
        let Pair { key, expires } = found.pair(files)?;
        let current = RwLock::new(Arc::new(key));
        let certificate = Self(Arc::new(Inner { files: files.clone(), current }));
        let renewal = Renewal { certificate: certificate.clone(), seen: Some(found.fingerprint()), expires };
        Ok((certificate, renewal))
    }

    /// For a server that resolves each connection's certificate anew.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(self.clone())))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Looks at the files, again and again.
pub struct Renewal {
    certificate: Certificate,
    /// Of the files that were looked at last, good or bad; `None` where they could not be read.
    seen: Option<Fingerprint>,
    expires: Option<Timestamp>,
}

impl Renewal {
    /// Never ends.
    pub async fn run(mut self, blocking: Blocking, metrics: Metrics, log: Logger) {
        metrics.certificate_expires(self.expires);
        loop {
            sleep(LOOK_EVERY).await;
            let (files, seen) = (self.certificate.0.files.clone(), self.seen);
            let look = move || {
                let found = match Found::read(&files) {
                    Ok(found) => found,
                    Err(error) => return (None, seen.map(|_| Err(error))),
                };
                let fingerprint = found.fingerprint();
                (Some(fingerprint), (Some(fingerprint) != seen).then(|| found.pair(&files)))
            };
            let Ok((seen, news)) = blocking.run(look).await else { continue };
            self.seen = seen;
            match news {
                None => {}
                Some(Ok(Pair { key, expires })) => {
                    let current = &self.certificate.0.current;
                    *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    self.expires = expires;
                    metrics.certificate_expires(expires);
                    info!(log, "serving a new certificate"; "expires" => expires.map(|time| time.to_string()));
                }
                Some(Err(error)) => {
                    warn!(log, "the certificate's files changed and cannot be used, the one before goes on";
                        "error" => chain(&error));
                }
            }
        }
    }
}

impl Found {
    fn read(files: &TlsConfig) -> Result<Self, CertificateError> {
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn fingerprint(&self) -> Fingerprint {
        let parts = [&self.certificate, &self.key].map(Sha256::digest);
        Sha256::digest(parts.concat()).into()
    }

    fn pair(&self, files: &TlsConfig) -> Result<Pair, CertificateError> {
        let none = || CertificateError::NoCertificate(files.certificate.clone());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(none)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| CertificateError::NoKey(files.key.clone()))?;
        let expires = chain.iter().filter_map(|certificate| not_after(certificate)).min();
        // Also compares the key with the certificate's.
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Pair { key, expires })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
