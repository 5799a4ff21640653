//! The HTTP interface (FORMATS §4): parses requests into types, asks the other rooms, turns their answers into
//! responses. No business of its own.
//!
//! A new route: a handler in the file of its kind, a line in `routes`, its label in `ROUTES`.

mod access;
mod body;
mod certificate;
mod coverage;
mod cuts;
mod debug;
mod digest;
mod encodings;
mod error;
mod events_api;
mod extras;
mod files;
mod follow;
mod gate;
mod live;
mod losses;
mod masters;
mod node_api;
mod page;
mod params;
mod playlists;
mod probes;
mod receipts;
mod segments;
mod stills;
mod thrimshim;
mod tombstones;
mod under_way;
mod validity;
mod videos;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, guard, web};
use rustls::ServerConfig;
use slog::Logger;
use tokio::time::timeout;

pub use certificate::{Certificate, CertificateError, Renewal};
pub use error::HttpError;
pub use events_api::Feed;
pub use gate::Gate;
pub use node_api::{DrainBoard, Neighbours};
pub use page::PageFiles;
pub use receipts::Receipts;
pub use thrimshim::EditorTerms;
use under_way::CountedBody;
pub use under_way::UnderWay;

use crate::actors::{Directory, Overview};
use crate::auth::Door;
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::config::{CoverageConfig, Debugging};
use crate::cut::{Ffmpeg, Waveforms};
use crate::db::Db;
use crate::health::Health;
use crate::hls::HourTexts;
use crate::metrics::Metrics;
use crate::model::{NodeIdentity, NodeName};
use crate::peers::PeerAccess;
use crate::profile::Profiler;
use crate::store::{Coverages, Digests, Layout, Volume};

/// What handlers need. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub name: NodeName,
    /// How the node is.
    pub overview: Overview,
    /// As whom other nodes are asked.
    pub peer_access: PeerAccess,
    /// What other nodes told last.
    pub neighbours: Neighbours,
    /// Whether the node may be stopped, as it was found last.
    pub drain: DrainBoard,
    /// Asked before anything is written.
    pub volume: Volume,
    pub identity: Option<NodeIdentity>,
    pub layout: Layout,
    pub directory: Directory,
    /// The readers' own door to the disk.
    pub blocking: Blocking,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub ffmpeg: Ffmpeg,
    pub waveforms: Waveforms,
    pub receipts: Receipts,
    pub log: Logger,
    pub under_way: UnderWay,
    /// What playlists of ranges that are over are put together from.
    pub hour_texts: HourTexts,
    pub digests: Digests,
    /// How old digests of the whole node may be.
    pub digests_max_age: Duration,
    pub coverages: Coverages,
    pub coverage: CoverageConfig,
    /// Where less is free, no archives are written.
    pub min_free_bytes: u64,
    pub db: Db,
    /// To what is not open to everybody.
    pub door: Door,
    /// Before everything.
    pub gate: Gate,
    /// What editors start from.
    pub terms: EditorTerms,
    /// Places for those who listen to changes of events.
    pub feed: Feed,
    /// The node's own page.
    pub page_files: PageFiles,
    /// Who may look into the process.
    pub debug: Debugging,
    pub profiler: Profiler,
}

/// Threads that answer requests. Bodies wait on the disk elsewhere, so a few serve many.
const WORKERS: usize = 2;
/// A client that sends no request for this long is let go.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// No answer takes longer to begin: a cut waits for its turn for a minute at most, and for its first frames for another.
const HEAD_DEADLINE: Duration = Duration::from_secs(150);
/// A client that takes nothing of what is sent to it for this long is gone, or holds an ffmpeg that others wait for.
const CLIENT_STALLS_AFTER: Duration = Duration::from_secs(10 * 60);

/// A listening server, not yet awaited.
pub struct Listening {
    pub server: Server,
    pub address: SocketAddr,
}

