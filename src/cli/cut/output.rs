//! Where a cut goes: a file that gets its name when it is whole, or standard output.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::blocking::Blocking;

/// Appended to the name while a file is being written.
const UNFINISHED_ENDING: &str = ".partial";
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
    fn unfinished(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(UNFINISHED_ENDING);
        name.into()
    }

    /// For the end of a message about a failure.
    pub fn what_is_left(&self) -> String {
        let Self::File(path) = self else { return String::new() };
        let unfinished = Self::unfinished(path);
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
    writer: Option<Box<dyn Write + Send>>,
    file: Option<File>,
    written_bytes: u64,
    progress: ProgressBar,
    blocking: Blocking,
}

impl Output {
    pub async fn create(target: &Target, size_bytes: Option<u64>, blocking: Blocking) -> anyhow::Result<Self> {
        let (writer, file): (Box<dyn Write + Send>, _) = match target {
            Target::Stdout => (Box::new(io::stdout()), None),
            Target::File(path) => {
                let unfinished = Target::unfinished(path);
                let create = || {
                    let file = File::create(&unfinished)?;
                    Ok::<_, io::Error>((file.try_clone()?, file))
                };
                let (writer, file) = create().with_context(|| cannot_write(&unfinished))?;
                (Box::new(writer), Some(file))
            }
        };
        let progress = progress(size_bytes);
        Ok(Self { target: target.clone(), writer: Some(writer), file, written_bytes: 0, progress, blocking })
    }

    pub async fn write(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        let mut writer = self.writer.take().expect("a write that failed is the last");
        let len_bytes = bytes.len() as u64;
        let write = self.blocking.run(move || writer.write_all(&bytes).map(|()| writer));
        self.writer = Some(write.await?.with_context(|| cannot_write(Path::new(&self.target.to_string())))?);
        self.written_bytes += len_bytes;
        self.progress.set_position(self.written_bytes);
        Ok(())
    }

    /// Makes the file durable and gives it its name. Answers how many bytes it has.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let mut writer = self.writer.take().expect("a write that failed is the last");
        let (target, file) = (self.target.clone(), self.file.take());
        let finish = move || {
            writer.flush()?;
            if let (Target::File(path), Some(file)) = (target, file) {
                // Must precede the rename: the name promises that all bytes are there.
                file.sync_all()?;
                std::fs::rename(Target::unfinished(&path), path)?;
            }
            Ok(())
        };
        let finished: io::Result<()> = self.blocking.run(finish).await?;
        finished.with_context(|| cannot_write(Path::new(&self.target.to_string())))?;
        self.progress.finish_and_clear();
        Ok(self.written_bytes)
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}; choose another place with -o", path.display())
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
