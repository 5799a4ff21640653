//! ffmpeg as a child process.
//!
//! Promises: at most so many at once, the rest wait in order; a child gets its input and gives its output only as fast as
//! the other side takes it; it dies with its whole process group when its handle is dropped or when it stalls; if it fails,
//! its last words are in the error.
//! Never: takes an argument that was not built from types (the callers build them).

mod running;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::CutError;
use crate::store::Scratch;
pub(super) use running::{READ_BYTES, Running, Seat, Task};

/// For edges of H.264 and HEVC, and for cuts that are re-encoded as a whole.
const ENCODERS: [&str; 5] = ["libx264", "libx265", "aac", "libvpx-vp9", "libopus"];
/// `ffmpeg -encoders` is done in 0.1 s.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// What cuts made before its turn and hold in memory is bounded by as many times as they may hold.
const AHEAD_AT_ONCE: usize = 4;

/// What the use of ffmpeg may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pieces of work at once. One may be a chain of two processes.
    pub at_once: usize,
    /// How long a piece of work waits for its turn.
    pub queue_wait: Duration,
    /// How long a child may go without giving output to someone who asks for it.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 4, queue_wait: Duration::from_secs(60), stall: Duration::from_secs(60) }
    }
}

/// The one way to run ffmpeg. Cheap to clone; clones share the limits.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    limits: Limits,
    seats: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
    waiting: AtomicUsize,
    scratch: Scratch,
    /// What the first question came to.
    told: OnceLock<Option<Probe>>,
}

impl Ffmpeg {
    /// `program` is a path, or a name to look for in PATH. What it cannot write in one go is put together in the system's directory
    /// for such files.
    pub fn new(program: impl Into<PathBuf>, limits: Limits) -> Self {
        Self::with_scratch(program, limits, Scratch::new(&std::env::temp_dir()))
    }

    /// The same, with another place for such files.
    pub fn with_scratch(program: impl Into<PathBuf>, limits: Limits, scratch: Scratch) -> Self {
        let seats = Arc::new(Semaphore::new(limits.at_once));
        let ahead = Arc::new(Semaphore::new(AHEAD_AT_ONCE));
        let (waiting, told) = (AtomicUsize::new(0), OnceLock::new());
        Self { shared: Arc::new(Shared { program: program.into(), limits, seats, ahead, waiting, scratch, told }) }
    }

    pub(super) fn scratch(&self) -> &Scratch {
        &self.shared.scratch
    }

    /// How many may run.
    pub fn at_once(&self) -> usize {
        self.shared.limits.at_once
    }

    /// Pieces of work that run now.
    pub fn in_use(&self) -> usize {
        self.shared.limits.at_once - self.shared.seats.available_permits()
    }

    /// Pieces of work that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a place, in order of asking.
    pub(super) async fn seat(&self) -> Result<Seat, CutError> {
        let _waiting = Waiting::new(&self.shared.waiting);
        let waited = self.shared.limits.queue_wait;
        let permit = timeout(waited, Arc::clone(&self.shared.seats).acquire_owned())
            .await
            .map_err(|_| CutError::Busy { waited })?
            .expect("the semaphore is never closed");
        Ok(Seat::new(&self.shared, permit))
    }

    /// A place for what can be made before its turn, if one is free and nobody waits for it; and the right to hold what comes.
    pub(super) fn spare_seat(&self) -> Option<(Seat, HoldsAhead)> {
        let holds = Arc::clone(&self.shared.ahead).try_acquire_owned().ok()?;
        let permit = Arc::clone(&self.shared.seats).try_acquire_owned().ok()?;
        Some((Seat::new(&self.shared, permit), HoldsAhead { _permit: holds }))
    }

    /// What the first `probe` found: `None` before its end, `Some(None)` where there is no ffmpeg that answers.
    pub fn told(&self) -> Option<Option<&Probe>> {
        self.shared.told.get().map(Option::as_ref)
    }

    /// Asks ffmpeg for its version and whether it has the encoders that cuts need. Outside of the places, as it is quick.
    pub async fn probe(&self) -> Result<Probe, CutError> {
        let probed = self.ask_all().await;
        // Whoever asks again keeps the first answer: it is of the start.
        let _ = self.shared.told.set(probed.as_ref().ok().cloned());
        probed
    }

    /// One process for both: the list of encoders comes after a banner that begins with the version.
    async fn ask_all(&self) -> Result<Probe, CutError> {
        let mut command = Command::new(&self.shared.program);
        command.arg("-encoders").stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PROBE_WAIT, command.output())
            .await
            .map_err(|_| CutError::FfmpegStalled { waited: PROBE_WAIT })?
            .map_err(|source| CutError::FfmpegMissing { program: self.shared.program.clone(), source })?;
        let banner = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let last_words = banner.lines().last().unwrap_or_default().trim().to_owned();
            return Err(CutError::FfmpegFailed { status: output.status, last_words });
        }
        let encoders = String::from_utf8_lossy(&output.stdout);
        let has = |name: &str| encoders.lines().any(|line| line.split_whitespace().nth(1) == Some(name));
        let version = banner.lines().find_map(|line| line.strip_prefix("ffmpeg version "));
        Ok(Probe {
            version: version.and_then(|rest| rest.split_whitespace().next()).unwrap_or("unknown").to_owned(),
            missing: ENCODERS.into_iter().filter(|encoder| !has(encoder)).collect(),
        })
    }
}

/// What the installed ffmpeg can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub version: String,
    /// The encoders that some cut needs and that it does not have.
    pub missing: Vec<&'static str>,
}

/// The right to hold in memory what was made before its turn. Given back when dropped.
#[derive(Debug)]
pub(super) struct HoldsAhead {
    _permit: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
