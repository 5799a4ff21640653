//! What a cut consists of: which files to copy whole, and which to trim where.
//!
//! Promises: parts are in order; every segment of the selections that holds a moment of its range is there once; a hole
//! is either refused or listed.
//! Never: reads the disk or the clock, or looks into a segment.

use super::change::{EncodingFrom, KnownEncodings};
use super::piece::{Look, Piece};
use crate::model::{CutType, FullEncode, SegmentName, Span, Timestamp};
use crate::select::{self, ContainsHoles, Hole, Selection};

/// Why there is no cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("a cut needs at least one range")]
    NoRanges,
    #[error(transparent)]
    Holes(#[from] ContainsHoles),
    #[error("there is no content in the range {0}")]
    NoContent(Span),
    #[error("an archive is of one range")]
    NotOneRange,
    #[error("a cut of type {0} copies whole segments, which cannot be blended")]
    NoBlends(CutType),
    #[error("the encoding changes at {segment} from {from} to {to}; ask for a range on one side of it")]
    Changes { segment: String, from: String, to: String },
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These files, whole, one after the other.
    Copy { segments: Vec<SegmentName> },
    /// The frames of one file whose time is ≥ `from` and < `until`.
    Trim { segment: SegmentName, from: Option<Timestamp>, until: Option<Timestamp> },
    /// The frames of these files whose time is ≥ `from` and < `until`, re-encoded to be like the first of the cut.
    Convert { segments: Vec<SegmentName>, from: Option<Timestamp>, until: Option<Timestamp> },
}

impl Part {
    pub fn segments(&self) -> &[SegmentName] {
        match self {
            Self::Copy { segments } | Self::Convert { segments, .. } => segments,
            Self::Trim { segment, .. } => std::slice::from_ref(segment),
        }
    }

    pub fn is_converted(&self) -> bool {
        matches!(self, Self::Convert { .. })
    }
}

/// The parts of one range. Between two ranges lies a hard cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRange {
    pub span: Span,
    /// Never empty.
    pub parts: Vec<Part>,
    /// The file before the first one. Nothing of it is shown, but the first one may need it to be decoded.
    pub lead_in: Option<SegmentName>,
    /// What is missing in the range, and is passed over in silence.
    pub holes: Vec<Hole>,
}

/// A cut that only has to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    cut_type: CutType,
    encode: FullEncode,
    look: Look,
    pub(super) pieces: Vec<Piece<PlannedRange>>,
    /// Where a known encoding begins, in the order of the cut; the first one's is what all of it comes out in.
    pub(super) encodings: Vec<EncodingFrom>,
}

impl Plan {
    /// Plans a cut of these pieces, in the order given, each with what was selected for it.
    pub fn new(cut_type: CutType, pieces: &[Piece<Selection>], allow_holes: bool) -> Result<Self, PlanError> {
        if pieces.is_empty() {
            return Err(PlanError::NoRanges);
        }
        if !cut_type.is_exact() && pieces.iter().any(|piece| matches!(piece, Piece::Blend { .. })) {
            return Err(PlanError::NoBlends(cut_type));
        }
        if cut_type == CutType::Archive && pieces.len() > 1 {
            return Err(PlanError::NotOneRange);
        }
        // A copy in Matroska cannot say that something is missing.
        let allow_holes = allow_holes && cut_type != CutType::Archive;
        let planned = |selection: &Selection| {
            if !allow_holes && selection.has_content() {
                selection.complete()?;
            }
            plan_range(cut_type, selection)
        };
        let pieces = pieces.iter().map(|piece| piece.try_map(planned)).collect::<Result<_, PlanError>>()?;
        Ok(Self { cut_type, encode: FullEncode::default(), look: Look::Full, pieces, encodings: Vec::new() })
    }

    /// The same, its blends drawn for a quick look.
    pub fn previewed(self) -> Self {
        Self { look: Look::Preview, ..self }
    }

    /// The same, encoded in this way where all of it is encoded.
    pub fn encoded(self, encode: FullEncode) -> Self {
        Self { encode, ..self }
    }

