//! The name of a state of the past.

use std::fmt;
use std::str::FromStr;

/// The text is no generation that we handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not as the master playlist gives it")]
pub struct BadGeneration;

/// Which past a live playlist continues, and the EXT-X-TARGETDURATION that it promises: both stay for the life of an
/// address, on whichever node and after whichever restart. Written `MILLISECONDS-SECONDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation {
    /// When it was handed out first, in ms since 1970.
    pub made_millis: u64,
    pub target_seconds: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.made_millis, self.target_seconds)
    }
}

impl FromStr for Generation {
    type Err = BadGeneration;

    fn from_str(text: &str) -> Result<Self, BadGeneration> {
        let number = |text: &str| match text.as_bytes() {
            [b'1'..=b'9', ..] if text.len() <= 15 => text.parse().map_err(|_| BadGeneration),
            _ => Err(BadGeneration),
        };
        let (made, target) = text.split_once('-').ok_or(BadGeneration)?;
        let (made_millis, target_seconds): (u64, u64) = (number(made)?, number(target)?);
        if target_seconds > super::published::LONGEST_TARGET_SECONDS {
            return Err(BadGeneration);
        }
        Ok(Self { made_millis, target_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_back_and_nothing_else_is() {
        let generation = Generation { made_millis: 1_763_715_600_123, target_seconds: 3 };
        assert_eq!(generation.to_string().parse(), Ok(generation));
        for bad in ["", "-", "1", "1-", "-1", "0-3", "1-0", "+1-3", "1-3-4", "1-99999", "1-3 ", "01-3", "../1-3"] {
            assert_eq!(bad.parse::<Generation>(), Err(BadGeneration), "{bad}");
        }
    }
}
