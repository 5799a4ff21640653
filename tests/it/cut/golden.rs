//! Stamps are moved as the existing system moves them (tests/vectors/fixts.json), where it is right: it refuses DTS and much
//! else, loses itself at the wrap of stamps, and takes every frame for 33 ms long.

use segvault::cut::Restamp;
use segvault::media::mpegts::{PACKET_BYTES, Packet, WRAP_90K};
use serde_json::Value;

/// These packets have no stamp by the standard, nor here: the PES header of the first announces one and says that it has no byte
/// for it, the id of the second (0x25) is that of no PES stream.
const NO_STAMPS: [(&str, i64); 2] = [("fuzz12.ts", 20), ("fuzz20.ts", 31)];

fn vector(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn packets(bytes: &[u8]) -> impl Iterator<Item = (i64, Packet<'_>)> {
    let chunks = bytes.as_chunks::<PACKET_BYTES>().0.iter().enumerate();
    chunks.filter_map(|(at, packet)| Some((at as i64, Packet::new(packet)?)))
}

/// PTS by number of packet.
fn all_pts(bytes: &[u8]) -> Vec<(i64, i64)> {
    packets(bytes).filter_map(|(at, packet)| Some((at, packet.pes_header()?.pts? as i64))).collect()
}

fn pairs(value: &Value) -> Vec<(i64, i64)> {
    let pair = |pair: &Value| (pair[0].as_i64().unwrap(), pair[1].as_i64().unwrap());
    value.as_array().unwrap().iter().map(pair).collect()
}

fn ticks(seconds: &Value) -> i64 {
    (seconds.as_str().unwrap().parse::<f64>().unwrap() * 90_000.0).round() as i64
}

/// The parts of a case, and where each has to start in ticks.
fn parts(case: &Value) -> Vec<(Vec<u8>, i64)> {
    let file = |name: &Value| vector(&format!("ts/{}", name.as_str().unwrap()));
    if case["kind"] == "single" {
        return vec![(file(&case["ts"]), ticks(&case["start_time"]))];
    }
    let ends = case["end_times"].as_array().unwrap();
    let starts = [0].into_iter().chain(ends.iter().map(ticks));
    case["parts"].as_array().unwrap().iter().map(file).zip(starts).collect()
}

/// The existing system makes the clock start with the first frame; here it stays as far ahead as it was. Its steps compare.
fn from_the_first_of_each_part(mut pcr: Vec<(i64, i64)>, starts: &[(usize, i64)]) -> Vec<(i64, i64)> {
    let part = |at: i64| starts.iter().rposition(|(first, _)| *first as i64 <= at);
    let mut first: Option<(Option<usize>, i64)> = None;
    for (at, clock) in &mut pcr {
        let part = part(*at);
        let (_, base) = *first.insert(first.filter(|(same, _)| *same == part).unwrap_or((part, *clock)));
        *clock = *clock - base + part.map_or(0, |part| starts[part].1);
    }
    pcr
}

#[test]
fn stamps_are_moved_as_they_always_were() {
    let cases: Value = serde_json::from_slice(&vector("fixts.json")).unwrap();
    let mut compared = 0;
    for case in cases["cases"].as_array().unwrap() {
        if case.get("error").is_some() || case.get("peer_bug").is_some() {
            continue;
        }
        let (mut out, mut restamp, mut starts) = (Vec::new(), Restamp::default(), Vec::new());
        for (bytes, start) in parts(case) {
            starts.push((out.len() / PACKET_BYTES, start));
            restamp.begin(all_pts(&bytes).first().map_or(0, |(_, first)| start - first));
            out.extend_from_slice(&restamp.push(bytes.into()));
        }
        let pcr = packets(&out).filter_map(|(at, packet)| Some((at, packet.pcr()? as i64))).collect::<Vec<_>>();
        let pcr = from_the_first_of_each_part(pcr, &starts);
        let is_one = |(at, _): &(i64, i64)| !NO_STAMPS.iter().any(|(file, none)| case["ts"] == *file && at == none);
        let their_pts = pairs(&case["pts_90k"]).into_iter().filter(is_one).collect();
        let their_pcr = pairs(&case["pcr_27m"]).into_iter().map(|(at, clock)| (at, clock / 300)).collect();
        for (what, ours, theirs) in [("PTS", all_pts(&out), their_pts), ("PCR", pcr, their_pcr)] {
            let theirs: Vec<(i64, i64)> = theirs;
            let numbers = |pairs: &[(i64, i64)]| pairs.iter().map(|(at, _)| *at).collect::<Vec<_>>();
            assert_eq!(numbers(&ours), numbers(&theirs), "{what} of case {}", case["i"]);
            for ((at, our), (_, their)) in ours.into_iter().zip(theirs) {
                let start = starts.iter().rev().find(|(first, _)| *first as i64 <= at).unwrap().1;
                let apart = |stamp: i64| (our - stamp + WRAP_90K / 2).rem_euclid(WRAP_90K) - WRAP_90K / 2;
                // What lies before the first frame it moves onto that frame.
                let is_clamped = apart(start) < 0 && (their - start).abs() <= 1;
                assert!(
                    apart(their).abs() <= 1 || is_clamped,
                    "case {}, packet {at}: {what} {our}, {their}",
                    case["i"]
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 2500, "only {compared} stamps");
}
