//! Cuts of real video by real ffmpeg. Every source frame carries its number as bars, so that each frame of an output can be
//! told.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use segvault::blocking::Blocking;
use segvault::cut::{self, CutError, CutStream, CutType, Ffmpeg, Limits, Plan, PlanError, Record};
use segvault::model::{SegmentHash, SegmentKind, SegmentName, Span, Timestamp};
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
    let contents: Vec<Vec<u8>> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| [init.clone(), std::fs::read(made.join(line)).unwrap()].concat())
        .collect();
    let pts: Vec<Vec<i64>> = contents.iter().map(|content| sorted_pts(content, recipe.mp4)).collect();
    let first = pts[0][0];
    let time = |pts_90k: i64| epoch().plus_micros((pts_90k - first) * 100 / 9);
    let frame_90k = 90_000 * i64::from(recipe.fps.1) / i64::from(recipe.fps.0);
    let mut segments = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let start = time(pts[at][0]);
        let end = time(pts.get(at + 1).map_or(pts[at][pts[at].len() - 1] + frame_90k, |next| next[0]));
        segments.push(put(&record, start, end, SegmentKind::Full, content));
    }
    let frames: BTreeMap<usize, Timestamp> = pts.into_iter().flatten().map(time).enumerate().collect();
    assert_eq!(frames.len() as u32, recipe.seconds * recipe.fps.0 / recipe.fps.1);
    Source { _dir: dir, record, segments, frames }
}

fn put(record: &Record, start: Timestamp, end: Timestamp, kind: SegmentKind, content: &[u8]) -> SegmentName {
    let hash = SegmentHash::from_bytes(Sha256::digest(content).into());
    let name = SegmentName::finished(start, end.micros_since(start), kind, hash);
    let path = record.layout.segment_path(&record.channel, &record.quality, &name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    name
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
        let mut stream = self.start(cut_type, ranges).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk?);
        }
        assert!(stream.size_bytes().is_none_or(|size| size == bytes.len() as u64));
        Ok(bytes)
    }

    async fn start(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)]) -> Result<CutStream, CutError> {
        cut::start(self.record.clone(), ffmpeg(), self.plan(cut_type, ranges)).await
    }

    async fn still(&self, moment: Timestamp) -> Result<usize, CutError> {
        let span = cut::still_span(moment);
        let selection = self.select(span.start(), span.end());
        let picture = cut::still(self.record.clone(), ffmpeg(), &selection).await?;
        assert!(picture.starts_with(b"\x89PNG"));
        let (shown, words) = decode(&picture);
        assert_eq!((shown.len(), words.as_str()), (1, ""));
        Ok(shown[0])
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
    assert_clock(what, video);
}

/// The program clock runs ahead of the decoding, and never back.
fn assert_clock(what: &str, video: &[u8]) {
    let clocks: Vec<i64> = video
        .chunks_exact(188)
        .filter(|packet| packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0)
        .map(|packet| i64::from(u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]])) << 1)
        .collect();
    for pair in clocks.windows(2) {
        let step = (pair[1] - pair[0]).rem_euclid(1 << 33);
        assert!(step < 90_000, "{what}: the clock steps from {} to {}", pair[0], pair[1]);
    }
    let first_dts = packets(video, "v")[0].1.rem_euclid(1 << 33);
    assert!((first_dts - clocks[0]).rem_euclid(1 << 33) < 10 * 90_000, "{what}: {first_dts} against {}", clocks[0]);
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
async fn open_gops_are_cut_exactly() {
    random_cuts("open GOP", Recipe { extra: &["-x264-params", "open-gop=1", "-bsf:v", "dump_extra"], ..PLAIN }, 8)
        .await;
}

