//! `/debug/…`: where the node spends its time, and what its memory is made of, for who looks for a fault in it.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use flate2::Compression;
use flate2::write::GzEncoder;
use slog::info;

use super::params::Query;
use super::{HttpError, Site, access};
use crate::auth::Denied;
use crate::config::Debugging;
use crate::health::NotReady;
use crate::model::Role;
use crate::profile::{self, CpuProfile, HeapProfile, ProfileError};

const DEFAULT_SECONDS: u64 = 10;
/// Names are looked up after it, and the answer must begin in time (`HEAD_DEADLINE`).
const MAX_SECONDS: u64 = 60;
/// What a proxy says of itself, and what a browser says for the page of a stranger: neither asks for who sits here.
const FOR_SOMEBODY_ELSE: [&str; 5] = ["forwarded", "x-forwarded-for", "x-real-ip", "via", "origin"];

/// How a profile is written down.
#[derive(Clone, Copy)]
enum Form {
    /// What `go tool pprof` reads.
    Protobuf,
    Flames,
}

impl Form {
    fn parse(query: &Query) -> Result<Self, HttpError> {
        match query.get("format") {
            None | Some("pprof") => Ok(Self::Protobuf),
            Some("svg") => Ok(Self::Flames),
            Some(_) => Err(HttpError::Parameter { parameter: "format", why: "it must be pprof or svg".into() }),
        }
    }
}

/// `?seconds=1..60&format=pprof|svg`.
pub async fn profile(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    admit(&site, &request).await?;
    let query = Query::parse(request.query_string());
    let (seconds, form) = (seconds(&query)?, Form::parse(&query)?);
    info!(site.log, "the processor is watched"; "seconds" => seconds);
    let is_stopping = || site.health.ready() == Err(NotReady::Stopping);
    let profile = site.profiler.processor(Duration::from_secs(seconds), is_stopping).await?;
    let (name, now) = (site.name.clone(), unix_nanos(&site));
    answer(&site, form, move |form| match form {
        Form::Protobuf => profile.protobuf(now),
        Form::Flames => flames(&profile, name.as_str()).into_bytes(),
    })
    .await
}

/// `?format=pprof|svg`.
pub async fn heap(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    admit(&site, &request).await?;
    let form = Form::parse(&Query::parse(request.query_string()))?;
    let profile = site.profiler.heap().await?;
    let (name, now) = (site.name.clone(), unix_nanos(&site));
    answer(&site, form, move |form| match form {
        Form::Protobuf => profile.protobuf(now),
        Form::Flames => held(&profile, name.as_str()).into_bytes(),
    })
    .await
}

fn unix_nanos(site: &Site) -> i64 {
    site.clock.now().micros().saturating_mul(1000)
}

/// A profile, written down off the arbiter.
async fn answer(
    site: &Site,
    form: Form,
    write: impl FnOnce(Form) -> Vec<u8> + Send + 'static,
) -> Result<HttpResponse, HttpError> {
    let body = site
        .blocking
        .run(move || match form {
            Form::Protobuf => compressed(&write(form)),
            Form::Flames => Ok(write(form)),
        })
        .await?
        .map_err(|error| ProfileError::Unable(error.to_string()))?;
    let content_type = match form {
        Form::Protobuf => "application/octet-stream",
        Form::Flames => "image/svg+xml",
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body))
}

pub async fn memory(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    admit(&site, &request).await?;
    let memory = site.blocking.run(profile::memory).await?;
    let memory = memory.map_err(|error| ProfileError::Unable(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(memory))
}

async fn admit(site: &Site, request: &HttpRequest) -> Result<(), HttpError> {
    match site.debug {
        Debugging::Off => Err(HttpError::DebugClosed),
        Debugging::Loopback => {
            let peer = request.peer_addr().map(|peer| peer.ip());
            if asks_here(peer, request.headers()) { Ok(()) } else { Err(HttpError::DebugClosed) }
        }
        // Where nobody is asked who they are, everybody would be an operator.
        Debugging::Token if !site.door.has_tokens() => Err(HttpError::Denied(Denied::NoToken)),
        Debugging::Token => access::admit(site, request, None, Role::Operator).await.map(drop),
    }
}

/// On this machine, for themselves.
fn asks_here(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let is_for_somebody_else = FOR_SOMEBODY_ELSE.iter().any(|name| headers.contains_key(*name));
    peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && !is_for_somebody_else
}

fn seconds(query: &Query) -> Result<u64, HttpError> {
    let Some(text) = query.get("seconds") else { return Ok(DEFAULT_SECONDS) };
    let seconds = text.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    seconds.ok_or_else(|| HttpError::Parameter { parameter: "seconds", why: format!("it must be 1 to {MAX_SECONDS}") })
}

fn flames(profile: &CpuProfile, name: &str) -> String {
    let busy = profile.samples() as f64 / f64::from(profile.samples_per_second) / profile.took.as_secs_f64();
    let title = format!(
        "segvault {name}: {} samples in {:.1} s, {busy:.2} processors busy",
        profile.samples(),
        profile.took.as_secs_f64()
    );
    let stacks = profile.stacks.iter().map(|(stack, count)| (&stack[..], *count));
    profile::flame::svg(stacks, "samples", &title)
}

fn held(profile: &HeapProfile, name: &str) -> String {
    let title = format!(
        "segvault {name}: {:.1} MiB held, as one byte in {} tells",
        profile.bytes() / f64::from(1 << 20),
        profile.every_bytes
    );
    let stacks = profile.stacks.iter().map(|(stack, held)| (&stack[..], held.bytes.round() as u64));
    profile::flame::svg(stacks, "bytes", &title)
}

fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_on_this_machine_itself_is_near() {
        let plain = HeaderMap::new();
        for (peer, is_near) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("::ffff:192.0.2.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(asks_here(Some(peer.parse().unwrap()), &plain), is_near, "{peer}");
        }
        assert!(!asks_here(None, &plain));
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        for name in ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "Origin"] {
            let mut headers = HeaderMap::new();
            headers.insert(name.parse().unwrap(), header::HeaderValue::from_static("x"));
            assert!(!asks_here(here, &headers), "{name}");
        }
    }

    #[test]
    fn a_profile_is_bounded() {
        for (query, expected) in [
            ("", Some(10)),
            ("seconds=1", Some(1)),
            ("seconds=60", Some(60)),
            ("seconds=61", None),
            ("seconds=0", None),
        ] {
            assert_eq!(seconds(&Query::parse(query)).ok(), expected, "{query}");
        }
        for odd in ["seconds=", "seconds=-1", "seconds=1.5", "seconds=99999999999999999999"] {
            assert!(seconds(&Query::parse(odd)).is_err(), "{odd}");
        }
    }
}
