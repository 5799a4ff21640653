use std::sync::mpsc;

use super::*;
use crate::clock::ClockHand;
use crate::log::DropCount;
use crate::media::EncodingId;

const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    _dir: tempfile::TempDir,
    layout: Layout,
    metrics: Metrics,
    clock: Clock,
    hand: ClockHand,
    door: Blocking,
    max_bytes: usize,
}

fn channel() -> Channel {
    "ch".parse().unwrap()
}

fn quality() -> Quality {
    "source".parse().unwrap()
}

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (clock, hand) = Clock::settable("2026-01-02T03:30:00".parse().unwrap());
        let metrics = Metrics::new(clock.clone(), DropCount::default());
        Self { _dir: dir, layout, metrics, clock, hand, door: Blocking::new(8), max_bytes: 1 << 20 }
    }

    fn book(&self) -> Addr<MediaBook> {
        let (log, sentinel) = (Logger::root(slog::Discard, slog::o!()), Sentinel::unguarded());
        std::fs::create_dir_all(self.layout.own_dir()).unwrap();
        let reading = MediaReading {
            layout: self.layout.clone(),
            volume: Volume::adopt(&self.layout).unwrap(),
            blocking: self.door.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            log,
        };
        MediaBook::new(reading, self.max_bytes, sentinel).start()
    }

    fn plant(&self, hour: &str, second: u32, vector_name: &str) {
        let dir = self.layout.base().join("ch/source").join(hour);
        std::fs::create_dir_all(&dir).unwrap();
        let hash = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";
        let name = format!("{:02}:{:02}.0-2.0-full-{hash}.ts", second / 60, second % 60);
        std::fs::write(dir.join(name), vector(vector_name)).unwrap();
    }

    fn index(&self, hour: &str) -> Arc<HourIndex> {
        store::load_hour(&self.layout, &channel(), &quality(), hour.parse().unwrap()).unwrap().index
    }

    /// Segments looked at, and hours yet to be learnt.
    fn counted(&self) -> (u64, u64) {
        let (_, text) = self.metrics.render();
        let sum = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
        };
        (sum("segvault_media_segments_total"), sum("segvault_media_waiting_entries"))
    }
}

async fn ask(book: &Addr<MediaBook>, hours: Vec<Arc<HourIndex>>, patience: Duration) -> Vec<Arc<HourMedia>> {
    book.send(GetMedia { channel: channel(), quality: quality(), hours, patience }).await.unwrap()
}

fn ids(hour: &HourMedia, count: usize) -> Vec<Option<EncodingId>> {
    (0..count).map(|place| hour.at(place).map(|kind| kind.id)).collect()
}

#[actix_rt::test]
async fn each_segment_is_read_once_however_many_ask() {
    let fixture = Fixture::new();
    let book = fixture.book();
    for second in 0..100 {
        fixture.plant("2026-01-02T03", 2 * second, if second < 60 { "av_bf2" } else { "v_only" });
    }
    // Some hold the same index, some have one of their own.
    let (one, other) = (fixture.index("2026-01-02T03"), fixture.index("2026-01-02T03"));
    let all = (0..40).map(|n| ask(&book, vec![Arc::clone(if n % 3 == 0 { &other } else { &one })], PATIENCE));
    for (n, answer) in futures_util::future::join_all(all).await.into_iter().enumerate() {
        assert!(answer[0].is_of(if n % 3 == 0 { &other } else { &one }));
        let ids = ids(&answer[0], 100);
        assert!(ids.iter().all(Option::is_some) && ids[0] == ids[59] && ids[59] != ids[60], "{ids:?}");
    }
    assert_eq!(fixture.counted(), (100, 0));
    // The hour grows by one: one is read.
    fixture.plant("2026-01-02T03", 300, "av_bf2");
    let answer = ask(&book, vec![fixture.index("2026-01-02T03")], PATIENCE).await;
    assert_eq!(ids(&answer[0], 101)[100], ids(&answer[0], 1)[0]);
    assert_eq!(answer[0].in_order().next().unwrap().frame_rate.unwrap().to_string(), "30.000");
    assert_eq!(fixture.counted(), (101, 0));
}

