//! The fake source as a client sees it, over plain TCP: a client that hides what really came would be no witness.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::reel::tests::{cache, small_spec};
use super::*;
use crate::model::{Quality, Timestamp};

pub(super) const SECOND: i64 = 1_000_000;
/// The time of frame 0 in these tests: 2026-01-02T03:04:05.
pub(super) const ORIGIN: Timestamp = Timestamp::from_micros(1_767_323_045 * SECOND);

/// What came over a connection until it was closed, or until `patience` was over.
pub(super) struct Answer {
    pub status: Option<u16>,
    pub head: String,
    pub body: Vec<u8>,
    pub closed: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn content_length(&self) -> Option<usize> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with("content-length:"))?;
        line.split(':').nth(1)?.trim().parse().ok()
    }
}

pub(super) fn get_with(source: &SourceHandle, path: &str, patience: Duration) -> Answer {
    let mut stream = TcpStream::connect(source.address()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 65536]);
    let closed = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) => break error.kind() == io::ErrorKind::ConnectionReset,
        }
    };
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status, head, body: all[end..].to_vec(), closed }
}

pub(super) fn get(source: &SourceHandle, path: &str) -> Answer {
    get_with(source, path, Duration::from_secs(10))
}

pub(super) fn script(source: &SourceHandle, change: impl FnOnce(&mut Script)) {
    change(&mut source.script().lock().unwrap_or_else(PoisonError::into_inner));
}

/// A clock that stands until it is moved: microseconds after the origin.
#[derive(Clone, Default)]
pub(super) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub fn set(&self, seconds: f64) {
        self.0.store((seconds * SECOND as f64) as i64, Ordering::SeqCst);
    }

    pub fn clock(&self) -> WallClock {
        let hand = self.clone();
        Arc::new(move || ORIGIN.plus_micros(hand.0.load(Ordering::SeqCst)))
    }
}

pub(super) fn start_with(spec: &ReelSpec, at_end: AtEnd, seconds: f64) -> (SourceHandle, Hand) {
    let reel = Reel::prepare(spec, Duration::from_secs(4), &cache()).unwrap();
    let hand = Hand::default();
    hand.set(seconds);
    let program = Program::Prepared { reel, other: None, origin: Some(ORIGIN), speed: 1, at_end };
    let source = Source::start(SourceSpec { clock: hand.clock(), ..SourceSpec::new(program) }).unwrap();
    (source, hand)
}

/// Segments of half a second; at 3 s the playlist holds numbers 0 to 5.
pub(super) fn start(seconds: f64) -> (SourceHandle, Hand) {
    start_with(&small_spec(), AtEnd::Loop, seconds)
}

pub(super) fn low() -> Quality {
    "low".parse().unwrap()
}

fn media_sequence(playlist: &str) -> u64 {
    playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap()
}

#[test]
fn the_live_window_slides_and_its_segments_are_the_reels() {
    let (source, hand) = start(0.0);
    assert_eq!(get(&source, "/low/live.m3u8").status, Some(404));
    let mut last = 0;
    for step in 1..20 {
        hand.set(f64::from(step) * 0.5);
        let playlist = get(&source, "/low/live.m3u8").text();
        let sequence = media_sequence(&playlist);
        assert_eq!(sequence, u64::from(step.max(6_u32) - 6));
        assert!(sequence >= last);
        last = sequence;
    }
    let published = source.published(&low());
    assert_eq!(published.len(), 19);
    for segment in &published {
        let answer = get(&source, &format!("/low/{}", segment.name));
        assert_eq!((answer.status, answer.body == segment.bytes().unwrap()), (Some(200), true), "{}", segment.name);
        assert_eq!(source.segment_bytes(&low(), segment.media_sequence).unwrap(), answer.body);
    }
    assert_eq!(get(&source, "/low/0019.ts").status, Some(404), "not yet on air");
}

#[test]
fn playlists_say_what_a_real_server_would() {
    let (source, _hand) = start(4.5);
    let master = get(&source, "/master.m3u8").text();
    let (_, parsed) = m3u8_rs::parse_master_playlist(master.as_bytes()).unwrap();
    let uris: Vec<&str> = parsed.variants.iter().map(|variant| variant.uri.as_str()).collect();
    assert_eq!(uris, ["source/live.m3u8", "low/live.m3u8"]);
    assert_eq!(parsed.variants[0].resolution.unwrap().width, 320);
    let codecs = parsed.variants[0].codecs.as_deref().unwrap();
    assert!(codecs.starts_with("avc1.") && codecs.ends_with(",mp4a.40.2"), "{codecs}");
    let media = get(&source, "/low/live.m3u8").text();
    let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:3\n\
        #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:06.500000Z\n#EXTINF:0.500000,\n0003.ts\n";
    assert!(media.starts_with(expected), "{media}");
    let end =
        "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:09.000000Z\n#EXTINF:0.500000,\n0008.ts\n";
    assert!(media.ends_with(end), "{media}");
}

