//! A gate before a fake source, which makes of it what the real internet has: tokens that expire, requests that fail,
//! encryption, redirects, compression, byte ranges, many qualities.
//!
//! Promises: what fails, fails by a fixed sequence of chances, so that a run can be repeated; a body that was sent whole
//! is counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aes::Aes128;
use aes::cipher::{Block, BlockModeEncrypt, KeyIvInit};
use segvault::rehearsal::SourceHandle;

use crate::support::{Reply, request};

/// Bytes before and behind a segment that is a range of something larger.
const AROUND: usize = 100;
/// Segments that share a key.
const KEY_SEGMENTS: u64 = 3;

/// What the gate does to answers.
#[derive(Clone, Default)]
pub struct Rules {
    /// Addresses carry a token that is refused after this long.
    pub token_life: Option<Duration>,
    /// Of a hundred requests, so many fail.
    pub failing_percent: u64,
    pub encrypted: bool,
    /// `/far/master.m3u8` leads to the master playlist, and segments to themselves.
    pub redirected: bool,
    pub gzip: bool,
    /// Segments are ranges of something larger.
    pub ranged: bool,
    /// Addresses in playlists name the host and not the scheme.
    pub schemeless: bool,
    /// So many qualities q0, q1, … which all are the source's own `90p`.
    pub copies: usize,
}

pub struct Gate {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: String,
    rules: Rules,
    began: Instant,
    chances: AtomicU64,
    sent: Mutex<BTreeMap<String, u32>>,
    refused: AtomicU64,
}

/// A gate before `source`, for as long as the test runs.
pub fn gate(source: &SourceHandle, rules: Rules) -> Gate {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = source.address().to_string();
    let (sent, refused) = (Mutex::default(), AtomicU64::new(0));
    let inner = Inner { upstream, rules, began: Instant::now(), chances: AtomicU64::new(1), sent, refused };
    let gate = Gate { address, inner: Arc::new(inner) };
    let inner = Arc::clone(&gate.inner);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let inner = Arc::clone(&inner);
            // A client that leaves is its own business.
            std::thread::spawn(move || inner.serve(stream));
        }
    });
    gate
}

impl Gate {
    pub fn url(&self) -> String {
        let path = if self.inner.rules.redirected { "far/master.m3u8" } else { "master.m3u8" };
        format!("http://{}/{path}", self.address)
    }

    /// How often each path, without its query, was sent whole.
    pub fn sent(&self) -> BTreeMap<String, u32> {
        self.inner.sent.lock().unwrap().clone()
    }

    /// Requests that were refused for their token.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::SeqCst)
    }
}

enum Chance {
    Well,
    Unavailable,
    NoAnswer,
    CutOff,
}

