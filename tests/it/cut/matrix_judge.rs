//! Whether a cut is right, packet by packet and frame by frame, as ffmpeg and ffprobe see it.

use std::process::Command;

use segvault::model::Timestamp;
use segvault::rehearsal::barcode;

use super::matrix_reels::Film;
use super::{ODD_AND_HARMLESS, assert_clock, run};

/// What an ear may hear before it notices: the sound may lie this far beside its picture.
const MAX_DRIFT_90K: i64 = 20 * 90;
/// Sound goes in whole packets, and a muxer may put the last of a segment's into the next.
const MAX_SOUND_GAP_90K: i64 = 100 * 90;
/// Sound whose stamps are worked out from those before lies this much beside them at most.
const SOUND_ROUNDING_90K: i64 = 45;
/// The first frame of an exact cut has this PTS.
const START_90K: i64 = 2 * 90_000;
/// ffmpeg looks at so many bytes for the length of a packet.
const GUESSED_FROM_BYTES: usize = 8192;
/// What ffmpeg says of a stream that is announced and has nothing.
pub const OF_SILENCE: [&str; 3] = ["stream 1", "analyzeduration", "Last message"];
const LEAST_SSIM: f64 = 0.98;
/// So many may be re-encoded at each edge.
const MAX_GOPS: usize = 2;

/// One packet as ffprobe reads it. Stamps are in 90 kHz ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub pts: i64,
    pub dts: i64,
    duration: i64,
    pub hash: String,
}

fn on_disk(stream: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
    std::fs::write(file.path(), stream).unwrap();
    file
}

/// The packets of video and of audio, in order of arrival.
pub fn packets_of(stream: &[u8]) -> (Vec<Packet>, Vec<Packet>) {
    let mut command = Command::new("ffprobe");
    command.args("-v error -f mpegts -show_data_hash SHA256 -show_packets".split(' '));
    command.args("-show_entries packet=codec_type,pts,dts,duration,data_hash -of csv=p=0".split(' '));
    // A file, not a pipe: in a pipe ffprobe does not look at a short one again for the length of its frames.
    let file = on_disk(stream);
    let (text, words) = run(command.arg(file.path()), &[]);
    assert_eq!(words, "");
    // What lies beside the data has lines of its own.
    let text = String::from_utf8(text).unwrap().replace("\n,", ",");
    let (mut video, mut audio): (Vec<Packet>, Vec<Packet>) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(',').collect();
        let [kind, pts, dts, duration, .., hash] = fields[..] else { panic!("{line}") };
        assert!(hash.starts_with("SHA256:"), "{line}");
        let list = if kind == "video" { &mut video } else { &mut audio };
        let stamps: Option<(i64, i64)> = pts.parse().ok().zip(dts.parse().ok());
        // Frames of audio that share a PES header need not all have a stamp: they follow each other.
        let follows = || list.last().map(|last| (last.pts + last.duration, last.dts + last.duration));
        let (pts, dts) = stamps.or_else(follows).unwrap_or_else(|| panic!("no stamp: {line}"));
        list.push(Packet { pts, dts, duration: duration.parse().unwrap_or(0), hash: hash.to_owned() });
    }
    (video, audio)
}

/// What was found of cuts, at worst.
#[derive(Debug, Clone, Copy)]
pub struct Worst {
    pub ssim: f64,
    /// GOPs, rounded up, that were re-encoded at one edge.
    pub gops: usize,
    pub drift_90k: i64,
    /// From the first frame to the first sound, and from the last sound to the last frame's end, either way.
    pub gap_90k: i64,
    pub copied_frames: usize,
    pub encoded_frames: usize,
}

impl Default for Worst {
    fn default() -> Self {
        Self { ssim: 1.0, gops: 0, drift_90k: 0, gap_90k: 0, copied_frames: 0, encoded_frames: 0 }
    }
}

impl Worst {
    pub fn note(&mut self, other: Self) {
        self.ssim = self.ssim.min(other.ssim);
        self.gops = self.gops.max(other.gops);
        self.drift_90k = self.drift_90k.max(other.drift_90k);
        self.gap_90k = self.gap_90k.max(other.gap_90k);
        self.copied_frames += other.copied_frames;
        self.encoded_frames += other.encoded_frames;
    }
}

/// A cut of one range, and what it was cut from.
pub struct Judged<'a> {
    pub what: &'a str,
    pub film: &'a Film,
    /// Frames from one key frame to the next.
    pub gop: usize,
    pub range: (Timestamp, Timestamp),
    pub bytes: &'a [u8],
    /// Whether frames carry their number.
    pub is_numbered: bool,
    pub is_open_gop: bool,
}

