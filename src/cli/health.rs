//! `segvault health`: asks the node of a directory whether it lives, for images that hold no other client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use url::Url;

use super::config::EXIT_OK;
use super::place::PlaceArgs;
use super::run::install_tls;
use super::{EXIT_FAILED, Failure, print_line};
use crate::ingest::{HttpClient, Patience};
use crate::store::Layout;

/// A node that is alive answers at once.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(5), stall: Duration::from_secs(5), whole: Duration::from_secs(8) };
const MAX_ANSWER_BYTES: usize = 64 << 10;

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Whether it should be sent work, rather than whether it lives.
    #[arg(long)]
    ready: bool,
}

pub fn run(args: &HealthArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let url = address(&layout)?;
    let url = url.join(if args.ready { "readyz" } else { "healthz" }).context("no address of a node")?;
    install_tls();
    let (status, answer) = actix::System::new().block_on(ask(&url))?;
    print_line(answer)?;
    Ok(if status == 200 { EXIT_OK } else { EXIT_FAILED })
}

/// Where the node that runs on this directory said that it listens.
fn address(layout: &Layout) -> anyhow::Result<Url> {
    let path = layout.listen_file();
    let text = std::fs::read_to_string(&path).with_context(|| is_it_running(&path))?;
    let (address, scheme) = match text.trim().split_once('\n') {
        Some((address, "tls")) => (address, "https"),
        Some((address, _)) => (address, "http"),
        None => (text.trim(), "http"),
    };
    let address: SocketAddr = address.parse().with_context(|| is_it_running(&path))?;
    Ok(Url::parse(&format!("{scheme}://{}/", reachable(address)))?)
}

fn is_it_running(path: &Path) -> String {
    format!("no node says in {} where it listens; does one run on this directory?", path.display())
}

/// Who listens on every address is reached at this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(url: &Url) -> anyhow::Result<(u16, String)> {
    let answer = HttpClient::with_tls(&Arc::new(believing_itself()?)).ask_here(url, &[], PATIENCE).await;
    let answer = answer.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status.as_u16();
    let text = answer.whole(MAX_ANSWER_BYTES).await.with_context(|| format!("{url} does not finish its answer"))?;
    Ok((status, String::from_utf8_lossy(&text).trim().to_owned()))
}

/// The node is asked at this machine's own address, for which no certificate is made. Nothing is told to who answers, and
/// nothing is believed but that it lives.
fn believing_itself() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes any certificate, if who shows it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listens, asked) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.0.0.5:80", "10.0.0.5:80"),
            ("127.0.0.2:1", "127.0.0.2:1"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap(), "{listens}");
        }
    }
}
