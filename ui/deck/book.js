/**
 * What is known of how much of a quality is there: the whole of it now and then, what is on the screen every few seconds.
 * Nothing is asked while nobody looks.
 */

import { inWords, wasLeft } from "../api.js";
import { Hold } from "../dom.js";
import { HOUR, MINUTE, now } from "../time.js";

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {import("../api.js").Span} Span */
/** @typedef {import("../api.js").Loss} Loss */
/** @typedef {import("../api.js").Hole} Hole */
/** @typedef {Span & {kind: "hole" | "unsure" | "hidden", cause: string, detail: string}} Stretch one colour of the strip */

const LOOK_EVERY_MS = 2500;
const LOOK_AT_WIDE_EVERY_MS = 15_000;
const WHOLE_EVERY_MS = 60_000;
/** What is asked for every few seconds is no longer than this. */
const WIDE = 12 * HOUR;
/** How many stretches are kept; a record with more is shown without the rest. */
const MOST = 20_000;

/** What to call a cause, and the colour of it (style.css). @type {Record<string, {words: string, colour: string}>} */
export const CAUSES = {
  advertisement: { words: "advertisement", colour: "--cause-ad" },
  corrupt: { words: "went bad on the disk", colour: "--cause-disk" },
  token: { words: "the source refused it", colour: "--cause-token" },
  encrypted: { words: "encrypted", colour: "--cause-token" },
  disk: { words: "could not be written", colour: "--cause-disk" },
  expired: { words: "gone from the source too soon", colour: "--cause-source" },
  cut_short: { words: "only its beginning could be had", colour: "--cause-source" },
  source_down: { words: "the source was down", colour: "--cause-source" },
  unknown: { words: "nobody knows why", colour: "--cause-unknown" },
  none: { words: "nothing was there, as far as is known", colour: "--cause-unknown" },
  unsure: { words: "may be short (partial or suspect)", colour: "--unsure" },
  hidden: { words: "hidden by a tombstone", colour: "--hidden" },
};

export class Book {
  #hold = new Hold();
  /** @type {Stretch[]} sorted by start */
  stretches = [];
  /** From the first second there is to the last; null where nothing is known yet. @type {Span | null} */
  extent = null;
  /** Why it may be old. @type {string | null} */
  trouble = null;
  #lookedAt = 0;
  #wholeAt = 0;
  #isLooking = false;
  #isStale = false;

  /**
   * @param {import("../api.js").Api} api
   * @param {string} channel
   * @param {string} quality
   * @param {() => Span} view what is on the screen
   * @param {() => void} changed
   */
  constructor(api, channel, quality, view, changed) {
    this.api = api;
    this.channel = channel;
    this.quality = quality;
    this.view = view;
    this.changed = changed;
    this.#hold.every(500, () => void this.#tick());
    this.#hold.on(document, "visibilitychange", () => void this.#tick());
    void this.#tick();
  }

  /** Looks as soon as it can: what is on the screen has changed. */
  soon() {
    this.#isStale = true;
  }

  end() {
    this.#hold.end();
  }

