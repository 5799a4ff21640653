//! One stretch of reading: as many files as fit a fraction of a second.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::metrics::Damage;
use crate::model::Timestamp;
use crate::store::{self, Checked, Layout, Scrubbed, StoreError, StoredFile, Volume};

/// A stretch is over after so many bytes, or this long.
const MOST_BYTES: u64 = 8 << 20;
const LONGEST: Duration = Duration::from_millis(250);
/// So many files in a row that cannot be read are a disk that fails, and not files that went bad.
const MOST_UNREADABLE: u32 = 5;

/// A file that is in quarantine now.
#[derive(Debug)]
pub(super) struct WentBad {
    pub file: StoredFile,
    pub damage: Damage,
    pub to: PathBuf,
}

/// Why a stretch ended early.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A file went bad and cannot be moved; it is still the next one.
    CannotMove(StoreError),
    /// One file after the other cannot be read.
    DiskFails,
}

/// What is to be read, and then what came of it.
#[derive(Debug)]
pub(super) struct Stretch {
    pub layout: Layout,
    pub volume: Volume,
    pub now: Timestamp,
    /// The next one first.
    pub files: VecDeque<StoredFile>,
    pub unreadable_in_a_row: u32,
}

#[derive(Debug, Default)]
pub(super) struct Done {
    pub files: u64,
    pub bytes: u64,
    pub took: Duration,
    pub bad: Vec<WentBad>,
    /// Files that could not be checked, for reasons that are not theirs: the first one's, and how many.
    pub unchecked: Option<(StoreError, u64)>,
    pub trouble: Option<Trouble>,
}

impl Stretch {
    /// One file at least, if there is one. Blocks on the disk.
    pub fn run(mut self) -> (Self, Done) {
        let (began, mut done) = (Instant::now(), Done::default());
        while done.bytes < MOST_BYTES && began.elapsed() < LONGEST && done.trouble.is_none() {
            let Some(file) = self.files.pop_front() else { break };
            self.check(file, &mut done);
        }
        done.took = began.elapsed();
        (self, done)
    }

    fn check(&mut self, file: StoredFile, done: &mut Done) {
        let damage = match store::check(&self.layout, &file) {
            Ok(Checked::Gone) => return,
            Ok(Checked::Good { bytes }) => {
                self.unreadable_in_a_row = 0;
                done.files += 1;
                done.bytes += bytes;
                return;
            }
            Ok(Checked::Bad { damage, .. }) => damage,
            Err(error) => {
                let count = done.unchecked.as_ref().map_or(0, |(_, count)| *count) + 1;
                let first = done.unchecked.take().map_or(error, |(first, _)| first);
                done.unchecked = Some((first, count));
                return;
            }
        };
        self.unreadable_in_a_row = if damage == Damage::Unreadable { self.unreadable_in_a_row + 1 } else { 0 };
        if self.unreadable_in_a_row >= MOST_UNREADABLE {
            self.files.push_front(file);
            done.trouble = Some(Trouble::DiskFails);
            return;
        }
        // It reads the file anew: what is moved was wrong a moment before.
        match store::scrub(&self.layout, Some(&self.volume), &file, self.now) {
            Ok(Scrubbed::SetAside { bytes, damage, to }) => {
                done.files += 1;
                done.bytes += bytes;
                done.bad.push(WentBad { file, damage, to });
            }
            Ok(Scrubbed::Good { .. } | Scrubbed::Gone) => {}
            Err(error) => {
                self.files.push_front(file);
                done.trouble = Some(Trouble::CannotMove(error));
            }
        }
    }
}
