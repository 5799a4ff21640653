//! What is cut where the source's encoding changes.

use std::process::Command;
use std::sync::Arc;

use futures_util::StreamExt;
use segvault::cut::{self, CutError, CutType, KnownEncodings, OnChange, Plan, PlanError};
use segvault::media::{HourKnowledge, HourMedia};
use segvault::model::{SegmentKind, Timestamp};
use segvault::select::{Part, Selection};
use segvault::store::look_at;
use serde_json::Value;

use super::{PLAIN, Recipe, Source, assert_shows, decode, ffmpeg, packets, put, record, run};
use crate::support::NodeProcess;

/// The third and the fourth of six segments are made anew with these words, and their stamps.
fn changed(recipe: Recipe, words: &str) -> Source {
    let mut source = record(recipe);
    for at in [2, 3] {
        let mut remake = Command::new("ffmpeg");
        remake.args("-nostdin -v error -copyts -i - -fps_mode passthrough -enc_time_base:v 1:90000".split(' '));
        let content = run(remake.args(words.split_whitespace()).arg("-"), &std::fs::read(source.path(at)).unwrap()).0;
        let (start, end) = (source.segments[at].start(), source.segments[at].end());
        std::fs::remove_file(source.path(at)).unwrap();
        source.segments[at] = put(&source.record, start, end, SegmentKind::Full, &content);
    }
    source
}

const SMALLER: &str = "-vf scale=96:32 -c:v libx264 -preset veryfast -c:a aac -ar 44100 -mpegts_copyts 1 -f mpegts";
const AN_HOUR_LATER: &str = "-vf scale=96:32 -c:v libx264 -preset veryfast -c:a aac -ar 44100 -output_ts_offset 3600 \
                             -mpegts_copyts 1 -f mpegts";
const IN_MP4: &str =
    "-c copy -bsf:a aac_adtstoasc -movflags frag_keyframe+empty_moov+delay_moov+default_base_moof+frag_discont -f mp4";
/// Which MPEG-TS does not carry.
const IN_AV1: &str = "-c:v libaom-av1 -cpu-used 8 -usage realtime -c:a copy -bsf:a aac_adtstoasc \
                      -movflags frag_keyframe+empty_moov+delay_moov+default_base_moof+frag_discont -f mp4";

fn known(source: &Source, selection: &Selection) -> KnownEncodings {
    let record = &source.record;
    let mut media = Vec::new();
    for (index, parts) in selection.hours() {
        let mut knowledge = HourKnowledge::default();
        for part in parts {
            let Part::Segment(segment) = selection.part(part) else { continue };
            let looked_at =
                look_at(&record.layout, &record.channel, &record.quality, &segment.to_name()).unwrap().unwrap();
            assert!(looked_at.media.is_some(), "{}", segment.name);
            knowledge.learn(segment.name, looked_at.size_bytes, looked_at.media);
        }
        media.push(Arc::new(HourMedia::new(index, &knowledge)));
    }
    let mut known = KnownEncodings::default();
    known.see(selection, &media);
    known
}

fn told(
    source: &Source,
    cut_type: CutType,
    range: (Timestamp, Timestamp),
    on_change: OnChange,
) -> Result<Plan, PlanError> {
    source.plan(cut_type, &[range]).told(&known(source, &source.select(range.0, range.1)), on_change)
}

async fn made(source: &Source, plan: Plan) -> (Vec<u8>, Value) {
    let mut stream = cut::start(source.record.clone(), ffmpeg(), plan).await.unwrap();
    let (receipt, mut video) = (stream.receipt(), Vec::new());
    while let Some(bytes) = stream.next().await {
        video.extend(bytes.unwrap_or_else(|error| panic!("{error:?}\n{:#}", receipt.json())));
    }
    (video, receipt.json())
}

