//! One share of the learning of an hour: as many segments as fit a fraction of a second.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::media::{HourKnowledge, HourMedia};
use crate::metrics::{LookOutcome, Metrics};
use crate::model::{Channel, Hour, Quality};
use crate::select::HourIndex;
use crate::store::{self, Layout, LookedAt, StoreError, Volume};

/// A share is over after this many segments, or this long: then another hour may have its turn.
const SEGMENTS_A_PASS: usize = 64;
const LONGEST_PASS: Duration = Duration::from_millis(100);

/// What a pass needs.
pub(super) struct Pass {
    pub layout: Layout,
    pub volume: Volume,
    pub channel: Channel,
    pub quality: Quality,
    pub hour: Hour,
    /// Learnt is what this one shows; if nobody holds it any more, what is on disk.
    pub index: Weak<HourIndex>,
    /// `None`: what a side file has, if there is one.
    pub knowledge: Option<Arc<HourKnowledge>>,
    /// Nothing new is recorded in this hour.
    pub is_over: bool,
    pub metrics: Metrics,
}

/// What a pass came to.
pub(super) struct Passed {
    pub media: Arc<HourMedia>,
    /// `None`: a side file holds it.
    pub knowledge: Option<Arc<HourKnowledge>>,
    /// Nothing is left to learn.
    pub is_complete: bool,
    pub failure: Option<StoreError>,
}

impl Pass {
    /// Blocks on the disk.
    pub fn run(self) -> Result<Passed, StoreError> {
        let index = match self.index.upgrade() {
            Some(index) => index,
            None => store::load_hour(&self.layout, &self.channel, &self.quality, self.hour)?.index,
        };
        let is_in_side_file = self.knowledge.is_none();
        let mut knowledge = match &self.knowledge {
            Some(knowledge) => Arc::clone(knowledge),
            None => Arc::new(store::read_knowledge(&self.layout, &self.channel, &self.quality, self.hour)),
        };
        let learnt = self.learn(&index, &mut knowledge);
        let (has_news, is_complete, mut failure) = (learnt.has_news, learnt.is_complete, learnt.failure);
        let media = Arc::new(HourMedia::new(&index, &knowledge));
        let mut is_kept = is_in_side_file && !has_news;
        if !is_kept && is_complete && self.is_over {
            match store::write_knowledge(
                &self.layout,
                &self.volume,
                &self.channel,
                &self.quality,
                self.hour,
                &knowledge,
            ) {
                Ok(()) => is_kept = true,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Ok(Passed { media, knowledge: (!is_kept).then_some(knowledge), is_complete, failure })
    }

    fn learn(&self, index: &HourIndex, knowledge: &mut Arc<HourKnowledge>) -> Learnt {
        let end = Instant::now() + LONGEST_PASS;
        let mut learnt = Learnt { has_news: false, is_complete: true, failure: None };
        let unknown = knowledge.unknown(index);
        // The first is what a player needs first; then the newest, as they are asked for most.
        let in_order = unknown.iter().take(1).chain(unknown.iter().skip(1).rev());
        for (count, segment) in in_order.enumerate() {
            // One at least, so that there is always progress.
            if count >= SEGMENTS_A_PASS || (count > 0 && Instant::now() >= end) {
                learnt.is_complete = false;
                return learnt;
            }
            match store::look_at(&self.layout, &self.channel, &self.quality, &segment.to_name()) {
                Ok(Some(LookedAt { size_bytes, media })) => {
                    let outcome = if media.is_some() { LookOutcome::Known } else { LookOutcome::Unreadable };
                    self.metrics.media_looked_at(outcome);
                    Arc::make_mut(knowledge).learn(segment.name, size_bytes, media);
                    learnt.has_news = true;
                }
                // It is gone, and the index that shows it is a thing of the past.
                Ok(None) => {}
                Err(error) => {
                    self.metrics.media_looked_at(LookOutcome::Failed);
                    learnt.failure.get_or_insert(error);
                }
            }
        }
        while let Some((segment, media)) = knowledge.to_measure(index) {
            let rate =
                store::measure_frame_rate(&self.layout, &self.channel, &self.quality, &segment.to_name(), &media);
            let rate = rate.unwrap_or_else(|error| {
                learnt.failure.get_or_insert(error);
                None
            });
            Arc::make_mut(knowledge).learn_frame_rate(&media, rate);
            learnt.has_news = true;
        }
        learnt
    }
}

struct Learnt {
    has_news: bool,
    is_complete: bool,
    failure: Option<StoreError>,
}