impl Inner {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut first = String::new();
        reader.read_line(&mut first).ok()?;
        let mut range = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 2)?;
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("range: bytes=") {
                let (from, to) = text.trim().split_once('-')?;
                range = Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?));
            }
            if reader.buffer().starts_with(b"\r\n") {
                break;
            }
        }
        let target = first.split(' ').nth(1)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let chance = self.chance();
        if matches!(chance, Chance::NoAnswer) {
            return None;
        }
        let answer = match chance {
            Chance::Unavailable => Answer::status(503, "not now"),
            Chance::Well | Chance::CutOff | Chance::NoAnswer => self.answer(path, query, range),
        };
        let cut = matches!(chance, Chance::CutOff).then_some(answer.body.len() / 2);
        answer.send(&mut stream, cut)?;
        if cut.is_none() && answer.status < 300 {
            *self.sent.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        }
        Some(())
    }

    /// A fixed sequence: splitmix64.
    fn chance(&self) -> Chance {
        let mut z = self.chances.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z % 100 >= self.rules.failing_percent {
            return Chance::Well;
        }
        match z / 100 % 3 {
            0 => Chance::Unavailable,
            1 => Chance::NoAnswer,
            _ => Chance::CutOff,
        }
    }

    fn token(&self) -> Option<String> {
        let life = self.rules.token_life?;
        Some(format!("token={}", self.began.elapsed().as_millis() / life.as_millis()))
    }

    fn answer(&self, path: &str, query: &str, range: Option<(usize, usize)>) -> Answer {
        if self.rules.redirected && (path == "/far/master.m3u8" || (path.ends_with(".ts") && query != "here")) {
            let to = if path.ends_with(".ts") { format!("{path}?here") } else { "../master.m3u8".into() };
            return Answer { location: Some(to), ..Answer::status(302, "elsewhere") };
        }
        if let Some(key) = path.strip_prefix("/key/") {
            return Answer::ok(key_bytes(key.parse().unwrap()).to_vec());
        }
        if path == "/master.m3u8" && self.rules.copies > 0 {
            return Answer::ok(self.many_qualities().into_bytes());
        }
        if path != "/master.m3u8" && self.token().is_some_and(|token| token != query) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Answer::status(403, "the token has expired");
        }
        let Reply { status, body, complete, .. } = request(&self.upstream, "GET", &self.upstream_path(path), &[]);
        if status != 200 || !complete {
            return Answer::status(status, "as the source says");
        }
        let body = if path.ends_with(".m3u8") {
            self.rewrite(path, &String::from_utf8(body).unwrap()).into_bytes()
        } else if path.ends_with(".ts") {
            self.segment(path, body)
        } else {
            body
        };
        let answer = match range {
            Some((from, to)) => Answer { status: 206, ..Answer::ok(body[from..=to].to_vec()) },
            None => Answer::ok(body),
        };
        Answer { gzip: self.rules.gzip, ..answer }
    }

    /// `/q7/0001.ts` is `/90p/0001.ts`.
    fn upstream_path(&self, path: &str) -> String {
        match path.strip_prefix("/q").and_then(|rest| rest.split_once('/')) {
            Some((_, file)) if self.rules.copies > 0 => format!("/90p/{file}"),
            _ => path.to_owned(),
        }
    }

    fn many_qualities(&self) -> String {
        let mut text = "#EXTM3U\n".to_owned();
        for copy in 0..self.rules.copies {
            let _ = writeln!(text, "#EXT-X-STREAM-INF:BANDWIDTH={},NAME=\"q{copy}\"\nq{copy}/live.m3u8", 1000 + copy);
        }
        text
    }

    fn rewrite(&self, path: &str, text: &str) -> String {
        let dir = path.rsplit_once('/').unwrap().0;
        let mut sequence = 0;
        let mut rewritten = String::new();
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                sequence = number.parse().unwrap();
            }
            if line.starts_with('#') {
                let _ = writeln!(rewritten, "{line}");
                continue;
            }
            if self.rules.encrypted && line.ends_with(".ts") {
                let key = sequence / KEY_SEGMENTS;
                let _ = writeln!(rewritten, "#EXT-X-KEY:METHOD=AES-128,URI=\"/key/{key}\"");
            }
            if self.rules.ranged && line.ends_with(".ts") {
                let whole = request(&self.upstream, "GET", &format!("{dir}/{line}"), &[]).body.len();
                let _ = writeln!(rewritten, "#EXT-X-BYTERANGE:{whole}@{AROUND}");
            }
            sequence += u64::from(line.ends_with(".ts"));
            let host = if self.rules.schemeless { self.host_prefix(dir) } else { String::new() };
            let token = self.token().map(|token| format!("?{token}")).unwrap_or_default();
            let _ = writeln!(rewritten, "{host}{line}{token}");
        }
        rewritten
    }

    fn host_prefix(&self, dir: &str) -> String {
        // The upstream has the same paths; and so the node must leave the gate for it.
        format!("//{}{dir}/", self.upstream)
    }

    fn segment(&self, path: &str, body: Vec<u8>) -> Vec<u8> {
        if self.rules.ranged {
            return [&[0x55; AROUND], body.as_slice(), &[0x55; AROUND]].concat();
        }
        if !self.rules.encrypted {
            return body;
        }
        let digits: String = path.rsplit('/').next().unwrap().chars().filter(char::is_ascii_digit).collect();
        let sequence: u64 = digits.parse().unwrap();
        encrypt(&key_bytes(sequence / KEY_SEGMENTS), u128::from(sequence).to_be_bytes(), body)
    }
}

fn key_bytes(key: u64) -> [u8; 16] {
    (u128::from(key) + 0x5e67_7661_756c_7400).to_be_bytes()
}

fn encrypt(key: &[u8; 16], iv: [u8; 16], mut body: Vec<u8>) -> Vec<u8> {
    let padding = 16 - body.len() % 16;
    body.extend(std::iter::repeat_n(padding as u8, padding));
    let mut cipher = cbc::Encryptor::<Aes128>::new(key.into(), &iv.into());
    cipher.encrypt_blocks(Block::<Aes128>::slice_as_chunks_mut(&mut body).0);
    body
}

struct Answer {
    status: u16,
    location: Option<String>,
    gzip: bool,
    body: Vec<u8>,
}

impl Answer {
    fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, location: None, gzip: false, body }
    }

    fn status(status: u16, text: &str) -> Self {
        Self { status, ..Self::ok(text.as_bytes().to_vec()) }
    }

    fn send(&self, stream: &mut TcpStream, cut: Option<usize>) -> Option<()> {
        let body = if self.gzip { gzip(&self.body) } else { self.body.clone() };
        let mut head = format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n", self.status, body.len());
        if self.gzip {
            head += "Content-Encoding: gzip\r\n";
        }
        if let Some(location) = &self.location {
            let _ = write!(head, "Location: {location}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]).ok()
    }
}

/// RFC 1952 around stored blocks of RFC 1951.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = body.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.extend(crc32(body).to_le_bytes());
    packed.extend((body.len() as u32).to_le_bytes());
    packed
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
        crc
    })
}
