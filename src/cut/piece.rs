//! Ranges and the transitions between them, as a row of pieces.
//!
//! Promises: a blend takes its length off the ranges on both sides; whatever lies in a range is shown by one piece.

use super::transition::{Joint, Transition};
use crate::model::{Span, Timestamp};

/// What a cut shows, one after the other. `T` is a stretch of time, and later what was chosen or planned for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<T> {
    Range(T),
    /// The end of one range gives way to the start of the next. Both stretches have the transition's length.
    Blend {
        out: T,
        into: T,
        transition: Transition,
    },
}

impl<T> Piece<T> {
    /// In the order in which their files are read.
    pub fn stretches(&self) -> impl Iterator<Item = &T> {
        let (first, second) = match self {
            Self::Range(range) => (range, None),
            Self::Blend { out, into, .. } => (out, Some(into)),
        };
        std::iter::once(first).chain(second)
    }

    /// The same with something else for each stretch.
    pub fn try_map<U, E>(&self, mut of: impl FnMut(&T) -> Result<U, E>) -> Result<Piece<U>, E> {
        Ok(match self {
            Self::Range(range) => Piece::Range(of(range)?),
            Self::Blend { out, into, transition } => {
                Piece::Blend { out: of(out)?, into: of(into)?, transition: *transition }
            }
        })
    }
}

/// How much work goes into a blend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Full,
    /// Small and quick.
    Preview,
}

/// The height of a preview, in pixels; of what is lower, its own.
pub(super) const PREVIEW_HEIGHT: u32 = 240;

/// Why ranges cannot be joined as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJoints {
    #[error("there is one transition fewer than ranges, at most")]
    TooMany,
    #[error("the transitions at the range {range} take longer than the range")]
    TooLong { range: Span },
}

/// Joins `ranges`, in the order given; where there are too few joints, the rest are hard cuts.
pub fn pieces(ranges: &[Span], joints: &[Joint]) -> Result<Vec<Piece<Span>>, BadJoints> {
    if joints.len() >= ranges.len().max(1) {
        return Err(BadJoints::TooMany);
    }
    let joint = |at: Option<usize>| joints.get(at?).and_then(|joint| joint.0);
    let mut pieces = Vec::new();
    for (at, range) in ranges.iter().enumerate() {
        let (before, after) = (joint(at.checked_sub(1)), joint(Some(at)));
        let start = range.start().plus_micros(before.map_or(0, Transition::micros));
        let end = range.end().plus_micros(-after.map_or(0, Transition::micros));
        if start > end {
            return Err(BadJoints::TooLong { range: *range });
        }
        // Two transitions may use up all of the range between them.
        pieces.extend(stretch(start, end).map(Piece::Range));
        if let (Some(transition), Some(next)) = (after, ranges.get(at + 1)) {
            let out = stretch(end, range.end());
            let into = stretch(next.start(), next.start().plus_micros(transition.micros()));
            let both = out.zip(into).map(|(out, into)| Piece::Blend { out, into, transition });
            pieces.extend(both);
        }
    }
    Ok(pieces)
}

fn stretch(start: Timestamp, end: Timestamp) -> Option<Span> {
    Span::new(start, end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        let (start, end) = text.split_once('-').unwrap();
        format!("2026-01-02T03:00:{start},2026-01-02T03:00:{end}").parse().unwrap()
    }

    fn joints(texts: &[&str]) -> Vec<Joint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_blend_takes_its_length_off_both_ranges() {
        let ranges = [span("10-20"), span("40-45"), span("30-32.5")];
        let blend = |out, into, text: &str| Piece::Blend {
            out: span(out),
            into: span(into),
            transition: text.parse().unwrap(),
        };
        for (given, expected) in [
            (joints(&[]), vec![Piece::Range(ranges[0]), Piece::Range(ranges[1]), Piece::Range(ranges[2])]),
            (
                joints(&["fade,2"]),
                vec![
                    Piece::Range(span("10-18")),
                    blend("18-20", "40-42", "fade,2"),
                    Piece::Range(span("42-45")),
                    Piece::Range(ranges[2]),
                ],
            ),
            (
                joints(&["fade,2.5", "radial,2.5"]),
                vec![
                    Piece::Range(span("10-17.5")),
                    blend("17.5-20", "40-42.5", "fade,2.5"),
                    blend("42.5-45", "30-32.5", "radial,2.5"),
                ],
            ),
            (
                joints(&["", "radial,1"]),
                vec![
                    Piece::Range(ranges[0]),
                    Piece::Range(span("40-44")),
                    blend("44-45", "30-31", "radial,1"),
                    Piece::Range(span("31-32.5")),
                ],
            ),
        ] {
            assert_eq!(pieces(&ranges, &given), Ok(expected), "{given:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ranges = [span("10-20"), span("40-45"), span("30-32.5")];
        let too_long = |at: usize| Err(BadJoints::TooLong { range: ranges[at] });
        assert_eq!(pieces(&ranges, &joints(&["fade,6"])), too_long(1));
        assert_eq!(pieces(&ranges, &joints(&["fade,11"])), too_long(0));
        assert_eq!(pieces(&ranges, &joints(&["fade,3", "fade,2.1"])), too_long(1));
        assert_eq!(pieces(&ranges, &joints(&["", "fade,3"])), too_long(2));
        assert_eq!(pieces(&ranges, &joints(&["", "", ""])), Err(BadJoints::TooMany));
        assert_eq!(pieces(&ranges[..1], &joints(&["fade,1"])), Err(BadJoints::TooMany));
    }
}
