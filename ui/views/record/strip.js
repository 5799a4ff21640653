/** A strip that shows how much of a stretch of time a node has, as a picture; whoever cannot see it is told in words. */

import { colourOf } from "./words.js";

/** @typedef {import("../../time.js").Micros} Micros */
/** @typedef {{start: Micros, end: Micros}} Span */
/** @typedef {Span & {lost: Record<string, number>}} Hole */
/** @typedef {{holes: Hole[], unsure: Span[], hidden: Span[]}} Covered */

/** What is narrower could not be seen. */
const LEAST_PIXELS = 2;

/** The cause of most of a hole; null where none is known. @param {Hole} hole */
export function mainCause({ lost }) {
  const [most] = Object.entries(lost).sort(([, a], [, b]) => b - a);
  return most ? most[0] : null;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Span} span
 * @param {Covered | null} covered null paints nothing but the track
 */
export function paint(canvas, span, covered) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (width === 0 || height === 0) return;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  if (!context) return;
  const style = getComputedStyle(canvas);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const fill = (/** @type {Span} */ { start, end }, /** @type {string} */ name, top = 0) => {
    const x = (/** @type {number} */ at) => ((Math.min(Math.max(at, span.start), span.end) - span.start) / (span.end - span.start)) * width;
    context.fillStyle = colour(name);
    const from = Math.floor(x(start));
    context.fillRect(from, top * height, Math.max(LEAST_PIXELS * scale, Math.ceil(x(end)) - from), height);
  };
  context.clearRect(0, 0, width, height);
  if (!covered) {
    fill(span, "--track");
    return;
  }
  fill(span, "--have");
  for (const part of covered.unsure) fill(part, "--unsure");
  for (const hole of covered.holes) {
    fill(hole, "--track");
    const cause = mainCause(hole);
    // The lower part has the cause: that something is missing is seen first.
    if (cause) fill(hole, colourOf(cause), 0.35);
  }
  for (const part of covered.hidden) fill(part, "--hidden");
}
