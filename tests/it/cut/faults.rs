//! What must not be cut, and what must end.

use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use segvault::cut::{self, CutError, CutType, Ffmpeg, Limits, Piece, Plan, PlanError};

use segvault::model::SegmentKind;

use super::{PLAIN, Recipe, Source, assert_rising, decode, ffmpeg, packets, put, record, run};

#[actix_rt::test]
async fn a_tombstone_stops_a_cut_before_and_in_its_course() {
    let source = record(PLAIN);
    let range = (source.frame(30), source.frame(330));
    // The others read as far ahead as their ffmpeg takes.
    for cut_type in [CutType::Smart, CutType::Rough] {
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
    // The others read as far ahead as their ffmpeg takes.
    for cut_type in [CutType::Smart, CutType::Rough] {
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
    let failed = source.cut(CutType::Smart, &[edge]).await;
    assert!(matches!(failed, Err(CutError::Codec { stream_type: 2, .. })), "{failed:?}");

    std::fs::write(source.path(0), vec![b'<'; 10_000]).unwrap();
    let failed = source.cut(CutType::Smart, &[edge]).await;
    assert!(matches!(failed, Err(CutError::NoStamps { .. })), "{failed:?}");

    std::fs::write(source.path(0), [&[0, 0, 0, 8][..], b"moof", &whole].concat()).unwrap();
    let failed = source.cut(CutType::Smart, &[edge]).await;
    assert!(matches!(failed, Err(CutError::MixedContainers { .. })), "{failed:?}");
}

/// Makes each segment's video another, in fragmented MP4.
fn encode_again(source: &Source, coding: &str) {
    let words = format!(
        "-nostdin -v error -copyts -i - -fps_mode passthrough {coding} -c:a copy \
         -movflags frag_keyframe+empty_moov+default_base_moof+delay_moov -f mp4 -"
    );
    for at in 0..source.segments.len() {
        let whole = std::fs::read(source.path(at)).unwrap();
        std::fs::write(source.path(at), run(Command::new("ffmpeg").args(words.split_whitespace()), &whole).0).unwrap();
    }
}

#[actix_rt::test]
async fn video_that_mpeg_ts_does_not_carry_is_not_copied_and_not_left_out() {
    for (letters, coding) in [
        ("av01", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
        ("vp09", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
    ] {
        let source = record(Recipe { mp4: true, seconds: 6, ..PLAIN });
        encode_again(&source, coding);
        let ranges = [(source.frame(10), source.frame(100)), (source.frame(130), source.frame(134))];
        for cut_type in [CutType::Smart, CutType::Mp4, CutType::Faststart, CutType::Archive] {
            let failed = source.cut(cut_type, &ranges[..1]).await.map(|video| video.len());
            let Err(CutError::Uncarried { codec, .. }) = failed else { panic!("{letters}, {cut_type}: {failed:?}") };
            assert_eq!(codec, letters);
        }
        assert!(source.cut(CutType::Rough, &ranges).await.unwrap().len() > 1000);
        // What is encoded anyway is exact, over the end of a file too.
        for cut_type in [CutType::Mpegts, CutType::Webm] {
            let (shown, words) = decode(&source.cut(cut_type, &ranges).await.unwrap());
            let expected = (10..100).chain(130..134).collect();
            assert_eq!((shown, words.as_str()), (expected, ""), "{letters}, {cut_type}");
        }
        for number in [10, 59, 60, 179] {
            assert_eq!(source.still(source.frame(number)).await.unwrap(), number, "{letters}");
        }
    }
}

#[actix_rt::test]
async fn what_does_not_decode_from_its_first_frame_on_is_an_error_and_not_a_shorter_cut() {
    let source = record(Recipe { mp4: true, seconds: 4, ..PLAIN });
    encode_again(&source, "-c:v libaom-av1 -cpu-used 8 -usage realtime");
    // Behind its initialisation section, zeros where the first frames were.
    let mut whole = std::fs::read(source.path(0)).unwrap();
    let media = whole.windows(4).position(|letters| letters == b"mdat").unwrap() + 4;
    whole[media..][..200].fill(0);
    std::fs::write(source.path(0), whole).unwrap();
    let failed = source.cut(CutType::Mpegts, &[(source.frame(10), source.frame(100))]).await.map(|video| video.len());
    assert!(matches!(failed, Err(CutError::Inexact { .. } | CutError::FfmpegFailed { .. })), "{failed:?}");
}

#[actix_rt::test]
async fn undecodable_frames_are_an_error_unless_the_segment_is_known_to_be_damaged() {
    let source = record(PLAIN);
    let range = (source.frame(30), source.frame(100));
    // The tables and a key frame, then from the middle on: what lies between is lost, and some of what follows with it.
    let whole = std::fs::read(source.path(0)).unwrap();
    let at = |part: usize| whole.len() * part / 8 / 188 * 188;
    let damaged = [&whole[..at(1)], &whole[at(4)..]].concat();
    std::fs::write(source.path(0), &whole[..at(0) + 2 * 188]).unwrap();
    let failed = source.cut(CutType::Smart, &[range]).await.map(|bytes| bytes.len());
    assert!(matches!(failed, Err(CutError::NoStamps { .. })), "{failed:?}");

    std::fs::remove_file(source.path(0)).unwrap();
    let name = &source.segments[0];
    put(&source.record, name.start(), name.end(), SegmentKind::Partial, &damaged);
    let video = source.cut(CutType::Smart, &[range]).await.unwrap();
    let (shown, _) = decode(&video);
    assert!(shown.ends_with(&(60..100).collect::<Vec<_>>()), "{shown:?}");
    // What a decoder makes of a picture whose reference is lost is anyone's guess, but not that there are fewer.
    assert!(shown.len() < 70, "{shown:?}");
    assert_rising("a damaged start", &packets(&video).video);
}

#[actix_rt::test]
async fn holes_are_passed_over_where_they_are_allowed() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(2)).unwrap();
    let range = (source.frame(30), source.frame(250));
    let selection = source.select(range.0, range.1);
    assert!(matches!(Plan::new(CutType::Smart, &[Piece::Range(selection)], false), Err(PlanError::Holes(_))));
    let video = source.cut(CutType::Smart, &[range]).await.unwrap();
    let (shown, _) = decode(&video);
    assert_eq!(shown, (30..120).chain(180..250).collect::<Vec<_>>());
    assert_rising("over a hole", &packets(&video).video);
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
    let plan = source.plan(CutType::Smart, &[(source.frame(30), source.frame(330))]);
    let stream = cut::start(source.record.clone(), ffmpeg.clone(), plan).await.unwrap();
    assert_eq!((children().len(), ffmpeg.in_use()), (1, 1));
    drop(stream);
    assert_eq!(ffmpeg.in_use(), 0);
    for _ in 0..3000 {
        if children().is_empty() {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still there: {:?}", children());
}
