use proptest::prelude::*;

use super::*;

/// A tracker with one session, which has passed whatever it has shown.
struct Alone(super::Tracker, Option<u32>);

impl Alone {
    fn new(resumed: Option<(u64, String, Timestamp)>) -> Self {
        Self(super::Tracker::new(resumed, AdRules::default()), None)
    }

    fn step(&mut self, playlist: &MediaPlaylist, base: &Url, now: Timestamp) -> Step {
        let mut step = self.0.step(self.1, playlist, base, now);
        self.1 = step.epoch;
        step.lost = self.0.settle(|_, _| true);
        step
    }
}

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
        encryption: Encryption::Clear,
    });
    MediaPlaylist { target_duration_seconds: 2, segments: segments.collect(), date_ranges: Vec::new(), ended: false }
}

/// The same, of which some are advertisements by their titles.
fn with_ads(mut playlist: MediaPlaylist, ads: std::ops::Range<u64>) -> MediaPlaylist {
    for one in playlist.segments.iter_mut().filter(|one| ads.contains(&one.media_sequence)) {
        one.title = "Ad|1".to_owned();
        one.uri = format!("ad{}.ts", one.media_sequence);
    }
    playlist
}

fn numbers(step: &Step) -> Vec<u64> {
    step.wanted.iter().map(|wanted| wanted.media_sequence).collect()
}

fn starts(step: &Step) -> Vec<Timestamp> {
    step.wanted.iter().map(|wanted| wanted.start).collect()
}

#[test]
fn each_segment_is_wanted_once() {
    let mut tracker = Alone::new(None);
    let first = tracker.step(&playlist(10, 13, "s", true), &base(), at(30));
    assert_eq!(numbers(&first), [10, 11, 12]);
    assert_eq!(starts(&first), [at(20), at(22), at(24)]);
    assert_eq!(first.wanted[0].address.url.as_str(), "http://source.test/live/q/s10.ts?token=x");
    assert_eq!(first.poll_after, Duration::from_secs(2));
    let same = tracker.step(&playlist(10, 13, "s", true), &base(), at(31));
    assert_eq!((numbers(&same), same.poll_after), (vec![], Duration::from_secs(1)));
    let slid = tracker.step(&playlist(12, 15, "s", true), &base(), at(33));
    assert_eq!((numbers(&slid), slid.lost, slid.reset), (vec![13, 14], vec![], false));
}

/// One session is in a break, and the other is not: with the same numbers, and with numbers of its own.
#[test]
fn an_advertisement_never_stands_for_the_programme() {
    for other in [0, 1000] {
        let renumbered = |mut playlist: MediaPlaylist| {
            playlist.segments.iter_mut().for_each(|one| one.media_sequence += other);
            playlist
        };
        let mut tracker = super::Tracker::new(None, AdRules::new(["Ad|"]));
        let ads = with_ads(playlist(10, 14, "s", true), 11..13);
        let first = tracker.step(None, &ads, &base(), at(30));
        let content =
            |step: &Step| -> Vec<bool> { step.wanted.iter().map(|one| one.content.is_advertisement()).collect() };
        assert_eq!((numbers(&first), content(&first)), (vec![10, 11, 12, 13], vec![false, true, true, false]));
        assert_eq!(first.advertisements, [11, 12]);
        let beside = renumbered(playlist(10, 14, "s", true));
        let second = tracker.step(None, &beside, &base(), at(30));
        assert_eq!((numbers(&second), content(&second)), (vec![11 + other, 12 + other], vec![false, false]));
        assert_eq!(starts(&second), [at(22), at(24)]);
        let again = tracker.step(second.epoch, &beside, &base(), at(31));
        assert_eq!((numbers(&again), again.listed.len()), (vec![], 4), "once");
        let break_again = tracker.step(first.epoch, &ads, &base(), at(31));
        assert_eq!(numbers(&break_again), [0; 0], "what the programme has needs no advertisement");
    }
}

#[test]
fn the_edge_is_what_no_list_has_shown() {
    let mut tracker = super::Tracker::default();
    assert_eq!(tracker.step(None, &playlist(10, 13, "s", true), &base(), at(30)).edge, Span::new(at(20), at(26)).ok());
    assert_eq!(tracker.step(None, &playlist(10, 13, "s", true), &base(), at(31)).edge, None);
    assert_eq!(tracker.step(None, &playlist(15, 16, "s", true), &base(), at(32)).edge, Span::new(at(30), at(32)).ok());
    let late = tracker.step(None, &playlist(13, 16, "s", true), &base(), at(33));
    assert_eq!((numbers(&late), late.edge), (vec![13, 14], None));
}

