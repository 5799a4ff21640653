//! ffmpeg as a child process.
//!
//! Promises: at most so many at once, the rest wait in order; a child gets its input and gives its output only as fast as
//! the other side takes it; it dies with its whole process group when its handle is dropped or when it stalls; if it fails,
//! its last words are in the error.
//! Never: takes an argument that was not built from types (the callers build them).

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::CutError;
use super::files::ByteStream;
use crate::child::{Group, last_words};
use crate::store::Scratch;

/// What is read from a child at once: the size of a Linux pipe.
const READ_BYTES: usize = 64 * 1024;
/// A child that has closed its output needs no longer to say its last words.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);
/// For edges of H.264 and HEVC, and for cuts that are re-encoded as a whole.
const ENCODERS: [&str; 5] = ["libx264", "libx265", "aac", "libvpx-vp9", "libopus"];
/// `ffmpeg -encoders` is done in 0.1 s.
const PROBE_WAIT: Duration = Duration::from_secs(10);

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
        let (waiting, told) = (AtomicUsize::new(0), OnceLock::new());
        Self { shared: Arc::new(Shared { program: program.into(), limits, seats, waiting, scratch, told }) }
    }

    pub(super) fn scratch(&self) -> &Scratch {
        &self.shared.scratch
    }

    /// Pieces of work that run now.
    /// How many may run.
    pub fn at_once(&self) -> usize {
        self.shared.limits.at_once
    }

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
        Ok(Seat { shared: Arc::clone(&self.shared), _permit: Arc::new(permit) })
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

/// A place among those that run. Clones are the same place: the processes of one chain share it, so that a chain never
/// waits for itself.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Seat {
    /// Starts a child that reads `input` as its standard input.
    pub fn run(&self, args: Vec<OsString>, input: ByteStream) -> Result<Running, CutError> {
        let mut command = Command::new(&self.shared.program);
        command
            .args(["-nostdin", "-hide_banner", "-loglevel", "error"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Group::spawn(&mut command)
            .map_err(|source| CutError::FfmpegMissing { program: self.shared.program.clone(), source })?;
        // Cuts can wait; recording, and whoever asks how it is, cannot.
        child.yield_to_others();
        let stdin = child.0.stdin.take().expect("standard input was asked for");
        let stdout = child.0.stdout.take().expect("standard output was asked for");
        let stderr = child.0.stderr.take().expect("standard error was asked for");
        let fault = Arc::new(Mutex::new(None));
        Ok(Running {
            _feeder: Task::spawn(feed(input, stdin, Arc::clone(&fault))),
            last_words: Task::spawn(last_words(stderr)),
            child,
            stdout: Some(stdout),
            fault,
            stall: self.shared.limits.stall,
            second: None,
            _seat: self.clone(),
        })
    }

    /// Starts a child that reads `second` too, from the path that its arguments are built with: a pipe of ours, which it
    /// opens by itself.
    pub fn run_with_second(
        &self,
        args: impl FnOnce(&Path) -> Vec<OsString>,
        input: ByteStream,
        second: ByteStream,
    ) -> Result<Running, CutError> {
        let (sender, receiver) = pipe::pipe().map_err(|source| CutError::FfmpegPipe { source })?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), receiver.as_raw_fd()));
        let mut running = self.run(args(&path), input)?;
        let feeder = Task::spawn(feed(second, sender, Arc::clone(&running.fault)));
        running.second = Some(Second { _feeder: feeder, _receiver: receiver });
        Ok(running)
    }
}

/// A child at work. Dropping it kills its process group.
#[derive(Debug)]
pub(super) struct Running {
    // Dropped first, so that nothing is fed to a dead child.
    _feeder: Task<()>,
    last_words: Task<String>,
    child: Group,
    stdout: Option<ChildStdout>,
    /// Why the input ended early.
    fault: Arc<Mutex<Option<CutError>>>,
    stall: Duration,
    second: Option<Second>,
    _seat: Seat,
}

/// The second input of a child.
#[derive(Debug)]
struct Second {
    _feeder: Task<()>,
    /// Held for as long as the child may still have to open it.
    _receiver: pipe::Receiver,
}

