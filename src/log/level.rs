//! How much is logged, and in which form.
//!
//! Promises: a level and a format each have one word; all clones of a switch are one switch.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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

/// More modules than this were not meant.
const MAX_MODULES: usize = 64;
const OURS: &str = "segvault::";

/// Levels of so many modules are set that no more can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("levels of {MAX_MODULES} modules are set; take one back first")]
pub struct TooManyModules;

/// Changes the level at run time. All clones are one switch.
#[derive(Debug, Clone)]
pub struct LevelSwitch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    level: AtomicUsize,
    /// The most that is said of any module: what lies above needs no look at the modules.
    most: AtomicUsize,
    modules: RwLock<BTreeMap<String, Level>>,
}

impl LevelSwitch {
    pub(super) fn new(level: Level) -> Self {
        let [level, most] = [(); 2].map(|()| AtomicUsize::new(level as usize));
        Self(Arc::new(Inner { level, most, modules: RwLock::default() }))
    }

    pub fn get(&self) -> Level {
        Level::ALL[self.0.level.load(Ordering::Relaxed)]
    }

    pub fn set(&self, level: Level) {
        self.0.level.store(level as usize, Ordering::Relaxed);
        self.remember_most();
    }

    /// Of a module and those in it, as `peers` or `actors::stream_worker`; `None` for the level of all others.
    pub fn set_of(&self, module: &str, level: Option<Level>) -> Result<(), TooManyModules> {
        let module = module.strip_prefix(OURS).unwrap_or(module);
        let mut modules = self.0.modules.write().unwrap_or_else(PoisonError::into_inner);
        match level {
            None => drop(modules.remove(module)),
            Some(_) if modules.len() >= MAX_MODULES && !modules.contains_key(module) => return Err(TooManyModules),
            Some(level) => drop(modules.insert(module.to_owned(), level)),
        }
        drop(modules);
        self.remember_most();
        Ok(())
    }

    /// Those that have a level of their own.
    pub fn modules(&self) -> BTreeMap<String, Level> {
        self.0.modules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether any module may say it.
    pub(super) fn lets_anybody(&self, level: Level) -> bool {
        level as usize <= self.0.most.load(Ordering::Relaxed)
    }

    /// Whether a module, as the compiler names it, may say it.
    pub(super) fn lets(&self, level: Level, module: &str) -> bool {
        let modules = self.0.modules.read().unwrap_or_else(PoisonError::into_inner);
        let module = module.strip_prefix(OURS).unwrap_or(module);
        let holds =
            |outer: &str| module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        // The innermost comes last: it begins with those that hold it.
        let of_module = modules.iter().rev().find(|(outer, _)| holds(outer)).map(|(_, level)| *level);
        level <= of_module.unwrap_or_else(|| self.get())
    }

    fn remember_most(&self) {
        let of_modules = self.modules().into_values().max();
        let most = of_modules.map_or(self.get(), |level| level.max(self.get()));
        self.0.most.store(most as usize, Ordering::Relaxed);
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
        let before = self.0.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(to(at)));
        self.remember_most();
        Level::ALL[to(before.expect("the closure always gives a level"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_the_level_of_the_innermost_that_has_one() {
        let switch = LevelSwitch::new(Level::Info);
        switch.set_of("segvault::peers", Some(Level::Debug)).unwrap();
        switch.set_of("peers::follow", Some(Level::Error)).unwrap();
        for (level, module, expected) in [
            (Level::Debug, "segvault::peers", true),
            (Level::Debug, "segvault::peers::pass", true),
            (Level::Debug, "segvault::peersonal", false),
            (Level::Info, "segvault::peers::follow", false),
            (Level::Info, "segvault::store", true),
            (Level::Debug, "segvault::store", false),
        ] {
            assert_eq!(switch.lets(level, module), expected, "{level:?} {module}");
        }
        assert!(switch.lets_anybody(Level::Debug) && !switch.lets_anybody(Level::Trace));
        switch.set_of("peers", None).unwrap();
        assert!(!switch.lets_anybody(Level::Debug) && !switch.lets(Level::Debug, "segvault::peers"));
        assert_eq!(switch.more(), Level::Debug);
        assert!(switch.lets(Level::Debug, "segvault::store"));
        assert_eq!(switch.modules().len(), 1);
        (1..MAX_MODULES).for_each(|at| switch.set_of(&at.to_string(), Some(Level::Info)).unwrap());
        assert_eq!(switch.set_of("more", Some(Level::Info)), Err(TooManyModules));
        switch.set_of("peers::follow", Some(Level::Debug)).unwrap();
    }

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
