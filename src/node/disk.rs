//! Watches whether the disk takes writes, and gives it what memory has held once it does.
//!
//! Promises: a full, read-only, slow, lost or swapped disk shows even while nothing is recorded, and one that has
//! recovered too; what was held is written in order of time, and told like any other segment.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, error, info, o, warn};
use tokio::time::{Instant, sleep, timeout};

use crate::actors::{tell_saved, tell_set_aside};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::health::Health;
use crate::ingest::Disk;
use crate::metrics::Metrics;
use crate::model::{LossCause, Span};
use crate::store::{self, Ledger, RoomWatch, Shelf, SpooledSegment, Volume};

/// About what a recorder hands to the disk at once.
const PROBE_BYTES: usize = 256 * 1024;
/// Between looks at whether the store takes writes, while it does.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Between looks at whether a recorder found out otherwise, and between probes while it does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between looks at whether the last segment is out of memory, at the end.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(20);
/// A probe, or a segment out of memory, should take far less.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The watch over one node's disk. Cheap to clone.
#[derive(Clone)]
pub struct DiskWatch {
    disk: Disk,
    /// Of its own: a disk that hangs must not take the recorders' places.
    door: Blocking,
    ledger: Ledger,
    health: Health,
    metrics: Metrics,
    room: RoomWatch,
    log: Logger,
}

impl DiskWatch {
    pub fn new(disk: Disk, ledger: Ledger, health: Health, metrics: Metrics, room: RoomWatch, log: Logger) -> Self {
        Self { disk, door: Blocking::new(1), ledger, health, metrics, room, log }
    }

    pub fn volume(&self) -> &Volume {
        &self.disk.volume
    }

    /// Watches for as long as the node lives.
    pub async fn keep(self) {
        loop {
            self.look().await;
            let looked = Instant::now();
            while looked.elapsed() < PROBE_EVERY {
                sleep(LOOK_EVERY).await;
                self.metrics.spool_holds(self.disk.spool.held_bytes());
                if self.disk.spool.is_needed() {
                    break;
                }
            }
        }
    }

    /// The last chance of what memory holds: what cannot be written now is lost.
    pub async fn end(&self) {
        if let Err(error) = self.write_out().await {
            warn!(self.log, "the disk does not take what memory holds"; "error" => error);
        }
        // What another look is writing at this moment comes back, or is written.
        while self.disk.spool.held_bytes() > 0 {
            match self.disk.spool.next() {
                Some(segment) => self.lose(&segment),
                None => sleep(LAST_LOOK_EVERY).await,
            }
        }
    }

    fn lose(&self, segment: &SpooledSegment) {
        let label = &segment.label;
        error!(self.log, "segment lost"; "channel" => %label.channel, "quality" => %label.quality,
            "start" => %label.start, "error" => "the disk did not take it before the node stopped");
        let span = Span::new(label.start, label.start.plus_micros(label.duration_micros)).ok();
        // The time of what was to go into quarantine is told already.
        if let Some(span) = span.filter(|_| label.shelf == Shelf::Record) {
            self.metrics.lost(&label.channel, &label.quality, LossCause::Disk, span.duration());
            let why = "the disk did not take it before the node stopped";
            self.ledger.note(&label.channel, &label.quality, span, LossCause::Disk, why);
        }
    }

    async fn look(&self) {
        self.measure().await;
        let mut done = self.probe().await;
        if done.is_ok() {
            done = self.write_out().await;
        }
        // What came in meanwhile is behind what was just written, and is the next look's.
        let is_over = match &done {
            Ok(()) => self.disk.spool.end(),
            Err(_) => {
                self.disk.spool.begin();
                false
            }
        };
        let changed = self.health.set_store_writable(is_over);
        self.metrics.store_writable(is_over);
        self.metrics.spool_holds(self.disk.spool.held_bytes());
        match done {
            Err(error) if changed => {
                error!(self.log, "store cannot be written, memory holds what comes"; "error" => error)
            }
            Ok(()) if changed && is_over => info!(self.log, "store is writable"),
            Ok(()) | Err(_) => {}
        }
    }

    /// A disk that does not answer is found out by the probe.
    async fn measure(&self) {
        let layout = self.disk.layout.clone();
        let measured = self.door.run(move || store::room(&layout));
        if let Ok(Ok(Ok(room))) = timeout(ANSWERS_WITHIN, measured).await {
            self.metrics.store_has_room(room.free_bytes, room.size_bytes);
            self.room.measured(room, std::time::Instant::now());
        }
    }

    async fn probe(&self) -> Result<(), String> {
        let (volume, path) = (self.disk.volume.clone(), self.disk.layout.own_dir().join("probe"));
        let probed = self.door.run(move || {
            volume.check().map_err(|error| chain(&error))?;
            write_probe(&path).map_err(|error| error.to_string())
        });
        match timeout(ANSWERS_WITHIN, probed).await {
            Err(_) => Err("the disk does not answer".to_owned()),
            Ok(probed) => probed.unwrap_or_else(|panicked| Err(panicked.to_string())),
        }
    }

    /// Writes what memory holds, the oldest first, until there is none or the disk refuses.
    async fn write_out(&self) -> Result<(), String> {
        while let Some(segment) = self.disk.spool.next() {
            if let Err(error) = self.write(&segment).await {
                self.disk.spool.put(segment);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write(&self, segment: &Arc<SpooledSegment>) -> Result<(), String> {
        let (layout, volume, shared) = (self.disk.layout.clone(), self.disk.volume.clone(), Arc::clone(segment));
        let written = self.door.run(move || shared.write(&layout, &volume));
        let saved = match timeout(ANSWERS_WITHIN, written).await {
            Err(_) => return Err("the disk does not answer".to_owned()),
            Ok(Err(panicked)) => return Err(panicked.to_string()),
            Ok(Ok(written)) => written.map_err(|error| chain(&error))?,
        };
        let label = &segment.label;
        let log = self.log.new(o!("channel" => label.channel.to_string(), "quality" => label.quality.to_string()));
        match label.shelf {
            Shelf::Record => {
                let len_bytes = segment.len_bytes();
                tell_saved(&log, &self.metrics, &label.channel, &label.quality, &saved, len_bytes, None);
            }
            Shelf::Quarantine => tell_set_aside(&log, &self.metrics, &label.channel, &label.quality, &saved),
        }
        Ok(())
    }
}

/// A new file each time: overwriting one needs no space.
fn write_probe(path: &Path) -> io::Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        io::Write::write_all(&mut file, &[0x47; PROBE_BYTES])?;
        file.sync_all()
    };
    let written = write();
    // A full disk should not be kept full by the probe of whether it is.
    let removed = fs::remove_file(path);
    written.and(removed)
}
