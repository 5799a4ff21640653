/** The ranges of a draft as cards, with what lies between them. Cards stay the same elements while a draft changes. */

import { Hold, button, el } from "../dom.js";
import { formatTime, parseTime, showLength, showTime } from "../time.js";
import { USUAL_JOINT_SECONDS } from "./draft.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").Range} Range */
/** @typedef {import("./draft.js").Joint} Joint */
/** @typedef {import("../time.js").Micros} Micros */

/**
 * @typedef {object} CardActs
 * @property {(id: string) => void} choose
 * @property {(id: string, to: Partial<Range>) => void} change
 * @property {(id: string, edge: "start" | "end") => void} setHere
 * @property {(id: string, edge: "start" | "end") => void} show
 * @property {(id: string, to: number) => void} move
 * @property {(id: string) => void} duplicate
 * @property {(id: string) => void} remove
 * @property {(at: number, joint: Joint) => void} join
 * @property {(at: number) => void} seam
 * @property {(range: Range) => string[]} warnings
 * @property {(at: Micros) => string | null} frameUrl empty where nothing is recorded, null where that is not known yet
 */

/** @typedef {{root: HTMLElement, image: HTMLImageElement, absent: HTMLElement, input: HTMLInputElement, here: HTMLButtonElement, show: HTMLButtonElement, word: string}} Edge */

/** A picture is asked for when its moment has stayed the same for this long. */
const PICTURE_MS = 350;
const PICTURE_AGAIN_MS = 3000;
const SHORTEST_JOINT = 0.1;

export class Cards {
  /** @type {Map<string, Card>} */
  #cards = new Map();
  /** @type {JointRow[]} */
  #joints = [];

  /**
   * @param {CardActs} acts
   * @param {import("../api.js").Transition[]} transitions may be filled later
   * @param {Hold} hold
   */
  constructor(acts, transitions, hold) {
    this.acts = acts;
    this.transitions = transitions;
    this.hold = hold;
    this.root = el("ol", { class: "ranges", "aria-label": "Ranges" });
  }

