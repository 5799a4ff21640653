//! One comparison of a quality with a peer's, and the copying that follows.
//!
//! Promises: tombstones of all hours are taken over before the first byte is fetched; then the newest hours come first.
//! A pass may be dropped at any point: the next one finds what it left. What two sides had in common is remembered, so
//! that a converged hour costs a conditional request and a look at the directory.
//! Never: keeps more than so many names, however much a peer lists.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::PeerError;
use super::client::{HourAnswer, Peer, Tag};
use super::copy::{Copier, CopyError, Outcome};
use super::names::{HourNames, Refused, TombstoneName};
use super::plan::{HourPlan, Window, plan_hour};
use crate::model::{Channel, HashedName, Hour, Quality};
use crate::store::{self, HourStamp};

/// Listings asked for at once: enough to hide a round trip, few enough to be no burden.
const LISTINGS_AT_ONCE: usize = 4;
/// Names of files to fetch that are kept between the two halves of a pass (some 10 MB); of the hours beyond them the
/// listing is asked for again.
const KEPT_NAMES: usize = 50_000;
/// A peer that fails so often in a row is left alone for a while.
const FAILURES_IN_A_ROW: u32 = 5;
/// A file whose bytes were wrong is not asked for again from that peer for so long; a scrubber may mend it.
const WRONG_FOR: Duration = Duration::from_secs(3600);
/// Of more wrong files the earliest are forgotten, and asked for again.
const MAX_WRONG: usize = 10_000;

