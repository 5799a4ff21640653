//! Directories under BASE of files that are neither segments nor chat, copied between nodes by name alone.
//!
//! Promises: links are not followed, hidden names are passed over, and no more is listed than a bound.
//! All functions block on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use super::Layout;
use super::StoreError;
use crate::model::{ExtraDir, ExtraPath};

/// No set of emotes has a tenth of it.
pub const MAX_EXTRA_FILES: usize = 100_000;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extras {
    /// In the order of the paths; nothing where there is no such directory.
    All(Vec<ExtraPath>),
    /// More than `MAX_EXTRA_FILES`.
    TooMany,
}

/// Every file of the directory and those in it. What has a name that cannot be copied is passed over.
pub fn list_extras(layout: &Layout, dir: &ExtraDir) -> Result<Extras, StoreError> {
    let top = layout.extra_dir(dir);
    let (mut files, mut seen, mut left) = (Vec::new(), 0, vec![String::new()]);
    while let Some(within) = left.pop() {
        // Joining nothing adds a slash, and behind one a link is followed.
        let here = if within.is_empty() { top.clone() } else { top.join(&within) };
        // Entries come and go while we look; a link at the top is no directory of ours either.
        if !here.symlink_metadata().is_ok_and(|entry| entry.is_dir()) {
            continue;
        }
        for entry in fs::read_dir(&here).map_err(|source| StoreError::new("list", &here, source))? {
            let entry = entry.map_err(|source| StoreError::new("list", &here, source))?;
            seen += 1;
            if seen > MAX_EXTRA_FILES {
                return Ok(Extras::TooMany);
            }
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            let path = if within.is_empty() { name } else { format!("{within}/{name}") };
            // What is no path of an extra file holds none either: it is hidden, too deep, or an hour of segments.
            let Ok(parsed) = path.parse::<ExtraPath>() else { continue };
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                files.push(parsed);
            }
        }
    }
    files.sort_unstable();
    Ok(Extras::All(files))
}

/// Where a file is to be written; `None` where a link or a file stands in the way.
pub fn place_of_extra(layout: &Layout, dir: &ExtraDir, path: &ExtraPath) -> Option<PathBuf> {
    let top = layout.extra_dir(dir);
    let place = path.within(&top);
    let above = place.ancestors().skip(1).take_while(|ancestor| ancestor.starts_with(&top));
    above.into_iter().all(is_free_or_directory).then(|| place.clone())
}

fn is_free_or_directory(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |entry| entry.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_and_nothing_hidden_linked_or_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let emotes: ExtraDir = "emotes".parse().unwrap();
        assert_eq!(list_extras(&layout, &emotes).unwrap(), Extras::All(Vec::new()));
        let top = dir.path().join("emotes");
        for path in ["v2/b.png", "a.png", ".hidden", "v2/.copy-x", "source/2026-01-02T03/x.ts", "1/2/3/4/5/6/7/8/9"] {
            let path = top.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let outside = dir.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("secret"), top.join("c.png")).unwrap();
        let Extras::All(files) = list_extras(&layout, &emotes).unwrap() else { panic!() };
        assert_eq!(files.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.png", "v2/b.png"]);

        let place = |path: &str| place_of_extra(&layout, &emotes, &path.parse().unwrap());
        assert_eq!(place("v3/c.png"), Some(top.join("v3/c.png")));
        assert_eq!((place("link/x"), place("a.png/x")), (None, None));
        fs::rename(&top, dir.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(&outside, &top).unwrap();
        assert_eq!((place("x"), list_extras(&layout, &emotes).unwrap()), (None, Extras::All(Vec::new())));
    }
}
