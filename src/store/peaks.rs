//! How loud segments are, kept per hour in side files: BASE/.segvault/peaks/CHANNEL/QUALITY/HOUR.json.
//!
//! Losing a side file costs a reading of its segments, never data, so it is renamed into place but not flushed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Layout, StoreError, Volume};
use crate::model::{Channel, Hour, Quality};

/// Per segment (by its file name) its peaks in order, 0 to 255.
pub type HourPeaks = BTreeMap<Box<str>, Box<[u8]>>;

/// An hour of segments of a tenth of a second, several times over.
const MAX_SIDE_FILE_BYTES: u64 = 16 << 20;

fn path(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> PathBuf {
    layout.own_dir().join("peaks").join(channel).join(quality).join(format!("{hour}.json"))
}

/// What is known of an hour. What cannot be read is learnt anew. Blocks on the disk.
pub fn read_peaks(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> HourPeaks {
    let mut text = Vec::new();
    let read = File::open(path(layout, channel, quality, hour))
        .and_then(|file| file.take(MAX_SIDE_FILE_BYTES).read_to_end(&mut text));
    if read.is_err() {
        return HourPeaks::new();
    }
    let packed: BTreeMap<Box<str>, String> = serde_json::from_slice(&text).unwrap_or_default();
    packed.into_iter().filter_map(|(name, peaks)| Some((name, STANDARD.decode(peaks).ok()?.into()))).collect()
}

/// Keeps what is known of an hour. Blocks on the disk.
pub fn write_peaks(
    layout: &Layout,
    volume: &Volume,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    peaks: &HourPeaks,
) -> Result<(), StoreError> {
    volume.check()?;
    let path = path(layout, channel, quality, hour);
    let packed: BTreeMap<&str, String> = peaks.iter().map(|(name, peaks)| (&**name, STANDARD.encode(peaks))).collect();
    let dir = path.parent().expect("a side file lies in a directory");
    let write = || {
        fs::create_dir_all(dir)?;
        let file = tempfile::Builder::new().prefix(".peaks-").tempfile_in(dir)?;
        serde_json::to_writer(std::io::BufWriter::new(file.as_file()), &packed)?;
        file.persist(&path).map_err(|error| error.error)
    };
    write().map(|_| ()).map_err(|source| StoreError::new("write", &path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_read_as_they_were_written_and_junk_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        let (channel, quality): (Channel, Quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        assert!(read_peaks(&layout, &channel, &quality, hour).is_empty());
        let peaks: HourPeaks = [("a.ts".into(), [0, 7, 255].into()), ("b.ts".into(), [].into())].into();
        write_peaks(&layout, &volume, &channel, &quality, hour, &peaks).unwrap();
        assert_eq!(read_peaks(&layout, &channel, &quality, hour), peaks);
        fs::write(path(&layout, &channel, &quality, hour), "{\"a.ts\": 5}").unwrap();
        assert!(read_peaks(&layout, &channel, &quality, hour).is_empty());
    }
}
