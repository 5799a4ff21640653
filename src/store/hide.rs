//! Hiding what lies in a range: which files that are, and their tombstones with who and why.
//!
//! Promises: all versions of everything that holds a moment of the range are named, in the record and in quarantine; what is
//! being written is counted and not named, as no tombstone could hide it yet. Blocks on the disk.

use sha2::{Digest, Sha256};

use super::{Layout, Reason, StoreError, add_tombstones, channels, hours, list_hour, qualities, write_reasons};
use crate::model::{
    CHAT_ENDING, Channel, HashedName, Hour, NameFields, Quality, SEGMENT_ENDING, SegmentHash, SegmentKind, Span,
    TOMBSTONE_ENDING, Timestamp, tombstone_of,
};

/// Files of one hour that are to be hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
    /// The names of their tombstones, in order.
    pub names: Vec<String>,
}

/// All that lies in a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wished {
    pub wishes: Vec<Wish>,
    /// Files in the range that are being written: they can be hidden when they are over.
    pub unfinished: usize,
}

impl Wished {
    pub fn files(&self) -> usize {
        self.wishes.iter().map(|wish| wish.names.len()).sum()
    }

    /// What tells these files from any others, to find out later whether they are the same still.
    pub fn mark(&self) -> SegmentHash {
        let mut hasher = Sha256::new();
        for Wish { channel, quality, hour, names } in &self.wishes {
            names.iter().for_each(|name| hasher.update(format!("{channel}/{quality}/{hour}/{name}\n")));
        }
        SegmentHash::from_bytes(hasher.finalize().into())
    }
}

/// Who hides, when, and why.
#[derive(Debug, Clone)]
pub struct Hiding {
    pub at: Timestamp,
    pub by: String,
    pub reason: Option<String>,
}

