//! What a cut shows: exactly the frames asked for, whatever the stream is like.

use std::collections::BTreeSet;
use std::process::Command;

use segvault::cut::{CutError, CutType, PlanError};

use super::{PLAIN, Recipe, assert_rising, assert_shows, decode, epoch, packets, record, run};
use crate::dice::{Dice, seed};

const X265: &str = "-x265-params";
const OPEN_GOP: Recipe = Recipe { extra: &["-x264-params", "open-gop=1", "-bsf:v", "dump_extra"], ..PLAIN };
const HEVC: Recipe = Recipe { codec: "libx265", seconds: 6, extra: &[X265, "log-level=error:open-gop=0"], ..PLAIN };
const VARYING: &[&str] =
    &["-vf", "settb=1/90000,setpts=N*3003+mod(N*7\\,5)*500", "-fps_mode", "passthrough", "-enc_time_base", "1:90000"];

/// What sources are like. Each is cut a few times with the other tests, and many times by `make soak`.
const SOURCES: [(&str, Recipe); 16] = [
    ("30 fps", PLAIN),
    ("25 fps, GOP 0.48 s in one segment", Recipe { fps: (25, 1), gop: 12, ..PLAIN }),
    ("25 fps, GOP 0.52 s, 4 in a segment", Recipe { fps: (25, 1), gop: 13, gops: 4, ..PLAIN }),
    ("29.97 fps", Recipe { fps: (30_000, 1001), ..PLAIN }),
    ("29.97 fps, GOP 0.5 s", Recipe { fps: (30_000, 1001), gop: 15, ..PLAIN }),
    ("60 fps, no B-frames", Recipe { fps: (60, 1), gop: 120, b_frames: 0, ..PLAIN }),
    // 2^33 ticks are 95,443.7 s; the stamps wrap 6 s into the source.
    ("wrap", Recipe { offset: 95_436.3, ..PLAIN }),
    ("open GOP", OPEN_GOP),
    (
        "5 B-frames",
        Recipe { b_frames: 5, extra: &["-preset", "slow", "-x264-params", "b-pyramid=normal:b-adapt=2"], ..PLAIN },
    ),
    ("varying frame rate", Recipe { extra: VARYING, ..PLAIN }),
    ("fMP4", Recipe { mp4: true, ..PLAIN }),
    ("fMP4, 29.97 fps", Recipe { mp4: true, fps: (30_000, 1001), ..PLAIN }),
    ("fMP4, no B-frames", Recipe { mp4: true, b_frames: 0, ..PLAIN }),
    ("HEVC", HEVC),
    ("HEVC, open GOP", Recipe { extra: &[X265, "log-level=error:open-gop=1"], ..HEVC }),
    ("HEVC in fMP4", Recipe { mp4: true, extra: &[X265, "log-level=error:open-gop=0", "-tag:v", "hvc1"], ..HEVC }),
];

/// Cuts at frame times and at others, over all lengths from one frame on.
async fn random_cuts(sources: &[(&str, Recipe)], rounds: u64) {
    let mut dice = Dice::new(seed(7));
    for (name, recipe) in sources {
        let source = record(*recipe);
        let frames = source.frames.len() as u64;
        for round in 0..rounds {
            let first = dice.below(frames - 1);
            let last = first + 1 + dice.below(frames - first - 1).min(if round % 3 == 0 { 3 } else { frames });
            // A frame is shown from its own time on; the range may start anywhere after the frame before.
            let within = |dice: &mut Dice| if round % 2 == 0 { 0 } else { -(dice.below(16_000) as i64) };
            let start = source.frame(first as usize).plus_micros(if first == 0 { 0 } else { within(&mut dice) });
            let end = source.frame(last as usize).plus_micros(within(&mut dice));
            let what = format!("{name}, cut {round}: {start} to {end}");
            let video = source.cut(CutType::Smart, &[(start, end)]).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_shows(&what, &video, &source.expected(start, end));
        }
    }
}

#[actix_rt::test]
async fn cuts_are_exact_at_any_frame_rate_and_length_of_gop() {
    random_cuts(&SOURCES[..5], 4).await;
}

#[actix_rt::test]
async fn cuts_are_exact_however_frames_are_ordered_and_stamped() {
    random_cuts(&SOURCES[5..10], 4).await;
}

#[actix_rt::test]
async fn fragmented_mp4_is_cut_exactly() {
    random_cuts(&SOURCES[10..13], 4).await;
}

#[actix_rt::test]
async fn hevc_is_cut_exactly() {
    random_cuts(&SOURCES[13..], 3).await;
}

#[actix_rt::test]
#[ignore = "takes minutes; run by `make soak`"]
async fn soak_many_random_cuts_of_every_source_are_exact() {
    random_cuts(&SOURCES, 25).await;
}

#[actix_rt::test]
async fn a_range_may_start_in_the_open_gop_of_its_first_segment() {
    // Of MPEG-TS only: ffmpeg's own fragmented MP4 gives the key frame of an open GOP a wrong presentation time.
    let source = record(OPEN_GOP);
    for segment in &source.segments[1..4] {
        let start = segment.start();
        for (start, end) in [
            (start, segment.end()),
            (start, start.plus_micros(5_000_000)),
            (start.plus_micros(20_000), start.plus_micros(200_000)),
        ] {
            let video = source.cut(CutType::Smart, &[(start, end)]).await.unwrap();
            assert_shows(&format!("open GOP, {start} to {end}"), &video, &source.expected(start, end));
        }
        assert_eq!(source.still(start).await.unwrap(), source.expected(start, segment.end())[0]);
    }
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
        let video = source.cut(CutType::Smart, &ranges).await.unwrap();
        let expected: Vec<usize> = ranges.iter().flat_map(|(start, end)| source.expected(*start, *end)).collect();
        assert_shows(&format!("{ranges:?}"), &video, &expected);
    }
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
    let video = source.cut(CutType::Smart, &[(source.frame(30), source.frame(250))]).await.unwrap();
    assert_shows("own PIDs", &video, &(30..250).collect::<Vec<_>>());
    let path = made.path().join("cut.ts");
    std::fs::write(&path, video).unwrap();
    let mut probe = Command::new("ffprobe");
    probe.args("-v error -show_entries program=program_id,pmt_pid:stream=id -of csv=p=0".split(' ')).arg(path);
    let text = String::from_utf8(run(&mut probe, &[]).0).unwrap();
    let numbers: BTreeSet<&str> = text.split(['\n', ',']).filter(|word| !word.is_empty()).collect();
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
    let video = source.cut(CutType::Smart, &[(source.frame(30), source.frame(250))]).await.unwrap();
    let audio = &packets(&video).audio;
    assert_rising("audio", audio);
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
