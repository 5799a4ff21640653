//! How a whole file is shown where it does not follow the file before it as it is: at the start of a range, or after a part that
//! was re-encoded.
//!
//! Promises: only those pictures are re-encoded that may refer to what is not in the output. Of an open GOP that tells where a
//! decoder may start, these are the ones that are shown before its key picture: from that one on, packets stay as they are.
//! Never: reads the disk.

use super::CutError;
use super::trim::{Bounds, Decoded, Encoder, TrimJob, VideoJob};
use crate::media::mpegts::{Stamp, Summary, Track};
use crate::model::SegmentName;

/// H.264 and HEVC reorder by no more (`max_dec_frame_buffering`), so no more pictures can lead up to one.
const MAX_LEADING: usize = 16;

/// A copy of a file without the sound that it has beyond its last picture, or before its first one: beside a hard cut, that would
/// lie over the sound of another range. `None` if it has none of that.
pub(super) fn without_stray_sound(
    segment: &SegmentName,
    summary: &Summary,
    after_cut: bool,
    before_cut: bool,
) -> Result<Option<TrimJob>, CutError> {
    let Some(video) = &summary.video else { return Ok(None) };
    let has_early = after_cut && has_early_sound(summary, video);
    let has_stray = has_early || before_cut && has_late_sound(summary, video);
    if !has_stray {
        return Ok(None);
    }
    let bounds = Bounds { from: has_early.then_some(video.lowest_pts()), until: None };
    // ffmpeg copies no packets whose decoding times do not rise.
    let video = match video.is_mended() {
        true => VideoJob::new(segment, video, bounds)?,
        false => VideoJob::with_encoder(video, bounds, Encoder::Copy),
    };
    Ok(Some(TrimJob::new(segment, summary, bounds, Some(video))))
}

/// Usual by some 50 ms.
fn has_early_sound(summary: &Summary, video: &Track) -> bool {
    summary.audio.iter().any(|audio| audio.lowest_pts() < video.lowest_pts())
}

/// The last packet is taken to hold as much as the one before it.
fn has_late_sound(summary: &Summary, video: &Track) -> bool {
    summary.audio.iter().any(|audio| audio.end_pts() > video.end_pts())
}

/// What to do in turn; nothing if the file can simply be copied.
pub(super) fn seam(
    segment: &SegmentName,
    summary: &Summary,
    after_cut: bool,
    before_cut: bool,
) -> Result<Vec<TrimJob>, CutError> {
    let Some(video) = &summary.video else { return Ok(Vec::new()) };
    if summary.starts_fresh {
        return Ok(without_stray_sound(segment, summary, after_cut, before_cut)?.into_iter().collect());
    }
    let has_early_sound = after_cut && has_early_sound(summary, video);
    let bounds = Bounds { from: has_early_sound.then_some(video.lowest_pts()), until: None };
    let job = |bounds, video| TrimJob::new(segment, summary, bounds, Some(video));
    let leading = if summary.starts_open_gop && !video.is_mended() { Leading::of(video) } else { None };
    let Some(Leading { key_pts, leading_dts, key_dts }) = leading else {
        return Ok(vec![job(bounds, VideoJob::new(segment, video, bounds)?)]);
    };
    let (before, after) = (Bounds { until: Some(key_pts), ..bounds }, Bounds { from: Some(key_pts), until: None });
    let made = VideoJob::new(segment, video, before)?.decoded(Decoded::At(leading_dts));
    let copied = VideoJob::with_encoder(video, after, Encoder::Copy).decoded(Decoded::At(vec![key_dts]));
    Ok(vec![job(before, made), job(after, copied)])
}

/// The pictures of an open GOP that are shown before its key picture, though decoded after it. Without them, the key picture
/// is decoded last of all: the times at which these were decoded are dealt out anew.
#[derive(Debug, PartialEq, Eq)]
struct Leading {
    key_pts: i64,
    leading_dts: Vec<i64>,
    key_dts: i64,
}

impl Leading {
    /// `None` where there are none, or where their order is no reordering.
    fn of(track: &Track) -> Option<Self> {
        let (key, rest) = track.stamps().split_first()?;
        let count = rest.iter().take_while(|stamp| stamp.pts < key.pts).count();
        let (leading, others) = rest.split_at(count);
        if !(1..=MAX_LEADING).contains(&count) || others.iter().any(|stamp| stamp.pts < key.pts) {
            return None;
        }
        let mut pts: Vec<i64> = leading.iter().map(|stamp| stamp.pts).collect();
        pts.sort_unstable();
        let mut all_dts: Vec<i64> = [key].into_iter().chain(leading).map(|stamp: &Stamp| stamp.dts).collect();
        let can_be_decoded = pts.iter().zip(&all_dts).all(|(pts, dts)| pts >= dts);
        if !can_be_decoded || !all_dts.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let key_dts = all_dts.pop()?;
        Some(Self { key_pts: key.pts, leading_dts: all_dts, key_dts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::mpegts::{Codec, Pid};

    fn leading(stamps: &[(i64, i64)]) -> Option<Leading> {
        let stamps = stamps.iter().map(|(pts, dts)| Stamp { pts: *pts, dts: *dts }).collect();
        Leading::of(&Track::new(Pid::from_bytes(1, 0), Codec::H264, stamps))
    }

    #[test]
    fn the_times_of_decoding_are_dealt_out_anew_without_the_leading_pictures() {
        // A key picture, one that three refer to, two of those, and the next to be shown.
        let gop = [(5, 0), (3, 1), (2, 2), (4, 3), (9, 4), (7, 5)];
        assert_eq!(leading(&gop), Some(Leading { key_pts: 5, leading_dts: vec![0, 1, 2], key_dts: 3 }));
        // It would have to be shown before it is decoded.
        assert_eq!(leading(&[(5, 3), (2, 4), (9, 5)]), None);
    }

    #[test]
    fn what_is_no_open_gop_is_none() {
        assert_eq!(leading(&[(5, 0), (6, 1), (7, 2)]), None);
        assert_eq!(leading(&[(5, 0), (6, 1), (4, 2)]), None);
        assert_eq!(leading(&[(5, 0)]), None);
        let many: Vec<(i64, i64)> = (0..20).map(|at| (100 + at, at)).collect();
        assert_eq!(leading(&[&[(500, -1)], &many[..]].concat()), None);
    }
}
