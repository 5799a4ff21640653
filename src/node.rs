//! The composition root: builds handles, actors and HTTP, in order, and takes them down in order. The one file that
//! knows everything.
//!
//! Start: the store is checked and locked first; nothing waits for a source, the database, or the recovery of temps.
//! Stop: not ready; answers under way end; recording ends last; all within the grace period.

mod children;
mod disk;
mod life;
mod operators;

use std::fs::{self, File};
use std::hash::Hash;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use actix_web::dev::ServerHandle;
use slog::{Logger, error, info, warn};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::actors::{
    ActorKind, Addresses, BountyBoard, Checking, CoverageChecker, Cutter, Cutting, Directory, Drain, FeedReading,
    Guardian, Horizons, HourCache, HourReading, Keeping, LiveEdges, LiveReading, LostHere, MediaBook, MediaReading,
    Overview, Pace, PeerBook, Recording, Registrar, Registration, Replication, Retention, Scrubber, Scrubbing,
    StoredFeed,
};
use crate::admin::Admin;
use crate::auth::{Door, KeyShelf};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::{Affix, Config, Database};
use crate::cut::{Ffmpeg, Limits, Waveforms};
use crate::db::Db;
use crate::health::Health;
use crate::hls::HourTexts;
use crate::http::{
    self, Certificate, CertificateError, DrainBoard, EditorTerms, Feed, Gate, Neighbours, PageFiles, Receipts, Site,
    UnderWay,
};
use crate::ingest::{Disk, SourceDeps};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::model::{Channel, NodeIdentity, PeerUrl, Quality, Wording};
use crate::peers::{AccessError, Claims, Copier, Finisher, PeerAccess, Roots, Throttle};
use crate::profile::{self, Profiler};
use crate::store::{
    self, Coverages, Digests, Layout, Ledger, LedgerOf, RoomWatch, Scratch, Spool, StoreError, TempMark, Volume,
};
use children::{alone, recorders};
use disk::DiskWatch;
use life::{begin_life, end_life, prepare_store, recover, write_listen_file};

/// Pieces of disk work at once: recording has its own, so that readers never delay it.
const RECORDING_AT_ONCE: usize = 16;
const READING_AT_ONCE: usize = 32;
/// What is known of some ten thousand hours that are over, or of some hundreds that are not.
const MEDIA_BOOK_BYTES: usize = 32 << 20;
/// A week of one quality in 2 s segments takes 53 MB.
const HOUR_TEXTS_BYTES: usize = 56 << 20;
/// Disks flush many at once nearly as fast as one, and a copy waits for that most of its time.
const COPYING_AT_ONCE: usize = 32;
/// What was lost here waits behind no bulk of copies.
const URGENT_AT_ONCE: usize = 8;
/// What cutting events reads and writes at once.
const CUTTING_AT_ONCE: usize = 4;
/// Between looks at whether the last answer has been sent.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What segments that wait in memory get to be written, if the grace period is over.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// While more answers than this are being sent, the disk has better things to do than scrubbing.
const MANY_ANSWERS: usize = 8;
/// What actors that hold nothing up get of the grace period, each kind of them.
const DRAINED_WITHIN: Duration = Duration::from_secs(1);
/// What the cutter gets of the grace period at most, for videos that are about to exist.
const CUTTER_WITHIN: Duration = Duration::from_secs(9);
/// What recording gets of the grace period at least, when answers take all of it.
const RECORDING_RESERVE: Duration = Duration::from_secs(3);

/// What the ledger gets at a stop even where the grace period is over: one flush of a few lines.
const FLUSH_LOSSES_WITHIN: Duration = Duration::from_millis(500);

