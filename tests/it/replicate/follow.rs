//! What a peer stores is here within seconds, as it tells of it; and whoever tells nonsense is let go.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use segvault::clock::Clock;
use segvault::model::Timestamp;
use serde_json::Value;

use super::bounty::{Live, numbers, start};

use super::plant_segment;
use super::static_peer::{Lie, StaticPeer};
use crate::support::{NodeProcess, PATIENCE, eventually, free_address, request};

const COPIES_CH: &str = "channels = [\"ch\"]\n";

fn now() -> Timestamp {
    Clock::system().now()
}

/// The directory of this hour.
fn this_hour(base: &Path) -> PathBuf {
    base.join(format!("ch/source/{}", now().hour()))
}

/// Has no counterpart in any source.
fn plant_by_hand(base: &Path, what: &str) -> PathBuf {
    let hour = this_hour(base);
    let name = plant_segment(&hour, &now().to_string()[14..], "full", what.as_bytes());
    hour.join(name)
}

/// Milliseconds from when each of so many new segments was stored by one node to when it was by the other.
fn delays(live: &Live, from: &Path, to: &Path, count: usize) -> Vec<u128> {
    let (mut there, mut here) = (BTreeMap::new(), BTreeMap::new());
    let known = numbers(live, from);
    let mut delays = eventually("segments are stored and copied", || {
        for (base, seen) in [(from, &mut there), (to, &mut here)] {
            for number in numbers(live, base).difference(&known) {
                seen.entry(*number).or_insert_with(Instant::now);
            }
        }
        let delay = |(number, stored): (&u64, &Instant)| Some(here.get(number)?.saturating_duration_since(*stored));
        let delays: Vec<Duration> = there.iter().filter_map(delay).collect();
        (delays.len() >= count && delays.len() == there.len()).then_some(delays)
    });
    delays.sort_unstable();
    delays.iter().map(Duration::as_millis).collect()
}

#[test]
fn a_channel_that_is_not_recorded_here_is_copied_as_it_is_recorded_there() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let live = Live::start([]);
    let address = free_address();
    let mut recorder = start(&theirs, &address, &live.channel("theirs"));
    eventually("it is recorded", || (!numbers(&live, &theirs).is_empty()).then_some(()));
    let more = format!("[backfill]\npeers = [\"http://{address}\"]\n{COPIES_CH}");
    let node = start(&ours, "127.0.0.1:0", &more);
    eventually("it is copied", || (!numbers(&live, &ours).is_empty()).then_some(()));
    let steady = delays(&live, &theirs, &ours, 12);
    println!("stored there to stored here, in ms: {steady:?}");
    assert!(*steady.last().unwrap() < 2000, "{steady:?}");

    // What somebody else puts there, and what is hidden.
    let planted = plant_by_hand(&theirs, "by hand");
    let copied = ours.join(planted.strip_prefix(&theirs).unwrap());
    let began = Instant::now();
    eventually("it is copied too", || copied.exists().then_some(()));
    println!("put there by hand to stored here: {} ms", began.elapsed().as_millis());
    std::fs::write(planted.with_extension("tombstone"), "").unwrap();
    let began = Instant::now();
    eventually("it is hidden here too", || copied.with_extension("tombstone").exists().then_some(()));
    println!("hidden there to hidden here: {} ms", began.elapsed().as_millis());

    // The peer dies. What came into its directory meanwhile, and what comes later, is here soon after it is back.
    recorder.signal("-KILL");
    recorder.wait();
    let planted = plant_by_hand(&theirs, "while it was dead");
    let copied = ours.join(planted.strip_prefix(&theirs).unwrap());
    drop(recorder);
    let recorder = start(&theirs, &address, &live.channel("theirs"));
    let began = Instant::now();
    eventually("what came meanwhile is here", || copied.exists().then_some(()));
    println!("back to what came meanwhile: {} ms", began.elapsed().as_millis());
    // Far less than the interval of comparisons.
    assert!(began.elapsed() < Duration::from_secs(30));
    let after = delays(&live, &theirs, &ours, 4);
    println!("stored there to stored here, after it was back, in ms: {after:?}");
    assert!(*after.last().unwrap() < 2000, "{after:?}");

    let began = Instant::now();
    recorder.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "who follows does not hold up a stop");
    node.stop();
}

