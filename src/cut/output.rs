//! What has been given out of a cut, and how the next part has to fit it.

use super::restamp::Restamp;
use crate::media::mpegts::{Track, WRAP_90K, unwrap_near};

/// The time stamp of the first frame of an exact cut. Not 0: the program clock runs ahead of it, and what is decoded first
/// need not be shown first.
pub(super) const START_90K: i64 = 2 * 90_000;
/// Stamps of files that follow each other are farther apart than this, beyond what is missing between them, only where the
/// source's clock began anew.
pub(super) const MAX_JUMP_90K: i64 = 90_000;

/// What has been given out, and how the next part has to fit it.
#[derive(Default)]
pub(super) struct Output {
    pub restamp: Restamp,
    /// The range whose parts are being given out.
    range: Option<usize>,
    /// What is added to the stamps of that range.
    pub shift_90k: i64,
    /// The last file of that range went out as it is, so that the next one can follow it as it did in the source.
    untouched: bool,
    /// The last part of that range was converted: its sound ends with its picture.
    pub converted: bool,
}

impl Output {
    /// Where a cut is exact, decoding times that do not rise are mended.
    pub fn new(is_exact: bool) -> Self {
        let restamp = if is_exact { Restamp::default().mending() } else { Restamp::default() };
        Self { restamp, ..Self::default() }
    }

    /// What comes next, in the course of the range, begins with this track, whose decoding times are made up.
    pub fn expect_dts(&mut self, track: &Track) {
        let next_dts = track.stamps().first().map_or(track.lowest_dts(), |stamp| stamp.dts) + self.shift_90k;
        self.restamp.expect_dts(track.pid, next_dts, track.step_90k());
    }

    /// Makes ready for a part of `range` that starts at `first_pts`. A new range starts where the last one ended, the first
    /// one at `START_90K`.
    /// `shift_back_90k` is what has been added to its stamps already.
    pub fn begin(&mut self, range: usize, first_pts: i64, shift_back_90k: i64, untouched: bool) {
        let is_joined = self.range != Some(range);
        if is_joined {
            self.range = Some(range);
            self.shift_90k = self.restamp.reached().next_pts().unwrap_or(START_90K) - first_pts;
        }
        self.untouched = untouched;
        self.converted = false;
        self.restamp.begin(self.shift_90k - shift_back_90k);
        if is_joined {
            self.restamp.join();
        }
    }

    /// Whether a part that starts at `first_pts` would not follow what went before in the course of `range`: the source's clock
    /// began anew.
    pub fn jumps(&self, range: usize, first_pts: i64, missing_90k: i64) -> bool {
        let Some(next) = self.restamp.reached().next_pts().filter(|_| self.range == Some(range)) else { return false };
        let step = unwrap_near((first_pts + self.shift_90k).rem_euclid(WRAP_90K) as u64, next) - next;
        !(-MAX_JUMP_90K..=missing_90k + MAX_JUMP_90K).contains(&step)
    }

    /// Forgets the range: what comes next is joined as if it were another.
    pub fn start_over(&mut self) {
        self.range = None;
    }

    /// Makes ready for a file that is copied in the course of `range`.
    pub fn follow(&mut self, range: usize) {
        let shift_90k = if self.range == Some(range) { self.shift_90k } else { 0 };
        self.converted = false;
        self.restamp.begin(shift_90k);
    }

    pub fn follows_untouched(&self, range: usize) -> bool {
        self.range == Some(range) && self.untouched
    }

    /// Whether a part of `range` is the first after a hard cut, or after one whose sound ends with its picture all the same.
    pub fn starts_after_cut(&self, range: usize) -> bool {
        (self.range != Some(range) || self.converted) && self.restamp.reached().next_pts().is_some()
    }
}
