//! What is too old, in the record and beside it. Blocks on the disk.

use std::time::{Duration, Instant};

use crate::config::RetentionConfig;
use crate::model::{Channel, Timestamp};
use crate::select::retain::{self, Pin, StoredFile, StreamHour};
use crate::store::{self, Deleted, Layout, StoreError};

/// A look deletes for so long; then others may have the disk.
const LONGEST_SWEEP: Duration = Duration::from_secs(2);
/// Files of what was learnt that one look removes.
const MOST_LEARNT: usize = 1000;
/// The ledger outlives the record by this: what was lost just before it is still of interest.
const LEDGER_MARGIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Files of one hour that are to go.
#[derive(Debug, Clone)]
pub struct Going {
    pub of: StreamHour,
    pub files: Vec<StoredFile>,
}

/// A moment so long ago.
pub fn bound(now: Timestamp, age: Duration) -> Timestamp {
    now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

/// Hands over what is too old, hour by hour, until `take` says that it is enough. Answers whether it was all.
pub fn each_aged(
    layout: &Layout,
    max_age: &dyn Fn(&Channel) -> Option<Duration>,
    now: Timestamp,
    pins: &[Pin],
    take: &mut dyn FnMut(Going) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    for (channel, quality) in store::streams(layout)? {
        let Some(bound) = max_age(&channel).map(|age| bound(now, age)) else { continue };
        for hour in store::hours(layout, &channel, &quality)?.into_iter().take_while(|hour| hour.start() < bound) {
            let of = StreamHour { channel: channel.clone(), quality: quality.clone(), hour };
            let files = store::stored_files(layout, &of)?;
            let going: Vec<StoredFile> = retain::aged(&of, &files, bound, pins, now).into_iter().cloned().collect();
            if !going.is_empty() && !take(Going { of, files: going })? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    pub record: Deleted,
    pub quarantine: Deleted,
    /// There is more to do.
    pub has_more: bool,
}

/// Deletes what is too old, for a bounded time. Pins that cannot be read end it before the first deletion.
pub fn sweep(layout: &Layout, config: &RetentionConfig, now: Timestamp) -> Result<Swept, StoreError> {
    let (mut swept, end) = (Swept::default(), Instant::now() + LONGEST_SWEEP);
    let pins = pins(layout)?;
    let is_all = each_aged(layout, &|channel| config.max_age(channel), now, &pins, &mut |going| {
        delete(layout, &going, &mut swept.record)?;
        Ok(Instant::now() < end)
    })?;
    let quarantine = layout.quarantine();
    let is_all = is_all
        && each_aged(&quarantine, &|channel| config.quarantine_max_age(channel), now, &pins, &mut |going| {
            delete(&quarantine, &going, &mut swept.quarantine)?;
            Ok(Instant::now() < end)
        })?;
    swept.has_more = !is_all;
    if is_all {
        swept.has_more = store::sweep_learnt(layout, MOST_LEARNT)? == MOST_LEARNT;
        forget_losses(layout, config, now)?;
    }
    Ok(swept)
}

fn delete(layout: &Layout, going: &Going, sum: &mut Deleted) -> Result<(), StoreError> {
    let deleted = store::delete_files(layout, &going.of, &going.files)?;
    sum.files += deleted.files;
    sum.size_bytes += deleted.size_bytes;
    Ok(())
}

pub fn pins(layout: &Layout) -> Result<Vec<Pin>, StoreError> {
    Ok(store::read_pins(layout)?.into_iter().map(|kept| kept.pin).collect())
}

/// Of channels that have a bound: the ledger of what lies before both the bound and the oldest hour that is left.
fn forget_losses(layout: &Layout, config: &RetentionConfig, now: Timestamp) -> Result<(), StoreError> {
    for (channel, quality) in store::streams(&layout.losses())? {
        let Some(bound) = config.max_age(&channel).map(|age| bound(now, age)) else { continue };
        let oldest = store::hours(layout, &channel, &quality)?.first().map(|hour| hour.start());
        let before = oldest.unwrap_or(bound).min(bound);
        store::forget_losses(layout, &channel, &quality, self::bound(before, LEDGER_MARGIN).hour())?;
    }
    Ok(())
}
