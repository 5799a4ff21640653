//! Reads a scenario's tables into checked values.
//!
//! Promises: every fault of the file is collected; a key that does nothing for its kind of fault is refused.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::words::{Cause, Kind, Skew};
use super::{Expectation, Scenario};
use crate::config::{Reader, Section, Setting as _, Table};
use crate::model::Quality;
use crate::rehearsal::{Change, Container, During, Fault, Framing, Lasts, PathKind, Percent, Rule, Turn};

const SECTIONS: &[&str] = &["rehearsal", "fault", "expect"];
/// A soak test plays ten minutes; an hour of video takes minutes to encode.
const LENGTH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const SEGMENT: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);
const KEEP: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const SETTLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const MOMENT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Longer than any recorder waits.
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
const SIZE: RangeInclusive<u32> = 0..=1 << 30;

/// What one `[[fault]]` is: about answers, or about the programme.
enum Entry {
    Rule(Rule),
    Turn(Turn),
}

pub(super) fn read(reader: &mut Reader, root: &Table) -> Option<Scenario> {
    let faults_before = reader.faults.len();
    let day = read_day(reader.section(root, "rehearsal"));
    let known = day.as_ref().map(|day| day.qualities.clone());
    let entries = reader.sections(root, "fault", |section| read_fault(section, known.as_deref()));
    let expectations = reader.sections(root, "expect", |section| read_expectation(section, known.as_deref()));
    reader.close(root, SECTIONS);
    if reader.faults.len() > faults_before {
        return None;
    }
    let mut day = day?;
    for entry in entries {
        match entry {
            Entry::Rule(rule) => day.rules.push(rule),
            Entry::Turn(turn) => day.turns.push(turn),
        }
    }
    Some(Scenario { expectations, ..day })
}

/// The day without anything that goes wrong.
fn read_day(mut section: Section<'_, '_>) -> Option<Scenario> {
    let length = section.duration("length", "40s", LENGTH);
    let segment = section.duration("segment", "1s", SEGMENT);
    // Real playlists are half a minute long, with segments of two seconds.
    let window_segments = section.integer("window", 15, 3..=1000);
    let qualities = section.texts("qualities", &["source", "90p"]);
    let container = section.text("container", &Container::MpegTs.shown());
    let keep = section.duration("keep", "60s", KEEP);
    let settle = section.duration("settle", "30s", SETTLE);
    let seed = section.integer("seed", 1, 0..=u32::MAX);
    section.close();
    Some(Scenario {
        length: length?,
        segment: segment?,
        window_segments: window_segments? as usize,
        qualities: qualities?,
        container: container?,
        keep: keep?,
        settle: settle?,
        seed: seed?,
        rules: Vec::new(),
        turns: Vec::new(),
        expectations: Vec::new(),
    })
}

fn read_fault(mut section: Section<'_, '_>, known: Option<&[Quality]>) -> Option<Entry> {
    let kind = section.required::<Kind>("kind");
    let quality = read_quality(&mut section, known);
    let from = section.duration("from", "0s", MOMENT);
    let Some(kind) = kind else {
        // Which keys belong to it cannot be said.
        return None;
    };
    let what = read_what(&mut section, kind);
    let happens_once = matches!(what, Some(What::Change(Change::SequenceReset | Change::Discontinuity)));
    let until = if happens_once { Some(None) } else { section.optional::<Duration>("until") };
    if let (Some(from), Some(Some(until))) = (from, until)
        && until <= from
    {
        let at = section.origin("until");
        section.fault(&at, "until", "it ends before it begins; write a later moment than from");
    }
    let entry = match what {
        Some(What::Fault(fault)) => {
            let kind = section.optional::<PathKind>("on");
            let share = section.text::<Percent>("share", &Percent::ALL.shown());
            let is_counted = section.has("count");
            let count = section.integer("count", 1, 1..=u32::MAX);
            let lasts = count.map(|count| if is_counted { Lasts::Requests(count) } else { Lasts::UntilCleared });
            let rule = |(kind, share, lasts, quality, during)| Rule {
                kind,
                quality,
                media_sequence: None,
                during,
                share,
                fault,
                lasts,
            };
            let during = from.zip(until).map(|(from, until)| During { from, until });
            let all = (|| Some((kind?, share?, lasts?, quality?, during?)))();
            all.map(rule).filter(|rule| check_kind(&mut section, rule)).map(Entry::Rule)
        }
        Some(What::Change(change)) => {
            let during = from.zip(until).map(|(from, until)| During { from, until });
            during.zip(quality).map(|(during, quality)| Entry::Turn(Turn { quality, during, change }))
        }
        None => None,
    };
    section.close();
    entry
}

