//! MP4 whose index comes first.

use std::process::Command;

use segvault::cut::{self, CutError, CutType, Ffmpeg, Limits};
use segvault::media::mp4;
use segvault::store::Scratch;

use super::{PLAIN, Recipe, Source, decode, record};
use crate::support::{NodeProcess, output};

/// Its boxes, in order.
fn boxes(video: &[u8]) -> Vec<String> {
    mp4::boxes(video).map(|(kind, _)| String::from_utf8_lossy(kind).into_owned()).collect()
}

fn assert_index_first(video: &[u8]) {
    let boxes = boxes(video);
    let place = |kind: &str| boxes.iter().position(|found| found == kind);
    assert!(place("moov") < place("mdat") && place("moov").is_some(), "{boxes:?}");
    assert!(place("moof").is_none(), "{boxes:?}");
}

/// In BASE/.segvault, as a node has it.
fn scratch(source: &Source, leave_free_bytes: u64) -> Scratch {
    std::fs::create_dir(source.record.layout.own_dir()).unwrap();
    Scratch::of_record(&source.record.layout, leave_free_bytes)
}

/// What lies in BASE/.segvault that a node does not always have there.
fn left(source: &Source) -> Vec<String> {
    let own = std::fs::read_dir(source.record.layout.own_dir()).unwrap();
    let names = own.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".tmp")).collect()
}

#[actix_rt::test]
async fn its_index_is_first_and_its_frames_are_those_asked_for() {
    let base = Recipe { seconds: 8, ..PLAIN };
    // The stamps of the second wrap in its course.
    for recipe in [base, Recipe { offset: 95_440.3, ..base }, Recipe { mp4: true, ..base }] {
        let source = record(recipe);
        let ranges = [(source.frame(50), source.frame(130)), (source.frame(200), source.frame(213))];
        let plan = source.plan(CutType::Faststart, &ranges);
        let scratch = scratch(&source, 0);
        let ffmpeg = Ffmpeg::with_scratch("ffmpeg", Limits { at_once: 1, ..Limits::default() }, scratch);
        let stream = cut::start(source.record.clone(), ffmpeg.clone(), plan).await.unwrap();
        assert_eq!((stream.content_type().as_str(), ffmpeg.in_use()), ("video/mp4", 1));
        let (size, receipt) = (stream.size_bytes(), stream.receipt());
        let pieces: Vec<_> = futures_util::StreamExt::collect(stream).await;
        let video: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap()).collect();
        assert_eq!(size, Some(video.len() as u64));
        assert_eq!((receipt.json()["outcome"].as_str(), ffmpeg.in_use()), (Some("done"), 0));
        assert_index_first(&video);
        let (shown, words) = decode(&video);
        let expected: Vec<usize> = (50..130).chain(200..213).collect();
        assert_eq!((shown, words.as_str()), (expected, ""), "{recipe:?}");
        assert_eq!(std::fs::read_dir(source.record.layout.own_dir()).unwrap().count(), 0);
    }
}

#[actix_rt::test]
async fn without_room_on_the_disk_it_is_refused() {
    let source = record(Recipe { seconds: 4, ..PLAIN });
    let plan = source.plan(CutType::Faststart, &[(source.frame(10), source.frame(100))]);
    let ffmpeg = Ffmpeg::with_scratch("ffmpeg", Limits::default(), scratch(&source, u64::MAX));
    let refused = cut::start(source.record.clone(), ffmpeg.clone(), plan).await.map(|stream| stream.size_bytes());
    assert!(matches!(refused, Err(CutError::NoRoom)), "{refused:?}");
    assert_eq!(ffmpeg.in_use(), 0);
}

#[actix_rt::test]
async fn input_that_fails_is_an_error_before_the_first_byte() {
    let source = record(PLAIN);
    let last = std::fs::read(source.path(5)).unwrap();
    std::fs::write(source.path(5), vec![0x47; last.len()]).unwrap();
    let failed = source.start(CutType::Faststart, &[(source.frame(30), source.frame(330))]).await.map(|_| ());
    assert!(matches!(failed, Err(CutError::NoStamps { .. })), "{failed:?}");
}

#[test]
fn it_is_served_with_its_length_and_written_by_the_command() {
    let source = record(Recipe { seconds: 6, ..PLAIN });
    let base = source.record.layout.base();
    let node = NodeProcess::start(base, &[]);
    let range = format!("{},{}", source.frame(20), source.frame(150));
    let expected: Vec<usize> = (20..150).collect();
    let path = format!("/cut/ch/source.ts?range={range}&type=faststart");
    let served = node.get(&path);
    assert_eq!((served.status, served.header("content-type"), served.complete), (200, "video/mp4", true));
    assert_eq!(served.header("content-length"), served.body.len().to_string());
    assert_index_first(&served.body);
    assert_eq!(decode(&served.body).0, expected);
    assert_eq!(left(&source), [""; 0]);
    node.stop();

    let node = NodeProcess::start_with(base, "[retention]\nmin_free = \"900TiB\"\n", |_| {});
    let refused = node.get(&path);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (507, Some("no_room")), "{}", refused.text());
    node.stop();

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.mp4");
    let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
    command.arg("cut").arg("--dir").arg(base).args(["ch", "source", "--range", &range, "--type", "faststart", "-o"]);
    let made = output(command.arg(&file));
    assert!(made.status.success(), "{made:?}");
    let video = std::fs::read(&file).unwrap();
    assert_index_first(&video);
    assert_eq!(decode(&video).0, expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
