//! The words of a scenario file: how each is read and refused.
//!
//! Promises: what is not among the words is refused with the list of them.

use std::fmt;

use crate::config::{Setting, parse_duration, quoted};
use crate::model::LossCause;
use crate::rehearsal::{Container, Framing, PathKind, Percent};

/// A closed list of words, each with its value.
macro_rules! words {
    ($name:ty, $what:literal, $first:literal => $first_value:expr $(, $word:literal => $value:expr)* $(,)?) => {
        impl Setting for $name {
            const ALLOWED: &'static str = concat!("write ", $first $(, ", ", $word)*);

            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $first => Ok($first_value),
                    $($word => Ok($value),)*
                    other => Err(format!(concat!("{} is no ", $what), quoted(other))),
                }
            }

            fn shown(&self) -> String {
                let all = [($first, $first_value) $(, ($word, $value))*];
                all.iter().find(|(_, value)| value == self).map_or_else(String::new, |(word, _)| (*word).to_owned())
            }
        }
    };
}

/// What `kind` of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Status,
    Html,
    Truncate,
    Stall,
    Delay,
    Drop,
    WrongLength,
    Short,
    Corrupt,
    Redirect,
    RedirectLoop,
    BrokenTls,
    TokenExpiry,
    Huge,
    NoDates,
    Lag,
    Freeze,
    FalseEnd,
    Advertisement,
    SequenceReset,
    Discontinuity,
    OtherEncoding,
    ClockSkew,
    OffAir,
}

words!(Kind, "kind of fault",
    "status" => Kind::Status,
    "html" => Kind::Html,
    "truncate" => Kind::Truncate,
    "stall" => Kind::Stall,
    "delay" => Kind::Delay,
    "drop" => Kind::Drop,
    "wrong-length" => Kind::WrongLength,
    "short" => Kind::Short,
    "corrupt" => Kind::Corrupt,
    "redirect" => Kind::Redirect,
    "redirect-loop" => Kind::RedirectLoop,
    "broken-tls" => Kind::BrokenTls,
    "token-expiry" => Kind::TokenExpiry,
    "huge" => Kind::Huge,
    "no-dates" => Kind::NoDates,
    "lag" => Kind::Lag,
    "freeze" => Kind::Freeze,
    "false-end" => Kind::FalseEnd,
    "advertisement" => Kind::Advertisement,
    "sequence-reset" => Kind::SequenceReset,
    "discontinuity" => Kind::Discontinuity,
    "other-encoding" => Kind::OtherEncoding,
    "clock-skew" => Kind::ClockSkew,
    "off-air" => Kind::OffAir,
);

words!(PathKind, "kind of answer",
    "master" => PathKind::Master,
    "media" => PathKind::Media,
    "segment" => PathKind::Segment,
    "map" => PathKind::Map,
);

words!(Framing, "framing", "length" => Framing::Length, "chunked" => Framing::Chunked);

words!(Container, "container", "mpegts" => Container::MpegTs, "fmp4" => Container::FragmentedMp4);

/// Why seconds are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Of(LossCause),
    /// Whatever the node says: it depends on the moment, or more than one is right.
    Any,
}

impl Setting for Cause {
    const ALLOWED: &'static str = "write a cause of the ledger, as source_down, or any";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            _ => text.parse().map(Self::Of).map_err(|_| format!("{} is no cause of a loss", quoted(text))),
        }
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(cause) => write!(f, "{cause}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl Setting for Percent {
    const ALLOWED: &'static str = "write a share of the requests, as 20%";

    fn read(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
        number.and_then(Self::new).ok_or_else(|| format!("{} is not from 1% to 100%", quoted(text)))
    }

    fn shown(&self) -> String {
        format!("{}%", self.get())
    }
}

/// How far a clock is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skew {
    pub micros: i64,
}

impl Setting for Skew {
    const ALLOWED: &'static str = "write a sign, a whole number and a unit, as +3s or -400ms";

    fn read(text: &str) -> Result<Self, String> {
        let signed = text.strip_prefix('+').map(|rest| (1, rest)).or(text.strip_prefix('-').map(|rest| (-1, rest)));
        let (sign, rest) = signed.ok_or_else(|| format!("{} has no sign", quoted(text)))?;
        let micros = i64::try_from(parse_duration(rest)?.as_micros());
        micros.map(|micros| Self { micros: sign * micros }).map_err(|_| format!("{} is too large", quoted(text)))
    }

    fn shown(&self) -> String {
        let sign = if self.micros < 0 { "-" } else { "+" };
        format!("{sign}{}ms", self.micros.unsigned_abs() / 1000)
    }
}
