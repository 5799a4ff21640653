//! Every alert fires where its cause is real, and none where all is well: a real Prometheus, the rules of deploy/prometheus
//! fifteen times as fast, and a node for each way to be ill.
//!
//! Cause and alert stand side by side in `Ward::rehearse`. It takes six minutes: see `soak_…` at the end.

mod causes;
mod prometheus;
mod quiet;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use segvault::rehearsal::{Fault, PathKind, Rule, Source, SourceHandle, SourceSpec};

use crate::jobs;
use crate::postgres::Postgres;
use crate::replicate::StaticPeer;
use crate::replicate::static_peer::Lie;
use crate::support::{NodeProcess, eventually, free_address, reel, run, segvault, small_spec};
use causes::{Mute, ahead, fill, holes, plant_rot, short_certificate, short_token, some_segments};
use prometheus::{Alerts, Prometheus, Target, faster};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/segvault.rules.yaml");
/// Nobody is ill here.
const WELL: [&str; 2] = ["well-1", "well-2"];
/// Half a minute of the rules; a busy machine may answer only within one.
const SCRAPE_SECONDS: u64 = 2;
/// All rest for so long before anything happens to those that fall ill: ten minutes of the rules.
const REST: Duration = Duration::from_secs(40);
/// A cause and its alert. Waiting for a job takes longest: an hour of the rules, and what stands before it.
const FIRES_WITHIN: Duration = Duration::from_secs(600);
/// What the rule asks for, and one more, as nothing says that Prometheus counts the last in time.
const ENOUGH_RESTARTS: usize = 5;

/// All that is ill, and what keeps it so.
struct Ward {
    dir: tempfile::TempDir,
    nodes: Vec<(&'static str, NodeProcess)>,
    targets: Vec<Target>,
}

/// A programme that loops. What it shows can be had for fifteen seconds, as at real sources: a busy machine loses nothing of it.
fn on_air() -> SourceHandle {
    Source::start(SourceSpec { window_segments: 30, ..SourceSpec::prepared(reel(&small_spec(), 20)) }).unwrap()
}

fn recording(source: &SourceHandle) -> String {
    format!(
        "[coverage]\ninterval = \"1s\"\n[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\"]\n",
        source.url()
    )
}

fn copying(peer: &str) -> String {
    format!("[backfill]\npeers = [{peer:?}]\nchannels = [\"ch\"]\ninterval = \"1s\"\nrecent_cutoff = \"0s\"\n")
}

impl Ward {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), nodes: Vec::new(), targets: Vec::new() }
    }

    fn base(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keep(&mut self, name: &'static str, node: NodeProcess) {
        let (over_tls, address) = match node.url() {
            url if url.contains("127.0.0.1:") => (false, url.replace("http://", "")),
            url => panic!("{url} is not on this machine"),
        };
        self.targets.push(Target { name, address, over_tls });
        self.nodes.push((name, node));
    }

    fn start(&mut self, name: &'static str, more: &str) {
        self.start_as(name, more, |_| {});
    }

    fn start_as(&mut self, name: &'static str, more: &str, change: impl FnOnce(&mut Command)) {
        let node = NodeProcess::start_with(&self.base(name), more, |command| {
            command.args(["--set", &format!("node.name={name}")]);
            change(command);
        });
        self.keep(name, node);
    }

    fn node(&self, name: &str) -> &NodeProcess {
        &self.nodes.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn kill(&mut self, name: &str) {
        let at = self.nodes.iter().position(|(known, _)| *known == name).unwrap();
        let (_, mut node) = self.nodes.remove(at);
        node.signal("-KILL");
        node.wait();
    }
}

/// A node whose directory is a file system of so many MB, and that directory through its own eyes.
fn on_its_own_disk(ward: &mut Ward, name: &'static str, size: u32, more: &str) -> PathBuf {
    on_its_own_disk_at(ward, name, "127.0.0.1:0", size, more)
}

fn on_its_own_disk_at(ward: &mut Ward, name: &'static str, listen: &str, size: u32, more: &str) -> PathBuf {
    let base = ward.base(name);
    fs::create_dir(&base).unwrap();
    let mount = format!("mount -t tmpfs -o size={size}m none {0} && exec \"$@\"", base.display());
    let is_root = rustix::process::geteuid().is_root();
    let map: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let config = base.with_extension("toml");
    let head = format!("[node]\nname = {name:?}\ndir = {base:?}\nlisten = {listen:?}\n[log]\nformat = \"json\"\n");
    fs::write(&config, head + more).unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").args(map).args(["sh", "-c", &mount, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_segvault")).args(["run", "--config"]).arg(&config);
    let node = NodeProcess::spawn(&base, &mut command);
    let inside = Path::new("/proc").join(node.id().to_string()).join("root").join(base.strip_prefix("/").unwrap());
    ward.keep(name, node);
    inside
}

