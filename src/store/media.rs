//! What segments are encoded with: their heads read for `media`, and what was learnt of hours kept in side files under
//! BASE/.segvault/media.
//!
//! Promises: a tombstoned file is not opened; of a file no more than a mebibyte is held. Losing a side file costs a
//! reading, never data, so it is renamed into place but not flushed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Layout, StoreError, Volume, is_tombstoned, make_dir, replace};
use crate::media::{FrameRate, FrameRateScan, HourKnowledge, Probe, Probed, SegmentMedia};
use crate::model::{Channel, Hour, Quality, SegmentKind, SegmentName};

/// Tables, parameter sets and the first sound of most streams lie in this.
const FIRST_READ_BYTES: usize = 16 * 1024;
/// Where the first picture is large, the first sound comes after it.
const NEXT_READ_BYTES: usize = 64 * 1024;
/// A segment is read for its frame rate in pieces like this.
const PIECE_BYTES: usize = 256 * 1024;
/// Longer than any segment: what is longer is not measured.
const MAX_MEASURED_BYTES: u64 = 256 << 20;
/// An hour of segments of a tenth of a second, several times over.
const MAX_SIDE_FILE_BYTES: u64 = 16 << 20;

/// A segment that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedAt {
    pub size_bytes: u64,
    /// `None` if its bytes cannot be read as media.
    pub media: Option<SegmentMedia>,
}

/// Reads the head of a segment. `None` if it is gone, or under a tombstone. Blocks on the disk.
pub fn look_at(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    segment: &SegmentName,
) -> Result<Option<LookedAt>, StoreError> {
    let path = layout.segment_path(channel, quality, segment);
    let Some(mut file) = open(&path)? else { return Ok(None) };
    let mut look = || {
        let size_bytes = file.metadata()?.len();
        // What is cut off may lack what its tables announce.
        let is_complete = segment.kind() == SegmentKind::Full;
        let (mut probe, mut piece, mut wanted) = (Probe::default(), Vec::new(), FIRST_READ_BYTES);
        loop {
            piece.clear();
            let at_end = (&mut file).take(wanted as u64).read_to_end(&mut piece)? < wanted;
            probe.push(&piece);
            match probe.probed(at_end && is_complete) {
                Probed::Known(media) => return Ok(LookedAt { size_bytes, media: Some(media) }),
                Probed::NeedsMore if !at_end => wanted = NEXT_READ_BYTES,
                Probed::NeedsMore | Probed::Unreadable => return Ok(LookedAt { size_bytes, media: None }),
            }
        }
    };
    look().map(Some).map_err(|source: io::Error| StoreError::of_read(&path, source))
}

/// Reads a whole segment for its frame rate. `None` if it has none, or is gone. Blocks on the disk.
pub fn measure_frame_rate(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    segment: &SegmentName,
    media: &SegmentMedia,
) -> Result<Option<FrameRate>, StoreError> {
    let path = layout.segment_path(channel, quality, segment);
    let Some(mut file) = open(&path)? else { return Ok(None) };
    let mut scan = FrameRateScan::new(media.encoding.container);
    let mut read_all = || {
        if file.metadata()?.len() > MAX_MEASURED_BYTES {
            return Ok(());
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                came => scan.push(&piece[..came]),
            }
        }
    };
    read_all().map_err(|source: io::Error| StoreError::of_read(&path, source))?;
    Ok(scan.finish())
}

