//! What segments are encoded with: told as ffprobe tells it, and told to players by playlists that they can play.

use std::path::Path;
use std::process::Command;

use segvault::media::{Container, Encoding, FrameRateScan, Probe, Probed};
use segvault::model::{SegmentHash, SegmentKind, SegmentName, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{NodeProcess, eventually, run};

const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000";
const MP4: &str = "-f mp4 -movflags +frag_keyframe+delay_moov+default_base_moof";

fn picture(size: &str, rate: &str) -> String {
    format!("-f lavfi -i testsrc2=size={size}:rate={rate}")
}

fn ffmpeg(directory: &Path, words: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(directory).args("-nostdin -v error -y".split(' ')).args(words.split_whitespace());
    let (code, _, errors) = run(&mut command);
    assert_eq!(code, 0, "{words}: {errors}");
}

/// What ffprobe says of all streams of a file or address.
fn ffprobe(place: &str) -> Vec<Value> {
    let mut command = Command::new("ffprobe");
    command.args("-v error -show_streams -of json".split(' ')).arg(place);
    let (code, said, errors) = run(&mut command);
    assert_eq!(code, 0, "{place}: {errors}");
    serde_json::from_str::<Value>(&said).unwrap()["streams"].as_array().unwrap().clone()
}

/// The codec as RFC 6381 writes it, as far as ffprobe's words tell: the beginning and the end.
fn codec_of(stream: &Value) -> (String, String) {
    let text = |key: &str| stream[key].as_str().unwrap_or_default().to_owned();
    let level = stream["level"].as_i64().unwrap_or_default();
    let (name, profile, tag) = (text("codec_name"), text("profile"), text("codec_tag_string"));
    let (start, end) = match (name.as_str(), profile.as_str()) {
        ("h264", "High") => ("avc1.64".to_owned(), format!("{level:02x}")),
        ("h264", "Main") => ("avc1.4d".to_owned(), format!("{level:02x}")),
        ("h264", "Constrained Baseline") => ("avc1.42".to_owned(), format!("{level:02x}")),
        ("h264", "High 4:4:4 Predictive") => ("avc1.f4".to_owned(), format!("{level:02x}")),
        ("hevc", "Main") if tag == "hev1" => (format!("hev1.1.6.L{level}."), String::new()),
        ("hevc", "Main") => (format!("hvc1.1.6.L{level}."), String::new()),
        ("hevc", "Main 10") => (format!("hvc1.2.4.L{level}."), String::new()),
        ("mpeg2video", _) => ("mp4v.61".to_owned(), String::new()),
        ("av1", "Main") => (format!("av01.0.{level:02}M.08"), String::new()),
        ("vp9", "Profile 0") => ("vp09.00.".to_owned(), ".08".to_owned()),
        ("aac", "LC") => ("mp4a.40.2".to_owned(), String::new()),
        ("mp3", _) => ("mp4a.40.34".to_owned(), String::new()),
        ("mp2", _) => ("mp4a.40.33".to_owned(), String::new()),
        ("ac3", _) => ("ac-3".to_owned(), String::new()),
        ("eac3", _) => ("ec-3".to_owned(), String::new()),
        ("opus", _) => ("opus".to_owned(), String::new()),
        ("flac", _) => ("fLaC".to_owned(), String::new()),
        other => panic!("{other:?} is not foreseen: {stream}"),
    };
    (start, end)
}

fn assert_is_as_ffprobe_says(what: &str, encoding: &Encoding, said: &[Value]) {
    let of_type = |kind: &str| said.iter().filter(|stream| stream["codec_type"] == kind).collect::<Vec<_>>();
    let same_codec = |codec: &str, stream: &Value| {
        let (start, end) = codec_of(stream);
        assert!(codec.starts_with(&start) && codec.ends_with(&end), "{what}: {codec} is {start}…{end}");
    };
    // A PID is told as hexadecimal text, a track_ID too.
    let id = |stream: &Value| u32::from_str_radix(stream["id"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert_eq!(encoding.video.iter().len(), of_type("video").len(), "{what}");
    for (video, stream) in encoding.video.iter().zip(of_type("video")) {
        same_codec(video.codec.as_str(), stream);
        let size = (stream["width"].as_u64().unwrap() as u32, stream["height"].as_u64().unwrap() as u32);
        assert_eq!((video.width, video.height, video.track), (size.0, size.1, id(stream)), "{what}");
    }
    assert_eq!(encoding.audio.len(), of_type("audio").len(), "{what}");
    for (audio, stream) in encoding.audio.iter().zip(of_type("audio")) {
        same_codec(audio.codec.as_str(), stream);
        assert_eq!(audio.track, id(stream), "{what}");
        let rate: u32 = stream["sample_rate"].as_str().unwrap().parse().unwrap();
        assert_eq!(audio.sample_rate_hz, Some(rate), "{what}");
        if let Some(channels) = audio.channels {
            assert_eq!(u64::from(channels), stream["channels"].as_u64().unwrap(), "{what}");
        }
    }
}

#[test]
fn encodings_are_those_that_ffprobe_reads() {
    let dir = tempfile::tempdir().unwrap();
    let x264 = "-c:v libx264 -preset ultrafast";
    let high = "-c:v libx264 -preset veryfast -profile:v high";
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error";
    let (sd, odd) = (picture("320x180", "30000/1001"), picture("322x182", "25"));
    for (what, words, container, rate) in [
        (
            "h264 with aac",
            format!("{sd} {SOUND} {high} -pix_fmt yuv420p -c:a aac -f mpegts"),
            Container::MpegTs,
            "29.970",
        ),
        ("cropped, without sound", format!("{odd} {x264} -pix_fmt yuv420p -f mpegts"), Container::MpegTs, "25.000"),
        ("4:4:4", format!("{odd} {x264} -pix_fmt yuv444p -f mpegts"), Container::MpegTs, "25.000"),
        (
            "interlaced",
            format!("{} {high} -flags +ilme+ildct -pix_fmt yuv420p -f mpegts", picture("720x496", "25")),
            Container::MpegTs,
            "25.000",
        ),
        ("hevc", format!("{odd} {SOUND} {x265} -pix_fmt yuv420p -c:a ac3 -f mpegts"), Container::MpegTs, "25.000"),
        (
            "hevc of 10 bits, 6 channels",
            format!("{} {SOUND} {x265} -pix_fmt yuv420p10 -ac 6 -c:a eac3 -f mpegts", picture("320x180", "24000/1001")),
            Container::MpegTs,
            "23.976",
        ),
        ("mpeg2", format!("{sd} {SOUND} -c:v mpeg2video -ac 1 -c:a mp2 -f mpegts"), Container::MpegTs, "29.970"),
        ("aac alone", format!("{SOUND} -c:a aac -ar 44100 -ac 1 -f mpegts"), Container::MpegTs, ""),
        ("mp3 alone", format!("{SOUND} -c:a libmp3lame -ar 22050 -f mpegts"), Container::MpegTs, ""),
        ("opus", format!("{sd} {SOUND} {x264} -pix_fmt yuv420p -c:a libopus -f mpegts"), Container::MpegTs, "29.970"),
        (
            "two languages",
            format!("{sd} {SOUND} {SOUND} -map 0 -map 1 -map 2 {x264} -pix_fmt yuv420p -c:a aac -ac:1 6 -f mpegts"),
            Container::MpegTs,
            "29.970",
        ),
        (
            "h264 in mp4",
            format!("{} {SOUND} {high} -pix_fmt yuv420p -c:a aac {MP4}", picture("320x180", "60000/1001")),
            Container::FragmentedMp4,
            "59.940",
        ),
        (
            "hevc in mp4",
            format!("{odd} {SOUND} {x265} -pix_fmt yuv420p -c:a ac3 -ac 6 -tag:v hvc1 {MP4}"),
            Container::FragmentedMp4,
            "25.000",
        ),
        (
            "hev1, eac3",
            format!("{odd} {SOUND} {x265} -pix_fmt yuv420p -c:a eac3 -tag:v hev1 {MP4}"),
            Container::FragmentedMp4,
            "25.000",
        ),
        (
            "vp9, opus",
            format!(
                "{sd} {SOUND} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p -c:a libopus -ac 2 {MP4}"
            ),
            Container::FragmentedMp4,
            "29.970",
        ),
        (
            "av1, flac",
            format!(
                "{odd} {SOUND} -c:v libaom-av1 -cpu-used 8 -usage realtime -pix_fmt yuv420p -c:a flac -strict -2 {MP4}"
            ),
            Container::FragmentedMp4,
            "25.000",
        ),
        ("aac alone in mp4", format!("{SOUND} -c:a aac -ar 44100 {MP4}"), Container::FragmentedMp4, ""),
        ("mp3 alone in mp4", format!("{SOUND} -c:a libmp3lame -ar 44100 {MP4}"), Container::FragmentedMp4, ""),
    ] {
        ffmpeg(
            dir.path(),
            &format!(
                "{} -t 1 made",
                words.replace(" -f ", " -shortest -f ").replacen(" -shortest -f lavfi", " -f lavfi", 9)
            ),
        );
        let file = dir.path().join("made");
        let bytes = std::fs::read(&file).unwrap();
        let mut probe = Probe::default();
        probe.push(&bytes);
        let Probed::Known(media) = probe.probed(true) else { panic!("{what}: {:?}", probe.probed(true)) };
        assert_eq!(
            (media.encoding.container, media.init.is_some()),
            (container, container == Container::FragmentedMp4)
        );
        assert_is_as_ffprobe_says(what, &media.encoding, &ffprobe(file.to_str().unwrap()));
        let mut scan = FrameRateScan::new(container);
        bytes.chunks(10_000).for_each(|piece| scan.push(piece));
        assert_eq!(scan.finish().map(|rate| rate.to_string()).unwrap_or_default(), rate, "{what}");
    }
}

/// Self-contained segments of one second, as a packager makes them.
fn segments(words: &str, container: Container) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let kind = match container {
        Container::MpegTs => "mpegts",
        Container::FragmentedMp4 => "fmp4",
    };
    ffmpeg(
        dir.path(),
        &format!(
            "{words} -f hls -hls_time 1 -hls_list_size 0 -hls_segment_type {kind} -hls_segment_filename %d list.m3u8"
        ),
    );
    let init = std::fs::read(dir.path().join("init.mp4")).unwrap_or_default();
    let files = (0..).map_while(|number: u32| std::fs::read(dir.path().join(number.to_string())).ok());
    files.map(|bytes| [&init[..], &bytes].concat()).collect()
}

/// Three seconds of video, with a key frame each second.
fn three_seconds(size: &str, more: &str, container: Container) -> Vec<Vec<u8>> {
    let words = format!(
        "{} {SOUND} -t 3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25 -keyint_min 25 -sc_threshold 0 -c:a aac {more}",
        picture(size, "25")
    );
    let segments = segments(&words, container);
    assert_eq!(segments.len(), 3);
    segments
}

fn start() -> Timestamp {
    "2026-01-02T03:10:00".parse().unwrap()
}

fn second(number: usize) -> Timestamp {
    start().plus_micros(number as i64 * 1_000_000)
}

/// Segments without a gap, from `start` on.
fn plant(base: &Path, quality: &str, segments: &[Vec<u8>]) {
    for (number, bytes) in segments.iter().enumerate() {
        let hash = SegmentHash::from_bytes(Sha256::digest(bytes).into());
        let name = SegmentName::finished(second(number), 1_000_000, SegmentKind::Full, hash);
        let path = base.join("ch").join(quality).join(name.path_text());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn range(first: usize, end: usize) -> String {
    format!("/playlist/ch/source.m3u8?start={}&end={}", second(first), second(end))
}

/// The playlist once all is learnt: on a busy machine that may take longer than an answer waits.
fn settled(node: &NodeProcess, path: &str) -> String {
    eventually("all is learnt", || {
        let text = node.get(path).text();
        node.get("/metrics").text().contains("segvault_media_waiting_entries 0").then_some(text)
    });
    node.get(path).text()
}

/// The tags that say what is new, and the number of the segment that each stands before.
fn told(text: &str) -> Vec<(usize, String)> {
    let mut told = Vec::new();
    let mut number = 0;
    for line in text.lines() {
        if line.starts_with("/segments/") {
            number += 1;
        } else if line == "#EXT-X-DISCONTINUITY" {
            told.push((number, "DISCONTINUITY".to_owned()));
        } else if let Some(map) = line.strip_prefix("#EXT-X-MAP:") {
            told.push((number, map.split('/').next_back().unwrap()[..9].replace("%3A", ":")));
        }
    }
    told
}

/// The width of each frame that a player shows.
fn widths(url: &str) -> Vec<(u32, usize)> {
    let mut command = Command::new("ffprobe");
    command.args("-v error -select_streams v:0 -show_entries frame=width -of csv=p=0".split(' ')).arg(url);
    let (code, said, errors) = run(&mut command);
    assert_eq!(code, 0, "{errors}");
    let mut runs: Vec<(u32, usize)> = Vec::new();
    // A frame with side data has a line more, which is empty.
    for line in said.lines().filter(|line| !line.is_empty()) {
        let width = line.trim_end_matches(',').parse().unwrap();
        match runs.last_mut() {
            Some((last, count)) if *last == width => *count += 1,
            _ => runs.push((width, 1)),
        }
    }
    runs
}

#[test]
fn a_change_of_resolution_is_one_discontinuity() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let (large, small) =
        (three_seconds("320x180", "", Container::MpegTs), three_seconds("160x90", "", Container::MpegTs));
    // In the middle lies one that nobody can read: it is no change.
    plant(&base, "source", &[large, small[..1].to_vec(), vec![vec![7; 100]], small[1..].to_vec()].concat());
    let node = NodeProcess::start_with(&base, "", |_| {});
    let text = settled(&node, &range(0, 7));
    assert_eq!(told(&text), [(3, "DISCONTINUITY".to_owned())], "{text}");
    assert!(text.contains("#EXT-X-VERSION:3\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    let url = format!("{}{}", node.url(), range(0, 4));
    assert_eq!(widths(&url), [(320, 75), (160, 25)]);
    // A hole at the same place is told once.
    let hole = std::fs::read_dir(base.join("ch/source/2026-01-02T03")).unwrap().map(|entry| entry.unwrap().path());
    let hole = hole.into_iter().find(|path| path.to_str().unwrap().contains("10:02")).unwrap();
    std::fs::write(hole.with_extension("tombstone"), "").unwrap();
    assert_eq!(told(&settled(&node, &range(0, 7))), [(2, "DISCONTINUITY".to_owned())]);
    node.stop();
    // What was learnt of an hour that is over is there after a restart: nothing is read again.
    let node = NodeProcess::start_with(&base, "", |_| {});
    assert_eq!(told(&settled(&node, &range(0, 7))), [(2, "DISCONTINUITY".to_owned())]);
    assert!(!node.get("/metrics").text().contains("segvault_media_segments_total{"));
    node.stop();
}

#[test]
fn each_initialisation_section_has_its_map() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let large = three_seconds("320x180", "-metadata:s:a:0 language=deu", Container::FragmentedMp4);
    let other_language = three_seconds("320x180", "-metadata:s:a:0 language=fra", Container::FragmentedMp4);
    let small = three_seconds("160x90", "", Container::FragmentedMp4);
    plant(&base, "source", &[large, other_language, small].concat());
    let node = NodeProcess::start_with(&base, "", |_| {});
    let text = settled(&node, &range(0, 9));
    let expected =
        [(0, "10:00.0"), (3, "10:03.0"), (6, "DISCONTINUITY"), (6, "10:06.0")].map(|(n, tag)| (n, tag.to_owned()));
    assert_eq!(told(&text), expected, "{text}");
    assert!(text.contains("#EXT-X-VERSION:6\n"), "{text}");
    for (first, end, width) in [(0, 3, 320), (3, 6, 320), (6, 9, 160)] {
        assert_eq!(widths(&format!("{}{}", node.url(), range(first, end))), [(width, 75)]);
    }
    node.stop();
}

/// Each rendition of a master playlist: the attributes of EXT-X-STREAM-INF, and the address.
fn renditions(master: &str) -> Vec<(Vec<(String, String)>, String)> {
    let lines: Vec<&str> = master.lines().collect();
    let with_next = lines.windows(2).filter_map(|pair| Some((pair[0].strip_prefix("#EXT-X-STREAM-INF:")?, pair[1])));
    with_next
        .map(|(attributes, address)| {
            let mut quoted = false;
            let parts = attributes.split(|c| {
                quoted ^= c == '"';
                c == ',' && !quoted
            });
            let pairs = parts.map(|part| part.split_once('=').unwrap());
            (
                pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect(),
                address.to_owned(),
            )
        })
        .collect()
}

fn attribute<'a>(rendition: &'a (Vec<(String, String)>, String), key: &str) -> Option<&'a str> {
    rendition.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

#[test]
fn a_master_playlist_tells_what_ffprobe_tells() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let large = three_seconds("320x180", "", Container::FragmentedMp4);
    let small = three_seconds("160x90", "", Container::MpegTs);
    let sound = segments(&format!("{SOUND} -t 3 -c:a aac"), Container::MpegTs);
    for (quality, segments) in [("low", &small), ("source", &large), ("sound", &sound), ("other", &small)] {
        plant(&base, quality, segments);
    }
    let node = NodeProcess::start_with(&base, "", |_| {});
    let text = settled(&node, "/playlist/ch.m3u8");
    let found = renditions(&text);
    let names: Vec<&str> = found.iter().map(|rendition| attribute(rendition, "NAME").unwrap()).collect();
    assert_eq!(names, ["source", "low", "other", "sound"], "{text}");
    let number = |rendition, key| attribute(rendition, key).unwrap().parse::<u64>().unwrap();
    for rendition in &found {
        let name = attribute(rendition, "NAME").unwrap();
        assert!(rendition.1.starts_with(&format!("/playlist/ch/{name}.m3u8?")), "{text}");
        let sizes = match name {
            "source" => &large,
            "sound" => &sound,
            _ => &small,
        };
        let bits: Vec<u64> = sizes.iter().map(|bytes| bytes.len() as u64 * 8).collect();
        let average = bits.iter().sum::<u64>().div_ceil(bits.len() as u64);
        assert_eq!(number(rendition, "AVERAGE-BANDWIDTH"), average, "{text}");
        // Two of the same bytes are two all the same.
        let more = u64::from(name == "low");
        assert_eq!(number(rendition, "BANDWIDTH"), bits.iter().max().unwrap() + more, "{text}");
        let path = rendition.1.split('?').next().unwrap();
        let streams = ffprobe(&format!("{}{path}?start={}&end={}", node.url(), second(0), second(3)));
        let video = streams.iter().find(|stream| stream["codec_type"] == "video");
        assert_eq!(
            attribute(rendition, "RESOLUTION").map(str::to_owned),
            video.map(|video| format!("{}x{}", video["width"], video["height"]))
        );
        assert_eq!(attribute(rendition, "FRAME-RATE"), video.map(|_| "25.000"));
        let codecs: Vec<&str> = attribute(rendition, "CODECS").unwrap().split(',').collect();
        assert_eq!(codecs.len(), streams.len(), "{text}");
        let in_order = video.into_iter().chain(streams.iter().filter(|stream| stream["codec_type"] == "audio"));
        for (codec, stream) in codecs.iter().zip(in_order) {
            let (start, end) = codec_of(stream);
            assert!(codec.starts_with(&start) && codec.ends_with(&end), "{codec} is {start}…{end}");
        }
    }
    // A player that chooses for itself takes one of them.
    assert!(!ffprobe(&format!("{}/playlist/ch.m3u8?start={}&end={}", node.url(), second(0), second(3))).is_empty());
    node.stop();
}

#[test]
fn head_is_answered_as_get_is_without_the_body() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant(&base, "source", &three_seconds("160x90", "", Container::MpegTs));
    let node = NodeProcess::start_with(&base, "", |_| {});
    let frame = format!("/frame/ch/source.png?timestamp={}", second(1));
    let listing = "/files/ch/source/2026-01-02T03";
    for path in
        ["/files", "/files/ch", "/files/ch/source", listing, "/playlist/ch.m3u8", &range(0, 3), &frame, "/files/.hid"]
    {
        let (get, head) = (node.get(path), node.get_with("HEAD", path, &[]));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for header in ["content-type", "cache-control", "etag"] {
            assert_eq!(head.header(header), get.header(header), "{path}");
        }
        assert!(["", get.header("content-length")].contains(&head.header("content-length")), "{path}");
    }
    let nothing_then = "/frame/ch/source.png?timestamp=2031-01-01";
    assert_eq!(node.get_with("HEAD", nothing_then, &[]).status, 406);
    assert_eq!(node.get_with("HEAD", "/cut/ch/source.ts", &[]).status, 405);
    node.stop();
}
