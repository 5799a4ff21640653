use proptest::prelude::*;

use super::map::Pixel;
use super::*;

const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn hour(text: &str) -> Hour {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn span(from: &str, to: &str) -> Span {
    Span::new(at(from), at(to)).unwrap()
}

fn coverage(of: Hour, names: &[String]) -> Arc<HourCoverage> {
    let listing = Listing::new(names);
    Arc::new(HourCoverage::of(&HourIndex::build(of, listing.segments(), |_| 1), &listing))
}

fn name(offset: &str, seconds: &str, kind: &str) -> String {
    format!("{offset}-{seconds}-{kind}-{HASH}.ts")
}

fn stream(hours: &[(&str, &[String])]) -> StreamCoverage {
    StreamCoverage::new(hours.iter().map(|(of, names)| coverage(hour(of), names)))
}

#[test]
fn a_contained_segment_makes_no_hole() {
    let stream = stream(&[(
        "2026-01-02T03",
        &[name("00:00.0", "10.0", "full"), name("00:02.0", "1.0", "full"), name("00:10.0", "2.0", "full")],
    )]);
    let whole = span("2026-01-02T03:00:00", "2026-01-02T03:00:12");
    assert_eq!(stream.holes(whole, Among::Shown), []);
    let of = stream.hours().next().unwrap();
    assert_eq!((of.raw_micros, of.editable_micros, of.full.overlap_micros), (12_000_000, 12_000_000, 1_000_000));
}

#[test]
fn holes_cross_hours_and_missing_hours() {
    let stream = stream(&[
        ("2026-01-02T03", &[name("59:50.0", "20.0", "full")]),
        ("2026-01-02T05", &[name("00:05.0", "5.0", "full")]),
    ]);
    let within = span("2026-01-02T04:00:00", "2026-01-02T05:00:10");
    assert_eq!(stream.holes(within, Among::Shown), [span("2026-01-02T04:00:10", "2026-01-02T05:00:05")]);
    assert_eq!(stream.span(), Some(span("2026-01-02T03:59:50", "2026-01-02T05:00:10")));
    let after = span("2026-01-03T00:00:00", "2026-01-03T00:00:01");
    assert_eq!(stream.holes(after, Among::Shown), [after]);
    assert_eq!(StreamCoverage::default().span(), None);
}

#[test]
fn where_segments_overlap_nothing_can_be_cut() {
    let stream = stream(&[(
        "2026-01-02T03",
        &[name("00:00.0", "2.0", "full"), name("00:01.5", "2.0", "full"), name("00:03.5", "2.0", "full")],
    )]);
    let within = span("2026-01-02T03:00:00", "2026-01-02T03:00:05.5");
    assert_eq!(stream.holes(within, Among::Shown), []);
    assert_eq!(stream.holes(within, Among::Editable), [span("2026-01-02T03:00:02", "2026-01-02T03:00:03.5")]);
}

#[test]
fn a_pixel_tells_the_worst_of_its_two_seconds() {
    let mut names = vec![
        name("00:00.0", "2.0", "full"),
        name("00:02.0", "1.0", "full"),
        name("00:04.0", "2.0", "partial"),
        name("00:06.0", "2.0", "full"),
        name("10:00.0", "600.0", "full"),
        // Lies hidden over what is shown, and where nothing is.
        format!("00:00.5-2.0-full-{}A.ts", "B".repeat(42)),
        format!("00:06.0-6.0-full-{}A.ts", "B".repeat(42)),
    ];
    names.extend(names[5..].to_vec().iter().map(|name| name.replace(".ts", ".tombstone")));
    let off = [span("2026-01-02T03:00:08", "2026-01-02T03:00:16"), span("2026-01-02T03:10:00", "2026-01-02T03:10:02")];
    let map = stream(&[("2026-01-02T03", &names)]).map(hour("2026-01-02T03"), hour("2026-01-02T03"), &off);
    use Pixel::{Hidden, Missing, Off, Shown, Unsure};
    // The second pixel lacks a second, which is hidden beside.
    assert_eq!(map.pixels[..9], [Shown, Hidden, Unsure, Shown, Hidden, Hidden, Off, Off, Missing]);
    assert!(map.pixels[9..300].iter().all(|pixel| *pixel == Missing));
    assert!(map.pixels[300..600].iter().all(|pixel| *pixel == Shown));
    let rows = map.rows();
    assert_eq!((map.width(), rows.len(), rows[0], rows[1], rows[6]), (6, 1800, 1, 1, Hidden as u8));
}

#[test]
fn a_map_is_of_the_latest_hours() {
    let one = || [name("00:00.0", "2.0", "full")];
    let stream = stream(&[("2026-01-02T03", &one()), ("2026-01-02T09", &one()), ("2026-01-02T11", &[])]);
    assert_eq!(stream.latest_hours(168), Some((hour("2026-01-02T03"), hour("2026-01-02T09"))));
    assert_eq!(stream.latest_hours(2), Some((hour("2026-01-02T08"), hour("2026-01-02T09"))));
    assert_eq!(StreamCoverage::default().latest_hours(2), None);
}

/// What an hour may hold: second of the start, tenths, length in tenths, kind, whether a tombstone lies on it.
type Held = (u32, u32, u32, u8, bool);

fn names(held: &[Held]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, (second, tenth, length, kind, is_hidden)) in held.iter().enumerate() {
        let kind = ["full", "full", "suspect", "partial", "temp"][usize::from(*kind)];
        let hash = format!("{at:A>42}A");
        let name =
            format!("{:02}:{:02}.{tenth}-{}.{}-{kind}-{hash}.ts", second / 60, second % 60, length / 10, length % 10);
        names.extend(is_hidden.then(|| name.replace(".ts", ".tombstone")));
        names.push(name);
    }
    names
}

