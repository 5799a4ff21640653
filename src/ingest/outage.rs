//! What is lost while a live source cannot be asked, or answers nonsense.
//!
//! How long that was shows only when it answers again: its list may still have everything. So a loss is told then, as the
//! gap between the last segment before and the first one after; but of an outage that outlasts any list, also as it goes
//! on, so that it is in the ledger should this node not live to see the end.
//!
//! Promises: pure; tells no moment twice; says nothing of a channel that was not live when it was last heard of.
//! Never: speaks of what the source had taken away while it could be asked; but it knows what of that it has told itself.

use std::time::Duration;

use tokio::time::Instant;

use super::tracker::Wanted;
use crate::model::{LossCause, Span, Timestamp};
use crate::select::TOLERANCE_MICROS;

/// What live lists commonly still show when a source comes back: not told as lost before it does.
const STILL_LISTED: Duration = Duration::from_secs(60);
/// As an outage goes on, it is told in pieces of this length.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// After a day of silence nobody knows whether the channel is still live.
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

/// A stream that ends often does so by failing once or twice before the source says that it is over. A silence that was
/// shorter than this before that was no outage.
const ENDING_TAKES: Duration = Duration::from_secs(5);

/// A stretch that is lost, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outed {
    pub cause: LossCause,
    pub span: Span,
}

/// Watches one quality of a source, poll by poll of whichever session.
#[derive(Debug, Default)]
pub struct Outage {
    /// The end of what was listed last, and when that was; `None` while the channel is not known to be live.
    edge: Option<(Timestamp, Instant)>,
    /// Since the last list with something new.
    trouble: Option<Trouble>,
    /// The end of what was listed last before the source failed or went off the air, until it lists something new.
    left_at: Option<Timestamp>,
    /// From there to where it went on: gaps in its numbers are not the source's haste.
    explained: Option<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    cause: LossCause,
    since: Instant,
    /// Up to here the loss is told.
    told: Timestamp,
}

impl Outage {
    /// Whether a gap in the source's numbers lies within its last outage, or the last time that it was off the air.
    pub fn explains(&self, missing: Span) -> bool {
        self.explained.is_some_and(|explained| {
            missing.start().plus_micros(TOLERANCE_MICROS) >= explained.start()
                && missing.end() <= explained.end().plus_micros(TOLERANCE_MICROS)
        })
    }

    /// A list was read, with `edge` new at its end, or without. Answers what was lost before that, if the source had failed.
    pub fn listed(&mut self, edge: Option<Span>, at: Instant) -> Option<Outed> {
        let Some(new) = edge else {
            // An edge server may show its old list before it has a new one: what is lost shows with that.
            if let (Some((_, seen)), None) = (&mut self.edge, self.trouble) {
                *seen = at;
            }
            return None;
        };
        let outed = self.trouble.take().and_then(|Trouble { cause, told, .. }| {
            let span = Span::new(told, new.start()).ok()?;
            (new.start().micros_since(told) > TOLERANCE_MICROS).then_some(Outed { cause, span })
        });
        if let Some(left_at) = self.left_at.take() {
            self.explained = Span::new(left_at, new.start()).ok();
        }
        // A session that has just begun may list what is behind the end of another one's list.
        let known = self.edge.map(|(known, _)| known).filter(|known| known.saturating_since(new.end()) < STILL_LISTED);
        self.edge = Some((known.map_or(new.end(), |known| known.max(new.end())), at));
        outed
    }

    /// No list could be had, for this reason; `None` where nobody even knew whom to ask. Answers what of a long outage is
    /// to be told now.
    pub fn failed(&mut self, cause: Option<LossCause>, at: Instant) -> Option<Outed> {
        let (edge, seen) = self.edge?;
        self.left_at.get_or_insert(edge);
        let trouble = self.trouble.get_or_insert(Trouble { cause: LossCause::SourceDown, since: at, told: edge });
        trouble.cause = cause.unwrap_or(trouble.cause);
        let Trouble { cause, told, .. } = *trouble;
        let lasted = at.saturating_duration_since(seen).min(TOLD_FOR);
        let surely = edge.plus(lasted.saturating_sub(STILL_LISTED));
        if surely.saturating_since(told) < TOLD_EVERY {
            return None;
        }
        trouble.told = surely;
        Some(Outed { cause, span: Span::new(told, surely).ok()? })
    }

