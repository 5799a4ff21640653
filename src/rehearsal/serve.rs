//! Answers the requests that reach a fake source.
//!
//! Promises: an answer without a fault is the true one, with its length; a rule is counted only against requests for
//! what the source has.
//! Never: decides what is on air (that is `show`) or what goes wrong (that is `script`).

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use actix_web::{App, HttpResponse, HttpResponseBuilder, HttpServer, web};
use bytes::Bytes;

use super::aired::Published;
use super::body;
use super::pages::{self, MAP_NAME, MEDIA_NAME, MediaPage};
use super::script::{Cut, Framing, Instead, PathKind, Plan, Script, Target};
use super::show::Show;
use super::source::{Access, WallClock};
use super::spec::Container;
use crate::model::Quality;

/// How often the programme moves on by itself: a live reel deletes what nobody has looked at for a window.
const TICK: Duration = Duration::from_millis(100);

/// All that the server and its handle share.
pub(super) struct Air {
    show: Mutex<Show>,
    script: Arc<Mutex<Script>>,
    accesses: Mutex<BTreeMap<String, Access>>,
    window_segments: usize,
    date_times: bool,
    clock: WallClock,
}

impl Air {
    pub(super) fn new(show: Show, window_segments: usize, date_times: bool, clock: WallClock) -> Self {
        let (script, accesses) = (Arc::default(), Mutex::default());
        Self { show: Mutex::new(show), script, accesses, window_segments, date_times, clock }
    }

    pub(super) fn show(&self) -> MutexGuard<'_, Show> {
        lock(&self.show)
    }

    /// The programme as it is at this moment.
    pub(super) fn show_now(&self) -> MutexGuard<'_, Show> {
        let now = (self.clock)();
        let mut show = self.show();
        show.advance(now);
        show
    }

    pub(super) fn script(&self) -> Arc<Mutex<Script>> {
        self.script.clone()
    }

    pub(super) fn accesses(&self) -> BTreeMap<String, Access> {
        lock(&self.accesses).clone()
    }

    fn count(&self, path: &str, add: fn(&mut Access)) {
        add(lock(&self.accesses).entry(path.to_owned()).or_default());
    }
}

/// A test that panicked while it held the lock has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves on a thread of its own, until the handle says stop.
pub(super) fn start(listener: TcpListener, air: Arc<Air>) -> io::Result<(ServerHandle, JoinHandle<()>)> {
    let (started, has_started) = mpsc::channel();
    let thread = thread::Builder::new().name("rehearsal".into()).spawn(move || {
        actix_web::rt::System::new().block_on(run(listener, air, started));
    })?;
    let server = has_started.recv().unwrap_or_else(|_| Err(io::Error::other("the server's thread has ended")))?;
    Ok((server, thread))
}

async fn run(listener: TcpListener, air: Arc<Air>, started: mpsc::Sender<io::Result<ServerHandle>>) {
    let data = web::Data::from(air.clone());
    let app = move || {
        App::new()
            .app_data(data.clone())
            .route("/master.m3u8", web::get().to(get_master))
            .route("/{quality}/{file}", web::get().to(get_file))
    };
    // A client that leaves while its answer is delayed or stalled must not be waited for.
    let server = HttpServer::new(app).workers(1).disable_signals().h1_allow_half_closed(false).tcp_nodelay(true);
    let server = match server.listen(listener) {
        Ok(server) => server.run(),
        Err(error) => {
            // The receiver waits for exactly this.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(server.handle()));
    let ticking = actix_web::rt::spawn(tick(air));
    if let Err(error) = server.await {
        eprintln!("the fake source has stopped: {error}");
    }
    ticking.abort();
}

async fn tick(air: Arc<Air>) {
    loop {
        drop(air.show_now());
        actix_web::rt::time::sleep(TICK).await;
    }
}

/// Something that the source has.
enum Wanted {
    Master,
    Media(Quality),
    Segment(Published),
    Map(Quality, PathBuf),
}

impl Wanted {
    fn target(&self) -> Target<'_> {
        let (kind, quality, media_sequence) = match self {
            Self::Master => (PathKind::Master, None, None),
            Self::Media(quality) => (PathKind::Media, Some(quality), None),
            Self::Segment(segment) => (PathKind::Segment, Some(&segment.quality), Some(segment.media_sequence)),
            Self::Map(quality, _) => (PathKind::Map, Some(quality), None),
        };
        Target { kind, quality, media_sequence }
    }

    fn path(&self) -> String {
        match self {
            Self::Master => "/master.m3u8".into(),
            Self::Media(quality) => format!("/{quality}/{MEDIA_NAME}"),
            Self::Segment(segment) => format!("/{}/{}", segment.quality, segment.name),
            Self::Map(quality, _) => format!("/{quality}/{MAP_NAME}"),
        }
    }
}

async fn get_master(air: web::Data<Air>) -> HttpResponse {
    answer(air.into_inner(), Wanted::Master).await
}

async fn get_file(air: web::Data<Air>, path: web::Path<(String, String)>) -> HttpResponse {
    let (quality, file) = path.into_inner();
    match find(&air, &quality, &file) {
        Some(wanted) => answer(air.into_inner(), wanted).await,
        None => plain(StatusCode::NOT_FOUND, "there is no such file".into()),
    }
}

fn find(air: &Air, quality: &str, file: &str) -> Option<Wanted> {
    let quality: Quality = quality.parse().ok()?;
    let show = air.show_now();
    let aired = show.aired(&quality)?;
    if file == MEDIA_NAME {
        return Some(Wanted::Media(quality));
    }
    if file == MAP_NAME {
        let map = show.map(&quality)?.to_owned();
        return Some(Wanted::Map(quality, map));
    }
    aired.iter().rev().find(|segment| segment.name == file).cloned().map(Wanted::Segment)
}

async fn answer(air: Arc<Air>, wanted: Wanted) -> HttpResponse {
    let path = wanted.path();
    air.count(&path, |access| access.requests += 1);
    let plan = lock(&air.script).take(&wanted.target());
    if !plan.delay.is_zero() {
        actix_web::rt::time::sleep(plan.delay).await;
    }
    match plan.instead {
        Some(instead) => answer_instead(instead),
        None => match content(&air, wanted, &plan).await {
            Ok(content) => send(content, plan.cut, air, path),
            Err(refusal) => plain(refusal.status, refusal.text),
        },
    }
}

fn answer_instead(instead: Instead) -> HttpResponse {
    match instead {
        Instead::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            plain(status, format!("the script says {status}"))
        }
        Instead::Html => open_to_all(StatusCode::OK)
            .content_type("text/html; charset=utf-8")
            .body("<!DOCTYPE html><html><body><h1>Please sign in</h1></body></html>\n"),
        Instead::Nothing => HttpResponse::Ok().streaming(body::nothing()),
    }
}

