//! What a player's report amounts to: the figures, and every fault in it.
//!
//! Promises: all faults are told, not the first alone; what counts as a fault stands in one place, here.
//! Never: waits or asks.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use segvault::model::Timestamp;
use segvault::rehearsal::barcode;

use super::browser::{Beacon, Event, Level, Picture, PlayerError, Told, What};
use super::stage::Stage;

/// hls.js says this of any stall, beside its length, which is judged by itself.
const STALL: &str = "bufferStalledError";
/// How far the number on a picture may be from the date that the player gives it: the page reads the clock of the
/// player a moment after the frame was handed out.
const PICTURE_FRAMES: i64 = 15;
/// A player that is this much further on than time has passed has left something out.
const JUMP_SECONDS: f64 = 0.5;
/// The page sends one every three seconds.
const ENOUGH_PICTURES: usize = 5;
/// The reels' frames per second.
const FRAME_RATE: i64 = 30;

/// When the node was away, in ms since 1970, with the time that the player may take to notice its return.
pub type Away = RangeInclusive<i64>;

/// The sums of a run, for people.
#[derive(Debug, Default)]
pub struct Figures {
    played_seconds: f64,
    segments: usize,
    discontinuities: u64,
    stalls_seconds: Vec<f64>,
    network_errors_while_away: usize,
    latency_seconds: f64,
    frames: u64,
    dropped: u64,
    pictures: usize,
    furthest_frames: i64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} s played, {} segments, {} discontinuities; stalls of {:?} s; {} network errors while the node was away; \
             {:.1} s behind at the end; {} frames, {} dropped; {} pictures, at most {} frames from their date",
            self.played_seconds,
            self.segments,
            self.discontinuities,
            self.stalls_seconds,
            self.network_errors_while_away,
            self.latency_seconds,
            self.frames,
            self.dropped,
            self.pictures,
            self.furthest_frames
        )
    }
}

/// What a player's report is judged by.
pub struct Account<'a> {
    stage: &'a Stage,
    told: &'a Told,
    hold: Duration,
    figures: Figures,
    faults: Vec<String>,
}

impl<'a> Account<'a> {
    /// The figures, and what is wrong.
    pub fn of(told: &'a Told, stage: &'a Stage, hold: Duration) -> (Figures, Vec<String>) {
        let (figures, faults) = (Figures::default(), told.misunderstood.clone());
        let mut account = Self { stage, told, hold, figures, faults };
        account.check_events();
        account.check_levels();
        account.check_time();
        account.check_segments();
        account.check_sizes();
        account.check_pictures();
        (account.figures, account.faults)
    }

    /// A fault at a moment on the wall clock, which is told as seconds of the stream, as the scenario counts.
    fn fault(&mut self, at: i64, what: impl fmt::Display) {
        let second = (at - ms(self.stage.set.origin.began())) as f64 / 1000.0;
        self.faults.push(format!("at {second:.1} s: {what}"));
    }

    fn check_events(&mut self) {
        for event in self.told.beacons.iter().flat_map(|beacon| &beacon.events) {
            match &event.what {
                What::Error(error) if self.is_borne(error, event.at) => {
                    self.figures.network_errors_while_away += usize::from(error.kind == "networkError");
                }
                What::Error(error) => self.fault(event.at, error),
                What::Stall { ms } => {
                    self.figures.stalls_seconds.push(*ms as f64 / 1000.0);
                    if u128::from(*ms) > self.hold.as_millis() {
                        self.fault(event.at, format!("it stood still for {ms} ms"));
                    }
                }
                What::Frag { .. } | What::Other => {}
            }
        }
    }

    /// A stall is judged by its length; that nobody answers while the node is away is no fault of the playlist. All
    /// else is one, and whatever is fatal.
    fn is_borne(&self, error: &PlayerError, at: i64) -> bool {
        let while_away = self.stage.away.as_ref().is_some_and(|away| away.contains(&at));
        !error.fatal && (error.details == STALL || (error.kind == "networkError" && while_away))
    }

