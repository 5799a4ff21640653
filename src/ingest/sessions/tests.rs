use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::hls::upstream::{Encryption, UpstreamSegment};
use crate::ingest::ads::AdRules;
use crate::ingest::tracker::Wanted;

const SECOND: i64 = 1_000_000;
/// Segments in a list.
const WINDOW: u64 = 3;
/// Segments that are out when a scripted run begins.
const FIRST: u64 = 100;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_322_800 * SECOND + seconds * SECOND)
}

fn address(token: &str) -> Url {
    format!("http://source.test/live/{token}/live.m3u8").parse().unwrap()
}

/// Segments `from..until` of 2 s, number n at 2·n seconds; the token is part of each path.
fn list(from: u64, until: u64, token: &str, dated: bool) -> MediaPlaylist {
    let segments = (from..until).map(|number| UpstreamSegment {
        media_sequence: number,
        uri: format!("s{number}.ts?token={token}"),
        duration_micros: 2 * SECOND,
        title: String::new(),
        date_time: dated.then(|| at(2 * number as i64)),
        byte_range: None,
        map: None,
        encryption: Encryption::Clear,
    });
    MediaPlaylist { target_duration_seconds: 2, segments: segments.collect(), date_ranges: Vec::new(), ended: false }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(2 * number)
}

fn open(sessions: &mut Sessions, token: &str, now: Duration) -> SessionId {
    sessions.opened(address(token), None, Dates::AsTold, now).unwrap()
}

/// What happens at one moment: which sessions are polled, in which order.
const ACTIONS: [&[usize]; 5] = [&[], &[0], &[1], &[0, 1], &[1, 0]];

struct Run {
    sessions: Sessions,
    ids: [SessionId; 2],
    /// How many segments each session's server is behind.
    lags: [u64; 2],
    dated: bool,
    wanted: Vec<Wanted>,
    lost: u64,
    shown: BTreeSet<u64>,
    /// Moments since each was polled; one that is over needs no poll.
    silent: [u64; 2],
    /// No session was left alone for longer than its list reaches.
    attentive: bool,
}

impl Run {
    /// The old session has shown its first list, and the new one is open.
    fn begin(lags: [u64; 2], dated: bool) -> Self {
        let mut sessions = Sessions::new(Tracker::default());
        let old = open(&mut sessions, "old", Duration::ZERO);
        let mut run = Self {
            ids: [old, old],
            sessions,
            lags,
            dated,
            wanted: Vec::new(),
            lost: 0,
            shown: BTreeSet::new(),
            silent: [0, 0],
            attentive: true,
        };
        run.poll(0, FIRST);
        run.ids[1] = open(&mut run.sessions, "new", seconds(FIRST));
        run
    }

    fn poll(&mut self, which: usize, moment: u64) {
        let until = moment - self.lags[which];
        let (token, wall) = (["old", "new"][which], at(2 * moment as i64));
        let playlist = list(until - WINDOW, until, token, self.dated);
        let taken = self.sessions.take(self.ids[which], &playlist, &address(token), wall, seconds(moment));
        if let Some(step) = taken {
            self.shown.extend(until - WINDOW..until);
            self.wanted.extend(step.wanted);
            self.lost += step.lost.iter().map(|lost| lost.count).sum::<u64>();
        }
        self.silent[which] = 0;
    }

    fn pass(&mut self, moment: u64, action: &[usize]) {
        for which in 0..2 {
            self.silent[which] += 1;
        }
        action.iter().for_each(|which| self.poll(*which, moment));
        for which in 0..2 {
            self.attentive &= self.sessions.url(self.ids[which]).is_none() || self.silent[which] < WINDOW;
        }
    }

