/** From moments of the record to places on the video's own time, and back. Pure. */

import { SECOND, parseTime } from "../time.js";

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {import("./hls.js").Fragment} Fragment */

/** Durations in a list are rounded, and a segment may end a frame before the next. */
const SLACK = 0.05 * SECOND;

/** When a segment's first frame was. @param {Fragment} fragment @returns {Micros | null} */
export function dateOf(fragment) {
  const raw = fragment.rawProgramDateTime ? parseTime(fragment.rawProgramDateTime.replace(/Z$/, "")) : null;
  return raw ?? (fragment.programDateTime === null ? null : fragment.programDateTime * 1000);
}

/** The segments' first frame on the video's time; sound may begin before it. @param {Fragment} fragment */
function firstFrame(fragment) {
  return fragment.elementaryStreams?.video?.startPTS ?? fragment.elementaryStreams?.audiovideo?.startPTS ?? fragment.start;
}

/**
 * @param {Fragment[]} fragments
 * @param {number} mediaTime
 * @returns {Micros | null}
 */
export function timeAmong(fragments, mediaTime) {
  // Stamps are rounded to 1/90,000 s.
  let at = lastWhere(fragments, (fragment) => firstFrame(fragment) <= mediaTime + 0.0005);
  if (at < 0) at = 0;
  const fragment = fragments[at];
  const date = fragment ? dateOf(fragment) : null;
  return date === null ? null : Math.round(date + (mediaTime - firstFrame(fragment)) * SECOND);
}

/**
 * The video's time of a moment; at a hole, that of what comes behind it.
 * @param {Fragment[]} fragments
 * @param {Micros} micros
 * @param {boolean} isBound whether something must come of it
 * @param {number} [frame] how far within a frame to aim
 */
export function placeAmong(fragments, micros, isBound, frame = 0) {
  const dates = fragments.map(dateOf);
  const at = lastWhere(fragments, (_, index) => (dates[index] ?? Infinity) <= micros + frame / 2);
  if (at < 0) return isBound && fragments.length > 0 ? fragments[0].start : null;
  const fragment = fragments[at];
  const within = (micros + frame / 2 - (dates[at] ?? 0)) / SECOND;
  if (within <= fragment.duration + 0.01) return firstFrame(fragment) + within;
  const next = fragments[at + 1];
  if (next) return firstFrame(next) + frame / 2 / SECOND;
  return isBound ? Math.max(0, fragment.start + fragment.duration - 0.1) : null;
}

/**
 * Whether a list has all between two moments, as far as it goes back: nothing of that is missing, whatever was shown of it.
 * @param {Fragment[]} fragments
 * @param {{from: Micros, to: Micros}} span
 */
export function hasAll(fragments, { from, to }) {
  /** @type {Micros | null} */
  let end = null;
  for (const fragment of fragments) {
    const start = dateOf(fragment);
    if (start === null) continue;
    if (end === null && fragment === fragments[0]) end = Math.max(from, start);
    const until = start + fragment.duration * SECOND;
    if (until <= from) continue;
    if (start >= to) break;
    if (fragment.gap || start > (end ?? from) + SLACK) return false;
    end = until;
  }
  return end !== null && end >= to - SLACK;
}

/**
 * @template T
 * @param {T[]} sorted
 * @param {(one: T, index: number) => boolean} holds true first, then false
 */
function lastWhere(sorted, holds) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(sorted[middle], middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
