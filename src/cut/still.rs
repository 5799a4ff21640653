//! One frame as a picture.
//!
//! Promises: the first frame whose time is ≥ the one asked for; where none follows, the last one before it; never one from
//! the other side of a hole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::CutError;
use super::ffmpeg::{Ffmpeg, Running, Seat};
use super::files::{Record, SourceFile, survey, survey_helper};
use super::plan::{PlanError, ticks_of_micros};
use super::source::Source;
use super::trim::{picture_args, shift_for};
use crate::media::mpegts::Pid;
use crate::model::{SegmentName, Span, Timestamp};
use crate::select::{ContainsHoles, Part, Segment, Selection};

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
    let files = survey(&record, candidates(selection)?).await?;
    let source = Source { record, ffmpeg };
    let seat = source.ffmpeg.seat().await?;
    let lead_in = selection.lead_in().map(Segment::to_name);
    let frame = find(&source, &seat, lead_in, files, selection.span().start()).await?;
    draw(&source, &seat, frame).await
}

/// A frame, and what it takes to decode it.
struct Frame {
    files: Vec<SourceFile>,
    pid: Pid,
    pts: i64,
    /// What is added to the stamps of `files` before ffmpeg sees them.
    shift_90k: i64,
}

async fn find(
    source: &Source,
    seat: &Seat,
    lead_in: Option<SegmentName>,
    files: Vec<SourceFile>,
    moment: Timestamp,
) -> Result<Frame, CutError> {
    let mut last_before = None;
    let mut before = match lead_in {
        Some(lead_in) => survey_helper(&source.record, lead_in).await,
        None => None,
    };
    for file in files {
        let summary = source.measure(seat, &file).await?;
        let Some(video) = &summary.video else { continue };
        let wanted = video.lowest_pts() + ticks_of_micros(moment.micros_since(file.segment.start()));
        let at_or_after = video.all_pts().filter(|pts| *pts >= wanted).min();
        let help = before.replace(file.clone()).filter(|_| !summary.starts_fresh);
        let frame = Frame {
            files: help.into_iter().chain([file]).collect(),
            pid: video.pid,
            pts: at_or_after.unwrap_or(video.highest_pts()),
            shift_90k: shift_for(&summary),
        };
        if at_or_after.is_some() {
            return Ok(frame);
        }
        last_before = Some(frame);
    }
    last_before.ok_or(CutError::NoFrames)
}

async fn draw(source: &Source, seat: &Seat, frame: Frame) -> Result<Bytes, CutError> {
    let segment = frame.files.last().map(|file| file.segment.path_text()).unwrap_or_default();
    let input = source.shifted_streams(seat, frame.files, frame.shift_90k)?;
    let running = seat.run(picture_args(frame.pid, frame.pts + frame.shift_90k), input)?;
    whole_picture(running).await?.ok_or(CutError::Inexact { segment, expected: 1, came: 0 })
}

/// All that a child puts out; `None` if that is nothing.
pub(super) async fn whole_picture(mut running: Running) -> Result<Option<Bytes>, CutError> {
    let mut picture = BytesMut::new();
    while let Some(bytes) = running.next().await? {
        if picture.len() + bytes.len() > MAX_PICTURE_BYTES {
            return Err(CutError::PictureTooLarge { limit_bytes: MAX_PICTURE_BYTES });
        }
        picture.extend_from_slice(&bytes);
    }
    Ok((!picture.is_empty()).then(|| picture.freeze()))
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