impl Running {
    /// The next piece of output. `None` once the child has ended well and has had all of its input, or did not want it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        let Some(stdout) = &mut self.stdout else { return Ok(None) };
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let count = timeout(self.stall, stdout.read_buf(&mut bytes))
            .await
            .map_err(|_| CutError::FfmpegStalled { waited: self.stall })?
            .map_err(|source| CutError::FfmpegPipe { source })?;
        if count > 0 {
            return Ok(Some(bytes.freeze()));
        }
        self.stdout = None;
        self.end().await.map(|()| None)
    }

    /// Waits for the end of a child that gives no output here. `has_moved` is asked now and then, with the time since it was
    /// asked last, whether the child has done anything meanwhile.
    pub async fn finished(&mut self, mut has_moved: impl FnMut(Duration) -> bool) -> Result<(), CutError> {
        while timeout(self.stall, self.child.0.wait()).await.is_err() {
            if !has_moved(self.stall) {
                return Err(CutError::FfmpegStalled { waited: self.stall });
            }
        }
        self.end().await
    }

    async fn end(&mut self) -> Result<(), CutError> {
        let status = timeout(self.stall, self.child.0.wait())
            .await
            .map_err(|_| CutError::FfmpegStalled { waited: self.stall })?
            .map_err(|source| CutError::FfmpegPipe { source })?;
        // Before the status: to ffmpeg, input that broke off is an ordinary end.
        if let Some(fault) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        if !status.success() {
            return Err(CutError::FfmpegFailed { status, last_words: self.last_words.finished().await });
        }
        Ok(())
    }

    /// All of the output as a stream, for the next in a chain.
    pub fn into_stream(self) -> ByteStream {
        stream::try_unfold(self, |mut running| async move { Ok(running.next().await?.map(|bytes| (bytes, running))) })
            .boxed()
    }

    #[cfg(test)]
    pub fn process_id(&self) -> Option<u32> {
        self.child.0.id()
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Task<String> {
    async fn finished(&mut self) -> String {
        match timeout(LAST_WORDS_WAIT, &mut self.0).await {
            Ok(Ok(words)) if !words.is_empty() => words,
            _ => "it said nothing".to_owned(),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn feed(mut input: ByteStream, mut stdin: impl AsyncWrite + Unpin, fault: Arc<Mutex<Option<CutError>>>) {
    while let Some(next) = input.next().await {
        let failure = match next {
            Ok(bytes) => match stdin.write_all(&bytes).await {
                Ok(()) => continue,
                // The child wants no more; whether it ended well is told by its status.
                Err(source) if source.kind() == std::io::ErrorKind::BrokenPipe => return,
                Err(source) => CutError::FfmpegPipe { source },
            },
            Err(failure) => failure,
        };
        // Must precede the closing of standard input, after which the child may end at any time.
        *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn ffmpeg(program: &str) -> Ffmpeg {
        Ffmpeg::new(program, Limits { at_once: 1, ..Limits::default() })
    }

    fn nothing() -> ByteStream {
        stream::empty().boxed()
    }

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    async fn all(mut running: Running) -> Result<Vec<u8>, CutError> {
        let mut out = Vec::new();
        while let Some(bytes) = running.next().await? {
            out.extend(bytes);
        }
        Ok(out)
    }

    #[actix_rt::test]
    async fn a_missing_program_is_named() {
        let ffmpeg = ffmpeg("/nowhere/ffmpeg");
        assert!(matches!(ffmpeg.probe().await, Err(CutError::FfmpegMissing { .. })));
        let failed = ffmpeg.seat().await.unwrap().run(vec![], nothing());
        let text = failed.unwrap_err().to_string();
        assert_eq!(text, "cannot run /nowhere/ffmpeg; is ffmpeg installed?");
    }

    #[actix_rt::test]
    async fn the_installed_one_says_what_it_has() {
        let probe = ffmpeg("ffmpeg").probe().await.unwrap();
        assert!(probe.version.starts_with(|c: char| c.is_ascii_digit() || c == 'n' || c == 'N'), "{probe:?}");
        assert!(!probe.missing.contains(&"libx264"), "{probe:?}");
    }

    #[actix_rt::test]
    async fn its_last_words_are_in_the_error() {
        let seat = ffmpeg("ffmpeg").seat().await.unwrap();
        let failed = all(seat.run(args(&["-f", "no-such-format", "-i", "-"]), nothing()).unwrap()).await;
        let Err(CutError::FfmpegFailed { last_words, .. }) = failed else { panic!("{failed:?}") };
        assert!(last_words.contains("no-such-format"), "{last_words}");
    }

    #[actix_rt::test]
    async fn input_that_fails_is_the_error_though_the_child_ends_well() {
        let seat = ffmpeg("ffmpeg").seat().await.unwrap();
        let input = stream::iter([Ok(Bytes::from_static(&[0; 400])), Err(CutError::Vanished { segment: "it".into() })]);
        let copy = args(&["-f", "u8", "-ar", "8000", "-ac", "1", "-i", "-", "-f", "u8", "-"]);
        let failed = all(seat.run(copy, input.boxed()).unwrap()).await;
        assert!(matches!(failed, Err(CutError::Vanished { .. })), "{failed:?}");
    }

    #[actix_rt::test]
    async fn places_are_counted_and_given_back() {
        let ffmpeg = Ffmpeg::new("ffmpeg", Limits { at_once: 1, queue_wait: SHORT, ..Limits::default() });
        let seat = ffmpeg.seat().await.unwrap();
        let chained = seat.clone();
        drop(seat);
        assert_eq!(ffmpeg.in_use(), 1);
        assert!(matches!(ffmpeg.seat().await, Err(CutError::Busy { .. })));
        assert_eq!(ffmpeg.waiting(), 0);
        drop(chained);
        assert_eq!(ffmpeg.in_use(), 0);
        ffmpeg.seat().await.unwrap();
    }

    #[actix_rt::test]
    async fn those_who_wait_get_their_places_in_the_order_of_asking() {
        let ffmpeg = ffmpeg("ffmpeg");
        let seat = ffmpeg.seat().await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (places, served) = (ffmpeg.clone(), Arc::clone(&served));
            waiting.push(actix_rt::spawn(async move {
                let seat = places.seat().await.unwrap();
                served.lock().unwrap().push(number);
                // Gives others a chance to push themselves in front.
                tokio::task::yield_now().await;
                drop(seat);
            }));
            while ffmpeg.waiting() <= number {
                tokio::task::yield_now().await;
            }
        }
        // The third leaves before its turn.
        waiting.remove(2).abort();
        drop(seat);
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [0, 1, 3, 4]);
        assert_eq!((ffmpeg.in_use(), ffmpeg.waiting()), (0, 0));
    }

    /// Waits until no such process runs; a zombie does not run.
    async fn gone(process_id: u32) {
        for _ in 0..3000 {
            let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
            if status.is_empty() || status.contains("State:\tZ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {process_id} is still there");
    }

    fn nice(process_id: u32) -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap();
        // The 17th field after the name: proc(5).
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[actix_rt::test]
    async fn a_child_dies_with_its_handle_and_when_it_stalls() {
        let seat = ffmpeg("ffmpeg").seat().await.unwrap();
        let endless = args(&["-re", "-f", "lavfi", "-i", "anullsrc", "-f", "s16le", "-"]);
        let mut running = seat.run(endless, nothing()).unwrap();
        let process_id = running.process_id().unwrap();
        assert!(running.next().await.unwrap().is_some());
        assert!(nice(process_id) >= 10, "it takes the processor from recording");
        drop(running);
        gone(process_id).await;

        let impatient = Ffmpeg::new("ffmpeg", Limits { stall: SHORT, ..Limits::default() });
        let seat = impatient.seat().await.unwrap();
        let waits_for_input = args(&["-f", "u8", "-ar", "8000", "-i", "-", "-f", "u8", "-"]);
        let mut running = seat.run(waits_for_input, stream::pending().boxed()).unwrap();
        let process_id = running.process_id().unwrap();
        assert!(matches!(running.next().await, Err(CutError::FfmpegStalled { .. })));
        drop(running);
        gone(process_id).await;
    }
}
