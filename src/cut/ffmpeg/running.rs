//! A child at work, and the place that it has among those that run.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{ChildStdout, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Shared;
use crate::child::{Group, last_words};
use crate::cut::CutError;
use crate::cut::files::ByteStream;

/// What is read from a child at once: the size of a Linux pipe.
pub(in crate::cut) const READ_BYTES: usize = 64 * 1024;
/// A child that has closed its output needs no longer to say its last words.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);

/// A place among those that run. Clones are the same place: the processes of one chain share it, so that a chain never
/// waits for itself.
#[derive(Debug, Clone)]
pub(in crate::cut) struct Seat {
    shared: Arc<Shared>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Seat {
    pub(super) fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        Self { shared: Arc::clone(shared), _permit: Arc::new(permit) }
    }

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
pub(in crate::cut) struct Running {
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
pub(in crate::cut) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for it; `None` if it panicked.
    pub async fn ended(&mut self) -> Option<T> {
        (&mut self.0).await.ok()
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