#[test]
fn a_fragmented_source_serves_its_map() {
    let spec = ReelSpec { container: Container::FragmentedMp4, ..small_spec() };
    let (source, _hand) = start_with(&spec, AtEnd::End, 60.0);
    let playlist = get(&source, "/source/live.m3u8").text();
    assert!(playlist.contains("#EXT-X-MAP:URI=\"init.mp4\"\n"), "{playlist}");
    assert!(playlist.ends_with("0007.m4s\n#EXT-X-ENDLIST\n"), "{playlist}");
    let mut bytes = get(&source, "/source/init.mp4").body;
    bytes.extend(get(&source, "/source/0002.m4s").body);
    let published = &source.published(&"source".parse().unwrap())[2];
    assert_eq!(bytes, published.stored_bytes().unwrap());
    assert_eq!(barcode::read_bytes(&bytes).unwrap(), (30..45).collect::<Vec<u32>>());
}

#[test]
fn a_status_or_a_page_stands_in_for_the_answer() {
    let (source, _hand) = start(3.0);
    script(&source, |script| {
        script.add(Rule::on(PathKind::Media, Fault::Status(503)).of_quality(low()).for_requests(1));
        script.add(Rule::on(PathKind::Master, Fault::Html));
    });
    assert_eq!(get(&source, "/low/live.m3u8").status, Some(503));
    assert_eq!(get(&source, "/low/live.m3u8").status, Some(200), "the fault was for one request");
    let page = get(&source, "/master.m3u8");
    assert!(page.status == Some(200) && page.text().starts_with("<!DOCTYPE html>"));
    script(&source, |script| {
        script.clear();
        script.add(Rule::off_air());
    });
    for path in ["/master.m3u8", "/low/live.m3u8", "/low/0000.ts"] {
        assert_eq!(get(&source, path).status, Some(404), "{path}");
    }
}

#[test]
fn a_truncated_body_keeps_its_length_and_its_first_bytes() {
    let (source, _hand) = start(3.0);
    let whole = source.segment_bytes(&low(), 0).unwrap();
    for after_bytes in [0, 1000] {
        script(&source, |script| {
            let fault = Fault::Truncated { after_bytes, framing: Framing::Length };
            script.add(Rule::on(PathKind::Segment, fault).for_requests(1));
        });
        let answer = get(&source, "/low/0000.ts");
        assert_eq!((answer.status, answer.content_length()), (Some(200), Some(whole.len())));
        assert!(answer.closed && answer.body == whole[..after_bytes]);
    }
    let access = source.accesses()["/low/0000.ts"];
    assert_eq!(access, Access { requests: 2, completed: 0 });
    assert_eq!(get(&source, "/low/0000.ts").body, whole);
    assert_eq!(source.accesses()["/low/0000.ts"], Access { requests: 3, completed: 1 });
}

#[test]
fn a_truncated_chunked_body_lacks_its_last_chunk() {
    let (source, _hand) = start(3.0);
    let whole = source.segment_bytes(&low(), 0).unwrap();
    script(&source, |script| {
        let fault = Fault::Truncated { after_bytes: 1000, framing: Framing::Chunked };
        script.add(Rule::on(PathKind::Segment, fault));
    });
    let answer = get(&source, "/low/0000.ts");
    assert!(answer.head.to_lowercase().contains("transfer-encoding: chunked"), "{}", answer.head);
    let expected = [b"3E8\r\n", &whole[..1000], b"\r\n"].concat();
    assert!(answer.closed && answer.body == expected);
}

#[test]
fn a_stalled_body_stays_open_and_a_dropped_connection_says_nothing() {
    let (source, _hand) = start(3.0);
    script(&source, |script| {
        script.add(Rule::on(PathKind::Segment, Fault::Stalled { after_bytes: 500 }));
        script.add(Rule::on(PathKind::Media, Fault::Dropped));
    });
    let stalled = get_with(&source, "/low/0000.ts", Duration::from_millis(300));
    assert_eq!((stalled.body.len(), stalled.closed), (500, false));
    let dropped = get(&source, "/low/live.m3u8");
    assert_eq!((dropped.status, dropped.head.as_str(), dropped.closed), (None, "", true));
}

