//! Sources whose decoding times are wrong, though their pictures can be decoded.

use futures_util::StreamExt;
use segvault::cut::{self, CutType};
use segvault::media::mpegts::{PACKET_BYTES, Packet, set_stamps};

use super::{PLAIN, Recipe, Source, assert_shows, ffmpeg, record};

/// What becomes of the decoding time of a frame, given its number in the file, its own and that of the frame before.
type Fault = fn(usize, i64, i64) -> Wrong;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Right,
    Other(i64),
    LeftOut,
}

const FAULTS: [(&str, Fault); 6] = [
    (
        "one is repeated",
        |number, _, before| if (16..24).contains(&number) { Wrong::Other(before) } else { Wrong::Right },
    ),
    ("some step back", |number, _, before| if number % 20 == 7 { Wrong::Other(before - 5) } else { Wrong::Right }),
    ("all are the same", |_, _, _| Wrong::Other(1_000)),
    ("some are left out", |number, _, _| if (16..24).contains(&number) { Wrong::LeftOut } else { Wrong::Right }),
    ("those of the second half are left out", |number, _, _| if number > 30 { Wrong::LeftOut } else { Wrong::Right }),
    ("all are left out", |_, _, _| Wrong::LeftOut),
];

/// The same file with wrong decoding times of its video.
fn with_fault(content: &[u8], fault: Fault) -> Vec<u8> {
    let mut content = content.to_vec();
    let (mut number, mut before) = (0, 0);
    for packet in content.as_chunks_mut::<PACKET_BYTES>().0 {
        let Some(header) = Packet::new(packet).and_then(Packet::pes_header) else { continue };
        let (0xe0..=0xef, Some(pts)) = (header.stream_id, header.pts) else { continue };
        let dts = header.dts.unwrap_or(pts) as i64;
        match fault(number, dts, before) {
            Wrong::Other(dts) if header.dts.is_some() => set_stamps(packet, pts as i64, dts),
            Wrong::LeftOut if header.dts.is_some() => leave_out_dts(packet),
            Wrong::Right | Wrong::Other(_) | Wrong::LeftOut => {}
        }
        (number, before) = (number + 1, dts);
    }
    content
}

/// Its bytes become stuffing.
fn leave_out_dts(packet: &mut [u8; PACKET_BYTES]) {
    let at = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
    assert_eq!(packet[at + 7] >> 6, 3);
    packet[at + 7] &= 0x3f;
    packet[at + 7] |= 0x80;
    packet[at + 9] = packet[at + 9] & 0x0f | 0x20;
    packet[at + 14..at + 19].fill(0xff);
}

/// Makes the times of these files wrong, cuts, and judges. Gives how many frames were mended.
async fn mended(source: &Source, what: &str, fault: Fault, files: &[usize], (first, until): (usize, usize)) -> u64 {
    let right: Vec<Vec<u8>> = files.iter().map(|at| std::fs::read(source.path(*at)).unwrap()).collect();
    for (at, content) in files.iter().zip(&right) {
        std::fs::write(source.path(*at), with_fault(content, fault)).unwrap();
    }
    let what = format!("{what}, in {files:?}, frames {first} to {until}");
    let plan = source.plan(CutType::Smart, &[(source.frame(first), source.frame(until))]);
    let mut stream =
        cut::start(source.record.clone(), ffmpeg(), plan).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let (receipt, mut video) = (stream.receipt(), Vec::new());
    while let Some(bytes) = stream.next().await {
        video.extend(bytes.unwrap_or_else(|error| panic!("{what}: {error:?}")));
    }
    for (at, content) in files.iter().zip(&right) {
        std::fs::write(source.path(*at), content).unwrap();
    }
    assert_shows(&what, &video, &(first..until).collect::<Vec<_>>());
    receipt.json()["mended_times"].as_u64().unwrap()
}

/// Files, and frames to cut.
type Place = (&'static [usize], (usize, usize));

const AMID_OTHERS: Place = (&[2], (30, 280));
const AT_EDGES: Place = (&[0, 1, 2, 3, 4], (30, 280));
const FROM_THE_START: Place = (&[1, 2], (60, 200));

async fn assert_all_mended(recipe: Recipe, faults: &[(&str, Fault)], place: Place) {
    let source = record(recipe);
    for (what, fault) in faults {
        let count = mended(&source, what, *fault, place.0, place.1).await;
        assert!(count > 0, "{what}: nothing was mended");
    }
}

#[actix_rt::test]
async fn decoding_times_that_are_wrong_are_mended_where_files_are_copied() {
    assert_all_mended(PLAIN, &FAULTS, AMID_OTHERS).await;
}

#[actix_rt::test]
async fn decoding_times_that_are_wrong_are_mended_at_edges() {
    assert_all_mended(PLAIN, &FAULTS[..3], AT_EDGES).await;
}

#[actix_rt::test]
async fn decoding_times_that_are_left_out_are_made_up_at_edges() {
    assert_all_mended(PLAIN, &FAULTS[3..], AT_EDGES).await;
}

#[actix_rt::test]
async fn decoding_times_of_five_b_frames_in_a_row_are_made_up_at_edges() {
    let extra = &["-x264-params", "bframes=5:b-adapt=0:b-pyramid=normal"];
    assert_all_mended(Recipe { b_frames: 5, extra, ..PLAIN }, &FAULTS, AT_EDGES).await;
}

#[actix_rt::test]
async fn decoding_times_of_a_rate_that_is_no_number_of_ticks_are_made_up_from_the_start_of_a_file() {
    assert_all_mended(Recipe { fps: (30_000, 1001), ..PLAIN }, &FAULTS[3..], FROM_THE_START).await;
}

#[actix_rt::test]
async fn decoding_times_that_rise_are_left_alone() {
    let source = record(PLAIN);
    assert_eq!(mended(&source, "right", |_, _, _| Wrong::Right, &[2], (30, 280)).await, 0);
}
