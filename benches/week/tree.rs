//! The tree that is measured: a week of a channel, and an hour of large segments.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use segvault::model::{SegmentHash, SegmentKind, SegmentName, Timestamp};

const HOURS: i64 = 168;
const SEGMENT_MICROS: i64 = 2_000_000;
const LARGE_BYTES: usize = 1_527_777;

/// A small generator (Knuth, MMIX) with a fixed seed: the same tree on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn hash(&mut self) -> SegmentHash {
        SegmentHash::from_bytes(std::array::from_fn(|_| self.below(256) as u8))
    }
}

/// Makes it unless an earlier run has finished it.
pub fn make(base: &Path) {
    let finished = base.join("finished");
    if finished.exists() {
        return;
    }
    println!("making a week of segments below {} …", base.display());
    // What an interrupted run has left may be anything.
    let _ = fs::remove_dir_all(base);
    week(base);
    large_hour(base);
    File::create(finished).unwrap();
}

fn week(base: &Path) {
    let mut random = Random(1);
    let start: Timestamp = "2026-01-01T00:00:00".parse().unwrap();
    for hour in 0..HOURS {
        let hour_start = start.plus_micros(hour * 3_600_000_000);
        let dir = base.join("ch/source").join(hour_start.hour().to_string());
        fs::create_dir_all(&dir).unwrap();
        let touch = |name: &str| drop(File::create(dir.join(name)).unwrap());
        for number in 0..1800 {
            let jitter = 1000 * random.below(5) as i64;
            let at = hour_start.plus_micros(number * SEGMENT_MICROS + jitter);
            let name = |random: &mut Random, kind| SegmentName::finished(at, SEGMENT_MICROS, kind, random.hash());
            match random.below(1000) {
                0..5 => {}
                5..7 => touch(name(&mut random, SegmentKind::Partial).as_str()),
                7..9 => touch(name(&mut random, SegmentKind::Suspect).as_str()),
                9..11 => touch(SegmentName::temp(at, SEGMENT_MICROS, "segvault-left-behind").as_str()),
                11..14 => {
                    touch(name(&mut random, SegmentKind::Full).as_str());
                    touch(name(&mut random, SegmentKind::Partial).as_str());
                }
                14..15 => {
                    let gone = name(&mut random, SegmentKind::Full);
                    touch(gone.as_str());
                    touch(&gone.as_str().replace(".ts", ".tombstone"));
                }
                _ => touch(name(&mut random, SegmentKind::Full).as_str()),
            }
            // A recorder that restarted, and cut the same minute into other pieces.
            if hour == 50 && (600..630).contains(&number) {
                let shifted =
                    SegmentName::finished(at.plus_micros(700_000), SEGMENT_MICROS, SegmentKind::Full, random.hash());
                touch(shifted.as_str());
            }
        }
    }
}

fn large_hour(base: &Path) {
    let mut random = Random(2);
    let start: Timestamp = "2026-02-01T05:00:00".parse().unwrap();
    let dir = base.join("big/source").join(start.hour().to_string());
    fs::create_dir_all(&dir).unwrap();
    let content: Vec<u8> = (0..LARGE_BYTES).map(|_| random.below(256) as u8).collect();
    for number in 0..1800 {
        let at = start.plus_micros(number * SEGMENT_MICROS);
        let name = SegmentName::finished(at, SEGMENT_MICROS, SegmentKind::Full, random.hash());
        File::create(dir.join(name.as_str())).unwrap().write_all(&content).unwrap();
    }
}
