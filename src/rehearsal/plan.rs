//! All that goes wrong with one answer, once the rules have been asked.
//!
//! Promises: where two rules say different things, the older one has its way.
//! Never: answers a request (that is `answer`).

use std::time::Duration;

use super::fault::{Fault, Framing};
use super::script::During;

/// What befalls one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub delay: Duration,
    /// Instead of the true answer.
    pub instead: Option<Instead>,
    pub spoilt: Option<Spoilt>,
    /// The playlist goes on up to this length.
    pub padded_bytes: u64,
    pub without_date_times: bool,
    pub stale_segments: usize,
    /// The playlist is as it was then, since the programme began.
    pub frozen_at: Option<Duration>,
    pub false_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    Status(u16),
    Html,
    Nothing,
    Redirect,
    RedirectLoop,
    RedirectToTls,
}

/// How a true body is spoilt on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoilt {
    Truncated { after_bytes: usize, framing: Framing },
    Stalled { after_bytes: usize },
    WrongLength { extra_bytes: usize },
    Short { bytes: usize },
    Corrupt { at_byte: usize },
}

impl Plan {
    pub(super) fn add(&mut self, fault: &Fault, during: During) {
        match *fault {
            Fault::Status(status) => self.put_instead(Instead::Status(status)),
            Fault::Html => self.put_instead(Instead::Html),
            Fault::Dropped => self.put_instead(Instead::Nothing),
            Fault::Redirected => self.put_instead(Instead::Redirect),
            Fault::RedirectLoop => self.put_instead(Instead::RedirectLoop),
            Fault::BrokenTls => self.put_instead(Instead::RedirectToTls),
            Fault::TokenExpires { .. } => self.put_instead(Instead::Status(403)),
            Fault::Truncated { after_bytes, framing } => self.spoil(Spoilt::Truncated { after_bytes, framing }),
            Fault::Stalled { after_bytes } => self.spoil(Spoilt::Stalled { after_bytes }),
            Fault::WrongLength { extra_bytes } => self.spoil(Spoilt::WrongLength { extra_bytes }),
            Fault::Short { bytes } => self.spoil(Spoilt::Short { bytes }),
            Fault::Corrupt { at_byte } => self.spoil(Spoilt::Corrupt { at_byte }),
            Fault::Delayed(delay) => self.delay += delay,
            Fault::Huge { bytes } => self.padded_bytes = self.padded_bytes.max(bytes),
            Fault::WithoutDateTimes => self.without_date_times = true,
            Fault::Stale { segments } => self.stale_segments = self.stale_segments.max(segments),
            Fault::Frozen => {
                self.frozen_at.get_or_insert(during.from);
            }
            Fault::FalseEnd => self.false_end = true,
        }
    }

    fn put_instead(&mut self, instead: Instead) {
        self.instead.get_or_insert(instead);
    }

    fn spoil(&mut self, spoilt: Spoilt) {
        self.spoilt.get_or_insert(spoilt);
    }
}
