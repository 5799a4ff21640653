//! The last edge of a cut is made while what comes before it goes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use segvault::cut::{self, CutError, CutStream, CutType, Ffmpeg, Limits};

use super::{PLAIN, Recipe, Source, assert_shows, record};

/// From the middle of the first segment to the middle of the last one.
const FIRST: usize = 30;
const UNTIL: usize = 330;

/// The real ffmpeg, which counts how often it was started, and does `before` first.
struct Counted {
    ffmpeg: Ffmpeg,
    log: PathBuf,
    script: PathBuf,
}

impl Counted {
    fn new(source: &Source, before: &str, at_once: usize) -> Self {
        let dir = source.record.layout.base().with_file_name("programs");
        fs::create_dir_all(&dir).unwrap();
        let (script, log) = (dir.join("ahead-ffmpeg"), dir.join("runs"));
        fs::write(&log, "").unwrap();
        let text = format!("#!/bin/sh\necho run >> {}\n{before}\nexec ffmpeg \"$@\"\n", log.display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let ffmpeg = Ffmpeg::new(&script, Limits { at_once, ..Limits::default() });
        Self { ffmpeg, log, script }
    }

    fn runs(&self) -> usize {
        fs::read_to_string(&self.log).unwrap().lines().count()
    }

    async fn start(&self, source: &Source) -> CutStream {
        self.start_of(source, &[(FIRST, UNTIL)]).await
    }

    async fn start_of(&self, source: &Source, ranges: &[(usize, usize)]) -> CutStream {
        let ranges: Vec<_> = ranges.iter().map(|(first, until)| (source.frame(*first), source.frame(*until))).collect();
        let plan = source.plan(CutType::Smart, &ranges);
        cut::start(source.record.clone(), self.ffmpeg.clone(), plan).await.unwrap()
    }

    /// Waits until the second run has begun, and all have ended.
    async fn made_ahead(&self) {
        eventually(|| self.runs() == 2 && self.ffmpeg.in_use() == 0).await;
    }
}

async fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

/// Takes pieces until the first edge has gone out, and something of what is copied.
async fn past_first_edge(stream: &mut CutStream) -> Vec<u8> {
    let mut taken = Vec::new();
    while stream.receipt().json()["segments"].as_array().unwrap().is_empty() {
        taken.extend(stream.next().await.unwrap().unwrap());
    }
    taken
}

async fn rest(stream: &mut CutStream) -> Result<Vec<u8>, CutError> {
    let mut taken = Vec::new();
    while let Some(bytes) = stream.next().await {
        taken.extend(bytes?);
    }
    Ok(taken)
}

#[actix_rt::test]
async fn the_last_edge_is_there_before_its_turn_and_keeps_nobody_waiting() {
    let source = record(PLAIN);
    let counted = Counted::new(&source, "", 2);
    let mut stream = counted.start(&source).await;
    let mut video = past_first_edge(&mut stream).await;
    // Nobody takes anything: its place for ffmpeg is free again all the same.
    counted.made_ahead().await;
    video.extend(rest(&mut stream).await.unwrap());
    assert_eq!(counted.runs(), 2);
    assert_shows("made ahead", &video, &(FIRST..UNTIL).collect::<Vec<_>>());
    let receipt = stream.receipt().json();
    assert_eq!((&receipt["frames"]["copied"], &receipt["frames"]["re_encoded"]), (&240.into(), &60.into()));
}

#[actix_rt::test]
async fn what_is_hidden_after_it_was_made_ahead_does_not_go_out() {
    let source = record(PLAIN);
    let counted = Counted::new(&source, "", 2);
    let mut stream = counted.start(&source).await;
    past_first_edge(&mut stream).await;
    counted.made_ahead().await;
    fs::write(source.path(5).with_extension("tombstone"), "").unwrap();
    let failed = rest(&mut stream).await.map(|bytes| bytes.len());
    assert!(matches!(failed, Err(CutError::Tombstoned { .. })), "{failed:?}");
}

/// A file of no range is decoded for what an open GOP takes from it.
#[actix_rt::test]
async fn what_helped_with_an_edge_and_is_hidden_since_has_no_part_in_it() {
    let source = record(Recipe { extra: &["-x264-params", "open-gop=1", "-bsf:v", "dump_extra"], ..PLAIN });
    // The first range ends where the fourth segment begins, the second one begins in the middle of the fifth.
    let ends = source.segments[3].start();
    let ends = source.frames.iter().find_map(|(number, time)| (*time >= ends).then_some(*number)).unwrap();
    let ranges = [(FIRST, ends), (270, UNTIL)];
    let shown: Vec<usize> = ranges.iter().flat_map(|(first, until)| *first..*until).collect();
    let mut runs = Vec::new();
    for is_hidden in [false, true] {
        let counted = Counted::new(&source, "", 2);
        let mut stream = counted.start_of(&source, &ranges).await;
        let mut video = past_first_edge(&mut stream).await;
        // The second segment follows an edge, and its first frames are made anew: that run waits for its reader, and only that.
        eventually(|| counted.runs() == 3 && counted.ffmpeg.in_use() == 1).await;
        if is_hidden {
            fs::write(source.path(3).with_extension("tombstone"), "").unwrap();
        }
        video.extend(rest(&mut stream).await.unwrap());
        assert_shows("with and without it", &video, &shown);
        runs.push(counted.runs());
    }
    assert_eq!(runs[1], runs[0] + 1, "it is made again");
}

#[actix_rt::test]
async fn an_edge_that_fails_ahead_is_made_at_its_turn() {
    let source = record(PLAIN);
    let fails_once = "[ $(wc -l < ${0%/*}/runs) != 2 ] || exit 1";
    let counted = Counted::new(&source, fails_once, 2);
    let mut stream = counted.start(&source).await;
    let mut video = past_first_edge(&mut stream).await;
    counted.made_ahead().await;
    video.extend(rest(&mut stream).await.unwrap());
    assert_eq!(counted.runs(), 3);
    assert_shows("made at its turn", &video, &(FIRST..UNTIL).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_single_place_for_ffmpeg_gives_the_same_frames() {
    let source = record(PLAIN);
    let counted = Counted::new(&source, "", 1);
    let video = rest(&mut counted.start(&source).await).await.unwrap();
    assert_shows("one at once", &video, &(FIRST..UNTIL).collect::<Vec<_>>());
    assert_eq!(counted.ffmpeg.in_use(), 0);
}

#[actix_rt::test]
async fn what_is_being_made_ahead_ends_when_the_client_leaves() {
    let source = record(PLAIN);
    let stays = "[ $(wc -l < ${0%/*}/runs) != 2 ] || sleep 600";
    let counted = Counted::new(&source, stays, 2);
    let mut stream = counted.start(&source).await;
    past_first_edge(&mut stream).await;
    eventually(|| counted.runs() == 2).await;
    assert_eq!(counted.ffmpeg.in_use(), 1);
    drop(stream);
    let script = counted.script.to_str().unwrap();
    let is_running = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok()).any(|line| {
            // The shell that runs it, which has its path as an argument.
            line.split('\0').any(|word| word == script)
        })
    };
    eventually(|| counted.ffmpeg.in_use() == 0 && !is_running()).await;
}
