//! Work that blocks on the disk, off the arbiters and within bounds.
//!
//! Promises: at most so many pieces of work at once per room; a panic inside becomes an error of the caller.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The work panicked; its message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("work on the disk ended in a panic")]
pub struct Panicked;

/// A bounded door to the blocking threads of the current runtime. Cheap to clone; clones share the bound.
/// Recording and reading have a door each, so that a burst of readers never delays a recorder.
#[derive(Debug, Clone)]
pub struct Blocking {
    permits: Arc<Semaphore>,
    at_once: usize,
}

impl Blocking {
    pub fn new(at_once: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once)), at_once }
    }

    /// How many may be under way.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// How many are.
    pub fn in_use(&self) -> usize {
        self.at_once - self.permits.available_permits()
    }

    /// Runs `work` on a blocking thread. If the caller is dropped, work that has begun goes on to its end.
    pub fn run<T, F>(&self, work: F) -> impl Future<Output = Result<T, Panicked>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        async move {
            let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let done = tokio::task::spawn_blocking(move || {
                // Held until the work has ended, not until the caller has: the bound is on the work.
                let _permit = permit;
                work()
            });
            done.await.map_err(|_| Panicked)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[actix_rt::test]
    async fn a_panic_is_an_error_and_frees_its_place() {
        let blocking = Blocking::new(1);
        assert_eq!(blocking.run(|| panic!("on purpose")).await, Err::<(), _>(Panicked));
        assert_eq!(blocking.run(|| 7).await, Ok(7));
    }

    #[actix_rt::test]
    async fn no_more_run_at_once_than_allowed() {
        let blocking = Blocking::new(2);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..8).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            blocking.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(5));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures_util::future::join_all(work).await;
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
