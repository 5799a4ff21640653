//! What was lost and why: told by the ledger, by every door to it, after a bad day at the source; and advertisements, which
//! leave the record but not the disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use segvault::model::SegmentKind;
use serde_json::Value;

use crate::support::{NodeProcess, assert_hashes, eventually, run, segvault, stored};

/// How one path of the source answers.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// The first request gets half of it, all others 404.
    HalfOnceThenGone,
}

#[derive(Default)]
struct State {
    playlist: String,
    /// By path; the playlist is `/live.m3u8`, segment 7 is `/7.ts`.
    faults: BTreeMap<String, Answer>,
    asked: BTreeMap<String, u32>,
}

/// A source whose list is a text that the test writes. Segment n lasts one second and begins n seconds past 03:00.
struct Texts {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Texts {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/live.m3u8", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A client that leaves early is its own affair.
                std::thread::spawn(move || answer(connection, &state).ok());
            }
        });
        Self { url, state }
    }

    fn list(&self, numbers: std::ops::Range<u64>, title: impl Fn(u64) -> &'static str, tail: &str) {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{}\n", numbers.start);
        for number in numbers {
            let _ = writeln!(
                text,
                "#EXT-X-PROGRAM-DATE-TIME:{}Z\n#EXTINF:1.000,{}\n{number}.ts",
                at(number),
                title(number)
            );
        }
        self.state.lock().unwrap().playlist = text + tail;
    }

    fn spoil(&self, path: &str, how: Answer) {
        self.state.lock().unwrap().faults.insert(path.to_owned(), how);
    }

    fn heal(&self, path: &str) {
        self.state.lock().unwrap().faults.remove(path);
    }

    fn asked(&self, path: &str) -> u32 {
        self.state.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }
}

fn at(number: u64) -> String {
    format!("2026-01-02T03:{:02}:{:02}.000000", number / 60, number % 60)
}

/// Whole packets of a transport stream, other ones for each path.
fn packets(path: &str) -> Vec<u8> {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet[4..4 + path.len()].copy_from_slice(path.as_bytes());
    packet.repeat(20)
}

fn answer(mut connection: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
    let (status, body, sent) = {
        let mut state = state.lock().unwrap();
        let before = state.asked.entry(path.clone()).or_default();
        *before += 1;
        let times = *before;
        let body = if path == "/live.m3u8" { state.playlist.clone().into_bytes() } else { packets(&path) };
        match state.faults.get(&path) {
            None => (200, body.clone(), body.len()),
            Some(Answer::HalfOnceThenGone) if times == 1 => (200, body.clone(), body.len() / 2),
            Some(Answer::HalfOnceThenGone) => (404, Vec::new(), 0),
            Some(Answer::Status(status)) => (*status, Vec::new(), 0),
        }
    };
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    connection.write_all(head.as_bytes())?;
    connection.write_all(&body[..sent])
}

/// (start, end, cause, filled) of the node's losses.
type Told = (String, String, String, bool);

fn told(losses: &Value) -> Vec<Told> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |one: &Value| (text(&one["start"]), text(&one["end"]), text(&one["cause"]), one["filled"] == true);
    losses.as_array().unwrap().iter().map(row).collect()
}

fn told_by(node: &NodeProcess) -> Vec<Told> {
    told(&node.get("/losses/ch/source").json())
}

fn lost(start: u64, end: u64, cause: &str) -> Told {
    (at(start), at(end), cause.to_owned(), false)
}

/// Numbers of the segments in a directory like the record's.
fn numbers(base: &Path, kind: SegmentKind) -> Vec<u64> {
    let stored = stored(base, "ch", "source");
    assert_hashes(&stored);
    let seconds = |text: String| text[14..16].parse::<u64>().unwrap() * 60 + text[17..19].parse::<u64>().unwrap();
    let of_kind = stored.iter().filter(|(name, _)| name.kind() == kind);
    of_kind.map(|(name, _)| seconds(name.start().to_string())).collect()
}

