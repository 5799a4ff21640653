//! Random cuts of streams of every shape, each judged in every respect.
//!
//! A sample runs with the other tests; `make soak` runs 200. SEGVAULT_MATRIX_KIND is for those of one stream (its number) alone;
//! what Chromium plays, too.

use std::path::Path;
use std::process::Command;

use segvault::cut::CutType;
use segvault::model::Timestamp;

use super::matrix_judge::{Judged, Worst};
use super::matrix_reels::{Film, KINDS, split_again};
use super::run;
use crate::dice::{Dice, seed};

const SEED: u64 = 2026;

pub fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Draws what to cut.
struct Scissors(Dice);

impl Scissors {
    /// A time at which frame `number` is the next to be shown: its own, or any after the frame before.
    fn moment_for(&mut self, film: &Film, number: usize) -> Timestamp {
        // Half a tick of 90 kHz is 5.6 µs: less is no time.
        const APART_MICROS: i64 = 12;
        let own = film.source.frame(number);
        if number == 0 || self.0.below(2) == 0 {
            return own;
        }
        let before = film.source.frame(number - 1).plus_micros(APART_MICROS);
        own.plus_micros(-(self.0.below(own.micros_since(before).unsigned_abs()) as i64))
    }

    fn range(&mut self, film: &Film, round: u64) -> (Timestamp, Timestamp) {
        let count = film.source.frames.len() as u64;
        let (first, until) = match round % 3 {
            // Over the hour, and over the wrap where there is one.
            0 => (self.0.below(count * 2 / 5), count * 7 / 10 + self.0.below(count * 3 / 10)),
            1 => {
                let first = self.0.below(count - 8);
                (first, first + 1 + self.0.below(7))
            }
            _ => {
                let first = self.0.below(count - 2);
                (first, first + 1 + self.0.below(count - first - 1))
            }
        };
        (self.moment_for(film, first as usize), self.moment_for(film, until as usize))
    }
}

/// Makes so many cuts in all, of these kinds in turn.
async fn matrix(kinds: &[usize], cuts: u64) {
    let seed = seed(SEED);
    let mut all = Worst::default();
    for (place, number) in kinds.iter().enumerate() {
        let kind = &KINDS[*number];
        let rounds = (cuts - place as u64).div_ceil(kinds.len() as u64);
        let film = kind.film();
        let shape = Shape { name: kind.name, gop: kind.gop(), is_numbered: true, is_open_gop: kind.open_gop };
        all.note(cuts_of(&film, *number, &shape, rounds, seed).await);
    }
    println!("{cuts} cuts: {all:?}");
}

/// What the judge has to know of a film.
struct Shape<'a> {
    name: &'a str,
    gop: usize,
    is_numbered: bool,
    is_open_gop: bool,
}

/// Makes so many random cuts of one film.
async fn cuts_of(film: &Film, number: usize, shape: &Shape<'_>, rounds: u64, seed: u64) -> Worst {
    let Shape { name, gop, is_numbered, is_open_gop } = *shape;
    let mut scissors = Scissors(Dice::new(seed.wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut worst = Worst::default();
    for round in 0..rounds {
        let range = scissors.range(film, round);
        let what = format!("kind {number} ({name}), seed {seed}, cut {round}: {} to {}", range.0, range.1);
        let cut = film.source.cut(CutType::Smart, &[range]).await;
        let bytes = cut.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        // For whoever looks into a failure.
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix-last.ts"), &bytes).unwrap();
        let cut = Judged { what: &what, film, gop, range, bytes: &bytes, is_numbered, is_open_gop };
        worst.note(cut.judge());
    }
    println!("{rounds} cuts of {name}: {worst:?}");
    worst
}

#[actix_rt::test]
async fn random_cuts_of_every_shape_are_exact() {
    matrix(&[0, 1, 2, 3, 4, 5], 20).await;
}

#[actix_rt::test]
#[ignore = "takes minutes; run by `make soak`"]
async fn soak_two_hundred_random_cuts() {
    match given("SEGVAULT_MATRIX_KIND") {
        Some(kind) => matrix(&[kind as usize], 15).await,
        None => matrix(&(0..KINDS.len()).collect::<Vec<_>>(), 200).await,
    }
}

/// Five seconds of Big Buck Bunny, fetched by scripts/film.sh. Frames without numbers are told by their times and their looks.
#[actix_rt::test]
#[ignore = "fetches a film; run by `make soak`"]
async fn soak_random_cuts_of_real_frames_are_exact() {
    const GOP: usize = 25;
    let seed = seed(SEED);
    let mut fetch = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/film.sh"));
    let (path, _) = run(fetch.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("film")), &[]);
    let film = std::fs::read(String::from_utf8(path).unwrap().trim()).unwrap();
    for (at, name) in ["real frames, closed GOPs", "real frames, open GOPs"].into_iter().enumerate() {
        let is_open_gop = at == 1;
        let contents = split_again(
            &film,
            &format!(
                "-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -ar 48000 -x264-params keyint={GOP}:min-keyint={GOP}:\
                 scenecut=0:bframes=3:open-gop={}:repeat-headers=1",
                u8::from(is_open_gop)
            ),
            1,
        );
        let film = Film::of(contents, false);
        assert!(film.video.len() > 125, "{} frames", film.video.len());
        cuts_of(&film, KINDS.len() + at, &Shape { name, gop: GOP, is_numbered: false, is_open_gop }, 15, seed).await;
    }
}
