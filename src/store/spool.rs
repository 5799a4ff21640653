//! Segments in memory while the disk is in trouble, until they can be written.
//!
//! Promises: never more bytes than it was given; what is whole is handed out again in order of time, and kept until it
//! has been written. Cheap to clone; all clones share the room.
//! Never: writes by itself, or waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Layout, PendingSegment, Saved, StoreError, Volume};
use crate::model::{Channel, Quality, SegmentHash, SegmentKind, Timestamp};

/// The room is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk is in trouble, and the {0} bytes of memory instead of it are full")]
pub struct SpoolFull(usize);

/// Where a segment is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    Record,
    Quarantine,
}

impl Shelf {
    /// Its layout under BASE.
    pub fn of(self, base: &Layout) -> Layout {
        match self {
            Self::Record => base.clone(),
            Self::Quarantine => base.quarantine(),
        }
    }
}

/// Which segment some bytes belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentLabel {
    pub shelf: Shelf,
    pub channel: Channel,
    pub quality: Quality,
    pub start: Timestamp,
    pub duration_micros: i64,
    /// Tells this writer's temp from all others of the same segment.
    pub unique: String,
}

impl SegmentLabel {
    pub fn create(&self, base: &Layout) -> Result<PendingSegment, StoreError> {
        let layout = self.shelf.of(base);
        PendingSegment::create(&layout, &self.channel, &self.quality, self.start, self.duration_micros, &self.unique)
    }
}

#[derive(Debug, Clone)]
pub struct Spool {
    max_bytes: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    trouble: bool,
    held_bytes: usize,
    taken: u64,
    /// By time, then by the order in which they came.
    waiting: BTreeMap<(Timestamp, u64), Arc<SpooledSegment>>,
}

impl Spool {
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Arc::default() }
    }

    /// Whether segments should go here rather than to the disk.
    pub fn is_needed(&self) -> bool {
        self.state().trouble
    }

    /// The disk is in trouble. Answers whether that is news.
    pub fn begin(&self) -> bool {
        !std::mem::replace(&mut self.state().trouble, true)
    }

    /// The disk takes writes again. While something still waits for it, nothing changes: what comes goes behind that.
    /// Answers whether the trouble is over.
    pub fn end(&self) -> bool {
        let mut state = self.state();
        state.trouble &= !state.waiting.is_empty();
        !state.trouble
    }

    pub fn held_bytes(&self) -> usize {
        self.state().held_bytes
    }

    pub fn writer(&self, label: SegmentLabel) -> SpoolWriter {
        let room = Room { spool: self.clone(), bytes: 0 };
        SpoolWriter { label, pieces: Vec::new(), room }
    }

    /// Takes the segment of the earliest time. One that cannot be written is to be put back.
    pub fn next(&self) -> Option<Arc<SpooledSegment>> {
        self.state().waiting.pop_first().map(|(_, segment)| segment)
    }

    pub fn put(&self, segment: Arc<SpooledSegment>) {
        let mut state = self.state();
        state.taken += 1;
        let place = (segment.label.start, state.taken);
        state.waiting.insert(place, segment);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the room that are in use; given back when dropped.
#[derive(Debug)]
struct Room {
    spool: Spool,
    bytes: usize,
}

impl Room {
    fn grow(&mut self, by: usize) -> Result<(), SpoolFull> {
        let mut state = self.spool.state();
        if state.held_bytes.saturating_add(by) > self.spool.max_bytes {
            return Err(SpoolFull(self.spool.max_bytes));
        }
        state.held_bytes += by;
        self.bytes += by;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.spool.state().held_bytes -= self.bytes;
    }
}

/// A segment that is being received.
#[derive(Debug)]
pub struct SpoolWriter {
    label: SegmentLabel,
    pieces: Vec<Bytes>,
    room: Room,
}

impl SpoolWriter {
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolFull> {
        self.room.grow(bytes.len())?;
        // A copy: what came from the network may be a slice of something much larger.
        self.pieces.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    /// What its bytes so far hash to.
    pub fn content(&self) -> SegmentHash {
        let mut hasher = Sha256::new();
        self.pieces.iter().for_each(|piece| hasher.update(piece));
        SegmentHash::from_bytes(hasher.finalize().into())
    }

    /// From here on it waits for the disk.
    pub fn finish(self, kind: SegmentKind) {
        let Self { label, pieces, room } = self;
        let spool = room.spool.clone();
        spool.put(Arc::new(SpooledSegment { label, kind, pieces, room }));
    }
}

/// A segment that waits for the disk.
#[derive(Debug)]
pub struct SpooledSegment {
    pub label: SegmentLabel,
    pub kind: SegmentKind,
    pieces: Vec<Bytes>,
    room: Room,
}

impl SpooledSegment {
    pub fn len_bytes(&self) -> u64 {
        self.room.bytes as u64
    }

    /// Writes it under its final name. Blocks on the disk. What fails leaves no temp behind: the bytes are here.
    pub fn write(&self, layout: &Layout, volume: &Volume) -> Result<Saved, StoreError> {
        volume.check()?;
        let mut pending = self.label.create(layout)?;
        let written = pending.append(&self.pieces);
        written.and_then(|()| pending.finish(self.kind)).inspect_err(|_| {
            // Should that fail too, the next start finds the temp.
            let _ = pending.discard();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(second: u32) -> SegmentLabel {
        SegmentLabel {
            shelf: Shelf::Record,
            channel: "ch".parse().unwrap(),
            quality: "source".parse().unwrap(),
            start: format!("2026-01-02T03:58:{second:02}").parse().unwrap(),
            duration_micros: 2_000_000,
            unique: format!("u{second}"),
        }
    }

    fn hold(spool: &Spool, second: u32, bytes: &[u8]) -> Result<(), SpoolFull> {
        let mut writer = spool.writer(label(second));
        writer.append(bytes)?;
        writer.finish(SegmentKind::Full);
        Ok(())
    }

    #[test]
    fn what_is_held_is_written_in_order_of_time_and_gives_its_room_back() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        let spool = Spool::new(100);
        assert!(spool.begin() && !spool.begin());
        for second in [30, 28, 32] {
            hold(&spool, second, b"hello world").unwrap();
        }
        assert!(!spool.end() && spool.is_needed(), "while something waits the trouble goes on");
        assert_eq!(spool.held_bytes(), 33);
        let mut names = Vec::new();
        while let Some(segment) = spool.next() {
            names.push(segment.write(&layout, &volume).unwrap().name().as_str().to_owned());
        }
        let hash = "uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek";
        let expected = [28, 30, 32].map(|second| format!("58:{second}.000000-2.0-full-{hash}.ts"));
        assert_eq!(names, expected);
        assert!(spool.end() && !spool.is_needed());
        assert_eq!(spool.held_bytes(), 0);
    }

    #[test]
    fn the_room_is_never_exceeded_and_what_is_dropped_frees_it() {
        let spool = Spool::new(20);
        let mut writer = spool.writer(label(1));
        writer.append(&[0; 15]).unwrap();
        assert_eq!(writer.append(&[0; 6]), Err(SpoolFull(20)));
        assert_eq!(hold(&spool, 2, &[0; 6]), Err(SpoolFull(20)));
        drop(writer);
        hold(&spool, 2, &[0; 20]).unwrap();
        let segment = spool.next().unwrap();
        assert_eq!(hold(&spool, 3, &[0]), Err(SpoolFull(20)), "taken is not yet written");
        spool.put(segment);
        assert_eq!(spool.held_bytes(), 20);
        drop(spool.next());
        assert_eq!(spool.held_bytes(), 0);
    }
}
