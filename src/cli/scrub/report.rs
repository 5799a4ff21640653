//! What a scrub tells: a bar where standard error is a terminal, a line for each thing that is wrong, the sum at the end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::print_line;
use crate::metrics::Damage;
use crate::model::PeerUrl;
use crate::store::StoredFile;

const REDRAW: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{bar:30} {pos} of {len} hours, {msg}, {eta} left";

/// A file that went bad, and what became of it.
pub struct Bad {
    pub file: StoredFile,
    pub damage: Damage,
    /// `None`: it is still missing.
    pub repaired_from: Option<PeerUrl>,
}

/// The sum.
#[derive(Default)]
pub struct Report {
    pub files: u64,
    pub bytes: u64,
    pub bad: Vec<Bad>,
    pub recovered_temps: usize,
    /// Files that could not be checked.
    pub failed_files: u64,
    pub unreadable_in_a_row: u32,
}

impl Report {
    /// Whether all that was looked at is whole, or is again.
    pub fn is_good(&self) -> bool {
        self.failed_files == 0 && self.bad.iter().all(|bad| bad.repaired_from.is_some())
    }

    pub fn print(&self, took: Duration, as_json: bool) -> anyhow::Result<()> {
        let repaired = self.bad.iter().filter(|bad| bad.repaired_from.is_some()).count();
        if as_json {
            let bad = |bad: &Bad| {
                json!({
                    "file": bad.file.path_text(),
                    "cause": bad.damage.as_str(),
                    "repaired_from": bad.repaired_from.as_ref().map(PeerUrl::to_string),
                })
            };
            let bad: Vec<_> = self.bad.iter().map(bad).collect();
            let sum = json!({
                "files": self.files,
                "bytes": self.bytes,
                "bad": bad,
                "recovered_temps": self.recovered_temps,
                "failed_files": self.failed_files,
                "seconds": took.as_secs_f64(),
            });
            return print_line(sum);
        }
        let mut words = format!("{} files checked, {} bytes, {} bad", self.files, self.bytes, self.bad.len());
        for (count, what) in [
            (repaired as u64, "repaired"),
            (self.recovered_temps as u64, "kept that a killed process left"),
            (self.failed_files, "not checked"),
        ] {
            if count > 0 {
                words += &format!(", {count} {what}");
            }
        }
        print_line(words)
    }
}

/// The bar. Dropped, it clears its line.
pub struct Tally(ProgressBar);

impl Tally {
    pub fn begin() -> Self {
        let bar = ProgressBar::new(0);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed"));
        bar.enable_steady_tick(REDRAW);
        Self(bar)
    }

    pub fn hours(&self, count: usize) {
        self.0.set_length(count as u64);
    }

    /// Another hour is done; so many bytes in all since the beginning.
    pub fn hour_done(&self, bytes: u64, since_the_beginning: Duration) {
        self.0.inc(1);
        let per_second = u128::from(bytes) * 1000 / since_the_beginning.as_millis().max(1);
        self.0.set_message(format!("{} MB/s", per_second / 1_000_000));
    }

    /// A line for the user, above the bar.
    pub fn tell(&self, line: &str) {
        self.0.suspend(|| eprintln!("segvault: {line}"));
    }

    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end();
    }
}
