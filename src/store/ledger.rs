//! The loss ledger: every second that the live source had and we have not, with its cause.
//!
//! BASE/.segvault/losses/CHANNEL/QUALITY/HOUR holds one line of JSON for each loss that begins in that hour; a longer loss
//! has a line in each of its hours. Lines are only ever added.
//!
//! Promises: what was written is flushed; whatever else is in a file (a line that a crash cut off, junk, lines of a version
//! to come) is passed over. A loss that the record has filled by now is told as filled.
//! All functions block on the disk; recording goes through `Ledger`, which never does.

mod keeper;
mod line;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use keeper::{Keeper, Ledger, LedgerOf};
pub use line::LossLine;

use super::{Layout, StoreError, flush_dir, load_hour, make_dir};
use crate::model::{Channel, Hour, Loss, LossCause, Quality, Span, Timestamp};
use crate::select::losses::{clip, joined, shown_in_full, standing};
use crate::select::{HourIndex, Selection, StandingLoss};

/// More than any honest hour: a loss for each of its half seconds, noted twice, takes 3 MB.
const MOST_READ_BYTES: u64 = 16 << 20;
/// A loss that is longer is a clock that jumped, not a loss; it would make a file for each of its hours.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

fn quality_dir(layout: &Layout, channel: &Channel, quality: &Quality) -> PathBuf {
    layout.losses().quality_dir(channel, quality)
}

/// Adds losses of one quality, and flushes them. For a process that runs no `Ledger`.
pub fn note_losses(layout: &Layout, channel: &Channel, quality: &Quality, losses: &[Loss]) -> Result<(), StoreError> {
    let mut texts: BTreeMap<Hour, String> = BTreeMap::new();
    for loss in losses {
        for part in by_hours(loss.span) {
            let text = texts.entry(part.start().hour()).or_default();
            text.push_str(&LossLine::of(&loss.of(part)).to_json());
            text.push('\n');
        }
    }
    let dir = quality_dir(layout, channel, quality);
    make_dir(&dir)?;
    for (hour, text) in texts {
        let path = dir.join(hour.to_string());
        let is_new = append(&path, &text).map_err(|source| StoreError::new("write", &path, source))?;
        if is_new {
            flush_dir(&dir)?;
        }
    }
    Ok(())
}

