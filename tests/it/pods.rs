//! A pod's life as Kubernetes plays it, with real processes: each on an address of its own, finding the others by the name of
//! a service whose addresses change, stopped, killed, and started with an empty volume.
//!
//! Each pod has its own view of /etc/hosts, in a mount namespace; so it is the system's own look-up that answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use segvault::model::SegmentKind;
use segvault::rehearsal::{Published, SourceHandle};

use crate::postgres::Postgres;
use crate::support::{
    NodeProcess, assert_hashes, eventually, free_address, quality, read_reply, small_spec, source_with, stored,
};

const NAMES: [&str; 3] = ["pod-0", "pod-1", "pod-2"];
const SERVICE: &str = "segvault.test";
/// Three seconds: less than a pod is away for.
const WINDOW_SEGMENTS: usize = 6;
const AWAY: Duration = Duration::from_secs(4);

/// What all pods share: the service's addresses, the source, the database.
struct Cluster {
    dir: tempfile::TempDir,
    port: u16,
    source: SourceHandle,
    database: Option<String>,
}

/// A node on an address of its own.
struct Pod {
    name: &'static str,
    number: u8,
    node: NodeProcess,
}

impl Cluster {
    fn new(seconds: u64, database: Option<String>) -> Self {
        let address = free_address();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        let source = source_with(&small_spec(), seconds, 1, |spec| spec.window_segments = WINDOW_SEGMENTS);
        let cluster = Self { dir: tempfile::tempdir().unwrap(), port, source, database };
        cluster.resolve(&[]);
        cluster
    }

    fn hosts(&self) -> PathBuf {
        self.dir.path().join("hosts")
    }

    /// From now on the service has the addresses 127.0.1.N. The file is the one that pods have mounted, so it is written over.
    fn resolve(&self, numbers: &[u8]) {
        let lines: Vec<String> = numbers.iter().map(|number| format!("127.0.1.{number} {SERVICE}\n")).collect();
        std::fs::write(self.hosts(), format!("127.0.0.1 localhost\n{}", lines.concat())).unwrap();
    }