    /// The source says that the channel is not live, or that the stream has ended. Answers what of an outage is not told
    /// yet: when in it the channel ended is not known, so all of it.
    pub fn off_air(&mut self, at: Instant) -> Option<Outed> {
        let (edge, seen) = self.edge.take()?;
        self.left_at.get_or_insert(edge);
        let Trouble { cause, since, told } = self.trouble.take()?;
        if at.saturating_duration_since(since) < ENDING_TAKES {
            return None;
        }
        let until = edge.plus(at.saturating_duration_since(seen).min(TOLD_FOR));
        Some(Outed { cause, span: Span::new(told, until).ok()? })
    }
}

/// The earliest that the session of this list can have begun, if its numbers count from zero; else far in the past.
pub fn session_began(listed: &[Wanted]) -> Option<Timestamp> {
    let first = listed.first()?;
    let total: i64 = listed.iter().map(|one| one.duration_micros).fold(0, i64::saturating_add);
    let mean = total / i64::try_from(listed.len()).ok()?;
    let before = i64::try_from(first.media_sequence).unwrap_or(i64::MAX).saturating_mul(mean);
    Some(first.start.plus_micros(before.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{Address, Cipher};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_767_322_800_000_000 + seconds * 1_000_000)
    }

    /// Segments of 2 s that cover these seconds, the first with this number.
    fn segments(number: u64, start: i64, end: i64) -> Vec<Wanted> {
        let one = |(place, start): (usize, i64)| Wanted {
            epoch: 0,
            media_sequence: number + place as u64,
            address: Address {
                url: "http://x.test/a.ts".parse().unwrap(),
                byte_range: None,
                map: None,
                cipher: Cipher::Clear,
            },
            start: at(start),
            duration_micros: 2_000_000,
            clocked: false,
            mistimed: false,
            title: String::new(),
            content: Default::default(),
        };
        (start..end).step_by(2).enumerate().map(one).collect()
    }

    fn edge(start: i64, end: i64) -> Option<Span> {
        Span::new(at(start), at(end)).ok()
    }

    struct Watched {
        outage: Outage,
        began: Instant,
    }

    impl Watched {
        /// Live until second 10, at second 12 of the machine.
        fn new() -> Self {
            let mut outage = Outage::default();
            let began = Instant::now();
            assert_eq!(outage.listed(edge(0, 10), began + Duration::from_secs(12)), None);
            Self { outage, began }
        }

        fn machine(&self, second: u64) -> Instant {
            self.began + Duration::from_secs(second)
        }

        fn failed(&mut self, second: u64) -> Option<Outed> {
            self.outage.failed(Some(LossCause::SourceDown), self.machine(second))
        }
    }

    fn down(start: i64, end: i64) -> Option<Outed> {
        Some(Outed { cause: LossCause::SourceDown, span: Span::new(at(start), at(end)).unwrap() })
    }

    #[test]
    fn what_the_list_still_shows_afterwards_is_no_loss() {
        let mut watched = Watched::new();
        assert_eq!(watched.failed(20), None);
        assert_eq!(watched.outage.listed(None, watched.machine(38)), None);
        assert_eq!(watched.outage.listed(edge(10, 30), watched.machine(40)), None);
        assert!(!watched.outage.explains(Span::new(at(10), at(12)).unwrap()));
    }

    #[test]
    fn the_gap_is_told_when_recording_goes_on() {
        let mut watched = Watched::new();
        assert_eq!((watched.failed(20), watched.failed(40)), (None, None));
        assert_eq!(watched.outage.failed(Some(LossCause::Token), watched.machine(45)), None);
        assert_eq!(watched.outage.failed(None, watched.machine(46)), None);
        let outed = watched.outage.listed(edge(30, 40), watched.machine(50));
        assert_eq!(outed, Some(Outed { cause: LossCause::Token, ..down(10, 30).unwrap() }));
        assert_eq!(watched.outage.listed(edge(60, 70), watched.machine(80)), None, "no failure, no outage");
    }

    #[test]
    fn a_long_outage_is_told_as_it_goes_on_and_no_moment_twice() {
        let mut watched = Watched::new();
        assert_eq!(watched.failed(131), None);
        assert_eq!(watched.failed(132), down(10, 70));
        assert_eq!(watched.failed(133), None);
        assert_eq!(watched.failed(192), down(70, 130));
        assert_eq!(watched.outage.listed(edge(200, 210), watched.machine(215)), down(130, 200));
        let mut watched = Watched::new();
        let days = 3 * 24 * 3600;
        assert_eq!(watched.failed(days), down(10, 10 + 24 * 3600 - 60));
        assert_eq!(watched.failed(2 * days), None);
        let mut back_early = Watched::new();
        assert_eq!(back_early.failed(132), down(10, 70));
        assert_eq!(back_early.outage.listed(edge(40, 50), back_early.machine(140)), None);
    }

    #[test]
    fn a_channel_that_is_not_live_loses_nothing() {
        let mut watched = Watched::new();
        assert_eq!(watched.outage.off_air(watched.machine(20)), None);
        assert_eq!(watched.failed(500), None);
        assert_eq!(watched.outage.listed(edge(900, 910), watched.machine(915)), None);
        let mut ended = Watched::new();
        assert_eq!((ended.failed(20), ended.outage.off_air(ended.machine(23))), (None, None));
        let mut failed_first = Watched::new();
        assert_eq!(failed_first.failed(20), None);
        assert_eq!(failed_first.outage.off_air(failed_first.machine(32)), down(10, 30));
        assert_eq!(Outage::default().failed(None, Instant::now()), None);
    }

    #[test]
    fn a_gap_that_an_outage_left_is_told_by_the_outage_alone() {
        let gap = |start, end| Span::new(at(start), at(end)).unwrap();
        let mut watched = Watched::new();
        assert!(!watched.outage.explains(gap(10, 30)));
        assert_eq!(watched.failed(20), None);
        assert_eq!(watched.outage.listed(edge(30, 40), watched.machine(42)), down(10, 30));
        assert!(watched.outage.explains(gap(10, 30)) && watched.outage.explains(gap(12, 20)));
        assert!(!watched.outage.explains(gap(4, 12)) && !watched.outage.explains(gap(28, 32)));
        assert_eq!(watched.outage.off_air(watched.machine(50)), None);
        assert_eq!(watched.outage.listed(edge(90, 92), watched.machine(95)), None);
        assert!(watched.outage.explains(gap(40, 90)), "it was not live");
        assert_eq!(watched.outage.listed(edge(96, 98), watched.machine(99)), None);
        assert!(!watched.outage.explains(gap(92, 96)), "the source was there, and took them away");
    }

    #[test]
    fn a_session_behind_another_one_takes_nothing_back() {
        let mut watched = Watched::new();
        assert_eq!(watched.outage.listed(edge(4, 8), watched.machine(13)), None);
        assert_eq!(watched.failed(20), None);
        assert_eq!(watched.outage.listed(edge(14, 16), watched.machine(21)), down(10, 14));
    }

    #[test]
    fn the_numbers_bound_when_a_session_began() {
        assert_eq!(session_began(&segments(0, 10, 20)), Some(at(10)));
        assert_eq!(session_began(&segments(5, 10, 20)), Some(at(0)));
        assert!(session_began(&segments(u64::MAX, 10, 12)).unwrap() < at(-1_000_000_000));
        assert_eq!(session_began(&[]), None);
    }
}
