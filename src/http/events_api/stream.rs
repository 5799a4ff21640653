//! `/api/v1/events/stream`: every change of any event, as it happens (server-sent events).
//!
//! Promises: a listener that comes back with the id it saw last misses no change; one may come twice, and (event_id,
//! version) tells. Changes of other nodes come too: the database is asked, once a second for each listener.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::since;
use crate::db::{HistoryLine, MAX_LINES};
use crate::health::NotReady;
use crate::http::params::{self, Query};
use crate::http::{HttpError, Site};
use crate::jitter::jittered;
use crate::model::Timestamp;

/// Each asks the database by itself.
const MOST_LISTENERS: usize = 32;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While the database is down.
const MOST_LOOKS_SKIPPED: u32 = 15;
/// Looks without a change after which a listener is told that all is well, so that nothing between us hangs up.
const QUIET_LOOKS: u32 = 15;
/// How much later than its time a change may appear: nodes' clocks differ, and transactions take a while.
const LATE_MICROS: i64 = 10_000_000;

/// Places for listeners. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Semaphore>);

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_LISTENERS)))
    }
}

/// What one listener has been told.
struct Told {
    /// Where the next look begins.
    since: Timestamp,
    /// When what lies behind it happened, of what has been told.
    seen: HashMap<(String, i64), Timestamp>,
}

impl Told {
    /// What happened at this moment or later; and a while before, as that may yet appear.
    fn before(moment: Timestamp) -> Self {
        Self { since: moment.plus_micros(-LATE_MICROS), seen: HashMap::new() }
    }

    /// What of these lines is new; moves on to the next look.
    fn take(&mut self, lines: Vec<HistoryLine>) -> Vec<HistoryLine> {
        let is_full = lines.len() as i64 >= MAX_LINES;
        if let Some(last) = lines.last() {
            // With so many, whoever is late is let go: else there would be no end.
            let back = if is_full { 0 } else { LATE_MICROS };
            self.since = self.since.max(last.at.plus_micros(-back));
        }
        let new: Vec<HistoryLine> =
            lines.into_iter().filter(|line| !self.seen.contains_key(&(line.event_id.clone(), line.version))).collect();
        self.seen.extend(new.iter().map(|line| ((line.event_id.clone(), line.version), line.at)));
        let since = self.since;
        self.seen.retain(|_, at| *at >= since);
        new
    }
}

struct Listener {
    site: Site,
    told: Told,
    quiet: u32,
    /// In a row.
    failures: u32,
    /// Looks that are left out, while the database is down.
    skipped: u32,
    /// Nothing has been sent yet.
    is_new: bool,
    /// It asks for what comes, and not for what is there.
    knows_what_is: bool,
    _place: OwnedSemaphorePermit,
}

pub async fn get(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let last_seen = request.headers().get("Last-Event-ID").and_then(|value| value.to_str().ok());
    let last_seen = last_seen.map(|text| params::time("Last-Event-ID", text)).transpose()?;
    let asked = since(&Query::parse(request.query_string()))?;
    let place = Arc::clone(&site.feed.0).try_acquire_owned().map_err(|_| HttpError::TooManyListeners)?;
    let told = Told::before(last_seen.or(asked).unwrap_or_else(|| site.clock.now()));
    let knows_what_is = last_seen.or(asked).is_none();
    let listener = Listener {
        site: site.get_ref().clone(),
        told,
        quiet: 0,
        failures: 0,
        skipped: 0,
        is_new: true,
        knows_what_is,
        _place: place,
    };
    let texts = stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<_, HttpError>(Bytes::from(text)), listener))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // nginx would keep the changes until they fill a buffer.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(texts.boxed_local()))
}

impl Listener {
    /// What to send next; `None` once the node stops.
    async fn next(&mut self) -> Option<String> {
        if std::mem::take(&mut self.is_new) {
            if self.knows_what_is
                && let Ok(lines) = self.site.db.changes_since(self.told.since).await
            {
                self.told.take(lines);
            }
            return Some(": these are changes of events\n\n".into());
        }
        loop {
            if matches!(self.site.health.ready(), Err(NotReady::Stopping)) {
                return None;
            }
            if self.skipped > 0 {
                self.skipped -= 1;
            } else if let Some(text) = self.look().await {
                return Some(text);
            }
            self.quiet += 1;
            if self.quiet >= QUIET_LOOKS {
                self.quiet = 0;
                return Some(": all is quiet\n\n".into());
            }
            sleep(jittered(LOOK_EVERY)).await;
        }
    }

    /// What is new, if anything is.
    async fn look(&mut self) -> Option<String> {
        let Ok(lines) = self.site.db.changes_since(self.told.since).await else {
            self.failures = self.failures.saturating_add(1);
            self.skipped = self.failures.min(MOST_LOOKS_SKIPPED);
            return None;
        };
        self.failures = 0;
        let new = self.told.take(lines);
        if new.is_empty() {
            return None;
        }
        self.quiet = 0;
        Some(new.iter().map(text).collect())
    }
}

/// JSON has no line breaks of its own.
fn text(line: &HistoryLine) -> String {
    format!("id: {}\nevent: change\ndata: {}\n\n", line.at, line.to_json())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(id: &str, version: i64, seconds: i64) -> HistoryLine {
        let at = Timestamp::from_micros(seconds * 1_000_000);
        HistoryLine { event_id: id.into(), version, at, by: "ann".into(), what: "edit".into(), changes: json!({}) }
    }

    #[test]
    fn a_change_that_appears_late_is_told_and_none_is_told_twice() {
        let mut told = Told::before(Timestamp::from_micros(50_000_000));
        assert_eq!(told.since, Timestamp::from_micros(40_000_000), "one that takes a while is yet to appear");
        assert_eq!(told.take(vec![line("a", 1, 100)]), [line("a", 1, 100)]);
        assert_eq!(told.since, Timestamp::from_micros(90_000_000));
        let found = vec![line("b", 1, 95), line("a", 1, 100), line("a", 2, 104)];
        assert_eq!(told.take(found), [line("b", 1, 95), line("a", 2, 104)]);
        assert_eq!(told.take(vec![line("b", 1, 95), line("a", 1, 100), line("a", 2, 104)]), []);
        assert_eq!(told.take(vec![line("c", 1, 200)]).len(), 1);
        assert_eq!(told.seen.len(), 1, "what is not asked for any more is forgotten");
        let many: Vec<HistoryLine> = (0..MAX_LINES).map(|number| line(&format!("e{number}"), 1, 201)).collect();
        assert_eq!(told.take(many).len(), MAX_LINES as usize);
        assert_eq!(told.since, Timestamp::from_micros(201_000_000), "a flood is passed");
    }
}
