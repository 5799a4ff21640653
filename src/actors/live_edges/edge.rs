//! One quality's live edge: its generations, and the texts of their addresses. No IO.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::{FIRST_TARGET_SECONDS, LONGEST_WAIT};
use crate::hls::live::{Asked, Encoding, Generation, LiveText, Published, Saved, Shown};
use crate::media::HourMedia;
use crate::model::{Channel, Hour, Quality, Timestamp};
use crate::select::{HourIndex, Selection};
use crate::store::PublishedKey;

/// More players than that follow the same few addresses; more addresses are somebody's loop.
const MAX_GENERATIONS: usize = 16;
const MAX_TEXTS_BYTES: usize = 32 << 20;

pub struct Edge {
    pub channel: Channel,
    pub quality: Quality,
    /// Held during a look, so that those who come meanwhile share the next one.
    pub turn: Mutex<()>,
    pub looks_begun: Cell<u64>,
    /// Some line has moved.
    pub changed: Notify,
    pub waiting: Cell<usize>,
    pub is_watched: Cell<bool>,
    generations: RefCell<HashMap<Option<Generation>, Kept>>,
}

pub struct Kept {
    published: Published,
    texts: HashMap<Asked, Text>,
    used: Instant,
    /// The number of the last look, and how far back it went.
    looked: Option<(u64, Hour)>,
    saved: Option<Saved>,
    saved_hours: HashMap<Hour, Arc<HourIndex>>,
}

struct Text {
    text: LiveText,
    used: Instant,
}

/// A look at the disk.
pub struct Look {
    pub number: u64,
    pub from: Hour,
    /// For whom, and from where on.
    pub generation: Option<Generation>,
    pub start: Timestamp,
    pub now: Timestamp,
    pub hold: Duration,
}

/// What is to be written down of a generation.
pub struct Unsaved {
    pub key: PublishedKey,
    pub saved: Saved,
    pub differing: Vec<Arc<HourIndex>>,
}

/// Somebody waits, until this is dropped.
pub struct Waiting<'e>(&'e Cell<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Edge {
    pub fn new(channel: Channel, quality: Quality) -> Self {
        Self {
            channel,
            quality,
            turn: Mutex::default(),
            looks_begun: Cell::new(0),
            changed: Notify::new(),
            waiting: Cell::new(0),
            is_watched: Cell::new(false),
            generations: RefCell::default(),
        }
    }

