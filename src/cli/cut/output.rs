//! Where a cut goes: a file that gets its name when it is whole, or standard output.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Source;
use super::partial::{self, Left, Partial, cannot_write};
use crate::blocking::Blocking;

const REDRAW: Duration = Duration::from_millis(200);

/// What `-o` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Stdout } else { Self::File(text.into()) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Target {
    /// What an earlier run has left of it, if anything.
    pub fn left(&self) -> anyhow::Result<Option<Left>> {
        match self {
            Self::Stdout => Ok(None),
            Self::File(path) => Left::of(path),
        }
    }

    /// For the end of a message about a failure.
    pub fn what_is_left(&self) -> String {
        let Self::File(path) = self else { return String::new() };
        let unfinished = partial::unfinished(path);
        match unfinished.metadata() {
            Ok(left) => format!("; its first {} bytes are in {}", left.len(), unfinished.display()),
            Err(_) => String::new(),
        }
    }

    /// Prints a line for the user or a script: not into the video.
    pub fn tell(&self, line: &str) -> io::Result<()> {
        match self {
            Self::Stdout => writeln!(io::stderr(), "{line}"),
            Self::File(_) => writeln!(io::stdout(), "{line}"),
        }
    }
}

/// An output being written, with its progress shown if standard error is a terminal.
pub struct Output {
    target: Target,
    /// Away while it is being written to.
    sink: Option<Sink>,
    /// Those of an earlier run, too.
    written_bytes: u64,
    progress: ProgressBar,
    blocking: Blocking,
}

enum Sink {
    Stdout(io::Stdout),
    File(Partial),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(bytes),
            Self::File(partial) => partial.write(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush(),
            Self::File(partial) => partial.finish(),
        }
    }
}

impl Output {
    /// For what comes of `source`, after what was `left` if that is where it begins.
    pub fn create(target: &Target, source: &Source, left: Option<Left>, blocking: Blocking) -> anyhow::Result<Self> {
        let sink = match target {
            Target::Stdout => Sink::Stdout(io::stdout()),
            Target::File(path) => {
                let known = source.fingerprint.zip(source.size_bytes);
                Sink::File(Partial::create(path, left, source.begins_at_bytes, known)?)
            }
        };
        let progress = progress(source.size_bytes);
        Ok(Self { target: target.clone(), sink: Some(sink), written_bytes: source.begins_at_bytes, progress, blocking })
    }

    pub async fn write(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        let mut sink = self.sink.take().expect("a write that failed is the last");
        let len_bytes = bytes.len() as u64;
        let write = self.blocking.run(move || sink.write(&bytes).map(|()| sink));
        self.sink = Some(write.await?.with_context(|| cannot_write(Path::new(&self.target.to_string())))?);
        self.written_bytes += len_bytes;
        self.progress.set_position(self.written_bytes);
        Ok(())
    }

    /// Makes the file durable and gives it its name. Answers how many bytes it has.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let sink = self.sink.take().expect("a write that failed is the last");
        let finished = self.blocking.run(move || sink.finish()).await?;
        finished.with_context(|| cannot_write(Path::new(&self.target.to_string())))?;
        self.progress.finish_and_clear();
        Ok(self.written_bytes)
    }
}

/// Hidden where standard error is no terminal.
fn progress(size_bytes: Option<u64>) -> ProgressBar {
    let (progress, template) = match size_bytes {
        Some(size_bytes) => {
            (ProgressBar::new(size_bytes), "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes}, {bytes_per_sec}, {elapsed}"),
    };
    progress.set_draw_target(ProgressDrawTarget::stderr());
    progress.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    progress.enable_steady_tick(REDRAW);
    progress
}

impl Drop for Output {
    fn drop(&mut self) {
        // An error message comes next; it should not stand behind a bar.
        self.progress.finish_and_clear();
    }
}
