//! What the live source really had, and what of it could be had.
//!
//! Promises: pure; exact to the microsecond; nothing counts as available that a diligent recorder can have missed.
//! Never: knows what a recorder did.
//!
//! A recorder learns of a segment from a playlist, and may load that once for each target duration (RFC 8216 §6.3.4). So
//! a segment could be had if it was listed for one and a half target durations in a playlist that could be had, and
//! after that its bytes could be had for a target duration. What strikes only a share of the requests, or a number of
//! them, withholds nothing: there is another try.

use std::time::Duration;

use super::aired::Published;
use super::fault::{Fault, PathKind};
use super::script::{Lasts, Percent, Rule};
use crate::model::{Quality, SegmentHash, Timestamp};

/// The script and the shape of the source, as far as they decide what could be had.
pub(super) struct Circumstances<'s> {
    pub rules: &'s [Rule],
    pub origin: Timestamp,
    pub window_segments: usize,
    pub keep: Duration,
    pub target: Duration,
    /// When nobody looks any more, since the programme began.
    pub until: Duration,
}

/// A segment that has been on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueSegment {
    /// As playlists told it.
    pub start: Timestamp,
    pub duration_micros: i64,
    /// Of its bytes, as a recorder should store them.
    pub content: SegmentHash,
    pub advertisement: bool,
    /// It could be had.
    pub available: bool,
}

impl TrueSegment {
    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(self.duration_micros)
    }
}

impl Circumstances<'_> {
    /// Whether the segment at `at` of all that were on air could be had.
    pub(super) fn could_be_had(&self, aired: &[Published], at: usize) -> bool {
        let quality = &aired[at].quality;
        let moments = self.moments(aired);
        let is_seen = |moment| self.is_listed(aired, at, moment) && self.playlist_answers(quality, moment);
        let Some(seen) = first_stretch(&moments, Duration::ZERO, self.target * 3 / 2, is_seen) else { return false };
        let is_there = |moment| self.segment_answers(&aired[at], moment);
        first_stretch(&moments, seen, self.target, is_there).is_some()
    }

    /// All moments at which anything changes, in order.
    fn moments(&self, aired: &[Published]) -> Vec<Duration> {
        let mut moments = vec![Duration::ZERO, self.until];
        for segment in aired {
            let aired_at = self.since_origin(segment);
            moments.extend([aired_at, aired_at + self.keep]);
        }
        for rule in self.rules {
            moments.push(rule.during.from);
            moments.extend(rule.during.until);
            // A token outlives the master playlist that handed it out.
            let lifetimes = self.rules.iter().filter_map(|rule| rule.fault.token_lifetime());
            moments.extend(lifetimes.map(|after| rule.during.from + after));
        }
        moments.retain(|moment| *moment <= self.until);
        moments.sort();
        moments.dedup();
        moments
    }

    fn since_origin(&self, segment: &Published) -> Duration {
        segment.aired_at.saturating_since(self.origin)
    }

    /// Rules that strike every such request at this moment.
    fn strict(&self, kind: PathKind, quality: &Quality, moment: Duration) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| {
            rule.is_about(kind, Some(quality).filter(|_| kind != PathKind::Master))
                && rule.share == Percent::ALL
                && rule.lasts == Lasts::UntilCleared
                && rule.during.holds(moment)
        })
    }

    fn withheld(&self, kind: PathKind, quality: &Quality, moment: Duration) -> bool {
        self.strict(kind, quality, moment).any(|rule| rule.fault.withholds())
    }

    /// Whether the playlist shows the segment at `at` at this moment.
    fn is_listed(&self, aired: &[Published], at: usize, moment: Duration) -> bool {
        let (mut stale, mut as_of) = (0, moment);
        for rule in self.strict(PathKind::Media, &aired[at].quality, moment) {
            if let Fault::Stale { segments } = rule.fault {
                stale = stale.max(segments);
            }
            if rule.fault == Fault::Frozen {
                as_of = as_of.min(rule.during.from);
            }
        }
        let shown = aired.partition_point(|segment| self.since_origin(segment) <= as_of);
        let Some(newest) = shown.checked_sub(1) else { return false };
        let last = shown.saturating_sub(stale);
        at < last && at + self.window_segments >= last && aired[at].epoch == aired[newest].epoch
    }

    fn playlist_answers(&self, quality: &Quality, moment: Duration) -> bool {
        !self.withheld(PathKind::Media, quality, moment) && self.token_can_be_had(PathKind::Media, quality, moment)
    }

    fn segment_answers(&self, segment: &Published, moment: Duration) -> bool {
        let kinds: &[PathKind] =
            if segment.map.is_some() { &[PathKind::Segment, PathKind::Map] } else { &[PathKind::Segment] };
        moment < self.since_origin(segment) + self.keep
            && kinds.iter().all(|kind| {
                !self.withheld(*kind, &segment.quality, moment)
                    && self.token_can_be_had(*kind, &segment.quality, moment)
            })
    }

    /// Whether no token is asked for, or one that is young enough was handed out.
    fn token_can_be_had(&self, kind: PathKind, quality: &Quality, moment: Duration) -> bool {
        let mut lifetimes = self.strict(kind, quality, moment).filter_map(|rule| rule.fault.token_lifetime());
        lifetimes.all(|after| {
            let oldest = moment.saturating_sub(after);
            // The master playlist answers at once, or when the rule that withholds it ends.
            let ends = self.rules.iter().filter_map(|rule| rule.during.until);
            let moments = ends.filter(|end| (oldest..=moment).contains(end)).chain([oldest, moment]);
            moments.into_iter().any(|at| !self.withheld(PathKind::Master, quality, at))
        })
    }
}

