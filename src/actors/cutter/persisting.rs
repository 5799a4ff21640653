//! Writes that wait for the database.

use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::sleep;

use crate::causes::chain;
use crate::db::DbError;
use crate::jitter::jittered;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Asks again and again, until the database has done it: what was done at a destination must be written down. Each call has
/// its deadline; whoever does not want to wait drops this.
pub async fn persist<T, F: Future<Output = Result<T, DbError>>>(
    log: &Logger,
    write: impl Fn() -> F,
) -> Result<T, DbError> {
    let (mut pause, mut failures) = (FIRST_PAUSE, 0_u32);
    loop {
        match write().await {
            // It will say the same again.
            Err(error @ DbError::Unreadable { .. }) => return Err(error),
            Err(error) => {
                if failures == 0 {
                    warn!(log, "a job's state cannot be written yet, the job goes on"; "error" => chain(&error));
                }
                failures += 1;
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(done) => {
                if failures > 0 {
                    info!(log, "a job's state is written"; "failures" => failures);
                }
                return Ok(done);
            }
        }
    }
}
