//! Copies some files at once, beside whatever pass is under way: what covers a span, or what was named.
//!
//! Promises: waits for no pass; a peer that does not answer soon is left; nothing is asked of a peer that does not cover the
//! span, nor what it had wrong before. What a tombstone of either side hides is not copied.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::PeerError;
use super::client::{HourAnswer, Peer};
use super::copy::{Copier, CopyError, Outcome};
use super::names::{HourNames, Refused, TombstoneName};
use super::pass::{Notice, PassReport};
use super::plan::{HourPlan, Window, plan_hour};
use super::twins;
use crate::ingest::FetchError;
use crate::model::{Channel, HashedName, Hour, Quality, Span, Timestamp};
use crate::store::{self, Volume};

/// A listing that takes longer comes too late for what is missing now; the peer is asked again soon.
const LISTING_WITHIN: Duration = Duration::from_secs(10);
/// Then another peer may give it.
const FILE_WITHIN: Duration = Duration::from_secs(15);
/// No segment is longer, so none of an hour reaches further into the next one.
const LONGEST_SEGMENT_MICROS: i64 = 600_000_000;
/// Of one peer and quality.
const MAX_WRONG: usize = 1_000;

/// Files that a peer had wrong, by name. Of too many all are forgotten, and asked for again.
#[derive(Debug, Clone, Default)]
pub struct Wrong(Rc<RefCell<HashSet<Box<str>>>>);

impl Wrong {
    fn has(&self, name: &HashedName) -> bool {
        self.0.borrow().contains(&*name.path_text())
    }

    fn note(&self, name: &HashedName) {
        let mut names = self.0.borrow_mut();
        if names.len() >= MAX_WRONG {
            names.clear();
        }
        names.insert(name.path_text().into());
    }
}

/// What such copying works with. Cheap to clone.
#[derive(Clone)]
pub struct SpanCopy {
    pub copier: Copier,
    pub peer: Peer,
    pub channel: Channel,
    pub quality: Quality,
    /// Not those of passes.
    pub permits: Arc<Semaphore>,
    pub wrong: Wrong,
}

impl SpanCopy {
    /// Asks for what covers the spans and is missing here.
    pub async fn cover(
        &self,
        spans: &[Span],
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        // Left to the recorder is everything but what it lost.
        let recent = Some(Timestamp::from_micros(i64::MIN));
        self.compare(hours_of(spans), Window { recent, lost: spans.into(), ..Window::default() }, report, notice).await
    }

    /// Compares these hours, the newest first, and copies what is missing here.
    async fn compare(
        &self,
        hours: Vec<Hour>,
        window: Window,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        for hour in hours {
            let listing = self.peer.hour(&self.channel, &self.quality, hour, None);
            let late =
                |_| PeerError::Ask { what: "the segments of an hour", source: FetchError::NoAnswer(LISTING_WITHIN) };
            let names = match timeout(LISTING_WITHIN, listing).await.map_err(late)?? {
                HourAnswer::New { names, .. } => names,
                HourAnswer::Same => continue,
            };
            tell_refused(&names.refused, report, notice);
            let plan = self.plan(names, window.clone()).await?;
            self.copy(plan.fetch, report, notice).await?;
        }
        Ok(())
    }

    /// Takes over what a peer has named of an hour: its tombstones, then the files that are missing here.
    pub async fn take(
        &self,
        theirs: HourNames,
        window: Window,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        let hour = theirs.hour();
        let plan = self.plan(theirs, window).await?;
        report.tombstones += self.hide(hour, plan.tombstones, notice).await?;
        self.copy(plan.fetch, report, notice).await
    }

