//! What a cut says of itself, and what it checks.

use std::process::Command;

use futures_util::StreamExt;
use segvault::cut::{self, CutError, CutType, Plan};
use serde_json::{Value, json};

use super::{PLAIN, Recipe, Source, assert_shows, decode, ffmpeg, packets, record, run};
use crate::support::NodeProcess;

/// The video of a plan, its receipt, and how it ended.
async fn receipted(source: &Source, plan: Plan) -> (Vec<u8>, Value, Result<(), CutError>) {
    let mut stream = cut::start(source.record.clone(), ffmpeg(), plan).await.unwrap();
    let receipt = stream.receipt();
    assert_eq!(receipt.json()["outcome"], "running");
    let mut video = Vec::new();
    while let Some(bytes) = stream.next().await {
        match bytes {
            Ok(bytes) => video.extend(bytes),
            Err(error) => return (video, receipt.json(), Err(error)),
        }
    }
    (video, receipt.json(), Ok(()))
}

fn results(receipt: &Value) -> Vec<(&str, &str)> {
    let checks = receipt["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["check"].as_str().unwrap(), check["result"].as_str().unwrap())).collect()
}

#[actix_rt::test]
async fn a_receipt_counts_every_frame_and_names_every_segment() {
    for recipe in [PLAIN, Recipe { mp4: true, ..PLAIN }, Recipe { offset: 95_436.3, b_frames: 0, ..PLAIN }] {
        let source = record(recipe);
        std::fs::remove_file(source.path(4)).unwrap();
        for cut_type in [CutType::Smart, CutType::Mp4] {
            let plan = source.plan(cut_type, &[(source.frame(30), source.frame(340))]);
            let (video, receipt, ended) = receipted(&source, plan).await;
            ended.unwrap();
            assert_eq!((&receipt["outcome"], &receipt["type"]), (&json!("done"), &json!(cut_type.as_str())));
            assert_eq!(receipt["bytes"], video.len());
            let frames = &receipt["frames"];
            assert_eq!(frames["expected"], 250, "{receipt:#}");
            assert_eq!(frames["copied"].as_u64().unwrap() + frames["re_encoded"].as_u64().unwrap(), 250);
            assert!((50..=190).contains(&frames["re_encoded"].as_u64().unwrap()), "{receipt:#}");
            assert_eq!(frames["missing"], 0);
            let names: Vec<&str> = receipt["segments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|segment| segment["segment"].as_str().unwrap())
                .collect();
            assert_eq!(names, [0, 1, 2, 3, 5].map(|at| source.segments[at].path_text()));
            assert_eq!(receipt["holes"].as_array().unwrap().len(), 1);
            let all = [
                "frame_count",
                "decoding_times_rise",
                "no_clock_gap",
                "sound_starts_with_picture",
                "sound_ends_with_picture",
            ];
            assert_eq!(results(&receipt), all.map(|check| (check, "passed")), "{receipt:#}");
        }
    }
}

#[actix_rt::test]
async fn whole_segments_are_told_as_such_and_an_early_end_as_well() {
    let source = record(PLAIN);
    let range = (source.frame(30), source.frame(200));
    let (_, receipt, ended) = receipted(&source, source.plan(CutType::Rough, &[range])).await;
    ended.unwrap();
    assert_eq!((&receipt["outcome"], &receipt["frames"]), (&json!("done"), &Value::Null));
    assert!(results(&receipt).iter().all(|(_, result)| *result == "not made"), "{receipt:#}");
    assert_eq!(receipt["segments"][1]["did"], "whole");
    let (_, receipt, ended) = receipted(&source, source.plan(CutType::Archive, &[range])).await;
    ended.unwrap();
    assert_eq!((&receipt["frames"]["copied"], &receipt["frames"]["expected"]), (&json!(240), &json!(240)));

    let stream = source.start(CutType::Smart, &[range]).await.unwrap();
    let receipt = stream.receipt();
    drop(stream);
    assert_eq!(receipt.json()["outcome"], "left");
}

/// Another muxing of a segment.
fn remuxed(content: &[u8], words: &str) -> Vec<u8> {
    let mut remux = Command::new("ffmpeg");
    remux.args("-nostdin -v error -copyts -i - -map 0 -c copy".split(' ')).args(words.split(' '));
    run(remux.args("-mpegts_copyts 1 -f mpegts -".split(' ')), content).0
}

#[actix_rt::test]
async fn a_clock_that_begins_anew_in_the_range_is_joined_without_a_jump() {
    for (first, until) in [(30, 330), (0, 360), (150, 200)] {
        let source = record(PLAIN);
        // From the fourth segment on an hour later, and from the fifth on a minute later than that.
        for at in 3..6 {
            let offset = if at == 3 { "3600" } else { "3660" };
            let other = std::fs::read(source.path(at)).unwrap();
            let words = format!("-output_ts_offset {offset}");
            std::fs::write(source.path(at), remuxed(&other, &words)).unwrap();
        }
        let end = source.frames.get(&until).copied().unwrap_or(source.segments[5].end());
        let plan = source.plan(CutType::Smart, &[(source.frame(first), end)]);
        let (video, receipt, ended) = receipted(&source, plan).await;
        ended.unwrap_or_else(|error| panic!("{first} to {until}: {error:?}\n{receipt:#}"));
        assert_shows("over a new clock", &video, &(first..until).collect::<Vec<_>>());
        assert_eq!(receipt["clock_jumps"], if until > 240 { 2 } else { 1 });
        let mut pts: Vec<i64> = packets(&video).video.iter().map(|(pts, _)| *pts).collect();
        pts.sort_unstable();
        assert!(pts.windows(2).all(|pair| pair[1] - pair[0] == 3000), "{pts:?}");
    }
}

#[actix_rt::test]
async fn a_part_whose_decoding_times_fall_ends_the_cut() {
    let source = record(PLAIN);
    // The second half of the third segment comes twice: its times fall in the course of a file that is copied whole.
    let whole = std::fs::read(source.path(2)).unwrap();
    let half = whole.len() / 2 / 188 * 188;
    std::fs::write(source.path(2), [&whole[..], &whole[half..]].concat()).unwrap();
    for cut_type in [CutType::Smart, CutType::Mp4] {
        let plan = source.plan(cut_type, &[(source.frame(30), source.frame(330))]);
        let (ended, receipt) = match cut::start(source.record.clone(), ffmpeg(), plan.clone()).await {
            Ok(stream) => {
                drop(stream);
                let (_, receipt, ended) = receipted(&source, plan).await;
                (ended, Some(receipt))
            }
            Err(error) => (Err(error), None),
        };
        assert!(matches!(ended, Err(CutError::Check { .. })), "{cut_type}: {ended:?}");
        if let Some(receipt) = receipt {
            assert_eq!(receipt["outcome"], "failed");
            assert!(receipt["error"].as_str().unwrap().contains("decoding time"), "{receipt:#}");
        }
    }
    let rough = source.cut(CutType::Rough, &[(source.frame(30), source.frame(330))]).await.unwrap();
    assert!(rough.len() > whole.len());
}

#[test]
fn a_node_gives_the_receipt_of_each_of_its_cuts() {
    let source = record(PLAIN);
    let base = source.record.layout.base();
    let node = NodeProcess::start(base, &[]);
    let range = format!("{},{}", source.frame(40), source.frame(200));
    let cut = node.get(&format!("/cut/ch/source.ts?range={range}"));
    assert_eq!((cut.status, cut.complete), (200, true), "{}", cut.text());
    let receipt = node.get(&format!("/cut/receipts/{}", cut.header("x-segvault-cut"))).json();
    assert_eq!((&receipt["outcome"], &receipt["bytes"]), (&json!("done"), &json!(cut.body.len())), "{receipt:#}");
    assert_eq!(receipt["frames"]["expected"], 160);
    let none = node.get("/cut/receipts/99");
    assert_eq!((none.status, none.json()["code"].as_str()), (404, Some("absent")));

    // The command asks the node for it, and a directory gives the same.
    let written: Vec<Value> = [["--url", &node.url()], ["--dir", base.to_str().unwrap()]]
        .into_iter()
        .map(|from| {
            let (video, file) = (base.join("out.ts"), base.join("receipt.json"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_segvault"));
            command.arg("cut").args(from).args(["ch", "source", "--range", &range, "--json", "-o"]).arg(&video);
            let output = command.arg("--receipt").arg(&file).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert_eq!(decode(&std::fs::read(&video).unwrap()).0, (40..200).collect::<Vec<_>>());
            let receipt: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["receipt"], receipt);
            receipt
        })
        .collect();
    assert_eq!(written, [receipt.clone(), receipt]);
    node.stop();
}
