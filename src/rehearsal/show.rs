//! The programme: which segments are on air at a given time.
//!
//! Promises: a segment goes on air when its last frame is over, once; while the stream has ended, none does.
//! Never: asks the time; the caller says what time it is.

use std::path::Path;
use std::time::Duration;

use super::RehearsalError;
use super::aired::{AirTrack, Airing, Encoding, Published};
use super::lists::Variant;
use super::reel::ReelSegment;
use super::spec::ReelSpec;
use super::tape::{AtEnd, Tape, due};
use super::turns::{self, Turn};
use crate::model::{Quality, Timestamp};

/// The state of the programme.
pub(super) struct Show {
    tape: Tape,
    tracks: Vec<AirTrack>,
    turns: Vec<Turn>,
    /// Nothing is on air until somebody says begin.
    waits: bool,
    now: Timestamp,
    /// How often the numbering has been asked to start over.
    epoch: u32,
    /// Nothing goes on air, and playlists say ENDLIST.
    ended: bool,
    /// Why a live reel has stopped.
    broken: Option<String>,
}

impl Show {
    pub(super) fn new(tape: Tape, turns: Vec<Turn>, waits: bool) -> Self {
        let extension = tape.spec().container.extension();
        let renditions = tape.spec().renditions.iter();
        let tracks = renditions.map(|rendition| AirTrack::new(rendition.quality.clone(), extension)).collect();
        let now = Timestamp::from_micros(0);
        Self { tracks, tape, turns, waits, now, epoch: 0, ended: false, broken: None }
    }

    pub(super) fn spec(&self) -> &ReelSpec {
        self.tape.spec()
    }

    /// The time of frame 0.
    pub(super) fn origin(&self) -> Timestamp {
        self.tape.origin()
    }

