//! Exact cuts of an hour: beside a rough one of the same files, and what the parts of it cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use segvault::cut::Restamp;
use segvault::model::{SegmentHash, SegmentKind, SegmentName, Timestamp};
use sha2::{Digest, Sha256};

use super::load::{Transfer, fetch};
use super::{Node, RUNS, Table, measured, median, ms, seconds};

const HOUR: &str = "2026-02-01T05:00:00";
const SEGMENTS: i64 = 1800;
const SEGMENT_MICROS: i64 = 2_000_000;
const SEGMENT_90K: i64 = 180_000;
/// What the hour has in all: 2.75 GB.
const SEGMENT_BYTES: f64 = 2.75e9 / SEGMENTS as f64;
/// As `store::Pieces` reads them: 96 KiB in whole packets.
const PIECE_BYTES: usize = 522 * 188;

pub fn measure(dir: &Path, table: &mut Table) {
    let base = dir.join("cuts");
    make(&base);
    re_timing(&base, table);
    let node = Node::start(&base);
    let start: Timestamp = HOUR.parse().unwrap();
    let path = |cut_type: &str, from_seconds: i64, until_seconds: i64| {
        let at = |seconds: i64| start.plus_micros(seconds * 1_000_000);
        format!("/cut/cut/source.ts?type={cut_type}&start={}&end={}", at(from_seconds), at(until_seconds))
    };
    // Both edges in the middle of a segment; and the same two edges with nothing between them.
    let (hour, edges) = (path("smart", 1, 3599), path("smart", 1, 3));
    fetch(node.address, &path("rough", 0, 3600));
    let turns: Vec<[Transfer; 3]> = (0..RUNS)
        .map(|_| [path("rough", 1, 3599), hour.clone(), edges.clone()].map(|path| fetch(node.address, &path)))
        .collect();
    let of = |at: usize, figure: fn(&Transfer) -> f64| median(turns.iter().map(|turn| figure(&turn[at])).collect());
    let [rough, smart, edges] = [0, 1, 2].map(|at| of(at, |one| one.seconds));
    let ratio = median(turns.iter().map(|turn| (turn[1].seconds - turn[2].seconds) / turn[0].seconds).collect());
    table.row(
        &format!("smart cut of an hour ({:.2} GB)", turns[0][1].bytes as f64 / 1e9),
        ms(smart),
        &format!("rough: {}; both edges alone: {}", ms(rough), ms(edges)),
        format!("{ratio:.2} × rough, less the edges"),
    );
    table.row("first byte of it", ms(of(1, |one| one.first_byte_seconds)), "–", "–".into());
    drop(node);
    for (what, until) in [("a smart cut of ten minutes", 599), ("a smart cut of an hour", 3599)] {
        let node = Node::start(&base);
        fetch(node.address, &path("smart", 1, until));
        let what = format!("most memory of a node that made {what}");
        table.row(&what, format!("{:.0} MiB", node.peak_resident_mib()), "–", "–".into());
    }
}

/// One segment of real video, again and again, each time two seconds later.
fn make(base: &Path) {
    if base.join("whole").exists() {
        return;
    }
    let start: Timestamp = HOUR.parse().unwrap();
    let dir = base.join("cut/source").join(start.hour().to_string());
    fs::create_dir_all(&dir).unwrap();
    let model = model();
    for number in 0..SEGMENTS {
        let content = Restamp::shifting(number * SEGMENT_90K).push(model.clone());
        let hash = SegmentHash::from_bytes(Sha256::digest(&content).into());
        let at = start.plus_micros(number * SEGMENT_MICROS);
        let name = SegmentName::finished(at, SEGMENT_MICROS, SegmentKind::Full, hash);
        fs::write(dir.join(name.as_str()), &content).unwrap();
    }
    fs::write(base.join("whole"), b"").unwrap();
}

/// Two seconds at 720p and 30 fps with B-frames, at a constant rate.
fn model() -> Bytes {
    let bits = SEGMENT_BYTES * 8.0 / 2.0;
    // What sound and packets take.
    let video = format!("{}", (bits * 0.94 - 140_000.0) as u64);
    let mut command = Command::new("ffmpeg");
    command.args("-nostdin -v error -f lavfi -i testsrc2=s=1280x720:r=30,noise=alls=12:allf=t -f lavfi -i".split(' '));
    command.args(["sine=440:r=48000", "-t", "2", "-b:v", &video, "-maxrate", &video, "-bufsize", &video]);
    command.args(
        "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 60 -bf 2 -x264-params nal-hrd=cbr:scenecut=0".split(' '),
    );
    let output = command.args("-c:a aac -b:a 128k -f mpegts -".split(' ')).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.into()
}

/// In memory, on one core: what is measured is neither disk nor network. Pieces are made anew each time, as they are read anew.
fn re_timing(base: &Path, table: &mut Table) {
    let start: Timestamp = HOUR.parse().unwrap();
    let dir = base.join("cut/source").join(start.hour().to_string());
    let path = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let file = fs::read(path).unwrap();
    let gigabytes = file.len() as f64 * SEGMENTS as f64 / 1e9;
    let pass = |mut each: Box<dyn FnMut(Bytes) -> Bytes>| {
        seconds(|| {
            for _ in 0..SEGMENTS {
                for piece in file.chunks(PIECE_BYTES) {
                    std::hint::black_box(each(Bytes::from(piece.to_vec())));
                }
            }
        })
    };
    let copied = measured(|| pass(Box::new(|bytes| bytes)));
    let re_timed = measured(|| {
        let mut restamp = Restamp::default();
        restamp.begin(12_345);
        pass(Box::new(move |bytes| restamp.push(bytes)))
    });
    table.row(
        &format!("re-timing of {gigabytes:.2} GB in memory, one core"),
        format!("{:.1} GB/s", gigabytes / re_timed),
        &format!("copied only: {:.1} GB/s", gigabytes / copied),
        format!("{:.2} × the limit", copied / re_timed),
    );
}
