//! Digests: what nodes tell each other of what they hold, and what that saves.

use std::collections::BTreeMap;
use std::path::Path;

use segvault::model::Hour;
use segvault::select::{DayDigests, Digest, QualityDigests};
use serde_json::json;

use super::{HOUR, plant_segment};
use crate::support::NodeProcess;

/// Of a quality's directory, straight from the names on disk.
fn digests_of(dir: &Path) -> BTreeMap<Hour, Digest> {
    let hours = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let digest = |entry: std::fs::DirEntry| {
        let names: Vec<String> = std::fs::read_dir(entry.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let is_hidden = |name: &str| {
            let base = name.rsplit_once('.').unwrap().0;
            !name.ends_with(".tombstone") && names.contains(&format!("{base}.tombstone"))
        };
        let shown = names.iter().map(String::as_str).filter(|name| !is_hidden(name));
        Some((entry.file_name().to_str().unwrap().parse().unwrap(), Digest::of_hour(shown)?))
    };
    hours.filter_map(digest).collect()
}

#[test]
fn a_digest_stands_for_what_listings_show_and_is_asked_for_by_tag() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let quality = base.join("ch/source");
    let names: Vec<String> = (0..4u8)
        .map(|second| plant_segment(&quality.join(HOUR), &format!("00:0{second}.0"), "full", &[second]))
        .collect();
    plant_segment(&quality.join("2026-01-03T00"), "00:00.0", "partial", b"x");
    std::fs::write(quality.join(HOUR).join("00:09.0-2.0-temp-x.ts"), "").unwrap();
    std::fs::create_dir_all(quality.join("2026-01-04T00")).unwrap();
    let node = NodeProcess::start_with(&base, "", |_| {});
    let tag = |digest: Digest| format!("\"{digest}\"");
    let check = || {
        let hours = digests_of(&quality);
        let of_quality = QualityDigests::of_hours(&hours);
        let days: BTreeMap<String, String> =
            of_quality.days.iter().map(|(day, digest)| (day.to_string(), digest.to_string())).collect();
        let answer = node.get("/digest/ch/source");
        assert_eq!(answer.json(), json!({ "digest": of_quality.digest.to_string(), "days": days }));
        assert_eq!(answer.header("etag"), tag(of_quality.digest));
        let first: BTreeMap<Hour, Digest> =
            hours.into_iter().filter(|(hour, _)| hour.to_string().starts_with("2026-01-02")).collect();
        let of_day = DayDigests::new(first);
        let answer = node.get("/digest/ch/source/2026-01-02");
        let hour = of_day.hours.values().next().unwrap().to_string();
        assert_eq!(answer.json(), json!({ "digest": of_day.digest.to_string(), "hours": { HOUR: hour } }));
        assert_eq!(answer.header("etag"), tag(of_day.digest));
        (of_quality.digest, of_day.digest)
    };
    let (before, day_before) = check();
    for (path, digest) in [("/digest/ch/source", before), ("/digest/ch/source/2026-01-02", day_before)] {
        let again = node.get_with("GET", path, &[("if-none-match", &tag(digest))]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    // A shell's tombstone is seen at once.
    std::fs::write(quality.join(HOUR).join(names[1].replace(".ts", ".tombstone")), "").unwrap();
    let changed = node.get_with("GET", "/digest/ch/source", &[("if-none-match", &tag(before))]);
    assert_eq!(changed.status, 200);
    assert_ne!(check().0, before);
    std::fs::remove_file(quality.join(HOUR).join(&names[2])).unwrap();
    check();

    // What is not there is empty, as its listing is; what is no name is refused.
    let nothing = QualityDigests::new(BTreeMap::new()).digest.to_string();
    for path in ["/digest/nobody/source", "/digest/ch/chat"] {
        assert_eq!(node.get(path).json(), json!({ "digest": nothing, "days": {} }), "{path}");
    }
    let no_hours = DayDigests::new(BTreeMap::new()).digest.to_string();
    for path in ["/digest/ch/source/2025-01-02", "/digest/ch/source/someday"] {
        assert_eq!(node.get(path).json(), json!({ "digest": no_hours, "hours": {} }), "{path}");
    }
    for path in ["/digest/.segvault/losses", "/digest/ch/source/.x"] {
        assert_eq!(node.get(path).status, 403, "{path}");
    }
    node.stop();
}