fn command(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let (subcommand, rest) =
        if args[0] == "quarantine" || args[0] == "tombstone" { args.split_at(2) } else { args.split_at(1) };
    run(segvault().args(subcommand).arg("--dir").arg(dir).args(rest))
}

#[test]
fn each_second_of_a_bad_day_is_told_once_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = Texts::start();
    source.list(0..3, |_| "live", "");
    source.spoil("/1.ts", Answer::HalfOnceThenGone);
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("what was cut off is kept", || (!numbers(&base, SegmentKind::Partial).is_empty()).then_some(()));
    // The source jumps ahead, and one segment that it lists is not to be had.
    source.spoil("/6.ts", Answer::Status(404));
    source.spoil("/7.ts", Answer::Status(404));
    source.list(5..9, |_| "live", "");
    eventually("it goes on", || numbers(&base, SegmentKind::Full).contains(&8).then_some(()));
    // It fails, with an error and then with a refusal, and comes back without what was in between.
    let fails = |status: u16| {
        source.spoil("/live.m3u8", Answer::Status(status));
        let before = source.asked("/live.m3u8");
        eventually("it is asked again", || (source.asked("/live.m3u8") > before + 3).then_some(()));
    };
    fails(500);
    source.list(15..17, |_| "live", "");
    source.heal("/live.m3u8");
    eventually("it goes on", || numbers(&base, SegmentKind::Full).contains(&16).then_some(()));
    fails(403);
    source.list(25..27, |_| "live", "");
    source.heal("/live.m3u8");
    eventually("it goes on", || numbers(&base, SegmentKind::Full).contains(&26).then_some(()));
    let expected = [
        lost(1, 2, "cut_short"),
        lost(3, 5, "expired"),
        lost(6, 8, "expired"),
        lost(9, 15, "source_down"),
        lost(17, 25, "token"),
    ];
    eventually("all of it is told", || (told_by(&node) == expected).then_some(()));
    let metrics = node.get("/metrics").text();
    for (cause, seconds) in [("cut_short", 1), ("expired", 4), ("source_down", 6), ("token", 8), ("unknown", 0)] {
        let line = format!("{{cause=\"{cause}\",channel=\"ch\",quality=\"source\"}} {seconds}\n");
        assert!(metrics.contains(&format!("segvault_record_lost_seconds_total{line}")), "{line}{metrics}");
    }

    // While nobody records, the source goes on; and what is gone for ever shows in the ledger of the next start.
    node.stop();
    source.list(40..42, |_| "live", "");
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    let expected = [&expected[..], &[lost(27, 40, "unknown")]].concat();
    eventually("the time between is told", || (told_by(&node) == expected).then_some(()));
    let whole = node.get("/losses/ch/source");
    assert_eq!(whole.json()[5]["detail"], "recorder was not running");
    assert_eq!((&whole.json()[0]["node"], whole.header("content-type")), (&"test".into(), "application/json"));
    let again = node.get_with("GET", "/losses/ch/source", &[("If-None-Match", whole.header("etag"))]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    let part = node.get(&format!("/losses/ch/source?start={}&end={}", at(4), at(7)));
    assert_eq!(told(&part.json()), [lost(4, 5, "expired"), lost(6, 7, "expired")]);
    assert_ne!(part.header("etag"), whole.header("etag"));
    assert_eq!(node.get("/losses/ch/nothing").text(), "[]");
    assert_eq!(node.get("/losses/ch/source?start=x").status, 400);
    node.stop();

    let (code, out, _) = command(&base, &["losses", "ch", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, told(&answer["losses"])), (0, expected));
    assert_eq!(answer["seconds"]["unknown"], 13.0);
    let (code, out, _) = command(&base, &["losses", "ch", "source", &at(0), &at(10)]);
    assert_eq!(code, 0);
    for line in ["expired                   4.0 s", "missing                   6.0 s"] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    for wrong in [&["losses", "nobody"][..], &["losses", "ch", "1080p"], &["losses", "ch", &at(9), &at(3)]] {
        assert_eq!(command(&base, wrong).0, 64, "{wrong:?}");
    }
}

