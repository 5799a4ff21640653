//! One frame as a picture.
//!
//! Promises: the first frame whose time is ≥ the one asked for; where none follows, the last one before it; never one from
//! the other side of a hole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::CutError;
use super::ffmpeg::Ffmpeg;
use super::files::{Record, SourceFile, survey};
use super::mpegts::Track;
use super::plan::{PlanError, ticks_of_micros};
use super::stream::{Source, shifted};
use super::trim::{picture_args, shift_for};
use crate::model::{SegmentName, Span, Timestamp};
use crate::select::{ContainsHoles, Part, Selection};

/// Longer than any segment, so that the one that follows is in the selection too.
const LOOK_AHEAD: Duration = Duration::from_secs(30);
/// An 8K frame without compression has 100 MB.
const MAX_PICTURE_BYTES: usize = 128 * 1024 * 1024;

/// The span to select for `still`.
pub fn still_span(moment: Timestamp) -> Span {
    Span::new(moment, moment.plus(LOOK_AHEAD)).expect("looking ahead takes time")
}

/// A PNG of the frame at the start of `selection`, which was chosen for `still_span`.
pub async fn still(record: Record, ffmpeg: Ffmpeg, selection: &Selection) -> Result<Bytes, CutError> {
    let moment = selection.span().start();
    let candidates = candidates(selection)?;
    let (container, files) = survey(&record, candidates).await?;
    let source = Source { record, ffmpeg, container };
    let seat = source.ffmpeg.seat().await?;
    let mut found = None;
    for file in files {
        let summary = source.measure(&seat, &file).await?;
        let Some(video) = &summary.video else { continue };
        let at_or_after = frame_at_or_after(&file, video, moment);
        let pts = at_or_after.unwrap_or(video.highest_pts());
        // A frame before the moment is only shown if none follows.
        if at_or_after.is_some() || found.is_none() {
            found = Some((file, summary, pts));
        }
        if at_or_after.is_some() {
            break;
        }
    }
    let (file, summary, pts) = found.ok_or(CutError::NoFrames)?;
    let shift_90k = shift_for(&summary);
    let video = summary.video.as_ref().expect("only files with video are found");
    let input = shifted(source.transport_stream(&seat, file.clone())?, shift_90k);
    let mut running = seat.run(picture_args(video.pid, pts + shift_90k), input)?;
    let mut picture = BytesMut::new();
    while let Some(bytes) = running.next().await? {
        if picture.len() + bytes.len() > MAX_PICTURE_BYTES {
            return Err(CutError::PictureTooLarge { limit_bytes: MAX_PICTURE_BYTES });
        }
        picture.extend_from_slice(&bytes);
    }
    if picture.is_empty() {
        return Err(CutError::Inexact { segment: file.segment.path_text(), expected: 1, came: 0 });
    }
    Ok(picture.freeze())
}

/// The segment that covers the start of the selection, and the next one unless a hole lies between.
fn candidates(selection: &Selection) -> Result<Vec<SegmentName>, CutError> {
    let mut found = Vec::new();
    for part in selection.parts() {
        match part {
            Part::Segment(segment) => found.push(segment.to_name()),
            Part::Hole(first) if found.is_empty() && selection.has_content() => {
                return Err(PlanError::Holes(ContainsHoles { first, count: 1 }).into());
            }
            Part::Hole(_) => break,
        }
        if found.len() == 2 {
            break;
        }
    }
    if found.is_empty() { Err(PlanError::NoContent(selection.span()).into()) } else { Ok(found) }
}

fn frame_at_or_after(file: &SourceFile, video: &Track, moment: Timestamp) -> Option<i64> {
    let wanted = video.lowest_pts() + ticks_of_micros(moment.micros_since(file.segment.start()));
    video.all_pts().filter(|pts| *pts >= wanted).min()
}
