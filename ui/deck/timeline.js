/**
 * The wall-clock timeline, from weeks to frames, with what is there under it. Painted when something has changed, and then
 * once a picture of the screen at most.
 */

import { Hold } from "../dom.js";
import { DAY, HOUR, MINUTE, SECOND, now, showTime } from "../time.js";
import { CAUSES } from "./book.js";

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {import("../api.js").Span} Span */
/** @typedef {import("./book.js").Stretch} Stretch */
/** @typedef {Span & {id: string, label: string, isChosen: boolean}} ShownRange */
/** @typedef {{id: string, edge: "start" | "end"}} Grip */

const SHORTEST = 0.2 * SECOND;
const LONGEST = 60 * DAY;
const RULER = 24;
const STRIP = 16;
const GRIP_PX = 7;
/** Pixels between two labels at least. */
const LABEL_PX = 96;

/** What ticks stand for, with how much of the time is written at them: of the date, the time, and digits of the second. */
const TICKS = [
  ...[0.01, 0.02, 0.05, 0.1, 0.2, 0.5].map((seconds) => ({ every: seconds * SECOND, from: 14, to: seconds < 0.1 ? 22 : 21 })),
  ...[1, 2, 5, 10, 15, 30].map((seconds) => ({ every: seconds * SECOND, from: 11, to: 19 })),
  ...[1, 2, 5, 10, 15, 30].map((minutes) => ({ every: minutes * MINUTE, from: 11, to: 16 })),
  ...[1, 2, 3, 6, 12].map((hours) => ({ every: hours * HOUR, from: 5, to: 16 })),
  ...[1, 2, 7, 14].map((days) => ({ every: days * DAY, from: 5, to: 10 })),
];

export class Timeline {
  #hold = new Hold();
  #isDirty = false;
  /** @type {Record<string, string>} */
  #colours = {};
  #font = "";
  /** px; 0 where it may have changed. */
  #width = 0;
  /** @type {{x: number, from: Span, isMoved: boolean, grip: Grip | null} | null} */
  #drag = null;
  /** @type {number | null} */
  #hover = null;
  /** @type {Micros | null} */
  #followed = null;
  /** @type {Span} */
  view = { start: now() - 10 * MINUTE, end: now() + MINUTE };

