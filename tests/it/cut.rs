//! Cuts of real video by real ffmpeg. Every source frame carries its number as bars, so that each frame of an output can be
//! told.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use segvault::blocking::Blocking;
use segvault::cut::{self, CutError, CutType, Ffmpeg, Limits, Part, Plan, Record, Scan};
use segvault::model::{SegmentKind, SegmentName, Span, Timestamp};
use segvault::select::Selection;
use segvault::store::{Layout, load_span};
use sha2::{Digest, Sha256};

/// Numbers have this many bits, each a bar of 16 pixels.
const BITS: usize = 12;
const BAR: usize = 16;
const WIDTH: usize = BITS * BAR;
const HEIGHT: usize = 64;

/// What a source is made with.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    fps: (u32, u32),
    /// Frames per GOP, and GOPs per segment.
    gop: u32,
    gops: u32,
    b_frames: u32,
    seconds: u32,
    codec: &'static str,
    mp4: bool,
    /// Seconds that all stamps are moved by.
    offset: f64,
    extra: &'static [&'static str],
}

const PLAIN: Recipe = Recipe {
    fps: (30, 1),
    gop: 60,
    gops: 1,
    b_frames: 2,
    seconds: 12,
    codec: "libx264",
    mp4: false,
    offset: 0.0,
    extra: &[],
};

/// A record on disk, and the time of each of its frames.
struct Source {
    _dir: tempfile::TempDir,
    record: Record,
    segments: Vec<SegmentName>,
    frames: BTreeMap<usize, Timestamp>,
}

fn ffmpeg() -> Ffmpeg {
    Ffmpeg::new("ffmpeg", Limits { at_once: 2, ..Limits::default() })
}

fn epoch() -> Timestamp {
    "2026-01-02T03:59:54".parse().unwrap()
}

/// Frames as gray bars, most significant bit first.
fn picture(number: usize) -> Vec<u8> {
    let line: Vec<u8> = (0..WIDTH).map(|x| if number >> (BITS - 1 - x / BAR) & 1 == 1 { 220 } else { 30 }).collect();
    line.repeat(HEIGHT)
}

/// The number in a gray picture; panics where a bar is neither dark nor light.
fn number(picture: &[u8]) -> usize {
    let row = &picture[HEIGHT / 2 * WIDTH..][..WIDTH];
    row.chunks(BAR).fold(0, |number, bar| {
        let light = bar[4..12].iter().map(|value| u32::from(*value)).sum::<u32>() / 8;
        assert!(!(90..160).contains(&light), "a bar that cannot be read: {light}");
        number << 1 | usize::from(light >= 160)
    })
}

fn run(command: &mut Command, input: &[u8]) -> (Vec<u8>, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that needs only the start of its input closes it early.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    (output.stdout, words)
}

/// The numbers of the frames that ffmpeg decodes, and what it said about it.
fn decode(video: &[u8]) -> (Vec<usize>, String) {
    let mut command = Command::new("ffmpeg");
    command.args(
        "-nostdin -hide_banner -v warning -i - -map 0:v -fps_mode passthrough -pix_fmt gray -f rawvideo -".split(' '),
    );
    let (pictures, words) = run(&mut command, video);
    (pictures.chunks_exact(WIDTH * HEIGHT).map(number).collect(), words)
}