struct Content {
    content_type: &'static str,
    bytes: Bytes,
}

impl Content {
    fn playlist(text: String) -> Self {
        Self { content_type: "application/vnd.apple.mpegurl", bytes: text.into() }
    }
}

/// Why there is no content.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl ToString) -> Self {
        Self { status, text: text.to_string() }
    }
}

/// The true content, or the refusal where there is none yet.
async fn content(air: &Arc<Air>, wanted: Wanted, plan: &Plan) -> Result<Content, Refusal> {
    match wanted {
        Wanted::Master => master(air),
        Wanted::Media(quality) => media(air, &quality, plan),
        Wanted::Segment(segment) => {
            let content_type = match air.show().spec().container {
                Container::MpegTs => "video/mp2t",
                Container::FragmentedMp4 => "video/mp4",
            };
            file(content_type, segment.path).await
        }
        Wanted::Map(_, path) => file("video/mp4", path).await,
    }
}

fn master(air: &Air) -> Result<Content, Refusal> {
    let show = air.show_now();
    match show.variants() {
        Ok(Some(variants)) => Ok(Content::playlist(pages::master(show.spec(), &variants))),
        Ok(None) => Err(not_yet(&show)),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.chain())),
    }
}

fn media(air: &Air, quality: &Quality, plan: &Plan) -> Result<Content, Refusal> {
    let show = air.show_now();
    let page = MediaPage {
        target_seconds: show.target_seconds(),
        date_times: air.date_times && !plan.without_date_times,
        ended: show.is_over(quality) || plan.false_end,
        independent: !show.spec().open_gop,
    };
    let segments = show.window(quality, air.window_segments, plan.stale_segments).unwrap_or_default();
    page.text(segments).map(Content::playlist).ok_or_else(|| not_yet(&show))
}

fn not_yet(show: &Show) -> Refusal {
    match show.broken() {
        Some(why) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why),
        None => Refusal::new(StatusCode::NOT_FOUND, "not on air yet"),
    }
}

async fn file(content_type: &'static str, path: PathBuf) -> Result<Content, Refusal> {
    let read = web::block(move || std::fs::read(path)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Content { content_type, bytes: bytes.into() }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "no longer on disk"))
        }
        Ok(Err(error)) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}

fn send(content: Content, cut: Option<Cut>, air: Arc<Air>, path: String) -> HttpResponse {
    let mut response = open_to_all(StatusCode::OK);
    response.content_type(content.content_type).insert_header((CACHE_CONTROL, "no-cache"));
    let chunked = matches!(cut, Some(Cut::Truncated { framing: Framing::Chunked, .. }));
    if !chunked {
        response.no_chunking(content.bytes.len() as u64);
    }
    let done = move || air.count(&path, |access| access.completed += 1);
    response.streaming(body::stream(content.bytes, cut, Box::new(done)))
}

fn plain(status: StatusCode, text: String) -> HttpResponse {
    open_to_all(status).content_type("text/plain; charset=utf-8").body(text + "\n")
}

/// Players in a browser come from another origin.
fn open_to_all(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    response
}