/// The end of the first `length` in which `holds` from `after` on; between two moments nothing changes.
fn first_stretch(
    moments: &[Duration],
    after: Duration,
    length: Duration,
    holds: impl Fn(Duration) -> bool,
) -> Option<Duration> {
    let mut began = None;
    for pair in moments.windows(2) {
        let (from, until) = (pair[0].max(after), pair[1]);
        if until <= from {
            continue;
        }
        if !holds(pair[0]) {
            began = None;
            continue;
        }
        let enough = *began.get_or_insert(from) + length;
        if enough <= until {
            return Some(enough);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::aired::{AirTrack, Airing, Encoding};
    use super::super::reel::ReelSegment;
    use super::super::script::During;
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Thirty segments of a second; the one at `at` is listed from `at + 1` on. Numbers start over at `reset`.
    fn aired(reset: i64) -> Vec<Published> {
        let mut track = AirTrack::new("low".parse().unwrap(), "ts");
        for at in 0..30 {
            let start = Timestamp::from_micros(at * 1_000_000);
            let (duration_micros, duration_text, path) = (1_000_000, "1.0".to_owned(), PathBuf::new());
            track.put_on_air(Airing {
                segment: ReelSegment { offset_micros: start.micros(), duration_micros, duration_text, path },
                map: None,
                encoding: Encoding::Usual,
                start,
                aired_at: start.plus(seconds(1)),
                skew_micros: 0,
                epoch: u32::from(at >= reset),
                advertisement: None,
                breaks_off: false,
                off_air: false,
            });
        }
        track.aired
    }

    fn during(from: u64, until: u64, rule: Rule) -> Rule {
        Rule { during: During { from: seconds(from), until: Some(seconds(until)) }, ..rule }
    }

    /// Which of the thirty could not be had.
    fn missing(rules: &[Rule], keep: u64, reset: i64) -> Vec<usize> {
        let (origin, target, until) = (Timestamp::from_micros(0), seconds(1), seconds(90));
        let circumstances = Circumstances { rules, origin, window_segments: 5, keep: seconds(keep), target, until };
        let aired = aired(reset);
        (0..30).filter(|at| !circumstances.could_be_had(&aired, *at)).collect()
    }

    #[test]
    fn on_a_good_day_everything_can_be_had() {
        assert_eq!(missing(&[], 60, 99), [0; 0]);
    }

    #[test]
    fn what_left_the_playlist_while_it_was_withheld_cannot_be_had() {
        let down = during(10, 20, Rule { kind: None, ..Rule::on(PathKind::Media, Fault::Dropped) });
        // The one at 8 is listed from 9 on, too briefly. At 20 the list holds 15 to 19, and 15 leaves it at 21.
        assert_eq!(missing(&[down], 60, 99), (8..=15).collect::<Vec<_>>());
    }

    #[test]
    fn what_strikes_a_share_or_a_number_withholds_nothing() {
        let rule = || Rule { kind: None, ..Rule::on(PathKind::Media, Fault::Dropped) };
        let share = Rule { share: Percent::new(99).unwrap(), ..rule() };
        assert_eq!(missing(&[share, rule().for_requests(1000)], 60, 99), [0; 0]);
    }

    #[test]
    fn a_segment_that_is_withheld_until_it_is_deleted_cannot_be_had() {
        let withheld = |until| during(10, until, Rule::on(PathKind::Segment, Fault::Html));
        assert_eq!(missing(&[withheld(15)], 60, 99), [0; 0]);
        // Kept for six seconds: the one at 7 is sure to be known at 9.5, the one at 13 is there from 19 to 20.
        assert_eq!(missing(&[withheld(19)], 6, 99), (7..=12).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_one_before_a_reset_is_listed_too_briefly() {
        assert_eq!(missing(&[], 60, 12), [11]);
    }

    #[test]
    fn a_frozen_or_lagging_list_that_comes_back_in_time_withholds_nothing() {
        let frozen = |until| during(10, until, Rule::on(PathKind::Media, Fault::Frozen));
        assert_eq!(missing(&[frozen(13)], 60, 99), [0; 0]);
        assert_eq!(missing(&[frozen(20)], 60, 99), (10..=15).collect::<Vec<_>>());
        let lags = during(10, 20, Rule::on(PathKind::Media, Fault::Stale { segments: 3 }));
        assert_eq!(missing(&[lags], 60, 99), [0; 0]);
    }

    #[test]
    fn a_token_needs_a_master_playlist_that_answers_now_and_then() {
        let expires = || Rule { kind: None, ..Rule::on(PathKind::Media, Fault::TokenExpires { after: seconds(4) }) };
        assert_eq!(missing(&[expires()], 60, 99), [0; 0]);
        let down = |until| during(10, until, Rule::on(PathKind::Master, Fault::Html));
        assert_eq!(missing(&[expires(), down(13)], 60, 99), [0; 0]);
        assert_eq!(missing(&[expires(), down(25)], 60, 99), (12..=20).collect::<Vec<_>>());
    }
}