  /** @param {Draft} draft @param {string | null} chosen @param {number} frameMicros */
  show(draft, chosen, frameMicros) {
    for (const [id, card] of this.#cards) {
      if (!draft.ranges.some((range) => range.id === id)) {
        card.end();
        this.#cards.delete(id);
      }
    }
    while (this.#joints.length < draft.joints.length) this.#joints.push(new JointRow(this, this.#joints.length));
    for (const joint of this.#joints.splice(draft.joints.length)) joint.root.remove();
    const focused = document.activeElement;
    /** @type {Element[]} */
    const wanted = [];
    for (const [at, range] of draft.ranges.entries()) {
      const card = this.#cards.get(range.id) ?? new Card(this, range.id);
      this.#cards.set(range.id, card);
      card.show(range, at, draft.ranges.length, range.id === chosen, frameMicros);
      wanted.push(card.root);
      if (at < draft.joints.length) {
        this.#joints[at].show(draft.joints[at]);
        wanted.push(this.#joints[at].root);
      }
    }
    if (wanted.some((one, at) => this.root.children[at] !== one) || wanted.length !== this.root.children.length) {
      this.root.replaceChildren(...wanted);
      if (focused instanceof HTMLElement && this.root.contains(focused)) focused.focus();
    }
  }

  /** @param {number} at */
  focusJoint(at) {
    this.#joints[at]?.kind.focus();
  }

  end() {
    for (const card of this.#cards.values()) card.end();
  }
}

class Card {
  #hold = new Hold();
  #at = 0;
  /** @type {Record<"start" | "end", {asked: string, timer: () => void}>} */
  #pictures = { start: { asked: "", timer: () => {} }, end: { asked: "", timer: () => {} } };

  /** @param {Cards} cards @param {string} id */
  constructor(cards, id) {
    const { acts } = cards;
    this.acts = acts;
    this.name = el("strong", {});
    this.length = el("span", { class: "mono faint" });
    this.warnings = el("ul", { class: "warnings" });
    this.start = this.#edge("start", "In", id);
    this.end_ = this.#edge("end", "Out", id);
    this.up = button("↑", () => acts.move(id, this.#at - 1), { title: "Earlier (Alt ↑)" });
    this.down = button("↓", () => acts.move(id, this.#at + 1), { title: "Later (Alt ↓)" });
    this.twice = button("Copy", () => acts.duplicate(id), { title: "A copy of it (D)" });
    this.gone = button("✕", () => acts.remove(id), { title: "Delete (Del)" });
    this.grip = el("span", { class: "grip", draggable: "true", title: "Drag to another place", "aria-hidden": "true" }, "⠿");
    this.root = el("li", { class: "range" },
      el("div", { class: "row" }, this.grip, this.name, this.length, el("span", { class: "grow" }), this.up, this.down, this.twice, this.gone),
      el("div", { class: "edges" }, this.start.root, this.end_.root), this.warnings);
    this.#hold.on(this.root, "focusin", () => acts.choose(id));
    this.#hold.on(this.root, "click", () => acts.choose(id));
    this.#hold.on(this.grip, "dragstart", (/** @type {DragEvent} */ event) => event.dataTransfer?.setData("text/x-range", id));
    this.#hold.on(this.root, "dragover", (/** @type {DragEvent} */ event) => { if (event.dataTransfer?.types.includes("text/x-range")) event.preventDefault(); });
    this.#hold.on(this.root, "drop", (/** @type {DragEvent} */ event) => {
      const dragged = event.dataTransfer?.getData("text/x-range");
      if (dragged) { event.preventDefault(); acts.move(dragged, this.#at); }
    });
  }

  /** @param {"start" | "end"} edge @param {string} word @param {string} id @returns {Edge} */
  #edge(edge, word, id) {
    const image = el("img", { width: "160", height: "90", decoding: "async", class: "frame" });
    const input = el("input", { type: "text", class: "mono", spellcheck: "false", autocomplete: "off" });
    const here = button(`${word} here`, () => this.acts.setHere(id, edge), { title: `The frame shown is the ${edge === "start" ? "first" : "last"} (Shift ${edge === "start" ? "I" : "O"})` });
    const show = button("Show", () => this.acts.show(id, edge), { title: edge === "start" ? "Show the first frame (Q)" : "Show the last frame (W)" });
    this.#hold.on(input, "change", () => {
      const typed = parseTime(input.value);
      if (typed === null) {
        input.setCustomValidity("A time such as 2026-01-02 03:04:05.678, UTC");
        input.reportValidity();
        return;
      }
      this.acts.change(id, { [edge]: typed });
    });
    this.#hold.on(input, "input", () => input.setCustomValidity(""));
    this.#hold.on(image, "error", () => {
      image.classList.add("failed");
      const picture = this.#pictures[edge];
      const asked = picture.asked;
      picture.timer();
      // It may lie too near to live, or the node may be busy.
      picture.timer = this.#hold.after(PICTURE_AGAIN_MS, () => { if (asked === picture.asked) { image.removeAttribute("src"); image.src = asked; } });
    });
    this.#hold.on(image, "load", () => image.classList.remove("failed"));
    const absent = el("div", { class: "absent", hidden: true }, "not recorded");
    return { root: el("div", { class: "edge" }, image, absent, input, el("div", { class: "row" }, here, show)), image, absent, input, here, show, word };
  }

  /** @param {Range} range @param {number} at @param {number} of @param {boolean} isChosen @param {number} frameMicros */
  show(range, at, of, isChosen, frameMicros) {
    this.#at = at;
    const name = `Range ${at + 1}`;
    this.name.textContent = name;
    this.root.classList.toggle("chosen", isChosen);
    this.root.setAttribute("aria-label", `${name}${isChosen ? ", chosen" : ""}`);
    const frames = Math.round((range.end - range.start) / frameMicros);
    this.length.textContent = `${showLength(range.end - range.start, 2)}, ${frames} frames`;
    this.up.disabled = at === 0;
    this.down.disabled = at === of - 1;
    for (const [element, does] of /** @type {[HTMLElement, string][]} */ ([[this.up, "earlier"], [this.down, "later"], [this.twice, "copy"], [this.gone, "delete"]])) {
      element.setAttribute("aria-label", `${name}: ${does}`);
    }
    this.#showEdge("start", this.start, range.start, range.start, name);
    // The last frame begins a frame before the end.
    this.#showEdge("end", this.end_, range.end, Math.round(range.end - frameMicros), name);
    this.warnings.replaceChildren(...this.acts.warnings(range).map((text) => el("li", {}, text)));
  }

  /** @param {"start" | "end"} edge @param {Edge} of @param {Micros} time @param {Micros} shown @param {string} name */
  #showEdge(edge, of, time, shown, name) {
    if (document.activeElement !== of.input) of.input.value = showTime(time, 3);
    of.input.setAttribute("aria-label", `${name}: ${of.word.toLowerCase()}, UTC`);
    of.here.setAttribute("aria-label", `${name}: ${of.word.toLowerCase()} here, at the frame shown`);
    of.show.setAttribute("aria-label", `${name}: show its ${edge === "start" ? "first" : "last"} frame`);
    of.image.alt = `${edge === "start" ? "First" : "Last"} frame of ${name.toLowerCase()}, ${formatTime(shown)}`;
    const address = this.acts.frameUrl(shown);
    const picture = this.#pictures[edge];
    if (address === null || picture.asked === address) return;
    picture.asked = address;
    picture.timer();
    of.absent.hidden = address !== "";
    of.image.hidden = address === "";
    if (address === "") return;
    picture.timer = this.#hold.after(of.image.src ? PICTURE_MS : 0, () => { of.image.src = address; });
  }

  end() {
    this.#hold.end();
    this.root.remove();
  }
}

class JointRow {
  /** @param {Cards} cards @param {number} at */
  constructor(cards, at) {
    const { acts } = cards;
    this.cards = cards;
    this.kind = el("select", { "aria-label": `Between range ${at + 1} and ${at + 2}` });
    this.seconds = el("input", { type: "number", min: String(SHORTEST_JOINT), max: "60", step: "0.1", "aria-label": `Seconds of the transition after range ${at + 1}` });
    this.look = button("Preview", () => acts.seam(at), { title: "Look at the seam (P)", "aria-label": `Preview of the seam after range ${at + 1}` });
    this.about = el("span", { class: "faint" });
    this.root = el("li", { class: "joint row" }, this.kind, el("label", {}, this.seconds, "s"), this.look, this.about);
    const tell = () => {
      const seconds = Math.max(SHORTEST_JOINT, Number(this.seconds.value) || USUAL_JOINT_SECONDS);
      acts.join(at, this.kind.value ? { kind: this.kind.value, seconds } : null);
    };
    cards.hold.on(this.kind, "change", tell);
    cards.hold.on(this.seconds, "change", tell);
  }

  /** @param {Joint} joint */
  show(joint) {
    const names = this.cards.transitions.map(({ name }) => name);
    if (joint && !names.includes(joint.kind)) names.push(joint.kind);
    if (this.kind.options.length !== names.length + 1) {
      this.kind.replaceChildren(el("option", { value: "" }, "hard cut"), ...names.map((name) => el("option", { value: name }, name)));
    }
    this.kind.value = joint?.kind ?? "";
    this.seconds.disabled = joint === null;
    if (document.activeElement !== this.seconds) this.seconds.value = String(joint?.seconds ?? USUAL_JOINT_SECONDS);
    this.about.textContent = this.cards.transitions.find(({ name }) => name === joint?.kind)?.description ?? "";
  }
}