/// Adds whole lines to a file; answers whether the file was empty.
fn append(path: &Path, text: &str) -> io::Result<bool> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let is_new = file.metadata()?.len() == 0;
    if !is_new && !ends_a_line(&mut file)? {
        // What a crash cut off must not swallow the line after it.
        file.write_all(b"\n")?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(is_new)
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn is_credible(span: Span) -> bool {
    span.duration() <= LONGEST
}

/// A span cut where hours begin; nothing of one that is no loss.
fn by_hours(span: Span) -> impl Iterator<Item = Span> {
    let hours = is_credible(span).then(|| span.start().hour().through(span.end().hour()));
    let within = move |hour: Hour| Span::new(span.start().max(hour.start()), span.end().min(hour.end())).ok();
    hours.into_iter().flatten().filter_map(within)
}

/// The losses of a quality as they stand now: in order, none overlapping another, those of one cause that touch as one;
/// all of them, or what of them lies within a span.
pub fn losses(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    within: Option<Span>,
) -> Result<Vec<StandingLoss>, StoreError> {
    let noted = clip(noted(layout, channel, quality, within)?, within);
    let full = full_within(layout, channel, quality, &joined(&noted))?;
    Ok(standing(noted, &full))
}

/// Of these spans, which are in order, what full segments show by now, in order.
pub fn full_within(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    spans: &[Span],
) -> Result<Vec<Span>, StoreError> {
    let mut hours = Hours { layout, channel, quality, loaded: BTreeMap::new() };
    let mut full = Vec::new();
    for span in spans {
        full.extend(shown_in_full(&hours.select(*span)?));
    }
    Ok(full)
}

/// Whether all of a span was noted as lost to this cause.
pub fn is_noted(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    span: Span,
    cause: LossCause,
) -> Result<bool, StoreError> {
    let mut noted = noted(layout, channel, quality, Some(span))?;
    noted.retain(|loss| loss.cause == cause);
    Ok(joined(&noted).iter().any(|one| one.start() <= span.start() && span.end() <= one.end()))
}

/// Everything noted in the hours that a span touches, or in all.
fn noted(layout: &Layout, channel: &Channel, quality: &Quality, within: Option<Span>) -> Result<Vec<Loss>, StoreError> {
    let dir = quality_dir(layout, channel, quality);
    let mut found = Vec::new();
    for hour in hours_noted(&dir)? {
        if within.is_none_or(|span| (span.start().hour()..=span.end().hour()).contains(&hour)) {
            let path = dir.join(hour.to_string());
            let text = read_start(&path).map_err(|source| StoreError::new("read", &path, source))?;
            let parsed = text.split(|byte| *byte == b'\n').filter_map(LossLine::parse);
            // A line that claims more than its hour would have years of the record looked at.
            found.extend(clip(parsed.collect(), Span::new(hour.start(), hour.end()).ok()));
        }
    }
    Ok(found)
}

fn hours_noted(dir: &Path) -> Result<Vec<Hour>, StoreError> {
    let mut hours: Vec<Hour> = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(StoreError::new("list", dir, source)),
    };
    hours.sort_unstable();
    Ok(hours)
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST_READ_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Where the record before `before` ends in full; `None` if there is none.
pub fn recorded_until(
    layout: &Layout,
    channel: &Channel,
    quality: &Quality,
    before: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    for hour in super::hours(layout, channel, quality)?.into_iter().rev().filter(|hour| *hour <= before.hour()) {
        let index = load_hour(layout, channel, quality, hour)?.index;
        let full = index.best().filter(|one| one.kind == crate::model::SegmentKind::Full && one.start < before);
        if let Some(end) = full.map(|one| one.end()).max() {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// The hours that selections need, each listed once. Those behind are forgotten: spans come in order.
struct Hours<'l> {
    layout: &'l Layout,
    channel: &'l Channel,
    quality: &'l Quality,
    loaded: BTreeMap<Hour, Arc<HourIndex>>,
}

impl Hours<'_> {
    fn select(&mut self, span: Span) -> Result<Selection, StoreError> {
        self.loaded.retain(|hour, _| *hour >= span.start().hour().previous());
        for hour in span.hours() {
            if !self.loaded.contains_key(&hour) {
                let index = load_hour(self.layout, self.channel, self.quality, hour)?.index;
                self.loaded.insert(hour, index);
            }
        }
        let of_span = span.hours().filter_map(|hour| self.loaded.get(&hour).cloned());
        Ok(Selection::choose(span, of_span.collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PendingSegment;
    use super::*;
    use crate::model::{LossDetail, SegmentKind};

    fn fixture() -> (tempfile::TempDir, Layout, Channel, Quality) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout, "ch".parse().unwrap(), "source".parse().unwrap())
    }

    fn time(text: &str) -> Timestamp {
        format!("2026-01-02T{text}").parse().unwrap()
    }

    fn loss(start: &str, end: &str, cause: LossCause) -> Loss {
        let span = Span::new(time(start), time(end)).unwrap();
        let detail = LossDetail::new("because");
        Loss { span, cause, noticed: time("23:00:00"), node: "a".parse().unwrap(), detail }
    }

    fn save(layout: &Layout, start: &str, kind: SegmentKind) {
        let (channel, quality) = ("ch".parse().unwrap(), "source".parse().unwrap());
        let mut pending = PendingSegment::create(layout, &channel, &quality, time(start), 2_000_000, "t").unwrap();
        pending.append(&[&start]).unwrap();
        pending.finish(kind).unwrap();
    }

    fn shown(losses: &[StandingLoss]) -> Vec<(String, &'static str, bool)> {
        losses.iter().map(|one| (one.loss.span.to_string(), one.loss.cause.as_str(), one.filled)).collect()
    }

    #[test]
    fn a_loss_over_hours_is_noted_in_each_and_read_as_one() {
        let (dir, layout, channel, quality) = fixture();
        let long = loss("03:59:58", "06:00:00", LossCause::SourceDown);
        note_losses(&layout, &channel, &quality, std::slice::from_ref(&long)).unwrap();
        let files = hours_noted(&dir.path().join(".segvault/losses/ch/source")).unwrap();
        assert_eq!(
            files.iter().map(Hour::to_string).collect::<Vec<_>>(),
            ["2026-01-02T03", "2026-01-02T04", "2026-01-02T05"]
        );
        let whole = losses(&layout, &channel, &quality, None).unwrap();
        assert_eq!(whole, [StandingLoss { loss: long.clone(), filled: false }]);
        let within = Span::new(time("04:30:00"), time("05:00:00")).ok();
        assert_eq!(losses(&layout, &channel, &quality, within).unwrap()[0].loss.span, within.unwrap());
        let began = std::time::Instant::now();
        let endless = Loss { span: Span::new(time("00:00:00"), Timestamp::from_micros(i64::MAX / 2)).unwrap(), ..long };
        note_losses(&layout, &channel, &quality, &[endless]).unwrap();
        assert_eq!(losses(&layout, &channel, &quality, None).unwrap(), whole);
        let claims = LossLine::of(&loss("00:00:00", "00:00:01", LossCause::Disk))
            .to_json()
            .replace("2026-01-02T00:00:01", "9999-01-01T00:00:01");
        fs::write(dir.path().join(".segvault/losses/ch/source/2026-01-02T00"), claims).unwrap();
        let found = losses(&layout, &channel, &quality, None).unwrap();
        assert_eq!((found.len(), found[0].loss.span), (2, Span::new(time("00:00:00"), time("01:00:00")).unwrap()));
        assert!(began.elapsed() < Duration::from_secs(30), "hours that no ledger has were walked through");
    }

    #[test]
    fn what_was_noted_is_known_by_its_span_and_cause() {
        let (_dir, layout, channel, quality) = fixture();
        let ads = [("03:59:58", "04:00:00"), ("04:00:00", "04:00:04")];
        for (start, end) in ads {
            let loss = loss(start, end, LossCause::Advertisement);
            note_losses(&layout, &channel, &quality, &[loss]).unwrap();
        }
        let is_noted = |start, end, cause| {
            is_noted(&layout, &channel, &quality, Span::new(time(start), time(end)).unwrap(), cause).unwrap()
        };
        assert!(is_noted("03:59:59", "04:00:02", LossCause::Advertisement));
        assert!(!is_noted("03:59:59", "04:00:02", LossCause::Expired));
        assert!(!is_noted("04:00:02", "04:00:06", LossCause::Advertisement));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_costs_only_itself() {
        let (dir, layout, channel, quality) = fixture();
        let (first, second) =
            (loss("03:00:00", "03:00:02", LossCause::Expired), loss("03:00:04", "03:00:06", LossCause::Disk));
        note_losses(&layout, &channel, &quality, std::slice::from_ref(&first)).unwrap();
        let path = dir.path().join(".segvault/losses/ch/source/2026-01-02T03");
        let torn = format!("{}{{\"start\":\"2026", fs::read_to_string(&path).unwrap());
        fs::write(&path, &torn).unwrap();
        assert_eq!(losses(&layout, &channel, &quality, None).unwrap().len(), 1);
        note_losses(&layout, &channel, &quality, std::slice::from_ref(&second)).unwrap();
        let found: Vec<Loss> =
            losses(&layout, &channel, &quality, None).unwrap().into_iter().map(|one| one.loss).collect();
        assert_eq!(found, [first, second]);
        // Only ever added to.
        assert!(fs::read_to_string(&path).unwrap().starts_with(&torn));
    }

    #[test]
    fn a_full_segment_fills_a_loss_and_a_partial_one_does_not() {
        let (_dir, layout, channel, quality) = fixture();
        let all = [loss("03:59:58", "04:00:04", LossCause::Expired), loss("05:00:00", "05:00:02", LossCause::CutShort)];
        note_losses(&layout, &channel, &quality, &all).unwrap();
        save(&layout, "03:59:58", SegmentKind::Full);
        save(&layout, "04:00:02", SegmentKind::Full);
        save(&layout, "05:00:00", SegmentKind::Partial);
        let found = losses(&layout, &channel, &quality, None).unwrap();
        let expected = [
            (span_text("03:59:58", "04:00:00"), "expired", true),
            (span_text("04:00:00", "04:00:02"), "expired", false),
            (span_text("04:00:02", "04:00:04"), "expired", true),
            (span_text("05:00:00", "05:00:02"), "cut_short", false),
        ];
        assert_eq!(shown(&found), expected);
    }

    fn span_text(start: &str, end: &str) -> String {
        Span::new(time(start), time(end)).unwrap().to_string()
    }

    #[test]
    fn the_record_ends_with_its_last_full_segment() {
        let (_dir, layout, channel, quality) = fixture();
        let until = |before| recorded_until(&layout, &channel, &quality, time(before)).unwrap();
        assert_eq!(until("05:00:00"), None);
        save(&layout, "03:59:58", SegmentKind::Full);
        save(&layout, "04:10:00", SegmentKind::Partial);
        save(&layout, "04:20:00", SegmentKind::Full);
        assert_eq!(until("05:00:00"), Some(time("04:20:02")));
        assert_eq!(until("04:20:00"), Some(time("04:00:00")));
        assert_eq!(until("03:00:00"), None);
    }

    proptest! {
        // Each case flushes to disk.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_junk_is_read(junk in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..3) {
            let (dir, layout, channel, quality) = fixture();
            let real = loss("03:00:00", "03:00:02", LossCause::Expired);
            note_losses(&layout, &channel, &quality, std::slice::from_ref(&real)).unwrap();
            let path = dir.path().join(".segvault/losses/ch/source/2026-01-02T03");
            let good = fs::read(&path).unwrap();
            let parts: [&[u8]; 3] = match at {
                0 => [&junk, b"\n", &good],
                1 => [&good, &junk, b""],
                _ => [&good, &junk, &good],
            };
            fs::write(&path, parts.concat()).unwrap();
            let found = losses(&layout, &channel, &quality, None).unwrap();
            prop_assert_eq!(found, [StandingLoss { loss: real, filled: false }]);
        }
    }
}
