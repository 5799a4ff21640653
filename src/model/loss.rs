//! What the live source had and the record has not: which span, and why.
//!
//! Promises: a cause is one of a few; a detail is short and is one line, wherever it came from.

use std::fmt;
use std::str::FromStr;

use super::names::NodeName;
use super::time::{Span, Timestamp};

/// Longest detail, in bytes. Enough for an error with its causes; a ledger of a bad night stays small.
const MAX_DETAIL_BYTES: usize = 200;

/// Why seconds are not in the record. In order of what each says of a second that several claim: what is known for certain
/// comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// Kept out of the record as an advertisement; its bytes are in quarantine.
    Advertisement,
    /// They were in the record, and went bad on the disk; what is left of the file is in quarantine.
    Corrupt,
    /// The source refused them: a token had expired or was not accepted.
    Token,
    /// By a method that cannot be undone, or with a key that cannot be had.
    Encrypted,
    /// They came and could not be written.
    Disk,
    /// The source took them away before they could be fetched.
    Expired,
    /// Only the beginning of a segment could be had.
    CutShort,
    /// The source could not be asked, or answered nonsense.
    SourceDown,
    Unknown,
}

/// A text that names no cause of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cause of a loss")]
pub struct BadLossCause;

impl LossCause {
    pub const ALL: &'static [Self] = &[
        Self::Advertisement,
        Self::Corrupt,
        Self::Token,
        Self::Encrypted,
        Self::Disk,
        Self::Expired,
        Self::CutShort,
        Self::SourceDown,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advertisement => "advertisement",
            Self::Corrupt => "corrupt",
            Self::Token => "token",
            Self::Encrypted => "encrypted",
            Self::Disk => "disk",
            Self::Expired => "expired",
            Self::CutShort => "cut_short",
            Self::SourceDown => "source_down",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LossCause {
    type Err = BadLossCause;

    fn from_str(text: &str) -> Result<Self, BadLossCause> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == text).ok_or(BadLossCause)
    }
}

/// A few words on a loss; may be empty. Control characters become blanks, and what is too long is cut off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LossDetail(Box<str>);

impl LossDetail {
    pub fn new(text: &str) -> Self {
        // Cut before it is copied: the text may be a whole page.
        let text = &text[..text.floor_char_boundary(MAX_DETAIL_BYTES)];
        Self(text.replace(|c: char| c.is_control(), " ").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LossDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stretch of the stream that a node gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub span: Span,
    pub cause: LossCause,
    /// When the node knew.
    pub noticed: Timestamp,
    pub node: NodeName,
    pub detail: LossDetail,
}

impl Loss {
    /// The same loss of another stretch.
    pub fn of(&self, span: Span) -> Self {
        Self { span, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cause_is_read_from_its_own_text_and_from_no_other() {
        for cause in LossCause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(*cause));
        }
        assert_eq!("Expired".parse::<LossCause>(), Err(BadLossCause));
    }

    proptest! {
        #[test]
        fn a_detail_is_one_short_line(text in "(?s).{0,400}") {
            let detail = LossDetail::new(&text);
            prop_assert!(detail.as_str().len() <= MAX_DETAIL_BYTES);
            prop_assert!(!detail.as_str().contains(char::is_control));
            prop_assert_eq!(LossDetail::new(detail.as_str()), detail);
        }
    }
}