#[test]
fn advertisements_are_kept_out_of_the_record_and_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let quarantine = base.join(".segvault/quarantine");
    let source = Texts::start();
    // Two by a date range that stands after the last segment and touches its neighbours; one by its title.
    let range = "#EXT-X-DATERANGE:ID=\"stitched-ad-1\",CLASS=\"twitch-stitched-ad\",\
        START-DATE=\"2026-01-02T03:00:01.7Z\",DURATION=2.5\n";
    source.list(0..8, |number| if number == 5 { "Amazon|1234" } else { "live" }, range);
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("the record is whole", || (numbers(&base, SegmentKind::Full) == [0, 1, 4, 6, 7]).then_some(()));
    eventually("so is quarantine", || (numbers(&quarantine, SegmentKind::Full) == [2, 3, 5]).then_some(()));
    let expected = [lost(2, 4, "advertisement"), lost(5, 6, "advertisement")];
    eventually("they are told as advertisements", || (told_by(&node) == expected).then_some(()));
    let details = node.get("/losses/ch/source").json();
    assert_eq!(details[1]["detail"], "by title Amazon|1234");
    let metrics = node.get("/metrics").text();
    for line in [
        "segvault_record_advertisement_segments_total{channel=\"ch\",quality=\"source\"} 3",
        "segvault_record_lost_seconds_total{cause=\"advertisement\",channel=\"ch\",quality=\"source\"} 3",
        "segvault_record_segments_total{channel=\"ch\",kind=\"full\",quality=\"source\"} 5",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(node.get("/files/ch/source/2026-01-02T03").json().as_array().unwrap().len(), 5);

    let (code, out, _) = command(&base, &["quarantine", "list", "ch"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    // One of them is hidden for good: it stays where it is.
    let hidden = out.lines().next().unwrap().strip_prefix("source/").unwrap().to_owned();
    assert_eq!(command(&base, &["tombstone", "add", &format!("ch/source/{hidden}")]).0, 0);
    let (code, out, err) = command(&base, &["quarantine", "restore", "ch", "source", &at(0), &at(4)]);
    assert_eq!((code, out.lines().count()), (1, 1), "{out}{err}");
    assert!(out.contains("/2026-01-02T03/00:03.000000") && err.contains("a tombstone hides it"), "{out}{err}");
    assert_eq!(numbers(&quarantine, SegmentKind::Full), [2, 5]);
    assert_eq!(numbers(&base, SegmentKind::Full), [0, 1, 3, 4, 6, 7]);

    // What is back is no loss any more, and the running node shows it.
    let filled = (at(3), at(4), "advertisement".to_owned(), true);
    assert_eq!(told_by(&node), [lost(2, 3, "advertisement"), filled, lost(5, 6, "advertisement")]);
    let playlist = node.get(&format!("/playlist/ch/source.m3u8?start={}&end={}", at(3), at(5))).text();
    assert!(playlist.contains("00%3A03") || playlist.contains("00:03"), "{playlist}");
    let (_, out, _) = command(&base, &["losses", "ch", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["seconds"], serde_json::json!({ "advertisement": 2.0 }));
    node.stop();

    // What is still listed after a restart is noted already; what is new is noted.
    let noted = || std::fs::read_to_string(base.join(".segvault/losses/ch/source/2026-01-02T03")).unwrap();
    let before = noted();
    source.list(4..10, |number| if number == 5 || number == 8 { "Amazon|1234" } else { "live" }, "");
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("it goes on", || numbers(&base, SegmentKind::Full).contains(&9).then_some(()));
    eventually("the new one is told", || (noted().lines().count() > before.lines().count()).then_some(()));
    node.stop();
    let after = noted();
    assert!(after.starts_with(&before) && after.lines().count() == before.lines().count() + 1, "{before}\n{after}");
    assert!(after.lines().last().unwrap().contains(&at(8)[..19]), "{after}");
}

#[test]
fn what_was_told_as_lost_and_comes_after_all_is_told_as_filled() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = Texts::start();
    source.list(0..3, |number| if number == 2 { "Amazon|1" } else { "live" }, "");
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("it records", || (numbers(&base, SegmentKind::Full) == [0, 1]).then_some(()));
    source.list(5..7, |_| "live", "");
    let both = [lost(2, 3, "advertisement"), lost(3, 5, "expired")];
    eventually("both are told", || (told_by(&node) == both).then_some(()));
    // A server that still lists them, and shows the programme where the other one had an advertisement.
    source.list(2..7, |_| "live", "");
    eventually("all is recorded", || (numbers(&base, SegmentKind::Full) == [0, 1, 2, 3, 4, 5, 6]).then_some(()));
    let filled = both.map(|(start, end, cause, _)| (start, end, cause, true));
    assert_eq!(told_by(&node), filled);
    node.stop();
}

#[test]
fn a_channel_that_is_off_air_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = Texts::start();
    source.list(0..3, |_| "live", "");
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("it records", || (numbers(&base, SegmentKind::Full) == [0, 1, 2]).then_some(()));
    source.spoil("/live.m3u8", Answer::Status(404));
    eventually("it says so", || node.logged("channel is not live").pop());
    source.list(100..103, |_| "live", "");
    source.heal("/live.m3u8");
    eventually("it records again", || numbers(&base, SegmentKind::Full).contains(&102).then_some(()));
    // A loss after it shows that what was noted before would be there.
    source.list(105..107, |_| "live", "");
    eventually("that is told, and nothing else", || (told_by(&node) == [lost(103, 105, "expired")]).then_some(()));
    node.stop();
}

#[test]
fn what_is_encrypted_beyond_reading_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = Texts::start();
    source.list(0..2, |_| "live", "");
    {
        let mut state = source.state.lock().unwrap();
        let key = "#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\"\n";
        state.playlist = state.playlist.replace("#EXTM3U\n", key);
    }
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    eventually("it is told", || (told_by(&node) == [lost(0, 2, "encrypted")]).then_some(()));
    assert!(stored(&base, "ch", "source").is_empty());
    node.stop();
}

