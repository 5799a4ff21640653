//! YouTube as far as an uploader sees it: tokens, resumable sessions, a channel and its videos; with whatever goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::wire::{Answer, Request, serve};
use crate::dice::Dice;
use segvault::clock::Clock;

/// Sessions keep whole units, as Google's do.
const UNIT: u64 = 256 << 10;

pub struct Video {
    pub id: String,
    pub snippet: Value,
    pub status: Value,
    pub bytes: u64,
    pub sha256: [u8; 32],
    pub thumbnail: Option<Vec<u8>>,
    exists_since: Instant,
    published_at: String,
}

/// What arrived in a session.
struct Session {
    video: Value,
    len_bytes: u64,
    /// Left out of where it would be too much; then nothing is ever lost.
    kept: Option<Vec<u8>>,
    hash: Sha256,
    bytes: u64,
    made: Option<String>,
}

/// How it behaves; to be changed at any time.
#[derive(Default)]
pub struct Youtube {
    pub videos: Vec<Video>,
    sessions: BTreeMap<String, Session>,
    /// `METHOD path` of all that was asked.
    pub asked: Vec<String>,
    pub is_revoked: bool,
    /// How often its refresh token was used.
    pub refreshed: u32,
    /// Tokens that were given before this many are not taken any more.
    pub good_from: u32,
    /// How long a video is there and not listed.
    pub listed_after: Duration,
    /// The next requests of `METHOD path` are refused with this status and reason.
    pub refusals: Vec<(&'static str, u16, &'static str)>,
    /// The answer to the next last byte is lost.
    pub loses_last_answer: bool,
    /// More faults, until they have been drawn.
    pub dice: Option<Dice>,
    pub faults_left: u32,
    /// Bytes of videos that came.
    pub carried_bytes: u64,
    port: u16,
}

impl Youtube {
    pub fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn count(&self, asked: &str) -> usize {
        self.asked.iter().filter(|one| *one == asked).count()
    }
}

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    CloseAtOnce,
    CutAfter(u64),
    LoseAnswer,
    Fail,
    FailAfterwards,
    TooMany,
    ForgetSession,
    LoseBytes,
    RefuseToken,
}

/// A running one. Its threads end with the test's process.
pub struct StandIn {
    pub port: u16,
    youtube: Arc<Mutex<Youtube>>,
}

impl StandIn {
    pub fn start() -> Self {
        let youtube = Arc::new(Mutex::new(Youtube { listed_after: Duration::ZERO, ..Youtube::default() }));
        let shared = Arc::clone(&youtube);
        let port = serve(move |request| answer(request, &shared));
        youtube.lock().unwrap().port = port;
        Self { port, youtube }
    }

    pub fn now(&self) -> MutexGuard<'_, Youtube> {
        self.youtube.lock().unwrap()
    }
}

fn refused(status: u16, reason: &str) -> Option<Answer> {
    let error = json!({"code": status, "message": "no", "errors": [{"domain": "youtube", "reason": reason}]});
    Answer::new(status, json!({"error": error}).to_string())
}

fn draw(youtube: &mut Youtube) -> Fault {
    let Some(dice) = youtube.dice.as_mut().filter(|_| youtube.faults_left > 0) else { return Fault::None };
    let fault = match dice.below(20) {
        0 => Fault::CloseAtOnce,
        1 | 2 => Fault::CutAfter(dice.below(2 << 20)),
        3 | 4 => Fault::LoseAnswer,
        5 => Fault::Fail,
        6 => Fault::FailAfterwards,
        7 => Fault::TooMany,
        8 => Fault::ForgetSession,
        9 => Fault::LoseBytes,
        10 => Fault::RefuseToken,
        _ => return Fault::None,
    };
    youtube.faults_left -= 1;
    fault
}

fn answer(request: &mut Request<'_>, shared: &Mutex<Youtube>) -> Option<Answer> {
    let asked = format!("{} {}", request.method, request.path);
    let fault = {
        let mut youtube = shared.lock().unwrap();
        youtube.asked.push(asked.clone());
        if let Some(at) = youtube.refusals.iter().position(|(of, ..)| *of == asked) {
            let (_, status, reason) = youtube.refusals.remove(at);
            drop(youtube);
            request.body();
            return refused(status, reason);
        }
        draw(&mut youtube)
    };
    match fault {
        Fault::CloseAtOnce => return None,
        Fault::Fail => return refused(503, "backendError"),
        Fault::TooMany => return Answer::with(429, "retry-after", "0".into()),
        _ => {}
    }
    let is_token = request.path == "/token";
    if !is_token {
        let given: u32 = request.header("authorization").trim_start_matches("Bearer token-").parse().unwrap_or(0);
        let mut youtube = shared.lock().unwrap();
        if fault == Fault::RefuseToken {
            youtube.good_from = youtube.refreshed + 1;
        }
        if given == 0 || given < youtube.good_from {
            drop(youtube);
            request.body();
            return refused(401, "authError");
        }
    }
    let answered = if is_token { token(request, shared) } else { in_api(request, shared, fault) };
    match fault {
        Fault::LoseAnswer => None,
        Fault::FailAfterwards => refused(500, "backendError"),
        _ => answered,
    }
}

