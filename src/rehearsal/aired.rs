//! What one rendition has had on air, and under which names and numbers.
//!
//! Promises: a segment that has been published keeps its name, number and time; in one numbering, numbers go up by one.
//! Never: decides when a segment goes on air (that is `show`).

use std::path::PathBuf;
use std::{fs, io};

use super::reel::ReelSegment;
use super::{RehearsalError, disk};
use crate::model::{Quality, Timestamp};

/// A segment that has been on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub quality: Quality,
    pub media_sequence: u64,
    /// How often the numbering had started over before.
    pub epoch: u32,
    /// The last part of its path, unique within its quality.
    pub name: String,
    /// Of its first frame.
    pub start: Timestamp,
    pub duration_micros: i64,
    /// The digits of EXTINF.
    pub duration_text: String,
    /// Whether a DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// The file that is served.
    pub path: PathBuf,
    /// The file of the initialisation section that it needs.
    pub map: Option<PathBuf>,
    /// Discontinuities of this numbering up to it, its own included.
    discontinuities: u64,
}

impl Published {
    /// The bytes that are served. Fails with NotFound once a live reel has deleted the file.
    pub fn bytes(&self) -> Result<Vec<u8>, RehearsalError> {
        fs::read(&self.path).map_err(disk("read", &self.path))
    }

    /// The initialisation section, where there is one, and then the segment: what a recorder stores (FORMATS §1).
    pub fn stored_bytes(&self) -> Result<Vec<u8>, RehearsalError> {
        let Some(map) = &self.map else { return self.bytes() };
        let mut bytes = fs::read(map).map_err(disk("read", map))?;
        bytes.extend(self.bytes()?);
        Ok(bytes)
    }

    /// The EXT-X-DISCONTINUITY-SEQUENCE of a playlist that begins with this segment.
    pub(super) fn discontinuity_sequence(&self) -> u64 {
        self.discontinuities - u64::from(self.discontinuity)
    }
}

/// What one rendition has had on air.
pub(super) struct AirTrack {
    pub(super) quality: Quality,
    pub(super) aired: Vec<Published>,
    pub(super) map: Option<PathBuf>,
    /// How many segments of the tape are over, whether they were on air or not.
    pub(super) taken: u64,
    next_sequence: u64,
    epoch: u32,
    discontinuities: u64,
    /// The next segment does not continue the one before.
    pub(super) broken_off: bool,
    extension: &'static str,
}

impl AirTrack {
    pub(super) fn new(quality: Quality, extension: &'static str) -> Self {
        Self {
            quality,
            aired: Vec::new(),
            map: None,
            taken: 0,
            next_sequence: 0,
            epoch: 0,
            discontinuities: 0,
            broken_off: false,
            extension,
        }
    }

    /// Takes the next segment off the tape.
    pub(super) fn put_on_air(&mut self, segment: ReelSegment, origin: Timestamp, epoch: u32, ended: bool) {
        self.taken += 1;
        if ended {
            self.broken_off = true;
            return;
        }
        if self.epoch != epoch {
            (self.epoch, self.next_sequence, self.discontinuities) = (epoch, 0, 0);
        }
        // The first segment of a numbering has nothing before it to be discontinuous with.
        let discontinuity = self.broken_off && self.next_sequence > 0;
        self.broken_off = false;
        self.discontinuities += u64::from(discontinuity);
        self.aired.push(Published {
            quality: self.quality.clone(),
            media_sequence: self.next_sequence,
            epoch,
            name: self.name(),
            start: origin.plus_micros(segment.offset_micros),
            duration_micros: segment.duration_micros,
            duration_text: segment.duration_text,
            discontinuity,
            path: segment.path,
            map: self.map.clone(),
            discontinuities: self.discontinuities,
        });
        self.next_sequence += 1;
    }

    fn name(&self) -> String {
        match self.epoch {
            0 => format!("{:04}.{}", self.next_sequence, self.extension),
            epoch => format!("r{epoch}-{:04}.{}", self.next_sequence, self.extension),
        }
    }

    /// Drops the oldest segments, whose files a live reel has deleted.
    pub(super) fn forget_deleted(&mut self) -> Result<(), RehearsalError> {
        let mut deleted = 0;
        for published in &self.aired {
            match fs::metadata(&published.path) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => deleted += 1,
                Err(error) => return Err(disk("look at", &published.path)(error)),
            }
        }
        self.aired.drain(..deleted);
        Ok(())
    }
}
