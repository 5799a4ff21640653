//! Where the process spends its time and what its memory is made of, asked while it runs.
//!
//! Promises: one profile of the processor at a time, for a bounded time; between profiles nothing of this runs and nothing
//! is measured, but for what the allocator notes of the heap (`heap/sampler.rs`). A caller that is dropped ends its profile.
//! Never: unwinds with libgcc in a signal's handler, which takes locks and may fault: stacks are walked by framehop, from
//! tables read beforehand, and every address of a stack is tried before it is read.

pub mod flame;
mod heap;
mod memory;
mod protobuf;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use tokio::sync::Semaphore;

pub use heap::{HeapProfile, SampledHeap, note_every};
pub use memory::{Memory, memory};

use crate::blocking::{Blocking, Panicked};

/// No multiple of anything that beats in the node, so that no timer is always or never seen.
const SAMPLES_PER_SECOND: i32 = 99;
/// The first sample reads the tables, which allocates: it must not be taken where the allocator's locks may be held, nor
/// the dynamic linker's. Both lie in these.
const NOT_FIRST: [&str; 5] = ["libc.so", "ld-linux", "libgcc", "libpthread", "vdso"];
/// How often it is tried, and for how long at most.
const FIRST_PER_SECOND: i32 = 499;
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// How soon a profile notices that it is no longer wanted.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("another profile is being taken; wait until it is done")]
    UnderWay,
    #[error("the node is stopping")]
    Stopping,
    #[error("this machine does not let the process be sampled: {0}")]
    Unable(String),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// A function on a stack, and the line that it was at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    pub function: String,
    pub file: String,
    /// 0 where it is not known.
    pub line: u32,
}

/// A stack from its thread's first function to the one that ran; and how often it was met.
pub type Stacks = BTreeMap<Vec<Frame>, u64>;

/// What the processor did.
#[derive(Debug)]
pub struct CpuProfile {
    pub stacks: Stacks,
    pub took: Duration,
    pub samples_per_second: u32,
}

impl CpuProfile {
    pub fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// As `go tool pprof` reads it, not yet compressed.
    pub fn protobuf(&self, ended_unix_nanos: i64) -> Vec<u8> {
        let (took_nanos, period_nanos) =
            (self.took.as_nanos() as i64, 1_000_000_000 / u64::from(self.samples_per_second));
        let sheet = protobuf::Sheet {
            kinds: [("samples", "count"), ("cpu", "nanoseconds")],
            period: ("cpu", "nanoseconds", period_nanos),
            began_unix_nanos: ended_unix_nanos - took_nanos,
            took_nanos,
        };
        let rows = self.stacks.iter().filter_map(|(stack, count)| {
            let (thread, frames) = stack.split_first()?;
            Some(protobuf::Row { thread: Some(&thread.function), frames, values: [*count, count * period_nanos] })
        });
        protobuf::encode(&sheet, rows)
    }
}

/// Takes profiles of the whole process. Cheap to clone; clones share the turn.
#[derive(Debug, Clone)]
pub struct Profiler {
    turn: Arc<Semaphore>,
    /// Whether the tables are there.
    is_ready: Arc<AtomicBool>,
    blocking: Blocking,
}

impl Default for Profiler {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), is_ready: Arc::default(), blocking: Blocking::new(1) }
    }
}

impl Profiler {
    /// Watches the processor for so long, or until `is_stopping`. Takes a moment longer: names are looked up.
    pub async fn processor(&self, span: Duration, is_stopping: impl Fn() -> bool) -> Result<CpuProfile, ProfileError> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| ProfileError::UnderWay)?;
        if !self.is_ready.load(Ordering::Relaxed) {
            self.blocking.run(read_tables).await??;
            self.is_ready.store(true, Ordering::Relaxed);
        }
        let began = Instant::now();
        let guard = start(ProfilerGuardBuilder::default().frequency(SAMPLES_PER_SECOND))?;
        while began.elapsed() < span {
            if is_stopping() {
                return Err(ProfileError::Stopping);
            }
            tokio::time::sleep(LOOK_EVERY.min(span.saturating_sub(began.elapsed()))).await;
        }
        let took = began.elapsed();
        self.blocking
            .run(move || {
                // Held until all is over: if the caller is dropped, the next one is still told to wait.
                let _turn = turn;
                let report = guard.report().build().map_err(unable)?;
                Ok(CpuProfile { stacks: stacks(&report), took, samples_per_second: SAMPLES_PER_SECOND as u32 })
            })
            .await?
    }

    /// Who holds the memory now. Takes a moment, as names are looked up, and waits for a profile's.
    pub async fn heap(&self) -> Result<HeapProfile, ProfileError> {
        Ok(self.blocking.run(HeapProfile::take).await?)
    }
}

