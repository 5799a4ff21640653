//! What a life of a node begins and ends with, on the disk of its store.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use slog::{Logger, error, info, warn};
use tokio::time::{Instant, timeout};

use super::{LAST_WRITES, LOOK_EVERY, NodeError};
use crate::actors::{Directory, tell_left_behind};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::store::{self, Layout, Ledger, Recovery, StoreError, TempMark, Volume};

/// Where a power cut may have taken what was written: between the last sign of life, given each minute, and what a kernel
/// and a disk may still have held back then.
const NEAR_THE_STOP_MICROS: i64 = 5 * 60 * 1_000_000;
/// Somebody who scrubs by hand holds the lock for a moment, now and then.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// Makes BASE and our own directory in it, and takes the lock.
pub(super) fn prepare_store(layout: &Layout) -> Result<File, NodeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NodeError::Store { path, source }
    };
    let own_dir = layout.own_dir();
    fs::create_dir_all(&own_dir).map_err(failed(layout.base()))?;
    let end = Instant::now() + LOCK_WITHIN;
    loop {
        let lock = store::try_lock(layout);
        match lock.map_err(|source| NodeError::Volume { path: layout.base().to_owned(), source })? {
            Some(lock) => return Ok(lock),
            None if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            None => return Err(NodeError::Locked(layout.base().to_owned())),
        }
    }
}

/// Notes how the last life on this directory ended, and that another one begins. Answers since when what was written is to be
/// checked, if it did not end in order.
pub(super) fn begin_life(layout: &Layout, volume: &Volume, log: &Logger) -> Option<Timestamp> {
    let unchecked_since = store::last_seen(layout).map(|seen| seen.plus_micros(-NEAR_THE_STOP_MICROS));
    if let Some(since) = unchecked_since {
        warn!(log, "the last run did not end in order, what it wrote last is checked first"; "since" => %since);
        let mut state = store::read_scrub_state(layout);
        state.unchecked_since = Some(state.unchecked_since.map_or(since, |earlier| earlier.min(since)));
        // Must precede the sign of life, which hides when the last life was last seen.
        if let Err(error) = store::write_scrub_state(layout, volume, &state) {
            warn!(log, "what is unchecked is not kept for the next start"; "error" => chain(&error));
        }
    }
    if let Err(error) = store::sign_of_life(layout, volume) {
        warn!(log, "the next start will not know whether this run ended in order"; "error" => chain(&error));
    }
    unchecked_since
}

/// Keeps what an earlier run left behind. Beside everything else: a large archive takes a while, and recording must not
/// wait for it.
pub(super) async fn recover(
    layout: Layout,
    mine: TempMark,
    ledger: Ledger,
    directory: Directory,
    metrics: Metrics,
    log: Logger,
) {
    if let Some(recovery) = recover_in(layout.clone(), mine.clone(), &log).await {
        tell_left_behind(&recovery, &directory, &ledger, &metrics, &log);
    }
    // What is in quarantine was told as an advertisement.
    if let Some(recovery) = recover_in(layout.quarantine(), mine, &log).await {
        metrics.segments_recovered(recovery.recovered.len());
        for left in &recovery.recovered {
            info!(log, "kept what a killed process left behind"; "segment" => left.name.path_text());
        }
    }
}

async fn recover_in(layout: Layout, mine: TempMark, log: &Logger) -> Option<Recovery> {
    let in_log = log.clone();
    let on_error = move |error: StoreError| warn!(in_log, "a temp is left as it is"; "error" => chain(&error));
    let recover = move || {
        store::sweep_copies(&layout);
        store::recover(&layout, &mine, on_error)
    };
    match Blocking::new(1).run(recover).await {
        Ok(Ok(recovery)) => Some(recovery),
        Ok(Err(error)) => {
            warn!(log, "temps could not be recovered, the next start tries again"; "error" => chain(&error));
            None
        }
        Err(error) => {
            error!(log, "temps could not be recovered"; "error" => chain(&error));
            None
        }
    }
}

/// For scripts that let the system choose the port. A second line says that it takes TLS.
pub(super) fn write_listen_file(layout: &Layout, address: SocketAddr, over_tls: bool, log: &Logger) {
    let path = layout.listen_file();
    let temp = path.with_extension("temp");
    let written = fs::write(&temp, format!("{address}\n{}", if over_tls { "tls\n" } else { "" }))
        .and_then(|()| fs::rename(&temp, &path));
    if let Err(error) = written {
        warn!(log, "the address cannot be written down"; "path" => %path.display(), "error" => %error);
    }
}

/// Notes that this life ended in order.
pub(super) async fn end_life(layout: &Layout, volume: &Volume, log: &Logger) {
    let (layout, volume) = (layout.clone(), volume.clone());
    let ended = Blocking::new(1).run(move || store::end_of_life(&layout, &volume));
    if let Ok(Ok(Err(error))) = timeout(LAST_WRITES, ended).await {
        warn!(log, "the next start will check what was written last"; "error" => chain(&error));
    }
}
