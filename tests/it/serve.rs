//! What a node answers over HTTP: the golden cases of the existing system, and what players and scripts rely on.

use std::path::Path;

use serde_json::Value;

use crate::support::{NodeProcess, eventually, read_reply, small_spec, source, stored};

fn golden() -> Value {
    let path = format!("{}/tests/vectors/http.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The golden cases' names have hashes that are none of their bytes.
const UNREAD: &str = "[scrub]\nenabled = false\n";

/// The golden cases' tree: the k-th of the sorted files is filled with the byte k.
fn plant(base: &Path, files: &Value) {
    let mut files: Vec<(&str, usize)> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file[0].as_str().unwrap(), file[1].as_u64().unwrap() as usize))
        .collect();
    files.sort();
    for (k, (path, size)) in files.into_iter().enumerate() {
        let path = base.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![k as u8; size]).unwrap();
    }
}

fn sorted(json: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        json.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The addresses of segments in a playlist, with a mark where a discontinuity precedes.
fn playlist_facts(text: &str) -> (Vec<String>, bool) {
    let mut facts = Vec::new();
    let mut discontinuity = false;
    for line in text.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            discontinuity = true;
        } else if line.starts_with("/segments/") {
            let mark = if std::mem::take(&mut discontinuity) && !facts.is_empty() { "! " } else { "" };
            facts.push(format!("{mark}{line}"));
        } else if let Some(time) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            facts.push(time.to_owned());
        }
    }
    (facts, text.contains("#EXT-X-ENDLIST"))
}

#[test]
fn golden_requests_are_answered_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let golden = golden();
    plant(&base, &golden["meta"]["files"]);
    let node = NodeProcess::start_with(&base, UNREAD, |_| {});
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let path = case["path"].as_str().unwrap();
        let first = path.split(['/', '?', '.']).nth(1).unwrap();
        if !["files", "playlist", "cut", "segments", "frame", "waveform", "nope"].contains(&first) {
            // Of later issues: extras, chat, thumbnails with a template by name. And /metrics/ANYTHING is an answer of ours.
            continue;
        }
        let reply = node.get(&path.replace(' ', "%20"));
        let what = format!("{path} → {} {}", reply.status, reply.text().chars().take(300).collect::<String>());
        compared += 1;
        if let Some(status) = ours_on_purpose(path, case) {
            assert_eq!(reply.status, status, "{what}");
            continue;
        }
        assert_eq!(reply.status, case["status"].as_u64().unwrap() as u16, "{what}");
        if let Some(expected) = case.get("json_sorted") {
            assert_eq!(sorted(&reply.json()), sorted(expected), "{what}");
        } else if let Some(expected) = case.get("sha256") {
            use sha2::{Digest, Sha256};
            let hash: String = Sha256::digest(&reply.body).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                (reply.body.len() as u64, hash.as_str()),
                (case["bytes"].as_u64().unwrap(), expected.as_str().unwrap()),
                "{what}"
            );
        } else if first == "playlist" && reply.status == 200 {
            assert_eq!(playlist_facts(&reply.text()), playlist_facts(case["text"].as_str().unwrap()), "{what}");
        }
    }
    assert!(compared > 45, "{compared}");
    node.stop();
}

/// Where we differ, and why.
fn ours_on_purpose(path: &str, case: &Value) -> Option<u16> {
    let bug = case["peer_bug"].as_str().unwrap_or_default();
    if bug.contains("bad parameter") {
        return Some(400);
    }
    if bug.contains("stray non-hour name") || bug == "as above" {
        // The stray is passed over; that hour's one name has no valid form, but the quality is there.
        return Some(200);
    }
    match path {
        // The end is before the start: the origin answers an empty playlist.
        _ if path.contains("start=2026-01-02T04:00:07&end=2026-01-02T03:59:51") => Some(400),
        // An exact cut needs frames, and these bytes hold none; the origin copies them.
        _ if path.contains("type=fast") => Some(406),
        // The origin makes none, for the load.
        _ if path.contains("type=mp4") => Some(406),
        // Overshoot: the origin's cut holds a segment from after its end.
        _ if bug.contains("overshoot") => Some(200),
        // The `+` of a zone, decoded as a blank: the origin takes the zone for the time, and serves another range.
        _ if path.ends_with("+05:00") => Some(200),
        _ => None,
    }
}