fn start(builder: ProfilerGuardBuilder) -> Result<ProfilerGuard<'static>, ProfileError> {
    builder.build().map_err(unable)
}

fn unable(error: pprof::Error) -> ProfileError {
    ProfileError::Unable(crate::causes::chain(&error))
}

/// Has the first sample taken, at a harmless place. Blocks, and works meanwhile: only who works is sampled.
fn read_tables() -> Result<(), ProfileError> {
    let guard = start(ProfilerGuardBuilder::default().frequency(FIRST_PER_SECOND).blocklist(&NOT_FIRST))?;
    let until = Instant::now() + FIRST_WITHIN;
    while Instant::now() < until {
        black_box((0..2_000_000u64).fold(0, |sum, n| black_box(sum ^ n)));
        if !guard.report().build_unresolved().map_err(unable)?.data.is_empty() {
            return Ok(());
        }
    }
    Err(ProfileError::Unable("no sample was taken of a busy thread".into()))
}

/// The same stacks of threads of the same name are one.
fn stacks(report: &Report) -> Stacks {
    let mut stacks = Stacks::new();
    for (found, count) in &report.data {
        let thread = Frame { function: found.thread_name_or_id(), file: String::new(), line: 0 };
        // The report has the innermost first, inlined ones too.
        let mut frames: Vec<Frame> = found.frames.iter().flatten().map(frame).collect();
        frames.push(thread);
        frames.reverse();
        *stacks.entry(frames).or_default() += u64::try_from(*count).unwrap_or_default();
    }
    stacks
}

fn frame(symbol: &pprof::Symbol) -> Frame {
    let file = symbol.filename.as_ref().map(|file| file.to_string_lossy().into_owned());
    Frame { function: symbol.name(), file: file.unwrap_or_default(), line: symbol.lineno() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_that_keeps_busy(is_over: &AtomicBool) -> u64 {
        let mut sum = 0u64;
        while !is_over.load(Ordering::Relaxed) {
            sum = (0..100_000u64).fold(sum, |sum: u64, n| black_box(sum.wrapping_mul(31) ^ n));
        }
        sum
    }

    #[actix_rt::test]
    async fn a_profile_names_who_was_busy_and_two_at_once_are_refused() {
        let (profiler, is_over) = (Profiler::default(), Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&is_over);
        let busy = std::thread::Builder::new()
            .name("busy".into())
            .spawn(move || black_box(a_function_that_keeps_busy(&until)))
            .unwrap();
        let take = || profiler.processor(Duration::from_secs(2), || false);
        let (first, second) = futures_util::future::join(take(), take()).await;
        assert!(matches!(second, Err(ProfileError::UnderWay)), "{second:?}");
        let mut profile = first.unwrap();
        let is_named = |profile: &CpuProfile| {
            profile.stacks.keys().any(|stack| {
                let names = |name: &str| stack.iter().any(|frame| frame.function.contains(name));
                stack[0].function == "busy" && names("a_function_that_keeps_busy")
            })
        };
        // On a machine that has much else to do, the thread may not get a hundredth of a second at first.
        for _ in 0..20 {
            if is_named(&profile) {
                break;
            }
            profile = take().await.unwrap();
        }
        assert!(is_named(&profile), "{} samples: {:?}", profile.samples(), profile.stacks);
        // Who is no longer wanted ends at once, and who is dropped leaves the turn to the next.
        let stopped = profiler.processor(Duration::from_secs(60), || true).await;
        assert!(matches!(stopped, Err(ProfileError::Stopping)), "{stopped:?}");
        drop(
            tokio::time::timeout(Duration::from_millis(300), profiler.processor(Duration::from_secs(60), || false))
                .await,
        );
        profiler.processor(Duration::from_millis(100), || false).await.unwrap();
        is_over.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    }
}
