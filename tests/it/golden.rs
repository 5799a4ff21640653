//! Golden cases, made by running the existing system (tests/vectors). Where a case says that its origin is wrong
//! (`peer_bug`) or loose (`lenient`), the test asserts what FORMATS says instead, and names the defect.

use std::collections::BTreeMap;
use std::sync::Arc;

use segvault::model::{Hour, NameFields, SegmentKind, SegmentName, Span, Timestamp};
use segvault::select::{Among, HourCoverage, HourIndex, Listing, Part, Selection, StreamCoverage};
use serde_json::Value;

fn cases(family: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{family}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("{family} has no cases") };
    assert!(cases.len() > 20, "{family} has only {} cases", cases.len());
    cases
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// hour → name → size in bytes, as a tree of files would have them.
type Tree<'c> = BTreeMap<&'c str, BTreeMap<&'c str, u64>>;

fn tree(case: &Value) -> Tree<'_> {
    let mut tree = Tree::new();
    for file in case["files"].as_array().unwrap() {
        let (hour, name) = file[0].as_str().unwrap().split_once('/').unwrap();
        tree.entry(hour).or_default().insert(name, file[1].as_u64().unwrap());
    }
    tree
}

fn index(tree: &Tree<'_>, hour: &str) -> HourIndex {
    let files = tree.get(hour).cloned().unwrap_or_default();
    let listing = Listing::new(files.keys());
    HourIndex::build(hour.parse().unwrap(), listing.segments(), |name| files[name])
}

#[test]
fn names_parse_as_they_always_did() {
    for case in cases("parse_segment_path") {
        let path = case["path"].as_str().unwrap();
        let mut parts = path.rsplit('/');
        let (name, hour) = (parts.next().unwrap(), parts.next());
        let ok = case.get("ok").filter(|_| case.get("lenient").is_none());
        // Some cases are bare names; the hour is judged only where there is one.
        let parsed_hour = hour.map(str::parse::<Hour>).transpose();
        let fields = NameFields::parse(name);
        let Some(ok) = ok else {
            assert!(fields.is_err() || parsed_hour.is_err(), "accepted {path:?}");
            continue;
        };
        let fields = fields.unwrap_or_else(|why| panic!("{path:?}: {why}"));
        assert_eq!(fields.duration_micros, ok["duration_us"].as_i64().unwrap(), "{path:?}");
        assert_eq!(fields.kind.as_str(), ok["type"].as_str().unwrap(), "{path:?}");
        if let Some(hour) = parsed_hour.unwrap() {
            let name = SegmentName::parse(hour, name).unwrap();
            assert_eq!(name.start().to_string(), ok["start"].as_str().unwrap(), "{path:?}");
            assert_eq!(name.end().to_string(), ok["end"].as_str().unwrap(), "{path:?}");
        }
    }
}

#[test]
fn times_are_read_as_utc_whatever_zone_they_name() {
    for case in cases("dateutil") {
        let input = case["input"].as_str().unwrap();
        let ours = input.parse::<Timestamp>().ok().map(|time| time.to_string());
        let theirs = case["parse_utc_only"].as_str().filter(|_| case.get("depends_on_today").is_none());
        if FREE_FORM.contains(&input) {
            assert_eq!(ours, None, "{input:?} is free-form: refused with 400");
        } else {
            assert_eq!(ours.as_deref(), theirs, "{input:?}");
        }
    }
}

/// Texts that the origin's general date reader takes and a strict ISO 8601 reader refuses.
const FREE_FORM: [&str; 15] = [
    "01/02/2026",
    "02/01/2026 10:00",
    "Jan 2 2026 3:04pm",
    "2 January 2026 15:04",
    "2026-01-02 03:04:05 EST",
    "2026-01-02 03:04:05 PST",
    "2026-01-02T3:4:5",
    "-2026-01-02T03:04:05",
    "2026-01-02T-3:04:05",
    "26-01-02",
    "2026-01-02T03h04m05s",
    "2026-01-02 3:04 AM",
    "2026-01-02 12:04 AM",
    // A `+` that a URL decoder turned into a blank: the origin takes the zone for a time, and serves another hour.
    "2026-01-02T03:04:05 00:00",
    "2026-01-02T03:04:05 01:00",
];

