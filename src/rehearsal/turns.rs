//! What changes in the programme itself, as plain data: what any recorder gets, however well it asks.
//!
//! Promises: pure; a segment is judged by the moment of its first frame.
//! Never: spoils an answer (that is `script`).

use std::time::Duration;

use super::aired::{Break, Encoding};
use super::script::During;
use crate::model::{Quality, Timestamp};

/// One change of the programme. The first two happen at the beginning of their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Numbers start at 0, names are new, and playlists hold nothing older.
    SequenceReset,
    /// A DISCONTINUITY, though nothing is discontinuous.
    Discontinuity,
    /// Advertisements in place of the programme, stitched in as Twitch does.
    Advertisement,
    /// Pictures of another size, encoded otherwise.
    OtherEncoding,
    /// PROGRAM-DATE-TIME is off by so much.
    Skew { micros: i64 },
    /// ENDLIST, and what would be due passes unseen.
    OffAir,
}

/// When something changes, and in which quality (`None`: in all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub quality: Option<Quality>,
    pub during: During,
    pub change: Change,
}

/// How a segment comes on air, all turns considered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Course {
    pub resets: u32,
    pub breaks_off: bool,
    pub advertisement: Option<Break>,
    pub encoding: Encoding,
    pub skew_micros: i64,
    pub off_air: bool,
}

/// The course of the segment that begins at `at` and ends at `end`, since the programme began at `origin`.
pub(super) fn course(turns: &[Turn], quality: &Quality, origin: Timestamp, at: Duration, end: Duration) -> Course {
    let mut course = Course::default();
    for turn in turns.iter().filter(|turn| turn.quality.as_ref().is_none_or(|other| other == quality)) {
        let holds = turn.during.holds(at);
        match turn.change {
            Change::SequenceReset => course.resets += u32::from(turn.during.from <= at),
            // In the first segment that begins after it.
            Change::Discontinuity => {
                let length = end.saturating_sub(at);
                course.breaks_off |= turn.during.from <= at && at < turn.during.from + length;
            }
            Change::Advertisement if holds => {
                let start = origin.plus(turn.during.from);
                let duration = turn.during.until.map_or(end, |until| until).saturating_sub(turn.during.from);
                course.advertisement = Some(Break { start, duration });
                course.encoding = Encoding::Other;
            }
            Change::OtherEncoding if holds => course.encoding = Encoding::Other,
            Change::Skew { micros } if holds => course.skew_micros += micros,
            Change::OffAir if holds => course.off_air = true,
            Change::Advertisement | Change::OtherEncoding | Change::Skew { .. } | Change::OffAir => {}
        }
    }
    course
}

/// Whether playlists of this quality say ENDLIST at this moment.
pub(super) fn is_off_air(turns: &[Turn], quality: &Quality, at: Duration) -> bool {
    let is_about = |turn: &&Turn| turn.quality.as_ref().is_none_or(|other| other == quality);
    turns.iter().filter(is_about).any(|turn| turn.change == Change::OffAir && turn.during.holds(at))
}

/// Whether a second encoding is needed.
pub(super) fn need_other_encoding(turns: &[Turn]) -> bool {
    turns.iter().any(|turn| matches!(turn.change, Change::Advertisement | Change::OtherEncoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(change: Change, from: u64, until: u64) -> Turn {
        let seconds = Duration::from_secs;
        Turn { quality: None, during: During { from: seconds(from), until: Some(seconds(until)) }, change }
    }

    fn at(turns: &[Turn], second: u64) -> Course {
        let (quality, second) = ("low".parse().unwrap(), Duration::from_secs(second));
        course(turns, &quality, Timestamp::from_micros(0), second, second + Duration::from_secs(1))
    }

    #[test]
    fn a_segment_is_judged_by_its_first_frame() {
        let turns = [turn(Change::Advertisement, 3, 5), turn(Change::Skew { micros: -7 }, 4, 6)];
        let breaks: Vec<u64> = (0..9).filter(|second| at(&turns, *second).advertisement.is_some()).collect();
        assert_eq!(breaks, [3, 4]);
        assert_eq!(at(&turns, 3).advertisement.unwrap().duration, Duration::from_secs(2));
        assert_eq!((at(&turns, 3).encoding, at(&turns, 5).encoding), (Encoding::Other, Encoding::Usual));
        let skews: Vec<i64> = (3..7).map(|second| at(&turns, second).skew_micros).collect();
        assert_eq!(skews, [0, -7, -7, 0]);
    }

    #[test]
    fn a_reset_stays_and_a_discontinuity_is_one() {
        let turns = [turn(Change::SequenceReset, 2, 9), turn(Change::Discontinuity, 3, 9)];
        assert_eq!((1..5).map(|second| at(&turns, second).resets).collect::<Vec<_>>(), [0, 1, 1, 1]);
        assert_eq!((2..6).filter(|second| at(&turns, *second).breaks_off).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_turn_of_one_quality_leaves_the_others_alone() {
        let turns = [Turn { quality: Some("high".parse().unwrap()), ..turn(Change::OffAir, 0, 9) }];
        assert!(!at(&turns, 1).off_air && !is_off_air(&turns, &"low".parse().unwrap(), Duration::ZERO));
        assert!(is_off_air(&turns, &"high".parse().unwrap(), Duration::ZERO));
    }
}
