//! Reads one live playlist again and again, as a player does, and compares each text with the one before.
//!
//! Promises: every change of the past is told, with what it was and what it is; then it goes on from the new text.
//! Never: follows another address than its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::extends::Listed;
use crate::support;

/// More often than segments come.
const EVERY: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Texts that were read and compared.
    pub texts: u64,
    /// Nobody answered, as during a restart.
    pub unanswered: u64,
    pub faults: Vec<String>,
    pub last: Option<Listed>,
}

pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stopping: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl Watcher {
    pub fn start(address: String, path: String) -> Self {
        let (seen, stopping): (Arc<Mutex<Seen>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let (noted, asked_to_stop) = (Arc::clone(&seen), Arc::clone(&stopping));
        let watching = std::thread::spawn(move || {
            while !asked_to_stop.load(Ordering::SeqCst) {
                let reply = support::try_get(&address, &path);
                noted.lock().unwrap().note(reply);
                std::thread::sleep(EVERY);
            }
        });
        Self { seen, stopping, watching }
    }

    pub fn stop(self) -> Seen {
        self.stopping.store(true, Ordering::SeqCst);
        self.watching.join().unwrap();
        self.seen.lock().unwrap().clone()
    }
}

impl Seen {
    fn note(&mut self, reply: Option<support::Reply>) {
        let Some(reply) = reply.filter(|reply| reply.complete) else {
            self.unanswered += 1;
            return;
        };
        if reply.status != 200 {
            self.fault(format!("{} {}", reply.status, reply.text()));
            return;
        }
        match Listed::parse(&reply.text()) {
            Err(fault) => self.fault(fault),
            Ok(listed) => {
                if let Some(Err(fault)) = self.last.as_ref().map(|last| last.is_extended_by(&listed)) {
                    self.fault(fault);
                }
                if let Err(fault) = listed.is_sound() {
                    self.fault(fault);
                }
                self.texts += 1;
                self.last = Some(listed);
            }
        }
    }

    /// An unsound list stays so for many texts: told once.
    fn fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}
