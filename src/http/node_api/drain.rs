//! Whether this node may be stopped for good: asked for, worked out beside everything else, and told when it is known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::nodes::peers_of;
use crate::causes::chain;
use crate::http::access::admit_with_body;
use crate::http::{HttpError, Site};
use crate::model::{Role, Timestamp};
use crate::peers::{DrainProgress, Found, Standing, drain_check, find_nodes};

/// A month of ten qualities on a slow line. What takes longer is asked by the command line, hour by hour.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// How the last check stands. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct DrainBoard(Arc<Mutex<Check>>);

#[derive(Debug, Default)]
enum Check {
    #[default]
    Never,
    Running {
        since: Timestamp,
        progress: DrainProgress,
    },
    Done {
        at: Timestamp,
        answer: Value,
    },
    Failed {
        at: Timestamp,
        why: String,
    },
}

impl DrainBoard {
    fn check(&self) -> MutexGuard<'_, Check> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_json(&self) -> Value {
        match &*self.check() {
            Check::Never => json!({ "state": "never" }),
            Check::Running { since, progress } => json!({
                "state": "running",
                "since": since.to_string(),
                "done_hours": progress.done_hours,
                "all_hours": progress.all_hours,
            }),
            Check::Done { at, answer } => {
                let mut told = answer.clone();
                told["state"] = "done".into();
                told["at"] = at.to_string().into();
                told
            }
            Check::Failed { at, why } => json!({ "state": "failed", "at": at.to_string(), "why": why }),
        }
    }
}

/// Where a check ends without an answer, as its thread does, nobody waits for it for ever.
struct Running {
    site: Site,
    has_ended: bool,
}

impl Running {
    fn end(mut self, check: Check) {
        self.has_ended = true;
        *self.site.drain.check() = check;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            *self.site.drain.check() = Check::Failed { at: self.site.clock.now(), why: "it was given up".to_owned() };
        }
    }
}

pub async fn get(site: web::Data<Site>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(site.drain.to_json())
}

/// Begins a check, unless one is under way.
pub async fn begin(site: web::Data<Site>, request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, HttpError> {
    admit_with_body(&site, &request, &body, Role::Operator).await?;
    let site = site.get_ref().clone();
    let is_first = {
        let mut check = site.drain.check();
        let is_running = matches!(*check, Check::Running { .. });
        if !is_running {
            *check = Check::Running { since: site.clock.now(), progress: DrainProgress::default() };
        }
        !is_running
    };
    let answer = site.drain.to_json();
    if is_first {
        actix_rt::spawn(work(Running { site, has_ended: false }));
    }
    Ok(HttpResponse::build(StatusCode::ACCEPTED).insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

async fn work(running: Running) {
    let worked = timeout(LONGEST, check(&running.site)).await;
    let at = running.site.clock.now();
    let ended = match worked {
        Ok(Ok(answer)) => Check::Done { at, answer },
        Ok(Err(why)) => Check::Failed { at, why },
        Err(_) => Check::Failed { at, why: "it took too long; `segvault drain-check` has no bound".to_owned() },
    };
    running.end(ended);
}

async fn check(site: &Site) -> Result<Value, String> {
    let urls = peers_of(site).await;
    let (mut there, mut silent) = (Vec::new(), Vec::new());
    for Standing { url, found } in find_nodes(urls, site.identity.clone(), &site.peer_access).await {
        match found {
            Found::Node(peer) => there.push(peer),
            Found::Ourselves | Found::Again => {}
            Found::Silent(error) => silent.push((url, chain(&error))),
        }
    }
    let mut tell = |now: DrainProgress| {
        if let Check::Running { progress, .. } = &mut *site.drain.check() {
            *progress = now;
        }
    };
    let mut report =
        drain_check(&site.layout, &site.blocking, &there, &mut tell).await.map_err(|error| chain(&error))?;
    report.silent.extend(silent);
    let mut answer = report.to_json();
    answer["asked"] = there.iter().map(|peer| peer.url().to_string()).collect();
    Ok(answer)
}