    pub fn key(&self, generation: Option<Generation>) -> PublishedKey {
        PublishedKey { channel: self.channel.clone(), quality: self.quality.clone(), generation }
    }

    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.set(self.waiting.get() + 1);
        Waiting(&self.waiting)
    }

    /// How long a question for the next segment waits: a player asks again after it.
    pub fn longest_wait(&self, generation: Option<Generation>) -> Duration {
        let generations = self.generations.borrow();
        let target = generations.get(&generation).and_then(|kept| kept.published.target_seconds());
        Duration::from_secs(2 * target.unwrap_or(FIRST_TARGET_SECONDS)).min(LONGEST_WAIT)
    }

    pub fn has(&self, generation: Option<Generation>) -> bool {
        self.generations.borrow().contains_key(&generation)
    }

    pub fn begin(&self, generation: Option<Generation>, published: Published) {
        let mut generations = self.generations.borrow_mut();
        if generations.len() >= MAX_GENERATIONS {
            let least = generations.iter().min_by_key(|(_, kept)| kept.used).map(|(generation, _)| *generation);
            least.and_then(|least| generations.remove(&least));
        }
        let saved = published.saved();
        let saved_hours = published.differing().map(|index| (index.hour(), Arc::clone(index))).collect();
        let kept = Kept { published, texts: HashMap::new(), used: Instant::now(), looked: None, saved, saved_hours };
        generations.insert(generation, kept);
    }

    /// Whether a look that began after the one numbered `after` went back to `from`.
    pub fn was_looked_at(&self, generation: Option<Generation>, after: u64, from: Hour) -> bool {
        let generations = self.generations.borrow();
        let looked = generations.get(&generation).and_then(|kept| kept.looked);
        looked.is_some_and(|(number, looked_from)| number > after && looked_from <= from)
    }

    pub fn looks_from(&self, generation: Option<Generation>, asked: Hour) -> Hour {
        self.generations.borrow().get(&generation).map_or(asked, |kept| kept.published.looks_from(asked))
    }

    /// Takes over what was found: all hours from `look.from` on, in order. Answers whether what is
    /// published has changed.
    pub fn take_look(&self, look: &Look, hours: &[Arc<HourIndex>]) -> bool {
        let mut changed = false;
        for (generation, kept) in self.generations.borrow_mut().iter_mut() {
            // One that an earlier process left needs a look that goes back as far as it does.
            if kept.published.looks_from(look.from) < look.from {
                continue;
            }
            let gone_before = kept.published.gone_until();
            kept.published.look(look.from, hours, look.now, look.hold);
            changed |= kept.published.gone_until() != gone_before;
            kept.looked = Some((look.number, look.from));
            // Where it begins is for its own players to say.
            if kept.published.line().is_some() || *generation == look.generation {
                changed |= kept.published.advance(look.start, look.now, look.hold);
            }
        }
        changed
    }

    /// The generation that has come furthest, and to where.
    pub fn newest_line(&self) -> Option<(Option<Generation>, Timestamp)> {
        let generations = self.generations.borrow();
        let lines = generations.iter().filter_map(|(generation, kept)| Some((*generation, kept.published.line()?)));
        lines.max_by_key(|(_, line)| *line)
    }

    pub fn newest_generation(&self) -> Option<Generation> {
        self.generations.borrow().keys().copied().max().flatten()
    }

    /// Whether a newer generation would show nothing else.
    pub fn is_current(&self, generation: Generation, start: Timestamp) -> bool {
        let generations = self.generations.borrow();
        generations.get(&Some(generation)).is_some_and(|kept| !kept.published.differs(start))
    }

    pub fn unsaved(&self) -> Vec<Unsaved> {
        let mut unsaved = Vec::new();
        for (generation, kept) in self.generations.borrow_mut().iter_mut() {
            let Some(saved) = kept.published.saved().filter(|saved| kept.saved.as_ref() != Some(saved)) else {
                continue;
            };
            let held = |index: &&Arc<HourIndex>| {
                kept.saved_hours.get(&index.hour()).is_some_and(|held| held.best().eq(index.best()))
            };
            let differing: Vec<_> = kept.published.differing().filter(|index| !held(index)).cloned().collect();
            kept.saved_hours.extend(differing.iter().map(|index| (index.hour(), Arc::clone(index))));
            kept.saved = Some(saved.clone());
            unsaved.push(Unsaved { key: self.key(*generation), saved, differing });
        }
        unsaved
    }

    /// What was written down is not to be relied on.
    pub fn nothing_is_saved(&self) {
        for kept in self.generations.borrow_mut().values_mut() {
            kept.saved = None;
            kept.saved_hours.clear();
        }
    }

    pub fn is_followed(&self, generation: Option<Generation>, asked: &Asked) -> bool {
        self.generations.borrow().get(&generation).is_some_and(|kept| kept.texts.contains_key(asked))
    }

    /// The hours whose segments an address does not show yet, though they are published.
    pub fn not_yet_shown(&self, generation: Option<Generation>, asked: &Asked) -> Vec<Arc<HourIndex>> {
        let generations = self.generations.borrow();
        let Some(kept) = generations.get(&generation) else { return Vec::new() };
        let last = kept.texts.get(asked).and_then(|text| text.text.last());
        let selection = kept.published.choose(asked.start, last, asked.end);
        let shown =
            selection.hours().filter(|(_, parts)| parts.clone().any(|part| selection.place_in_hour(part).is_some()));
        shown.map(|(index, _)| Arc::clone(index)).collect()
    }

    /// Appends what is new to the text of an address and shows it. `None` if the generation has just been let go.
    pub fn show(
        &self,
        generation: Option<Generation>,
        asked: &Asked,
        skip: bool,
        now: Timestamp,
        media: &[Arc<HourMedia>],
    ) -> Option<Shown> {
        let mut generations = self.generations.borrow_mut();
        let kept = generations.get_mut(&generation)?;
        kept.used = Instant::now();
        let target_seconds = kept.published.target_seconds();
        let new = || {
            LiveText::new(
                &self.channel,
                &self.quality,
                asked.clone(),
                target_seconds.unwrap_or(FIRST_TARGET_SECONDS),
                now,
            )
        };
        if target_seconds.is_none() {
            // Nothing is promised while there is nothing.
            return Some(new().show(false));
        }
        let held = kept.texts.entry(asked.clone()).or_insert_with(|| Text { text: new(), used: kept.used });
        held.used = kept.used;
        let selection = kept.published.choose(asked.start, held.text.last(), asked.end);
        held.text.append(&selection, &encodings(&selection, media));
        held.text.shorten(kept.published.gone_until());
        let shown = held.text.show(skip);
        if selection.has_content() {
            evict(&mut generations);
        }
        Some(shown)
    }

    /// Lets go of what has not been asked for; answers what need not be kept on disk either.
    pub fn forget(&self, open_unused_for: Duration, unused_for: Duration) -> Vec<PublishedKey> {
        let mut forgotten = Vec::new();
        self.generations.borrow_mut().retain(|generation, kept| {
            let bound = if generation.is_some() { unused_for } else { open_unused_for };
            let keep = kept.used.elapsed() < bound;
            if !keep {
                forgotten.push(self.key(*generation));
            }
            keep
        });
        forgotten
    }

    pub fn is_idle(&self) -> bool {
        self.generations.borrow().is_empty() && self.waiting.get() == 0 && self.turn.try_lock().is_ok()
    }
}

/// How each part is encoded, as far as `media` knows of its hour.
fn encodings(selection: &Selection, media: &[Arc<HourMedia>]) -> Vec<Option<Encoding>> {
    let mut encodings = vec![None; selection.len()];
    for (index, parts) in selection.hours() {
        let Some(media) = media.iter().find(|media| media.is_of(index)) else { continue };
        for part in parts {
            let kind = selection.place_in_hour(part).and_then(|place| media.at(place));
            encodings[part] = kind.map(|kind| Encoding { id: kind.id, init: kind.media.init });
        }
    }
    encodings
}

/// Drops the texts that were not asked for the longest, until the rest fits. They can be made again.
fn evict(generations: &mut HashMap<Option<Generation>, Kept>) {
    let mut sizes: Vec<(Instant, Option<Generation>, Asked, usize)> = Vec::new();
    for (generation, kept) in generations.iter() {
        let texts = kept.texts.iter();
        sizes.extend(texts.map(|(asked, held)| (held.used, *generation, asked.clone(), held.text.size_bytes())));
    }
    let mut total: usize = sizes.iter().map(|(_, _, _, size_bytes)| size_bytes).sum();
    if total <= MAX_TEXTS_BYTES {
        return;
    }
    sizes.sort_unstable_by_key(|(used, ..)| *used);
    // The last one was just asked for.
    sizes.pop();
    for (_, generation, asked, size_bytes) in sizes {
        if total <= MAX_TEXTS_BYTES {
            break;
        }
        if let Some(kept) = generations.get_mut(&generation) {
            kept.texts.remove(&asked);
            total -= size_bytes;
        }
    }
}