    /// Lets a programme begin that has waited; `now` becomes the time of frame 0 of a prepared reel.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.waits)
            && let Tape::Prepared { origin, .. } = &mut self.tape
        {
            *origin = now;
        }
    }

    /// Time since the programme began.
    pub(super) fn elapsed(&self) -> Duration {
        if self.waits { Duration::ZERO } else { self.now.saturating_since(self.origin()) }
    }

    /// Puts on air whatever is due at `now`. While the stream has ended, what is due passes unseen.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = now;
        if self.waits {
            return;
        }
        for at in 0..self.tracks.len() {
            if let Err(error) = self.advance_track(at, now) {
                self.broken.get_or_insert_with(|| error.chain());
            }
        }
    }

    fn advance_track(&mut self, at: usize, now: Timestamp) -> Result<(), RehearsalError> {
        let track = &mut self.tracks[at];
        match &mut self.tape {
            Tape::Prepared { reel, other, origin, speed, at_end } => {
                while let Some((segment, loops)) = due(reel, at, track.taken, *at_end) {
                    let end = segment.offset_micros + segment.duration_micros;
                    let aired_at = origin.plus_micros(end / i64::from(*speed));
                    if now < aired_at {
                        break;
                    }
                    let since = |micros: i64| Duration::from_micros(micros.unsigned_abs());
                    let (from, until) = (since(segment.offset_micros), since(end));
                    let course = turns::course(&self.turns, &track.quality, *origin, from, until);
                    let other = other.as_ref().filter(|_| course.encoding == Encoding::Other);
                    let start = origin.plus_micros(segment.offset_micros);
                    let segment = match other.and_then(|other| due(other, at, track.taken, *at_end)) {
                        Some((other, _)) => ReelSegment { path: other.path, ..segment },
                        None => segment,
                    };
                    track.put_on_air(Airing {
                        segment,
                        map: other.unwrap_or(reel).tracks()[at].map.clone(),
                        encoding: course.encoding,
                        start,
                        aired_at,
                        skew_micros: course.skew_micros,
                        epoch: self.epoch + course.resets,
                        advertisement: course.advertisement,
                        breaks_off: loops || course.breaks_off,
                        off_air: self.ended || course.off_air,
                    });
                }
            }
            Tape::Live(reel) => {
                let fresh = reel.poll(at)?;
                let origin = reel.origin();
                for (nth, segment) in fresh.segments.into_iter().enumerate() {
                    track.put_on_air(Airing {
                        start: origin.plus_micros(segment.offset_micros),
                        segment,
                        map: fresh.map.clone(),
                        encoding: Encoding::Usual,
                        aired_at: now,
                        skew_micros: 0,
                        epoch: self.epoch,
                        advertisement: None,
                        breaks_off: nth == 0 && fresh.missed_some,
                        off_air: self.ended,
                    });
                }
                track.forget_deleted()?;
            }
        }
        Ok(())
    }

    /// Ends the stream, as when the broadcaster stops. Call `advance` before.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The stream returns, behind a DISCONTINUITY where something was not on air. Call `advance` before.
    pub(super) fn resume(&mut self) {
        self.ended = false;
    }

    /// Ends whatever encodes for the programme, and removes its files.
    pub(super) fn close(&mut self) {
        match &mut self.tape {
            Tape::Prepared { .. } => {}
            Tape::Live(reel) => reel.stop(),
        }
    }

    /// From the next segment on, numbers start at 0, names are new, and playlists hold nothing older.
    pub(super) fn reset_sequence(&mut self) {
        self.epoch += 1;
    }

    /// Why no more segments will come, where a live reel has failed.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// All that has been on air and is still on disk, oldest first; `None` for a quality that is not there.
    pub(super) fn aired(&self, quality: &Quality) -> Option<&[Published]> {
        Some(&self.tracks.iter().find(|track| track.quality == *quality)?.aired)
    }

    /// The initialisation section of one encoding, once something has been on air that needs it.
    pub(super) fn map(&self, quality: &Quality, encoding: Encoding) -> Option<&Path> {
        self.aired(quality)?.iter().rev().find(|published| published.encoding == encoding)?.map.as_deref()
    }

    /// The segments of a playlist of at most `length`, as it was `stale` segments ago, or at the moment `frozen_at`.
    pub(super) fn window(
        &self,
        quality: &Quality,
        length: usize,
        stale: usize,
        frozen_at: Option<Duration>,
    ) -> Option<&[Published]> {
        let aired = self.aired(quality)?;
        let frozen = frozen_at.map(|at| self.origin().plus(at));
        let until = frozen.map_or(aired.len(), |until| aired.partition_point(|published| published.aired_at <= until));
        let aired = &aired[..until];
        let epoch = aired.last().map_or(0, |last| last.epoch);
        let first = aired.partition_point(|published| published.epoch < epoch);
        let current = &aired[first..aired.len().saturating_sub(stale).max(first)];
        Some(&current[current.len().saturating_sub(length)..])
    }

    /// Whether a playlist of this quality says ENDLIST.
    pub(super) fn is_over(&self, quality: &Quality) -> bool {
        let reel_is_over = match &self.tape {
            Tape::Prepared { reel, at_end: AtEnd::End, .. } => {
                let at = self.tracks.iter().position(|track| track.quality == *quality);
                at.is_some_and(|at| self.tracks[at].taken >= reel.tracks()[at].segments.len() as u64)
            }
            Tape::Prepared { at_end: AtEnd::Loop, .. } | Tape::Live(_) => false,
        };
        self.ended || reel_is_over || turns::is_off_air(&self.turns, quality, self.elapsed())
    }

    /// Bandwidth and codecs in the order of the renditions; `None` until they are known.
    pub(super) fn variants(&self) -> Result<Option<Vec<Variant>>, RehearsalError> {
        let known = self.tape.variants()?;
        // A master playlist that ffmpeg is about to write may still be short.
        Ok(known.filter(|variants: &Vec<Variant>| variants.len() == self.tracks.len()))
    }

    /// The EXT-X-TARGETDURATION of all playlists, in seconds.
    pub(super) fn target_seconds(&self) -> u64 {
        let longest = self.tape.longest_segment_micros();
        Duration::from_micros(longest.unsigned_abs()).as_nanos().div_ceil(1_000_000_000).max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::reel::Reel;
    use super::super::reel::tests::{cache, small_spec};
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// A programme of 8 segments of half a second, from time 0.
    fn show(at_end: AtEnd, speed: u32) -> Show {
        let reel = Reel::prepare(&small_spec(), Duration::from_secs(4), &cache()).unwrap();
        let tape = Tape::Prepared { reel, other: None, origin: Timestamp::from_micros(0), speed, at_end };
        Show::new(tape, Vec::new(), false)
    }

    fn quality() -> Quality {
        "low".parse().unwrap()
    }

    fn numbers(window: Option<&[Published]>) -> Vec<u64> {
        window.unwrap().iter().map(|segment| segment.media_sequence).collect()
    }

    fn advance(show: &mut Show, micros: i64) {
        show.advance(Timestamp::from_micros(micros));
    }

    #[test]
    fn a_segment_appears_when_its_end_has_passed() {
        let mut show = show(AtEnd::End, 1);
        advance(&mut show, SECOND / 2 - 1);
        assert_eq!(show.aired(&quality()).unwrap().len(), 0);
        advance(&mut show, SECOND / 2);
        assert_eq!(show.aired(&quality()).unwrap().len(), 1);
        assert_eq!(show.aired(&"other".parse().unwrap()), None);
    }

    #[test]
    fn speed_hastens_the_appearing_and_nothing_else() {
        let mut show = show(AtEnd::Loop, 4);
        advance(&mut show, 2 * SECOND);
        let aired = show.aired(&quality()).unwrap();
        assert_eq!(aired.len(), 16);
        for (at, segment) in aired.iter().enumerate() {
            assert_eq!(segment.start.micros(), at as i64 * SECOND / 2);
            assert_eq!(segment.duration_micros, SECOND / 2);
        }
    }

    #[test]
    fn a_loop_goes_on_behind_a_discontinuity() {
        let mut show = show(AtEnd::Loop, 1);
        advance(&mut show, 9 * SECOND);
        let aired = show.aired(&quality()).unwrap();
        let marked: Vec<u64> = aired.iter().filter(|s| s.discontinuity).map(|s| s.media_sequence).collect();
        assert_eq!(marked, [8, 16]);
        assert_eq!(aired[8].path, aired[0].path);
        let sequences: Vec<u64> = [7, 8, 9, 17].iter().map(|at| aired[*at].discontinuity_sequence()).collect();
        assert_eq!(sequences, [0, 0, 1, 2]);
        assert!(!show.is_over(&quality()));
    }

    #[test]
    fn a_reel_that_ends_is_over_after_its_last_segment() {
        let mut show = show(AtEnd::End, 1);
        advance(&mut show, 4 * SECOND - 1);
        assert!(!show.is_over(&quality()));
        advance(&mut show, 60 * SECOND);
        assert!(show.is_over(&quality()));
        assert_eq!(numbers(show.window(&quality(), 3, 0, None)), [5, 6, 7]);
    }

    #[test]
    fn what_passes_while_the_stream_has_ended_is_never_on_air() {
        let mut show = show(AtEnd::Loop, 1);
        advance(&mut show, SECOND);
        show.end();
        advance(&mut show, 2 * SECOND);
        assert!(show.is_over(&quality()));
        assert_eq!(numbers(show.window(&quality(), 6, 0, None)), [0, 1]);
        show.resume();
        advance(&mut show, 3 * SECOND);
        let aired = show.aired(&quality()).unwrap();
        assert_eq!(numbers(Some(aired)), [0, 1, 2, 3]);
        assert_eq!(aired[2].start.micros(), 2 * SECOND);
        assert!(aired[2].discontinuity && !aired[3].discontinuity);
    }

    #[test]
    fn a_reset_shows_from_the_next_segment_on() {
        let mut show = show(AtEnd::Loop, 1);
        advance(&mut show, 2 * SECOND);
        show.reset_sequence();
        advance(&mut show, 2 * SECOND);
        assert_eq!(numbers(show.window(&quality(), 3, 0, None)), [1, 2, 3]);
        advance(&mut show, 3 * SECOND);
        let window = show.window(&quality(), 3, 0, None).unwrap();
        assert_eq!(numbers(Some(window)), [0, 1]);
        assert_eq!(window[0].name, "r1-0000.ts");
        assert_eq!(window[0].start.micros(), 2 * SECOND);
    }

    #[test]
    fn a_stale_window_is_an_earlier_one() {
        let mut show = show(AtEnd::Loop, 1);
        advance(&mut show, 3 * SECOND);
        assert_eq!(numbers(show.window(&quality(), 3, 0, None)), [3, 4, 5]);
        assert_eq!(numbers(show.window(&quality(), 3, 2, None)), [1, 2, 3]);
        assert_eq!(numbers(show.window(&quality(), 3, 9, None)), [0; 0]);
    }
}