#[test]
fn an_hour_lists_what_is_visible() {
    for case in cases("list_segment_files") {
        let listing = Listing::new(texts(&case["files"]));
        for (options, expected) in case["answer"].as_object().unwrap() {
            let mut ours: Vec<&str> =
                if options.contains("chat=true") { listing.visible().collect() } else { listing.segments().collect() };
            if options.contains("tombstones=true") {
                ours.extend(listing.tombstones());
            }
            ours.sort_unstable();
            let mut expected = texts(expected);
            if case.get("peer_bug").is_some() {
                // Defects of the origin: a hidden tombstone is listed; directories are listed as if they were files.
                let directories = case.get("dirs").map(texts).unwrap_or_default();
                expected.retain(|name| !name.starts_with('.') && !directories.contains(name));
            }
            assert_eq!(ours, expected, "case {} with {options}", case["i"]);
        }
    }
}

#[test]
fn each_start_has_one_best_segment() {
    for case in cases("best_segments_by_start") {
        let tree = tree(&case);
        for (hour, expected) in case["answer"].as_object().unwrap() {
            let index = index(&tree, hour);
            let ours: Vec<&str> = index.best().map(|segment| segment.name).collect();
            assert_eq!(ours, texts(expected), "case {}", case["i"]);
        }
    }
}

