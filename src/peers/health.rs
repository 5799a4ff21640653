//! How a peer fares, as everybody who copies from it has seen: whether it can be reached, and how fast it gives files.
//!
//! Promises: while a peer cannot be reached, one at a time asks it, ever more rarely; as soon as it answers, all may.
//! Never: refuses a request; whoever begins something asks for a turn first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::jitter::jittered;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10 * 60);
/// While somebody else asks a peer whether it is back; whoever waits is woken by the answer.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// When a peer is back, those who waited begin within this time, not all at once.
const SPREAD: Duration = Duration::from_secs(1);
/// What asking for a file costs beside its bytes, as bytes. Without it, small files would seem to come slowly.
const REQUEST_BYTES: f64 = 64.0 * 1024.0;
/// How much the latest file counts in the average.
const LATEST: f64 = 0.25;

/// How long to leave a peer alone that failed so often in a row.
pub fn backoff_after(failures: u32) -> Duration {
    jittered(FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACKOFF))
}

/// How fast files come, in bytes per second; each file counts as somewhat longer than it is.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Speed(f64);

impl Speed {
    /// Of a peer that gave nothing yet.
    pub const ASSUMED: Self = Self(REQUEST_BYTES);

    pub fn of(bytes: u64, took: Duration) -> Self {
        Self((bytes as f64 + REQUEST_BYTES) / took.as_secs_f64().max(1e-4))
    }

    pub fn bytes_per_second(self) -> f64 {
        self.0
    }

    pub fn is_times(self, factor: f64, other: Self) -> bool {
        self.0 >= factor * other.0
    }

    /// Averages times, not speeds: one file that takes for ever counts.
    fn and_then(self, latest: Self) -> Self {
        Self(1.0 / ((1.0 - LATEST) / self.0 + LATEST / latest.0))
    }
}

/// One peer. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct PeerHealth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    /// Told whenever a turn may have become free.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    told_down: bool,
    speed: Option<Speed>,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed,
    /// It could not be reached, so often in a row.
    Open {
        failures: u32,
        until: Instant,
        probing: bool,
    },
}

/// What changed since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Down,
    Back,
}

/// The right to ask a peer. Of one that cannot be reached, one exists at a time, until the peer has answered, has not, or
/// the turn is dropped.
#[derive(Debug)]
pub struct Turn {
    probed: Option<PeerHealth>,
}

impl PeerHealth {
    /// At most so many files at once.
    pub fn new(files_at_once: usize) -> Self {
        let state = State { circuit: Circuit::Closed, told_down: false, speed: None };
        let permits = Arc::new(Semaphore::new(files_at_once));
        Self(Arc::new(Inner { permits, state: Mutex::new(state), changed: Notify::new() }))
    }

