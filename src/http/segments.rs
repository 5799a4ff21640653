//! `/segments/…`: the bytes of segments, and of other files under BASE.

use std::fs::File;
use std::path::PathBuf;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use super::body::{Extent, requested_extent, stream_file};
use super::{HttpError, Site, params};
use crate::model::{FileName, Hour, SegmentKind, SegmentName};
use crate::store::{self, StoreError};

/// A segment's name holds its hash: under that name there will never be other bytes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Other files may change.
const ASK_AGAIN: &str = "no-cache";

pub async fn get(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let parts = parse_path(&path)?;
    let segment = segment_name(&parts);
    let file_path = parts.iter().fold(site.layout.base().to_owned(), |path, part| path.join(part));
    let (file, len_bytes) = site.blocking.run(move || open(file_path)).await??;

    let hash = segment.as_ref().and_then(SegmentName::hash);
    let etag = hash.map(|hash| header::EntityTag::new_strong(hash.to_string()));
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, content_type(parts.last().map_or("", FileName::as_str))));
    response.insert_header((header::ACCEPT_RANGES, "bytes"));
    response.insert_header((header::CACHE_CONTROL, if etag.is_some() { FOR_EVER } else { ASK_AGAIN }));
    if let Some(etag) = &etag {
        response.insert_header((header::ETAG, etag.to_string()));
        if params::matches_etag(request.headers().get(header::IF_NONE_MATCH), etag) {
            return Ok(response.status(actix_web::http::StatusCode::NOT_MODIFIED).finish());
        }
    }
    let range = request.headers().get(header::RANGE).filter(|_| allows_range(&request, etag.as_ref()));
    let whole = Extent { first: 0, end: len_bytes };
    let extent = match requested_extent(range, len_bytes) {
        Err(()) => return Err(HttpError::RangeOutside { len_bytes }),
        Ok(None) => whole,
        Ok(Some(extent)) => {
            response.status(actix_web::http::StatusCode::PARTIAL_CONTENT);
            let text = format!("bytes {}-{}/{len_bytes}", extent.first, extent.end - 1);
            response.insert_header((header::CONTENT_RANGE, text));
            extent
        }
    };
    let body = stream_file(file, extent, site.blocking.clone());
    Ok(response.body(actix_web::body::SizedStream::new(extent.len_bytes(), body)))
}

/// Each part must be a plain name: nothing hidden, nothing that climbs.
fn parse_path(path: &str) -> Result<Vec<FileName>, HttpError> {
    path.split('/').map(|part| part.parse().map_err(|why| HttpError::Name { what: "path", why })).collect()
}

/// CHANNEL/QUALITY/HOUR/NAME whose last two parts are what they should be, and which is no `temp`.
fn segment_name(parts: &[FileName]) -> Option<SegmentName> {
    let [_, _, hour, name] = parts else { return None };
    let hour: Hour = hour.as_str().parse().ok()?;
    SegmentName::parse(hour, name.as_str()).ok().filter(|name| name.kind() != SegmentKind::Temp)
}

fn open(path: PathBuf) -> Result<(File, u64), HttpError> {
    // Must precede the opening: a tombstone that can be seen hides the bytes (FORMATS §2), also of a file that is gone.
    if store::is_tombstoned(&path) {
        return Err(HttpError::Tombstoned);
    }
    let open = || {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    match open() {
        Ok((file, metadata)) if metadata.is_file() => Ok((file, metadata.len())),
        Ok(_) => Err(HttpError::Absent("file")),
        Err(error) => match StoreError::of_read(&path, error) {
            error if error.is_not_found() => Err(HttpError::Absent("file")),
            error => Err(HttpError::Store(error)),
        },
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("ts") => "video/mp2t",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => "application/octet-stream",
    }
}

/// If-Range: a part is sent only of the same bytes, else the whole.
fn allows_range(request: &HttpRequest, etag: Option<&header::EntityTag>) -> bool {
    match request.headers().get(header::IF_RANGE) {
        None => true,
        Some(condition) => etag.is_some_and(|etag| condition.to_str().is_ok_and(|text| text == etag.to_string())),
    }
}