/// `None` if the file is gone, or under a tombstone.
fn open(path: &Path) -> Result<Option<File>, StoreError> {
    // Must precede the opening: a tombstone that can be seen hides the bytes (FORMATS §2).
    if is_tombstoned(path) {
        return Ok(None);
    }
    match File::open(path).map_err(|source| StoreError::of_read(path, source)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn side_file(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> PathBuf {
    layout.own_dir().join("media").join(channel).join(quality).join(hour.to_string())
}

/// What was kept of an hour; nothing where there is nothing that can be read.
pub fn read_knowledge(layout: &Layout, channel: &Channel, quality: &Quality, hour: Hour) -> HourKnowledge {
    let read = || {
        let mut text = Vec::new();
        File::open(side_file(layout, channel, quality, hour))?.take(MAX_SIDE_FILE_BYTES).read_to_end(&mut text)?;
        io::Result::Ok(text)
    };
    read().ok().and_then(|text| HourKnowledge::parse(&text)).unwrap_or_default()
}

pub fn write_knowledge(
    layout: &Layout,
    volume: &Volume,
    channel: &Channel,
    quality: &Quality,
    hour: Hour,
    knowledge: &HourKnowledge,
) -> Result<(), StoreError> {
    volume.check()?;
    let path = side_file(layout, channel, quality, hour);
    let dir = path.parent().expect("a side file lies in its quality's directory");
    make_dir(dir)?;
    replace(&path, knowledge.to_text().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HASH: &str = "47DEQpj8HBSa_-TImW_5JCeuQeRkm5NMpJWZG3hSuFU";

    struct Fixture {
        _dir: tempfile::TempDir,
        layout: Layout,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path());
            Self { _dir: dir, layout }
        }

        fn plant(&self, kind: &str, bytes: &[u8]) -> SegmentName {
            let name = SegmentName::parse(hour(), &format!("00:00.0-2.0-{kind}-{HASH}.ts")).unwrap();
            let path = self.layout.segment_path(&channel(), &quality(), &name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            name
        }

        fn look_at(&self, name: &SegmentName) -> Option<LookedAt> {
            look_at(&self.layout, &channel(), &quality(), name).unwrap()
        }
    }

    fn channel() -> Channel {
        "ch".parse().unwrap()
    }

    fn quality() -> Quality {
        "source".parse().unwrap()
    }

    fn hour() -> Hour {
        "2026-01-02T03".parse().unwrap()
    }

    fn vector() -> Vec<u8> {
        fs::read(format!("{}/tests/vectors/ts/av_bf2.ts", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn a_head_grows_until_it_tells() {
        let fixture = Fixture::new();
        let bytes = vector();
        let usual = fixture.look_at(&fixture.plant("full", &bytes)).unwrap();
        assert_eq!((usual.size_bytes, usual.media.is_some()), (bytes.len() as u64, true));
        // Null packets push the tables beyond the first readings; at some point nobody looks any further.
        let null: Vec<u8> = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat();
        let late = [null.repeat(1000), bytes.clone()].concat();
        assert_eq!(fixture.look_at(&fixture.plant("full", &late)).unwrap().media, usual.media);
        let too_late = [null.repeat(6000), bytes].concat();
        assert_eq!(fixture.look_at(&fixture.plant("full", &too_late)).unwrap().media, None);
    }

    #[test]
    fn what_is_cut_off_before_it_tells_all_is_not_read() {
        let fixture = Fixture::new();
        let bytes = vector();
        let cut_off = &bytes[..4 * 188];
        assert_eq!(fixture.look_at(&fixture.plant("partial", cut_off)).unwrap().media, None);
        assert!(fixture.look_at(&fixture.plant("full", cut_off)).unwrap().media.is_some());
        assert!(fixture.look_at(&fixture.plant("partial", &bytes)).unwrap().media.is_some());
    }

    #[test]
    fn what_is_gone_or_hidden_is_not_opened() {
        let fixture = Fixture::new();
        let name = fixture.plant("full", &vector());
        let media = fixture.look_at(&name).unwrap().media.unwrap();
        let path = fixture.layout.segment_path(&channel(), &quality(), &name);
        let measure = || measure_frame_rate(&fixture.layout, &channel(), &quality(), &name, &media).unwrap();
        assert_eq!(measure().unwrap().to_string(), "30.000");
        fs::write(path.with_extension("tombstone"), "").unwrap();
        assert_eq!((fixture.look_at(&name), measure()), (None, None));
        fs::remove_file(path.with_extension("tombstone")).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!((fixture.look_at(&name), measure()), (None, None));
    }

    #[test]
    fn knowledge_is_kept_and_a_damaged_file_is_none() {
        let fixture = Fixture::new();
        let read = || read_knowledge(&fixture.layout, &channel(), &quality(), hour());
        let mut knowledge = HourKnowledge::default();
        knowledge.learn("a", 1, None);
        fs::create_dir_all(fixture.layout.own_dir()).unwrap();
        let volume = Volume::adopt(&fixture.layout).unwrap();
        write_knowledge(&fixture.layout, &volume, &channel(), &quality(), hour(), &knowledge).unwrap();
        assert_eq!(read().to_text(), knowledge.to_text());
        let path = side_file(&fixture.layout, &channel(), &quality(), hour());
        fs::write(&path, &knowledge.to_text()[1..]).unwrap();
        assert_eq!(read().to_text(), HourKnowledge::default().to_text());
        fs::remove_file(path).unwrap();
        assert_eq!(read().to_text(), HourKnowledge::default().to_text());
    }
}
