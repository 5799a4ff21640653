//! A loss as text: one line of JSON in the ledger, one object in answers.
//!
//! Promises: any bytes are read or passed over; times are exact.

use serde::{Deserialize, Serialize};

use crate::model::{Loss, LossDetail, Span};
use crate::select::StandingLoss;

/// The fields of a loss, as they are written and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossLine {
    start: String,
    end: String,
    cause: String,
    noticed: String,
    node: String,
    #[serde(default)]
    detail: String,
    /// The record shows it by now. In answers only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    filled: bool,
}

impl LossLine {
    pub fn of(loss: &Loss) -> Self {
        Self {
            start: loss.span.start().to_string(),
            end: loss.span.end().to_string(),
            cause: loss.cause.to_string(),
            noticed: loss.noticed.to_string(),
            node: loss.node.to_string(),
            detail: loss.detail.to_string(),
            filled: false,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of texts is JSON")
    }

    /// `None` for what is no loss.
    pub(super) fn parse(line: &[u8]) -> Option<Loss> {
        let line: Self = serde_json::from_slice(line).ok()?;
        Some(Loss {
            span: Span::new(line.start.parse().ok()?, line.end.parse().ok()?).ok()?,
            cause: line.cause.parse().ok()?,
            noticed: line.noticed.parse().ok()?,
            node: line.node.parse().ok()?,
            detail: LossDetail::new(&line.detail),
        })
    }
}

impl From<&StandingLoss> for LossLine {
    fn from(standing: &StandingLoss) -> Self {
        Self { filled: standing.filled, ..Self::of(&standing.loss) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{LossCause, Timestamp};

    #[test]
    fn the_format_is_as_documented() {
        let line = r#"{"start":"2026-01-02T03:04:05.000001","end":"2026-01-02T03:04:06.000000","cause":"expired","noticed":"2026-01-02T03:04:07.000000","node":"alpha","detail":"why"}"#;
        let loss = LossLine::parse(line.as_bytes()).unwrap();
        assert_eq!(LossLine::of(&loss).to_json(), line);
        let filled = LossLine::from(&StandingLoss { loss, filled: true }).to_json();
        assert!(filled.ends_with(r#","detail":"why","filled":true}"#), "{filled}");
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_and_what_is_no_loss_too() {
        let good = r#"{"start":"2026-01-02T03","end":"2026-01-02T04","cause":"disk","noticed":"2026-01-02","node":"a","new":[1]}"#;
        assert!(LossLine::parse(good.as_bytes()).is_some());
        for (from, to) in [("disk", "wear"), ("T04", "T02"), ("\"a\"", "\"../a\""), ("T03", "Tx"), ("}", "")] {
            assert_eq!(LossLine::parse(good.replace(from, to).as_bytes()), None, "{from} as {to}");
        }
    }

    proptest! {
        #[test]
        fn a_loss_survives_its_text(
            start in 0i64..4_102_444_800_000_000,
            length in 1i64..4_000_000_000,
            cause in 0..LossCause::ALL.len(),
            detail in "(?s).{0,60}",
        ) {
            let start = Timestamp::from_micros(start);
            let span = Span::new(start, start.plus_micros(length)).unwrap();
            let cause = LossCause::ALL[cause];
            let loss = Loss { span, cause, noticed: start, node: "x y".parse().unwrap(), detail: LossDetail::new(&detail) };
            let text = LossLine::of(&loss).to_json();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(LossLine::parse(text.as_bytes()), Some(loss));
        }
    }
}
