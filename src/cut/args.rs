//! ffmpeg's arguments, built from fixed words of ours, and from numbers and enums.

use std::ffi::OsString;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct Args(Vec<OsString>);

impl Args {
    /// Fixed words of ours, split at blanks.
    pub fn words(&mut self, words: &'static str) -> &mut Self {
        self.0.extend(words.split(' ').map(OsString::from));
        self
    }

    pub fn option(&mut self, name: &'static str, value: String) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }

    pub fn path(&mut self, path: &Path) -> &mut Self {
        self.0.push(path.into());
        self
    }

    /// An option for one of several streams.
    pub fn numbered(&mut self, name: &'static str, number: usize, value: &'static str) -> &mut Self {
        self.0.extend([format!("{name}{number}").into(), value.into()]);
        self
    }

    pub fn done(self) -> Vec<OsString> {
        self.0
    }
}