#[test]
fn a_jump_is_a_known_loss() {
    let mut tracker = Alone::new(None);
    tracker.step(&playlist(0, 3, "s", true), &base(), at(6));
    let step = tracker.step(&playlist(5, 7, "s", true), &base(), at(14));
    assert_eq!(numbers(&step), [5, 6]);
    assert_eq!(step.lost, [Lost { count: 2, span: Span::new(at(6), at(10)).ok() }]);
}

/// Told once, and taken all the same if it shows up: with its own time, also where the source gives none.
#[test]
fn what_was_jumped_over_is_taken_when_it_shows_up() {
    for dated in [true, false] {
        let mut tracker = Alone::new(None);
        tracker.step(&playlist(0, 3, "s", dated), &base(), at(6));
        let jump = tracker.step(&playlist(6, 8, "s", dated), &base(), at(16));
        assert_eq!((numbers(&jump), jump.lost[0].count), (vec![6, 7], 3));
        let late = tracker.step(&playlist(2, 6, "s", dated), &base(), at(16));
        assert_eq!((numbers(&late), starts(&late)), (vec![3, 4, 5], vec![at(6), at(8), at(10)]));
        assert!(late.stale && late.lost.is_empty());
        let again = tracker.step(&playlist(3, 8, "s", dated), &base(), at(17));
        assert!(again.wanted.is_empty() && again.lost.is_empty());
        assert_eq!(again.listed.len(), 5);
    }
}

#[test]
fn a_reset_to_old_numbers_and_old_names_is_found_out() {
    let mut tracker = Alone::new(None);
    tracker.step(&playlist(0, 60, "s", false), &base(), at(120));
    assert!(tracker.step(&playlist(0, 3, "s", false), &base(), at(200)).stale);
    let step = tracker.step(&playlist(14, 17, "s", false), &base(), at(240));
    assert_eq!((numbers(&step), step.reset), (vec![14, 15, 16], true));
}

#[test]
fn two_numberings_side_by_side_are_two_epochs_and_the_same_moments_are_wanted_once() {
    let mut tracker = super::Tracker::default();
    let renumbered = |from: u64, until: u64| {
        let mut list = playlist(from, until, "other", true);
        list.segments.iter_mut().for_each(|segment| segment.media_sequence += 1000);
        list
    };
    let old = tracker.step(None, &playlist(0, 6, "s", true), &base(), at(12));
    // Before the old session's last start, with numbers from elsewhere.
    let new = tracker.step(None, &renumbered(3, 8), &base(), at(16));
    assert_eq!((numbers(&new), new.reset), (vec![1006, 1007], true));
    let old = tracker.step(old.epoch, &playlist(4, 9, "s", true), &base(), at(18));
    assert_eq!((numbers(&old), old.reset), (vec![8], false));
    let new = tracker.step(new.epoch, &renumbered(5, 10), &base(), at(20));
    assert_eq!((numbers(&new), new.reset), (vec![1009], false));
}

#[test]
fn addresses_are_relative_to_the_playlist_and_keys_have_their_iv() {
    let mut list = playlist(7, 8, "deep/er/s", true);
    let key = |iv| Encryption::Aes128(crate::hls::upstream::Key { uri: "//keys.test/k".into(), iv });
    list.segments[0].encryption = key(None);
    let map =
        crate::hls::upstream::UpstreamMap { uri: "i.mp4".into(), byte_range: None, encryption: key(Some([9; 16])) };
    list.segments[0].map = Some(map);
    let step = Alone::new(None).step(&list, &base(), at(20));
    let wanted = &step.wanted[0].address;
    let url: Url = "http://keys.test/k".parse().unwrap();
    assert_eq!(wanted.cipher, Cipher::Aes128 { key: url.clone(), iv: 7u128.to_be_bytes() });
    let map = wanted.map.as_ref().unwrap();
    assert_eq!(map.url.as_str(), "http://source.test/live/q/i.mp4");
    assert_eq!(map.cipher, Cipher::Aes128 { key: url, iv: [9; 16] });
}

#[test]
fn an_edge_that_lags_is_stale_and_brings_nothing() {
    for dated in [true, false] {
        let mut tracker = Alone::new(None);
        tracker.step(&playlist(10, 16, "s", dated), &base(), at(32));
        let step = tracker.step(&playlist(8, 14, "s", dated), &base(), at(33));
        assert!(step.stale && !step.reset && step.wanted.is_empty());
        assert_eq!(numbers(&tracker.step(&playlist(11, 17, "s", dated), &base(), at(34))), [16]);
    }
}