/// Starts to answer, over TLS where there is a `tls`. `Site::under_way` tells when it can be stopped without cutting anybody
/// off.
pub fn listen(site: Site, listener: TcpListener, tls: Option<ServerConfig>) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(site.clone()))
            .wrap(from_fn(observe))
            .configure(routes)
            .default_service(web::to(|| async { Err::<HttpResponse, _>(HttpError::NoRoute) }))
    })
    .workers(WORKERS)
    .disable_signals()
    .keep_alive(KEEP_ALIVE)
    // Small answers must not wait for an acknowledgement (44 ms each).
    .tcp_nodelay(true)
    // A client that goes away silently is noticed, and its ffmpeg ends.
    .h1_allow_half_closed(false)
    .on_connect(|connection, _| {
        let over_tls = connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
        if let Some(stream) = over_tls.or_else(|| connection.downcast_ref::<TcpStream>()) {
            // The kernel watches: while a socket is full nobody asks the body for more, so no code of ours runs. Where it
            // cannot, a stalled client is held until it ends.
            let stalls_after_ms = CLIENT_STALLS_AFTER.as_millis() as u32;
            let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, stalls_after_ms);
        }
    });
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
    };
    Ok(Listening { server: server.run(), address })
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/").route(get_or_head().to(page::index)))
        .service(resource("/ui/{path:.+}").route(get_or_head().to(page::file)))
        .service(resource("/files").route(get_or_head().to(files::channels)))
        .service(resource("/files/{channel}").route(get_or_head().to(files::qualities)))
        .service(resource("/files/{channel}/{quality}").route(get_or_head().to(files::hours)))
        .service(resource("/files/{channel}/{quality}/{hour}").route(get_or_head().to(files::segments)))
        .service(resource("/digest").route(get_or_head().to(digest::node)))
        .service(resource("/digest/{channel}/{quality}").route(get_or_head().to(digest::quality)))
        .service(resource("/digest/{channel}/{quality}/{day}").route(get_or_head().to(digest::day)))
        .service(resource("/segments/{path:.+}").route(get_or_head().to(segments::get)))
        .service(resource("/extras/{dir}").route(get_or_head().to(extras::list)))
        .service(resource("/tombstones/{channel}/{quality}/{hour}").route(get_or_head().to(tombstones::get)))
        .service(resource("/playlist/{channel}.m3u8").route(get_or_head().to(masters::get)))
        .service(resource("/playlist/{channel}/{quality}.m3u8").route(get_or_head().to(playlists::media)))
        .service(resource_for("/cut/{channel}/{quality}.ts", "GET").route(web::get().to(cuts::cut)))
        .service(resource_for("/cut/preview/{channel}/{quality}.ts", "GET").route(web::get().to(cuts::preview)))
        .service(resource("/cut/receipts/{number}").route(get_or_head().to(receipts::get)))
        .service(resource("/frame/{channel}/{quality}.png").route(get_or_head().to(stills::frame)))
        .service(
            resource_for("/thumbnail/{channel}/{quality}.png", "GET, POST")
                .app_data(web::PayloadConfig::new(stills::MAX_TEMPLATE_BYTES))
                .route(web::get().to(stills::thumbnail))
                .route(web::post().to(stills::thumbnail)),
        )
        .service(resource_for("/waveform/{channel}/{quality}.png", "GET").route(web::get().to(stills::waveform_png)))
        .service(resource_for("/waveform/{channel}/{quality}.json", "GET").route(web::get().to(stills::waveform_json)))
        .service(resource_for("/generate_videos/{channel}/{quality}", "POST").route(web::post().to(videos::generate)))
        .service(resource("/losses/{channel}/{quality}").route(get_or_head().to(losses::get)))
        .service(resource("/coverage").route(get_or_head().to(coverage::page)))
        .service(resource("/coverage/style.css").route(get_or_head().to(coverage::style)))
        .service(resource("/coverage/{channel}/{quality}.png").route(get_or_head().to(coverage::map)))
        .service(resource("/coverage/{channel}/{quality}").route(get_or_head().to(coverage::figures)))
        .service(resource_for("/follow/{channel}/{quality}", "GET").route(web::get().to(follow::get)))
        .configure(thrimshim::routes)
        .configure(events_api::routes)
        .configure(node_api::routes)
        .service(resource_for("/healthz", "GET").route(web::get().to(probes::healthz)))
        .service(resource_for("/readyz", "GET").route(web::get().to(probes::readyz)))
        .service(resource_for("/node", "GET").route(web::get().to(probes::node)))
        .service(resource_for("/debug/pprof/profile", "GET").route(web::get().to(debug::profile)))
        .service(resource_for("/debug/pprof/heap", "GET").route(web::get().to(debug::heap)))
        .service(resource_for("/debug/memory", "GET").route(web::get().to(debug::memory)))
        .service(resource_for("/metrics", "GET").route(web::get().to(probes::metrics)))
        .service(resource_for("/metrics/{anything:.*}", "GET").route(web::get().to(probes::metrics)));
}

