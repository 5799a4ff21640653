//! How soon a seam can be looked at.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{PLAIN, Recipe, Source, packets, run, segments_of, store};
use crate::support::NodeProcess;

/// What somebody waits for who moves a seam to and fro.
const SOON: Duration = Duration::from_secs(1);
/// No preview is sooner than the decoding of what it shows. Where that alone takes longer than this, the machine is busy with other
/// things, or slow: a preview may take so many times as long.
const USUAL_DECODING: Duration = Duration::from_millis(600);
const TIMES_OF_DECODING: u32 = 3;
/// A machine that has much else to do may take it away from the one and not from the other; not each time.
const TRIES: usize = 4;

/// As sources are: full HD at 60 frames a second, and two others.
const FILMS: [(&str, Recipe); 3] = [
    ("1920x1080", Recipe { fps: (60, 1), gop: 120, seconds: 8, ..PLAIN }),
    ("1280x720", Recipe { b_frames: 0, seconds: 8, ..PLAIN }),
    ("1280x720", Recipe { fps: (25, 1), gop: 50, codec: "libx265", seconds: 8, ..PLAIN }),
];

fn film(size: &str, recipe: Recipe) -> Source {
    let dir = tempfile::tempdir().unwrap();
    let Recipe { fps, gop, b_frames, seconds, codec, .. } = recipe;
    let words = format!(
        "-nostdin -v error -f lavfi -i testsrc2=s={size}:r={}/{} -f lavfi -i sine=440:r=48000 -t {seconds} -pix_fmt yuv420p \
         -c:v {codec} -preset ultrafast -b:v 4M -bf {b_frames} -g {gop} -keyint_min {gop} -sc_threshold 0 -c:a aac \
         -f hls -hls_time 1.99 -hls_list_size 0",
        fps.0, fps.1
    );
    let mut command = Command::new("ffmpeg");
    command.current_dir(dir.path()).args(words.split_whitespace());
    if codec == "libx265" {
        command.args(["-x265-params", "log-level=error:open-gop=0:scenecut=0"]);
    }
    run(command.arg("list.m3u8"), &[]);
    store(&segments_of(dir.path()), recipe)
}

/// How long ffmpeg takes to decode two files at once, when it yields to others as that of a node does.
fn decoding(files: [&Path; 2]) -> Duration {
    let began = Instant::now();
    let children = files.map(|file| {
        let mut command = Command::new("nice");
        command.args("-n 10 ffmpeg -nostdin -v error -f mpegts -i".split(' ')).arg(file);
        command.args("-map 0:v -f null -".split(' ')).spawn().unwrap()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    began.elapsed()
}

#[test]
fn a_preview_of_a_seam_is_there_within_a_second() {
    for (size, recipe) in FILMS {
        let source = film(size, recipe);
        let node = NodeProcess::start(source.record.layout.base(), &[]);
        let fps = recipe.fps.0 as usize;
        let mut times_the_limit = Vec::new();
        for round in 0..TRIES {
            // From within a file into another one; the blend begins and ends amid both.
            let frame = |seconds: f64| source.frame((seconds * fps as f64) as usize + round);
            let ranges = format!("range={},{}&range={},{}", frame(0.5), frame(1.75), frame(4.25), frame(7.0));
            let reference = decoding([&source.path(0), &source.path(2)]);
            let began = Instant::now();
            let preview = node.get(&format!("/cut/preview/ch/source.ts?{ranges}&transition=fade,1"));
            let took = began.elapsed();
            assert_eq!((preview.status, preview.complete), (200, true), "{}", preview.text());
            assert_eq!(packets(&preview.body).video.len(), fps, "{size}");
            let limit = if reference <= USUAL_DECODING { SOON } else { reference * TIMES_OF_DECODING };
            println!("{size} {}: {took:?}, where decoding takes {reference:?}", recipe.codec);
            times_the_limit.push(took.as_secs_f64() / limit.as_secs_f64());
            if took <= limit {
                break;
            }
        }
        node.stop();
        assert!(
            times_the_limit.iter().any(|times| *times <= 1.0),
            "{size}: {times_the_limit:?} times as long as it may"
        );
    }
}