#[test]
#[ignore = "six minutes; `make soak`"]
fn soak_every_alert_fires_where_its_cause_is_real_and_none_where_all_is_well() {
    let mut ward = Ward::new();
    let sources: Vec<SourceHandle> = (0..6).map(|_| on_air()).collect();
    let [shared, spoilt, stuck, failing, filling, alone] = &sources[..] else { unreachable!("there are six") };
    let is_over = Arc::new(AtomicBool::new(false));

    // Two that are well, and have each other. What else this machine writes is not to fill their disks.
    let (first, second) = (free_address(), free_address());
    for (name, address, other) in [(WELL[0], &first, &second), (WELL[1], &second, &first)] {
        let more = recording(shared) + &copying(&format!("http://{other}"));
        on_its_own_disk_at(&mut ward, name, address, 4096, &more);
    }
    ward.start("spoilt", &recording(spoilt));
    ward.start("stuck", &recording(stuck));
    ward.start("failing", &recording(failing));
    let inside = on_its_own_disk(&mut ward, "filling", 16, &recording(filling));
    let are_all_there = Arc::default();
    let encrypted = holes(&ward.base("encrypted"), &are_all_there);
    let of_overwhelmed = on_its_own_disk(
        &mut ward,
        "overwhelmed",
        16,
        &format!("[[channel]]\nname = \"ch\"\nhls = \"{}/live.m3u8\"\nqualities = [\"source\"]\n", encrypted.url()),
    );
    ward.start("crowded", "[retention]\nmin_free = \"1024TiB\"\ninterval = \"1s\"\n");
    ward.start("gone", &recording(alone));
    let of_gone = ward.node("gone").url();
    ward.start("widow", &copying(&of_gone));
    plant_rot(&ward.base("rotten"));
    ward.start("rotten", "[scrub]\nmax_rate = \"64KiB\"\n");
    let theirs = ward.base("theirs");
    some_segments(&theirs);
    let busy = StaticPeer::lying(&theirs, |path| path.starts_with("/segments").then_some(Lie::Status("503 BUSY")));
    ward.start("behind", &copying(&busy.url()));
    let of_liar = ward.base("of-liar");
    fs::create_dir(&of_liar).unwrap();
    let liar = StaticPeer::lying(&of_liar, |path| path.starts_with("/segments").then(|| Lie::Body(b"other".to_vec())));
    ward.start("deceived", &copying(&liar.url()));
    let clock = ward.base("clock");
    ward.start_as("ahead", "", |command| ahead(command, 20, &clock));
    let of_ahead = ward.node("ahead").url();
    ward.start("behind-ahead", &copying(&of_ahead));
    ward.start("restless", "");
    let mut server = Postgres::start();
    ward.start("without-database", &format!("[database]\nurl = {:?}\n", server.new_database()));
    let videos = ward.base("videos");
    ward.start(
        "unable",
        &format!(
            "[upload.local]\ntype = \"local\"\npath = {videos:?}\nurl_prefix = \"http://videos.test/\"\n\
             [cutter]\ninterval = \"1s\"\n"
        ),
    );
    let tls = short_certificate(ward.dir.path());
    ward.start("certified", &tls);
    ward.targets.last_mut().unwrap().over_tls = true;
    let token = short_token(ward.dir.path());
    ward.start("tokened", &(copying(&format!("http://{first}")) + &format!("token_file = {token:?}\n")));
    let mute = Mute::start(&mut ward);
    let of_mute = ward.targets.last().unwrap().address.clone();

    let prometheus =
        Prometheus::start(ward.dir.path(), &faster(&fs::read_to_string(RULES).unwrap()), &ward.targets, SCRAPE_SECONDS);
    eventually("all are asked", || (prometheus.healthy() == ward.targets.len()).then_some(()));
    let mut seen = Alerts::new();
    let look = |seen: &mut Alerts| {
        let firing = prometheus.firing();
        let of_the_well: Vec<_> = firing.iter().filter(|(_, node)| WELL.contains(&node.as_str())).collect();
        assert!(of_the_well.is_empty(), "where all is well: {of_the_well:?}");
        seen.extend(firing);
        std::thread::sleep(Duration::from_millis(500));
    };
    let rested = Instant::now();
    while rested.elapsed() < REST {
        look(&mut seen);
    }

    // What happens to them. What needs no act stands above: a clock, a certificate, a token, rot, a peer that is busy.
    spoilt.script().lock().unwrap().add(Rule::on(PathKind::Segment, Fault::Status(404)));
    stuck.script().lock().unwrap().add(Rule::on(PathKind::Segment, Fault::Status(503)));
    failing.script().lock().unwrap().add(Rule::on(PathKind::Media, Fault::Status(500)));
    fill(&inside, Duration::from_secs(50), &is_over);
    fill(&of_overwhelmed, Duration::ZERO, &is_over);
    ward.kill("gone");
    some_segments(&of_liar);
    server.down();
    mute.make_it_talk(&of_mute);
    jobs::file(ward.node("unable"), "e", &[("2026-01-02T03:59:55", "2026-01-02T04:00:03")], &serde_json::Value::Null);

    let due = [
        ("SegvaultNodeDown", "gone"),
        ("SegvaultLosingSeconds", "spoilt"),
        ("SegvaultHoleNotFilled", "spoilt"),
        ("SegvaultNothingNew", "stuck"),
        ("SegvaultSourceFails", "failing"),
        ("SegvaultStoreNotWritable", "filling"),
        ("SegvaultSpoolFills", "filling"),
        ("SegvaultDiskFullSoon", "filling"),
        ("SegvaultRetentionStuck", "crowded"),
        ("SegvaultFileWentBad", "rotten"),
        ("SegvaultScrubBehind", "rotten"),
        ("SegvaultNodeBehind", "behind"),
        ("SegvaultPeerUnreachable", "widow"),
        ("SegvaultClockSkew", "behind-ahead"),
        ("SegvaultPeerSendsWrongBytes", "deceived"),
        ("SegvaultActorsRestart", "restless"),
        ("SegvaultDatabaseDown", "without-database"),
        // Of the database that all share, so of no node.
        ("SegvaultJobStuck", ""),
        ("SegvaultCertificateExpires", "certified"),
        ("SegvaultPeersTokenExpires", "tokened"),
        ("SegvaultLogLinesDropped", "mute"),
        ("SegvaultLedgerHasGaps", "overwhelmed"),
    ];
    let rehearsed: BTreeSet<String> = due.iter().map(|(alert, _)| (*alert).to_owned()).collect();
    assert_eq!(prometheus.rules(), rehearsed, "each alert has its cause here");

    let began = Instant::now();
    let base = ward.base("restless").to_str().unwrap().to_owned();
    let mut restarts = 0;
    loop {
        look(&mut seen);
        let quiet_yet: Vec<_> =
            due.iter().filter(|(alert, node)| !seen.contains(&((*alert).to_owned(), (*node).to_owned()))).collect();
        if quiet_yet.is_empty() {
            break;
        }
        if ward.node("overwhelmed").get("/metrics").text().contains("segvault_store_writable 0") {
            are_all_there.store(true, Ordering::Relaxed);
        }
        if restarts < ENOUGH_RESTARTS {
            // While it is being built anew there is none.
            let (code, ..) = run(segvault().args(["admin", "--dir", &base, "restart", "hour_cache"]));
            restarts += usize::from(code == 0);
        }
        assert!(began.elapsed() < FIRES_WITHIN, "silent: {quiet_yet:?}; heard: {seen:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    println!("all {} alerts fired, the last after {} s", due.len(), began.elapsed().as_secs());
    drop(mute);
    ward.nodes.into_iter().filter(|(name, _)| WELL.contains(name)).for_each(|(_, node)| node.stop());
}