#[actix_rt::test]
async fn five_b_frames_are_cut_exactly() {
    let deep = &["-preset", "slow", "-x264-params", "b-pyramid=normal:b-adapt=2"];
    random_cuts("5 B-frames", Recipe { b_frames: 5, extra: deep, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn ranges_follow_each_other_without_a_gap() {
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

#[actix_rt::test]
async fn a_varying_frame_rate_is_cut_exactly() {
    let varying = &[
        "-vf",
        "settb=1/90000,setpts=N*3003+mod(N*7\\,5)*500",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:90000",
    ];
    random_cuts("VFR", Recipe { extra: varying, ..PLAIN }, 8).await;
}

#[actix_rt::test]
async fn streams_keep_their_pids() {
    let pids = &["-streamid", "0:481", "-streamid", "1:494", "-mpegts_pmt_start_pid", "480", "-mpegts_service_id", "7"];
    let made = tempfile::tempdir().unwrap();
    let source = record(PLAIN);
    let other = |content: &[u8]| {
        let mut remux = Command::new("ffmpeg");
        remux.args("-nostdin -v error -copyts -i - -c copy -mpegts_copyts 1".split(' ')).args(pids);
        run(remux.args(["-f", "mpegts", "-"]), content).0
    };
    for at in 0..source.segments.len() {
        std::fs::write(source.path(at), other(&std::fs::read(source.path(at)).unwrap())).unwrap();
    }
    let video = source.cut(CutType::Fast, &[(source.frame(30), source.frame(250))]).await.unwrap();
    assert_shows("own PIDs", &video, &(30..250).collect::<Vec<_>>());
    let path = made.path().join("cut.ts");
    std::fs::write(&path, video).unwrap();
    let mut probe = Command::new("ffprobe");
    probe.args("-v error -show_entries program=program_id,pmt_pid:stream=id -of csv=p=0".split(' ')).arg(path);
    let text = String::from_utf8(run(&mut probe, &[]).0).unwrap();
    let numbers: std::collections::BTreeSet<&str> = text.split(['\n', ',']).filter(|word| !word.is_empty()).collect();
    assert_eq!(numbers, ["0x1e1", "0x1ee", "480", "7"].into());
}

#[actix_rt::test]
async fn audio_alone_is_trimmed_by_its_packets() {
    let source = record(PLAIN);
    for at in 0..source.segments.len() {
        let mut remux = Command::new("ffmpeg");
        remux.args("-nostdin -v error -copyts -i - -map 0:a -c copy -mpegts_copyts 1 -f mpegts -".split(' '));
        let content = run(&mut remux, &std::fs::read(source.path(at)).unwrap()).0;
        std::fs::write(source.path(at), content).unwrap();
    }
    let video = source.cut(CutType::Fast, &[(source.frame(30), source.frame(250))]).await.unwrap();
    let audio = packets(&video, "a");
    assert_rising("audio", &audio);
    let seconds = (audio[audio.len() - 1].0 - audio[0].0) as f64 / 90_000.0;
    assert!((seconds - 220.0 / 30.0).abs() < 0.1, "{seconds}");
}

#[actix_rt::test]
async fn rough_gives_the_files_as_they_are() {
    let source = record(PLAIN);
    let range = (source.frame(70), source.frame(200));
    let files: Vec<u8> = (1..4).flat_map(|at| std::fs::read(source.path(at)).unwrap()).collect();
    let stream = source.start(CutType::Rough, &[range]).await.unwrap();
    assert_eq!((stream.size_bytes(), stream.content_type().as_str()), (Some(files.len() as u64), "video/mp2t"));
    assert_eq!(source.cut(CutType::Rough, &[range]).await.unwrap(), files);
}

#[actix_rt::test]
async fn rough_writes_an_init_once() {
    let source = record(Recipe { mp4: true, ..PLAIN });
    let range = (source.frame(70), source.frame(200));
    let stream = source.start(CutType::Rough, &[range]).await.unwrap();
    assert_eq!(stream.content_type().as_str(), "video/mp4");
    let video = source.cut(CutType::Rough, &[range]).await.unwrap();
    assert_eq!(video.windows(4).filter(|word| word == b"moov").count(), 1);
    let (shown, words) = decode(&video);
    assert_eq!((shown, words.as_str()), ((60..240).collect(), ""));
}

#[actix_rt::test]
async fn a_still_is_the_frame_at_its_time() {
    for mp4 in [false, true] {
        let source = record(Recipe { mp4, seconds: 6, ..PLAIN });
        for number in [0, 1, 31, 59, 60, 61, 119, 179] {
            assert_eq!(source.still(source.frame(number)).await.unwrap(), number);
            // From just after the frame before on, also where that lies in another segment.
            if number > 0 {
                let moment = source.frame(number - 1).plus_micros(20);
                assert_eq!(source.still(moment).await.unwrap(), number);
            }
        }
        let last = source.frame(179);
        assert_eq!(source.still(last.plus_micros(30_000)).await.unwrap(), 179);
        let beyond = source.still(last.plus_micros(40_000)).await;
        assert!(matches!(beyond, Err(CutError::Plan(PlanError::NoContent(_)))), "{beyond:?}");
        let before = source.still(epoch().plus_micros(-1_000_000)).await;
        assert!(matches!(before, Err(CutError::Plan(PlanError::Holes(_)))), "{before:?}");
    }
}

#[actix_rt::test]
async fn a_still_does_not_look_over_a_hole() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(2)).unwrap();
    assert_eq!(source.still(source.frame(119).plus_micros(20)).await.unwrap(), 119);
}

#[actix_rt::test]
async fn a_tombstone_stops_a_cut_before_and_in_its_course() {
    let source = record(PLAIN);
    let range = (source.frame(30), source.frame(330));
    for cut_type in CutType::ALL {
        let plan = source.plan(cut_type, &[range]);
        let marker = source.path(4).with_extension("tombstone");
        let mut stream = cut::start(source.record.clone(), ffmpeg(), plan.clone()).await.unwrap();
        std::fs::write(&marker, "").unwrap();
        let mut last = None;
        while let Some(chunk) = stream.next().await {
            last = Some(chunk.map(|_| ()));
        }
        assert!(matches!(last, Some(Err(CutError::Tombstoned { .. }))), "{cut_type}: {last:?}");
        let begun = cut::start(source.record.clone(), ffmpeg(), plan).await.map(|_| ());
        assert!(matches!(begun, Err(CutError::Tombstoned { .. })), "{cut_type}: {begun:?}");
        std::fs::remove_file(marker).unwrap();
    }
}

#[actix_rt::test]
async fn a_file_that_vanishes_or_shrinks_ends_the_cut_with_an_error() {
    let source = record(PLAIN);
    let range = (source.frame(30), source.frame(330));
    for cut_type in CutType::ALL {
        let mut stream = source.start(cut_type, &[range]).await.unwrap();
        let content = std::fs::read(source.path(5)).unwrap();
        std::fs::write(source.path(5), &content[..content.len() / 2]).unwrap();
        let mut last = None;
        while let Some(chunk) = stream.next().await {
            last = Some(chunk.map(|_| ()));
        }
        assert!(matches!(last, Some(Err(CutError::Changed { .. }))), "{cut_type}: {last:?}");
        std::fs::write(source.path(5), content).unwrap();

        let plan = source.plan(cut_type, &[range]);
        let away = source.path(3).with_extension("away");
        std::fs::rename(source.path(3), &away).unwrap();
        let begun = cut::start(source.record.clone(), ffmpeg(), plan).await.map(|_| ());
        assert!(matches!(begun, Err(CutError::Vanished { .. })), "{cut_type}: {begun:?}");
        std::fs::rename(away, source.path(3)).unwrap();
    }
}

#[actix_rt::test]
async fn what_cannot_be_cut_exactly_is_refused_before_the_first_byte() {
    let source = record(PLAIN);
    let edge = (source.frame(30), source.frame(100));
    let whole = std::fs::read(source.path(0)).unwrap();

    let mpeg2 = "-nostdin -v error -copyts -i - -c:v mpeg2video -c:a copy -mpegts_copyts 1 -f mpegts -";
    std::fs::write(source.path(0), run(Command::new("ffmpeg").args(mpeg2.split(' ')), &whole).0).unwrap();
    let failed = source.cut(CutType::Fast, &[edge]).await;
    assert!(matches!(failed, Err(CutError::Codec { stream_type: 2, .. })), "{failed:?}");

    std::fs::write(source.path(0), vec![b'<'; 10_000]).unwrap();
    let failed = source.cut(CutType::Fast, &[edge]).await;
    assert!(matches!(failed, Err(CutError::NoStamps { .. })), "{failed:?}");

    std::fs::write(source.path(0), [&[0, 0, 0, 8][..], b"moof", &whole].concat()).unwrap();
    let failed = source.cut(CutType::Fast, &[edge]).await;
    assert!(matches!(failed, Err(CutError::MixedContainers { .. })), "{failed:?}");
}

#[actix_rt::test]
async fn undecodable_frames_of_a_full_segment_are_an_error_and_of_a_partial_one_a_hole() {
    let source = record(PLAIN);
    let whole = std::fs::read(source.path(0)).unwrap();
    // Without its first quarter, so without the key frame, but with tables.
    let damaged = [&whole[..3 * 188], &whole[whole.len() / 4 / 188 * 188..]].concat();
    let edge = (source.frame(40), source.frame(100));
    std::fs::write(source.path(0), &damaged).unwrap();
    let failed = source.cut(CutType::Fast, &[edge]).await.map(|bytes| bytes.len());
    assert!(matches!(failed, Err(CutError::Inexact { .. } | CutError::FfmpegFailed { .. })), "{failed:?}");
}

#[actix_rt::test]
async fn holes_are_passed_over_where_they_are_allowed() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(2)).unwrap();
    let range = (source.frame(30), source.frame(250));
    let selection = source.select(range.0, range.1);
    assert!(matches!(Plan::new(CutType::Fast, &[selection], false), Err(PlanError::Holes(_))));
    let video = source.cut(CutType::Fast, &[range]).await.unwrap();
    let (shown, _) = decode(&video);
    assert_eq!(shown, (30..120).chain(180..250).collect::<Vec<_>>());
    assert_rising("over a hole", &packets(&video, "v"));
}

/// The ffmpeg processes that are children of this one.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let status = std::fs::read_to_string(entry.unwrap().path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = status.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = tail.split(' ').collect();
        if head.ends_with("(slow-ffmpeg") && fields[1] == own && fields[0] != "Z" {
            found.push(status.clone());
        }
    }
    found
}

#[actix_rt::test]
async fn a_dropped_cut_leaves_no_ffmpeg() {
    let source = record(PLAIN);
    // A script that runs the real one, to be told from those of other tests, and slowly, to be still there.
    let script = source.record.layout.base().join("slow-ffmpeg");
    std::fs::write(&script, "#!/bin/sh\nffmpeg \"$@\"\nsleep 600\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ffmpeg = Ffmpeg::new(&script, Limits::default());
    let plan = source.plan(CutType::Fast, &[(source.frame(30), source.frame(330))]);
    let stream = cut::start(source.record.clone(), ffmpeg.clone(), plan).await.unwrap();
    assert_eq!((children().len(), ffmpeg.in_use()), (1, 1));
    drop(stream);
    assert_eq!(ffmpeg.in_use(), 0);
    for _ in 0..500 {
        if children().is_empty() {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still there: {:?}", children());
}
