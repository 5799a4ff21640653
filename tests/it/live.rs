//! Live playlists of a real node: what they show as the record changes, over restarts, and to players that ask for more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use segvault::model::Timestamp;

use crate::player::extends::Listed;
use crate::support::{NodeProcess, eventually};

/// Of no bytes.
const HASH: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
const HOLD: Duration = Duration::from_secs(4);

/// A record that this test writes, as another process on the same disk would.
struct Record {
    _dir: tempfile::TempDir,
    base: PathBuf,
    /// Second 0: half a minute before the test, on a whole second.
    origin: Timestamp,
}

impl Record {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::create_dir_all(&base).unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        let origin = Timestamp::from_micros((now.as_secs() as i64 - 30) * 1_000_000);
        Self { _dir: dir, base, origin }
    }

    fn node(&self) -> NodeProcess {
        NodeProcess::start_with(&self.base, &format!("[playlist]\nhold = \"{}s\"\n", HOLD.as_secs()), |_| {})
    }

    fn at(&self, second: i64) -> Timestamp {
        self.origin.plus_micros(second * 1_000_000)
    }

    fn path(&self, second: i64) -> PathBuf {
        let start = self.at(second);
        let offset = start.micros_since(start.hour().start()) / 1_000_000;
        let name = format!("{:02}:{:02}.0-2.0-full-{HASH}.ts", offset / 60, offset % 60);
        self.base.join("ch/source").join(start.hour().to_string()).join(name)
    }

    fn add(&self, second: i64) {
        let path = self.path(second);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("temp"), "").unwrap();
        fs::rename(path.with_extension("temp"), path).unwrap();
    }

    fn address(&self, more: &str) -> String {
        format!("/playlist/ch/source.m3u8?start={}{more}", self.at(0))
    }

    /// The seconds at which what is listed starts.
    fn seconds(&self, text: &str) -> Vec<i64> {
        let dates = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
        dates.map(|date| date.parse::<Timestamp>().unwrap().micros_since(self.origin) / 1_000_000).collect()
    }
}

/// The address of the one quality in a master playlist.
fn media_address(node: &NodeProcess, record: &Record) -> String {
    let master = node.get(&format!("/playlist/ch.m3u8?start={}", record.at(0))).text();
    master.lines().find(|line| line.starts_with('/')).unwrap_or_else(|| panic!("{master}")).to_owned()
}

fn sealed(node: &NodeProcess, record: &Record, address: &str, second: i64) -> String {
    eventually("the hole is sealed", || {
        let text = node.get(address).text();
        record.seconds(&text).contains(&second).then_some(text)
    })
}

#[test]
fn what_was_published_stays_over_a_restart_and_the_master_leads_to_what_came_late() {
    let record = Record::new();
    for second in [0, 2, 4, 8, 10] {
        record.add(second);
    }
    let node = record.node();
    let (open, first) = (record.address(""), media_address(&node, &record));
    assert!(first.contains("gen="), "{first}");
    // They lie half a minute back, so nothing is waited for.
    let shown = [&open, &first].map(|address| sealed(&node, &record, address, 10));
    assert!(shown[0].contains("#EXT-X-DISCONTINUITY\n"));
    record.add(6);
    let same = |node: &NodeProcess, when: &str| {
        for (address, shown) in [&open, &first].into_iter().zip(&shown) {
            assert_eq!(&node.get(address).text(), shown, "{when}: {address}");
        }
    };
    same(&node, "after a late segment");
    let second = media_address(&node, &record);
    assert_ne!(second, first);
    assert_eq!(record.seconds(&node.get(&second).text()), [0, 2, 4, 6, 8, 10]);
    assert_eq!(media_address(&node, &record), second, "nothing has changed since then");

    // A node that is killed, and another late segment while nobody looks.
    drop(node);
    record.add(-2);
    let node = record.node();
    same(&node, "after a restart");
    assert_eq!(record.seconds(&node.get(&second).text()), [0, 2, 4, 6, 8, 10]);
    record.add(12);
    assert_eq!(record.seconds(&node.get(&first).text()), [0, 2, 4, 8, 10, 12]);

    // What is closed shows everything, unless one has followed it.
    let closed = node.get(&record.address(&format!("&end={}", record.at(14)))).text();
    assert_eq!(record.seconds(&closed), [0, 2, 4, 6, 8, 10, 12]);
    assert!(closed.ends_with("#EXT-X-ENDLIST\n") && closed.contains("PLAYLIST-TYPE:VOD"));
    node.stop();
}

#[test]
fn a_live_hole_is_waited_for_and_what_fills_it_in_time_is_shown() {
    let record = Record::new();
    record.add(0);
    let node = record.node();
    let address = record.address("");
    assert_eq!(record.seconds(&node.get(&address).text()), [0]);
    record.add(6);
    let appeared = Instant::now();
    assert_eq!(record.seconds(&node.get(&address).text()), [0]);
    record.add(2);
    assert_eq!(record.seconds(&node.get(&address).text()), [0, 2]);
    let text = sealed(&node, &record, &address, 6);
    assert!(appeared.elapsed() >= HOLD, "sealed after {:?}", appeared.elapsed());
    assert_eq!(record.seconds(&text), [0, 2, 6]);
    let gaps = node.get(&record.address("&gaps=gap")).text();
    assert_eq!((gaps.matches("#EXT-X-GAP\n").count(), record.seconds(&gaps).len()), (1, 4), "{gaps}");
    node.stop();
}

