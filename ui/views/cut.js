/** Mark and cut: ranges of the record, what lies between them, and the video that comes of it. */

import { inWords, wasLeft } from "../api.js";
import * as cards from "../cut/cards.js";
import { Changes, warnings } from "../cut/check.js";
import { TYPES, download } from "../cut/download.js";
import * as drafts from "../cut/draft.js";
import { Job } from "../cut/job.js";
import { showResult, showSeam } from "../cut/seam.js";
import { Sound } from "../cut/sound.js";
import { Deck } from "../deck/deck.js";
import { button, el, put } from "../dom.js";
import { formatTime, parseTime, showLength } from "../time.js";

/** @typedef {import("../cut/draft.js").Draft} Draft */
/** @typedef {import("../time.js").Micros} Micros */

const CHANGES_EVERY_MS = 1500;

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").Context} context
 * @returns {import("../app.js").Mounted}
 */
export function mount(root, context) {
  const deck = new Deck(root, context, "cut");
  let cutting = /** @type {Cutting | null} */ (null);
  deck.onReady = () => { cutting ??= new Cutting(deck, context); };
  void deck.start();
  return { unmount: () => { cutting?.end(); deck.end(); } };
}

class Cutting {
  /** @type {string | null} */
  #chosen = null;
  /** Where an edge is dragged to. @type {import("../cut/draft.js").Draft | null} */
  #dragged = null;

  /** @param {Deck} deck @param {import("../app.js").Context} context */
  constructor(deck, context) {
    this.deck = deck;
    this.context = context;
    const { hold, channel, quality } = deck;
    const { api, params } = context;
    const name = `segvault.draft/${params.event ? `event/${params.event}` : channel}`;
    this.drafting = new drafts.Drafting(name, () => this.show(),
      () => context.announce("The browser has no room to keep this draft; a reload would lose it.", { urgent: true }));
    this.changes = new Changes(api, channel, quality, hold.signal);
    this.sound = new Sound(api, channel, quality, hold.signal, () => deck.dirty());
    this.job = new Job(context, this.drafting, { channel, quality, time: () => deck.player?.shown ?? null, frameMicros: () => this.frameMicros }, hold);
    /** @type {import("../api.js").Transition[]} */
    this.transitions = [];
    this.cards = new cards.Cards(this.#cardActs(), this.transitions, hold);
    this.add = button("Add the range", () => this.addMarked(), { class: "primary", title: "Add what is marked as a range (A)" });
    this.total = el("p", { class: "total", role: "status" });
    this.undo = button("Undo", () => this.stepBack(), { title: "Undo (Ctrl Z)" });
    this.another = button("New", () => this.beginAnother(), { title: "An empty draft; undo brings this one back" });
    this.redo = button("Redo", () => this.stepOn(), { title: "Redo (Ctrl Y)" });
    this.type = el("select", { "aria-label": "Kind of file" }, ...TYPES.map(({ type, words }) => el("option", { value: type }, words)));
    this.get = button("Download", () => this.download(), { title: "Download now (X)" });
    this.play = button("Play the result", () => this.playResult(), { title: "Play the result (R)" });
    this.holes = el("input", { type: "checkbox" });
    this.files = el("div", { class: "files" });
    put(deck.side,
      el("div", { class: "panel" },
        el("div", { class: "row" }, el("h2", {}, "Ranges"), el("span", { class: "grow" }), this.add, this.undo, this.redo, this.another),
        this.cards.root, this.total,
        el("div", { class: "row made" }, this.type, this.get, this.play, el("label", {}, this.holes, "pass over holes")),
        this.files),
      this.job.root);
    hold.on(this.holes, "change", () => this.drafting.set({ ...this.drafting.now, allowHoles: this.holes.checked }));
    deck.timeline.showsSound = true;
    deck.onDrag = (grip, at, isDone) => this.#drag(grip, at, isDone);
    deck.onMarks = () => this.show();
    deck.onChange = () => this.#showSound();
    deck.keys.unshift(...this.#keys());
    hold.every(CHANGES_EVERY_MS, () => void this.#learn());
    this.#take(params.range);
    this.show();
    api.transitions(hold.signal).then((all) => { this.transitions.push(...all); this.show(); })
      .catch((error) => { if (!wasLeft(error)) context.announce(inWords(error)); });
    void this.job.begin(params.event);
  }

  end() {
    this.cards.end();
  }

  get frameMicros() {
    return this.deck.player?.frameMicros ?? 1e6 / 30;
  }

  /** What is handed over by the address. @param {string | undefined} range */
  #take(range) {
    const [start, end] = (range ?? "").split(",").map(parseTime);
    if (start == null || end == null || end <= start) return;
    const { now } = this.drafting;
    // A reload brings it again.
    if (!now.ranges.some((one) => one.start === start && one.end === end)) this.drafting.set(drafts.add(now, start, end));
    const { channel, quality } = this.deck;
    this.context.navigate("cut", { channel, quality, at: formatTime(start) }, { replace: true });
    delete this.context.params.range;
  }

  // What people do.

  addMarked() {
    const { in: start, out: end } = this.deck.marks;
    if (start === null || end === null) {
      this.context.announce("Mark it first: I where it begins, O where it ends.", { urgent: true });
      return;
    }
    const next = drafts.add(this.drafting.now, start, end);
    this.#chosen = next.ranges[next.ranges.length - 1].id;
    this.drafting.set(next);
    this.deck.forgetMarks();
    this.context.announce(`Range ${next.ranges.length} added, ${showLength(end - start, 2)}`);
  }

  beginAnother() {
    this.job.forget();
    this.drafting.set({ ...drafts.EMPTY, location: this.drafting.now.location });
    this.context.announce("An empty draft");
    // The address is that of the event before.
    if (this.context.params.event) this.context.navigate("cut", { channel: this.deck.channel, quality: this.deck.quality });
  }

  stepBack() {
    if (!this.drafting.undo()) this.context.announce("There is nothing to undo");
  }

  stepOn() {
    if (!this.drafting.redo()) this.context.announce("There is nothing to do again");
  }

  download() {
    const fault = drafts.fault(this.drafting.now);
    if (fault) this.context.announce(fault, { urgent: true });
    else download(this.context, this.deck.channel, this.deck.quality, this.drafting.now, this.type.value, this.frameMicros, this.files);
  }

  playResult() {
    const fault = drafts.fault(this.drafting.now);
    if (fault) {
      this.context.announce(fault, { urgent: true });
      return;
    }
    this.deck.player?.pause();
    showResult(this.context.api, this.deck.channel, this.deck.quality, this.drafting.now);
  }

  /** @param {number} at */
  #seam(at) {
    if (at < 0 || at >= this.drafting.now.joints.length) return;
    this.deck.player?.pause();
    showSeam(this.context.api, this.deck.channel, this.deck.quality, this.drafting.now, at);
  }

  /** @param {string} id @param {"start" | "end"} edge */
  #setHere(id, edge) {
    const at = edge === "start" ? this.deck.edgeBefore : this.deck.edgeBehind;
    if (at !== null) this.drafting.set(drafts.change(this.drafting.now, id, { [edge]: at }));
  }

