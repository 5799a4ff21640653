use std::ffi::OsString;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::*;
use crate::cut::files::ByteStream;

const SHORT: Duration = Duration::from_millis(100);

fn ffmpeg(program: &str) -> Ffmpeg {
    Ffmpeg::new(program, Limits { at_once: 1, ..Limits::default() })
}

fn nothing() -> ByteStream {
    stream::empty().boxed()
}

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

async fn all(mut running: Running) -> Result<Vec<u8>, CutError> {
    let mut out = Vec::new();
    while let Some(bytes) = running.next().await? {
        out.extend(bytes);
    }
    Ok(out)
}

#[actix_rt::test]
async fn a_missing_program_is_named() {
    let ffmpeg = ffmpeg("/nowhere/ffmpeg");
    assert!(matches!(ffmpeg.probe().await, Err(CutError::FfmpegMissing { .. })));
    let failed = ffmpeg.seat().await.unwrap().run(vec![], nothing());
    let text = failed.unwrap_err().to_string();
    assert_eq!(text, "cannot run /nowhere/ffmpeg; is ffmpeg installed?");
}

#[actix_rt::test]
async fn the_installed_one_says_what_it_has() {
    let probe = ffmpeg("ffmpeg").probe().await.unwrap();
    assert!(probe.version.starts_with(|c: char| c.is_ascii_digit() || c == 'n' || c == 'N'), "{probe:?}");
    assert!(!probe.missing.contains(&"libx264"), "{probe:?}");
}

#[actix_rt::test]
async fn its_last_words_are_in_the_error() {
    let seat = ffmpeg("ffmpeg").seat().await.unwrap();
    let failed = all(seat.run(args(&["-f", "no-such-format", "-i", "-"]), nothing()).unwrap()).await;
    let Err(CutError::FfmpegFailed { last_words, .. }) = failed else { panic!("{failed:?}") };
    assert!(last_words.contains("no-such-format"), "{last_words}");
}

#[actix_rt::test]
async fn input_that_fails_is_the_error_though_the_child_ends_well() {
    let seat = ffmpeg("ffmpeg").seat().await.unwrap();
    let input = stream::iter([Ok(Bytes::from_static(&[0; 400])), Err(CutError::Vanished { segment: "it".into() })]);
    let copy = args(&["-f", "u8", "-ar", "8000", "-ac", "1", "-i", "-", "-f", "u8", "-"]);
    let failed = all(seat.run(copy, input.boxed()).unwrap()).await;
    assert!(matches!(failed, Err(CutError::Vanished { .. })), "{failed:?}");
}

#[actix_rt::test]
async fn places_are_counted_and_given_back() {
    let ffmpeg = Ffmpeg::new("ffmpeg", Limits { at_once: 1, queue_wait: SHORT, ..Limits::default() });
    let seat = ffmpeg.seat().await.unwrap();
    let chained = seat.clone();
    drop(seat);
    assert_eq!(ffmpeg.in_use(), 1);
    assert!(matches!(ffmpeg.seat().await, Err(CutError::Busy { .. })));
    assert_eq!(ffmpeg.waiting(), 0);
    drop(chained);
    assert_eq!(ffmpeg.in_use(), 0);
    ffmpeg.seat().await.unwrap();
}

#[actix_rt::test]
async fn those_who_wait_get_their_places_in_the_order_of_asking() {
    let ffmpeg = ffmpeg("ffmpeg");
    let seat = ffmpeg.seat().await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..5 {
        let (places, served) = (ffmpeg.clone(), Arc::clone(&served));
        waiting.push(actix_rt::spawn(async move {
            let seat = places.seat().await.unwrap();
            served.lock().unwrap().push(number);
            // Gives others a chance to push themselves in front.
            tokio::task::yield_now().await;
            drop(seat);
        }));
        while ffmpeg.waiting() <= number {
            tokio::task::yield_now().await;
        }
    }
    // The third leaves before its turn.
    waiting.remove(2).abort();
    drop(seat);
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(*served.lock().unwrap(), [0, 1, 3, 4]);
    assert_eq!((ffmpeg.in_use(), ffmpeg.waiting()), (0, 0));
}

#[actix_rt::test]
async fn what_is_made_before_its_turn_takes_nobodys_place() {
    let ffmpeg = Ffmpeg::new("ffmpeg", Limits { at_once: 2, ..Limits::default() });
    let (seat, holds) = ffmpeg.spare_seat().unwrap();
    let last = ffmpeg.seat().await.unwrap();
    assert!(ffmpeg.spare_seat().is_none());
    drop((seat, last));
    // What was made is still held.
    let more: Vec<_> = (1..AHEAD_AT_ONCE).map(|_| ffmpeg.spare_seat().unwrap().1).collect();
    assert!(ffmpeg.spare_seat().is_none());
    assert_eq!(ffmpeg.in_use(), 0);
    drop((holds, more));
    assert!(ffmpeg.spare_seat().is_some());
}

/// Waits until no such process runs; a zombie does not run.
async fn gone(process_id: u32) {
    for _ in 0..3000 {
        let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
        if status.is_empty() || status.contains("State:\tZ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {process_id} is still there");
}

fn nice(process_id: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap();
    // The 17th field after the name: proc(5).
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[actix_rt::test]
async fn a_child_dies_with_its_handle_and_when_it_stalls() {
    let seat = ffmpeg("ffmpeg").seat().await.unwrap();
    let endless = args(&["-re", "-f", "lavfi", "-i", "anullsrc", "-f", "s16le", "-"]);
    let mut running = seat.run(endless, nothing()).unwrap();
    let process_id = running.process_id().unwrap();
    assert!(running.next().await.unwrap().is_some());
    assert!(nice(process_id) >= 10, "it takes the processor from recording");
    drop(running);
    gone(process_id).await;

    let impatient = Ffmpeg::new("ffmpeg", Limits { stall: SHORT, ..Limits::default() });
    let seat = impatient.seat().await.unwrap();
    let waits_for_input = args(&["-f", "u8", "-ar", "8000", "-i", "-", "-f", "u8", "-"]);
    let mut running = seat.run(waits_for_input, stream::pending().boxed()).unwrap();
    let process_id = running.process_id().unwrap();
    assert!(matches!(running.next().await, Err(CutError::FfmpegStalled { .. })));
    drop(running);
    gone(process_id).await;
}