/// Why not all is done.
#[derive(Debug, thiserror::Error)]
pub enum HideError {
    #[error("tombstones of {channel}/{quality}/{hour} are not all in force")]
    NotInForce { channel: Channel, quality: Quality, hour: Hour, source: StoreError },
    #[error("all of it is hidden, but the reason could not be written down")]
    NoReason(#[source] StoreError),
}

/// Every quality of a channel that is there, in the record or in quarantine, chat too; in order.
pub fn qualities_to_hide(layout: &Layout, channel: &Channel) -> Result<Vec<Quality>, StoreError> {
    let mut found = qualities(layout, channel)?;
    found.extend(qualities(&layout.quarantine(), channel)?);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The same of channels.
pub fn channels_to_hide(layout: &Layout) -> Result<Vec<Channel>, StoreError> {
    let mut found = channels(layout)?;
    found.extend(channels(&layout.quarantine())?);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Everything of these qualities that holds a moment of the range. What is hidden already is named again: somebody may ask
/// to be sure.
pub fn wishes_in(layout: &Layout, channel: &Channel, qualities: &[Quality], span: Span) -> Result<Wished, StoreError> {
    let mut wished = Wished::default();
    for quality in qualities {
        for place in [layout, &layout.quarantine()] {
            let (first, last) = (span.start().hour().previous(), span.end().hour());
            let hours = hours(place, channel, quality)?;
            for hour in hours.into_iter().filter(|hour| (first..=last).contains(hour)) {
                let listing = list_hour(place, channel, quality, hour)?;
                let inside = |name: &&str| {
                    HashedName::parse(hour, name).is_ok_and(|one| is_inside(one.start(), one.end(), span))
                };
                let all = listing.visible().chain(listing.hidden());
                let mut names: Vec<String> = all.filter(inside).filter_map(tombstone_of).collect();
                names.sort_unstable();
                wished.unfinished += listing.segments().filter(|name| is_temp_inside(hour, name, span)).count();
                if !names.is_empty() {
                    wished.wishes.push(Wish { channel: channel.clone(), quality: quality.clone(), hour, names });
                }
            }
        }
    }
    Ok(wished)
}

/// A file that is being written: its name ends otherwise when it is whole, so no tombstone could hide it now.
fn is_temp_inside(hour: Hour, name: &str, span: Span) -> bool {
    NameFields::parse(name).is_ok_and(|fields| {
        let start = hour.start().plus_micros(i64::from(fields.offset_micros));
        fields.kind == SegmentKind::Temp && is_inside(start, start.plus_micros(fields.duration_micros), span)
    })
}

/// Whether what a tombstone hides lies in a span, or a part of it.
pub fn touches(hour: Hour, tombstone: &str, span: Span) -> bool {
    ends_of(hour, tombstone).is_some_and(|(start, end)| is_inside(start, end, span))
}

/// From when to when what a tombstone hides lasts; `None` where its name does not say.
pub fn ends_of(hour: Hour, tombstone: &str) -> Option<(Timestamp, Timestamp)> {
    let base = tombstone.strip_suffix(TOMBSTONE_ENDING)?;
    if let Ok(fields) = NameFields::parse(&format!("{base}{SEGMENT_ENDING}")) {
        let start = hour.start().plus_micros(i64::from(fields.offset_micros));
        return Some((start, start.plus_micros(fields.duration_micros)));
    }
    let chat = HashedName::parse(hour, &format!("{base}{CHAT_ENDING}")).ok()?;
    Some((chat.start(), chat.end()))
}

/// A moment counts as well as a stretch of time.
fn is_inside(start: Timestamp, end: Timestamp, span: Span) -> bool {
    start < span.end() && (end > span.start() || start >= span.start())
}

/// Which of these files a tombstone hides now, in order of their names.
pub fn are_hidden(layout: &Layout, wish: &Wish) -> Vec<bool> {
    let dir = layout.hour_dir(&wish.channel, &wish.quality, wish.hour);
    wish.names.iter().map(|name| dir.join(name).symlink_metadata().is_ok()).collect()
}

/// Hides all of these. `done` is told of each hour which of its tombstones are new.
pub fn hide(
    layout: &Layout,
    wishes: &[Wish],
    hiding: &Hiding,
    mut done: impl FnMut(&Wish, &[bool]),
) -> Result<(), HideError> {
    let mut reasons: Vec<(&Channel, Vec<Reason>)> = Vec::new();
    let at = hiding.at.to_string();
    for wish in wishes {
        let Wish { channel, quality, hour, names } = wish;
        let are_new = add_tombstones(layout, channel, quality, *hour, names).map_err(|source| {
            let (channel, quality) = (channel.clone(), quality.clone());
            HideError::NotInForce { channel, quality, hour: *hour, source }
        })?;
        let new = names.iter().zip(&are_new).filter(|(_, is_new)| **is_new).map(|(name, _)| Reason {
            tombstone: format!("{quality}/{hour}/{name}"),
            at: at.clone(),
            by: hiding.by.clone(),
            reason: hiding.reason.clone(),
        });
        match reasons.iter_mut().find(|(of, _)| *of == channel) {
            Some((_, reasons)) => reasons.extend(new),
            None => reasons.push((channel, new.collect())),
        }
        done(wish, &are_new);
    }
    for (channel, reasons) in reasons.iter().filter(|(_, reasons)| !reasons.is_empty()) {
        write_reasons(layout, channel, reasons).map_err(HideError::NoReason)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "47DEQpj8HBSa_-TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn a_mark_tells_the_same_files_from_any_others() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let channel: Channel = "ch".parse().unwrap();
        let hour: Hour = "2026-01-02T03".parse().unwrap();
        let hour_dir = layout.hour_dir(&channel, &"source".parse().unwrap(), hour);
        std::fs::create_dir_all(&hour_dir).unwrap();
        let plant = |name: &str| std::fs::write(hour_dir.join(name), "").unwrap();
        plant(&format!("00:00.0-2.0-full-{HASH}.ts"));
        plant("00:04.0-2.0-temp-x.ts");
        let span = Span::new(hour.start(), hour.start().plus_micros(10_000_000)).unwrap();
        let look = || wishes_in(&layout, &channel, &qualities_to_hide(&layout, &channel).unwrap(), span).unwrap();
        let before = look();
        assert_eq!((before.files(), before.unfinished), (1, 1));
        assert_eq!(before.mark(), look().mark());
        assert_eq!(are_hidden(&layout, &before.wishes[0]), [false]);
        let hiding = Hiding { at: hour.start(), by: "ann".into(), reason: None };
        hide(&layout, &before.wishes, &hiding, |_, are_new| assert_eq!(are_new, [true])).unwrap();
        assert_eq!(are_hidden(&layout, &before.wishes[0]), [true]);
        assert_eq!(before.mark(), look().mark(), "what is hidden is named again");
        plant(&format!("00:02.0-2.0-full-{HASH}.ts"));
        assert_ne!(before.mark(), look().mark());
    }
}
