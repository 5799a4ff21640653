//! Decoding times that do not rise as they must, made to rise.
//!
//! A source may repeat a decoding time, step back by some ticks, give one beyond the time at which the frame is shown, or leave
//! it out where it differs from that. Its pictures can be decoded all the same: what is decoded when is told by their order.
//!
//! Promises: a time of decoding lies after the one before and not after that of showing; a frame is shown when the source says,
//! to a millisecond. What cannot be mended so is left as it is, for whoever checks what goes out.
//! Never: changes a stream whose times rise.

use crate::media::mpegts::{PesHeader, Pid, WRAP_90K, unwrap_near};

/// Streams of a cut; more are none that we know.
const MAX_STREAMS: usize = 32;
/// Frames of less than ten a second are no measure of the others.
const LONGEST_STEP_90K: i64 = 9000;
/// Until two frames have told: 1/30 s.
const USUAL_STEP_90K: i64 = 3000;
/// H.264 and HEVC reorder by sixteen frames at most: a decoding time is this many steps late at most where it was left out.
const MAX_REORDERED: i64 = 17;
/// No encoder has a frame decoded longer than a second before it is shown.
const FARTHEST_90K: i64 = 90_000;
/// Nobody sees or hears it: a frame whose time lies before that of the frame decoded before it may be shown this much later.
const MOST_MOVED_90K: i64 = 90;

/// What to do with the stamps of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    Keep,
    Set { pts: i64, dts: i64 },
}

/// The decoding times of one output.
#[derive(Debug, Default)]
pub(super) struct Dates {
    lines: Vec<Line>,
    mended: u64,
}

#[derive(Debug)]
struct Line {
    pid: Pid,
    last_dts: i64,
    /// Shortest and longest time between two frames, as far as it can be told.
    steps_90k: Option<(i64, i64)>,
    /// Frames are decoded in another order than they are shown in.
    reorders: bool,
    /// The next frame is the first of a file; and whether that follows the one before as it did in the source.
    is_first: bool,
    is_joined: bool,
}

impl Dates {
    /// How many frames had to be mended.
    pub fn mended(&self) -> u64 {
        self.mended
    }

    /// What comes next is another file, which follows the one before as it did in the source, or is joined to it.
    pub fn begin(&mut self, is_joined: bool) {
        for line in &mut self.lines {
            line.is_first = true;
            line.is_joined |= is_joined;
        }
    }

    /// What is known of a stream whose decoding times have to be made up: that of the next frame, and how long frames last.
    pub fn expect(&mut self, pid: Pid, next_dts: i64, step_90k: i64) {
        let before = self.lines.iter().position(|line| line.pid == pid).map(|at| self.lines.swap_remove(at).last_dts);
        if self.lines.len() < MAX_STREAMS {
            let steps_90k = Some((step_90k, step_90k));
            let last_dts = next_dts - step_90k;
            // Never before what has gone out.
            let near = |before| unwrap_near(last_dts.rem_euclid(WRAP_90K) as u64, before).max(before);
            let last_dts = before.map_or(last_dts, near);
            self.lines.push(Line { pid, last_dts, steps_90k, reorders: true, is_first: false, is_joined: false });
        }
    }

    /// Takes the stamps of each frame as they are to go out.
    pub fn see(&mut self, pid: Pid, header: PesHeader) -> Mend {
        let Some(raw_pts) = header.pts else { return Mend::Keep };
        let raw_dts = header.dts.unwrap_or(raw_pts);
        let Some(line) = self.lines.iter_mut().find(|line| line.pid == pid) else {
            // A time that nothing can be decoded at is as good as one that was left out.
            let lead = raw_pts as i64 - unwrap_near(raw_dts, raw_pts as i64);
            let is_absurd = !(0..=FARTHEST_90K).contains(&lead);
            let first_dts = if is_absurd { raw_pts } else { raw_dts };
            if self.lines.len() < MAX_STREAMS {
                let (last_dts, reorders) = (first_dts as i64, raw_dts != raw_pts);
                self.lines.push(Line { pid, last_dts, steps_90k: None, reorders, is_first: false, is_joined: false });
            }
            if is_absurd {
                self.mended += 1;
                return Mend::Set { pts: raw_pts as i64, dts: raw_pts as i64 };
            }
            return Mend::Keep;
        };
        let dts = unwrap_near(raw_dts, line.last_dts);
        let pts = unwrap_near(raw_pts, dts);
        let mend = line.mend(pts, dts);
        line.is_first = false;
        line.is_joined = false;
        match mend {
            Mend::Keep => line.keep(dts, dts < pts),
            Mend::Set { dts, .. } => {
                line.last_dts = dts;
                self.mended += 1;
            }
        }
        mend
    }
}