#[test]
fn a_segment_has_ranges_a_tag_and_a_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant(&base, &golden()["meta"]["files"]);
    let node = NodeProcess::start_with(&base, UNREAD, |_| {});
    let name = "59:52.000000-2.0-full-ULqlATaAnFaGU7aAUXS2dh3b9uXNis2a10SwFOKYglU";
    let hour = "ch/source/2026-01-02T03";
    let path = format!("/segments/{hour}/{}.ts", name.replace(':', "%3A"));

    let whole = node.get(&path);
    assert_eq!((whole.status, whole.body.len(), whole.header("content-type")), (200, 376, "video/mp2t"));
    assert_eq!(whole.header("etag"), "\"ULqlATaAnFaGU7aAUXS2dh3b9uXNis2a10SwFOKYglU\"");
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(whole.header("access-control-allow-origin"), "*");

    let part = node.get_with("GET", &path, &[("Range", "bytes=10-19")]);
    assert_eq!((part.status, part.body.len(), part.header("content-range")), (206, 10, "bytes 10-19/376"));
    let other = node.get_with("GET", &path, &[("Range", "bytes=10-19"), ("If-Range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, 376));
    let outside = node.get_with("GET", &path, &[("Range", "bytes=376-")]);
    assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */376"));
    let same = node.get_with("GET", &path, &[("If-None-Match", whole.header("etag"))]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    let head = node.get_with("HEAD", &path, &[]);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "376", 0));

    // As an operator does it, with nothing but a shell. It holds at once, on every way to the bytes.
    let range = "start=2026-01-02T03:59:50&end=2026-01-02T03:59:56";
    let holes = |node: &NodeProcess| {
        let playlist = node.get(&format!("/playlist/ch/source.m3u8?{range}")).text();
        let cut = node.get(&format!("/cut/ch/source.ts?type=rough&{range}"));
        let listed = node.get(&format!("/files/{hour}")).json().to_string().contains(name);
        (playlist.matches(&name[..5].replace(':', "%3A")).count(), cut.status, listed, node.get(&path).status)
    };
    assert_eq!(holes(&node), (1, 200, true, 200));
    std::fs::write(base.join(hour).join(format!("{name}.tombstone")), "").unwrap();
    assert_eq!(holes(&node), (0, 406, false, 410));
    assert_eq!(node.get_with("HEAD", &path, &[]).status, 410);
    assert!(node.get(&format!("/files/{hour}?tombstones=true")).text().contains(&format!("{name}.tombstone")));
    std::fs::remove_file(base.join(hour).join(format!("{name}.tombstone"))).unwrap();
    assert_eq!(holes(&node), (1, 200, true, 200));
    node.stop();
}

#[test]
fn what_climbs_hides_or_is_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant(&base, &golden()["meta"]["files"]);
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let node = NodeProcess::start_with(&base, UNREAD, |_| {});
    for (path, status, code) in [
        ("/segments/..%2fsecret", 403, "bad_name"),
        ("/segments/../secret", 403, "bad_name"),
        ("/segments/ch/..%5c..%5csecret", 403, "bad_name"),
        ("/segments/.segvault/lock", 403, "bad_name"),
        ("/segments/ch/source/2026-01-02T03/.hidden.ts", 403, "bad_name"),
        ("/segments/ch%00/x", 403, "bad_name"),
        ("/segments/ch", 404, "absent"),
        ("/segments/ch/source/2026-01-02T03/none.ts", 404, "absent"),
        ("/files/ch/..%2f..", 403, "bad_name"),
        ("/files/ch/source/2026-01-02T03?tombstones=maybe", 400, "bad_parameter"),
        ("/playlist/ch/source.m3u8?start=yesterday", 400, "bad_time"),
        ("/playlist/ch/source.m3u8?start=2026-01-02T04:00:00&end=2026-01-02T04:00:00", 400, "end_before_start"),
        ("/playlist/ch/source.m3u8?start=2020-01-02T04:00:00", 400, "range_too_long"),
        ("/playlist/none.m3u8", 404, "absent"),
        ("/cut/ch/source.ts?start=2026-01-02T04:00:02&end=2026-01-02T04:00:01", 400, "end_before_start"),
        ("/cut/ch/source.ts?type=none", 400, "bad_parameter"),
        ("/cut/ch/source.ts?type=rough&range=2026-01-02T04:00:02", 400, "bad_parameter"),
        ("/cut/ch/source.ts?type=rough&range=a,b", 400, "bad_time"),
        ("/cut/ch/source.ts?type=rough&start=2031-01-01T00:00:00&end=2031-01-01T00:00:09", 406, "no_content"),
        ("/cut/ch/source.ts?type=rough&start=2026-01-02T03:59:50&end=2026-01-02T04:00:01", 406, "holes"),
        ("/cut/ch/source.ts?type=rough&allow_holes=true&start=2031-01-01&end=2031-01-02", 406, "no_content"),
        (
            "/cut/ch/source.ts?range=2026-01-02T03:59:50,2026-01-02T03:59:51&range=2026-01-02T03:59:52,2026-01-02T03:59:53&transition=nosuch,1",
            400,
            "bad_parameter",
        ),
        ("/frame/ch/source.png", 400, "bad_parameter"),
        ("/frame/ch/source.png?timestamp=2031-01-01", 406, "no_content"),
        ("/nothing", 404, "no_route"),
    ] {
        let reply = node.get(path);
        assert_eq!((reply.status, reply.json()["code"].as_str().unwrap()), (status, code), "{path}: {}", reply.text());
        assert!(!reply.json()["message"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(node.get_with("DELETE", "/files", &[]).status, 405);
    let ranges = "&range=2026-01-02T03:59:50,2026-01-02T03:59:51".repeat(1001);
    assert_eq!(node.get(&format!("/cut/ch/source.ts?type=rough{ranges}")).json()["code"], "bad_parameter");
    node.stop();
}

#[test]
fn a_playlist_plays_and_a_cut_is_exact_while_it_records() {
    let dir = tempfile::tempdir().unwrap();
    // In real time, so that what is kept lies in the past.
    let source = source(&small_spec(), 16, 1);
    let base = dir.path().join("base");
    let node = NodeProcess::start(&base, &[("ch", &source.url(), &["source", "90p"])]);
    eventually("6 s are kept", || (stored(&base, "ch", "source").len() >= 12).then_some(()));

    // Each look at the live playlist shows what the last one showed, and perhaps more.
    let mut shown = Vec::new();
    for _ in 0..20 {
        let text = node.get("/playlist/ch/source.m3u8").text();
        let urls: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        assert!(urls.starts_with(&shown), "{shown:#?}\n{text}");
        assert!(!text.contains("ENDLIST") && !text.contains("DISCONTINUITY\n"), "{text}");
        shown = urls;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let master = node.get("/playlist/ch.m3u8").text();
    let (best, other) =
        (master.find("/playlist/ch/source.m3u8").unwrap(), master.find("/playlist/ch/90p.m3u8").unwrap());
    assert!(best < other, "{master}");

    // ffmpeg reads the whole of it, and sees every frame.
    let kept = stored(&base, "ch", "source");
    let first = kept[0].0.start();
    let end = kept[11].0.end();
    let url = format!("{}/playlist/ch/source.m3u8?start={first}&end={end}", node.url());
    let played = dir.path().join("played.mkv");
    let (code, _, errors) = crate::support::run(
        std::process::Command::new("ffmpeg").args(["-v", "error", "-i", &url, "-c", "copy"]).arg(&played),
    );
    assert_eq!(code, 0, "{errors}");
    let frames = segvault::rehearsal::barcode::read_file(&played).unwrap();
    let frame_at = |moment: segvault::model::Timestamp| {
        small_spec().frame_rate.first_frame_at(moment.micros_since(source.origin())) as u32
    };
    assert_eq!(frames, (frame_at(first)..frame_at(end)).collect::<Vec<_>>());

    // A cut amid segments, by one range and by two.
    let at = |micros: i64| first.plus_micros(micros);
    let ranges = [(at(777_777), at(3_210_000)), (at(5_000_020), at(5_600_000))];
    let query: Vec<String> = ranges.iter().map(|(start, end)| format!("range={start},{end}")).collect();
    for (query, ranges) in [(query[0].clone(), &ranges[..1]), (query.join("&transition=&"), &ranges[..])] {
        let cut = node.get(&format!("/cut/ch/source.ts?type=fast&{query}"));
        assert_eq!((cut.status, cut.complete), (200, true), "{}", cut.text());
        let frames = segvault::rehearsal::barcode::read_bytes(&cut.body).unwrap();
        let expected: Vec<u32> = ranges.iter().flat_map(|(start, end)| frame_at(*start)..frame_at(*end)).collect();
        assert_eq!(frames, expected, "{query}");
    }
    let picture = node.get(&format!("/frame/ch/source.png?timestamp={}", at(777_777)));
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/png"));
    assert_eq!(segvault::rehearsal::barcode::read_bytes(&picture.body).unwrap(), [frame_at(at(777_777))]);
    node.stop();
}

#[test]
fn a_client_that_leaves_takes_its_ffmpeg_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&small_spec(), 16, 4);
    let base = dir.path().join("base");
    let node = NodeProcess::start(&base, &[("ch", &source.url(), &["source"])]);
    let kept = eventually("5 s are kept", || Some(stored(&base, "ch", "source")).filter(|kept| kept.len() >= 10));
    let children = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.id())).unwrap();
        let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        children.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    eventually("the probe of ffmpeg has ended", || children().is_empty().then_some(()));
    // Both edges lie within segments; the client reads nothing and leaves.
    let (start, end) = (kept[0].0.start().plus_micros(100_000), kept[9].0.end().plus_micros(-100_000));
    for _ in 0..5 {
        let stream = node.ask(&format!("/cut/ch/source.ts?type=fast&start={start}&end={end}"));
        std::thread::sleep(std::time::Duration::from_millis(40));
        drop(stream);
    }
    eventually("no ffmpeg is left", || {
        let metrics = node.get("/metrics").text();
        (children().is_empty() && metrics.contains("segvault_cut_ffmpeg_in_use_processes 0")).then_some(())
    });
    node.stop();
}

