//! Twins across the edge of an hour: the same bytes as 59:59.9996 of one hour and as 00:00.0000 of the next. Whoever compares
//! an hour does not see its neighbours; so these are looked for where files and tombstones come in.
//!
//! All functions block on the disk; those of names that are not at an edge do not touch it.

use super::names::{HourNames, TombstoneName};
use crate::model::{Channel, HashedName, Hour, Quality};
use crate::store::{self, Layout, StoreError};

/// Whether the hour beside holds the same, or a tombstone of it.
pub fn is_beside(layout: &Layout, channel: &Channel, quality: &Quality, name: &HashedName) -> Result<bool, StoreError> {
    let Some(hour) = name.hour_beside() else { return Ok(false) };
    let beside = names_of(layout, channel, quality, hour)?;
    let hidden = beside.tombstones.iter().filter_map(TombstoneName::hidden);
    Ok(beside.files.iter().chain(hidden).any(|one| one.is_twin_of(name)))
}

/// Hides what is hidden by `tombstone` also where it lies in the hour beside; answers what was added.
pub fn hide_beside(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    tombstone: &TombstoneName,
) -> Result<Vec<(Hour, TombstoneName)>, StoreError> {
    let Some((hidden, hour)) = tombstone.hidden().and_then(|hidden| Some((hidden, hidden.hour_beside()?))) else {
        return Ok(Vec::new());
    };
    let beside = names_of(layout, channel, quality, hour)?;
    let twins = beside.files.iter().filter(|file| file.is_twin_of(hidden)).filter_map(TombstoneName::of);
    let mut added = Vec::new();
    for twin in twins {
        if store::add_tombstone(layout, channel, quality, hour, twin.as_str())? {
            added.push((hour, twin));
        }
    }
    Ok(added)
}

fn names_of(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> Result<HourNames, StoreError> {
    let listing = store::list_hour(layout, channel, quality, hour)?;
    Ok(HourNames::of(hour, listing.visible().chain(listing.tombstones())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    struct Scene {
        dir: tempfile::TempDir,
        layout: Layout,
        channel: Channel,
        quality: Quality,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        Scene { dir, layout, channel: "ch".parse().unwrap(), quality: "source".parse().unwrap() }
    }

    impl Scene {
        fn plant(&self, hour: &str, start: &str, ending: &str) {
            let dir = self.dir.path().join("ch/source").join(hour);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(format!("{start}-2.0-full-{HASH}.{ending}")), "").unwrap();
        }

        fn is_beside(&self, hour: &str, start: &str) -> bool {
            let name = HashedName::parse(hour.parse().unwrap(), &format!("{start}-2.0-full-{HASH}.ts")).unwrap();
            is_beside(&self.layout, &self.channel, &self.quality, &name).unwrap()
        }

        fn hide_beside(&self, hour: &str, start: &str) -> Vec<String> {
            let text = format!("{start}-2.0-full-{HASH}.tombstone");
            let names = HourNames::of(hour.parse().unwrap(), [&*text]);
            let added = hide_beside(&self.layout, &self.channel, &self.quality, &names.tombstones[0]).unwrap();
            added.iter().map(|(hour, name)| format!("{hour}/{}", &name.as_str()[..12])).collect()
        }
    }

    #[test]
    fn the_same_bytes_on_both_sides_of_an_hours_edge_are_one() {
        let scene = scene();
        assert!(!scene.is_beside("2026-01-02T04", "00:00.000000"), "there is no hour beside");
        scene.plant("2026-01-02T03", "59:59.999600", "ts");
        assert!(scene.is_beside("2026-01-02T04", "00:00.000000"));
        assert!(scene.is_beside("2026-01-02T04", "00:00.000600"));
        assert!(!scene.is_beside("2026-01-02T04", "00:00.000601"), "more than a millisecond");
        assert!(!scene.is_beside("2026-01-02T04", "00:01.0"));
        assert!(!scene.is_beside("2026-01-02T05", "00:00.000000"), "another edge");
        scene.plant("2026-01-03T00", "00:00", "tombstone");
        assert!(scene.is_beside("2026-01-02T23", "59:59.9999"), "what is hidden is not copied");
    }

    #[test]
    fn a_tombstone_hides_the_twin_beyond_the_edge() {
        let scene = scene();
        scene.plant("2026-01-02T03", "59:59.999600", "ts");
        assert_eq!(scene.hide_beside("2026-01-02T04", "00:00.000000"), ["2026-01-02T03/59:59.999600"]);
        assert!(scene.hide_beside("2026-01-02T04", "00:00.000000").is_empty(), "once");
        assert!(scene.hide_beside("2026-01-02T04", "00:01.000000").is_empty());
        scene.plant("2026-01-02T06", "00:00.000100", "ts");
        assert_eq!(scene.hide_beside("2026-01-02T05", "59:59.9999"), ["2026-01-02T06/00:00.000100"]);
    }
}