  /** @param {string} id @param {"start" | "end"} edge */
  #showEdge(id, edge) {
    const range = this.drafting.now.ranges.find((one) => one.id === id);
    if (!range) return;
    this.deck.player?.pause();
    const half = this.frameMicros / 2;
    this.deck.seek(Math.round(edge === "start" ? range.start + half : range.end - half));
  }

  /** @param {import("../deck/timeline.js").Grip} grip @param {Micros} at @param {boolean} isDone */
  #drag(grip, at, isDone) {
    const range = this.drafting.now.ranges.find(({ id }) => id === grip.id);
    if (!range) return;
    const one = Math.round(this.frameMicros);
    const to = grip.edge === "start" ? Math.min(at, range.end - one) : Math.max(at, range.start + one);
    const next = drafts.change(this.drafting.now, grip.id, { [grip.edge]: to });
    this.#chosen = grip.id;
    this.#dragged = isDone ? null : next;
    if (isDone) this.drafting.set(next);
    else this.show();
  }

  /** @returns {cards.CardActs} */
  #cardActs() {
    const set = (/** @type {(draft: Draft) => Draft} */ act) => this.drafting.set(act(this.drafting.now));
    return {
      choose: (id) => { if (this.#chosen !== id) { this.#chosen = id; this.show(); } },
      change: (id, to) => set((draft) => drafts.change(draft, id, to)),
      setHere: (id, edge) => this.#setHere(id, edge),
      show: (id, edge) => this.#showEdge(id, edge),
      move: (id, to) => set((draft) => drafts.move(draft, id, to)),
      duplicate: (id) => set((draft) => drafts.duplicate(draft, id)),
      remove: (id) => set((draft) => drafts.remove(draft, id)),
      join: (at, joint) => set((draft) => drafts.join(draft, at, joint)),
      seam: (at) => this.#seam(at),
      warnings: (range) => warnings(this.drafting.now, range, this.deck.book?.touching(range) ?? [], this.changes.known(range)),
      frameUrl: (at) => {
        const { book, channel, quality } = this.deck;
        if (!book?.extent && !book?.trouble) return null;
        // Asking for what is not there would be an error.
        return book.missing({ start: at, end: at + 1 }).length > 0 ? "" : this.context.api.frameUrl(channel, quality, at);
      },
    };
  }

  /** @returns {import("../deck/keys.js").Key[]} */
  #keys() {
    const chosen = (/** @type {(id: string, at: number) => void} */ act) => () => {
      const at = this.drafting.now.ranges.findIndex(({ id }) => id === this.#chosen);
      if (at >= 0) act(this.drafting.now.ranges[at].id, at);
      else this.context.announce("Choose a range first: ↑ or ↓", { urgent: true });
    };
    const choose = (/** @type {number} */ by) => () => {
      const { ranges } = this.drafting.now;
      const at = ranges.findIndex(({ id }) => id === this.#chosen);
      const next = ranges[at < 0 ? (by > 0 ? 0 : ranges.length - 1) : Math.min(ranges.length - 1, Math.max(0, at + by))];
      if (!next) return;
      this.#chosen = next.id;
      this.show();
      this.context.announce(`Range ${ranges.indexOf(next) + 1} of ${ranges.length}`);
    };
    const set = (/** @type {(draft: Draft) => Draft} */ act) => this.drafting.set(act(this.drafting.now));
    return [
      { keys: ["a", "Enter"], does: "Add what is marked as a range", act: () => this.addMarked() },
      { keys: ["ArrowUp"], does: "Choose the range before", act: choose(-1), repeats: true },
      { keys: ["ArrowDown"], does: "Choose the next range", act: choose(1), repeats: true },
      { keys: ["Alt+ArrowUp"], does: "Move the chosen range to the front", act: chosen((id, at) => set((draft) => drafts.move(draft, id, at - 1))) },
      { keys: ["Alt+ArrowDown"], does: "Move it to the back", act: chosen((id, at) => set((draft) => drafts.move(draft, id, at + 1))) },
      { keys: ["Shift+i"], does: "The chosen range begins with the frame shown", act: chosen((id) => this.#setHere(id, "start")) },
      { keys: ["Shift+o"], does: "The chosen range ends with the frame shown", act: chosen((id) => this.#setHere(id, "end")) },
      { keys: ["q"], does: "Show its first frame", act: chosen((id) => this.#showEdge(id, "start")) },
      { keys: ["w"], does: "Show its last frame", act: chosen((id) => this.#showEdge(id, "end")) },
      { keys: ["d"], does: "Duplicate it", act: chosen((id) => set((draft) => drafts.duplicate(draft, id))) },
      { keys: ["Delete", "Backspace"], does: "Delete it", act: chosen((id) => set((draft) => drafts.remove(draft, id))) },
      { keys: ["t"], does: "The transition behind it, or before the last", act: chosen((_, at) => this.cards.focusJoint(Math.min(at, this.drafting.now.joints.length - 1))) },
      { keys: ["p"], does: "Look at that seam", act: chosen((_, at) => this.#seam(Math.min(at, this.drafting.now.joints.length - 1))) },
      { keys: ["r"], does: "Play the result", act: () => this.playResult() },
      { keys: ["x"], does: "Download", act: () => this.download() },
      { keys: ["Ctrl+z"], does: "Undo", act: () => this.stepBack(), repeats: true },
      { keys: ["Ctrl+y", "Ctrl+Shift+z"], does: "Redo", act: () => this.stepOn(), repeats: true },
    ];
  }

  // Showing it.

  show() {
    const draft = this.#dragged ?? this.drafting.now;
    if (!draft.ranges.some(({ id }) => id === this.#chosen)) this.#chosen = draft.ranges[draft.ranges.length - 1]?.id ?? null;
    this.cards.show(draft, this.#chosen, this.frameMicros);
    this.deck.timeline.ranges = draft.ranges.map((range, at) => ({ ...range, label: String(at + 1), isChosen: range.id === this.#chosen }));
    const fault = drafts.fault(draft);
    this.total.textContent = fault ?? `${showLength(drafts.length(draft), 2)} in all`;
    this.holes.checked = draft.allowHoles;
    this.undo.disabled = !this.drafting.canUndo;
    this.redo.disabled = !this.drafting.canRedo;
    this.get.disabled = this.play.disabled = fault !== null;
    this.add.disabled = this.deck.marks.in === null || this.deck.marks.out === null;
    this.job.show(draft);
    this.deck.dirty();
  }

  #showSound() {
    const { timeline, book } = this.deck;
    timeline.waveforms = this.sound.of(timeline.view, book);
    if (this.#shownStretches !== book?.stretches) {
      this.#shownStretches = book?.stretches;
      this.cards.show(this.#dragged ?? this.drafting.now, this.#chosen, this.frameMicros);
    }
  }

  /** @type {import("../deck/book.js").Stretch[] | undefined} */
  #shownStretches;

  async #learn() {
    for (const range of this.drafting.now.ranges) {
      // A playlist that goes on cannot be asked for a range that is not over.
      if (range.end > this.context.api.nodeNow()) continue;
      const isNew = await this.changes.learn(range).catch(() => false);
      if (isNew) {
        this.show();
        return;
      }
    }
  }
}
