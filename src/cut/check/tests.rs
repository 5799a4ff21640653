use super::frames::starts_frame;
use super::*;
use crate::media::mpegts::shift_stamps;

fn packet(starts_unit: bool, pid: u8, fields: &[u8]) -> [u8; PACKET_BYTES] {
    let mut bytes = [0xff; PACKET_BYTES];
    bytes[..4].copy_from_slice(&[0x47, if starts_unit { 0x40 } else { 0 }, pid, 0x10]);
    bytes[4..4 + fields.len()].copy_from_slice(fields);
    bytes
}

/// The start of a frame of this stream id, shown and decoded at `pts`.
fn frame(stream_id: u8, pts: u64) -> [u8; PACKET_BYTES] {
    let stamp = [
        0x21 | (pts >> 30 << 1) as u8,
        (pts >> 22) as u8,
        (pts >> 14) as u8 | 1,
        (pts >> 7) as u8,
        (pts << 1) as u8 | 1,
    ];
    packet(true, stream_id, &[&[0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5][..], &stamp].concat())
}

const VIDEO: u8 = 0xe0;
const AUDIO: u8 = 0xc0;

fn seen(watch: &mut Watch, packets: &[[u8; PACKET_BYTES]]) -> Result<(), CheckFault> {
    watch.push(packets.as_flattened())
}

fn clock(ticks: u32) -> [u8; PACKET_BYTES] {
    let mut bytes = packet(false, 7, &[7, 0x10]);
    bytes[3] = 0x20;
    bytes[6..10].copy_from_slice(&(ticks / 2).to_be_bytes());
    bytes[10] = 0x7e;
    bytes
}

#[test]
fn decoding_times_must_rise_also_over_the_wrap_and_over_joins() {
    let mut watch = Watch::default();
    watch.begin(0);
    let wrap = 1u64 << 33;
    assert_eq!(seen(&mut watch, &[frame(VIDEO, wrap - 3000), frame(VIDEO, 0), frame(AUDIO, 100)]), Ok(()));
    watch.begin(0);
    assert_eq!(seen(&mut watch, &[frame(VIDEO, 3000)]), Ok(()));
    let fault = seen(&mut watch, &[frame(VIDEO, 3000)]).unwrap_err();
    assert!(matches!(fault, CheckFault::NotRising { before, after, .. } if before == after), "{fault:?}");
}

#[test]
fn frames_are_counted_and_only_damage_may_cost_some() {
    let frames = [frame(VIDEO, 0), frame(AUDIO, 0), frame(VIDEO, 3000)];
    for (expected, may_miss, is_right) in [(2, false, true), (3, false, false), (3, true, true), (1, true, false)] {
        let mut watch = Watch::default();
        watch.begin(0);
        seen(&mut watch, &frames).unwrap();
        let expected = Expected { frames: Some(expected), may_miss, ..Expected::default() };
        assert_eq!(watch.end(expected).is_ok(), is_right, "{expected:?}");
        let mut counter = FrameCounter::default();
        frames.as_flattened().chunks(100).for_each(|piece| counter.push(piece));
        assert_eq!(counter.frames(), 2);
    }
    assert_eq!(first_stamps(&[frame(AUDIO, 5), frame(VIDEO, 9)].concat()), Some((9, 9)));
    assert_eq!(first_stamps(&frame(AUDIO, 5)), Some((5, 5)));
}

#[test]
fn the_clock_may_step_farther_where_something_is_missing() {
    for (missing_90k, step, is_right) in
        [(0, 80_000, true), (0, 100_000, false), (400_000, 450_000, true), (400_000, 500_000, false)]
    {
        let mut watch = Watch::default();
        watch.begin(0);
        seen(&mut watch, &[clock(1_000_000), clock(1_009_000)]).unwrap();
        watch.begin(missing_90k);
        assert_eq!(seen(&mut watch, &[clock(1_009_000 + step)]).is_ok(), is_right, "{missing_90k} {step}");
    }
}

#[test]
fn sound_that_comes_late_or_not_at_all_is_a_fault() {
    let part = |sound: &[u64]| {
        let mut watch = Watch::default();
        watch.begin(0);
        let frames = (0..10).map(|at| frame(VIDEO, at * 3000));
        let packets: Vec<_> = frames.chain(sound.iter().map(|pts| frame(AUDIO, *pts))).collect();
        seen(&mut watch, &packets).unwrap();
        watch.end(Expected { sound_start_90k: Some(0), ..Expected::default() })
    };
    assert_eq!(part(&[1000, 2920]).map(|seen| seen.sound_start_ms), Ok(Some(11)));
    assert_eq!(part(&[27_000, 28_920]), Err(CheckFault::SoundStart { apart_ms: 300 }));
    assert_eq!(part(&[]), Err(CheckFault::NoSound));
}

