/** The waveform under the timeline, in tiles that are asked for once, as fine as the screen can show. */

import { wasLeft } from "../api.js";
import { SECOND } from "../time.js";

/** @typedef {import("../api.js").Span} Span */
/** @typedef {import("../api.js").Waveform} Waveform */

const COLUMNS = 1024;
/** Lengths of tiles: each 4 times the one before. */
const SHORTEST = 8 * SECOND;
const LONGEST = 6 * 3600 * SECOND;
const MOST_KEPT = 96;
/** What has come to an end within this of now may still grow. */
const FRESH = 20 * SECOND;

export class Sound {
  /** @type {Map<string, Waveform & {isWhole: boolean}>} */
  #tiles = new Map();
  /** @type {Set<string>} */
  #asked = new Set();
  /** When one may be asked for again. @type {Map<string, number>} */
  #again = new Map();

  /** @param {import("../api.js").Api} api @param {string} channel @param {string} quality @param {AbortSignal} signal @param {() => void} changed */
  constructor(api, channel, quality, signal, changed) {
    this.api = api;
    this.channel = channel;
    this.quality = quality;
    this.signal = signal;
    this.changed = changed;
  }

  /**
   * What there is for this view by now; what is missing of it is asked for, two at a time.
   * @param {Span} view
   * @param {import("../deck/book.js").Book | null} book
   * @returns {Waveform[]}
   */
  of(view, book) {
    const extent = book?.extent;
    const wanted = Math.max(SHORTEST, (view.end - view.start) * 0.75);
    let length = SHORTEST;
    while (length < wanted && length * 4 <= LONGEST) length *= 4;
    const found = [];
    if (!book || !extent || (view.end - view.start) / length > 6) return [];
    for (let start = Math.floor(view.start / length) * length; start < view.end; start += length) {
      const end = start + length;
      if (end <= extent.start || start >= extent.end) continue;
      const key = `${length} ${start}`;
      const tile = this.#tiles.get(key);
      if (tile) found.push(tile);
      const isDue = (!tile || !tile.isWhole) && !this.#asked.has(key) && this.#asked.size < 2 && Date.now() > (this.#again.get(key) ?? 0);
      if (isDue && !book.lacksAll({ start, end })) void this.#ask(key, { start, end });
    }
    return found;
  }

  /** @param {string} key @param {Span} span */
  async #ask(key, span) {
    this.#asked.add(key);
    try {
      const tile = await this.api.waveform(this.channel, this.quality, span, COLUMNS, this.signal);
      this.#tiles.delete(key);
      this.#tiles.set(key, { ...tile, isWhole: span.end < this.api.nodeNow() - FRESH });
      while (this.#tiles.size > MOST_KEPT) this.#tiles.delete(/** @type {string} */ (this.#tiles.keys().next().value));
      this.#again.set(key, Date.now() + 15_000);
    } catch (error) {
      if (wasLeft(error)) return;
      this.#again.set(key, Date.now() + 15_000);
    } finally {
      this.#asked.delete(key);
      if (this.#again.size > 4 * MOST_KEPT) this.#again.clear();
    }
    this.changed();
  }
}
