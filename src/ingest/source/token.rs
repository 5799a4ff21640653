//! The token of an account, in a file that somebody may change at any time.
//!
//! Promises: a changed file counts from the next question on; a token that was refused is not used again until the file
//! holds another one; each trouble is told once.
//! Never: puts the token into a log line or an error.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use slog::{Logger, error};

use crate::blocking::Blocking;
use crate::config::{self, Secret};

pub(super) struct TokenFile {
    path: PathBuf,
    blocking: Blocking,
    log: Logger,
    refused: RefCell<Option<Secret>>,
    is_unreadable: Cell<bool>,
}

impl TokenFile {
    pub fn new(path: PathBuf, blocking: Blocking, log: Logger) -> Self {
        Self { path, blocking, log, refused: RefCell::default(), is_unreadable: Cell::new(false) }
    }

    /// The token, unless it cannot be read or has been refused. The file is read each time: it is small, and the time of
    /// its last change is not fine enough to be trusted.
    pub async fn current(&self) -> Option<Secret> {
        let path = self.path.clone();
        let read = self.blocking.run(move || config::read_secret(&path)).await;
        match read.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            Ok(token) => {
                self.is_unreadable.set(false);
                (self.refused.borrow().as_ref() != Some(&token)).then_some(token)
            }
            Err(why) => {
                if !self.is_unreadable.replace(true) {
                    error!(self.log, "no token for Twitch, going on without"; "error" => why);
                }
                None
            }
        }
    }

    /// Twitch did not take it.
    pub fn refuse(&self, token: Secret, status: u16) {
        error!(self.log, "Twitch refuses the token, going on without it until the file changes";
            "path" => %self.path.display(), "status" => status);
        self.refused.replace(Some(token));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use slog::o;

    use super::*;

    /// Keeps the messages and values of log lines.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl slog::Drain for Told {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
            struct Values(String);
            impl slog::Serializer for Values {
                fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
                    self.0 += &format!(" {key}={value}");
                    Ok(())
                }
            }
            let mut values = Values(record.msg().to_string());
            slog::KV::serialize(&record.kv(), record, &mut values).unwrap();
            self.0.lock().unwrap().push(values.0);
            Ok(())
        }
    }

    #[actix_rt::test]
    async fn a_changed_file_counts_and_each_trouble_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let told = Told::default();
        let file = TokenFile::new(path.clone(), Blocking::new(1), Logger::root(told.clone(), o!()));
        for _ in 0..3 {
            assert_eq!(file.current().await, None);
        }
        std::fs::write(&path, "hunter2\n").unwrap();
        let token = file.current().await.unwrap();
        assert_eq!(token.expose(), "hunter2");
        file.refuse(token, 401);
        assert_eq!(file.current().await, None, "it was refused");
        std::fs::write(&path, "hunter3").unwrap();
        assert_eq!(file.current().await.unwrap().expose(), "hunter3");
        let lines = told.0.lock().unwrap();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("cannot be read: No such file") && lines[1].contains("status=401"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("hunter")), "{lines:#?}");
    }
}