    fn check(&self, script: &str) {
        let numbers: Vec<u64> = self.wanted.iter().map(|one| one.media_sequence).collect();
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(numbers.len(), distinct.len(), "stored twice: {numbers:?} by {script}");
        let first = numbers[0];
        let shown: BTreeSet<u64> = self.shown.iter().copied().filter(|number| *number >= first).collect();
        assert_eq!(distinct, shown, "by {script}");
        let shift = self.wanted[0].start.micros_since(at(2 * first as i64));
        for one in &self.wanted {
            let expected = at(2 * one.media_sequence as i64).plus_micros(shift);
            assert_eq!(one.start, expected, "segment {} has two times by {script}", one.media_sequence);
        }
        if self.attentive {
            let last = *distinct.last().unwrap();
            assert_eq!(distinct.len() as u64, last - first + 1, "missed one: {distinct:?} by {script}");
            assert_eq!(self.lost, 0, "by {script}");
        }
    }
}

/// Every order in which two sessions can be polled over five segments' time, with servers that lag and do not: whatever
/// an open session shows is wanted once, at one time; and where both are polled within their lists' reach, nothing is
/// missed and nothing is told as lost.
#[test]
fn no_interleaving_of_a_handover_misses_a_segment_or_takes_one_twice() {
    const MOMENTS: u32 = 5;
    let (mut runs, mut attentive, mut handed_over) = (0, 0, 0);
    for lags in [[0, 0], [2, 0], [0, 2], [1, 2]] {
        for dated in [true, false] {
            for script in 0..ACTIONS.len().pow(MOMENTS) {
                let mut run = Run::begin(lags, dated);
                for moment in 0..MOMENTS {
                    let action = ACTIONS[script / ACTIONS.len().pow(moment) % ACTIONS.len()];
                    run.pass(FIRST + u64::from(moment) + 1, action);
                }
                run.check(&format!("script {script}, lags {lags:?}, dated {dated}"));
                runs += 1;
                attentive += u32::from(run.attentive);
                handed_over += u32::from(run.sessions.url(run.ids[0]).is_none());
            }
        }
    }
    // Else the claim would be empty.
    assert_eq!(runs, 8 * 3125);
    assert!(attentive > runs / 20 && handed_over > runs / 2, "{attentive} and {handed_over} of {runs}");
}

#[test]
fn the_old_session_goes_on_until_the_new_one_shows_a_segment() {
    let mut sessions = Sessions::new(Tracker::default());
    assert_eq!(sessions.due(Duration::ZERO), Some(Due::None));
    let old = open(&mut sessions, "old", Duration::ZERO);
    sessions.take(old, &list(0, 3, "old", true), &address("old"), at(6), seconds(3)).unwrap();
    assert_eq!(sessions.due(seconds(3)), None);
    sessions.slow(old);
    assert_eq!(sessions.due(seconds(3)), Some(Due::Slow));
    let new = open(&mut sessions, "new", seconds(3));
    assert_eq!(sessions.due(seconds(3)), None);
    sessions.take(new, &list(0, 0, "new", true), &address("new"), at(6), seconds(3)).unwrap();
    assert!(sessions.take(old, &list(1, 4, "old", true), &address("old"), at(8), seconds(4)).is_some());
    let step = sessions.take(new, &list(2, 5, "new", true), &address("new"), at(10), seconds(5)).unwrap();
    assert_eq!(step.wanted.iter().map(|one| one.media_sequence).collect::<Vec<_>>(), [4]);
    assert_eq!(step.listed.len(), 2, "the new addresses of what was wanted before");
    assert!(sessions.take(old, &list(2, 5, "old", true), &address("old"), at(10), seconds(5)).is_none());
}

#[test]
fn advertisements_prove_no_session_and_have_clocks_of_their_own() {
    let mut sessions = Sessions::new(Tracker::new(None, AdRules::new(["Ad|"])));
    let old = sessions.opened(address("old"), None, Dates::Exact, Duration::ZERO).unwrap();
    sessions.take(old, &list(0, 3, "old", true), &address("old"), at(6), seconds(3)).unwrap();
    let new = sessions.opened(address("new"), None, Dates::Exact, seconds(3)).unwrap();
    let mut break_at_first = list(1, 6, "new", true);
    for (place, one) in break_at_first.segments.iter_mut().enumerate().take(3) {
        one.title = "Ad|1".to_owned();
        one.date_time = one.date_time.map(|date| date.plus_micros(place as i64 * 300_000));
    }
    let only_ads = MediaPlaylist { segments: break_at_first.segments[..3].to_vec(), ..break_at_first.clone() };
    sessions.take(new, &only_ads, &address("new"), at(8), seconds(4)).unwrap();
    let step = sessions.take(old, &list(1, 4, "old", true), &address("old"), at(8), seconds(4)).expect("it goes on");
    assert_eq!(step.wanted.iter().map(|one| one.media_sequence).collect::<Vec<_>>(), [3], "{step:?}");
    let step = sessions.take(new, &break_at_first, &address("new"), at(12), seconds(6)).unwrap();
    assert!(step.wanted.iter().all(|one| !one.mistimed), "{step:?}");
    assert_eq!((sessions.url(old), sessions.due(seconds(6))), (None, None));
}