/// A map by definition: each pixel asks each tenth of a second of its own.
fn slow_map(tree: &[Vec<Held>]) -> Vec<Pixel> {
    let tenths = tree.len() * 36_000;
    let (mut shown, mut unsure, mut hidden) = (vec![false; tenths], vec![false; tenths], vec![false; tenths]);
    let mark = |of: &mut Vec<bool>, from: usize, length: u32| {
        let end = (from + length as usize).min(tenths);
        of[from.min(end)..end].fill(true);
    };
    for (hour, held) in tree.iter().enumerate() {
        let place = |(second, tenth, ..): &Held| hour * 36_000 + (*second * 10 + *tenth) as usize;
        let visible = || held.iter().filter(|one| !one.4 && one.3 != 4);
        for one in held {
            if one.4 {
                mark(&mut hidden, place(one), one.2);
                continue;
            }
            let same_start = || visible().filter(|other| place(other) == place(one));
            // The best kind; of full ones the longest, of others, as large as each other, the first by name.
            let kind = |one: &Held| one.3.max(1);
            let Some(best_kind) = same_start().map(kind).min().filter(|best| one.3 != 4 && kind(one) == *best) else {
                continue;
            };
            let of_kind = || same_start().filter(|other| kind(other) == best_kind);
            let best = if best_kind == 1 {
                of_kind().map(|other| other.2).max()
            } else {
                let text = |one: &Held| format!("{}.{}", one.2 / 10, one.2 % 10);
                of_kind().min_by_key(|other| text(other)).map(|other| other.2)
            };
            let best = best.expect("itself");
            mark(&mut shown, place(one), best);
            if best_kind > 1 {
                mark(&mut unsure, place(one), best);
            }
        }
    }
    let pixel = |at: usize| {
        let of = at * 20..(at + 1) * 20;
        match () {
            () if shown[of.clone()].iter().all(|is| *is) => {
                if unsure[of].iter().any(|is| *is) {
                    Pixel::Unsure
                } else {
                    Pixel::Shown
                }
            }
            () if hidden[of].iter().any(|is| *is) => Pixel::Hidden,
            () => Pixel::Missing,
        }
    };
    (0..tenths / 20).map(pixel).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Changes to hours one at a time give, after each, the map that a computation from nothing gives.
    #[test]
    fn a_map_is_the_same_however_its_hours_came_to_be_known(
        changes in prop::collection::vec(
            (0..4_usize, prop::collection::vec((0..3600_u32, 0..10_u32, 1..3000_u32, 0..5_u8, prop::bool::weighted(0.1)), 0..12)),
            1..6,
        ),
    ) {
        let first = hour("2026-01-02T22");
        let place = |at: usize| (0..at).fold(first, |hour, _| hour.next());
        let mut tree: Vec<Vec<Held>> = vec![Vec::new(); 4];
        let mut known: BTreeMap<Hour, Arc<HourCoverage>> = BTreeMap::new();
        for (at, held) in changes {
            known.insert(place(at), coverage(place(at), &names(&held)));
            tree[at] = held;
            let kept = StreamCoverage::new(known.values().cloned());
            let map = kept.map(first, place(3), &[]);
            prop_assert_eq!(&map.pixels, &slow_map(&tree));
        }
    }
}
