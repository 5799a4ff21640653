//! A node of the existing system, as far as peers see it: a plain server of FORMATS §4's listings and files, no ETags, no
//! compression, nothing else. It counts what it is asked, and lies on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// How one answer is spoiled.
#[derive(Clone)]
pub enum Lie {
    /// This instead of the answer.
    Body(Vec<u8>),
    /// The same, compressed.
    Gzipped(Arc<Vec<u8>>),
    /// A list of so many names, each another one.
    Names(u64),
    Status(&'static str),
    /// The head announces all, and half of it comes.
    Half,
    /// A byte, and another, and never the end.
    Drip,
    /// The connection stays open and silent.
    Never,
    Elsewhere(String),
}

type Lies = Arc<dyn Fn(&str) -> Option<Lie> + Send + Sync>;

pub struct StaticPeer {
    address: String,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl StaticPeer {
    pub fn honest(base: &Path) -> Self {
        Self::lying(base, |_| None)
    }

    /// `lie` sees the path, decoded, without its query.
    pub fn lying(base: &Path, lie: impl Fn(&str) -> Option<Lie> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Self { address: listener.local_addr().unwrap().to_string(), asked: Arc::default() };
        let (base, asked, lie) = (base.to_owned(), Arc::clone(&peer.asked), Arc::new(lie) as Lies);
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (base, asked, lie) = (base.clone(), Arc::clone(&asked), Arc::clone(&lie));
                std::thread::spawn(move || serve(&stream, &base, &asked, &lie));
            }
        });
        peer
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often each path was asked for that begins so.
    pub fn asked(&self, prefix: &str) -> BTreeMap<String, usize> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(path, count)| (path.clone(), *count)).collect()
    }
}

fn serve(stream: &TcpStream, base: &Path, asked: &Mutex<BTreeMap<String, usize>>, lie: &Lies) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut header = String::new();
        while reader.read_line(&mut header).ok()? > 2 {
            header.clear();
        }
        let target = line.split(' ').nth(1)?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = percent_decode_str(path).decode_utf8().ok()?.into_owned();
        *asked.lock().unwrap().entry(path.clone()).or_default() += 1;
        answer(stream, lie(&path), body(base, &path, query))?;
    }
}

fn answer(mut stream: &TcpStream, lie: Option<Lie>, body: Option<Vec<u8>>) -> Option<()> {
    let (status, body) = match body {
        Some(body) => ("200 OK", body),
        None => ("404 NOT FOUND", b"no".to_vec()),
    };
    let head = |status: &str, more: &str, body: &[u8]| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n", body.len()).into_bytes()
    };
    let mut whole =
        |status: &str, more: &str, body: &[u8]| stream.write_all(&[&head(status, more, body), body].concat()).ok();
    match lie {
        None => whole(status, "", &body),
        Some(Lie::Body(body)) => whole("200 OK", "", &body),
        Some(Lie::Gzipped(body)) => whole("200 OK", "Content-Encoding: gzip\r\n", &body),
        Some(Lie::Names(count)) => {
            let name = |at: u64| format!("\"00:00.0-{at:09}.0-full-47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU.ts\",");
            let length = 1 + count * name(0).len() as u64;
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n[").as_bytes()).ok()?;
            let mut some = String::new();
            for at in 0..count {
                some += &name(at);
                if some.len() > 64 << 10 {
                    stream.write_all(some.as_bytes()).ok()?;
                    some.clear();
                }
            }
            None
        }
        Some(Lie::Status(status)) => whole(status, "", b""),
        Some(Lie::Elsewhere(url)) => whole("302 Found", &format!("Location: {url}\r\n"), b""),
        Some(Lie::Half) => {
            stream.write_all(&[&head(status, "", &body), &body[..body.len() / 2]].concat()).ok()?;
            stream.shutdown(std::net::Shutdown::Both).ok()?;
            None
        }
        Some(Lie::Drip) => {
            stream.write_all(&head(status, "", &body)).ok()?;
            loop {
                stream.write_all(b"x").ok()?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Some(Lie::Never) => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}

fn body(base: &Path, path: &str, query: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let place = |parts: &[&str]| parts.iter().fold(base.to_owned(), |path: PathBuf, part| path.join(part));
    match &parts[..] {
        ["files", rest @ ..] => {
            let entries = std::fs::read_dir(place(rest)).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.retain(|name| !name.starts_with('.'));
            if rest.len() == 3 {
                let hidden: Vec<String> =
                    names.iter().filter_map(|name| name.strip_suffix(".tombstone")).map(str::to_owned).collect();
                let is_hidden =
                    |name: &str| hidden.iter().any(|base| name.rsplit_once('.').is_some_and(|(own, _)| own == base));
                names.retain(
                    |name| if name.ends_with(".tombstone") { query == "tombstones=true" } else { !is_hidden(name) },
                );
            }
            Some(serde_json::to_vec(&names).unwrap())
        }
        ["extras", dir] => {
            let files = super::tree(&base.join(dir)).into_keys().collect::<Vec<_>>();
            Some(serde_json::to_vec(&files).unwrap())
        }
        ["segments", rest @ ..] => std::fs::read(place(rest)).ok(),
        _ => None,
    }
}
