//! Remembers how far the scrubber is, in BASE/.segvault/scrub.json. Losing it costs reading again, never data.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, StreamHour, Volume, flush_dir};
use crate::model::Timestamp;

/// What a restart must not forget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrubState {
    /// What was written since then, near a stop that was none in order, is not checked yet.
    pub unchecked_since: Option<Timestamp>,
    pub round: Option<RoundState>,
}

/// A round through the whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundState {
    pub began: Timestamp,
    /// `None` while it goes on.
    pub ended: Option<Timestamp>,
    /// The last hour that is done.
    pub done: Option<StreamHour>,
    /// Read so far.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Text {
    unchecked_since_micros: Option<i64>,
    round: Option<RoundText>,
}

#[derive(Serialize, Deserialize)]
struct RoundText {
    began_micros: i64,
    ended_micros: Option<i64>,
    /// Channel, quality, hour.
    done: Option<(String, String, String)>,
    bytes: u64,
}

impl RoundText {
    fn of(round: &RoundState) -> Self {
        let done = round.done.as_ref();
        Self {
            began_micros: round.began.micros(),
            ended_micros: round.ended.map(Timestamp::micros),
            done: done.map(|of| (of.channel.to_string(), of.quality.to_string(), of.hour.to_string())),
            bytes: round.bytes,
        }
    }

    /// `None` if it holds names that are none: the round begins anew.
    fn parse(self) -> Option<RoundState> {
        let done = match self.done {
            None => None,
            Some((channel, quality, hour)) => Some(StreamHour {
                channel: channel.parse().ok()?,
                quality: quality.parse().ok()?,
                hour: hour.parse().ok()?,
            }),
        };
        let (began, ended) = (Timestamp::from_micros(self.began_micros), self.ended_micros.map(Timestamp::from_micros));
        Some(RoundState { began, ended, done, bytes: self.bytes })
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.own_dir().join("scrub.json")
}

/// What cannot be read is forgotten. Blocks on the disk.
pub fn read_scrub_state(layout: &Layout) -> ScrubState {
    let text = fs::read(path(layout)).ok().and_then(|text| serde_json::from_slice::<Text>(&text).ok());
    text.map_or_else(ScrubState::default, |text| ScrubState {
        unchecked_since: text.unchecked_since_micros.map(Timestamp::from_micros),
        round: text.round.and_then(RoundText::parse),
    })
}

/// Flushed: the next start must know what is unchecked even after a power cut. Blocks on the disk.
pub fn write_scrub_state(layout: &Layout, volume: &Volume, state: &ScrubState) -> Result<(), StoreError> {
    volume.check()?;
    let path = path(layout);
    let temp = path.with_extension("temp");
    let text = Text {
        unchecked_since_micros: state.unchecked_since.map(Timestamp::micros),
        round: state.round.as_ref().map(RoundText::of),
    };
    let text = serde_json::to_vec(&text).expect("numbers and text are JSON");
    let write = || {
        let mut file = File::create(&temp)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temp, &path)
    };
    write().map_err(|source| StoreError::new("write", &path, source))?;
    flush_dir(&layout.own_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.own_dir()).unwrap();
        let volume = Volume::adopt(&layout).unwrap();
        assert_eq!(read_scrub_state(&layout), ScrubState::default());
        let done = StreamHour {
            channel: "ch é".parse().unwrap(),
            quality: "chat".parse().unwrap(),
            hour: "2026-01-02T03".parse().unwrap(),
        };
        let round = RoundState { began: Timestamp::from_micros(5), ended: None, done: Some(done), bytes: 7 };
        let state = ScrubState { unchecked_since: Some(Timestamp::from_micros(3)), round: Some(round) };
        write_scrub_state(&layout, &volume, &state).unwrap();
        assert_eq!(read_scrub_state(&layout), state);
        let text = fs::read_to_string(path(&layout)).unwrap();
        fs::write(path(&layout), text.replace("ch é", "../x")).unwrap();
        assert_eq!(read_scrub_state(&layout), ScrubState { round: None, ..state });
        fs::write(path(&layout), "{").unwrap();
        assert_eq!(read_scrub_state(&layout), ScrubState::default());
    }
}
