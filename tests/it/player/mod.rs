//! A real player against a real node: hls.js in a headless Chromium plays live, while segments come late or never, the
//! encoding changes and the node restarts.
//!
//! The node has lost what the origin never gives it; a hole is filled by writing the file into its directory, as any
//! other process may. Whether the playlist keeps what it has published is checked beside, text by text (`extends`).

mod account;
pub mod browser;
pub mod extends;
pub mod origin;
mod stage;
mod watch;
mod web;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use account::{Account, ms};
use browser::{Browser, Told};
use origin::SEGMENT;
use stage::{Set, Stage};
use watch::Watcher;

use crate::support::{PATIENCE, Stolen, eventually};

/// What `playlist.hold` is by default.
const HOLD: Duration = Duration::from_secs(15);

/// What happens to the stream, by the number of the segment, from the moment when the players have begun.
#[derive(Debug, Clone)]
pub struct Scenario {
    losses: Vec<Loss>,
    encoding_changes: Vec<usize>,
    /// The node is restarted when this one is due.
    restart: usize,
    /// The player has seen enough when it shows this one.
    until: usize,
}

/// Segments that the node never gets from its source.
#[derive(Debug, Clone)]
struct Loss {
    segments: Range<usize>,
    /// Another process writes them so long after the last of them was due.
    filled_after: Option<Duration>,
}

impl Loss {
    fn is_sealed(&self, hold: Duration) -> bool {
        self.filled_after.is_none_or(|after| after > hold)
    }
}

impl Scenario {
    /// The segments that are missing when their hole is sealed.
    fn sealed(&self, hold: Duration) -> impl Iterator<Item = usize> {
        self.losses.iter().filter(move |loss| loss.is_sealed(hold)).flat_map(|loss| loss.segments.clone())
    }

    /// The same, so many segments later.
    fn shifted(&self, by: usize) -> Self {
        let later = |loss: &Loss| Loss { segments: loss.segments.start + by..loss.segments.end + by, ..loss.clone() };
        Self {
            losses: self.losses.iter().map(later).collect(),
            encoding_changes: self.encoding_changes.iter().map(|number| number + by).collect(),
            restart: self.restart + by,
            until: self.until + by,
        }
    }

    /// How long the players may take to see it all.
    fn patience(&self) -> Duration {
        SEGMENT * self.until as u32 + HOLD + PATIENCE
    }

    fn lost(&self) -> BTreeSet<usize> {
        self.losses.iter().flat_map(|loss| loss.segments.clone()).collect()
    }

    /// Which segments another process writes, and how long after each of them was due.
    fn filled(&self) -> impl Iterator<Item = (usize, Duration)> {
        let filled = self.losses.iter().filter_map(|loss| Some((loss, loss.filled_after?)));
        filled.flat_map(|(loss, after)| {
            let last = loss.segments.end - 1;
            loss.segments.clone().map(move |number| (number, after + SEGMENT * (last - number) as u32))
        })
    }
}

#[test]
fn a_player_plays_on_across_holes_a_change_of_encoding_and_a_restart() {
    let filled = |at: usize, seconds| Loss { segments: at..at + 1, filled_after: Some(Duration::from_secs(seconds)) };
    play(
        "short",
        &Scenario {
            losses: vec![filled(7, 8), filled(13, 40)],
            encoding_changes: vec![3],
            // The late one is sealed by then, and the node must still know so when it is filled.
            restart: 24,
            until: 25,
        },
        &[true],
    );
}

#[test]
#[ignore = "takes ten minutes; run by `make soak`"]
fn soak_player_ten_minutes() {
    let loss = |segments, seconds| Loss { segments, filled_after: Some(Duration::from_secs(seconds)) };
    play(
        "soak",
        &Scenario {
            losses: vec![
                loss(30..31, 6),
                loss(60..62, 8),
                loss(90..91, 40),
                // The node is away while this one waits.
                loss(150..151, 10),
                Loss { segments: 220..222, filled_after: None },
            ],
            encoding_changes: vec![120, 190],
            restart: 152,
            until: 295,
        },
        &[true, false],
    );
}

/// Plays the scenario, once with hls.js's low-latency mode as each of `low_latency` says, all at the same time. What a player did while
/// the host took the processor away is no news of the playlist: it is played again then.
fn play(name: &str, scenario: &Scenario, low_latency: &[bool]) {
    for tries_left in (0..3).rev() {
        let stolen = Stolen::from_now();
        let faults = faults_of(name, scenario, low_latency);
        let share = stolen.share();
        if !faults.is_empty() && (tries_left == 0 || share < Stolen::MUCH) {
            panic!("{} faults; all beacons are in {}\n{}", faults.len(), kept_in().display(), faults.join("\n"));
        }
        if faults.is_empty() {
            return;
        }
        println!("played again, as {:.0} % of the processor was taken away: {}", share * 100.0, faults.join("; "));
    }
}

/// What the players did wrong. A playlist that is wrong ends the test.
fn faults_of(name: &str, scenario: &Scenario, low_latency: &[bool]) -> Vec<String> {
    // Long enough for players that begin late.
    let set = Set::start(((PATIENCE + scenario.patience()).as_secs() / SEGMENT.as_secs()) as usize);
    let watcher = Watcher::start(set.address().to_owned(), set.media_path().to_owned());
    let players: Vec<Browser> = low_latency.iter().map(|mode| Browser::play(&set.master_url(), *mode)).collect();
    let date = |player: &Browser| player.last().and_then(|beacon| beacon.date);
    eventually("all players play", || players.iter().all(|player| date(player).is_some()).then_some(()));

    let mut stage = Stage::begin(set, scenario);
    let enough = ms(stage.set.origin.start_of(stage.scenario.until));
    let has_seen_all = |player: &Browser| date(player) > Some(enough);
    let deadline = Instant::now() + scenario.patience();
    while Instant::now() < deadline && !players.iter().any(Browser::has_given_up) {
        stage.act();
        if stage.is_over() && players.iter().all(has_seen_all) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // What was filled last may still do harm, for as long as a player takes to read the playlist twice.
    std::thread::sleep(2 * SEGMENT);

    let told: Vec<Told> = players.iter().map(Browser::told).collect();
    drop(players);
    let seen = watcher.stop();
    println!("{name}: {} texts of the playlist compared, {} times no answer", seen.texts, seen.unanswered);
    assert!(seen.faults.is_empty(), "the playlist: {:#?}", seen.faults);
    let unrecorded = stage.unrecorded();
    assert!(unrecorded.is_empty(), "{unrecorded:#?}");
    let mut faults = Vec::new();
    for (mode, told) in low_latency.iter().zip(&told) {
        let (figures, wrong) = Account::of(told, &stage, HOLD);
        println!("{name}, low latency {mode}: {figures}");
        faults.extend(wrong.into_iter().map(|fault| format!("low latency {mode}: {fault}")));
        keep(&format!("{name}-{mode}"), told);
    }
    stage.stop();
    faults
}

fn kept_in() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("player")
}

/// For whoever looks into a failure: every beacon, and the last picture.
fn keep(name: &str, told: &Told) {
    fs::create_dir_all(kept_in()).unwrap();
    fs::write(kept_in().join(format!("{name}.jsonl")), told.lines.join("\n")).unwrap();
    if let Some(picture) = told.pictures.last() {
        fs::write(kept_in().join(format!("{name}.png")), &picture.png).unwrap();
    }
}
