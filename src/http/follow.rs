//! `/follow/…`: what is stored, as server-sent events, as it is stored.
//!
//! Promises: a connection is never silent for long; a client that does not keep up is let go, and may go on where it was.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::{HttpError, Site, params};
use crate::actors::{Follow, News, StoredKind};

/// Peers take a silence of three times this for a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The names of files in the current and the previous hour, each as it gets its place.
pub async fn get(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let follow = Follow { channel, quality, after: last.and_then(|id| id.trim().parse().ok()) };
    let feed = site.directory.stored_feed.get(&()).ok_or(HttpError::Restarting)?;
    let news = feed.send(follow).await.map_err(|_| HttpError::Restarting)??;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // nginx would keep the events until they fill a buffer.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream::unfold(news, |mut news| async move {
            let text = next_text(&mut news).await?;
            Some((Ok::<_, HttpError>(text), news))
        })))
}

async fn next_text(news: &mut Receiver<News>) -> Option<Bytes> {
    match timeout(HEARTBEAT, news.recv()).await {
        Ok(news) => Some(text_of(&news?).into()),
        Err(_) => Some(Bytes::from_static(b":\n\n")),
    }
}

fn text_of(news: &News) -> String {
    match news {
        News::List { cursor } => format!("event: list\nid: {cursor}\ndata: {{}}\n\n"),
        News::Told(told) => {
            let event = match told.kind {
                StoredKind::Stored => "stored",
                StoredKind::Tombstone => "tombstone",
            };
            let data = json!({ "hour": told.hour.to_string(), "name": &*told.name });
            format!("event: {event}\nid: {}\ndata: {data}\n\n", told.cursor)
        }
    }
}
