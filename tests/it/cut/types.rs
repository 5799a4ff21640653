//! What each type of cut shows, and how it is packed.

use std::collections::BTreeSet;
use std::process::Command;

use segvault::cut::{self, CutError, CutType, Ffmpeg, KnownEncodings, Limits, Plan};
use segvault::store::load_span;

use super::{PLAIN, Recipe, assert_rising, assert_shows, decode, packets, record, run};

/// `container,codec of video,codec of audio`, as ffprobe sees it.
fn kind_of(video: &[u8]) -> String {
    let mut probe = Command::new("ffprobe");
    probe.args("-v error -show_entries format=format_name:stream=codec_name -of csv=p=0 -".split(' '));
    let text = String::from_utf8(run(&mut probe, video).0).unwrap();
    let text = text.replace('"', "");
    let words: BTreeSet<&str> = text.split_whitespace().collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
}

#[actix_rt::test]
async fn every_exact_type_has_the_frames_asked_for() {
    // The stamps of the second wrap in its course.
    for recipe in [PLAIN, Recipe { offset: 95_436.3, ..PLAIN }, Recipe { mp4: true, ..PLAIN }] {
        let source = record(recipe);
        let ranges = [(source.frame(50), source.frame(190)), (source.frame(250), source.frame(263))];
        let expected: Vec<usize> = (50..190).chain(250..263).collect();
        for (cut_type, content, kind) in [
            (CutType::Smart, "video/mp2t", "aac h264 mpegts"),
            (CutType::Mp4, "video/mp4", "aac h264 mov,mp4,m4a,3gp,3g2,mj2"),
            (CutType::Mpegts, "video/mp2t", "aac h264 mpegts"),
            (CutType::Webm, "video/webm", "matroska,webm opus vp9"),
        ] {
            let what = format!("{cut_type} of {recipe:?}");
            let stream = source.start(cut_type, &ranges).await.unwrap();
            assert_eq!((stream.content_type().as_str(), stream.size_bytes()), (content, None), "{what}");
            drop(stream);
            let video = source.cut(cut_type, &ranges).await.unwrap();
            assert_eq!(kind_of(&video), kind, "{what}");
            let (shown, words) = decode(&video);
            assert_eq!((shown, words.as_str()), (expected.clone(), ""), "{what}");
        }
    }
}

#[actix_rt::test]
async fn an_exact_cut_starts_at_the_start_of_time_and_not_with_the_source() {
    let source = record(Recipe { offset: 95_436.3, ..PLAIN });
    for (first, until) in [(0, 120), (60, 120), (70, 300)] {
        let video = source.cut(CutType::Smart, &[(source.frame(first), source.frame(until))]).await.unwrap();
        assert_shows("over the wrap", &video, &(first..until).collect::<Vec<_>>());
        let mut pts: Vec<i64> = packets(&video).video.iter().map(|(pts, _)| *pts).collect();
        pts.sort_unstable();
        assert_eq!(pts[0], 2 * 90_000);
        assert_eq!(pts[pts.len() - 1], 2 * 90_000 + (until - first - 1) as i64 * 3000);
    }
}

#[actix_rt::test]
async fn an_archive_has_whole_segments_with_their_packets_as_they_were() {
    for recipe in [PLAIN, Recipe { offset: 95_436.3, ..PLAIN }, Recipe { mp4: true, ..PLAIN }] {
        let source = record(recipe);
        let range = (source.frame(70), source.frame(200));
        let video = source.cut(CutType::Archive, &[range]).await.unwrap();
        assert_eq!(kind_of(&video), "aac h264 matroska,webm", "{recipe:?}");
        let (shown, words) = decode(&video);
        assert_eq!((shown, words.as_str()), ((60..240).collect(), ""), "{recipe:?}");
    }
}

#[actix_rt::test]
async fn packing_goes_on_with_a_single_place_for_ffmpeg() {
    let source = record(Recipe { mp4: true, ..PLAIN });
    let single = Ffmpeg::new("ffmpeg", Limits { at_once: 1, ..Limits::default() });
    let plan = source.plan(CutType::Mp4, &[(source.frame(50), source.frame(190))]);
    let stream = cut::start(source.record.clone(), single.clone(), plan).await.unwrap();
    assert_eq!(single.in_use(), 1);
    drop(stream);
    assert_eq!(single.in_use(), 0);
}

#[actix_rt::test]
async fn input_that_fails_in_its_course_ends_a_packed_cut_with_an_error() {
    let source = record(PLAIN);
    let ranges = [(source.frame(30), source.frame(330))];
    for cut_type in [CutType::Mp4, CutType::Mpegts, CutType::Webm] {
        // The file of the last edge; ffmpeg has been fed with all before it by then.
        let last = std::fs::read(source.path(5)).unwrap();
        std::fs::write(source.path(5), vec![0x47; last.len()]).unwrap();
        let failed = source.cut(cut_type, &ranges).await.map(|bytes| bytes.len());
        std::fs::write(source.path(5), &last).unwrap();
        assert!(matches!(failed, Err(CutError::NoStamps { .. })), "{cut_type}: {failed:?}");
    }
}

#[actix_rt::test]
async fn archives_of_a_range_with_a_hole_are_two() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(2)).unwrap();
    let record = &source.record;
    let span = segvault::model::Span::new(source.frame(0), source.frame(359)).unwrap();
    let selection = load_span(&record.layout, &record.channel, &record.quality, span).unwrap();
    let mut shown = Vec::new();
    for plan in Plan::archives(&selection, &KnownEncodings::default()) {
        let mut stream = cut::start(record.clone(), super::ffmpeg(), plan).await.unwrap();
        let mut video = Vec::new();
        while let Some(bytes) = futures_util::StreamExt::next(&mut stream).await {
            video.extend(bytes.unwrap());
        }
        shown.push(decode(&video).0);
    }
    assert_eq!(shown, [(0..120).collect::<Vec<_>>(), (180..360).collect()]);
}

#[actix_rt::test]
async fn a_full_re_encode_has_dts_that_rise() {
    let source = record(PLAIN);
    let video = source.cut(CutType::Mpegts, &[(source.frame(50), source.frame(190))]).await.unwrap();
    assert_rising("mpegts", &packets(&video).video);
    assert_rising("mpegts", &packets(&video).audio);
}