    /// One list, which only moves on: numbers, discontinuities and the target stay or grow as they may.
    fn check_levels(&mut self) {
        let levels = self.told.beacons.iter().filter_map(|beacon| Some((beacon.at, beacon.level.as_ref()?)));
        let levels: Vec<(i64, &Level)> = levels.collect();
        let expected = format!("http://{}{}", self.stage.set.address(), self.stage.set.media_path());
        for (at, level) in &levels {
            // A player adds what it wants to know (rfc8216bis §6.2.5).
            let address = level.url.split(['?', '&']).filter(|part| !part.starts_with("_HLS_"));
            if !level.live || !address.eq(expected.split(['?', '&'])) {
                self.fault(*at, format!("it follows {level:?}, not {expected}"));
            }
        }
        for pair in levels.windows(2) {
            let ((_, before), (at, after)) = (pair[0], pair[1]);
            let marks = |level: &Level| [level.start_sn, level.end_sn, level.start_cc, level.end_cc];
            let goes_back = marks(before).into_iter().zip(marks(after)).any(|(before, after)| after < before);
            if goes_back || after.targetduration != before.targetduration {
                self.fault(at, format!("the list was {before:?}, is {after:?}"));
            }
        }
    }

    /// The record's time goes forwards only, without jumps, and as much of it is played as passes on the player's own
    /// clock; it still plays at the end.
    fn check_time(&mut self) {
        let dated: Vec<&Beacon> = self.told.beacons.iter().filter(|beacon| beacon.date.is_some()).collect();
        for pair in dated.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.date < before.date || after.current_time < before.current_time {
                self.fault(after.at, format!("time went back: {after:?}"));
            }
            let passed = (after.at - before.at) as f64 / 1000.0;
            if after.current_time - before.current_time > passed + JUMP_SECONDS {
                self.fault(after.at, format!("it jumped from {} s: {after:?}", before.current_time));
            }
        }
        let [first, .., last] = dated.as_slice() else {
            self.faults.push("nothing was played".into());
            return;
        };
        if u128::from(last.standing_ms) > self.hold.as_millis() || last.paused {
            self.fault(last.at, format!("it stands still at the end: {last:?}"));
        }
        let played_seconds = last.current_time - first.current_time;
        let (from, until) = (first.date.unwrap_or_default(), last.date.unwrap_or_default());
        let recorded_seconds = (until - from - self.sealed_ms_between(from, until)) as f64 / 1000.0;
        if (recorded_seconds - played_seconds).abs() > JUMP_SECONDS {
            self.fault(last.at, format!("{recorded_seconds} s of the record took {played_seconds} s of playing"));
        }
        // Those dropped on a busy machine count as well; half is still far more than none.
        if ((last.frames - first.frames) as f64) < played_seconds * FRAME_RATE as f64 / 2.0 {
            self.fault(last.at, format!("{} frames came in {played_seconds} s", last.frames - first.frames));
        }
        self.figures.played_seconds = played_seconds;
        self.figures.latency_seconds = last.latency;
        (self.figures.frames, self.figures.dropped) = (last.frames, last.dropped);
    }

    fn sealed_ms_between(&self, from: i64, until: i64) -> i64 {
        let sealed = self.stage.scenario.sealed(self.hold);
        let within = sealed.filter(|number| (from..until).contains(&ms(self.stage.set.origin.start_of(*number))));
        within.map(|number| self.stage.set.origin.duration_micros(number) / 1000).sum()
    }

    /// Segments are played in order, but those of sealed holes, and numbers count each of them; a discontinuity stands
    /// where the encoding changes and where a hole was sealed, and nowhere else.
    fn check_segments(&mut self) {
        let shown: Vec<Shown> = self.told.beacons.iter().flat_map(|beacon| &beacon.events).filter_map(shown).collect();
        let sealed: Vec<usize> = self.stage.scenario.sealed(self.hold).collect();
        let is_played = |number: &usize| !sealed.contains(number);
        let is_break = |number: &usize| {
            is_played(number)
                && (sealed.contains(&(number - 1)) || self.stage.scenario.encoding_changes.contains(number))
        };
        let mut wrong = Vec::new();
        for pair in shown.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let (Some(number), Some(next)) = (self.number_at(before.date), self.number_at(after.date)) else {
                wrong.push((after.at, format!("no segment of the source has these dates: {pair:?}")));
                continue;
            };
            // On a busy machine the player may pass one before it tells; what it counts stays true.
            let passed = (number + 1..=next).filter(is_played).count() as u64;
            let breaks = (number + 1..=next).filter(is_break).count() as u64;
            let is_right = after.sn == before.sn + passed && after.cc == before.cc + breaks;
            if next <= number || !is_played(&next) || !is_right {
                let what = format!(
                    "after segment {number} (sequence {}, discontinuity {}) came {next} ({}, {}), with {breaks} \
                     discontinuities expected",
                    before.sn, before.cc, after.sn, after.cc
                );
                wrong.push((after.at, what));
            }
        }
        for (at, what) in wrong {
            self.fault(at, what);
        }
        let last = shown.last().and_then(|last| self.number_at(last.date));
        if last < Some(self.stage.scenario.until) {
            self.faults.push(format!("segment {} was never played, the last was {last:?}", self.stage.scenario.until));
        }
        self.figures.segments = shown.len();
        if let [first, .., last] = shown.as_slice() {
            self.figures.discontinuities = last.cc.saturating_sub(first.cc);
        }
    }

    /// The number of the segment that begins at this date, which has no more than ms.
    fn number_at(&self, date: Option<i64>) -> Option<usize> {
        let date = date?;
        (0..self.stage.set.origin.on_air())
            .find(|number| (ms(self.stage.set.origin.start_of(*number)) - date).abs() <= 1)
    }

    /// A change of encoding is a change of the picture's width here.
    fn check_sizes(&mut self) {
        let widths = self.told.beacons.iter().map(|beacon| beacon.width);
        let mut widths: Vec<u32> = widths.filter(|width| *width > 0).collect();
        widths.dedup();
        if widths.len() != 1 + self.stage.scenario.encoding_changes.len() {
            self.faults.push(format!("the picture was {widths:?} pixels wide, one after the other"));
        }
    }

    /// How far apart two frames of the source are for whoever plays them: those of sealed holes are none. Of a frame beside such a hole
    /// the page may ask for the date when the player is over it already.
    fn played_frames_between(&self, one: i64, other: i64) -> i64 {
        let began = ms(self.stage.set.origin.began());
        let (from, until) = (one.min(other), one.max(other));
        let sealed_ms = self.sealed_ms_between(began + from * 1000 / FRAME_RATE, began + until * 1000 / FRAME_RATE);
        (until - from - sealed_ms * FRAME_RATE / 1000).max(0)
    }

    /// What is on the screen is the frame of that moment.
    fn check_pictures(&mut self) {
        for picture in &self.told.pictures {
            let expected = (picture.date - ms(self.stage.set.origin.began())) * FRAME_RATE / 1000;
            match barcode::read_bytes(&picture.png).map(|numbers| i64::from(numbers[0])) {
                Ok(number) => {
                    let off = self.played_frames_between(number, expected);
                    self.figures.furthest_frames = self.figures.furthest_frames.max(off);
                    if off > PICTURE_FRAMES {
                        let Picture { date, .. } = picture;
                        self.faults.push(format!("frame {number} was shown as that of {date}, which is {expected}"));
                    }
                }
                Err(error) => self.faults.push(format!("the picture of {} shows no frame: {error}", picture.date)),
            }
        }
        self.figures.pictures = self.told.pictures.len();
        if self.figures.pictures < ENOUGH_PICTURES {
            self.faults.push(format!("only {} pictures were painted", self.figures.pictures));
        }
    }
}

/// A segment that the player has come to.
#[derive(Debug, Clone, Copy)]
struct Shown {
    at: i64,
    sn: u64,
    cc: u64,
    date: Option<i64>,
}

fn shown(event: &Event) -> Option<Shown> {
    match event.what {
        What::Frag { sn, cc, date } => Some(Shown { at: event.at, sn, cc, date }),
        What::Error(_) | What::Stall { .. } | What::Other => None,
    }
}

/// As the page counts time.
pub fn ms(time: Timestamp) -> i64 {
    time.micros() / 1000
}