    fn base(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the pod NAME with the address 127.0.1.N; it is up, not yet ready.
    fn start(&self, name: &'static str, number: u8) -> Pod {
        let base = self.base(name);
        let database = self.database.as_ref().map_or(String::new(), |url| format!("[database]\nurl = {url:?}\n"));
        let config = base.with_extension("toml");
        let address = format!("127.0.1.{number}:{}", self.port);
        let text = format!(
            "[node]\nname = {name:?}\ndir = {base:?}\nlisten = {address:?}\n[log]\nformat = \"json\"\n\
             [[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = [\"source\", \"90p\"]\n{database}\
             [backfill]\npeers_dns = \"http://{SERVICE}:{}\"\ninterval = \"1s\"\nrecent_cutoff = \"3s\"\n",
            self.source.url(),
            self.port,
        );
        std::fs::write(&config, text).unwrap();
        let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", self.hosts().display());
        let is_root = rustix::process::geteuid().is_root();
        // Root needs no user namespace, and may be in a container that allows none.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user"].iter().filter(|arg| !(is_root && **arg == "--map-root-user")));
        command.args(["sh", "-c", &mount, "sh", env!("CARGO_BIN_EXE_segvault"), "run", "--config"]).arg(&config);
        Pod { name, number, node: NodeProcess::spawn(&base, &mut command) }
    }

    /// The same, and waits until it is ready, as a rollout does before it takes the next one.
    fn start_ready(&self, name: &'static str, number: u8) -> Pod {
        let pod = self.start(name, number);
        eventually("the pod is ready", || (pod.node.get("/readyz").status == 200).then_some(()));
        pod
    }

    /// All that the source has shown, once it has ended.
    fn shown(&self, name: &str, total: usize) -> Vec<Published> {
        eventually("the source ends", || {
            let published = self.source.published(&quality(name));
            (published.len() == total).then_some(published)
        })
    }

    /// Waits until each of the pods holds all that was shown since the first one that any pod kept, as it was sent.
    fn assert_whole(&self, pods: &[&str], seconds: u64) {
        for name in ["source", "90p"] {
            let shown = self.shown(name, seconds as usize * 2);
            let first = pods.iter().filter_map(|pod| Some(full(&self.base(pod), name).first()?.0)).min().unwrap();
            let expected: Vec<&Published> = shown.iter().filter(|one| one.start.micros() >= first).collect();
            assert!(expected.len() * 10 >= shown.len() * 8, "{} of {}", expected.len(), shown.len());
            for pod in pods {
                eventually(&format!("{pod} has all of {name}"), || {
                    let kept: BTreeSet<i64> = full(&self.base(pod), name).into_iter().map(|(start, _)| start).collect();
                    expected.iter().all(|one| kept.contains(&one.start.micros())).then_some(())
                });
                let kept = full(&self.base(pod), name);
                assert_eq!(kept.len(), expected.len(), "{pod} has each segment once");
                for ((_, path), one) in kept.iter().zip(&expected) {
                    assert_eq!(std::fs::read(path).unwrap(), one.stored_bytes().unwrap(), "{}", path.display());
                }
                assert_hashes(&stored(&self.base(pod), "ch", name));
            }
        }
    }
}

/// When each whole segment starts, and where it lies; in order.
fn full(base: &Path, name: &str) -> Vec<(i64, PathBuf)> {
    let whole = stored(base, "ch", name).into_iter().filter(|(name, _)| name.kind() == SegmentKind::Full);
    let mut whole: Vec<_> = whole.map(|(name, path)| (name.start().micros(), path)).collect();
    whole.sort();
    whole
}

#[test]
fn a_rolling_restart_of_three_recording_nodes_loses_nothing() {
    const SECONDS: u64 = 28;
    let cluster = Cluster::new(SECONDS, None);
    cluster.resolve(&[1, 2, 3]);
    let mut pods: Vec<Pod> =
        NAMES.into_iter().zip(1..).map(|(name, number)| cluster.start_ready(name, number)).collect();
    eventually("all record", || NAMES.iter().all(|name| !full(&cluster.base(name), "90p").is_empty()).then_some(()));
    // The last one first, as a StatefulSet does it; each comes back with another address.
    for (at, number) in [(2, 4), (1, 5), (0, 6)] {
        pods.remove(at).node.stop();
        let began = Instant::now();
        let mut numbers: Vec<u8> = pods.iter().map(|pod| pod.number).collect();
        cluster.resolve(&numbers);
        // Longer than the source remembers: only the others have it.
        std::thread::sleep(AWAY.saturating_sub(began.elapsed()));
        numbers.push(number);
        cluster.resolve(&numbers);
        pods.insert(at, cluster.start_ready(NAMES[at], number));
    }
    assert!(cluster.source.published(&quality("source")).len() < SECONDS as usize * 2, "it went on to the end");
    cluster.assert_whole(&NAMES, SECONDS);
    for pod in &pods {
        let metrics = pod.node.get("/metrics").text();
        let copied =
            metrics.lines().filter(|line| line.starts_with("segvault_backfill_files_total{outcome=\"copied\""));
        let copied: f64 = copied.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
        assert!(copied >= 2.0, "{} was away for longer than the source remembers, and copied {copied}", pod.name);
    }
    pods.into_iter().for_each(|pod| pod.node.stop());
}

#[test]
fn a_pods_life_costs_no_second_that_anybody_has() {
    const SECONDS: u64 = 26;
    let mut server = Postgres::start();
    let url = server.new_database();
    server.down();
    let cluster = Cluster::new(SECONDS, Some(url));
    cluster.resolve(&[1, 2, 3]);

    // Started while the database is down: useful all the same, and so ready.
    let mut a = cluster.start_ready("pod-0", 1);
    let mut b = cluster.start_ready("pod-1", 2);
    let c = cluster.start_ready("pod-2", 3);
    for pod in [&a, &b, &c] {
        eventually("it records", || (full(&cluster.base(pod.name), "source").len() >= 4).then_some(()));
        eventually("it knows that the database is down", || {
            pod.node.get("/metrics").text().contains("\nsegvault_database_up 0\n").then_some(())
        });
        assert_eq!(pod.node.get("/readyz").status, 200);
    }
    server.up();
    for pod in [&a, &b, &c] {
        eventually("the database is back", || {
            pod.node.get("/metrics").text().contains("\nsegvault_database_up 1\n").then_some(())
        });
    }

    // SIGTERM under load: not ready at once, what is being sent goes out whole, and the end is in order.
    let (_, path) = full(&cluster.base("pod-0"), "source").into_iter().next().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let asked = path.strip_prefix(cluster.base("pod-0")).unwrap().to_str().unwrap().to_owned();
    let streams: Vec<_> = (0..50).map(|_| a.node.ask(&format!("/segments/{asked}"))).collect();
    a.node.signal("-TERM");
    for stream in streams {
        let reply = read_reply(stream, false);
        // Who was not heard yet is refused, never answered in part.
        assert!(reply.status == 503 || (reply.status == 200 && reply.body == whole), "{}", reply.status);
    }
    // A second signal would end it at once.
    assert_eq!(a.node.wait().code(), Some(0), "{:#?}", a.node.log());
    drop(a);

    // Killed, and its volume gone with its machine: the service has two addresses, of which one is stale.
    b.node.signal("-KILL");
    b.node.wait();
    drop(b);
    std::fs::remove_dir_all(cluster.base("pod-1")).unwrap();
    cluster.resolve(&[1, 3]);
    std::thread::sleep(AWAY);
    assert_eq!(c.node.get("/readyz").status, 200, "the third has nothing to do with it");

    // Both come back elsewhere; one starts with nothing.
    cluster.resolve(&[3, 4, 5]);
    let a = cluster.start_ready("pod-0", 4);
    let b = cluster.start_ready("pod-1", 5);
    cluster.assert_whole(&NAMES, SECONDS);
    for pod in [&a, &b, &c] {
        assert_eq!(pod.node.get("/readyz").status, 200);
    }
    [a, b, c].into_iter().for_each(|pod| pod.node.stop());
}
