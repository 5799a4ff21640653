//! How much of the disk is free, as it was measured, and how long that lasts.
//!
//! Promises: an answer needs no disk. A forecast is made of what an hour has shown, and not before a few minutes have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Room;

const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// An hour of samples: what a purge frees in one go is forgotten after that.
const MOST_SAMPLES: usize = 60;
/// In less time a few files say nothing.
const SHORTEST: Duration = Duration::from_secs(3 * 60);

/// What is known of the room on the disk. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct RoomWatch(Arc<Mutex<Measured>>);

#[derive(Debug, Default)]
struct Measured {
    latest: Option<(Instant, Room)>,
    /// When so many bytes were free; the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl RoomWatch {
    pub fn measured(&self, room: Room, at: Instant) {
        let mut known = self.known();
        known.latest = Some((at, room));
        if known.samples.back().is_none_or(|(last, _)| at.duration_since(*last) >= SAMPLE_EVERY) {
            known.samples.push_back((at, room.free_bytes));
            if known.samples.len() > MOST_SAMPLES {
                known.samples.pop_front();
            }
        }
    }

    /// `None` until it was measured first.
    pub fn room(&self) -> Option<Room> {
        self.known().latest.map(|(_, room)| room)
    }

    /// Until nothing is free, if it goes on so; `None` where it gets no fuller, or that is not known yet.
    pub fn full_in(&self) -> Option<Duration> {
        let known = self.known();
        let ((now, room), (then, free_then)) = (known.latest?, *known.samples.front()?);
        let passed = now.duration_since(then);
        let taken = free_then.checked_sub(room.free_bytes).filter(|taken| *taken > 0)?;
        if passed < SHORTEST {
            return None;
        }
        let seconds = room.free_bytes as f64 / (taken as f64 / passed.as_secs_f64());
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn known(&self) -> MutexGuard<'_, Measured> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forecast_follows_the_last_hour() {
        let (watch, began) = (RoomWatch::default(), Instant::now());
        assert_eq!((watch.room(), watch.full_in()), (None, None));
        let measure = |seconds: u64, free_bytes| {
            watch.measured(Room { free_bytes, size_bytes: 1_000_000 }, began + Duration::from_secs(seconds));
        };
        measure(0, 10_000);
        measure(60, 9_940);
        assert_eq!(watch.full_in(), None, "too early to say");
        measure(200, 9_800);
        assert_eq!(watch.full_in(), Some(Duration::from_secs(9_800)));
        assert_eq!(watch.room().unwrap().free_bytes, 9_800);
        measure(300, 20_000);
        assert_eq!(watch.full_in(), None, "it gets no fuller");
        for minute in 6..100 {
            measure(minute * 60, 20_000 - minute * 10);
        }
        let left = watch.full_in().unwrap().as_secs();
        assert_eq!(left, (20_000 - 990) * 6, "what was before the last hour does not count");
    }
}
