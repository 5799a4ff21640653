//! Cuts in a real browser: Chromium plays them from the first frame to the last one, and has nothing to complain about.

use std::process::Command;

use segvault::cut::Record;
use segvault::model::{SegmentKind, Timestamp};
use segvault::rehearsal::barcode;

use super::matrix_reels::{Film, KINDS};
use super::{packets, put, run};
use crate::player::browser::{Browser, Told};
use crate::support::{NodeProcess, eventually};

/// Of `KINDS`.
const OPEN_GOP: usize = 4;
/// Frames of each film that are cut: from the middle of a segment to the middle of another, over the hour.
const FIRST_SECONDS: f64 = 5.5;
const SECONDS: f64 = 2.8;
const ATTEMPTS: usize = 4;

/// The frames that a cut shows, and its range.
struct Asked {
    first: usize,
    count: usize,
    range: (Timestamp, Timestamp),
}

impl Asked {
    fn of(film: &Film) -> Self {
        let frames = film.source.frames.len() as f64 / super::matrix_reels::SECONDS as f64;
        let (first, count) = ((FIRST_SECONDS * frames) as usize, (SECONDS * frames) as usize);
        let range = (film.source.frame(first), film.source.frame(first + count));
        assert_eq!(film.source.expected(range.0, range.1).len(), count);
        Self { first, count, range }
    }

    /// Opens it in a browser, as this type.
    fn play(&self, node: &NodeProcess, cut_type: &str, as_segment: bool) -> Browser {
        let (start, end) = self.range;
        let url = format!("{}/cut/ch/source.ts?type={cut_type}&start={start}&end={end}", node.url());
        Browser::play_cut(&url, as_segment.then_some(SECONDS))
    }

    /// Plays it until all of its pictures were shown: a browser leaves some out that has too little of the processor.
    fn assert_played(&self, node: &NodeProcess, what: &str, cut_type: &str, as_segment: bool) {
        let mut missed = Vec::new();
        for _ in 0..ATTEMPTS {
            match self.played(what, &self.play(node, cut_type, as_segment)) {
                Ok(()) => return,
                Err(shown) => missed.push(shown),
            }
        }
        panic!("{what}: {} frames from {} on, but {missed:?}", self.count, self.first);
    }

    /// Panics if the browser has anything to complain about; an error if it has not shown every picture.
    fn played(&self, what: &str, browser: &Browser) -> Result<(), String> {
        let told: Told = eventually("a browser has played a cut", || {
            let told = browser.told();
            (told.report.is_some() || !told.misunderstood.is_empty()).then_some(told)
        });
        assert_eq!(told.misunderstood, [""; 0], "{what}");
        let report = told.report.unwrap();
        assert_eq!((report.how.as_str(), &report.error), ("ended", &None), "{what}: {report:?}");
        assert_eq!(report.complaints, [""; 0], "{what}");
        assert!((report.current_time - SECONDS).abs() < 0.25, "{what}: {report:?}");
        // One that was not painted in time cannot be read.
        let number = |date| {
            let picture = told.pictures.iter().find(|picture| picture.date == date).unwrap();
            barcode::read_bytes(&picture.png).ok().map(|numbers| numbers[0] as usize)
        };
        let shown = (number(0), number(1), report.frames);
        let all = (Some(self.first), Some(self.first + self.count - 1), self.count as u64);
        if shown == all { Ok(()) } else { Err(format!("first, last, frames: {shown:?}")) }
    }
}

#[test]
fn chromium_plays_cuts_of_every_type_to_the_end() {
    let film = KINDS[OPEN_GOP].film();
    let node = NodeProcess::start(film.source.record.layout.base(), &[]);
    let asked = Asked::of(&film);
    for (cut_type, as_segment) in [("mp4", false), ("faststart", false), ("webm", false), ("smart", true)] {
        asked.assert_played(&node, cut_type, cut_type, as_segment);
    }
    node.stop();
}

#[test]
#[ignore = "takes a minute; run by `make soak`"]
fn soak_chromium_plays_cuts_of_every_stream_to_the_end() {
    let only = super::matrix::given("SEGVAULT_MATRIX_KIND").map(|number| number as usize);
    let kinds =
        KINDS.iter().enumerate().filter(|(at, kind)| kind.has_pictures() && only.is_none_or(|only| only == *at));
    for (_, kind) in kinds {
        let film = kind.film();
        let node = NodeProcess::start(film.source.record.layout.base(), &[]);
        let asked = Asked::of(&film);
        let types = match kind.open_gop && is_refused_from_open_gop(kind.name, &film, &node) {
            // What it refuses of the source itself, no copy of its packets can make it take.
            true => &[("webm", false)][..],
            false => &[("mp4", false), ("faststart", false), ("smart", true)],
        };
        for (cut_type, as_segment) in types {
            println!("{} as {cut_type}", kind.name);
            asked.assert_played(&node, &format!("{} as {cut_type}", kind.name), cut_type, *as_segment);
        }
        node.stop();
    }
}

/// What ffmpeg says, and goes on, where a picture has others forgotten by name that a decoder cannot have which began at the key
/// picture. x264 does that with a pyramid of B-frames.
const FORGETS_WHAT_WAS_NEVER_THERE: &str = "mmco: unref short failure";

/// Whether Chromium refuses the source's own packets from the key picture of an open GOP on. Fails if it does so for any other
/// reason than that one.
fn is_refused_from_open_gop(name: &str, film: &Film, node: &NodeProcess) -> bool {
    const FROM: usize = 3;
    let record = Record { channel: "own".parse().unwrap(), ..film.source.record.clone() };
    let stream: Vec<u8> = (FROM..FROM + 2).flat_map(|at| std::fs::read(film.source.path(at)).unwrap()).collect();
    let key_pts = packets(&stream).video[0].0;
    // What leads up to it cannot be decoded there.
    let pack = format!(
        "-nostdin -v error -copyts -f mpegts -i - -map 0:v -c copy \
         -bsf:v noise=drop=lt(pts\\,{key_pts}),setts=pts=PTS-{key_pts}:dts=DTS-{key_pts} \
         -movflags frag_keyframe+empty_moov+default_base_moof+delay_moov -f mp4 -"
    );
    let (content, _) = run(Command::new("ffmpeg").args(pack.split_whitespace()), &stream);
    let decode = "-nostdin -v error -f mp4 -i - -f null -";
    let (_, words) = run(Command::new("ffmpeg").args(decode.split(' ')), &content);
    let (start, end) = (film.source.segments[FROM].start(), film.source.segments[FROM + 1].end());
    put(&record, start, end, SegmentKind::Full, &content);
    let browser =
        Browser::play_cut(&format!("{}/cut/own/source.ts?type=rough&start={start}&end={end}", node.url()), None);
    let report = eventually("a browser has tried a source", || browser.told().report);
    println!("the source itself, {name}: {report:?}; ffmpeg says {words:?}");
    let is_refused = report.how == "failed";
    assert_eq!(is_refused, words.contains(FORGETS_WHAT_WAS_NEVER_THERE), "{name}: {report:?}; {words}");
    let by_decoder = |error: &String| error.contains("DECODE: Failed to send video packet for decoding");
    assert_eq!(is_refused, report.error.as_ref().is_some_and(by_decoder), "{name}: {report:?}");
    is_refused
}
