//! Twitch as far as a recorder sees it: GraphQL for an access token, usher for a master playlist out of
//! `tests/vectors/twitch`, whose addresses lead to a rehearsal source.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use segvault::rehearsal::SourceHandle;
use serde_json::Value;
use url::Url;

/// One request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    pub url: Url,
    pub authorization: Option<String>,
    pub client_id: Option<String>,
    pub body: String,
}

impl Asked {
    pub fn query(&self, name: &str) -> String {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

/// How it answers; to be changed at any time.
pub struct Twitch {
    /// The file of the master playlist; `None` while the channel is not live.
    pub playlist: Option<&'static str>,
    /// The only account token that is taken.
    pub account: Option<&'static str>,
    pub knows_question: bool,
    /// Part of a playlist's address, and the rehearsal's quality that it stands for. All others lead nowhere.
    pub stands_for: Vec<(&'static str, &'static str)>,
    pub asked: Vec<Asked>,
}

impl Twitch {
    pub fn asked_usher(&self) -> Vec<Asked> {
        self.asked.iter().filter(|asked| asked.url.path().starts_with("/api/")).cloned().collect()
    }

    pub fn asked_gql(&self) -> Vec<Asked> {
        self.asked.iter().filter(|asked| asked.url.path() == "/gql").cloned().collect()
    }
}

/// A running one. Its thread ends with the test's process.
pub struct FakeTwitch {
    address: SocketAddr,
    twitch: Arc<Mutex<Twitch>>,
}

impl FakeTwitch {
    pub fn start(source: &SourceHandle, stands_for: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let twitch = Arc::new(Mutex::new(Twitch {
            playlist: None,
            account: None,
            knows_question: true,
            stands_for: stands_for.to_vec(),
            asked: Vec::new(),
        }));
        let (shared, media) = (Arc::clone(&twitch), source.url().replace("/master.m3u8", ""));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, media) = (Arc::clone(&shared), media.clone());
                std::thread::spawn(move || serve(&stream, address, &shared, &media));
            }
        });
        Self { address, twitch }
    }

    pub fn now(&self) -> MutexGuard<'_, Twitch> {
        self.twitch.lock().unwrap()
    }

    /// `[twitch]`, for a node's configuration.
    pub fn config(&self) -> String {
        format!("[twitch]\ngql = \"http://{0}/gql\"\nusher = \"http://{0}/api/v2/channel/hls\"\n", self.address)
    }
}

fn serve(stream: &TcpStream, address: SocketAddr, twitch: &Mutex<Twitch>, media: &str) {
    let Some(asked) = read(stream, address) else { return };
    let mut twitch = twitch.lock().unwrap();
    twitch.asked.push(asked.clone());
    let (status, body) = answer(&twitch, &asked, media);
    drop(twitch);
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    // A node that is stopped meanwhile wants no answer.
    let _ = stream.write_all((head + &body).as_bytes());
}

fn read(stream: &TcpStream, address: SocketAddr) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        at: Instant::now(),
        url: Url::parse(&format!("http://{address}{}", lines[0].split(' ').nth(1)?)).unwrap(),
        authorization: header("authorization"),
        client_id: header("client-id"),
        body: String::from_utf8(body).unwrap(),
    })
}

fn vector(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/twitch");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

fn answer(twitch: &Twitch, asked: &Asked, media: &str) -> (u16, String) {
    match asked.url.path() {
        "/gql" => {
            let question: Value = serde_json::from_str(&asked.body).unwrap();
            let is_taken = asked
                .authorization
                .as_ref()
                .is_none_or(|sent| twitch.account.is_some_and(|account| *sent == format!("OAuth {account}")));
            let is_ours = question["variables"]["login"] == "segvault" && asked.client_id.is_some();
            let in_full = question["query"].as_str().is_some_and(|text| text.contains("streamPlaybackAccessToken("));
            if !is_taken {
                (401, vector("gql_token_refused.json"))
            } else if !is_ours {
                (200, vector("gql_no_channel.json"))
            } else if !twitch.knows_question && !in_full {
                (200, vector("gql_unknown_question.json"))
            } else {
                (200, vector("gql_token.json"))
            }
        }
        "/api/v2/channel/hls/segvault.m3u8" => {
            let token: Value = serde_json::from_str(&vector("gql_token.json")).unwrap();
            let token = &token["data"]["streamPlaybackAccessToken"];
            if token["value"] != asked.query("token") || token["signature"] != asked.query("sig") {
                return (403, vector("usher_geoblocked.json"));
            }
            match twitch.playlist {
                None => (404, vector("usher_offline.json")),
                Some(name) => (200, led_to(&vector(name), &twitch.stands_for, media)),
            }
        }
        _ => (404, "nothing here".into()),
    }
}

/// The playlist with its addresses exchanged.
fn led_to(playlist: &str, stands_for: &[(&str, &str)], media: &str) -> String {
    let lines = playlist.lines().map(|line| {
        if line.starts_with('#') {
            return line.to_owned();
        }
        let quality = stands_for.iter().find(|(part, _)| line.contains(part));
        quality.map_or_else(|| format!("{media}/nowhere.m3u8"), |(_, quality)| format!("{media}/{quality}/live.m3u8"))
    });
    lines.map(|line| line + "\n").collect()
}
