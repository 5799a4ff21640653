//! What a player's report amounts to: the figures, and every fault in it.
//!
//! Promises: all faults are told, not the first alone; what counts as a fault stands in one place, here.
//! Never: waits or asks.

use std::ops::RangeInclusive;
use std::time::Duration;

use segvault::model::Timestamp;
use segvault::rehearsal::barcode;

use super::Scenario;
use super::browser::{Beacon, Level, Picture, PlayerError, Told, What};
use super::stage::Stage;

/// hls.js says this of any stall, beside its length, which is judged by itself.
const STALL: &str = "bufferStalledError";
/// How far the number on a picture may be from the date that the player gives it: the page reads the clock of the
/// player a moment after the frame was handed out.
const PICTURE_FRAMES: i64 = 15;
/// A player that is this much further on than time has passed has left something out.
const JUMP_SECONDS: f64 = 0.5;
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
    frames: u64,
    dropped: u64,
    latency_seconds: f64,
    pictures: usize,
    furthest_frames: i64,
}

pub struct Account<'a> {
    pub scenario: &'a Scenario,
    pub stage: &'a Stage<'a>,
    pub hold: Duration,
}

impl Account<'_> {
    /// The figures, and what is wrong.
    pub fn of(&self, told: &Told) -> (Figures, Vec<String>) {
        let (mut figures, mut faults) = (Figures::default(), told.misunderstood.clone());
        let [first, .., last] = told.beacons.as_slice() else { return (figures, vec!["no beacons came".into()]) };
        (figures.frames, figures.dropped) = (last.frames, last.dropped);
        figures.latency_seconds = last.latency;
        for beacon in &told.beacons {
            self.check_events(beacon, &mut figures, &mut faults);
        }
        self.check_levels(&told.beacons, &mut faults);
        self.check_sizes(&told.beacons, &mut faults);
        if last.standing_ms as u128 > self.hold.as_millis() || last.paused {
            faults.push(format!("it stands still at the end: {last:?}"));
        }
        self.check_time(first, last, &told.beacons, &mut figures, &mut faults);
        self.check_segments(&told.beacons, &mut figures, &mut faults);
        self.check_pictures(&told.pictures, &mut figures, &mut faults);
        (figures, faults)
    }

    fn check_events(&self, beacon: &Beacon, figures: &mut Figures, faults: &mut Vec<String>) {
        for event in &beacon.events {
            match &event.what {
                What::Error(error) if self.is_borne(error, event.at) => {
                    figures.network_errors_while_away += usize::from(error.kind == "networkError");
                }
                What::Error(error) => faults.push(format!("at {}: {error}", self.second(event.at))),
                What::Stall { ms } => {
                    figures.stalls_seconds.push(*ms as f64 / 1000.0);
                    if u128::from(*ms) > self.hold.as_millis() {
                        faults.push(format!("at {}: it stood still for {ms} ms", self.second(event.at)));
                    }
                }
                What::Frag { .. } | What::Other => {}
            }
        }
    }

    /// A stall is judged by its length; that nobody answers while the node is away is no fault of the playlist. All
    /// else is one, and whatever is fatal.
    fn is_borne(&self, error: &PlayerError, at: i64) -> bool {
        let while_away = self.stage.away.iter().any(|away| away.contains(&at));
        !error.fatal && (error.details == STALL || (error.kind == "networkError" && while_away))
    }

    /// One list, which only moves on: numbers, discontinuities and the target stay or grow as they may.
    fn check_levels(&self, beacons: &[Beacon], faults: &mut Vec<String>) {
        let levels: Vec<(i64, &Level)> =
            beacons.iter().filter_map(|beacon| Some((beacon.at, beacon.level.as_ref()?))).collect();
        let expected = format!("http://{}{}", self.stage.address(), self.stage.media_path());
        for (at, level) in &levels {
            if !level.live || level.url != expected {
                faults.push(format!("at {}: it follows {level:?}, not {expected}", self.second(*at)));
            }
        }
        for pair in levels.windows(2) {
            let ((_, before), (at, after)) = (pair[0], pair[1]);
            let marks = |level: &Level| [level.start_sn, level.end_sn, level.start_cc, level.end_cc];
            let goes_back = marks(before).into_iter().zip(marks(after)).any(|(before, after)| after < before);
            if goes_back || after.targetduration != before.targetduration {
                faults.push(format!("at {}: the list was {before:?}, is {after:?}", self.second(at)));
            }
        }
    }

    /// The record's time goes forwards only, and as much of it is played as passes on the player's own clock.
    fn check_time(
        &self,
        first: &Beacon,
        last: &Beacon,
        beacons: &[Beacon],
        figures: &mut Figures,
        faults: &mut Vec<String>,
    ) {
        let dated: Vec<&Beacon> = beacons.iter().filter(|beacon| beacon.date.is_some()).collect();
        for pair in dated.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.date < before.date || after.current_time < before.current_time {
                faults.push(format!("at {}: time went back: {after:?}", self.second(after.at)));
            }
            let passed = (after.at - before.at) as f64 / 1000.0;
            if after.current_time - before.current_time > passed + JUMP_SECONDS {
                faults.push(format!(
                    "at {}: it jumped from {} s: {after:?}",
                    self.second(after.at),
                    before.current_time
                ));
            }
        }
        let [begin, .., end] = dated.as_slice() else {
            faults.push("nothing was played".into());
            return;
        };
        figures.played_seconds = end.current_time - begin.current_time;
        let (from, until) = (begin.date.unwrap_or_default(), end.date.unwrap_or_default());
        let left_out = self.sealed_ms_between(from, until);
        let of_the_record = (until - from - left_out) as f64 / 1000.0;
        if (of_the_record - figures.played_seconds).abs() > 0.5 {
            faults.push(format!("{of_the_record} s of the record took {} s of playing", figures.played_seconds));
        }
        if last.frames <= first.frames + (figures.played_seconds * FRAME_RATE as f64 * 0.5) as u64 {
            faults.push(format!("{} frames were shown in {} s", last.frames, figures.played_seconds));
        }
    }

    fn sealed_ms_between(&self, from: i64, until: i64) -> i64 {
        let sealed = self.scenario.sealed(self.hold);
        let within = sealed.filter(|number| (from..until).contains(&ms(self.stage.origin.start_of(*number))));
        within.map(|number| self.stage.origin.duration_micros(number) / 1000).sum()
    }

    /// Segments are played in order, but those of sealed holes, and numbers count each of them; a discontinuity stands
    /// where the encoding changes and where a hole was sealed, and nowhere else.
    fn check_segments(&self, beacons: &[Beacon], figures: &mut Figures, faults: &mut Vec<String>) {
        let events = beacons.iter().flat_map(|beacon| &beacon.events);
        let shown: Vec<(u64, u64, Option<usize>)> = events
            .filter_map(|event| match event.what {
                What::Frag { sn, cc, date } => Some((sn, cc, date.and_then(|date| self.number_at(date)))),
                What::Error(_) | What::Stall { .. } | What::Other => None,
            })
            .collect();
        let sealed: Vec<usize> = self.scenario.sealed(self.hold).collect();
        let is_break = |number: usize| {
            let opens = sealed.contains(&(number - 1)) && !sealed.contains(&number);
            opens || self.scenario.encoding_changes.contains(&number)
        };
        for pair in shown.windows(2) {
            let ((sn, cc, number), (next_sn, next_cc, next_number)) = (pair[0], pair[1]);
            let (Some(number), Some(next)) = (number, next_number) else {
                faults.push(format!("a segment has a date that no segment of the source has: {pair:?}"));
                continue;
            };
            // On a busy machine the player may pass one before it tells; what it counts stays true.
            let passed = (number + 1..=next).filter(|number| !sealed.contains(number)).count() as u64;
            let breaks = (number + 1..=next).filter(|number| is_break(*number)).count() as u64;
            if next <= number || sealed.contains(&next) || next_sn != sn + passed || next_cc != cc + breaks {
                faults.push(format!(
                    "after segment {number} (sequence {sn}, discontinuity {cc}) came {next} ({next_sn}, {next_cc}), \
                     with {breaks} discontinuities expected"
                ));
            }
        }
        figures.segments = shown.len();
        if let [(_, from, _), .., (_, until, _)] = shown.as_slice() {
            figures.discontinuities = until.saturating_sub(*from);
        }
        if !shown.iter().any(|(_, _, number)| number.is_some_and(|number| number >= self.scenario.until)) {
            faults.push(format!("segment {} was never played", self.scenario.until));
        }
    }

    /// A change of encoding is a change of the picture's width here.
    fn check_sizes(&self, beacons: &[Beacon], faults: &mut Vec<String>) {
        let mut widths: Vec<u32> = beacons.iter().map(|beacon| beacon.width).filter(|width| *width > 0).collect();
        widths.dedup();
        if widths.len() != 1 + self.scenario.encoding_changes.len() {
            faults.push(format!("the picture was {widths:?} pixels wide, one after the other"));
        }
    }

    /// The number of the segment that begins at this date, which has no more than ms.
    fn number_at(&self, date: i64) -> Option<usize> {
        (0..self.scenario.segments()).find(|number| (ms(self.stage.origin.start_of(*number)) - date).abs() <= 1)
    }

    /// What is on the screen is the frame of that moment.
    fn check_pictures(&self, pictures: &[Picture], figures: &mut Figures, faults: &mut Vec<String>) {
        for picture in pictures {
            let expected = (picture.date - ms(self.stage.origin.began())) * FRAME_RATE / 1000;
            match barcode::read_bytes(&picture.png).map(|numbers| i64::from(numbers[0])) {
                Ok(number) => {
                    let off = (number - expected).abs();
                    figures.furthest_frames = figures.furthest_frames.max(off);
                    if off > PICTURE_FRAMES {
                        faults
                            .push(format!("frame {number} was shown as that of {}, which is {expected}", picture.date));
                    }
                }
                Err(error) => faults.push(format!("the picture of {} shows no frame: {error}", picture.date)),
            }
        }
        figures.pictures = pictures.len();
        if pictures.len() < 5 {
            faults.push(format!("only {} pictures were painted", pictures.len()));
        }
    }

    /// A moment on the wall clock as seconds of the stream, as the scenario counts.
    fn second(&self, at: i64) -> String {
        format!("{:.1} s", (at - ms(self.stage.origin.began())) as f64 / 1000.0)
    }
}

/// As the page counts time.
pub fn ms(time: Timestamp) -> i64 {
    time.micros() / 1000
}