fn token(request: &mut Request<'_>, shared: &Mutex<Youtube>) -> Option<Answer> {
    let body = request.body();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    assert_eq!(form["grant_type"], "refresh_token");
    let mut youtube = shared.lock().unwrap();
    if youtube.is_revoked || form["refresh_token"] != "refresh/me" || form["client_secret"] != "hush" {
        return Answer::new(400, json!({"error": "invalid_grant"}).to_string());
    }
    youtube.refreshed += 1;
    let token = format!("token-{}", youtube.refreshed);
    Answer::new(200, json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).to_string())
}

fn in_api(request: &mut Request<'_>, shared: &Mutex<Youtube>, fault: Fault) -> Option<Answer> {
    let path = request.path.clone();
    match (&*request.method, &*path) {
        ("POST", "/upload/youtube/v3/videos") => {
            assert_eq!((request.query("uploadType"), request.query("part")), ("resumable", "snippet,status"));
            let len_bytes = request.header("x-upload-content-length").parse().unwrap();
            let video = serde_json::from_slice(&request.body()).unwrap();
            let mut youtube = shared.lock().unwrap();
            let id = format!("s{}", youtube.asked.len());
            let kept = (len_bytes <= 64 << 20).then(Vec::new);
            let session = Session { video, len_bytes, kept, hash: Sha256::new(), bytes: 0, made: None };
            youtube.sessions.insert(id.clone(), session);
            let address = format!("http://127.0.0.1:{}/session?upload_id={id}", youtube.port);
            Answer::with(200, "location", address)
        }
        ("PUT", "/session") => put(request, shared, fault),
        ("DELETE", "/session") => {
            let id = request.query("upload_id").to_owned();
            let was = shared.lock().unwrap().sessions.remove(&id);
            Answer::new(if was.is_some() { 499 } else { 404 }, "")
        }
        ("GET", "/youtube/v3/channels") => {
            let channel = json!({"id": "c", "contentDetails": {"relatedPlaylists": {"uploads": "UU"}}});
            Answer::new(200, json!({"items": [channel]}).to_string())
        }
        ("GET", "/youtube/v3/playlistItems") => playlist(request, &shared.lock().unwrap()),
        ("GET", "/youtube/v3/videos") => {
            let youtube = shared.lock().unwrap();
            let ids: Vec<&str> = request.query("id").split(',').collect();
            assert!(ids.len() <= 50);
            let found = youtube.videos.iter().filter(|video| ids.contains(&&*video.id));
            let items = found.map(|video| json!({"id": video.id, "snippet": video.snippet, "status": video.status}));
            Answer::new(200, json!({"items": items.collect::<Vec<_>>()}).to_string())
        }
        ("PUT", "/youtube/v3/videos") => {
            let said: Value = serde_json::from_slice(&request.body()).unwrap();
            let mut youtube = shared.lock().unwrap();
            let Some(video) = youtube.videos.iter_mut().find(|video| json!(video.id) == said["id"]) else {
                return refused(404, "videoNotFound");
            };
            let uploaded = video.status["uploadStatus"].clone();
            // What is left out is deleted.
            (video.snippet, video.status) = (said["snippet"].clone(), said["status"].clone());
            video.status["uploadStatus"] = uploaded;
            Answer::new(200, said.to_string())
        }
        ("POST", "/upload/youtube/v3/thumbnails/set") => {
            let (id, image) = (request.query("videoId").to_owned(), request.body());
            let mut youtube = shared.lock().unwrap();
            match youtube.videos.iter_mut().find(|video| video.id == id) {
                Some(video) => {
                    video.thumbnail = Some(image);
                    Answer::new(200, "{}")
                }
                None => refused(404, "videoNotFound"),
            }
        }
        (method, path) => panic!("nobody should ask {method} {path}"),
    }
}

fn playlist(request: &Request<'_>, youtube: &Youtube) -> Option<Answer> {
    assert_eq!(request.query("playlistId"), "UU");
    let from: usize = request.query("pageToken").parse().unwrap_or(0);
    let listed: Vec<&Video> =
        youtube.videos.iter().rev().filter(|video| video.exists_since.elapsed() >= youtube.listed_after).collect();
    let items =
        listed.iter().skip(from).take(50).map(
            |video| json!({"snippet": {"publishedAt": video.published_at}, "contentDetails": {"videoId": video.id}}),
        );
    let mut page = json!({"items": items.collect::<Vec<_>>()});
    if from + 50 < listed.len() {
        page["nextPageToken"] = json!((from + 50).to_string());
    }
    Answer::new(200, page.to_string())
}