/// What happens during a pass, for logs, metrics and progress bars.
#[derive(Debug)]
pub enum Notice<'n> {
    /// So many more files are missing here.
    Missing {
        files: usize,
    },
    /// The peer listed names that are none.
    Refused(&'n Refused),
    /// A tombstone was taken over.
    Hidden {
        hour: Hour,
        name: &'n TombstoneName,
    },
    File {
        name: &'n HashedName,
        outcome: Outcome,
    },
    Failed {
        name: &'n HashedName,
        error: &'n CopyError,
    },
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassReport {
    pub hours: usize,
    pub tombstones: usize,
    pub copied_files: u64,
    pub copied_bytes: u64,
    /// Files whose bytes came wrong, or not at all.
    pub failed_files: u64,
    /// Files that another peer was giving.
    pub under_way_files: u64,
    /// Names that are none.
    pub refused_names: usize,
    /// Files that are left to the recorder.
    pub young_files: usize,
}

impl PassReport {
    /// Sums up.
    pub fn add(&mut self, other: &Self) {
        let Self {
            hours,
            tombstones,
            copied_files,
            copied_bytes,
            failed_files,
            under_way_files,
            refused_names,
            young_files,
        } = other;
        self.hours += hours;
        self.tombstones += tombstones;
        self.copied_files += copied_files;
        self.copied_bytes += copied_bytes;
        self.failed_files += failed_files;
        self.under_way_files += under_way_files;
        self.refused_names += refused_names;
        self.young_files += young_files;
    }
}

/// What a peer and this node had in common, and what the peer had wrong. For one (peer, channel, quality).
#[derive(Debug, Default)]
pub struct Remembered {
    reconciled: HashMap<Hour, (Tag, HourStamp)>,
    wrong: HashMap<Box<str>, Instant>,
}

impl Remembered {
    fn is_wrong(&self, name: &HashedName) -> bool {
        self.wrong.get(name.as_str()).is_some_and(|at| at.elapsed() < WRONG_FOR)
    }

    fn note_wrong(&mut self, name: &HashedName) {
        if self.wrong.len() >= MAX_WRONG {
            let earliest = self.wrong.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            earliest.map(|name| self.wrong.remove(&name));
        }
        self.wrong.insert(name.as_str().into(), Instant::now());
    }
}

/// What a pass works with.
#[derive(Clone)]
pub struct Pass {
    pub copier: Copier,
    pub peer: Peer,
    pub channel: Channel,
    pub quality: Quality,
    pub window: Window,
    /// Files of this peer at once, of all its qualities.
    pub permits: Arc<Semaphore>,
    /// Files of this quality at once.
    pub at_once: usize,
}

/// What the first half of a pass leaves to the second.
enum Behind {
    Names(Vec<HashedName>),
    /// There were too many to be kept.
    Hour(Hour),
}

impl Pass {
    /// Compares and copies until there is nothing to do, or the peer fails. The report holds what was done until then.
    pub async fn run(
        &self,
        memory: &mut Remembered,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        let behind = self.compare_all(memory, report, notice).await?;
        let mut failures = 0;
        for behind in behind {
            let names = match behind {
                Behind::Names(names) => names,
                Behind::Hour(hour) => self.plan(hour, None).await?.map_or(Vec::new(), |compared| compared.plan.fetch),
            };
            self.fetch(names, memory, &mut failures, report, notice).await?;
        }
        Ok(())
    }

    /// Takes over tombstones, and answers what is to be fetched, newest hour first.
    async fn compare_all(
        &self,
        memory: &mut Remembered,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<Vec<Behind>, PeerError> {
        let (hours, refused) = self.peer.hours(&self.channel, &self.quality).await?;
        tell_refused(&refused, report, notice);
        let since = self.window.since.map(|since| since.hour().previous());
        let ours = if since.is_some() { self.our_hours().await? } else { BTreeSet::new() };
        // Of what is here the tombstones are wanted, however old it is.
        let is_wanted = |hour: &Hour| since.is_none_or(|since| *hour >= since) || ours.contains(hour);
        let hours: BTreeSet<Hour> = hours.into_iter().filter(is_wanted).collect();
        report.hours = hours.len();
        memory.reconciled.retain(|hour, _| hours.contains(hour));
        let mut behind = Vec::new();
        let mut kept_names = 0;
        let known: Vec<_> = hours.iter().rev().map(|hour| (*hour, memory.reconciled.get(hour).cloned())).collect();
        let mut compared = stream::iter(known)
            .map(|(hour, known)| async move { Ok::<_, PeerError>((hour, self.plan(hour, known).await?)) })
            .buffered(LISTINGS_AT_ONCE);
        while let Some(answer) = compared.next().await {
            let (hour, Some(Compared { plan, refused, state })) = answer? else { continue };
            tell_refused(&refused, report, notice);
            match state {
                Some(state) if plan.is_nothing() => memory.reconciled.insert(hour, state),
                _ => memory.reconciled.remove(&hour),
            };
            report.young_files += plan.young;
            report.tombstones += self.hide(hour, plan.tombstones, notice).await?;
            if plan.fetch.is_empty() {
                continue;
            }
            notice(Notice::Missing { files: plan.fetch.len() });
            kept_names += plan.fetch.len();
            behind.push(if kept_names <= KEPT_NAMES { Behind::Names(plan.fetch) } else { Behind::Hour(hour) });
        }
        Ok(behind)
    }

    async fn our_hours(&self) -> Result<BTreeSet<Hour>, PeerError> {
        let (layout, channel, quality) = (self.copier.layout.clone(), self.channel.clone(), self.quality.clone());
        let hours = self.copier.blocking.run(move || store::hours(&layout, &channel, &quality)).await??;
        Ok(hours.into_iter().collect())
    }

    /// `None` where neither side has changed since they had the same.
    async fn plan(&self, hour: Hour, known: Option<(Tag, HourStamp)>) -> Result<Option<Compared>, PeerError> {
        let (channel, quality) = (&self.channel, &self.quality);
        let known_tag = match known {
            Some((tag, stamp)) => {
                let (layout, channel, quality) = (self.copier.layout.clone(), channel.clone(), quality.clone());
                let holds = move || stamp.still_holds(&layout, &channel, &quality, hour);
                self.copier.blocking.run(holds).await?.then_some(tag)
            }
            None => None,
        };
        let (theirs, tag) = match self.peer.hour(channel, quality, hour, known_tag.as_ref()).await? {
            HourAnswer::Same => return Ok(None),
            HourAnswer::New { names, tag } => (names, tag),
        };
        let (layout, channel, quality) = (self.copier.layout.clone(), channel.clone(), quality.clone());
        let window = self.window.clone();
        let compare = move || {
            let (listing, stamp) = store::list_stamped(&layout, &channel, &quality, hour)?;
            let ours = HourNames::of(hour, listing.visible().chain(listing.tombstones()));
            let plan = plan_hour(&ours, &theirs, window);
            Ok::<_, PeerError>(Compared { plan, refused: theirs.refused, state: tag.map(|tag| (tag, stamp)) })
        };
        self.copier.blocking.run(compare).await?.map(Some)
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
                copier.volume.as_ref().map_or(Ok(()), store::Volume::check)?;
                store::add_tombstone(&copier.layout, &channel, &quality, hour, name.as_str()).map(|_| name)
            };
            let name = self.copier.blocking.run(hide).await??;
            notice(Notice::Hidden { hour, name: &name });
        }
        Ok(count)
    }

    async fn fetch(
        &self,
        names: Vec<HashedName>,
        memory: &mut Remembered,
        failures: &mut u32,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<(), PeerError> {
        let names: Vec<HashedName> = names.into_iter().filter(|name| !memory.is_wrong(name)).collect();
        let mut copies = stream::iter(names)
            .map(|name| async move {
                let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
                let done = self.copier.copy(&self.peer, &self.channel, &self.quality, &name).await;
                (name, done)
            })
            .buffer_unordered(self.at_once);
        while let Some((name, done)) = copies.next().await {
            match done {
                Ok(outcome) => {
                    *failures = 0;
                    match outcome {
                        Outcome::Copied { bytes } => {
                            report.copied_files += 1;
                            report.copied_bytes += bytes;
                        }
                        Outcome::UnderWay => report.under_way_files += 1,
                        Outcome::NotNeeded | Outcome::Gone => {}
                    }
                    notice(Notice::File { name: &name, outcome });
                }
                Err(error) => {
                    *failures += 1;
                    report.failed_files += 1;
                    notice(Notice::Failed { name: &name, error: &error });
                    if matches!(error, CopyError::WrongBytes { .. }) {
                        memory.note_wrong(&name);
                    }
                    if error.is_ours() || *failures >= FAILURES_IN_A_ROW {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }
}

/// An hour of both sides.
struct Compared {
    plan: HourPlan,
    refused: Refused,
    /// What both sides looked like, if the peer says that.
    state: Option<(Tag, HourStamp)>,
}

fn tell_refused(refused: &Refused, report: &mut PassReport, notice: &dyn Fn(Notice<'_>)) {
    if refused.count > 0 {
        report.refused_names += refused.count;
        notice(Notice::Refused(refused));
    }
}