#[test]
fn a_tombstone_shows_at_once_and_shortens_what_was_published() {
    let record = Record::new();
    for second in (0..12).step_by(2) {
        record.add(second);
    }
    let node = record.node();
    let address = record.address("");
    let before = node.get(&address).text();
    fs::write(record.path(4).with_extension("tombstone"), "").unwrap();
    let after = node.get(&address).text();
    assert_eq!(record.seconds(&after), [6, 8, 10]);
    assert!(after.contains("#EXT-X-MEDIA-SEQUENCE:3\n"), "{after}");
    assert_ne!(before, after);
    assert_eq!(record.seconds(&node.get(&media_address(&node, &record)).text()), [0, 2, 6, 8, 10]);
    node.stop();
}

#[test]
fn a_player_that_waits_gets_the_next_segment_when_it_is_there() {
    let record = Record::new();
    for second in (0..60).step_by(2) {
        record.add(second);
    }
    let node = record.node();
    let address = record.address("&gen=7-2");
    let whole = node.get(&address).text();
    assert!(whole.contains("CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0"), "{whole}");
    assert_eq!(record.seconds(&whole).len(), 30);
    let (url, next) = (node.url(), record.address("&gen=7-2&_HLS_msn=30"));
    let waiting = std::thread::spawn(move || {
        let began = Instant::now();
        let reply = crate::support::try_get(url.strip_prefix("http://").unwrap(), &next).unwrap();
        (began.elapsed(), reply.text())
    });
    std::thread::sleep(Duration::from_millis(1200));
    record.add(60);
    let (took, text) = waiting.join().unwrap();
    assert_eq!(record.seconds(&text).len(), 31);
    assert!(took >= Duration::from_millis(1100), "answered after {took:?}");
    // One that comes never is waited for as long as a player bears.
    let began = Instant::now();
    assert_eq!(record.seconds(&node.get(&record.address("&gen=7-2&_HLS_msn=31")).text()).len(), 31);
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(node.get(&record.address("&gen=7-2&_HLS_msn=40")).status, 400);

    // A delta update says the rest.
    let delta = node.get(&record.address("&gen=7-2&_HLS_skip=YES")).text();
    assert!(delta.contains("#EXT-X-VERSION:9\n") && delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=24\n"), "{delta}");
    assert_eq!(record.seconds(&delta).len(), 7);
    assert!(node.get(&address).text().ends_with(delta.split_once("SKIPPED-SEGMENTS=24\n").unwrap().1));
    node.stop();
}

#[test]
fn a_window_moves_and_its_numbers_with_it() {
    let record = Record::new();
    for second in (0..20).step_by(2) {
        record.add(second);
    }
    let node = record.node();
    let address = record.address("&window=10");
    let mut before = Listed::parse(&node.get(&address).text()).unwrap();
    assert_eq!(record.seconds(&node.get(&address).text()), [10, 12, 14, 16, 18]);
    for second in (20..30).step_by(2) {
        record.add(second);
        let text = node.get(&address).text();
        let now = Listed::parse(&text).unwrap();
        before.is_extended_by(&now).unwrap();
        assert_eq!(record.seconds(&text).last(), Some(&second));
        before = now;
    }
    assert_eq!(record.seconds(&node.get(&address).text()), [20, 22, 24, 26, 28]);
    node.stop();
}

#[test]
fn bad_terms_are_told_and_an_unchanged_playlist_is_not_sent_twice() {
    let record = Record::new();
    record.add(0);
    let node = record.node();
    for bad in [
        "gen=x",
        "gen=1-0",
        "gen=1-61",
        "window=0",
        "window=43201",
        "window=x",
        "gaps=no",
        "_HLS_msn=-1",
        "_HLS_skip=maybe",
    ] {
        let reply = node.get(&record.address(&format!("&{bad}")));
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("bad_parameter")), "{bad}");
    }
    let reply = node.get(&record.address(""));
    let tag = reply.header("etag").to_owned();
    let again = node.get_with("GET", &record.address(""), &[("If-None-Match", &tag)]);
    assert_eq!((again.status, again.text().len()), (304, 0));
    record.add(2);
    assert_eq!(node.get_with("GET", &record.address(""), &[("If-None-Match", &tag)]).status, 200);
    let absent = node.get("/playlist/ch/other.m3u8");
    assert_eq!(absent.status, 404);
    node.stop();
}

/// Two nodes with the same files, of which one has restarted: the same text to the byte.
#[test]
fn nodes_that_hold_the_same_say_the_same() {
    let (one, other) = (Record::new(), Record::new());
    for second in [0, 2, 4, 8, 10, 12, 16] {
        one.add(second);
    }
    copy(&one.base, &other.base);
    let (first, second) = (one.node(), other.node());
    let address = media_address(&first, &one) + "&gaps=gap&window=12";
    let text = sealed(&first, &one, &address, 16);
    assert_eq!(second.get(&address).text(), text);
    drop(second);
    assert_eq!(other.node().get(&address).text(), text);
    first.stop();
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