#[test]
fn the_source_is_out_of_sight_only_while_no_session_has_a_list() {
    let mut sessions = Sessions::new(Tracker::default());
    assert!(sessions.is_blind());
    let old = open(&mut sessions, "old", Duration::ZERO);
    sessions.take(old, &list(0, 3, "old", true), &address("old"), at(6), seconds(3)).unwrap();
    let new = open(&mut sessions, "new", seconds(3));
    sessions.failed(new, false);
    assert!(!sessions.is_blind());
    sessions.slow(old);
    assert!(sessions.is_blind());
    sessions.take(new, &list(0, 0, "new", true), &address("new"), at(7), seconds(3)).unwrap();
    assert!(!sessions.is_blind());
}

#[test]
fn an_address_is_renewed_before_it_expires_and_not_for_ever_if_it_lives_shortly() {
    for (life, renewed) in [(300, 270), (60, 30), (20, 10)] {
        let mut sessions = Sessions::new(Tracker::default());
        sessions.opened(address("a"), Some(Duration::from_secs(life)), Dates::AsTold, Duration::ZERO).unwrap();
        assert_eq!(sessions.due(Duration::from_secs(renewed - 1)), None);
        assert_eq!(sessions.due(Duration::from_secs(renewed)), Some(Due::Expiring));
    }
}

#[test]
fn the_same_address_again_is_the_same_session_without_its_doubts() {
    let mut sessions = Sessions::new(Tracker::default());
    let id = open(&mut sessions, "a", Duration::ZERO);
    (0..3).for_each(|_| sessions.failed(id, false));
    assert_eq!(sessions.due(Duration::ZERO), Some(Due::Failing));
    assert_eq!(sessions.opened(address("a"), None, Dates::AsTold, Duration::ZERO), None);
    assert_eq!(sessions.due(Duration::ZERO), None);
    sessions.failed(id, true);
    assert_eq!((sessions.url(id), sessions.due(Duration::ZERO)), (None, Some(Due::None)));
}

#[test]
fn a_new_session_that_fails_leaves_the_old_one_alone() {
    let mut sessions = Sessions::new(Tracker::default());
    let old = open(&mut sessions, "old", Duration::ZERO);
    sessions.refused();
    assert_eq!(sessions.due(Duration::ZERO), Some(Due::Refused));
    let new = open(&mut sessions, "new", Duration::ZERO);
    (0..2).for_each(|_| sessions.slow(new));
    assert!(sessions.url(new).is_some());
    sessions.failed(new, false);
    assert!(sessions.url(new).is_none(), "three times is enough");
    let new = open(&mut sessions, "newer", Duration::ZERO);
    sessions.failed(new, true);
    assert!(sessions.url(old).is_some());
    assert_eq!(sessions.due(Duration::ZERO), Some(Due::Refused), "it is still doubted");
    sessions.no_address();
    assert_eq!(sessions.due(Duration::ZERO), None);
}