/// Events of `/follow` as they come.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(node: &NodeProcess, after: Option<&str>) -> Self {
        use std::io::Write as _;
        let mut stream = TcpStream::connect(node.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let after = after.map(|after| format!("Last-Event-ID: {after}\r\n")).unwrap_or_default();
        write!(stream, "GET /follow/ch/source HTTP/1.1\r\nHost: test\r\n{after}\r\n").unwrap();
        let mut events = Self(BufReader::new(stream));
        let head = events.lines_until(|line| line.is_empty());
        assert!(
            head[0].contains(" 200 ") && head.iter().any(|line| line == "content-type: text/event-stream"),
            "{head:?}"
        );
        events
    }

    fn lines_until(&mut self, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended after {lines:?}");
            let line = line.trim_end().to_owned();
            if is_last(&line) {
                return lines.into_iter().chain((!line.is_empty()).then_some(line)).collect();
            }
            lines.push(line);
        }
    }

    /// Event, id, name.
    fn next(&mut self) -> (String, String, String) {
        // Lengths of chunks are lines too.
        let lines = self.lines_until(|line| line.starts_with("data: "));
        let field = |name: &str| {
            lines
                .iter()
                .find_map(|line| line.strip_prefix(name))
                .map(str::to_owned)
                .unwrap_or_else(|| panic!("{lines:?}"))
        };
        let data: Value = serde_json::from_str(&field("data: ")).unwrap();
        let name = data["name"].as_str().map(|name| format!("{}/{name}", data["hour"].as_str().unwrap()));
        (field("event: "), field("id: "), name.unwrap_or_default())
    }
}

#[test]
fn a_follower_hears_what_is_stored_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant_by_hand(&base, "before");
    let node = NodeProcess::start(&base, &[]);
    let path_text = |path: &Path| path.strip_prefix(base.join("ch/source")).unwrap().to_str().unwrap().to_owned();
    let mut events = Events::of(&node, None);
    let (event, began, _) = events.next();
    assert_eq!(event, "list", "what was before is listed");
    let first = path_text(&plant_by_hand(&base, "first"));
    let (event, first_id, name) = events.next();
    assert_eq!((event.as_str(), name), ("stored", first.clone()));
    assert!(first_id.parse::<u64>().unwrap() > began.parse().unwrap());
    let hidden = base.join("ch/source").join(&first).with_extension("tombstone");
    std::fs::write(&hidden, "").unwrap();
    let (event, _, name) = events.next();
    assert_eq!((event.as_str(), name), ("tombstone", path_text(&hidden)));
    // Another one who comes late, and one whose cursor nobody knows.
    let mut late = Events::of(&node, Some(&first_id));
    assert_eq!(late.next().2, path_text(&hidden));
    for unknown in ["1", "99999999999999999", "junk"] {
        assert_eq!(Events::of(&node, Some(unknown)).next().0, "list", "{unknown}");
    }
    let second = path_text(&plant_by_hand(&base, "second"));
    assert_eq!((events.next().2, late.next().2), (second.clone(), second));
    assert_eq!(node.get("/follow/ch/..").status, 403);
    let has =
        |count: u32| node.get("/metrics").text().contains(&format!("segvault_http_followers_connections {count}\n"));
    eventually("who is there is counted", || has(2).then_some(()));
    drop((events, late));
    eventually("who left is let go", || has(0).then_some(()));
    node.stop();
}

