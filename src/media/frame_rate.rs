//! Frames per second, as measured.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::encoding::Container;
use super::fmp4::FragmentScan;
use super::mpegts::{Scan, Track};

/// In thousandths of a frame per second, which is what EXT-X-STREAM-INF shows (RFC 8216 §4.3.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrameRate(u32);

/// What encoders are set to. Stamps are whole ticks, and a segment is short, so a measured rate lies a little beside.
const USUAL: [u32; 8] = [23_976, 24_000, 25_000, 29_970, 30_000, 50_000, 59_940, 60_000];
/// What lies within a thousandth of a usual rate is taken for it.
const SNAP_DIVISOR: u64 = 1000;
/// Faster than any camera: the stamps are broken.
const FASTEST: u64 = 1_000_000;

impl FrameRate {
    /// As a track of a whole segment has it; `None` where there are no two frames.
    pub fn of(track: &Track) -> Option<Self> {
        // The last frame's length is told by nothing: one interval fewer than frames.
        let intervals = track.all_pts().count() as u64 - 1;
        let ticks = u64::try_from(track.highest_pts().saturating_sub(track.lowest_pts())).ok()?;
        Self::measured(intervals, ticks, 90_000)
    }

    /// Frames and seconds: `30000/1001` for 29.970, and likewise for the other rates of NTSC.
    pub fn fraction(self) -> String {
        match self.0 {
            23_976 => "24000/1001".to_owned(),
            29_970 => "30000/1001".to_owned(),
            59_940 => "60000/1001".to_owned(),
            thousandths => format!("{thousandths}/1000"),
        }
    }

    /// Rounded to the nearest.
    pub fn frames_in_micros(self, micros: i64) -> usize {
        let frames = (i128::from(micros) * i128::from(self.0) + 500_000_000) / 1_000_000_000;
        usize::try_from(frames).unwrap_or(0)
    }

    /// `None` for what is no rate.
    fn measured(frames: u64, ticks: u64, ticks_per_second: u64) -> Option<Self> {
        let rate = (u128::from(frames) * u128::from(ticks_per_second) * 1000).checked_div(u128::from(ticks))?;
        let rate = u64::try_from(rate).ok().filter(|rate| (1..=FASTEST).contains(rate))?;
        let off = |usual: u32| rate.abs_diff(u64::from(usual));
        let nearest = USUAL.into_iter().min_by_key(|usual| off(*usual)).expect("there are usual rates");
        Some(Self(if off(nearest) <= u64::from(nearest) / SNAP_DIVISOR { nearest } else { rate as u32 }))
    }
}

impl fmt::Display for FrameRate {
    /// `29.970`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Measures a whole segment: push its bytes in pieces of any size, then finish.
#[derive(Debug)]
pub enum FrameRateScan {
    MpegTs(Scan),
    FragmentedMp4(FragmentScan),
}

impl FrameRateScan {
    pub fn new(container: Container) -> Self {
        match container {
            Container::MpegTs => Self::MpegTs(Scan::default()),
            Container::FragmentedMp4 => Self::FragmentedMp4(FragmentScan::default()),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::MpegTs(scan) => scan.push(bytes),
            Self::FragmentedMp4(scan) => scan.push(bytes),
        }
    }

    /// `None` where there are no two frames of video.
    pub fn finish(self) -> Option<FrameRate> {
        match self {
            Self::MpegTs(scan) => FrameRate::of(scan.finish().ok()?.video.as_ref()?),
            Self::FragmentedMp4(scan) => {
                let (frames, ticks, timescale) = scan.finish()?;
                FrameRate::measured(frames, ticks, u64::from(timescale))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_beside_a_usual_one_is_that_one() {
        for (frames, ticks, shown) in [
            (59, 59 * 1500, Some("60.000")),
            (47, 176_426, Some("23.976")),
            (47, 47 * 3750, Some("24.000")),
            (59, 59 * 3003, Some("29.970")),
            (59, 59 * 3002, Some("29.970")),
            (59, 59 * 3001, Some("30.000")),
            (10, 10 * 6000, Some("15.000")),
            (59, 59 * 3010, Some("29.900")),
            (1, 90_000_000, Some("0.001")),
            (5, 0, None),
            (0, 7, None),
            (u64::MAX, 1, None),
        ] {
            let rate = FrameRate::measured(frames, ticks, 90_000).map(|rate| rate.to_string());
            assert_eq!(rate.as_deref(), shown, "{frames} in {ticks}");
        }
    }

    #[test]
    fn frames_are_counted_to_the_nearest() {
        for (thousandths, micros, frames, fraction) in [
            (30_000, 1_000_000, 30, "30000/1000"),
            (29_970, 1_000_000, 30, "30000/1001"),
            (29_970, 60_000_000, 1798, "30000/1001"),
            (25_000, 499_999, 12, "25000/1000"),
        ] {
            let rate = FrameRate(thousandths);
            assert_eq!((rate.frames_in_micros(micros), rate.fraction().as_str()), (frames, fraction));
        }
    }

    #[test]
    fn a_transport_stream_is_measured_between_its_frames() {
        for (name, shown) in
            [("av_bf2", Some("30.000")), ("av_60fps", Some("60.000")), ("a_only", None), ("empty", None)]
        {
            let path = format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"));
            let mut scan = FrameRateScan::new(Container::MpegTs);
            scan.push(&std::fs::read(path).unwrap());
            assert_eq!(scan.finish().map(|rate| rate.to_string()).as_deref(), shown, "{name}");
        }
    }
}
