use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;

fn base() -> Url {
    "http://source.test/live/q/live.m3u8?token=a".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_322_800 * SECOND + seconds * SECOND)
}

/// Segments `from..until` of 2 s, named by `name`, dated if asked: number n starts at 2·n seconds.
fn playlist(from: u64, until: u64, name: &str, dated: bool) -> MediaPlaylist {
    let segments = (from..until).map(|number| UpstreamSegment {
        media_sequence: number,
        uri: format!("{name}{number}.ts?token=x"),
        duration_micros: 2 * SECOND,
        title: String::new(),
        date_time: dated.then(|| at(2 * number as i64)),
        byte_range: None,
        map: None,
        encrypted: false,
    });
    MediaPlaylist { target_duration_seconds: 2, segments: segments.collect(), date_ranges: Vec::new(), ended: false }
}

fn numbers(step: &Step) -> Vec<u64> {
    step.wanted.iter().map(|wanted| wanted.media_sequence).collect()
}

fn starts(step: &Step) -> Vec<Timestamp> {
    step.wanted.iter().map(|wanted| wanted.start).collect()
}

#[test]
fn each_segment_is_wanted_once() {
    let mut tracker = Tracker::new(None);
    let first = tracker.step(&playlist(10, 13, "s", true), &base(), at(30));
    assert_eq!(numbers(&first), [10, 11, 12]);
    assert_eq!(starts(&first), [at(20), at(22), at(24)]);
    assert_eq!(first.wanted[0].url.as_str(), "http://source.test/live/q/s10.ts?token=x");
    assert_eq!(first.poll_after, Duration::from_secs(2));
    let same = tracker.step(&playlist(10, 13, "s", true), &base(), at(31));
    assert_eq!((numbers(&same), same.poll_after), (vec![], Duration::from_secs(1)));
    let slid = tracker.step(&playlist(12, 15, "s", true), &base(), at(33));
    assert_eq!((numbers(&slid), slid.lost, slid.reset), (vec![13, 14], None, false));
}

#[test]
fn a_jump_is_a_known_loss() {
    let mut tracker = Tracker::new(None);
    tracker.step(&playlist(0, 3, "s", true), &base(), at(6));
    let step = tracker.step(&playlist(5, 7, "s", true), &base(), at(14));
    assert_eq!(numbers(&step), [5, 6]);
    assert_eq!(step.lost, Some(Lost { count: 2, span: Span::new(at(6), at(10)).ok() }));
}

#[test]
fn an_edge_that_lags_is_stale_and_brings_nothing() {
    for dated in [true, false] {
        let mut tracker = Tracker::new(None);
        tracker.step(&playlist(10, 16, "s", dated), &base(), at(32));
        let step = tracker.step(&playlist(8, 14, "s", dated), &base(), at(33));
        assert!(step.stale && !step.reset && step.wanted.is_empty());
        assert_eq!(numbers(&tracker.step(&playlist(11, 17, "s", dated), &base(), at(34))), [16]);
    }
}

#[test]
fn a_source_that_begins_anew_is_a_new_epoch() {
    let mut tracker = Tracker::new(None);
    tracker.step(&playlist(100, 106, "old", true), &base(), at(212));
    let mut anew = playlist(0, 3, "new", false);
    anew.segments[0].date_time = Some(at(300));
    let step = tracker.step(&anew, &base(), at(306));
    assert!(step.reset && step.lost.is_none());
    assert_eq!((numbers(&step), starts(&step)), (vec![0, 1, 2], vec![at(300), at(302), at(304)]));
    assert!(step.wanted.iter().all(|wanted| wanted.epoch == 1));
}

#[test]
fn after_an_end_higher_numbers_are_a_new_epoch_and_no_loss() {
    for dated in [true, false] {
        let mut tracker = Tracker::new(None);
        let ended = MediaPlaylist { ended: true, ..playlist(0, 6, "old", dated) };
        assert!(tracker.step(&ended, &base(), at(12)).ended);
        // The end was a mistake of an edge server: it goes on.
        assert_eq!(numbers(&tracker.step(&playlist(2, 8, "old", dated), &base(), at(16))), [6, 7]);
        let ended = MediaPlaylist { ended: true, ..playlist(2, 8, "old", dated) };
        tracker.step(&ended, &base(), at(17));
        let step = tracker.step(&playlist(100, 103, "new", dated), &base(), at(206));
        assert_eq!((numbers(&step), step.reset, step.lost), (vec![100, 101, 102], true, None));
    }
}

