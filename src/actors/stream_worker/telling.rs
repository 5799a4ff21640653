//! What a worker tells: polls to the metrics, changes to the log, and each loss to all of them and to the ledger.
//!
//! Promises: a loss has one cause, that which is known best; what advertisements take is told as theirs.

use actix::prelude::*;
use slog::{debug, info, warn};
use tokio::time::Instant;

use super::StreamWorker;
use crate::actors::bounty_board::Missing;
use crate::actors::directory::Directory;
use crate::actors::stored_feed::Stored;
use crate::causes::chain;
use crate::ingest::{Content, Outage, Outed, Step, Wanted, session_began};
use crate::metrics::PollOutcome;
use crate::model::{Channel, LossCause, Quality, RecordingPhase, Span};
use crate::select::TOLERANCE_MICROS;
use crate::store::{self, Saved};

impl StreamWorker {
    pub(super) fn tell_step(&mut self, step: &Step) {
        let outcome = match step {
            Step { reset: true, .. } => PollOutcome::Reset,
            Step { ended: true, .. } => PollOutcome::Ended,
            Step { wanted, .. } if !wanted.is_empty() => PollOutcome::Fresh,
            Step { stale: true, .. } => PollOutcome::Stale,
            Step { .. } => PollOutcome::Unchanged,
        };
        self.count_poll(outcome);
        if step.reset {
            info!(self.log, "source began anew");
        }
        if step.stale {
            debug!(self.log, "source showed an older playlist than before");
        }
        // Must precede the gaps: it says which of them are the outage's own.
        self.tell_outage(|outage, now| outage.listed(step.edge, now));
        for lost in &step.lost {
            let span = lost.span.map_or_else(|| "unknown".to_owned(), |span| span.to_string());
            warn!(self.log, "segments were gone before we saw them"; "count" => lost.count, "span" => span);
            if !lost.span.is_some_and(|span| self.outage.explains(span)) {
                self.lose(LossCause::Expired, lost.span, &format!("{} segments", lost.count));
            }
        }
        // Those of the first list may be told already, by an earlier life; who looks at the disk for it tells the others.
        if self.newest_end.is_some() {
            step.wanted.iter().for_each(|wanted| self.tell_advertisement(wanted));
        }
        if step.ended {
            self.enter(RecordingPhase::Ended);
        } else if step.last_listed.is_some() {
            self.enter(RecordingPhase::Recording);
        }
    }

    /// It is told as lost before it is fetched. Tells nothing of the programme.
    pub(super) fn tell_advertisement(&self, wanted: &Wanted) {
        if let Content::Advertisement(sign) = wanted.content {
            self.lose(LossCause::Advertisement, wanted.span(), &sign.detail(wanted));
        }
    }

    /// No list came where one was due. While another session has one, nothing is wrong.
    pub(super) fn tell_blindness(&mut self, cause: Option<LossCause>) {
        if self.sessions.is_blind() {
            self.tell_outage(|outage, now| outage.failed(cause, now));
        }
    }

    /// Takes what the watch over the source makes of a poll.
    pub(super) fn tell_outage(&mut self, take: impl FnOnce(&mut Outage, Instant) -> Option<Outed>) {
        if let Some(Outed { cause, span }) = take(&mut self.outage, Instant::now()) {
            warn!(self.log, "the source could not be read"; "span" => %span, "cause" => cause.as_str());
            self.lose(cause, Some(span), "the source could not be read");
        }
    }

    /// Between where the record ends and the first list there is what came while nobody recorded, if the session was on.
    pub(super) fn tell_downtime(&self, listed: &[Wanted], ctx: &mut Context<Self>) {
        let (Some(first), Some(began)) = (listed.first().map(|one| one.start), session_began(listed)) else { return };
        let (disk, channel, quality) = (self.recording.disk.clone(), self.channel.clone(), self.quality.clone());
        let layout = disk.layout.clone();
        let look = async move { disk.read(move || store::recorded_until(&layout, &channel, &quality, first)).await };
        ctx.spawn(look.into_actor(self).map(move |found, this, _| match found {
            Some(Ok(Some(until))) if first.micros_since(until.max(began)) > TOLERANCE_MICROS => {
                let span = Span::new(until.max(began), first).ok();
                warn!(this.log, "nothing was recorded for a while"; "from" => %until.max(began), "until" => %first);
                this.lose(LossCause::Unknown, span, "recorder was not running");
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                warn!(this.log, "what was missed before the start cannot be told"; "error" => chain(&error));
            }
            None => warn!(this.log, "what was missed before the start cannot be told, the disk does not answer"),
        }));
    }

    pub(super) fn enter(&mut self, phase: RecordingPhase) {
        if phase == self.phase {
            return;
        }
        match phase {
            RecordingPhase::Recording => info!(self.log, "recording"),
            RecordingPhase::Ended => info!(self.log, "stream ended, waiting for its return"),
            RecordingPhase::Waiting => info!(self.log, "waiting for the stream"),
            RecordingPhase::Failing => {}
        }
        self.phase = phase;
    }

    pub(super) fn count_poll(&self, outcome: PollOutcome) {
        self.recording.metrics.playlist_polled(&self.channel, &self.quality, outcome);
    }

    /// Those who copy what is recorded here fetch it at once.
    pub(super) fn tell_followers(&self, saved: Saved) {
        if let (Saved::New(name), Some(feed)) = (saved, self.recording.directory.stored_feed.get(&())) {
            let (channel, quality) = (self.channel.clone(), self.quality.clone());
            feed.do_send(Stored { channel, quality, hour: name.hour(), name: name.as_str().into() });
        }
    }

    /// Every loss passes here. What has no span, as the times of its sides contradict each other, has no seconds either.
    pub(super) fn lose(&self, cause: LossCause, span: Option<Span>, detail: &str) {
        let Some(span) = span else { return };
        self.recording.metrics.lost(&self.channel, &self.quality, cause, span.duration());
        self.recording.ledger.note(&self.channel, &self.quality, span, cause, detail);
        seek_missing(&self.recording.directory, &self.channel, &self.quality, span);
    }
}

/// Has the peers asked for what is missing here. Costs nothing where there are none; nobody waits for an answer.
pub fn seek_missing(directory: &Directory, channel: &Channel, quality: &Quality, span: Span) {
    if let Some(board) = directory.bounty_board.get(&()) {
        board.do_send(Missing { channel: channel.clone(), quality: quality.clone(), span });
    }
}
