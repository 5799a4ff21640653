//! What a peer's digests tell a pass: from the node down to the hours that differ, with as few questions as will do.
//!
//! Promises: nothing is asked while the peer's line for the quality is one that is known; a hint is believed only where the
//! digests add up with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::PeerError;
use super::client::DigestAnswer;
use super::digest::{Differing, Reconciled};
use super::pass::{LISTINGS_AT_ONCE, Pass};
use super::remembered::Remembered;
use super::root::Line;
use crate::model::Day;
use crate::select::{DayDigests, HourDigests, QualityDigests};

/// What a peer's digests tell.
pub(super) enum Told {
    /// Both sides are as they were when nothing was left to do.
    Level,
    Differing(Differing),
    NoDigests,
}

/// The peer's days, and one of them if it was asked for on the way.
type Theirs = (Arc<QualityDigests>, Option<(Day, DayDigests)>);

impl Pass {
    pub(super) async fn told(&self, memory: &mut Remembered) -> Result<Told, PeerError> {
        let (channel, quality) = (&self.channel, &self.quality);
        let ours = self.digests.recent(channel, quality, self.digests_max_age).await?;
        let Some((theirs, early)) = self.theirs(&ours, &mut memory.digests).await? else {
            memory.digests.refuse();
            return Ok(Told::NoDigests);
        };
        // What is listed plainly now and then remembers its own.
        memory.reconciled.clear();
        if memory.digests.is_level(&ours, &theirs) {
            return Ok(Told::Level);
        }
        let (mut differing, mut days) = memory.digests.differing(ours, theirs, self.window.since);
        if let Some((early, told)) = early.filter(|(early, _)| days.contains(early)) {
            days.retain(|day| *day != early);
            differing.take(early, told);
        }
        let mut answers = stream::iter(days)
            .map(|day| async move { (day, self.peer.day_digest(channel, quality, day, None).await) })
            .buffered(LISTINGS_AT_ONCE);
        while let Some((day, answer)) = answers.next().await {
            match answer {
                Ok(DigestAnswer::New(theirs)) => differing.take(day, theirs),
                Ok(DigestAnswer::Same | DigestAnswer::NotOffered) | Err(PeerError::NoDigests) => {
                    memory.digests.refuse();
                    return Ok(Told::NoDigests);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Told::Differing(differing))
    }

    /// `None` from a peer that tells no digests.
    async fn theirs(&self, ours: &HourDigests, memory: &mut Reconciled) -> Result<Option<Theirs>, PeerError> {
        let (channel, quality, known) = (&self.channel, &self.quality, memory.known());
        let mut early = None;
        match self.root.line(&self.peer, channel, quality).await {
            Line::Untold => {}
            Line::Nothing => {
                let nothing = QualityDigests::new(BTreeMap::new());
                return Ok(memory.take(Some(nothing)).map(|theirs| (theirs, None)));
            }
            Line::Told { digest, .. } if known == Some(digest) => {
                return Ok(memory.take(None).map(|theirs| (theirs, None)));
            }
            Line::Told { digest, .. } if digest == ours.quality.digest => {
                return Ok(memory.take(Some(ours.quality.clone())).map(|theirs| (theirs, None)));
            }
            Line::Told { digest, changed } => {
                if let (Some(day), Some(before)) = (changed, memory.take(None)) {
                    match self.peer.day_digest(channel, quality, day, None).await {
                        Ok(DigestAnswer::New(told)) => {
                            let after = before.with_day(day, &told);
                            if after.digest == digest {
                                return Ok(memory.take(Some(after)).map(|theirs| (theirs, Some((day, told)))));
                            }
                            early = Some((day, told));
                        }
                        // The next question meets it again.
                        Ok(DigestAnswer::Same | DigestAnswer::NotOffered) | Err(PeerError::NoDigests) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        // After a start nothing is known of the peer, but it may well hold the same.
        match self.peer.digest(channel, quality, Some(known.unwrap_or(ours.quality.digest))).await {
            Ok(DigestAnswer::Same) if known.is_some() => Ok(memory.take(None).map(|theirs| (theirs, early))),
            Ok(DigestAnswer::Same) => Ok(memory.take(Some(ours.quality.clone())).map(|theirs| (theirs, early))),
            Ok(DigestAnswer::New(theirs)) => Ok(memory.take(Some(theirs)).map(|theirs| (theirs, early))),
            Ok(DigestAnswer::NotOffered) | Err(PeerError::NoDigests) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