/// What ffmpeg says when it decodes all of a cut.
fn complaints(bytes: &[u8], has_sound: bool, is_open_gop: bool) -> String {
    let mut command = Command::new("ffmpeg");
    // A cut of one frame is too small for ffmpeg to guess its format, and one of two packets for how long packets are.
    command.args("-nostdin -hide_banner -v warning -f mpegts -i -".split(' '));
    command.args(["-map", if has_sound { "0" } else { "0:v" }, "-fps_mode", "passthrough"]);
    let words = run(command.args("-enc_time_base:v 1:90000 -f null -".split(' ')), bytes).1;
    let of_what_is_short = |line: &str| bytes.len() <= GUESSED_FROM_BYTES && line.contains("detect TS packet size");
    // A range that is shorter than a packet of sound may have none.
    let of_silence = |line: &str| !has_sound && OF_SILENCE.iter().any(|word| line.contains(word));
    let of_open_gop = |line: &str| is_open_gop && line.contains(ODD_AND_HARMLESS[1]);
    words.lines().filter(|line| !of_what_is_short(line) && !of_silence(line) && !of_open_gop(line)).collect()
}

impl Judged<'_> {
    /// Panics unless the cut is right in every respect.
    pub fn judge(&self) -> Worst {
        let (video, audio) = packets_of(self.bytes);
        assert_eq!(complaints(self.bytes, !audio.is_empty(), self.is_open_gop), "", "{}", self.what);
        for packets in [&video, &audio] {
            self.assert_rising(packets);
        }
        if self.film.video.is_empty() {
            assert!(video.is_empty(), "{}", self.what);
            return self.sound_alone(&audio);
        }
        assert_clock(self.what, self.bytes);
        let expected = self.film.source.expected(self.range.0, self.range.1);
        let mut worst = self.pictures(video, &expected);
        let (first, last) = (expected[0], expected[expected.len() - 1]);
        let frame = |number: usize| self.film.video[number].pts;
        let end = self.film.video.get(last + 1).map_or(2 * frame(last) - frame(last - 1), |next| next.pts);
        worst.note(self.sound(&audio, frame(first), end));
        worst
    }

    fn assert_rising(&self, packets: &[Packet]) {
        for pair in packets.windows(2) {
            assert!(pair[0].dts < pair[1].dts, "{}: the DTS {} is followed by {}", self.what, pair[0].dts, pair[1].dts);
        }
        assert!(packets.iter().all(|packet| packet.pts >= packet.dts), "{}: a PTS before its DTS", self.what);
    }

    /// Each frame asked for is there once, in order, at its own time; those far from the edges are the source's own bytes,
    /// the others look like them.
    fn pictures(&self, mut video: Vec<Packet>, expected: &[usize]) -> Worst {
        let what = self.what;
        if self.is_numbered {
            let file = on_disk(self.bytes);
            let shown: Vec<usize> =
                barcode::read_file(file.path()).unwrap().into_iter().map(|number| number as usize).collect();
            assert_eq!(shown, expected, "{what}");
        }
        video.sort_by_key(|packet| packet.pts);
        assert_eq!(video.len(), expected.len(), "{what}");
        let own = |at: usize| &self.film.video[expected[at]];
        for (at, packet) in video.iter().enumerate() {
            assert_eq!(packet.pts - video[0].pts, own(at).pts - own(0).pts, "{what}: frame {}", expected[at]);
        }
        let is_copied = |at: &usize| video[*at].hash == own(*at).hash;
        let all = 0..video.len();
        let head = all.clone().find(is_copied).unwrap_or(video.len());
        let tail = all.clone().rev().find(is_copied).map_or(0, |last| video.len() - 1 - last);
        let encoded: Vec<usize> = all.clone().filter(|at| !is_copied(at)).collect();
        let ssim = self.similarities(expected[0], video.len());
        let worst_ssim = encoded.iter().map(|at| ssim[*at]).fold(1.0, f64::min);
        assert!(worst_ssim >= LEAST_SSIM, "{what}: a re-encoded frame is only {worst_ssim} like its original");
        // Where nothing was copied, both edges meet.
        let edges = if head == video.len() { [head.div_ceil(2), head / 2] } else { [head, tail] };
        assert_eq!(encoded.len(), edges.iter().sum::<usize>(), "{what}: re-encoded amid what was copied");
        let gops = edges[0].max(edges[1]).div_ceil(self.gop);
        assert!(gops <= MAX_GOPS, "{what}: {head} and {tail} frames were re-encoded");
        let (copied_frames, encoded_frames) = (video.len() - encoded.len(), encoded.len());
        Worst { ssim: worst_ssim, gops, copied_frames, encoded_frames, ..Worst::default() }
    }

    /// How like each of `count` frames is to its original, from frame `first` on.
    fn similarities(&self, first: usize, count: usize) -> Vec<f64> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cut.ts"), self.bytes).unwrap();
        std::fs::write(dir.path().join("source.ts"), &self.film.stream).unwrap();
        let graph = format!(
            "[1:v]trim=start_frame={first}:end_frame={},settb=1/30,setpts=N[of];[0:v]settb=1/30,setpts=N[cut];[cut][of]ssim=stats_file=ssim",
            first + count
        );
        let mut command = Command::new("ffmpeg");
        command.current_dir(&dir).args("-nostdin -v error -f mpegts -i cut.ts -f mpegts -i source.ts".split(' '));
        run(command.args(["-lavfi", &graph]).args("-fps_mode passthrough -f null -".split(' ')), &[]);
        let text = std::fs::read_to_string(dir.path().join("ssim")).unwrap();
        let all = |line: &str| line.split_once("All:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        let ssim: Vec<f64> = text.lines().map(all).collect();
        assert_eq!(ssim.len(), count, "{}", self.what);
        ssim
    }

    /// The sound is the source's, packet by packet, and lies beside the same pictures.
    fn sound(&self, audio: &[Packet], from: i64, until: i64) -> Worst {
        let what = self.what;
        let out = |pts: i64| pts - START_90K + from;
        let Some((first, last)) = audio.first().zip(audio.last()) else {
            // Sound is that of the range asked for, which need not be as long as its frames are shown.
            let asked_90k = self.range.1.micros_since(self.range.0) * 9 / 100;
            assert!(asked_90k < MAX_SOUND_GAP_90K, "{what}: there is no sound");
            return Worst::default();
        };
        let mut drift_90k = 0;
        let mut before = None;
        for packet in audio {
            let beside = |at: &usize| (self.film.audio[*at].pts - out(packet.pts)).abs();
            let at = (0..self.film.audio.len()).min_by_key(beside).unwrap();
            assert!(beside(&at) <= MAX_DRIFT_90K, "{what}: sound lies {} ticks beside its picture", beside(&at));
            assert!(packet.hash == self.film.audio[at].hash, "{what}: packet {at} of the sound is not the source's");
            assert!(before.is_none_or(|before| before + 1 == at), "{what}: after {before:?} of the sound comes {at}");
            drift_90k = drift_90k.max(beside(&at));
            before = Some(at);
        }
        let packet_90k = self.film.audio[1].pts - self.film.audio[0].pts;
        let gap_90k = (out(first.pts) - from).abs().max((out(last.pts) + packet_90k - until).abs());
        assert!(gap_90k <= MAX_SOUND_GAP_90K, "{what}: sound and picture begin or end {gap_90k} ticks apart");
        Worst { drift_90k, gap_90k, ..Worst::default() }
    }

    /// The packets that a range asks for. One that begins as close before a bound as its stamp may be wrong lies on either side.
    fn packets_alone(&self) -> Vec<Vec<&Packet>> {
        let (first, end) = self.range;
        let earlier = |bound: Timestamp| bound.plus_micros(-SOUND_ROUNDING_90K * 100 / 9);
        let ranges = [(first, end), (first, earlier(end)), (earlier(first), end), (earlier(first), earlier(end))];
        let packets =
            |(first, end)| self.film.source.expected(first, end).iter().map(|at| &self.film.audio[*at]).collect();
        ranges.into_iter().map(packets).collect()
    }

    /// Exactly the packets whose time lies in the range, as far apart as they were. The range starts where it was asked to, and the
    /// first of them up to one's length after.
    fn sound_alone(&self, audio: &[Packet]) -> Worst {
        let is_cut =
            |own: &Vec<&Packet>| own.iter().map(|packet| &packet.hash).eq(audio.iter().map(|packet| &packet.hash));
        let own = self.packets_alone().into_iter().find(is_cut);
        let own = own
            .unwrap_or_else(|| panic!("{}: {} packets of sound are none that were asked for", self.what, audio.len()));
        let packet_90k = self.film.audio[1].pts - self.film.audio[0].pts;
        assert!(
            (-SOUND_ROUNDING_90K..=packet_90k).contains(&(audio[0].pts - START_90K)),
            "{}: {} ticks",
            self.what,
            audio[0].pts
        );
        let drift = |(cut, of): (&Packet, &&Packet)| ((cut.pts - audio[0].pts) - (of.pts - own[0].pts)).abs();
        let drift_90k = audio.iter().zip(&own).map(drift).max().unwrap_or(0);
        assert!(drift_90k <= MAX_DRIFT_90K, "{}: {drift_90k} ticks", self.what);
        Worst { drift_90k, copied_frames: audio.len(), ..Worst::default() }
    }
}
