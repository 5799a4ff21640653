//! TLS: served, renewed while connections stand, spoken to peers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::address;
use crate::replicate::{plant_tree, tree};
use crate::support::{NodeProcess, PATIENCE, eventually, run, segvault};

type Connection = StreamOwned<ClientConnection, TcpStream>;

fn openssl(dir: &Path, args: &str) {
    let mut command = Command::new("openssl");
    let (code, _, said) = run(command.current_dir(dir).args(args.split(' ')));
    assert_eq!(code, 0, "openssl {args}: {said}");
}

/// An authority, `ca.crt`.
fn make_authority(dir: &Path) {
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 30 \
         -subj /CN=segvault-test-ca",
    );
}

/// `node.crt` and `node.key`, for this machine, good for so many days.
fn make_certificate(dir: &Path, days: u32) {
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key -out node.csr -subj /CN=localhost",
    );
    let sign = "x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out new.crt -days";
    openssl(dir, &format!("{sign} {days}"));
    for ending in ["key", "crt"] {
        std::fs::rename(dir.join(format!("new.{ending}")), dir.join(format!("node.{ending}"))).unwrap();
    }
}

fn connect(node: &NodeProcess, dir: &Path) -> Connection {
    let mut roots = RootCertStore::empty();
    let authority = std::fs::read(dir.join("ca.crt")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address(node)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Asks on a connection that goes on; the whole answer.
fn ask(connection: &mut Connection, path: &str) -> String {
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let len =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if len.is_some_and(|len: usize| body.len() >= len) {
            return text.into_owned();
        }
    }
}

fn shown(node: &NodeProcess, dir: &Path) -> Vec<u8> {
    let mut connection = connect(node, dir);
    assert!(ask(&mut connection, "/healthz").starts_with("HTTP/1.1 200"));
    connection.conn.peer_certificates().unwrap()[0].to_vec()
}

fn expires(connection: &mut Connection) -> i64 {
    let text = ask(connection, "/metrics");
    let name = "\nsegvault_certificate_expires_timestamp_seconds ";
    text.split(name).nth(1).unwrap().split('\n').next().unwrap().parse().unwrap()
}

fn start(base: &Path, dir: &Path, more: &str) -> NodeProcess {
    let [certificate, key] = ["node.crt", "node.key"].map(|file| dir.join(file));
    NodeProcess::start_with(base, &format!("[http]\ncertificate = {certificate:?}\nkey = {key:?}\n{more}"), |_| {})
}

#[test]
fn a_certificate_is_renewed_while_connections_stand_and_a_bad_one_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    make_authority(dir.path());
    make_certificate(dir.path(), 5);
    let node = start(&dir.path().join("base"), dir.path(), "");
    let first = shown(&node, dir.path());
    let mut standing = connect(&node, dir.path());
    let days = |seconds: i64| (seconds - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 + 3600) / 86_400;
    eventually("it says when it expires", || (days(expires(&mut standing)) == 5).then_some(()));

    make_certificate(dir.path(), 20);
    let second = eventually("the new one is served", || {
        let now = shown(&node, dir.path());
        (now != first).then_some(now)
    });
    assert_eq!(days(expires(&mut standing)), 20, "and the connection from before goes on");

    std::fs::write(dir.path().join("node.key"), "no key").unwrap();
    eventually("it says so", || {
        let told = node.logged("the certificate's files changed and cannot be used, the one before goes on");
        (!told.is_empty()).then_some(())
    });
    assert_eq!(shown(&node, dir.path()), second);
    assert_eq!(days(expires(&mut standing)), 20);
    std::fs::remove_file(dir.path().join("node.crt")).unwrap();
    make_certificate(dir.path(), 30);
    eventually("it is well again", || (shown(&node, dir.path()) != second).then_some(()));

    let (code, said, _) = run(segvault().args(["health", "--dir"]).arg(&node.base));
    assert_eq!((code, said.contains("true")), (0, true), "{said}");
    // Who speaks no TLS is told nothing.
    let mut plain = TcpStream::connect(address(&node)).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    node.stop();
}

#[test]
fn peers_are_believed_by_an_authority_of_ones_own_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    make_authority(dir.path());
    make_certificate(dir.path(), 5);
    let [theirs, ours, distrusts] = ["theirs", "ours", "distrusts"].map(|name| dir.path().join(name));
    plant_tree(&theirs);
    let peer = start(&theirs, dir.path(), "");
    let url = format!("https://localhost:{}", address(&peer).rsplit(':').next().unwrap());
    let backfill = |ca: &str| format!("[backfill]\npeers = [{url:?}]\nchannels = [\"ch é\"]\ninterval = \"1s\"\n{ca}");
    let node = NodeProcess::start_with(&ours, &backfill("ca_file = \"ca.crt\"\n"), |_| {});
    let stranger = NodeProcess::start_with(&distrusts, &backfill(""), |_| {});
    eventually("all is here", || (tree(&ours) == tree(&theirs)).then_some(()));
    eventually("it is told why nothing is", || {
        stranger.log().iter().any(|line| line.contains("UnknownIssuer") || line.contains("certificate")).then_some(())
    });
    assert!(tree(&distrusts).is_empty());
    node.stop();
    stranger.stop();
    peer.stop();
}

#[test]
fn a_node_does_not_start_with_half_a_certificate() {
    let check = |sets: &[&str]| {
        let mut command = segvault();
        command.args(["config", "check"]);
        sets.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        run(&mut command)
    };
    let (code, _, faults) = check(&["http.certificate=\"a\""]);
    assert!(code == 64 && faults.contains("http.key"), "{faults}");
    let (code, _, faults) = check(&["auth.read=\"token\""]);
    assert!(code == 64 && faults.contains("auth.read"), "{faults}");
}
