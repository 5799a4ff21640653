//! Transitions: where the ranges lie over one another, both are seen; everywhere else each frame is the one asked for.

use std::process::Command;

use segvault::cut::{CutType, TRANSITIONS};

use super::{HEIGHT, PLAIN, Packets, Recipe, Source, WIDTH, assert_clock, assert_rising, number, packets, record, run};

/// The pictures of a video, in gray, and what ffmpeg said.
fn pictures(video: &[u8], size: usize) -> (Vec<Vec<u8>>, String) {
    let mut command = Command::new("ffmpeg");
    command.args("-nostdin -v warning -f mpegts -i - -map 0:v -fps_mode passthrough".split(' '));
    let (bytes, words) = run(command.args("-pix_fmt gray -f rawvideo -".split(' ')), video);
    (bytes.chunks_exact(size).map(<[u8]>::to_vec).collect(), words)
}

/// Frames 30 to 100 and 200 to 290, with a second of either over one another.
async fn second_of(source: &Source, transition: &str, cut_type: CutType) -> Vec<u8> {
    let ranges = [(source.frame(30), source.frame(100)), (source.frame(200), source.frame(290))];
    source.run(source.joined(cut_type, &ranges, &[transition])).await.unwrap_or_else(|e| panic!("{transition}: {e:?}"))
}

#[actix_rt::test]
async fn the_frames_beside_a_transition_are_those_asked_for() {
    for recipe in [PLAIN, Recipe { mp4: true, ..PLAIN }, Recipe { offset: 95_436.3, b_frames: 0, ..PLAIN }] {
        let source = record(recipe);
        let video = second_of(&source, "fade,1", CutType::Smart).await;
        let (pictures, words) = pictures(&video, WIDTH * HEIGHT);
        assert_eq!(words, "", "{recipe:?}");
        // 70 and 90 frames, less the 30 that lie over one another.
        assert_eq!(pictures.len(), 130, "{recipe:?}");
        let numbers = |pictures: &[Vec<u8>]| pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>();
        assert_eq!(numbers(&pictures[..40]), (30..70).collect::<Vec<_>>(), "{recipe:?}");
        assert_eq!(numbers(&pictures[70..]), (230..290).collect::<Vec<_>>(), "{recipe:?}");
        // The first frame of a fade is all old.
        assert_eq!(number(&pictures[40]), 70);
        let Packets { video: shown, audio } = &*packets(&video);
        assert_rising("video", shown);
        assert_rising("audio", audio);
        assert_clock("fade", &video);
        let mut pts: Vec<i64> = shown.iter().map(|(pts, _)| *pts).collect();
        pts.sort_unstable();
        let odd: Vec<&[i64]> = pts.windows(2).filter(|pair| pair[1] - pair[0] != 3000).collect();
        assert!(odd.is_empty(), "{odd:?}: {recipe:?}");
        let (first, last) = (audio[0].0, audio[audio.len() - 1].0);
        assert!((first - pts[0]).abs() < 3000 && (last - pts[129]).abs() < 9000, "{first} to {last}: {recipe:?}");
    }
}

#[actix_rt::test]
async fn a_fade_has_both_pictures_in_it() {
    let source = record(PLAIN);
    let video = second_of(&source, "fade,1", CutType::Smart).await;
    let (pictures, _) = pictures(&video, WIDTH * HEIGHT);
    // 85 is 0b000001010101 and 215 is 0b000011010111: where the bits differ, half way between dark and light.
    let bar = |at: usize| u32::from(pictures[55][HEIGHT / 2 * WIDTH + at * 16 + 8]);
    assert!((90..160).contains(&bar(4)) && (90..160).contains(&bar(10)), "{} {}", bar(4), bar(10));
    assert!(bar(0) < 90 && bar(5) > 160, "{} {}", bar(0), bar(5));
}

#[actix_rt::test]
async fn every_transition_of_the_table_is_drawn() {
    let source = record(Recipe { seconds: 6, ..PLAIN });
    // The blend takes up both.
    let ranges = [(source.frame(30), source.frame(45)), (source.frame(120), source.frame(135))];
    for kind in &TRANSITIONS {
        let plan = source.joined(CutType::Smart, &ranges, &[&format!("{},0.5", kind.name)]);
        let video = source.run(plan).await.unwrap_or_else(|e| panic!("{}: {e:?}", kind.name));
        let (pictures, words) = pictures(&video, WIDTH * HEIGHT);
        assert_eq!((pictures.len(), words.as_str()), (15, ""), "{}", kind.name);
        assert_eq!(number(&pictures[0]), 30, "{}", kind.name);
        let plain = |at: usize, of: usize| pictures[at].iter().zip(super::picture(of)).all(|(a, b)| a.abs_diff(b) < 40);
        let is_drawn = (1..15).any(|at| !plain(at, 30 + at) && !plain(at, 120 + at));
        assert!(is_drawn, "{} is a hard cut", kind.name);
    }
}

#[actix_rt::test]
async fn transitions_and_hard_cuts_follow_each_other_in_every_exact_type() {
    let source = record(Recipe { fps: (30_000, 1001), ..PLAIN });
    let range = |from: usize, until: usize| (source.frame(from), source.frame(until));
    let ranges = [range(10, 70), range(100, 160), range(200, 260), range(300, 330)];
    let transitions = ["clockwipe,0.5005", "", "starwipe,1.001"];
    for cut_type in [CutType::Smart, CutType::Mpegts] {
        let video = source.run(source.joined(cut_type, &ranges, &transitions)).await.unwrap();
        let (pictures, words) = pictures(&video, WIDTH * HEIGHT);
        assert_eq!(words, "", "{cut_type}");
        // 210 frames, less 15 and 30; each blend may have one more or less.
        assert!(pictures.len().abs_diff(165) <= 2, "{cut_type}: {}", pictures.len());
        assert_eq!((number(&pictures[0]), number(&pictures[44])), (10, 54), "{cut_type}");
        assert_rising("video", &packets(&video).video);
        assert_rising("audio", &packets(&video).audio);
    }
}

#[actix_rt::test]
async fn ranges_without_sound_or_of_another_size_are_blended_all_the_same() {
    let source = record(PLAIN);
    // The second range lies in segments of half the size, without sound.
    for at in 3..source.segments.len() {
        let mut other = Command::new("ffmpeg");
        other.args(
            "-nostdin -v error -copyts -i - -map 0:v -vf scale=96:32 -c:v libx264 -bf 0 -mpegts_copyts 1".split(' '),
        );
        let content = run(other.args(["-f", "mpegts", "-"]), &std::fs::read(source.path(at)).unwrap()).0;
        std::fs::write(source.path(at), content).unwrap();
    }
    let video = second_of(&source, "fade,1", CutType::Smart).await;
    assert_eq!(packets(&video).video.len(), 130);
}
