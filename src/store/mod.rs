//! The only writer of segment files, and of videos beside them; the one that knows where they lie.
//!
//! Promises: a final name exists only with all of its bytes, flushed, matching its hash (DESIGN §3.1). What a killed
//! process left behind is recovered, never deleted; a copy from a peer, which is unverified until it is whole, is swept.
//! Never: uses the network, or decides what is worth keeping.

mod aging;
mod anchor;
mod copy;
mod coverage;
mod digests;
mod extras;
mod forecast;
mod hide;
mod issuer_keys;
mod job_files;
mod layout;
mod ledger;
mod life;
mod list;
mod media;
mod peaks;
mod peers;
mod pending;
mod pieces;
mod pins;
mod published;
mod purge;
mod quarantine;
mod reasons;
mod recover;
mod retain;
mod scratch;
mod scrub;
mod scrub_state;
mod spool;
mod templates;
mod tombstone;
mod video;
mod video_dir;
mod volume;

use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

pub use aging::{read_aging, write_aging};
pub use anchor::{Anchor, read_anchor, write_anchor};
pub use copy::{Copied, PendingCopy, finish_together, sweep_copies};
pub use coverage::{CoverageError, Coverages, coverage, write_map};
pub use digests::{Digests, DigestsError, NodeLook};
pub use extras::{Extras, MAX_EXTRA_FILES, list_extras, place_of_extra};
pub use forecast::RoomWatch;
pub use hide::{
    HideError, Hiding, Wish, Wished, are_hidden, channels_to_hide, ends_of, hide, qualities_to_hide, touches, wishes_in,
};
pub use issuer_keys::{IssuerKeys, read_issuer_keys, write_issuer_keys};
pub use job_files::{PendingJobFile, job_file, remove_job_file, sweep_job_files, verify_job_file};
pub use layout::Layout;
pub use ledger::{Keeper, Ledger, LedgerOf, LossLine, full_within, is_noted, losses, note_losses, recorded_until};
pub use life::{end_of_life, last_seen, life_under, name_life, sign_of_life, try_lock};
pub use list::{
    HourStamp, ListingText, LoadedHour, channels, hours, list_hour, list_stamped, load_hour, load_span, qualities,
};
pub use media::{LookedAt, look_at, measure_frame_rate, read_knowledge, write_knowledge};
pub use peaks::{HourPeaks, read_peaks, write_peaks};
pub use peers::{kept_peers, read_peers, write_peers};
pub use pending::{PendingSegment, Saved};
pub use pieces::Pieces;
pub use pins::{KeptPin, add_pin, read_pins, remove_pin};
pub use published::{PublishedKey, forget_published, restore_published, sweep_published, write_published};
pub use purge::{HiddenFile, Purged, hidden_files, purge, tombstone_states};
pub use quarantine::{Restored, quarantined, restore};
pub use reasons::{Reason, read_reasons, write_reasons};
pub use recover::{LeftBehind, Recovery, TempMark, recover, recover_hour};
pub use retain::{
    Deleted, Room, delete_files, forget_losses, free_bytes, hours_on_disk, read_horizons, room, stored_files, streams,
    sweep_learnt, write_horizons,
};
pub use scratch::{Scratch, ScratchFile};
pub use scrub::{
    BadFile, Checked, Scrubbed, StoredFile, StreamHour, bad_files, check, estimate_bytes, files_of,
    hours_changed_since, scrub, stream_hours, was_changed_since,
};
pub use scrub_state::{RoundState, ScrubState, read_scrub_state, write_scrub_state};
pub use spool::{SegmentLabel, Shelf, Spool, SpoolFull, SpoolWriter, SpooledSegment};
pub use templates::{TemplateFiles, read_template};
pub use tombstone::{Tombstone, add_tombstone, add_tombstones, is_tombstoned, tombstones};
pub use video::PendingVideo;
pub use video_dir::{VideoDir, VideoStanding};
pub use volume::Volume;

/// What can go wrong with the disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct StoreError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StoreError {
    /// A file that should be read cannot be.
    pub fn of_read(path: &Path, source: io::Error) -> Self {
        Self::new("read", path, source)
    }

    pub(crate) fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self { act, path: path.to_owned(), source }
    }

    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Makes a directory's entries as durable as its files: without it a power cut can undo a rename.
pub(crate) fn flush_dir(dir: &Path) -> Result<(), StoreError> {
    let flush = || std::fs::File::open(dir)?.sync_all();
    flush().map_err(|source| StoreError::new("flush the directory", dir, source))
}

/// Writes a side file anew: as a whole, or not at all. It is not flushed, as whoever reads it does without what a power cut took.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temp = path.with_extension("temp");
    let write = || {
        std::fs::write(&temp, bytes)?;
        std::fs::rename(&temp, path)
    };
    write().map_err(|source| StoreError::new("write", path, source))
}

/// Makes a directory and those above it, each new one as durable as its files: or an hour can vanish in a power cut.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let is_absent = |one: &&Path| !one.as_os_str().is_empty() && !one.is_dir();
    let new: Vec<&Path> = dir.ancestors().take_while(is_absent).collect();
    std::fs::create_dir_all(dir).map_err(|source| StoreError::new("create the directory", dir, source))?;
    let parents = new.iter().filter_map(|one| one.parent()).filter(|parent| !parent.as_os_str().is_empty());
    parents.into_iter().try_for_each(flush_dir)
}

/// Writes them one after the other, with few calls however small they are.
fn write_pieces(mut file: &std::fs::File, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let mut slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece.as_ref())).collect();
    let mut left = &mut slices[..];
    // Those that are empty at the beginning, of which nothing would be written.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_in_order_whatever_their_number_and_length() {
        let dir = tempfile::tempdir().unwrap();
        // More than one call takes (IOV_MAX), some of them empty.
        let pieces: Vec<Vec<u8>> = (0..3000).map(|number| vec![number as u8; number % 5]).collect();
        for pieces in [&pieces[..], &pieces[..1], &[]] {
            let path = dir.path().join("file");
            write_pieces(&std::fs::File::create(&path).unwrap(), pieces).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), pieces.concat());
        }
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(write_pieces(&full, &pieces).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
