//! Gives copies their final names, as many at once as wait for it: a disk flushes many nearly as fast as one.
//!
//! Promises: what is answered as new survives a power cut; a bounded number waits, each with an open file; who stops
//! waiting leaves nothing behind, unless its turn had come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::copy::CopyError;
use crate::blocking::{Blocking, Panicked};
use crate::store::{Copied, PendingCopy, StoreError, finish_together};

/// Copies that may wait for their flush. Enough that what comes during one flush fills the next.
pub(super) const MOST_WAITING: usize = 256;
/// Flushes at once: while one waits for the disk, another gets its files together.
const FLUSHES_AT_ONCE: usize = 2;

/// Cheap to clone; clones share who waits.
#[derive(Debug, Clone)]
pub struct Finisher {
    queue: Arc<Mutex<Queue>>,
    places: Arc<Semaphore>,
    blocking: Blocking,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    copy: PendingCopy,
    _place: Place,
    done: oneshot::Sender<Result<Copied, StoreError>>,
}

/// The right to wait.
pub(super) type Place = OwnedSemaphorePermit;

impl Default for Finisher {
    fn default() -> Self {
        Self {
            queue: Arc::default(),
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            blocking: Blocking::new(FLUSHES_AT_ONCE),
        }
    }
}

impl Finisher {
    /// To be had before the bytes are let go by whoever limits how many are fetched.
    pub(super) async fn place(&self) -> Place {
        Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// `copy` holds the bytes of its name.
    pub(super) async fn finish(&self, copy: PendingCopy, place: Place) -> Result<Copied, CopyError> {
        let (done, answer) = oneshot::channel();
        let ticket = self.enter(Waiting { copy, _place: place, done });
        let this = self.clone();
        let flush = self.blocking.run(move || this.flush_waiting());
        let answer = match select(answer, Box::pin(flush)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((flushed, answer)) => {
                flushed?;
                // Now, or by another flush that took it before.
                answer.await
            }
        };
        drop(ticket);
        Ok(answer.map_err(|_| Panicked)??)
    }

    fn enter(&self, waiting: Waiting) -> Ticket<'_> {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, waiting);
        Ticket { finisher: self, number }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks on the disk.
    fn flush_waiting(&self) {
        let all = std::mem::take(&mut self.queue().waiting);
        let (copies, rest): (Vec<PendingCopy>, Vec<_>) =
            all.into_values().map(|Waiting { copy, _place, done }| (copy, (_place, done))).unzip();
        for ((_place, done), copied) in rest.into_iter().zip(finish_together(copies)) {
            // Fails where nobody waits any more.
            let _ = done.send(copied);
        }
    }
}

/// Dropped, it gives up waiting.
struct Ticket<'f> {
    finisher: &'f Finisher,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let gone = self.finisher.queue().waiting.remove(&self.number);
        // Deletes a file: not under the lock.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::TempMark;

    fn pending(path: &Path) -> PendingCopy {
        let mut copy = PendingCopy::create(path, &TempMark::of_this_process()).unwrap();
        copy.append(&[b"x"]).unwrap();
        copy
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[actix_rt::test]
    async fn all_that_wait_are_finished_and_each_hears_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let finisher = Finisher::default();
        std::fs::write(dir.path().join("7"), "there").unwrap();
        std::fs::write(dir.path().join("8.tombstone"), "").unwrap();
        let finish = async |number: usize| {
            let name = if number == 8 { "8.ts".to_owned() } else { number.to_string() };
            let place = finisher.place().await;
            finisher.finish(pending(&dir.path().join(name)), place).await.unwrap()
        };
        let all = futures_util::future::join_all((0..MOST_WAITING * 2).map(finish)).await;
        for (number, copied) in all.into_iter().enumerate() {
            let expected = match number {
                7 => Copied::AlreadyThere,
                8 => Copied::Tombstoned,
                _ => Copied::New,
            };
            assert_eq!(copied, expected, "{number}");
        }
        assert_eq!(files(dir.path()), MOST_WAITING * 2);
        assert_eq!(std::fs::read(dir.path().join("7")).unwrap(), b"there");
    }

    #[actix_rt::test]
    async fn who_gives_up_waiting_leaves_nothing_and_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let finisher = Finisher::default();
        let place = finisher.place().await;
        let finish = finisher.finish(pending(&dir.path().join("a")), place);
        assert_eq!((files(dir.path()), finisher.places.available_permits()), (1, MOST_WAITING - 1));
        drop(finish);
        assert_eq!((files(dir.path()), finisher.places.available_permits()), (0, MOST_WAITING));
        let ticket = finisher.enter(Waiting {
            copy: pending(&dir.path().join("a")),
            _place: finisher.place().await,
            done: oneshot::channel().0,
        });
        drop(ticket);
        assert_eq!((files(dir.path()), finisher.places.available_permits()), (0, MOST_WAITING));
    }
}
