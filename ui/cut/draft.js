/**
 * What somebody is about to cut: ranges, what lies between them, and what is said of the video. Each change makes a new value,
 * so what was before can come back; and each is kept in the browser, so a reload loses nothing.
 */

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {{id: string, start: Micros, end: Micros}} Range */
/** @typedef {{kind: string, seconds: number} | null} Joint null is a hard cut */
/** @typedef {{mode: "NONE" | "BARE" | "TEMPLATE" | "CUSTOM", time: Micros | null, template: string | null, image: string | null}} Thumbnail `image` in base64 */
/**
 * @typedef {object} Draft
 * @property {Range[]} ranges
 * @property {Joint[]} joints one fewer than the ranges
 * @property {string} title
 * @property {string} description
 * @property {string} tags as typed, with commas between
 * @property {string} location where it is to be uploaded
 * @property {boolean} allowHoles
 * @property {Thumbnail} thumbnail
 */

const MOST_STEPS = 200;
export const USUAL_JOINT_SECONDS = 1;

/** @type {Draft} */
export const EMPTY = {
  ranges: [], joints: [], title: "", description: "", tags: "", location: "", allowHoles: false,
  thumbnail: { mode: "NONE", time: null, template: null, image: null },
};

let lastId = 0;
function newId() {
  lastId += 1;
  return `r${Date.now().toString(36)}${lastId}`;
}

/** @param {Draft} draft @param {Micros} start @param {Micros} end @param {number} [at] before which range @returns {Draft} */
export function add(draft, start, end, at = draft.ranges.length) {
  const ranges = draft.ranges.toSpliced(at, 0, { id: newId(), start, end });
  const joints = ranges.length < 2 ? [] : draft.joints.toSpliced(Math.max(0, at - 1), 0, null);
  return { ...draft, ranges, joints: joints.slice(0, ranges.length - 1) };
}

/** @param {Draft} draft @param {string} id @param {Partial<Range>} to @returns {Draft} */
export function change(draft, id, to) {
  return { ...draft, ranges: draft.ranges.map((range) => (range.id === id ? { ...range, ...to, id } : range)) };
}

/** @param {Draft} draft @param {string} id @returns {Draft} */
export function remove(draft, id) {
  const at = draft.ranges.findIndex((range) => range.id === id);
  if (at < 0) return draft;
  const joints = draft.joints.toSpliced(Math.max(0, at - 1), 1);
  return { ...draft, ranges: draft.ranges.toSpliced(at, 1), joints };
}

/** @param {Draft} draft @param {string} id @returns {Draft} */
export function duplicate(draft, id) {
  const at = draft.ranges.findIndex((range) => range.id === id);
  const range = draft.ranges[at];
  return range ? add(draft, range.start, range.end, at + 1) : draft;
}

/** What lies between ranges stays where it is. @param {Draft} draft @param {string} id @param {number} to @returns {Draft} */
export function move(draft, id, to) {
  const at = draft.ranges.findIndex((range) => range.id === id);
  if (at < 0 || to < 0 || to >= draft.ranges.length || at === to) return draft;
  const ranges = draft.ranges.toSpliced(at, 1).toSpliced(to, 0, draft.ranges[at]);
  return { ...draft, ranges };
}

/** @param {Draft} draft @param {number} at @param {Joint} joint @returns {Draft} */
export function join(draft, at, joint) {
  return { ...draft, joints: draft.joints.with(at, joint) };
}

/** How long the video will be. @param {Draft} draft @returns {Micros} */
export function length(draft) {
  const whole = draft.ranges.reduce((sum, { start, end }) => sum + Math.max(0, end - start), 0);
  return whole - draft.joints.reduce((sum, joint) => sum + (joint ? joint.seconds * 1e6 : 0), 0);
}

/** Why it cannot be cut as it is; null where it can. @param {Draft} draft @returns {string | null} */
export function fault(draft) {
  if (draft.ranges.length === 0) return "Mark a range first: I where it begins, O where it ends, then A.";
  const bad = draft.ranges.findIndex(({ start, end }) => end <= start);
  if (bad >= 0) return `Range ${bad + 1} ends before it begins.`;
  for (const [at, range] of draft.ranges.entries()) {
    const taken = [draft.joints[at - 1], draft.joints[at]].reduce((sum, joint) => sum + (joint ? joint.seconds * 1e6 : 0), 0);
    if (taken > range.end - range.start) return `Range ${at + 1} is shorter than the transitions at its ends.`;
  }
  return null;
}

/** A draft with what was before it, kept under a name. */
export class Drafting {
  /** @type {Draft[]} */
  #before = [];
  /** @type {Draft[]} */
  #after = [];
  /** What a row of changes is about; they are undone as one. */
  #about = "";

  /**
   * @param {string} name in the browser's memory
   * @param {(draft: Draft) => void} changed
   * @param {() => void} full where the browser keeps no more
   */
  constructor(name, changed, full) {
    this.name = name;
    this.changed = changed;
    this.full = full;
    this.now = readDraft(name);
  }

  get canUndo() {
    return this.#before.length > 0;
  }

  get canRedo() {
    return this.#after.length > 0;
  }

  /**
   * @param {Draft} draft
   * @param {string} [about] of changes one after the other about the same, one step is made
   */
  set(draft, about = "") {
    if (draft === this.now) return;
    if (about === "" || about !== this.#about) {
      this.#before.push(this.now);
      if (this.#before.length > MOST_STEPS) this.#before.shift();
    }
    this.#about = about;
    this.#after = [];
    this.#show(draft);
  }

  /** What is typed or dragged next is a step of its own. */
  settle() {
    this.#about = "";
  }

  undo() {
    const before = this.#before.pop();
    if (!before) return false;
    this.#after.push(this.now);
    this.#about = "";
    this.#show(before);
    return true;
  }

  redo() {
    const after = this.#after.pop();
    if (!after) return false;
    this.#before.push(this.now);
    this.#about = "";
    this.#show(after);
    return true;
  }

  /** @param {Draft} draft */
  #show(draft) {
    this.now = draft;
    try {
      localStorage.setItem(this.name, JSON.stringify(draft));
    } catch {
      this.full();
    }
    this.changed(draft);
  }
}

/** @param {string} name @returns {Draft} */
function readDraft(name) {
  try {
    const kept = JSON.parse(localStorage.getItem(name) ?? "null");
    const isWhole = kept && Array.isArray(kept.ranges) && Array.isArray(kept.joints) && kept.joints.length === Math.max(0, kept.ranges.length - 1);
    return isWhole ? { ...EMPTY, ...kept, thumbnail: { ...EMPTY.thumbnail, ...kept.thumbnail } } : EMPTY;
  } catch {
    return EMPTY;
  }
}
