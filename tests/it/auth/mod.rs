//! Who may do what, and who has to prove it.

pub mod issuer;
pub mod oidc;
mod pages;
mod reading;
mod tls;
mod writes;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use tokio::net::TcpSocket;

use crate::db::Ground;
use crate::support::{NodeProcess, PATIENCE, Reply, eventually, read_reply};

/// Asks with any headers and a body.
fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    send_from([127, 0, 0, 1], address, method, path, headers, body)
}

/// The same from another address of this machine: who was refused too often there may still try here.
fn send_from(from: [u8; 4], address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connecting = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    };
    let mut stream: TcpStream = runtime.block_on(connecting);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // It may answer before it has read all of it.
    let _ = stream.write_all(body.as_bytes());
    read_reply(stream, method == "HEAD")
}

/// Asks with a token, perhaps.
fn send_as(node: &NodeProcess, method: &str, path: &str, token: Option<&str>, body: &str) -> Reply {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|text| ("Authorization", text.as_str())).collect();
    send(&address(node), method, path, &headers, body)
}

fn address(node: &NodeProcess) -> String {
    node.url().replace("http://", "")
}

/// A node over a new database, in which an event is noted.
fn start(ground: &Ground, more: &str) -> NodeProcess {
    let node =
        NodeProcess::start_with(&ground.dir.path().join("record"), &format!("{}{more}", database(ground)), |_| {});
    eventually("the schema is there", || (ground_is_ready(ground)).then_some(()));
    node
}

fn ground_is_ready(ground: &Ground) -> bool {
    let db = ground.db();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { db.users().await.is_ok() })
}

/// Where `Ground` finds it, whatever the node's directory.
fn database(ground: &Ground) -> String {
    let url = match ground.url.strip_prefix("sqlite:") {
        Some(file) => format!("sqlite:{}", ground.dir.path().join(".segvault").join(file).display()),
        None => ground.url.clone(),
    };
    format!("[database]\nurl = {url:?}\n")
}
