//! Channels whose playlists come from somewhere else than a plain address: a node as a real process, a fake Twitch,
//! programs in the roles of streamlink and yt-dlp.

mod fake_twitch;
mod programs;
mod twitch;

use std::path::Path;

use segvault::model::SegmentKind;
use segvault::rehearsal::SourceHandle;

use crate::support::{NodeProcess, assert_hashes, eventually, quality, stored};

/// Waits until some segments of each quality are kept; they must be, byte for byte, those of the rehearsal's quality.
fn assert_records(node: &NodeProcess, source: &SourceHandle, qualities: &[(&str, &str)]) {
    for (name, original) in qualities {
        let kept =
            eventually("segments are kept", || Some(stored(&node.base, "ch", name)).filter(|kept| kept.len() >= 3));
        assert_hashes(&kept);
        let published = source.published(&quality(original));
        for (segment, path) in kept {
            assert_eq!(segment.kind(), SegmentKind::Full, "{name}");
            let same = published.iter().find(|published| published.start == segment.start()).unwrap();
            assert!(std::fs::read(&path).unwrap() == same.stored_bytes().unwrap(), "{}", path.display());
        }
    }
}

/// Log lines that somebody would worry about.
fn troubles(node: &NodeProcess) -> Vec<String> {
    let is_trouble = |line: &String| line.contains("\"warning\"") || line.contains("\"error\"");
    node.log().into_iter().filter(is_trouble).collect()
}

/// A script that is started as a program.
fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
