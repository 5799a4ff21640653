//! Nodes that know each other by the database only, and what its absence costs: nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use segvault::model::SegmentKind;
use segvault::rehearsal::SourceHandle;

use crate::postgres::Postgres;
use crate::support::{NodeProcess, eventually, free_address, quality, small_spec, source, stored};

/// A node that finds others by the database. `recording` is a source, or nothing: then it copies the channel.
fn start(name: &str, base: &Path, address: &str, database: &str, recording: Option<&str>) -> NodeProcess {
    let channel = match recording {
        Some(url) => format!("[[channel]]\nname = \"ch\"\nhls = {url:?}\nqualities = [\"source\", \"90p\"]\n"),
        None => String::new(),
    };
    let copied = if recording.is_some() { "" } else { "channels = [\"ch\"]\n" };
    let more = format!("{channel}[database]\nurl = {database:?}\n[backfill]\n{copied}interval = \"1s\"\n");
    NodeProcess::start_with(base, &more, |command| {
        command.args(["--set", &format!("node.listen={address:?}"), "--set", &format!("node.name={name:?}")]);
    })
}

/// Waits until the source has ended; then every segment since the first one kept must be there, whole. What was cut off by a
/// stop may lie beside it.
fn assert_nothing_lost(base: &Path, source: &SourceHandle, name: &str, total: usize) {
    let published = eventually("the source ends", || {
        let published = source.published(&quality(name));
        (published.len() == total).then_some(published)
    });
    let full = || {
        let all = stored(base, "ch", name).into_iter();
        all.filter(|(name, _)| name.kind() == SegmentKind::Full).collect::<Vec<_>>()
    };
    let end = published.last().unwrap().start;
    eventually("its last segment is kept", || full().iter().any(|(name, _)| name.start() == end).then_some(()));
    let first = full()[0].0.start();
    let expected: Vec<_> = published.iter().filter(|one| one.start >= first).collect();
    assert!(expected.len() >= total * 3 / 4, "{} of {total}", expected.len());
    for one in expected {
        let bytes = one.stored_bytes().unwrap();
        // One before the last may be under way when the last is kept.
        eventually("it is kept as it was sent", || {
            let same = full().into_iter().filter(|(name, _)| name.start() == one.start);
            let texts: Vec<_> = same.map(|(_, path)| std::fs::read(path).unwrap()).collect();
            (texts.len() == 1 && texts[0] == bytes).then_some(())
        });
    }
}

/// The database is away for `down` in the middle of `seconds` of video; both nodes are started anew meanwhile.
fn nothing_is_lost_without_the_database(seconds: u64, before: Duration, down: Duration) {
    let mut server = Postgres::start();
    let database = server.new_database();
    let source = source(&small_spec(), seconds, 1);
    let url = source.url();
    let dir = tempfile::tempdir().unwrap();
    let (a_base, b_base) = (dir.path().join("a"), dir.path().join("b"));
    let (a_address, b_address) = (free_address(), free_address());
    let a = start("alpha", &a_base, &a_address, &database, Some(&url));
    let b = start("beta", &b_base, &b_address, &database, None);
    let count = |base: &Path| stored(base, "ch", "source").len();
    eventually("beta has found alpha by the database", || (count(&b_base) > 0).then_some(()));
    std::thread::sleep(before);

    server.down();
    let began = Instant::now();
    b.stop();
    a.stop();
    let a = start("alpha", &a_base, &a_address, &database, Some(&url));
    let b = start("beta", &b_base, &b_address, &database, None);
    eventually("it is known to be down", || {
        b.get("/metrics").text().contains("\nsegvault_database_up 0\n").then_some(())
    });
    let had = count(&b_base);
    eventually("beta copies from whom it knew", || (count(&b_base) > had + 2).then_some(()));
    std::thread::sleep(down.saturating_sub(began.elapsed()));
    assert!(b.get("/metrics").text().contains("\nsegvault_database_up 0\n"), "the database is down to the end");
    server.up();

    let total = (seconds * 2) as usize;
    for name in ["source", "90p"] {
        assert_nothing_lost(&a_base, &source, name, total);
    }
    for quality in ["source", "90p"] {
        eventually("beta has what alpha recorded", || {
            let of = |base: &Path| stored(base, "ch", quality).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            (of(&a_base) == of(&b_base)).then_some(())
        });
        crate::support::assert_hashes(&stored(&b_base, "ch", quality));
    }
    eventually("the database is back", || {
        b.get("/metrics").text().contains("\nsegvault_database_up 1\n").then_some(())
    });
    // Each knows the other only from there.
    let rows = "SELECT name, url FROM nodes ORDER BY name";
    let expected = format!("alpha|http://{a_address}/\nbeta|http://{b_address}/\n");
    assert_eq!(server.sql(database.rsplit('/').next().unwrap(), rows), expected);
    a.stop();
    b.stop();
}

#[test]
fn without_the_database_recording_and_copying_lose_nothing() {
    nothing_is_lost_without_the_database(16, Duration::from_secs(1), Duration::from_secs(6));
}

#[test]
#[ignore = "takes eleven minutes; run by `make soak`"]
fn soak_ten_minutes_without_the_database() {
    nothing_is_lost_without_the_database(640, Duration::from_secs(10), Duration::from_secs(600));
}

#[test]
fn who_is_a_peer_in_the_database_is_for_people_to_say() {
    let server = Postgres::shared();
    let database = server.new_database();
    let name = database.rsplit('/').next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (a_base, b_base) = (dir.path().join("a"), dir.path().join("b"));
    let planted = super::plant_segment(&super::nodes::hour_of(&a_base), "00:00.0", "full", b"planted");
    let a = start("alpha", &a_base, &free_address(), &database, None);
    eventually("alpha has the tables", || {
        a.get("/metrics").text().contains("\nsegvault_database_up 1\n").then_some(())
    });
    eventually("alpha has its row", || {
        server.sql(name, "SELECT name FROM nodes WHERE url <> ''").contains("alpha").then_some(())
    });
    server.sql(
        name,
        "UPDATE nodes SET backfill_from = FALSE; INSERT INTO nodes (name, url) VALUES ('odd', 'http://u:p@x')",
    );
    let b = start("beta", &b_base, &free_address(), &database, None);
    eventually("what is no node is told", || b.logged("the database has rows that are no nodes").pop());
    eventually("it has asked more than once", || {
        (server.sql(name, "SELECT last_seen > started_at + 2000000 FROM nodes WHERE name = 'beta'") == "t\n")
            .then_some(())
    });
    assert!(!b_base.join("ch").exists(), "nobody shall copy from alpha");
    server.sql(name, "UPDATE nodes SET backfill_from = TRUE");
    eventually("now it is a peer", || super::nodes::hour_of(&b_base).join(&planted).exists().then_some(()));
    a.stop();
    b.stop();
}