#[test]
fn a_clock_that_slips_is_trusted_again_in_a_new_session_only() {
    for (dates, jump_micros, mistimed, due) in [
        (Dates::Exact, 400_000, vec![false, true, true], Some(Due::ClockJumped)),
        (Dates::Exact, 9_000, vec![false, false, false], None),
        (Dates::AsTold, 400_000, vec![false, false, false], None),
        (Dates::AsTold, 5_000_000, vec![false, false, false], Some(Due::ClockJumped)),
    ] {
        let mut sessions = Sessions::new(Tracker::default());
        let id = sessions.opened(address("a"), None, dates, Duration::ZERO).unwrap();
        let mut playlist = list(0, 6, "a", true);
        for segment in &mut playlist.segments[4..] {
            segment.date_time = segment.date_time.map(|date| date.plus_micros(jump_micros));
        }
        let before = MediaPlaylist { segments: playlist.segments[..3].to_vec(), ..playlist.clone() };
        sessions.take(id, &before, &address("a"), at(6), seconds(3)).unwrap();
        let step = sessions.take(id, &playlist, &address("a"), at(12), seconds(6)).unwrap();
        assert_eq!(step.wanted.iter().map(|one| one.mistimed).collect::<Vec<_>>(), mistimed, "{dates:?} {jump_micros}");
        assert_eq!(sessions.due(seconds(6)), due, "{dates:?} {jump_micros}");
        let new = sessions.opened(address("b"), None, dates, seconds(6)).unwrap();
        let step = sessions.take(new, &list(4, 9, "b", true), &address("b"), at(18), seconds(9)).unwrap();
        assert!(step.wanted.iter().all(|one| !one.mistimed), "{step:?}");
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// The oldest or the newest session is polled; its server is so many segments behind.
    Poll {
        newest: bool,
        lag: u64,
    },
    Fails {
        newest: bool,
        refused: bool,
    },
    Slow,
    SegmentRefused,
    Opens,
    Passes,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (any::<bool>(), 0u64..3).prop_map(|(newest, lag)| Event::Poll { newest, lag }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(newest, refused)| Event::Fails { newest, refused }),
        1 => Just(Event::Slow),
        1 => Just(Event::SegmentRefused),
        2 => Just(Event::Opens),
        4 => Just(Event::Passes),
    ]
}

proptest! {
    /// Through any number of handovers, well or badly timed: at most two are open, what an open session shows is wanted
    /// once.
    #[test]
    fn any_life_of_sessions_takes_what_is_shown_once(events in prop::collection::vec(event(), 1..80), dated: bool) {
        let mut sessions = Sessions::new(Tracker::default());
        let (mut moment, mut opened) = (FIRST, 0);
        let (mut wanted, mut shown) = (Vec::new(), BTreeSet::new());
        let mut ids: Vec<SessionId> = Vec::new();
        for event in events {
            ids.retain(|id| sessions.url(*id).is_some());
            prop_assert!(ids.len() <= 2);
            let pick = |newest: bool| if newest { ids.last() } else { ids.first() }.copied();
            match event {
                Event::Poll { newest, lag } => {
                    let Some(id) = pick(newest) else { continue };
                    let until = moment - lag;
                    let base = sessions.url(id).unwrap().clone();
                    let playlist = list(until - WINDOW, until, "s", dated);
                    let wall = at(2 * moment as i64);
                    let step = sessions.take(id, &playlist, &base, wall, seconds(moment)).unwrap();
                    shown.extend(until - WINDOW..until);
                    wanted.extend(step.wanted.iter().map(|one| one.media_sequence));
                }
                Event::Fails { newest, refused } => pick(newest).into_iter().for_each(|id| sessions.failed(id, refused)),
                Event::Slow => pick(true).into_iter().for_each(|id| sessions.slow(id)),
                Event::SegmentRefused => sessions.refused(),
                Event::Opens => {
                    opened += 1;
                    if sessions.due(seconds(moment)).is_some() {
                        ids.push(open(&mut sessions, &format!("token{opened}"), seconds(moment)));
                    }
                }
                Event::Passes => moment += 1,
            }
        }
        let distinct: BTreeSet<u64> = wanted.iter().copied().collect();
        prop_assert_eq!(distinct.len(), wanted.len(), "twice: {:?}", wanted);
        let first = wanted.first().copied().unwrap_or(u64::MAX);
        let expected: BTreeSet<u64> = shown.into_iter().filter(|number| *number >= first).collect();
        prop_assert_eq!(distinct, expected);
    }
}