/// Takes what comes, and says how far it is.
fn put(request: &mut Request<'_>, shared: &Mutex<Youtube>, fault: Fault) -> Option<Answer> {
    let id = request.query("upload_id").to_owned();
    let range = request.header("content-range").trim_start_matches("bytes ").to_owned();
    let (sent, whole) = range.split_once('/').expect("each PUT in a session says where its bytes belong");
    let whole: u64 = whole.parse().unwrap();
    if fault == Fault::ForgetSession {
        shared.lock().unwrap().sessions.remove(&id);
    }
    if let Some((first, last)) = sent.split_once('-') {
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        assert!(last + 1 == whole || (last + 1).is_multiple_of(UNIT), "a chunk ends in the middle of a unit: {range}");
        let (mut at, mut taken) = (first, 0);
        loop {
            let mut piece = request.piece();
            if piece.is_empty() {
                break;
            }
            if let Fault::CutAfter(bytes) = fault {
                piece.truncate((bytes.saturating_sub(taken)).min(piece.len() as u64) as usize);
            }
            taken += piece.len() as u64;
            let mut youtube = shared.lock().unwrap();
            youtube.carried_bytes += piece.len() as u64;
            let Some(session) = youtube.sessions.get_mut(&id) else {
                drop(youtube);
                request.body();
                return refused(404, "notFound");
            };
            assert_eq!(session.len_bytes, whole);
            // What it has already is passed over; beyond a gap nothing is taken.
            let skip = session.bytes.saturating_sub(at).min(piece.len() as u64) as usize;
            if at <= session.bytes {
                let fresh = &piece[skip..];
                session.hash.update(fresh);
                session.bytes += fresh.len() as u64;
                if let Some(kept) = &mut session.kept {
                    kept.extend_from_slice(fresh);
                }
            }
            at += piece.len() as u64;
            drop(youtube);
            if matches!(fault, Fault::CutAfter(bytes) if taken >= bytes) {
                // Only whole units outlive a broken connection.
                keep_units(shared, &id);
                return None;
            }
        }
        if at <= last {
            keep_units(shared, &id);
            return None;
        }
    } else {
        request.body();
    }
    if fault == Fault::LoseBytes {
        keep(shared, &id, |bytes| bytes / 2 / UNIT * UNIT);
    }
    let mut youtube = shared.lock().unwrap();
    let finished = finish(&mut youtube, &id);
    if std::mem::take(&mut youtube.loses_last_answer) {
        if matches!(finished, Some(Answer { status: 201, .. })) {
            return None;
        }
        youtube.loses_last_answer = true;
    }
    finished
}

fn keep_units(shared: &Mutex<Youtube>, id: &str) {
    keep(shared, id, |bytes| bytes / UNIT * UNIT);
}

fn keep(shared: &Mutex<Youtube>, id: &str, rest: impl Fn(u64) -> u64) {
    let mut youtube = shared.lock().unwrap();
    let Some(session) = youtube.sessions.get_mut(id) else { return };
    // What was whole is a video, and loses nothing.
    let Some(kept) = session.kept.as_mut().filter(|_| session.bytes < session.len_bytes) else { return };
    kept.truncate(rest(session.bytes) as usize);
    session.bytes = kept.len() as u64;
    session.hash = Sha256::new_with_prefix(&*kept);
}

fn finish(youtube: &mut Youtube, id: &str) -> Option<Answer> {
    let Some(session) = youtube.sessions.get_mut(id) else { return refused(404, "notFound") };
    if session.bytes < session.len_bytes {
        return match session.bytes {
            0 => Answer::new(308, ""),
            bytes => Answer::with(308, "range", format!("bytes=0-{}", bytes - 1)),
        };
    }
    let made = match &session.made {
        Some(made) => made.clone(),
        None => {
            let made = format!("video-{id}");
            session.made = Some(made.clone());
            let mut status = session.video["status"].clone();
            status["uploadStatus"] = json!("uploaded");
            let now = Clock::system().now().to_string();
            youtube.videos.push(Video {
                id: made.clone(),
                snippet: session.video["snippet"].clone(),
                status,
                bytes: session.bytes,
                sha256: session.hash.clone().finalize().into(),
                thumbnail: None,
                exists_since: Instant::now(),
                published_at: format!("{}Z", &now[..19]),
            });
            made
        }
    };
    Answer::new(201, json!({"id": made}).to_string())
}
