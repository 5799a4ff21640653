//! Cuts of real video by real ffmpeg. Every source frame carries its number as bars, so that each frame of an output can be
//! told.

mod ahead;
mod blends;
mod busy;
mod changes;
mod command;
mod dates;
mod exact;
mod faststart;
mod faults;
mod golden;
mod joins;
mod matrix;
mod matrix_judge;
mod matrix_reels;
mod played;
mod previews;
mod processes;
mod receipts;
mod resumed;
mod served;
mod types;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::StreamExt;
use segvault::blocking::Blocking;
use segvault::cut::{self, CutError, CutStream, CutType, Ffmpeg, Joint, Limits, Plan, Record};
use segvault::model::{SegmentHash, SegmentKind, SegmentName, Span, Timestamp};
use segvault::select::Selection;
use segvault::store::{Layout, load_span};
use sha2::{Digest, Sha256};

use matrix_judge::OF_SILENCE;

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

/// So many seconds of numbered frames.
pub(crate) fn plain_record(seconds: u32) -> Source {
    record(Recipe { seconds, ..PLAIN })
}

/// A record on disk, and the time of each of its frames.
pub(crate) struct Source {
    _dir: tempfile::TempDir,
    pub(crate) record: Record,
    pub(crate) segments: Vec<SegmentName>,
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

/// ffmpeg wants a sample of any HEVC whose reordering grows in its course, as it does where an edge meets the source. And x264
/// tells a decoder to forget the pictures before the key picture of an open GOP, of which a cut that starts there, like a player
/// that does, has none. All frames come out nonetheless, which is what the numbers are for.
const ODD_AND_HARMLESS: [&str; 2] = ["video_delay is larger in decoder than demuxer", "mmco: unref short failure"];

/// The numbers of the frames that ffmpeg decodes, and what it said about it.
pub(crate) fn decode(video: &[u8]) -> (Vec<usize>, String) {
    let mut command = Command::new("ffmpeg");
    // A cut of one frame is too small for ffmpeg to guess its format.
    let format = if video.first() == Some(&0x47) { &["-f", "mpegts"][..] } else { &[] };
    command.args(format).args(
        "-nostdin -hide_banner -v warning -i - -map 0:v -fps_mode passthrough -pix_fmt gray -f rawvideo -".split(' '),
    );
    let (pictures, mut words) = run(&mut command, video);
    if ODD_AND_HARMLESS.iter().any(|odd| words.contains(odd)) {
        let of_others = |line: &&str| {
            let of_these = ODD_AND_HARMLESS.iter().chain(&["If you want to help", "Last message"]);
            !of_these.into_iter().any(|own| line.contains(own))
        };
        words = words.lines().filter(of_others).collect();
    }
    (pictures.chunks_exact(WIDTH * HEIGHT).map(number).collect(), words)
}

/// PTS and DTS of each packet, in order of arrival.
#[derive(Default)]
struct Packets {
    video: Vec<(i64, i64)>,
    audio: Vec<(i64, i64)>,
}

/// What was found out about something, for all tests: most of what a small job of ffmpeg takes is its start.
struct Known<K, V>(Mutex<BTreeMap<K, Arc<OnceLock<Arc<V>>>>>);

impl<K: Ord, V> Known<K, V> {
    const fn nothing() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn get(&self, key: K, find_out: impl FnOnce() -> V) -> Arc<V> {
        let place = Arc::clone(self.0.lock().unwrap().entry(key).or_default());
        Arc::clone(place.get_or_init(|| Arc::new(find_out())))
    }
}

fn packets(video: &[u8]) -> Arc<Packets> {
    static KNOWN: Known<[u8; 32], Packets> = Known::nothing();
    KNOWN.get(Sha256::digest(video).into(), || {
        let words = "-v error -f mpegts -show_entries packet=codec_type,pts,dts -of csv=p=0 -";
        let (text, _) = run(Command::new("ffprobe").args(words.split(' ')), video);
        let mut packets = Packets::default();
        for line in String::from_utf8(text).unwrap().lines() {
            let mut fields = line.split(',');
            let of_kind = match fields.next() {
                Some("video") => &mut packets.video,
                Some("audio") => &mut packets.audio,
                _ => continue,
            };
            // Packets of audio that share a PES header have no stamp of their own until ffprobe has seen a few.
            let mut stamp = || fields.next()?.parse().ok();
            if let (Some(pts), Some(dts)) = (stamp(), stamp()) {
                of_kind.push((pts, dts));
            }
        }
        packets
    })
}

fn record(recipe: Recipe) -> Source {
    static KNOWN: Known<String, Vec<Vec<u8>>> = Known::nothing();
    store(&KNOWN.get(format!("{recipe:?}"), || encode(recipe)), recipe)
}

/// The segments that ffmpeg makes of a recipe.
fn encode(recipe: Recipe) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let count = recipe.seconds * recipe.fps.0 / recipe.fps.1;
    let pictures: Vec<u8> = (0..count as usize).flat_map(picture).collect();
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
    command.current_dir(dir.path()).args(words.split(' ')).args(recipe.extra);
    run(command.arg("list.m3u8"), &pictures);
    segments_of(dir.path())
}

