//! What is there, as figures, as maps and as a page.

use std::io::Read as _;
use std::path::Path;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use crate::replicate::plant_segment;
use crate::support::{NodeProcess, eventually, run, segvault};

const HOUR: &str = "2026-01-02T03";

/// Places in the palette, column by column, of a picture that this program wrote.
fn pixels(png: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
    let (width, height) = (number(16), number(20));
    let mut at = 8;
    let packed = loop {
        let length = number(at);
        if &png[at + 4..at + 8] == b"IDAT" {
            break &png[at + 8..at + 8 + length];
        }
        at += 12 + length;
    };
    let mut rows = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut rows).unwrap();
    assert_eq!((height, rows.len()), (300, height * (width + 1)));
    (0..width).flat_map(|x| (0..height).map(move |y| (x, y))).map(|(x, y)| rows[y * (width + 1) + 1 + x]).collect()
}

fn plant(base: &Path, offset: &str, kind: &str) -> String {
    plant_segment(&base.join("ch/source").join(HOUR), offset, kind, offset.as_bytes())
}

fn sample(node: &NodeProcess, name: &str, window: &str) -> Option<f64> {
    let sample = format!("{name}{{channel=\"ch\",quality=\"source\",window=\"{window}\"}} ");
    let text = node.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok())
}

#[test]
fn what_is_missing_is_told_drawn_and_forgotten_once_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for second in [0, 2, 4, 8, 12, 14] {
        plant(&base, &format!("00:{second:02}.0"), if second == 4 { "partial" } else { "full" });
    }
    let hidden = plant(&base, "00:06.0", "full");
    let tombstone = base.join("ch/source").join(HOUR).join(hidden.replace(".ts", ".tombstone"));
    std::fs::write(tombstone, "").unwrap();
    let more = "[coverage]\ninterval = \"1s\"\n[[channel]]\nname = \"ch\"\nhls = \"http://127.0.0.1:9/x\"\n\
                planned_off = [\"2026-01-02T03:00:10/2026-01-02T03:00:12\"]\n";
    let node = NodeProcess::start_with(&base, more, |_| {});
    let config = base.with_extension("toml");

    let told = node.get("/coverage/ch/source").json();
    assert_eq!((&told["missing_seconds"], &told["lost_seconds"]), (&4.0.into(), &0.0.into()), "{told}");
    assert_eq!(told["holes"][0]["start"], "2026-01-02T03:00:06.000000");
    let of = &told["hours"][0];
    assert_eq!(
        (&of["full"]["count"], &of["partial"]["count"], &of["raw_seconds"]),
        (&5.into(), &1.into(), &12.0.into())
    );
    let part = node.get("/coverage/ch/source?start=2026-01-02T03:00:09&end=2026-01-02T03:00:11").json();
    assert_eq!((&part["seconds"], &part["missing_seconds"]), (&2.0.into(), &1.0.into()));

    let map = node.get("/coverage/ch/source.png");
    assert_eq!(map.header("content-type"), "image/png");
    let drawn = pixels(&map.body);
    // Shown, shown, partial, under a tombstone, shown, off, shown, shown, and nothing from there on.
    assert_eq!((drawn.len(), &drawn[..9]), (1800, &[1, 1, 2, 3, 1, 4, 1, 1, 0][..]));
    assert!(drawn[9..].iter().all(|pixel| *pixel == 0));
    let beside = base.join("coverage-maps/ch_source_coverage.png");
    eventually("the map is beside the record", || (std::fs::read(&beside).ok()? == map.body).then_some(()));
    let file = dir.path().join("map.png");
    let args = ["coverage", "ch", "source", "--json", "--png", file.to_str().unwrap(), "--config"];
    let (code, out, err) = run(segvault().args(args).arg(&config));
    assert_eq!((code, std::fs::read(&file).unwrap() == map.body), (0, true), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["source"], told);
    let (code, out, _) = run(segvault().args(["coverage", "ch", "--config"]).arg(&config));
    assert!(code == 0 && out.contains("4.0 s missing") && out.contains("2026-01-02T03:00:10.000000"), "{out}");

    let page = node.get("/coverage");
    assert!(page.text().contains("/coverage/ch/source.png"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(node.get("/coverage/style.css").header("content-type"), "text/css");

    eventually("it is among the metrics", || {
        sample(&node, "segvault_coverage_missing_seconds", "all").filter(|it| *it == 4.0)
    });
    assert_eq!(sample(&node, "segvault_coverage_holes_entries", "all"), Some(2.0));
    assert_eq!(sample(&node, "segvault_coverage_missing_seconds", "day"), Some(0.0));
    plant(&base, "00:10.0", "full");
    eventually("it was filled", || sample(&node, "segvault_coverage_missing_seconds", "all").filter(|it| *it == 2.0));
    eventually("the map shows it", || (pixels(&std::fs::read(&beside).ok()?)[5] == 1).then_some(()));

    for (path, status) in [
        ("/coverage/ch/nosuch", 404),
        ("/coverage/ch/nosuch.png", 404),
        ("/coverage/ch/source?start=junk", 400),
        ("/coverage/ch/source?start=2026-01-03&end=2026-01-02", 400),
        ("/coverage/ch/source.png?start=2020-01-01", 400),
    ] {
        assert_eq!(node.get(path).status, status, "{path}");
    }
    std::fs::remove_dir_all(base.join("ch")).unwrap();
    eventually("what is gone is measured no more", || {
        sample(&node, "segvault_coverage_holes_entries", "all").is_none().then_some(())
    });
    node.stop();
}

#[test]
fn a_hole_is_told_with_what_the_ledger_knows_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for second in [0, 10] {
        plant(&base, &format!("00:{second:02}.0"), "full");
    }
    let ledger = base.join(".segvault/losses/ch/source");
    std::fs::create_dir_all(&ledger).unwrap();
    let line = |start: &str, end: &str, cause: &str| {
        format!(
            "{{\"start\":\"2026-01-02T03:00:{start}\",\"end\":\"2026-01-02T03:00:{end}\",\"cause\":\"{cause}\",\
             \"noticed\":\"2026-01-02T03:01:00\",\"node\":\"test\",\"detail\":\"\"}}\n"
        )
    };
    std::fs::write(ledger.join(HOUR), line("02", "05", "expired") + &line("00", "03.5", "disk")).unwrap();
    let (code, out, err) = run(segvault().args(["coverage", "ch", "source", "--json", "--dir"]).arg(&base));
    assert_eq!(code, 0, "{err}");
    let hole = &serde_json::from_str::<Value>(&out).unwrap()["source"]["holes"][0];
    assert_eq!(
        (&hole["seconds"], &hole["lost"]["disk"], &hole["lost"]["expired"]),
        (&8.0.into(), &1.5.into(), &1.5.into()),
        "{out}"
    );
}
