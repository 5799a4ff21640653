//! What one rendition has had on air, and under which names and numbers.
//!
//! Promises: a segment that has been published keeps its name, number, time and bytes; in one numbering, numbers go up
//! by one.
//! Never: decides when a segment goes on air (that is `show`).

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use super::reel::ReelSegment;
use super::{RehearsalError, disk};
use crate::model::{Quality, Timestamp};

/// A break for advertisements, as playlists tell its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    pub start: Timestamp,
    pub duration: Duration,
}

/// Which of the two encodings of the same pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Usual,
    /// Of another size, and without B-frames.
    Other,
}

/// A segment that has been on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub quality: Quality,
    pub media_sequence: u64,
    /// How often the numbering had started over before.
    pub epoch: u32,
    /// The last part of its path, unique within its quality.
    pub name: String,
    /// Of its first frame, as playlists tell it.
    pub start: Timestamp,
    /// When the source began to list it.
    pub aired_at: Timestamp,
    pub duration_micros: i64,
    /// The digits of EXTINF.
    pub duration_text: String,
    /// Whether a DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// It shows an advertisement, from the break that begins then, in place of the programme.
    pub advertisement: Option<Break>,
    /// The file that is served.
    pub path: PathBuf,
    /// The file of the initialisation section that it needs.
    pub map: Option<PathBuf>,
    /// The encoding that its bytes and its map are of.
    pub(super) encoding: Encoding,
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

/// A segment that is due, and how it goes on air.
pub(super) struct Airing {
    pub segment: ReelSegment,
    pub map: Option<PathBuf>,
    pub encoding: Encoding,
    /// Of its first frame, in truth.
    pub start: Timestamp,
    pub aired_at: Timestamp,
    pub skew_micros: i64,
    /// How often the numbering has started over.
    pub epoch: u32,
    pub advertisement: Option<Break>,
    /// It does not continue the one before.
    pub breaks_off: bool,
    /// It passes unseen.
    pub off_air: bool,
}

/// What one rendition has had on air.
pub(super) struct AirTrack {
    pub(super) quality: Quality,
    pub(super) aired: Vec<Published>,
    /// How many segments of the tape are over, whether they were on air or not.
    pub(super) taken: u64,
    encoding: Encoding,
    in_break: bool,
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
            taken: 0,
            encoding: Encoding::Usual,
            in_break: false,
            next_sequence: 0,
            epoch: 0,
            discontinuities: 0,
            broken_off: false,
            extension,
        }
    }

    /// Takes the next segment off the tape.
    pub(super) fn put_on_air(&mut self, airing: Airing) {
        self.taken += 1;
        if airing.off_air {
            self.broken_off = true;
            return;
        }
        if self.epoch != airing.epoch {
            (self.epoch, self.next_sequence, self.discontinuities) = (airing.epoch, 0, 0);
        }
        self.broken_off |=
            airing.breaks_off || self.encoding != airing.encoding || self.in_break != airing.advertisement.is_some();
        (self.encoding, self.in_break) = (airing.encoding, airing.advertisement.is_some());
        // The first segment of a numbering has nothing before it to be discontinuous with.
        let discontinuity = self.broken_off && self.next_sequence > 0;
        self.broken_off = false;
        self.discontinuities += u64::from(discontinuity);
        self.aired.push(Published {
            quality: self.quality.clone(),
            media_sequence: self.next_sequence,
            epoch: self.epoch,
            name: self.name(),
            start: airing.start.plus_micros(airing.skew_micros),
            aired_at: airing.aired_at,
            duration_micros: airing.segment.duration_micros,
            duration_text: airing.segment.duration_text,
            discontinuity,
            advertisement: airing.advertisement,
            path: airing.segment.path,
            map: airing.map,
            encoding: airing.encoding,
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