/// The same handler for both: actix keeps the body of an answer to HEAD to itself.
fn get_or_head() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource that is read, and refuses other methods in our own words.
fn resource(pattern: &'static str) -> actix_web::Resource {
    resource_for(pattern, "GET, HEAD")
}

/// The same for other methods: the value of Allow.
fn resource_for(pattern: &'static str, allowed: &'static str) -> actix_web::Resource {
    let refuse = move || async move { Err::<HttpResponse, _>(HttpError::Method { allowed }) };
    web::resource(pattern).default_service(web::to(refuse))
}

/// Label of each route's metrics, by the beginning of its path.
const ROUTES: [&str; 22] = [
    "/ui",
    "/files",
    "/digest",
    "/segments",
    "/extras",
    "/tombstones",
    "/playlist",
    "/cut",
    "/frame",
    "/thumbnail",
    "/waveform",
    "/generate_videos",
    "/losses",
    "/coverage",
    "/follow",
    "/thrimshim",
    "/api",
    "/healthz",
    "/readyz",
    "/node",
    "/metrics",
    "/debug",
];

fn route_label(path: &str) -> &'static str {
    // The page's first file.
    let path = if path == "/" { "/ui" } else { path };
    let first = path.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    ROUTES.into_iter().find(|route| &route[1..] == first).unwrap_or("other")
}

/// Counts each request, and opens every answer to pages of other sites (FORMATS §4).
async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<CountedBody>, actix_web::Error> {
    let began = Instant::now();
    let route = route_label(request.path());
    let site = request.app_data::<web::Data<Site>>().cloned().expect("the application is built with it");
    let counted = site.under_way.begin();
    let mut response = if request.method() == Method::OPTIONS {
        request.into_response(HttpResponse::NoContent().finish())
    } else {
        let answered = async {
            match gate::pass(&site, request.request()).await {
                Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
                Err(refusal) => Ok(request.into_response(refusal.error_response())),
            }
        };
        match timeout(HEAD_DEADLINE, answered).await {
            Ok(answered) => answered.map_err(|error: actix_web::Error| error)?,
            Err(_) => {
                site.metrics.http_answered(route, HttpError::TooSlow.status_code().as_u16(), began.elapsed());
                return Err(HttpError::TooSlow.into());
            }
        }
    };
    let headers = response.headers_mut();
    if site.gate.is_closed() {
        keep_from_shared_caches(headers);
    }
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    site.metrics.http_answered(route, response.status().as_u16(), began.elapsed());
    Ok(response.map_body(|_, body| CountedBody { body, _counted: counted }))
}

/// What not everybody may read, no cache on the way may keep for others.
fn keep_from_shared_caches(headers: &mut header::HeaderMap) {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    if let Some(rest) = control.and_then(|control| control.strip_prefix("public")) {
        let private = header::HeaderValue::try_from(format!("private{rest}")).expect("it was a header's value");
        headers.insert(header::CACHE_CONTROL, private);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_of_few_whatever_the_path() {
        assert_eq!(route_label("/files/a/b"), "/files");
        assert_eq!(route_label("/filesystem"), "other");
        assert_eq!(route_label("/metrics"), "/metrics");
        assert_eq!(route_label("/"), "/ui");
        for odd in ["", "//", "//files", "/é", "x"] {
            assert_eq!(route_label(odd), "other");
        }
    }
}
