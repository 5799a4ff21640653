//! What is wrong with a configuration, and where.
//!
//! Promises: one line per fault, whatever the file holds (control characters are escaped), in the order of the file;
//! no fault repeats a secret.

use std::fmt;
use std::sync::Arc;

/// Where a value came from. The order is the order in which faults are printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// The configuration file as a whole.
    File(Arc<str>),
    /// A place in the configuration file; line and column (in characters) count from 1.
    Line { file: Arc<str>, line: usize, column: usize },
    /// An environment variable, by name.
    Env(Arc<str>),
    /// A `--set`, by its key.
    Set(Arc<str>),
}

impl Origin {
    /// For the comment that `config show` puts behind a value.
    pub fn brief(&self) -> String {
        match self {
            Origin::Default => "default".into(),
            Origin::File(file) => printable(file),
            Origin::Line { file, line, .. } => printable(&format!("{file}:{line}")),
            Origin::Env(name) => printable(&format!("env {name}")),
            Origin::Set(_) => "--set".into(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(file) => f.write_str(&printable(file)),
            Origin::Line { file, line, column } => write!(f, "{}:{line}:{column}", printable(file)),
            Origin::Env(name) => f.write_str(&printable(name)),
            Origin::Set(key) if key.is_empty() => f.write_str("--set"),
            Origin::Set(key) => write!(f, "--set {}", printable(key)),
        }
    }
}

/// One thing wrong: where, which key, what and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub at: Origin,
    /// The key's path (`channel.0.hls`), or empty where no key can be named.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Origin::Default => {}
            at => write!(f, "{at}: ")?,
        }
        // A `--set` has said its key already.
        if !self.key.is_empty() && self.at != Origin::Set(self.key.as_str().into()) {
            write!(f, "{}: ", printable(&self.key))?;
        }
        f.write_str(&printable(&self.problem))
    }
}

/// Every fault of a configuration, in order, never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `None` if there are none.
    pub(super) fn from_list(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    /// One per line, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// The text with control characters escaped, so that it stays on its line.
pub(super) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The text in quotes, cut short, for use in a message.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    format!("{:?}...", text.chars().take(LONGEST).collect::<String>())
}

/// A longer word in bytes is none of ours; comparing costs its length squared.
const LONGEST_SLIP: usize = 64;

/// The known word that was probably meant: at most two edits away, and at most a third of the word.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_SLIP {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 2);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stays_on_one_line() {
        let fault = Fault {
            at: Origin::Line { file: "a\nb.toml".into(), line: 3, column: 7 },
            key: "no\rde".into(),
            problem: "bad\u{1b}[31m".into(),
        };
        assert_eq!(fault.to_string(), r"a\nb.toml:3:7: no\rde: bad\u{1b}[31m");
    }

    #[test]
    fn nearest_means_a_slip_of_the_finger() {
        let known = ["name", "listen", "grace"];
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("listne", known), Some("listen"));
        assert_eq!(nearest("gr", known), None);
        assert_eq!(nearest("port", known), None);
        assert_eq!(nearest("", known), None);
    }
}
