//! Where files lie that are neither segments nor chat: in directories under BASE, copied between nodes by name alone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::names::{BadName, FileName};
use super::time::Hour;

/// Directories within such a directory are not nested deeper; the file's own name counts.
pub const MAX_EXTRA_PARTS: usize = 8;

/// Why a text is no path of an extra file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExtraPath {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("it has more than {MAX_EXTRA_PARTS} parts")]
    TooDeep,
    #[error("it lies where segments lie, which are not copied without a look at their bytes")]
    InHour,
}

/// A file's place in its directory, such as `v2/25.png`: plain names, nothing that climbs or hides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtraPath(Box<str>);

impl ExtraPath {
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Under its directory.
    pub fn within(&self, dir: &Path) -> PathBuf {
        self.parts().fold(dir.to_owned(), |path, part| path.join(part))
    }
}

impl FromStr for ExtraPath {
    type Err = BadExtraPath;

    fn from_str(text: &str) -> Result<Self, BadExtraPath> {
        let parts: Vec<&str> = text.split('/').take(MAX_EXTRA_PARTS + 1).collect();
        if parts.len() > MAX_EXTRA_PARTS {
            return Err(BadExtraPath::TooDeep);
        }
        for part in &parts {
            part.parse::<FileName>()?;
        }
        if parts.iter().any(|part| part.parse::<Hour>().is_ok()) {
            return Err(BadExtraPath::InHour);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ExtraPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_its_directory_and_out_of_hours() {
        for good in ["25.png", "v2/25.png", "a b/é", "a/b/c/d/e/f/g/h"] {
            let path: ExtraPath = good.parse().unwrap();
            assert_eq!(path.within(Path::new("/base/emotes")), Path::new("/base/emotes").join(good));
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//b",
            "a/",
            ".hidden",
            "a/.hidden",
            "a\\b",
            "a\0b",
            "a/b/c/d/e/f/g/h/i",
            "source/2026-01-02T03/00:00.0-2.0-full-x.ts",
        ] {
            assert!(bad.parse::<ExtraPath>().is_err(), "{bad:?}");
        }
    }
}
