//! A second try beside a first one that is slow.
//!
//! Promises: at most two are under way; the first good answer wins, and the other is dropped.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::timeout;

/// Runs `attempt`, and beside it another one if it takes longer than `soft`. An error counts only once both have failed.
pub async fn hedged<T, E, F>(soft: Duration, attempt: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut first = pin!(attempt());
    if let Ok(done) = timeout(soft, &mut first).await {
        return done;
    }
    let second = pin!(attempt());
    match select(first, second).await {
        Either::Left((Ok(won), _)) | Either::Right((Ok(won), _)) => Ok(won),
        Either::Left((Err(_), second)) => second.await,
        Either::Right((Err(_), first)) => first.await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const SOFT: Duration = Duration::from_millis(20);

    /// Runs attempts that behave as told, by their number; gives the result and how many were made.
    async fn run<F: Future<Output = Result<u8, u8>>>(attempt: impl Fn(u8) -> F) -> (Result<u8, u8>, u8) {
        let made = Cell::new(0);
        let result = hedged(SOFT, || {
            made.set(made.get() + 1);
            attempt(made.get())
        });
        (timeout(Duration::from_secs(30), result).await.expect("it ends"), made.get())
    }

    #[actix_rt::test]
    async fn a_quick_answer_needs_no_second_try() {
        assert_eq!(run(|number| async move { Ok(number) }).await, (Ok(1), 1));
        assert_eq!(run(|number| async move { Err(number) }).await, (Err(1), 1));
    }

    #[actix_rt::test]
    async fn a_slow_first_try_is_overtaken() {
        let stuck_first = |number| async move { if number == 1 { pending().await } else { Ok(number) } };
        assert_eq!(run(stuck_first).await, (Ok(2), 2));
    }

    #[actix_rt::test]
    async fn a_failure_waits_for_the_other_try() {
        let slow = |number: u8| async move {
            sleep(SOFT * if number == 1 { 5 } else { 1 }).await;
            if number == 1 { Ok(number) } else { Err(number) }
        };
        assert_eq!(run(slow).await, (Ok(1), 2));
        let both_fail = |number: u8| async move {
            sleep(SOFT * 3).await;
            Err(number)
        };
        assert_eq!(run(both_fail).await, (Err(2), 2));
    }
}
