//! `make bench`, the pure parts: what a playlist, a listing and a choice cost without disk and network.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use segvault::hls::live::{Asked, LiveText, Published};
use segvault::hls::playlist::MediaPlaylist;
use segvault::hls::{Gaps, HourTexts, upstream};
use segvault::model::{Channel, Hour, NameFields, Quality, Span, Timestamp};
use segvault::select::{HourIndex, Selection};

const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
const SEGMENTS: usize = 1800;

fn hour() -> Hour {
    "2026-01-02T03".parse().unwrap()
}

/// An hour of 2 s segments, with a jitter of some milliseconds, in no order.
fn names() -> Vec<String> {
    let name = |n: usize| {
        let n = n * 7 % SEGMENTS;
        format!("{:02}:{:02}.{:06}-2.0-full-{HASH}.ts", n / 30, n % 30 * 2, n * 7919 % 5000)
    };
    (0..SEGMENTS).map(name).collect()
}

fn index() -> Arc<HourIndex> {
    Arc::new(HourIndex::build(hour(), names().iter().map(String::as_str), |_| 0))
}

fn span() -> Span {
    Span::new(hour().start(), hour().end()).unwrap()
}

fn ids() -> (Channel, Quality) {
    ("ch".parse().unwrap(), "source".parse().unwrap())
}

fn choosing(criterion: &mut Criterion) {
    let (names, index) = (names(), index());
    let mut group = criterion.benchmark_group("an hour of 1,800 segments");
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    group.bench_function("parse its names", |bencher| {
        bencher.iter(|| names.iter().filter(|name| NameFields::parse(black_box(name)).is_ok()).count());
    });
    group.bench_function("build its index", |bencher| {
        bencher.iter(|| HourIndex::build(hour(), names.iter().map(String::as_str), |_| 0));
    });
    group.bench_function("choose along it", |bencher| {
        bencher.iter(|| Selection::choose(span(), vec![Arc::clone(&index)]));
    });
    group.finish();
}

fn writing(criterion: &mut Criterion) {
    let ((channel, quality), index) = (ids(), index());
    let selection = Selection::choose(span(), vec![Arc::clone(&index)]);
    let bytes = |texts: HourTexts| -> usize {
        let selection = selection.clone();
        let playlist = MediaPlaylist::new(&channel, &quality, selection, Gaps::Discontinuity, Vec::new(), texts);
        playlist.map(|piece| piece.len()).sum()
    };
    let mut group = criterion.benchmark_group("the playlist of an hour");
    group.throughput(Throughput::Bytes(bytes(HourTexts::new(0)) as u64));
    group.bench_function("write it", |bencher| bencher.iter(|| bytes(HourTexts::new(0))));
    group.finish();

    let mut group = criterion.benchmark_group("a live playlist of an hour");
    let now = hour().end();
    let asked = Asked { start: hour().start(), end: None, gaps: Gaps::Discontinuity, window: None };
    let hold = std::time::Duration::from_secs(15);
    let most: Vec<String> = names().into_iter().filter(|name| !name.starts_with("59:58")).collect();
    let before = Arc::new(HourIndex::build(hour(), most.iter().map(String::as_str), |_| 0));
    let follow = |published: &mut Published, text: &mut LiveText, index: &Arc<HourIndex>, now: Timestamp| {
        published.look(hour(), &[Arc::clone(index)], now, hold);
        published.advance(hour().start(), now, hold);
        text.append(&published.choose(asked.start, text.last(), None), &[]);
        text.show(false)
    };
    group.bench_function("a segment more", |bencher| {
        bencher.iter_batched(
            || {
                let mut published = Published::new(Some(3));
                let mut text = LiveText::new(&channel, &quality, asked.clone(), 3, now);
                follow(&mut published, &mut text, &before, now);
                (published, text)
            },
            |(mut published, mut text)| follow(&mut published, &mut text, &index, now),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n");
    for n in 0..15 {
        let second = n * 2;
        text.push_str(&format!(
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:{second:02}.000Z\n#EXTINF:2.000,live\n{n}.ts\n"
        ));
    }
    let mut group = criterion.benchmark_group("a source");
    group.bench_function("read its playlist of 15 segments", |bencher| {
        bencher.iter(|| upstream::parse(black_box(text.as_bytes())));
    });
    group.bench_function("read a date", |bencher| {
        bencher.iter(|| black_box("2026-01-02T03:04:05.678901Z").parse::<Timestamp>());
    });
    group.finish();
}

criterion_group!(benches, choosing, writing, reading);
criterion_main!(benches);