#[test]
fn titles_that_mean_advertisements_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = Texts::start();
    source.list(0..4, |number| ["live", "Amazon|1", "PROMO 7", "live"][number as usize], "");
    let more = format!(
        "[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\"]\nadvertisement_titles = [\"PROMO \"]\n",
        source.url
    );
    let node = NodeProcess::start_with(&base, &more, |_| {});
    eventually("the record has the rest", || (numbers(&base, SegmentKind::Full) == [0, 1, 3]).then_some(()));
    eventually("it is told", || (told_by(&node) == [lost(2, 3, "advertisement")]).then_some(()));
    node.stop();
}

#[test]
fn what_a_kill_cut_off_is_told_and_filled_if_it_comes_after_all() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let hour = base.join("ch/source/2026-01-02T03");
    std::fs::create_dir_all(&hour).unwrap();
    // As a killed recorder leaves them: one with bytes, which the source still has; one without.
    std::fs::write(hour.join("00:01.000000-1.0-temp-segvault-dead-1.ts"), packets("/half")).unwrap();
    std::fs::write(hour.join("00:02.000000-1.0-temp-segvault-dead-2.ts"), "").unwrap();
    // In quarantine it is kept too, and is no further loss.
    let quarantine = base.join(".segvault/quarantine");
    let ads = quarantine.join("ch/source/2026-01-02T03");
    std::fs::create_dir_all(&ads).unwrap();
    std::fs::write(ads.join("00:09.000000-1.0-temp-segvault-dead-3.ts"), packets("/ad")).unwrap();
    let source = Texts::start();
    source.list(0..2, |_| "live", "");
    let node = NodeProcess::start(&base, &[("ch", &source.url, &["source"])]);
    let filled = (at(1), at(2), "cut_short".to_owned(), true);
    let expected = [filled, lost(2, 3, "unknown")];
    eventually("both are told", || (told_by(&node) == expected).then_some(()));
    assert_eq!(numbers(&base, SegmentKind::Partial), [1]);
    eventually("quarantine is looked at", || (numbers(&quarantine, SegmentKind::Partial) == [9]).then_some(()));
    assert_eq!(told_by(&node), expected);
    node.stop();
}