/// The bytes of a cut that a slow client reads while the node is told to stop.
#[test]
fn sigterm_lets_a_cut_in_flight_complete() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let size = plant_large(&base);
    let mut node = NodeProcess::start_with(&base, UNREAD, |_| {});
    let stream = node.ask("/cut/ch/source.ts?type=rough&start=2026-01-02T03:00:00&end=2026-01-02T03:00:40");
    // The answer has begun; the client reads nothing of it yet.
    assert!(stream.peek(&mut [0]).unwrap() > 0);
    node.signal("-TERM");
    eventually("it is stopping", || (!node.logged("stopping").is_empty()).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(node.has_ended().is_none(), "it ended under the cut: {:#?}", node.log());
    let reply = read_reply(stream, false);
    assert_eq!((reply.status, reply.complete, reply.body.len()), (200, true, size));
    assert_eq!(node.wait().code(), Some(0), "{:#?}", node.log());
    assert!(!node.logged("stopped").is_empty());
    assert!(!base.join(".segvault/listen").exists());
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant_large(&base);
    let mut node = NodeProcess::start_with(&base, UNREAD, |_| {});
    let unread = node.ask("/cut/ch/source.ts?type=rough&start=2026-01-02T03:00:00&end=2026-01-02T03:00:40");
    assert!(unread.peek(&mut [0]).unwrap() > 0);
    node.signal("-INT");
    eventually("it is stopping", || (!node.logged("stopping").is_empty()).then_some(()));
    let before = std::time::Instant::now();
    node.signal("-INT");
    assert_eq!(node.wait().code(), Some(1));
    assert!(before.elapsed() < std::time::Duration::from_secs(5));
}