    async fn hide(
        &self,
        hour: Hour,
        tombstones: Vec<TombstoneName>,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<usize, PeerError> {
        let count = tombstones.len();
        for name in tombstones {
            let (copier, channel, quality) = (self.copier.clone(), self.channel.clone(), self.quality.clone());
            let hide = move || {
                copier.volume.as_ref().map_or(Ok(()), Volume::check)?;
                store::add_tombstone(&copier.layout, &channel, &quality, hour, name.as_str())?;
                let beside = twins::hide_beside(&copier.layout, &channel, &quality, &name)?;
                Ok::<_, PeerError>((name, beside))
            };
            let (name, beside) = self.copier.blocking.run(hide).await??;
            notice(Notice::Hidden { hour, name: &name });
            beside.iter().for_each(|(hour, name)| notice(Notice::Hidden { hour: *hour, name }));
        }
        Ok(count)
    }

    async fn plan(&self, theirs: HourNames, window: Window) -> Result<HourPlan, PeerError> {
        let hour = theirs.hour();
        let (layout, channel, quality) = (self.copier.layout.clone(), self.channel.clone(), self.quality.clone());
        let plan = move || {
            let listing = store::list_hour(&layout, &channel, &quality, hour)?;
            let ours = HourNames::of(hour, listing.visible().chain(listing.tombstones()));
            Ok::<_, PeerError>(plan_hour(&ours, &theirs, window))
        };
        self.copier.blocking.run(plan).await?
    }

    /// Copies these, as many at once as there are permits. A file that fails does not keep others from being tried; the first
    /// error is told in the end.
    async fn copy(
        &self,
        names: Vec<HashedName>,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        let names: Vec<HashedName> = names.into_iter().filter(|name| !self.wrong.has(name)).collect();
        let at_once = self.permits.available_permits().max(1);
        let mut copies = stream::iter(names).map(|name| self.copy_one(name)).buffer_unordered(at_once);
        let mut first_error = None;
        while let Some((name, done)) = copies.next().await {
            match done {
                Ok(outcome) => {
                    match outcome {
                        Outcome::Copied { bytes } => {
                            report.copied_files += 1;
                            report.copied_bytes += bytes;
                        }
                        Outcome::UnderWay | Outcome::Yielded => report.under_way_files += 1,
                        Outcome::NotNeeded | Outcome::Gone => {}
                    }
                    notice(Notice::File { name: &name, outcome });
                }
                Err(error) => {
                    report.failed_files += 1;
                    notice(Notice::Failed { name: &name, error: &error });
                    if matches!(error, CopyError::WrongBytes { .. }) {
                        self.wrong.note(&name);
                    }
                    let is_over = error.is_ours();
                    first_error.get_or_insert(error);
                    if is_over {
                        break;
                    }
                }
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn copy_one(&self, name: HashedName) -> (HashedName, Result<Outcome, CopyError>) {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let copy = self.copier.copy(&self.peer, &self.channel, &self.quality, &name);
        let done = timeout(FILE_WITHIN, copy).await.unwrap_or_else(|_| {
            let file = name.path_text().into();
            Err(CopyError::Fetch { file, source: FetchError::TooSlow(FILE_WITHIN) })
        });
        (name, done)
    }
}

fn tell_refused(refused: &Refused, report: &mut PassReport, notice: &dyn Fn(Notice<'_>)) {
    if refused.count > 0 {
        report.refused_names += refused.count;
        notice(Notice::Refused(refused));
    }
}

/// The hours in which a segment may begin that reaches into one of the spans, the newest first.
fn hours_of(spans: &[Span]) -> Vec<Hour> {
    let of = |span: &Span| {
        let first = span.start().plus_micros(-LONGEST_SEGMENT_MICROS).hour();
        first.through(span.end().plus_micros(-1).hour())
    };
    let mut hours: Vec<Hour> = spans.iter().flat_map(of).collect();
    hours.sort_unstable();
    hours.dedup();
    hours.reverse();
    hours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_asked_for_if_a_segment_of_it_may_reach_the_span() {
        let hours = |texts: &[&str]| -> Vec<String> {
            let spans: Vec<Span> = texts.iter().map(|text| text.parse().unwrap()).collect();
            hours_of(&spans).iter().map(|hour| hour.to_string()[11..].to_owned()).collect()
        };
        assert_eq!(hours(&["2026-01-02T03:30:00+2s"]), ["03"]);
        assert_eq!(hours(&["2026-01-02T03:00:01+2s"]), ["03", "02"]);
        assert_eq!(hours(&["2026-01-02T03:59:58+2s"]), ["03"]);
        assert_eq!(hours(&["2026-01-02T03:59:58+3s", "2026-01-02T03:30:00+2s"]), ["04", "03"]);
        assert!(hours(&[]).is_empty());
    }
}
