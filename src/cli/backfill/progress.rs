//! What a copy tells while it goes on: a bar where standard error is a terminal, and a line for each thing that is wrong.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::causes::chain;
use crate::peers::{Notice, Outcome};

const REDRAW: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{bar:30} {pos} of {len} files, {per_sec}, {eta} left";

/// Dropped, it clears its line.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn begin() -> Self {
        let bar = ProgressBar::new(0);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed"));
        bar.enable_steady_tick(REDRAW);
        Self(bar)
    }

    pub fn take(&self, notice: &Notice<'_>) {
        match notice {
            Notice::Missing { files } => self.0.inc_length(*files as u64),
            Notice::Refused(refused) => {
                let example = refused.example.as_deref().unwrap_or_default();
                self.tell(&format!("the node lists {} names that are none, such as \"{example}\"", refused.count));
            }
            Notice::Hidden { .. } => {}
            Notice::File { outcome, .. } => match outcome {
                Outcome::Copied { .. } | Outcome::NotNeeded | Outcome::UnderWay | Outcome::Yielded | Outcome::Gone => {
                    self.0.inc(1)
                }
            },
            Notice::Failed { error, .. } => {
                self.0.inc(1);
                self.tell(&chain(error));
            }
        }
    }

    /// A line for the user, above the bar.
    pub fn tell(&self, line: &str) {
        self.0.suspend(|| eprintln!("segvault: {line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
