//! One comparison of a directory of extra files with a peer's, and the copying that follows.
//!
//! Promises: what is here stays as it is, whatever the peer has under the same name: extra files have no hash that would
//! say who is right. What is copied is whole, by the length that the peer announced.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;

use super::client::Peer;
use super::copy::{Copier, CopyError, Outcome};
use super::names::Refused;
use super::{PeerError, pass::FAILURES_IN_A_ROW};
use crate::model::{ExtraDir, ExtraPath};
use crate::store::{self, Extras, MAX_EXTRA_FILES};

/// Few and small, and never urgent.
const AT_ONCE: usize = 4;

/// What became of a file, for logs and metrics.
pub type ExtraNotice<'n> = (&'n ExtraPath, Result<Outcome, &'n CopyError>);

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtrasReport {
    pub copied_files: u64,
    pub copied_bytes: u64,
    pub failed_files: u64,
    /// Paths that are none.
    pub refused: Refused,
}

/// What a pass works with.
#[derive(Clone)]
pub struct ExtrasPass {
    pub copier: Copier,
    pub peer: Peer,
    pub dir: ExtraDir,
    /// Files of this peer at once, of whatever kind.
    pub permits: Arc<Semaphore>,
}

impl ExtrasPass {
    /// Copies what is missing here. The report holds what was done, also if it fails.
    pub async fn run(&self, report: &mut ExtrasReport, notice: &dyn Fn(ExtraNotice<'_>)) -> Result<(), PeerError> {
        let (theirs, refused) = self.peer.extras(&self.dir).await?;
        report.refused = refused;
        let missing = self.missing(theirs).await?;
        let mut copies = stream::iter(missing)
            .map(|path| async move {
                let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
                let done = self.copier.copy_extra(&self.peer, &self.dir, &path).await;
                (path, done)
            })
            .buffer_unordered(AT_ONCE);
        let mut failures = 0;
        while let Some((path, done)) = copies.next().await {
            notice((&path, done.as_ref().map(|outcome| *outcome)));
            match done {
                Ok(outcome) => {
                    failures = 0;
                    if let Outcome::Copied { bytes } = outcome {
                        report.copied_files += 1;
                        report.copied_bytes += bytes;
                    }
                }
                Err(error) => {
                    failures += 1;
                    report.failed_files += 1;
                    if error.is_ours() || failures >= FAILURES_IN_A_ROW {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// What is not here, as far as there is room for it.
    async fn missing(&self, theirs: Vec<ExtraPath>) -> Result<Vec<ExtraPath>, PeerError> {
        let (layout, dir) = (self.copier.layout.clone(), self.dir.clone());
        let compare = move || {
            Ok::<_, PeerError>(match store::list_extras(&layout, &dir)? {
                Extras::All(ours) => {
                    let ours: HashSet<ExtraPath> = ours.into_iter().collect();
                    let room = MAX_EXTRA_FILES - ours.len();
                    let mut missing: Vec<ExtraPath> = theirs.into_iter().filter(|path| !ours.contains(path)).collect();
                    missing.sort_unstable();
                    missing.dedup();
                    missing.truncate(room);
                    missing
                }
                Extras::TooMany => Vec::new(),
            })
        };
        self.copier.blocking.run(compare).await?
    }
}
