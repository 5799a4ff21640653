//! `/` and `/ui/…`: the node's own page, from files that are part of the program.
//!
//! Promises: the page asks this node and its peers and nobody else, and runs no script but its own (the policy of content
//! says so); a file that has not changed is not sent again. A debug build reads the files from the source tree that it was
//! made in, so that work on the page needs no compiler; what it serves is the same.
//! Never: reads a path that somebody asked for; a name is in the table, or it is nothing.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::{HttpError, Site, params};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Where each file's bytes are.
        const FILES: &[(&str, Content)] = &[$(($name, content!($name))),+];
    };
}

#[cfg(debug_assertions)]
macro_rules! content {
    ($name:literal) => {
        Content::At(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/", $name))
    };
}

#[cfg(not(debug_assertions))]
macro_rules! content {
    ($name:literal) => {
        Content::Within(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/", $name)))
    };
}

#[derive(Debug, Clone, Copy)]
enum Content {
    #[cfg(debug_assertions)]
    At(&'static str),
    #[cfg(not(debug_assertions))]
    Within(&'static [u8]),
}

impl Content {
    fn read(self) -> io::Result<Bytes> {
        match self {
            #[cfg(debug_assertions)]
            Self::At(path) => std::fs::read(path).map(Bytes::from),
            #[cfg(not(debug_assertions))]
            Self::Within(bytes) => Ok(Bytes::from_static(bytes)),
        }
    }
}

/// The page itself.
const INDEX: &str = "index.html";

files![
    "api.js",
    "app.js",
    "cut/cards.js",
    "cut/check.js",
    "cut/download.js",
    "cut/draft.js",
    "cut/job.js",
    "cut/seam.js",
    "cut/sound.js",
    "deck/book.js",
    "deck/deck.js",
    "deck/edge.js",
    "deck/hls.js",
    "deck/keys.js",
    "deck/master.js",
    "deck/place.js",
    "deck/player.js",
    "deck/timeline.js",
    "dom.js",
    "icon.svg",
    "index.html",
    "light.css",
    "live.js",
    "sign.js",
    "signed-in.html",
    "signed-in.js",
    "slices.js",
    "style.css",
    "time.js",
    "vendor/hls.js/LICENSE",
    "vendor/hls.js/hls.min.js",
    "views/cut.css",
    "views/cut.js",
    "views/deck.css",
    "views/jobs.css",
    "views/jobs.js",
    "views/jobs/event.js",
    "views/jobs/filters.js",
    "views/jobs/receipt.js",
    "views/jobs/words.js",
    "views/record.css",
    "views/record.js",
    "views/record/coverage.js",
    "views/record/drain.js",
    "views/record/keep.js",
    "views/record/nodes.js",
    "views/record/strip.js",
    "views/record/tombstones.js",
    "views/record/words.js",
    "views/watch.js",
];

/// The files as they are sent, each made ready when somebody asks for it first. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PageFiles(Arc<Mutex<BTreeMap<&'static str, Ready>>>);

#[derive(Debug, Clone)]
struct Ready {
    plain: Bytes,
    gzipped: Bytes,
    /// Of the plain form.
    hash: String,
}

impl PageFiles {
    fn get(&self, name: &'static str, content: Content) -> io::Result<Ready> {
        let plain = content.read()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known.filter(|known| known.plain == plain) {
            return Ok(known);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain)?;
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&plain));
        let ready = Ready { gzipped: encoder.finish()?.into(), plain, hash };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, ready.clone());
        Ok(ready)
    }
}

/// `/`.
pub async fn index(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    send(&site, &request, INDEX).await
}

/// `/ui/PATH`.
pub async fn file(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    send(&site, &request, &path).await
}

async fn send(site: &Site, request: &HttpRequest, name: &str) -> Result<HttpResponse, HttpError> {
    let (name, content) = *FILES.iter().find(|(known, _)| *known == name).ok_or(HttpError::Absent("file"))?;
    let files = site.page_files.clone();
    let ready = site.blocking.run(move || files.get(name, content)).await?.map_err(|_| HttpError::Absent("file"))?;
    let gzipped = params::takes_gzip(request.headers().get(header::ACCEPT_ENCODING));
    // A strong tag stands for bytes, so each form has its own (RFC 9110 §8.8.3.3).
    let form = if gzipped { "-gzip" } else { "" };
    let tag = header::EntityTag::new_strong(format!("{}{form}", ready.hash));
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::ETAG, tag.to_string()))
        .insert_header((header::VARY, "accept-encoding"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if name.ends_with(".html") {
        // Where people come back to from logging in, nobody else is asked.
        let peers = if name == INDEX { peers(site) } else { Vec::new() };
        response.insert_header((header::CONTENT_SECURITY_POLICY, policy(&peers)));
        // An issuer's window gets no hold of the page that opened it.
        response.insert_header(("cross-origin-opener-policy", "same-origin"));
    }
    if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    if gzipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    Ok(response.content_type(media_type(name)).body(if gzipped { ready.gzipped } else { ready.plain }))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "text/plain; charset=utf-8",
    }
}

/// The origins of the nodes that this one copies from: the page asks them how much of the record they hold.
fn peers(site: &Site) -> Vec<String> {
    let peers = site.directory.backfill_peers.keys().into_iter().map(|(peer, _, _)| peer.origin());
    let mut peers: Vec<String> = peers.collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// What the page may load and ask. The player hands its worker and its video to the browser as blobs.
fn policy(peers: &[String]) -> String {
    let peers: String = peers.iter().map(|peer| format!(" {peer}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:{peers}; media-src 'self' blob:; \
         connect-src 'self' blob:{peers}; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is served: all but what is for whoever works on the page.
    fn on_disk(dir: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{prefix}{name}");
            if entry.file_type().unwrap().is_dir() {
                if name != "node_modules" {
                    on_disk(&entry.path(), &format!("{path}/"), found);
                }
            } else if name == "LICENSE" || [".html", ".css", ".svg", ".js"].iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_in_the_program() {
        let mut found = Vec::new();
        on_disk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ui"), "", &mut found);
        found.sort_unstable();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), found);
        for (name, content) in FILES {
            assert!(!content.read().unwrap().is_empty(), "{name}");
        }
    }

    #[test]
    fn the_page_may_ask_peers_and_nobody_else() {
        let policy = policy(&["http://beta:8000".to_owned()]);
        assert!(policy.contains("connect-src 'self' blob: http://beta:8000;"), "{policy}");
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }

    #[test]
    fn what_is_sent_compressed_is_the_file() {
        let (files, (name, content)) = (PageFiles::default(), FILES[0]);
        let ready = files.get(name, content).unwrap();
        let mut plain = Vec::new();
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&ready.gzipped[..]), &mut plain).unwrap();
        assert_eq!(plain, ready.plain);
        assert_eq!(files.get(name, content).unwrap().hash, ready.hash);
    }
}