#[test]
fn overlapping_numbers_of_another_session_are_a_new_epoch() {
    let mut tracker = Tracker::new(None);
    tracker.step(&playlist(0, 6, "old", false), &base(), at(12));
    let step = tracker.step(&playlist(2, 8, "new", false), &base(), at(60));
    assert!(step.reset);
    assert_eq!(numbers(&step), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_renewed_token_in_the_path_is_the_same_session() {
    for dated in [true, false] {
        let mut tracker = Tracker::new(None);
        tracker.step(&playlist(0, 6, "tokenA/s", dated), &base(), at(12));
        let step = tracker.step(&playlist(2, 8, "tokenB/s", dated), &base(), at(16));
        assert_eq!((numbers(&step), step.reset), (vec![6, 7], false));
    }
}

#[test]
fn without_dates_time_is_anchored_once_and_then_counted() {
    let mut tracker = Tracker::new(None);
    let first = tracker.step(&playlist(0, 3, "s", false), &base(), at(100));
    assert_eq!(starts(&first), [at(94), at(96), at(98)]);
    assert!(first.wanted.iter().all(|wanted| wanted.clocked));
    // The poll came late; the time does not jitter with it.
    let next = tracker.step(&playlist(1, 5, "s", false), &base(), Timestamp::from_micros(at(105).micros() + 300_000));
    assert_eq!(starts(&next), [at(100), at(102)]);
}

#[test]
fn without_dates_a_pause_of_the_source_moves_time_on() {
    let mut tracker = Tracker::new(None);
    tracker.step(&playlist(0, 3, "s", false), &base(), at(100));
    let step = tracker.step(&playlist(1, 4, "s", false), &base(), at(160));
    assert_eq!(starts(&step), [at(158)]);
}

#[test]
fn a_restarted_recorder_goes_on_with_the_old_times() {
    let resumed = Some((4, "/old/path/s4.ts".to_owned(), at(50)));
    let step = Tracker::new(resumed.clone()).step(&playlist(3, 6, "s", false), &base(), at(70));
    assert_eq!(starts(&step), [at(48), at(50), at(52)]);
    // Too late, or another session: the clock it is.
    for (from, name) in [(5, "s"), (3, "other")] {
        let step = Tracker::new(resumed.clone()).step(&playlist(from, from + 1, name, false), &base(), at(70));
        assert_eq!(starts(&step), [at(68)]);
    }
}

#[test]
fn one_date_dates_the_whole_list() {
    let mut listed = playlist(0, 4, "s", false);
    listed.segments[2].date_time = Some(at(1000));
    let step = Tracker::new(None).step(&listed, &base(), at(5000));
    assert_eq!(starts(&step), [at(996), at(998), at(1000), at(1002)]);
    assert!(step.wanted.iter().all(|wanted| !wanted.clocked));
}

proptest! {
    /// Whatever windows a source shows, in order, with repeats and stale ones between: nothing twice, nothing missed.
    #[test]
    fn nothing_is_wanted_twice_and_nothing_shown_is_missed(
        moves in prop::collection::vec((0u64..4, 0u64..3), 1..60),
        dated in any::<bool>(),
    ) {
        let mut tracker = Tracker::new(None);
        let mut end = 6;
        let mut wanted = Vec::new();
        let mut last_end: Option<Timestamp> = None;
        for (ahead, behind) in moves {
            end += ahead;
            let shown = end - behind.min(end - 6);
            let step = tracker.step(&playlist(shown - 6, shown, "s", dated), &base(), at(2 * end as i64));
            prop_assert!(!step.reset);
            for one in &step.wanted {
                if let Some(last) = last_end {
                    prop_assert_eq!(one.start, last);
                }
                last_end = Some(one.start.plus_micros(one.duration_micros));
            }
            wanted.extend(numbers(&step));
        }
        let all: Vec<u64> = (wanted[0]..=*wanted.last().unwrap()).collect();
        prop_assert_eq!(wanted, all);
    }
}
