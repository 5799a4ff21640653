//! Trying again what may succeed, a few times, before the job hears of it.

use std::time::Duration;

use tokio::time::sleep;

use super::UploadError;
use crate::jitter::jittered;

/// Enough for a server that restarts; what is down for longer is the job's to wait for.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long to wait before the next of several tries.
#[derive(Debug)]
pub struct Tries {
    first_wait: Duration,
    made: u32,
    wait: Duration,
}

impl Tries {
    pub fn new() -> Self {
        Self::from(FIRST_WAIT)
    }

    fn from(first_wait: Duration) -> Self {
        Self { first_wait, made: 0, wait: first_wait }
    }

    /// Something has gone right since: it is the first try again.
    pub fn succeeded(&mut self) {
        *self = Self::from(self.first_wait);
    }

    /// Waits until the next try is due, or gives the error back: it is the last straw, or nothing that passes by itself.
    pub async fn after(&mut self, error: UploadError) -> Result<(), UploadError> {
        self.made += 1;
        let asked = error.retry_after().unwrap_or_default();
        if self.made >= TRIES || !passes(&error) || asked > LONGEST_WAIT {
            return Err(error);
        }
        sleep(asked.max(jittered(self.wait))).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(())
    }
}

/// Tries until it succeeds, or fails for good.
pub async fn trying<T>(act: impl AsyncFnMut() -> Result<T, UploadError>) -> Result<T, UploadError> {
    trying_with(Tries::new(), act).await
}

async fn trying_with<T>(
    mut tries: Tries,
    mut act: impl AsyncFnMut() -> Result<T, UploadError>,
) -> Result<T, UploadError> {
    loop {
        match act().await {
            Ok(done) => return Ok(done),
            Err(error) => tries.after(error).await?,
        }
    }
}

/// What is unsure is asked for first, by who knows how.
fn passes(error: &UploadError) -> bool {
    match error {
        UploadError::NoAnswer { is_unsure, .. } => !is_unsure,
        UploadError::Busy { .. } | UploadError::WrongBytes { .. } => true,
        UploadError::Withdrawn(_)
        | UploadError::TicketGone { .. }
        | UploadError::Refused { .. }
        | UploadError::NoVideo { .. }
        | UploadError::Store(_)
        | UploadError::Panicked(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn busy(retry_after: Option<Duration>) -> UploadError {
        UploadError::Busy { why: "503".into(), retry_after }
    }

    /// How often something is tried that succeeds in the end, and whether it came to that.
    async fn tries_of(succeeds_at: u32, error: impl Fn() -> UploadError) -> (u32, bool) {
        let made = Cell::new(0);
        let result = trying_with(Tries::from(Duration::from_millis(1)), async || {
            made.set(made.get() + 1);
            if made.get() == succeeds_at { Ok(()) } else { Err(error()) }
        });
        let is_done = result.await.is_ok();
        (made.get(), is_done)
    }

    #[actix_rt::test]
    async fn only_what_passes_by_itself_is_tried_again() {
        assert_eq!(tries_of(4, || busy(None)).await, (4, true));
        assert_eq!(tries_of(4, || busy(Some(Duration::from_millis(2)))).await, (4, true));
        assert_eq!(tries_of(4, || busy(Some(Duration::from_secs(3600)))).await, (1, false));
        assert_eq!(tries_of(4, || UploadError::Refused { why: "no".into(), remedy: "ask" }).await, (1, false));
        let lost = |is_unsure| UploadError::NoAnswer { act: "asking", is_unsure, source: "gone".into() };
        assert_eq!(tries_of(4, || lost(false)).await, (4, true));
        assert_eq!(tries_of(4, || lost(true)).await, (1, false));
    }

    #[actix_rt::test]
    async fn it_is_not_tried_for_ever() {
        assert_eq!(tries_of(1000, || busy(None)).await, (TRIES, false));
    }
}