    /// One archive for each stretch of a selection without holes and without a change of encoding.
    pub fn archives(selection: &Selection, known: &KnownEncodings) -> Vec<Self> {
        let mut runs: Vec<Vec<SegmentName>> = vec![Vec::new()];
        for part in selection.parts() {
            match part {
                select::Part::Segment(segment) => {
                    let (segment, run) = (segment.to_name(), runs.last_mut().expect("one is there from the start"));
                    match run.last() {
                        Some(last) if Self::splits(last, &segment, known) => runs.push(vec![segment]),
                        Some(_) | None => run.push(segment),
                    }
                }
                select::Part::Hole(_) => runs.push(Vec::new()),
            }
        }
        let plan = |segments: Vec<SegmentName>| {
            let span = Span::new(segments.first()?.start(), segments.last()?.end()).ok()?;
            let range = PlannedRange { span, parts: vec![Part::Copy { segments }], lead_in: None, holes: Vec::new() };
            let pieces = vec![Piece::Range(range)];
            let (cut_type, encode) = (CutType::Archive, FullEncode::default());
            Some(Self { cut_type, encode, look: Look::Full, pieces, encodings: Vec::new() })
        };
        runs.into_iter().filter_map(plan).collect()
    }

    pub fn cut_type(&self) -> CutType {
        self.cut_type
    }

    pub fn encode(&self) -> FullEncode {
        self.encode
    }

    pub fn look(&self) -> Look {
        self.look
    }

    pub fn pieces(&self) -> &[Piece<PlannedRange>] {
        &self.pieces
    }

    /// Where a known encoding begins, in the order of the cut; empty where none is known.
    pub fn encodings(&self) -> &[EncodingFrom] {
        &self.encodings
    }

    /// Every stretch, those of blends too.
    pub fn ranges(&self) -> impl Iterator<Item = &PlannedRange> {
        self.pieces.iter().flat_map(Piece::stretches)
    }

    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.ranges().flat_map(|range| &range.parts)
    }

    /// Every file that is shown, in order; one that two ranges share comes twice.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentName> {
        self.parts().flat_map(Part::segments)
    }

    pub fn holes(&self) -> impl Iterator<Item = Hole> {
        self.ranges().flat_map(|range| range.holes.iter().copied())
    }
}

fn plan_range(cut_type: CutType, selection: &Selection) -> Result<PlannedRange, PlanError> {
    let span = selection.span();
    let mut parts = Vec::new();
    for segment in selection.segments() {
        if cut_type.is_exact() {
            push_exact(&mut parts, span, segment);
        } else {
            push_copy(&mut parts, segment.to_name());
        }
    }
    if parts.is_empty() {
        return Err(PlanError::NoContent(span));
    }
    // Nearest to the first file that is shown, which need not be the first that was selected.
    let first = parts.first().and_then(|part| part.segments().first()).expect("a part has a segment");
    let skipped = selection.segments().take_while(|segment| segment.start < first.start()).last();
    let lead_in = skipped.or(selection.lead_in()).map(select::Segment::to_name);
    Ok(PlannedRange { span, parts, lead_in, holes: selection.holes().collect() })
}

fn push_copy(parts: &mut Vec<Part>, segment: SegmentName) {
    match parts.last_mut() {
        Some(Part::Copy { segments }) => segments.push(segment),
        Some(Part::Trim { .. } | Part::Convert { .. }) | None => parts.push(Part::Copy { segments: vec![segment] }),
    }
}

/// Any segment may have to be trimmed, not only the first and the last: neighbours overlap by up to the tolerance.
fn push_exact(parts: &mut Vec<Part>, span: Span, segment: select::Segment<'_>) {
    let ticks_after = |moment: Timestamp, bound: Timestamp| ticks_of_micros(moment.micros_since(bound));
    let lies_before = ticks_after(span.start(), segment.end()) >= 0 && segment.duration_micros > 0;
    let lies_after = ticks_after(span.end(), segment.start) <= 0;
    if lies_before || lies_after {
        return;
    }
    let from = (ticks_after(span.start(), segment.start) > 0).then_some(span.start());
    let until = (ticks_after(span.end(), segment.end()) < 0).then_some(span.end());
    if from.is_none() && until.is_none() {
        push_copy(parts, segment.to_name());
    } else {
        parts.push(Part::Trim { segment: segment.to_name(), from, until });
    }
}

/// Microseconds as ticks of the 90 kHz clock of MPEG-TS, rounded to the nearest: the time of a frame that was itself
/// rounded to whole microseconds comes back to that frame's own tick.
pub(super) fn ticks_of_micros(micros: i64) -> i64 {
    let ticks = (i128::from(micros) * 9 + 50).div_euclid(100);
    i64::try_from(ticks).expect("nine hundredths of an i64 is one")
}

#[cfg(test)]
mod tests;