#[test]
fn a_range_gets_its_best_segments_and_shows_its_holes() {
    let mut queries = 0;
    for case in cases("get_best_segments") {
        let tree = tree(&case);
        for query in case["queries"].as_array().unwrap() {
            let time = |key: &str| query[key].as_str().unwrap().parse::<Timestamp>().unwrap();
            let what = format!("case {} from {} to {}", case["i"], query["start"], query["end"]);
            let Ok(span) = Span::new(time("start"), time("end")) else {
                assert!(query.get("precondition_violated").is_some(), "{what}");
                continue;
            };
            let hours = span.hours().map(|hour| Arc::new(index(&tree, &hour.to_string()))).collect();
            let selection = Selection::choose(span, hours);
            let ours: Vec<Option<String>> = selection
                .parts()
                .map(|part| match part {
                    Part::Segment(segment) => Some(format!("{}/{}", segment.hour, segment.name)),
                    Part::Hole(_) => None,
                })
                .collect();
            let theirs: Vec<Option<&str>> = query["holes"].as_array().unwrap().iter().map(Value::as_str).collect();
            let expected = if query.get("peer_bug").is_some() { without_overshoot(theirs, span) } else { theirs };
            assert_eq!(ours.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{what}");
            assert_eq!(selection.complete().is_err(), query["noholes"] == "ContainsHoles", "{what}");
            queries += 1;
        }
    }
    assert!(queries > 380, "only {queries} queries");
}

/// Defect of the origin: a range that ends in a hole takes a segment from after its end. FORMATS §3: it is never taken.
fn without_overshoot(mut parts: Vec<Option<&str>>, span: Span) -> Vec<Option<&str>> {
    let starts_late = |path: &str| {
        let (hour, name) = path.split_once('/').unwrap();
        SegmentName::parse(hour.parse().unwrap(), name).unwrap().start() >= span.end()
    };
    parts.retain(|part| part.is_none_or(|path| !starts_late(path)));
    while parts.len() > 1 && parts[parts.len() - 2..] == [None, None] {
        parts.pop();
    }
    parts
}

/// Figures of each hour, and the holes of its map. Where the origin goes on with the segment that it looked at last instead of
/// the one it chose (`with_best_segment`), the corrected figure holds.
#[test]
fn an_hour_has_its_figures_and_its_holes() {
    let (mut hours_compared, mut tied) = (0, 0);
    for case in cases("segment_coverage") {
        let tree = tree(&case);
        let hours: Vec<_> = tree
            .keys()
            .map(|hour| {
                let listing = Listing::new(tree[hour].keys());
                Arc::new(HourCoverage::of(&index(&tree, hour), &listing))
            })
            .collect();
        let stream = StreamCoverage::new(hours);
        for of in stream.hours() {
            let hour = of.hour.to_string();
            let what = format!("{} {hour}", case["what"]);
            let Some(figures) = case["answer"]["metrics"].get(&hour) else { continue };
            let expected = |key: &str| {
                let corrected = &case["with_best_segment"]["metrics_changed"][&hour][key][1];
                let seconds = corrected.as_f64().or(figures[key].as_f64()).unwrap_or_else(|| panic!("{what}: {key}"));
                (seconds * 1e6).round() as i64
            };
            let is_tied = has_tie(&tree, &hour);
            for (kind, ours) in [("full", of.full), ("suspect", of.suspect), ("partial", of.partial)] {
                let count = |count: u32| i64::from(count) * 1_000_000;
                assert_eq!(count(ours.count), expected(&format!("segment_count:{kind}")), "{what} {kind}");
                assert_eq!(ours.duration_micros, expected(&format!("segment_duration:{kind}")), "{what} {kind}");
                assert_eq!(count(ours.overlap_count), expected(&format!("overlap_count:{kind}")), "{what} {kind}");
                if !is_tied {
                    assert_eq!(ours.overlap_micros, expected(&format!("overlap_duration:{kind}")), "{what} {kind}");
                }
            }
            assert_eq!(i64::from(of.bad_names) * 1_000_000, expected("segment_count:bad"), "{what}");
            hours_compared += 1;
            if is_tied {
                tied += 1;
                continue;
            }
            assert_eq!(of.raw_micros, expected("raw_coverage"), "{what}");
            assert_eq!(of.editable_micros, expected("editable_coverage"), "{what}");
            compare_holes(&stream, of, &case, &what);
        }
    }
    assert!(hours_compared >= 60 && tied < 3, "only {hours_compared} hours, {tied} with a tie");
}

/// Defect of the origin: of two that are equally good it counts the one that its own playlists do not show.
fn has_tie(tree: &Tree<'_>, hour: &str) -> bool {
    let files = &tree[hour];
    let listing = Listing::new(files.keys());
    let fields = |name: &str| NameFields::parse(name).ok().map(|fields| (fields, files[name]));
    let all: Vec<_> =
        listing.segments().filter_map(fields).filter(|(fields, _)| fields.kind != SegmentKind::Full).collect();
    all.iter().enumerate().any(|(at, (one, size))| {
        all[..at].iter().any(|(other, other_size)| {
            (one.offset_micros, one.kind, size) == (other.offset_micros, other.kind, other_size)
                && one.duration_micros != other.duration_micros
        })
    })
}

/// Defects of the origin: what of a hole is at most 10 ms long, is none; what the hour before shows of an hour is none; an hour
/// of which nothing is shown is a hole.
fn compare_holes(stream: &StreamCoverage, of: &HourCoverage, case: &Value, what: &str) {
    let whole = Span::new(of.hour.start(), of.hour.next().start()).unwrap();
    let ours = stream.holes(whole, Among::Shown);
    let listed = case["answer"]["map_holes"].get(of.hour.to_string()).and_then(Value::as_array);
    let Some(listed) = listed else {
        assert_eq!(ours, [whole], "{what}");
        return;
    };
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let mut theirs: Vec<Span> =
        listed.iter().filter_map(|hole| Span::new(time(&hole[0]), time(&hole[1])).ok()).collect();
    theirs.retain(|hole| hole.end().micros_since(hole.start()) > 10_000);
    theirs.sort_by_key(|hole| hole.start());
    let before = Span::new(of.hour.previous().start(), of.hour.start()).unwrap();
    if stream.holes(before, Among::Shown).last().is_none_or(|hole| hole.end() < of.hour.start()) {
        let begins_with = |hole: &Span| hole.start() == of.hour.start();
        if theirs.first().is_some_and(begins_with) {
            let rest = ours.iter().find(|hole| hole.end() == theirs[0].end());
            theirs.splice(..1, rest.copied());
        }
    }
    // Since the origin goes on with the wrong segment, its holes end elsewhere.
    if case.get("with_best_segment").is_none() {
        assert_eq!(ours, theirs, "{what}");
    }
}
