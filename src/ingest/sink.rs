//! Where a segment's bytes go while they come: to a temp file, or to memory while the disk is in trouble.
//!
//! Promises: few system calls; no wait for the disk without a deadline; what fails or is slow turns all that comes after
//! to memory. A sink that is dropped amid a write loses nothing that the disk has: the write goes on, and the temp stays.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::blocking::{Blocking, Panicked};
use crate::model::{SegmentHash, SegmentKind};
use crate::store::{Layout, PendingSegment, Saved, SegmentLabel, Spool, SpoolFull, SpoolWriter, StoreError, Volume};

/// Bytes gathered before they go to the disk: few enough to stay small, enough to make few system calls.
const WRITE_BYTES: usize = 256 * 1024;
/// A disk that needs longer for one write or flush is in trouble.
const DISK_DEADLINE: Duration = Duration::from_secs(10);

/// The disk, and what stands in for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Disk {
    pub layout: Layout,
    pub volume: Volume,
    /// The recorder's own door: readers never delay it.
    pub blocking: Blocking,
    pub spool: Spool,
}

/// Why bytes could not be kept, this time.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the disk did not answer within {}s", DISK_DEADLINE.as_secs())]
    Slow,
    #[error(transparent)]
    SpoolFull(#[from] SpoolFull),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Where a whole segment is.
#[derive(Debug)]
pub enum Kept {
    OnDisk(Saved),
    /// It waits for the disk.
    InMemory,
}

impl Disk {
    /// Reads what may be there; `None` if the disk does not say in time. Nothing waits for it longer than that.
    pub async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        timeout(DISK_DEADLINE, self.blocking.run(work)).await.ok()?.ok()
    }

    /// Disk work with a deadline. Trouble is noted before the caller hears of it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let done: Result<T, DiskError> = match timeout(DISK_DEADLINE, self.blocking.run(work)).await {
            Err(_) => Err(DiskError::Slow),
            Ok(Err(panicked)) => Err(panicked.into()),
            Ok(Ok(done)) => done.map_err(DiskError::from),
        };
        if done.is_err() {
            self.spool.begin();
        }
        done
    }
}

/// Shared with the write that is under way.
type SharedPending = Arc<Mutex<PendingSegment>>;

enum Place {
    File(SharedPending),
    Memory(SpoolWriter),
}

/// A segment that is being received.
pub struct Sink {
    disk: Disk,
    place: Place,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    len_bytes: u64,
}

