//! Stretches that stay whatever the bounds of retention say: BASE/.segvault/pins.json.
//!
//! Promises: a change is whole and flushed, or none; two who change it at once do not undo each other; a file that cannot
//! be read is an error, never "nothing is pinned". Blocks on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Layout, StoreError, flush_dir, make_dir};
use crate::model::Span;
use crate::select::retain::Pin;

/// A pin with what people should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPin {
    /// By which it is removed.
    pub id: u64,
    pub pin: Pin,
    pub reason: Option<String>,
    pub by: String,
    /// When it was made, as text in UTC.
    pub at: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    pins: Vec<Line>,
    /// Ids are not used again, so that nobody removes another pin than was meant.
    #[serde(default)]
    last_id: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    channel: String,
    quality: Option<String>,
    from: String,
    to: String,
    reason: Option<String>,
    by: String,
    at: String,
}

impl From<&KeptPin> for Line {
    fn from(KeptPin { id, pin, reason, by, at }: &KeptPin) -> Self {
        Self {
            id: *id,
            channel: pin.channel.to_string(),
            quality: pin.quality.as_ref().map(ToString::to_string),
            from: pin.span.start().to_string(),
            to: pin.span.end().to_string(),
            reason: reason.clone(),
            by: by.clone(),
            at: at.clone(),
        }
    }
}

impl Line {
    fn parse(self) -> Result<KeptPin, Box<dyn std::error::Error + Send + Sync>> {
        let quality = self.quality.map(|quality| quality.parse()).transpose()?;
        let span = Span::new(self.from.parse()?, self.to.parse()?)?;
        let pin = Pin { channel: self.channel.parse()?, quality, span };
        Ok(KeptPin { id: self.id, pin, reason: self.reason, by: self.by, at: self.at })
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.own_dir().join("pins.json")
}

/// In the order in which they were made.
pub fn read_pins(layout: &Layout) -> Result<Vec<KeptPin>, StoreError> {
    let path = path(layout);
    parse(read(&path)?).map_err(|source| StoreError::of_read(&path, source))
}

/// Makes a pin; answers it as it is kept.
pub fn add_pin(
    layout: &Layout,
    pin: Pin,
    reason: Option<String>,
    by: String,
    at: String,
) -> Result<KeptPin, StoreError> {
    change(layout, |kept| {
        kept.last_id += 1;
        let pin = KeptPin { id: kept.last_id, pin, reason, by, at };
        kept.pins.push(Line::from(&pin));
        pin
    })
}

/// Answers whether there was one.
pub fn remove_pin(layout: &Layout, id: u64) -> Result<bool, StoreError> {
    change(layout, |kept| {
        let before = kept.pins.len();
        kept.pins.retain(|pin| pin.id != id);
        kept.pins.len() < before
    })
}

fn change<T>(layout: &Layout, change: impl FnOnce(&mut Kept) -> T) -> Result<T, StoreError> {
    let path = path(layout);
    make_dir(&layout.own_dir())?;
    let lock = path.with_extension("lock");
    let held = OpenOptions::new().create(true).append(true).open(&lock).and_then(|file| {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    });
    // Held until the end of this function.
    let _held = held.map_err(|source| StoreError::new("lock", &lock, source))?;
    let mut kept = read(&path)?;
    let done = change(&mut kept);
    write(&path, &kept).map_err(|source| StoreError::new("write", &path, source))?;
    flush_dir(&layout.own_dir())?;
    Ok(done)
}

fn read(path: &Path) -> Result<Kept, StoreError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| StoreError::of_read(path, error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(StoreError::of_read(path, error)),
    }
}

fn parse(kept: Kept) -> io::Result<Vec<KeptPin>> {
    kept.pins.into_iter().map(|line| line.parse().map_err(io::Error::other)).collect()
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let temp = path.with_extension("temp");
    let mut file = File::create(&temp)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    fs::rename(&temp, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(start: &str, end: &str, quality: Option<&str>) -> Pin {
        let span = Span::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
        Pin { channel: "ch".parse().unwrap(), quality: quality.map(|name| name.parse().unwrap()), span }
    }

    #[test]
    fn pins_are_kept_and_an_id_is_never_that_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(read_pins(&layout).unwrap().is_empty());
        let add = |pin| add_pin(&layout, pin, Some("finale".into()), "me".into(), "now".into()).unwrap();
        let first = add(pin("2026-01-02", "2026-01-03T00:00:00.5", None));
        let second = add(pin("2026-01-02", "2026-01-03", Some("source")));
        assert_eq!(read_pins(&layout).unwrap(), [first.clone(), second.clone()]);
        assert!(remove_pin(&layout, second.id).unwrap() && !remove_pin(&layout, second.id).unwrap());
        assert!(add(pin("2026-01-02", "2026-01-03", None)).id > second.id);
    }

    #[test]
    fn what_cannot_be_read_is_no_empty_list() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.own_dir()).unwrap();
        let line =
            r#"{"pins": [{"id": 1, "channel": "../x", "from": "2026-01-02", "to": "2026-01-03", "by": "", "at": ""}]}"#;
        for bad in ["", "{", "[]", line, &line.replace("../x", "x").replace("-03", "-01")] {
            fs::write(path(&layout), bad).unwrap();
            assert!(read_pins(&layout).is_err(), "{bad}");
        }
        fs::write(path(&layout), line.replace("../x", "x")).unwrap();
        assert_eq!(read_pins(&layout).unwrap().len(), 1);
    }
}
