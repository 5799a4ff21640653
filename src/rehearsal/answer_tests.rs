//! Spoilt answers and a changing programme, as a client sees them.

use std::time::Duration;

use super::reel::tests::{cache, small_spec};
use super::source_tests::{Hand, ORIGIN, SECOND, get, get_with, low, script, start};
use super::*;

/// The target of a redirection, with its host.
fn location(answer: &super::source_tests::Answer) -> String {
    let line = answer.head.lines().find(|line| line.to_lowercase().starts_with("location:"));
    line.unwrap().split_once(':').unwrap().1.trim().to_owned()
}

/// Eight segments of half a second that change as the turns say.
fn start_turning(turns: Vec<Turn>, change: impl FnOnce(&mut SourceSpec)) -> (SourceHandle, Hand) {
    let spec = ReelSpec { container: Container::FragmentedMp4, ..small_spec() };
    let length = Duration::from_secs(4);
    let reel = Reel::prepare(&spec, length, &cache()).unwrap();
    let other = Reel::prepare(&ReelSpec { b_frames: 0, ..spec }, length, &cache()).unwrap();
    let hand = Hand::default();
    let program = Program::Prepared { reel, other: Some(other), origin: Some(ORIGIN), speed: 1, at_end: AtEnd::End };
    let mut spec = SourceSpec { clock: hand.clock(), turns, ..SourceSpec::new(program) };
    change(&mut spec);
    (Source::start(spec).unwrap(), hand)
}

fn turn(change: Change, from_millis: u64, until_millis: u64) -> Turn {
    let until = Some(Duration::from_millis(until_millis));
    Turn { quality: None, during: During { from: Duration::from_millis(from_millis), until }, change }
}

#[test]
fn a_wrong_length_is_announced_and_a_short_one_agrees() {
    let (source, _hand) = start(3.0);
    let whole = source.segment_bytes(&low(), 0).unwrap();
    script(&source, |script| {
        let on = |fault| Rule::on(PathKind::Segment, fault).for_requests(1);
        script.add(on(Fault::WrongLength { extra_bytes: 100 }).of_segment(0));
        script.add(on(Fault::Short { bytes: 700 }).of_segment(1));
        script.add(on(Fault::Corrupt { at_byte: 188 }).of_segment(2));
    });
    let wrong = get(&source, "/low/0000.ts");
    assert_eq!((wrong.content_length(), wrong.closed), (Some(whole.len() + 100), true));
    assert_eq!(wrong.body, whole);
    let short = get(&source, "/low/0001.ts");
    assert_eq!((short.content_length(), short.body.len()), (Some(700), 700));
    let corrupt = get(&source, "/low/0002.ts").body;
    let true_bytes = source.segment_bytes(&low(), 2).unwrap();
    let differ: Vec<usize> = (0..true_bytes.len()).filter(|at| corrupt[*at] != true_bytes[*at]).collect();
    assert_eq!((corrupt.len(), differ), (true_bytes.len(), vec![188]));
    for (name, completed) in [("0000", 0), ("0001", 0), ("0002", 0)] {
        assert_eq!(source.accesses()[&format!("/low/{name}.ts")].completed, completed, "spoilt: {name}");
    }
    assert_eq!(get(&source, "/low/0001.ts").body, source.segment_bytes(&low(), 1).unwrap());
    assert_eq!(source.accesses()["/low/0001.ts"], Access { requests: 2, completed: 1 });
}

#[test]
fn redirections_lead_to_the_answer_in_a_circle_or_to_no_tls() {
    let (source, _hand) = start(3.0);
    let rule = |fault| {
        script(&source, |script| {
            script.clear();
            script.add(Rule::on(PathKind::Segment, fault));
        });
    };
    rule(Fault::Redirected);
    let moved = get(&source, "/low/0000.ts?token=5");
    assert_eq!((moved.status, location(&moved).as_str()), (Some(302), "/low/0000.ts?token=5&redirected=1"));
    assert_eq!(get(&source, &location(&moved)).body, source.segment_bytes(&low(), 0).unwrap());
    rule(Fault::RedirectLoop);
    let moved = get(&source, "/low/0000.ts");
    assert_eq!(get(&source, &location(&moved)).status, Some(302));
    rule(Fault::BrokenTls);
    let moved = get(&source, "/low/0000.ts");
    assert!(location(&moved).starts_with("https://x/low/0000.ts"), "{}", location(&moved));
}

#[test]
fn a_huge_playlist_is_as_large_as_asked_and_begins_as_it_should() {
    let (source, _hand) = start(3.0);
    let good = get(&source, "/low/live.m3u8").body;
    script(&source, |script| {
        script.add(Rule::on(PathKind::Media, Fault::Huge { bytes: 3_000_000 }).for_requests(1));
    });
    let huge = get(&source, "/low/live.m3u8");
    assert!(huge.closed && huge.body.len() > 3_000_000, "{}", huge.body.len());
    assert!(huge.text().contains(std::str::from_utf8(&good[..40]).unwrap()));
    assert_eq!(get(&source, "/low/live.m3u8").body, good);
}