/// More than sockets buffer: sparse files, so that it costs nothing. Answers the sum of their sizes.
fn plant_large(base: &Path) -> usize {
    let hour = base.join("ch/source/2026-01-02T03");
    std::fs::create_dir_all(&hour).unwrap();
    let (count, size) = (20, 4 << 20);
    for k in 0..count {
        let name = format!("00:{:02}.0-2.0-full-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.ts", 2 * k);
        std::fs::File::create(hour.join(name)).unwrap().set_len(size).unwrap();
    }
    count * size as usize
}

#[test]
fn the_log_level_follows_signals() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let source = source(&small_spec(), 60, 1);
    let node = NodeProcess::start(&base, &[("ch", &source.url(), &["source"])]);
    for (signal, level) in [("-USR1", "debug"), ("-USR2", "info"), ("-USR2", "warning")] {
        node.signal(signal);
        eventually("the level is told", || {
            node.logged("log level changed")
                .iter()
                .any(|line| line["level"] == level || line.to_string().contains(level))
                .then_some(())
        });
    }
    let before = node.acknowledged("source").len();
    let kept = stored(&base, "ch", "source").len();
    eventually("it goes on in silence", || (stored(&base, "ch", "source").len() > kept + 1).then_some(()));
    assert!(node.acknowledged("source").len() <= before + 1);
    node.stop();
}