  async #tick() {
    if (document.hidden || this.#isLooking || this.#hold.ended) return;
    const at = Date.now();
    const view = this.view();
    const isWide = view.end - view.start > WIDE;
    const isWhole = this.extent === null || at - this.#wholeAt > WHOLE_EVERY_MS;
    const isDue = at - this.#lookedAt > (isWide ? LOOK_AT_WIDE_EVERY_MS : LOOK_EVERY_MS);
    if (!isWhole && !isDue && !(this.#isStale && at - this.#lookedAt > 400)) return;
    this.#isLooking = true;
    this.#isStale = false;
    try {
      await this.#look(isWhole || isWide ? null : { start: view.start - MINUTE, end: Math.min(view.end + MINUTE, now() + MINUTE) });
      if (isWhole || isWide) this.#wholeAt = at;
      this.trouble = null;
    } catch (error) {
      if (!wasLeft(error)) this.trouble = inWords(error);
    }
    this.#lookedAt = Date.now();
    this.#isLooking = false;
    if (!this.#hold.ended) this.changed();
  }

  /** @param {Span | null} asked */
  async #look(asked) {
    const extent = this.extent;
    // Before the first second there is, and behind the last, nothing is missing yet.
    const within = asked && extent ? { start: Math.max(asked.start, extent.start), end: asked.end } : {};
    if (asked && extent && asked.end <= extent.start) return;
    const signal = this.#hold.signal;
    const open = asked && asked.end > (extent?.end ?? 0) - MINUTE ? { start: within.start } : within;
    const [coverage, losses] = await Promise.all([
      this.api.coverage(this.channel, this.quality, open, signal),
      this.api.losses(this.channel, this.quality, within, signal),
    ]);
    if (!coverage || this.#hold.ended) return;
    if (!extent || !asked) this.extent = { start: coverage.start, end: Math.max(coverage.end, extent?.end ?? 0) };
    else this.extent = { start: extent.start, end: Math.max(extent.end, coverage.end) };
    const found = stretchesOf(coverage, losses);
    const of = { start: coverage.start, end: Math.max(coverage.end, within.end ?? 0) };
    const kept = asked ? this.stretches.flatMap((one) => outside(one, of)) : [];
    this.stretches = joined([...kept, ...found].sort((a, b) => a.start - b.start)).slice(-MOST);
  }

  /** What is missing of a span, by what is known. @param {Span} span */
  missing({ start, end }) {
    return this.stretches.filter((one) => one.kind !== "unsure" && one.start < end && one.end > start);
  }

  /** Nothing of a span is there. @param {Span} span */
  lacksAll(span) {
    const missing = this.missing(span).reduce((sum, { start, end }) => sum + Math.min(end, span.end) - Math.max(start, span.start), 0);
    const { start, end } = this.extent ?? span;
    return missing >= Math.min(end, span.end) - Math.max(start, span.start);
  }

  /** The same with what may be short. @param {Span} span */
  touching({ start, end }) {
    return this.stretches.filter((one) => one.start < end && one.end > start);
  }
}

/** What of a stretch lies before and behind a span. @param {Stretch} one @param {Span} span @returns {Stretch[]} */
function outside(one, { start, end }) {
  if (one.end <= start || one.start >= end) return [one];
  return [{ ...one, end: start }, { ...one, start: end }].filter((part) => part.start < part.end && part.start >= one.start && part.end <= one.end);
}

/** Parts of one, as one again. @param {Stretch[]} sorted @returns {Stretch[]} */
function joined(sorted) {
  /** @type {Stretch[]} */
  const found = [];
  for (const one of sorted) {
    const last = found[found.length - 1];
    if (last && last.end === one.start && last.kind === one.kind && last.cause === one.cause && last.detail === one.detail) found[found.length - 1] = { ...last, end: one.end };
    else found.push(one);
  }
  return found;
}

/**
 * Each hole in parts, by what the ledger says of them.
 * @param {import("../api.js").Coverage} coverage
 * @param {Loss[]} losses
 * @returns {Stretch[]}
 */
export function stretchesOf(coverage, losses) {
  const standing = losses.filter((loss) => !loss.filled);
  /** @type {Stretch[]} */
  const found = [];
  let first = 0;
  let firstHidden = 0;
  for (const hole of coverage.holes) {
    let at = hole.start;
    while (first < standing.length && standing[first].end <= hole.start) first += 1;
    while (firstHidden < coverage.hidden.length && coverage.hidden[firstHidden].end <= hole.start) firstHidden += 1;
    for (let next = first; next < standing.length && standing[next].start < hole.end; next += 1) {
      const loss = standing[next];
      const [start, end] = [Math.max(at, loss.start), Math.min(hole.end, loss.end)];
      if (end <= start) continue;
      addHole(found, at, start, coverage.hidden, firstHidden);
      found.push({ start, end, kind: "hole", cause: loss.cause, detail: loss.detail });
      at = end;
    }
    addHole(found, at, hole.end, coverage.hidden, firstHidden);
  }
  for (const { start, end } of coverage.unsure) found.push({ start, end, kind: "unsure", cause: "unsure", detail: "" });
  return found;
}

/**
 * What no loss explains may lie under a tombstone.
 * @param {Stretch[]} found
 * @param {Micros} start @param {Micros} end
 * @param {Span[]} hidden in order
 * @param {number} first of them that may touch it
 */
function addHole(found, start, end, hidden, first) {
  const nothing = /** @type {const} */ ({ kind: "hole", cause: "none", detail: "" });
  let at = start;
  for (let next = first; next < hidden.length && hidden[next].start < end; next += 1) {
    const span = hidden[next];
    if (span.end <= at) continue;
    if (span.start > at) found.push({ start: at, end: span.start, ...nothing });
    const until = Math.min(end, span.end);
    found.push({ start: Math.max(at, span.start), end: until, kind: "hidden", cause: "hidden", detail: "" });
    at = until;
  }
  if (at < end) found.push({ start: at, end, ...nothing });
}