#[test]
fn addresses_hold_a_token_from_the_master_playlist_down_to_the_segments() {
    let (source, hand) = start(3.0);
    assert!(!get(&source, "/master.m3u8").text().contains("token"));
    script(&source, |script| {
        let expires = Fault::TokenExpires { after: Duration::from_secs(2) };
        script.add(Rule { kind: None, ..Rule::on(PathKind::Media, expires) });
    });
    assert!(get(&source, "/master.m3u8").text().contains("\nlow/live.m3u8?token=3000\n"));
    assert_eq!(get(&source, "/low/live.m3u8").status, Some(403));
    let listed = get(&source, "/low/live.m3u8?token=3000").text();
    assert!(listed.contains("\n0005.ts?token=3000\n"), "{listed}");
    assert_eq!(get(&source, "/low/0005.ts?token=3000").status, Some(200));
    hand.set(5.0);
    assert_eq!(get(&source, "/low/0005.ts?token=3000").status, Some(403));
    assert!(get(&source, "/master.m3u8").text().contains("token=5000"));
}

#[test]
fn a_frozen_playlist_stays_as_it_was() {
    let (source, hand) = start(2.0);
    let frozen = get(&source, "/low/live.m3u8").text();
    script(&source, |script| {
        let during = During { from: Duration::from_secs(2), until: Some(Duration::from_secs(4)) };
        script.add(Rule { during, ..Rule::on(PathKind::Media, Fault::Frozen) });
    });
    hand.set(3.9);
    assert_eq!(get(&source, "/low/live.m3u8").text(), frozen);
    hand.set(4.0);
    assert!(get(&source, "/low/live.m3u8").text().ends_with("0007.ts\n"));
}

#[test]
fn advertisements_look_as_those_of_twitch() {
    let (source, hand) = start_turning(vec![turn(Change::Advertisement, 1000, 2000)], |_| {});
    hand.set(3.0);
    let text = get(&source, "/low/live.m3u8").text();
    let range = "#EXT-X-DATERANGE:ID=\"stitched-ad-1767323046000000\",CLASS=\"twitch-stitched-ad\",\
                 START-DATE=\"2026-01-02T03:04:06.000000Z\",DURATION=1.000,";
    assert_eq!(text.matches(range).count(), 1, "{text}");
    assert_eq!(text.matches("Amazon|").count(), 2, "{text}");
    let first = "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-other.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:06";
    let after = "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07";
    assert!(text.contains(first) && text.contains(after), "{text}");
    let published = source.published(&low());
    let shown: Vec<usize> = (0..6).filter(|at| published[*at].advertisement.is_some()).collect();
    assert_eq!(shown, [2, 3]);
    for segment in &published {
        let map = if segment.advertisement.is_some() { "init-other.mp4" } else { "init.mp4" };
        let mut whole = get(&source, &format!("/low/{map}")).body;
        whole.extend(get(&source, &format!("/low/{}", segment.name)).body);
        assert_eq!(whole, segment.stored_bytes().unwrap());
    }
}

#[test]
fn a_programme_turns_by_itself() {
    let skew = turn(Change::Skew { micros: -SECOND }, 500, 1000);
    let turns = vec![skew, turn(Change::SequenceReset, 1500, 9000), turn(Change::OffAir, 2500, 3000)];
    let (source, hand) = start_turning(turns, |_| {});
    hand.set(2.7);
    assert!(get(&source, "/low/live.m3u8").text().ends_with("#EXT-X-ENDLIST\n"));
    hand.set(3.5);
    let published = source.published(&low());
    let told: Vec<_> = published
        .iter()
        .map(|one| (one.epoch, one.media_sequence, one.start.micros_since(ORIGIN) * 2 / SECOND, one.discontinuity))
        .collect();
    let expected =
        [(0, 0, 0, false), (0, 1, -1, false), (0, 2, 2, false), (1, 0, 3, false), (1, 1, 4, false), (1, 2, 6, true)];
    assert_eq!(told, expected);
    assert!(!get(&source, "/low/live.m3u8").text().contains("ENDLIST"));
}

#[test]
fn a_programme_that_waits_begins_when_it_is_told_to() {
    let (source, hand) = start_turning(Vec::new(), |spec| spec.waits = true);
    hand.set(100.0);
    assert_eq!(get(&source, "/low/live.m3u8").status, Some(404));
    assert!(get(&source, "/master.m3u8").text().contains("low/live.m3u8"));
    source.begin();
    hand.set(101.0);
    assert_eq!(source.origin(), ORIGIN.plus_micros(100 * SECOND));
    assert_eq!(source.published(&low()).len(), 2);
    source.begin();
    assert_eq!(source.origin(), ORIGIN.plus_micros(100 * SECOND), "it began once");
}

#[test]
fn a_segment_that_is_no_longer_kept_is_gone() {
    let (source, hand) = start_turning(Vec::new(), |spec| spec.keep = Some(Duration::from_secs(2)));
    hand.set(2.4);
    assert_eq!(get(&source, "/low/0000.m4s").status, Some(200));
    hand.set(2.5);
    assert_eq!(get(&source, "/low/0000.m4s").status, Some(404));
    assert_eq!(get_with(&source, "/low/0001.m4s", Duration::from_secs(9)).status, Some(200));
}

#[test]
fn a_turn_that_cannot_be_played_is_refused() {
    let reel = Reel::prepare(&small_spec(), Duration::from_secs(4), &cache()).unwrap();
    let turns = vec![turn(Change::OtherEncoding, 0, 1000)];
    let alone = SourceSpec { turns, ..SourceSpec::prepared(reel) };
    assert!(matches!(Source::start(alone), Err(RehearsalError::Spec(_))));
}
