//! Which programs the channels need, and which of them are not there.
//!
//! A missing program is no fault of the configuration: it may be installed while the node runs.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Config;
use super::channel::SourceConfig;
use crate::model::Channel;

/// What is asked for the address of a page's playlist.
pub const YT_DLP: &str = "yt-dlp";

/// A program that a channel cannot do without, and that is nowhere to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentProgram {
    pub channel: Channel,
    pub program: String,
}

impl fmt::Display for AbsentProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {} cannot be recorded without {:?}, which is not installed", self.channel, self.program)
    }
}

impl Config {
    /// Looks for the programs of all channels. Blocks: reads directories.
    pub fn absent_programs(&self) -> Vec<AbsentProgram> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = |source| match source {
            &SourceConfig::Youtube(_) => Some(YT_DLP),
            SourceConfig::Command(line) => Some(line.program()),
            SourceConfig::Hls(_) | SourceConfig::Twitch(_) => None,
        };
        let needed = self.channels.iter().filter_map(|channel| Some((&channel.name, program(&channel.source)?)));
        needed
            .filter(|(_, program)| !is_there(program, &path))
            .map(|(channel, program)| AbsentProgram { channel: channel.clone(), program: program.to_owned() })
            .collect()
    }
}

/// As execvp(3) looks: a name with a slash is a path, any other is looked for in the directories of PATH.
fn is_there(program: &str, path: &OsStr) -> bool {
    if program.contains('/') {
        return is_executable(Path::new(program));
    }
    std::env::split_paths(path).any(|dir| is_executable(&dir.join(program)))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_the_system_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        let there = |program: &str| is_there(program, &path);
        assert!(!there("tool"));
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!there("tool"), "it may not be executed");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(there("tool") && there(file.to_str().unwrap()));
        assert!(!there("./tool") && !there(dir.path().to_str().unwrap()));
    }
}