fn empty_record(dir: &tempfile::TempDir) -> Record {
    Record {
        layout: Layout::new(dir.path().join("base")),
        channel: "ch".parse().unwrap(),
        quality: "source".parse().unwrap(),
        blocking: Blocking::new(4),
    }
}

/// What ffmpeg made of a list of segments, each with what it begins with.
fn segments_of(made: &Path) -> Vec<Vec<u8>> {
    let list = std::fs::read_to_string(made.join("list.m3u8")).unwrap();
    let init = std::fs::read(made.join("init.mp4")).unwrap_or_default();
    let segments = list.lines().filter(|line| !line.starts_with('#'));
    segments.map(|line| [init.clone(), std::fs::read(made.join(line)).unwrap()].concat()).collect()
}

/// Files what ffmpeg made under the names that a recorder would give.
fn store(contents: &[Vec<u8>], recipe: Recipe) -> Source {
    let dir = tempfile::tempdir().unwrap();
    let record = empty_record(&dir);
    let pts: Vec<Vec<i64>> = contents.iter().map(|content| sorted_pts(content, recipe.mp4)).collect();
    let frame_90k = 90_000 * i64::from(recipe.fps.1) / i64::from(recipe.fps.0);
    let source = file(dir, record, contents, pts, frame_90k);
    assert_eq!(source.frames.len() as u32, recipe.seconds * recipe.fps.0 / recipe.fps.1);
    source
}

/// Files segments of which the sorted PTS are known; the last frame is shown for `frame_90k`.
fn file(dir: tempfile::TempDir, record: Record, contents: &[Vec<u8>], pts: Vec<Vec<i64>>, frame_90k: i64) -> Source {
    let first = pts[0][0];
    let time = |pts_90k: i64| epoch().plus_micros((pts_90k - first) * 100 / 9);
    let mut segments = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let start = time(pts[at][0]);
        let end = time(pts.get(at + 1).map_or(pts[at][pts[at].len() - 1] + frame_90k, |next| next[0]));
        segments.push(put(&record, start, end, SegmentKind::Full, content));
    }
    let frames: BTreeMap<usize, Timestamp> = pts.into_iter().flatten().map(time).enumerate().collect();
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
    let found = if mp4 {
        static KNOWN: Known<[u8; 32], Vec<u8>> = Known::nothing();
        let remux = "-nostdin -v error -copyts -i - -map 0:v -c copy -mpegts_copyts 1 -f mpegts -";
        let remuxed = || run(Command::new("ffmpeg").args(remux.split(' ')), content).0;
        packets(&KNOWN.get(Sha256::digest(content).into(), remuxed))
    } else {
        packets(content)
    };
    let mut pts: Vec<i64> = found.video.iter().map(|(pts, _)| *pts).collect();
    pts.sort_unstable();
    pts
}

impl Source {
    fn select(&self, start: Timestamp, end: Timestamp) -> Selection {
        let span = Span::new(start, end).unwrap();
        load_span(&self.record.layout, &self.record.channel, &self.record.quality, span).unwrap()
    }

    fn plan(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)]) -> Plan {
        self.joined(cut_type, ranges, &[])
    }

    /// With transitions between the ranges, as they are written.
    fn joined(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)], transitions: &[&str]) -> Plan {
        let spans: Vec<Span> = ranges.iter().map(|(start, end)| Span::new(*start, *end).unwrap()).collect();
        let joints: Vec<Joint> = transitions.iter().map(|text| text.parse().unwrap()).collect();
        let select = |span: &Span| Ok::<_, CutError>(self.select(span.start(), span.end()));
        let pieces: Vec<_> =
            cut::pieces(&spans, &joints).unwrap().iter().map(|piece| piece.try_map(select).unwrap()).collect();
        Plan::new(cut_type, &pieces, true).unwrap()
    }

    async fn cut(&self, cut_type: CutType, ranges: &[(Timestamp, Timestamp)]) -> Result<Vec<u8>, CutError> {
        self.run(self.plan(cut_type, ranges)).await
    }

    async fn run(&self, plan: Plan) -> Result<Vec<u8>, CutError> {
        let mut stream = cut::start(self.record.clone(), ffmpeg(), plan).await?;
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
    pub(crate) fn expected(&self, start: Timestamp, end: Timestamp) -> Vec<usize> {
        self.frames.iter().filter(|(_, time)| **time >= start && **time < end).map(|(number, _)| *number).collect()
    }

    pub(crate) fn path(&self, at: usize) -> PathBuf {
        self.record.layout.segment_path(&self.record.channel, &self.record.quality, &self.segments[at])
    }

    fn frame(&self, number: usize) -> Timestamp {
        self.frames[&number]
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
    let packets = packets(video);
    // A range that is shorter than a packet of sound may have none, and ffmpeg misses it.
    let is_silent = expected.len() == 1 && packets.audio.is_empty();
    let of_others = |line: &&str| !is_silent || !OF_SILENCE.iter().any(|word| line.contains(word));
    assert_eq!(words.lines().filter(of_others).collect::<String>(), "", "{what}");
    assert_rising(what, &packets.video);
    assert_rising(what, &packets.audio);
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
    let first_dts = packets(video).video[0].1.rem_euclid(1 << 33);
    assert!((first_dts - clocks[0]).rem_euclid(1 << 33) < 10 * 90_000, "{what}: {first_dts} against {}", clocks[0]);
}
