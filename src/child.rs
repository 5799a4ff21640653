//! Child processes.
//!
//! Promises: a child leads a process group of its own, and the whole group is killed when its handle is dropped; a child
//! that is run to its end has a deadline, and what it says has a bound.
//! Never: uses a shell; builds arguments.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of what a child said last is kept for the error.
const LAST_WORDS_BYTES: usize = 4096;

/// How nice a child is that yields (-20 to 19): it gets about a tenth of what one that does not would get beside it.
const NICE: i32 = 10;

/// Why a child did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("cannot run {program}; is it installed?")]
    Missing { program: String, source: io::Error },
    #[error("cannot talk to {program}")]
    Pipe { program: String, source: io::Error },
    #[error("{program} was not done within {} s and was stopped", deadline.as_secs())]
    TooSlow { program: String, deadline: Duration },
    #[error("{program} printed more than {max_bytes} bytes and was stopped")]
    TooMuch { program: String, max_bytes: usize },
}

/// What a child that ended by itself left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub output: Vec<u8>,
    /// The end of its standard error.
    pub last_words: String,
}

/// Runs a program (a path, or a name to look for in PATH) to its end.
pub async fn run(program: &str, args: &[String], max_bytes: usize, deadline: Duration) -> Result<Finished, ChildError> {
    let pipe = |source| ChildError::Pipe { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group =
        Group::spawn(&mut command).map_err(|source| ChildError::Missing { program: program.to_owned(), source })?;
    let stdout = group.0.stdout.take().expect("standard output was asked for");
    let stderr = group.0.stderr.take().expect("standard error was asked for");
    let to_the_end = async {
        let output = async {
            let mut output = Vec::new();
            stdout.take(max_bytes as u64 + 1).read_to_end(&mut output).await.map_err(pipe)?;
            if output.len() > max_bytes {
                return Err(ChildError::TooMuch { program: program.to_owned(), max_bytes });
            }
            Ok(output)
        };
        let (output, last_words) = tokio::try_join!(output, async { Ok(last_words(stderr).await) })?;
        let status = group.0.wait().await.map_err(pipe)?;
        Ok(Finished { status, output, last_words })
    };
    let ended = timeout(deadline, to_the_end).await;
    ended.unwrap_or_else(|_| Err(ChildError::TooSlow { program: program.to_owned(), deadline }))
}

/// A child that leads its process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Group(pub Child);

impl Group {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        // What it starts dies with it, and ^C at a terminal does not reach it past us.
        command.process_group(0).kill_on_drop(true).spawn().map(Self)
    }

    /// On a busy processor, everything else comes first.
    pub fn yield_to_others(&self) {
        // It may have ended by itself; or this process is of lower priority already, and what it starts too.
        let _ = self.leader().map(|leader| setpriority_process(Some(leader), NICE));
    }

    fn leader(&self) -> Option<Pid> {
        self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // An id is there only until the child has been waited for, so it cannot be someone else's by now.
        if let Some(leader) = self.leader() {
            // It may have ended by itself; there is nothing left to do then.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads a standard error to its end and keeps the end of it.
pub async fn last_words(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut last = VecDeque::with_capacity(LAST_WORDS_BYTES);
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        last.extend(&bytes[..count]);
        let surplus = last.len().saturating_sub(LAST_WORDS_BYTES);
        last.drain(..surplus);
    }
    String::from_utf8_lossy(last.make_contiguous()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn shell(script: &str, max_bytes: usize, deadline: Duration) -> Result<Finished, ChildError> {
        run("sh", &["-c".to_owned(), script.to_owned()], max_bytes, deadline).await
    }

    #[actix_rt::test]
    async fn what_it_says_is_told_apart() {
        let finished = shell("echo out; echo words >&2; exit 3", 100, LONG).await.unwrap();
        assert_eq!(finished.output, b"out\n");
        assert_eq!((finished.last_words.as_str(), finished.status.code()), ("words", Some(3)));
    }

    #[actix_rt::test]
    async fn only_the_last_words_are_kept() {
        let finished = shell("head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2", 100, LONG).await.unwrap();
        assert_eq!(finished.last_words.len(), LAST_WORDS_BYTES - 1, "the newline at the end is trimmed");
        assert!(finished.last_words.ends_with("xend"));
    }

    #[actix_rt::test]
    async fn a_missing_program_and_endless_output_are_errors() {
        let failed = run("/nowhere/streamlink", &[], 10, LONG).await.unwrap_err();
        assert_eq!(failed.to_string(), "cannot run /nowhere/streamlink; is it installed?");
        let failed = shell("yes", 1000, LONG).await.unwrap_err();
        assert_eq!(failed.to_string(), "sh printed more than 1000 bytes and was stopped");
    }

    #[actix_rt::test]
    async fn it_is_given_up_at_the_deadline() {
        let failed = shell("exec sleep 1000", 100, Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(failed.to_string(), "sh was not done within 0 s and was stopped");
    }

    #[actix_rt::test]
    async fn its_group_dies_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ids");
        let script = format!("sleep 1000 & echo $$ $! > {0}.temp; mv {0}.temp {0}; wait", file.display());
        let running = shell(&script, 100, LONG);
        let is_up = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Whoever loses is dropped.
        tokio::select! {
            ended = running => panic!("{ended:?}"),
            () = is_up => {}
        }
        let ids = std::fs::read_to_string(&file).unwrap();
        assert_eq!(ids.split_whitespace().count(), 2, "{ids}");
        for id in ids.split_whitespace() {
            gone(id).await;
        }
    }

    /// Waits until no such process runs; a zombie does not run.
    async fn gone(process_id: &str) {
        for _ in 0..3000 {
            let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
            if status.is_empty() || status.contains("State:\tZ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {process_id} is still there");
    }
}
