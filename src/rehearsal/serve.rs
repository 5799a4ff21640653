//! The server of a fake source: takes requests, and finds what they are for.
//!
//! Promises: only requests for what the source has are counted and meet the script.
//! Never: decides what is on air (that is `show`); writes an answer but "not found" (that is `answer`).

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::aired::{Encoding, Published};
use super::answer;
use super::fault::PathKind;
use super::pages::{self, MEDIA_NAME};
use super::plan::Plan;
use super::script::{Script, Target};
use super::show::Show;
use super::source::{Access, SourceSpec, WallClock};
use crate::model::Quality;

/// How often the programme moves on by itself: a live reel deletes what nobody has looked at for a window.
const TICK: Duration = Duration::from_millis(100);

/// All that the server and its handle share.
pub(super) struct Air {
    show: Mutex<Show>,
    script: Arc<Mutex<Script>>,
    accesses: Mutex<BTreeMap<String, Access>>,
    pub(super) window_segments: usize,
    pub(super) date_times: bool,
    keep: Option<Duration>,
    clock: WallClock,
}

impl Air {
    pub(super) fn new(show: Show, spec: &SourceSpec) -> Self {
        Self {
            show: Mutex::new(show),
            script: Arc::default(),
            accesses: Mutex::default(),
            window_segments: spec.window_segments,
            date_times: spec.date_times,
            keep: spec.keep,
            clock: spec.clock.clone(),
        }
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

    /// Counts a request; how many have come before it.
    pub(super) fn count_request(&self, path: &str) -> u64 {
        let mut accesses = lock(&self.accesses);
        let access = accesses.entry(path.to_owned()).or_default();
        access.requests += 1;
        access.requests - 1
    }

    pub(super) fn count_completed(&self, path: &str) {
        lock(&self.accesses).entry(path.to_owned()).or_default().completed += 1;
    }

    /// What befalls this request, and whether playlists hand out tokens.
    pub(super) fn consult_script(&self, target: &Target<'_>) -> (Plan, bool) {
        let mut script = lock(&self.script);
        (script.take(target), script.has_tokens())
    }

    /// Starts a programme that has waited.
    pub(super) fn begin(&self) {
        self.show().begin((self.clock)());
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
pub(super) enum Wanted {
    Master,
    Media(Quality),
    Segment(Published),
    Map(Quality, Encoding, PathBuf),
}

impl Wanted {
    pub(super) fn kind(&self) -> PathKind {
        match self {
            Self::Master => PathKind::Master,
            Self::Media(_) => PathKind::Media,
            Self::Segment(_) => PathKind::Segment,
            Self::Map(..) => PathKind::Map,
        }
    }

    pub(super) fn quality(&self) -> Option<&Quality> {
        match self {
            Self::Master => None,
            Self::Media(quality) | Self::Map(quality, ..) => Some(quality),
            Self::Segment(segment) => Some(&segment.quality),
        }
    }

    pub(super) fn media_sequence(&self) -> Option<u64> {
        match self {
            Self::Master | Self::Media(_) | Self::Map(..) => None,
            Self::Segment(segment) => Some(segment.media_sequence),
        }
    }

    pub(super) fn path(&self) -> String {
        match self {
            Self::Master => "/master.m3u8".into(),
            Self::Media(quality) => format!("/{quality}/{MEDIA_NAME}"),
            Self::Segment(segment) => format!("/{}/{}", segment.quality, segment.name),
            Self::Map(quality, encoding, _) => format!("/{quality}/{}", pages::map_name(*encoding)),
        }
    }
}

async fn get_master(air: web::Data<Air>, request: HttpRequest) -> HttpResponse {
    answer::answer(air.into_inner(), Wanted::Master, &request).await
}

async fn get_file(air: web::Data<Air>, path: web::Path<(String, String)>, request: HttpRequest) -> HttpResponse {
    let (quality, file) = path.into_inner();
    match find(&air, &quality, &file) {
        Some(wanted) => answer::answer(air.into_inner(), wanted, &request).await,
        None => answer::plain(StatusCode::NOT_FOUND, "there is no such file".into()),
    }
}

fn find(air: &Air, quality: &str, file: &str) -> Option<Wanted> {
    let quality: Quality = quality.parse().ok()?;
    let show = air.show_now();
    let aired = show.aired(&quality)?;
    if file == MEDIA_NAME {
        return Some(Wanted::Media(quality));
    }
    if let Some(encoding) = pages::encoding_of_map(file) {
        let map = show.map(&quality, encoding)?.to_owned();
        return Some(Wanted::Map(quality, encoding, map));
    }
    let segment = aired.iter().rev().find(|segment| segment.name == file)?;
    let is_kept = air.keep.is_none_or(|keep| (air.clock)().saturating_since(segment.aired_at) < keep);
    is_kept.then(|| Wanted::Segment(segment.clone()))
}
