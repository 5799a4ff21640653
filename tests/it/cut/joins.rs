//! Hard cuts between ranges whose files hold sound of before their first picture, or of after their last one.

use std::process::Command;

use segvault::cut::CutType;

use super::matrix_judge::{Packet, packets_of};
use super::{PLAIN, Recipe, Source, assert_rising, decode, packets, record, run};

/// What an ear may hear before it notices.
const MAX_APART_90K: i64 = 20 * 90;
const FRAME_90K: i64 = 3000;
/// Sound whose stamps are worked out from those before lies this much beside them at most.
const ROUNDING_90K: i64 = 45;

/// Noise, so that no two packets of sound are alike.
const NOISE: &[&str] = &["-af", "aeval=random(0)*0.2:c=same"];

/// The same record, each file with the sound of so much later.
fn with_sound_of(source: &Source, later_90k: i64) -> Vec<Packet> {
    let contents: Vec<Vec<u8>> = (0..source.segments.len()).map(|at| std::fs::read(source.path(at)).unwrap()).collect();
    let dir = tempfile::tempdir().unwrap();
    let all = dir.path().join("all.ts");
    std::fs::write(&all, contents.concat()).unwrap();
    let (mut video, sound) = packets_of(&contents.concat());
    video.sort_by_key(|packet| packet.pts);
    for (at, content) in contents.iter().enumerate() {
        let (start, end) = (video[at * 60].pts + later_90k, video[at * 60].pts + 60 * FRAME_90K + later_90k);
        let mut remake = Command::new("ffmpeg");
        remake.args("-nostdin -v error -copyts -f mpegts -i - -copyts -i".split(' ')).arg(&all);
        remake.args("-map 0:v -map 1:a -c copy -mpegts_copyts 1 -muxpreload 0 -muxdelay 0.7 -bsf:a".split(' '));
        let other = format!("noise=drop=lt(pts\\,{start})+gte(pts\\,{end})");
        std::fs::write(source.path(at), run(remake.args([&other, "-f", "mpegts", "-"]), content).0).unwrap();
    }
    sound
}

/// Cuts ranges of frames, and judges picture and sound of each.
async fn assert_joined(source: &Source, sound: &[Packet], ranges: &[(usize, usize)], what: &str) {
    let times: Vec<_> = ranges.iter().map(|(first, until)| (source.frame(*first), source.frame(*until))).collect();
    let bytes = source.cut(CutType::Smart, &times).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (shown, words) = decode(&bytes);
    let expected: Vec<usize> = ranges.iter().flat_map(|(first, until)| *first..*until).collect();
    assert_eq!((shown, words.as_str()), (expected, ""), "{what}");
    assert_rising(what, &packets(&bytes).video);
    let (mut video, audio) = packets_of(&bytes);
    video.sort_by_key(|packet| packet.pts);
    let mut heard = 0;
    let mut before = i64::MIN;
    let mut shown_frames = 0;
    for (number, (first, until)) in ranges.iter().enumerate() {
        let start = video[shown_frames].pts;
        shown_frames += until - first;
        // At the start and the end of all, whole files are whole.
        let is_last = number == ranges.len() - 1;
        let heard_from = if number == 0 { i64::MIN } else { start - ROUNDING_90K };
        let end = if is_last { i64::MAX } else { start + (until - first) as i64 * FRAME_90K };
        // Frame 0 of the source has the time of the first of `video` less `first` frames.
        let source_start = sound_origin(source) + *first as i64 * FRAME_90K;
        let of_range: Vec<&Packet> =
            audio.iter().filter(|packet| packet.pts >= heard_from && packet.pts < end - ROUNDING_90K).collect();
        assert!(!of_range.is_empty(), "{what}: frames {first} to {until} are silent");
        for packet in of_range {
            let own = sound.iter().find(|own| own.hash == packet.hash);
            let own = own.unwrap_or_else(|| panic!("{what}: a packet of sound that the source does not have"));
            let apart = (packet.pts - start) - (own.pts - source_start);
            assert!(
                apart.abs() <= MAX_APART_90K,
                "{what}: sound of frames {first} to {until} lies {apart} ticks beside"
            );
            assert!(packet.dts > before, "{what}: {} follows {before}", packet.dts);
            before = packet.dts;
            heard += 1;
        }
    }
    // All of it belongs to a range, and begins over no other.
    assert_eq!(heard, audio.len(), "{what}");
}

/// The time stamp of the source's first frame.
fn sound_origin(source: &Source) -> i64 {
    super::sorted_pts(&std::fs::read(source.path(0)).unwrap(), false)[0]
}

#[actix_rt::test]
async fn sound_that_runs_past_its_picture_and_sound_that_begins_late_lie_over_no_other() {
    for later_ms in [300, -300, 60] {
        let source = record(Recipe { extra: NOISE, ..PLAIN });
        let sound = with_sound_of(&source, later_ms * 90);
        for ranges in [
            // Whole files, over and over, and back in time.
            &[(60, 120), (180, 240), (120, 180)][..],
            // A file that is the first and the last of its range; and more files than one.
            &[(60, 120), (60, 120), (120, 240)],
            // A trimmed start and a whole end; a whole start and a trimmed end.
            &[(80, 180), (240, 290), (30, 60), (200, 215)],
        ] {
            assert_joined(&source, &sound, ranges, &format!("sound of {later_ms} ms later, {ranges:?}")).await;
        }
    }
}
