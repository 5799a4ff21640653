//! Stands between two nodes and counts what one asks the other: requests by path, and bytes in both directions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;

use crate::support::NodeProcess;

/// What was asked for one path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub requests: usize,
    /// In both directions, heads included.
    pub bytes: u64,
}

/// By path: without queries, decoded.
type Counts = Arc<Mutex<BTreeMap<String, Count>>>;

pub struct CountingProxy {
    address: String,
    counts: Counts,
}

impl CountingProxy {
    pub fn before(node: &NodeProcess) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap().to_string(), counts: Arc::default() };
        let (target, counts) = (node.url().trim_start_matches("http://").to_owned(), Arc::clone(&proxy.counts));
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                // On one connection each answer comes before the next question.
                let latest = Arc::new(Mutex::new(String::new()));
                let (asking, answering) = (Arc::clone(&counts), Arc::clone(&counts));
                let of = Arc::clone(&latest);
                std::thread::spawn(move || carry_requests(from, to, &asking, &latest));
                std::thread::spawn(move || carry_answers(server, client, &answering, &of));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> BTreeMap<String, Count> {
        self.counts.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.counts.lock().unwrap().clear();
    }
}

/// Requests have no bodies: each ends with its empty line.
fn carry_requests(mut from: TcpStream, mut to: TcpStream, counts: &Counts, latest: &Mutex<String>) {
    let (mut piece, mut head) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let read = from.read(&mut piece).unwrap_or(0);
        head.extend_from_slice(&piece[..read]);
        while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&head[..end]).into_owned();
            let path = text.split(' ').nth(1).unwrap().split('?').next().unwrap();
            let path = percent_decode_str(path).decode_utf8().unwrap().into_owned();
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(path.clone()).or_default();
            count.requests += 1;
            count.bytes += end as u64 + 4;
            *latest.lock().unwrap() = path;
            head.drain(..end + 4);
        }
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn carry_answers(mut from: TcpStream, mut to: TcpStream, counts: &Counts, latest: &Mutex<String>) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut piece).unwrap_or(0);
        if read > 0 {
            counts.lock().unwrap().entry(latest.lock().unwrap().clone()).or_default().bytes += read as u64;
        }
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