/// Each size and sample rate that a player meets.
fn shapes(video: &[u8]) -> (Vec<String>, Vec<String>) {
    let probe = |kind: &str, entries: &str| {
        let mut command = Command::new("ffprobe");
        let words = format!("-v error -select_streams {kind} -show_entries {entries} -of csv=p=0 -");
        let text = String::from_utf8(run(command.args(words.split(' ')), video).0).unwrap();
        let mut lines: Vec<String> = text.lines().map(|line| line.trim_matches(',').to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        lines.dedup();
        lines
    };
    (probe("v", "frame=width,height"), probe("a", "stream=sample_rate"))
}

#[actix_rt::test]
async fn a_stretch_of_another_encoding_becomes_like_the_rest() {
    let (whole, half, mp4) = ((CutType::Smart, 330), (CutType::Smart, 200), (CutType::Mp4, 330));
    for (what, words, jumps, cuts) in [
        ("smaller", SMALLER, 0, [whole, mp4].as_slice()),
        ("an hour later", AN_HOUR_LATER, 2, &[whole, half]),
        ("in MP4", IN_MP4, 0, &[whole]),
        ("as AV1", IN_AV1, 0, &[whole]),
    ] {
        let source = changed(PLAIN, words);
        for (cut_type, until) in cuts.iter().copied() {
            let plan = told(&source, cut_type, (source.frame(30), source.frame(until)), OnChange::Reencode).unwrap();
            let (video, receipt) = made(&source, plan).await;
            let expected: Vec<usize> = (30..until).collect();
            let what = format!("{what}, {cut_type} until {until}: {receipt:#}");
            if cut_type == CutType::Smart {
                assert_shows(&what, &video, &expected);
                let mut pts: Vec<i64> = packets(&video).video.iter().map(|(pts, _)| *pts).collect();
                pts.sort_unstable();
                assert!(pts.windows(2).all(|pair| pair[1] - pair[0] == 3000), "{what}");
            } else {
                assert_eq!(decode(&video), (expected, String::new()), "{what}");
            }
            assert_eq!(shapes(&video), (vec!["192,64".to_owned()], vec!["48000".to_owned()]), "{what}");
            assert_eq!(receipt["encodings"].as_array().unwrap().len(), if until == 330 { 3 } else { 2 }, "{what}");
            assert_eq!(receipt["clock_jumps"], if until == 330 { jumps } else { jumps / 2 }, "{what}");
            let did: Vec<&str> =
                receipt["segments"].as_array().unwrap().iter().map(|one| one["did"].as_str().unwrap()).collect();
            assert_eq!(did[2..4], ["converted", "converted"], "{what}");
        }
    }
}

#[actix_rt::test]
async fn a_change_is_refused_where_asked_and_where_nothing_else_can_be_done() {
    let source = changed(PLAIN, SMALLER);
    let range = (source.frame(30), source.frame(330));
    for (cut_type, on_change) in [(CutType::Smart, OnChange::Refuse), (CutType::Archive, OnChange::Reencode)] {
        let refused = told(&source, cut_type, range, on_change);
        let Err(PlanError::Changes { segment, from, to }) = refused else { panic!("{refused:?}") };
        assert_eq!(segment, source.segments[2].path_text());
        assert!(
            from.contains("192x64") && from.contains("48000") && to.contains("96x32") && to.contains("44100"),
            "{from} {to}"
        );
    }
    // Nobody knew of it: containers that differ still do not go into one stream unawares.
    let source = changed(PLAIN, IN_MP4);
    let failed = source.cut(CutType::Smart, &[range]).await;
    assert!(matches!(failed, Err(CutError::MixedContainers { .. })), "{:?}", failed.map(|video| video.len()));
    let rough = told(&source, CutType::Rough, range, OnChange::Reencode).unwrap();
    let failed = source.run(rough).await;
    assert!(matches!(failed, Err(CutError::MixedContainers { .. })), "{:?}", failed.map(|video| video.len()));
}

#[test]
fn a_node_and_the_command_find_a_change() {
    let source = changed(PLAIN, SMALLER);
    let base = source.record.layout.base();
    let node = NodeProcess::start(base, &[]);
    let range = format!("{},{}", source.frame(30), source.frame(330));
    let refused = node.get(&format!("/cut/ch/source.ts?range={range}&change=refuse"));
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (406, Some("encoding_changes")),
        "{}",
        refused.text()
    );
    let wrong = node.get(&format!("/cut/ch/source.ts?range={range}&change=ignore"));
    assert_eq!((wrong.status, wrong.json()["code"].as_str()), (400, Some("bad_parameter")));
    let cut = node.get(&format!("/cut/ch/source.ts?range={range}"));
    assert_eq!((cut.status, cut.complete), (200, true), "{}", cut.text());
    assert_shows("served", &cut.body, &(30..330).collect::<Vec<_>>());
    let receipt = node.get(&format!("/cut/receipts/{}", cut.header("x-segvault-cut"))).json();
    assert_eq!(receipt["encodings"].as_array().unwrap().len(), 3, "{receipt:#}");
    node.stop();

    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
        command.arg("cut").arg("--dir").arg(base).args(["ch", "source", "--range", &range]).args(words);
        command.output().unwrap()
    };
    let plan = command(&["--plan"]);
    let text = String::from_utf8(plan.stdout).unwrap();
    assert!(text.contains("the encoding changes to") && text.contains("convert 2 segments"), "{text}");
    let plan: Value = serde_json::from_slice(&command(&["--plan", "--json"]).stdout).unwrap();
    assert_eq!(plan["encodings"].as_array().unwrap().len(), 3, "{plan:#}");
    let refused = command(&["--change", "refuse", "-o", "-"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && words.contains("--change reencode"), "{words}");
}
