//! A queue of segments with permits of its own.
//!
//! Promises: at most so many are fetched at once, and so many begun; the oldest come first, as sources take away the
//! oldest first.

use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Semaphore;

use crate::ingest::{Listed, Wanted};

/// What is further behind the end of its list than this is history: the live edge does not wait for it.
const HISTORY_AFTER_MICROS: i64 = 60_000_000;

/// Which queue a segment waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneKind {
    Live,
    History,
}

impl LaneKind {
    pub const ALL: [Self; 2] = [Self::Live, Self::History];

    /// Where `wanted` belongs, out of a list that ends with `last`.
    pub fn of(wanted: &Wanted, last: &Wanted) -> Self {
        let behind = last.start.micros_since(wanted.start);
        if behind > HISTORY_AFTER_MICROS { Self::History } else { Self::Live }
    }
}

pub struct Lane {
    permits: Rc<Semaphore>,
    waiting: VecDeque<Wanted>,
    in_flight: usize,
    max_in_flight: usize,
}

impl Lane {
    /// Of `max_in_flight`, most wait to try again: they hold no permit.
    pub fn new(permits: usize, max_in_flight: usize) -> Self {
        Self { permits: Rc::new(Semaphore::new(permits)), waiting: VecDeque::new(), in_flight: 0, max_in_flight }
    }

    pub fn permits(&self) -> Rc<Semaphore> {
        Rc::clone(&self.permits)
    }

    pub fn push(&mut self, wanted: Wanted) {
        self.waiting.push_back(wanted);
    }

    /// What waits may wait for longer than its token lives. `listed` is in order of the numbers of `epoch`.
    pub fn renew(&mut self, epoch: u32, listed: &[Listed]) {
        for one in self.waiting.iter_mut().filter(|one| one.epoch == epoch) {
            if let Ok(at) = listed.binary_search_by_key(&one.media_sequence, |listed| listed.media_sequence)
                && listed[at].is_advertisement == one.content.is_advertisement()
            {
                one.address.clone_from(&listed[at].address);
            }
        }
    }

    /// Takes the next one, if there is room. It is in flight until `ended`.
    pub fn begin(&mut self) -> Option<Wanted> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(next)
    }

    pub fn ended(&mut self) {
        self.in_flight -= 1;
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{Address, Cipher, Content};
    use crate::model::Timestamp;

    fn wanted(second: i64) -> Wanted {
        let url = "http://source.test/s.ts".parse().unwrap();
        Wanted {
            epoch: 0,
            media_sequence: second as u64,
            address: Address { url, byte_range: None, map: None, cipher: Cipher::Clear },
            start: Timestamp::from_micros(second * 1_000_000),
            duration_micros: 1_000_000,
            clocked: false,
            mistimed: false,
            title: String::new(),
            content: Content::Programme,
        }
    }

    #[test]
    fn the_last_minute_of_a_list_is_live_and_the_rest_is_history() {
        let last = wanted(100);
        let kinds = [100, 40, 39, 0].map(|second| LaneKind::of(&wanted(second), &last));
        assert_eq!(kinds, [LaneKind::Live, LaneKind::Live, LaneKind::History, LaneKind::History]);
    }

    #[test]
    fn what_waits_gets_its_present_address() {
        let mut lane = Lane::new(1, 2);
        (0..2).for_each(|second| lane.push(wanted(second)));
        let renewed = Address { url: "http://source.test/s.ts?token=2".parse().unwrap(), ..wanted(1).address };
        let listed = |media_sequence, is_advertisement| {
            let address = renewed.clone();
            Listed { media_sequence, is_advertisement, address }
        };
        lane.renew(1, &[listed(0, false)]);
        lane.renew(0, &[listed(0, true), listed(1, false), listed(2, false)]);
        let addresses = [lane.begin(), lane.begin()].map(|one| one.unwrap().address);
        assert_eq!(addresses, [wanted(0).address, renewed]);
    }

    #[test]
    fn so_many_are_begun_and_the_oldest_first() {
        let mut lane = Lane::new(1, 2);
        (0..3).for_each(|second| lane.push(wanted(second)));
        let begin = |lane: &mut Lane| lane.begin().map(|one| one.media_sequence);
        assert_eq!([begin(&mut lane), begin(&mut lane), begin(&mut lane)], [Some(0), Some(1), None]);
        lane.ended();
        assert_eq!(begin(&mut lane), Some(2));
        lane.ended();
        lane.ended();
        assert!(lane.is_idle());
    }
}