#[test]
fn who_tells_nonsense_is_let_go_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let lying = |body: Vec<u8>| {
        StaticPeer::lying(dir.path(), move |path| path.starts_with("/follow/").then(|| Lie::Body(body.clone())))
    };
    let event =
        |hour: &str, name: &str| format!("event: stored\nid: 7\ndata: {{\"hour\":{hour:?},\"name\":{name:?}}}\n\n");
    let hour = now().hour().to_string();
    // Good names of files that it has not; more of them than it may tell in so short a time.
    let absent = |number: usize| format!("00:00.{number:06}-2.0-full-{}.ts", super::hash_text(&number.to_le_bytes()));
    let flood: String = (0..20_000).map(|number| event("2001-01-01T00", &absent(number))).collect();
    let liars = [
        ("endless", lying(vec![b'x'; 3_000_000])),
        ("climbs", lying(event(&hour, "../../../etc/passwd").repeat(100).into_bytes())),
        ("no hour", lying(event("../..", &absent(0)).into_bytes())),
        ("no json", lying(b"event: stored\ndata: <html>\n\n".to_vec())),
        ("floods", lying(flood.into_bytes())),
        ("ends", lying(b"event: list\nid: 1\ndata: {}\n\n".to_vec())),
        ("silent", StaticPeer::lying(dir.path(), |path| path.starts_with("/follow/").then_some(Lie::Never))),
        (
            "refuses",
            StaticPeer::lying(dir.path(), |path| path.starts_with("/follow/").then_some(Lie::Status("500 No"))),
        ),
    ];
    // They all have the channel, else nobody would follow them.
    std::fs::create_dir_all(dir.path().join("ch/source")).unwrap();
    let of_existing_system = StaticPeer::honest(dir.path());
    let honest = start(&theirs, "127.0.0.1:0", "");
    plant_by_hand(&theirs, "there from the start");
    let mut urls: Vec<String> = liars.iter().map(|(_, peer)| peer.url()).collect();
    urls.extend([of_existing_system.url(), honest.url()]);
    let node = start(&ours, "127.0.0.1:0", &format!("[backfill]\npeers = {urls:?}\n{COPIES_CH}"));
    eventually("the honest peer is copied from", || this_hour(&ours).exists().then_some(()));
    let began = Instant::now();
    for (what, peer) in &liars[..6] {
        let line = format!("segvault_backfill_follow_failures_total{{peer=\"{}\"}}", peer.url());
        eventually(what, || node.get("/metrics").text().contains(&line).then_some(()));
        eventually(what, || {
            let told = node.logged("a peer cannot be followed, comparing goes on");
            told.iter().any(|line| line["peer"] == peer.url()).then_some(())
        });
    }
    // In the midst of it.
    let planted = plant_by_hand(&theirs, "while others lie");
    let copied = ours.join(planted.strip_prefix(&theirs).unwrap());
    let planted_at = Instant::now();
    eventually("it is copied", || copied.exists().then_some(()));
    assert!(planted_at.elapsed() < Duration::from_secs(5), "{:?}", planted_at.elapsed());
    eventually("some time passes", || (began.elapsed() > Duration::from_secs(4)).then_some(()));
    let seconds = began.elapsed().as_secs() as usize;
    for (what, peer) in &liars {
        let asked: usize = peer.asked("/follow/").into_values().sum();
        // Half a second, one, two, four: ever more rarely.
        assert!((1..=4 + seconds / 2).contains(&asked), "{what}: asked {asked} times in {seconds} s");
        assert!(!peer.asked("/").keys().any(|path| path.contains("passwd") || path.contains("2001-01-01")), "{what}");
    }
    assert_eq!(
        of_existing_system.asked("/follow/").into_values().sum::<usize>(),
        1,
        "who does not offer it is not pressed"
    );
    let memory = request(node.url().strip_prefix("http://").unwrap(), "GET", "/metrics", &[]).text();
    let resident = memory.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    println!("resident after all that: {resident} bytes");
    assert!(resident.parse::<f64>().unwrap() < 150e6, "{resident}");
    node.stop();
    honest.stop();
}