    /// For files at once, of all the peer's qualities.
    pub fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.permits)
    }

    /// Waits until it is worth asking.
    pub async fn turn(&self) -> Turn {
        let mut has_waited = false;
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Must precede the look, or a change between the two would go unheard.
            changed.as_mut().enable();
            match self.try_turn(Instant::now()) {
                Ok(turn) => {
                    if has_waited && turn.probed.is_none() {
                        sleep(jittered(SPREAD)).await;
                    }
                    return turn;
                }
                Err(wait) => {
                    has_waited = true;
                    let _ = timeout(wait, changed).await;
                }
            }
        }
    }

    /// Or how long to wait.
    fn try_turn(&self, now: Instant) -> Result<Turn, Duration> {
        let mut state = self.state();
        match &mut state.circuit {
            Circuit::Closed => Ok(Turn { probed: None }),
            Circuit::Open { probing: true, .. } => Err(LOOK_AGAIN),
            Circuit::Open { until, .. } if *until > now => Err(*until - now),
            Circuit::Open { probing, .. } => {
                *probing = true;
                Ok(Turn { probed: Some(self.clone()) })
            }
        }
    }

    /// The peer answered something, whatever it was.
    pub fn answered(&self) {
        let before = std::mem::replace(&mut self.state().circuit, Circuit::Closed);
        if matches!(before, Circuit::Open { .. }) {
            self.0.changed.notify_waiters();
        }
    }

    /// There was no connection, or no answer.
    pub fn was_unreachable(&self) {
        self.was_unreachable_at(Instant::now());
    }

    fn was_unreachable_at(&self, now: Instant) {
        let mut state = self.state();
        let failures = match state.circuit {
            Circuit::Closed => 1,
            Circuit::Open { failures, probing: true, .. } => failures.saturating_add(1),
            // Somebody who had asked before.
            Circuit::Open { probing: false, .. } => return,
        };
        state.circuit = Circuit::Open { failures, until: now + backoff_after(failures), probing: false };
        drop(state);
        self.0.changed.notify_waiters();
    }

    pub fn is_down(&self) -> bool {
        matches!(self.state().circuit, Circuit::Open { .. })
    }

    /// Whoever is given it says it.
    pub fn news(&self) -> Option<News> {
        let mut state = self.state();
        let is_down = matches!(state.circuit, Circuit::Open { .. });
        match (std::mem::replace(&mut state.told_down, is_down), is_down) {
            (false, true) => Some(News::Down),
            (true, false) => Some(News::Back),
            (true, true) | (false, false) => None,
        }
    }

    /// What was told of it counts no more: it is no peer for now.
    pub fn forget_news(&self) {
        self.state().told_down = false;
    }

    /// So much of a file came in that time, and then the file had ended, or was given up.
    pub fn gave(&self, bytes: u64, took: Duration) {
        let latest = Speed::of(bytes, took);
        let mut state = self.state();
        state.speed = Some(state.speed.map_or(latest, |before| before.and_then(latest)));
    }

    /// `None` while it gave nothing.
    pub fn speed(&self) -> Option<Speed> {
        self.state().speed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(health) = self.probed.take() else { return };
        if let Circuit::Open { probing, .. } = &mut health.state().circuit {
            *probing = false;
        }
        health.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_down_is_asked_by_one_at_a_time_and_ever_more_rarely() {
        let (health, began) = (PeerHealth::new(1), Instant::now());
        let at = |millis| health.try_turn(began + Duration::from_millis(millis));
        assert!(at(0).is_ok() && at(0).is_ok());
        health.was_unreachable_at(began);
        health.was_unreachable_at(began + Duration::from_secs(500));
        assert!(at(400).is_err(), "nobody asks during the backoff, and one failure counts once");
        assert_eq!((health.news(), health.news()), (Some(News::Down), None));
        health.forget_news();
        assert_eq!((health.news(), health.news()), (Some(News::Down), None), "it is told anew");
        let probe = at(1000).unwrap();
        assert!(at(1000).is_err(), "somebody asks already");
        health.was_unreachable_at(began + Duration::from_secs(1));
        drop(probe);
        assert!(at(1900).is_err(), "the backoff has grown");
        drop(at(3000).unwrap());
        let probe = at(3000).expect("the one before gave it up");
        health.answered();
        assert!(at(3000).is_ok_and(|turn| turn.probed.is_none()));
        drop(probe);
        assert!(at(3000).is_ok(), "a late drop changes nothing");
        assert_eq!((health.news(), health.news()), (Some(News::Back), None));
    }

    #[actix_rt::test]
    async fn who_waits_is_woken_by_the_answer() {
        let health = PeerHealth::new(1);
        let long_ago = Instant::now() - Duration::from_secs(3);
        health.was_unreachable_at(long_ago);
        let _probe = health.turn().await;
        let began = Instant::now();
        let answers = async {
            tokio::task::yield_now().await;
            health.answered();
        };
        let (first, second, ()) = futures_util::future::join3(health.turn(), health.turn(), answers).await;
        assert!(first.probed.is_none() && second.probed.is_none());
        assert!(began.elapsed() < LOOK_AGAIN);
    }

    #[test]
    fn the_backoff_grows_to_its_bound() {
        for (failures, longest) in [(1, 1), (2, 2), (5, 16), (11, 600), (u32::MAX, 600)] {
            let longest = Duration::from_secs(longest);
            assert!((longest / 2..=longest).contains(&backoff_after(failures)), "{failures}");
        }
    }

    #[test]
    fn speed_is_an_average_in_which_what_never_comes_counts() {
        let health = PeerHealth::new(1);
        assert_eq!(health.speed(), None);
        for _ in 0..10 {
            health.gave(1000, Duration::from_millis(5));
        }
        let fast = health.speed().unwrap();
        assert!(fast.is_times(100.0, Speed::ASSUMED), "small files are no slow ones: {fast:?}");
        health.gave(10, Duration::from_secs(10));
        let slow = health.speed().unwrap();
        assert!(Speed::ASSUMED.is_times(2.0, slow), "{slow:?}");
        for _ in 0..30 {
            health.gave(1000, Duration::from_millis(5));
        }
        assert!(health.speed().unwrap().is_times(10.0, Speed::ASSUMED), "it is forgotten");
    }
}
