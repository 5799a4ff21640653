/** What to warn of before a cut is made: holes, changes of the encoding, seconds that come twice. */

import { parseTime, showClock, showLength } from "../time.js";
import { CAUSES } from "../deck/book.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").Range} Range */
/** @typedef {import("../time.js").Micros} Micros */

/** Beyond this two segments do not follow on each other (README: a hole is shown as a hole). */
const SLACK = 10_000;
const LONGEST = 12 * 3600 * 1e6;
const MOST_KEPT = 64;

/**
 * @param {Draft} draft
 * @param {Range} range
 * @param {import("../deck/book.js").Stretch[]} touching what the strip shows of it
 * @param {Micros[]} changes where the encoding changes in it
 * @returns {string[]}
 */
export function warnings(draft, range, touching, changes) {
  const said = [];
  const missing = touching.filter(({ kind }) => kind !== "unsure");
  if (missing.length > 0) {
    const whole = missing.reduce((sum, { start, end }) => sum + Math.min(end, range.end) - Math.max(start, range.start), 0);
    const causes = [...new Set(missing.map(({ cause }) => CAUSES[cause]?.words ?? cause))];
    said.push(`${showLength(whole)} missing at ${missing.slice(0, 3).map(({ start }) => showClock(Math.max(start, range.start), 1)).join(", ")} (${causes.join("; ")})`);
  }
  if (touching.length > missing.length) said.push("some of it may be short (partial or suspect)");
  if (changes.length > 0) said.push(`the encoding changes at ${changes.slice(0, 3).map((at) => showClock(at, 1)).join(", ")}; what differs will be re-encoded`);
  for (const [at, other] of draft.ranges.entries()) {
    const shared = Math.min(other.end, range.end) - Math.max(other.start, range.start);
    // Edges of frames are rounded: ranges that meet may share a millionth.
    if (other.id !== range.id && shared > SLACK) said.push(`${showLength(shared, 2)} of it also in range ${at + 1}`);
  }
  return said;
}

/** Where the encoding changes in a span, as its playlist says: a discontinuity without a hole. */
export class Changes {
  /** @type {Map<string, Micros[]>} */
  #known = new Map();

  /** @param {import("../api.js").Api} api @param {string} channel @param {string} quality @param {AbortSignal} signal */
  constructor(api, channel, quality, signal) {
    this.api = api;
    this.channel = channel;
    this.quality = quality;
    this.signal = signal;
  }

  /** What is known by now. @param {Range} range */
  known(range) {
    return this.#known.get(`${range.start},${range.end}`) ?? [];
  }

  /** Whether something was learnt. @param {Range} range */
  async learn({ start, end }) {
    const key = `${start},${end}`;
    if (this.#known.has(key) || end <= start || end - start > LONGEST) return false;
    const text = await this.api.playlist(this.channel, this.quality, { start, end }, this.signal);
    if (this.#known.size >= MOST_KEPT) this.#known.delete(/** @type {string} */ (this.#known.keys().next().value));
    this.#known.set(key, changesIn(text));
    return true;
  }
}

/** @param {string} text of a media playlist @returns {Micros[]} */
export function changesIn(text) {
  const found = [];
  let isBreak = false;
  /** @type {Micros | null} */
  let date = null;
  /** @type {Micros | null} */
  let end = null;
  let seconds = 0;
  for (const line of text.split("\n")) {
    if (line === "#EXT-X-DISCONTINUITY") isBreak = true;
    else if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) date = parseTime(line.slice(25).replace(/Z$/, ""));
    else if (line.startsWith("#EXTINF:")) seconds = Number.parseFloat(line.slice(8));
    else if (line && !line.startsWith("#")) {
      if (isBreak && date !== null && end !== null && Math.abs(date - end) <= SLACK) found.push(date);
      end = date === null ? null : date + Math.round(seconds * 1e6);
      [isBreak, date] = [false, null];
    }
  }
  return found;
}