#[actix_rt::test]
async fn patience_is_kept_and_what_is_unknown_is_learnt_afterwards() {
    let mut fixture = Fixture::new();
    fixture.door = Blocking::new(1);
    let book = fixture.book();
    for hour in ["2026-01-01T03", "2026-01-01T04"] {
        fixture.plant(hour, 0, "av_bf2");
    }
    let hours = vec![fixture.index("2026-01-01T03"), fixture.index("2026-01-01T04")];
    // The disk is stuck, until we let go.
    let (let_go, held) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let stuck = actix_rt::spawn(fixture.door.run(move || {
        let _ = begun.send(());
        held.recv()
    }));
    has_begun.await.unwrap();
    let began = std::time::Instant::now();
    let answer = ask(&book, hours.clone(), Duration::from_millis(10)).await;
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(answer.iter().map(|hour| hour.in_order().count()).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(fixture.counted().0, 0);
    drop(let_go);
    let _ = stuck.await;
    // Nobody waits any more, and yet it goes on.
    let end = std::time::Instant::now() + PATIENCE;
    while fixture.counted() != (2, 0) {
        assert!(std::time::Instant::now() < end, "{:?}", fixture.counted());
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = ask(&book, hours, PATIENCE).await;
    assert!(answer.iter().all(|hour| hour.at(0).is_some()));
    assert_eq!(fixture.counted(), (2, 0));
}

#[actix_rt::test]
async fn an_hour_that_is_over_is_kept_and_never_read_again() {
    let fixture = Fixture::new();
    fixture.plant("2026-01-02T02", 0, "av_bf2");
    fixture.plant("2026-01-02T03", 0, "av_bf2");
    let hours = || vec![fixture.index("2026-01-02T02"), fixture.index("2026-01-02T03")];
    let first = ask(&fixture.book(), hours(), PATIENCE).await;
    assert_eq!(fixture.counted().0, 2);
    let side_file = |hour: &str| fixture.layout.own_dir().join("media/ch/source").join(hour);
    assert!(side_file("2026-01-02T02").exists() && !side_file("2026-01-02T03").exists());
    // A new book, as after a restart: the hour that is not over is read again.
    let again = ask(&fixture.book(), hours(), PATIENCE).await;
    assert_eq!(fixture.counted().0, 3);
    assert_eq!((ids(&again[0], 1), again[0].totals()), (ids(&first[0], 1), first[0].totals()));
    fixture.hand.advance(Duration::from_secs(3600));
    let book = fixture.book();
    ask(&book, hours(), PATIENCE).await;
    assert!(side_file("2026-01-02T03").exists());
    assert_eq!(fixture.counted().0, 4);
    ask(&fixture.book(), hours(), PATIENCE).await;
    assert_eq!(fixture.counted().0, 4);
    // A damaged one is made anew.
    std::fs::write(side_file("2026-01-02T02"), "{}").unwrap();
    ask(&fixture.book(), hours(), PATIENCE).await;
    assert_eq!(fixture.counted().0, 5);
    ask(&fixture.book(), hours(), PATIENCE).await;
    assert_eq!(fixture.counted().0, 5);
}

#[actix_rt::test]
async fn it_holds_a_bounded_size() {
    let mut fixture = Fixture::new();
    fixture.max_bytes = 3000;
    let book = fixture.book();
    for hour in 0..10 {
        let hour = format!("2026-01-01T{hour:02}");
        fixture.plant(&hour, 0, "v_only");
        let answer = ask(&book, vec![fixture.index(&hour)], PATIENCE).await;
        assert!(answer[0].at(0).is_some());
    }
    let (_, text) = fixture.metrics.render();
    let held = text.lines().find(|line| line.starts_with("segvault_media_known_entries")).unwrap();
    let held: u64 = held.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((1..10).contains(&held), "{held} hours held");
}

#[actix_rt::test]
async fn what_cannot_be_read_is_tried_again_and_what_is_no_media_is_not() {
    let fixture = Fixture::new();
    let book = fixture.book();
    fixture.plant("2026-01-01T03", 0, "empty");
    fixture.plant("2026-01-01T03", 2, "av_bf2");
    let index = fixture.index("2026-01-01T03");
    // A directory in the place of a file can be opened, but not read.
    let path = fixture.layout.hour_dir(&channel(), &quality(), index.hour());
    let name = index.best().next_back().unwrap().name.to_owned();
    std::fs::remove_file(path.join(&name)).unwrap();
    std::fs::create_dir(path.join(&name)).unwrap();
    let answer = ask(&book, vec![Arc::clone(&index)], PATIENCE).await;
    assert_eq!(ids(&answer[0], 2), [None, None]);
    assert_eq!(fixture.counted(), (2, 0));
    std::fs::remove_dir(path.join(&name)).unwrap();
    std::fs::write(path.join(&name), vector("av_bf2")).unwrap();
    let answer = ask(&book, vec![Arc::clone(&index)], PATIENCE).await;
    assert!(answer[0].at(1).is_some());
    assert_eq!(fixture.counted(), (3, 0));
    ask(&book, vec![index], PATIENCE).await;
    assert_eq!(fixture.counted(), (3, 0));
}

#[actix_rt::test]
async fn a_book_that_is_drained_answers_with_what_it_knows() {
    let fixture = Fixture::new();
    let book = fixture.book();
    fixture.plant("2026-01-01T03", 0, "av_bf2");
    book.send(Drain).await.unwrap();
    let answer = ask(&book, vec![fixture.index("2026-01-01T03")], PATIENCE).await;
    assert_eq!(answer[0].at(0), None);
    assert_eq!(fixture.counted(), (0, 0));
}
