use super::*;
use crate::model::SegmentHash;

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    scan.push(bytes);
    scan
}

fn segment(kind: SegmentKind) -> SegmentName {
    SegmentName::finished(at(0), 2_000_000, kind, SegmentHash::from_bytes([0; 32]))
}

fn at(micros: i64) -> Timestamp {
    "2026-01-02T03:00:00".parse::<Timestamp>().unwrap().plus_micros(micros)
}

/// Of two seconds at 30 fps with a delay of two frames.
fn edge_of_bf2(kind: SegmentKind, from: Option<i64>, until: Option<i64>) -> Edge {
    let summary = scan(&vector("av_bf2")).finish().unwrap();
    edge(&segment(kind), summary, (from.map(at), until.map(at)), Look::Full).unwrap()
}

fn job(edge: Edge) -> TrimJob {
    let Edge::Some(job) = edge else { panic!("{edge:?}") };
    *job
}

#[test]
fn bounds_are_compared_with_each_frame() {
    assert_eq!(edge_of_bf2(SegmentKind::Full, Some(1_966_677), None), Edge::Nothing);
    assert_eq!(edge_of_bf2(SegmentKind::Full, None, Some(0)), Edge::Nothing);
    assert_eq!(edge_of_bf2(SegmentKind::Full, None, Some(1_966_677)), Edge::Whole);
    // The time of frame 20 is 666,666.67 µs; rounded either way it is that frame's.
    for micros in [666_666, 666_667] {
        let job = job(edge_of_bf2(SegmentKind::Full, Some(micros), None));
        assert_eq!(job.first_pts(), 132_000 + 20 * 3000);
        assert_eq!(job.video.unwrap().wanted.len(), 40);
    }
    assert_eq!(job(edge_of_bf2(SegmentKind::Full, Some(666_680), None)).first_pts(), 132_000 + 21 * 3000);
}

#[test]
fn arguments_are_for_stamps_that_start_at_the_base() {
    let args = job(edge_of_bf2(SegmentKind::Full, Some(1_000_000), Some(1_500_000))).args();
    let text = args.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
    for part in [
        "-map 0:i:0x100 -map 0:i:0x101 -filter:v trim=start_pts=9090000:end_pts=9135000 ",
        " -bsf:v setts=pts=PTS:dts=PTS-6000 ",
        " -bsf:a noise=drop=lt(pts\\,9089955)+gte(pts\\,9134955) ",
        " -muxdelay 0.7 ",
        " -mpegts_pmt_start_pid 4096 -streamid 0:256 -streamid 1:257 -f mpegts -",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn an_output_has_the_wanted_frames_or_is_refused() {
    let mut restamp = crate::cut::restamp::Restamp::shifting(BASE_90K - 132_000);
    let mut bytes = restamp.push(vector("av_bf2").into()).to_vec();
    let full = job(edge_of_bf2(SegmentKind::Full, Some(40), None));
    let damaged = job(edge_of_bf2(SegmentKind::Partial, Some(40), None));
    let message = full.check(scan(&bytes)).unwrap_err().to_string();
    assert!(message.contains("59 of 59 frames"), "a frame too many: {message}");
    assert!(damaged.check(scan(&bytes)).is_err());

    let whole = TrimJob { bounds: Bounds { from: None, until: None }, ..full };
    let mut video = whole.video.clone().unwrap();
    video.wanted.insert(0, BASE_90K);
    let whole = TrimJob { video: Some(video.clone()), ..whole };
    whole.check(scan(&bytes)).unwrap();
    bytes.truncate(bytes.len() / 2);
    assert!(matches!(whole.check(scan(&bytes)), Err(CutError::Inexact { expected: 60, .. })));
    TrimJob { video: Some(video), ..damaged }.check(scan(&bytes)).unwrap();
}

#[test]
fn other_video_than_we_encode_is_refused() {
    let summary = scan(&vector("mp2v")).finish().unwrap();
    let refused = edge(&segment(SegmentKind::Full), summary, (Some(at(500_000)), None), Look::Full);
    assert!(matches!(refused, Err(CutError::Codec { stream_type: 2, .. })), "{refused:?}");
}
