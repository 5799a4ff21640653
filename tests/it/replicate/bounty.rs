//! What one recorder loses and another holds: fetched at once, whatever else is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use segvault::clock::Clock;
use segvault::model::{SegmentKind, Timestamp};

use super::{hash_text, plant_segment};
use crate::support::{NodeProcess, eventually, free_address, stored};

const SEGMENT: Duration = Duration::from_millis(500);
const WINDOW: u64 = 12;

/// A live source in real time, whose segment n has bytes of its own; `/NAME/live.m3u8` is the list for the recorder NAME.
pub struct Live {
    address: String,
    /// When segment 0 begins.
    start: Timestamp,
    began: Instant,
    gone: BTreeSet<(&'static str, u64)>,
    /// First answers of 404, by segment.
    refused: Mutex<BTreeMap<u64, Instant>>,
}

impl Live {
    /// Recorders do not get the segments in `gone`.
    pub fn start(gone: impl IntoIterator<Item = (&'static str, u64)>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let start = Timestamp::from_micros(Clock::system().now().micros() / 1_000_000 * 1_000_000);
        let (began, gone) = (Instant::now(), gone.into_iter().collect());
        let live = Arc::new(Self { address, start, began, gone, refused: Mutex::default() });
        let served = Arc::clone(&live);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let live = Arc::clone(&served);
                // A client that leaves early is its own affair.
                std::thread::spawn(move || live.answer(connection).ok());
            }
        });
        live
    }

    /// What makes a node record it.
    pub fn channel(&self, recorder: &str) -> String {
        let url = format!("http://{}/{recorder}/live.m3u8", self.address);
        format!("[[channel]]\nname = \"ch\"\nhls = {url:?}\nqualities = [\"source\"]\n")
    }

    fn time_of(&self, number: u64) -> Timestamp {
        self.start.plus(SEGMENT * number as u32)
    }

    pub fn number_of(&self, start: Timestamp) -> u64 {
        (start.micros_since(self.start) / SEGMENT.as_micros() as i64) as u64
    }

    /// How many are complete.
    pub fn shown(&self) -> u64 {
        (self.began.elapsed().as_millis() / SEGMENT.as_millis()) as u64
    }

    fn list(&self) -> String {
        let end = self.shown();
        let first = end.saturating_sub(WINDOW);
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        for number in first..end {
            let time = self.time_of(number);
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{time}Z\n#EXTINF:0.500,\n{number}.ts");
        }
        text
    }

    fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(connection.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let (recorder, name) = path.split_once('/').unwrap_or_default();
        let number: Option<u64> = name.strip_suffix(".ts").and_then(|number| number.parse().ok());
        let (status, body) = match number {
            None => (200, self.list().into_bytes()),
            Some(number) if self.gone.iter().any(|gone| *gone == (recorder, number)) => {
                self.refused.lock().unwrap().entry(number).or_insert_with(Instant::now);
                (404, Vec::new())
            }
            Some(number) => (200, packets(number)),
        };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        connection.write_all(head.as_bytes())?;
        connection.write_all(&body)
    }
}

/// Whole packets of a transport stream, other ones for each number.
fn packets(number: u64) -> Vec<u8> {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet[4..12].copy_from_slice(&number.to_be_bytes());
    packet.repeat(20)
}

pub fn start(base: &Path, address: &str, more: &str) -> NodeProcess {
    NodeProcess::start_with(base, more, |command| {
        command.args(["--set", &format!("node.listen={address:?}")]);
    })
}

/// Numbers of the segments that are stored in full.
pub fn numbers(live: &Live, base: &Path) -> BTreeSet<u64> {
    let stored = stored(base, "ch", "source");
    stored
        .iter()
        .filter(|(name, _)| name.kind() == SegmentKind::Full)
        .map(|(name, _)| live.number_of(name.start()))
        .collect()
}

fn bounty_seconds(node: &NodeProcess, outcome: &str) -> f64 {
    let line =
        format!("segvault_backfill_bounty_seconds_total{{channel=\"ch\",outcome=\"{outcome}\",quality=\"source\"}} ");
    let text = node.get("/metrics").text();
    text.lines().find_map(|sample| sample.strip_prefix(&line)).map_or(0.0, |value| value.parse().unwrap())
}

