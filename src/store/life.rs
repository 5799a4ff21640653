//! One life of a node on its directory: the lock that keeps a second one off, and the sign by which the next one knows how
//! the last one ended.
//!
//! BASE/.segvault/alive is made at a start, touched while the node lives, and removed by a stop in order. Who finds it, holding
//! the lock, knows that the last life did not end in order, and by its stamp when it was last seen. A life's name tells a node from
//! one whose disk was copied from its own.
//! All functions block on the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Layout, StoreError, Volume, flush_dir};
use crate::model::{LifeId, Timestamp};

/// In BASE/.segvault.
const NAME_FILE: &str = "life";

/// What a node holds for as long as it lives; `None` while another process holds it. Needs BASE/.segvault.
pub fn try_lock(layout: &Layout) -> Result<Option<File>, StoreError> {
    let path = layout.own_dir().join("lock");
    let failed = |source| StoreError::new("lock", &path, source);
    let lock = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// When the last life was last seen, if it did not end in order. To be asked with the lock, before `sign_of_life`.
pub fn last_seen(layout: &Layout) -> Option<Timestamp> {
    let stat = fs::metadata(path(layout)).ok()?;
    Some(Timestamp::from_micros(stat.mtime().saturating_mul(1_000_000).saturating_add(stat.mtime_nsec() / 1000)))
}

/// This life has begun, or goes on.
pub fn sign_of_life(layout: &Layout, volume: &Volume) -> Result<(), StoreError> {
    volume.check()?;
    let path = path(layout);
    let failed = |source| StoreError::new("write", &path, source);
    let is_new = !path.exists();
    // Its stamp is all that counts: it is the kernel's, as those of the files that it is compared with.
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).map_err(failed)?;
    io::Write::write_all(&mut &file, b"alive\n").map_err(failed)?;
    if is_new {
        // A power cut right after the start must find it.
        file.sync_all().map_err(failed)?;
        flush_dir(&layout.own_dir())?;
    }
    Ok(())
}

/// Gives this life a name of its own, and writes it down for who works beside the node.
pub fn name_life(layout: &Layout, volume: &Volume) -> Result<LifeId, StoreError> {
    volume.check()?;
    let path = layout.own_dir().join(NAME_FILE);
    let failed = |source| StoreError::new("write", &path, source);
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    let life = format!("{random:016x}").parse().expect("digits are a name");
    let temp = path.with_extension("temp");
    fs::write(&temp, format!("{life}\n")).and_then(|()| fs::rename(&temp, &path)).map_err(failed)?;
    Ok(life)
}

/// The name of the life that goes on, or of the last one; `None` where there was none, or it had no name.
pub fn life_under(layout: &Layout) -> Option<LifeId> {
    fs::read_to_string(layout.own_dir().join(NAME_FILE)).ok()?.trim().parse().ok()
}

/// This life ends in order: all that it wrote is flushed.
pub fn end_of_life(layout: &Layout, volume: &Volume) -> Result<(), StoreError> {
    volume.check()?;
    let path = path(layout);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::new("delete", &path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.own_dir().join("alive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_life_that_did_not_end_in_order_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        assert_eq!(last_seen(&layout), None);
        sign_of_life(&layout, &volume).unwrap();
        let first = last_seen(&layout).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        sign_of_life(&layout, &volume).unwrap();
        assert!(last_seen(&layout).unwrap() > first);
        end_of_life(&layout, &volume).unwrap();
        end_of_life(&layout, &volume).unwrap();
        assert_eq!(last_seen(&layout), None);
    }

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.own_dir()).unwrap();
        let lock = try_lock(&layout).unwrap();
        assert!(lock.is_some() && try_lock(&layout).unwrap().is_none());
        drop(lock);
        assert!(try_lock(&layout).unwrap().is_some());
    }
}