/// PTS and DTS of each packet of a kind (`v` or `a`), in order of arrival.
fn packets(video: &[u8], kind: &str) -> Vec<(i64, i64)> {
    let mut command = Command::new("ffprobe");
    command.args(format!("-v error -select_streams {kind} -show_entries packet=pts,dts -of csv=p=0 -").split(' '));
    let (text, _) = run(&mut command, video);
    let text = String::from_utf8(text).unwrap();
    // Packets of audio that share a PES header have no stamp of their own until ffprobe has seen a few.
    let both = |line: &str| {
        let mut fields = line.split(',').map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    text.lines().filter_map(both).collect()
}

fn record(recipe: Recipe) -> Source {
    let dir = tempfile::tempdir().unwrap();
    let count = recipe.seconds * recipe.fps.0 / recipe.fps.1;
    let pictures: Vec<u8> = (0..count as usize).flat_map(picture).collect();
    let made = dir.path().join("made");
    std::fs::create_dir(&made).unwrap();
    let segment_seconds = f64::from(recipe.gop * recipe.gops * recipe.fps.1) / f64::from(recipe.fps.0);
    let words = format!(
        "-nostdin -v error -f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -r {}/{} -i - -f lavfi -i sine=440:r=48000 \
         -shortest -pix_fmt yuv420p -c:v {} -preset veryfast -bf {} -g {} -keyint_min {} -sc_threshold 0 -c:a aac \
         -output_ts_offset {} -f hls -hls_time {} -hls_list_size 0 -hls_segment_type {}",
        recipe.fps.0,
        recipe.fps.1,
        recipe.codec,
        recipe.b_frames,
        recipe.gop,
        recipe.gop,
        recipe.offset,
        segment_seconds - 0.01,
        if recipe.mp4 { "fmp4" } else { "mpegts" },
    );
    let mut command = Command::new("ffmpeg");
    command.current_dir(&made).args(words.split(' ')).args(recipe.extra);
    run(command.arg("list.m3u8"), &pictures);
    store(dir, &made, recipe)
}

/// Files what ffmpeg made under the names that a recorder would give.
fn store(dir: tempfile::TempDir, made: &Path, recipe: Recipe) -> Source {
    let record = Record {
        layout: Layout::new(dir.path().join("base")),
        channel: "ch".parse().unwrap(),
        quality: "source".parse().unwrap(),
        blocking: Blocking::new(4),
    };
    let list = std::fs::read_to_string(made.join("list.m3u8")).unwrap();
    let init = std::fs::read(made.join("init.mp4")).unwrap_or_default();
    let (mut segments, mut frames) = (Vec::new(), BTreeMap::new());
    let (mut first_pts, mut number) = (None, 0);
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let content = [init.clone(), std::fs::read(made.join(line)).unwrap()].concat();
        let pts = sorted_pts(&content, recipe.mp4);
        let at = |pts: i64| (pts - *first_pts.get_or_insert(pts)) * 100 / 9;
        let times: Vec<i64> = pts.iter().copied().map(at).collect();
        let frame = 1_000_000 * i64::from(recipe.fps.1) / i64::from(recipe.fps.0);
        let start = epoch().plus_micros(times[0]);
        let hash = segvault::model::SegmentHash::from_bytes(Sha256::digest(&content).into());
        let duration = times[times.len() - 1] - times[0] + frame;
        let name = SegmentName::finished(start, duration, SegmentKind::Full, hash);
        let path = record.layout.segment_path(&record.channel, &record.quality, &name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        segments.push(name);
        for time in times {
            frames.insert(number, epoch().plus_micros(time));
            number += 1;
        }
    }
    assert_eq!(number as u32, recipe.seconds * recipe.fps.0 / recipe.fps.1);
    Source { _dir: dir, record, segments, frames }
}

/// By ffprobe, so that our own reader is not its own judge.
fn sorted_pts(content: &[u8], mp4: bool) -> Vec<i64> {
    let mut pts: Vec<i64> = if mp4 {
        let remux = "-nostdin -v error -copyts -i - -map 0:v -c copy -mpegts_copyts 1 -f mpegts -";
        let (ts, _) = run(Command::new("ffmpeg").args(remux.split(' ')), content);
        packets(&ts, "v").into_iter().map(|(pts, _)| pts).collect()
    } else {
        packets(content, "v").into_iter().map(|(pts, _)| pts).collect()
    };
    pts.sort_unstable();
    pts
}

impl Source {
    fn select(&self, start: Timestamp, end: Timestamp) -> Selection {
        let span = Span::new(start, end).unwrap();
        load_span(&self.record.layout, &self.record.channel, &self.record.quality, span).unwrap()
    }

    fn plan(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)]) -> Plan {
        let selections: Vec<_> = ranges.iter().map(|(start, end)| self.select(*start, *end)).collect();
        Plan::new(cut_type, &selections, true).unwrap()
    }

    async fn cut(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)]) -> Result<Vec<u8>, CutError> {
        let plan = self.plan(cut_type, ranges);
        let mut stream = cut::start(self.record.clone(), ffmpeg(), plan).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk?);
        }
        assert!(stream.size_bytes().is_none_or(|size| size == bytes.len() as u64));
        Ok(bytes)
    }

    /// The numbers of the frames that a range must show.
    fn expected(&self, start: Timestamp, end: Timestamp) -> Vec<usize> {
        self.frames.iter().filter(|(_, time)| **time >= start && **time < end).map(|(number, _)| *number).collect()
    }

    fn path(&self, at: usize) -> PathBuf {
        self.record.layout.segment_path(&self.record.channel, &self.record.quality, &self.segments[at])
    }

    fn frame(&self, number: usize) -> Timestamp {
        self.frames[&number]
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn assert_rising(what: &str, packets: &[(i64, i64)]) {
    for pair in packets.windows(2) {
        assert!(pair[0].1 < pair[1].1, "{what}: the DTS {} is followed by {}", pair[0].1, pair[1].1);
    }
    assert!(packets.iter().all(|(pts, dts)| pts >= dts), "{what}: a PTS before its DTS");
}

/// Checks that a cut has these frames and no others, decodes without a word, and has DTS that rise.
fn assert_shows(what: &str, video: &[u8], expected: &[usize]) {
    let (shown, words) = decode(video);
    assert_eq!(shown, expected, "{what}");
    assert_eq!(words, "", "{what}");
    assert_rising(what, &packets(video, "v"));
    assert_rising(what, &packets(video, "a"));
}

/// Cuts at frame times and at others, over all lengths from one frame on.
async fn random_cuts(name: &str, recipe: Recipe, count: u64) {
    let source = record(recipe);
    let mut random = Random(7);
    let frames = source.frames.len() as u64;
    for round in 0..count {
        let first = random.below(frames - 1);
        let last = first + 1 + random.below(frames - first - 1).min(if round % 3 == 0 { 3 } else { frames });
        // A frame is shown from its own time on; the range may start anywhere after the frame before.
        let within = |random: &mut Random| if round % 2 == 0 { 0 } else { -(random.below(16_000) as i64) };
        let start = source.frame(first as usize).plus_micros(if first == 0 { 0 } else { within(&mut random) });
        let end = source.frame(last as usize).plus_micros(within(&mut random));
        let what = format!("{name}, cut {round}: {start} to {end}");
        let video = source.cut(CutType::Fast, &[(start, end)]).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_shows(&what, &video, &source.expected(start, end));
    }
}

#[actix_rt::test]
async fn cuts_of_b_frames_are_exact_at_30_fps() {
    random_cuts("30 fps", PLAIN, 16).await;
}

#[actix_rt::test]
async fn cuts_are_exact_at_25_fps_with_short_gops() {
    random_cuts("25 fps, GOP 0.48 s in one segment", Recipe { fps: (25, 1), gop: 12, ..PLAIN }, 8).await;
    random_cuts("25 fps, GOP 0.52 s, 4 in a segment", Recipe { fps: (25, 1), gop: 13, gops: 4, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn cuts_are_exact_at_29_97_fps() {
    random_cuts("29.97 fps", Recipe { fps: (30_000, 1001), ..PLAIN }, 8).await;
    random_cuts("29.97 fps, GOP 0.5 s", Recipe { fps: (30_000, 1001), gop: 15, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn cuts_without_b_frames_are_exact() {
    random_cuts("60 fps", Recipe { fps: (60, 1), gop: 120, b_frames: 0, ..PLAIN }, 6).await;
}

#[actix_rt::test]
async fn cuts_over_the_wrap_of_stamps_are_exact() {
    // 2^33 ticks are 95,443.7 s; the stamps wrap 6 s into the source.
    random_cuts("wrap", Recipe { offset: 95_436.3, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn hevc_is_cut_exactly() {
    let quiet = &["-x265-params", "log-level=error:open-gop=0"];
    random_cuts("HEVC", Recipe { codec: "libx265", seconds: 6, extra: quiet, ..PLAIN }, 3).await;
}

#[actix_rt::test]
async fn fragmented_mp4_is_cut_exactly() {
    random_cuts("fMP4", Recipe { mp4: true, ..PLAIN }, 8).await;
    random_cuts("fMP4 29.97", Recipe { mp4: true, fps: (30_000, 1001), ..PLAIN }, 4).await;
    random_cuts("fMP4 without B-frames", Recipe { mp4: true, b_frames: 0, ..PLAIN }, 4).await;
}

#[actix_rt::test]
async fn open_gops() {
    random_cuts("open GOP", Recipe { extra: &["-x264-params", "open-gop=1", "-bsf:v", "dump_extra"], ..PLAIN }, 8)
        .await;
}

#[actix_rt::test]
async fn deep_pyramids() {
    let deep = &["-preset", "slow", "-x264-params", "b-pyramid=normal:b-adapt=2"];
    random_cuts("5 B-frames", Recipe { b_frames: 5, extra: deep, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn ranges() {
    let source = record(PLAIN);
    let range = |from: usize, until: usize| (source.frame(from), source.frame(until));
    for ranges in [
        vec![range(10, 50), range(200, 300)],
        vec![range(200, 300), range(10, 50)],
        vec![range(60, 120), range(60, 120), range(60, 180)],
        vec![range(5, 6), range(7, 8), range(180, 240)],
    ] {
        let video = source.cut(CutType::Fast, &ranges).await.unwrap();
        let expected: Vec<usize> = ranges.iter().flat_map(|(start, end)| source.expected(*start, *end)).collect();
        assert_shows(&format!("{ranges:?}"), &video, &expected);
    }
}