impl Line {
    fn keep(&mut self, dts: i64, is_early: bool) {
        let step = dts - self.last_dts;
        if (MOST_MOVED_90K..=LONGEST_STEP_90K).contains(&step) {
            let (shortest, longest) = self.steps_90k.unwrap_or((step, step));
            self.steps_90k = Some((shortest.min(step), longest.max(step)));
        }
        self.reorders |= is_early;
        self.last_dts = dts;
    }

    fn mend(&self, pts: i64, dts: i64) -> Mend {
        let last = self.last_dts;
        let (shortest, longest) = self.steps_90k.unwrap_or((USUAL_STEP_90K, USUAL_STEP_90K));
        let rises = last < dts && dts <= pts;
        // A frame that is shown so late is one that others are decoded after and shown before, so its own time was left out.
        let ahead = dts - last;
        let is_left_out = self.reorders
            && dts == pts
            && !self.is_joined
            && 4 * ahead >= 7 * longest
            && ahead <= MAX_REORDERED * longest;
        if rises && !is_left_out {
            return Mend::Keep;
        }
        let next = (last + shortest).min(pts);
        if next > last {
            return Mend::Set { pts, dts: next };
        }
        let moved = last + 1;
        // What two files share is not to be shown twice.
        if !self.is_first && moved - pts <= MOST_MOVED_90K {
            return Mend::Set { pts: moved, dts: moved };
        }
        Mend::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u8 = 7;

    type Fault = fn(&mut [(i64, Option<i64>)]);

    /// Stamps after mending, in frames of 3000 ticks; a DTS of `None` is left out.
    fn mended(dates: &mut Dates, frames: &[(i64, Option<i64>)]) -> Vec<(i64, i64)> {
        let raw = |stamp: i64| (stamp + 1_000_000).rem_euclid(1 << 33) as u64;
        let frame = |(pts, dts): &(i64, Option<i64>)| {
            let header = PesHeader { stream_id: 0xe0, pts: Some(raw(*pts)), dts: dts.map(raw) };
            match dates.see(Pid::from_bytes(0, PID), header) {
                Mend::Keep => (*pts, dts.unwrap_or(*pts)),
                Mend::Set { pts, dts } => (pts - 1_000_000, dts - 1_000_000),
            }
        };
        frames.iter().map(frame).collect()
    }

    /// A GOP with two B-frames, as a right source has it: (PTS, DTS) in ticks.
    fn right(count: i64) -> Vec<(i64, i64)> {
        let shown = |at: i64| match (at, at % 3) {
            (0, _) => 0,
            (_, 1) => at + 2,
            _ => at - 1,
        };
        (0..count).map(|at| (shown(at) * 3000, (at - 1) * 3000)).collect()
    }

    /// As a muxer writes them: a DTS only where it is another than the PTS.
    fn written(frames: &[(i64, i64)]) -> Vec<(i64, Option<i64>)> {
        frames.iter().map(|(pts, dts)| (*pts, (dts != pts).then_some(*dts))).collect()
    }

    fn assert_rises(frames: &[(i64, i64)]) {
        assert!(frames.iter().all(|(pts, dts)| dts <= pts), "{frames:?}");
        assert!(frames.windows(2).all(|pair| pair[0].1 < pair[1].1), "{frames:?}");
    }

    #[test]
    fn what_rises_stays_as_it_is() {
        let mut dates = Dates::default();
        assert_eq!(mended(&mut dates, &written(&right(40))), right(40));
        // Every other frame is shown for longer.
        let varying: Vec<(i64, Option<i64>)> = (0..40).map(|at| (at * 3000 + at % 2 * 1400 + 200_000, None)).collect();
        let mut others = Dates::default();
        assert_eq!(mended(&mut others, &varying), varying.iter().map(|(pts, _)| (*pts, *pts)).collect::<Vec<_>>());
        assert_eq!((dates.mended(), others.mended()), (0, 0));
    }

    #[test]
    fn each_fault_of_a_source_is_mended_and_no_frame_is_shown_at_another_time() {
        let faults: [(&str, Fault); 7] = [
            ("repeated", |frames| frames[16].1 = frames[15].1),
            ("a few ticks back", |frames| frames[16].1 = Some(frames[15].1.unwrap_or(frames[15].0) - 5)),
            ("beyond its showing", |frames| frames[16].1 = Some(frames[16].0 + 90_000)),
            ("all the same", |frames| frames[12..30].iter_mut().for_each(|frame| frame.1 = Some(20_000))),
            ("left out once", |frames| frames[16].1 = None),
            ("left out from there on", |frames| frames[13..].iter_mut().for_each(|frame| frame.1 = None)),
            ("that of its showing", |frames| frames[16].1 = Some(frames[16].0)),
        ];
        for (what, fault) in faults {
            let mut frames = written(&right(60));
            fault(&mut frames);
            let mut dates = Dates::default();
            let out = mended(&mut dates, &frames);
            assert_rises(&out);
            assert!(dates.mended() > 0, "{what}");
            let shown = |frames: &[(i64, i64)]| frames.iter().map(|(pts, _)| *pts).collect::<Vec<_>>();
            assert_eq!(shown(&out), shown(&right(60)), "{what}");
        }
    }

    #[test]
    fn where_none_is_told_they_are_made_up_from_what_was_measured() {
        let frames: Vec<(i64, Option<i64>)> = right(40).into_iter().map(|(pts, _)| (pts, None)).collect();
        let mut dates = Dates::default();
        dates.expect(Pid::from_bytes(0, PID), 1_000_000 - 3000, 3000);
        assert_eq!(mended(&mut dates, &frames), right(40));
    }

    #[test]
    fn a_frame_moves_by_less_than_anybody_sees_and_what_two_files_share_does_not() {
        let frames = [(3000, None), (6000, None), (5995, None), (9000, None)];
        let mut dates = Dates::default();
        assert_eq!(mended(&mut dates, &frames), [(3000, 3000), (6000, 6000), (6001, 6001), (9000, 9000)]);
        // Too far back for a fault of some ticks.
        assert_eq!(mended(&mut dates, &[(6000, None)]), [(6000, 6000)]);
        let mut dates = Dates::default();
        mended(&mut dates, &frames[..2]);
        dates.begin(false);
        assert_eq!(mended(&mut dates, &[(6000, None)]), [(6000, 6000)]);
        assert_eq!(dates.mended(), 0);
    }

    #[test]
    fn a_first_time_that_nothing_can_be_decoded_at_counts_as_left_out() {
        for absurd in [-500_000, 3001] {
            let mut dates = Dates::default();
            assert_eq!(mended(&mut dates, &[(3000, Some(absurd)), (6000, None)]), [(3000, 3000), (6000, 6000)]);
            assert_eq!(dates.mended(), 1);
        }
    }

    #[test]
    fn a_part_that_is_joined_may_be_decoded_later() {
        let mut dates = Dates::default();
        mended(&mut dates, &written(&right(10)));
        dates.begin(true);
        assert_eq!(mended(&mut dates, &[(45_000, None)]), [(45_000, 45_000)]);
        assert_eq!(dates.mended(), 0);
    }
}