#[test]
fn a_delayed_answer_is_whole() {
    let (source, _hand) = start(3.0);
    let delay = Duration::from_millis(200);
    script(&source, |script| {
        script.add(Rule::on(PathKind::Segment, Fault::Delayed(delay)).of_segment(1));
    });
    let asked = Instant::now();
    assert_eq!(get(&source, "/low/0001.ts").body, source.segment_bytes(&low(), 1).unwrap());
    assert!(asked.elapsed() >= delay);
}

#[test]
fn a_playlist_can_lack_its_times_and_go_back_and_end_falsely() {
    let (source, _hand) = start(6.0);
    let good = get(&source, "/low/live.m3u8").text();
    script(&source, |script| {
        for fault in [Fault::WithoutDateTimes, Fault::Stale { segments: 2 }, Fault::FalseEnd] {
            script.add(Rule::on(PathKind::Media, fault).for_requests(1));
        }
    });
    let bad = get(&source, "/low/live.m3u8").text();
    assert_eq!((media_sequence(&good), media_sequence(&bad)), (6, 4));
    assert!(!bad.contains("DATE-TIME") && bad.ends_with("#EXT-X-ENDLIST\n"), "{bad}");
    assert_eq!(get(&source, "/low/live.m3u8").text(), good);
}

#[test]
fn a_stream_ends_and_returns_and_its_numbering_starts_over() {
    let (source, hand) = start(1.0);
    source.end_stream();
    hand.set(2.0);
    let ended = get(&source, "/low/live.m3u8").text();
    assert!(ended.ends_with("0001.ts\n#EXT-X-ENDLIST\n"), "{ended}");
    source.resume_stream();
    hand.set(2.5);
    let returned = get(&source, "/low/live.m3u8").text();
    let tail =
        "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.000000Z\n#EXTINF:0.500000,\n0002.ts\n";
    assert!(returned.ends_with(tail), "{returned}");
    source.reset_sequence();
    hand.set(3.0);
    let reset = get(&source, "/low/live.m3u8").text();
    assert!(media_sequence(&reset) == 0 && reset.ends_with("r1-0000.ts\n"), "{reset}");
    assert_eq!(get(&source, "/low/r1-0000.ts").body, source.segment_bytes(&low(), 0).unwrap());
    assert_eq!(get(&source, "/low/0002.ts").status, Some(200), "what was on air stays");
}

#[test]
fn a_stopped_source_is_gone() {
    let (source, _hand) = start(1.0);
    let address = source.address();
    script(&source, |script| {
        script.add(Rule::on(PathKind::Segment, Fault::Stalled { after_bytes: 1 }));
    });
    let mut stalled = TcpStream::connect(address).unwrap();
    write!(stalled, "GET /low/0000.ts HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stalled.read_exact(&mut [0; 1]).unwrap();
    source.stop();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_the_source_lacks_is_not_found() {
    let (source, _hand) = start(1.0);
    for path in ["/", "/other/live.m3u8", "/low/init.mp4", "/low/x", "/..%2f/live.m3u8", "/low/..%2f..%2fmaster.m3u8"] {
        assert_eq!(get(&source, path).status, Some(404), "{path}");
    }
    assert!(source.accesses().is_empty());
}

#[test]
fn a_source_that_cannot_be_is_refused() {
    let reel = Reel::prepare(&small_spec(), Duration::from_secs(4), &cache()).unwrap();
    let none = SourceSpec { window_segments: 0, ..SourceSpec::prepared(reel.clone()) };
    assert!(matches!(Source::start(none), Err(RehearsalError::Spec(_))));
    let (first, _hand) = start(1.0);
    let taken = SourceSpec { listen: first.address(), ..SourceSpec::prepared(reel) };
    assert!(matches!(Source::start(taken), Err(RehearsalError::Listen { .. })));
}

#[test]
fn a_live_reel_goes_on_air_as_it_is_made_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::Live { spec: small_spec(), directory: directory.path().to_owned() };
    let source = Source::start(SourceSpec::new(program)).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    let published = loop {
        let published = source.published(&low());
        if published.len() >= 3 {
            break published;
        }
        assert!(Instant::now() < patience, "nothing on air: {:?}", source.broken());
        std::thread::sleep(Duration::from_millis(50));
    };
    for (at, segment) in published.iter().enumerate() {
        assert_eq!(segment.start, source.origin().plus_micros(at as i64 * SECOND / 2));
        let first = at as u32 * 15;
        let numbers = barcode::read_bytes(&segment.bytes().unwrap()).unwrap();
        assert_eq!(numbers, (first..first + 15).collect::<Vec<u32>>());
    }
    assert!(get(&source, "/master.m3u8").text().contains("low/live.m3u8"));
    assert!(get(&source, "/low/live.m3u8").text().contains("0002.ts"));
    source.stop();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