/// Every other of so many segments is lost by one recorder, which has the other one as its peer.
fn losses_are_filled_in_time(what: &str, more: &str, plant: impl FnOnce(&Path)) {
    const LOST: std::ops::Range<u64> = 4..24;
    let lost: Vec<u64> = LOST.step_by(2).collect();
    let is_idle = more.is_empty();
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    plant(&theirs);
    let live = Live::start(lost.iter().map(|number| ("ours", *number)));
    let other = start(&theirs, "127.0.0.1:0", &live.channel("theirs"));
    let backfill = format!("[backfill]\npeers = [{:?}]\n{more}", other.url());
    let node = start(&ours, "127.0.0.1:0", &(live.channel("ours") + &backfill));
    let mut came = BTreeMap::new();
    let mut told = BTreeMap::new();
    eventually("all that was lost is here", || {
        for line in node.logged("segment lost") {
            told.entry(line["media_sequence"].as_u64().unwrap()).or_insert_with(Instant::now);
        }
        for number in numbers(&live, &ours) {
            came.entry(number).or_insert_with(Instant::now);
        }
        lost.iter().all(|number| came.contains_key(number)).then_some(())
    });
    let refused = live.refused.lock().unwrap().clone();
    let mut after: Vec<u128> = lost.iter().map(|number| (came[number] - refused[number]).as_millis()).collect();
    after.sort_unstable();
    let before_told = lost.iter().filter(|number| told.get(number).is_none_or(|told| came[number] <= *told)).count();
    println!("{what}: stored after the first 404, in ms: {after:?}; before the recorder gave up: {before_told}");
    // One may have met a moment in which the machine had no time for anybody.
    let in_time = after.iter().filter(|after| **after < 3000).count();
    assert!(after.len() >= 10 && in_time + 1 >= after.len(), "{what}: {after:?}");

    // The ledger tells all of it, and that it is there.
    eventually("all of it is told as filled", || {
        let losses = node.get("/losses/ch/source").json();
        let losses = losses.as_array().unwrap();
        (losses.len() == lost.len() && losses.iter().all(|loss| loss["filled"] == true)).then_some(())
    });
    if is_idle {
        let metrics = node.get("/metrics").text();
        let line =
            format!("segvault_backfill_files_total{{outcome=\"copied\",peer=\"{}\"}} {}\n", other.url(), lost.len());
        assert!(metrics.contains(&line), "what the recorder has not lost is left to it: {line}{metrics}");
    }
    let expected = SEGMENT.as_secs_f64() * lost.len() as f64;
    eventually("what came is counted", || (bounty_seconds(&node, "filled") >= expected - 0.001).then_some(()));
    assert_eq!(bounty_seconds(&node, "given_up"), 0.0);
    assert!(node.logged("peers are asked for what is missing").len() >= lost.len());
    assert!(
        !other.get("/metrics").text().contains("segvault_backfill_bounty"),
        "a node without peers has no part in it"
    );
    node.stop();
    other.stop();
}

#[test]
fn a_segment_that_one_recorder_lost_comes_from_the_other_within_3_s() {
    losses_are_filled_in_time("idle", "", |_| {});
}

#[test]
fn a_bulk_of_large_files_under_way_does_not_delay_it() {
    // A minute's worth at the rate below: all permits and the whole bandwidth are taken.
    losses_are_filled_in_time("beside a bulk copy", "bandwidth = \"1MiB\"\nconcurrency = 2\n", |theirs| {
        let bytes = vec![7; 1_500_000];
        for number in 0..40u8 {
            let hour = theirs.join("ch/source/2026-01-02T03");
            plant_segment(&hour, &format!("00:{number:02}.0"), "full", &[&bytes[..], &[number]].concat());
        }
    });
}

#[test]
fn what_was_lost_before_a_restart_is_not_left_to_the_recorder_either() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let lost = [3, 5];
    let live = Live::start(lost.map(|number| ("ours", number)));
    let address = free_address();
    let more = format!("{}[backfill]\npeers = [\"http://{address}\"]\n", live.channel("ours"));
    let node = start(&ours, "127.0.0.1:0", &more);
    eventually("both are lost", || (node.logged("segment lost").len() == lost.len()).then_some(()));
    node.stop();
    // The other one gets them only now, and nobody tells of them again.
    for number in lost {
        let (time, bytes) = (live.time_of(number), packets(number));
        let hour = theirs.join(format!("ch/source/{}", time.hour()));
        std::fs::create_dir_all(&hour).unwrap();
        let name = format!("{}-0.500-full-{}.ts", &time.to_string()[14..], hash_text(&bytes));
        std::fs::write(hour.join(name), bytes).unwrap();
    }
    let other = start(&theirs, &address, "");
    let node = start(&ours, "127.0.0.1:0", &more);
    eventually("both are here", || {
        let here = numbers(&live, &ours);
        lost.iter().all(|number| here.contains(number)).then_some(())
    });
    let age = Duration::from_micros(live.time_of(live.shown()).micros_since(live.time_of(lost[0])) as u64);
    assert!(age < Duration::from_secs(100), "they were too old to be left to the recorder: {age:?}");
    node.stop();
    other.stop();
}