#[test]
fn a_source_that_begins_anew_is_a_new_epoch() {
    let mut tracker = Alone::new(None);
    tracker.step(&playlist(100, 106, "old", true), &base(), at(212));
    let mut anew = playlist(0, 3, "new", false);
    anew.segments[0].date_time = Some(at(300));
    let step = tracker.step(&anew, &base(), at(306));
    assert!(step.reset && step.lost.is_empty());
    assert_eq!((numbers(&step), starts(&step)), (vec![0, 1, 2], vec![at(300), at(302), at(304)]));
    assert!(step.wanted.iter().all(|wanted| wanted.epoch == 1));
}

#[test]
fn after_an_end_higher_numbers_are_a_new_epoch_and_no_loss() {
    for dated in [true, false] {
        let mut tracker = Alone::new(None);
        let ended = MediaPlaylist { ended: true, ..playlist(0, 6, "old", dated) };
        assert!(tracker.step(&ended, &base(), at(12)).ended);
        // The end was a mistake of an edge server: it goes on.
        assert_eq!(numbers(&tracker.step(&playlist(2, 8, "old", dated), &base(), at(16))), [6, 7]);
        let ended = MediaPlaylist { ended: true, ..playlist(2, 8, "old", dated) };
        tracker.step(&ended, &base(), at(17));
        let step = tracker.step(&playlist(100, 103, "new", dated), &base(), at(206));
        assert_eq!((numbers(&step), step.reset, step.lost), (vec![100, 101, 102], true, vec![]));
    }
}

#[test]
fn overlapping_numbers_of_another_session_are_a_new_epoch() {
    let mut tracker = Alone::new(None);
    tracker.step(&playlist(0, 6, "old", false), &base(), at(12));
    let step = tracker.step(&playlist(2, 8, "new", false), &base(), at(60));
    assert!(step.reset);
    assert_eq!(numbers(&step), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_renewed_token_in_the_path_is_the_same_session() {
    for dated in [true, false] {
        let mut tracker = Alone::new(None);
        tracker.step(&playlist(0, 6, "tokenA/s", dated), &base(), at(12));
        let step = tracker.step(&playlist(2, 8, "tokenB/s", dated), &base(), at(16));
        assert_eq!((numbers(&step), step.reset), (vec![6, 7], false));
    }
}

#[test]
fn without_dates_time_is_anchored_once_and_then_counted() {
    let mut tracker = Alone::new(None);
    let first = tracker.step(&playlist(0, 3, "s", false), &base(), at(100));
    assert_eq!(starts(&first), [at(94), at(96), at(98)]);
    assert!(first.wanted.iter().all(|wanted| wanted.clocked));
    // The poll came late; the time does not jitter with it.
    let next = tracker.step(&playlist(1, 5, "s", false), &base(), Timestamp::from_micros(at(105).micros() + 300_000));
    assert_eq!(starts(&next), [at(100), at(102)]);
}

#[test]
fn without_dates_a_pause_of_the_source_moves_time_on() {
    let mut tracker = Alone::new(None);
    tracker.step(&playlist(0, 3, "s", false), &base(), at(100));
    let step = tracker.step(&playlist(1, 4, "s", false), &base(), at(160));
    assert_eq!(starts(&step), [at(158)]);
}

#[test]
fn without_dates_a_jump_is_counted_on_if_the_clock_agrees() {
    for (from, now, start) in [(5, 114, 104), (5, 160, 158), (5000, 114, 112)] {
        let mut tracker = Alone::new(None);
        tracker.step(&playlist(0, 3, "s", false), &base(), at(100));
        let step = tracker.step(&playlist(from, from + 1, "s", false), &base(), at(now));
        assert_eq!(starts(&step), [at(start)], "{from} at {now}");
    }
}

#[test]
fn a_restarted_recorder_goes_on_with_the_old_times() {
    let resumed = Some((4, "/old/path/s4.ts".to_owned(), at(50)));
    let step = Alone::new(resumed.clone()).step(&playlist(3, 6, "s", false), &base(), at(70));
    assert_eq!(starts(&step), [at(48), at(50), at(52)]);
    // Too late, or another session: the clock it is.
    for (from, name) in [(5, "s"), (3, "other")] {
        let step = Alone::new(resumed.clone()).step(&playlist(from, from + 1, name, false), &base(), at(70));
        assert_eq!(starts(&step), [at(68)]);
    }
}

#[test]
fn one_date_dates_the_whole_list() {
    let mut listed = playlist(0, 4, "s", false);
    listed.segments[2].date_time = Some(at(1000));
    let step = Alone::new(None).step(&listed, &base(), at(5000));
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
        let mut tracker = Alone::new(None);
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