/// A rule that can never strike is a slip of the pen.
fn check_kind(section: &mut Section<'_, '_>, rule: &Rule) -> bool {
    let Some(kind) = rule.kind else { return true };
    let quality = rule.quality.as_ref().filter(|_| kind != PathKind::Master);
    let strikes = rule.is_about(kind, quality);
    if !strikes {
        let at = section.origin("on");
        section.fault(&at, "on", format!("{} answers cannot be spoilt like this", kind.shown()));
    }
    strikes
}

/// `Some(None)` where no quality is named.
fn read_quality(section: &mut Section<'_, '_>, known: Option<&[Quality]>) -> Option<Option<Quality>> {
    let quality = section.optional::<Quality>("quality")?;
    if let (Some(quality), Some(known)) = (&quality, known)
        && !known.contains(quality)
    {
        let at = section.origin("quality");
        section.fault(&at, "quality", "it is not among rehearsal.qualities");
        return None;
    }
    Some(quality)
}

enum What {
    Fault(Fault),
    Change(Change),
}

/// The fault itself, with the parameters that belong to its kind.
fn read_what(section: &mut Section<'_, '_>, kind: Kind) -> Option<What> {
    Some(What::Fault(match kind {
        Kind::Status => {
            let status = section.integer("status", 503, 400..=599)?;
            Fault::Status(u16::try_from(status).unwrap_or(u16::MAX))
        }
        Kind::Html => Fault::Html,
        Kind::Truncate => {
            let after_bytes = read_bytes(section, "after", 1000);
            let framing = section.text("framing", &Framing::Length.shown());
            Fault::Truncated { after_bytes: after_bytes?, framing: framing? }
        }
        Kind::Stall => Fault::Stalled { after_bytes: read_bytes(section, "after", 1000)? },
        Kind::Delay => Fault::Delayed(section.duration("delay", "3s", DELAY)?),
        Kind::Drop => Fault::Dropped,
        Kind::WrongLength => Fault::WrongLength { extra_bytes: read_bytes(section, "extra", 188)? },
        Kind::Short => Fault::Short { bytes: read_bytes(section, "after", 1000)? },
        Kind::Corrupt => Fault::Corrupt { at_byte: read_bytes(section, "byte", 188)? },
        Kind::Redirect => Fault::Redirected,
        Kind::RedirectLoop => Fault::RedirectLoop,
        Kind::BrokenTls => Fault::BrokenTls,
        Kind::TokenExpiry => Fault::TokenExpires { after: section.duration("lifetime", "60s", LENGTH)? },
        Kind::Huge => Fault::Huge { bytes: read_bytes(section, "bytes", 100_000_000)? as u64 },
        Kind::NoDates => Fault::WithoutDateTimes,
        Kind::Lag => Fault::Stale { segments: section.integer("segments", 2, 1..=1000)? as usize },
        Kind::Freeze => Fault::Frozen,
        Kind::FalseEnd => Fault::FalseEnd,
        Kind::Advertisement => return Some(What::Change(Change::Advertisement)),
        Kind::SequenceReset => return Some(What::Change(Change::SequenceReset)),
        Kind::Discontinuity => return Some(What::Change(Change::Discontinuity)),
        Kind::OtherEncoding => return Some(What::Change(Change::OtherEncoding)),
        Kind::ClockSkew => {
            let skew = section.text::<Skew>("skew", "+1s")?;
            return Some(What::Change(Change::Skew { micros: skew.micros }));
        }
        Kind::OffAir => return Some(What::Change(Change::OffAir)),
    }))
}

fn read_bytes(section: &mut Section<'_, '_>, key: &'static str, default: u32) -> Option<usize> {
    section.integer(key, default, SIZE).map(|bytes| bytes as usize)
}

fn read_expectation(mut section: Section<'_, '_>, known: Option<&[Quality]>) -> Option<Expectation> {
    let quality = read_quality(&mut section, known);
    let cause = section.required::<Cause>("cause");
    let lost = section.duration("lost", "0s", MOMENT);
    let tolerance = section.duration("tolerance", "0s", MOMENT);
    section.close();
    Some(Expectation { quality: quality?, cause: cause?, lost: lost?, tolerance: tolerance? })
}
