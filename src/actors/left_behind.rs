//! What a killed process left behind, as it is told wherever it is found.

use slog::{Logger, info};

use super::directory::Directory;
use super::stream_worker::seek_missing;
use crate::metrics::Metrics;
use crate::model::{LossCause, Span};
use crate::store::{Ledger, LeftBehind, Recovery};

/// Should a source still list one of these, it is fetched, and that fills the loss.
pub fn tell_left_behind(recovery: &Recovery, directory: &Directory, ledger: &Ledger, metrics: &Metrics, log: &Logger) {
    metrics.segments_recovered(recovery.recovered.len());
    for left in &recovery.recovered {
        info!(log, "kept what a killed process left behind"; "segment" => left.name.path_text());
        note(directory, ledger, left, LossCause::CutShort, "the recorder was stopped in the middle of it");
    }
    for left in &recovery.empty {
        note(directory, ledger, left, LossCause::Unknown, "the recorder was stopped before it came");
    }
}

fn note(directory: &Directory, ledger: &Ledger, left: &LeftBehind, cause: LossCause, detail: &str) {
    if let Ok(span) = Span::new(left.name.start(), left.name.end()) {
        ledger.note(&left.channel, &left.quality, span, cause, detail);
        // Peers may have all of it.
        seek_missing(directory, &left.channel, &left.quality, span);
    }
}
