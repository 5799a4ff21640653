//! One comparison of a quality with a peer's, and the copying that follows.
//!
//! Promises: tombstones of all hours are taken over before the first byte is fetched; then the newest hours come first, or
//! the oldest if that is wished.
//! A pass may be dropped at any point: the next one finds what it left. Of a peer that tells digests only the hours are
//! listed that differ, and a quality in which nothing is to be done costs one conditional request. Of others what two sides
//! had in common is remembered, so that a converged hour costs a conditional request and a look at the directory.
//! Never: keeps more than so many names, however much a peer lists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;

use super::PeerError;
use super::client::{HourAnswer, Peer, Tag};
use super::copy::{Copier, CopyError, Outcome};
use super::finish::MOST_WAITING;
use super::names::{HourNames, Refused, TombstoneName};
use super::plan::{HourPlan, Window, plan_hour};
use super::remembered::Remembered;
use super::root::Root;
use super::told::Told;
use super::twins;
use crate::model::{Channel, CopyOrder, HashedName, Hour, Quality};
use crate::select::Digest;
use crate::store::{self, Digests, HourStamp};

/// Listings asked for at once: enough to hide a round trip, few enough to be no burden.
pub(super) const LISTINGS_AT_ONCE: usize = 4;
/// Names of files to fetch that are kept between the two halves of a pass (some 10 MB); of the hours beyond them the
/// listing is asked for again.
const KEPT_NAMES: usize = 50_000;
/// A peer that fails so often in a row is left alone for a while.
pub(super) const FAILURES_IN_A_ROW: u32 = 5;

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

/// What a pass works with.
#[derive(Clone)]
pub struct Pass {
    pub copier: Copier,
    /// This node's own.
    pub digests: Digests,
    /// How old they may be.
    pub digests_max_age: Duration,
    /// What the peer tells of all its qualities.
    pub root: Arc<Root>,
    pub peer: Peer,
    pub channel: Channel,
    pub quality: Quality,
    pub window: Window,
    /// Files of this peer at once, of all its qualities.
    pub permits: Arc<Semaphore>,
    /// Files of this quality at once, but for those that wait for the disk.
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
        let mut behind = self.compare_all(memory, report, notice).await?;
        let is_backwards = self.window.order == CopyOrder::Oldest;
        if is_backwards {
            behind.reverse();
        }
        let mut failures = 0;
        for behind in behind {
            let mut names = match behind {
                Behind::Names(names) => names,
                Behind::Hour(hour) => self.plan(hour, None).await?.map_or(Vec::new(), |compared| compared.plan.fetch),
            };
            if is_backwards {
                names.reverse();
            }
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
        memory.set_since(self.window.since);
        let differing = if memory.digests.is_due() { self.told(memory).await? } else { Told::NoDigests };
        let differing = match differing {
            Told::Level => return Ok(Vec::new()),
            Told::Differing(differing) => Some(differing),
            Told::NoDigests => None,
        };
        let hours = match &differing {
            Some(differing) => memory.digests.hours(differing),
            None => self.all_hours(memory, report, notice).await?,
        };
        report.hours = hours.len();
        let mut behind = Vec::new();
        let (mut kept_names, mut misstated) = (0, 0);
        let known: Vec<_> = hours.iter().map(|hour| (*hour, memory.reconciled.get(hour).cloned())).collect();
        let mut compared = stream::iter(known)
            .map(|(hour, known)| async move { Ok::<_, PeerError>((hour, self.plan(hour, known).await?)) })
            .buffered(LISTINGS_AT_ONCE);
        while let Some(answer) = compared.next().await {
            let (hour, Some(Compared { plan, refused, state, digests })) = answer? else { continue };
            tell_refused(&refused, report, notice);
            match (&differing, state) {
                (Some(differing), _) => {
                    let (ours, theirs) = digests;
                    misstated += usize::from(!differing.is_as_claimed(hour, theirs));
                    if let Some(theirs) = theirs.filter(|_| plan.is_nothing()) {
                        memory.digests.note_nothing(hour, (ours, theirs));
                    }
                }
                (None, Some(state)) if plan.is_nothing() => drop(memory.reconciled.insert(hour, state)),
                (None, _) => drop(memory.reconciled.remove(&hour)),
            }
            report.young_files += plan.young;
            report.tombstones += self.hide(hour, plan.tombstones, notice).await?;
            if plan.fetch.is_empty() {
                continue;
            }
            notice(Notice::Missing { files: plan.fetch.len() });
            kept_names += plan.fetch.len();
            behind.push(if kept_names <= KEPT_NAMES { Behind::Names(plan.fetch) } else { Behind::Hour(hour) });
        }
        drop(compared);
        if let Some(differing) = differing {
            memory.digests.conclude(&differing, hours.len(), misstated);
        }
        Ok(behind)
    }

    /// Every hour of a peer that tells no digests, newest first.
    async fn all_hours(
        &self,
        memory: &mut Remembered,
        report: &mut PassReport,
        notice: &dyn Fn(Notice<'_>),
    ) -> Result<Vec<Hour>, PeerError> {
        let (hours, refused) = self.peer.hours(&self.channel, &self.quality).await?;
        tell_refused(&refused, report, notice);
        let since = self.window.since.map(|since| since.hour().previous());
        let ours = if since.is_some() { self.our_hours().await? } else { BTreeSet::new() };
        // Of what is here the tombstones are wanted, however old it is.
        let is_wanted = |hour: &Hour| since.is_none_or(|since| *hour >= since) || ours.contains(hour);
        let hours: BTreeSet<Hour> = hours.into_iter().filter(is_wanted).collect();
        memory.reconciled.retain(|hour, _| hours.contains(hour));
        Ok(hours.into_iter().rev().collect())
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
            let digests = (ours.digest(), theirs.digest());
            Ok::<_, PeerError>(Compared { plan, refused: theirs.refused, state: tag.map(|tag| (tag, stamp)), digests })
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

    async fn copy(&self, name: &HashedName) -> Result<Outcome, CopyError> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let received = self.copier.receive(&self.peer, &self.channel, &self.quality, name).await?;
        // The peer has done its part, and may send others while this waits for the disk.
        drop(permit);
        self.copier.finish(received).await
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
                let done = self.copy(&name).await;
                (name, done)
            })
            .buffer_unordered(self.at_once + MOST_WAITING);
        while let Some((name, done)) = copies.next().await {
            match done {
                Ok(outcome) => {
                    *failures = 0;
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
    /// Ours and theirs, of the names that were compared.
    digests: (Option<Digest>, Option<Digest>),
}

fn tell_refused(refused: &Refused, report: &mut PassReport, notice: &dyn Fn(Notice<'_>)) {
    if refused.count > 0 {
        report.refused_names += refused.count;
        notice(Notice::Refused(refused));
    }
}