  // What is shown.
  /** @type {Stretch[]} */
  stretches = [];
  /** @type {Span | null} */
  extent = null;
  /** @type {Micros | null} */
  time = null;
  /** @type {ShownRange[]} */
  ranges = [];
  /** @type {{in: Micros | null, out: Micros | null}} */
  marks = { in: null, out: null };
  /** @type {import("../api.js").Waveform[]} */
  waveforms = [];
  showsSound = false;
  frameMicros = SECOND / 30;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} acts
   * @param {(at: Micros) => void} acts.seek
   * @param {() => void} acts.moved the view has changed
   * @param {(grip: Grip, at: Micros, isDone: boolean) => void} [acts.drag]
   */
  constructor(canvas, acts) {
    this.canvas = canvas;
    this.acts = acts;
    this.paint = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    const resized = new ResizeObserver(() => { this.#width = 0; this.#font = ""; this.dirty(); });
    resized.observe(canvas);
    this.#hold.add(() => resized.disconnect());
    this.#hold.on(document, "themechange", () => { this.#colours = {}; this.dirty(); });
    this.#hold.on(matchMedia("(prefers-color-scheme: light)"), "change", () => { this.#colours = {}; this.dirty(); });
    this.#hold.on(canvas, "wheel", (/** @type {WheelEvent} */ event) => this.#wheel(event), { passive: false });
    this.#hold.on(canvas, "pointerdown", (/** @type {PointerEvent} */ event) => this.#down(event));
    this.#hold.on(canvas, "pointermove", (/** @type {PointerEvent} */ event) => this.#move(event));
    this.#hold.on(canvas, "pointerup", (/** @type {PointerEvent} */ event) => this.#up(event));
    this.#hold.on(canvas, "pointercancel", () => { this.#drag = null; });
    this.#hold.on(canvas, "pointerleave", () => { this.#hover = null; this.dirty(); });
  }

  end() {
    this.#hold.end();
  }

  dirty() {
    if (this.#isDirty || this.#hold.ended) return;
    this.#isDirty = true;
    requestAnimationFrame(() => { this.#isDirty = false; if (!this.#hold.ended) this.#draw(); });
  }

  get width() {
    // Asking the canvas makes the browser lay out the page, and it is asked for every line that is drawn.
    this.#width ||= Math.max(1, this.canvas.clientWidth);
    return this.#width;
  }

  /** @param {Micros} micros px */
  #x(micros) {
    return ((micros - this.view.start) / (this.view.end - this.view.start)) * this.width;
  }

  /** @param {number} x @returns {Micros} */
  timeAt(x) {
    return Math.round(this.view.start + (x / this.width) * (this.view.end - this.view.start));
  }

  // Moving about.

  /** @param {Span} view */
  show({ start, end }) {
    const length = Math.min(LONGEST, Math.max(SHORTEST, end - start));
    const middle = (start + end) / 2;
    this.view = { start: Math.round(middle - length / 2), end: Math.round(middle + length / 2) };
    this.acts.moved();
    this.dirty();
  }

  /** @param {number} factor @param {Micros} [about] */
  zoom(factor, about = this.time ?? (this.view.start + this.view.end) / 2) {
    const { start, end } = this.view;
    const fixed = about >= start && about <= end ? about : (start + end) / 2;
    const length = Math.min(LONGEST, Math.max(SHORTEST, (end - start) * factor));
    const share = (fixed - start) / (end - start);
    this.show({ start: fixed - share * length, end: fixed + (1 - share) * length });
  }

  /** Turns the page where a moment leaves it; who looks elsewhere is left there. @param {Micros} at */
  follow(at) {
    const { start, end } = this.view;
    const before = this.#followed ?? at;
    this.#followed = at;
    const isInView = (/** @type {Micros} */ one) => one >= start && one <= end;
    if (!this.#drag && !isInView(at) && isInView(before)) this.reveal(at);
  }

  /** Brings a moment to the screen. @param {Micros} at */
  reveal(at) {
    const { start, end } = this.view;
    this.#followed = at;
    if (at >= start && at <= end) return;
    const length = end - start;
    const isNext = at > end && at - end < length / 4;
    const first = isNext ? at - length * 0.05 : at - length / 2;
    this.show({ start: first, end: first + length });
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const length = this.view.end - this.view.start;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = ((event.deltaX || event.deltaY) / this.width) * length;
      this.show({ start: this.view.start + by, end: this.view.end + by });
      return;
    }
    this.zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) / 200), this.timeAt(event.offsetX));
  }

  /** @param {number} x @returns {Grip | null} */
  #gripAt(x) {
    if (!this.acts.drag) return null;
    for (const range of this.ranges) {
      if (Math.abs(this.#x(range.start) - x) <= GRIP_PX) return { id: range.id, edge: "start" };
      if (Math.abs(this.#x(range.end) - x) <= GRIP_PX) return { id: range.id, edge: "end" };
    }
    return null;
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#drag = { x: event.offsetX, from: { ...this.view }, isMoved: false, grip: this.#gripAt(event.offsetX) };
  }

  /** @param {PointerEvent} event */
  #move(event) {
    this.#hover = event.offsetX;
    const drag = this.#drag;
    if (drag && (drag.isMoved || Math.abs(event.offsetX - drag.x) > 3)) {
      drag.isMoved = true;
      if (drag.grip) {
        this.acts.drag?.(drag.grip, this.timeAt(event.offsetX), false);
      } else {
        const by = ((drag.x - event.offsetX) / this.width) * (drag.from.end - drag.from.start);
        this.show({ start: drag.from.start + by, end: drag.from.end + by });
      }
    }
    this.canvas.style.cursor = this.#gripAt(event.offsetX) ? "ew-resize" : drag?.isMoved ? "grabbing" : "pointer";
    this.dirty();
  }

  /** @param {PointerEvent} event */
  #up(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    if (drag.isMoved && drag.grip) this.acts.drag?.(drag.grip, this.timeAt(event.offsetX), true);
    else if (!drag.isMoved) this.acts.seek(this.timeAt(event.offsetX));
  }

  // Painting.

  /** @param {string} name */
  #colour(name) {
    this.#colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
    return this.#colours[name];
  }

  #draw() {
    const { canvas, paint, width } = this;
    const height = Math.max(1, canvas.clientHeight);
    const ratio = Math.min(3, devicePixelRatio || 1);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.fillStyle = this.#colour("--sunken");
    paint.fillRect(0, 0, width, height);
    const strip = height - STRIP - 4;
    this.#drawRuler(strip);
    if (this.showsSound) this.#drawSound(RULER, strip - RULER - 4);
    this.#drawRanges(RULER, strip - RULER - 2);
    this.#drawStrip(strip, STRIP);
    this.#drawHeads(height);
  }

  /** @param {number} bottom */
  #drawRuler(bottom) {
    const { paint, view, width } = this;
    const perPx = (view.end - view.start) / width;
    const tick = TICKS.find(({ every }) => every / perPx >= LABEL_PX) ?? TICKS[TICKS.length - 1];
    const minor = tick.every / 5;
    if (!this.#font) {
      const { fontFamily, fontSize } = getComputedStyle(this.canvas);
      this.#font = `${Math.round(parseFloat(fontSize) * 0.8)}px ${fontFamily}`;
    }
    paint.font = this.#font;
    paint.textBaseline = "middle";
    paint.strokeStyle = this.#colour("--line");
    paint.lineWidth = 1;
    paint.beginPath();
    for (let at = Math.ceil(view.start / minor) * minor; at <= view.end; at += minor) {
      const x = Math.round(this.#x(at)) + 0.5;
      paint.moveTo(x, RULER - 4);
      paint.lineTo(x, RULER);
    }
    paint.stroke();
    paint.fillStyle = this.#colour("--text");
    paint.beginPath();
    for (let at = Math.ceil(view.start / tick.every) * tick.every; at <= view.end; at += tick.every) {
      const x = Math.round(this.#x(at)) + 0.5;
      paint.moveTo(x, RULER - 9);
      paint.lineTo(x, bottom);
      const label = showTime(Math.round(at), 3).slice(tick.from, tick.to);
      if (x + 4 + paint.measureText(label).width <= width) paint.fillText(label, x + 4, 9);
    }
    paint.globalAlpha = 0.5;
    paint.stroke();
    paint.globalAlpha = 1;
    // At last, the edges of frames.
    if (this.time !== null && this.frameMicros / perPx >= 7) {
      paint.strokeStyle = this.#colour("--faint");
      paint.beginPath();
      const first = this.time + Math.ceil((view.start - this.time) / this.frameMicros) * this.frameMicros;
      for (let at = first; at <= view.end; at += this.frameMicros) {
        const x = Math.round(this.#x(at)) + 0.5;
        paint.moveTo(x, bottom - 8);
        paint.lineTo(x, bottom);
      }
      paint.stroke();
    }
  }

  /** @param {number} top @param {number} height */
  #drawSound(top, height) {
    const { paint, width } = this;
    const middle = top + height / 2;
    paint.fillStyle = this.#colour("--mark");
    paint.globalAlpha = 0.75;
    for (const { start, end, peaks } of this.waveforms) {
      const each = (end - start) / peaks.length;
      const first = Math.max(0, Math.floor((this.view.start - start) / each));
      const last = Math.min(peaks.length, Math.ceil((this.view.end - start) / each));
      for (let at = first; at < last; at += 1) {
        const peak = peaks[at];
        if (peak === null) continue;
        const x = this.#x(start + at * each);
        const wide = Math.max(1, this.#x(start + (at + 1) * each) - x);
        if (x > width || x + wide < 0) continue;
        const tall = Math.max(1, (peak / 255) * height);
        paint.fillRect(x, middle - tall / 2, wide, tall);
      }
    }
    paint.globalAlpha = 1;
  }

  /** @param {number} top @param {number} height */
  #drawRanges(top, height) {
    const { paint, width } = this;
    const { in: from, out: to } = this.marks;
    if (from !== null && to !== null && to > from) this.#drawRange({ start: from, end: to }, top, height, "", false, true);
    for (const range of this.ranges) this.#drawRange(range, top, height, range.label, range.isChosen, false);
    paint.fillStyle = this.#colour("--mark");
    for (const mark of [from, to]) {
      if (mark === null) continue;
      const x = this.#x(mark);
      if (x >= 0 && x <= width) paint.fillRect(x - 1, top, 2, height);
    }
  }

  /** @param {Span} span @param {number} top @param {number} height @param {string} label @param {boolean} isChosen @param {boolean} isMark */
  #drawRange({ start, end }, top, height, label, isChosen, isMark) {
    const { paint, width } = this;
    const [left, right] = [Math.max(-2, this.#x(start)), Math.min(width + 2, this.#x(end))];
    if (right < 0 || left > width) return;
    const colour = this.#colour(isMark ? "--mark" : "--accent");
    paint.fillStyle = colour;
    paint.globalAlpha = isChosen ? 0.42 : 0.22;
    paint.fillRect(left, top, Math.max(2, right - left), height);
    paint.globalAlpha = 1;
    paint.fillRect(left, top, 2, height);
    paint.fillRect(right - 2, top, 2, height);
    if (label && right - left > 14) {
      paint.fillStyle = this.#colour("--text");
      paint.fillText(label, Math.max(left, 0) + 6, top + 10);
    }
  }

  /** @param {number} top @param {number} height */
  #drawStrip(top, height) {
    const { paint, width, extent } = this;
    paint.fillStyle = this.#colour("--track");
    paint.fillRect(0, top, width, height);
    if (!extent) return;
    const [left, right] = [Math.max(0, this.#x(extent.start)), Math.min(width, this.#x(extent.end))];
    if (right > left) {
      paint.fillStyle = this.#colour("--have");
      paint.fillRect(left, top, Math.max(2, right - left), height);
    }
    /** How far each colour was painted: of thousands in one pixel the first is enough. @type {Record<string, number>} */
    const painted = {};
    for (const { start, end, kind, cause } of this.stretches) {
      if (end < this.view.start) continue;
      if (start > this.view.end) break;
      // However short, it can be seen.
      const from = this.#x(start);
      const to = Math.max(from + 2, this.#x(end));
      const colour = CAUSES[cause]?.colour ?? "--cause-unknown";
      if (to <= (painted[colour] ?? -Infinity) + 0.5) continue;
      painted[colour] = to;
      paint.fillStyle = this.#colour(colour);
      if (kind === "unsure") paint.fillRect(from, top + height * 0.65, to - from, height * 0.35);
      else paint.fillRect(from, top, to - from, height);
    }
  }

  /** @param {number} height */
  #drawHeads(height) {
    const { paint, width } = this;
    if (this.#hover !== null) {
      paint.fillStyle = this.#colour("--faint");
      paint.fillRect(this.#hover, 0, 1, height);
      const text = showTime(this.timeAt(this.#hover), this.view.end - this.view.start < 10 * MINUTE ? 3 : 0).slice(5);
      const wide = paint.measureText(text).width + 8;
      const left = Math.min(width - wide, this.#hover + 4);
      paint.fillStyle = this.#colour("--raised");
      paint.fillRect(left, RULER + 2, wide, 18);
      paint.fillStyle = this.#colour("--text");
      paint.fillText(text, left + 4, RULER + 11);
    }
    if (this.time === null) return;
    const x = this.#x(this.time);
    if (x < -6 || x > width + 6) return;
    paint.fillStyle = this.#colour("--focus");
    paint.fillRect(x - 1, 0, 2, height);
    paint.beginPath();
    paint.moveTo(x - 6, 0);
    paint.lineTo(x + 6, 0);
    paint.lineTo(x, 8);
    paint.fill();
  }
}