impl Sink {
    pub async fn create(disk: &Disk, label: SegmentLabel) -> Result<Self, DiskError> {
        let place = if disk.spool.is_needed() {
            Place::Memory(disk.spool.writer(label))
        } else {
            let (layout, volume) = (disk.layout.clone(), disk.volume.clone());
            let create = move || {
                volume.check()?;
                label.create(&layout)
            };
            Place::File(Arc::new(Mutex::new(disk.run(create).await?)))
        };
        Ok(Self { disk: disk.clone(), place, gathered: Vec::new(), gathered_bytes: 0, len_bytes: 0 })
    }

    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub async fn write(&mut self, piece: Bytes) -> Result<(), DiskError> {
        self.len_bytes += piece.len() as u64;
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes < WRITE_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Hands over what is gathered.
    pub async fn flush(&mut self) -> Result<(), DiskError> {
        let gathered = std::mem::take(&mut self.gathered);
        let gathered_bytes = std::mem::take(&mut self.gathered_bytes);
        let flushed = match &mut self.place {
            Place::Memory(writer) => {
                gathered.iter().try_for_each(|piece| writer.append(piece)).map_err(DiskError::from)
            }
            Place::File(pending) => {
                let pending = Arc::clone(pending);
                self.disk.run(move || with(&pending, |pending| pending.append(&gathered))).await
            }
        };
        // What was not taken is not held.
        flushed.inspect_err(|_| self.len_bytes -= gathered_bytes as u64)
    }

    /// What the bytes hash to that have been flushed.
    pub fn content(&self) -> SegmentHash {
        match &self.place {
            Place::Memory(writer) => writer.content(),
            Place::File(pending) => with(pending, |pending| pending.content()),
        }
    }

    /// Flushes and gives the final name, or leaves it to the spool.
    pub async fn finish(mut self, kind: SegmentKind) -> Result<Kept, DiskError> {
        self.flush().await?;
        match self.place {
            Place::Memory(writer) => {
                writer.finish(kind);
                Ok(Kept::InMemory)
            }
            Place::File(pending) => {
                let finish = move || with(&pending, |pending| pending.finish(kind));
                self.disk.run(finish).await.map(Kept::OnDisk)
            }
        }
    }

    /// Another try got the same segment. A temp that cannot be deleted is recovered at the next start; nothing is lost
    /// by it.
    pub async fn discard(self) {
        if let Place::File(pending) = self.place {
            let _ = timeout(DISK_DEADLINE, self.disk.blocking.run(move || with(&pending, |pending| pending.discard())))
                .await;
        }
    }
}

/// Only one write of a segment is under way, so nobody waits here but behind one that was given up.
fn with<T>(pending: &SharedPending, act: impl FnOnce(&mut PendingSegment) -> T) -> T {
    act(&mut pending.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Shelf;

    fn disk(dir: &std::path::Path) -> Disk {
        let layout = Layout::new(dir);
        std::fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        Disk { layout, volume, blocking: Blocking::new(2), spool: Spool::new(1000) }
    }

    fn label(unique: &str) -> SegmentLabel {
        SegmentLabel {
            shelf: Shelf::Record,
            channel: "ch".parse().unwrap(),
            quality: "source".parse().unwrap(),
            start: "2026-01-02T03:58:30".parse().unwrap(),
            duration_micros: 2_000_000,
            unique: unique.to_owned(),
        }
    }

    #[actix_rt::test]
    async fn a_volume_that_goes_away_turns_what_comes_to_memory_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path());
        let word = disk.layout.own_dir().join("volume");
        std::fs::rename(&word, dir.path().join("away")).unwrap();
        assert!(matches!(Sink::create(&disk, label("a")).await, Err(DiskError::Store(_))));
        assert!(disk.spool.is_needed());
        let mut sink = Sink::create(&disk, label("b")).await.unwrap();
        sink.write(Bytes::from_static(b"hello world")).await.unwrap();
        assert!(matches!(sink.finish(SegmentKind::Full).await, Ok(Kept::InMemory)));
        let aside = SegmentLabel { shelf: Shelf::Quarantine, ..label("q") };
        let mut sink = Sink::create(&disk, aside).await.unwrap();
        sink.write(Bytes::from_static(b"buy this")).await.unwrap();
        assert!(matches!(sink.finish(SegmentKind::Full).await, Ok(Kept::InMemory)));
        assert!(!dir.path().join("ch").exists(), "nothing is made where the volume should be");
        std::fs::rename(dir.path().join("away"), &word).unwrap();
        for layout in [disk.layout.clone(), disk.layout.quarantine()] {
            let segment = disk.spool.next().unwrap();
            let saved = segment.write(&disk.layout, &disk.volume).unwrap();
            let path = layout.segment_path(&segment.label.channel, &segment.label.quality, saved.name());
            assert!(path.exists(), "{}", path.display());
        }
        assert!(disk.spool.end());
        let mut sink = Sink::create(&disk, label("c")).await.unwrap();
        sink.write(Bytes::from_static(b"hello world")).await.unwrap();
        assert!(matches!(sink.finish(SegmentKind::Full).await, Ok(Kept::OnDisk(Saved::AlreadyThere(_)))));
    }

    #[actix_rt::test]
    async fn a_disk_that_hangs_turns_what_comes_to_memory() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk { blocking: Blocking::new(1), ..disk(dir.path()) };
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let hanging = actix_rt::spawn(disk.blocking.run(move || held.recv()));
        // The place of the one who hangs must be taken before ours is asked for.
        tokio::task::yield_now().await;
        assert!(matches!(Sink::create(&disk, label("a")).await, Err(DiskError::Slow)));
        assert_eq!(disk.read(|| 7).await, None);
        let mut sink = Sink::create(&disk, label("b")).await.unwrap();
        sink.write(Bytes::from_static(b"hello world")).await.unwrap();
        assert!(matches!(sink.finish(SegmentKind::Full).await, Ok(Kept::InMemory)));
        drop(hold);
        assert!(hanging.await.unwrap().unwrap().is_err());
    }

    #[actix_rt::test]
    async fn a_sink_that_is_discarded_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path());
        let mut sink = Sink::create(&disk, label("a")).await.unwrap();
        sink.write(Bytes::from_static(&[0x47; 300_000])).await.unwrap();
        let hour = dir.path().join("ch/source/2026-01-02T03");
        assert_eq!(std::fs::read_dir(&hour).unwrap().count(), 1);
        sink.discard().await;
        assert_eq!(std::fs::read_dir(&hour).unwrap().count(), 0);
    }

    #[actix_rt::test]
    async fn what_was_not_taken_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk { spool: Spool::new(5), ..disk(dir.path()) };
        disk.spool.begin();
        let mut sink = Sink::create(&disk, label("a")).await.unwrap();
        sink.write(Bytes::from_static(b"hello")).await.unwrap();
        sink.flush().await.unwrap();
        sink.write(Bytes::from_static(b" world")).await.unwrap();
        assert!(sink.flush().await.is_err());
        assert_eq!(sink.len_bytes(), 5);
    }
}