/// Two seconds of H.264 with B-frames and of AAC, 30 frames a second, as ffmpeg muxed them.
fn real() -> Vec<[u8; PACKET_BYTES]> {
    let path = format!("{}/tests/vectors/ts/av_bf2.ts", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap().as_chunks().0.to_vec()
}

/// The verdict over it as a part whose sound begins and ends with the picture, more or less.
fn verdict(packets: &[[u8; PACKET_BYTES]]) -> Result<Seen, CheckFault> {
    let mut watch = Watch::default();
    watch.begin(0);
    for piece in packets.chunks(7) {
        watch.push(piece.as_flattened())?;
    }
    let (sound_start_90k, sound_end_90k) = (Some(-2000), Some(180_000));
    watch.end(Expected { frames: Some(60), may_miss: false, sound_start_90k, sound_end_90k })
}

#[test]
fn each_doctored_stream_is_told_from_the_right_one() {
    let right = real();
    let seen = verdict(&right).unwrap();
    assert_eq!(seen.frames, 60);
    assert!(seen.sound_start_ms.is_some() && seen.sound_end_ms.is_some(), "{seen:?}");
    let starts: Vec<usize> = (0..right.len()).filter(|at| starts_frame(&right[*at])).collect();
    let is_sound = |packet: &[u8; PACKET_BYTES]| packet[1] & 0x1f == 1 && packet[2] == 1;
    let doctored = |doctor: &dyn Fn(&mut Vec<[u8; PACKET_BYTES]>)| {
        let mut packets = right.clone();
        doctor(&mut packets);
        verdict(&packets)
    };
    let only = |is_kept: &dyn Fn(usize, bool) -> bool| {
        let kept = right.iter().enumerate().filter(|(at, packet)| is_kept(*at, is_sound(packet)));
        verdict(&kept.map(|(_, packet)| *packet).collect::<Vec<_>>())
    };
    // A frame less, whichever it is, and a frame twice.
    for frame in [0, 1, 30, 59] {
        let end = starts.get(frame + 1).copied().unwrap_or(right.len());
        let without = only(&|at, is_sound| is_sound || !(starts[frame]..end).contains(&at));
        assert_eq!(without, Err(CheckFault::Frames { expected: 60, came: 59 }), "{frame}");
        let twice = doctored(&|packets| {
            let again: Vec<_> = packets[starts[frame]..end].to_vec();
            packets.splice(end..end, again);
        });
        assert!(matches!(twice, Err(CheckFault::NotRising { .. })), "{frame}: {twice:?}");
    }
    // Two neighbours in the wrong order.
    let swapped = doctored(&|packets| packets[starts[20]..starts[22]].rotate_left(starts[21] - starts[20]));
    assert!(matches!(swapped, Err(CheckFault::NotRising { .. })), "{swapped:?}");
    // Half a second without sound at either end, or none at all, or all of it late.
    let late_start = only(&|at, is_sound| !is_sound || at > right.len() / 3);
    assert!(matches!(late_start, Err(CheckFault::SoundStart { apart_ms: 100.. })), "{late_start:?}");
    let early_end = only(&|at, is_sound| !is_sound || at < right.len() * 2 / 3);
    assert!(matches!(early_end, Err(CheckFault::SoundEnd { apart_ms: ..=-100 })), "{early_end:?}");
    assert_eq!(only(&|_, is_sound| !is_sound), Err(CheckFault::NoSound));
    let late = doctored(&|packets| {
        packets.iter_mut().filter(|packet| is_sound(packet)).for_each(|packet| shift_stamps(packet, 9_000));
    });
    assert!(matches!(late, Err(CheckFault::SoundStart { apart_ms: 60..=140 })), "{late:?}");
    // The second half eleven seconds later.
    let gap = doctored(&|packets| {
        packets[right.len() / 2..].iter_mut().for_each(|packet| shift_stamps(packet, 11 * 90_000));
    });
    assert!(matches!(gap, Err(CheckFault::ClockGap { .. })), "{gap:?}");
}
