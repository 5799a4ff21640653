//! Room on the disk: which hours other nodes hold whole, and deleting these, oldest first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::horizons::Horizons;
use super::sweep::{Going, pins};
use crate::blocking::{Blocking, Panicked};
use crate::model::{HashedName, Timestamp};
use crate::peers::{Peer, holders};
use crate::select::retain::{self, Freeing, StoredFile, StreamHour};
use crate::store::{self, Deleted, Layout, StoreError};

/// A pass makes room for so long; then it looks again how much is missing.
const LONGEST_PASS: Duration = Duration::from_secs(20);
/// An hour that too few hold is asked about again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Why no room can be made.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Hours that too few others held when they were asked.
#[derive(Debug, Default)]
pub struct Unproven(HashMap<StreamHour, Instant>);

impl Unproven {
    fn is_known(&self, of: &StreamHour) -> bool {
        self.0.contains_key(of)
    }

    fn forget_old(&mut self) {
        self.0.retain(|_, at| at.elapsed() < ASK_AGAIN_AFTER);
    }
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Made {
    pub deleted: Deleted,
    /// What could not be made, as nothing more may go.
    pub missing_bytes: u64,
    /// Hours that too few others hold.
    pub unproven_hours: usize,
    /// The time was over before the work.
    pub has_more: bool,
}

/// One try to make room.
pub struct SpacePass {
    pub layout: Layout,
    pub blocking: Blocking,
    /// Other nodes, none twice.
    pub peers: Vec<Peer>,
    pub min_copies: usize,
    pub now: Timestamp,
    pub missing_bytes: u64,
    /// Print what would go, through `going`, and delete nothing.
    pub is_dry_run: bool,
}

impl SpacePass {
    pub async fn run(
        &self,
        unproven: &mut Unproven,
        horizons: &Horizons,
        going: &mut dyn FnMut(&Going),
    ) -> Result<Made, SpaceError> {
        unproven.forget_old();
        let end = Instant::now() + LONGEST_PASS;
        let layout = self.layout.clone();
        let hours = self.blocking.run(move || store::hours_on_disk(&layout)).await??;
        let mut freeing = Freeing::new(hours, self.missing_bytes, self.now);
        let mut made = Made::default();
        while let Some(of) = freeing.next_hour() {
            if unproven.is_known(&of) {
                continue;
            }
            if Instant::now() >= end && !self.is_dry_run {
                made.has_more = true;
                break;
            }
            let Some(hour) = self.spare(&of).await? else { continue };
            let names: Vec<HashedName> = hour.files.iter().map(|file| file.name.clone()).collect();
            let copies = if self.min_copies == 0 {
                0
            } else {
                holders(&self.peers, &of.channel, &of.quality, of.hour, &names).await
            };
            if copies < self.min_copies {
                unproven.0.insert(of, Instant::now());
                continue;
            }
            going(&hour);
            let deleted = if self.is_dry_run { sum(&hour.files) } else { self.delete(hour, horizons).await? };
            freeing.freed(deleted.size_bytes);
            made.deleted.files += deleted.files;
            made.deleted.size_bytes += deleted.size_bytes;
        }
        made.missing_bytes = freeing.missing_bytes();
        made.unproven_hours = unproven.0.len();
        Ok(made)
    }

    /// What of an hour may go if others hold it; `None` if nothing.
    async fn spare(&self, of: &StreamHour) -> Result<Option<Going>, SpaceError> {
        let (layout, of, now) = (self.layout.clone(), of.clone(), self.now);
        let look = move || {
            let (pins, files) = (pins(&layout)?, store::stored_files(&layout, &of)?);
            let spare: Vec<StoredFile> = retain::spare(&of, &files, &pins, now).into_iter().cloned().collect();
            Ok::<_, StoreError>((!spare.is_empty()).then_some(Going { of, files: spare }))
        };
        Ok(self.blocking.run(look).await??)
    }

    async fn delete(&self, going: Going, horizons: &Horizons) -> Result<Deleted, SpaceError> {
        let (layout, horizons) = (self.layout.clone(), horizons.clone());
        let delete = move || {
            // Somebody may have pinned it while others were asked.
            let pins = pins(&layout)?;
            let Going { of, mut files } = going;
            files.retain(|file| !retain::is_pinned(&of, &file.name, &pins));
            // Must precede the deletion: what goes must not be copied back.
            horizons.move_to(&layout, &of)?;
            store::delete_files(&layout, &of, &files)
        };
        Ok(self.blocking.run(delete).await??)
    }
}

fn sum(files: &[StoredFile]) -> Deleted {
    Deleted { files: files.len() as u64, size_bytes: files.iter().map(|file| file.size_bytes).sum() }
}
