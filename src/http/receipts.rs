//! `/cut/receipts/ID`: what a cut has shown, and what was checked about it.
//!
//! A trailer would say it with the cut itself, but actix-web sends none. So a cut gets a name in its head, and its receipt can
//! be fetched by that name once the cut has ended, and while it goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::{HttpError, Site};
use crate::cut::Receipt;

/// The header in which a cut is told its name.
pub const CUT_HEADER: &str = "x-segvault-cut";
/// Receipts that are kept at most, and for how long.
const MAX_RECEIPTS: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Names of segments in all of them at most: some 40 MB. The last one is kept in any case.
const MAX_NAMES: usize = 200_000;

/// The receipts of the last cuts. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Receipts(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    last_number: u64,
    /// Oldest first.
    receipts: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    since: Instant,
    names: usize,
    receipt: Receipt,
}

impl Receipts {
    /// Keeps a receipt; gives it a number.
    pub fn keep(&self, receipt: Receipt) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last_number += 1;
        let entry = Entry { number: kept.last_number, since: Instant::now(), names: receipt.names(), receipt };
        kept.receipts.push_back(entry);
        kept.forget(Instant::now());
        kept.last_number
    }

    fn get(&self, number: u64) -> Option<Receipt> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(Instant::now());
        Some(kept.receipts.iter().find(|entry| entry.number == number)?.receipt.clone())
    }
}

impl Kept {
    fn forget(&mut self, now: Instant) {
        let mut names: usize = self.receipts.iter().map(|entry| entry.names).sum();
        while let Some(oldest) = self.receipts.front() {
            let is_old = now.duration_since(oldest.since) > KEPT_FOR;
            let are_many = self.receipts.len() > MAX_RECEIPTS || names > MAX_NAMES;
            let is_last = self.receipts.len() == 1;
            if !is_old && (is_last || !are_many) {
                break;
            }
            names -= oldest.names;
            self.receipts.pop_front();
        }
    }
}

pub async fn get(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let receipt = path.parse().ok().and_then(|number| site.receipts.get(number));
    let receipt = receipt.ok_or(HttpError::Absent("receipt; they are kept for an hour, and not over a restart"))?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(receipt.json()))
}
