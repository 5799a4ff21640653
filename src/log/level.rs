//! How much is logged, and in which form.
//!
//! Promises: a level and a format each have one word; all clones of a switch are one switch.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A text that is no level or format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `Terminal` where standard error is one, else `Json`.
    Auto,
    Json,
    Terminal,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Json => "json",
            Format::Terminal => "terminal",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [Format::Auto, Format::Json, Format::Terminal].into_iter().find(|one| one.as_str() == text).ok_or(UnknownWord)
    }
}

/// How much is said. A release build has no trace lines compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub(super) const ALL: [Level; 5] = [Level::Error, Level::Warning, Level::Info, Level::Debug, Level::Trace];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// A critical line is an error here: both mean that data is lost or that a person is needed.
    pub(super) fn of(level: slog::Level) -> Self {
        match level {
            slog::Level::Critical | slog::Level::Error => Level::Error,
            slog::Level::Warning => Level::Warning,
            slog::Level::Info => Level::Info,
            slog::Level::Debug => Level::Debug,
            slog::Level::Trace => Level::Trace,
        }
    }
}

impl FromStr for Level {
    type Err = UnknownWord;

    /// Also takes `warn`.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let text = if text == "warn" { "warning" } else { text };
        Level::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownWord)
    }
}

/// Changes the level at run time. All clones are one switch.
#[derive(Debug, Clone)]
pub struct LevelSwitch(Arc<AtomicUsize>);

impl LevelSwitch {
    pub(super) fn new(level: Level) -> Self {
        Self(Arc::new(AtomicUsize::new(level as usize)))
    }

    pub fn get(&self) -> Level {
        Level::ALL[self.0.load(Ordering::Relaxed)]
    }

    pub fn set(&self, level: Level) {
        self.0.store(level as usize, Ordering::Relaxed);
    }

    /// Says more from now on, up to everything. Returns the new level.
    pub fn more(&self) -> Level {
        self.step(|at| (at + 1).min(Level::Trace as usize))
    }

    /// Says less from now on, down to errors. Returns the new level.
    pub fn less(&self) -> Level {
        self.step(|at| at.saturating_sub(1))
    }

    fn step(&self, to: impl Fn(usize) -> usize) -> Level {
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(to(at)));
        Level::ALL[to(before.expect("the closure always gives a level"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_exactly() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        assert_eq!("warn".parse(), Ok(Level::Warning));
        assert_eq!("Info".parse::<Level>(), Err(UnknownWord));
        assert_eq!("".parse::<Format>(), Err(UnknownWord));
    }
}