/// Why the node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot use {} as the store; check node.dir, and that this user may write there", path.display())]
    Store { path: PathBuf, source: io::Error },
    #[error("cannot take {} for the store", path.display())]
    Volume { path: PathBuf, source: StoreError },
    #[error("another segvault runs on {}; stop it, or give this one another node.dir", .0.display())]
    Locked(PathBuf),
    #[error("cannot listen on {address}; is it in use? (node.listen)")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot serve TLS (http.certificate, http.key)")]
    Certificate(#[from] CertificateError),
    #[error("cannot speak to peers as the configuration says")]
    Peers(#[from] AccessError),
}

/// A node that runs. Dropping it does not stop it in order; `stop` does.
pub struct Node {
    address: SocketAddr,
    grace: Duration,
    log: Logger,
    layout: Layout,
    health: Health,
    directory: Directory,
    guardian: Addr<Guardian>,
    server: ServerHandle,
    under_way: UnderWay,
    disk_watch: DiskWatch,
    ledger: Ledger,
    /// Held until the end: it keeps a second process off the same directory.
    _lock: File,
}

impl Node {
    /// Starts everything, within a running actix system.
    pub async fn start(config: &Config, log: &Log, clock: Clock) -> Result<Self, NodeError> {
        let logger = log.logger.clone();
        profile::note_every(config.http.notes_every_bytes());
        let layout = Layout::new(&config.node.dir);
        let lock = prepare_store(&layout)?;
        let volume =
            Volume::adopt(&layout).map_err(|source| NodeError::Volume { path: layout.base().to_owned(), source })?;
        let unchecked_since = begin_life(&layout, &volume, &logger);
        let metrics = Metrics::new(clock.clone(), log.dropped.clone());
        let health = Health::default();
        let directory = Directory::default();
        let reading = Blocking::new(READING_AT_ONCE);
        let digests = Digests::new(layout.clone(), reading.clone());
        let limits = Limits { at_once: config.cut.max_ffmpeg as usize, stall: config.cut.stall, ..Limits::default() };
        let min_free_bytes = config.retention.min_free.map_or(0, |size| size.bytes());
        let ffmpeg = Ffmpeg::with_scratch("ffmpeg", limits, Scratch::of_record(&layout, min_free_bytes));
        let temp_mark = TempMark::of_this_process();
        let ledger_of = LedgerOf { layout: layout.clone(), volume: volume.clone(), node: config.node.name.clone() };
        let (ledger, keeper) = Ledger::open(ledger_of, clock.clone(), metrics.clone(), logger.clone());
        actix_rt::spawn(keeper.run());
        let life = store::name_life(&layout, &volume);
        if let Err(error) = &life {
            warn!(logger, "a node with a copy of this disk will be taken for this one"; "error" => chain(error));
        }
        let identity = volume.node_id().map(|id| NodeIdentity { id, life: life.ok() });
        let spool_bytes = usize::try_from(config.record.spool_size.bytes()).unwrap_or(usize::MAX);
        let disk = Disk {
            layout: layout.clone(),
            volume,
            blocking: Blocking::new(RECORDING_AT_ONCE),
            spool: Spool::new(spool_bytes),
        };
        let recording = Recording {
            directory: directory.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            log: logger.clone(),
            temp_mark: temp_mark.clone(),
            ledger: ledger.clone(),
            segment_permits: config.record.segment_permits as usize,
        };
        for channel in &config.channels {
            metrics.preregister(channel.qualities.iter().map(|quality| (&channel.name, quality)));
        }
        let live_reading = LiveReading {
            directory: directory.clone(),
            layout: layout.clone(),
            volume: disk.volume.clone(),
            blocking: reading.clone(),
            clock: clock.clone(),
            log: logger.clone(),
            hold: config.playlist.hold,
        };
        let media_reading = MediaReading {
            layout: layout.clone(),
            volume: disk.volume.clone(),
            blocking: reading.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
        };
        let hour_reading = HourReading {
            layout: layout.clone(),
            blocking: reading.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
            max_bytes: usize::try_from(config.cache.hours_size.bytes()).unwrap_or(usize::MAX),
        };
        let feed_reading = FeedReading {
            layout: layout.clone(),
            blocking: reading.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
        };
        let mut children = vec![
            alone(ActorKind::HourCache, "hour cache", &directory.hour_cache, hour_reading, HourCache::new),
            alone(ActorKind::MediaBook, "media book", &directory.media_book, media_reading, |reading, sentinel| {
                MediaBook::new(reading, MEDIA_BOOK_BYTES, sentinel)
            }),
            alone(ActorKind::LiveEdges, "live edges", &directory.live_edges, live_reading, LiveEdges::new),
            alone(ActorKind::StoredFeed, "stored feed", &directory.stored_feed, feed_reading, StoredFeed::new),
        ];
        let deps = SourceDeps {
            twitch: config.twitch.clone(),
            blocking: recording.disk.blocking.clone(),
            log: logger.clone(),
        };
        for absent in config.absent_programs() {
            warn!(logger, "a program is not installed, its channel cannot be recorded";
                "channel" => %absent.channel, "program" => absent.program);
        }
        for channel in &config.channels {
            children.extend(recorders(&recording, &deps, channel));
        }
        let db = Db::new(&config.database.database);
        // Bound before anybody is told the address; who comes early waits.
        let listen_on = config.node.listen;
        let listen_failed = |source| NodeError::Listen { address: listen_on, source };
        let listener = TcpListener::bind(listen_on).map_err(listen_failed)?;
        let tls = config.http.tls.as_ref().map(Certificate::open).transpose()?;
        let listens_at = reachable_at(listener.local_addr().map_err(listen_failed)?, tls.is_some());
        if matches!(config.database.database, Database::Postgres(_))
            && config.node.url.is_none()
            && listens_at.is_none()
        {
            warn!(logger, "other nodes do not find this one by the database: say where it is (node.url)");
        }
        let registration = Registration {
            db: db.clone(),
            name: config.node.name.clone(),
            url: config.node.url.clone(),
            listens_at,
            directory: directory.clone(),
            started_at: clock.now(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
            // Whoever compares more often learns of new nodes as often.
            pace: Pace { every: config.backfill.interval.min(Pace::default().every), ..Pace::default() },
        };
        children.push(alone(ActorKind::Registrar, "registrar", &directory.registrar, registration, Registrar::new));
        let recorded = config
            .channels
            .iter()
            .flat_map(|channel| channel.qualities.iter().map(|quality| (channel.name.clone(), quality.clone())));
        let horizons = Horizons::read(&layout);
        let recorded: Arc<[(Channel, Quality)]> = recorded.collect();
        let room = RoomWatch::default();
        let access = PeerAccess::open(&config.backfill)?;
        actix_rt::spawn(access.clone().keep(reading.clone(), metrics.clone(), logger.clone()));
        let keeping = Keeping {
            directory: directory.clone(),
            layout: layout.clone(),
            volume: disk.volume.clone(),
            blocking: Blocking::new(1),
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            log: logger.clone(),
            identity: identity.clone(),
            config: config.retention.clone(),
            access: access.clone(),
            horizons: horizons.clone(),
        };
        children.push(alone(ActorKind::Retention, "retention", &directory.retention, keeping, Retention::new));
        let copier = Copier {
            layout: layout.clone(),
            volume: Some(disk.volume.clone()),
            blocking: Blocking::new(COPYING_AT_ONCE),
            finisher: Finisher::default(),
            claims: Claims::default(),
            throttle: config.backfill.bandwidth.map_or_else(Throttle::default, |rate| Throttle::new(rate.bytes())),
            mark: temp_mark.clone(),
            min_free_bytes,
        };
        let mut doors = vec![
            ("recording", disk.blocking.clone()),
            ("readers", reading.clone()),
            ("copies", copier.blocking.clone()),
        ];
        let replication = Replication {
            directory: directory.clone(),
            urgent: Copier {
                blocking: Blocking::new(URGENT_AT_ONCE),
                finisher: Finisher::default(),
                throttle: copier.throttle.hurried(),
                ..copier.clone()
            },
            copier,
            lost: LostHere::default(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
            digests: digests.clone(),
            roots: Roots::new(config.backfill.interval),
            health: health.clone(),
            identity: identity.clone(),
            config: config.backfill.clone(),
            access: access.clone(),
            recorded: Arc::clone(&recorded),
            retention: config.retention.clone(),
            horizons: horizons.clone(),
        };
        doors.push(("urgent copies", replication.urgent.blocking.clone()));
        if config.backfill.may_have_peers(&config.database.database) {
            let parts = replication.clone();
            children.push(alone(ActorKind::BountyBoard, "bounties", &directory.bounty_board, parts, BountyBoard::new));
        }
        children.push(alone(ActorKind::PeerBook, "peer book", &directory.peer_book, replication, PeerBook::new));
        let under_way = UnderWay::default();
        let (answers, programs) = (under_way.clone(), ffmpeg.clone());
        let scrubbing = Scrubbing {
            directory: directory.clone(),
            disk: Disk { blocking: Blocking::new(1), ..disk.clone() },
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
            ledger: ledger.clone(),
            temp_mark: temp_mark.clone(),
            config: config.scrub.clone(),
            unchecked_since,
            is_busy: Arc::new(move || answers.count() > MANY_ANSWERS || programs.in_use() > 0),
        };
        children.push(alone(ActorKind::Scrubber, "scrubber", &directory.scrubber, scrubbing, Scrubber::new));
        let coverages = Coverages::new(layout.clone());
        if config.coverage.enabled {
            let checking = Checking {
                directory: directory.clone(),
                layout: layout.clone(),
                volume: disk.volume.clone(),
                blocking: Blocking::new(1),
                coverages: coverages.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                log: logger.clone(),
                config: config.coverage.clone(),
            };
            let published = &directory.coverage_checker;
            children.push(alone(ActorKind::CoverageChecker, "coverage", published, checking, CoverageChecker::new));
        }
        for upload in &config.uploads {
            metrics.preregister_location(&upload.location);
        }
        let cutting = Cutting {
            directory: directory.clone(),
            layout: layout.clone(),
            db: db.clone(),
            name: config.node.name.clone(),
            uploads: config.uploads.clone(),
            config: config.cutter.clone(),
            ffmpeg: ffmpeg.clone(),
            blocking: Blocking::new(CUTTING_AT_ONCE),
            clock: clock.clone(),
            metrics: metrics.clone(),
            log: logger.clone(),
            min_free_bytes,
        };
        children.push(alone(ActorKind::Cutter, "cutter", &directory.cutter, cutting, Cutter::new));
        let guardian = Guardian::new(logger.clone(), metrics.clone(), health.clone(), children).start();
        directory.guardian.publish((), guardian.clone());

        let overview = Overview {
            name: config.node.name.clone(),
            identity: identity.clone(),
            started: Instant::now(),
            directory: directory.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            room: room.clone(),
            spool: disk.spool.clone(),
            ffmpeg: ffmpeg.clone(),
            min_free_bytes,
            recorded,
        };
        let door = Door::new(&config.auth, db.clone(), clock.clone(), &logger);
        door.keep(&KeyShelf { layout: layout.clone(), blocking: reading.clone(), clock: clock.clone() });
        let site = Site {
            overview: overview.clone(),
            peer_access: access.clone(),
            volume: disk.volume.clone(),
            neighbours: Neighbours::default(),
            drain: DrainBoard::default(),
            name: config.node.name.clone(),
            identity,
            layout: layout.clone(),
            directory: directory.clone(),
            blocking: reading,
            clock,
            metrics: metrics.clone(),
            health: health.clone(),
            ffmpeg: ffmpeg.clone(),
            waveforms: Waveforms::new(ffmpeg.clone(), disk.volume.clone()),
            receipts: Receipts::default(),
            log: logger.clone(),
            under_way: under_way.clone(),
            hour_texts: HourTexts::new(HOUR_TEXTS_BYTES),
            digests,
            digests_max_age: config.backfill.digests_max_age(),
            coverages,
            coverage: config.coverage.clone(),
            min_free_bytes,
            db,
            door,
            gate: Gate::new(&config.auth, listen_on.ip().is_loopback(), config.node.url.as_ref()),
            terms: editor_terms(config),
            feed: Feed::default(),
            page_files: PageFiles::default(),
            debug: config.http.debug,
            profiler: Profiler::default(),
        };
        let (certificate, renewal) = tls.unzip();
        let tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
        if let Some(renewal) = renewal {
            actix_rt::spawn(renewal.run(site.blocking.clone(), metrics.clone(), logger.clone()));
        }
        let over_tls = tls.is_some();
        let listening = http::listen(site, listener, tls).map_err(listen_failed)?;
        let server = listening.server.handle();
        actix_rt::spawn(listening.server);
        write_listen_file(&layout, listening.address, over_tls, &logger);
        let disk_watch = DiskWatch::new(disk, ledger.clone(), health.clone(), metrics.clone(), room, logger.clone());
        actix_rt::spawn(disk_watch.clone().keep());
        actix_rt::spawn(recover(
            layout.clone(),
            temp_mark,
            ledger.clone(),
            directory.clone(),
            metrics.clone(),
            logger.clone(),
        ));
        actix_rt::spawn(probe_ffmpeg(ffmpeg, logger.clone()));
        let admin = Admin {
            overview,
            guardian: guardian.clone(),
            level: log.level.clone(),
            metrics: metrics.clone(),
            doors,
            answers: {
                let under_way = under_way.clone();
                Arc::new(move || under_way.count())
            },
            log: logger.clone(),
        };
        operators::listen(&layout, admin);
        health.set_started();
        info!(logger, "node is up"; "name" => %config.node.name, "address" => %listening.address,
            "dir" => %config.node.dir.display(), "version" => env!("CARGO_PKG_VERSION"));
        Ok(Self {
            address: listening.address,
            grace: config.node.grace,
            log: logger,
            layout,
            health,
            directory,
            guardian,
            server,
            under_way,
            disk_watch,
            ledger,
            _lock: lock,
        })
    }

    /// Where HTTP answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the node down in order, within its grace period.
    pub async fn stop(self) {
        let end = Instant::now() + self.grace;
        self.health.set_stopping();
        info!(self.log, "stopping"; "grace_s" => self.grace.as_secs(), "answers_under_way" => self.under_way.count());
        // From here on a death is part of the stop. A guardian that does not answer rebuilds nothing either.
        let _ = timeout(Duration::from_secs(1), self.guardian.send(Drain)).await;

        // Its jobs are given back, so that another node may take them, while the database and the disk are as they were.
        if let Some(cutter) = self.directory.cutter.get(&()) {
            let cutter_end = end.checked_sub(RECORDING_RESERVE).unwrap_or(end).min(Instant::now() + CUTTER_WITHIN);
            let _ = timeout_at(cutter_end, cutter.send(Drain)).await;
        }
        let directory = &self.directory;
        drain(&directory.peer_book).await;
        drain(&directory.bounty_board).await;
        drain(&directory.backfill_peers).await;
        drain(&directory.scrubber).await;
        drain(&directory.coverage_checker).await;
        drain(&directory.retention).await;
        drain(&directory.backfill_extras).await;
        drain(&directory.registrar).await;
        // Answers that are still to be made wait for nothing that it could learn.
        drain(&directory.media_book).await;
        // What followers read never ends by itself.
        drain(&directory.stored_feed).await;
        // Players who wait for the next segment are answered now.
        drain(&directory.live_edges).await;

        self.server.pause().await;
        let answers_end = end.checked_sub(RECORDING_RESERVE).unwrap_or(end);
        while self.under_way.count() > 0 && Instant::now() < answers_end {
            sleep(LOOK_EVERY).await;
        }
        if self.under_way.count() > 0 {
            warn!(self.log, "answers are cut off, the grace period is over"; "count" => self.under_way.count());
        }
        // Only idle connections are left to close.
        let _ = timeout(Duration::from_secs(1), self.server.stop(false)).await;

        // Nobody needs another address; programs that look for one end now.
        for downloader in self.directory.downloaders.all() {
            downloader.do_send(Drain);
        }
        let drained = self.directory.workers.all().into_iter().map(|worker| worker.send(Drain));
        let drained = timeout_at(end, futures_util::future::join_all(drained)).await;
        if drained.is_err() {
            warn!(self.log, "segments are left unfinished, the next start keeps them as partial");
        }
        if timeout_at(end.max(Instant::now() + LAST_WRITES), self.disk_watch.end()).await.is_err() {
            error!(self.log, "what memory held for the disk is lost");
        }
        // What recording gave up to the last must still be told. A disk that refuses it has had its tries.
        let _ = timeout_at(end.max(Instant::now() + FLUSH_LOSSES_WITHIN), self.ledger.flush()).await;
        let _ = fs::remove_file(self.layout.listen_file());
        // A stop that left something unfinished is none in order.
        if drained.is_ok() {
            end_life(&self.layout, self.disk_watch.volume(), &self.log).await;
        }
        info!(self.log, "stopped");
    }
}

/// Asks all of a kind to begin nothing new, and waits a little for what they have begun.
async fn drain<K, A>(actors: &Addresses<K, A>)
where
    K: Eq + Hash,
    A: Actor + Handler<Drain>,
    A::Context: ToEnvelope<A, Drain>,
{
    let asked = actors.all().into_iter().map(|actor| actor.send(Drain));
    let _ = timeout(DRAINED_WITHIN, futures_util::future::join_all(asked)).await;
}

fn editor_terms(config: &Config) -> EditorTerms {
    let events = &config.events;
    let text = |affix: &Option<Affix>| affix.as_ref().map_or(String::new(), |affix| affix.as_str().to_owned());
    EditorTerms {
        channel: events.channel.clone().or_else(|| config.channels.first().map(|channel| channel.name.clone())),
        begins: events.begins,
        wording: Wording {
            title_header: text(&events.title_header),
            description_footer: text(&events.description_footer),
        },
        upload_locations: if events.upload_locations.is_empty() {
            config.uploads.iter().map(|upload| upload.location.clone()).collect()
        } else {
            events.upload_locations.clone()
        },
    }
}

/// Where others reach a node that listens there; unknown where it listens on all addresses.
fn reachable_at(address: SocketAddr, over_tls: bool) -> Option<PeerUrl> {
    let scheme = if over_tls { "https" } else { "http" };
    if address.ip().is_unspecified() { None } else { format!("{scheme}://{address}").parse().ok() }
}

async fn probe_ffmpeg(ffmpeg: Ffmpeg, log: Logger) {
    match ffmpeg.probe().await {
        Ok(probe) if probe.missing.is_empty() => info!(log, "ffmpeg is there"; "version" => probe.version),
        Ok(probe) => warn!(log, "ffmpeg lacks encoders: some cuts will fail"; "version" => probe.version,
            "missing" => probe.missing.join(" ")),
        Err(error) => warn!(log, "no ffmpeg: recording works, exact cuts and frames do not"; "error" => chain(&error)),
    }
}
